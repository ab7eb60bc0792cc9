//! Snapshots on a standby, and its log trimmed behind them: the same rounds as on the primary, up to what is committed,
//! and only once everything of the epochs before has come.

use super::progress::{At, Progress as Stream};
use super::status::{Plan, Shared, State};
use crate::snapshots::{Progress, Readers, Round, Snapshotter, Trigger};
use frontrow_shard::Limits;
use frontrow_wal::{DataDir, Floor, History, LogIndex, Position, WalError};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Release;

/// One session's snapshots.
pub(super) struct Trimmer {
    dir: DataDir,
    history: History,
    session: u64,
    shared: Arc<Shared>,
    /// What it was seeded with, until the log has come that far.
    floor: Option<Floor>,
    /// By stream, what is committed of the epoch under way.
    committed: Vec<Arc<AtomicU64>>,
    running: Option<Snapshotter>,
    limits: Limits,
    every: u64,
}

impl Trimmer {
    pub(super) fn new(
        (session, dir, history): Plan,
        streams: u16,
        shared: &Arc<Shared>,
        limits: Limits,
        every: u64,
    ) -> Result<Self, WalError> {
        let floor = dir.floor()?;
        let committed = (0..streams).map(|_| Arc::default()).collect();
        let shared = Arc::clone(shared);
        Ok(Self { dir, history, session, shared, floor, committed, running: None, limits, every })
    }

    /// Notes how far the streams are; begins once there is something to begin with.
    pub(super) fn look(&mut self) -> Result<(), WalError> {
        let (ready, reached) = {
            let state = self.shared.lock();
            for (&stream, progress) in &state.streams {
                if let Some(cell) = self.committed.get(usize::from(stream)) {
                    cell.store(committed(progress, self.history.epoch()), Release);
                }
            }
            (self.is_whole(&state), self.is_reached(&state))
        };
        if reached {
            self.dir.floor_reached()?;
            self.floor = None;
        }
        if ready && self.floor.is_none() && self.running.is_none() {
            self.running = Some(self.start()?);
        }
        Ok(())
    }

    /// Leaves it to end after the partition it is at. Only where nobody cuts the log next.
    pub(super) fn leave(&mut self) {
        self.running = None;
    }

    /// Ends with the session: the next one may cut the log.
    pub(super) fn stop(&mut self) {
        if let Some(running) = self.running.take() {
            running.stop();
        }
    }

    /// Whether the applier works from this session's history, and nothing of an earlier epoch is missing.
    fn is_whole(&self, state: &State) -> bool {
        let has = |(&stream, progress): (&u16, &Stream)| {
            let ended = self.history.epochs.iter().rev();
            let last = ended.filter_map(|entry| Some((entry.epoch, *entry.ends.get(&stream)?)));
            last.into_iter().find(|(_, end)| *end > 0).is_none_or(|last| progress.have >= last)
        };
        state.begun == self.session && !state.streams.is_empty() && state.streams.iter().all(has)
    }

    fn is_reached(&self, state: &State) -> bool {
        let Some(floor) = &self.floor else { return false };
        let has = |(&stream, progress): (&u16, &Stream)| floor.is_reached(stream, progress.have);
        self.is_whole(state) && state.streams.iter().all(has)
    }

    fn start(&self) -> Result<Snapshotter, WalError> {
        let log: u64 = self.dir.segments()?.iter().map(frontrow_wal::SegmentInfo::segment_bytes).sum();
        let shared = Arc::clone(&self.shared);
        // What is not applied yet is read from the log.
        let read = Box::new(move |stream| applied(&shared.lock(), stream).1);
        let round = Round::new(self.dir.clone(), self.limits, LogIndex::default())
            .read_by(Some(Readers { read, keep: u64::MAX }));
        // What a log has that is kept short is no reason for a round.
        let carried = log.saturating_sub(2 * self.every);
        let trigger = Trigger { every: self.every, durable: self.committed.clone(), carried };
        Snapshotter::start(round, trigger, Arc::<Progress>::default(), None).map_err(|source| WalError::Io {
            doing: "cannot start a thread for snapshots of",
            path: self.dir.view().path().into(),
            source,
        })
    }
}

impl Drop for Trimmer {
    fn drop(&mut self) {
        self.stop();
    }
}

fn applied(state: &State, stream: u16) -> At {
    state.streams.get(&stream).map_or((0, 0), |progress| progress.applied)
}

/// What is committed of the epoch under way, and here.
fn committed(progress: &Stream, present: u32) -> Position {
    let of = |(epoch, position): At| if epoch == present { position } else { 0 };
    // And applied: what rests on what has not come may have to go at a promotion.
    of(progress.have).min(of(progress.committed)).min(of(progress.applied))
}
