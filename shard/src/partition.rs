//! The state machine: one partition, one function that changes it.

mod saved;

use crate::answer::{Answer, Code, Fence, flags};
use crate::effects::{Decided, Effects, Push, PushKind};
use crate::event::{EventPart, Section};
use crate::hold::{Hold, HoldState, NONE};
use crate::ids::{Epoch, EventId, Lsn, Millis, PartitionId, Parts, RequestId, RowRef, UserId};
use crate::mail::{Letter, Post};
use crate::nonce::keyed;
use crate::op::{Command, Mail, Op, Request, Supply};
use crate::queue::{Map, Queues};
use crate::requests::{Known, Requests, digest};
use crate::row::{Choice, RowState};
use crate::rules::{EventRules, EventState};
use crate::section::Task;
use crate::wheel::{AHEAD, Timer, Wheel};
use frontrow_plant::{Bug, planted};
use std::cell::RefCell;

/// How much of everything one partition may have. All of it is room set aside at start-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Requests remembered for repetitions; a power of two.
    pub requests: usize,
    /// Waiting parties, in all queues together.
    pub parties: usize,
    /// Queues that have anybody in them.
    pub queues: usize,
    /// Section claims being put together at the same time.
    pub tasks: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 65_536, parties: 65_536, queues: 4096, tasks: 4096 }
    }
}

/// What became of an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Applied {
    /// The answer; for anything but a request, [`Code::Done`] or a refusal.
    pub answer: Answer,
    /// Whether the state changed, so that the operation must be in the log. What was not recorded has
    /// not happened: a repeated request, or one refused before it was looked at.
    pub recorded: bool,
}

/// One partition: see the crate's description.
pub struct Partition {
    pub(crate) id: PartitionId,
    pub(crate) partitions: u16,
    pub(crate) lsn: Lsn,
    pub(crate) now: Millis,
    epochs: Vec<(Lsn, Epoch)>,
    secret: u128,
    /// Nonces drawn in this operation.
    draws: u32,
    /// By event number: index into `events`.
    index: Vec<u32>,
    pub(crate) events: Vec<EventPart>,
    requests: Requests,
    wheel: Wheel,
    /// By handle / [`HANDLES_PER_PAGE`]: index into `events`.
    handle_pages: Vec<u32>,
    pub(crate) queues: Queues,
    pub(crate) post: Post,
    pub(crate) tasks: Map<u32, Task>,
    pub(crate) next_task: u32,
    pub(crate) limits: Limits,
    /// Holds that wait for their user's account, with the request or task behind each.
    pub(crate) charges: Map<(u32, u32), Charge>,
    /// Offers that have not been bought, given up or run out, by place and user.
    pub(crate) offers: Map<(u64, UserId), u32>,
}

/// Who waits for a [`Mail::Charged`].
#[derive(Clone, Copy, Debug, Hash)]
pub(crate) struct Charge {
    /// The request to answer; 0 for an offer from the queue.
    pub(crate) request: RequestId,
    /// The section task, if it is one.
    pub(crate) task: Option<u32>,
}

/// A hold: its event's place in [`Partition::events`], and its slot there.
type HoldAt = (usize, u32);

const HANDLES_PER_PAGE: u32 = 512;
/// The highest event number: event numbers are given in sequence, so this only bounds a table.
pub const MAX_EVENT: EventId = 1 << 20;

impl Partition {
    /// Partition `id` of `partitions`, empty.
    pub fn new(id: PartitionId, partitions: u16, limits: Limits) -> Self {
        assert!(id < partitions && partitions <= crate::ids::MAX_PARTITIONS);
        Self {
            id,
            partitions,
            lsn: 0,
            now: 0,
            epochs: Vec::new(),
            secret: 0,
            draws: 0,
            index: Vec::new(),
            events: Vec::new(),
            requests: Requests::new(limits.requests),
            wheel: Wheel::new(),
            handle_pages: Vec::new(),
            queues: Queues::new(limits.parties, limits.queues),
            post: Post::new(partitions),
            tasks: Map::default(),
            next_task: 0,
            limits,
            charges: Map::default(),
            offers: Map::default(),
        }
    }

