//! Counters of one core: written by the core alone, read by anyone.

use crate::exposition::{Buckets, Families, Labels};
use frontrow_shard::Code;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A histogram over powers of two: bucket `i` counts values below `2^i`.
#[derive(Debug)]
pub(crate) struct Log2 {
    buckets: [AtomicU64; 40],
    sum: AtomicU64,
}

impl Default for Log2 {
    fn default() -> Self {
        Self { buckets: std::array::from_fn(|_| AtomicU64::new(0)), sum: AtomicU64::new(0) }
    }
}

impl Log2 {
    pub(crate) fn record(&self, value: u64) {
        let at = (64 - value.leading_zeros()).min(39) as usize;
        bump(&self.buckets[at], 1);
        bump(&self.sum, value);
    }

    /// With a bound at every fourth power of two; values are multiplied by `scale`.
    fn buckets(&self, scale: f64) -> Buckets {
        let (mut counts, mut below) = (Vec::new(), 0);
        for (i, bucket) in self.buckets.iter().enumerate() {
            below += bucket.load(Relaxed);
            if i % 2 == 0 && i <= 36 {
                counts.push(((1_u64 << i) as f64 * scale, std::mem::take(&mut below)));
            }
        }
        counts.push((f64::INFINITY, below));
        Buckets { sum: self.sum.load(Relaxed) as f64 * scale, counts }
    }
}

/// One writer, so a load and a store do: no locked instruction on the claim path.
fn bump(cell: &AtomicU64, by: u64) {
    cell.store(cell.load(Relaxed).wrapping_add(by), Relaxed);
}

/// What one core counts.
#[derive(Debug)]
pub(crate) struct Metrics {
    codes: Vec<AtomicU64>,
    pub(crate) hops_out: AtomicU64,
    pub(crate) hops_in: AtomicU64,
    pub(crate) handovers: AtomicU64,
    pub(crate) busy: AtomicU64,
    pub(crate) expired: AtomicU64,
    pub(crate) read_only: AtomicU64,
    pub(crate) refused_full: AtomicU64,
    pub(crate) pushes: AtomicU64,
    pub(crate) deltas: AtomicU64,
    pub(crate) connections: AtomicU64,
    pub(crate) waiting: AtomicU64,
    pub(crate) holds: AtomicU64,
    pub(crate) durable: AtomicU64,
    pub(crate) appended: AtomicU64,
    pub(crate) batch: Log2,
    pub(crate) commit_ns: Log2,
    pub(crate) answer_ns: Log2,
    /// Set once the core serves, cleared when its log has failed.
    pub(crate) ready: AtomicU64,
}

impl Default for Metrics {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self {
            codes: (0..128).map(|_| zero()).collect(),
            hops_out: zero(),
            hops_in: zero(),
            handovers: zero(),
            busy: zero(),
            expired: zero(),
            read_only: zero(),
            refused_full: zero(),
            pushes: zero(),
            deltas: zero(),
            connections: zero(),
            waiting: zero(),
            holds: zero(),
            durable: zero(),
            appended: zero(),
            batch: Log2::default(),
            commit_ns: Log2::default(),
            answer_ns: Log2::default(),
            ready: zero(),
        }
    }
}

impl Metrics {
    pub(crate) fn answered(&self, code: Code) {
        bump(&self.codes[code as usize], 1);
    }

    pub(crate) fn add(cell: &AtomicU64, by: u64) {
        bump(cell, by);
    }
}

type Pick = fn(&Metrics) -> &AtomicU64;
type PickLog = fn(&Metrics) -> &Log2;

const COUNTERS: [(&str, &str, Pick); 8] = [
    ("frontrow_hops_out", "Requests forwarded to another core.", |m| &m.hops_out),
    ("frontrow_hops_in", "Requests received from another core.", |m| &m.hops_in),
    ("frontrow_handovers", "Connections handed to the core that owns what they claim.", |m| &m.handovers),
    ("frontrow_busy", "Requests refused because a queue was full.", |m| &m.busy),
    ("frontrow_expired", "Holds that ran out.", |m| &m.expired),
    ("frontrow_read_only", "Requests refused because the disk was full or the log at its limit.", |m| {
        &m.refused_full
    }),
    ("frontrow_pushes", "Offers and other news pushed to users.", |m| &m.pushes),
    ("frontrow_deltas", "Row changes sent to watchers.", |m| &m.deltas),
];

const GAUGES: [(&str, &str, Pick); 7] = [
    (
        "frontrow_log_read_only",
        "1 while the disk is full or the log at its limit, and nothing new is sold.",
        |m| &m.read_only,
    ),
    ("frontrow_connections", "Open connections, by the core that they are at.", |m| &m.connections),
    ("frontrow_waiting", "Parties waiting in queues.", |m| &m.waiting),
    ("frontrow_holds", "Holds, bookings included.", |m| &m.holds),
    ("frontrow_log_durable_bytes", "Log position that is durable.", |m| &m.durable),
    ("frontrow_log_appended_bytes", "Log position that is appended.", |m| &m.appended),
    ("frontrow_core_ready", "1 while the core serves.", |m| &m.ready),
];

const HISTOGRAMS: [(&str, &str, PickLog, f64); 3] = [
    ("frontrow_batch_size", "Operations applied in one batch.", |m| &m.batch, 1.0),
    ("frontrow_commit_seconds", "From the start of a commit until it is durable.", |m| &m.commit_ns, 1e-9),
    ("frontrow_answer_seconds", "From reading a request until its answer may leave.", |m| &m.answer_ns, 1e-9),
];

/// Reads off what all cores have counted.
pub(crate) fn read_off(cores: &[Arc<super::shared::CoreMetrics>], families: &mut Families) {
    let each = || cores.iter().enumerate().map(|(core, metrics)| (core.to_string(), &metrics.0));
    let of = |core: String| -> Labels { vec![("core", core)] };
    let answers = each().flat_map(|(core, metrics)| {
        let answered = |&code: &Code| {
            let labels = vec![("core", core.clone()), ("code", code.name().to_owned())];
            (labels, metrics.codes[code as usize].load(Relaxed))
        };
        Code::ALL.iter().map(answered).collect::<Vec<_>>()
    });
    families.counter("frontrow_answers", "Answers by outcome; refusals carry their reason.", answers);
    for (name, help, pick) in COUNTERS {
        families.counter(name, help, each().map(|(core, it)| (of(core), pick(it).load(Relaxed))));
    }
    for (name, help, pick) in GAUGES {
        families.gauge(name, help, each().map(|(core, it)| (of(core), pick(it).load(Relaxed) as f64)));
    }
    for (name, help, pick, scale) in HISTOGRAMS {
        families.histogram(name, help, each().map(|(core, it)| (of(core), pick(it).buckets(scale))));
    }
}
