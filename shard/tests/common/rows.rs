//! Drives one partition and the naive model side by side and compares every word they say.

use super::coverage::Coverage;
use super::model::{Model, Said, Stage};
use super::rng::Rng;
use super::saved::reload;
use frontrow_shard::cold::{ColdEvent, ColdView};
use frontrow_shard::*;
use std::collections::{HashMap, VecDeque};

pub(crate) const EVENT: EventId = 7;
const START: u64 = 1_700_000_000_000;

/// What kind of event to try.
#[derive(Clone, Copy)]
pub(crate) struct Profile {
    pub(crate) longest_row: u64,
    pub(crate) rows: u64,
    pub(crate) users: u64,
    pub(crate) cap: bool,
    pub(crate) fairness: Fairness,
    /// Whether bookings are frequent and final, so that the event sells out.
    pub(crate) selling_out: bool,
}

pub(crate) struct Rows {
    pub(crate) model: Model,
    pub(crate) part: Partition,
    /// Applies the same operations, and must stay the same.
    echo: Partition,
    log: Vec<(u64, Op)>,
    pub(crate) out: Effects,
    post: VecDeque<Letter>,
    /// Every fence given out: the hold, its row, the fence.
    fences: Vec<(usize, Fence)>,
    by_slot: HashMap<(u32, Lsn), usize>,
    live: Vec<usize>,
    recent: VecDeque<(Request, Answer)>,
    pub(crate) rng: Rng,
    pub(crate) cov: Coverage,
    now: u64,
    ids: u128,
    profile: Profile,
    lengths: Vec<u64>,
}

fn limits() -> Limits {
    Limits { requests: 1024, parties: 256, queues: 16, tasks: 8 }
}

pub(crate) fn random_rules(rng: &mut Rng, profile: &Profile) -> EventRules {
    let max_per_claim = rng.pick(&[2, 4, 8, 32]);
    EventRules {
        hold_ms: rng.between(10_000, 40_000) as u32,
        offer_ms: rng.between(10_000, 40_000) as u32,
        pay_ms: rng.between(10_000, 40_000) as u32,
        max_extensions: rng.below(4) as u8,
        max_per_claim,
        max_per_user: if profile.cap { u16::from(max_per_claim) + rng.below(6) as u16 } else { 0 },
        max_passes: rng.pick(&[0, 1, 2, 3, 8, 100]),
        fairness: profile.fairness,
        orphans: rng.pick(&[OrphanRule::Off, OrphanRule::Prefer, OrphanRule::Strict]),
    }
}

pub(crate) fn random_row(rng: &mut Rng, section: u16, row: u16, longest: u64) -> RowSpec {
    let seats = rng.between(1, longest);
    let mixed = rng.chance(40);
    let aisles = if rng.chance(50) { seats / 10 } else { 0 };
    let accessible = if rng.chance(60) { 1 + seats / 12 } else { 0 };
    RowSpec {
        section,
        row,
        categories: (0..seats).map(|_| if mixed { rng.below(3) as u8 } else { 1 }).collect(),
        aisles_after: (0..aisles).map(|_| rng.below(seats) as u8).collect(),
        accessible: (0..accessible).map(|_| rng.below(seats) as u8).collect(),
    }
}

fn place_of(row: usize) -> RowRef {
    RowRef::new(EVENT, 0, row as u16)
}

