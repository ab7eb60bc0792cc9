//! Whether what all crowds were told, taken together, can be true.
//!
//! Crowds note facts; facts come in batches, those of one crowd in their order, those of several in any. No rule
//! here depends on that order: a pair of holds is judged when enough is known of both, and a doubt stays a doubt
//! until it is settled. Nothing is kept of holds that are over but what a late fact may still have to be held
//! against, so that memory does not grow with time.

pub(crate) mod checks;
pub(crate) mod facts;
mod fences;
mod last;
mod ledger;
mod left;
mod lived;
mod queues;
mod seats;

pub use facts::Kind;
pub use last::{FinalSeat, SeatState};
pub use left::Waited;
pub use lived::Lived;

use super::hall::Hall;
use crate::report::model::Verified;
use facts::Batch;
use ledger::Ledger;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How many violations are kept in words; the rest is counted.
pub(crate) const KEPT_VIOLATIONS: usize = 100;

/// What the load's own books say at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Books {
    /// Seats booked, less those cancelled.
    pub seats_booked: u64,
    /// Seats held and not booked. A hold that nobody ended counts until its time is over, or the next one has the seat.
    pub seats_held: u64,
    /// Parties in queues.
    pub waiting: u64,
    /// Visits begun.
    pub visits: u64,
    /// Visits that booked.
    pub visits_won: u64,
    /// People who came; one who tries again later makes another visit.
    pub people: u64,
    /// People who should have come by the plan, and did not before the load was ended.
    pub people_missed: u64,
    /// Seats granted so far, by claims and offers.
    pub seats_granted: u64,
    /// When the last seat that was free at the start was booked, in nanoseconds since the start of the run.
    pub sold_out_at: Option<u64>,
    /// People who had come when every seat that was free at the start was held or booked for the first time.
    pub people_until_gone: Option<u64>,
    /// When the first people could come: when the connections of a load thread were open.
    pub began_ns: Option<u64>,
    /// Violations so far.
    pub violations: u64,
}

/// What crowds and verifier share.
pub(crate) struct Shared {
    inbox: Mutex<Vec<Batch>>,
    ledger: Mutex<Ledger>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    pub(crate) fn new(hall: &Arc<Hall>, threads: u16) -> Arc<Self> {
        let ledger = Mutex::new(Ledger::new(Arc::clone(hall), threads));
        Arc::new(Self { inbox: Mutex::new(Vec::new()), ledger })
    }

    /// Takes a batch, and leaves an empty one in its place. Whoever finds the ledger free works off what waits; nobody
    /// waits for it.
    pub(crate) fn take(&self, batch: &mut Batch) {
        let thread = batch.thread;
        let mut ledger = self.ledger.try_lock().ok();
        let spare = ledger.as_mut().map_or_else(Batch::default, |ledger| ledger.spare());
        let full = std::mem::replace(batch, Batch { thread, ..spare });
        lock(&self.inbox).push(full);
        if let Some(ledger) = &mut ledger {
            self.work_off(ledger);
        }
    }

    fn work_off(&self, ledger: &mut Ledger) {
        loop {
            let batches = std::mem::take(&mut *lock(&self.inbox));
            if batches.is_empty() {
                return;
            }
            for batch in batches {
                ledger.take(batch);
            }
        }
    }
}

/// Checks what crowds were told; see the module.
#[derive(Clone)]
pub struct Verifier {
    shared: Arc<Shared>,
}

impl Verifier {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// The load's own books, as far as crowds have handed over (every 20 ms or so).
    pub fn books(&self) -> Books {
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger);
        ledger.books()
    }

    /// What people lived through so far.
    pub fn lived(&self) -> Lived {
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger);
        ledger.lived.clone()
    }

    /// How many holds, doubts and parties are remembered: bounded by the hall and by who is there.
    pub fn remembered(&self) -> usize {
        lock(&self.shared.ledger).remembered()
    }

    /// Who waits in queues, as far as crowds have handed over.
    pub fn waiting(&self) -> Vec<Waited> {
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger);
        ledger.waiting()
    }

    /// Why seats were left, by the server's own word on each seat, and by who waited when people stopped coming; `None`
    /// if none were left.
    pub fn why_left(&self, seats: &[FinalSeat], waited: &[Waited]) -> Option<String> {
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger);
        left::why(&ledger.hall, seats, waited, ledger.told)
    }

    /// What has been checked so far, and what was wrong.
    pub fn so_far(&self) -> Verified {
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger);
        ledger.verified()
    }

    /// Settles everything against the server's own final word on its seats; without any (`&[]`), only the checks
    /// that need none are settled. The crowds must have been dropped, or be done: what they have not handed over is
    /// not looked at.
    pub fn finish(self, seats: &[FinalSeat]) -> Verified {
        let mut ledger = lock(&self.shared.ledger);
        self.shared.work_off(&mut ledger);
        ledger.finish(seats);
        ledger.verified()
    }
}
