//! Claims over a section: put together at the section's home from rows that may live on other cores.
//!
//! Reserve, then confirm or undo. A *task* asks one candidate row after another to set seats aside; each
//! answer is a message, so nobody waits. When the seats are complete (and the user's account agrees), the grant
//! is one operation in the home's log; from then on the home alone decides about the whole claim, and the
//! rows do as they are told. If they can't be completed, all parts go back. In between, the seats
//! show as held: to the outside it is all or nothing, and since messages survive crashes, also after one.

mod saved;

use crate::answer::{Answer, Code};
use crate::claims::check_count;
use crate::effects::{Effects, PushKind};
use crate::hold::{Hold, HoldState, NONE};
use crate::ids::{Lsn, Part, Parts, RequestId, RowRef, Seats, UserId};
use crate::op::{ANY_CATEGORY, CANDIDATES, ClaimSection, Join, Mail, NO_ROW, PartAction};
use crate::partition::{Charge, Partition};
use crate::rules::Adjacency;
pub(crate) use saved::TASK_BYTES;

/// A section claim that is being put together.
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Task {
    section: RowRef,
    /// The claim's own hold.
    slot: u32,
    user: UserId,
    /// The request to answer; 0 if it serves the queue.
    request: RequestId,
    /// The ticket of the party it serves; 0 if it is a direct claim.
    ticket: Lsn,
    count: u8,
    have: u8,
    category: u8,
    adjacency: Adjacency,
    accessible: bool,
    or_join: bool,
    /// Whether the next row is asked for all seats together.
    together: bool,
    next: u8,
    flags: u8,
    candidates: [u16; CANDIDATES],
}

impl Partition {
    pub(crate) fn claim_section(
        &mut self,
        request: RequestId,
        user: UserId,
        claim: &ClaimSection,
        out: &mut Effects,
    ) -> Result<Answer, Answer> {
        let (ev, home) = self.locate_home(claim.section)?;
        let rules = self.selling(ev)?;
        check_count(claim.count, &rules)?;
        let refusal = if self.events[ev].homes[home].queue != NONE {
            Code::QueuedFirst
        } else if claim.candidates[0] == NO_ROW {
            if claim.hopeless { Code::SoldOut } else { Code::NotEnoughTogether }
        } else {
            if self.tasks.len() >= self.limits.tasks || self.events[ev].groups.is_full() {
                return Err(Answer::plain(Code::Full));
            }
            // An accessible seat is always wanted with its neighbours.
            let adjacency = if claim.accessible { Adjacency::Required } else { claim.adjacency };
            let task = Task {
                section: claim.section,
                slot: 0,
                user,
                request,
                ticket: 0,
                count: claim.count,
                have: 0,
                category: claim.category,
                adjacency,
                accessible: claim.accessible,
                or_join: claim.or_join,
                together: adjacency != Adjacency::Any,
                next: 0,
                flags: 0,
                candidates: claim.candidates,
            };
            self.start_task(ev, task, out);
            return Ok(Answer::plain(Code::Pending));
        };
        if claim.or_join && refusal != Code::SoldOut {
            return self.join_section(request, user, &join_instead(claim), out);
        }
        Err(Answer::plain(refusal))
    }

    /// Starts putting a claim together. The caller has seen that there is room.
    fn start_task(&mut self, ev: usize, task: Task, out: &mut Effects) -> u32 {
        let id = self.next_task;
        self.next_task = self.next_task.wrapping_add(1);
        let group = self.events[ev].groups.insert(Parts::default());
        let choice = crate::row::Choice { seats: Seats::NONE, waived: false, together: false };
        let from_queue = if task.ticket == 0 { 0 } else { Hold::FROM_QUEUE };
        let row = u32::from(task.section.section);
        let bits = Hold::GROUP | from_queue;
        let slot = self.make_hold(ev, row, choice, task.user, HoldState::Gathering, bits);
        self.events[ev].holds[slot].mask = u64::from(group);
        self.tasks.insert(id, Task { slot, ..task });
        self.step_task(id, out);
        id
    }

    /// Asks the next candidate row, or ends the task.
    fn step_task(&mut self, id: u32, out: &mut Effects) {
        let Some(task) = self.tasks.get_mut(&id) else { return };
        if task.have == task.count {
            return self.complete_task(id, out);
        }
        let exhausted =
            |task: &Task| task.candidates.get(usize::from(task.next)).is_none_or(|&row| row == NO_ROW);
        if exhausted(task) && task.together && task.adjacency == Adjacency::Preferred {
            task.together = false;
            task.next = 0;
        }
        if exhausted(task) {
            return self.fail_task(id, Code::NotEnoughTogether, out);
        }
        let row = RowRef { row: task.candidates[usize::from(task.next)], ..task.section };
        task.next += 1;
        let mail = Mail::Reserve {
            row,
            task: id,
            user: task.user,
            count: task.count - task.have,
            together: task.together,
            accessible: task.accessible,
            category: task.category,
            for_queue: task.ticket != 0,
        };
        self.write(row.partition(self.partitions), mail, out);
    }

    /// A row has answered a task.
    pub(crate) fn reserved(
        &mut self,
        row: RowRef,
        task: u32,
        slot: u32,
        seats: Seats,
        flags: u8,
        out: &mut Effects,
    ) {
        let Some(&at) = self.tasks.get(&task) else { return };
        let Ok((ev, _)) = self.locate_home(at.section) else { return };
        if seats.is_empty() {
            if at.ticket != 0 {
                self.row_had_less(row, at.together, at.accessible, at.count);
            }
            return self.step_task(task, out);
        }
        let group = self.events[ev].holds[at.slot].mask;
        let mut parts = self.events[ev].groups.get(group);
        let room = parts.push(Part { row: row.row, seats, slot });
        assert!(room, "a task asks no more rows than a claim may have parts");
        self.events[ev].groups.set(group, parts);
        let known = self.tasks.get_mut(&task).expect("looked up above");
        known.have += seats.count();
        known.flags = if parts.as_slice().len() == 1 { flags } else { 0 };
        self.step_task(task, out);
    }