    /// Applies one operation at `now` (milliseconds since 1970; a time before the last one counts as the last).
    /// What it causes is added to `out`. The operation's LSN is [`Partition::lsn`] afterwards, if it was
    /// recorded.
    pub fn apply(&mut self, now: Millis, op: &Op, out: &mut Effects) -> Applied {
        let before = self.now;
        let applied = self.apply_at(now, op, out);
        if !applied.recorded {
            // Replay will not see this operation, so its time must leave no trace either.
            self.now = before;
        }
        applied
    }

    /// As [`Partition::apply`], for an operation of the log: a request that was recorded was new then, so it is not
    /// looked up, and a memory of another size does not change what comes of it.
    pub fn replay(&mut self, now: Millis, op: &Op, out: &mut Effects) -> Applied {
        let Op::Request(request) = op else { return self.apply(now, op, out) };
        let before = self.now;
        self.now = before.max(now);
        self.draws = 0;
        let applied = self.new_request(request, digest(request), out);
        if !applied.recorded {
            self.now = before;
        }
        applied
    }

    fn apply_at(&mut self, now: Millis, op: &Op, out: &mut Effects) -> Applied {
        self.now = self.now.max(now);
        self.draws = 0;
        if let Op::Request(request) = op {
            return self.request(request, out);
        }
        self.lsn += 1;
        let answer = match op {
            Op::Request(_) => unreachable!("handled above"),
            Op::Begin { epoch, secret } => self.begin(*epoch, *secret),
            Op::Expire { event, slot, lsn } => self.expire(*event, *slot, *lsn, out),
            Op::Deliver { from, seq, mail } => {
                if !self.post.receive(*from, *seq) {
                    self.lsn -= 1;
                    return Applied { answer: Answer::plain(Code::Done), recorded: false };
                }
                self.deliver(*from, *mail, out);
                Answer::plain(Code::Done)
            }
            Op::CreateEvent(spec) => self.create_event(spec, spec.digest()),
            Op::SetEventState { event, state } => self.set_event_state(*event, *state, out),
            Op::Block { row, seats, blocked } => self.block(*row, *seats, *blocked, out),
            Op::Archive { event, step } => self.archive(*event, *step),
        };
        Applied { answer: self.stamp(answer), recorded: true }
    }

    fn request(&mut self, request: &Request, out: &mut Effects) -> Applied {
        let digest = digest(request);
        let refused = |code| Applied { answer: Answer::plain(code), recorded: false };
        let unrecorded = match self.requests.look_up(request, digest, self.now) {
            Known::New => None,
            Known::Answered(answer) => {
                let answer = Answer { flags: answer.flags | flags::REPEATED, ..answer };
                Some(Applied { answer, recorded: false })
            }
            Known::Reused => Some(refused(Code::IdReused)),
            Known::TooOld => Some(refused(Code::TooOld)),
            Known::Ahead => Some(refused(Code::BadRequestId)),
        };
        if let Some(mut applied) = unrecorded {
            if applied.answer.lsn == 0 {
                applied.answer.lsn = self.lsn;
                applied.answer.epoch = self.epoch();
            }
            return applied;
        }
        self.new_request(request, digest, out)
    }

    fn new_request(&mut self, request: &Request, digest: u64, out: &mut Effects) -> Applied {
        self.lsn += 1;
        let answer = self.command(request, out);
        if matches!(answer.code, Code::Full | Code::QueueFull | Code::NotOwner) {
            // Nothing was changed and nothing is remembered, so that the same request can succeed later.
            self.lsn -= 1;
            let answer = Answer { lsn: self.lsn, epoch: self.epoch(), ..answer };
            return Applied { answer, recorded: false };
        }
        let answer = self.stamp(answer);
        let parts = (answer.parts > 0)
            .then(|| self.event_index(request.command.place().event).ok())
            .flatten()
            .map(|ev| self.group_parts(ev, answer.slot));
        if planted(Bug::AnswerForgotten) && answer.code == Code::Released {
            return Applied { answer, recorded: true };
        }
        self.requests.remember(request.id, digest, &answer, parts.as_ref(), self.now);
        Applied { answer, recorded: true }
    }