impl Rows {
    pub(crate) fn new(seed: u64, profile: Profile) -> Self {
        let mut rng = Rng::new(seed);
        let rules = random_rules(&mut rng, &profile);
        let specs: Vec<RowSpec> =
            (0..profile.rows).map(|row| random_row(&mut rng, 0, row as u16, profile.longest_row)).collect();
        let lengths: Vec<u64> = specs.iter().map(|spec| spec.categories.len() as u64).collect();
        let mut test = Self {
            model: Model::new(rules, &specs),
            part: Partition::new(0, 1, limits()),
            echo: Partition::new(0, 1, limits()),
            log: Vec::new(),
            out: Effects::default(),
            post: VecDeque::new(),
            fences: Vec::new(),
            by_slot: HashMap::new(),
            live: Vec::new(),
            recent: VecDeque::new(),
            rng,
            cov: Coverage::default(),
            now: START,
            ids: 0,
            profile,
            lengths: lengths.clone(),
        };
        test.model.now = START;
        test.apply(Op::Begin { epoch: 3, secret: 0x1234_5678 });
        let spec = EventSpec {
            event: EVENT,
            rules,
            section_rows: vec![specs.len() as u16],
            section_seats: vec![lengths.iter().sum::<u64>() as u32],
            rows: specs,
        };
        test.apply(Op::CreateEvent(Box::new(spec)));
        test
    }

    fn apply(&mut self, op: Op) -> Applied {
        self.cov.op(&op);
        self.out.clear();
        let before: Vec<_> = (0..self.lengths.len()).map(|r| self.part.row_state(place_of(r))).collect();
        let applied = self.part.apply(self.now, &op, &mut self.out);
        let mut echoed = Effects::default();
        assert_eq!(self.echo.apply(self.now, &op, &mut echoed), applied);
        assert_eq!(echoed.pushes, self.out.pushes);
        self.cov.code(applied.answer.code);
        for (row, before) in before.into_iter().enumerate() {
            let place = place_of(row);
            if self.part.row_state(place) != before && before.is_some() {
                let left = self.part.row_state(place).is_none() && matches!(op, Op::Archive { .. });
                assert!(left || self.out.rows.contains(&place), "a row changed and nobody was told");
            }
        }
        self.post.extend(self.out.letters.iter().copied());
        if applied.recorded {
            self.log.push((self.now, op));
        }
        applied
    }

    /// Compares what was said, and keeps the fence if there is one.
    fn agree(&mut self, user: UserId, said: &Said, answer: &Answer) {
        assert_eq!(answer.code, said.code, "{answer:?} {said:?}");
        assert_eq!(answer.seats.places().collect::<Vec<_>>(), said.seats, "{answer:?} {said:?}");
        assert_eq!(answer.expires_ms, said.expires, "{answer:?}");
        assert_eq!(answer.flags, said.flags, "{answer:?} {said:?}");
        assert_eq!(answer.epoch, 3);
        if said.code == Code::Queued {
            assert_eq!(answer.slot, said.position);
        }
        let Some(hold) = said.hold else {
            if answer.code != Code::Expired || answer.nonce == 0 {
                assert_eq!(answer.lsn, self.part.lsn());
            }
            return;
        };
        assert!(answer.lsn <= self.part.lsn() && answer.nonce != 0);
        let fence = Fence::of(user, answer);
        self.fences.push((hold, fence));
        let known = self.by_slot.insert((fence.slot, fence.lsn), hold);
        assert!(known.is_none_or(|old| old == hold), "two holds with one slot and LSN");
        if said.code == Code::Granted {
            self.live.push(hold);
        }
    }

    /// Compares everything the last operation caused, and the whole visible state.
    fn check(&mut self) {
        let pushes = std::mem::take(&mut self.out.pushes);
        let expected = std::mem::take(&mut self.model.pushes);
        assert_eq!(pushes.len(), expected.len(), "{pushes:?} {expected:?}");
        for (push, (user, row, kind, said)) in pushes.iter().zip(&expected) {
            assert_eq!((push.user, push.place, push.kind), (*user, place_of(*row), *kind));
            self.cov.push(push.kind);
            self.agree(*user, said, &push.answer);
        }
        let decided = std::mem::take(&mut self.out.answers);
        let expected = std::mem::take(&mut self.model.decided);
        assert_eq!(decided.len(), expected.len(), "{decided:?} {expected:?}");
        for (decided, (id, said)) in decided.iter().zip(&expected) {
            assert_eq!(decided.request, *id);
            self.cov.code(decided.answer.code);
            self.agree(decided.user, said, &decided.answer);
            if let Some(entry) = self.recent.iter_mut().find(|(request, _)| request.id == *id) {
                entry.1 = decided.answer;
            }
        }
        assert_eq!(self.post.len(), self.model.letters());
        for row in 0..self.lengths.len() {
            let state = self.part.row_state(place_of(row)).unwrap();
            assert_eq!([state.free, state.booked, state.blocked], self.model.sets(row), "row {row}");
            let queue = self.model.rows[row].queue.iter().map(|party| party.user);
            assert!(self.part.waiting_at(place_of(row)).eq(queue), "row {row}");
        }
    }

