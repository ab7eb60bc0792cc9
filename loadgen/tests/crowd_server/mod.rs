//! A server in memory: the real rules over real partitions, simulated time, late and reordered answers, connections
//! that drop; and, on demand, one that lies.

#![allow(dead_code, reason = "each test uses its own part of it")]

use frontrow_loadgen::crowd::{
    Action, Carried, ConnectionId, Crowd, FinalSeat, Hall, Nanos, Outcome, SeatState, Tag,
};
use frontrow_protocol::{News, Reply, Topology};
use frontrow_shard::{
    Answer, CANDIDATES, Code, Command, Effects, EventRules, EventSpec, EventState, Letter, Limits, Millis,
    NO_ROW, Op, Partition, Parts, Request, RequestId, RowRef, RowSpec, Seats, UserId, mix,
};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};

pub(crate) const EVENT: u32 = 3;
pub(crate) const FIRST_USER: u64 = 1000;
const START_MS: Millis = 1_700_000_000_000;

/// Ways in which a server can be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    /// Grants named seats that another has.
    DoubleSale,
    /// Grants the seats next to those asked for.
    WrongSeat,
    /// Grants fewer seats than asked for.
    FewerSeats,
    /// Gives a token out twice.
    TokenReused,
    /// Answers a request twice.
    AnsweredTwice,
    /// Serves a queue from its end.
    LastFirst,
    /// Books what has run out.
    BookAfterExpiry,
    /// Says that a hold has run out before it has.
    EarlyExpiry,
    /// Refuses a good fence.
    RefusesOwner,
    /// Marks a new answer as a repetition.
    FalseRepetition,
    /// A fence that ends before its hold should.
    ShortFence,
    /// Books other seats than were held.
    BooksOthers,
}

/// What is to happen.
#[derive(Clone, Debug)]
enum Event {
    Arrives { connection: ConnectionId, generation: u32, tag: Tag, id: RequestId, ask: Ask },
    Answer { connection: ConnectionId, generation: u32, tag: Tag, reply: Box<Reply> },
    News { connection: ConnectionId, generation: u32, news: Box<News> },
    Connected(ConnectionId),
    Lost(ConnectionId),
}

#[derive(Clone, Copy, Debug)]
enum Ask {
    Command(Command),
    Status(RowRef),
}

struct Timed(Nanos, u64, Event);

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        (self.0, self.1) == (other.0, other.1)
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.0, self.1).cmp(&(other.0, other.1))
    }
}

/// Partitions, connections, and the crowds on them.
pub(crate) struct Simulation {
    pub(crate) now: Nanos,
    partitions: Vec<Partition>,
    letters: VecDeque<(u16, Letter)>,
    effects: Effects,
    crowds: Vec<Crowd>,
    agenda: BinaryHeap<Reverse<Timed>>,
    scheduled: u64,
    random: u64,
    /// Of each connection: whether it is open, and how often it was.
    lines: Vec<(bool, u32)>,
    /// Requests without an answer, by connection and tag.
    in_flight: HashMap<(ConnectionId, Tag), RequestId>,
    /// The ids of requests whose answers were lost.
    lost: HashMap<(ConnectionId, Tag), RequestId>,
    /// Who waits for a deferred answer.
    deferred: HashMap<RequestId, (ConnectionId, u32, Tag, RowRef)>,
    ids: u64,
    hall: Hall,
    pub(crate) lie: Option<Lie>,
    pub(crate) lies_told: u64,
    last_nonce: u64,
    rules: EventRules,
    /// Digest of all actions, in order.
    pub(crate) actions: u64,
    pub(crate) requests: u64,
    pub(crate) refused: u64,
    pub(crate) codes: HashMap<&'static str, u64>,
    /// Requests asked again.
    pub(crate) repeated: u64,
    /// Where rows are, and where connections lead, to see whether requests go there.
    pub(crate) routing: Option<(Topology, Vec<u16>)>,
    /// Claims of rows sent to the right core, and to another.
    pub(crate) routed: (u64, u64),
    buffer: Vec<Action>,
}

