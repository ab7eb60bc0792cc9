//! Counting what arrives inside a window of time, and how late.

use crate::LoadError;
use crate::machine::ServerTime;
use frontrow_engine::Clock;
use hdrhistogram::Histogram;
use std::time::Duration;

/// The longest latency that is told apart, in nanoseconds.
const LONGEST_NS: u64 = 60_000_000_000;

/// When replies count, on the monotonic clock in nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Window {
    pub(crate) from_ns: u64,
    pub(crate) until_ns: u64,
}

impl Window {
    /// From `warmup` on, for `duration`.
    pub(crate) fn after(warmup: Duration, duration: Duration) -> Self {
        let from_ns = Clock::monotonic_ns() + warmup.as_nanos() as u64;
        Self { from_ns, until_ns: from_ns + duration.as_nanos() as u64 }
    }

    /// Whether new requests may still be sent.
    pub(crate) fn is_open(self, now_ns: u64) -> bool {
        now_ns < self.until_ns
    }

    pub(crate) fn counts(self, now_ns: u64) -> bool {
        (self.from_ns..self.until_ns).contains(&now_ns)
    }

    pub(crate) fn seconds(self) -> f64 {
        (self.until_ns - self.from_ns) as f64 / 1e9
    }
}

/// What one load client sees.
pub(crate) struct Meter {
    pub(crate) window: Window,
    pub(crate) messages: u64,
    /// Messages inside the window or not.
    all_messages: u64,
    latency_ns: Histogram<u64>,
    /// What the server used for all messages.
    used: ServerTime,
}

impl Meter {
    pub(crate) fn new(window: Window) -> Result<Self, LoadError> {
        let latency_ns = Histogram::new_with_bounds(1, LONGEST_NS, 3)
            .map_err(|error| LoadError::Option(format!("no histogram of latencies: {error}")))?;
        Ok(Self { window, messages: 0, all_messages: 0, latency_ns, used: ServerTime::default() })
    }

    /// `count` requests sent at `sent_ns` were answered at `now_ns`.
    pub(crate) fn replies(&mut self, now_ns: u64, sent_ns: u64, count: u64) {
        self.all_messages += count;
        if self.window.counts(now_ns) && count > 0 {
            self.messages += count;
            self.latency_ns.saturating_record_n(now_ns.saturating_sub(sent_ns), count);
        }
    }

    /// Notes what the server used from before the first message to after the last.
    pub(crate) fn used(&mut self, used: ServerTime) {
        self.used = used;
    }

    /// Nanoseconds that the serving core used per message.
    pub(crate) fn serving_ns(&self) -> f64 {
        self.used.serving_ns as f64 / self.all_messages.max(1) as f64
    }

    /// Nanoseconds that the log's threads used per message.
    pub(crate) fn logging_ns(&self) -> f64 {
        self.used.logging_ns as f64 / self.all_messages.max(1) as f64
    }

    /// Messages per second.
    pub(crate) fn per_second(&self) -> f64 {
        self.messages as f64 / self.window.seconds()
    }

    /// The latency in microseconds that the share `quantile` of the messages kept to.
    pub(crate) fn latency_us(&self, quantile: f64) -> f64 {
        self.latency_ns.value_at_quantile(quantile) as f64 / 1e3
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_arrives_inside_the_window_counts() {
        let window = Window { from_ns: 1_000, until_ns: 2_001_000 };
        let mut meter = Meter::new(window).expect("a histogram");
        meter.replies(999, 0, 5);
        meter.replies(5_000, 1_000, 3);
        meter.replies(2_001_000, 0, 5);
        assert_eq!(meter.messages, 3);
        assert!((meter.per_second() - 1_500.0).abs() < 1e-6);
        assert!((meter.latency_us(0.5) - 4.0).abs() < 0.1);
    }
}
