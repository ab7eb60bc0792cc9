//! The life of a hold after its grant: extended, paid for, booked, released, cancelled, run out.

use crate::answer::{Answer, Code, flags};
use crate::effects::{Effects, PushKind};
use crate::hold::{HoldState, NONE};
use crate::ids::{EventId, Lsn, Millis, Parts, RowRef, UserId, account_partition};
use crate::op::{Mail, PartAction, Proof};
use crate::partition::Partition;
use crate::queue::Kind;
use crate::row::Set;
use frontrow_plant::{Bug, planted};

impl Partition {
    pub(crate) fn extend(
        &mut self,
        user: UserId,
        proof: &Proof,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, slot) = self.prove(user, proof.place, &proof.fence).map_err(|(refusal, _)| refusal)?;
        let (now, rules) = (self.now, self.events[ev].rules);
        let hold = &mut self.events[ev].holds[slot];
        if hold.state == HoldState::Paying {
            return Err(Answer::plain(Code::AlreadyPaying));
        }
        if hold.extensions >= rules.max_extensions && !planted(Bug::ExtendForever) {
            return Err(Answer::plain(Code::ExtendLimit));
        }
        hold.extensions += 1;
        // The fence must change, so that the old one is told from the new: at least a millisecond longer.
        hold.expires_ms = (now + Millis::from(rules.hold_ms)).max(hold.expires_ms + 1);
        self.name_rows(ev, slot, out);
        Ok(self.fence_answer(ev, slot, Code::Extended))
    }

    pub(crate) fn begin_payment(
        &mut self,
        user: UserId,
        proof: &Proof,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, slot) = self.prove(user, proof.place, &proof.fence).map_err(|(refusal, _)| refusal)?;
        let (now, rules) = (self.now, self.events[ev].rules);
        let hold = &mut self.events[ev].holds[slot];
        if hold.state == HoldState::Paying && !planted(Bug::PayTwice) {
            return Err(Answer::plain(Code::AlreadyPaying));
        }
        hold.state = HoldState::Paying;
        let pay_ms = if planted(Bug::PayForever) { 3_600_000 } else { rules.pay_ms };
        hold.expires_ms = (now + Millis::from(pay_ms)).max(hold.expires_ms + 1);
        self.name_rows(ev, slot, out);
        Ok(self.fence_answer(ev, slot, Code::Paying))
    }

    pub(crate) fn book(&mut self, user: UserId, proof: &Proof, out: &mut Effects) -> Result<Answer, Answer> {
        let (ev, slot) = self.prove(user, proof.place, &proof.fence).map_err(|(refusal, _)| refusal)?;
        self.forget_offer(proof.place, user, slot);
        let hold = &mut self.events[ev].holds[slot];
        hold.state = HoldState::Booked;
        let (seats, row) = (hold.seats(), hold.row);
        if hold.is_group() {
            self.name_rows(ev, slot, out);
            self.tell_parts(ev, slot, PartAction::Book, out);
        } else {
            self.events[ev].rows.add_to(row, Set::Booked, seats);
            self.touch(ev, row, out);
            self.shrink(ev, row, out);
        }
        // The fence stays the proof, now of the booking: a cancellation shows it.
        Ok(Answer { expires_ms: 0, ..self.fence_answer(ev, slot, Code::Booked) })
    }

    pub(crate) fn release(
        &mut self,
        user: UserId,
        proof: &Proof,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, slot) = self.prove(user, proof.place, &proof.fence).map_err(|(refusal, _)| refusal)?;
        let seats = self.events[ev].holds[slot].seats();
        self.name_rows(ev, slot, out);
        self.end_hold(ev, slot, HoldState::Released, out);
        Ok(Answer { seats, ..Answer::plain(Code::Released) })
    }

    pub(crate) fn cancel(
        &mut self,
        user: UserId,
        proof: &Proof,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, slot) = match self.prove(user, proof.place, &proof.fence) {
            Ok(_) => return Err(Answer::plain(Code::NotBooked)),
            Err((refusal, Some(at))) if refusal.code == Code::AlreadyBooked => at,
            Err((refusal, _)) => return Err(refusal),
        };
        // Only the fence it was booked with, or that of the booking's answer (which has no expiry), ends a
        // booking; an older one is stale here, too.
        let booked_until = self.events[ev].holds[slot].expires_ms;
        if ![0, booked_until].contains(&proof.fence.expires_ms) {
            let older = proof.fence.expires_ms < booked_until;
            let why = if older { flags::STALE } else { flags::FORGED };
            return Err(Answer { flags: why, ..Answer::plain(Code::Fenced) });
        }
        let seats = self.events[ev].holds[slot].seats();
        self.name_rows(ev, slot, out);
        self.end_hold(ev, slot, HoldState::Cancelled, out);
        Ok(Answer { seats, ..Answer::plain(Code::Cancelled) })
    }

    pub(crate) fn expire(&mut self, event: EventId, slot: u32, lsn: Lsn, out: &mut Effects) -> Answer {
        let Ok(ev) = self.event_index(event) else { return Answer::plain(Code::UnknownEvent) };
        let Some(&hold) = self.events[ev].holds.get(slot) else { return Answer::plain(Code::Fenced) };
        let early = if planted(Bug::ExpiresEarly) { 3000 } else { 0 };
        if hold.lsn != lsn || !hold.state.is_timed() || hold.expires_ms > self.now + early {
            if hold.lsn == lsn && hold.state.is_timed() {
                // It was extended after it had come up: its timer must come up again.
                self.arm(ev, slot);
            }
            return Answer::plain(Code::Fenced);
        }
        let place = self.events[ev].place_of(&hold);
        let gone = self.fence_answer(ev, slot, Code::Expired);
        let parts = self.group_parts(ev, slot);
        self.end_hold(ev, slot, HoldState::Expired, out);
        self.push(hold.user, place, PushKind::Expired, gone, parts, out);
        Answer { seats: hold.seats(), slot, ..Answer::plain(Code::Done) }
    }

    /// Ends a hold or booking: its seats go to who waits for them, or become free.
    fn end_hold(&mut self, ev: usize, slot: u32, end: HoldState, out: &mut Effects) {
        let count = self.seats_held(ev, slot);
        let hold = self.events[ev].holds[slot];
        let place = self.events[ev].place_of(&hold);
        self.forget_offer(place, hold.user, slot);
        self.credit(ev, hold.user, count, out);
        if hold.is_group() {
            self.tell_parts(ev, slot, PartAction::Free, out);
            let group = self.events[ev].holds.remove(slot, end);
            self.events[ev].groups.remove(group.mask);
        } else {
            let was = self.events[ev].holds.remove(slot, end);
            if was.state == HoldState::Booked && !planted(Bug::CancelKeepsSeat) {
                self.events[ev].rows.take_from(was.row, Set::Booked, was.seats());
            }
            self.free_seats(ev, was.row, was.seats(), out);
        }
    }

    /// This hold is no open offer any more. Another one of the same user at the same place still is.
    fn forget_offer(&mut self, place: RowRef, user: UserId, slot: u32) {
        if self.offers.get(&(place.key(), user)) == Some(&slot) {
            self.offers.remove(&(place.key(), user));
        }
    }

    /// Tells a user of seats from the queue.
    pub(crate) fn offer(&mut self, ev: usize, slot: u32, answer: Answer, out: &mut Effects) {
        let hold = self.events[ev].holds[slot];
        let place = self.events[ev].place_of(&hold);
        self.offers.insert((place.key(), hold.user), slot);
        let parts = self.group_parts(ev, slot);
        self.push(hold.user, place, PushKind::Offered, answer, parts, out);
    }

    /// The parts of a section claim; none for a claim of one row.
    pub(crate) fn group_parts(&self, ev: usize, slot: u32) -> Parts {
        let part = &self.events[ev];
        let hold = &part.holds[slot];
        if hold.is_group() { part.groups.get(hold.mask) } else { Parts::default() }
    }

    /// Says which rows a section claim has that an operation is about: its answer does not.
    fn name_rows(&self, ev: usize, slot: u32, out: &mut Effects) {
        if self.events[ev].holds[slot].is_group() {
            out.parts = self.group_parts(ev, slot);
        }
    }

    /// Orders the rows of a section claim to do what has been decided.
    pub(crate) fn tell_parts(&mut self, ev: usize, slot: u32, action: PartAction, out: &mut Effects) {
        let section = self.events[ev].holds[slot].row as u16;
        let parts = self.group_parts(ev, slot);
        for part in parts.as_slice() {
            let row = RowRef::new(self.events[ev].id, section, part.row);
            self.write(row.partition(self.partitions), Mail::Part { row, slot: part.slot, action }, out);
        }
    }

    /// After seats of a row were sold: whoever can never fit any more is told so at once, from the largest
    /// party down.
    pub(crate) fn shrink(&mut self, ev: usize, row: u32, out: &mut Effects) {
        let line = *self.events[ev].rows.line(row);
        if self.events[ev].sections[usize::from(line.section)].watched {
            self.report(ev, row, out);
        }
        if line.queue == NONE || planted(Bug::NeverTold) {
            return;
        }
        let supply = self.events[ev].rows.supply(row);
        let place = self.row_place(ev, row);
        let mut removed = false;
        while let Some(party) = self.queues.largest_impossible(line.queue, |kind, count| match kind {
            Kind::Together => supply.ever_run >= u16::from(count),
            Kind::Accessible => supply.ever_accessible_run >= u16::from(count),
            Kind::Spread => false,
        }) {
            let user = self.queues.party(party).user;
            self.leave_row_queue(ev, row, party);
            let sold_out = Answer::plain(Code::SoldOut);
            self.push(user, place, PushKind::Unfillable, sold_out, Parts::default(), out);
            removed = true;
        }
        if removed {
            // If everybody waited for the one that is gone now, the next may be served.
            self.settle(ev, row, false, out);
        }
    }

    /// Takes seats off a user's account, if the event keeps accounts.
    pub(crate) fn credit(&mut self, ev: usize, user: UserId, count: u8, out: &mut Effects) {
        let part = &self.events[ev];
        if part.rules.max_per_user > 0 {
            let event = part.id;
            let to = account_partition(event, user, self.partitions);
            self.write(to, Mail::Credit { event, user, count }, out);
        }
    }
}
