//! What is counted of snapshots.

use super::round::Done;
use crate::exposition::{Families, Labels};
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

    /// Reads it off.
    pub(crate) fn read_off(&self, families: &mut Families) {
        let counters = [
            ("frontrow_snapshots", "Snapshots of partitions written.", &self.written),
            ("frontrow_snapshot_bytes", "Bytes of them.", &self.bytes),
            (
                "frontrow_snapshot_failures",
                "Rounds of snapshots that failed; the log grows meanwhile.",
                &self.failed,
            ),
            ("frontrow_log_trimmed_bytes", "Bytes of segments removed.", &self.trimmed_bytes),
        ];
        for (name, help, cell) in counters {
            families.counter(name, help, [(Labels::new(), cell.load(Relaxed))]);
        }
        let load = |cell: &AtomicU64| cell.load(Relaxed) as f64;
        families.value(
            "frontrow_snapshot_seconds",
            "How long the last round took.",
            load(&self.round_ns) * 1e-9,
        );
        families.value(
            "frontrow_log_unsnapshotted_bytes",
            "Bytes of the log since the last round of snapshots began.",
            load(&self.pending_bytes),
        );
        families.value(
            "frontrow_log_kept_bytes",
            "Bytes of segments after the last trim.",
            load(&self.log_bytes),
        );
    }
}
