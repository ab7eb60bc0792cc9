//! What one load thread does, without its sockets: asks the crowd what is due, hands it to connections, and
//! ties answers to what was asked.

use super::driving::Link;
use super::line::{Ask, Fill, Line, Stage, Waiting};
use super::metronome::Metronome;
use super::plan::{DrivePlan, Transport};
use super::tally::Meter;
use super::unknown::Unknown;
use crate::LoadError;
use crate::crowd::{Action, Carried, ConnectionId, Nanos, Outcome};
use frontrow_engine::{Clock, LocalNotify};
use frontrow_protocol::{ErrorReply, Reply, ServerMessage, WireCode, decode_server, split};
use frontrow_shard::{RequestId, mix};
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard, PoisonError};

/// How often connections are looked at for stalls, and flags of the outside are, at least.
pub(super) const LOOK: Nanos = 10_000_000;
/// Handshakes under way at once.
pub(super) const OPENING: u32 = 256;

/// A connection to open: which, as whom, where.
#[derive(Clone, Debug)]
pub(super) struct Opening {
    pub(super) at: usize,
    pub(super) generation: u32,
    pub(super) connection: ConnectionId,
}

/// What a turn leaves to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The next turn is due then, unless something comes before.
    At(Nanos),
    /// The load is over.
    Done,
}

/// The carrier of one crowd.
pub(super) struct Carrier<C> {
    pub(super) crowd: C,
    pub(super) plan: Arc<DrivePlan>,
    pub(super) link: Arc<Link>,
    thread: u32,
    threads: u32,
    pub(super) lines: Vec<Line>,
    /// Woken when answers or news may have made something due.
    pub(super) stirred: LocalNotify,
    actions: Vec<Action>,
    /// Lines to open.
    pub(super) to_open: VecDeque<usize>,
    /// When the next one may be opened (with a rate).
    pub(super) open_at: Nanos,
    pub(super) opening: u32,
    /// Ids of requests whose outcome is unknown: they may be repeated.
    pub(super) unknown: Unknown,
    pub(super) in_flight: u64,
    pub(super) waiting: u64,
    winding: bool,
    /// Since when nothing more is asked.
    pub(super) stopped_at: Option<Nanos>,
    pub(super) looked_at: Nanos,
    /// The line to look at next.
    pub(super) look: usize,
    pub(super) patience: Nanos,
    salt: u64,
}

impl<C: Carried> Carrier<C> {
    pub(super) fn new(crowd: C, plan: Arc<DrivePlan>, link: Arc<Link>, thread: u32, threads: u32) -> Self {
        let connections = plan.tokens.len() as u32;
        let mine = (thread..connections).step_by(threads as usize).count();
        let patience = plan.patience.as_nanos() as u64;
        Self {
            crowd,
            plan,
            link,
            thread,
            threads,
            lines: (0..mine).map(|_| Line::new()).collect(),
            stirred: LocalNotify::new(),
            actions: Vec::new(),
            to_open: VecDeque::new(),
            open_at: 0,
            opening: 0,
            unknown: Unknown::default(),
            in_flight: 0,
            waiting: 0,
            winding: false,
            stopped_at: None,
            looked_at: 0,
            look: 0,
            patience,
            salt: mix(Clock::monotonic_ns() ^ u64::from(thread) << 48 ^ u64::from(std::process::id())),
        }
    }

    /// Nanoseconds since the run began.
    pub(super) fn now(&self) -> Nanos {
        self.link.now()
    }

    /// What wakes this thread when something is due.
    pub(super) fn metronome(&self) -> Result<Metronome, LoadError> {
        let link = Arc::clone(&self.link);
        Metronome::start(&format!("beat-{}", self.thread), move || link.now())
    }

    pub(super) fn into_crowd(self) -> C {
        self.crowd
    }

    pub(super) fn plan(&self) -> &Arc<DrivePlan> {
        &self.plan
    }

    pub(super) fn meter(&self) -> MutexGuard<'_, Meter> {
        self.link.meter.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn connection(&self, at: usize) -> ConnectionId {
        at as u32 * self.threads + self.thread
    }

    /// The line of a connection of this thread.
    fn at(&self, connection: ConnectionId) -> Option<usize> {
        let mine = connection % self.threads == self.thread;
        Some((connection / self.threads) as usize).filter(|&at| mine && at < self.lines.len())
    }

