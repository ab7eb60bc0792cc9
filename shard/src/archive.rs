//! An event that is over leaves memory.
//!
//! In three steps, so that its archive and the log agree whenever the process ends. *Begin*: from here on nothing
//! about the event may be asked for, so that what is read out stays true. It is read out once all partitions have
//! begun and no letter about it is on its way; the reading changes nothing. *End*, once the archive's file is
//! durable: what is left is a name, so that requests about the event are refused as after the sale's end.

use crate::answer::{Answer, Code};
use crate::cold::{ColdBooking, ColdPart, ColdRow};
use crate::hold::{Hold, HoldState};
use crate::ids::{EventId, Lsn, PartitionId};
use crate::op::ArchiveStep;
use crate::partition::Partition;
use crate::rules::EventState;

/// A partition's part of an event, read out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOut {
    /// The partition.
    pub partition: PartitionId,
    /// After which operation.
    pub lsn: Lsn,
    /// The event's state here.
    pub state: EventState,
    /// Whether something of it is still under way: a hold, a payment, a claim over several rows, a letter.
    pub running: bool,
    /// Its rows; empty if they were not asked for, or the event is archived here.
    pub rows: Vec<ColdRow>,
    /// Its bookings; the same.
    pub bookings: Vec<ColdBooking>,
}

impl Partition {
    /// Whether requests about the event are refused because it is archived, or being so.
    pub(crate) fn is_cold(&self, event: EventId) -> bool {
        let state = self.event_index(event).map(|ev| self.events[ev].state);
        matches!(state, Ok(EventState::Archiving | EventState::Archived))
    }

    pub(crate) fn is_archived(&self, event: EventId) -> bool {
        self.event_index(event).is_ok_and(|ev| self.events[ev].state == EventState::Archived)
    }

    pub(crate) fn archive(&mut self, event: EventId, step: ArchiveStep) -> Answer {
        use EventState::{Archived, Archiving, Closed};
        let Ok(ev) = self.event_index(event) else { return Answer::plain(Code::UnknownEvent) };
        match (step, self.events[ev].state) {
            (ArchiveStep::Begin, Archiving | Archived)
            | (ArchiveStep::Undo, Closed)
            | (ArchiveStep::End, Archived) => {}
            (ArchiveStep::Undo, Archiving) => self.events[ev].state = Closed,
            (ArchiveStep::Begin, Closed) | (ArchiveStep::End, Archiving) if self.has_holds_running(ev) => {
                return Answer::plain(Code::HoldsRunning);
            }
            (ArchiveStep::Begin, Closed) => self.events[ev].state = Archiving,
            (ArchiveStep::End, Archiving) => {
                self.events[ev].retire();
                // None of these is left without a hold; what a defect might leave must not name what is gone.
                self.charges.retain(|&(of, _), _| of != event);
                self.offers.retain(|&(place, _), _| crate::ids::RowRef::of_key(place).event != event);
            }
            _ => return Answer::plain(Code::BadTransition),
        }
        Answer::plain(Code::Done)
    }

    /// Whether any hold of the event may still change by itself or by its owner.
    fn has_holds_running(&self, ev: usize) -> bool {
        let settled = |hold: &Hold| {
            hold.state.is_over() || matches!(hold.state, HoldState::Booked | HoldState::PartBooked)
        };
        !self.events[ev].holds.iter().all(settled)
    }

    /// The event as it is here, with its rows and bookings if `whole`. Changes nothing. `None` if it is not known.
    pub fn read_out(&self, event: EventId, whole: bool) -> Option<ReadOut> {
        let ev = self.event_index(event).ok()?;
        let part = &self.events[ev];
        // A letter may have been delivered and its confirmation be on the way: then it only looks as if.
        let letters = self.post.unconfirmed().any(|letter| letter.mail.event() == event);
        let states = || part.rows.slots().map(|slot| (slot, part.rows.state(slot)));
        let read = |&(slot, state): &(u32, crate::row::RowState)| {
            let place = part.row_ref(slot);
            ColdRow::new(place.section, place.row, &state)
        };
        let running = letters
            || self.has_holds_running(ev)
            || states().any(|(_, state)| {
                (0..4).any(|word| {
                    let known = state.free[word] | state.booked[word] | state.blocked[word];
                    known != crate::cold::word_of(state.seats, word)
                })
            });
        let (mut rows, mut bookings) = (Vec::new(), Vec::new());
        if whole {
            rows.extend(states().map(|it| read(&it)));
            let booked = (0_u32..).zip(part.holds.iter()).filter(|(_, hold)| hold.state == HoldState::Booked);
            bookings.extend(booked.map(|(slot, hold)| self.read_booking(ev, slot, hold)));
        }
        Some(ReadOut { partition: self.id, lsn: self.lsn, state: part.state, running, rows, bookings })
    }

    fn read_booking(&self, ev: usize, slot: u32, hold: &Hold) -> ColdBooking {
        let place = self.events[ev].place_of(hold);
        let answer = self.fence_answer(ev, slot, Code::Booked);
        let parts = self.group_parts(ev, slot);
        let parts = if hold.is_group() {
            let part = |part: &crate::ids::Part| ColdPart { row: part.row, seats: part.seats };
            parts.as_slice().iter().map(part).collect()
        } else {
            vec![ColdPart { row: place.row, seats: hold.seats() }]
        };
        ColdBooking {
            user: hold.user,
            lsn: hold.lsn,
            nonce: hold.nonce,
            held_until_ms: hold.expires_ms,
            slot,
            epoch: answer.epoch,
            section: place.section,
            row: place.row,
            flags: answer.flags,
            parts,
        }
    }
}
