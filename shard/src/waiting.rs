//! Waiting in the queue of a row, and the door to that of a section.

use crate::answer::{Answer, Code};
use crate::claims::check_count;
use crate::effects::{Effects, Push, PushKind};
use crate::hold::NONE;
use crate::ids::{Lsn, RequestId, RowRef, UserId};
use crate::op::Join;
use crate::partition::Partition;
use crate::queue::Kind;
use crate::rules::{Adjacency, Fairness};
use frontrow_plant::{Bug, planted};

/// The kind of queue entry that serves a wish. An accessible seat is always wanted with its neighbours.
pub(crate) fn kind_of(adjacency: Adjacency, accessible: bool) -> Kind {
    match adjacency {
        _ if accessible => Kind::Accessible,
        Adjacency::Required => Kind::Together,
        Adjacency::Preferred | Adjacency::Any => Kind::Spread,
    }
}

/// Takes back the push of an offer that is told as an answer instead. Other news of the batch stays, also of
/// an earlier hold that had the same slot.
pub(crate) fn withdraw_push(place: RowRef, slot: u32, lsn: Lsn, out: &mut Effects) {
    let is_it = |push: &Push| {
        push.kind == PushKind::Offered
            && push.place == place
            && (push.answer.slot, push.answer.lsn) == (slot, lsn)
    };
    if let Some(at) = out.pushes.iter().rposition(is_it) {
        out.pushes.remove(at);
    }
}

impl Partition {
    pub(crate) fn join(
        &mut self,
        request: RequestId,
        user: UserId,
        join: &Join,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        if join.place.is_section() {
            return self.join_section(request, user, join, out);
        }
        let (ev, row) = self.locate(join.place)?;
        let rules = self.selling(ev)?;
        check_count(join.count, &rules)?;
        if rules.fairness == Fairness::FreeForAll {
            return Err(Answer::plain(Code::NoQueue));
        }
        if let Some(party) = self.queues.find(join.place, user) {
            return Ok(self.queued(party));
        }
        if !self.can_ever(ev, row, join.accessible, join.count) {
            return Err(Answer::plain(Code::SoldOut));
        }
        let queue = self.events[ev].rows.line(row).queue;
        if !self.queues.has_room(queue) {
            return Err(Answer::plain(Code::QueueFull));
        }
        let wish = (kind_of(Adjacency::Required, join.accessible), join.count);
        let (queue, party) = self.queues.join(queue, join.place, user, wish, self.lsn, self.now);
        self.events[ev].rows.line_mut(row).queue = queue;
        let position = self.queues.len(queue);
        self.settle(ev, row, false, out);
        // Who fits what is free is served in this very step, and hears of it as the answer.
        if self.queues.find(join.place, user) == Some(party) {
            return Ok(Answer { slot: position, ..Answer::plain(Code::Queued) });
        }
        Ok(self.served_at_once(ev, join.place, request, user, out))
    }

    /// The answer to a join whose party was served before the operation ended: the offer itself, or, while
    /// the user's account is asked, pending.
    fn served_at_once(
        &mut self,
        ev: usize,
        place: RowRef,
        request: RequestId,
        user: UserId,
        out: &mut Effects,
    ) -> Answer {
        // The user may have an older offer here; only what this very operation granted is the answer.
        let offer = self.offers.get(&(place.key(), user)).copied();
        if let Some(slot) = offer.filter(|&slot| self.events[ev].holds[slot].lsn == self.lsn) {
            withdraw_push(place, slot, self.lsn, out);
            return self.fence_answer(ev, slot, Code::Granted);
        }
        let event = self.events[ev].id;
        let holds = &self.events[ev].holds;
        let waiting = self.charges.iter_mut().find(|((of, slot), charge)| {
            let hold = &holds[*slot];
            *of == event && charge.request == 0 && hold.user == user && hold.lsn == self.lsn
        });
        if let Some((_, charge)) = waiting {
            charge.request = request;
        }
        Answer::plain(Code::Pending)
    }

    pub(crate) fn queued(&self, party: u32) -> Answer {
        Answer { slot: self.queues.position(party), ..Answer::plain(Code::Queued) }
    }

    pub(crate) fn leave(&mut self, user: UserId, place: RowRef, out: &mut Effects) -> Result<Answer, Answer> {
        if place.is_section() {
            return self.leave_section(user, place, out);
        }
        let (ev, row) = self.locate(place)?;
        let party = self.queues.find(place, user).ok_or(Answer::plain(Code::NotQueued))?;
        if planted(Bug::LeaveIgnored) {
            return Ok(Answer::plain(Code::Left));
        }
        self.leave_row_queue(ev, row, party);
        // If everybody waited for this party, the next may be served now.
        if self.events[ev].rows.line(row).queue != NONE {
            self.settle(ev, row, false, out);
        }
        self.lend_again(ev, row, out);
        Ok(Answer::plain(Code::Left))
    }
}
