//! One connection's requests: due, in flight, and the ids that tie answers to them.

use super::tally::Class;
use crate::crowd::{Nanos, Tag};
use frontrow_engine::{Closer, LocalNotify};
use frontrow_protocol::{ClientMessage, HEADER, Kind, VERSION, Welcome, encode_client};
use frontrow_shard::{Command, Millis, RequestId, RowRef};
use std::collections::VecDeque;

/// Bytes of the longest request.
const LONGEST_REQUEST: usize = HEADER + 64;
/// Bytes of a batch before its first frame.
const BATCH_HEADER: usize = HEADER + 8;

/// Where a connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is none.
    Closed,
    /// It is to be opened when its turn comes.
    Due,
    /// It is being opened, or the welcome is awaited.
    Opening,
    /// Requests may be sent.
    Open,
    /// The crowd wants it closed.
    Closing,
}

/// Ends a connection from aside; its reader sees the end.
#[derive(Clone, Debug)]
pub(super) enum Ender {
    /// Of an engine's socket.
    Socket(Closer),
    /// Of a task that listens for this.
    Task(LocalNotify),
}

impl Ender {
    pub(super) fn end(&self) {
        match self {
            Self::Socket(closer) => closer.close(),
            Self::Task(task) => task.wake(),
        }
    }
}

/// What is asked.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ask {
    Command(Command),
    Status(RowRef),
}

impl Ask {
    fn class(&self) -> Option<Class> {
        match self {
            Self::Command(command) => Some(Class::of(command)),
            Self::Status(_) => None,
        }
    }

    fn message(self, id: RequestId) -> ClientMessage<'static> {
        match self {
            Self::Command(command) => ClientMessage::Request { id, command },
            Self::Status(place) => ClientMessage::Status { id, place },
        }
    }
}

/// A request that is due and not sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) tag: Tag,
    pub(super) intended: Nanos,
    pub(super) ask: Ask,
    /// The id of an earlier try.
    pub(super) id: Option<RequestId>,
    /// If the connection could not have taken it when it was handed over: how late that was.
    pub(super) held_back: Option<Nanos>,
}

/// A request in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    /// 0: nothing is in flight here.
    pub(super) id: RequestId,
    pub(super) tag: Tag,
    pub(super) intended: Nanos,
    pub(super) sent: Nanos,
    pub(super) class: Option<Class>,
}

const EMPTY: Slot = Slot { id: 0, tag: 0, intended: 0, sent: 0, class: None };

/// What a send holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fill {
    /// Bytes to send.
    Some,
    /// Nothing for now.
    Nothing,
    /// Nothing any more: say that this side is done.
    Last,
    /// The connection is no longer this one.
    Gone,
}

/// One connection of the crowd, open or not.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) stage: Stage,
    /// Counts connections of this line: who belongs to an earlier one is told that it is over.
    pub(super) generation: u32,
    /// Wakes who sends.
    pub(super) wake: LocalNotify,
    pub(super) ender: Option<Ender>,
    /// When the stage began.
    pub(super) since: Nanos,
    /// When something was last sent.
    pub(super) sent_at: Nanos,
    pub(super) ping_due: bool,
    /// Whether the crowd dropped it, without waiting for answers.
    pub(super) dropped: bool,
    /// Why it is about to end, if that is known.
    pub(super) reason: Option<String>,
    pub(super) slots: Vec<Slot>,
    /// Slots with nothing in flight.
    free: Vec<u16>,
    pub(super) waiting: VecDeque<Waiting>,
    heard_ms: Millis,
    /// Tells this connection's ids from all others'.
    salt: u32,
    made: u32,
    /// Most messages in a batch and bytes in a frame, if batches are used.
    batch: Option<(usize, usize)>,
}

impl Line {
    pub(super) fn new() -> Self {
        Self {
            stage: Stage::Closed,
            generation: 0,
            wake: LocalNotify::new(),
            ender: None,
            since: 0,
            sent_at: 0,
            ping_due: false,
            dropped: false,
            reason: None,
            slots: Vec::new(),
            free: Vec::new(),
            waiting: VecDeque::new(),
            heard_ms: 0,
            salt: 0,
            made: 0,
            batch: None,
        }
    }

    /// The server let it in: as many slots as both sides allow.
    pub(super) fn open(&mut self, welcome: &Welcome, depth: u32, batches: bool, salt: u32, now: Nanos) {
        let depth = depth.min(welcome.limits.max_in_flight).clamp(1, u32::from(u16::MAX));
        self.slots.clear();
        self.slots.resize(depth as usize, EMPTY);
        self.free.clear();
        self.free.extend((0..depth as u16).rev());
        self.heard_ms = welcome.server_time_ms;
        self.salt = salt;
        let limits = welcome.limits;
        self.batch = batches.then_some((usize::from(limits.max_batch).max(1), limits.max_frame as usize));
        (self.stage, self.since, self.sent_at) = (Stage::Open, now, now);
    }

    /// Ends its connection from aside; the connection's reader tells when that has happened.
    pub(super) fn end(&self) {
        if let Some(ender) = &self.ender {
            ender.end();
        }
    }

