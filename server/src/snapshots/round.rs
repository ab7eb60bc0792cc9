//! One round: every partition's next snapshot, then the trim.

use crate::core::{RecoveryError, load, logged};
use frontrow_plant::{Bug, planted};
use frontrow_shard::{Limits, Partition, Replayer, SnapshotHeader};
use frontrow_wal::{
    DataDir, LogIndex, Position, Segment, SegmentInfo, Snapshot, SnapshotMeta, Trimmed, WalError,
};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;

/// Why there is no snapshot. The log is as it was.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RoundError {
    /// The directory, the log or a snapshot.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The last snapshot does not load, or the log behind it does not replay.
    #[error("what recovery would do fails: {0}")]
    Recovery(#[from] RecoveryError),
    /// A partition cannot be written down.
    #[error("partition {partition} could not be saved: {why}; report it, and keep the data directory")]
    Save {
        /// The partition.
        partition: u16,
        /// The reason.
        why: String,
    },
}

/// What a round did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Done {
    /// Snapshots written.
    pub(crate) snapshots: u64,
    /// Their bytes.
    pub(crate) bytes: u64,
    /// What became of the log.
    pub(crate) trimmed: Trimmed,
}

/// Who reads the log beside recovery, and how much of it is kept for them alone.
pub(crate) struct Readers {
    /// By stream, up to where they have read it; `Position::MAX` if nobody reads it.
    pub(crate) read: Box<dyn Fn(u16) -> Position + Send>,
    /// Bytes that are kept for them at most.
    pub(crate) keep: u64,
}

/// By stream, up to where the log may be forgotten.
pub(crate) type Needed = Box<dyn Fn(u16) -> Position + Send>;

/// What is kept from round to round.
pub(crate) struct Round {
    dir: DataDir,
    limits: Limits,
    index: LogIndex,
    /// Who else reads the log.
    readers: Option<Readers>,
    /// By stream, up to where it may be forgotten.
    needed: Option<Needed>,
    /// By receiver and sender: up to which message the receiver's newest snapshot has the sender's. What is
    /// durable there need not be sent again, and need not stay in the sender's snapshot.
    received: Vec<Vec<u64>>,
    body: Vec<u8>,
}

impl Round {
    /// `index` is what recovery found out about the segments.
    pub(crate) fn new(dir: DataDir, limits: Limits, index: LogIndex) -> Self {
        let count = usize::from(dir.partitions());
        Self {
            dir,
            limits,
            index,
            readers: None,
            needed: None,
            received: vec![vec![0; count]; count],
            body: Vec::new(),
        }
    }

    /// The same, and what others have not read yet is kept.
    pub(crate) fn read_by(self, readers: Option<Readers>) -> Self {
        Self { readers, ..self }
    }

    /// The same, and what lies behind these positions is kept whatever becomes of it.
    pub(crate) fn needed_by(self, needed: Option<Needed>) -> Self {
        Self { needed, ..self }
    }

    /// Removes what the snapshots stand in for.
    fn trim(&mut self) -> Result<Trimmed, WalError> {
        let needed = |stream| self.needed.as_ref().map_or(Position::MAX, |needed| needed(stream));
        match &self.readers {
            Some(Readers { read, keep }) => self.dir.trim_within(&mut self.index, read, *keep, &needed),
            None => self.dir.trim(&mut self.index, &needed),
        }
    }

    /// Makes all snapshots, as far as `durable` says by stream that the log is; ends early, without a trim, when
    /// `stopping`.
    pub(crate) fn run(
        &mut self,
        durable: &[Arc<AtomicU64>],
        stopping: &dyn Fn() -> bool,
    ) -> Result<Done, RoundError> {
        // First what an earlier round made possible and did not come to, if the process ended in its middle.
        let mut done = Done { trimmed: self.trim()?, ..Done::default() };
        for id in self.oldest_first()? {
            if stopping() {
                return Ok(done);
            }
            if let Some(bytes) = self.advance(id, durable)? {
                done.snapshots += 1;
                done.bytes += bytes;
            }
        }
        // The memory of the largest partition is not kept until the next round.
        self.body = Vec::new();
        let last = self.trim()?;
        done.trimmed = Trimmed { segments: done.trimmed.segments + last.segments, ..last };
        Ok(done)
    }

