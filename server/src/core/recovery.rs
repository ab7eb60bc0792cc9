//! From snapshots and the log to partitions: each starts from its newest good snapshot, and every record behind
//! it is applied again and must come out as it did. Partitions are independent until the end, so several threads
//! take some each; how many cores served before, and wrote which stream, does not matter.

use frontrow_plant::{Bug, planted};
use frontrow_shard::{Limits, Logged, Partition, ReplayError, ReplayFault, Replayer, SnapshotError};
use frontrow_wal::{
    DataDir, LogIndex, Position, Record, Segment, SegmentIndex, SegmentInfo, Snapshot, SnapshotFile, Tail,
    WalError, spans,
};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Why the state could not be built again.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The data directory itself.
    #[error(transparent)]
    Log(#[from] WalError),
    /// A record that cannot be replayed.
    #[error("{file}, {source}")]
    Replay {
        /// The segment.
        file: PathBuf,
        /// The record, and what is wrong with it.
        source: ReplayError,
    },
    /// A snapshot whose bytes are as they were written, and that is no state here.
    #[error("{file}: {source}")]
    Snapshot {
        /// The snapshot.
        file: PathBuf,
        /// What is wrong with it.
        source: SnapshotError,
    },
}

impl RecoveryError {
    fn of(file: &Path, source: ReplayError) -> Self {
        Self::Replay { file: file.to_path_buf(), source }
    }
}

/// What snapshots and log gave.
pub struct Recovered {
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// Records applied.
    pub records: u64,
    /// Their bytes in the log.
    pub bytes: u64,
    /// Partitions that began with a snapshot.
    pub snapshots: u64,
    /// Bytes of commits that never became durable, cut.
    pub torn_bytes: u64,
    /// What is in each segment.
    pub index: LogIndex,
}

impl Recovered {
    /// Partitions that are as the log leaves them already: nothing was replayed now.
    pub(crate) fn applied(partitions: Vec<Partition>) -> Self {
        let (records, bytes, snapshots, torn_bytes) = (0, 0, 0, 0);
        Self { partitions, records, bytes, snapshots, torn_bytes, index: LogIndex::default() }
    }
}

/// Builds all partitions again. Whether messages between them arrived is reconciled afterwards, so that exactly
/// those are left to send that never did.
pub fn recover(dir: &DataDir, limits: Limits) -> Result<Recovered, RecoveryError> {
    let count = dir.partitions();
    let threads = std::thread::available_parallelism().map_or(1, usize::from).clamp(1, usize::from(count));
    let segments = dir.segments()?;
    let indexes = index_all(&segments, threads)?;
    refuse_unknown(count, &segments, &indexes)?;
    dir.view().check_ends(segments.iter().zip(indexes.iter().map(|index| &**index)))?;
    let log = Log { dir, limits, segments: &segments, indexes: &indexes, files: dir.snapshots()? };
    let parts = on_threads(threads, |worker| log.replay_share(worker, threads))?;
    let mut recovered = Recovered {
        partitions: Vec::new(),
        records: parts.iter().map(|part| part.records).sum(),
        bytes: parts.iter().map(|part| part.bytes).sum(),
        snapshots: parts.iter().map(|part| part.snapshots).sum(),
        torn_bytes: indexes.iter().map(|index| torn(index)).sum(),
        index: LogIndex::default(),
    };
    let mut shares: Vec<_> = parts.into_iter().map(|part| part.partitions).collect();
    let take = |at: usize| shares[at % threads][at].take().expect("each has its share");
    recovered.partitions = (0..usize::from(count)).map(take).collect();
    Replayer::new(recovered.partitions.as_slice()).reconcile(recovered.partitions.as_mut_slice());
    for (info, index) in segments.iter().zip(indexes) {
        recovered.index.insert(info, index);
    }
    Ok(recovered)
}

fn torn(index: &SegmentIndex) -> u64 {
    if let Tail::Torn { bytes, .. } = index.tail { bytes } else { 0 }
}

