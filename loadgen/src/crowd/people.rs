//! The crowd of one load thread: arrivals, visits, connections, and the way from time and answers to requests.

use super::arrivals::Stream;
use super::dice::Dice;
use super::lines::Lines;
use super::notes::Notes;
use super::person::{Asked, Question, Stage, Visit};
use super::play::Play;
use super::scenario::{Group, Storm};
use super::slab::{NONE, Slab};
use super::timers::{Due, Timers};
use super::verify::checks::Check;
use super::{Action, Carried, ConnectionId, Nanos, Outcome, Tag};
use frontrow_protocol::News;
use frontrow_shard::Millis;
use std::collections::HashSet;
use std::sync::Arc;

/// First wait before a connection that failed is tried again; it doubles, up to [`LONGEST_BACKOFF_NS`].
const BACKOFF_NS: Nanos = 100_000_000;
const LONGEST_BACKOFF_NS: Nanos = 10_000_000_000;

/// The people of one load thread.
pub struct Crowd {
    pub(crate) play: Arc<Play>,
    pub(crate) dice: Dice,
    pub(crate) visits: Slab<Visit>,
    pub(crate) asked: Slab<Asked>,
    pub(crate) lines: Lines,
    pub(crate) timers: Timers,
    pub(crate) notes: Notes,
    /// The newest server time heard.
    pub(crate) heard_ms: Millis,
    pub(crate) winding_down: bool,
    /// What has come of answers, and goes out with the next `due`.
    pub(crate) outbox: Vec<Action>,
    /// Visits that found no connection open.
    pub(crate) homeless: Vec<u32>,
    /// Queues where a user may still stand without anybody's knowing: connection and place.
    pub(crate) ghosts: HashSet<(ConnectionId, u64)>,
    streams: Vec<Stream>,
    /// When the next of each group comes, from the beginning of arrivals.
    next: Vec<Option<Nanos>>,
    /// When arrivals began: when the last connection had been opened, or had failed.
    began: Option<Nanos>,
    /// Connections that have not been opened and have not failed yet; `None` before the first `due`.
    opening: Option<usize>,
}

impl Crowd {
    pub(crate) fn new(
        play: Arc<Play>,
        lines: Lines,
        notes: Notes,
        seed: u64,
        thread: u16,
        threads: u16,
    ) -> Self {
        let stream = |(i, group): (usize, &Group)| {
            let dice = Dice::new(seed, (i as u64 + 1) << 32 | u64::from(thread));
            Stream::new(&group.arrivals, play.scenario.duration_s, dice, thread, threads)
        };
        let mut streams: Vec<Stream> = play.scenario.groups.iter().enumerate().map(stream).collect();
        let next = streams.iter_mut().map(Stream::next).collect();
        Self {
            dice: Dice::new(seed, u64::from(thread)),
            visits: Slab::default(),
            asked: Slab::default(),
            timers: Timers::default(),
            heard_ms: 0,
            winding_down: false,
            outbox: Vec::new(),
            homeless: Vec::new(),
            ghosts: HashSet::new(),
            streams,
            next,
            began: None,
            opening: None,
            play,
            lines,
            notes,
        }
    }

    /// The user of a connection.
    pub fn user_of(&self, connection: ConnectionId) -> u64 {
        self.play.first_user + u64::from(connection)
    }

    /// How many visits are under way.
    pub fn under_way(&self) -> usize {
        self.visits.len()
    }

    /// Tells the verifier whatever it has not been told yet. Dropping the crowd does the same.
    pub fn hand_over(&mut self) {
        self.notes.hand_over();
    }

    // ---- connections --------------------------------------------------------------------------

    fn open_all(&mut self) {
        self.opening = Some(self.lines.len());
        for id in self.lines.ids() {
            if let Some(line) = self.lines.get_mut(id) {
                line.opening = true;
            }
            self.outbox.push(Action::Connect(id));
        }
    }

    /// A connection's first attempt is over. With the last one, people may come.
    fn one_less_opening(&mut self, now: Nanos) {
        let Some(left) = &mut self.opening else { return };
        *left = left.saturating_sub(1);
        if *left == 0 && self.began.is_none() {
            self.began = Some(now);
            self.notes.began(now);
            for index in 0..self.play.scenario.storms.len() {
                let at = now + seconds(self.play.scenario.storms[index].at_s);
                self.timers.set(at, Due::Storm { index: index as u32 });
            }
        }
    }

    /// Sets the moment at which an open connection drops, if its people's connections do.
    fn arm_drop(&mut self, connection: ConnectionId, now: Nanos) {
        let Some(line) = self.lines.get_mut(connection) else { return };
        line.drop_armed = line.drop_armed.wrapping_add(1);
        let (group, armed) = (line.group, line.drop_armed);
        let per_min = self.play.roles[usize::from(group)].behaviour.drops_per_min;
        if per_min > 0.0 {
            let after = (self.dice.exponential() * 60e9 / per_min) as Nanos;
            self.timers.set(now + after, Due::Drop { connection, armed });
        }
    }

