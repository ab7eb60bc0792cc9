//! What the property tests share: a seeded source of choices, a naive model, a world of partitions, checks.

#![allow(dead_code, reason = "each test binary uses its own part of this")]

pub(crate) mod checks;
pub(crate) mod coverage;
pub(crate) mod ledger;
pub(crate) mod market;
pub(crate) mod model;
pub(crate) mod rng;
pub(crate) mod rows;
pub(crate) mod saved;
pub(crate) mod venue;
pub(crate) mod world;

use std::ops::Range;

/// Seeds to run: those from `base` on, or the one in `FRONTROW_SEED`. `FRONTROW_MORE=n` runs n times as many.
pub(crate) fn seeds(base: u64, how_many: u64) -> Range<u64> {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    if let Some(seed) = number("FRONTROW_SEED") {
        return seed..seed + 1;
    }
    let first = base * 1_000;
    first..first + how_many * number("FRONTROW_MORE").unwrap_or(1)
}

/// Operations per seed: the given number, or that in `FRONTROW_OPS`.
pub(crate) fn operations(usual: u64) -> u64 {
    std::env::var("FRONTROW_OPS").ok().and_then(|text| text.parse().ok()).unwrap_or(usual)
}

/// Says on a panic which seed and step it was, so that it can be run again.
pub(crate) struct Whereabouts {
    /// The test's name.
    pub(crate) test: &'static str,
    /// The seed.
    pub(crate) seed: u64,
    /// How many operations have been done.
    pub(crate) step: u64,
}

impl Drop for Whereabouts {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!(
                "{}: failed at step {}; run it again with FRONTROW_SEED={} FRONTROW_OPS={}",
                self.test,
                self.step,
                self.seed,
                self.step + 1
            );
        }
    }
}
