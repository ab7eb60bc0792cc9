//! One core's life on its thread: its log and its ports opened, its tasks, and what reaches it from other threads.

use super::buffers::Buffers;
use super::changed::Changed;
use super::connection::{self, About, ArrivalInfo};
use super::error::CoreError;
use super::hints::Hints;
use super::message::{Arrival, Audit, CoreMessage};
use super::pump;
use super::staging::Group;
use super::start::Seat;
use super::state::{CLASSES, Conns, Core, Outbound, RowSet, State, mono_ns};
use crate::http::NoRoom;
use frontrow_engine::{Engine, ListenOptions, Receiver, notifier};
use frontrow_plant::{Bug, planted};
use frontrow_protocol::{ErrorReply, WireCode, encode_error};
use frontrow_shard::record::Encoder;
use frontrow_shard::{Effects, Letter, Op, Partition, PartitionId, RowRef};
use frontrow_wal::{Appender, Carrier};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// The main task of a core: ends when the core has stopped.
pub async fn serve_core<E: Engine>(seat: Seat) {
    let me = seat.me;
    let ready = seat.ready.clone();
    match prepare::<E>(seat) {
        Ok((core, listeners, at, inbox, durable)) => {
            core.counters().ready.store(1, std::sync::atomic::Ordering::Relaxed);
            let _ = ready.send((me, Ok(at)));
            drop(ready);
            for listener in listeners {
                E::spawn(accept(Rc::clone(&core), listener));
            }
            E::spawn(bridge(Rc::clone(&core), durable));
            E::spawn(super::log_writer::run(Rc::clone(&core)));
            E::spawn(read_inbox(Rc::clone(&core), inbox));
            E::spawn(tick(Rc::clone(&core)));
            pump::run(core).await;
        }
        Err(error) => {
            let _ = ready.send((me, Err(error)));
        }
    }
}

type Prepared<E> =
    (Rc<Core<E>>, Vec<<E as Engine>::Listener>, SocketAddr, Receiver<CoreMessage>, frontrow_engine::Notified);

fn prepare<E: Engine>(mut seat: Seat) -> Result<Prepared<E>, CoreError> {
    let shared = Arc::clone(&seat.shared);
    let (wake, durable) = notifier();
    // The log's threads would inherit this core's pin, and take the core from the shard at every commit.
    let pinned = rustix::thread::sched_getaffinity(None).ok();
    let _ = seat.cpus.is_none_or(|all| rustix::thread::sched_setaffinity(None, &all).is_ok());
    let woken = wake.clone();
    let opened = seat.dir.open_stream(seat.me, &seat.log, move || woken.wake());
    let _ = pinned.is_none_or(|own| rustix::thread::sched_setaffinity(None, &own).is_ok());
    let mut appender = opened?;
    let _ = shared.durable[usize::from(seat.me)].set(appender.durable_handle());
    let mut partitions = std::mem::take(&mut seat.partitions);
    let (mut encoder, mut effects) =
        (Encoder::within(seat.log.max_payload_bytes), Effects::with_capacity(1024));
    let letters = begin_epoch(&seat, (&mut partitions, &mut appender), (&mut encoder, &mut effects));
    if let Some(hub) = &shared.hub {
        hub.link(seat.me).attach(wake, appender.durable());
    }
    let (listeners, at) = listen::<E>(&seat)?;
    let cores = shared.cores.len();
    let mut groups = [Group::new(cores), Group::new(cores)];
    // What had not arrived before the crash goes out with the first commit.
    groups[0].letters = if planted(Bug::LettersNotRepeated) { Vec::new() } else { letters };
    let changed = all_rows(&partitions, &seat.own, &seat.hints);
    // What recovery found, and this epoch's beginning, may not be at the standby yet: nothing rests on it before.
    let flying = shared.hub.as_ref().map(|_| appender.position());
    let memory_only = appender.durability() == frontrow_wal::Durability::Memory;
    if seat.me == 0 {
        tracing::info!("commits go to the disk by {}", way_of_commits(&appender));
    }
    let state = State {
        partitions,
        own: seat.own,
        appender,
        encoder,
        effects,
        jobs: std::array::from_fn::<_, CLASSES, _>(|_| VecDeque::with_capacity(4096)),
        letters: VecDeque::new(),
        admin: VecDeque::new(),
        stalled: None,
        groups,
        filling: 0,
        flying,
        deferred: HashMap::new(),
        outbound: (0..cores).map(|_| Outbound::default()).collect(),
        conns: Conns::new(),
        buffers: Buffers::default(),
        ending: Vec::new(),
        users: super::users::Users::default(),
        watches: super::watch::Watches::default(),
        hints: seat.hints,
        changed,
        unseen: VecDeque::new(),
        moved: RowSet::default(),
        tick_due: true,
        expiring: false,
        read_only: false,
        disk_full: false,
        expire_next: 0,
        memory_only,
        checked: 0,
    };
    let metrics = Arc::clone(&shared.metrics[usize::from(seat.me)]);
    let core = Rc::new(Core {
        me: seat.me,
        shared,
        metrics,
        state: RefCell::new(state),
        work: frontrow_engine::LocalNotify::new(),
        log_work: frontrow_engine::LocalNotify::new(),
        stopping: Cell::new(false),
    });
    core.work.wake();
    Ok((core, listeners, at, seat.inbox, durable))
}