    fn request(&mut self, user: UserId, command: Command) -> (u128, Answer) {
        self.ids += 1;
        let id = (u128::from(self.now) << 80) | self.ids;
        let request = Request { id, user, command };
        let applied = self.apply(Op::Request(request));
        if applied.recorded {
            self.recent.push_back((request, applied.answer));
            if self.recent.len() > 64 {
                self.recent.pop_front();
            }
        }
        (id, applied.answer)
    }

    fn next_id(&self) -> u128 {
        (u128::from(self.now) << 80) | (self.ids + 1)
    }

    /// The partition, or the one that must stay the same, is replaced by what its bytes give.
    pub(crate) fn reload(&mut self) {
        if self.rng.chance(50) {
            self.part = reload(&self.part, 1, limits());
        } else {
            self.echo = reload(&self.echo, 1, limits());
        }
        assert_eq!(self.part.state_hash(), self.echo.state_hash());
    }

    /// One random operation.
    pub(crate) fn step(&mut self) {
        let user = self.rng.between(1, self.profile.users);
        let row = self.rng.below(self.lengths.len() as u64) as usize;
        match self.rng.below(100) {
            0..20 => self.advance(),
            20..34 => self.claim_seats(user, row),
            34..48 => self.claim_best(user, row),
            48..60 => self.join(user, row),
            60..63 => self.leave(user, row),
            63..88 => self.use_fence(),
            88..90 => self.forge(),
            90..92 => self.repeat(),
            92..95 => self.block(row),
            95 => self.strange(user),
            96 if self.rng.chance(15) => self.set_state(),
            _ => {}
        }
        while !self.post.is_empty() && self.rng.chance(60) {
            self.deliver();
        }
    }

    fn deliver(&mut self) {
        let letter = self.post.pop_front().unwrap();
        self.model.deliver();
        let applied = self.apply(Op::Deliver { from: 0, seq: letter.seq, mail: letter.mail });
        assert!(applied.recorded);
        self.part.confirm(0, letter.seq);
        self.check();
        // Again, or out of turn: nothing happens.
        for seq in [letter.seq, letter.seq + 2] {
            let again = self.apply(Op::Deliver { from: 0, seq, mail: letter.mail });
            assert!(!again.recorded && self.out.letters.is_empty());
        }
    }

    fn advance(&mut self) {
        self.now += match self.rng.below(20) {
            0..14 => self.rng.below(50),
            14..18 => self.rng.below(2_000),
            18 => self.rng.below(9_000),
            _ => self.rng.below(45_000),
        };
        self.model.now = self.now;
        if self.rng.chance(70) {
            self.sweep();
        }
    }

    /// Ends everything that is due.
    fn sweep(&mut self) {
        let mut budget = u32::MAX;
        while let Some(op) = self.part.next_due(self.now, &mut budget) {
            let Op::Expire { slot, lsn, .. } = op else { panic!("{op:?}") };
            let hold = self.by_slot[&(slot, lsn)];
            self.model.expire(hold);
            let applied = self.apply(op);
            assert_eq!(applied.answer.code, Code::Done);
            self.check();
        }
        let (model, now) = (&self.model, self.now);
        self.live.retain(|&hold| matches!(model.holds[hold].stage, Stage::Held | Stage::Paying));
        for &hold in &self.live {
            assert!(model.holds[hold].expires + TICK_MS > now, "more than a tick late");
        }
    }