    /// One turn of the metronome: everything due is handed to its connection. `openings` gets connections
    /// that are to be opened now.
    pub(super) fn turn(&mut self, openings: &mut Vec<Opening>) -> Next {
        let now = self.now();
        if self.link.stop.load(Ordering::Relaxed) {
            return self.close_down(now);
        }
        if !self.winding && self.link.wind_down.load(Ordering::Relaxed) {
            self.winding = true;
            self.crowd.wind_down(now);
        }
        let mut actions = std::mem::take(&mut self.actions);
        let due = self.crowd.due(now, &mut actions);
        let mut intended = 0;
        for action in &actions {
            intended += self.act(action, now);
        }
        actions.clear();
        self.actions = actions;
        if intended > 0 {
            self.meter().tally.intended += intended;
        }
        if now >= self.looked_at + LOOK {
            self.look_around(now);
        }
        self.open_some(now, openings);
        self.link.in_flight.store(self.in_flight, Ordering::Relaxed);
        self.link.waiting.store(self.waiting, Ordering::Relaxed);
        if self.in_flight == 0 && self.waiting == 0 && self.crowd.is_done() {
            // Nothing is open between crowd and server: that connections close now is no news to the crowd.
            self.lines.iter().for_each(Line::end);
            return Next::Done;
        }
        let mut next = self.looked_at + LOOK;
        if !self.to_open.is_empty() && self.opening < OPENING {
            next = next.min(self.open_at);
        }
        Next::At(due.map_or(next, |due| due.min(next)))
    }

    /// How many requests became due by this.
    fn act(&mut self, action: &Action, now: Nanos) -> u64 {
        match *action {
            Action::Connect(connection) => {
                if let Some(at) = self.at(connection).filter(|&at| self.lines[at].stage == Stage::Closed) {
                    self.lines[at].stage = Stage::Due;
                    self.to_open.push_back(at);
                }
                0
            }
            Action::Disconnect { connection, abrupt } => {
                if let Some(at) = self.at(connection) {
                    self.disconnect(at, abrupt, now);
                }
                0
            }
            Action::Request { connection, tag, intended, command, repeats } => {
                let id = if repeats { self.unknown.remove(tag) } else { None };
                let ask = Ask::Command(command);
                self.hand_over(connection, Waiting { tag, intended, ask, id, held_back: None }, now);
                1
            }
            Action::Status { connection, tag, intended, place } => {
                let ask = Ask::Status(place);
                self.hand_over(connection, Waiting { tag, intended, ask, id: None, held_back: None }, now);
                1
            }
        }
    }

    fn hand_over(&mut self, connection: ConnectionId, mut waiting: Waiting, now: Nanos) {
        let at = self.at(connection);
        let Some(at) = at.filter(|&at| !matches!(self.lines[at].stage, Stage::Closed | Stage::Closing))
        else {
            self.meter().tally.unsent += 1;
            if let Some(id) = waiting.id {
                self.unknown.insert(waiting.tag, id);
            }
            self.crowd.outcome(waiting.tag, Outcome::Unknown, now);
            self.stirred.wake();
            return;
        };
        let line = &mut self.lines[at];
        waiting.held_back = (!line.takes_more()).then(|| now.saturating_sub(waiting.intended));
        line.waiting.push_back(waiting);
        self.waiting += 1;
        if waiting.held_back.is_none() && line.waiting.len() == 1 {
            line.wake.wake();
        }
    }

    /// What may be sent on a connection now, appended to `out`.
    pub(super) fn fill(&mut self, opening: &Opening, out: &mut Vec<u8>) -> Fill {
        let now = self.now();
        let Some(line) = self.lines.get_mut(opening.at) else { return Fill::Gone };
        if line.generation != opening.generation {
            return Fill::Gone;
        }
        if !matches!(line.stage, Stage::Open | Stage::Closing) || !line.can_send() {
            return Fill::Nothing;
        }
        let mut meter = self.link.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let mut sent = 0;
        let fill = line.fill(out, now, |waiting| {
            sent += 1;
            // What it waited for its connection is not the load's doing.
            meter.late(waiting.held_back.unwrap_or_else(|| now.saturating_sub(waiting.intended)));
        });
        meter.tally.sent += sent;
        drop(meter);
        self.in_flight += sent;
        self.waiting -= sent;
        fill
    }

