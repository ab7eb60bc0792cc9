//! From the log to partitions: every record is applied again, and must come out as it did.

use frontrow_shard::{Limits, Logged, Partition, ReplayError, Replayer};
use frontrow_wal::{DataDir, Record, Segment, Tail, WalError};
use std::path::{Path, PathBuf};

/// Why the log could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log itself.
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
}

impl RecoveryError {
    fn of(file: &Path, source: ReplayError) -> Self {
        Self::Replay { file: file.to_path_buf(), source }
    }
}

/// What the log gave.
pub struct Recovered {
    /// The partitions, by number.
    pub partitions: Vec<Partition>,
    /// Records applied.
    pub records: u64,
    /// Bytes of commits that never became durable, cut.
    pub torn_bytes: u64,
}

/// Replays the whole log. Whether messages between partitions arrived is reconciled afterwards, so that
/// exactly those are left to send that never did.
pub fn recover(dir: &DataDir, limits: Limits) -> Result<Recovered, RecoveryError> {
    let count = dir.partitions();
    let mut partitions: Vec<Partition> = (0..count).map(|id| Partition::new(id, count, limits)).collect();
    let mut replayer = Replayer::new(partitions.as_slice());
    let mut torn_bytes = 0;
    for info in dir.segments()? {
        let segment = Segment::open(&info)?;
        let failed = |error: ReplayError| RecoveryError::of(info.path(), error);
        let mut records = segment.records();
        for found in &mut records {
            replayer.push(partitions.as_mut_slice(), &logged(&found?)).map_err(failed)?;
        }
        // Errors name the file, so nothing of it is left for later.
        replayer.finish(partitions.as_mut_slice()).map_err(failed)?;
        if let Some(Tail::Torn { bytes, .. }) = records.tail() {
            torn_bytes += bytes;
        }
    }
    replayer.reconcile(partitions.as_mut_slice());
    Ok(Recovered { partitions, records: replayer.records(), torn_bytes })
}

fn logged<'a>(found: &Record<'a>) -> Logged<'a> {
    Logged {
        partition: found.partition,
        lsn: found.lsn,
        time_ms: found.time_ms,
        kind: found.kind,
        payload: found.payload,
        position: found.position,
    }
}