    fn claim_seats(&mut self, user: UserId, row: usize) {
        let length = self.lengths[row];
        let first = self.rng.below(length);
        let most = u64::from(self.model.rules.max_per_claim);
        let count = if self.rng.chance(3) { self.rng.below(64) } else { self.rng.between(1, most.min(4)) };
        let mut mask = if count == 0 { 0 } else { u64::MAX >> (64 - count) };
        if self.rng.chance(15) {
            mask &= self.rng.next();
        }
        let mut seats = Seats::new(first as u8, mask).unwrap_or(Seats { mask: 1, first: first as u8 });
        if !self.rng.chance(5) {
            let inside: Vec<u8> = seats.places().filter(|&p| u64::from(p) < length).collect();
            seats = Seats::from_places(&inside).unwrap_or(Seats::NONE);
        }
        let places: Vec<u8> = seats.places().collect();
        let said = self.model.claim_seats(self.next_id(), user, row, &places);
        let command = Command::ClaimSeats(ClaimSeats { row: place_of(row), seats });
        self.compare(user, command, said);
    }

    fn compare(&mut self, user: UserId, command: Command, said: Result<Said, Said>) -> Answer {
        let (_, answer) = self.request(user, command);
        self.agree(user, &said.unwrap_or_else(|refusal| refusal), &answer);
        self.check();
        answer
    }

    fn count(&mut self) -> u8 {
        let most = u64::from(self.model.rules.max_per_claim);
        if self.rng.chance(2) { self.rng.below(40) as u8 } else { self.rng.between(1, most.min(6)) as u8 }
    }

    fn claim_best(&mut self, user: UserId, row: usize) {
        let count = self.count();
        let (accessible, or_join) = (self.rng.chance(15), self.rng.chance(40));
        let category = if self.rng.chance(20) { Some(self.rng.below(3) as u8) } else { None };
        let said = self.model.claim_best(self.next_id(), user, row, (count, accessible, category, or_join));
        let category = category.unwrap_or(ANY_CATEGORY);
        let claim = ClaimBest { row: place_of(row), count, category, accessible, or_join };
        self.compare(user, Command::ClaimBest(claim), said);
    }

    fn join(&mut self, user: UserId, row: usize) {
        let (count, accessible) = (self.count(), self.rng.chance(20));
        let adjacency = self.rng.pick(&[Adjacency::Required, Adjacency::Preferred, Adjacency::Any]);
        let said = self.model.join(self.next_id(), user, row, count, accessible);
        let join = Join { place: place_of(row), count, adjacency, accessible };
        self.compare(user, Command::Join(join), said);
    }

    fn leave(&mut self, user: UserId, row: usize) {
        let said = self.model.leave(user, row);
        self.compare(user, Command::Leave(Leave { place: place_of(row) }), said);
    }

