//! From a client's message to the owner of its place: answered here, queued here, or forwarded.

use super::connection::{Conn, origin};
use super::hints::fill_candidates;
use super::message::{Ask, CoreMessage, Job};
use super::metrics::Metrics;
use super::pump::INDEX_AHEAD;
use super::state::{CLASSES, Core, QUEUE_BOUND, State, mono_ns};
use crate::identity::{Identity, IdentityError};
use frontrow_engine::Engine;
use frontrow_plant::{Bug, planted};
use frontrow_protocol::{
    ClientMessage, ConnectionLimits, ErrorReply, MAX_BATCH, Topology, Welcome, WireCode, encode_error,
    encode_pong, encode_snapshot, encode_topology, encode_welcome,
};
use frontrow_shard::{ClaimBest, ClaimSection, Command, RequestId, RowRef, UserId};
use std::borrow::Cow;
use std::rc::Rc;

/// How long a client should wait after `busy`: enough for a full queue to be worked off.
pub(crate) const BUSY_RETRY_MS: u32 = 50;

/// The same while the standby is gone: an operator has to do something.
const STUCK_RETRY_MS: u32 = 1000;

/// Whether a connection goes on after a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    GoOn,
    Close,
}

/// Handles one message of a connection.
pub(crate) fn handle<E: Engine>(
    core: &Rc<Core<E>>,
    conn: &Rc<Conn<E>>,
    message: &ClientMessage<'_>,
) -> Verdict {
    if let ClientMessage::Hello(hello) = message {
        return match conn.user.get() {
            None => greet(core, conn, &hello.token),
            Some(_) if hello.token.is_empty() => Verdict::GoOn,
            Some(user) => renew(core, conn, user, &hello.token),
        };
    }
    let Some(identity) = conn.identity.get().filter(|_| conn.user.get().is_some()) else {
        let reply = ErrorReply { fatal: true, ..ErrorReply::of(0, WireCode::HelloExpected) };
        conn.say(|out| encode_error(&reply, out));
        return Verdict::Close;
    };
    if core.now_ms() / 1000 >= identity.expires_s {
        conn.goodbye(WireCode::TokenExpired, 0);
        return Verdict::Close;
    }
    match message {
        ClientMessage::Hello(_) => {}
        ClientMessage::Request { id, command } => ask(core, conn, *id, Ask::Command(*command)),
        ClientMessage::Status { id, place } => ask(core, conn, *id, Ask::Status(*place)),
        ClientMessage::Watch { id, section } => watch(core, conn, *id, section.section_of()),
        ClientMessage::Unwatch { section, .. } => unwatch(core, conn, section.section_of()),
        ClientMessage::Topology { id } => {
            let topology = Topology {
                id: *id,
                cores: core.shared.addresses().to_vec(),
                owners: core.shared.owners.clone(),
            };
            conn.say(|out| encode_topology(&topology, out));
        }
        ClientMessage::Ping { id } => conn.say(|out| encode_pong(*id, core.now_ms(), out)),
        ClientMessage::Batch(batch) => {
            for message in batch.iter() {
                if handle(core, conn, &message) == Verdict::Close {
                    return Verdict::Close;
                }
            }
        }
    }
    Verdict::GoOn
}

/// A hello: who is it?
fn greet<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, token: &str) -> Verdict {
    if let Some(identity) = conn.identity.get().filter(|_| token.is_empty()) {
        // The token came with the WebSocket's upgrade, and was verified there.
        admit(core, conn, identity, conn.welcomed.get());
        return Verdict::GoOn;
    }
    match core.shared.verifier.verify(token, core.now_ms() / 1000) {
        Ok(identity) => {
            admit(core, conn, identity, false);
            Verdict::GoOn
        }
        Err(error) => {
            let code = match error {
                IdentityError::Expired { .. } => WireCode::TokenExpired,
                _ => WireCode::Unauthenticated,
            };
            refuse_identity(conn, code, &error.to_string());
            Verdict::Close
        }
    }
}

/// A later hello may renew the token. A connection belongs to one user for all its life.
fn renew<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, user: UserId, token: &str) -> Verdict {
    match core.shared.verifier.verify(token, core.now_ms() / 1000) {
        Ok(identity) if identity.user == user => {
            conn.identity.set(Some(identity));
            Verdict::GoOn
        }
        Ok(_) => {
            let why = "this connection belongs to another user: open one for each user";
            refuse_identity(conn, WireCode::Unauthenticated, why);
            Verdict::Close
        }
        Err(error) => {
            refuse_identity(conn, WireCode::Unauthenticated, &error.to_string());
            Verdict::Close
        }
    }
}

