//! The standby's sockets and threads. A session is one control connection and one for each stream; when any of them
//! ends, all end, and the next session goes on from what is durable.

use super::applier::{Applied, Applier, ApplyError};
use super::causes::recover_caused;
use super::early::Early;
use super::files::{self, Intake};
use super::http::{self, Site};
use super::link::Check;
use super::primary::{NOTE_NS, SILENCE};
use super::status::{Plan, Progress, Shared, State};
use super::trimmer::Trimmer;
use super::view::Views;
use crate::catalogue::sound::Shelf;
use crate::cluster::{Change, Door, MarkError, Member, Own, mark};
use crate::config::Config;
use crate::core::RecoveryError;
use crate::identity::{Keys, KeysError};
use frontrow_engine::Clock;
use frontrow_plant::{Bug, planted};
use frontrow_shard::{Limits, Partition};
use frontrow_wal::fs::{Disk, RealDisk};
use frontrow_wal::stream::{
    CONTROL, FileMeta, Hello, Mirror, Received, Receiver, Refusal, RefusalCode, StreamError,
};
use frontrow_wal::{DataDir, DirOptions, History, NodeId, Resume, Role, WalError};
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::Notify;

pub(super) mod seeding;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// The same in a cluster: whoever tries to reach a primary that is gone cannot take over meanwhile.
const CONNECT_ELECTED: Duration = Duration::from_millis(100);
/// How often a reading thread looks up.
const LOOK: Duration = Duration::from_millis(250);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);
const HEARTBEAT_NS: u64 = 500_000_000;

/// Why a standby cannot go on, or cannot become the primary.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The data directory or its log.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The primary lacks what was acknowledged.
    #[error(transparent)]
    Lacking(WalError),
    /// What would be served could not be.
    #[error("{0}. No epoch was opened")]
    Replay(#[from] RecoveryError),
    /// What the data directory says of its cluster.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The primary that etcd names has nothing to do with this data.
    #[error(
        "etcd has {primary} as the primary of cluster `{name}`, and its data is of another installation than what is here: \
         two installations share that name, or cluster.etcd is the wrong one. Keep this data; correct cluster.name and \
         cluster.etcd on whichever node is wrong, and restart it"
    )]
    OtherInstallation {
        /// Where it is.
        primary: String,
        /// The cluster's name.
        name: String,
    },
    /// The conversation with the primary.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The connection to the primary.
    #[error(
        "the primary at {primary}: {source}; check that it runs and that its replication.listen is this address"
    )]
    Socket {
        /// The address.
        primary: String,
        /// The system's word.
        source: io::Error,
    },
    /// A file of the catalogue.
    #[error("a file of the catalogue cannot be kept: {0}; check the disk")]
    File(io::Error),
    /// Threads.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(io::Error),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The thread that talks to etcd, or its event loop.
    #[error("cannot take part in the cluster: {0}; raise the limit of open files (ulimit -n)")]
    Cluster(io::Error),
    /// The raw TCP side.
    #[error("cannot listen on {address}: {source}; choose another server.tcp, or stop what listens there")]
    Door {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The HTTP side.
    #[error("cannot serve HTTP on {address}: {source}; choose another address, or stop what listens there")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
}

/// What a promoted standby goes on with.
pub struct Promoted {
    /// Its directory, at the epoch it has opened.
    pub dir: DataDir,
    /// Its history, with that epoch.
    pub history: History,
    /// The partitions as they are after all that arrived; `None` if the log must be replayed.
    pub partitions: Option<Vec<Partition>>,
    /// The old primary's time, as far as it was heard.
    pub now_ms: Option<u64>,
    /// Rung when the process is told to end while it takes over.
    pub told: Arc<Notify>,
}

/// Whom a standby follows.
pub enum Leader {
    /// This address, whatever happens.
    At(String),
    /// Whoever etcd says is primary.
    Elected(Arc<Member>),
}

impl Leader {
    fn address(&self) -> Option<String> {
        match self {
            Self::At(address) => Some(address.clone()),
            Self::Elected(member) => member.to_follow().map(|at| at.replication),
        }
    }

    /// How long a connection may take to come about.
    fn patience(&self) -> Duration {
        match self {
            Self::At(_) => CONNECT,
            Self::Elected(_) => CONNECT_ELECTED,
        }
    }

    fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Self::At(_) => None,
            Self::Elected(member) => Some(member),
        }
    }
}