    pub(super) fn in_flight(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether a request handed over now would leave with the next send.
    pub(super) fn takes_more(&self) -> bool {
        self.stage == Stage::Open && self.waiting.len() < self.free.len()
    }

    pub(super) fn can_send(&self) -> bool {
        self.ping_due || (!self.waiting.is_empty() && !self.free.is_empty()) || self.is_finished()
    }

    /// Whether it is to be closed and everything asked has been answered.
    fn is_finished(&self) -> bool {
        self.stage == Stage::Closing && self.waiting.is_empty() && self.in_flight() == 0
    }

    pub(super) fn heard(&mut self, time_ms: Millis) {
        self.heard_ms = self.heard_ms.max(time_ms);
    }

    /// An id with the server's time, as the protocol wants it, and the slot that its answer frees.
    fn next_id(&mut self, slot: u16) -> RequestId {
        self.made = self.made.wrapping_add(1);
        let low = u128::from(self.made) << 48 | u128::from(self.salt) << 16 | u128::from(slot);
        u128::from(self.heard_ms & 0xffff_ffff_ffff) << 80 | low
    }

    /// Appends what may be sent now to `out`; `sent` is told of each request.
    pub(super) fn fill(&mut self, out: &mut Vec<u8>, now: Nanos, mut sent: impl FnMut(&Waiting)) -> Fill {
        let start = out.len();
        let mut batch = self.batch.map(|limits| Batch::begin(limits, out));
        while let (Some(&slot), Some(&waiting)) = (self.free.last(), self.waiting.front()) {
            self.waiting.pop_front();
            self.free.pop();
            let id = waiting.id.unwrap_or_else(|| self.next_id(slot));
            let Waiting { tag, intended, ask, .. } = waiting;
            self.slots[usize::from(slot)] = Slot { id, tag, intended, sent: now, class: ask.class() };
            encode_client(&ask.message(id), out);
            sent(&waiting);
            if let Some(batch) = &mut batch {
                batch.added(out);
            }
        }
        if std::mem::take(&mut self.ping_due) {
            let id = self.next_id(u16::MAX);
            encode_client(&ClientMessage::Ping { id }, out);
            if let Some(batch) = &mut batch {
                batch.added(out);
            }
        }
        if let Some(batch) = batch {
            batch.finish(out);
        }
        if out.len() > start {
            self.sent_at = now;
            return Fill::Some;
        }
        if self.is_finished() { Fill::Last } else { Fill::Nothing }
    }

    /// Frees the slot of an answered request; `None` if nothing with this id is in flight.
    pub(super) fn answered(&mut self, id: RequestId) -> Option<Slot> {
        let mut at = usize::from(id as u16);
        if id == 0 || self.slots.get(at).is_none_or(|slot| slot.id != id) {
            // A repeat carries the id of another slot, of an earlier connection.
            at = self.slots.iter().position(|slot| slot.id == id && id != 0)?;
        }
        let slot = std::mem::replace(&mut self.slots[at], EMPTY);
        self.free.push(at as u16);
        Some(slot)
    }

    /// When the oldest request in flight was sent.
    pub(super) fn oldest_sent(&self) -> Option<Nanos> {
        if self.in_flight() == 0 {
            return None;
        }
        self.slots.iter().filter(|slot| slot.id != 0).map(|slot| slot.sent).min()
    }

    /// Ends this connection's part: whoever still belongs to it finds itself gone.
    pub(super) fn close(&mut self) -> (Vec<Slot>, VecDeque<Waiting>) {
        self.stage = Stage::Closed;
        self.generation = self.generation.wrapping_add(1);
        std::mem::take(&mut self.wake).wake();
        self.ender = None;
        (self.ping_due, self.dropped) = (false, false);
        self.free.clear();
        let mut slots = std::mem::take(&mut self.slots);
        slots.retain(|slot| slot.id != 0);
        slots.sort_by_key(|slot| (slot.sent, slot.id));
        (slots, std::mem::take(&mut self.waiting))
    }
}

/// A batch being written: its header is filled in when its count is known.
struct Batch {
    most: usize,
    longest: usize,
    start: usize,
    count: usize,
}

impl Batch {
    fn begin((most, longest): (usize, usize), out: &mut Vec<u8>) -> Self {
        let start = out.len();
        out.resize(start + BATCH_HEADER, 0);
        Self { most, longest, start, count: 0 }
    }

    /// One more frame is in it; begins another batch if this one is full.
    fn added(&mut self, out: &mut Vec<u8>) {
        self.count += 1;
        let body = out.len() - self.start - HEADER;
        if self.count == self.most || body + LONGEST_REQUEST > self.longest {
            self.end(out);
            *self = Self::begin((self.most, self.longest), out);
        }
    }

    fn end(&self, out: &mut [u8]) {
        let len = (out.len() - self.start - HEADER) as u32;
        let header = &mut out[self.start..self.start + BATCH_HEADER];
        header[..4].copy_from_slice(&len.to_le_bytes());
        header[4] = VERSION;
        header[5] = Kind::Batch as u8;
        header[8..10].copy_from_slice(&(self.count as u16).to_le_bytes());
    }

    fn finish(self, out: &mut Vec<u8>) {
        if self.count == 0 {
            out.truncate(self.start);
        } else {
            self.end(out);
        }
    }
}