    /// All seats are set aside.
    fn complete_task(&mut self, id: u32, out: &mut Effects) {
        let task = self.tasks[&id];
        let Ok((ev, _)) = self.locate_home(task.section) else { return };
        if task.ticket != 0 && self.party_of(&task).is_none() {
            // The party left while it was being served.
            return self.fail_task(id, Code::NotQueued, out);
        }
        self.events[ev].holds[task.slot].bits |= task.flags;
        let rules = self.events[ev].rules;
        let duration = if task.ticket == 0 { rules.hold_ms } else { rules.offer_ms };
        let charge = Charge { request: task.request, task: Some(id) };
        let answer = self.charge_or_start(ev, task.slot, charge, duration, out);
        if answer.code == Code::Granted {
            self.grant_task(id, answer, out);
        }
    }

    /// The user's account has spoken about a complete task.
    pub(crate) fn task_charged(&mut self, id: u32, granted: bool, out: &mut Effects) {
        let task = self.tasks[&id];
        let Ok((ev, _)) = self.locate_home(task.section) else { return };
        if !granted {
            return self.fail_task(id, Code::HoldCap, out);
        }
        if task.ticket != 0 && self.party_of(&task).is_none() {
            self.credit(ev, task.user, task.count, out);
            return self.fail_task(id, Code::NotQueued, out);
        }
        let rules = self.events[ev].rules;
        let duration = if task.ticket == 0 { rules.hold_ms } else { rules.offer_ms };
        let answer = self.start_hold(ev, task.slot, duration);
        self.grant_task(id, answer, out);
    }

    fn grant_task(&mut self, id: u32, answer: Answer, out: &mut Effects) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let Ok((ev, home)) = self.locate_home(task.section) else { return };
        if task.ticket == 0 {
            let parts = self.group_parts(ev, task.slot);
            return self.decide(task.request, task.user, task.section, answer, Some(&parts), out);
        }
        self.events[ev].homes[home].serving = None;
        if let Some(party) = self.party_of(&task) {
            if !self.queues.is_first(party) {
                let queue = self.events[ev].homes[home].queue;
                self.queues.pass(queue);
            }
            self.leave_home_queue(ev, home, task.section, party, out);
        }
        self.offer(ev, task.slot, answer, out);
        self.settle_section(ev, home, task.section, out);
    }

    /// Undoes a task: its parts go back, and the request is refused, or the party waits on.
    fn fail_task(&mut self, id: u32, code: Code, out: &mut Effects) {
        let Some(task) = self.tasks.remove(&id) else { return };
        let Ok((ev, home)) = self.locate_home(task.section) else { return };
        self.tell_parts(ev, task.slot, PartAction::Free, out);
        let group = self.events[ev].holds.remove(task.slot, HoldState::Undone);
        self.events[ev].groups.remove(group.mask);
        if task.ticket == 0 {
            let join = Join {
                place: task.section,
                count: task.count,
                adjacency: task.adjacency,
                accessible: task.accessible,
            };
            let answer = if task.or_join && code == Code::NotEnoughTogether {
                self.join_section(task.request, task.user, &join, out).unwrap_or_else(|refusal| refusal)
            } else {
                Answer::plain(code)
            };
            if answer.code != Code::Pending {
                self.decide(task.request, task.user, task.section, answer, None, out);
            }
            // There may be room now for a task that serves the queue.
            return self.settle_section(ev, home, task.section, out);
        }
        self.events[ev].homes[home].serving = None;
        if code == Code::HoldCap {
            if let Some(party) = self.party_of(&task) {
                self.leave_home_queue(ev, home, task.section, party, out);
            }
            let refusal = Answer::plain(Code::HoldCap);
            self.push(task.user, task.section, PushKind::HoldCap, refusal, Parts::default(), out);
        }
        self.settle_section(ev, home, task.section, out);
    }

    /// The party a task serves, if it still waits.
    fn party_of(&self, task: &Task) -> Option<u32> {
        let party = self.queues.find(task.section, task.user)?;
        (self.queues.party(party).ticket == task.ticket).then_some(party)
    }

    /// Starts a task that serves a waiting party from these rows.
    pub(crate) fn serve(
        &mut self,
        ev: usize,
        section: RowRef,
        party: u32,
        candidates: [u16; CANDIDATES],
        out: &mut Effects,
    ) -> u32 {
        let who = *self.queues.party(party);
        let spread = who.kind == crate::queue::Kind::Spread;
        let task = Task {
            section,
            slot: 0,
            user: who.user,
            request: 0,
            ticket: who.ticket,
            count: who.count,
            have: 0,
            category: ANY_CATEGORY,
            adjacency: if spread { Adjacency::Preferred } else { Adjacency::Required },
            accessible: who.kind == crate::queue::Kind::Accessible,
            or_join: false,
            together: true,
            next: 0,
            flags: 0,
            candidates,
        };
        self.start_task(ev, task, out)
    }
}

/// The party that a section claim becomes when it would rather wait.
fn join_instead(claim: &ClaimSection) -> Join {
    Join {
        place: claim.section,
        count: claim.count,
        adjacency: claim.adjacency,
        accessible: claim.accessible,
    }
}
