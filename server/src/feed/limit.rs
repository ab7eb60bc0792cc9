//! How much log may wait for those who follow it. One who is away costs log, and past the limit nothing new is sold:
//! what is held can still be bought, and holds run out. Selling goes on by itself once enough has been read.
//!
//! It is counted on a thread of its own: a sink that is away may hold its thread for as long as it tries.

use super::{Parts, Progress};
use frontrow_cdc::Places;
use frontrow_engine::Clock;
use frontrow_shard::Epoch;
use frontrow_wal::{DataDir, Position, SEGMENT_HEADER_BYTES, WalError};
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// How often it is counted.
const EVERY: Duration = Duration::from_secs(1);

/// Percent of the limit at which it is told.
const TOLD_AT: [u64; 4] = [50, 75, 90, 100];
/// Percent below which selling goes on: a little less than the limit, or it would begin and end with every batch.
const GOES_ON: u64 = 95;

/// The limit, shared by all who follow the log.
#[derive(Debug)]
pub(crate) struct LogLimit {
    most: u64,
    /// Read by the cores.
    full: Arc<AtomicBool>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    kept: BTreeMap<&'static str, u64>,
    told: u64,
}

/// News of the limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// Nothing has changed.
    None,
    /// So many percent are reached.
    Reached(u64),
    /// There is less than half again.
    Over,
}

impl LogLimit {
    /// `most` bytes; `full` is set while nothing new may be sold.
    pub(crate) fn new(most: u64, full: Arc<AtomicBool>) -> Self {
        Self { most: most.max(1), full, state: Mutex::default() }
    }

    /// So many bytes are kept for `who`.
    pub(crate) fn keeps(&self, who: &'static str, bytes: u64) {
        let was_full = self.full.load(Relaxed);
        let (news, who, kept) = self.count(who, bytes);
        let most = self.most;
        match news {
            News::None => {}
            News::Reached(100) => tracing::error!(
                who,
                kept,
                most,
                "the log is at its limit (log.keep): nothing new is sold until {who} can be written to again; purchases and \
                 releases go on"
            ),
            News::Reached(percent) => {
                tracing::warn!(who, kept, most, "the log kept for {who} is at {percent} % of log.keep");
            }
            News::Over => tracing::info!(who, kept, most, "the log kept for {who} is below half of log.keep"),
        }
        if was_full && !self.full.load(Relaxed) {
            tracing::warn!(who, kept, most, "the log is below its limit: selling goes on");
        }
    }

    /// The news, and who is furthest behind, by how many bytes.
    fn count(&self, who: &'static str, bytes: u64) -> (News, &'static str, u64) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.kept.insert(who, bytes);
        let most = state.kept.iter().max_by_key(|(_, bytes)| **bytes).map(|(who, bytes)| (*who, *bytes));
        let (who, kept) = most.unwrap_or((who, bytes));
        let percent = (u128::from(kept) * 100 / u128::from(self.most)).min(u128::from(u64::MAX)) as u64;
        if percent >= 100 {
            self.full.store(true, Relaxed);
        } else if percent < GOES_ON {
            self.full.store(false, Relaxed);
        }
        let reached = TOLD_AT.into_iter().rfind(|at| percent >= *at).unwrap_or(0);
        let news = match state.told {
            told if reached > told => News::Reached(reached),
            told if told > 0 && reached == 0 => News::Over,
            _ => return (News::None, who, kept),
        };
        state.told = reached;
        (news, who, kept)
    }
}

/// Counts for every sink, from now on until `stopped`.
pub(super) fn watch(parts: &Parts, sinks: &[Arc<Progress>], stopped: &Receiver<()>) {
    loop {
        for progress in sinks {
            // Its own thread waits for it meanwhile, and says nothing.
            progress.behind(&|stream| super::safe(&parts.durable, parts.hub.as_deref(), stream));
            if progress.look(Clock::monotonic_ns()) {
                let sink = progress.sink;
                tracing::warn!(
                    sink,
                    "bookings wait: there has been no answer for some seconds; selling goes on"
                );
            }
            match waiting(parts, progress) {
                Ok(bytes) => {
                    progress.kept(bytes);
                    parts.limit.keeps(progress.sink, bytes);
                }
                Err(error) => tracing::warn!(%error, "how much log waits could not be counted"),
            }
        }
        if stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Log bytes that a sink does not have.
fn waiting(parts: &Parts, progress: &Progress) -> Result<u64, WalError> {
    let (epoch, places) = (parts.history.epoch(), progress.places());
    let durable =
        |stream: u16| parts.durable.get(usize::from(stream)).map_or(0, |position| position.load(Acquire));
    // Of earlier epochs it has everything then, and the files need not be looked at.
    if progress.is_complete() {
        let has =
            |stream: u16| places.get(&stream).filter(|place| place.0 == epoch).map_or(0, |place| place.1);
        let streams = 0..parts.durable.len() as u16;
        return Ok(streams.map(|stream| durable(stream).saturating_sub(has(stream))).sum());
    }
    in_files(&parts.dir, &places, (epoch, &durable))
}

/// The same by the files there are, for one that has everything before `places`; of the epoch under way there is as much
/// as `durable` says by stream.
fn in_files(
    dir: &DataDir,
    places: &Places,
    (epoch, durable): (Epoch, &dyn Fn(u16) -> Position),
) -> Result<u64, WalError> {
    let mut kept = 0;
    for info in dir.segments()? {
        let begin = info.first_position();
        let mut end = begin + (info.segment_bytes() - SEGMENT_HEADER_BYTES);
        if info.epoch() == epoch {
            end = end.min(durable(info.stream()));
        }
        let from = match places.get(&info.stream()) {
            Some(&(of, _)) if of > info.epoch() => continue,
            Some(&(of, position)) if of == info.epoch() => position.max(begin),
            _ => begin,
        };
        kept += end.saturating_sub(from);
    }
    Ok(kept)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_told_on_the_way_up_and_selling_goes_on_below() {
        let full = Arc::<AtomicBool>::default();
        let limit = LogLimit::new(1000, Arc::clone(&full));
        let news = |who, bytes| (limit.count(who, bytes).0, full.load(Relaxed));
        assert_eq!(news("a", 499), (News::None, false));
        assert_eq!(news("a", 500), (News::Reached(50), false));
        assert_eq!(news("a", 600), (News::None, false));
        assert_eq!(news("b", 10), (News::None, false));
        assert_eq!(news("a", 920), (News::Reached(90), false));
        assert_eq!(news("a", 1000), (News::Reached(100), true));
        assert_eq!(news("b", 20), (News::None, true), "another one does not lift it");
        assert_eq!(news("a", 960), (News::None, true));
        assert_eq!(news("a", 940), (News::None, false));
        assert_eq!(news("a", 1001), (News::None, true), "told once until it is below half");
        assert_eq!(news("a", 0), (News::Over, false));
        limit.count("a", 600);
        assert_eq!(limit.count("b", 0), (News::None, "a", 600), "it is told of who is behind");
        assert_eq!(limit.count("a", 0), (News::Over, "b", 0));
        assert_eq!(news("a", u64::MAX), (News::Reached(100), true));
    }
}