/// An event over partitions, open.
fn partitions(hall: &Hall, rules: EventRules, count: u16) -> Vec<Partition> {
    let sections = hall.sections() as u16;
    let rows = |section| hall.rows_of(section);
    let limits = Limits { requests: 1 << 18, ..Limits::default() };
    let build = |id| {
        let mut partition = Partition::new(id, count, limits);
        let mut out = Effects::default();
        let owned = |row: &RowSpec| RowRef::new(EVENT, row.section, row.row).partition(count) == id;
        let spec = |row: &frontrow_loadgen::crowd::HallRow| RowSpec {
            section: row.at.section,
            row: row.at.row,
            categories: vec![0; usize::from(row.places)],
            aisles_after: Vec::new(),
            accessible: Vec::new(),
        };
        let event = EventSpec {
            event: EVENT,
            rules,
            section_rows: (0..sections).map(|s| rows(s).len() as u16).collect(),
            section_seats: (0..sections).map(|s| rows(s).iter().map(|r| u32::from(r.places)).sum()).collect(),
            rows: hall.rows().iter().map(spec).filter(owned).collect(),
        };
        for op in [
            Op::Begin { epoch: 1, secret: 7 + u128::from(id) },
            Op::CreateEvent(Box::new(event)),
            Op::SetEventState { event: EVENT, state: EventState::Open },
        ] {
            partition.apply(START_MS, &op, &mut out);
        }
        partition
    };
    (0..count).map(build).collect()
}

impl Simulation {
    pub(crate) fn new(hall: &Hall, rules: EventRules, crowds: Vec<Crowd>, connections: u32) -> Self {
        Self {
            now: 0,
            partitions: partitions(hall, rules, 4),
            letters: VecDeque::new(),
            effects: Effects::default(),
            crowds,
            agenda: BinaryHeap::new(),
            scheduled: 0,
            random: 9,
            lines: vec![(false, 0); connections as usize],
            in_flight: HashMap::new(),
            lost: HashMap::new(),
            deferred: HashMap::new(),
            ids: 0,
            hall: hall.clone(),
            lie: None,
            lies_told: 0,
            last_nonce: 0,
            rules,
            actions: 0,
            requests: 0,
            refused: 0,
            codes: HashMap::new(),
            repeated: 0,
            routing: None,
            routed: (0, 0),
            buffer: Vec::new(),
        }
    }

