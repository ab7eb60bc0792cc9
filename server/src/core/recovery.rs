//! From the log to partitions: every record is applied again, and must come out as it did.

use frontrow_shard::record::{self, Outcome, RecordError};
use frontrow_shard::{Code, Effects, Limits, Partition};
use frontrow_wal::{DataDir, Record, Segment, Tail, WalError};
use std::path::PathBuf;

/// Why the log could not be replayed.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The log itself.
    #[error(transparent)]
    Log(#[from] WalError),
    /// A record that says nothing this version knows.
    #[error("{file}, position {position}: {source}")]
    Record {
        /// The segment.
        file: PathBuf,
        /// The record's position.
        position: u64,
        /// What is wrong with it.
        source: RecordError,
    },
    /// A partition's history has a hole.
    #[error(
        "{file}, position {position}: partition {partition} has record {found} after {last}: part of the log is \
         missing. Restore the data directory from a copy; nothing was changed"
    )]
    Gap {
        /// The segment.
        file: PathBuf,
        /// The record's position.
        position: u64,
        /// The partition.
        partition: u16,
        /// The last LSN replayed.
        last: u64,
        /// The LSN found.
        found: u64,
    },
    /// The same operation came out differently.
    #[error(
        "{file}, position {position}: replaying partition {partition}, record {lsn} gave {now} where the log says \
         {then}. This version decides differently from the one that wrote the log: start that version, and \
         report it"
    )]
    Diverged {
        /// The segment.
        file: PathBuf,
        /// The record's position.
        position: u64,
        /// The partition.
        partition: u16,
        /// The LSN.
        lsn: u64,
        /// What came out now.
        now: &'static str,
        /// What is in the log.
        then: &'static str,
    },
    /// A partition number that this directory does not have.
    #[error("{file}, position {position}: partition {partition} does not exist")]
    Partition {
        /// The segment.
        file: PathBuf,
        /// The record's position.
        position: u64,
        /// The partition.
        partition: u16,
    },
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
    let mut recovered = Recovered {
        partitions: (0..count).map(|id| Partition::new(id, count, limits)).collect(),
        records: 0,
        torn_bytes: 0,
    };
    let mut effects = Effects::with_capacity(64);
    for info in dir.segments()? {
        let segment = Segment::open(&info)?;
        let file = info.path().to_path_buf();
        let mut records = segment.records();
        for found in &mut records {
            replay(&mut recovered.partitions, &found?, &file, &mut effects)?;
            recovered.records += 1;
        }
        if let Some(Tail::Torn { bytes, .. }) = records.tail() {
            recovered.torn_bytes += bytes;
        }
    }
    reconcile(&mut recovered.partitions);
    Ok(recovered)
}

fn replay(
    partitions: &mut [Partition],
    found: &Record<'_>,
    file: &std::path::Path,
    effects: &mut Effects,
) -> Result<(), RecoveryError> {
    let (file, position, number) = (|| file.to_path_buf(), found.position, found.partition);
    let Some(partition) = partitions.get_mut(usize::from(number)) else {
        return Err(RecoveryError::Partition { file: file(), position, partition: number });
    };
    if found.lsn != partition.lsn() + 1 {
        let last = partition.lsn();
        return Err(RecoveryError::Gap { file: file(), position, partition: number, last, found: found.lsn });
    }
    let (op, outcome) = record::decode(found.kind, found.payload)
        .map_err(|source| RecoveryError::Record { file: file(), position, source })?;
    effects.clear();
    let applied = partition.apply(found.time_ms, &op, effects);
    let now = Outcome::from(&applied.answer);
    if !applied.recorded || outcome.is_some_and(|then| then != now) {
        return Err(RecoveryError::Diverged {
            file: file(),
            position,
            partition: number,
            lsn: found.lsn,
            now: now.code.name(),
            then: outcome.map_or(Code::Done, |then| then.code).name(),
        });
    }
    Ok(())
}

/// Strikes off every message that its receiver has.
fn reconcile(partitions: &mut [Partition]) {
    for to in 0..partitions.len() {
        for from in 0..partitions.len() {
            let seq = partitions[to].received_from(from as u16);
            if seq > 0 {
                partitions[from].confirm(to as u16, seq);
            }
        }
    }
}