/// Follows `leader` until the process is told to end (`None`) or to take over. `ready` is called with the address
/// of the HTTP side once there is one.
pub fn follow(
    config: &Config,
    leader: Leader,
    limits: Limits,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Promoted>, FollowError> {
    let shared = Arc::<Shared>::default();
    stop_on_signal(&shared)?;
    let mut standby =
        Standby::new(config, leader, limits, Arc::clone(&shared), Some(Box::new(ready)), Arc::new(RealDisk))?;
    let door = standby.take_part()?;
    standby.answer_early()?;
    let applier = Applier::new(Arc::clone(&shared), limits, Arc::clone(&standby.views));
    let applier = spawn("repl-apply", move || applier.run())?;
    while !shared.lock().is_ending() {
        if let Some(primary) = standby.leader.address() {
            let ended = standby.session(&primary);
            standby.note(ended)?;
        }
        drop(shared.wait(PAUSE, State::is_ending));
    }
    tracing::debug!("follows no more");
    drop(standby.early.take().map(Early::end));
    if let Some(door) = door {
        door.close();
    }
    if let Some(thread) = standby.http_thread.take() {
        let _ = thread.join();
    }
    tracing::debug!("the ports are free");
    let promote = shared.lock().promote;
    shared.change(|state| if promote { state.finish = true } else { state.stop = true });
    let applied = applier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if !promote {
        return Ok(None);
    }
    tracing::debug!("everything that came is applied");
    standby.take_over(applied).map(Some)
}

/// SIGINT and SIGTERM end the standby.
fn stop_on_signal(shared: &Arc<Shared>) -> Result<(), FollowError> {
    let shared = Arc::clone(shared);
    let wait = move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut term = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
            tokio::select! {
                result = tokio::signal::ctrl_c() => result,
                _ = term.recv() => Ok(()),
            }
        })?;
        shared.told.notify_one();
        shared.end(|state| state.stop = true);
        Ok(())
    };
    spawn("repl-signal", move || {
        let waited: io::Result<()> = wait();
        if let Err(error) = waited {
            tracing::error!(%error, "no signals can be waited for");
        }
    })
    .map(drop)
}

pub(super) struct Standby<'a> {
    path: std::path::PathBuf,
    disk: Arc<dyn Disk>,
    config: Config,
    leader: Leader,
    limits: Limits,
    shared: Arc<Shared>,
    /// What the applier shows.
    views: Arc<Views>,
    pub(super) dir: Option<DataDir>,
    pub(super) node: NodeId,
    role: Option<Role>,
    /// Whether the directory has ever been in a cluster.
    marked: bool,
    sessions: u64,
    /// Whether the first segments of an epoch of its own are made already.
    spares: bool,
    /// The primary's log begins behind what is here.
    pub(super) seed_needed: bool,
    /// What is here is not all that it should be: it follows, and does not become primary, before that is mended.
    unfit: bool,
    /// What keeps it from following, or from becoming primary, whether or not anybody can be reached.
    grave: Option<String>,
    /// Called once there is an HTTP side.
    ready: Option<Box<dyn FnOnce(SocketAddr) + 'a>>,
    http_thread: Option<JoinHandle<()>>,
    /// What answers over HTTP before.
    early: Option<Early>,
    /// What is known of the catalogue's files, until the primary has heard of them.
    shelf: Option<Shelf>,
}

impl<'a> Standby<'a> {
    /// `ready` is called once there is an HTTP side; without it there is none.
    pub(super) fn new(
        config: &Config,
        leader: Leader,
        limits: Limits,
        shared: Arc<Shared>,
        ready: Option<Box<dyn FnOnce(SocketAddr) + 'a>>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, FollowError> {
        let path = config.server.data.clone();
        let mut standby = Self {
            path,
            disk,
            config: config.clone(),
            leader,
            limits,
            shared,
            views: Arc::default(),
            dir: None,
            node: 0,
            role: None,
            marked: false,
            sessions: 0,
            spares: false,
            seed_needed: false,
            unfit: false,
            grave: None,
            ready,
            http_thread: None,
            early: None,
            shelf: None,
        };
        match standby.leader.member() {
            Some(_) => standby.marked = mark::admits(&standby.path, &config.cluster.name)?,
            None => mark::is_free(&standby.path)?,
        }
        if let Some(found) = DataDir::peek(&standby.path)? {
            let (count, disk) = (wanted(config, found.partitions), Arc::clone(&standby.disk));
            let options = DirOptions { create: false, disk, ..DirOptions::new(count) };
            let dir = DataDir::attend(&standby.path, options, 0)?;
            dir.erase_torn()?;
            let history = dir.history()?;
            standby.node = history.as_ref().map_or(0, |history| history.node);
            // A directory without a history was served from before there were any.
            standby.role = Some(history.map_or(Role::Primary, |history| history.role));
            standby.look_over(&dir);
            standby.dir = Some(dir);
            standby.serve_http()?;
        }
        if standby.node == 0 {
            standby.node = frontrow_wal::new_node()?;
        }
        Ok(standby)
    }