    /// All partitions, those first whose newest snapshot was written longest ago: so that a process that never lives
    /// for a whole round comes to all of them all the same.
    fn oldest_first(&self) -> Result<Vec<u16>, RoundError> {
        let mut written = vec![None; usize::from(self.dir.partitions())];
        for file in self.dir.snapshots()? {
            let at = std::fs::metadata(file.path()).and_then(|file| file.modified()).ok();
            if let Some(newest) = written.get_mut(usize::from(file.partition())) {
                *newest = at.max(*newest);
            }
        }
        let mut ids: Vec<u16> = (0..self.dir.partitions()).collect();
        ids.sort_by_key(|id| written[usize::from(*id)]);
        Ok(ids)
    }

    /// Makes a partition's next snapshot; its bytes, or `None` if there is nothing to add.
    fn advance(&mut self, id: u16, durable: &[Arc<AtomicU64>]) -> Result<Option<u64>, RoundError> {
        // Before the listing: every segment up to there is in it then.
        let ends: Vec<Position> = durable.iter().map(|position| position.load(Acquire)).collect();
        let segments = self.dir.segments()?;
        let files = self.dir.snapshots()?;
        let base = self.dir.view().newest_snapshot(&files, id)?;
        let had = base.as_ref().map_or(0, |snapshot| snapshot.meta().lsn);
        let mut partition = self.replayed(id, base.as_ref(), &segments, &ends)?;
        drop(base);
        let twins = files.iter().filter(|file| file.partition() == id && file.lsn() == had).count();
        if partition.lsn() == 0 || (partition.lsn() == had && twins > 1) {
            return Ok(None);
        }
        let received: Vec<u64> = self.received.iter().map(|receiver| receiver[usize::from(id)]).collect();
        if planted(Bug::LettersNotSaved) {
            partition.confirm_all(&vec![u64::MAX; received.len()]);
        }
        partition.confirm_all(&received);
        let written = self.write(id, &partition)?;
        for (from, has) in self.received[usize::from(id)].iter_mut().enumerate() {
            *has = partition.received_from(from as u16);
        }
        Ok(Some(written))
    }

    fn write(&mut self, id: u16, partition: &Partition) -> Result<u64, RoundError> {
        let failed = |why: &dyn std::fmt::Display| RoundError::Save { partition: id, why: why.to_string() };
        self.body.clear();
        partition.save(&mut self.body).map_err(|error| failed(&error))?;
        let header = SnapshotHeader::read(&self.body).map_err(|error| failed(&error))?;
        let meta = SnapshotMeta {
            partition: id,
            lsn: partition.lsn(),
            epoch: partition.epoch(),
            time_ms: partition.now(),
            state_hash: header.state_hash,
        };
        self.dir.write_snapshot(&meta, &self.body)?;
        Ok(self.body.len() as u64)
    }

    /// The partition as it is at the log's durable end: its snapshot, and its records since.
    fn replayed(
        &mut self,
        id: u16,
        base: Option<&Snapshot>,
        segments: &[SegmentInfo],
        ends: &[Position],
    ) -> Result<Partition, RoundError> {
        let count = self.dir.partitions();
        let mut one: Vec<Option<Partition>> = (0..count).map(|_| None).collect();
        one[usize::from(id)] = Some(load(base, id, count, self.limits)?);
        let lsn = base.map_or(0, |snapshot| snapshot.meta().lsn);
        let wanted: Vec<bool> = (0..count).map(|other| other == id).collect();
        let mut replayer = Replayer::new(one.as_slice());
        for info in segments {
            if info.is_closed() {
                let index = self.index.of(info)?;
                if !index.partitions.iter().any(|span| span.partition == id && span.last > lsn) {
                    continue;
                }
            }
            let end = if info.is_old() { Position::MAX } else { stream_end(info, ends) };
            let segment = Segment::open(info)?;
            let failed = |source| RecoveryError::Replay { file: info.path().to_path_buf(), source };
            for found in segment.records_of(&wanted, end) {
                replayer.push(one.as_mut_slice(), &logged(&found?)).map_err(failed)?;
            }
            replayer.finish(one.as_mut_slice()).map_err(failed)?;
        }
        Ok(one[usize::from(id)].take().expect("put there above"))
    }
}

/// Up to where a stream of this epoch may be read; a stream that nobody has opened has nothing yet.
fn stream_end(info: &SegmentInfo, ends: &[Position]) -> Position {
    ends.get(usize::from(info.stream())).copied().unwrap_or(0)
}
