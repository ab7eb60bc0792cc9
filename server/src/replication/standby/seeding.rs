//! A standby whose log cannot be gone on with begins anew: from the primary's snapshots, and its log from there.

use super::wire::Wire;
use super::{FollowError, Standby};
use crate::replication::behind::Behind;
use crate::replication::files::Intake;
use crate::replication::status::State;
use frontrow_engine::Clock;
use frontrow_wal::stream::{Hello, Received, Receiver, RefusalCode, StreamError};
use frontrow_wal::{DataDir, Floor, Resume, SeedError, SeedIntake, WalError};
use std::collections::BTreeMap;
use std::io;
use std::time::Duration;

/// How often it is looked whether the applier has let go.
const LOOK: Duration = Duration::from_millis(100);

impl From<SeedError> for FollowError {
    fn from(error: SeedError) -> Self {
        match error {
            SeedError::Log(error) => Self::Log(error),
            SeedError::Stream(error) => Self::Stream(error),
        }
    }
}

/// Whether a stream ended because what this node wants is not in the primary's log any more.
pub(super) fn is_behind(ended: &Result<(), FollowError>) -> bool {
    let Err(FollowError::Stream(StreamError::Refused(refusal))) = ended else { return false };
    refusal.code == RefusalCode::SnapshotNeeded
}

/// A directory that can be gone on with, and from where by stream.
type Fit = (DataDir, BTreeMap<u16, Resume>);

impl Standby<'_> {
    /// Makes the directory fit to be gone on with: as it is if it can be, else from a seed. Whether the primary has
    /// been told which files are here, and from where each stream goes on.
    pub(super) fn fit(
        &mut self,
        control: &mut Wire,
        receiver: &mut Receiver,
        hello: &Hello,
    ) -> Result<(bool, DataDir, BTreeMap<u16, Resume>), FollowError> {
        if let Some((dir, resume)) = self.prepare_or_seed(hello)? {
            return Ok((false, dir, resume));
        }
        self.shared.change(|state| state.seeding = true);
        let seeded = self.seed(control, receiver, hello);
        self.shared.change(|state| state.seeding = false);
        seeded?;
        self.seed_needed = false;
        self.shared.change(|state| state.baseless = None);
        let (dir, resume) = self.prepare(hello)?;
        Ok((true, dir, resume))
    }

    /// Makes the directory fit as it is; `None` if it must be seeded.
    pub(in crate::replication) fn prepare_or_seed(
        &mut self,
        hello: &Hello,
    ) -> Result<Option<Fit>, FollowError> {
        if self.seed_needed {
            return Ok(None);
        }
        match self.prepare(hello) {
            Err(FollowError::Log(error @ WalError::TrimmedStandby { .. })) => {
                tracing::warn!(%error, "this log cannot be gone on with");
                Ok(None)
            }
            fit => fit.map(Some),
        }
    }

    /// Asks for a seed and puts it in the place of what is here.
    fn seed(
        &mut self,
        control: &mut Wire,
        receiver: &mut Receiver,
        hello: &Hello,
    ) -> Result<(), FollowError> {
        let dir = self.join(hello)?;
        self.note_behind(Behind::Begun)?;
        receiver.files(self.files_here(dir.cluster())?);
        receiver.want_seed();
        tracing::warn!(
            "what is here cannot be gone on with by the primary's log: this node is seeded from its snapshots"
        );
        let (mut files, mut seed) = (Intake::new(&self.path, dir.cluster()), SeedIntake::begin(&dir)?);
        loop {
            control.send(receiver)?;
            if !control.read_into(receiver)? {
                return Err(control.failed(io::ErrorKind::UnexpectedEof.into()));
            }
            while let Some(step) = self.take_piece(receiver, &mut files, &mut seed)? {
                match step {
                    Step::More => {}
                    Step::Files(version) => {
                        receiver.files_done(version);
                        self.has_files();
                    }
                    Step::Whole(count, floor) => {
                        if !self.let_go() {
                            return Err(control.failed(io::ErrorKind::Interrupted.into()));
                        }
                        return self.place_seed(seed, (count, floor), hello);
                    }
                }
                // Writing may take long, and the primary waits for a word.
                control.report(receiver, &self.shared);
                control.send(receiver)?;
            }
            control.report(receiver, &self.shared);
        }
    }

    /// Puts a seed that has wholly come in the place of what is here, which the applier has let go of.
    pub(in crate::replication) fn place_seed(
        &mut self,
        seed: SeedIntake,
        (files, floor): (u32, Floor),
        hello: &Hello,
    ) -> Result<(), FollowError> {
        let history = self.join(hello)?.history_of(hello, self.node)?;
        let placed = seed.place(files, floor, &history);
        self.shared.change(|state| (state.hold, state.held) = (false, false));
        // What was made ahead lies aside as well.
        self.spares = false;
        placed?;
        self.seed_needed = false;
        Ok(())
    }

    /// Takes a piece of a seed where there are no files of a catalogue.
    pub(in crate::replication) fn take_seed_piece(
        &self,
        receiver: &mut Receiver,
        seed: &mut SeedIntake,
    ) -> Result<Option<Step>, FollowError> {
        let cluster = self.dir.as_ref().map_or(0, DataDir::cluster);
        self.take_piece(receiver, &mut Intake::new(&self.path, cluster), seed)
    }

    /// Takes one thing that has arrived; `None` if there is none.
    fn take_piece(
        &self,
        receiver: &mut Receiver,
        files: &mut Intake,
        seed: &mut SeedIntake,
    ) -> Result<Option<Step>, FollowError> {
        match receiver.receive()? {
            None => return Ok(None),
            Some(Received::Seed { meta, offset, bytes }) => seed.take(&meta, offset, bytes)?,
            Some(Received::SeedDone { files, floor }) => return Ok(Some(Step::Whole(files, floor))),
            Some(Received::File { meta, offset, bytes }) => {
                files.take(&meta, offset, bytes).map_err(FollowError::File)?;
            }
            Some(Received::FilesDone { version }) => return Ok(Some(Step::Files(version))),
            Some(Received::Heartbeat { time_ms, .. }) if time_ms > 0 => {
                let now = Clock::monotonic_ns();
                self.shared.change(|state| state.clock = Some((time_ms, now)));
            }
            Some(_) => {}
        }
        Ok(Some(Step::More))
    }

    /// Has the applier let go of the log, which is about to be another one. False if the process is to end.
    fn let_go(&self) -> bool {
        self.shared.change(State::hold_on);
        let is_held = |state: &State| state.held || state.broken.is_some();
        let done = |state: &State| is_held(state) || state.stop;
        while !done(&self.shared.wait(LOOK, done)) {}
        is_held(&self.shared.lock())
    }
}

/// What has come.
pub(in crate::replication) enum Step {
    More,
    /// All of the catalogue's files up to this version.
    Files(u64),
    /// All files of the seed.
    Whole(u32, Floor),
}
