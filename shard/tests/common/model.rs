//! The rules of single rows, as a person would keep them with pencil and paper: lists and linear scans.
//! Written from the rules, not from the code it is compared with.

use frontrow_shard::{
    ArchiveStep, Code, EventRules, EventState, Fairness, OrphanRule, PushKind, RowSpec, UserId, flags,
};
use std::collections::{BTreeMap, VecDeque};

/// What holds a seat.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Seat {
    Free,
    Held(usize),
    Booked(usize),
    Blocked,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Stage {
    Charging,
    Held,
    Paying,
    Booked,
    Released,
    Expired,
    Cancelled,
    Undone,
}

#[derive(Clone, Debug)]
pub(crate) struct Hold {
    pub(crate) user: UserId,
    pub(crate) row: usize,
    pub(crate) seats: Vec<u8>,
    pub(crate) stage: Stage,
    pub(crate) expires: u64,
    pub(crate) extensions: u8,
    pub(crate) flags: u8,
    from_queue: bool,
    /// The request that waits for the account's word.
    request: Option<u128>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) user: UserId,
    pub(crate) count: u8,
    pub(crate) accessible: bool,
    pub(crate) passes: u32,
}

pub(crate) struct Row {
    spec: RowSpec,
    pub(crate) seats: Vec<Seat>,
    pub(crate) queue: Vec<Party>,
}

/// An answer or a push, as far as the rules fix it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: Code,
    pub(crate) seats: Vec<u8>,
    pub(crate) expires: u64,
    pub(crate) flags: u8,
    pub(crate) position: u32,
    /// The hold it is about, if it gives a fence.
    pub(crate) hold: Option<usize>,
}

impl Said {
    pub(crate) fn plain(code: Code) -> Self {
        Self { code, seats: Vec::new(), expires: 0, flags: 0, position: 0, hold: None }
    }
    fn naming(code: Code, seats: &[u8]) -> Self {
        Self { seats: seats.to_vec(), ..Self::plain(code) }
    }
}

enum Letter {
    Charge(usize),
    Charged(usize, bool),
    Credit(UserId, u16),
}

pub(crate) struct Model {
    pub(crate) rules: EventRules,
    pub(crate) state: EventState,
    pub(crate) now: u64,
    pub(crate) rows: Vec<Row>,
    pub(crate) holds: Vec<Hold>,
    letters: VecDeque<Letter>,
    pub(crate) accounts: BTreeMap<UserId, u16>,
    /// What is pushed by the present operation.
    pub(crate) pushes: Vec<(UserId, usize, PushKind, Said)>,
    /// What is answered late by the present operation.
    pub(crate) decided: Vec<(u128, Said)>,
}

type Verdict = Result<Said, Said>;

impl Model {
    pub(crate) fn new(rules: EventRules, specs: &[RowSpec]) -> Self {
        let row = |spec: &RowSpec| Row {
            spec: spec.clone(),
            seats: vec![Seat::Free; spec.categories.len()],
            queue: Vec::new(),
        };
        Self {
            rules,
            state: EventState::Draft,
            now: 0,
            rows: specs.iter().map(row).collect(),
            holds: Vec::new(),
            letters: VecDeque::new(),
            accounts: BTreeMap::new(),
            pushes: Vec::new(),
            decided: Vec::new(),
        }
    }

    pub(crate) fn letters(&self) -> usize {
        self.letters.len()
    }

    fn selling(&self) -> Result<(), Said> {
        match self.state {
            EventState::Open => Ok(()),
            EventState::Draft => Err(Said::plain(Code::NotOnSale)),
            EventState::Paused => Err(Said::plain(Code::Paused)),
            EventState::Closed | EventState::Archiving | EventState::Archived => {
                Err(Said::plain(Code::Closed))
            }
        }
    }

    fn check_count(&self, count: u8) -> Result<(), Said> {
        match count {
            0 | 33.. => Err(Said::plain(Code::BadCount)),
            n if n > self.rules.max_per_claim => Err(Said::plain(Code::ClaimTooLarge)),
            _ => Ok(()),
        }
    }

