//! The only source of chance: one stream of numbers per concern, all from one seed.
//!
//! With a stream for each concern, one more draw for the network does not change what the scheduler does,
//! so that a failure stays a failure while a test is being made smaller.

use std::ops::Range;

/// What a stream of numbers decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concern {
    /// Which ready task runs next, and how long it takes.
    Schedule = 1,
    /// Latencies, fragments and losses of the network.
    Network = 2,
    /// What a disk keeps, and how long it takes.
    Disk = 3,
    /// When and where faults strike.
    Faults = 4,
    /// What clients do.
    Workload = 5,
    /// What a real process would take from the system's randomness.
    Secrets = 6,
    /// What is played at all.
    Scenario = 7,
}

/// A stream of numbers (SplitMix64: small, fast, and every seed is as good as any other).
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// The stream of `concern` under `seed`.
    pub fn new(seed: u64, concern: Concern) -> Self {
        let mut mixed = Self(seed ^ (concern as u64).wrapping_mul(0xA24B_AED4_963E_E407));
        Self(mixed.next_u64())
    }

    /// A stream of its own for one of several equals, such as a client.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self(self.next_u64())
    }

    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`; 0 for a bound of 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// An index below `len`.
    pub fn index(&mut self, len: usize) -> usize {
        self.below(len as u64) as usize
    }

    /// A number of the range; its start if the range is empty.
    pub fn within(&mut self, range: Range<u64>) -> u64 {
        range.start + self.below(range.end.saturating_sub(range.start))
    }

    /// True in `n` of a million cases.
    pub fn per_million(&mut self, n: u32) -> bool {
        self.below(1_000_000) < u64::from(n)
    }

    /// One of `items`.
    ///
    /// # Panics
    /// If there are none.
    pub fn pick<'a, T>(&mut self, items: &'a [T]) -> &'a T {
        &items[self.index(items.len())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ() {
        let draw = |seed, concern| {
            let mut rng = Rng::new(seed, concern);
            (0..8).map(|_| rng.next_u64()).collect::<Vec<_>>()
        };
        assert_eq!(draw(1, Concern::Disk), draw(1, Concern::Disk));
        assert_ne!(draw(1, Concern::Disk), draw(2, Concern::Disk));
        assert_ne!(draw(1, Concern::Disk), draw(1, Concern::Network));
    }

    #[test]
    fn bounds_are_kept_and_reached() {
        let mut rng = Rng::new(7, Concern::Schedule);
        let mut seen = [false; 5];
        for _ in 0..200 {
            seen[rng.index(5)] = true;
            assert!((10..12).contains(&rng.within(10..12)));
        }
        assert_eq!(seen, [true; 5]);
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.within(4..4), 4);
        assert!(!rng.per_million(0));
        assert!(rng.per_million(1_000_000));
    }
}