    fn random(&mut self, below: u64) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.random) % below
    }

    fn server_ms(&self) -> Millis {
        START_MS + self.now / 1_000_000
    }

    /// Plays until `until`, or until everybody has gone home.
    pub(crate) fn run(&mut self, until: Nanos) {
        loop {
            let mut next = Nanos::MAX;
            for thread in 0..self.crowds.len() {
                let mut actions = std::mem::take(&mut self.buffer);
                if let Some(due) = self.crowds[thread].due(self.now, &mut actions) {
                    next = next.min(due.max(self.now + 1));
                }
                for action in actions.drain(..) {
                    self.act(&action);
                }
                self.buffer = actions;
            }
            if let Some(Reverse(timed)) = self.agenda.peek() {
                next = next.min(timed.0.max(self.now));
            }
            if self.crowds.iter().all(Carried::is_done) {
                return;
            }
            if next > until {
                self.now = until;
                return;
            }
            self.now = next;
            self.expire();
            while self.agenda.peek().is_some_and(|Reverse(timed)| timed.0 <= self.now) {
                let Some(Reverse(Timed(_, _, event))) = self.agenda.pop() else { break };
                self.happen(event);
            }
        }
    }

    /// Nobody comes any more; who is there finishes, within a minute.
    pub(crate) fn wind_down(&mut self) {
        let now = self.now;
        for crowd in &mut self.crowds {
            crowd.wind_down(now);
        }
        self.run(now + 60_000_000_000);
    }

    pub(crate) fn crowds(self) -> Vec<Crowd> {
        self.crowds
    }

    /// What the crowds have not told the verifier yet, they tell it now.
    pub(crate) fn hand_over(&mut self) {
        self.crowds.iter_mut().for_each(Crowd::hand_over);
    }

    pub(crate) fn under_way(&self) -> usize {
        self.crowds.iter().map(Crowd::under_way).sum()
    }

    fn later(&mut self, event: Event) {
        // 0.1 to 3 ms each way, so that answers overtake each other.
        let at = self.now + 100_000 + self.random(2_900_000);
        self.at(at, event);
    }

    fn at(&mut self, at: Nanos, event: Event) {
        self.scheduled += 1;
        self.agenda.push(Reverse(Timed(at, self.scheduled, event)));
    }

    fn crowd_of(&mut self, connection: ConnectionId) -> &mut Crowd {
        let threads = self.crowds.len();
        &mut self.crowds[connection as usize % threads]
    }

    fn act(&mut self, action: &Action) {
        for byte in format!("{action:?}").bytes() {
            self.actions = (self.actions ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        match *action {
            Action::Connect(connection) => {
                // One attempt in twenty fails.
                let event =
                    if self.random(20) == 0 { Event::Lost(connection) } else { Event::Connected(connection) };
                self.later(event);
            }
            Action::Disconnect { connection, .. } => self.hang_up(connection),
            Action::Request { connection, tag, command, repeats, .. } => {
                if let (Some((topology, cores)), Command::ClaimBest(claim)) = (&self.routing, command) {
                    let right = topology.core_of(claim.row) == Some(cores[connection as usize]);
                    self.routed.0 += u64::from(right);
                    self.routed.1 += u64::from(!right);
                }
                let lost = self.lost.remove(&(connection, tag));
                assert_eq!(
                    repeats,
                    lost.is_some(),
                    "what was lost, and nothing else, is asked again as such"
                );
                self.repeated += u64::from(repeats);
                let id = lost.unwrap_or_else(|| self.new_id());
                self.submit(connection, tag, id, Ask::Command(command));
            }
            Action::Status { connection, tag, place, .. } => {
                self.lost.remove(&(connection, tag));
                let id = self.new_id();
                self.submit(connection, tag, id, Ask::Status(place));
            }
        }
    }

    fn new_id(&mut self) -> RequestId {
        self.ids += 1;
        (RequestId::from(self.server_ms()) << 80) | RequestId::from(self.ids)
    }

    fn submit(&mut self, connection: ConnectionId, tag: Tag, id: RequestId, ask: Ask) {
        let (open, generation) = self.lines[connection as usize];
        assert!(open, "nobody asks on a connection that is not open");
        self.requests += 1;
        let before = self.in_flight.insert((connection, tag), id);
        assert_eq!(before, None, "a tag is used once at a time");
        self.later(Event::Arrives { connection, generation, tag, id, ask });
    }

    /// The connection ends: answers under way are lost, requests under way may or may not be done.
    fn hang_up(&mut self, connection: ConnectionId) {
        self.lines[connection as usize].0 = false;
        self.lines[connection as usize].1 += 1;
        let mut tags: Vec<Tag> =
            self.in_flight.keys().filter(|(at, _)| *at == connection).map(|(_, tag)| *tag).collect();
        tags.sort_unstable();
        let now = self.now;
        for tag in tags {
            if let Some(id) = self.in_flight.remove(&(connection, tag)) {
                self.lost.insert((connection, tag), id);
            }
            self.crowd_of(connection).outcome(tag, Outcome::Unknown, now);
        }
        self.crowd_of(connection).lost(connection, now);
    }

    fn is_live(&self, connection: ConnectionId, generation: u32) -> bool {
        self.lines[connection as usize] == (true, generation)
    }

    fn happen(&mut self, event: Event) {
        let now = self.now;
        match event {
            Event::Connected(connection) => {
                self.lines[connection as usize].0 = true;
                let server_ms = self.server_ms();
                self.crowd_of(connection).connected(connection, now, server_ms);
            }
            Event::Lost(connection) => self.crowd_of(connection).lost(connection, now),
            Event::Arrives { connection, generation, tag, id, ask } => {
                // What was under way when the connection dropped got through in half of the cases.
                if self.is_live(connection, generation) || self.random(2) == 0 {
                    self.decide(connection, generation, tag, id, ask);
                }
            }
            Event::Answer { connection, generation, tag, reply } => {
                if self.is_live(connection, generation) {
                    self.in_flight.remove(&(connection, tag));
                    *self.codes.entry(reply.answer.code.name()).or_default() += 1;
                    self.refused += u64::from(reply.answer.code.is_refusal());
                    self.crowd_of(connection).outcome(tag, Outcome::Answer(&reply), now);
                    if self.lie == Some(Lie::AnsweredTwice) && self.random(50) == 0 {
                        self.lies_told += 1;
                        self.crowd_of(connection).outcome(tag, Outcome::Answer(&reply), now);
                    }
                }
            }
            Event::News { connection, generation, news } => {
                if self.is_live(connection, generation) {
                    self.crowd_of(connection).news(connection, &news, now);
                }
            }
        }
    }

    fn decide(&mut self, connection: ConnectionId, generation: u32, tag: Tag, id: RequestId, ask: Ask) {
        let user = FIRST_USER + u64::from(connection);
        let (place, answer, parts) = match ask {
            Ask::Status(place) => {
                let owner = &self.partitions[usize::from(place.partition(4))];
                (place, owner.status(place, user), owner.offer_parts(place, user))
            }
            Ask::Command(mut command) => {
                if let Command::ClaimSection(claim) = &mut command {
                    claim.candidates = self.candidates(claim.section, claim.count);
                }
                let place = command.place();
                let at = place.partition(4);
                let op = Op::Request(Request { id, user, command });
                let answer = self.apply(at, &op);
                if answer.code == Code::Pending {
                    self.deferred.insert(id, (connection, generation, tag, place));
                    return self.deliver();
                }
                let parts = self.partitions[usize::from(at)].parts_of(id).unwrap_or_default();
                (place, answer, parts)
            }
        };
        let parts = if answer.parts > 0 { parts } else { Parts::default() };
        let reply = Reply { id, time_ms: self.server_ms(), place, answer, parts, durable: answer.lsn };
        let reply = self.twist(&ask, user, reply);
        self.later(Event::Answer { connection, generation, tag, reply: Box::new(reply) });
        self.deliver();
    }

    /// Rows of a section that look as if they could serve a claim.
    fn candidates(&self, section: RowRef, count: u8) -> [u16; CANDIDATES] {
        let mut rows = [NO_ROW; CANDIDATES];
        let fits = |row: &&frontrow_loadgen::crowd::HallRow| {
            let supply = self.partitions[usize::from(row.at.partition(4))].supply(row.at);
            supply.is_some_and(|supply| supply.run >= u16::from(count))
        };
        for (slot, row) in rows.iter_mut().zip(self.hall.rows_of(section.section).iter().filter(fits)) {
            *slot = row.at.row;
        }
        rows
    }

    fn apply(&mut self, at: u16, op: &Op) -> Answer {
        let now = self.server_ms();
        let applied = self.partitions[usize::from(at)].apply(now, op, &mut self.effects);
        let letters = std::mem::take(&mut self.effects.letters);
        self.letters.extend(letters.into_iter().map(|letter| (at, letter)));
        for decided in std::mem::take(&mut self.effects.answers) {
            let Some((connection, generation, tag, place)) = self.deferred.remove(&decided.request) else {
                continue;
            };
            let parts = self.partitions[usize::from(at)].parts_of(decided.request).unwrap_or_default();
            let parts = if decided.answer.parts > 0 { parts } else { Parts::default() };
            let (id, answer) = (decided.request, decided.answer);
            let reply = Reply { id, time_ms: now, place, answer, parts, durable: answer.lsn };
            self.later(Event::Answer { connection, generation, tag, reply: Box::new(reply) });
        }
        for push in std::mem::take(&mut self.effects.pushes) {
            let connection = (push.user - FIRST_USER) as ConnectionId;
            let (open, generation) = self.lines[connection as usize];
            if open {
                let news = Box::new(News::of(&push, now));
                self.later(Event::News { connection, generation, news });
            }
        }
        self.effects.clear();
        applied.answer
    }

    fn deliver(&mut self) {
        while let Some((from, letter)) = self.letters.pop_front() {
            let op = Op::Deliver { from, seq: letter.seq, mail: letter.mail };
            self.apply(letter.to, &op);
            self.partitions[usize::from(from)].confirm(letter.to, letter.seq);
        }
    }

    fn expire(&mut self) {
        for at in 0..4 {
            let now = self.server_ms();
            while let Some(op) = self.partitions[at].next_due(now, &mut 100_000) {
                self.apply(at as u16, &op);
            }
        }
        self.deliver();
    }

    /// What the server shows of every seat.
    pub(crate) fn final_seats(&self) -> Vec<FinalSeat> {
        let mut seats = Vec::new();
        for row in self.hall.rows() {
            let state =
                self.partitions[usize::from(row.at.partition(4))].row_state(row.at).expect("its owner");
            let has = |set: &[u64; 4], place: u8| set[usize::from(place / 64)] >> (place % 64) & 1 == 1;
            for place in 0..row.places {
                let place = place as u8;
                let state = if has(&state.booked, place) {
                    SeatState::Booked
                } else if has(&state.blocked, place) {
                    SeatState::Blocked
                } else if has(&state.free, place) {
                    SeatState::Free
                } else {
                    SeatState::Held
                };
                seats.push(FinalSeat { section: row.at.section, row: row.at.row, place, state });
            }
        }
        seats
    }

    /// Tells a lie where the chosen one fits.
    fn twist(&mut self, ask: &Ask, user: UserId, mut reply: Reply) -> Reply {
        let Some(lie) = self.lie else { return reply };
        let honest = reply;
        let answer = &mut reply.answer;
        let granted = answer.code == Code::Granted;
        let now = honest.time_ms;
        match (lie, ask) {
            (Lie::DoubleSale, Ask::Command(Command::ClaimSeats(claim))) if answer.code == Code::SeatHeld => {
                *answer = Answer {
                    seats: claim.seats,
                    expires_ms: now + Millis::from(self.rules.hold_ms),
                    nonce: mix(answer.lsn ^ user),
                    slot: 9,
                    code: Code::Granted,
                    ..*answer
                };
            }
            (Lie::WrongSeat, Ask::Command(Command::ClaimSeats(_))) if granted && answer.seats.first > 0 => {
                answer.seats.first -= 1;
            }
            (Lie::FewerSeats, Ask::Command(Command::ClaimBest(_))) if granted && answer.seats.count() > 1 => {
                answer.seats = Seats { mask: 1, first: answer.seats.first };
            }
            (Lie::TokenReused, Ask::Command(Command::ClaimSeats(_) | Command::ClaimBest(_))) if granted => {
                let nonce = std::mem::replace(&mut self.last_nonce, answer.nonce);
                if nonce != 0 && self.ids.is_multiple_of(100) {
                    answer.nonce = nonce;
                }
            }
            (Lie::LastFirst, Ask::Command(Command::Join(_))) if answer.code == Code::Queued => {
                answer.lsn = 1_000_000_000 - answer.lsn;
                answer.epoch = 0;
            }
            (Lie::BookAfterExpiry, Ask::Command(Command::Book(_))) if answer.code == Code::Expired => {
                answer.code = Code::Booked;
            }
            (Lie::EarlyExpiry, Ask::Command(Command::Book(_))) if answer.code == Code::Booked => {
                answer.code = Code::Expired;
            }
            (Lie::RefusesOwner, Ask::Command(Command::Book(_))) if answer.code == Code::Booked => {
                answer.code = Code::Fenced;
            }
            (Lie::FalseRepetition, Ask::Command(_)) if self.ids.is_multiple_of(100) => {
                answer.flags |= frontrow_shard::flags::REPEATED;
            }
            (Lie::ShortFence, Ask::Command(Command::ClaimBest(_))) if granted => answer.expires_ms -= 5000,
            (Lie::BooksOthers, Ask::Command(Command::Book(_)))
                if answer.code == Code::Booked && answer.seats.first > 0 =>
            {
                answer.seats.first -= 1;
            }
            _ => {}
        }
        self.lies_told += u64::from(reply != honest);
        reply
    }
}
