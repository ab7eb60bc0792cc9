//! The table of bookings in the data directory, before anything is read into it.

use super::Progress;
use crate::config::{BookingTable, Config, Durability};
use crate::running::StartError;
use crate::snapshots::Needed;
use frontrow_bookings::{Sqlite, Store};
use frontrow_cdc::Sink;
use frontrow_shard::{Partition, PartitionId};
use frontrow_wal::{DataDir, EpochEntry, History};
use std::sync::Arc;

const FILE: &str = "bookings.db";

/// A table that is there, and what writes to it.
pub(crate) struct Opened {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) progress: Arc<Progress>,
    /// Streams that are to be followed.
    pub(crate) streams: u16,
}

/// Opens the table, if there is to be one; `partitions` are as the log leaves them. A log that is lost with the process has none: the table would survive it.
pub(crate) fn open(
    config: &Config,
    dir: &DataDir,
    history: &History,
    partitions: &[Partition],
) -> Result<Option<Opened>, StartError> {
    if config.bookings.table == BookingTable::Off || config.log.durability == Durability::Memory {
        return Ok(None);
    }
    let streams = dir.streams()?.max(config.server.shard_cpus.len().max(1) as u16);
    let (store, mut sink) = Sqlite::open(&config.server.data.join(FILE), dir.cluster())?;
    // What another node has led meanwhile may have cut what this table was told.
    let last = sink.last_epoch()?;
    let is_ours = |entry: &EpochEntry| entry.epoch < last || [0, history.node].contains(&entry.node);
    let is_known = last == 0 || history.entry(last).is_some();
    // A log that was put back, or whose loss was accepted, does not go as far as this table.
    let lsn = |of: PartitionId| partitions.get(usize::from(of)).map_or(0, Partition::lsn);
    let is_ahead = sink.marks()?.iter().any(|(&of, mark)| mark.lsn > lsn(of));
    // Of an epoch that this directory has not seen: it was put here, or the rest was put back.
    if is_ahead || last > history.epoch() || !is_known || !history.epochs.iter().all(is_ours) {
        sink.forget()?;
    }
    let progress = Arc::new(Progress::new(streams));
    Ok(Some(Opened { store: Arc::new(store), sink: Box::new(sink), progress, streams }))
}

impl Opened {
    /// What the table does not have for good stays in the log.
    pub(crate) fn needed(&self) -> Needed {
        let progress = Arc::clone(&self.progress);
        Box::new(move |stream| progress.settled_up_to(stream))
    }
}
