//! The books of a run: what facts say about seats, fences and queues, and the sums.

use super::super::hall::Hall;
use super::super::slab::NONE;
use super::checks::{Check, Counts};
use super::facts::{Batch, Entry, Fact, Grant};
use super::fences::Nonces;
use super::left::Waited;
use super::lived::Lived;
use super::queues::Queues;
use super::seats::Floor;
use super::{Books, KEPT_VIOLATIONS};
use crate::report::model::Verified;
use std::sync::Arc;

/// What a visit has, by its number on its thread.
#[derive(Clone, Copy, Debug)]
struct Has {
    span: u32,
    section: u16,
    party: u32,
}

const NOTHING: Has = Has { span: NONE, section: 0, party: NONE };

/// Empty batches kept for use.
const SPARE: usize = 64;

pub(crate) struct Ledger {
    pub(super) hall: Arc<Hall>,
    pub(super) floor: Floor,
    queues: Queues,
    nonces: Nonces,
    visits: Vec<Vec<Has>>,
    spare: Vec<Batch>,
    pub(super) books: Books,
    pub(super) lived: Lived,
    pub(super) checks: Counts,
    violations: Vec<String>,
    free_seats: u64,
    /// Seats of bookings that were told, less those of cancellations: by bookings, not by seats.
    pub(super) told: u64,
}

impl Ledger {
    pub(crate) fn new(hall: Arc<Hall>, threads: u16) -> Self {
        let max_passes = hall.rules().map(|rules| rules.max_passes);
        Self {
            floor: Floor::new(Arc::clone(&hall)),
            queues: Queues::new(max_passes),
            nonces: Nonces::default(),
            visits: vec![Vec::new(); usize::from(threads.max(1))],
            spare: Vec::new(),
            books: Books::default(),
            lived: Lived::default(),
            checks: Counts::default(),
            violations: Vec::new(),
            free_seats: u64::from(hall.free_seats()),
            told: 0,
            hall,
        }
    }

    /// An empty batch whose lists have had room before.
    pub(crate) fn spare(&mut self) -> Batch {
        self.spare.pop().unwrap_or_default()
    }

    pub(crate) fn take(&mut self, mut batch: Batch) {
        let thread = usize::from(batch.thread);
        self.checks.merge(&batch.checks);
        self.books.visits += batch.visits;
        self.books.visits_won += batch.visits_won;
        self.books.people += batch.people;
        self.books.people_missed += batch.people_missed;
        self.lived.add(&batch.to_booked, &batch.queued);
        self.books.violations += batch.violation_count.saturating_sub(batch.violations.len() as u64);
        if let Some(began) = batch.began_ns {
            self.books.began_ns = Some(self.books.began_ns.map_or(began, |known| known.min(began)));
        }
        for words in batch.violations.drain(..) {
            self.violation(words);
        }
        for entry in &batch.entries {
            self.fact(thread, entry);
        }
        if self.spare.len() < SPARE {
            self.spare.push(batch.emptied());
        }
        self.collect();
    }

    pub(super) fn violation(&mut self, words: String) {
        self.books.violations += 1;
        if self.violations.len() < KEPT_VIOLATIONS {
            self.violations.push(words);
        }
    }

    /// Takes over what seats and queues have found.
    pub(super) fn collect(&mut self) {
        self.checks.add(Check::OneOwner, std::mem::take(&mut self.floor.compared));
        self.checks.add(Check::Fifo, std::mem::take(&mut self.queues.ordered));
        self.checks.add(Check::Passes, std::mem::take(&mut self.queues.counted));
        for words in std::mem::take(&mut self.floor.violations) {
            self.violation(words);
        }
        for words in std::mem::take(&mut self.queues.violations) {
            self.violation(words);
        }
    }