/// Records of every partition that this epoch has begun. Letters that had not arrived before the crash.
fn begin_epoch(
    seat: &Seat,
    (partitions, appender): (&mut [Option<Partition>], &mut Appender),
    (encoder, effects): (&mut Encoder, &mut Effects),
) -> Vec<(PartitionId, Letter)> {
    let shared = &seat.shared;
    let now = shared.now_ms();
    let mut letters = Vec::new();
    for (&id, &secret) in seat.own.iter().zip(&seat.secrets) {
        let Some(partition) = partitions[usize::from(id)].as_mut() else { continue };
        let op = Op::Begin { epoch: shared.epoch, secret };
        let applied = partition.apply(now, &op, effects);
        let (kind, payload) = encoder.encode(&op, &applied.answer, effects);
        if let Err(error) = appender.append(id, partition.lsn(), now, kind, payload) {
            shared.fail(seat.me, &error.to_string());
        }
        letters.extend(partition.unconfirmed().map(|letter| (id, *letter)));
    }
    if let Err(error) = appender.flush() {
        shared.fail(seat.me, &error.to_string());
    }
    letters
}

/// The port that all cores have, and the core's own; where that is.
fn listen<E: Engine>(seat: &Seat) -> Result<(Vec<E::Listener>, SocketAddr), CoreError> {
    let listen = |address, reuse_port| {
        E::listen(address, ListenOptions { reuse_port, ..ListenOptions::default() })
            .map_err(|source| CoreError::Listen { address, source })
    };
    let (public, own) = (listen(seat.tcp, true)?, listen(seat.core_tcp, false)?);
    let at = E::local_addr(&own).map_err(|source| CoreError::Listen { address: seat.core_tcp, source })?;
    Ok((vec![public, own], at))
}

/// How commits are made durable in fact, in words: what was asked for may have been refused.
fn way_of_commits(log: &Appender) -> &'static str {
    use frontrow_wal::Durability::{Direct, Mapped, Memory};
    match (log.durability(), log.carrier()) {
        (Direct, Carrier::Caller) => "direct writes from each shard's own ring; no other thread takes part",
        (Direct, Carrier::Thread) => "direct writes of a thread per shard, which each commit wakes",
        (Mapped, _) => "a flushed mapping and a thread per shard, which each commit wakes",
        (Memory, _) => "nothing: durability is memory, and a thread per shard copies",
    }
}

/// Every row owned here as changed, so that hints begin complete.
fn all_rows(partitions: &[Option<Partition>], own: &[PartitionId], hints: &Hints) -> Changed {
    let mut changed = Changed::default();
    for (&event, hints) in hints {
        changed.add(event, hints.section_rows());
    }
    for row in own.iter().filter_map(|&id| partitions[usize::from(id)].as_ref()).flat_map(Partition::rows) {
        changed.mark(row);
    }
    changed
}

