//! Snapshots while the server runs, and the log trimmed behind them.
//!
//! The shards take no part in it: a thread of its own, at a low priority and on no shard's CPU, loads a
//! partition's newest snapshot, replays what has become durable in the log since, and writes the next one. So
//! there is no pause, no lock and no copy; and every snapshot is also a proof that the one before loads and the
//! log replays.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `mod` | the thread: when a round is due, what becomes of an error |
//! | `round` | one round: each partition in turn, then the trim |
//! | `metrics` | what is counted of it |

mod metrics;
mod round;
#[cfg(test)]
mod tests;

pub(crate) use metrics::Progress;
pub(crate) use round::{Needed, Readers, Round};

use crate::core::Threads;
use crate::replication::Hub;
use frontrow_engine::Clock;
use frontrow_shard::Limits;
use frontrow_wal::{DataDir, LogIndex};
use rustix::thread::CpuSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{Acquire, Relaxed};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// How often the log's growth is looked at.
const LOOK: Duration = Duration::from_millis(200);
/// After a failure, a round is tried again no sooner.
const PAUSE_NS: u64 = 30_000_000_000;
/// A priority that leaves a busy CPU to others for nine parts of ten. The lowest would leave a log that grows as long
/// as the machine is busy.
const NICE: i32 = 10;

/// The running thread. Dropping it without [`Snapshotter::stop`] leaves it to end by itself.
pub(crate) struct Snapshotter {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

/// Rounds that somebody else calls, without a thread.
pub struct Rounds {
    round: Round,
    durable: Vec<Arc<AtomicU64>>,
}

impl Rounds {
    /// For running cores, from what recovery found in `index`.
    pub fn new(dir: DataDir, limits: Limits, index: LogIndex, threads: &Threads) -> Self {
        Self { round: Round::new(dir, limits, index), durable: threads.durable() }
    }

    /// The same, and what a standby that follows has not read yet is kept, up to so many bytes.
    #[must_use]
    pub fn read_by(self, hub: &Arc<Hub>, keep: u64) -> Self {
        let hub = Arc::clone(hub);
        let readers = Readers { read: Box::new(move |stream| hub.read_up_to(stream)), keep };
        Self { round: self.round.read_by(Some(readers)), ..self }
    }

    /// Makes every partition's next snapshot and trims the log; without the trim if `stopping` says so on the way.
    /// Snapshots written and segments removed, or what is wrong.
    pub fn run(&mut self, stopping: &dyn Fn() -> bool) -> Result<(u64, u64), String> {
        let done = self.round.run(&self.durable, stopping).map_err(|error| error.to_string())?;
        Ok((done.snapshots, done.trimmed.segments))
    }
}

/// When rounds are due.
pub(crate) struct Trigger {
    /// Log bytes after which the next round begins.
    pub(crate) every: u64,
    /// By stream, up to where the log is durable.
    pub(crate) durable: Vec<Arc<AtomicU64>>,
    /// Log bytes that no snapshot has, from before this start.
    pub(crate) carried: u64,
}

impl Snapshotter {
    /// Starts the thread. `cpus` are those it may use.
    pub(crate) fn start(
        round: Round,
        trigger: Trigger,
        progress: Arc<Progress>,
        cpus: Option<CpuSet>,
    ) -> std::io::Result<Self> {
        let (stop, stopped) = channel();
        let thread = std::thread::Builder::new().name("frontrow-snap".into()).spawn(move || {
            // Of the thread, not the process, on Linux. Without either it only competes more.
            let _ = rustix::process::setpriority_process(None, NICE);
            let _ = cpus.is_none_or(|cpus| rustix::thread::sched_setaffinity(None, &cpus).is_ok());
            run(round, &trigger, &progress, &stopped);
        })?;
        Ok(Self { stop, thread })
    }

    /// Ends the thread after the partition it is at.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the snapshotter ended with a panic");
        }
    }
}

impl Trigger {
    /// All that was ever appended since this start, over all streams.
    fn written(&self) -> u64 {
        self.durable.iter().map(|position| position.load(Acquire)).sum()
    }
}

fn run(mut round: Round, trigger: &Trigger, progress: &Progress, stop: &Receiver<()>) {
    let (mut begun_at, mut carried) = (trigger.written(), trigger.carried);
    let mut not_before = 0;
    while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        let written = trigger.written();
        let pending = carried + (written - begun_at);
        progress.pending_bytes.store(pending, Relaxed);
        let now = Clock::monotonic_ns();
        if pending < trigger.every || now < not_before {
            continue;
        }
        let stopping = || stop.try_recv() == Err(std::sync::mpsc::TryRecvError::Disconnected);
        match round.run(&trigger.durable, &stopping) {
            Ok(done) => {
                progress.done(&done, Clock::monotonic_ns() - now);
                tracing::info!(
                    snapshots = done.snapshots,
                    bytes = done.bytes,
                    removed_segments = done.trimmed.segments,
                    log_bytes = done.trimmed.left_bytes,
                    millis = (Clock::monotonic_ns() - now) / 1_000_000,
                    "snapshots written"
                );
                (begun_at, carried) = (written, 0);
            }
            Err(error) => {
                progress.failed.fetch_add(1, Relaxed);
                // The log is whole, so nothing is lost: it grows until this is mended.
                tracing::error!(%error, "no snapshot could be made; the log is kept, and the next try is in 30 s");
                not_before = Clock::monotonic_ns() + PAUSE_NS;
            }
        }
    }
}
