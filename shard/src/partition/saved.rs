//! A whole partition to bytes and back, and its digest. What the parts contain is in the `saved` files of the rooms
//! they come from; here they are put in order and checked against each other.

use super::{Charge, HANDLES_PER_PAGE, Limits, Partition};
use crate::event::{EventPart, Standing};
use crate::hold::{Hold, HoldState, NONE};
use crate::ids::{EventId, PartitionId, RowRef, UserId};
use crate::mail::Post;
use crate::requests::{Fold, Remembered, Requests};
use crate::section::{TASK_BYTES, Task};
use crate::snapshot::{Reader, SnapshotError, SnapshotHeader, Writer};
use std::hash::{Hash, Hasher};
use std::io;

/// The parts behind the header, in their order. Of events there are as many as the first part says.
mod tag {
    pub(super) const WHOLE: u32 = 1;
    pub(super) const EVENT: u32 = 2;
    pub(super) const QUEUES: u32 = 3;
    pub(super) const PROMISES: u32 = 4;
    pub(super) const POST: u32 = 5;
    pub(super) const REQUESTS: u32 = 6;
}

/// Where a queue is: the event's place, whether it is a section's, and the row's slot or the home's place.
type QueueAt = (u32, bool, u32);

impl Partition {
    /// Writes the whole state as it is now: see [`crate::snapshot`]. Nothing is changed, and no copy is made in
    /// memory.
    pub fn save(&self, out: &mut impl io::Write) -> io::Result<()> {
        let mut out = Writer::to(out);
        let header = SnapshotHeader {
            partition: self.id,
            partitions: self.partitions,
            lsn: self.lsn,
            now: self.now,
            state_hash: self.state_hash(),
            epochs: self.epochs.clone(),
        };
        header.save(&mut out);
        out.part(tag::WHOLE, |out| {
            out.u128(self.secret);
            out.u32(self.next_task);
            out.u32(self.events.len() as u32);
        });
        for event in &self.events {
            out.part(tag::EVENT, |out| event.save(out));
        }
        let queues: Vec<(QueueAt, u32)> = self.all_queues().collect();
        out.part(tag::QUEUES, |out| {
            out.u32(queues.len() as u32);
            out.u32(self.queues.waiting() as u32);
            for &((event, section, at), queue) in &queues {
                out.u32(event);
                out.bool(section);
                out.u32(at);
                self.queues.save(queue, out);
            }
        });
        out.part(tag::PROMISES, |out| self.save_promises(out));
        out.part(tag::POST, |out| self.post.save(self.id, out));
        out.part(tag::REQUESTS, |out| self.requests.save(out));
        out.finish()
    }

    /// Builds partition `id` of `partitions` from what [`Partition::save`] wrote. `limits` may be others than they
    /// were: what is in use must have room, and a smaller request memory keeps the newest answers and takes what it
    /// had to drop for too old.
    pub fn load(
        bytes: &[u8],
        id: PartitionId,
        partitions: u16,
        limits: Limits,
    ) -> Result<Self, SnapshotError> {
        let mut input = Reader::new(bytes, "header");
        let header = SnapshotHeader::load(&mut input)?;
        let found = (header.partition, header.partitions);
        if found != (id, partitions) {
            return Err(SnapshotError::Foreign { expected: (id, partitions), found });
        }
        let mut part = Self::new(id, partitions, limits);
        (part.lsn, part.now, part.epochs) = (header.lsn, header.now, header.epochs);
        let mut whole = input.part(tag::WHOLE, "summary")?;
        part.secret = whole.u128()?;
        part.next_task = whole.u32()?;
        let events = whole.u32()?;
        whole.finish()?;
        for _ in 0..events {
            part.load_event(input.part(tag::EVENT, "event")?)?;
        }
        part.load_queues(input.part(tag::QUEUES, "queues")?)?;
        part.load_promises(input.part(tag::PROMISES, "claims under way")?)?;
        let mut post = input.part(tag::POST, "post")?;
        part.post = Post::load(&mut post, id, partitions)?;
        post.finish()?;
        let mut requests = input.part(tag::REQUESTS, "remembered requests")?;
        let remembered = Remembered::load(&mut requests, part.now, part.lsn)?;
        requests.finish()?;
        input.finish()?;
        let loaded = part.digest(remembered.state_hash());
        if loaded != header.state_hash {
            return Err(SnapshotError::Hash { saved: header.state_hash, loaded });
        }
        part.requests = Requests::restore(remembered, limits.requests, part.now);
        part.make_room()?;
        part.start_timers();
        Ok(part)
    }

