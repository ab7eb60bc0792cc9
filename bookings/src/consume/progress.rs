//! How far it is, for metrics and for whoever asks.

use super::table::Place;
use std::collections::BTreeMap;
use std::fmt::{self, Write};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How trouble begins that somebody has to mend.
pub(super) const LASTING: &str = "will not mend by itself: ";

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
    /// It ended for this trouble, and tries nothing more.
    is_over: bool,
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
    /// Offsets between the two: records, and Kafka's own marks of transactions. None while it is not known: before Kafka's first
    /// answer, and while its last one is older than what the table has.
    pub fn lag(&self) -> Option<u64> {
        self.high.and_then(|high| u64::try_from(high - self.next).ok())
    }
}

fn lag(partitions: &BTreeMap<i32, Standing>) -> Option<u64> {
    let all: Option<Vec<u64>> = partitions.values().map(Standing::lag).collect();
    all.filter(|all| !all.is_empty()).map(|all| all.iter().sum())
}

impl Progress {
    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// By Kafka's partitions that are read here, how far they are.
    pub fn partitions(&self) -> BTreeMap<i32, Standing> {
        self.now().partitions.clone()
    }

    /// How many records behind it is, all partitions together. None while it is not known, and where none is assigned: then it
    /// is somebody else who knows.
    pub fn lag(&self) -> Option<u64> {
        lag(&self.now().partitions)
    }

    /// Whether it has ended for what hinders it: nothing comes any more until it is started again.
    pub fn is_over(&self) -> bool {
        self.now().is_over
    }

    /// What hinders it now.
    pub fn trouble(&self) -> Option<String> {
        self.now().trouble.clone()
    }

    /// What the consumer says of its partitions.
    pub fn stand(&self, places: &BTreeMap<i32, Place>, high: impl Fn(i32) -> Option<i64>) {
        let standing = |(&partition, place): (&i32, &Place)| {
            let (next, complete) = (place.next.unwrap_or(0), place.complete);
            (partition, Standing { next, high: high(partition), complete })
        };
        self.now().partitions = places.iter().map(standing).collect();
    }

    /// It ends for this.
    pub fn over(&self, trouble: String) {
        let mut now = self.now();
        (now.trouble, now.is_over) = (Some(trouble), true);
        // It hears no more how far the topic goes.
        now.partitions.values_mut().for_each(|standing| standing.high = None);
    }

    /// This hinders it now, or nothing does. Whether that is news: there was no trouble, or of another kind.
    pub fn troubled(&self, trouble: Option<String>) -> bool {
        let mut now = self.now();
        let kind = |trouble: &Option<String>| trouble.as_ref().map(|why| why.starts_with(LASTING));
        let news = trouble.is_some() && kind(&now.trouble) != kind(&trouble);
        now.trouble = trouble;
        news
    }
}

impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |of: &AtomicU64| of.load(Relaxed);
        let now = self.now();
        let behind = match (now.partitions.len(), lag(&now.partitions)) {
            (0, _) => "no partition assigned".to_owned(),
            (count, None) => format!("{count} partitions, how far behind is not known yet"),
            (count, Some(lag)) => format!("{count} partitions, {lag} records behind"),
        };
        let (applied, known, aside) = (count(&self.applied), count(&self.known), count(&self.aside));
        let mut line = format!("{behind}; {applied} changes written");
        if known > 0 {
            write!(line, ", {known} known already")?;
        }
        if aside > 0 {
            write!(line, ", {aside} SET ASIDE (look at the dead-letter topic)")?;
        }
        if let Some(trouble) = &now.trouble {
            let what = if now.is_over { "ended" } else { "waiting" };
            write!(line, "; {what}: {trouble}")?;
        }
        f.write_str(&line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_known_is_not_said_to_be_nothing() {
        let (progress, at) = (Progress::default(), |next| Place { next: Some(next), ..Place::default() });
        assert_eq!(progress.lag(), None);
        assert!(progress.to_string().starts_with("no partition assigned; 0 changes"), "{progress}");
        let places = BTreeMap::from([(0, at(5)), (1, at(7))]);
        // Kafka has answered of none, of one, of an earlier moment, of all.
        let known: [fn(i32) -> Option<i64>; 4] =
            [|_| None, |of| (of == 0).then_some(9), |of| Some(if of == 0 { 9 } else { 6 }), |_| Some(9)];
        for high in &known[..3] {
            progress.stand(&places, high);
            assert_eq!(progress.lag(), None);
            let text = progress.to_string();
            assert!(text.starts_with("2 partitions, how far behind is not known yet; "), "{text}");
        }
        progress.stand(&places, known[3]);
        assert_eq!(progress.lag(), Some(4 + 2));
        assert!(progress.to_string().starts_with("2 partitions, 6 records behind; "), "{progress}");
        progress.stand(&BTreeMap::new(), known[3]);
        assert_eq!(progress.lag(), None, "they were taken away");
    }
}