    /// Before this node says that it may take over: whether it could. It follows all the same, and so is mended.
    fn look_over(&mut self, dir: &DataDir) {
        let base = dir.view().check_base();
        let agreed = dir.view().check_agreed();
        let Some(error) = base.as_ref().err().or(agreed.as_ref().err()) else { return };
        tracing::error!(%error, "this node does not take over before the primary has mended it");
        self.unfit = true;
        self.seed_needed = base.is_err();
        let told = error.to_string();
        self.grave = Some(told.clone());
        self.shared.change(|state| {
            state.baseless = base.as_ref().err().map(|_| format!("{told}; a seed is asked of the primary"));
            state.trouble = Some(told);
        });
    }

    /// With a cluster: says who this node is, hears what becomes of it, and answers at the raw TCP port.
    fn take_part(&self) -> Result<Option<Door>, FollowError> {
        let Some(member) = self.leader.member() else { return Ok(None) };
        let address = self.config.server.tcp;
        let door = Door::open(address, member).map_err(|source| FollowError::Door { address, source })?;
        let shared = Arc::clone(&self.shared);
        member.on_change(move |change| match change {
            Change::Primary => shared.change(State::close),
            Change::Won => shared.end(|state| state.promote = true),
        });
        if let Some(dir) = &self.dir {
            let at_rest = dir.reached()?;
            self.shared.change(|state| state.at_rest = at_rest);
        }
        let shared = Arc::clone(&self.shared);
        member.reaches(move || shared.lock().reached());
        self.introduce();
        Ok(Some(door))
    }

    fn introduce(&self) {
        if let Some(member) = self.leader.member().filter(|_| !self.unfit) {
            let epoch = self.dir.as_ref().map_or(0, DataDir::epoch);
            member.introduce(Own {
                node: self.node,
                role: self.role,
                epoch,
                allow_loss: false,
                marked: self.marked,
            });
        }
    }

    /// Without a data directory there may be somebody who wants to know why.
    fn answer_early(&mut self) -> Result<(), FollowError> {
        if self.ready.is_some() {
            let address = self.config.server.http;
            let failed = |source| FollowError::Http { address, source };
            let listener = TcpListener::bind(address).map_err(failed)?;
            let member = self.leader.member().cloned();
            let early = Early::begin(listener, Arc::clone(&self.shared), member).map_err(failed)?;
            self.early = Some(early);
        }
        Ok(())
    }

