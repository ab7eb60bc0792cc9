//! One session: what is agreed with the primary, the streams that are copied, and the catalogue's files.

use super::follower::Follower;
use super::wire::Wire;
use super::{FollowError, Standby, seeding, spawn, wanted};
use crate::catalogue::sound::Shelf;
use crate::identity::KEY_FILES;
use crate::replication::behind::Behind;
use crate::replication::dial::Met;
use crate::replication::files::{self, Intake};
use crate::replication::followed;
use crate::replication::predecessor::Predecessor;
use crate::replication::primary::NOTE_NS;
use crate::replication::progress::Progress;
use crate::replication::status::{Plan, State};
use crate::replication::trimmer::Trimmer;
use frontrow_engine::Clock;
use frontrow_plant::{Bug, planted};
use frontrow_wal::stream::{CONTROL, FileMeta, Hello, Received, Receiver, Refusal, RefusalCode, StreamError};
use frontrow_wal::{DataDir, DirOptions, History, Resume, Role, WalError};
use std::collections::BTreeMap;
use std::sync::Arc;

impl Standby<'_> {
    /// One session, until any of its connections ends.
    pub(super) fn session(&mut self, primary: &str) -> Result<(), FollowError> {
        self.shared.change(|state| state.open = true);
        let control = Wire::open(primary, self.leader.patience(), &self.shared);
        let met = match &control {
            Err(FollowError::Socket { source, .. }) => Met::failed(source),
            // Whoever takes connections lives, whatever it answers.
            _ => Met::Somebody,
        };
        self.shared.change(|state| state.met = Some(met));
        let mut control = control?;
        let (cluster, seen) = self.dir.as_ref().map_or((0, 0), |dir| (dir.cluster(), dir.epoch()));
        let mut receiver = Receiver::new(CONTROL, cluster, self.node, seen);
        let hello = control.hello(&mut receiver).map_err(|error| self.foreign(error, primary))?;
        self.refuse_lacking(&mut control, &mut receiver, &hello)?;
        let shared = Arc::clone(&self.shared);
        let Some(fitting) = shared.fit() else { return Ok(()) };
        let (told, dir, resume) = self.fit(&mut control, &mut receiver, &hello)?;
        self.make_spares(&dir)?;
        self.serve_http()?;
        if self.leader.member().is_none() {
            followed::note(&dir, Predecessor { address: primary.to_owned(), node: hello.node })?;
        }
        let (plan, followers) = self.begin_session(&dir, &hello, resume, primary)?;
        drop(fitting);
        let history = plan.2.clone();
        let every = self.config.log.snapshot_every;
        let mut trimmer = Trimmer::new(plan, hello.streams, &self.shared, self.limits, every)?;
        tracing::info!(%primary, epoch = hello.epoch, streams = hello.streams, "following");
        let mut threads = Vec::new();
        for follower in followers {
            let stream = follower.stream;
            threads.push(spawn(&format!("repl-recv-{stream}"), move || follower.run())?);
        }
        let ended = self.keep_files((&dir, &history), &mut control, &mut receiver, told, &mut trimmer);
        self.shared.change(State::close);
        let mut first = Ok(());
        for thread in threads {
            let ended = thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            self.seed_needed |= seeding::is_behind(&ended);
            first = first.and(ended);
        }
        if !self.shared.lock().promote {
            self.note_agreed(&dir, &history)?;
        }
        if self.shared.lock().is_ending() {
            // Somebody waits for a promotion: what is being written ends by itself.
            trimmer.leave();
        }
        trimmer.stop();
        // What ended a stream is the reason why the control connection ended, if both did.
        first.and(ended)
    }

    /// In a cluster the address is not what an operator would have to correct.
    fn foreign(&self, error: FollowError, primary: &str) -> FollowError {
        match error {
            FollowError::Stream(
                StreamError::OtherCluster { .. }
                | StreamError::Refused(Refusal { code: RefusalCode::OtherCluster, .. }),
            ) if self.leader.member().is_some() => {
                let (primary, name) = (primary.to_owned(), self.config.cluster.name.clone());
                FollowError::OtherInstallation { primary, name }
            }
            error => error,
        }
    }

    /// The directory is fit: what is followed, and by whom.
    pub(in crate::replication) fn begin_session(
        &mut self,
        dir: &DataDir,
        hello: &Hello,
        resume: BTreeMap<u16, Resume>,
        primary: &str,
    ) -> Result<(Plan, Vec<Follower>), FollowError> {
        self.sessions += 1;
        let history = dir.history()?.unwrap_or_else(|| unreachable!("it was just written"));
        let plan = (self.sessions, dir.clone(), history);
        self.shared.change(|state| begin(state, plan.clone(), hello, &resume));
        let follower = |(stream, from)| Follower {
            stream,
            from,
            primary: primary.to_owned(),
            shared: Arc::clone(&self.shared),
            dir: dir.clone(),
            node: self.node,
            hello: Hello { stream, ..hello.clone() },
        };
        Ok((plan, resume.into_iter().map(follower).collect()))
    }

    /// What the first segments of an epoch of its own are made of: how many files of how many bytes, if they are not
    /// made already.
    pub(in crate::replication) fn spares_wanted(&mut self) -> Option<(u64, u16)> {
        if std::mem::replace(&mut self.spares, true) {
            return None;
        }
        let cores = self.config.server.shard_cpus.len().max(1) as u32;
        let count = (cores * (1 + self.config.log.ready_segments)).min(u16::MAX.into()) as u16;
        Some((self.config.log.segment, count))
    }

    /// Makes them, beside everything else.
    fn make_spares(&mut self, dir: &DataDir) -> Result<(), FollowError> {
        let Some((bytes, count)) = self.spares_wanted() else { return Ok(()) };
        let dir = dir.clone();
        spawn("repl-spares", move || {
            if let Err(error) = dir.make_spares(bytes, count) {
                tracing::warn!(%error, "a promotion will take longer: its first segments are made then");
            }
        })
        .map(drop)
    }

    /// Refuses a primary whose history has lost what both nodes had, before anything is changed here. It is told.
    fn refuse_lacking(
        &self,
        control: &mut Wire,
        receiver: &mut Receiver,
        hello: &Hello,
    ) -> Result<(), FollowError> {
        match self.dir.as_ref().map_or(Ok(()), |dir| dir.keeps_agreed(hello)) {
            Err(error @ WalError::PrimaryLacksAgreed { epoch, stream, agreed, .. }) => {
                receiver.refuse_lacking(epoch, stream, agreed);
                // Whether it hears or not, it is not followed.
                let _ = control.send(receiver);
                Err(FollowError::Lacking(error))
            }
            other => Ok(other?),
        }
    }

    /// Notes durably what the primary has, too. Not before it is applied: what rests on what has not come may be cut.
    pub(super) fn note_agreed(&self, dir: &DataDir, history: &History) -> Result<(), WalError> {
        let places = {
            let state = self.shared.lock();
            let of = |(&stream, progress): (&u16, &Progress)| {
                let (epoch, committed) = progress.committed;
                let durable = if epoch == history.epoch() { committed } else { 0 };
                history.agreed(stream, progress.have.min(progress.applied), durable)
            };
            state.streams.iter().flat_map(of).collect()
        };
        dir.agree(&places)
    }

    /// The same, where there is something to follow.
    pub(in crate::replication) fn note_what_is_agreed(&self) -> Result<(), WalError> {
        let plan = self.shared.lock().plan.clone();
        plan.map_or(Ok(()), |(_, dir, history)| self.note_agreed(&dir, &history))
    }

    /// Notes durably what `why` says, of the directory that there is.
    pub(super) fn note_behind(&self, why: Behind) -> Result<(), WalError> {
        self.dir.as_ref().map_or(Ok(()), |dir| self.shared.note_behind(dir, why))
    }

    /// Makes the directory, or its log, fit to be gone on with.
    pub(in crate::replication) fn prepare(
        &mut self,
        hello: &Hello,
    ) -> Result<(DataDir, BTreeMap<u16, Resume>), FollowError> {
        let dir = self.join(hello)?;
        let resume = dir.follow_history(hello, self.node)?;
        self.role = Some(Role::Standby);
        (self.unfit, self.grave) = (false, None);
        self.introduce();
        Ok((dir, resume))
    }

    /// The directory, at the primary's epoch; made if it is not there.
    pub(in crate::replication) fn join(&mut self, hello: &Hello) -> Result<DataDir, FollowError> {
        if self.shared.lock().behind == Some(Behind::Own) {
            // Before its history says that it is one that follows.
            self.note_behind(Behind::Begun)?;
        }
        let dir = match self.dir.take() {
            Some(dir) if hello.epoch > dir.epoch() => dir.at_epoch(hello.epoch)?,
            Some(dir) => dir,
            None => {
                let (found, asked) = (hello.partitions, wanted(&self.config, hello.partitions));
                if found != asked {
                    let path = self.path.clone();
                    return Err(WalError::PartitionCount { path, found, asked }.into());
                }
                let options = DirOptions {
                    cluster: Some(hello.cluster),
                    created_ms: hello.created_ms,
                    disk: Arc::clone(&self.disk),
                    beside: KEY_FILES,
                    ..DirOptions::new(hello.partitions)
                };
                let dir = DataDir::attend(&self.path, options, hello.epoch)?;
                self.shared.note_behind(&dir, Behind::Begun)?;
                dir
            }
        };
        self.dir = Some(dir.clone());
        self.enroll(&dir)?;
        Ok(dir)
    }

    /// The catalogue's files that are here.
    pub(super) fn files_here(&mut self, cluster: u128) -> Result<Vec<FileMeta>, FollowError> {
        let shelf = self.shelf.get_or_insert_with(|| Shelf::new(cluster));
        files::listed(shelf, &self.path.join("events")).map_err(FollowError::File)
    }

    /// The control connection's life. `told`: the primary knows already which files are here.
    fn keep_files(
        &mut self,
        (dir, history): (&DataDir, &History),
        control: &mut Wire,
        receiver: &mut Receiver,
        told: bool,
        trimmer: &mut Trimmer,
    ) -> Result<(), FollowError> {
        let cluster = self.dir.as_ref().map_or(0, DataDir::cluster);
        if !told {
            receiver.files(self.files_here(cluster)?);
        }
        let (mut intake, mut noted_ns) = (Intake::new(&self.path, cluster), 0);
        loop {
            trimmer.look()?;
            control.send(receiver)?;
            // Not before: the primary waits for the first word.
            if Clock::monotonic_ns().saturating_sub(noted_ns) > NOTE_NS {
                noted_ns = Clock::monotonic_ns();
                self.note_agreed(dir, history)?;
            }
            if !control.read_into(receiver)? {
                return Ok(());
            }
            loop {
                let mut done = None;
                let received = receiver.receive();
                if matches!(received, Ok(Some(_))) {
                    self.shared.lock().heard_ns = Some(Clock::monotonic_ns());
                }
                match received {
                    Ok(None) => break,
                    Ok(Some(Received::File { meta, offset, bytes })) => {
                        intake.take(&meta, offset, bytes).map_err(FollowError::File)?;
                    }
                    Ok(Some(Received::FilesDone { version })) => done = Some(version),
                    Ok(Some(Received::Heartbeat { time_ms, .. })) => {
                        let now = Clock::monotonic_ns();
                        if time_ms > 0 {
                            self.shared.change(|state| state.clock = Some((time_ms, now)));
                        }
                    }
                    Ok(Some(_)) => {}
                    Err(error) => return Err(error.into()),
                }
                if let Some(version) = done {
                    receiver.files_done(version);
                    // The next connection reads them again: a disk may lose what it had.
                    self.shelf = None;
                    self.has_files();
                }
            }
            control.report(receiver, &self.shared);
        }
    }
}

/// A session begins: what the applier and the outside see of it.
fn begin(state: &mut State, plan: Plan, hello: &Hello, resume: &BTreeMap<u16, Resume>) {
    let old = std::mem::take(&mut state.streams);
    state.streams = resume
        .iter()
        .map(|(&stream, from)| {
            let before = old.get(&stream).copied().unwrap_or_default();
            // What was committed in this epoch stays so.
            let committed =
                if before.committed.0 == hello.epoch { before.committed } else { (hello.epoch, 0) };
            let have = (from.epoch, from.position);
            (stream, before.resumed(have, committed))
        })
        .collect();
    if !planted(Bug::OldChecksKept) {
        // They may be about records that were never durable there: the same numbers are other records now.
        state.checks.clear();
    }
    state.plan = Some(plan);
    state.heard_ns = Some(Clock::monotonic_ns());
    (state.connected, state.trouble, state.apart_ns) = (true, None, None);
}