    fn command(&mut self, request: &Request, out: &mut Effects) -> Answer {
        let (user, id) = (request.user, request.id);
        if self.is_cold(request.command.place().event) {
            return Answer::plain(Code::Closed);
        }
        let result = match &request.command {
            Command::ClaimSeats(claim) => self.claim_seats(id, user, claim, out),
            Command::ClaimBest(claim) => self.claim_best(id, user, claim, out),
            Command::ClaimSection(claim) => self.claim_section(id, user, claim, out),
            Command::Extend(proof) => self.extend(user, proof, out),
            Command::BeginPayment(proof) => self.begin_payment(user, proof, out),
            Command::Book(proof) => self.book(user, proof, out),
            Command::Release(proof) => self.release(user, proof, out),
            Command::Cancel(proof) => self.cancel(user, proof, out),
            Command::Join(join) => self.join(id, user, join, out),
            Command::Leave(leave) => self.leave(user, leave.place, out),
        };
        result.unwrap_or_else(|refusal| refusal)
    }

    fn begin(&mut self, epoch: Epoch, secret: u128) -> Answer {
        assert!(epoch > self.epoch(), "epochs grow");
        self.epochs.push((self.lsn, epoch));
        self.secret = secret;
        Answer::plain(Code::Done)
    }

    /// Gives an answer its position, unless it carries a fence's.
    fn stamp(&self, answer: Answer) -> Answer {
        if answer.lsn != 0 { answer } else { Answer { lsn: self.lsn, epoch: self.epoch(), ..answer } }
    }

    // ---- what the rooms of this crate share -------------------------------------------------

    /// The event's place in `events`, by its number.
    pub(crate) fn event_index(&self, event: EventId) -> Result<usize, Answer> {
        match self.index.get(event as usize) {
            Some(&at) if at != NONE => Ok(at as usize),
            _ => Err(Answer::plain(Code::UnknownEvent)),
        }
    }

    pub(crate) fn section_of(&self, place: RowRef) -> Result<(usize, &Section), Answer> {
        let ev = self.event_index(place.event)?;
        let section = self.events[ev].sections.get(usize::from(place.section));
        section.map(|section| (ev, section)).ok_or(Answer::plain(Code::UnknownSection))
    }

    /// The event and row slot of a row owned here.
    pub(crate) fn locate(&self, row: RowRef) -> Result<(usize, u32), Answer> {
        let ev = self.event_index(row.event)?;
        // The index of own rows is warm by now; the section would be a miss of its own, and says nothing more.
        match self.events[ev].slot_of(row.section, row.row) {
            Some(slot) => Ok((ev, slot)),
            None => Err(self.not_here(row)),
        }
    }

    /// Why a row is not among the rows of this partition.
    #[cold]
    fn not_here(&self, row: RowRef) -> Answer {
        match self.section_of(row) {
            Err(refusal) => refusal,
            Ok((_, section)) if row.row >= section.rows => Answer::plain(Code::UnknownRow),
            Ok(_) => Answer::plain(Code::NotOwner),
        }
    }

    /// The event and home index of a section coordinated here.
    pub(crate) fn locate_home(&self, section: RowRef) -> Result<(usize, usize), Answer> {
        let (ev, known) = self.section_of(section)?;
        if known.home_index == NONE {
            return Err(Answer::plain(Code::NotOwner));
        }
        Ok((ev, known.home_index as usize))
    }

    /// Whether the event is on sale.
    pub(crate) fn selling(&self, ev: usize) -> Result<EventRules, Answer> {
        let part = &self.events[ev];
        match part.state {
            EventState::Open => Ok(part.rules),
            EventState::Draft => Err(Answer::plain(Code::NotOnSale)),
            EventState::Paused => Err(Answer::plain(Code::Paused)),
            EventState::Closed | EventState::Archiving | EventState::Archived => {
                Err(Answer::plain(Code::Closed))
            }
        }
    }

    fn nonce(&mut self) -> u64 {
        self.draws += 1;
        keyed(self.secret, self.lsn, u64::from(self.draws))
    }

