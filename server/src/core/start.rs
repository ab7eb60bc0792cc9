//! Threads, and the little that they share.

use super::buffers::Buffers;
use super::changed::Changed;
use super::connection::{self, About, ArrivalInfo};
use super::hints::Hints;
use super::message::{Arrival, Audit, CoreMessage};
use super::metrics::Metrics;
use super::pump;
use super::staging::Group;
use super::state::{CLASSES, Conns, Core, Outbound, RowSet, State, mono_ns};
use crate::config::{Config, Limits};
use crate::http::{Connections, NoRoom};
use crate::identity::Verifier;
use crate::replication::Hub;
use crate::snapshots::Progress;
use frontrow_engine::{
    Clock, CoreSpec, Engine, EngineError, EngineKind, ListenOptions, Receiver, ReservedPort, Sender,
    WithEngine, dispatch, inbox, notifier,
};
use frontrow_plant::{Bug, planted};
use frontrow_protocol::{CoreAddress, Durability, ErrorReply, WireCode, encode_error};
use frontrow_shard::record::Encoder;
use frontrow_shard::{Effects, Epoch, Millis, Op, Partition, PartitionId, RowRef};
use frontrow_wal::{Appender, Carrier, DataDir, LogOptions, Preparer, WalError};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::Duration;

/// Messages that may wait in a core's inbox; each carries many items.
const INBOX: usize = 1024;
/// How often expiries, hints and watchers get their turn.
const TICK: Duration = Duration::from_millis(5);

/// One core's counters.
#[derive(Debug, Default)]
pub(crate) struct CoreMetrics(pub(crate) Metrics);

/// What all cores, and the handle of the off-core side, have in common. Nothing of it changes after the
/// start, but for the addresses that are filled in once.
pub(crate) struct Shared {
    pub(crate) partitions: u16,
    /// By partition: the core that owns it.
    pub(crate) owners: Vec<u16>,
    pub(crate) cores: Vec<Sender<CoreMessage>>,
    pub(crate) limits: Limits,
    /// How long a core looks for work before it sleeps.
    pub(crate) busy_poll: Option<Duration>,
    pub(crate) remembered: u32,
    pub(crate) verifier: Verifier,
    pub(crate) connections: Connections,
    pub(crate) epoch: Epoch,
    durability: Durability,
    /// The standby's side, if there may be a standby.
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) metrics: Vec<Arc<CoreMetrics>>,
    pub(crate) progress: Arc<Progress>,
    /// By core: up to where its log is durable, as the log's own threads say.
    durable: Vec<OnceLock<Arc<AtomicU64>>>,
    addresses: OnceLock<Vec<CoreAddress>>,
    host: Host,
    /// Whether the log is at its limit, because somebody who reads it is away.
    pub(crate) log_full: Arc<AtomicBool>,
    /// The wall clock when the process started, and the monotonic clock then: after that the wall clock may step
    /// as it likes.
    wall_ms: Millis,
    mono_ns: u64,
}

impl Shared {
    /// What answers wait for now.
    pub(crate) fn durability(&self) -> Durability {
        if self.hub.as_ref().is_some_and(|hub| hub.waits()) { Durability::Backup } else { self.durability }
    }

    /// Whether new requests are refused, because what was decided waits for the standby too long.
    pub(crate) fn is_stuck(&self) -> bool {
        self.hub.as_ref().is_some_and(|hub| hub.is_stuck(mono_ns()))
    }

    /// What is said to those who are refused then.
    pub(crate) fn why_stuck(&self) -> &'static str {
        self.hub.as_ref().map_or(WireCode::Busy.advice().message, |hub| hub.why_stuck())
    }

    pub(crate) fn now_ms(&self) -> Millis {
        if planted(Bug::WallClockFollowed) {
            return Clock::wall_ms();
        }
        self.wall_ms + (mono_ns() - self.mono_ns) / 1_000_000
    }

    pub(crate) fn partition_of(&self, place: RowRef) -> PartitionId {
        place.partition(self.partitions)
    }

    pub(crate) fn owner_of(&self, place: RowRef) -> u16 {
        self.owners[usize::from(self.partition_of(place))]
    }

    pub(crate) fn addresses(&self) -> &[CoreAddress] {
        self.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// A core cannot go on: the whole process stops, for an answer it can't stand by must not be given.
    pub(crate) fn fail(&self, core: u16, why: &str) -> ! {
        self.metrics[usize::from(core)].0.ready.store(0, std::sync::atomic::Ordering::Relaxed);
        (self.host.stop)(core, why)
    }
}

