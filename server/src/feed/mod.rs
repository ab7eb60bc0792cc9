//! What the log says, on its way to those who read bookings: for each sink a thread that follows the log and writes to it.
//! One that is away holds no other up.
//!
//! The shards take no part in it, and know nothing of it but how much of the log is still waiting. Nothing is told that is
//! not durable, nor, where answers wait for a standby, before the standby has it: what a promotion could cut is never told.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `mod` | the thread: when to read, write and settle, and what becomes of an error |
//! | `open` | which sinks there are; the table in the data directory, and whether it is of this log's history |
//! | `stand_in` | what stands for a log that does not go back so far: snapshots, and archives of events that are over |
//! | `limit` | how much log may wait for it, and what happens then |
//! | `progress` | how far it is, for metrics, operators and the trimming of the log |

mod limit;
mod open;
mod progress;
mod stand_in;

pub(crate) use limit::LogLimit;
pub(crate) use open::{Opened, Way, open};
pub(crate) use progress::{FeedStatus, Progress, read_off};

use crate::replication::Hub;
use frontrow_cdc::{Batch, Begun, FollowError, Follower, Mark, Marks, Sink, SinkError};
use frontrow_engine::Clock;
use frontrow_shard::{Limits, Lsn};
use frontrow_wal::{DataDir, History, Position};
use rustix::thread::CpuSet;
use stand_in::Begin;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Acquire;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks at the log while something happens, and while nothing does.
const BUSY: Duration = Duration::from_millis(20);
const IDLE: Duration = Duration::from_millis(100);
/// After so long without news it looks less often.
const CALM_NS: u64 = 2_000_000_000;
/// How long records that change nothing may wait to be marked as read.
const MARK_NS: u64 = 1_000_000_000;
/// How often what was written is made durable, so that the log may forget it.
const SETTLE_NS: u64 = 10_000_000_000;
/// How often whoever reads there is told that it has everything, while something happens, and while nothing does.
const TICK_NS: u64 = 250_000_000;
const TICK_IDLE_NS: u64 = 500_000_000;
/// How often a sink looks whether what it was told before is still there: for Kafka three questions, some milliseconds.
const LOOK_NS: u64 = 2_000_000_000;
/// After an error.
const PAUSE: Duration = Duration::from_secs(1);

/// What is done when somebody writes to a sink in a later epoch than this node's.
type Deposed = Arc<dyn Fn(u32, &str) + Send + Sync>;

/// What is followed, and what of.
#[derive(Clone)]
pub(crate) struct Parts {
    pub(crate) dir: DataDir,
    pub(crate) history: History,
    /// Streams there are, those of earlier starts among them.
    pub(crate) streams: u16,
    /// By core, up to where the log is durable.
    pub(crate) durable: Vec<Arc<AtomicU64>>,
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) limits: Limits,
    /// The catalogue's files.
    pub(crate) events: PathBuf,
    /// Events that are over and not in memory any more.
    pub(crate) archived: Vec<frontrow_shard::EventId>,
    /// How much log may wait.
    pub(crate) limit: Arc<LogLimit>,
    /// By partition, the last record at the start.
    pub(crate) recovered: Vec<Lsn>,
    /// Called with that epoch, and the sink's place: this node is not the primary any more.
    pub(crate) deposed: Deposed,
}

/// The running threads.
pub(crate) struct Feed {
    ways: Vec<(Sender<()>, JoinHandle<()>)>,
}

impl Feed {
    /// Starts one for each sink, and one that counts what waits for them. `cpus` are those they may use.
    pub(crate) fn start(parts: &Parts, sinks: Vec<Way>, cpus: Option<CpuSet>) -> std::io::Result<Self> {
        let counted: Vec<_> = sinks.iter().map(|way| Arc::clone(&way.progress)).collect();
        let start = |Way { sink, progress }| {
            let (stop, stopped) = channel();
            let parts = parts.clone();
            let thread =
                std::thread::Builder::new().name(format!("feed-{}", progress.sink)).spawn(move || {
                    let _ = cpus.is_none_or(|cpus| rustix::thread::sched_setaffinity(None, &cpus).is_ok());
                    Feeding { parts, sink, progress, stopped, batch: Batch::default() }.run();
                })?;
            Ok((stop, thread))
        };
        let mut ways = sinks.into_iter().map(start).collect::<std::io::Result<Vec<_>>>()?;
        if !counted.is_empty() {
            let (stop, stopped) = channel();
            let parts = parts.clone();
            let count = move || limit::watch(&parts, &counted, &stopped);
            ways.push((stop, std::thread::Builder::new().name("feed-limit".into()).spawn(count)?));
        }
        Ok(Self { ways })
    }

