//! From a configuration to one thread per core: what each is given, and when all of them serve.

use super::error::CoreError;
use super::hints::Hints;
use super::message::CoreMessage;
use super::shared::{Host, Shared};
use super::state::mono_ns;
use crate::config::Config;
use crate::http::Connections;
use crate::identity::Verifier;
use crate::replication::Hub;
use crate::snapshots::Progress;
use frontrow_engine::{
    Clock, CoreSpec, Engine, EngineError, EngineKind, Receiver, ReservedPort, WithEngine, dispatch, inbox,
};
use frontrow_protocol::{CoreAddress, Durability};
use frontrow_shard::{Millis, Partition, PartitionId};
use frontrow_wal::{Carrier, DataDir, LogOptions, Preparer};
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

/// Messages that may wait in a core's inbox; each carries many items.
const INBOX: usize = 1024;
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

/// What one core is given: moved to its thread, and there to [`super::serve_core`].
pub struct Seat {
    pub(super) me: u16,
    pub(super) shared: Arc<Shared>,
    pub(super) partitions: Vec<Option<Partition>>,
    pub(super) own: Vec<PartitionId>,
    pub(super) secrets: Vec<u128>,
    pub(super) log: LogOptions,
    pub(super) dir: DataDir,
    pub(super) tcp: SocketAddr,
    pub(super) core_tcp: SocketAddr,
    pub(super) inbox: Receiver<CoreMessage>,
    pub(super) hints: Hints,
    /// The CPUs of the log's threads, which must not stay on the core's own.
    pub(super) cpus: Option<rustix::thread::CpuSet>,
    pub(super) ready: flume::Sender<(u16, Result<SocketAddr, CoreError>)>,
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
        let main = move || super::life::serve_core::<E>(seat);
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
