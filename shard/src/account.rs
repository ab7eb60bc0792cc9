//! How many seats of an event a user has: kept at the user's account home, and asked before a hold starts.

use crate::answer::{Answer, Code};
use crate::effects::{Effects, PushKind};
use crate::hold::{Hold, HoldState};
use crate::ids::{EventId, PartitionId, Parts, UserId};
use crate::op::{Mail, PartAction};
use crate::partition::Partition;
use crate::waiting::withdraw_push;
use frontrow_plant::{Bug, planted};

impl Partition {
    /// At the account home: counts the seats, if the limit allows.
    pub(crate) fn charge(
        &mut self,
        from: PartitionId,
        (event, user, count, slot): (EventId, UserId, u8, u32),
        out: &mut Effects,
    ) {
        let Ok(ev) = self.event_index(event) else { return };
        let part = &mut self.events[ev];
        let used = part.accounts.entry(user).or_insert(0);
        let granted = u32::from(*used) + u32::from(count) <= u32::from(part.rules.max_per_user)
            || planted(Bug::CapIgnored);
        if granted {
            *used += u16::from(count);
        } else if *used == 0 {
            part.accounts.remove(&user);
        }
        self.write(from, Mail::Charged { event, slot, granted }, out);
    }

    /// At the account home: the user has fewer seats now.
    pub(crate) fn credited(&mut self, event: EventId, user: UserId, count: u8) {
        let Ok(ev) = self.event_index(event) else { return };
        let accounts = &mut self.events[ev].accounts;
        if let Some(used) = accounts.get_mut(&user) {
            *used = used.saturating_sub(u16::from(count));
            if *used == 0 {
                accounts.remove(&user);
            }
        }
    }

    /// At the hold: the account has spoken. The hold starts, or is undone.
    pub(crate) fn charged(&mut self, event: EventId, slot: u32, granted: bool, out: &mut Effects) {
        let Ok(ev) = self.event_index(event) else { return };
        let Some(charge) = self.charges.remove(&(event, slot)) else { return };
        if let Some(task) = charge.task {
            self.task_charged(task, granted, out);
            return;
        }
        let hold = self.events[ev].holds[slot];
        let place = self.events[ev].place_of(&hold);
        let from_queue = hold.has(Hold::FROM_QUEUE);
        if granted {
            let rules = self.events[ev].rules;
            let duration = if from_queue { rules.offer_ms } else { rules.hold_ms };
            let answer = self.start_hold(ev, slot, duration);
            if from_queue {
                self.offer(ev, slot, answer, out);
            }
            if charge.request != 0 {
                // A join that was served at once is answered, not pushed to.
                if from_queue {
                    withdraw_push(place, slot, answer.lsn, out);
                }
                self.decide(charge.request, hold.user, place, answer, None, out);
            }
            return;
        }
        let was = self.events[ev].holds.remove(slot, HoldState::Undone);
        let refusal = Answer::refuse(Code::HoldCap, was.seats());
        if charge.request != 0 {
            self.decide(charge.request, was.user, place, refusal, None, out);
        } else {
            self.push(was.user, place, PushKind::HoldCap, refusal, Parts::default(), out);
        }
        self.free_seats(ev, was.row, was.seats(), out);
    }

    /// One message from another partition, in its turn.
    pub(crate) fn deliver(&mut self, from: PartitionId, mail: Mail, out: &mut Effects) {
        if self.is_archived(mail.event()) {
            return;
        }
        if planted(Bug::LetterTwice) && matches!(mail, Mail::Credit { .. } | Mail::Charge { .. }) {
            self.deliver_once(from, mail, out);
        }
        self.deliver_once(from, mail, out);
    }

    fn deliver_once(&mut self, from: PartitionId, mail: Mail, out: &mut Effects) {
        match mail {
            Mail::Charge { event, user, count, slot } => self.charge(from, (event, user, count, slot), out),
            Mail::Charged { event, slot, granted } => self.charged(event, slot, granted, out),
            Mail::Credit { event, user, count } => self.credited(event, user, count),
            Mail::Reserve { .. } => self.reserve(from, mail, out),
            Mail::Reserved { row, task, slot, seats, flags } => {
                self.reserved(row, task, slot, seats, flags, out);
            }
            Mail::Part { row, slot, action } => match action {
                PartAction::Book => self.book_part(row, slot, out),
                PartAction::Free => self.free_part(row, slot, out),
            },
            Mail::Watch { section, on, round } => self.watch(section, on, round, out),
            Mail::Lend { row, round, loan, supply, rival_ms } => {
                self.lent(row, (round, loan), supply, rival_ms, out);
            }
            Mail::Return { row, loan } => self.returned(row, loan, out),
        }
    }
}