    /// Starts the HTTP side, once there is a data directory: an operator's key may have to be kept there.
    fn serve_http(&mut self) -> Result<(), FollowError> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        let keys = Keys::open(&self.config)?;
        let address = self.config.server.http;
        let failed = |source| FollowError::Http { address, source };
        let listener = match self.early.take() {
            Some(early) => early.end(),
            None => TcpListener::bind(address).map_err(failed)?,
        };
        ready(listener.local_addr().map_err(failed)?);
        let cluster = self.dir.as_ref().map_or(0, DataDir::cluster);
        let member = self.leader.member().cloned();
        let site =
            Site::new(&self.config, keys, cluster, member, Arc::clone(&self.shared), Arc::clone(&self.views));
        let thread = spawn("frontrow-http", move || {
            if let Err(error) = http::serve(listener, site) {
                tracing::error!(%error, "HTTP ended");
            }
        })?;
        self.http_thread = Some(thread);
        Ok(())
    }

    /// A session has ended: says why, once, and whether there can be another.
    pub(super) fn note(&mut self, ended: Result<(), FollowError>) -> Result<(), FollowError> {
        if let Err(error @ FollowError::Lacking(_)) = &ended {
            self.grave = Some(error.to_string());
        }
        let trouble = match ended {
            // That nobody is there any more is not what must be mended.
            Err(FollowError::Socket { .. }) if self.grave.is_some() => self.grave.clone().unwrap_or_default(),
            // The disk or the log: going on would not mend it.
            Err(
                error @ (FollowError::Log(_)
                | FollowError::Mark(_)
                | FollowError::File(_)
                | FollowError::Thread(_)),
            ) => {
                return Err(error);
            }
            Err(error) => error.to_string(),
            Ok(()) => "the session has ended".to_owned(),
        };
        self.shared.change(|state| {
            state.connected = false;
            if !state.is_ending() && state.trouble.as_ref() != Some(&trouble) {
                tracing::warn!(%trouble, "no primary is followed; trying again");
            }
            state.trouble = Some(trouble);
        });
        Ok(())
    }

    /// One session, until any of its connections ends.
    fn session(&mut self, primary: &str) -> Result<(), FollowError> {
        self.shared.change(|state| state.open = true);
        let mut control = Wire::open(primary, self.leader.patience(), &self.shared)?;
        let (cluster, seen) = self.dir.as_ref().map_or((0, 0), |dir| (dir.cluster(), dir.epoch()));
        let mut receiver = Receiver::new(CONTROL, cluster, self.node, seen);
        let hello = control.hello(&mut receiver).map_err(|error| self.foreign(error, primary))?;
        self.refuse_lacking(&mut control, &mut receiver, &hello)?;
        let (told, dir, resume) = self.fit(&mut control, &mut receiver, &hello)?;
        self.make_spares(&dir)?;
        self.serve_http()?;
        let (plan, followers) = self.begin_session(&dir, &hello, resume, primary)?;
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

    /// Before it serves or follows in a cluster for the first time, a directory is marked as a member.
    fn enroll(&mut self, dir: &DataDir) -> Result<(), FollowError> {
        if self.leader.member().is_some() {
            mark::join(&self.path, dir, &self.config.cluster.name)?;
            self.marked = true;
        }
        Ok(())
    }

    /// The directory is fit: what is followed, and by whom.
    pub(super) fn begin_session(
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
    pub(super) fn spares_wanted(&mut self) -> Option<(u64, u16)> {
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
    fn note_agreed(&self, dir: &DataDir, history: &History) -> Result<(), WalError> {
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
    pub(super) fn note_what_is_agreed(&self) -> Result<(), WalError> {
        let plan = self.shared.lock().plan.clone();
        plan.map_or(Ok(()), |(_, dir, history)| self.note_agreed(&dir, &history))
    }

    /// Makes the directory, or its log, fit to be gone on with.
    pub(super) fn prepare(&mut self, hello: &Hello) -> Result<(DataDir, BTreeMap<u16, Resume>), FollowError> {
        let dir = self.join(hello)?;
        let resume = dir.follow_history(hello, self.node)?;
        self.role = Some(Role::Standby);
        (self.unfit, self.grave) = (false, None);
        self.introduce();
        Ok((dir, resume))
    }

    /// The directory, at the primary's epoch; made if it is not there.
    pub(super) fn join(&mut self, hello: &Hello) -> Result<DataDir, FollowError> {
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
                    ..DirOptions::new(hello.partitions)
                };
                DataDir::attend(&self.path, options, hello.epoch)?
            }
        };
        self.dir = Some(dir.clone());
        self.enroll(&dir)?;
        Ok(dir)
    }

    /// The catalogue's files that are here.
    fn files_here(&mut self, cluster: u128) -> Result<Vec<FileMeta>, FollowError> {
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
                match receiver.receive() {
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
                    self.shared.files.notify_one();
                }
            }
            control.beat(receiver, (0, 0));
        }
    }

    /// What a standby that has applied nothing is about to serve, before it opens an epoch: one that cannot be replayed
    /// must not keep the node away that could serve. `None` for a primary's directory, which is opened as at any start.
    fn replayed(
        &self,
        dir: &DataDir,
        have: &BTreeMap<u16, (u32, u64)>,
    ) -> Result<Option<Vec<Partition>>, FollowError> {
        if self.role != Some(Role::Standby) {
            return Ok(None);
        }
        dir.check_promotable(have)?;
        Ok(Some(recover_caused(dir, self.limits)?.partitions))
    }

    /// Opens the next epoch, with everything that has arrived applied.
    pub(super) fn take_over(mut self, applied: Result<Applied, ApplyError>) -> Result<Promoted, FollowError> {
        let now_ms = self.shared.lock().primary_ms();
        let won = self.leader.member().and_then(|member| member.won());
        let dir = match (self.dir.take(), won) {
            (Some(dir), _) => dir,
            // The first primary of a new cluster.
            (None, Some(_)) => {
                let partitions = self.config.partitions.count;
                let options = DirOptions { created_ms: Clock::wall_ms(), ..DirOptions::new(partitions) };
                DataDir::attend(&self.path, options, 0)?
            }
            (None, None) => return Err(WalError::NotInitialised { path: self.path }.into()),
        };
        let mut have: BTreeMap<_, _> =
            self.shared.lock().streams.iter().map(|(&stream, progress)| (stream, progress.have)).collect();
        let partitions = match applied {
            Ok(Applied { partitions, cuts }) if !partitions.is_empty() => {
                for (stream, at) in cuts {
                    tracing::warn!(stream, position = at.1, "cut: what follows rests on what has not come");
                    dir.cut_stream(stream, at)?;
                    have.insert(stream, at);
                }
                Some(partitions)
            }
            Ok(_) => self.replayed(&dir, &have)?,
            Err(error) => {
                tracing::error!(%error, "the log is replayed before this node serves");
                self.replayed(&dir, &have)?
            }
        };
        // The session's threads are gone, and with them every other handle on the directory but the applier's.
        self.shared.change(|state| state.plan = None);
        let (dir, history) = match won {
            Some(epoch) => dir.open_epoch(epoch, self.node, &have)?,
            None => dir.promote()?,
        };
        self.enroll(&dir)?;
        tracing::warn!(epoch = dir.epoch(), "this node is the primary now");
        Ok(Promoted { dir, history, partitions, now_ms, told: Arc::clone(&self.shared.told) })
    }
}

