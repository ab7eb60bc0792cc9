//! How far the feed is: for metrics, for operators, and for the trimming of the log.

use crate::exposition::Families;
use frontrow_cdc::{Batch, Places};
use frontrow_wal::Position;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, Mutex, PoisonError};

/// After so long without an answer a sink is said to be silent.
const SILENT_NS: u64 = 3_000_000_000;

/// Shared by a feed and whoever looks.
#[derive(Debug)]
pub(crate) struct Progress {
    /// What is fed, as metrics and logs name it.
    pub(super) sink: &'static str,
    /// By stream, up to where the sink has the epoch under way for good; 0 before.
    settled: Vec<AtomicU64>,
    /// By stream, up to where it is read.
    read: Vec<AtomicU64>,
    /// Whether everything was in the table once since this start.
    complete: AtomicBool,
    /// How often somebody wanted all that was durable then, and which of them have it.
    wanted: AtomicU64,
    had: AtomicU64,
    /// Since when the sink has not answered, in ns of the monotonic clock; 0 while nothing is asked of it.
    writing_ns: AtomicU64,
    is_silent: AtomicBool,
    changes: AtomicU64,
    records: AtomicU64,
    lag: AtomicU64,
    /// Whether it is known where it reads: before, positions count from a node's first epoch, and mean nothing here.
    is_placed: AtomicBool,
    /// Before which everything is there, as far as is known.
    places: Mutex<Places>,
    /// Log bytes that are kept for it, and at how many nothing new is sold.
    kept: AtomicU64,
    most: u64,
    trouble: Mutex<Option<String>>,
}