    /// The events that a saved partition knows. Nothing else of it is looked at.
    pub fn events_in(bytes: &[u8]) -> Result<Vec<EventId>, SnapshotError> {
        let mut input = Reader::new(bytes, "header");
        SnapshotHeader::load(&mut input)?;
        let mut whole = input.part(tag::WHOLE, "summary")?;
        // Its secret, and the number of the next task.
        whole.u128()?;
        whole.u32()?;
        (0..whole.u32()?).map(|_| input.part(tag::EVENT, "event")?.u32()).collect()
    }

    fn load_event(&mut self, mut input: Reader<'_>) -> Result<(), SnapshotError> {
        let at = Standing { own: self.id, partitions: self.partitions, lsn: self.lsn, now: self.now };
        let event = EventPart::load(&mut input, at)?;
        input.finish()?;
        input.check(self.event_index(event.id).is_err(), "an event stands in it twice")?;
        self.enlist(event);
        Ok(())
    }

    fn load_queues(&mut self, mut input: Reader<'_>) -> Result<(), SnapshotError> {
        let (count, parties) = (input.u32()? as usize, input.u32()? as usize);
        self.queues.check_room(count, parties)?;
        let mut last: Option<QueueAt> = None;
        for _ in 0..count {
            let at: QueueAt = (input.u32()?, input.bool()?, input.u32()?);
            input.check(last < Some(at), "queues out of order")?;
            last = Some(at);
            let Some(place) = self.place_of_queue(at) else {
                return Err(input.inconsistent("a queue at a place that is not there"));
            };
            let queue = self.queues.load(&mut input, place, self.lsn, self.now)?;
            let event = &mut self.events[at.0 as usize];
            if at.1 {
                event.homes[at.2 as usize].queue = queue;
            } else {
                event.rows.line_mut(at.2).queue = queue;
            }
        }
        input.check(self.queues.waiting() == parties, "another number of parties than it says")?;
        input.finish()
    }

    /// The place whose queue this is; `None` if there is no such place, or it can't have one.
    fn place_of_queue(&self, (event, section, at): QueueAt) -> Option<RowRef> {
        let event = self.events.get(event as usize)?;
        if !section {
            return event.rows.begins_at(at).then(|| event.row_ref(at));
        }
        let index = event.sections.iter().position(|section| section.home_index == at && at != NONE)?;
        // A home's news of its rows begin with its queue.
        let told = event.homes[at as usize].news.len() == usize::from(event.sections[index].rows);
        told.then(|| RowRef::new(event.id, index as u16, RowRef::SECTION))
    }

