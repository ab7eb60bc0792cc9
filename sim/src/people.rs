//! A client that does everything a client can do, asks again until it is answered, and notes what it hears.

use crate::engine::Sim;
use crate::history::History;
use crate::line::{Heard, Line, Lost};
use crate::rng::Rng;
use crate::server::{Hall, minter};
use frontrow_engine::{Clock, Engine};
use frontrow_protocol::{ClientMessage, News, NewsKind, Reply, RequestIds};
use frontrow_shard::{
    ANY_CATEGORY, Adjacency, Answer, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Code, Command, Fence,
    Join, Leave, NO_ROW, Parts, Proof, RequestId, RowRef, Seats, UserId,
};
use std::cell::{Cell, RefCell, RefMut};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// Requests remembered to be made again.
const PAST: usize = 8;

/// The section that is claimed as a whole; the others are claimed by their rows.
pub(crate) const WHOLE_SECTION: u16 = 2;

/// A hold or a booking, with the proof of it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Held {
    place: RowRef,
    fence: Fence,
}

impl Held {
    fn is(&self, place: RowRef, answer: &Answer) -> bool {
        self.place == place && (self.fence.lsn, self.fence.slot) == (answer.lsn, answer.slot)
    }
}

/// What all people share.
#[derive(Clone)]
pub(crate) struct Town {
    /// Where the server is; first, where operators say it is.
    pub(crate) servers: Rc<RefCell<Vec<SocketAddr>>>,
    pub(crate) hall: Rc<Hall>,
    pub(crate) history: Rc<RefCell<History>>,
    /// Answers wait for a standby.
    pub(crate) waits: bool,
    /// Nothing new is to be asked.
    pub(crate) closing: Rc<Cell<bool>>,
    /// Fences that somebody might have seen.
    pub(crate) fences: Rc<RefCell<Vec<Held>>>,
    /// How many are done.
    pub(crate) home: Rc<Cell<usize>>,
}

pub(crate) struct Person {
    town: Town,
    user: UserId,
    rng: Rng,
    ids: Option<RequestIds>,
    pending: Option<(RequestId, Command)>,
    answered: Option<(RequestId, Command)>,
    holds: Vec<Held>,
    bookings: Vec<Held>,
    /// What was decided about holds and bookings lately.
    past: VecDeque<Command>,
    waiting: Option<RowRef>,
    /// What this connection heard of the server's time.
    times: Times,
    /// To be asked next.
    brink: Option<(RequestId, Command)>,
    /// The epoch of the server that is talked to.
    term: u32,
}

/// The server's time on one connection: it goes on, about as fast as everybody's.
#[derive(Debug, Default)]
struct Times {
    /// When the connection was begun, by the own clock.
    begun_ns: u64,
    /// What the server said first, and at most.
    first_ms: u64,
    last_ms: u64,
    /// When it said the last, by the own clock.
    heard_ns: u64,
}

impl Times {
    /// What is wrong with the time of an answer, if it is. One that waited for a standby may come late.
    fn heard(&mut self, time_ms: u64, waits: bool) -> Option<String> {
        self.heard_ns = Clock::monotonic_ns();
        if self.first_ms == 0 {
            (self.first_ms, self.last_ms) = (time_ms, time_ms);
        }
        let (first, last) = (self.first_ms, self.last_ms);
        self.last_ms = last.max(time_ms);
        let passed_ms = (self.heard_ns - self.begun_ns) / 1_000_000;
        let back = time_ms + 5_000 < last && !waits;
        let ahead = time_ms > first + passed_ms + passed_ms / 20 + 1_000;
        (back || ahead)
            .then(|| format!("the server said {first}, {last}, and after {passed_ms} ms {time_ms}"))
    }

    /// About what the server's clock shows.
    fn now_ms(&self) -> u64 {
        self.last_ms + (Clock::monotonic_ns() - self.heard_ns) / 1_000_000
    }
}

impl Person {
    pub(crate) fn new(town: Town, user: UserId, rng: Rng) -> Self {
        Self {
            town,
            user,
            rng,
            ids: None,
            pending: None,
            answered: None,
            holds: Vec::new(),
            bookings: Vec::new(),
            past: VecDeque::new(),
            waiting: None,
            times: Times::default(),
            brink: None,
            term: 0,
        }
    }