fn refuse_identity<E: Engine>(conn: &Conn<E>, code: WireCode, why: &str) {
    let message = Cow::Owned(why.chars().take(200).collect());
    let reply = ErrorReply { message, fatal: true, ..ErrorReply::of(0, code) };
    conn.say(|out| encode_error(&reply, out));
}

/// Lets a user in, here and in every core's list of who is where.
pub(crate) fn admit<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, identity: Identity, welcomed: bool) {
    conn.identity.set(Some(identity));
    if conn.user.replace(Some(identity.user)).is_none() {
        tell_user(core, conn, true);
    }
    if welcomed {
        return;
    }
    conn.welcomed.set(true);
    let shared = &core.shared;
    let welcome = Welcome {
        user: identity.user,
        server_time_ms: core.now_ms(),
        epoch: shared.epoch,
        features: 0,
        partitions: shared.partitions,
        cores: shared.cores.len() as u16,
        core: core.me,
        durability: shared.durability(),
        limits: ConnectionLimits {
            max_frame: shared.limits.frame as u32,
            max_in_flight: shared.limits.in_flight,
            remembered_ids: shared.remembered,
            max_batch: MAX_BATCH,
        },
    };
    conn.say(|out| encode_welcome(&welcome, out));
}

fn tell_user<E: Engine>(core: &Rc<Core<E>>, conn: &Conn<E>, here: bool) {
    let Some(user) = conn.user.get() else { return };
    let at = origin(core, conn);
    let mut state = core.state.borrow_mut();
    state.users.set(user, at, here);
    for to in 0..core.shared.cores.len() as u16 {
        if to != core.me {
            state.send(&core.shared, to, CoreMessage::User { user, at, here });
        }
    }
}

/// Takes a connection that ends or moves off every list.
pub(crate) fn forget<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>) {
    tell_user(core, conn, false);
    let watches = std::mem::take(&mut *conn.watches.borrow_mut());
    for section in watches {
        stop_watching(core, conn, section);
    }
}

/// Queues or forwards a request.
fn ask<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, id: RequestId, mut what: Ask) {
    let shared = &core.shared;
    if conn.in_flight.get() >= shared.limits.in_flight {
        return conn.error(id, WireCode::TooManyInFlight, BUSY_RETRY_MS);
    }
    if !spend(core, conn) {
        return conn.error(id, WireCode::Busy, 1000 / shared.limits.requests_per_second.max(1) + 1);
    }
    if core.stopping.get() {
        return conn.error(id, WireCode::ShuttingDown, 1000);
    }
    if shared.is_stuck() {
        Metrics::add(&core.counters().busy, 1);
        return conn.error_saying(id, WireCode::Busy, STUCK_RETRY_MS, shared.why_stuck());
    }
    let mut state = core.state.borrow_mut();
    if let Ask::Command(Command::ClaimSection(claim)) = &mut what {
        fill_candidates(&state.hints, claim);
    }
    let partition = shared.partition_of(what.place());
    let mut owner = shared.owners[usize::from(partition)];
    if planted(Bug::WrongOwner) && shared.epoch > 1 {
        owner = (partition % 2).min(shared.cores.len() as u16 - 1);
    }
    conn.went_to(owner);
    if let Ask::Command(
        Command::Join(_)
        | Command::ClaimBest(ClaimBest { or_join: true, .. })
        | Command::ClaimSection(ClaimSection { or_join: true, .. }),
    ) = what
    {
        conn.stay();
    }
    let user = conn.user.get().unwrap_or_default();
    let job = Job { origin: origin(core, conn), id, user, ask: what, partition, since_ns: mono_ns() };
    if owner != core.me {
        let outbound = &mut state.outbound[usize::from(owner)];
        if outbound.waiting.len() >= 64 {
            drop(state);
            Metrics::add(&core.counters().busy, 1);
            return conn.error(id, WireCode::Busy, BUSY_RETRY_MS);
        }
        outbound.jobs.push(job);
    } else if !state.enqueue(job) {
        drop(state);
        Metrics::add(&core.counters().busy, 1);
        return conn.error(id, WireCode::Busy, BUSY_RETRY_MS);
    }
    conn.in_flight.set(conn.in_flight.get() + 1);
}

