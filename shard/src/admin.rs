//! What an operator does: create an event, open, pause and close it, block and unblock seats.

use crate::answer::{Answer, Code};
use crate::effects::{Effects, PushKind};
use crate::event::EventPart;
use crate::hold::NONE;
use crate::ids::{EventId, MAX_ROW_SEATS, Parts, RowRef, Seats};
use crate::partition::{MAX_EVENT, Partition};
use crate::requests::Fold;
use crate::row::Set;
use crate::rules::{EventSpec, EventState};
use std::hash::{Hash, Hasher};

impl EventSpec {
    /// Digest of all that it says.
    pub fn digest(&self) -> u64 {
        let mut hash = Fold::default();
        self.hash(&mut hash);
        hash.finish()
    }
}

/// Whether a specification is one that a partition can hold; what comes from outside has been checked before.
fn is_sound(spec: &EventSpec) -> bool {
    let rows_ok = spec.rows.iter().all(|row| {
        (1..=MAX_ROW_SEATS).contains(&row.categories.len())
            && spec.section_rows.get(usize::from(row.section)).is_some_and(|&rows| row.row < rows)
    });
    rows_ok
        && spec.event < MAX_EVENT
        && spec.section_rows.len() == spec.section_seats.len()
        && spec.section_rows.len() < usize::from(u16::MAX)
        && spec.rules.mistake().is_none()
}

impl Partition {
    pub(crate) fn create_event(&mut self, spec: &EventSpec, digest: u64) -> Answer {
        if let Ok(ev) = self.event_index(spec.event) {
            let same = self.events[ev].digest == digest;
            return Answer::plain(if same { Code::Done } else { Code::EventExists });
        }
        if !is_sound(spec) {
            return Answer::plain(Code::BadCount);
        }
        self.install(EventPart::new(spec, self.id, self.partitions, digest));
        Answer::plain(Code::Done)
    }

    pub(crate) fn set_event_state(&mut self, event: EventId, state: EventState, out: &mut Effects) -> Answer {
        use EventState::{Closed, Draft, Open, Paused};
        let Ok(ev) = self.event_index(event) else { return Answer::plain(Code::UnknownEvent) };
        let old = self.events[ev].state;
        if old == state {
            return Answer::plain(Code::Done);
        }
        if !matches!((old, state), (Draft | Paused, Open) | (Open, Paused) | (Draft | Open | Paused, Closed))
        {
            return Answer::plain(Code::BadTransition);
        }
        self.events[ev].state = state;
        match state {
            Open => self.resume(ev, out),
            Closed => self.dismiss(ev, out),
            // The last two are reached by `Op::Archive` alone.
            Draft | Paused | EventState::Archiving | EventState::Archived => {}
        }
        Answer::plain(Code::Done)
    }

    /// Hands on what came free while nothing was handed on.
    fn resume(&mut self, ev: usize, out: &mut Effects) {
        for row in self.events[ev].rows.slots().collect::<Vec<_>>() {
            self.settle(ev, row, false, out);
            // The home may have been refused while the sale was paused here.
            self.lend_again(ev, row, out);
        }
        for (home, section) in self.homes_of(ev) {
            self.settle_section(ev, home, section, out);
        }
    }

    /// Tells everybody who waits that it is over.
    fn dismiss(&mut self, ev: usize, out: &mut Effects) {
        for row in self.events[ev].rows.slots().collect::<Vec<_>>() {
            let place = self.row_place(ev, row);
            while let Some(party) = self.queues.first(self.events[ev].rows.line(row).queue) {
                let user = self.queues.party(party).user;
                self.leave_row_queue(ev, row, party);
                self.push(user, place, PushKind::Closed, Answer::plain(Code::Closed), Parts::default(), out);
            }
        }
        for (home, section) in self.homes_of(ev) {
            while let Some(party) = self.queues.first(self.events[ev].homes[home].queue) {
                let who = *self.queues.party(party);
                self.leave_home_queue(ev, home, section, party, out);
                let closed = Answer::plain(Code::Closed);
                if who.request == 0 {
                    self.push(who.user, section, PushKind::Closed, closed, Parts::default(), out);
                } else {
                    self.decide(who.request, who.user, section, closed, None, out);
                }
            }
        }
    }

    /// The sections coordinated here.
    fn homes_of(&self, ev: usize) -> Vec<(usize, RowRef)> {
        let part = &self.events[ev];
        let sections = part.sections.iter().enumerate();
        sections
            .filter(|(_, section)| section.home_index != NONE)
            .map(|(i, section)| {
                (section.home_index as usize, RowRef::new(part.id, i as u16, RowRef::SECTION))
            })
            .collect()
    }

    pub(crate) fn block(&mut self, row: RowRef, seats: Seats, blocked: bool, out: &mut Effects) -> Answer {
        if self.is_cold(row.event) {
            return Answer::plain(Code::Closed);
        }
        let (ev, at) = match self.locate(row) {
            Ok(found) => found,
            Err(refusal) => return refusal,
        };
        if blocked {
            let lent = self.events[ev].rows.among(at, Set::Lent, seats);
            if let Some(refusal) = self.events[ev].rows.conflict(at, seats) {
                return refusal;
            }
            if !lent.is_empty() {
                return Answer::refuse(Code::SeatHeld, lent);
            }
            self.events[ev].rows.take_from(at, Set::Free, seats);
            self.events[ev].rows.add_to(at, Set::Blocked, seats);
            self.touch(ev, at, out);
            if self.events[ev].sections[usize::from(row.section)].watched {
                self.report(ev, at, out);
            }
            return Answer::refuse(Code::Done, seats);
        }
        let back = self.events[ev].rows.among(at, Set::Blocked, seats);
        if !back.is_empty() {
            self.events[ev].rows.take_from(at, Set::Blocked, back);
            self.free_seats(ev, at, back, out);
        }
        Answer::refuse(Code::Done, back)
    }
}