    /// Something with a fence that was given out, mostly a recent one.
    fn use_fence(&mut self) {
        let n = self.fences.len() as u64;
        if n == 0 {
            return;
        }
        if !self.profile.selling_out && self.rng.chance(25) {
            self.cancel_some();
            return;
        }
        let back = if self.rng.chance(90) { self.rng.below(n.min(20)) } else { self.rng.below(n.min(300)) };
        let (hold, fence) = self.fences[(n - 1 - back) as usize];
        let place = place_of(self.model.holds[hold].row);
        let proof = Proof { place, fence };
        let booking = if self.profile.selling_out { 60 } else { 25 };
        let action = if self.rng.chance(booking) { 2 } else { self.rng.below(5) };
        let command = match action {
            0 => Command::Extend(proof),
            1 => Command::BeginPayment(proof),
            2 => Command::Book(proof),
            3 => Command::Release(proof),
            _ if self.profile.selling_out && self.rng.chance(80) => return,
            _ => Command::Cancel(proof),
        };
        if self.rng.chance(3) {
            self.refused_as(fence.user + 1, command, Some(flags::FOREIGN));
            return;
        }
        let shown = fence.expires_ms;
        let m = &mut self.model;
        let said = match action {
            0 => m.extend(hold, shown),
            1 => m.pay(hold, shown),
            2 => m.book(hold, shown),
            3 => m.release(hold, shown),
            _ => m.cancel(hold, shown),
        };
        let over = matches!(m.holds[hold].stage, Stage::Released | Stage::Expired | Stage::Cancelled);
        if let (Err(refusal), true) = (&said, over) {
            // Once another hold has the slot, only the fence's own expiry tells how this one ended.
            let (_, answer) = self.request(fence.user, command);
            let by_time = if self.now >= shown { Code::Expired } else { Code::AlreadyReleased };
            let exact = refusal.code;
            assert!(answer.code == exact || answer.code == by_time, "{answer:?}, not {exact:?}");
            self.check();
            return;
        }
        self.compare(fence.user, command, said);
    }

    /// Cancels a booking, so that the event does not sell out.
    fn cancel_some(&mut self) {
        let is_booked = |&(hold, fence): &(usize, Fence)| {
            let h = &self.model.holds[hold];
            h.stage == Stage::Booked && h.expires == fence.expires_ms
        };
        let booked: Vec<(usize, Fence)> =
            self.fences.iter().rev().take(300).copied().filter(is_booked).collect();
        if booked.is_empty() {
            return;
        }
        let (hold, fence) = self.rng.pick(&booked);
        let proof = Proof { place: place_of(self.model.holds[hold].row), fence };
        let said = self.model.cancel(hold, fence.expires_ms);
        self.compare(fence.user, Command::Cancel(proof), said);
    }

    /// Shows a fence that must be refused and change nothing.
    fn refused_as(&mut self, user: UserId, command: Command, why: Option<u8>) {
        let (_, answer) = self.request(user, command);
        assert!(answer.code.is_refusal(), "{command:?}: {answer:?}");
        if let Some(why) = why {
            assert_eq!((answer.code, answer.flags), (Code::Fenced, why));
        }
        self.check();
    }

    /// Flips one bit of a good fence: refused, whatever the field and whatever is asked.
    fn forge(&mut self) {
        let n = self.fences.len() as u64;
        if n == 0 {
            return;
        }
        let (hold, good) = self.fences[(n - 1 - self.rng.below(n.min(12))) as usize];
        for field in 0..7 {
            let (mut fence, mut place) = (good, place_of(self.model.holds[hold].row));
            let bit = self.rng.below(64);
            let mut user = good.user;
            match field {
                0 => fence.user ^= 1 << bit,
                1 => fence.expires_ms ^= 1 << bit,
                2 => fence.lsn ^= 1 << bit,
                3 => fence.nonce ^= 1 << bit,
                4 => fence.slot ^= 1 << (bit % 32),
                5 => fence.epoch ^= 1 << (bit % 32),
                _ => {
                    place.row ^= 1;
                    user = good.user;
                }
            }
            if field < 6 && self.fences.contains(&(hold, fence)) {
                continue; // By chance another fence of this hold.
            }
            let proof = Proof { place, fence };
            let command = match self.rng.below(5) {
                0 => Command::Extend(proof),
                1 => Command::BeginPayment(proof),
                2 => Command::Book(proof),
                3 => Command::Release(proof),
                _ => Command::Cancel(proof),
            };
            self.refused_as(user, command, None);
        }
    }