    fn strict(&self, row: usize) -> bool {
        self.rows[row].queue.first().is_some_and(|oldest| oldest.passes >= u32::from(self.rules.max_passes))
    }

    pub(crate) fn claim_seats(&mut self, id: u128, user: UserId, row: usize, seats: &[u8]) -> Verdict {
        self.selling()?;
        self.check_count(seats.len() as u8)?;
        let r = &self.rows[row];
        let beyond: Vec<u8> = seats.iter().copied().filter(|&s| usize::from(s) >= r.seats.len()).collect();
        if !beyond.is_empty() {
            return Err(Said::naming(Code::UnknownSeat, &beyond));
        }
        let taken: Vec<u8> =
            seats.iter().copied().filter(|&s| r.seats[usize::from(s)] != Seat::Free).collect();
        if !taken.is_empty() {
            return Err(Said::naming(r.why_taken(&taken), &taken));
        }
        if self.strict(row) {
            return Err(Said::naming(Code::QueuedFirst, seats));
        }
        let mut waived = false;
        if self.rules.orphans == OrphanRule::Strict && r.leaves_orphan(seats) {
            if r.runs(seats.len(), false, None).iter().any(|run| !r.leaves_orphan(run)) {
                return Err(Said::naming(Code::LeavesOrphan, seats));
            }
            waived = true;
        }
        let together = seats.windows(2).all(|pair| pair[1] == pair[0] + 1 && r.joined(pair[0]));
        Ok(self.take(id, user, row, seats.to_vec(), together, waived))
    }

    pub(crate) fn claim_best(
        &mut self,
        id: u128,
        user: UserId,
        row: usize,
        (count, accessible, category, or_join): (u8, bool, Option<u8>, bool),
    ) -> Verdict {
        self.selling()?;
        self.check_count(count)?;
        let code = if self.strict(row) {
            Code::QueuedFirst
        } else {
            match self.rows[row].best(usize::from(count), accessible, category, self.rules.orphans) {
                Some((seats, waived)) => return Ok(self.take(id, user, row, seats, true, waived)),
                None if self.rows[row].possible(count, accessible) => Code::NotEnoughTogether,
                None => Code::SoldOut,
            }
        };
        if or_join && code != Code::SoldOut {
            return self.join(id, user, row, count, accessible);
        }
        Err(Said::plain(code))
    }

    fn take(
        &mut self,
        id: u128,
        user: UserId,
        row: usize,
        seats: Vec<u8>,
        together: bool,
        waived: bool,
    ) -> Said {
        for party in &mut self.rows[row].queue {
            party.passes += 1;
        }
        let hold = self.hold(user, row, seats, together, waived, false);
        self.start(hold, Some(id))
    }

    fn hold(
        &mut self,
        user: UserId,
        row: usize,
        seats: Vec<u8>,
        together: bool,
        waived: bool,
        queue: bool,
    ) -> usize {
        let index = self.holds.len();
        for &seat in &seats {
            assert_eq!(self.rows[row].seats[usize::from(seat)], Seat::Free);
            self.rows[row].seats[usize::from(seat)] = Seat::Held(index);
        }
        let mark = |on, flag| if on { flag } else { 0 };
        self.holds.push(Hold {
            user,
            row,
            seats,
            stage: Stage::Charging,
            expires: 0,
            extensions: 0,
            flags: mark(together, flags::TOGETHER)
                | mark(waived, flags::ORPHAN_WAIVED)
                | mark(queue, flags::FROM_QUEUE),
            from_queue: queue,
            request: None,
        });
        index
    }

    fn start(&mut self, hold: usize, request: Option<u128>) -> Said {
        if self.rules.max_per_user > 0 {
            self.holds[hold].request = request;
            self.letters.push_back(Letter::Charge(hold));
            return Said::plain(Code::Pending);
        }
        self.grant(hold)
    }

    fn grant(&mut self, hold: usize) -> Said {
        let h = &mut self.holds[hold];
        let duration = if h.from_queue { self.rules.offer_ms } else { self.rules.hold_ms };
        h.stage = Stage::Held;
        h.expires = self.now + u64::from(duration);
        self.fence(hold, Code::Granted)
    }

