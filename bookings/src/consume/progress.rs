//! How far it is, for metrics and for whoever asks.

use super::table::Place;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What a consumer has done, and where it is. Read by any thread.
#[derive(Debug, Default)]
pub struct Progress {
    /// Changes written, duplicates not among them.
    pub applied: AtomicU64,
    /// Changes that were there already.
    pub known: AtomicU64,
    /// Records set aside into the dead-letter topic.
    pub aside: AtomicU64,
    /// Transactions written.
    pub batches: AtomicU64,
    /// How often another consumer had written first.
    pub overtaken: AtomicU64,
    /// How often source or table were away.
    pub retries: AtomicU64,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    partitions: BTreeMap<i32, Standing>,
    trouble: Option<String>,
}

/// One of Kafka's partitions that are read here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Standing {
    /// The table has everything before this offset.
    pub next: i64,
    /// Up to where the partition has been written, as far as is known.
    pub high: Option<i64>,
    /// Whether the table has had everything once.
    pub complete: bool,
}

impl Standing {
    /// Offsets between the two: records, and Kafka's own marks of transactions.
    pub fn lag(&self) -> u64 {
        self.high.map_or(0, |high| (high - self.next).max(0) as u64)
    }
}

impl Progress {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By Kafka's partitions that are read here, how far they are.
    pub fn partitions(&self) -> BTreeMap<i32, Standing> {
        self.now().partitions.clone()
    }

    /// What hinders it now.
    pub fn trouble(&self) -> Option<String> {
        self.now().trouble.clone()
    }

    pub(super) fn stand(&self, places: &BTreeMap<i32, Place>, high: impl Fn(i32) -> Option<i64>) {
        let standing = |(&partition, place): (&i32, &Place)| {
            let (next, complete) = (place.next.unwrap_or(0), place.complete);
            (partition, Standing { next, high: high(partition), complete })
        };
        self.now().partitions = places.iter().map(standing).collect();
    }

    /// Whether that is news.
    pub(super) fn troubled(&self, trouble: Option<String>) -> bool {
        let mut now = self.now();
        let news = now.trouble.is_none() && trouble.is_some();
        now.trouble = trouble;
        news
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of: &AtomicU64| of.load(Relaxed);
        let now = self.now();
        let lag: u64 = now.partitions.values().map(Standing::lag).sum();
        let (applied, known, aside) = (count(&self.applied), count(&self.known), count(&self.aside));
        let mut line =
            format!("{} partitions, {lag} records behind; {applied} changes written", now.partitions.len());
        if known > 0 {
            write!(line, ", {known} known already")?;
        }
        if aside > 0 {
            write!(line, ", {aside} SET ASIDE (look at the dead-letter topic)")?;
        }
        if let Some(trouble) = &now.trouble {
            write!(line, "; waiting: {trouble}")?;
        }
        f.write_str(&line)
    }
}
