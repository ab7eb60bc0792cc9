//! A crowd at an event over several partitions: random operations, and what users see checked at once.

use super::ledger::{Ledger, Standing};
use super::rng::Rng;
use super::venue::{EVENT, Venue, Wish, has};
use super::world::{Happened, World};
use frontrow_shard::*;
use std::collections::{HashMap, HashSet, VecDeque};

/// What kind of crowd to try.
#[derive(Clone, Copy)]
pub(crate) struct Crowd {
    pub(crate) partitions: u16,
    pub(crate) users: u64,
    pub(crate) longest_row: u64,
    pub(crate) cap: bool,
    pub(crate) cancels: bool,
    /// Crashes in ten thousand steps.
    pub(crate) crashes: u64,
    /// How many of a hundred steps deliver letters.
    pub(crate) post: u64,
    pub(crate) limits: Limits,
    /// Whether the log's records are kept.
    pub(crate) records: bool,
}

pub(crate) struct Market {
    pub(crate) world: World,
    pub(crate) venue: Venue,
    pub(crate) ledger: Ledger,
    pub(crate) crowd: Crowd,
    pub(crate) rng: Rng,
    /// Who waits where, as last seen, with how often each was passed.
    pub(crate) queues: HashMap<RowRef, Vec<(UserId, u32)>>,
    /// Whom a section has told that it waits.
    answered: HashSet<(RowRef, UserId)>,
    owned: Vec<Vec<RowRef>>,
    /// State changes that partitions have yet to make.
    todo: VecDeque<(PartitionId, EventState)>,
    pub(crate) state: EventState,
    pub(crate) states: Vec<EventState>,
}

impl Market {
    pub(crate) fn new(seed: u64, crowd: Crowd) -> Self {
        let mut rng = Rng::new(seed);
        let max_per_claim = rng.pick(&[2, 4, 8]);
        let rules = EventRules {
            hold_ms: rng.between(10_000, 40_000) as u32,
            offer_ms: rng.between(10_000, 40_000) as u32,
            pay_ms: rng.between(10_000, 40_000) as u32,
            max_extensions: rng.below(3) as u8,
            max_per_claim,
            max_per_user: if crowd.cap { u16::from(max_per_claim) + rng.below(6) as u16 } else { 0 },
            max_passes: rng.pick(&[0, 1, 3, 10_000]),
            fairness: Fairness::Fifo,
            orphans: rng.pick(&[OrphanRule::Off, OrphanRule::Prefer, OrphanRule::Strict]),
        };
        let venue = Venue::new(&mut rng, rules, crowd.longest_row);
        let mut world = World::new(crowd.partitions, crowd.limits, seed, crowd.records);
        for at in 0..crowd.partitions {
            let spec = venue.spec_for(at, crowd.partitions);
            world.apply(at, Op::CreateEvent(Box::new(spec)));
            world.apply(at, Op::SetEventState { event: EVENT, state: EventState::Open });
        }
        let places: Vec<RowRef> = venue.rows().map(|(row, _)| row).chain(venue.homes()).collect();
        let owner = |at| places.iter().copied().filter(|p| p.partition(crowd.partitions) == at).collect();
        Self {
            owned: (0..crowd.partitions).map(owner).collect(),
            queues: places.iter().map(|&place| (place, Vec::new())).collect(),
            ledger: Ledger { cap: u32::from(rules.max_per_user), ..Ledger::default() },
            world,
            venue,
            crowd,
            rng,
            answered: HashSet::new(),
            todo: VecDeque::new(),
            state: EventState::Open,
            states: vec![EventState::Open; usize::from(crowd.partitions)],
        }
    }

    // ---- what happens -----------------------------------------------------------------------

    pub(crate) fn step(&mut self) {
        if self.rng.below(10_000) < self.crowd.crashes {
            if self.rng.chance(40) {
                self.world.crash_all();
            } else {
                self.world.crash(self.rng.below(u64::from(self.crowd.partitions)) as u16);
            }
        }
        if self.rng.chance(self.crowd.post) {
            self.deliver();
            return;
        }
        let user = self.rng.between(1, self.crowd.users);
        match self.rng.below(100) {
            0..8 => self.advance(),
            8..22 => self.claim_row(user),
            22..40 => self.claim_section(user),
            40..54 => self.join(user),
            54..60 => self.leave(user),
            60..90 => self.use_grant(),
            90..94 => self.block(),
            94 => self.misroute(user),
            95 if self.rng.chance(20) => self.plan_state(),
            _ => {
                self.next_state();
            }
        }
    }