    /// Closes an open connection without a word; it comes back after `offline_ns`.
    fn drop_line(&mut self, connection: ConnectionId, offline_ns: Nanos) {
        let Some(line) = self.lines.get_mut(connection).filter(|line| line.open) else { return };
        line.offline_ns = offline_ns.max(1);
        self.lines.set_open(connection, false);
        self.outbox.push(Action::Disconnect { connection, abrupt: true });
    }

    fn drops(&mut self, connection: ConnectionId, armed: u32) {
        let Some(line) = self.lines.get(connection).filter(|line| line.drop_armed == armed) else { return };
        let offline = self.play.roles[usize::from(line.group)].behaviour.offline;
        let offline_ns = self.dice.think(offline);
        if !self.winding_down {
            self.drop_line(connection, offline_ns);
        }
    }

    fn storm(&mut self, storm: Storm) {
        for id in self.lines.ids() {
            if self.dice.chance(storm.share) {
                let offline = self.dice.think(storm.offline);
                self.drop_line(id, offline);
            }
        }
    }

    fn reconnect(&mut self, connection: ConnectionId) {
        let Some(line) = self.lines.get_mut(connection).filter(|line| !line.open && !line.opening) else {
            return;
        };
        line.opening = true;
        self.outbox.push(Action::Connect(connection));
    }

    /// The visits carried on a connection.
    pub(crate) fn visits_on(&self, connection: ConnectionId) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.lines.get(connection).map_or(NONE, |line| line.visits);
        std::iter::from_fn(move || {
            let visit = self.visits.get(at)?;
            let slot = at;
            at = visit.next;
            Some(slot)
        })
    }

    /// After a connection has come back: whatever was lost is asked again, whoever waited looks where they stand.
    fn resume(&mut self, connection: ConnectionId, now: Nanos) {
        let mut next = self.lines.get(connection).map_or(NONE, |line| line.visits);
        while let Some(&visit) = self.visits.get(next) {
            let slot = next;
            next = visit.next;
            if visit.asked != NONE {
                self.ask_again(visit.asked, now);
            } else if visit.stage == Stage::Waiting {
                self.look(slot, now);
            } else if visit.parked {
                self.step(slot, now);
            }
        }
        for slot in std::mem::take(&mut self.homeless) {
            self.step(slot, now);
        }
    }

    // ---- requests ------------------------------------------------------------------------------

    /// Sends a request of a visit. Its connection is open.
    pub(crate) fn ask(&mut self, slot: u32, question: Question, due: Nanos) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let connection = visit.connection;
        let asked = Asked {
            visit: slot,
            connection,
            question,
            issued: due,
            heard_ms: self.heard_ms,
            lost: false,
            repeated: false,
        };
        let at = self.asked.insert(asked);
        visit.asked = at;
        self.send(at, due);
    }

    fn send(&mut self, at: u32, intended: Nanos) {
        let tag = tag_of(at, self.asked.generation(at));
        let Some(asked) = self.asked.get(at) else { return };
        let connection = asked.connection;
        self.outbox.push(match asked.question {
            Question::Command(command) => {
                Action::Request { connection, tag, intended, command, repeats: asked.repeated }
            }
            Question::Status(place) => Action::Status { connection, tag, intended, place },
        });
    }

    fn ask_again(&mut self, at: u32, now: Nanos) {
        let Some(asked) = self.asked.get_mut(at).filter(|asked| asked.lost) else { return };
        asked.lost = false;
        asked.repeated = true;
        self.send(at, now);
    }

    /// The request that was asked with a tag, taken off the list if it is answered.
    fn take_asked(&mut self, tag: Tag, final_word: bool) -> Option<(u32, Asked)> {
        let (at, generation) = (tag as u32, (tag >> 32) as u32);
        let known = self.asked.get(at).copied().filter(|_| self.asked.generation(at) == generation);
        let known = known.filter(|asked| !asked.lost);
        self.notes.check(Check::AnsweredOnce, known.is_some(), || {
            format!("an answer to a request (tag {tag:#x}) that was answered before, or never asked")
        });
        let mut asked = known?;
        match self.visits.get_mut(asked.visit).filter(|visit| visit.asked == at) {
            Some(visit) if final_word => visit.asked = NONE,
            Some(_) => return Some((at, asked)),
            // Something overtook it: nobody waits for this answer, nor asks for it again.
            None => asked.visit = NONE,
        }
        self.asked.remove(at);
        Some((at, asked))
    }

    fn arrive(&mut self, now: Nanos) {
        let Some(began) = self.began else { return };
        for group in 0..self.next.len() {
            while let Some(at) = self.next[group].filter(|&at| began + at <= now && !self.winding_down) {
                self.next[group] = self.streams[group].next();
                self.notes.person_came();
                self.begin_visit(group as u16, began + at);
            }
        }
    }

    /// Nobody comes any more: whoever was due by now and has not come is counted.
    fn close_door(&mut self, now: Nanos) {
        let came = std::mem::replace(&mut self.winding_down, true);
        let Some(began) = self.began.filter(|_| !came) else { return };
        let until = now.saturating_sub(began);
        for (stream, next) in self.streams.iter().zip(&self.next) {
            self.notes.people_missed(next.map_or(0, |next| stream.due(next, until)));
        }
    }

    /// When something is due next.
    fn next_due(&self, now: Nanos) -> Option<Nanos> {
        if !self.outbox.is_empty() {
            return Some(now);
        }
        let arrival = self.began.filter(|_| !self.winding_down).and_then(|began| {
            let soonest = self.next.iter().flatten().min()?;
            Some(began + soonest)
        });
        [arrival, self.timers.next()].into_iter().flatten().min()
    }
}

