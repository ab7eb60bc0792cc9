//! Everything one core owns, and the small operations on it that the other files share.

use super::buffers::Buffers;
use super::changed::Changed;
use super::connection::Conn;
use super::hints::Hints;
use super::message::{AdminReply, ConnId, CoreMessage, Frames, Job, Origin};
use super::metrics::Metrics;
use super::shared::Shared;
use super::staging::Group;
use super::users::Users;
use super::watch::Watches;
use frontrow_engine::{Clock, Engine, LocalNotify};
use frontrow_shard::record::Encoder;
use frontrow_shard::{Answer, Effects, Letter, Millis, Partition, PartitionId, RequestId, RowRef};
use frontrow_wal::Appender;
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, DefaultHasher};
use std::rc::Rc;
use std::sync::Arc;

/// Requests that may wait at their owner, per class, before `busy` is the answer.
pub(crate) const QUEUE_BOUND: usize = 16_384;
/// Requests of different urgency: what is nearly sold goes first, what merely looks last.
pub(crate) const CLASSES: usize = 4;
const _: () = assert!(QUEUE_BOUND * CLASSES <= u32::MAX as usize / 64);

/// Rows in an order that is the same in every run: what is told of them goes out in it. Their names come from
/// the operator's plans, so nobody can choose them to collide.
pub(crate) type RowSet = HashSet<RowRef, BuildHasherDefault<DefaultHasher>>;

/// One core.
pub(crate) struct Core<E: Engine> {
    pub(crate) me: u16,
    pub(crate) shared: Arc<Shared>,
    pub(crate) metrics: Arc<super::shared::CoreMetrics>,
    pub(crate) state: RefCell<State<E>>,
    /// Wakes the pump.
    pub(crate) work: LocalNotify,
    /// Wakes the task that writes the log, if the core does that itself.
    pub(crate) log_work: LocalNotify,
    pub(crate) stopping: Cell<bool>,
}

/// Why an operation was applied, and so what is to be done when it is in the log. `J` is the job or a
/// reference to it: it is copied only if it has to wait.
pub(crate) enum Cause<J> {
    Job(J),
    Letter { from: PartitionId, to: PartitionId, seq: u64 },
    Expiry,
    Admin(AdminReply),
}

impl Cause<&Job> {
    pub(crate) fn owned(self) -> Cause<Job> {
        match self {
            Self::Job(job) => Cause::Job(*job),
            Self::Letter { from, to, seq } => Cause::Letter { from, to, seq },
            Self::Expiry => Cause::Expiry,
            Self::Admin(reply) => Cause::Admin(reply),
        }
    }
}

impl Cause<Job> {
    pub(crate) fn borrowed(&self) -> Cause<&Job> {
        match self {
            Self::Job(job) => Cause::Job(job),
            Self::Letter { from, to, seq } => Cause::Letter { from: *from, to: *to, seq: *seq },
            Self::Expiry => Cause::Expiry,
            Self::Admin(reply) => Cause::Admin(reply.clone()),
        }
    }
}

/// An applied operation whose record the log had no room for yet. Nothing else is applied before it.
pub(crate) struct Stalled {
    pub(crate) partition: PartitionId,
    pub(crate) lsn: u64,
    pub(crate) time_ms: Millis,
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) answer: Answer,
    pub(crate) cause: Cause<Job>,
}

/// What leaves for another core at the end of a step.
#[derive(Default)]
pub(crate) struct Outbound {
    pub(crate) jobs: Vec<Job>,
    /// What found the other core's inbox full, oldest first.
    pub(crate) waiting: VecDeque<CoreMessage>,
}

/// What only the core's own tasks touch. Never borrowed across an await.
pub(crate) struct State<E: Engine> {
    /// By number; `None` if another core owns it.
    pub(crate) partitions: Vec<Option<Partition>>,
    pub(crate) own: Vec<PartitionId>,
    pub(crate) appender: Appender,
    pub(crate) encoder: Encoder,
    pub(crate) effects: Effects,
    pub(crate) jobs: [VecDeque<Job>; CLASSES],
    pub(crate) letters: VecDeque<(PartitionId, Letter)>,
    pub(crate) admin: VecDeque<(PartitionId, frontrow_shard::Op, AdminReply)>,
    pub(crate) stalled: Option<Stalled>,
    /// The two groups; `filling` says which one collects.
    pub(crate) groups: [Group; 2],
    pub(crate) filling: usize,
    /// The position that the other group waits for, if its commit is in flight.
    pub(crate) flying: Option<u64>,
    pub(crate) deferred: HashMap<RequestId, Vec<Job>>,
    pub(crate) outbound: Vec<Outbound>,
    pub(crate) conns: Conns<E>,
    pub(crate) buffers: Buffers,
    /// Connections that have ended but for their last words.
    pub(crate) ending: Vec<Rc<Conn<E>>>,
    pub(crate) users: Users,
    pub(crate) watches: Watches,
    pub(crate) hints: Hints,
    /// Rows changed since hints and watchers were last told.
    pub(crate) changed: Changed,
    /// Those of them that somebody watches, in their order. A row that has been told of since may still stand here.
    pub(crate) unseen: VecDeque<RowRef>,
    /// Queues changed since the waiting were last told their positions.
    pub(crate) moved: RowSet,
    pub(crate) tick_due: bool,
    /// Whether more holds may be due than the last turns could end.
    pub(crate) expiring: bool,
    /// Nothing new is sold: see `space`.
    pub(crate) read_only: bool,
    /// Whether that is because the disk is full.
    pub(crate) disk_full: bool,
    /// Index in `own` of the partition whose holds are ended next.
    pub(crate) expire_next: usize,
    pub(crate) memory_only: bool,
    /// Seconds counted towards the next comparison with the standby, and partitions compared so far.
    pub(crate) checked: u64,
}

