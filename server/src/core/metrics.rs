//! Counters of one core: written by the core alone, read by anyone, rendered for Prometheus.

use frontrow_shard::Code;
use std::fmt::Write as _;
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

    fn render(&self, out: &mut String, name: &str, core: usize, scale: f64) {
        let mut total = 0;
        for (i, bucket) in self.buckets.iter().enumerate() {
            total += bucket.load(Relaxed);
            let le = (1_u64 << i) as f64 * scale;
            if i % 2 == 0 && i <= 36 {
                let _ = writeln!(out, "{name}_bucket{{core=\"{core}\",le=\"{le}\"}} {total}");
            }
        }
        let _ = writeln!(out, "{name}_bucket{{core=\"{core}\",le=\"+Inf\"}} {total}");
        let _ = writeln!(out, "{name}_sum{{core=\"{core}\"}} {}", self.sum.load(Relaxed) as f64 * scale);
        let _ = writeln!(out, "{name}_count{{core=\"{core}\"}} {total}");
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

/// All cores' counters in Prometheus' text format.
pub fn render(cores: &[Arc<super::start::CoreMetrics>]) -> String {
    let mut out = String::with_capacity(16 * 1024);
    let help = |out: &mut String, name: &str, kind: &str, text: &str| {
        // OpenMetrics names a counter's family without the suffix of its samples.
        let name = name.strip_suffix("_total").unwrap_or(name);
        let _ = writeln!(out, "# TYPE {name} {kind}\n# HELP {name} {text}");
    };
    help(&mut out, "frontrow_answers_total", "counter", "Answers by outcome; refusals carry their reason.");
    for (core, metrics) in cores.iter().enumerate() {
        for &code in Code::ALL {
            let n = metrics.0.codes[code as usize].load(Relaxed);
            let _ = writeln!(out, "frontrow_answers_total{{core=\"{core}\",code=\"{}\"}} {n}", code.name());
        }
    }
    type Pick = fn(&Metrics) -> &AtomicU64;
    let rows: [(&str, &str, &str, Pick); 15] = [
        ("frontrow_hops_out_total", "counter", "Requests forwarded to another core.", |m| &m.hops_out),
        ("frontrow_hops_in_total", "counter", "Requests received from another core.", |m| &m.hops_in),
        (
            "frontrow_handovers_total",
            "counter",
            "Connections handed to the core that owns what they claim.",
            |m| &m.handovers,
        ),
        ("frontrow_busy_total", "counter", "Requests refused because a queue was full.", |m| &m.busy),
        ("frontrow_expired_total", "counter", "Holds that ran out.", |m| &m.expired),
        (
            "frontrow_log_read_only",
            "gauge",
            "1 while the disk is full or the log at its limit, and nothing new is sold.",
            |m| &m.read_only,
        ),
        (
            "frontrow_read_only_total",
            "counter",
            "Requests refused because the disk was full or the log at its limit.",
            |m| &m.refused_full,
        ),
        ("frontrow_pushes_total", "counter", "Offers and other news pushed to users.", |m| &m.pushes),
        ("frontrow_deltas_total", "counter", "Row changes sent to watchers.", |m| &m.deltas),
        ("frontrow_connections", "gauge", "Open connections.", |m| &m.connections),
        ("frontrow_waiting", "gauge", "Parties waiting in queues.", |m| &m.waiting),
        ("frontrow_holds", "gauge", "Holds, bookings included.", |m| &m.holds),
        ("frontrow_log_durable_bytes", "gauge", "Log position that is durable.", |m| &m.durable),
        ("frontrow_log_appended_bytes", "gauge", "Log position that is appended.", |m| &m.appended),
        ("frontrow_core_ready", "gauge", "1 while the core serves.", |m| &m.ready),
    ];
    for (name, kind, text, pick) in rows {
        help(&mut out, name, kind, text);
        for (core, metrics) in cores.iter().enumerate() {
            let _ = writeln!(out, "{name}{{core=\"{core}\"}} {}", pick(&metrics.0).load(Relaxed));
        }
    }
    type PickLog = fn(&Metrics) -> &Log2;
    let histograms: [(&str, &str, PickLog, f64); 3] = [
        ("frontrow_batch_size", "Operations applied in one batch.", |m| &m.batch, 1.0),
        (
            "frontrow_commit_seconds",
            "From the start of a commit until it is durable.",
            |m| &m.commit_ns,
            1e-9,
        ),
        (
            "frontrow_answer_seconds",
            "From reading a request until its answer may leave.",
            |m| &m.answer_ns,
            1e-9,
        ),
    ];
    for (name, text, pick, scale) in histograms {
        help(&mut out, name, "histogram", text);
        for (core, metrics) in cores.iter().enumerate() {
            pick(&metrics.0).render(&mut out, name, core, scale);
        }
    }
    out
}
