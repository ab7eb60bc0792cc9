//! A row's side of what its section's home decides: setting seats aside, and lending what is free to the
//! section's queue.

use crate::claims::{category, fits_row};
use crate::effects::Effects;
use crate::hold::{Hold, HoldState};
use crate::ids::{Millis, PartitionId, RowRef, Seats};
use crate::op::Mail;
use crate::partition::Partition;
use crate::row::{Set, Wish};
use crate::rules::EventState;

impl Partition {
    /// Sets seats aside for a section claim, and says which.
    pub(crate) fn reserve(&mut self, from: PartitionId, mail: Mail, out: &mut Effects) {
        let Mail::Reserve { row, task, user, count, together, accessible, category: wanted, for_queue } =
            mail
        else {
            return;
        };
        let none = Mail::Reserved { row, task, slot: 0, seats: Seats::NONE, flags: 0 };
        let Ok((ev, at)) = self.locate(row) else { return self.write(from, none, out) };
        let part = &self.events[ev];
        let watched = part.sections[usize::from(row.section)].watched;
        // A direct claim that set out before the section's queue began must not go before it.
        let promised = watched || part.rows.has_lent(at);
        if part.state != EventState::Open || part.holds.is_full() || (promised && !for_queue) {
            return self.write(from, none, out);
        }
        let wish = Wish { count, accessible, orphans: part.rules.orphans, lent: for_queue };
        let choice = if together {
            part.rows.best(at, wish, category(wanted))
        } else {
            part.rows.gather(at, wish, category(wanted))
        };
        let Some(choice) = choice else { return self.write(from, none, out) };
        let rows = &mut self.events[ev].rows;
        rows.take_from(at, Set::Free, choice.seats);
        rows.take_from(at, Set::Lent, choice.seats);
        self.touch(ev, at, out);
        let slot = self.make_hold(ev, at, choice, user, HoldState::Part, 0);
        let flags = self.events[ev].holds[slot].bits & (Hold::TOGETHER | Hold::WAIVED);
        if watched {
            // The home must not count on these seats for the next in its queue.
            self.report(ev, at, out);
        }
        self.write(from, Mail::Reserved { row, task, slot, seats: choice.seats, flags }, out);
    }

    /// A part of a section claim is sold.
    pub(crate) fn book_part(&mut self, row: RowRef, slot: u32, out: &mut Effects) {
        let Ok((ev, at)) = self.locate(row) else { return };
        let hold = &mut self.events[ev].holds[slot];
        debug_assert_eq!(hold.state, HoldState::Part);
        hold.state = HoldState::PartBooked;
        let seats = hold.seats();
        self.events[ev].rows.add_to(at, Set::Booked, seats);
        self.touch(ev, at, out);
        self.shrink(ev, at, out);
    }

    /// A part of a section claim goes back.
    pub(crate) fn free_part(&mut self, row: RowRef, slot: u32, out: &mut Effects) {
        let Ok((ev, at)) = self.locate(row) else { return };
        let was = self.events[ev].holds.remove(slot, HoldState::Undone);
        if was.state == HoldState::PartBooked {
            self.events[ev].rows.take_from(at, Set::Booked, was.seats());
        }
        self.free_seats(ev, at, was.seats(), out);
    }

    /// The section's queue has begun or ceased to have anyone in it.
    pub(crate) fn watch(&mut self, section: RowRef, on: bool, round: u32, out: &mut Effects) {
        let Ok(ev) = self.event_index(section.event) else { return };
        let part = &mut self.events[ev];
        let known = &mut part.sections[usize::from(section.section)];
        known.watched = on;
        known.round = round;
        if !on {
            return;
        }
        let rows: u16 = part.sections[usize::from(section.section)].rows;
        for row in 0..rows {
            if let Some(at) = self.events[ev].slot_of(section.section, row) {
                self.lend(ev, at, out);
            }
        }
    }

    /// Lends all that is free in the row to the section's queue, and reports what there is.
    pub(crate) fn lend(&mut self, ev: usize, row: u32, out: &mut Effects) {
        self.events[ev].rows.lend_all(row);
        self.touch(ev, row, out);
        self.report(ev, row, out);
    }

    /// The row's own queue, or whether it is served, changed while the home has a loan of the row: it must
    /// know, as it may be waiting for the row's own queue to be served first.
    pub(crate) fn lend_again(&mut self, ev: usize, row: u32, out: &mut Effects) {
        let part = &self.events[ev];
        let watched = part.sections[usize::from(part.rows.line(row).section)].watched;
        if watched && part.rows.has_lent(row) {
            self.report(ev, row, out);
        }
    }

    /// Reports to the section's home what the row has, and who is the first in the row's own queue who fits.
    pub(crate) fn report(&mut self, ev: usize, row: u32, out: &mut Effects) {
        let rival_ms =
            self.row_rival(ev, row).map_or(Millis::MAX, |party| self.queues.party(party).joined_ms);
        let part = &mut self.events[ev];
        let line = part.rows.line_mut(row);
        line.loan = line.loan.wrapping_add(1);
        let (loan, section) = (line.loan, usize::from(line.section));
        let (home, round) = (part.sections[section].home, part.sections[section].round);
        let supply = part.rows.supply(row);
        let mail = Mail::Lend { row: part.row_ref(row), round, loan, supply, rival_ms };
        self.write(home, mail, out);
    }

    /// Nobody in the section's queue can use what was lent: the row's own queue may, or it is free.
    pub(crate) fn returned(&mut self, row: RowRef, loan: u32, out: &mut Effects) {
        let Ok((ev, at)) = self.locate(row) else { return };
        // An answer to an earlier loan is late: the home has yet to decide about the present one.
        if self.events[ev].rows.line(at).loan != loan || !self.events[ev].rows.has_lent(at) {
            return;
        }
        self.events[ev].rows.unlend_all(at);
        self.touch(ev, at, out);
        let before = self.events[ev].rows.state(at);
        self.settle(ev, at, true, out);
        // If the row's own queue took some, the home must not count on it any more.
        let watched = self.events[ev].sections[usize::from(row.section)].watched;
        if watched && self.events[ev].rows.state(at) != before {
            self.report(ev, at, out);
        }
    }

    /// The first in the row's own queue who fits what is free.
    fn row_rival(&self, ev: usize, row: u32) -> Option<u32> {
        let part = &self.events[ev];
        let supply = part.rows.supply(row);
        let queue = part.rows.line(row).queue;
        self.queues.first_fit(queue, part.rules.max_passes, |party| fits_row(&supply, party))
    }
}