    /// Lives until nothing new is to be asked and everything asked has been answered.
    pub(crate) async fn live(mut self) {
        while !self.is_done() {
            self.pause(300).await;
            let now_s = Clock::wall_ms() / 1000;
            // Days, because clocks step.
            let token = minter().mint(self.user, now_s, 864_000);
            self.times = Times { begun_ns: Clock::monotonic_ns(), ..Times::default() };
            let server = self.server();
            let Ok((mut line, welcome)) = Line::open(server, &token).await else { continue };
            self.term = welcome.epoch;
            let random = self.rng.next_u64();
            let ids = self.ids.get_or_insert_with(|| RequestIds::new(welcome.server_time_ms, random));
            ids.heard(welcome.server_time_ms);
            self.heard_time(welcome.server_time_ms);
            let _ = self.talk(&mut line).await;
        }
        self.town.home.set(self.town.home.get() + 1);
    }

    /// Whom to ask: the primary, as operators say; now and then another node, as who has not heard of it would.
    fn server(&mut self) -> SocketAddr {
        let servers = self.town.servers.borrow();
        if servers.len() > 1 && self.rng.below(8) == 0 { *self.rng.pick(&servers) } else { servers[0] }
    }

    fn history(&self) -> RefMut<'_, History> {
        let mut history = self.town.history.borrow_mut();
        history.term = self.term;
        history
    }

    fn is_done(&self) -> bool {
        self.town.closing.get() && self.pending.is_none()
    }

    /// Now and then waits until a hold is all but over, or just over: what is asked next is about that.
    async fn wait_for_the_end(&mut self) {
        let now = self.times.now_ms();
        let soon = self.holds.iter().position(|held| (now..now + 3_000).contains(&held.fence.expires_ms));
        let Some(at) = soon.filter(|_| self.rng.below(3) == 0) else { return };
        let held = self.holds[at];
        let left = held.fence.expires_ms - now + self.rng.below(60);
        Sim::sleep(Duration::from_millis(left.saturating_sub(5))).await;
        let proof = Proof { place: held.place, fence: held.fence };
        if let Some(ids) = &mut self.ids {
            self.brink = Some((ids.next(), Command::Book(proof)));
        }
    }

    async fn pause(&mut self, most_ms: u64) {
        let ms = 1 + self.rng.below(most_ms);
        Sim::sleep(Duration::from_millis(ms)).await;
    }

    /// Asks and listens until the connection is lost, or it is time to try another.
    async fn talk(&mut self, line: &mut Line) -> Result<(), Lost> {
        if let Some(place) = self.waiting {
            self.where_am_i(line, place).await?;
        }
        while !self.is_done() {
            if self.pending.is_none() {
                let again = self.answered.filter(|_| self.rng.below(12) == 0);
                if again.is_none() {
                    self.wait_for_the_end().await;
                }
                let Some(next) = again.or_else(|| self.choose()) else {
                    if let Some(place) = self.waiting {
                        self.where_am_i(line, place).await?;
                    }
                    self.pause(800).await;
                    continue;
                };
                self.pending = Some(next);
            }
            self.ask(line).await?;
            line.content();
            if self.rng.below(40) == 0 {
                self.misuse(line).await?;
            }
            self.pause(400).await;
            if self.rng.below(60) == 0 {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Sends what is pending, and listens until it is answered or has to be asked again.
    async fn ask(&mut self, line: &mut Line) -> Result<(), Lost> {
        let Some((id, command)) = self.pending else { return Ok(()) };
        self.history().ask(id, self.user, &command);
        line.send(&ClientMessage::Request { id, command }).await?;
        loop {
            match line.next().await? {
                Heard::Answer(reply) if reply.id == id => {
                    self.heard_time(reply.time_ms);
                    if reply.answer.code == Code::InProgress {
                        return Ok(());
                    }
                    self.answer(&reply, &command);
                    // What was not decided is not remembered: the id is still free.
                    let undecided =
                        [Code::Full, Code::QueueFull, Code::NotOwner, Code::BadRequestId, Code::TooOld];
                    let decided = !undecided.contains(&reply.answer.code);
                    (self.pending, self.answered) = (None, decided.then_some((id, command)));
                    return Ok(());
                }
                Heard::News(news) => self.news(&news),
                Heard::Refused { fatal: true, .. } => return Err(Lost),
                Heard::Refused { id: of, code, retry_after_ms, .. } if of == id => {
                    assert!(code.retryable(), "{command:?} was refused for good: {}", code.name());
                    line.content();
                    self.pause(u64::from(retry_after_ms) + 20).await;
                    return Ok(());
                }
                _ => {}
            }
        }
    }

    /// Asks for the place in the queue, and for an offer that came while nobody listened.
    async fn where_am_i(&mut self, line: &mut Line, place: RowRef) -> Result<(), Lost> {
        let Some(id) = self.ids.as_mut().map(RequestIds::next) else { return Ok(()) };
        line.send(&ClientMessage::Status { id, place }).await?;
        loop {
            match line.next().await? {
                Heard::Answer(reply) if reply.id == id => {
                    self.heard_time(reply.time_ms);
                    self.history().status(self.user, place, &reply.answer);
                    match reply.answer.code {
                        Code::Granted => self.offered(reply.place, &reply.answer, &reply.parts),
                        Code::Queued => {}
                        _ => self.waiting = None,
                    }
                    line.content();
                    return Ok(());
                }
                Heard::News(news) => self.news(&news),
                Heard::Refused { fatal: true, .. } => return Err(Lost),
                Heard::Refused { id: of, .. } if of == id => return Ok(()),
                _ => {}
            }
        }
    }

    /// Uses the id of an answered request for something else at the same place.
    async fn misuse(&mut self, line: &mut Line) -> Result<(), Lost> {
        let Some((id, command)) = self.answered.filter(|(_, command)| proof_of(command).is_some()) else {
            return Ok(());
        };
        let command = Command::Leave(Leave { place: command.place() });
        line.send(&ClientMessage::Request { id, command }).await?;
        loop {
            match line.next().await? {
                Heard::Answer(reply) if reply.id == id => {
                    if !matches!(reply.answer.code, Code::IdReused | Code::TooOld) {
                        let why = format!("request {id:032x} was used twice: {}", reply.answer.code.name());
                        self.history().wrong("one answer", &why);
                    }
                    line.content();
                    return Ok(());
                }
                Heard::News(news) => self.news(&news),
                Heard::Refused { fatal: true, .. } => return Err(Lost),
                Heard::Refused { id: of, .. } if of == id => return Ok(()),
                _ => {}
            }
        }
    }

    fn heard_time(&mut self, time_ms: u64) {
        if let Some(why) = self.times.heard(time_ms, self.town.waits) {
            self.history().wrong("clock", &why);
        }
        if let Some(ids) = &mut self.ids {
            ids.heard(time_ms);
        }
    }

    fn hold(&mut self, place: RowRef, answer: &Answer) {
        if !self.holds.iter().chain(&self.bookings).any(|held| held.is(place, answer)) {
            let held = Held { place, fence: Fence::of(self.user, answer) };
            self.holds.push(held);
            self.town.fences.borrow_mut().push(held);
        }
    }

    fn offered(&mut self, place: RowRef, answer: &Answer, parts: &Parts) {
        self.history().offered(self.user, place, answer, parts);
        self.waiting = self.waiting.filter(|at| *at != place);
        self.hold(place, answer);
    }

    fn news(&mut self, news: &News) {
        self.heard_time(news.time_ms);
        let (place, answer) = (news.place, &news.answer);
        match news.kind {
            NewsKind::Offered => self.offered(place, answer, &news.parts),
            NewsKind::Expired => {
                self.history().expired(self.user, place, answer, news.time_ms);
                self.holds.retain(|held| !held.is(place, answer));
            }
            NewsKind::Unfillable | NewsKind::Closed | NewsKind::HoldCap => {
                self.history().left_queue(self.user, place, answer.lsn);
                self.waiting = self.waiting.filter(|at| *at != place);
            }
            NewsKind::Position => {}
        }
    }

    fn answer(&mut self, reply: &Reply, command: &Command) {
        let (place, answer) = (reply.place, &reply.answer);
        self.history().answer(self.user, reply, proof_of(command).as_ref());
        let repeated = answer.flags & frontrow_shard::flags::REPEATED != 0;
        // What it says may be long over; whoever heard it the first time has noted it.
        if repeated && self.answered.is_some_and(|(id, _)| id == reply.id) {
            return;
        }
        match answer.code {
            Code::Granted => self.hold(place, answer),
            Code::Queued => self.waiting = Some(place),
            Code::Left | Code::NotQueued => self.waiting = self.waiting.filter(|at| *at != place),
            _ => {}
        }
        let Some(proof) = proof_of(command) else { return };
        self.past.push_back(*command);
        if self.past.len() > PAST {
            self.past.pop_front();
        }
        let of_it = |held: &Held| {
            (held.place, held.fence.lsn, held.fence.slot) == (proof.place, proof.fence.lsn, proof.fence.slot)
        };
        match answer.code {
            Code::Extended | Code::Paying => {
                let user = self.user;
                let held = self.holds.iter_mut().filter(|held| of_it(held));
                held.for_each(|held| held.fence = Fence::of(user, answer));
            }
            Code::Booked => {
                self.holds.retain(|held| !of_it(held));
                self.bookings.push(Held { place, fence: Fence::of(self.user, answer) });
            }
            Code::AlreadyPaying | Code::ExtendLimit | Code::NotBooked => {}
            _ => {
                self.holds.retain(|held| !of_it(held));
                self.bookings.retain(|held| !of_it(held));
            }
        }
    }

    /// Something to ask; nothing now and then.
    fn choose(&mut self) -> Option<(RequestId, Command)> {
        if self.town.closing.get() {
            return None;
        }
        if let Some(next) = self.brink.take() {
            return Some(next);
        }
        let command = match self.rng.below(10) {
            0..=4 if !self.holds.is_empty() => self.about_a_hold(),
            5 if !self.bookings.is_empty() && self.rng.below(3) == 0 => {
                let held = *self.rng.pick(&self.bookings);
                Some(Command::Cancel(Proof { place: held.place, fence: held.fence }))
            }
            6 => self.waiting.filter(|_| self.rng.below(3) == 0).map(|place| Command::Leave(Leave { place })),
            // Under a new id, so that it is decided again: what is done is not done twice.
            7 if !self.past.is_empty() && self.rng.below(3) == 0 => {
                Some(self.past[self.rng.below(self.past.len() as u64) as usize])
            }
            7 => None,
            _ => Some(self.claim()),
        };
        Some((self.ids.as_mut()?.next(), command?))
    }

    fn about_a_hold(&mut self) -> Option<Command> {
        let held = *self.rng.pick(&self.holds);
        if self.rng.below(40) == 0 {
            let fences = self.town.fences.borrow();
            let other = *self.rng.pick(&fences);
            let proof = Proof { place: other.place, fence: other.fence };
            return Some(if self.rng.below(2) == 0 { Command::Book(proof) } else { Command::Release(proof) });
        }
        let mut proof = Proof { place: held.place, fence: held.fence };
        if self.rng.below(40) == 0 {
            proof.fence.nonce ^= 1;
        }
        match self.rng.below(10) {
            0..=1 => Some(Command::Extend(proof)),
            2..=3 => Some(Command::BeginPayment(proof)),
            4..=6 => Some(Command::Book(proof)),
            7..=8 => Some(Command::Release(proof)),
            _ => None,
        }
    }

    fn claim(&mut self) -> Command {
        let rows: Vec<RowRef> = self.town.hall.rows().filter(|row| row.section != WHOLE_SECTION).collect();
        let row = *self.rng.pick(&rows);
        let section = RowRef::new(row.event, WHOLE_SECTION, RowRef::SECTION);
        let count = (1 + self.rng.below(3) as u8).min(self.town.hall.seats);
        let (category, accessible, or_join) = (ANY_CATEGORY, false, self.rng.below(3) == 0);
        let adjacency = *self.rng.pick(&[Adjacency::Required, Adjacency::Preferred, Adjacency::Any]);
        match self.rng.below(10) {
            0..=3 => {
                let first = self.rng.below(u64::from(self.town.hall.seats - count + 1)) as u8;
                let seats = Seats::new(first, (1 << count) - 1).expect("within the row");
                Command::ClaimSeats(ClaimSeats { row, seats })
            }
            4..=5 => Command::ClaimBest(ClaimBest { row, count, category, accessible, or_join }),
            6..=7 => Command::ClaimSection(ClaimSection {
                section,
                count,
                category,
                adjacency,
                accessible,
                or_join,
                hopeless: false,
                candidates: [NO_ROW; CANDIDATES],
            }),
            8 => {
                let adjacency = Adjacency::Required;
                Command::Join(Join { place: row, count, adjacency, accessible })
            }
            _ => Command::Join(Join { place: section, count, adjacency, accessible }),
        }
    }
}

fn proof_of(command: &Command) -> Option<Proof> {
    match command {
        Command::Extend(proof)
        | Command::BeginPayment(proof)
        | Command::Book(proof)
        | Command::Release(proof)
        | Command::Cancel(proof) => Some(*proof),
        _ => None,
    }
}