    fn fact(&mut self, thread: usize, entry: &Entry) {
        let Some(visits) = self.visits.get_mut(thread) else { return };
        let at = entry.visit as usize;
        if visits.len() <= at {
            visits.resize(at + 1, NOTHING);
        }
        let has = visits[at];
        match entry.fact {
            Fact::Granted(grant) => {
                let span = self.granted(&grant);
                self.visits[thread][at] = Has { span, section: grant.place.section, ..has };
            }
            Fact::Part(row, seats) => {
                self.books.seats_granted += u64::from(seats.count());
                self.floor.part(has.span, has.section, row, seats);
                self.note_the_last_seat();
            }
            Fact::Closed => {
                self.floor.close(has.span);
                self.visits[thread][at].span = NONE;
            }
            Fact::Joined(joining) => {
                self.queues.forget(has.party);
                self.visits[thread][at].party = self.queues.join(&joining);
            }
            Fact::Served(position) => {
                self.queues.serve(has.party, position);
                self.visits[thread][at].party = NONE;
            }
            Fact::Left(position) => {
                self.queues.leave(has.party, position);
                self.visits[thread][at].party = NONE;
            }
            Fact::Strayed => {
                self.queues.forget(has.party);
                self.visits[thread][at].party = NONE;
            }
            fact => self.changed(has.span, fact),
        }
    }

    fn granted(&mut self, grant: &Grant) -> u32 {
        let count = u64::from(grant.seats.count());
        self.books.seats_granted += count;
        self.checks.add(Check::FreshToken, 1);
        if !self.nonces.is_fresh(grant.nonce) {
            self.violation(format!(
                "user {} was granted seats of {:?} at LSN {} with a token that was given out before",
                grant.user, grant.place, grant.at.1
            ));
        }
        if !grant.offered && !grant.place.is_section() {
            self.queues.direct(grant.place, grant.at);
        }
        let span = self.floor.grant(grant);
        self.note_the_last_seat();
        span
    }

    /// Notes how many people it took until no seat was left, once.
    fn note_the_last_seat(&mut self) {
        if self.floor.held + self.floor.booked >= self.free_seats {
            self.books.people_until_gone.get_or_insert(self.books.people);
        }
    }

    /// A hold has changed.
    fn changed(&mut self, at: u32, fact: Fact) {
        let Some(span) = self.floor.span(at) else { return };
        let (count, was_booked) = (span.count(), span.booked);
        match fact {
            Fact::Booked(..) if !was_booked => self.told += count,
            Fact::Ended(..) if was_booked => self.told = self.told.saturating_sub(count),
            _ => {}
        }
        self.floor.learn(at, |span| match fact {
            Fact::Extended(expires_ms, asked_ns) => {
                span.expires_ms = span.expires_ms.max(expires_ms);
                Floor::certain_until(span, asked_ns);
            }
            Fact::Booking => span.booking = true,
            Fact::NotBooked => span.booking = false,
            Fact::Booked(_, heard_ns) => {
                (span.booked, span.booking) = (true, false);
                Floor::certain_until(span, heard_ns);
            }
            Fact::Ending => span.ending = true,
            Fact::NotEnded => span.ending = false,
            Fact::Ended(position, asked_ns) => {
                span.ended = Some(position);
                span.ending = false;
                Floor::certain_until(span, asked_ns);
            }
            _ => {}
        });
        if let Fact::Booked(_, heard_ns) = fact
            && self.floor.booked >= self.free_seats
        {
            self.books.sold_out_at.get_or_insert(heard_ns);
        }
    }

    pub(crate) fn books(&self) -> Books {
        let (seats_held, seats_booked) = (self.floor.held, self.floor.booked);
        Books { seats_held, seats_booked, waiting: self.queues.waiting(), ..self.books }
    }

    /// Who waits at present.
    pub(crate) fn waiting(&self) -> Vec<Waited> {
        self.queues.all()
    }

    pub(crate) fn remembered(&self) -> usize {
        self.floor.remembered() + self.queues.waiting() as usize
    }

    pub(crate) fn verified(&self) -> Verified {
        Verified {
            checks: self.checks.by_name(),
            violations: self.violations.clone(),
            violation_count: self.books.violations,
        }
    }
}