/// The number of partitions that is asked for; if none is, the one there is.
fn wanted(config: &Config, found: u16) -> u16 {
    if config.partitions.asked { config.partitions.count } else { found }
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
    (state.connected, state.trouble) = (true, None);
}

/// One stream of a session.
pub(super) struct Follower {
    pub(super) stream: u16,
    pub(super) from: Resume,
    primary: String,
    shared: Arc<Shared>,
    dir: DataDir,
    node: NodeId,
    hello: Hello,
}

impl Follower {
    /// Copies the stream until the connection ends; then the whole session does.
    fn run(self) -> Result<(), FollowError> {
        let result = self.copy();
        self.shared.change(State::close);
        result
    }

    fn copy(&self) -> Result<(), FollowError> {
        let mut wire = Wire::open(&self.primary, CONNECT, &self.shared)?;
        let mut receiver = self.ask();
        let hello = wire.hello(&mut receiver)?;
        self.welcome(&mut receiver, &hello)?;
        let mut mirror = Mirror::new(self.dir.clone(), self.stream);
        let mut have = (self.from.epoch, self.from.position);
        loop {
            wire.send(&mut receiver)?;
            if !wire.read_into(&mut receiver)? {
                return Ok(());
            }
            while self.take_one(&mut receiver, &mut mirror, &mut have)? {
                // What is durable is said at once: somebody's answer waits for it.
                wire.send(&mut receiver)?;
            }
            wire.beat(&mut receiver, have);
        }
    }

    /// Asks for the stream.
    pub(super) fn ask(&self) -> Receiver {
        Receiver::new(self.stream, self.dir.cluster(), self.node, self.dir.epoch())
    }

    /// The primary has said who it is.
    pub(super) fn welcome(&self, receiver: &mut Receiver, hello: &Hello) -> Result<(), FollowError> {
        if *hello != self.hello {
            return Err(StreamError::Unexpected("it has begun another epoch meanwhile").into());
        }
        receiver.welcome(self.from.epoch, self.from.position, self.from.sealed);
        Ok(())
    }

    /// What writes the stream down, with no thread of its own.
    pub(super) fn mirror(&self) -> Mirror {
        Mirror::new(self.dir.clone(), self.stream).without_threads()
    }