/// Why the cores could not start.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A log stream.
    #[error(transparent)]
    Log(#[from] WalError),
    /// A port.
    #[error("cannot listen on {address}: {source}; choose another address, or stop what listens there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// A core's own port.
    #[error(
        "server.core_ports: a core cannot listen on {address}: {source}; choose another first port, or stop what listens there"
    )]
    ListenCore {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// Threads.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(std::io::Error),
    /// No randomness.
    #[error("the system has no randomness: {0}")]
    Random(String),
}

/// What the cores ask of the process around them.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// 128 random bits, for a partition's nonces.
    pub random: fn() -> Result<u128, CoreError>,
    /// Ends the whole process with a last word: a core's log has failed, and no thread may answer after it.
    pub stop: fn(core: u16, why: &str) -> !,
    /// Whether the log may have threads of its own. Without, cores make segments themselves, and wait for it.
    pub log_threads: bool,
    /// How often expiries, hints and watchers get their turn.
    pub tick: Duration,
}

impl Default for Host {
    /// The system's randomness, and the end of this process.
    fn default() -> Self {
        Self { random, stop, log_threads: true, tick: TICK }
    }
}

fn random() -> Result<u128, CoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CoreError::Random(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

#[allow(clippy::exit, reason = "a failed sync is final, and no thread may answer after it")]
fn stop(core: u16, why: &str) -> ! {
    tracing::error!(
        core,
        why,
        "stopping: the log has failed, and nothing that is not in it was acknowledged"
    );
    eprintln!(
        "frontrow: core {core} cannot write its log: {why}. The process stops; nothing acknowledged is lost. \
         Check the disk, then start again."
    );
    std::process::exit(74)
}

/// What the cores are started with.
pub struct Setup<'a> {
    /// The configuration.
    pub config: &'a Config,
    /// The engine settled on.
    pub engine: EngineKind,
    /// The open data directory.
    pub dir: DataDir,
    /// The recovered partitions, by number.
    pub partitions: Vec<Partition>,
    /// Believes users' tokens.
    pub verifier: Verifier,
    /// The connections of the whole server.
    pub connections: Connections,
    /// The process around the cores.
    pub host: Host,
    /// The standby's side, if there may be a standby.
    pub hub: Option<Arc<Hub>>,
    /// The time to go on from, if it is not this machine's.
    pub now_ms: Option<Millis>,
}

/// The running cores.
pub struct Threads {
    pub(crate) shared: Arc<Shared>,
    /// Where raw TCP clients connect.
    pub tcp: SocketAddr,
    /// Where clients of one core connect, by core.
    pub core_tcp: Vec<SocketAddr>,
    joins: Vec<JoinHandle<Result<(), EngineError>>>,
}

impl Threads {
    /// By core, up to where its log is durable.
    pub(crate) fn durable(&self) -> Vec<Arc<AtomicU64>> {
        self.shared.durable.iter().filter_map(OnceLock::get).map(Arc::clone).collect()
    }

    /// To be set while the log is at its limit: then nothing new is sold.
    pub(crate) fn log_full(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.shared.log_full)
    }

    pub(crate) fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.shared.progress)
    }

    /// Lets every core finish what is under way, and waits for it.
    pub fn stop(self) {
        for core in &self.shared.cores {
            // A full inbox is being worked off; a word that got lost would leave the core running for ever.
            while let Err(frontrow_engine::SendError::Full(_)) = core.try_send(CoreMessage::Stop) {
                std::thread::yield_now();
            }
        }
        for join in self.joins {
            if join.join().is_err() {
                tracing::error!("a core ended with a panic");
            }
        }
    }
}