/// Takes one request out of the connection's allowance; `false` if it is used up.
fn spend<E: Engine>(core: &Core<E>, conn: &Conn<E>) -> bool {
    let (rate, burst) =
        (u64::from(core.shared.limits.requests_per_second), u64::from(core.shared.limits.requests_burst));
    if rate == 0 {
        return true;
    }
    let (left, counted_ns) = conn.bucket.get();
    let now = mono_ns();
    // Thousandths of a request per nanosecond: rate * 1000 / 1e9.
    let earned = now.saturating_sub(counted_ns).saturating_mul(rate) / 1_000_000;
    let left = (left + earned).min(burst * 1000);
    let paid = left >= 1000;
    conn.bucket.set((if paid { left - 1000 } else { left }, if earned > 0 { now } else { counted_ns }));
    paid
}

impl<E: Engine> State<E> {
    /// Puts a request of a place owned here into its class's queue; `false` if that is full.
    pub(crate) fn enqueue(&mut self, job: Job) -> bool {
        let queue = &mut self.jobs[class_of(&job.ask)];
        if queue.len() >= QUEUE_BOUND {
            return false;
        }
        if queue.len() < INDEX_AHEAD
            && let (Ask::Command(command), Some(Some(machine))) =
                (&job.ask, self.partitions.get(usize::from(job.partition)))
        {
            // The batch begins with these, and would have nothing to do while they are fetched.
            machine.prefetch_index(job.id, command);
        }
        queue.push_back(job);
        true
    }
}

/// Booking before release before claim before looking.
fn class_of(ask: &Ask) -> usize {
    const { assert!(CLASSES == 4) }
    match ask {
        Ask::Command(Command::Book(_) | Command::BeginPayment(_) | Command::Extend(_)) => 0,
        Ask::Command(Command::Release(_) | Command::Cancel(_) | Command::Leave(_)) => 1,
        Ask::Command(_) => 2,
        Ask::Status(_) => 3,
    }
}

/// A client wants to see a section live.
fn watch<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, id: RequestId, section: RowRef) {
    let shared = &core.shared;
    let mut state = core.state.borrow_mut();
    let Some(rows) = state.rows_of(section) else {
        drop(state);
        let message = Cow::Borrowed(
            "no such section, or the event is archived: look it up in the event's map, and read an archived event's \
             seats over HTTP",
        );
        let reply = ErrorReply { message, ..ErrorReply::of(id, WireCode::Malformed) };
        return conn.say(|out| encode_error(&reply, out));
    };
    let mut watches = conn.watches.borrow_mut();
    if !watches.contains(&section) {
        if watches.len() >= shared.limits.watches as usize {
            drop((watches, state));
            return conn.error(id, WireCode::WatchLimit, 0);
        }
        watches.push(section);
    }
    drop(watches);
    let watched = state.watches.sections.entry(section).or_default();
    let first = watched.watchers.is_empty() && watched.fresh.is_empty();
    watched.wanted = rows;
    if watched.is_complete() {
        if !watched.watchers.contains(&conn.id) {
            watched.watchers.push(conn.id);
        }
        let rows = watched.rows.iter().map(|(&row, &seats)| (row, seats));
        conn.say(|out| encode_snapshot(id, section, rows, shared.limits.frame as u32, out));
    } else {
        watched.fresh.push((conn.id, id));
    }
    if first {
        state.subscribe(core, section, true);
    }
}

fn unwatch<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, section: RowRef) {
    conn.watches.borrow_mut().retain(|other| *other != section);
    stop_watching(core, conn, section);
}

fn stop_watching<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, section: RowRef) {
    let mut state = core.state.borrow_mut();
    let Some(watched) = state.watches.sections.get_mut(&section) else { return };
    watched.watchers.retain(|id| *id != conn.id);
    watched.fresh.retain(|(id, _)| *id != conn.id);
    if watched.watchers.is_empty() && watched.fresh.is_empty() {
        state.watches.sections.remove(&section);
        state.subscribe(core, section, false);
    }
}

impl<E: Engine> State<E> {
    /// How many rows a section has, if there is such a section.
    pub(crate) fn rows_of(&self, section: RowRef) -> Option<u16> {
        let partition = self.own.first().and_then(|&own| self.partitions[usize::from(own)].as_ref())?;
        partition.section_rows(section.event)?.nth(usize::from(section.section))
    }

    /// Tells the owners of a section's rows, this core included, that there are watchers here.
    fn subscribe(&mut self, core: &Rc<Core<E>>, section: RowRef, on: bool) {
        for to in 0..core.shared.cores.len() as u16 {
            if to == core.me {
                super::pump::subscribed(self, section, core.me, on);
            } else {
                self.send(&core.shared, to, CoreMessage::Watch { section, core: core.me, on });
            }
        }
        core.work.wake();
    }
}