    fn fence(&self, hold: usize, code: Code) -> Said {
        let h = &self.holds[hold];
        Said {
            code,
            seats: h.seats.clone(),
            expires: h.expires,
            flags: h.flags,
            position: 0,
            hold: Some(hold),
        }
    }

    /// One letter between the partition and itself.
    pub(crate) fn deliver(&mut self) {
        match self.letters.pop_front().expect("as many letters as the partition has") {
            Letter::Charge(hold) => {
                let h = &self.holds[hold];
                let used = self.accounts.entry(h.user).or_insert(0);
                let granted = *used + h.seats.len() as u16 <= self.rules.max_per_user;
                if granted {
                    *used += h.seats.len() as u16;
                }
                self.letters.push_back(Letter::Charged(hold, granted));
            }
            Letter::Credit(user, count) => *self.accounts.get_mut(&user).unwrap() -= count,
            Letter::Charged(hold, granted) => self.charged(hold, granted),
        }
    }

    fn charged(&mut self, hold: usize, granted: bool) {
        let h = self.holds[hold].clone();
        if granted {
            let said = self.grant(hold);
            match h.request {
                Some(id) => self.decided.push((id, said)),
                None => self.pushes.push((h.user, h.row, PushKind::Offered, said)),
            }
            return;
        }
        self.holds[hold].stage = Stage::Undone;
        let said = Said::naming(Code::HoldCap, &h.seats);
        match h.request {
            Some(id) => self.decided.push((id, said)),
            None => self.pushes.push((h.user, h.row, PushKind::HoldCap, said)),
        }
        self.free(h.row, &h.seats);
    }

    fn free(&mut self, row: usize, seats: &[u8]) {
        for &seat in seats {
            self.rows[row].seats[usize::from(seat)] = Seat::Free;
        }
        self.settle(row, None);
    }

    /// Serves whoever waits and fits. The grant of the party of `joining`, if it was served.
    fn settle(&mut self, row: usize, joining: Option<(UserId, u128)>) -> Option<Said> {
        let mut served = None;
        while self.state == EventState::Open {
            let r = &self.rows[row];
            let rule = self.rules.orphans;
            let strict = self.strict(row);
            let reach = if strict { 1 } else { r.queue.len() };
            let fits = |p: &Party| r.best(usize::from(p.count), p.accessible, None, rule);
            let found = r.queue[..reach].iter().enumerate().find_map(|(i, p)| Some((i, *p, fits(p)?)));
            let Some((at, party, (seats, waived))) = found else { break };
            self.rows[row].queue.remove(at);
            if at > 0 {
                for passed in &mut self.rows[row].queue {
                    passed.passes += 1;
                }
            }
            let hold = self.hold(party.user, row, seats, true, waived, true);
            let mine = joining.filter(|(user, _)| *user == party.user);
            let said = self.start(hold, mine.map(|(_, id)| id));
            if mine.is_some() {
                served = Some(said);
            } else if said.code == Code::Granted {
                self.pushes.push((party.user, row, PushKind::Offered, said));
            }
        }
        served
    }

    pub(crate) fn join(
        &mut self,
        id: u128,
        user: UserId,
        row: usize,
        count: u8,
        accessible: bool,
    ) -> Verdict {
        self.selling()?;
        self.check_count(count)?;
        if self.rules.fairness == Fairness::FreeForAll {
            return Err(Said::plain(Code::NoQueue));
        }
        let queue = &mut self.rows[row].queue;
        if let Some(at) = queue.iter().position(|p| p.user == user) {
            return Ok(Said { position: at as u32 + 1, ..Said::plain(Code::Queued) });
        }
        if !self.rows[row].possible(count, accessible) {
            return Err(Said::plain(Code::SoldOut));
        }
        self.rows[row].queue.push(Party { user, count, accessible, passes: 0 });
        let position = self.rows[row].queue.len() as u32;
        let served = self.settle(row, Some((user, id)));
        Ok(served.unwrap_or(Said { position, ..Said::plain(Code::Queued) }))
    }