/// How a feed is doing.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct FeedStatus {
    /// Whether everything was there once since this start; before, nothing is answered from a table.
    pub complete: bool,
    /// Log bytes that are durable and not written to it yet; null as long as it is not known where it goes on.
    pub lag_bytes: Option<u64>,
    /// Changes written since the start.
    pub changes: u64,
    /// What keeps it from going on; nothing is lost by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Progress {
    pub(crate) fn new(sink: &'static str, streams: u16, most: u64) -> Self {
        Self {
            sink,
            settled: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            read: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            complete: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            had: AtomicU64::new(0),
            writing_ns: AtomicU64::new(0),
            is_silent: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            is_placed: AtomicBool::new(false),
            places: Mutex::default(),
            kept: AtomicU64::new(0),
            most,
            trouble: Mutex::default(),
        }
    }

    /// What is fed.
    pub(crate) fn sink(&self) -> &'static str {
        self.sink
    }

    /// Up to where the log of a stream may be forgotten.
    pub(crate) fn settled_up_to(&self, stream: u16) -> Position {
        self.settled.get(usize::from(stream)).map_or(0, |position| position.load(Acquire))
    }

    pub(crate) fn status(&self) -> FeedStatus {
        FeedStatus {
            complete: self.is_complete(),
            lag_bytes: self.lag(),
            changes: self.changes.load(Relaxed),
            trouble: self.lock().clone().or_else(|| self.silence()),
        }
    }

    /// Log bytes that are durable and not written; none where it has not begun to read since the start.
    fn lag(&self) -> Option<u64> {
        self.is_placed.load(Relaxed).then(|| self.lag.load(Relaxed))
    }

    /// The sink is asked something at this time, or has answered.
    pub(super) fn writing(&self, since_ns: Option<u64>) {
        self.writing_ns.store(since_ns.unwrap_or(0), Relaxed);
        self.is_silent.store(false, Relaxed);
    }

    /// Whether it is only now seen that the sink does not answer.
    pub(super) fn look(&self, now_ns: u64) -> bool {
        let since = self.writing_ns.load(Relaxed);
        since > 0 && now_ns.saturating_sub(since) > SILENT_NS && !self.is_silent.swap(true, Relaxed)
    }

    fn silence(&self) -> Option<String> {
        let is_silent = self.is_silent.load(Relaxed);
        is_silent.then(|| format!("{} has not answered for some seconds, and is waited for", self.sink))
    }

    pub(super) fn wrote(&self, batch: &Batch) {
        self.changes.fetch_add(batch.changes.len() as u64, Relaxed);
        self.records.fetch_add(batch.records, Relaxed);
    }

    /// The log is read up to here, and durable as `safe` says.
    pub(super) fn read(&self, positions: impl Iterator<Item = Position>, safe: &dyn Fn(u16) -> Position) {
        for (read, position) in self.read.iter().zip(positions) {
            read.store(position, Relaxed);
        }
        self.is_placed.store(true, Relaxed);
        self.behind(safe);
    }

    /// The log is durable as `safe` says, and read as far as it was.
    pub(super) fn behind(&self, safe: &dyn Fn(u16) -> Position) {
        if !self.is_placed.load(Relaxed) {
            return;
        }
        let of = |(read, stream): (&AtomicU64, u16)| safe(stream).saturating_sub(read.load(Relaxed));
        self.lag.store(self.read.iter().zip(0..).map(of).sum(), Relaxed);
    }

    /// Everything before `places` is there.
    pub(super) fn stands(&self, places: &Places) {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone_from(places);
    }

    pub(super) fn places(&self) -> Places {
        self.places.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// So many log bytes are kept for it.
    pub(super) fn kept(&self, bytes: u64) {
        self.kept.store(bytes, Relaxed);
    }

    /// Somebody wants all that is durable now; what to ask [`Progress::has`] for.
    pub(crate) fn want(&self) -> u64 {
        self.wanted.fetch_add(1, AcqRel) + 1
    }

    /// Whether what somebody wanted is there.
    pub(crate) fn has(&self, wanted: u64) -> bool {
        self.had.load(Acquire) >= wanted
    }

    /// Who wanted something before now has it once everything is written that is durable from now on.
    pub(super) fn wanted(&self) -> u64 {
        self.wanted.load(Acquire)
    }

    /// These have it.
    pub(crate) fn had(&self, wanted: u64) {
        self.had.store(wanted, Release);
    }

    /// Everything that was durable is in the table.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Release);
    }

    /// Whether everything was once since this start: before that an answer could lack what was booked long ago.
    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Acquire)
    }

    pub(super) fn settled(&self, positions: &[Position]) {
        for (settled, &position) in self.settled.iter().zip(positions) {
            settled.store(position, Release);
        }
    }

    /// Whether something keeps it from going on: what is booked meanwhile is not there.
    pub(crate) fn is_troubled(&self) -> bool {
        self.lock().is_some() || self.is_silent.load(Relaxed)
    }

    /// What keeps it from going on, or nothing does. Whether that is news.
    pub(crate) fn trouble(&self, what: Option<String>) -> bool {
        let mut trouble = self.lock();
        let news = *trouble != what;
        if news {
            *trouble = what;
        }
        news
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.trouble.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads off what is counted of each sink.
pub(crate) fn read_off(feeds: &[Arc<Progress>], families: &mut Families) {
    if feeds.is_empty() {
        return;
    }
    type Pick = fn(&Progress) -> u64;
    let each = |pick: Pick| feeds.iter().map(move |feed| (vec![("sink", feed.sink.to_owned())], pick(feed)));
    let lags = feeds
        .iter()
        .filter_map(|feed| feed.lag().map(|lag| (vec![("sink", feed.sink.to_owned())], lag as f64)));
    let help = "Durable log that has not been written to it yet; no sample as long as that is not known.";
    families.gauge("frontrow_bookings_lag_bytes", help, lags);
    let gauges: [(&str, &str, Pick); 3] = [
        ("frontrow_bookings_kept_bytes", "Log that is kept until it has been written to it.", |it| {
            it.kept.load(Relaxed)
        }),
        (
            "frontrow_bookings_keep_bytes",
            "How much that may be (log.keep); past it nothing new is sold.",
            |it| it.most,
        ),
        ("frontrow_bookings_waits", "Whether something keeps it from going on.", |it| {
            it.is_troubled().into()
        }),
    ];
    for (name, help, pick) in gauges {
        families.gauge(name, help, each(pick).map(|(labels, value)| (labels, value as f64)));
    }
    let counters: [(&str, &str, Pick); 2] = [
        ("frontrow_bookings_changes", "Changes written to it.", |it| it.changes.load(Relaxed)),
        ("frontrow_bookings_records", "Records of the log that were read for it.", |it| {
            it.records.load(Relaxed)
        }),
    ];
    for (name, help, pick) in counters {
        families.counter(name, help, each(pick));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sink_that_does_not_answer_is_said_not_to() {
        let progress = Progress::new("kafka", 1, 1);
        let at = |seconds: u64| 1 + seconds * 1_000_000_000;
        assert!(!progress.look(at(9)), "nothing is asked of it");
        progress.writing(Some(at(10)));
        assert!(!progress.look(at(13)) && !progress.is_troubled());
        assert!(progress.look(at(14)) && progress.is_troubled());
        assert!(!progress.look(at(15)), "it is news once");
        let said = progress.status().trouble.expect("trouble");
        assert!(said.starts_with("kafka has not answered"), "{said}");
        progress.trouble(Some("no broker".into()));
        assert_eq!(progress.status().trouble.as_deref(), Some("no broker"), "it knows more");
        progress.trouble(None);
        progress.writing(None);
        assert!(!progress.look(at(30)) && !progress.is_troubled());
    }

    #[test]
    fn the_log_that_waits_is_what_was_not_written() {
        let progress = Progress::new("kafka", 2, 1);
        progress.behind(&|_| 1 << 30);
        assert_eq!(progress.status().lag_bytes, None, "where it will go on is not known");
        progress.read([10, 20].into_iter(), &|_| 20);
        assert_eq!(progress.status().lag_bytes, Some(10));
        progress.behind(&|_| 50);
        assert_eq!(progress.status().lag_bytes, Some(40 + 30));
    }

    #[test]
    fn who_wants_all_has_it_once_it_was_written_after_that() {
        let progress = Progress::new("embedded", 1, 1);
        let early = progress.want();
        let round = progress.wanted();
        let late = progress.want();
        assert!(!progress.has(early));
        progress.had(round);
        assert!(progress.has(early) && !progress.has(late));
        progress.had(progress.wanted());
        assert!(progress.has(late));
    }
}