    /// Brings one letter. Whether there was one.
    pub(crate) fn deliver(&mut self) -> bool {
        let happened = self.world.deliver_one();
        happened.map(|it| self.observe(&it)).is_some()
    }

    fn advance(&mut self) {
        self.world.now += match self.rng.below(10) {
            0..6 => self.rng.below(100),
            6..9 => self.rng.below(3_000),
            _ => self.rng.below(15_000),
        };
        for at in 0..self.crowd.partitions {
            if self.rng.chance(80) {
                self.sweep(at);
            }
        }
    }

    pub(crate) fn sweep(&mut self, at: PartitionId) {
        while let Some(op) = self.world.due(at) {
            let happened = self.world.apply(at, op);
            assert_eq!(happened.applied.answer.code, Code::Done);
            self.observe(&happened);
        }
        for index in self.ledger.live().collect::<Vec<_>>() {
            let grant = &self.ledger.grants[index];
            if grant.standing == Standing::Held && grant.place.partition(self.crowd.partitions) == at {
                assert!(grant.fence.expires_ms + TICK_MS > self.world.now, "late: {grant:?}");
            }
        }
    }

    fn place(&mut self, section: bool) -> RowRef {
        if section {
            let sections = self.venue.sections.len() as u64;
            return RowRef::new(EVENT, self.rng.below(sections) as u16, RowRef::SECTION);
        }
        let rows: Vec<RowRef> = self.venue.rows().map(|(row, _)| row).collect();
        self.rng.pick(&rows)
    }

    fn claim_row(&mut self, user: UserId) {
        let row = self.place(false);
        let wish = self.venue.wish(user);
        let command = if self.rng.chance(50) {
            let first = self.rng.below(self.venue.spec(row).categories.len() as u64) as u8;
            let seats = Seats::new(first, u64::MAX >> (64 - u32::from(wish.count)));
            Command::ClaimSeats(ClaimSeats { row, seats: seats.unwrap_or(Seats { mask: 1, first }) })
        } else {
            Command::ClaimBest(ClaimBest {
                row,
                count: wish.count,
                category: ANY_CATEGORY,
                accessible: wish.accessible,
                or_join: self.rng.chance(30),
            })
        };
        self.request(user, command);
    }

    fn claim_section(&mut self, user: UserId) {
        let section = self.place(true);
        let wish = self.venue.wish(user);
        let rows = self.venue.sections[usize::from(section.section)].len() as u64;
        let mut candidates = [NO_ROW; CANDIDATES];
        let how_many = self.rng.below(rows + 1).min(CANDIDATES as u64) as usize;
        let first = self.rng.below(rows);
        for (i, slot) in candidates.iter_mut().take(how_many).enumerate() {
            *slot = ((first + i as u64) % rows) as u16;
        }
        if self.rng.chance(2) {
            candidates[0] = rows as u16 + 3;
        }
        let claim = ClaimSection {
            section,
            count: wish.count,
            category: if self.rng.chance(10) { 1 } else { ANY_CATEGORY },
            adjacency: wish.adjacency,
            accessible: wish.accessible,
            or_join: self.rng.chance(40),
            hopeless: self.rng.chance(20),
            candidates,
        };
        self.request(user, Command::ClaimSection(claim));
    }

    fn join(&mut self, user: UserId) {
        let section = self.rng.chance(60);
        let place = self.place(section);
        let Wish { count, accessible, adjacency } = self.venue.wish(user);
        self.request(user, Command::Join(Join { place, count, adjacency, accessible }));
    }

    fn leave(&mut self, user: UserId) {
        let section = self.rng.chance(60);
        let place = self.place(section);
        let waiting = self.world.waiting_at(place);
        let user = if waiting.is_empty() || self.rng.chance(20) { user } else { self.rng.pick(&waiting) };
        self.request(user, Command::Leave(Leave { place }));
    }

