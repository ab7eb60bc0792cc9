//! One stream of choices from one seed (SplitMix64).

use super::Nanos;
use super::scenario::Think;
use frontrow_shard::mix;

/// A seeded source of choices.
#[derive(Clone, Debug)]
pub(crate) struct Dice(u64);

impl Dice {
    /// The stream of `seed` and `stream`, apart from those of any other pair.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(mix(seed ^ mix(stream.wrapping_add(0x9e37_79b9_7f4a_7c15))))
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `n`; 0 if `n` is. Lemire's multiplication; its bias is below 2⁻³².
    pub(crate) fn below(&mut self, n: u32) -> u32 {
        (((self.next() >> 32) * u64::from(n)) >> 32) as u32
    }

    /// Evenly from [0, 1).
    pub(crate) fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.unit() < probability
    }

    /// Exponentially distributed with mean 1.
    pub(crate) fn exponential(&mut self) -> f64 {
        -(1.0 - self.unit()).ln()
    }

    /// A random time, in nanoseconds.
    pub(crate) fn think(&mut self, think: Think) -> Nanos {
        let rest = (think.mean_ms - think.min_ms).max(0.0);
        let ms = if rest > 0.0 { think.min_ms + rest * self.exponential().min(8.0) } else { think.min_ms };
        (ms * 1e6) as Nanos
    }
}
