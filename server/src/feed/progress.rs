//! How far the feed is: for metrics, for operators, and for the trimming of the log.

use frontrow_cdc::Batch;
use frontrow_wal::Position;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Mutex, PoisonError};

/// Shared by the feed and whoever looks.
#[derive(Debug)]
pub(crate) struct Progress {
    /// By stream, up to where the sink has the epoch under way for good; 0 before.
    settled: Vec<AtomicU64>,
    /// By stream, up to where it is read.
    read: Vec<AtomicU64>,
    /// Whether everything was in the table once since this start.
    complete: AtomicBool,
    changes: AtomicU64,
    records: AtomicU64,
    lag: AtomicU64,
    trouble: Mutex<Option<String>>,
}

/// How the feed of bookings is doing.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct FeedStatus {
    /// Whether everything was in the table once since this start; before, nothing is answered from it.
    pub complete: bool,
    /// Log bytes that are durable and not read yet.
    pub lag_bytes: u64,
    /// Changes written since the start.
    pub changes: u64,
    /// What keeps it from going on; nothing is lost by it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trouble: Option<String>,
}

impl Progress {
    pub(crate) fn new(streams: u16) -> Self {
        Self {
            settled: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            read: (0..streams).map(|_| AtomicU64::new(0)).collect(),
            complete: AtomicBool::new(false),
            changes: AtomicU64::new(0),
            records: AtomicU64::new(0),
            lag: AtomicU64::new(0),
            trouble: Mutex::default(),
        }
    }

    /// Up to where the log of a stream may be forgotten.
    pub(crate) fn settled_up_to(&self, stream: u16) -> Position {
        self.settled.get(usize::from(stream)).map_or(0, |position| position.load(Acquire))
    }

    pub(crate) fn status(&self) -> FeedStatus {
        FeedStatus {
            complete: self.is_complete(),
            lag_bytes: self.lag.load(Relaxed),
            changes: self.changes.load(Relaxed),
            trouble: self.lock().clone(),
        }
    }

    /// Metrics in the OpenMetrics text format.
    pub(crate) fn metrics(&self, out: &mut String) {
        use std::fmt::Write as _;
        let FeedStatus { lag_bytes, changes, trouble, .. } = self.status();
        let waits = u8::from(trouble.is_some());
        // Writing into a string cannot fail.
        let _ = write!(
            out,
            "# HELP frontrow_bookings_lag_bytes Durable log that the bookings have not read yet.\n\
             # TYPE frontrow_bookings_lag_bytes gauge\nfrontrow_bookings_lag_bytes {lag_bytes}\n\
             # HELP frontrow_bookings_waits Whether something keeps the bookings from going on.\n\
             # TYPE frontrow_bookings_waits gauge\nfrontrow_bookings_waits {waits}\n\
             # HELP frontrow_bookings_changes Changes written to the bookings' table.\n\
             # TYPE frontrow_bookings_changes counter\nfrontrow_bookings_changes_total {changes}\n\
             # HELP frontrow_bookings_records Records of the log that were read for it.\n\
             # TYPE frontrow_bookings_records counter\nfrontrow_bookings_records_total {}\n",
            self.records.load(Relaxed)
        );
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
        self.behind(safe);
    }

    /// The log is durable as `safe` says, and read as far as it was.
    pub(super) fn behind(&self, safe: &dyn Fn(u16) -> Position) {
        let of = |(read, stream): (&AtomicU64, u16)| safe(stream).saturating_sub(read.load(Relaxed));
        self.lag.store(self.read.iter().zip(0..).map(of).sum(), Relaxed);
    }

    /// Everything that was durable is in the table.
    pub(super) fn complete(&self) {
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

    /// What keeps it from going on, or nothing does. Whether that is news.
    pub(super) fn trouble(&self, what: Option<String>) -> bool {
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
