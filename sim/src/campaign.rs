//! Many seeds, on as many threads as there are processors; and planted bugs, each played until it is found.

use crate::run::{Outcome, run};
use crate::scenario::Scenario;
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// What came of many seeds.
#[derive(Debug, Default, Clone)]
pub struct Totals {
    /// Seeds played.
    pub seeds: u64,
    /// Virtual time.
    pub lasted: Duration,
    /// Requests answered, and answers repeated.
    pub answered: (u64, u64),
    /// Holds booked.
    pub booked: u64,
    /// Starts of the server.
    pub starts: u64,
    /// Steps taken.
    pub steps: u64,
    /// How often each answer was heard.
    pub codes: BTreeMap<&'static str, u64>,
    /// How often each fault struck.
    pub faults: BTreeMap<&'static str, u64>,
    /// Seeds under which something was wrong, and what; at most a hundred.
    pub violations: Vec<(u64, Vec<String>)>,
    /// How many those seeds were.
    pub failed: u64,
}

impl Totals {
    /// Adds what came of a seed.
    pub fn add(&mut self, seed: u64, outcome: &Outcome) {
        self.seeds += 1;
        self.lasted += outcome.lasted;
        self.answered.0 += outcome.answered.0;
        self.answered.1 += outcome.answered.1;
        self.booked += outcome.booked;
        self.starts += u64::from(outcome.starts);
        self.steps += outcome.trace.1;
        for (sum, more) in [(&mut self.codes, &outcome.codes), (&mut self.faults, &outcome.faults)] {
            for (&what, &n) in more {
                *sum.entry(what).or_default() += n;
            }
        }
        if !outcome.violations.is_empty() {
            self.failed += 1;
            if self.violations.len() < 100 {
                self.violations.push((seed, outcome.violations.clone()));
            }
        }
    }
}

fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Plays what each of these seeds draws; `tell` hears how far it has come, every thousand seeds.
pub fn campaign(seeds: Range<u64>, tell: impl Fn(&Totals) + Sync) -> Totals {
    let next = AtomicU64::new(seeds.start);
    let totals = Mutex::new(Totals::default());
    std::thread::scope(|scope| {
        for _ in 0..threads() {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    let outcome = run(seed, &Scenario::drawn(seed));
                    let mut totals = totals.lock().expect("a seed that panics ends the run");
                    totals.add(seed, &outcome);
                    if totals.seeds.is_multiple_of(1000) || !outcome.violations.is_empty() {
                        tell(&totals);
                    }
                }
            });
        }
    });
    let mut totals = totals.into_inner().expect("a seed that panics ends the run");
    totals.violations.sort();
    totals
}

/// How a planted bug was found.
#[cfg(feature = "plant")]
#[derive(Debug, Clone)]
pub struct Hunt {
    /// The bug, its room and what it does.
    pub bug: (frontrow_plant::Bug, &'static str, &'static str),
    /// The first seed under which it shows, and what was seen; `None` if it was not found.
    pub found: Option<(u64, String)>,
    /// Seeds played.
    pub played: u64,
}

/// Plays seeds with each bug planted, from the one named `first` on or all, one at a time, until one seed shows it.
#[cfg(feature = "plant")]
pub fn hunt(seeds: Range<u64>, first: Option<&str>, tell: impl Fn(&Hunt)) -> Vec<Hunt> {
    std::panic::set_hook(Box::new(|_| {}));
    let hunt_one = |&bug: &(frontrow_plant::Bug, &'static str, &'static str)| {
        frontrow_plant::plant(bug.0);
        let next = AtomicU64::new(seeds.start);
        let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
        std::thread::scope(|scope| {
            for _ in 0..threads() {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Relaxed);
                        let over =
                            |found: &Option<(u64, String)>| found.as_ref().is_some_and(|(at, _)| *at < seed);
                        if seed >= seeds.end || over(&found.lock().expect("no panic under the lock")) {
                            return;
                        }
                        if let Some(why) = shows(seed) {
                            let mut found = found.lock().expect("no panic under the lock");
                            if !over(&found) {
                                *found = Some((seed, why));
                            }
                        }
                    }
                });
            }
        });
        frontrow_plant::plant(frontrow_plant::Bug::None);
        let found = found.into_inner().expect("no panic under the lock");
        let played = found.as_ref().map_or(seeds.end, |(at, _)| at + 1) - seeds.start;
        let hunt = Hunt { bug, found, played };
        tell(&hunt);
        hunt
    };
    let hunted = frontrow_plant::ALL
        .iter()
        .skip_while(|(bug, ..)| first.is_some_and(|first| first != format!("{bug:?}")))
        .map(hunt_one)
        .collect();
    drop(std::panic::take_hook());
    hunted
}

/// What is wrong under a seed; a panic of the server is wrong, too.
#[cfg(feature = "plant")]
fn shows(seed: u64) -> Option<String> {
    let played = std::panic::catch_unwind(|| run(seed, &Scenario::drawn(seed)));
    match played {
        Ok(outcome) => outcome.violations.into_iter().next(),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().cloned();
            let text = text.or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string));
            Some(format!("no panic: {}", text.unwrap_or_default()))
        }
    }
}
