//! What is counted of snapshots, in Prometheus' text format.

use super::round::Done;
use std::fmt::Write as _;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

/// Written by the snapshotter, read by anyone.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    pub(crate) written: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) pending_bytes: AtomicU64,
    bytes: AtomicU64,
    trimmed_bytes: AtomicU64,
    log_bytes: AtomicU64,
    round_ns: AtomicU64,
}

impl Progress {
    pub(crate) fn done(&self, done: &Done, took_ns: u64) {
        self.written.fetch_add(done.snapshots, Relaxed);
        self.bytes.fetch_add(done.bytes, Relaxed);
        self.trimmed_bytes.fetch_add(done.trimmed.bytes, Relaxed);
        self.log_bytes.store(done.trimmed.left_bytes, Relaxed);
        self.round_ns.store(took_ns, Relaxed);
    }

    pub(crate) fn render(&self, out: &mut String) {
        let rows: [(&str, &str, &str, f64); 7] = [
            ("frontrow_snapshots_total", "counter", "Snapshots of partitions written.", load(&self.written)),
            ("frontrow_snapshot_bytes_total", "counter", "Bytes of them.", load(&self.bytes)),
            (
                "frontrow_snapshot_failures_total",
                "counter",
                "Rounds of snapshots that failed; the log grows meanwhile.",
                load(&self.failed),
            ),
            (
                "frontrow_snapshot_seconds",
                "gauge",
                "How long the last round took.",
                load(&self.round_ns) * 1e-9,
            ),
            (
                "frontrow_log_unsnapshotted_bytes",
                "gauge",
                "Bytes of the log since the last round of snapshots began.",
                load(&self.pending_bytes),
            ),
            (
                "frontrow_log_trimmed_bytes_total",
                "counter",
                "Bytes of segments removed.",
                load(&self.trimmed_bytes),
            ),
            (
                "frontrow_log_kept_bytes",
                "gauge",
                "Bytes of segments after the last trim.",
                load(&self.log_bytes),
            ),
        ];
        for (name, kind, text, value) in rows {
            // OpenMetrics names a counter's family without the suffix of its samples.
            let family = name.strip_suffix("_total").unwrap_or(name);
            // Writing into a string cannot fail.
            let _ = writeln!(out, "# TYPE {family} {kind}\n# HELP {family} {text}\n{name} {value}");
        }
    }
}

fn load(cell: &AtomicU64) -> f64 {
    cell.load(Relaxed) as f64
}