    /// Takes one thing that has arrived. Whether there was any.
    pub(super) fn take_one(
        &self,
        receiver: &mut Receiver,
        mirror: &mut Mirror,
        have: &mut (u32, u64),
    ) -> Result<bool, FollowError> {
        let stream = self.stream;
        let progress = |change: &dyn Fn(&mut Progress)| {
            self.shared.change(|state| state.streams.get_mut(&stream).map(change));
        };
        let mut ack = None;
        match receiver.receive()? {
            None => return Ok(false),
            Some(Received::Segment(start)) => {
                let span = start.segment_bytes - frontrow_wal::SEGMENT_HEADER_BYTES;
                let lasts = start.epoch == self.hello.epoch;
                let end = self.hello.epochs.iter().find(|entry| entry.epoch == start.epoch);
                let end = end.and_then(|entry| entry.ends.get(&stream)).copied().unwrap_or(0);
                mirror.segment(start, lasts || end > start.first_position + span)?;
            }
            Some(Received::Data { segment, offset, bytes, batches, sealed }) => {
                ack = Some((segment.epoch, mirror.write(offset, bytes, &batches, sealed)?));
            }
            Some(Received::Committed { epoch, position }) => {
                progress(&|progress| progress.committed = progress.committed.max((epoch, position)));
            }
            Some(Received::Check { partition, lsn, hash }) => {
                self.shared.change(|state| state.checks.push(Check { partition, lsn, hash }));
            }
            Some(Received::Heartbeat { epoch, durable, .. }) => {
                let now = Clock::monotonic_ns();
                progress(&|progress| progress.heard((epoch, durable), now));
            }
            Some(_) => {}
        }
        if let Some((epoch, position)) = ack {
            receiver.ack(epoch, position);
            *have = (epoch, position);
            progress(&|progress| progress.have = (epoch, position));
        }
        Ok(true)
    }
}

/// One connection to the primary.
struct Wire {
    primary: String,
    socket: TcpStream,
    buffer: Vec<u8>,
    heard_ns: u64,
    beat_ns: u64,
}

impl Wire {
    fn open(primary: &str, patience: Duration, shared: &Shared) -> Result<Self, FollowError> {
        let failed = |source| FollowError::Socket { primary: primary.to_owned(), source };
        let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
        for address in primary.to_socket_addrs().map_err(failed)? {
            match TcpStream::connect_timeout(&address, patience) {
                Ok(socket) => {
                    socket.set_nodelay(true).map_err(failed)?;
                    socket.set_read_timeout(Some(LOOK)).map_err(failed)?;
                    socket.set_write_timeout(Some(SILENCE)).map_err(failed)?;
                    if !shared.keep(&socket).map_err(failed)? {
                        return Err(failed(io::ErrorKind::ConnectionAborted.into()));
                    }
                    let (primary, buffer) = (primary.to_owned(), vec![0; 256 << 10]);
                    return Ok(Self { primary, socket, buffer, heard_ns: Clock::monotonic_ns(), beat_ns: 0 });
                }
                Err(error) => last = error,
            }
        }
        Err(failed(last))
    }

    /// The first word of the primary.
    fn hello(&mut self, receiver: &mut Receiver) -> Result<Hello, FollowError> {
        loop {
            self.send(receiver)?;
            match receiver.receive() {
                Ok(Some(Received::Hello(hello))) => return Ok(hello),
                Ok(Some(_)) => return Err(StreamError::Unexpected("its first word is not its hello").into()),
                Ok(None) => {}
                Err(error) => {
                    // The primary is told why.
                    let _ = self.send(receiver);
                    return Err(error.into());
                }
            }
            if !self.read_into(receiver)? {
                return Err(self.failed(io::ErrorKind::UnexpectedEof.into()));
            }
        }
    }

    /// Reads what has come, waiting for a moment. `false` once the connection is over.
    fn read_into(&mut self, receiver: &mut Receiver) -> Result<bool, FollowError> {
        match self.socket.read(&mut self.buffer) {
            Ok(0) => return Ok(false),
            Ok(n) => {
                receiver.push(&self.buffer[..n]);
                self.heard_ns = Clock::monotonic_ns();
            }
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {
                if Clock::monotonic_ns() - self.heard_ns > SILENCE.as_nanos() as u64 {
                    return Err(self.failed(io::ErrorKind::TimedOut.into()));
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(self.failed(error)),
        }
        Ok(true)
    }

    fn send(&mut self, receiver: &mut Receiver) -> Result<(), FollowError> {
        let out = receiver.take_out();
        if out.is_empty() {
            return Ok(());
        }
        self.socket.write_all(&out).map_err(|error| self.failed(error))
    }

    /// Now and then a word that we live.
    fn beat(&mut self, receiver: &mut Receiver, (epoch, position): (u32, u64)) {
        let now = Clock::monotonic_ns();
        if now - self.beat_ns > HEARTBEAT_NS {
            self.beat_ns = now;
            receiver.heartbeat(0, epoch, position);
        }
    }

    fn failed(&self, source: io::Error) -> FollowError {
        FollowError::Socket { primary: self.primary.clone(), source }
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, FollowError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(FollowError::Thread)
}
