//! The only place of the serving path that reads a clock.

use std::cell::Cell;
use std::sync::OnceLock;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Reads time. Everything above the seam gets time passed in, so that replay and simulation
/// see the times that were recorded.
#[derive(Debug, Clone, Copy)]
pub struct Clock;

/// What a thread's clocks show while it is simulated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Simulated {
    /// What [`Clock::monotonic_ns`] gives; at least 1.
    pub monotonic_ns: u64,
    /// What [`Clock::wall_ms`] gives.
    pub wall_ms: u64,
}

thread_local! {
    /// What the clocks show in a simulation; 0 on a live thread.
    static SIMULATED_NS: Cell<u64> = const { Cell::new(0) };
    static SIMULATED_WALL_MS: Cell<u64> = const { Cell::new(0) };
    /// When this thread last read the clock; 0 for a thread that never does so by [`Clock::read`].
    static READ_NS: Cell<u64> = const { Cell::new(0) };
}

impl Clock {
    /// Nanoseconds on the monotonic clock since this process first asked. Comparable between the
    /// threads of one process only.
    #[allow(clippy::disallowed_methods, reason = "the runtime seam is where clocks are read")]
    pub fn monotonic_ns() -> u64 {
        static ORIGIN: OnceLock<Instant> = OnceLock::new();
        let simulated = SIMULATED_NS.get();
        if simulated != 0 {
            return simulated;
        }
        let origin = *ORIGIN.get_or_init(Instant::now);
        u64::try_from(origin.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Milliseconds since the Unix epoch. May step backwards; never use it to measure a duration.
    #[allow(clippy::disallowed_methods, reason = "the runtime seam is where clocks are read")]
    pub fn wall_ms() -> u64 {
        if SIMULATED_NS.get() != 0 {
            return SIMULATED_WALL_MS.get();
        }
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    /// Reads the monotonic clock and notes what it showed, for [`Clock::recent_ns`].
    #[inline]
    pub fn read() -> u64 {
        let now = Self::monotonic_ns();
        READ_NS.set(now);
        now
    }

    /// Monotonic nanoseconds as [`Clock::read`] last noted them on this thread; now, where nothing was
    /// noted yet. For what is asked so often that reading would cost more than what it is for.
    #[inline]
    pub fn recent_ns() -> u64 {
        match READ_NS.get() {
            0 => Self::monotonic_ns(),
            read => read,
        }
    }

    /// Makes this thread's clocks show a simulated time, or the real one again. `noted` becomes what
    /// was last read, 0 for nothing; returned is what it was: a simulation runs many cores on one thread,
    /// each with a note of its own.
    pub fn simulate(now: Option<Simulated>, noted: u64) -> u64 {
        SIMULATED_NS.set(now.map_or(0, |now| now.monotonic_ns.max(1)));
        SIMULATED_WALL_MS.set(now.map_or(0, |now| now.wall_ms));
        READ_NS.replace(noted)
    }
}
