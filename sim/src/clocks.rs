//! A node's clocks: they follow the world's time, faster or slower, and the wall clock may step.

/// The wall clock of a node that nothing was done to, at the world's beginning: 1 January 2026.
const BEGINNING_MS: u64 = 1_767_225_600_000;
const MILLION: i128 = 1_000_000;

/// How a node reads the world's time.
#[derive(Debug, Clone)]
pub(crate) struct Clocks {
    /// Since this moment of the world the present drift holds.
    since_ns: u64,
    /// What the node's monotonic clock showed then.
    shown_ns: u64,
    /// Millionths too fast.
    drift: i32,
    /// What the wall clock was stepped by.
    stepped_ms: i64,
}

impl Clocks {
    pub(crate) fn new(world_ns: u64) -> Self {
        // A process that starts reads 0 soon after; 1 s keeps "never" (0) apart from any reading.
        Self { since_ns: world_ns, shown_ns: world_ns + 1_000_000_000, drift: 0, stepped_ms: 0 }
    }

    pub(crate) fn monotonic_ns(&self, world_ns: u64) -> u64 {
        let passed = i128::from(world_ns.saturating_sub(self.since_ns));
        self.shown_ns + (passed + passed * i128::from(self.drift) / MILLION) as u64
    }

    pub(crate) fn wall_ms(&self, world_ns: u64) -> u64 {
        (BEGINNING_MS + self.monotonic_ns(world_ns) / 1_000_000).saturating_add_signed(self.stepped_ms)
    }

    /// The world's moment at which the monotonic clock shows at least `local_ns`, as it runs now.
    pub(crate) fn world_ns(&self, local_ns: u64) -> u64 {
        let ahead = i128::from(local_ns.saturating_sub(self.shown_ns));
        let passed = ahead * MILLION / (MILLION + i128::from(self.drift));
        // Rounded up: a sleep may last longer, never shorter.
        self.since_ns + passed as u64 + 1
    }

    pub(crate) fn set_drift(&mut self, world_ns: u64, drift: i32) {
        self.shown_ns = self.monotonic_ns(world_ns);
        self.since_ns = world_ns;
        self.drift = drift.clamp(-500_000, 500_000);
    }

    pub(crate) fn step(&mut self, by_ms: i64) {
        self.stepped_ms += by_ms;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drift_changes_the_pace_and_never_goes_back() {
        let mut clocks = Clocks::new(0);
        let second = 1_000_000_000;
        assert_eq!(clocks.monotonic_ns(second), 2 * second);
        clocks.set_drift(second, 1_000);
        assert_eq!(clocks.monotonic_ns(second), 2 * second);
        assert_eq!(clocks.monotonic_ns(2 * second), 3 * second + 1_000_000);
        clocks.set_drift(2 * second, -1_000);
        assert_eq!(clocks.monotonic_ns(2 * second), 3 * second + 1_000_000);
        for local in [3 * second + 1_000_000, 5 * second, 99 * second + 7] {
            let due = clocks.world_ns(local);
            assert!(clocks.monotonic_ns(due) >= local, "a sleep that ends at {due} was too short");
        }
    }

    #[test]
    fn the_wall_clock_steps_alone() {
        let mut clocks = Clocks::new(0);
        let before = clocks.wall_ms(5);
        clocks.step(-3_600_000);
        assert_eq!(clocks.wall_ms(5), before - 3_600_000);
        assert_eq!(clocks.monotonic_ns(5), 1_000_000_005);
    }
}