    /// The same request again, or its id with another content.
    fn repeat(&mut self) {
        if self.recent.is_empty() {
            return;
        }
        let at = self.rng.below(self.recent.len() as u64) as usize;
        let (request, answer) = self.recent[at];
        let applied = self.apply(Op::Request(request));
        let repeated = Answer { flags: answer.flags | flags::REPEATED, ..answer };
        assert_eq!((applied.answer, applied.recorded), (repeated, false));
        self.check();
        let other = Request { user: request.user + 1, ..request };
        let applied = self.apply(Op::Request(other));
        assert_eq!((applied.answer.code, applied.recorded), (Code::IdReused, false));
        let ahead = Request { id: request.id + (1_000_000_u128 << 80), ..request };
        let applied = self.apply(Op::Request(ahead));
        assert_eq!((applied.answer.code, applied.recorded), (Code::BadRequestId, false));
        if self.log.len() > 4096 {
            let ancient = Request { id: (u128::from(START) << 80) | 1, ..request };
            let applied = self.apply(Op::Request(ancient));
            assert_eq!((applied.answer.code, applied.recorded), (Code::TooOld, false));
        }
        self.check();
    }

    fn block(&mut self, row: usize) {
        let first = self.rng.below(self.lengths[row] + 2).min(255) as u8;
        let seats = Seats::new(first, self.rng.below(8) + 1).unwrap_or(Seats { mask: 1, first });
        let blocked = self.rng.chance(40);
        let places: Vec<u8> = seats.places().collect();
        let said = self.model.block(row, &places, blocked);
        let applied = self.apply(Op::Block { row: place_of(row), seats, blocked });
        self.agree(0, &said, &applied.answer);
        self.check();
    }

    fn set_state(&mut self) {
        let states = [EventState::Draft, EventState::Open, EventState::Paused];
        let state = if self.rng.chance(60) { EventState::Open } else { self.rng.pick(&states) };
        self.change_state(state);
    }

    pub(crate) fn change_state(&mut self, state: EventState) {
        let code = self.model.set_state(state);
        let applied = self.apply(Op::SetEventState { event: EVENT, state });
        assert_eq!(applied.answer.code, code);
        self.check();
    }

    /// One step of archiving, with the model's word for it.
    fn archive(&mut self, step: ArchiveStep) {
        let code = self.model.archive(step);
        let applied = self.apply(Op::Archive { event: EVENT, step });
        assert_eq!(applied.answer.code, code, "{step:?}");
        self.cov.code(code);
        self.check();
    }

    /// Nothing runs any more: what is read out is what the model has, then all of it is gone, and old requests
    /// still have their answers.
    fn go_cold(&mut self) {
        self.archive(ArchiveStep::Begin);
        self.reload();
        // Nothing about it can be asked for while it is read.
        let row = place_of(0);
        let (_, answer) = self.request(1, Command::Leave(Leave { place: row }));
        assert_eq!(answer.code, Code::Closed);
        self.part.confirm(0, u64::MAX);
        let read = self.part.read_out(EVENT, true).expect("it is known");
        assert!(!read.running, "something is under way");
        let whole = ColdEvent::new(EVENT, 1, self.now, vec![read.clone()]);
        let bytes = whole.to_bytes().expect("small");
        let view = ColdView::check(&bytes).expect("what was written is read");
        for (row, state) in view.section(0) {
            let sets = [state.free, state.booked, state.blocked];
            assert_eq!(sets, self.model.sets(usize::from(row)), "row {row}");
        }
        assert_eq!(view.section(0).count(), self.lengths.len());
        let mut expected: Vec<(UserId, u16, Vec<u8>)> = Vec::new();
        for hold in self.model.holds.iter().filter(|hold| hold.stage == Stage::Booked) {
            expected.push((hold.user, hold.row as u16, hold.seats.clone()));
        }
        let found = view.bookings(None).map(|it| (it.user, it.row, it.parts[0].seats.places().collect()));
        let mut found: Vec<(UserId, u16, Vec<u8>)> = found.collect();
        expected.sort_unstable();
        found.sort_unstable();
        assert_eq!(found, expected);
        for user in 0..8 {
            let of_user = expected.iter().filter(|(of, _, _)| *of == user).count();
            assert_eq!(view.bookings(Some(user)).len(), of_user);
        }
        assert_eq!(view.part(0).map(|part| (part.rows, part.bookings)), Some((whole.rows, whole.bookings)));
        let code = self.model.archive(ArchiveStep::End);
        assert_eq!(self.apply(Op::Archive { event: EVENT, step: ArchiveStep::End }).answer.code, code);
        assert_eq!((self.part.holds(), self.part.rows().count()), (0, 0), "it has left memory");
        self.reload();
        let (_, answer) = self.request(1, Command::Leave(Leave { place: row }));
        assert_eq!(answer.code, Code::Closed);
        let (request, answer) = self.recent[0];
        let again = self.apply(Op::Request(request)).answer;
        assert_eq!(again, Answer { flags: answer.flags | flags::REPEATED, ..answer });
        let open = Op::SetEventState { event: EVENT, state: EventState::Open };
        assert_eq!(self.apply(open).answer.code, Code::BadTransition);
        // Timers may outlive the holds they were for.
        let mut budget = u32::MAX;
        assert_eq!(self.part.next_due(self.now + 4_000_000, &mut budget), None);
    }