    fn use_grant(&mut self) {
        let n = self.ledger.grants.len() as u64;
        if n == 0 {
            return;
        }
        let index = (n - 1 - self.rng.below(n.min(30))) as usize;
        let grant = self.ledger.grants[index].clone();
        let proof = Proof { place: grant.place, fence: grant.fence };
        let command = match self.rng.below(10) {
            0..2 => Command::Extend(proof),
            2..4 => Command::BeginPayment(proof),
            4..7 => Command::Book(proof),
            7..9 => Command::Release(proof),
            _ if self.crowd.cancels => Command::Cancel(proof),
            _ => return,
        };
        self.request(grant.user, command);
    }

    fn block(&mut self) {
        let row = self.place(false);
        let first = self.rng.below(self.venue.spec(row).categories.len() as u64) as u8;
        let seats = Seats::new(first, 1 + self.rng.below(3)).unwrap_or(Seats { mask: 1, first });
        let blocked = self.rng.chance(40);
        let at = row.partition(self.crowd.partitions);
        let happened = self.world.apply(at, Op::Block { row, seats, blocked });
        let answer = happened.applied.answer;
        if answer.code == Code::Done {
            for seat in answer.seats.places() {
                let change = if blocked {
                    assert!(!self.ledger.owner.contains_key(&(row, seat)), "blocked while held");
                    self.ledger.blocked.insert((row, seat))
                } else {
                    self.ledger.blocked.remove(&(row, seat))
                };
                assert!(change);
            }
        }
        self.observe(&happened);
    }

    /// A request at a partition that does not own its place.
    fn misroute(&mut self, user: UserId) {
        let section = self.rng.chance(50);
        let place = self.place(section);
        let at = (place.partition(self.crowd.partitions) + 1) % self.crowd.partitions;
        if self.crowd.partitions > 1 {
            let id = (u128::from(self.world.now) << 80) | (1 << 70) | u128::from(self.rng.next());
            let request = Request { id, user, command: Command::Leave(Leave { place }) };
            let happened = self.world.apply(at, Op::Request(request));
            assert_eq!((happened.applied.answer.code, happened.applied.recorded), (Code::NotOwner, false));
        }
    }

    fn plan_state(&mut self) {
        self.state = if self.state == EventState::Open { EventState::Paused } else { EventState::Open };
        self.todo.extend((0..self.crowd.partitions).map(|at| (at, self.state)));
    }

    /// One partition makes the next change of state. Whether there was one to make.
    pub(crate) fn next_state(&mut self) -> bool {
        let Some((at, state)) = self.todo.pop_front() else { return false };
        let happened = self.world.apply(at, Op::SetEventState { event: EVENT, state });
        assert_eq!(happened.applied.answer.code, Code::Done);
        self.states[usize::from(at)] = state;
        self.observe(&happened);
        true
    }

    /// Has all partitions go to `state`.
    pub(crate) fn set_state(&mut self, state: EventState) {
        while self.next_state() {}
        self.state = state;
        self.todo.extend((0..self.crowd.partitions).map(|at| (at, state)));
        while self.next_state() {}
    }

    pub(crate) fn request(&mut self, user: UserId, command: Command) -> Code {
        let jumped = self.would_jump(user, &command);
        let happened = self.world.request(user, command);
        let code = happened.applied.answer.code;
        let granted = matches!(code, Code::Granted | Code::Pending);
        assert!(!(granted && jumped), "{command:?} went before somebody who waits");
        self.observe(&happened);
        code
    }

    /// Whether a direct claim must not be granted: somebody waits for the section, or would fit in the row.
    fn would_jump(&self, user: UserId, command: &Command) -> bool {
        let row = command.place();
        if !matches!(command, Command::ClaimSeats(_) | Command::ClaimBest(_)) {
            return false;
        }
        let for_section = self.world.waiting_at(row.section_of());
        let section_waits =
            for_section.iter().any(|&other| self.answered.contains(&(row.section_of(), other)));
        let free = self.world.state(row).free;
        let fits = |who: &UserId| self.venue.fits(row, self.venue.wish(*who), &|_, seat| has(&free, seat));
        section_waits || self.world.waiting_at(row).iter().any(|who| *who != user && fits(who))
    }

    // ---- what is seen -----------------------------------------------------------------------