    /// Takes every whole frame of `bytes` in, and says how many bytes that were; an error ends the connection.
    pub(super) fn take(&mut self, opening: &Opening, bytes: &[u8]) -> Result<usize, String> {
        let now = self.now();
        let link = Arc::clone(&self.link);
        let mut meter = link.meter.lock().unwrap_or_else(PoisonError::into_inner);
        let mut rest = bytes;
        if self.lines[opening.at].generation != opening.generation {
            return Ok(bytes.len());
        }
        loop {
            match split(rest, u32::MAX) {
                Ok(None) => break,
                Ok(Some((frame, behind))) => {
                    rest = behind;
                    let message = decode_server(frame);
                    let message = message.map_err(|error| fault(&mut meter, opening, error.to_string()))?;
                    self.message(opening, &message, now, &mut meter)?;
                }
                Err(error) => return Err(fault(&mut meter, opening, error.to_string())),
            }
        }
        let line = &self.lines[opening.at];
        if line.can_send() {
            line.wake.wake();
        }
        self.stirred.wake();
        Ok(bytes.len() - rest.len())
    }

    fn message(
        &mut self,
        opening: &Opening,
        message: &ServerMessage<'_>,
        now: Nanos,
        meter: &mut Meter,
    ) -> Result<(), String> {
        let line = &mut self.lines[opening.at];
        match message {
            ServerMessage::Answer(reply) => self.answer(opening, reply, now, meter),
            ServerMessage::Error(error) => return self.error(opening, error, now, meter),
            ServerMessage::Push(news) => {
                line.heard(news.time_ms);
                meter.news(news.kind);
                self.crowd.news(opening.connection, news, now);
            }
            ServerMessage::Welcome(welcome) => {
                if line.stage == Stage::Opening {
                    let batches = self.plan.transport == Transport::WebSocket;
                    self.salt = mix(self.salt.wrapping_add(0x9e37_79b9_7f4a_7c15));
                    line.open(welcome, self.plan.depth, batches, self.salt as u32, now);
                    self.opening -= 1;
                    meter.tally.connected += 1;
                    self.link.open.fetch_add(1, Ordering::Relaxed);
                    self.crowd.connected(opening.connection, now, welcome.server_time_ms);
                }
            }
            ServerMessage::Goodbye(goodbye) => {
                meter.goodbye(goodbye.code);
                line.reason = Some(format!("goodbye: {}", goodbye.code.name()));
            }
            ServerMessage::Pong { time_ms, .. } => line.heard(*time_ms),
            ServerMessage::Snapshot(_) | ServerMessage::Delta(_) | ServerMessage::Topology(_) => {}
        }
        Ok(())
    }

    fn answer(&mut self, opening: &Opening, reply: &Reply, now: Nanos, meter: &mut Meter) {
        let line = &mut self.lines[opening.at];
        let Some(slot) = line.answered(reply.id) else {
            unasked(meter, opening, reply.id, reply.answer.code.name());
            return;
        };
        line.heard(reply.time_ms);
        self.in_flight -= 1;
        meter.decided(reply.answer.code);
        if let Some(class) = slot.class {
            let from_intended = now.saturating_sub(slot.intended);
            meter.latency(class, from_intended, now.saturating_sub(slot.sent));
        }
        self.crowd.outcome(slot.tag, Outcome::Answer(reply), now);
    }

    fn error(
        &mut self,
        opening: &Opening,
        error: &ErrorReply<'_>,
        now: Nanos,
        meter: &mut Meter,
    ) -> Result<(), String> {
        if error.id == 0 || error.fatal {
            meter.goodbye(error.code);
            let why = format!("{}: {}", error.code.name(), error.message);
            if error.fatal {
                return Err(why);
            }
            meter.trouble(&why);
            return Ok(());
        }
        let Some(slot) = self.lines[opening.at].answered(error.id) else {
            unasked(meter, opening, error.id, error.code.name());
            return Ok(());
        };
        self.in_flight -= 1;
        meter.failed(error.code);
        if error.code == WireCode::Busy {
            meter.busy(now.saturating_sub(slot.sent));
        }
        if let Some(class) = slot.class {
            let from_intended = now.saturating_sub(slot.intended);
            meter.latency(class, from_intended, now.saturating_sub(slot.sent));
        }
        self.crowd.outcome(slot.tag, Outcome::Error(error.code, error.retry_after_ms), now);
        Ok(())
    }
}

/// A message that makes no sense: kept in words, and the connection ends.
fn fault(meter: &mut Meter, opening: &Opening, what: String) -> String {
    meter.fault(format!("connection {}: {what}", opening.connection));
    what
}

fn unasked(meter: &mut Meter, opening: &Opening, id: RequestId, what: &str) {
    let connection = opening.connection;
    meter.fault(format!(
        "connection {connection}: request {id:032x} was answered ({what}) twice, or never asked"
    ));
}