    /// Makes a hold of `choice` in a row. The seats must have been taken from where they were.
    pub(crate) fn make_hold(
        &mut self,
        ev: usize,
        row: u32,
        choice: Choice,
        user: UserId,
        state: HoldState,
        bits: u8,
    ) -> u32 {
        let nonce = self.nonce();
        let mut bits = bits;
        if choice.together {
            bits |= Hold::TOGETHER;
        }
        if choice.waived {
            bits |= Hold::WAIVED;
        }
        self.events[ev].holds.insert(Hold {
            user,
            nonce,
            lsn: self.lsn,
            expires_ms: 0,
            mask: choice.seats.mask,
            row,
            first: choice.seats.first,
            state,
            bits,
            extensions: 0,
        })
    }

    /// Starts a hold's time. The grant, with its fence.
    pub(crate) fn start_hold(&mut self, ev: usize, slot: u32, duration_ms: u32) -> Answer {
        let expires_ms = self.now + Millis::from(duration_ms);
        let hold = &mut self.events[ev].holds[slot];
        hold.state = HoldState::Held;
        hold.expires_ms = expires_ms;
        if planted(Bug::OfferNotTimed) && hold.has(Hold::FROM_QUEUE) {
            return self.fence_answer(ev, slot, Code::Granted);
        }
        self.arm(ev, slot);
        self.fence_answer(ev, slot, Code::Granted)
    }

    /// Puts the hold's deadline on the wheel, unless it is there.
    pub(crate) fn arm(&mut self, ev: usize, slot: u32) {
        let part = &mut self.events[ev];
        let quantum = part.quantum_ms();
        let handle = part.handle_base + slot;
        let hold = &mut part.holds[slot];
        if !hold.has(Hold::ARMED) {
            hold.bits |= Hold::ARMED;
            // Never later than any new hold of this event could be due: the entry may outlive this hold
            // and must then be early enough for the next one in the slot.
            let at = hold.expires_ms.min(self.now + quantum);
            let at = if planted(Bug::ExpiresEarly) { at - 3000 } else { at };
            self.wheel.arm(handle, at, self.now);
        }
    }

    /// An answer that carries the hold's present fence.
    pub(crate) fn fence_answer(&self, ev: usize, slot: u32, code: Code) -> Answer {
        let part = &self.events[ev];
        let hold = &part.holds[slot];
        let parts = if hold.is_group() { part.groups.get(hold.mask).as_slice().len() as u8 } else { 0 };
        let mark = |bit, flag| if hold.has(bit) { flag } else { 0 };
        Answer {
            seats: hold.seats(),
            lsn: hold.lsn,
            expires_ms: hold.expires_ms,
            nonce: hold.nonce,
            slot,
            epoch: self.epoch_of(hold.lsn),
            code,
            flags: mark(Hold::TOGETHER, flags::TOGETHER)
                | mark(Hold::WAIVED, flags::ORPHAN_WAIVED)
                | mark(Hold::FROM_QUEUE, flags::FROM_QUEUE),
            parts,
        }
    }

    /// The hold that `fence` proves, or why it proves none.
    pub(crate) fn prove(
        &self,
        user: UserId,
        place: RowRef,
        fence: &Fence,
    ) -> Result<HoldAt, (Answer, Option<HoldAt>)> {
        let located = if place.is_section() {
            self.locate_home(place).map(|(ev, _)| (ev, u32::from(place.section), true))
        } else {
            self.locate(place).map(|(ev, row)| (ev, row, false))
        };
        let (ev, row, group) = located.map_err(|refusal| (refusal, None))?;
        let forged = Answer { flags: flags::FORGED, ..Answer::plain(Code::Fenced) };
        let Some(hold) = self.events[ev].holds.get(fence.slot) else { return Err((forged, None)) };
        if fence.epoch != self.epoch_of(fence.lsn) {
            return Err((forged, None));
        }
        let at = (ev, fence.slot);
        match hold.check((row, group), user, fence, self.now) {
            Ok(()) => Ok(at),
            Err(refusal) => Err((refusal, Some(at))),
        }
    }