    pub(crate) fn observe(&mut self, happened: &Happened) {
        if let Op::Request(request) = &happened.op {
            self.answered_now(request, &happened.applied);
        }
        for (decided, parts) in happened.answers.iter().zip(&happened.parts) {
            let request = self.ledger.pending.remove(&decided.request).expect("it was pending");
            assert_eq!((request.user, request.command.place()), (decided.user, decided.place));
            assert_ne!(decided.answer.code, Code::Pending);
            self.told(&request, &decided.answer, parts);
        }
        // Within one operation what ended comes first, whatever the order of telling.
        let (over, rest): (Vec<&Push>, Vec<_>) =
            happened.pushes.iter().partition(|push| push.kind == PushKind::Expired);
        for push in over.into_iter().chain(rest) {
            self.pushed(push);
        }
        self.watch_queues(happened);
    }

    fn answered_now(&mut self, request: &Request, applied: &Applied) {
        let answer = &applied.answer;
        if answer.code == Code::Pending {
            self.ledger.pending.insert(request.id, *request);
            return;
        }
        self.told(request, answer, &Parts::default());
    }

    fn told(&mut self, request: &Request, answer: &Answer, parts: &Parts) {
        let place = request.command.place();
        let fence = match &request.command {
            Command::Extend(p)
            | Command::BeginPayment(p)
            | Command::Book(p)
            | Command::Release(p)
            | Command::Cancel(p) => Some(p.fence),
            _ => None,
        };
        let about = || fence.map(|fence| self.ledger.find(place, fence.slot, fence.lsn)).unwrap();
        match answer.code {
            Code::Granted => {
                let wish = self.venue.wish(request.user);
                let grant = self.ledger.granted(request.user, place, answer, parts).clone();
                match &request.command {
                    Command::ClaimSeats(claim) => assert_eq!(answer.seats, claim.seats),
                    _ => self.check_grant(&grant.seats, wish, place.is_section()),
                }
            }
            Code::Extended | Code::Paying => {
                let index = about();
                self.ledger.grants[index].fence = Fence::of(request.user, answer);
            }
            Code::Booked => {
                let index = about();
                assert_eq!(self.ledger.grants[index].standing, Standing::Held);
                assert!(self.ledger.grants[index].fence.expires_ms > self.world.now);
                self.ledger.grants[index].standing = Standing::Booked;
            }
            Code::Released | Code::Cancelled => {
                let index = about();
                self.ledger.ended(index);
            }
            Code::Queued => {
                // Somebody whose first join is not answered yet is told a position when joining again, but
                // the rows need not know of it yet.
                let joining = |it: &Request| it.user == request.user && it.command.place() == place;
                if !self.ledger.pending.values().any(joining) {
                    self.answered.insert((place, request.user));
                }
            }
            Code::Left => {
                self.answered.remove(&(place, request.user));
            }
            _ => assert!(answer.code.is_refusal(), "{answer:?}"),
        }
    }

    fn check_grant(&self, seats: &[(RowRef, u8)], wish: Wish, section: bool) {
        assert_eq!(seats.len(), usize::from(wish.count), "all or nothing");
        let accessible = seats.iter().filter(|(row, seat)| self.venue.spec(*row).accessible.contains(seat));
        assert_eq!(accessible.count() > 0, wish.accessible, "{seats:?}");
        if wish.accessible || wish.adjacency == Adjacency::Required || !section {
            for pair in seats.windows(2) {
                let ((row, a), (other, b)) = (pair[0], pair[1]);
                assert!(
                    row == other && b == a + 1 && !self.venue.spec(row).aisles_after.contains(&a),
                    "{pair:?}"
                );
            }
        }
    }

    fn pushed(&mut self, push: &Push) {
        self.answered.remove(&(push.place, push.user));
        let wish = self.venue.wish(push.user);
        match push.kind {
            PushKind::Offered => {
                let seats =
                    self.ledger.granted(push.user, push.place, &push.answer, &push.parts).seats.clone();
                self.check_grant(&seats, wish, push.place.is_section());
                assert!(push.answer.flags & flags::FROM_QUEUE != 0);
            }
            PushKind::Expired => {
                let index = self.ledger.find(push.place, push.answer.slot, push.answer.lsn);
                assert!(self.ledger.grants[index].fence.expires_ms <= self.world.now, "early");
                self.ledger.ended(index);
            }
            PushKind::Unfillable => {
                // A cancellation may have made it possible again by the time the section's home says so.
                if !push.place.is_section() || !self.crowd.cancels {
                    assert!(!self.possible(push.place, wish), "{push:?} could still fit");
                }
            }
            PushKind::Closed => assert_eq!(self.state, EventState::Closed),
            PushKind::HoldCap => assert!(self.crowd.cap),
        }
    }