    pub(crate) fn leave(&mut self, user: UserId, row: usize) -> Verdict {
        let at = self.rows[row].queue.iter().position(|p| p.user == user);
        let at = at.ok_or(Said::plain(Code::NotQueued))?;
        self.rows[row].queue.remove(at);
        self.settle(row, None);
        Ok(Said::plain(Code::Left))
    }

    /// Whether `shown` (the expiry on the fence) proves the hold now.
    fn prove(&self, hold: usize, shown: u64) -> Result<(), Said> {
        let h = &self.holds[hold];
        Err(Said::plain(match h.stage {
            Stage::Held | Stage::Paying if shown != h.expires => {
                return Err(Said { flags: flags::STALE, ..Said::plain(Code::Fenced) });
            }
            Stage::Held | Stage::Paying if self.now >= h.expires => Code::Expired,
            Stage::Held | Stage::Paying => return Ok(()),
            Stage::Booked => Code::AlreadyBooked,
            Stage::Released => Code::AlreadyReleased,
            Stage::Expired => Code::Expired,
            Stage::Cancelled => Code::AlreadyCancelled,
            Stage::Charging | Stage::Undone => unreachable!("nobody has a fence of it"),
        }))
    }

    pub(crate) fn extend(&mut self, hold: usize, shown: u64) -> Verdict {
        self.prove(hold, shown)?;
        let h = &mut self.holds[hold];
        if h.stage == Stage::Paying {
            return Err(Said::plain(Code::AlreadyPaying));
        }
        if h.extensions >= self.rules.max_extensions {
            return Err(Said::plain(Code::ExtendLimit));
        }
        h.extensions += 1;
        h.expires = (self.now + u64::from(self.rules.hold_ms)).max(h.expires + 1);
        Ok(self.fence(hold, Code::Extended))
    }

    pub(crate) fn pay(&mut self, hold: usize, shown: u64) -> Verdict {
        self.prove(hold, shown)?;
        let h = &mut self.holds[hold];
        if h.stage == Stage::Paying {
            return Err(Said::plain(Code::AlreadyPaying));
        }
        h.stage = Stage::Paying;
        h.expires = (self.now + u64::from(self.rules.pay_ms)).max(h.expires + 1);
        Ok(self.fence(hold, Code::Paying))
    }

    pub(crate) fn book(&mut self, hold: usize, shown: u64) -> Verdict {
        self.prove(hold, shown)?;
        let h = &mut self.holds[hold];
        h.stage = Stage::Booked;
        for &seat in &h.seats {
            self.rows[h.row].seats[usize::from(seat)] = Seat::Booked(hold);
        }
        self.drop_impossible(self.holds[hold].row);
        Ok(Said { expires: 0, ..self.fence(hold, Code::Booked) })
    }

    /// Removes who can never fit any more, from the largest down.
    fn drop_impossible(&mut self, row: usize) {
        let mut removed = false;
        loop {
            let r = &self.rows[row];
            let lost = r.queue.iter().enumerate().filter(|(_, p)| !r.possible(p.count, p.accessible));
            let worst = lost.max_by_key(|(at, p)| (p.count, p.accessible, std::cmp::Reverse(*at)));
            let Some((at, party)) = worst.map(|(at, p)| (at, *p)) else { break };
            self.rows[row].queue.remove(at);
            self.pushes.push((party.user, row, PushKind::Unfillable, Said::plain(Code::SoldOut)));
            removed = true;
        }
        if removed {
            self.settle(row, None);
        }
    }

    pub(crate) fn release(&mut self, hold: usize, shown: u64) -> Verdict {
        self.prove(hold, shown)?;
        Ok(self.end(hold, Stage::Released, Code::Released))
    }

    pub(crate) fn cancel(&mut self, hold: usize, shown: u64) -> Verdict {
        match self.prove(hold, shown) {
            Ok(()) => Err(Said::plain(Code::NotBooked)),
            Err(said)
                if said.code == Code::AlreadyBooked && [0, self.holds[hold].expires].contains(&shown) =>
            {
                Ok(self.end(hold, Stage::Cancelled, Code::Cancelled))
            }
            Err(said) if said.code == Code::AlreadyBooked => {
                Err(Said { flags: flags::STALE, ..Said::plain(Code::Fenced) })
            }
            Err(said) => Err(said),
        }
    }

