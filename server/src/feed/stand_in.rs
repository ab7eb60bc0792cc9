//! What stands for a log that does not go back so far: the newest snapshots, and the archives of events that are over.

use super::Parts;
use crate::cold::{Cold, ColdFileError};
use crate::core::{RecoveryError, load};
use frontrow_cdc::{Batch, Mark, Position, booked, stand_in};
use frontrow_shard::{PartitionId, RowRef};
use frontrow_wal::WalError;
use std::collections::BTreeMap;

/// Why the state cannot be had.
#[derive(Debug, thiserror::Error)]
pub(super) enum BeginError {
    #[error(transparent)]
    Log(#[from] WalError),
    #[error(transparent)]
    Snapshot(#[from] RecoveryError),
    #[error(transparent)]
    Archive(#[from] ColdFileError),
    #[error("{0}, and no snapshot is newer: the next one comes by itself (log.snapshot_every)")]
    NoSnapshot(String),
}

pub(super) struct Begin;

impl Begin {
    /// Adds all bookings of a partition's newest snapshot, if that is newer than what was taken. Whether it is.
    pub(super) fn snapshot(
        parts: &Parts,
        partition: PartitionId,
        taken: Mark,
        batch: &mut Batch,
    ) -> Result<bool, BeginError> {
        let dir = &parts.dir;
        let base = dir.view().newest_snapshot(&dir.snapshots()?, partition)?;
        if base.as_ref().is_none_or(|snapshot| snapshot.meta().lsn <= taken.lsn) {
            return Ok(false);
        }
        let loaded = load(base.as_ref(), partition, dir.partitions(), parts.limits)?;
        stand_in(&loaded, batch);
        Ok(true)
    }

    /// Adds the bookings of all archives. Whether there are any.
    pub(super) fn archives(parts: &Parts, batch: &mut Batch) -> Result<bool, BeginError> {
        let (partitions, mut n) = (parts.dir.partitions(), 0);
        let mut anew = BTreeMap::new();
        for &event in &parts.archived {
            let path = parts.events.join(format!("{event}.archive"));
            let cold = Cold::open(&path, parts.dir.cluster(), event)?;
            for booking in cold.view().bookings(None) {
                let partition = RowRef::new(event, booking.section, booking.row).partition(partitions);
                let events = anew.entry(partition).or_insert_with(Vec::new);
                if !events.contains(&event) {
                    events.push(event);
                }
                // Before every record.
                let position = Position { partition, epoch: 0, lsn: 0, n };
                batch.changes.push(booked(event, position, &booking));
                n += 1;
            }
        }
        batch.anew.extend(anew);
        Ok(n > 0)
    }
}