async fn accept<E: Engine>(core: Rc<Core<E>>, listener: E::Listener) {
    while !core.stopping.get() {
        match E::accept(&listener).await {
            Ok((reader, writer, peer)) => match core.shared.connections.enter(peer.ip()) {
                Ok(place) => {
                    let about = About {
                        websocket: false,
                        leftover: Vec::new(),
                        identity: None,
                        welcomed: false,
                        peer,
                    };
                    let info = ArrivalInfo { about, place: Some(place) };
                    E::spawn(connection::serve(Rc::clone(&core), (reader, writer), info));
                }
                Err(why) => E::spawn(turn_away::<E>(reader, writer, why)),
            },
            // Out of descriptors, most likely: a pause lets some be closed.
            Err(_) => E::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn turn_away<E: Engine>(reader: E::Reader, mut writer: E::Writer, why: NoRoom) {
    let mut bytes = Vec::new();
    let message = std::borrow::Cow::Owned(why.to_string());
    let code = WireCode::TooManyConnections;
    let error = ErrorReply { message, fatal: true, retry_after_ms: 1000, ..ErrorReply::of(0, code) };
    encode_error(&error, &mut bytes);
    let _ = E::send_all(&mut writer, bytes).await;
    let _ = E::shutdown(&writer, Shutdown::Both);
    drop(reader);
}

/// Passes the log's wake on: to the pump, and to the writer, which may have waited for a segment.
async fn bridge<E: Engine>(core: Rc<Core<E>>, mut durable: frontrow_engine::Notified) {
    loop {
        durable.wait().await;
        core.work.wake();
        core.log_work.wake();
    }
}

async fn read_inbox<E: Engine>(core: Rc<Core<E>>, mut inbox: Receiver<CoreMessage>) {
    let mut messages = Vec::with_capacity(64);
    while inbox.ready().await {
        inbox.drain(&mut messages, 64);
        for message in messages.drain(..) {
            match message {
                CoreMessage::Arrival(arrival) => arrive(&core, *arrival),
                message => take_in(&core, message),
            }
        }
        core.work.wake();
    }
}

fn take_in<E: Engine>(core: &Rc<Core<E>>, message: CoreMessage) {
    let mut state = core.state.borrow_mut();
    let state = &mut *state;
    match message {
        CoreMessage::Jobs(jobs) => pump::jobs_arrived(core, state, jobs),
        CoreMessage::Frames(frames) => pump::frames_arrived(state, &frames),
        CoreMessage::Letters(letters) => state.letters.extend(letters),
        CoreMessage::Confirmed(items) => state.confirmed(&items),
        CoreMessage::User { user, at, here } => state.users.set(user, at, here),
        CoreMessage::Watch { section, core, on } => pump::subscribed(state, section, core, on),
        CoreMessage::Rows(rows) => pump::rows_arrived(core, state, &rows),
        CoreMessage::Admin(admin) => {
            let reply = admin.reply;
            state.admin.extend(admin.ops.into_iter().map(|(p, op)| (p, op, reply.clone())));
        }
        CoreMessage::Event(event, hints) => {
            state.changed.add(event, hints.section_rows());
            state.hints.insert(event, hints);
            let own = state.own.iter().filter_map(|&id| state.partitions[usize::from(id)].as_ref());
            let rows: Vec<RowRef> = own.flat_map(Partition::rows).filter(|row| row.event == event).collect();
            for row in rows {
                state.touched(row);
            }
        }
        CoreMessage::Section { section, reply } => {
            let _ = reply.try_send(state.own_rows(section));
        }
        CoreMessage::ReadOut { partition, event, whole, reply } => {
            let machine = state.partitions.get(usize::from(partition)).and_then(Option::as_ref);
            let read = machine.and_then(|machine| machine.read_out(event, whole));
            let _ = reply.try_send(read.map(Box::new));
        }
        CoreMessage::Forget(event) => {
            state.hints.remove(&event);
            state.changed.add(event, std::iter::empty());
        }
        CoreMessage::Audit { reply } => {
            let own = state.own.iter().filter_map(|&id| state.partitions[usize::from(id)].as_ref());
            let _ = reply.try_send(own.map(Audit::of).collect());
        }
        CoreMessage::Arrival(_) => unreachable!("handled by the caller, outside the borrow"),
        CoreMessage::Stop => {
            core.stopping.set(true);
            for conn in state.conns.iter() {
                conn.goodbye(WireCode::ShuttingDown, 1000);
            }
        }
    }
}

/// Takes over a connection. Not under a borrow of the state: glommio runs a new task at once.
fn arrive<E: Engine>(core: &Rc<Core<E>>, arrival: Arrival) {
    let Ok(halves) = E::adopt(arrival.connection) else { return };
    let about = About {
        websocket: arrival.websocket,
        leftover: arrival.leftover,
        identity: arrival.identity,
        welcomed: arrival.welcomed,
        peer: arrival.peer,
    };
    let info = ArrivalInfo { about, place: arrival.place };
    E::spawn(connection::serve(Rc::clone(core), halves, info));
}

/// Gives expiries, hints, watchers and deadlines their turn.
async fn tick<E: Engine>(core: Rc<Core<E>>) {
    let mut ticks = 0_u32;
    let tick = core.shared.host.tick;
    let ticks_per_second = (1000 / tick.as_millis().max(1)).max(1) as u32;
    loop {
        E::sleep(tick).await;
        core.state.borrow_mut().tick_due = true;
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(ticks_per_second) {
            pump::every_second(&core);
            sweep(&core);
        }
        core.work.wake();
    }
}

/// Ends connections that said no hello in time, or nothing for too long.
fn sweep<E: Engine>(core: &Rc<Core<E>>) {
    let now = mono_ns();
    let limits = &core.shared.limits;
    let (handshake, idle) = (limits.handshake.as_nanos() as u64, limits.idle.as_nanos() as u64);
    // Last words are for those who listen; from others the socket is taken.
    let overdue = |since: u64| now.saturating_sub(since) > handshake;
    core.state.borrow_mut().ending.retain(|conn| {
        if conn.closing_since().is_some_and(overdue) {
            conn.abort();
        }
        !conn.is_over()
    });
    let conns: Vec<_> = core.state.borrow().conns.iter().cloned().collect();
    for conn in conns {
        if let Some(since) = conn.closing_since() {
            if overdue(since) {
                conn.abort();
            }
        } else if conn.user.get().is_none() && now.saturating_sub(conn.begun_ns) > handshake {
            conn.goodbye(WireCode::HandshakeTimeout, 0);
        } else if now.saturating_sub(conn.heard_ns.get()) > idle && conn.watches.borrow().is_empty() {
            conn.goodbye(WireCode::IdleTimeout, 0);
        }
    }
}