    fn end(&mut self, hold: usize, stage: Stage, code: Code) -> Said {
        let h = self.holds[hold].clone();
        self.holds[hold].stage = stage;
        if self.rules.max_per_user > 0 {
            self.letters.push_back(Letter::Credit(h.user, h.seats.len() as u16));
        }
        self.free(h.row, &h.seats);
        Said::naming(code, &h.seats)
    }

    /// The hold's time is over.
    pub(crate) fn expire(&mut self, hold: usize) {
        let h = self.holds[hold].clone();
        assert!(matches!(h.stage, Stage::Held | Stage::Paying) && h.expires <= self.now, "early: {h:?}");
        let gone = Said { hold: None, ..self.fence(hold, Code::Expired) };
        self.end(hold, Stage::Expired, Code::Done);
        self.pushes.push((h.user, h.row, PushKind::Expired, gone));
    }

    pub(crate) fn set_state(&mut self, state: EventState) -> Code {
        use EventState::{Closed, Draft, Open, Paused};
        match (self.state, state) {
            (a, b) if a == b => return Code::Done,
            (Draft | Paused, Open) | (Open, Paused) | (Draft | Open | Paused, Closed) => self.state = state,
            _ => return Code::BadTransition,
        }
        for row in 0..self.rows.len() {
            if state == Open {
                self.settle(row, None);
            } else if state == Closed {
                for party in std::mem::take(&mut self.rows[row].queue) {
                    self.pushes.push((party.user, row, PushKind::Closed, Said::plain(Code::Closed)));
                }
            }
        }
        Code::Done
    }

    pub(crate) fn archive(&mut self, step: ArchiveStep) -> Code {
        use EventState::{Archived, Archiving, Closed};
        let running = |hold: &Hold| matches!(hold.stage, Stage::Charging | Stage::Held | Stage::Paying);
        let running = self.holds.iter().any(running);
        self.state = match (step, self.state) {
            (ArchiveStep::Begin, Closed) | (ArchiveStep::End, Archiving) if running => {
                return Code::HoldsRunning;
            }
            (ArchiveStep::Begin, Closed) => Archiving,
            (ArchiveStep::Undo, Archiving) => Closed,
            (ArchiveStep::End, Archiving) => Archived,
            (ArchiveStep::Begin, same @ (Archiving | Archived))
            | (ArchiveStep::Undo, same @ Closed)
            | (ArchiveStep::End, same @ Archived) => same,
            _ => return Code::BadTransition,
        };
        Code::Done
    }

    pub(crate) fn block(&mut self, row: usize, seats: &[u8], blocked: bool) -> Said {
        let r = &mut self.rows[row];
        if !blocked {
            let known = |s: u8| r.seats.get(usize::from(s)) == Some(&Seat::Blocked);
            let back: Vec<u8> = seats.iter().copied().filter(|&s| known(s)).collect();
            self.free(row, &back);
            return Said::naming(Code::Done, &back);
        }
        let beyond: Vec<u8> = seats.iter().copied().filter(|&s| usize::from(s) >= r.seats.len()).collect();
        if !beyond.is_empty() {
            return Said::naming(Code::UnknownSeat, &beyond);
        }
        let taken: Vec<u8> =
            seats.iter().copied().filter(|&s| r.seats[usize::from(s)] != Seat::Free).collect();
        if taken.is_empty() {
            for &seat in seats {
                r.seats[usize::from(seat)] = Seat::Blocked;
            }
            return Said::naming(Code::Done, seats);
        }
        Said::naming(self.rows[row].why_taken(&taken), &taken)
    }

    /// Which seats of a row are free, booked and blocked, as bit sets.
    pub(crate) fn sets(&self, row: usize) -> [[u64; 4]; 3] {
        let mut sets = [[0; 4]; 3];
        for (place, seat) in self.rows[row].seats.iter().enumerate() {
            let set = match seat {
                Seat::Free => 0,
                Seat::Held(_) => continue,
                Seat::Booked(_) => 1,
                Seat::Blocked => 2,
            };
            sets[set][place / 64] |= 1_u64 << (place % 64);
        }
        sets
    }
}