    /// Whether a wish could come free, if nothing is cancelled.
    pub(crate) fn possible(&self, place: RowRef, wish: Wish) -> bool {
        self.venue.fits(place, wish, &|row, seat| !has(&self.world.state(row).booked, seat))
    }

    /// Follows the queues of the partition where something happened.
    fn watch_queues(&mut self, happened: &Happened) {
        for place in self.owned[usize::from(happened.at)].clone() {
            let now = self.world.waiting_at(place);
            let before = &self.queues[&place];
            let came = self.passed_by_newcomer(place, happened, &now);
            if came == 0 && before.iter().map(|(user, _)| *user).eq(now.iter().copied()) {
                continue;
            }
            let gone_unserved = |user: UserId| -> bool {
                let told = happened.pushes.iter().any(|push| {
                    let out = matches!(push.kind, PushKind::Unfillable | PushKind::Closed)
                        || (push.kind == PushKind::HoldCap && place.is_section());
                    push.user == user && push.place == place && out
                });
                let refused = happened.answers.iter().any(|it| it.user == user && it.place == place);
                let left = matches!(&happened.op, Op::Request(r)
                    if r.user == user && matches!(r.command, Command::Leave(l) if l.place == place));
                told || left || (refused && place.is_section())
            };
            let served: Vec<(usize, UserId)> = before
                .iter()
                .enumerate()
                .filter(|(_, (user, _))| !now.contains(user) && !gone_unserved(*user))
                .map(|(at, (user, _))| (at, *user))
                .collect();
            let class = |user: UserId| {
                let wish = self.venue.wish(user);
                let spread = place.is_section() && wish.adjacency != Adjacency::Required;
                (wish.count, wish.accessible, spread && !wish.accessible)
            };
            let mut after = Vec::with_capacity(now.len());
            for &user in &now {
                let Some(at) = before.iter().position(|(old, _)| *old == user) else {
                    after.push((user, 0));
                    continue;
                };
                let passed_by: Vec<_> = served.iter().filter(|(other, _)| *other > at).collect();
                for (_, other) in &passed_by {
                    assert_ne!(class(*other), class(user), "{other} went before {user}, who wants the same");
                }
                let passes = before[at].1 + passed_by.len() as u32 + came;
                let bound = u32::from(self.venue.rules.max_passes);
                assert!(passes <= bound, "{user} at {place:?} was passed {passes} times of {bound}");
                after.push((user, passes));
            }
            self.queues.insert(place, after);
        }
        self.check_hand_off(happened.at);
    }

    /// How often those who wait at a row are passed by a request that did not wait.
    fn passed_by_newcomer(&self, place: RowRef, happened: &Happened, now: &[UserId]) -> u32 {
        let Op::Request(request) = &happened.op else { return 0 };
        let granted = matches!(happened.applied.answer.code, Code::Granted | Code::Pending);
        let direct =
            matches!(request.command, Command::ClaimSeats(_) | Command::ClaimBest(_) | Command::Join(_));
        let waits = now.contains(&request.user);
        let old = self.queues[&place].iter().any(|(user, _)| *user == request.user);
        let joined = matches!(request.command, Command::Join(_)) && (waits || old);
        let came = granted && direct && !joined && !place.is_section() && request.command.place() == place;
        u32::from(came)
    }

    /// Nobody waits at a row for what is free there: there is no moment for a stranger to take it.
    fn check_hand_off(&self, at: PartitionId) {
        if self.states[usize::from(at)] != EventState::Open {
            return;
        }
        for &row in self.owned[usize::from(at)].iter().filter(|place| !place.is_section()) {
            let waiting = &self.queues[&row];
            let reach =
                if self.venue.rules.max_passes >= 10_000 { waiting.len() } else { waiting.len().min(1) };
            if reach == 0 {
                continue;
            }
            let free = self.world.state(row).free;
            for (user, _) in &waiting[..reach] {
                let fits = self.venue.fits(row, self.venue.wish(*user), &|_, seat| has(&free, seat));
                assert!(!fits, "{user} waits at {row:?} for what is free");
            }
        }
    }
}
