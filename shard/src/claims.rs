//! Claiming seats of one row.

use crate::answer::{Answer, Code};
use crate::effects::Effects;
use crate::hold::{Hold, HoldState, NONE};
use crate::ids::{MAX_PARTY, RequestId, RowRef, Seats, UserId, account_partition};
use crate::op::{ANY_CATEGORY, ClaimBest, ClaimSeats, Join, Mail, Supply};
use crate::partition::{Charge, Partition};
use crate::queue::{Kind, Party};
use crate::row::{Choice, Set, Wish};
use crate::rules::{Adjacency, EventRules};
use frontrow_plant::{Bug, planted};

/// A category filter as the row understands it.
pub(crate) fn category(wanted: u8) -> Option<u8> {
    (wanted != ANY_CATEGORY).then_some(wanted)
}

/// Whether so many seats may be asked for at once.
pub(crate) fn check_count(count: u8, rules: &EventRules) -> Result<(), Answer> {
    if !(1..=MAX_PARTY).contains(&count) {
        return Err(Answer::plain(Code::BadCount));
    }
    if count > rules.max_per_claim {
        return Err(Answer::plain(Code::ClaimTooLarge));
    }
    Ok(())
}

/// Whether what a row has free now is enough for a party of its own queue.
pub(crate) fn fits_row(supply: &Supply, party: &Party) -> bool {
    match party.kind {
        Kind::Together => supply.run >= u16::from(party.count),
        Kind::Accessible => supply.accessible_run >= u16::from(party.count),
        Kind::Spread => false,
    }
}