impl Row {
    /// Whether the seats at `place` and the next one are neighbours.
    fn joined(&self, place: u8) -> bool {
        usize::from(place) + 1 < self.seats.len() && !self.spec.aisles_after.contains(&place)
    }

    fn is_accessible(&self, place: u8) -> bool {
        self.spec.accessible.contains(&place)
    }

    /// All runs of `count` free seats next to each other, lowest first, that fit the wish.
    fn runs(&self, count: usize, accessible: bool, category: Option<u8>) -> Vec<Vec<u8>> {
        let usable = |&place: &u8| {
            self.seats[usize::from(place)] == Seat::Free
                && (accessible || !self.is_accessible(place))
                && category.is_none_or(|wanted| self.spec.categories[usize::from(place)] == wanted)
        };
        self.windows(count, accessible, usable)
    }

    /// Whether so many seats together could ever come free, if nobody cancels a booking.
    fn possible(&self, count: u8, accessible: bool) -> bool {
        let unsold = |&place: &u8| {
            !matches!(self.seats[usize::from(place)], Seat::Booked(_))
                && (accessible || !self.is_accessible(place))
        };
        !self.windows(usize::from(count), accessible, unsold).is_empty()
    }

    fn why_taken(&self, taken: &[u8]) -> Code {
        let any = |is: fn(Seat) -> bool| taken.iter().any(|&s| is(self.seats[usize::from(s)]));
        if any(|seat| matches!(seat, Seat::Booked(_))) {
            Code::SeatBooked
        } else if any(|seat| seat == Seat::Blocked) {
            Code::SeatBlocked
        } else {
            Code::SeatHeld
        }
    }

    fn windows(&self, count: usize, accessible: bool, usable: impl Fn(&u8) -> bool) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        let mut run = 0;
        for end in 0..self.seats.len() {
            let place = end as u8;
            let follows = run > 0 && self.joined(place - 1);
            run = if !usable(&place) {
                0
            } else if follows {
                run + 1
            } else {
                1
            };
            if run >= count {
                let window: Vec<u8> = (end + 1 - count..=end).map(|p| p as u8).collect();
                if !accessible || window.iter().any(|&p| self.is_accessible(p)) {
                    found.push(window);
                }
            }
        }
        found
    }

    fn is_lonely(&self, place: u8, free: &impl Fn(u8) -> bool) -> bool {
        let left = place > 0 && self.joined(place - 1) && free(place - 1);
        let right = self.joined(place) && free(place + 1);
        free(place) && !left && !right
    }

    /// Whether taking `seats` leaves a single seat alone that was not alone before.
    fn leaves_orphan(&self, seats: &[u8]) -> bool {
        let before = |place: u8| self.seats[usize::from(place)] == Seat::Free;
        let after = |place: u8| before(place) && !seats.contains(&place);
        let near = seats.iter().flat_map(|&s| [s.checked_sub(1), s.checked_add(1)]).flatten();
        near.filter(|&p| usize::from(p) < self.seats.len())
            .any(|place| self.is_lonely(place, &after) && !self.is_lonely(place, &before))
    }

    /// The seats nearest the middle, and whether the orphan rule was waived.
    fn best(
        &self,
        count: usize,
        accessible: bool,
        category: Option<u8>,
        rule: OrphanRule,
    ) -> Option<(Vec<u8>, bool)> {
        let runs = self.runs(count, accessible, category);
        let tidy: Vec<Vec<u8>> = if rule == OrphanRule::Off {
            Vec::new()
        } else {
            runs.iter().filter(|run| !self.leaves_orphan(run)).cloned().collect()
        };
        let waived = rule != OrphanRule::Off && tidy.is_empty();
        let choice = if tidy.is_empty() { runs } else { tidy };
        let off_middle = |run: &Vec<u8>| (2 * usize::from(run[0]) + count).abs_diff(self.seats.len());
        choice.into_iter().min_by_key(|run| (off_middle(run), run[0])).map(|seats| (seats, waived))
    }
}