impl Carried for Crowd {
    fn due(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Nanos> {
        if self.opening.is_none() {
            self.open_all();
            if self.lines.len() == 0 {
                self.began = Some(now);
            }
        }
        self.arrive(now);
        while let Some((at, due)) = self.timers.pop(now) {
            match due {
                Due::Visit { slot, armed } => {
                    if self.visits.get(slot).is_some_and(|visit| visit.armed == armed) {
                        self.step(slot, at);
                    }
                }
                Due::Reconnect { connection } => self.reconnect(connection),
                Due::Drop { connection, armed } => self.drops(connection, armed),
                Due::Storm { index } => self.storm(self.play.scenario.storms[index as usize]),
            }
        }
        out.append(&mut self.outbox);
        self.notes.hand_over_if_due(now);
        self.next_due(now)
    }

    fn connected(&mut self, connection: ConnectionId, now: Nanos, server_ms: Millis) {
        self.heard_ms = self.heard_ms.max(server_ms);
        let first = self.lines.get(connection).is_some_and(|line| line.opening && line.failed == 0);
        if let Some(line) = self.lines.get_mut(connection) {
            line.failed = 0;
            line.offline_ns = 0;
        }
        if self.lines.set_open(connection, true) {
            if first {
                self.one_less_opening(now);
            }
            self.arm_drop(connection, now);
            self.resume(connection, now);
        }
    }

    fn lost(&mut self, connection: ConnectionId, now: Nanos) {
        let failed_first = self.lines.get(connection).is_some_and(|line| line.opening && line.failed == 0);
        self.lines.set_open(connection, false);
        let Some(line) = self.lines.get_mut(connection) else { return };
        let after = if line.offline_ns > 0 {
            std::mem::take(&mut line.offline_ns)
        } else {
            line.failed = line.failed.saturating_add(1);
            let base = (BACKOFF_NS << (line.failed - 1).min(7)).min(LONGEST_BACKOFF_NS);
            base + Nanos::from(self.dice.below((base / 2) as u32))
        };
        self.timers.set(now + after, Due::Reconnect { connection });
        if failed_first {
            self.one_less_opening(now);
        }
    }

    fn outcome(&mut self, tag: Tag, outcome: Outcome<'_>, now: Nanos) {
        match outcome {
            Outcome::Unknown => {
                let known = self.take_asked(tag, false).filter(|(_, asked)| asked.visit != NONE);
                if let Some(asked) = known.and_then(|(at, _)| self.asked.get_mut(at)) {
                    asked.lost = true;
                }
            }
            Outcome::Error(code, retry_after_ms) => {
                if let Some((_, asked)) = self.take_asked(tag, true) {
                    self.put_off(&asked, code, retry_after_ms, now);
                }
            }
            Outcome::Answer(reply) => {
                self.heard_ms = self.heard_ms.max(reply.time_ms);
                if let Some((_, asked)) = self.take_asked(tag, true) {
                    self.answered(&asked, reply, now);
                }
            }
        }
    }

    fn news(&mut self, connection: ConnectionId, news: &News, now: Nanos) {
        self.heard_ms = self.heard_ms.max(news.time_ms);
        self.told(connection, news, now);
    }

    fn wind_down(&mut self, now: Nanos) {
        self.close_door(now);
        self.send_home(now);
    }

    fn stopped(&mut self, now: Nanos) {
        self.close_door(now);
    }

    fn is_done(&self) -> bool {
        let over = self.next.iter().all(Option::is_none) && self.began.is_some();
        (over || self.winding_down) && self.visits.len() == 0 && self.outbox.is_empty()
    }
}

/// Seconds as nanoseconds.
pub(crate) fn seconds(s: f64) -> Nanos {
    (s * 1e9) as Nanos
}

fn tag_of(at: u32, generation: u32) -> Tag {
    u64::from(generation) << 32 | u64::from(at)
}
