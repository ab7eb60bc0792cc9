//! The only place of the serving path that reads a clock.

use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads time. Everything above the seam gets time passed in, so that replay and simulation
/// see the times that were recorded.
#[derive(Debug, Clone, Copy)]
pub struct Clock;

impl Clock {
    /// Nanoseconds on the monotonic clock since this process first asked. Comparable between the
    /// threads of one process only.
    #[allow(clippy::disallowed_methods, reason = "the runtime seam is where clocks are read")]
    pub fn monotonic_ns() -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let origin = *ORIGIN.get_or_init(Instant::now);
        u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the Unix epoch. May step backwards; never use it to measure a duration.
    #[allow(clippy::disallowed_methods, reason = "the runtime seam is where clocks are read")]
    pub fn wall_ms() -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}