/// Runs `work` for each number below `threads` on a thread of its own; the first error by number.
fn on_threads<T: Send>(
    threads: usize,
    work: impl Fn(usize) -> Result<T, RecoveryError> + Sync,
) -> Result<Vec<T>, RecoveryError> {
    std::thread::scope(|scope| {
        let work = &work;
        let running: Vec<_> = (0..threads).map(|n| scope.spawn(move || work(n))).collect();
        let ended = running.into_iter().map(std::thread::ScopedJoinHandle::join);
        ended.map(|end| end.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    })
}

/// Reads every segment once: whether it is good, and which partitions it is about.
fn index_all(segments: &[SegmentInfo], threads: usize) -> Result<Vec<Arc<SegmentIndex>>, RecoveryError> {
    let next = AtomicUsize::new(0);
    let shares = on_threads(threads, |_| {
        let mut found = Vec::new();
        loop {
            let at = next.fetch_add(1, Relaxed);
            let Some(info) = segments.get(at) else { return Ok(found) };
            found.push((at, Arc::new(SegmentIndex::scan(&Segment::open_at_rest(info)?)?)));
        }
    })?;
    let mut all: Vec<_> = shares.into_iter().flatten().collect();
    all.sort_by_key(|(at, _)| *at);
    Ok(all.into_iter().map(|(_, index)| index).collect())
}

/// No record may be about a partition that this directory does not have.
fn refuse_unknown(
    count: u16,
    segments: &[SegmentInfo],
    indexes: &[Arc<SegmentIndex>],
) -> Result<(), RecoveryError> {
    for (info, index) in segments.iter().zip(indexes) {
        if let Some(span) = index.partitions.iter().find(|span| span.partition >= count) {
            let fault = ReplayFault::Partition;
            let (partition, lsn, position) = (span.partition, span.first, info.first_position());
            return Err(RecoveryError::of(info.path(), ReplayError { position, partition, lsn, fault }));
        }
    }
    Ok(())
}

/// What all threads read from.
struct Log<'a> {
    dir: &'a DataDir,
    limits: Limits,
    segments: &'a [SegmentInfo],
    indexes: &'a [Arc<SegmentIndex>],
    files: Vec<SnapshotFile>,
}

/// What one thread built.
struct Share {
    partitions: Vec<Option<Partition>>,
    records: u64,
    bytes: u64,
    snapshots: u64,
}

impl Log<'_> {
    /// Builds every `threads`-th partition.
    fn replay_share(&self, worker: usize, threads: usize) -> Result<Share, RecoveryError> {
        let count = self.dir.partitions();
        let mine: Vec<bool> = (0..usize::from(count)).map(|at| at % threads == worker).collect();
        let spans = spans(count, self.indexes.iter().map(|index| &**index));
        let mut share = Share { partitions: Vec::new(), records: 0, bytes: 0, snapshots: 0 };
        for id in 0..count {
            let base = if mine[usize::from(id)] {
                let base = self.dir.view().base(&self.files, id, spans[usize::from(id)])?;
                share.snapshots += u64::from(base.is_some());
                Some(load(base.as_ref(), id, count, self.limits)?)
            } else {
                None
            };
            share.partitions.push(base);
        }
        let mut replayer = Replayer::new(share.partitions.as_slice());
        let newest = self.segments.iter().map(SegmentInfo::epoch).max().unwrap_or(0);
        for (info, index) in self.segments.iter().zip(self.indexes) {
            if planted(Bug::EpochSkipped) && info.epoch() == newest && newest > 1 {
                continue;
            }
            if !has_news(index, &share.partitions) {
                continue;
            }
            let segment = Segment::open_at_rest(info)?;
            let failed = |error: ReplayError| RecoveryError::of(info.path(), error);
            for found in segment.records_of(&mine, Position::MAX) {
                let found = found?;
                share.bytes += found.payload.len() as u64;
                replayer.push(share.partitions.as_mut_slice(), &logged(&found)).map_err(failed)?;
            }
            // Errors name the file, so nothing of it is left for later.
            replayer.finish(share.partitions.as_mut_slice()).map_err(failed)?;
        }
        share.records = replayer.records();
        Ok(share)
    }
}

/// True if a segment has a record that one of these partitions has not.
fn has_news(index: &SegmentIndex, partitions: &[Option<Partition>]) -> bool {
    index.partitions.iter().any(|span| {
        let here = partitions.get(usize::from(span.partition)).and_then(Option::as_ref);
        here.is_some_and(|partition| span.last > partition.lsn())
    })
}

/// A partition as its snapshot has it; a new one without.
pub(crate) fn load(
    base: Option<&Snapshot>,
    id: u16,
    count: u16,
    limits: Limits,
) -> Result<Partition, RecoveryError> {
    let Some(base) = base else { return Ok(Partition::new(id, count, limits)) };
    let failed = |source| RecoveryError::Snapshot { file: base.path().to_path_buf(), source };
    Partition::load(base.body(), id, count, limits).map_err(failed)
}

/// A record of the log as it is replayed.
pub(crate) fn logged<'a>(found: &Record<'a>) -> Logged<'a> {
    Logged {
        partition: found.partition,
        lsn: found.lsn,
        time_ms: found.time_ms,
        kind: found.kind,
        payload: found.payload,
        position: found.position,
    }
}