    pub(crate) fn write(&mut self, to: PartitionId, mail: Mail, out: &mut Effects) {
        let letter = self.post.write(to, mail);
        if planted(Bug::LetterDropped) && letter.seq % 8 == 5 {
            return;
        }
        out.letters.push(letter);
    }

    pub(crate) fn touch(&self, ev: usize, row: u32, out: &mut Effects) {
        out.rows.push(self.events[ev].row_ref(row));
    }

    /// Answers a request that was pending.
    pub(crate) fn decide(
        &mut self,
        request: RequestId,
        user: UserId,
        place: RowRef,
        answer: Answer,
        parts: Option<&Parts>,
        out: &mut Effects,
    ) {
        let answer = self.stamp(answer);
        self.requests.decide(request, &answer, parts);
        let parts = parts.copied().unwrap_or_default();
        out.answers.push(Decided { request, user, place, answer, parts });
    }

    pub(crate) fn push(
        &self,
        user: UserId,
        place: RowRef,
        kind: PushKind,
        answer: Answer,
        parts: Parts,
        out: &mut Effects,
    ) {
        out.pushes.push(Push { user, place, kind, answer: self.stamp(answer), parts });
    }

    /// Adds an event part that has been built, and gives its holds handles in the timing wheel.
    pub(crate) fn install(&mut self, part: EventPart) {
        self.enlist(part);
        assert!(self.give_handles(self.events.len() - 1), "memory for timers");
    }

    fn enlist(&mut self, part: EventPart) {
        let event = part.id as usize;
        if self.index.len() <= event {
            self.index.resize(event + 1, NONE);
        }
        self.index[event] = self.events.len() as u32;
        self.events.push(part);
    }

    /// Handles of the timing wheel for all holds that the event at `at` may have. `false` if there is no memory for
    /// them.
    fn give_handles(&mut self, at: usize) -> bool {
        let part = &mut self.events[at];
        let pages = (part.holds.capacity() as u32).div_ceil(HANDLES_PER_PAGE).max(1);
        part.handle_base = self.handle_pages.len() as u32 * HANDLES_PER_PAGE;
        self.handle_pages.extend(std::iter::repeat_n(at as u32, pages as usize));
        self.wheel.reserve(self.handle_pages.len() * HANDLES_PER_PAGE as usize)
    }

    // ---- what the outside may ask without changing anything ---------------------------------

    /// The next hold that is due, as the operation that ends it. Looks at no more than `budget` timers,
    /// which it counts down. Only the wheel changes, which is an index and not state.
    pub fn next_due(&mut self, now: Millis, budget: &mut u32) -> Option<Op> {
        let (pages, events) = (&self.handle_pages, RefCell::new(&mut self.events));
        let event_of = |handle: u32| pages[(handle / HANDLES_PER_PAGE) as usize] as usize;
        let ask = |handle: u32| {
            let part = &mut events.borrow_mut()[event_of(handle)];
            let quantum = part.quantum_ms();
            // An archived event's timers outlive its holds.
            let Some(hold) = part.holds.get_mut(handle - part.handle_base) else { return Timer::Gone };
            if !hold.state.is_timed() {
                hold.bits &= !Hold::ARMED;
                return Timer::Gone;
            }
            let early = if planted(Bug::ExpiresEarly) { 3000 } else { 0 };
            if hold.expires_ms <= now + early {
                hold.bits &= !Hold::ARMED;
                return Timer::At(hold.expires_ms - early);
            }
            Timer::At(hold.expires_ms.min(now + quantum))
        };
        let soon = |handle: u32, ahead: usize| {
            let part = &events.borrow()[event_of(handle)];
            let slot = handle - part.handle_base;
            if ahead == AHEAD[0] {
                part.holds.prefetch(slot);
            } else if let Some(hold) = part.holds.get(slot) {
                part.rows.prefetch(hold.row);
            }
        };
        let handle = self.wheel.poll(now, budget, ask, soon)?;
        let ev = self.handle_pages[(handle / HANDLES_PER_PAGE) as usize] as usize;
        let part = &self.events[ev];
        let slot = handle - part.handle_base;
        Some(Op::Expire { event: part.id, slot, lsn: part.holds[slot].lsn })
    }

