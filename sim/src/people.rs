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
use std::cell::{Cell, RefCell};
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
struct Held {
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
    pub(crate) server: SocketAddr,
    pub(crate) hall: Rc<Hall>,
    pub(crate) history: Rc<RefCell<History>>,
    /// Nothing new is to be asked.
    pub(crate) closing: Rc<Cell<bool>>,
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
        }
    }

    /// Lives until nothing new is to be asked and everything asked has been answered.
    pub(crate) async fn live(mut self) {
        while !self.is_done() {
            self.pause(300).await;
            let now_s = Clock::wall_ms() / 1000;
            // Days, because clocks step.
            let token = minter().mint(self.user, now_s, 864_000);
            let Ok((mut line, welcome)) = Line::open(self.town.server, &token).await else { continue };
            let random = self.rng.next_u64();
            let ids = self.ids.get_or_insert_with(|| RequestIds::new(welcome.server_time_ms, random));
            ids.heard(welcome.server_time_ms);
            let _ = self.talk(&mut line).await;
        }
        self.town.home.set(self.town.home.get() + 1);
    }

    fn is_done(&self) -> bool {
        self.town.closing.get() && self.pending.is_none()
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
        self.town.history.borrow_mut().ask(id, command.place());
        line.send(&ClientMessage::Request { id, command }).await?;
        loop {
            match line.next().await? {
                Heard::Answer(reply) if reply.id == id => {
                    self.heard_time(reply.time_ms);
                    if reply.answer.code == Code::InProgress {
                        return Ok(());
                    }
                    self.answer(&reply, &command);
                    (self.pending, self.answered) = (None, Some((id, command)));
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

    fn heard_time(&mut self, time_ms: u64) {
        if let Some(ids) = &mut self.ids {
            ids.heard(time_ms);
        }
    }

    fn hold(&mut self, place: RowRef, answer: &Answer) {
        if !self.holds.iter().chain(&self.bookings).any(|held| held.is(place, answer)) {
            self.holds.push(Held { place, fence: Fence::of(self.user, answer) });
        }
    }

    fn offered(&mut self, place: RowRef, answer: &Answer, parts: &Parts) {
        self.town.history.borrow_mut().offered(self.user, place, answer, parts);
        self.waiting = self.waiting.filter(|at| *at != place);
        self.hold(place, answer);
    }

    fn news(&mut self, news: &News) {
        self.heard_time(news.time_ms);
        let (place, answer) = (news.place, &news.answer);
        match news.kind {
            NewsKind::Offered => self.offered(place, answer, &news.parts),
            NewsKind::Expired => {
                self.town.history.borrow_mut().expired(place, answer);
                self.holds.retain(|held| !held.is(place, answer));
            }
            NewsKind::Unfillable | NewsKind::Closed | NewsKind::HoldCap => {
                self.waiting = self.waiting.filter(|at| *at != place);
            }
            NewsKind::Position => {}
        }
    }

    fn answer(&mut self, reply: &Reply, command: &Command) {
        let (place, answer) = (reply.place, &reply.answer);
        let proof = proof_of(command).map(|proof| (proof.fence.lsn, proof.fence.slot));
        self.town.history.borrow_mut().answer(self.user, reply, proof);
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
        let count = 1 + self.rng.below(3) as u8;
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