    /// Places that are not there, and expiries that are not due.
    fn strange(&mut self, user: UserId) {
        let rows = self.lengths.len() as u16;
        let places = [
            (RowRef::new(EVENT + 1, 0, 0), Code::UnknownEvent),
            (RowRef::new(u32::MAX, 0, 0), Code::UnknownEvent),
            (RowRef::new(EVENT, 1, 0), Code::UnknownSection),
            (RowRef::new(EVENT, 0, rows), Code::UnknownRow),
        ];
        let (place, code) = self.rng.pick(&places);
        let (_, answer) = self.request(user, Command::Leave(Leave { place }));
        assert_eq!(answer.code, code);
        let Some(&hold) = self.live.last() else { return };
        let h = &self.model.holds[hold];
        let &(_, fence) = self.fences.iter().rev().find(|(of, _)| *of == hold).unwrap();
        if matches!(h.stage, Stage::Held | Stage::Paying) && h.expires > self.now {
            let early = Op::Expire { event: EVENT, slot: fence.slot, lsn: fence.lsn };
            assert_eq!(self.apply(early).answer.code, Code::Fenced);
        }
        let other = Op::Expire { event: EVENT, slot: fence.slot, lsn: fence.lsn + 1 };
        assert_eq!(self.apply(other).answer.code, Code::Fenced);
        self.check();
    }

    /// Ends the sale, lets everything run out, and looks whether anything is left.
    pub(crate) fn finish(&mut self) {
        self.archive(ArchiveStep::Begin);
        self.change_state(EventState::Closed);
        self.archive(ArchiveStep::End);
        self.archive(ArchiveStep::Begin);
        self.archive(ArchiveStep::Undo);
        self.claim_best(1, 0);
        self.join(2, 0);
        self.change_state(EventState::Open);
        self.now += 4_000_000;
        self.model.now = self.now;
        while !self.post.is_empty() {
            self.deliver();
        }
        self.now += 4_000_000;
        self.model.now = self.now;
        self.sweep();
        while !self.post.is_empty() {
            self.deliver();
        }
        let booked = self.model.holds.iter().filter(|hold| hold.stage == Stage::Booked);
        assert_eq!(self.part.holds(), booked.count() as u64, "a hold leaked");
        assert_eq!(self.part.waiting(), 0);
        self.go_cold();
        assert_eq!(self.part.state_hash(), self.echo.state_hash());
        let mut replayed = Partition::new(0, 1, limits());
        let mut out = Effects::default();
        for (now, op) in &self.log {
            replayed.apply(*now, op, &mut out);
            out.clear();
        }
        assert_eq!(replayed.state_hash(), self.part.state_hash(), "replay went another way");
    }
}