    /// The number of this partition.
    pub fn id(&self) -> PartitionId {
        self.id
    }

    /// Position of the last operation recorded.
    pub fn lsn(&self) -> Lsn {
        self.lsn
    }

    /// The epoch under way; 0 before the first.
    pub fn epoch(&self) -> Epoch {
        self.epochs.last().map_or(0, |&(_, epoch)| epoch)
    }

    /// The epoch in which `lsn` was decided.
    pub(crate) fn epoch_of(&self, lsn: Lsn) -> Epoch {
        self.epochs.iter().rev().find(|&&(start, _)| start <= lsn).map_or(0, |&(_, epoch)| epoch)
    }

    /// The rows of a claim over several rows, by its request.
    pub fn parts_of(&self, request: RequestId) -> Option<Parts> {
        self.requests.parts(request).copied()
    }

    /// A row as anyone may see it, if it is owned here.
    pub fn row_state(&self, row: RowRef) -> Option<RowState> {
        let (ev, slot) = self.locate(row).ok()?;
        Some(self.events[ev].rows.state(slot))
    }

    /// What a row can still give, if it is owned here.
    pub fn supply(&self, row: RowRef) -> Option<Supply> {
        let (ev, slot) = self.locate(row).ok()?;
        Some(self.events[ev].rows.supply(slot))
    }

    /// An event's state and rules, if it is known here.
    pub fn event(&self, event: EventId) -> Option<(EventState, EventRules)> {
        let part = &self.events[self.event_index(event).ok()?];
        Some((part.state, part.rules))
    }

    /// The time of the last operation.
    pub fn now(&self) -> Millis {
        self.now
    }

