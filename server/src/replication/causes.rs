//! What a promotion may keep: a message between partitions only with the record of its sender.
//!
//! Streams come to a standby on their own, so that what follows from a record may be there before it. A state with the
//! one and without the other never was, and never may be: whoever promotes a node cuts what lacks its causes first.

use super::applier::Applier;
use super::progress::Progress;
use super::status::Shared;
use crate::core::{Recovered, RecoveryError, recover};
use frontrow_plant::{Bug, planted};
use frontrow_shard::record::{decode, kind};
use frontrow_shard::{Limits, Op, Partition, ReplayError, Replayer};
use frontrow_wal::{DataDir, Record, WalError};
use std::sync::Arc;
use std::time::Duration;

/// Whether a record is a message that its sender has not written yet.
pub(super) fn is_early(
    replayer: &mut Replayer,
    partitions: &mut [Partition],
    record: &Record<'_>,
) -> Result<bool, ReplayError> {
    if record.kind != kind::DELIVER || planted(Bug::MessageBeforeSender) {
        return Ok(false);
    }
    // One that is none is for the replayer to tell.
    let op = decode(record.kind, record.payload).map(|record| record.op);
    let Ok(Op::Deliver { from, seq, .. }) = op else { return Ok(false) };
    let to = record.partition;
    let written = |all: &[Partition]| all.get(usize::from(from)).is_none_or(|from| from.sent_to(to) >= seq);
    if written(partitions) {
        return Ok(false);
    }
    replayer.finish(partitions)?;
    Ok(!written(partitions))
}

/// Replays the log of a standby that is about to be promoted, cut to what it has the causes of.
pub(crate) fn recover_caused(dir: &DataDir, limits: Limits) -> Result<Recovered, RecoveryError> {
    let found = recover(dir, limits)?;
    if planted(Bug::MessageBeforeSender) || is_caused(&found.partitions) {
        return Ok(found);
    }
    drop(found);
    cut_to_causes(dir, limits)?;
    recover(dir, limits)
}

/// Whether no partition has a message that its sender has not written.
fn is_caused(partitions: &[Partition]) -> bool {
    let pairs = partitions
        .iter()
        .zip(0u16..)
        .flat_map(|(to, of)| (0..).zip(partitions).map(move |(from, by)| (to, of, from, by)));
    pairs.into_iter().all(|(to, of, from, by)| to.received_from(from) <= by.sent_to(of))
}

/// Cuts the log of a standby that does not run to what it has the causes of, before it is promoted.
pub(crate) fn cut_to_causes(dir: &DataDir, limits: Limits) -> Result<(), WalError> {
    let Some(history) = dir.history()? else { return Ok(()) };
    let (ends, shared) = (dir.ends(|_| true)?, Arc::<Shared>::default());
    let have = |stream| {
        let own = ends.iter().rev().find(|((_, of), _)| *of == stream);
        own.map_or((0, 0), |((epoch, _), end)| (*epoch, end.position))
    };
    let progress = |stream| (stream, Progress::at_rest(have(stream)));
    let streams = (0..dir.streams()?).map(progress).collect();
    shared.change(|state| {
        (state.plan, state.streams, state.finish) = (Some((1, dir.clone(), history)), streams, true);
    });
    let mut applier = Applier::new(shared, limits, Arc::default());
    loop {
        match applier.turn(Duration::ZERO) {
            Ok(false) => {}
            Ok(true) => break,
            Err(error) => {
                tracing::error!(%error, "this log cannot be replayed; a start will say so");
                return Ok(());
            }
        }
    }
    dir.cut_streams(&applier.into_applied().cuts)
}