/// Starts one thread per core; returns when all of them serve.
pub fn launch(setup: Setup<'_>, port: ReservedPort) -> Result<Threads, CoreError> {
    let engine = setup.engine;
    dispatch(engine, Launch(setup, port))
}

/// The cores' common port, which is this process's from now on; and whether their own are free.
pub(crate) fn reserve(config: &Config) -> Result<ReservedPort, CoreError> {
    let (address, first) = (config.server.tcp, config.server.core_ports);
    for port in (first..).take(config.server.shard_cpus.len()).filter(|_| first > 0) {
        let address = SocketAddr::new(address.ip(), port);
        TcpListener::bind(address).map_err(|source| CoreError::ListenCore { address, source })?;
    }
    ReservedPort::take(address).map_err(|source| CoreError::Listen { address, source })
}

struct Launch<'a>(Setup<'a>, ReservedPort);

impl WithEngine for Launch<'_> {
    type Out = Result<Threads, CoreError>;

    fn call<E: Engine>(self) -> Self::Out {
        start_all::<E>(self.0, &self.1)
    }
}

/// What one core is given: moved to its thread, and there to [`serve_core`].
pub struct Seat {
    me: u16,
    shared: Arc<Shared>,
    partitions: Vec<Option<Partition>>,
    own: Vec<PartitionId>,
    secrets: Vec<u128>,
    log: LogOptions,
    dir: DataDir,
    tcp: SocketAddr,
    core_tcp: SocketAddr,
    inbox: Receiver<CoreMessage>,
    hints: Hints,
    /// The CPUs of the log's threads, which must not stay on the core's own.
    cpus: Option<rustix::thread::CpuSet>,
    ready: flume::Sender<(u16, Result<SocketAddr, CoreError>)>,
}

/// Everything that is settled before the first core runs.
pub struct Plan {
    /// One to a core, in their order.
    pub seats: Vec<Seat>,
    /// Where the cores say that they serve.
    pub starting: Starting,
}

/// Cores that have been given their seats.
pub struct Starting {
    shared: Arc<Shared>,
    tcp: SocketAddr,
    readies: flume::Receiver<(u16, Result<SocketAddr, CoreError>)>,
}

/// Divides the partitions among the cores; they will all listen on `tcp`, whose port is settled.
pub fn plan<E: Engine>(setup: Setup<'_>, tcp: SocketAddr) -> Result<Plan, CoreError> {
    let Setup { config, dir, partitions, verifier, connections, host, hub, now_ms, .. } = setup;
    let cores = config.server.shard_cpus.len().max(1);
    let count = dir.partitions();
    let owners: Vec<u16> = (0..count).map(|p| p % cores as u16).collect();
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..cores).map(|_| inbox(INBOX)).unzip();
    let latest = partitions.iter().map(Partition::now).max().unwrap_or(0);
    let memory = config.log.durability == crate::config::Durability::Memory;
    let hints = hints_of(&partitions);
    let shared = Arc::new(Shared {
        partitions: count,
        owners,
        cores: senders,
        limits: config.limits.clone(),
        busy_poll: config.server.busy_poll,
        remembered: config.partitions.requests_remembered,
        verifier,
        connections,
        epoch: dir.epoch(),
        durability: if memory { Durability::Memory } else { Durability::Local },
        hub,
        metrics: (0..cores).map(|_| Arc::default()).collect(),
        progress: Arc::default(),
        durable: (0..cores).map(|_| OnceLock::new()).collect(),
        log_full: Arc::default(),
        addresses: OnceLock::new(),
        host,
        wall_ms: now_ms.unwrap_or_else(Clock::wall_ms).max(latest),
        mono_ns: mono_ns(),
    });
    let (ready, readies) = flume::bounded(cores);
    let cpus = cpu_set(&config.server.log_cpus).or_else(|| rustix::thread::sched_getaffinity(None).ok());
    let mut seats = Vec::with_capacity(cores);
    let mut partitions: Vec<Option<Partition>> = partitions.into_iter().map(Some).collect();
    for (me, inbox) in receivers.into_iter().enumerate() {
        let own: Vec<PartitionId> =
            (0..count).filter(|&p| usize::from(shared.owners[usize::from(p)]) == me).collect();
        let mut mine: Vec<Option<Partition>> = (0..count).map(|_| None).collect();
        for &p in &own {
            mine[usize::from(p)] = partitions[usize::from(p)].take();
        }
        let port = match config.server.core_ports {
            0 => 0,
            first => first + me as u16,
        };
        seats.push(Seat {
            me: me as u16,
            shared: Arc::clone(&shared),
            partitions: mine,
            secrets: own.iter().map(|_| (host.random)()).collect::<Result<_, _>>()?,
            own,
            log: log_options::<E>(config, host.log_threads),
            dir: dir.clone(),
            tcp,
            core_tcp: SocketAddr::new(tcp.ip(), port),
            inbox,
            hints: hints.clone(),
            cpus,
            ready: ready.clone(),
        });
    }
    Ok(Plan { seats, starting: Starting { shared, tcp, readies } })
}