    fn all_queues(&self) -> impl Iterator<Item = (QueueAt, u32)> + '_ {
        let of_event = |(ev, part): (usize, &'_ EventPart)| {
            let rows = part.rows.slots().map(|slot| ((ev as u32, false, slot), part.rows.line(slot).queue));
            let homes = part.homes.iter().enumerate();
            let homes = homes.map(|(at, home)| ((ev as u32, true, at as u32), home.queue));
            rows.chain(homes).filter(|&(_, queue)| queue != NONE).collect::<Vec<_>>()
        };
        self.events.iter().enumerate().flat_map(of_event)
    }

    /// What has been begun and is not decided: tasks, charges, and open offers.
    fn save_promises(&self, out: &mut Writer<'_>) {
        let mut tasks: Vec<(u32, Task)> = self.tasks.iter().map(|(&id, &task)| (id, task)).collect();
        tasks.sort_unstable_by_key(|&(id, _)| id);
        out.u32(tasks.len() as u32);
        for (id, task) in tasks {
            out.u32(id);
            task.save(out);
        }
        let mut charges: Vec<((EventId, u32), Charge)> =
            self.charges.iter().map(|(&at, &charge)| (at, charge)).collect();
        charges.sort_unstable_by_key(|&(at, _)| at);
        out.u32(charges.len() as u32);
        for ((event, slot), charge) in charges {
            out.u32(event);
            out.u32(slot);
            out.u128(charge.request);
            out.bool(charge.task.is_some());
            out.u32(charge.task.unwrap_or(0));
        }
        let mut offers: Vec<(u64, UserId, u32)> =
            self.offers.iter().map(|(&(place, user), &slot)| (place, user, slot)).collect();
        offers.sort_unstable();
        out.u32(offers.len() as u32);
        for (place, user, slot) in offers {
            out.u64(place);
            out.u64(user);
            out.u32(slot);
        }
    }

    fn load_promises(&mut self, mut input: Reader<'_>) -> Result<(), SnapshotError> {
        self.load_tasks(&mut input)?;
        self.load_charges(&mut input)?;
        let mut last = None;
        for _ in 0..input.count(20)? {
            let (place, user, slot) = (input.u64()?, input.u64()?, input.u32()?);
            input.check(last < Some((place, user)), "offers out of order")?;
            input.check(self.offer_is_sound(RowRef::of_key(place), user, slot), "an offer of nothing")?;
            last = Some((place, user));
            self.offers.insert((place, user), slot);
        }
        input.finish()
    }

    fn load_tasks(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        for _ in 0..input.count(4 + TASK_BYTES)? {
            let (id, task) = (input.u32()?, Task::load(input, self.lsn)?);
            // A task's number comes before the next one's, also once those have begun anew.
            let before = self.next_task.wrapping_sub(id);
            input.check(before != 0 && before <= u32::MAX / 2, "a task that has not begun")?;
            input.check(self.task_is_sound(id, &task), "a task and its hold do not agree")?;
            input.check(self.tasks.insert(id, task).is_none(), "a task stands in it twice")?;
        }
        let mut holds: Vec<(EventId, u32)> = self.tasks.values().map(Task::hold).collect();
        holds.sort_unstable();
        holds.dedup();
        let gathering = self.count_holds(HoldState::Gathering);
        let one_each = holds.len() == self.tasks.len() && gathering == self.tasks.len();
        input.check(one_each, "a claim without a task, or with two")?;
        let serving = self.events.iter().flat_map(|part| &part.homes);
        let serving = serving.filter(|home| home.serving.is_some()).count();
        let for_queues = self.tasks.values().filter(|task| task.is_for_queue()).count();
        input.check(serving == for_queues, "a queue is served by no task")?;
        let (used, limit) = (self.tasks.len() - for_queues, self.limits.tasks);
        if used > limit {
            return Err(SnapshotError::Limit { setting: "partitions.section_claims", used, limit });
        }
        Ok(())
    }

    fn load_charges(&mut self, input: &mut Reader<'_>) -> Result<(), SnapshotError> {
        for _ in 0..input.count(29)? {
            let at = (input.u32()?, input.u32()?);
            let (request, is_task, task) = (input.u128()?, input.bool()?, input.u32()?);
            let sound = if is_task {
                self.tasks.get(&task).is_some_and(|task| task.is_complete() && task.hold() == at)
            } else {
                let hold = self.event_index(at.0).ok().and_then(|ev| self.events[ev].holds.get(at.1));
                task == 0 && hold.is_some_and(|hold| hold.state == HoldState::Charging)
            };
            input.check(sound, "an account is asked for nobody")?;
            let charge = Charge { request, task: is_task.then_some(task) };
            input.check(self.charges.insert(at, charge).is_none(), "an account is asked twice")?;
        }
        let complete = self.tasks.values().filter(|task| task.is_complete()).count();
        let waiting = complete + self.count_holds(HoldState::Charging);
        input.check(waiting == self.charges.len(), "a claim waits for an account that was not asked")
    }

    fn count_holds(&self, state: HoldState) -> usize {
        self.events.iter().flat_map(|part| part.holds.iter()).filter(|hold| hold.state == state).count()
    }

    fn offer_is_sound(&self, place: RowRef, user: UserId, slot: u32) -> bool {
        let Ok(ev) = self.event_index(place.event) else { return false };
        let part = &self.events[ev];
        let open = |hold: &Hold| hold.state.is_timed() && hold.has(Hold::FROM_QUEUE) && hold.user == user;
        part.holds.get(slot).is_some_and(|hold| open(hold) && part.place_of(hold) == place)
    }

    /// Sets aside the room that a partition has from its beginning.
    fn make_room(&mut self) -> Result<(), SnapshotError> {
        let pages =
            |part: &EventPart| (part.holds.capacity() as u64).div_ceil(u64::from(HANDLES_PER_PAGE)) + 1;
        let handles = self.events.iter().map(pages).sum::<u64>() * u64::from(HANDLES_PER_PAGE);
        if handles > u64::from(u32::MAX) {
            return Err(SnapshotError::Inconsistent { part: "event", what: "more holds than have a number" });
        }
        for at in 0..self.events.len() {
            if !self.events[at].holds.make_room() || !self.give_handles(at) {
                return Err(SnapshotError::Memory { part: "holds" });
            }
        }
        Ok(())
    }

    /// Puts every hold that has a deadline up for a look.
    fn start_timers(&mut self) {
        for part in &mut self.events {
            let latest = self.now + part.quantum_ms();
            for slot in 0..part.holds.slots() {
                let hold = &mut part.holds[slot];
                if hold.state.is_timed() {
                    hold.bits |= Hold::ARMED;
                    // As early as in [`Partition::arm`].
                    let at = hold.expires_ms.min(latest);
                    self.wheel.arm_at_start(part.handle_base + slot, at, self.now);
                }
            }
        }
    }

    /// Digest of the whole state. Two partitions that applied the same operations have the same one. What the
    /// log does not decide is not in it: timers, and which letters are known to have arrived.
    pub fn state_hash(&self) -> u64 {
        self.digest(self.requests.state_hash())
    }

    fn digest(&self, requests: u64) -> u64 {
        let mut hash = Fold::default();
        (self.id, self.partitions, self.lsn, self.now, &self.epochs, self.secret).hash(&mut hash);
        // Maps have no order, so their entries are added up.
        let sum = |items: &mut dyn Iterator<Item = u64>| items.fold(0_u64, u64::wrapping_add);
        let one = |item: &dyn Fn(&mut Fold)| {
            let mut hash = Fold::default();
            item(&mut hash);
            hash.finish()
        };
        for part in &self.events {
            part.hash_into(&mut hash);
            sum(&mut part.accounts.iter().map(|a| one(&|h| a.hash(h)))).hash(&mut hash);
        }
        for (at, queue) in self.all_queues() {
            at.hash(&mut hash);
            self.queues.hash_into(queue, &mut hash);
        }
        requests.hash(&mut hash);
        self.post.counts().hash(&mut hash);
        sum(&mut self.tasks.iter().map(|t| one(&|h| t.hash(h)))).hash(&mut hash);
        sum(&mut self.charges.iter().map(|c| one(&|h| c.hash(h)))).hash(&mut hash);
        sum(&mut self.offers.iter().map(|o| one(&|h| o.hash(h)))).hash(&mut hash);
        self.next_task.hash(&mut hash);
        hash.finish()
    }
}
