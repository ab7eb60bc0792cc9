//! What one crowd writes down for the verifier, and hands over now and then.

use super::Nanos;
use super::verify::checks::Check;
use super::verify::facts::{Batch, Entry, Fact};
use super::verify::{KEPT_VIOLATIONS, Shared};
use std::sync::Arc;

/// Facts after which a batch is handed over.
const BATCH: usize = 4096;
/// Time after which it is, in nanoseconds.
const PATIENCE_NS: Nanos = 20_000_000;

/// A crowd's notes.
pub(crate) struct Notes {
    shared: Arc<Shared>,
    batch: Batch,
    handed_over: Nanos,
}

impl Notes {
    pub(crate) fn new(shared: Arc<Shared>, thread: u16) -> Self {
        Self { shared, batch: Batch { thread, ..Batch::default() }, handed_over: 0 }
    }

    pub(crate) fn fact(&mut self, visit: u32, fact: Fact) {
        self.batch.entries.push(Entry { visit, fact });
    }

    /// Makes a check; `words` tell what is wrong if it fails.
    pub(crate) fn check(&mut self, check: Check, holds: bool, words: impl FnOnce() -> String) {
        self.batch.checks.add(check, 1);
        if !holds {
            self.batch.violation_count += 1;
            if self.batch.violations.len() < KEPT_VIOLATIONS {
                self.batch.violations.push(words());
            }
        }
    }

    pub(crate) fn began(&mut self, now: Nanos) {
        self.batch.began_ns = Some(now);
    }

    pub(crate) fn visit_begun(&mut self) {
        self.batch.visits += 1;
    }

    pub(crate) fn person_came(&mut self) {
        self.batch.people += 1;
    }

    pub(crate) fn people_missed(&mut self, people: u64) {
        self.batch.people_missed += people;
    }

    /// A visit ended with a booking, so long after its person came first.
    pub(crate) fn visit_won(&mut self, after: Nanos) {
        self.batch.visits_won += 1;
        self.batch.to_booked.push(after);
    }

    /// A party is out of a queue that it stood in for so long.
    pub(crate) fn queued_for(&mut self, stood: Nanos) {
        self.batch.queued.push(stood);
    }

    /// Hands over what there is if it is much, or old.
    pub(crate) fn hand_over_if_due(&mut self, now: Nanos) {
        if self.batch.entries.len() >= BATCH || now.saturating_sub(self.handed_over) >= PATIENCE_NS {
            self.handed_over = now;
            self.hand_over();
        }
    }

    pub(crate) fn hand_over(&mut self) {
        self.shared.take(&mut self.batch);
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        self.hand_over();
    }
}