impl Starting {
    /// Waits until every core serves, without a thread of its own.
    pub async fn ready(self) -> Result<Threads, CoreError> {
        let mut at = vec![None; self.shared.cores.len()];
        while at.contains(&None) {
            let (core, address) = self.readies.recv_async().await.map_err(|_| ended_early())?;
            at[usize::from(core)] = Some(address?);
        }
        Ok(self.all_serve(at.into_iter().flatten().collect(), Vec::new()))
    }

    fn all_serve(
        self,
        core_tcp: Vec<SocketAddr>,
        joins: Vec<JoinHandle<Result<(), EngineError>>>,
    ) -> Threads {
        let address = |(core, at): (usize, &SocketAddr)| CoreAddress {
            core: core as u16,
            tcp_port: at.port(),
            ws_port: 0,
        };
        let _ = self.shared.addresses.set(core_tcp.iter().enumerate().map(address).collect());
        Threads { shared: self.shared, tcp: self.tcp, core_tcp, joins }
    }
}

fn ended_early() -> CoreError {
    CoreError::Thread(std::io::Error::other("a core ended while it started"))
}

/// `port` is held until all cores listen: what else is started meanwhile must not be given the same free one.
fn start_all<E: Engine>(setup: Setup<'_>, port: &ReservedPort) -> Result<Threads, CoreError> {
    let config = setup.config;
    let Plan { seats, starting } = plan::<E>(setup, port.address())?;
    let cores = seats.len();
    let mut joins = Vec::with_capacity(cores);
    for (me, seat) in seats.into_iter().enumerate() {
        let cpu = config.server.pin.then(|| config.server.shard_cpus.get(me).copied()).flatten();
        let spec = CoreSpec::new(format!("frontrow-{me}"), cpu);
        let main = move || serve_core::<E>(seat);
        joins.push(frontrow_engine::start::<E, _, _>(spec, main).map_err(CoreError::Thread)?);
    }
    let core_tcp = wait_until_ready(&starting.readies, &mut joins, cores)?;
    Ok(starting.all_serve(core_tcp, joins))
}

fn wait_until_ready(
    readies: &flume::Receiver<(u16, Result<SocketAddr, CoreError>)>,
    joins: &mut Vec<JoinHandle<Result<(), EngineError>>>,
    cores: usize,
) -> Result<Vec<SocketAddr>, CoreError> {
    let mut at = vec![None; cores];
    for _ in 0..cores {
        if let Ok((core, address)) = readies.recv() {
            at[usize::from(core)] = Some(address?);
            continue;
        }
        // A core ended without a word: its engine says why.
        for join in joins.drain(..) {
            if let Ok(Err(error)) = join.join() {
                return Err(error.into());
            }
        }
        return Err(ended_early());
    }
    Ok(at.into_iter().flatten().collect())
}