impl Partition {
    pub(crate) fn claim_seats(
        &mut self,
        request: RequestId,
        user: UserId,
        claim: &ClaimSeats,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, row) = self.locate(claim.row)?;
        let rules = self.selling(ev)?;
        check_count(claim.seats.count(), &rules)?;
        let rows = &self.events[ev].rows;
        let mut looked_at = claim.seats;
        if planted(Bug::OverlapGranted) && looked_at.mask.count_ones() > 1 {
            looked_at.mask &= !(1 << looked_at.mask.ilog2());
        }
        if let Some(refusal) = rows.conflict(row, looked_at) {
            return Err(refusal);
        }
        if self.must_queue(ev, row, &rules) {
            return Err(Answer::refuse(Code::QueuedFirst, claim.seats));
        }
        let choice = self.events[ev]
            .rows
            .named(row, claim.seats, rules.orphans)
            .map_err(|()| Answer::refuse(Code::LeavesOrphan, claim.seats))?;
        self.take(ev, row, choice, user, request, out)
    }

    pub(crate) fn claim_best(
        &mut self,
        request: RequestId,
        user: UserId,
        claim: &ClaimBest,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, row) = self.locate(claim.row)?;
        let rules = self.selling(ev)?;
        check_count(claim.count, &rules)?;
        let refusal = if self.must_queue(ev, row, &rules) {
            Code::QueuedFirst
        } else {
            let wish = Wish {
                count: claim.count,
                accessible: claim.accessible,
                orphans: rules.orphans,
                lent: false,
            };
            match self.events[ev].rows.best(row, wish, category(claim.category)) {
                Some(choice) => return self.take(ev, row, choice, user, request, out),
                None if self.can_ever(ev, row, claim.accessible, claim.count) => Code::NotEnoughTogether,
                None => Code::SoldOut,
            }
        };
        if claim.or_join && refusal != Code::SoldOut {
            let join = Join {
                place: claim.row,
                count: claim.count,
                adjacency: Adjacency::Required,
                accessible: claim.accessible,
            };
            return self.join(request, user, &join, out);
        }
        Err(Answer::plain(refusal))
    }

    /// Whether a direct claim would go before somebody who waits. Whoever waits and would fit what is free
    /// has been served already, so outside a section's queue it is only the bound on passing that counts.
    /// Between the end of a section's queue and the return of what was lent to it, nobody is served at all:
    /// the row's own queue comes first then.
    fn must_queue(&self, ev: usize, row: u32, rules: &EventRules) -> bool {
        let part = &self.events[ev];
        let line = part.rows.line(row);
        part.sections[usize::from(line.section)].watched
            || part.rows.has_lent(row)
            || (line.queue != NONE && self.queues.is_strict(line.queue, rules.max_passes))
    }

    /// Whether so many seats together could ever come free in the row.
    pub(crate) fn can_ever(&self, ev: usize, row: u32, accessible: bool, count: u8) -> bool {
        let supply = self.events[ev].rows.supply(row);
        let run = if accessible { supply.ever_accessible_run } else { supply.ever_run };
        run >= u16::from(count)
    }

    /// Takes free seats for a user who asked for them directly.
    fn take(
        &mut self,
        ev: usize,
        row: u32,
        choice: Choice,
        user: UserId,
        request: RequestId,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        if self.events[ev].holds.is_full() {
            return Err(Answer::plain(Code::Full));
        }
        let rules = self.events[ev].rules;
        self.events[ev].rows.take_from(row, Set::Free, choice.seats);
        self.touch(ev, row, out);
        let queue = self.events[ev].rows.line(row).queue;
        if queue != NONE {
            self.queues.pass(queue);
        }
        let slot = self.make_hold(ev, row, choice, user, HoldState::Charging, 0);
        Ok(self.charge_or_start(ev, slot, Charge { request, task: None }, rules.hold_ms, out))
    }

    /// Asks the user's account if the event has a limit per user, else starts the hold at once.
    pub(crate) fn charge_or_start(
        &mut self,
        ev: usize,
        slot: u32,
        charge: Charge,
        duration_ms: u32,
        out: &mut Effects,
    ) -> Answer {
        let part = &self.events[ev];
        if part.rules.max_per_user == 0 {
            return self.start_hold(ev, slot, duration_ms);
        }
        let (event, user) = (part.id, part.holds[slot].user);
        let count = self.seats_held(ev, slot);
        self.charges.insert((event, slot), charge);
        let to = account_partition(event, user, self.partitions);
        self.write(to, Mail::Charge { event, user, count, slot }, out);
        Answer::plain(Code::Pending)
    }

    /// How many seats a hold, or all parts of a section claim, have.
    pub(crate) fn seats_held(&self, ev: usize, slot: u32) -> u8 {
        let part = &self.events[ev];
        let hold = &part.holds[slot];
        if hold.is_group() {
            part.groups.get(hold.mask).as_slice().iter().map(|p| p.seats.count()).sum()
        } else {
            hold.seats().count()
        }
    }

    /// Gives seats back to a row that nobody holds any more, and to whoever waits for them.
    pub(crate) fn free_seats(&mut self, ev: usize, row: u32, seats: Seats, out: &mut Effects) {
        self.events[ev].rows.add_to(row, Set::Free, seats);
        self.touch(ev, row, out);
        if planted(Bug::LostWaiter) {
            return;
        }
        self.settle(ev, row, false, out);
    }

    /// Hands what is free in a row to who waits for it, in order. With anybody waiting for the section, the
    /// section's home is asked first, unless it just had its turn: the seats are lent to it meanwhile.
    pub(crate) fn settle(&mut self, ev: usize, row: u32, section_had_its_turn: bool, out: &mut Effects) {
        let Ok(rules) = self.selling(ev) else { return };
        loop {
            let part = &self.events[ev];
            if !part.rows.has_free(row) {
                return;
            }
            let line = part.rows.line(row);
            let watched = part.sections[usize::from(line.section)].watched;
            if !watched && part.rows.has_lent(row) {
                // What was lent is on its way back, and then all of it is handed on together. Until then
                // nobody may have it.
                self.events[ev].rows.lend_all(row);
                self.touch(ev, row, out);
                return;
            }
            let supply = if line.queue == NONE { None } else { Some(part.rows.supply(row)) };
            let first = supply.and_then(|supply| {
                self.queues.first_fit(line.queue, rules.max_passes, |party| fits_row(&supply, party))
            });
            if !section_had_its_turn && watched {
                self.lend(ev, row, out);
                return;
            }
            let Some(party) = first else { return };
            if self.events[ev].holds.is_full() {
                return;
            }
            self.hand_over(ev, row, party, &rules, out);
        }
    }

    /// Makes the offer to the first in the row's queue who fits.
    fn hand_over(&mut self, ev: usize, row: u32, party: u32, rules: &EventRules, out: &mut Effects) {
        let who = *self.queues.party(party);
        let wish = Wish {
            count: who.count,
            accessible: who.kind == Kind::Accessible,
            orphans: rules.orphans,
            lent: false,
        };
        let choice = self.events[ev].rows.best(row, wish, None).expect("the party fits");
        let queue = self.events[ev].rows.line(row).queue;
        if !self.queues.is_first(party) {
            self.queues.pass(queue);
        }
        self.leave_row_queue(ev, row, party);
        self.events[ev].rows.take_from(row, Set::Free, choice.seats);
        self.touch(ev, row, out);
        let slot = self.make_hold(ev, row, choice, who.user, HoldState::Charging, Hold::FROM_QUEUE);
        let answer = self.charge_or_start(ev, slot, Charge { request: 0, task: None }, rules.offer_ms, out);
        if answer.code == Code::Granted {
            self.offer(ev, slot, answer, out);
        }
    }

    /// Takes a party out of a row's queue, and the queue off the row if that was the last.
    pub(crate) fn leave_row_queue(&mut self, ev: usize, row: u32, party: u32) {
        if self.queues.remove(party) {
            self.events[ev].rows.line_mut(row).queue = NONE;
        }
    }

    pub(crate) fn row_place(&self, ev: usize, row: u32) -> RowRef {
        self.events[ev].row_ref(row)
    }
}