    /// How many rows each section of an event has, on whatever partition.
    pub fn section_rows(&self, event: EventId) -> Option<impl Iterator<Item = u16> + '_> {
        let part = &self.events[self.event_index(event).ok()?];
        Some(part.sections.iter().map(|section| section.rows))
    }

    /// Every row owned here.
    pub fn rows(&self) -> impl Iterator<Item = RowRef> + '_ {
        self.events.iter().flat_map(|part| part.rows.slots().map(|slot| part.row_ref(slot)))
    }

    /// The events known here.
    pub fn events(&self) -> impl Iterator<Item = EventId> + '_ {
        self.events.iter().map(|part| part.id)
    }

    /// The digest of what an event was made of here: [`EventSpec::digest`].
    pub fn event_digest(&self, event: EventId) -> Option<u64> {
        Some(self.events[self.event_index(event).ok()?].digest)
    }

    /// Where `user` stands at a place: an offer with its fence ([`Code::Granted`]), a position
    /// ([`Code::Queued`]), or a refusal.
    pub fn status(&self, place: RowRef, user: UserId) -> Answer {
        let answer = self.find_status(place, user).unwrap_or_else(|refusal| refusal);
        self.stamp(answer)
    }

    fn find_status(&self, place: RowRef, user: UserId) -> Result<Answer, Answer> {
        if self.is_cold(place.event) {
            return Err(Answer::plain(Code::Closed));
        }
        let ev = if place.is_section() { self.locate_home(place)?.0 } else { self.locate(place)?.0 };
        if let Some(&slot) = self.offers.get(&(place.key(), user)) {
            return Ok(self.fence_answer(ev, slot, Code::Granted));
        }
        let party = self.queues.find(place, user).ok_or(Answer::plain(Code::NotQueued))?;
        let low = u32::from(planted(Bug::StatusWrong));
        Ok(Answer { slot: self.queues.position(party) - low, ..Answer::plain(Code::Queued) })
    }

    /// The parts of the offer that [`Partition::status`] told of.
    pub fn offer_parts(&self, place: RowRef, user: UserId) -> Parts {
        let found = self.offers.get(&(place.key(), user)).and_then(|&slot| {
            let part = &self.events[self.event_index(place.event).ok()?];
            let hold = &part.holds[slot];
            hold.is_group().then(|| part.groups.get(hold.mask))
        });
        found.unwrap_or_default()
    }

    /// The users waiting at a place, first come first.
    pub fn waiting_at(&self, place: RowRef) -> impl Iterator<Item = UserId> + '_ {
        let queue = self.queue_at(place).unwrap_or(NONE);
        self.queues.iter(queue).map(|index| self.queues.party(index).user)
    }

    /// How many parties wait, in all queues.
    pub fn waiting(&self) -> usize {
        self.queues.waiting()
    }

    /// How many holds there are, bookings included.
    pub fn holds(&self) -> u64 {
        self.events.iter().map(|part| u64::from(part.holds.live())).sum()
    }

    fn queue_at(&self, place: RowRef) -> Option<u32> {
        if place.is_section() {
            let (ev, home) = self.locate_home(place).ok()?;
            Some(self.events[ev].homes[home].queue)
        } else {
            let (ev, slot) = self.locate(place).ok()?;
            Some(self.events[ev].rows.line(slot).queue)
        }
    }

    /// Messages that their receivers are not known to have. After a crash, and only then, they are sent
    /// again, in this order.
    pub fn unconfirmed(&self) -> impl Iterator<Item = &Letter> {
        self.post.unconfirmed()
    }

    /// The receiver `to` has every message up to `seq` in its log.
    pub fn confirm(&mut self, to: PartitionId, seq: u64) {
        self.post.confirm(to, seq);
    }

    /// As [`Partition::confirm`], of every receiver at once: how far each has come, by number. A receiver that the
    /// list does not reach is taken to have nothing. How many letters are left.
    pub fn confirm_all(&mut self, received: &[u64]) -> usize {
        self.post.confirm_all(received)
    }

    /// The number of the last message written to there.
    pub fn sent_to(&self, to: PartitionId) -> u64 {
        self.post.sent_to(to)
    }

    /// The number of the last message received from there.
    pub fn received_from(&self, from: PartitionId) -> u64 {
        self.post.received_from(from)
    }

    /// As [`Partition::prefetch_index`], for any operation.
    pub(crate) fn prefetch_op(&self, op: &Op) {
        match op {
            Op::Request(request) => self.prefetch_index(request.id, &request.command),
            &Op::Expire { event, slot, .. } => {
                if let Ok(ev) = self.event_index(event) {
                    self.events[ev].holds.prefetch(slot);
                }
            }
            _ => {}
        }
    }

    /// As [`Partition::prefetch_row`], for any operation.
    pub(crate) fn prefetch_op_rows(&self, op: &Op) {
        match op {
            Op::Request(request) => self.prefetch_row(&request.command),
            &Op::Expire { event, slot, .. } => {
                let Ok(ev) = self.event_index(event) else { return };
                let part = &self.events[ev];
                if let Some(hold) = part.holds.get(slot) {
                    part.rows.prefetch(hold.row);
                }
            }
            _ => {}
        }
    }

    /// Asks the processor for the indexes that a request will be looked up in. The first of two steps: call it
    /// some requests ahead, so that the misses overlap; then [`Partition::prefetch_row`], some fewer ahead.
    pub fn prefetch_index(&self, id: RequestId, command: &Command) {
        self.requests.prefetch(id);
        let place = command.place();
        let Ok(ev) = self.event_index(place.event) else { return };
        let part = &self.events[ev];
        if !place.is_section() {
            part.prefetch_index(place.section, place.row);
        }
        match command {
            Command::Extend(p)
            | Command::BeginPayment(p)
            | Command::Book(p)
            | Command::Release(p)
            | Command::Cancel(p) => part.holds.prefetch(p.fence.slot),
            _ => {}
        }
    }

    /// Asks the processor for the row that `command` is about, which the index tells.
    pub fn prefetch_row(&self, command: &Command) {
        let place = command.place();
        let Ok(ev) = self.event_index(place.event) else { return };
        let part = &self.events[ev];
        if !place.is_section()
            && let Some(slot) = part.slot_of(place.section, place.row)
        {
            part.rows.prefetch(slot);
        }
    }
}