/// The CPUs as the kernel takes them; `None` for none.
pub(crate) fn cpu_set(cpus: &[usize]) -> Option<rustix::thread::CpuSet> {
    let mut set = rustix::thread::CpuSet::new();
    cpus.iter().filter(|&&cpu| cpu < rustix::thread::CpuSet::MAX_CPU).for_each(|&cpu| set.set(cpu));
    (!cpus.is_empty()).then_some(set)
}

fn log_options<E: Engine>(config: &Config, threads: bool) -> LogOptions {
    use crate::config::Durability as Wanted;
    let default = LogOptions::default();
    LogOptions {
        segment_bytes: config.log.segment,
        ready_ahead: config.log.ready_segments.max(1) as usize,
        backlog_bytes: config.log.backlog as usize,
        max_payload_bytes: config.log.record_bytes(),
        durability: match config.log.durability {
            Wanted::Auto => default.durability,
            Wanted::Mapped => frontrow_wal::Durability::Mapped,
            Wanted::Direct => frontrow_wal::Durability::Direct,
            Wanted::Memory => frontrow_wal::Durability::Memory,
        },
        carrier: if E::WRITES_FILES { Carrier::Caller } else { Carrier::Thread },
        preparer: if threads { Preparer::Thread } else { Preparer::Caller },
    }
}

fn hints_of(partitions: &[Partition]) -> Hints {
    let mut hints = HashMap::new();
    if let Some(any) = partitions.first() {
        for event in any.events() {
            let rows: Vec<u16> = any.section_rows(event).into_iter().flatten().collect();
            hints.insert(event, super::hints::EventHints::new(&rows));
        }
    }
    hints
}

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

fn prepare<E: Engine>(seat: Seat) -> Result<Prepared<E>, CoreError> {
    let shared = seat.shared;
    let (wake, durable) = notifier();
    // The log's threads would inherit this core's pin, and take the core from the shard at every commit.
    let pinned = rustix::thread::sched_getaffinity(None).ok();
    let _ = seat.cpus.is_none_or(|all| rustix::thread::sched_setaffinity(None, &all).is_ok());
    let woken = wake.clone();
    let opened = seat.dir.open_stream(seat.me, &seat.log, move || woken.wake());
    let _ = pinned.is_none_or(|own| rustix::thread::sched_setaffinity(None, &own).is_ok());
    let mut appender = opened?;
    let _ = shared.durable[usize::from(seat.me)].set(appender.durable_handle());
    let mut partitions = seat.partitions;
    let (mut encoder, mut effects) =
        (Encoder::within(seat.log.max_payload_bytes), Effects::with_capacity(1024));
    let now = shared.now_ms();
    let mut letters = Vec::new();
    for (&id, &secret) in seat.own.iter().zip(&seat.secrets) {
        let Some(partition) = partitions[usize::from(id)].as_mut() else { continue };
        let op = Op::Begin { epoch: shared.epoch, secret };
        let applied = partition.apply(now, &op, &mut effects);
        let (kind, payload) = encoder.encode(&op, &applied.answer, &effects);
        if let Err(error) = appender.append(id, partition.lsn(), now, kind, payload) {
            shared.fail(seat.me, &error.to_string());
        }
        letters.extend(partition.unconfirmed().map(|letter| (id, *letter)));
    }
    if let Err(error) = appender.flush() {
        shared.fail(seat.me, &error.to_string());
    }
    if let Some(hub) = &shared.hub {
        hub.link(seat.me).attach(wake, appender.durable());
    }
    let listen = |address, reuse_port| {
        E::listen(address, ListenOptions { reuse_port, ..ListenOptions::default() })
            .map_err(|source| CoreError::Listen { address, source })
    };
    let public = listen(seat.tcp, true)?;
    let own = listen(seat.core_tcp, false)?;
    let at = E::local_addr(&own).map_err(|source| CoreError::Listen { address: seat.core_tcp, source })?;
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
    Ok((core, vec![public, own], at, seat.inbox, durable))
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