impl<E: Engine> Core<E> {
    pub(crate) fn now_ms(&self) -> Millis {
        self.shared.now_ms()
    }

    pub(crate) fn counters(&self) -> &Metrics {
        &self.metrics.0
    }
}

impl<E: Engine> State<E> {
    /// Adds bytes for a connection of this core to the collecting group.
    pub(crate) fn stage(&mut self, conn: ConnId, ends_request: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let Some(conn) = self.conns.get(conn) else { return };
        let mut staged = conn.staged.borrow_mut();
        let buffer = &mut staged[self.filling];
        if buffer.is_empty() {
            self.groups[self.filling].conns.push(conn.id);
            if buffer.capacity() == 0 {
                *buffer = self.buffers.take();
            }
        }
        write(buffer);
        if ends_request {
            conn.in_flight.set(conn.in_flight.get().saturating_sub(1));
        }
    }

    /// Adds bytes for a connection of any core to the collecting group.
    pub(crate) fn stage_to(
        &mut self,
        me: u16,
        to: Origin,
        ends_request: bool,
        write: impl FnOnce(&mut Vec<u8>),
    ) {
        if to.core == me {
            return self.stage(to.conn, ends_request, write);
        }
        let frames: &mut Frames = &mut self.groups[self.filling].frames[usize::from(to.core)];
        let start = frames.bytes.len();
        write(&mut frames.bytes);
        frames.heads.push((to.conn, (frames.bytes.len() - start) as u32, ends_request));
    }

    /// Sends to another core, or keeps it until there is room.
    pub(crate) fn send(&mut self, shared: &Shared, to: u16, message: CoreMessage) {
        let outbound = &mut self.outbound[usize::from(to)];
        if !outbound.waiting.is_empty() {
            outbound.waiting.push_back(message);
            return;
        }
        if let Err(frontrow_engine::SendError::Full(message)) =
            shared.cores[usize::from(to)].try_send(message)
        {
            outbound.waiting.push_back(message);
        }
    }

    /// Sends what waits for other cores, as far as there is room.
    pub(crate) fn flush_outbound(&mut self, shared: &Shared, metrics: &Metrics) {
        for to in 0..self.outbound.len() {
            let jobs = std::mem::take(&mut self.outbound[to].jobs);
            if !jobs.is_empty() {
                Metrics::add(&metrics.hops_out, jobs.len() as u64);
                self.send(shared, to as u16, CoreMessage::Jobs(jobs));
            }
            while let Some(message) = self.outbound[to].waiting.pop_front() {
                if let Err(frontrow_engine::SendError::Full(message)) = shared.cores[to].try_send(message) {
                    self.outbound[to].waiting.push_front(message);
                    break;
                }
            }
        }
    }

    /// Notes that a row has changed.
    pub(crate) fn touched(&mut self, row: RowRef) {
        // A row waits to be told of once, however often it changes meanwhile.
        if self.changed.mark(row) && self.watches.is_watched(row) {
            self.unseen.push_back(row);
        }
    }

    /// Whether anything waits to be applied.
    pub(crate) fn has_work(&self) -> bool {
        !self.letters.is_empty() || !self.admin.is_empty() || self.jobs.iter().any(|queue| !queue.is_empty())
    }
}

/// The connections of a core: a slab whose slots carry generations.
pub(crate) struct Conns<E: Engine> {
    slots: Vec<(u32, Option<Rc<Conn<E>>>)>,
    free: Vec<u32>,
}

impl<E: Engine> Conns<E> {
    pub(crate) const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn insert(&mut self, make: impl FnOnce(ConnId) -> Rc<Conn<E>>) -> Rc<Conn<E>> {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push((0, None));
            self.slots.len() as u32 - 1
        });
        let at = &mut self.slots[slot as usize];
        let conn = make(ConnId { slot, generation: at.0 });
        at.1 = Some(Rc::clone(&conn));
        conn
    }

    pub(crate) fn get(&self, id: ConnId) -> Option<&Rc<Conn<E>>> {
        let (generation, conn) = self.slots.get(id.slot as usize)?;
        conn.as_ref().filter(|_| *generation == id.generation)
    }

    pub(crate) fn remove(&mut self, id: ConnId) {
        if self.get(id).is_some() {
            let at = &mut self.slots[id.slot as usize];
            at.0 = at.0.wrapping_add(1);
            at.1 = None;
            self.free.push(id.slot);
        }
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rc<Conn<E>>> {
        self.slots.iter().filter_map(|(_, conn)| conn.as_ref())
    }
}

/// Reads the monotonic clock, in nanoseconds. A core does so once per receive and once per turn of the pump:
/// per request it would cost as much as the claim itself.
pub(crate) fn read_clock() -> u64 {
    Clock::read()
}

/// Monotonic nanoseconds as this core last read them, at most a tick ago; on any other thread, now. For
/// measuring and deadlines of the edge, never for decisions.
pub(crate) fn mono_ns() -> u64 {
    Clock::recent_ns()
}