    /// The cores have ended: what they wrote is written, if a sink takes it at once; then the threads end.
    pub(crate) fn stop(self) {
        let (stops, threads): (Vec<_>, Vec<_>) = self.ways.into_iter().unzip();
        drop(stops);
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a feed of bookings ended with a panic");
            }
        }
    }
}

/// Why a life of it ended.
#[derive(Debug, thiserror::Error)]
enum FeedError {
    #[error(transparent)]
    Follow(#[from] FollowError),
    #[error(transparent)]
    Sink(#[from] SinkError),
    #[error("the state that stands for the log's past: {0}")]
    Begin(#[from] stand_in::BeginError),
}

struct Feeding {
    parts: Parts,
    sink: Box<dyn Sink>,
    progress: Arc<Progress>,
    stopped: Receiver<()>,
    batch: Batch,
}

impl Feeding {
    fn run(mut self) {
        loop {
            match self.live() {
                Ok(()) => return,
                Err(FeedError::Sink(error @ (SinkError::Fenced { .. } | SinkError::Unfit(_)))) => {
                    let sink = self.progress.sink;
                    if let SinkError::Fenced { place, found, .. } = &error {
                        (self.parts.deposed)(*found, place);
                    }
                    tracing::error!(%error, sink, "bookings are fed no more; selling goes on, and the log keeps what they lack");
                    self.progress.trouble(Some(error.to_string()));
                    // Until the end: nothing here would mend it.
                    let _ = self.stopped.recv();
                    return;
                }
                Err(error) => {
                    self.progress
                        .behind(&|stream| safe(&self.parts.durable, self.parts.hub.as_deref(), stream));
                    if self.progress.trouble(Some(error.to_string())) {
                        let sink = self.progress.sink;
                        tracing::warn!(%error, sink, "bookings wait; selling goes on, and the log keeps what they lack");
                    }
                    if self.is_over(PAUSE) {
                        return;
                    }
                }
            }
        }
    }

    /// Waits; whether the end has come.
    fn is_over(&self, time: Duration) -> bool {
        self.stopped.recv_timeout(time) != Err(RecvTimeoutError::Timeout)
    }

    /// From a beginning at the sink to an error, or the end.
    fn live(&mut self) -> Result<(), FeedError> {
        self.batch.clear();
        let epoch = self.parts.history.epoch();
        let mut begun = self.sink.begin(epoch)?;
        if self.is_foreign(&begun.marks) {
            self.sink.forget()?;
            begun = self.sink.begin(epoch)?;
        }
        self.progress.stands(&begun.places);
        loop {
            match self.follow(&mut begun) {
                Err(FeedError::Follow(error @ FollowError::OtherHistory { .. })) => {
                    self.sink.forget()?;
                    return Err(error.into());
                }
                Err(FeedError::Follow(error)) if error.needs_state() => {
                    tracing::warn!(%error, sink = self.progress.sink, "bookings are taken from snapshots");
                    self.stand_in(&mut begun.marks, &error)?;
                }
                ended => return ended,
            }
        }
    }

    /// Whether more was told than this log has: it was cut, or put back.
    fn is_foreign(&self, marks: &Marks) -> bool {
        let Parts { history, recovered, .. } = &self.parts;
        let had = |of: u16| recovered.get(usize::from(of)).copied().unwrap_or(0);
        let is_ahead = |(of, mark): (&u16, &Mark)| mark.epoch < history.epoch() && mark.lsn > had(*of);
        let last = marks.values().map(|mark| mark.epoch).max().unwrap_or(0);
        marks.iter().any(is_ahead) || (last > 0 && history.entry(last).is_none())
    }

    /// Writes what is in the batch.
    fn write(&mut self) -> Result<(), SinkError> {
        let batch = std::mem::take(&mut self.batch);
        let written = self.asking(|sink| sink.write(&batch));
        self.batch = batch;
        written
    }

    /// Asks something that may have to be waited for.
    fn asking(&mut self, ask: impl FnOnce(&mut dyn Sink) -> Result<(), SinkError>) -> Result<(), SinkError> {
        self.progress.writing(Some(Clock::monotonic_ns()));
        let answered = ask(&mut *self.sink);
        self.progress.writing(None);
        answered
    }

    fn write_if(&mut self, any: bool) -> Result<(), SinkError> {
        if any {
            self.write()?;
        }
        self.batch.clear();
        Ok(())
    }

    /// Takes the newest snapshots in place of what cannot be followed.
    fn stand_in(&mut self, marks: &mut Marks, error: &FollowError) -> Result<(), FeedError> {
        // What was read before the error is good.
        self.write_if(true)?;
        let mut any = false;
        for partition in 0..self.parts.dir.partitions() {
            let taken = marks.get(&partition).copied().unwrap_or_default();
            if Begin::snapshot(&self.parts, partition, taken, &mut self.batch)? {
                marks.extend(self.batch.upto.iter().map(|(of, mark)| (*of, *mark)));
                self.write_if(true)?;
                any = true;
            }
        }
        if any {
            let archives = Begin::archives(&self.parts, &mut self.batch)?;
            self.write_if(archives)?;
            return Ok(());
        }
        Err(stand_in::BeginError::NoSnapshot(error.to_string()).into())
    }

    /// Until an error, or the end. `begun` is kept at what was taken.
    fn follow(&mut self, begun: &mut Begun) -> Result<(), FeedError> {
        let Parts { dir, history, streams, durable, hub, .. } = &self.parts;
        let mut follower = Follower::new(dir, history, *streams, begun);
        let (hub, durable, cores) = (hub.clone(), durable.clone(), durable.len());
        let safe = move |stream: u16| safe(&durable, hub.as_deref(), stream);
        let now = Clock::monotonic_ns();
        let (mut news_ns, mut written_ns, mut ending) = (now, now, false);
        let mut written: Vec<Position> = follower.positions(cores).collect();
        // At once: what an earlier process wrote may be no more than written.
        let (mut settled_ns, mut unsettled, mut looked_ns, mut ticked_ns) = (None::<u64>, true, now, 0);
        loop {
            let (sink, wanted) = (&*self.sink, self.progress.wanted());
            let taken = follower.take(&safe, (&|kind| sink.takes(kind), sink.most()), &mut self.batch);
            let more = taken.inspect_err(|_| {
                begun.marks = (0..).zip(follower.taken().iter().copied()).collect();
                begun.places = follower.places();
            })?;
            let now = Clock::monotonic_ns();
            if !self.batch.is_empty()
                && (!self.batch.changes.is_empty() || ending || now - written_ns > MARK_NS)
            {
                self.batch.places = follower.places();
                self.write()?;
                self.progress.stands(&self.batch.places);
                self.progress.wrote(&self.batch);
                self.batch.clear();
                written = follower.positions(cores).collect();
                (news_ns, written_ns, unsettled) = (now, now, true);
            }
            self.progress.read(follower.positions(cores), &safe);
            if now - looked_ns > LOOK_NS {
                // Before the log may forget what was written.
                self.sink.look()?;
                looked_ns = now;
            }
            if unsettled && (settled_ns.is_none_or(|then| now - then > SETTLE_NS) || (ending && !more)) {
                // Refused while somebody reads: a little later, then.
                if self.sink.settle().is_ok() {
                    self.progress.settled(&written);
                    unsettled = false;
                }
                settled_ns = Some(now);
            }
            self.progress.trouble(None);
            if more {
                continue;
            }
            if self.batch.changes.is_empty() {
                self.sink.whole()?;
                self.progress.complete();
                self.progress.had(wanted);
                let is_calm = now - news_ns > CALM_NS;
                if now - ticked_ns > if is_calm { TICK_IDLE_NS } else { TICK_NS } {
                    self.asking(|sink| sink.tick())?;
                    ticked_ns = now;
                }
            }
            if ending {
                return Ok(());
            }
            let pause = if now - news_ns > CALM_NS { IDLE } else { BUSY };
            ending = self.is_over(pause);
        }
    }
}

/// Up to where a stream of the epoch under way may be told.
fn safe(durable: &[Arc<AtomicU64>], hub: Option<&Hub>, stream: u16) -> Position {
    let own = durable.get(usize::from(stream)).map_or(0, |position| position.load(Acquire));
    match hub {
        Some(hub) if hub.waits() && usize::from(stream) < hub.cores() => own.min(hub.link(stream).backup()),
        _ => own,
    }
}
