//! The whole server: from a configuration to a process that sells, and back to rest.

mod banner;

use crate::catalogue::{self, Catalogue, CatalogueError, LoadErrors, SpecError};
use crate::cluster::{Addresses, Fence, MarkError, Member, mark};
use crate::cold::Archives;
use crate::config::{self, Config};
use crate::core::{self, CoreError, Handle, Recovered, RecoveryError, Setup, Threads};
use crate::feed::{self, Feed};
use crate::http::{self, Connections, Http, Sales, Stopper};
use crate::identity::{KEY_FILES, Keys, KeysError};
use crate::reconcile::{KnownEvents, Log, Reconciled, reconcile};
use crate::replication::{
    self, Calling, FollowError, Hub, HubParts, Leader, ListenError, Listening, Predecessor, Promoted,
    StandbyStatus,
};
use crate::signals;
use crate::snapshots::{Readers, Round, Snapshotter, Trigger};
use frontrow_cdc::SinkError;
use frontrow_engine::{Choice, Clock, EngineError, EngineKind, HugePages, ReservedPort};
use frontrow_shard::{Code, EventState, Limits, Partition};
use frontrow_wal::{Beginning, DataDir, DirOptions, History, Role, WalError};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use tokio::sync::Notify;

/// Why the server could not start. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The table of bookings.
    #[error(transparent)]
    Bookings(#[from] SinkError),
    /// The data directory or its log.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The data directory is a cluster's.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The log could not be replayed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] LoadErrors),
    /// An event of the catalogue.
    #[error(transparent)]
    Event(#[from] CatalogueError),
    /// An event's plan does not fit the partitions.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// More shards than the data directory has partitions.
    #[error(
        "the data directory has {partitions} partitions, which cannot be divided among {shards} shards; set \
         server.cores to at most {partitions}"
    )]
    TooManyShards {
        /// Shards configured.
        shards: usize,
        /// Partitions there are.
        partitions: u16,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The cores.
    #[error(transparent)]
    Cores(#[from] CoreError),
    /// The HTTP side.
    #[error("cannot serve HTTP on {address}: {source}; choose another address, or stop what listens there")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// The cores refused an event of the catalogue.
    #[error("the cores refuse event {event} of the catalogue: {}; restore the data directory from one copy", .code.name())]
    Refused {
        /// The event.
        event: u32,
        /// Why.
        code: Code,
    },
    /// The port for standbys.
    #[error(transparent)]
    Replication(#[from] ListenError),
    /// The sample plan.
    #[error("the sample hall could not be imported: {0}")]
    Sample(String),
}

/// Whether this host lets a process use io_uring.
pub fn io_uring_works() -> bool {
    frontrow_engine::probe().io_uring.is_ok()
}

/// A running server.
pub struct Running {
    /// Where HTTP and WebSocket clients connect.
    pub http: SocketAddr,
    /// Where raw TCP clients connect.
    pub tcp: SocketAddr,
    /// Where clients of one core connect, by core.
    pub core_tcp: Vec<SocketAddr>,
    /// What is on sale.
    pub catalogue: Arc<Catalogue>,
    /// Which engine runs, and why.
    pub engine: String,
    /// Records replayed at the start.
    pub replayed: u64,
    /// Whether nothing was found that is not as it was left.
    as_left: bool,
    /// The operator's key, if this server made it.
    pub admin_key_file: Option<PathBuf>,
    /// Whether tokens are given out to whoever asks.
    pub dev: bool,
    handle: Handle,
    threads: Threads,
    snapshotter: Option<Snapshotter>,
    feed: Feed,
    stopper: Stopper,
    http_thread: JoinHandle<()>,
    replication: Option<Listening>,
    hub: Option<Arc<Hub>>,
    member: Option<Arc<Member>>,
    /// Rung when a standby was told to end while it took over.
    told: Arc<Notify>,
}

/// Starts everything; returns when it serves. With `demo`, an empty catalogue gets the sample hall, on sale.
pub fn start(config: &Config, demo: bool) -> Result<Running, StartError> {
    raise_descriptor_limit();
    HugePages::want(config.partitions.huge_pages);
    mark::is_free(&config.server.data)?;
    let beginning = open_directory(config)?;
    let ready = Ready::check(config, beginning.dir(), beginning.history(), (None, None))?;
    let (dir, history) = beginning.begin()?;
    serve(demo, Opened { dir, history, now_ms: None, predecessor: None, told: Arc::default() }, ready, None)
}

/// Follows the primary at `primary` until told to end (`None`) or to take over. `ready` is called once there is an
/// HTTP side.
pub fn follow(
    config: &Config,
    primary: &str,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Promoted>, FollowError> {
    raise_descriptor_limit();
    HugePages::want(config.partitions.huge_pages);
    replication::follow(config, Leader::At(primary.to_owned()), limits_of(config), ready)
}

/// Why a node of a cluster could not go on.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// As a standby.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// As the primary.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// Takes part in the cluster that the configuration names: follows whoever is primary, and returns once this node is,
/// or when it was told to end (`None`). `ready` is called with the HTTP address of a standby that has begun to follow.
pub fn join(
    config: &Config,
    demo: bool,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Running>, JoinError> {
    raise_descriptor_limit();
    HugePages::want(config.partitions.huge_pages);
    let member = Member::start(config).map_err(FollowError::Cluster)?;
    let leader = Leader::Elected(Arc::clone(&member));
    let Some(promoted) = replication::follow(config, leader, limits_of(config), ready)? else {
        member.resign();
        return Ok(None);
    };
    go_on(config, demo, promoted, Some(member)).map(Some).map_err(JoinError::from)
}

/// Makes a standby that is not running a primary's directory: opens the next epoch. Which one.
pub fn promote_at_rest(config: &Config) -> Result<u32, StartError> {
    let path = &config.server.data;
    let Some(found) = DataDir::peek(path)? else {
        return Err(WalError::NotInitialised { path: path.clone() }.into());
    };
    mark::is_free(path)?;
    let options = DirOptions { create: false, ..DirOptions::new(found.partitions) };
    let dir = DataDir::attend(path, options, 0)?;
    if dir.history()?.is_none_or(|history| history.role == Role::Primary) {
        return Err(WalError::IsPrimary { path: path.clone() }.into());
    }
    dir.erase_torn()?;
    // What cannot be served opens no epoch: that would keep the other node away.
    dir.check_promotable(&std::collections::BTreeMap::new())?;
    let recovered = replication::recover_caused(&dir, limits_of(config))?;
    Catalogue::of_log(path, recovered.partitions.iter().flat_map(Partition::events))?;
    Ok(dir.promote().map(|(dir, _)| dir.epoch())?)
}

/// A promoted standby serves.
pub fn take_over(config: &Config, promoted: Promoted) -> Result<Running, StartError> {
    go_on(config, false, promoted, None)
}

fn go_on(
    config: &Config,
    demo: bool,
    promoted: Promoted,
    member: Option<Arc<Member>>,
) -> Result<Running, StartError> {
    let Promoted { dir, history, recovered, catalogue, now_ms, predecessor, told } = promoted;
    let ready = Ready::check(config, &dir, &history, (recovered, catalogue))?;
    serve(demo, Opened { dir, history, now_ms, predecessor, told }, ready, member)
}

/// Everything that may keep a server from serving, looked at: of a start before its epoch is opened, for one that leaves
/// nothing looks like one whose files are gone.
struct Ready {
    /// As given, with the partitions that there are.
    config: Config,
    engine: Choice,
    recovered: Recovered,
    catalogue: Arc<Catalogue>,
    keys: Keys,
    http: TcpListener,
    tcp: ReservedPort,
    /// For standbys, if there may be any.
    standbys: Option<replication::Port>,
    sinks: feed::Opened,
}

impl Ready {
    /// `history` is with the epoch that is opened, or about to be. What a promotion has looked at already is given.
    fn check(
        config: &Config,
        dir: &DataDir,
        history: &History,
        (recovered, catalogue): (Option<Recovered>, Option<Catalogue>),
    ) -> Result<Self, StartError> {
        let executors = config.server.shard_cpus.len().max(1);
        let engine = frontrow_engine::choose(engine_of(config), executors, &frontrow_engine::probe())?;
        let mut config = config.clone();
        config.partitions.count = dir.partitions();
        if usize::from(dir.partitions()) < executors {
            return Err(StartError::TooManyShards { shards: executors, partitions: dir.partitions() });
        }
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => HugePages::populated(|| core::recover(dir, limits_of(&config)))?,
        };
        let catalogue = if let Some(catalogue) = catalogue {
            catalogue
        } else {
            let logged = recovered.partitions.iter().flat_map(Partition::events);
            Catalogue::of_log(&config.server.data, logged)?
        };
        let keys = Keys::open(&config)?;
        let address = config.server.http;
        let http = TcpListener::bind(address).map_err(|source| StartError::Http { address, source })?;
        let tcp = core::reserve(&config)?;
        let standbys = config.replication.listen.map(replication::bind).transpose()?;
        let sinks = feed::open(&config, dir, history, &recovered.partitions)?;
        let catalogue = Arc::new(catalogue);
        Ok(Self { config, engine, recovered, catalogue, keys, http, tcp, standbys, sinks })
    }
}

/// A directory whose epoch is open.
struct Opened {
    dir: DataDir,
    history: History,
    now_ms: Option<u64>,
    predecessor: Option<Predecessor>,
    told: Arc<Notify>,
}

/// What a server whose epoch is over must not do: go on.
#[allow(
    clippy::exit,
    reason = "another node may be answering for the same seats, and no thread may answer here"
)]
fn superseded(epoch: u32, elected: bool, known_from: &str) {
    tracing::error!(epoch, known_from, "stopping: another node of this cluster has opened a newer epoch");
    let again = if elected { "`frontrow serve`: it follows whoever is" } else { "`frontrow backup`" };
    eprintln!(
        "frontrow: another node of this cluster has opened epoch {epoch} (known from {known_from}): this one is not the primary any \
         more, and stops. Start it again with {again}."
    );
    std::process::exit(76)
}

/// What a server that has lost what its standby still has must not do: go on.
#[allow(
    clippy::exit,
    reason = "what was acknowledged is missing here, and no thread may answer as if it never was"
)]
fn lacking(why: &str) {
    tracing::error!(why, "stopping: acknowledged records are missing here");
    eprintln!("frontrow: {why}. Nothing more is answered here.");
    std::process::exit(76)
}

/// What a standby has not acknowledged yet stays in the log, up to a limit.
fn readers_of(hub: &Arc<Hub>, config: &Config) -> Readers {
    let hub = Arc::clone(hub);
    Readers { read: Box::new(move |stream| hub.read_up_to(stream)), keep: config.replication.keep_log }
}

/// The standby's side, if the configuration has one.
fn hub_of(
    config: &Config,
    dir: &DataDir,
    history: History,
    member: Option<&Arc<Member>>,
) -> Result<Option<Arc<Hub>>, WalError> {
    let replication = &config.replication;
    if replication.listen.is_none() {
        return Ok(None);
    }
    let elected = member.is_some();
    let look = member.map(|member| {
        let member = Arc::clone(member);
        Box::new(move || member.look()) as Box<dyn Fn() + Send + Sync>
    });
    let hub = Hub::new(HubParts {
        dir: dir.clone(),
        history,
        events: config.server.data.join("events"),
        cores: config.server.shard_cpus.len().max(1),
        policy: replication.acknowledge == config::Acknowledge::Backup,
        busy_after: replication.busy_after,
        check_every: replication.check,
        superseded: Box::new(move |epoch| superseded(epoch, elected, "a node that called")),
        lacking: Box::new(lacking),
        fence: member.map_or_else(|| Arc::new(Fence::open()), |member| member.fence()),
        look,
    })?;
    Ok(Some(Arc::new(hub)))
}

fn serve(demo: bool, from: Opened, ready: Ready, member: Option<Arc<Member>>) -> Result<Running, StartError> {
    let Opened { dir, history, now_ms, predecessor, told } = from;
    let Ready {
        config,
        engine: choice,
        recovered,
        catalogue,
        keys,
        http: http_listener,
        tcp,
        standbys,
        sinks,
    } = ready;
    let (config, data) = (&config, &config.server.data);
    let (cluster, elected) = (dir.cluster(), member.is_some());
    // Before anything is sold here.
    let calling = predecessor.map(|of| Calling::begin(of, cluster, dir.epoch())).transpose();
    let predecessor = calling.map_err(|error| StartError::Cores(CoreError::Thread(error)))?;
    let hub = hub_of(config, &dir, history.clone(), member.as_ref())?;
    if recovered.torn_bytes > 0 {
        tracing::info!(bytes = recovered.torn_bytes, "cut commits that never became durable");
    }
    let round = Round::new(dir.clone(), limits_of(config), recovered.index)
        .read_by(hub.as_ref().map(|hub| readers_of(hub, config)));
    let round = round.needed_by(sinks.needed());
    let known = KnownEvents::of(&recovered.partitions, &history);
    let connections = Connections::new(config.limits.connections, config.limits.connections_per_address);
    let (dev, admin_key_file) = (keys.minter.is_some(), keys.admin_key_file.clone());
    let http_at = http_listener
        .local_addr()
        .map_err(|source| StartError::Http { address: config.server.http, source })?;
    if let Some(hub) = &hub {
        let told = Arc::clone(hub);
        catalogue.on_change(move || told.files_changed());
    }
    let replication = match (&hub, standbys) {
        (Some(hub), Some(port)) => Some(replication::listen(Arc::clone(hub), port)?),
        _ => None,
    };
    tracing::debug!("the cores begin");
    let setup = Setup {
        config,
        engine: choice.kind,
        dir: dir.clone(),
        partitions: recovered.partitions,
        verifier: keys.verifier.clone(),
        connections: connections.clone(),
        host: core::Host::default(),
        hub: hub.clone(),
        now_ms,
    };
    let threads = core::launch(setup, tcp)?;
    tracing::debug!("the cores serve");
    let snapshotter = start_snapshots(config, round, &threads, recovered.bytes)
        .map_err(|error| StartError::Cores(CoreError::Thread(error)))?;
    let limit = Arc::new(feed::LogLimit::new(config.log.keep, threads.log_full()));
    let feeds = sinks.progress();
    let feed::Opened { table, ways, streams, recovered: lsns, lacks } = sinks;
    let parts = feed::Parts {
        dir,
        history,
        streams,
        durable: threads.durable(),
        hub: hub.clone(),
        limits: limits_of(config),
        events: data.join("events"),
        archived: catalogue.search("", Some(EventState::Archived)).iter().map(|it| it.id()).collect(),
        recovered: lsns,
        limit,
        deposed: Arc::new(move |epoch, sink| superseded(epoch, elected, sink)),
    };
    let feed = Feed::start(&parts, ways, core::cpu_set(&beside(config)))
        .map_err(|error| StartError::Cores(CoreError::Thread(error)))?;
    let table = table.map(|(store, progress)| http::Table { store, progress });
    let handle = Handle::new(&threads);
    if let Some(hub) = &hub {
        hub.set_clock(handle.clock());
    }
    let unfinished = Arc::new(OnceLock::new());
    let changed = if hub.as_ref().is_some_and(|hub| hub.waits()) {
        reconcile(&handle, &catalogue, &known, (config, Log::Stays))?;
        reconcile_later((&handle, &catalogue), known, config, &unfinished)?;
        true
    } else {
        let Reconciled { unfinished: found, changed } =
            reconcile(&handle, &catalogue, &known, (config, Log::Writes))?;
        unfinished.get_or_init(|| found);
        changed
    };
    if demo && catalogue.search("", None).is_empty() {
        if hub.as_ref().is_some_and(|hub| hub.waits()) {
            tracing::warn!(
                "the sample hall is left out: answers wait for a standby, and there is none yet; start one with \
                 `frontrow backup`, or begin with acknowledge = \"local\""
            );
        } else {
            sell_sample(&handle, &catalogue, config)?;
        }
    }
    let sales: Arc<dyn Sales> = Arc::new(handle.clone());
    let side = Http::new(config, keys, sales, Arc::clone(&catalogue), connections, Clock::wall_ms);
    let side = Http {
        hub: hub.clone(),
        predecessor,
        table,
        feeds,
        unfinished,
        cold: Arc::new(Archives::new(cluster)),
        ..side
    };
    let (stopper, stop) = http::stopper();
    let cpus = config.server.http_cpus.clone();
    let http_thread = std::thread::Builder::new()
        .name("frontrow-http".into())
        .spawn(move || {
            pin(&cpus);
            if let Err(error) = http::serve(http_listener, Arc::new(side), stop) {
                tracing::error!(%error, "HTTP ended");
            }
        })
        .map_err(|error| StartError::Cores(CoreError::Thread(error)))?;
    if let (Some(member), Some(hub), Some(listening)) = (&member, &hub, &replication) {
        let of = |given: &Option<String>, at: SocketAddr| given.clone().unwrap_or_else(|| at.to_string());
        let cluster = &config.cluster;
        let at = Addresses {
            tcp: of(&cluster.advertise_tcp, threads.tcp),
            http: of(&cluster.advertise_http, http_at),
            replication: of(&cluster.advertise_replication, listening.address),
        };
        member.serves(at, Arc::clone(hub));
    }
    Ok(Running {
        http: http_at,
        tcp: threads.tcp,
        core_tcp: threads.core_tcp.clone(),
        catalogue,
        engine: choice.to_string(),
        replayed: recovered.records,
        as_left: !lacks && !changed,
        admin_key_file,
        dev,
        handle,
        threads,
        snapshotter,
        feed,
        stopper,
        http_thread,
        replication,
        hub,
        member,
        told,
    })
}

impl Running {
    /// Where standbys connect, if any can.
    pub fn replication(&self) -> Option<SocketAddr> {
        self.replication.as_ref().map(|listening| listening.address)
    }

    /// How the standby is doing, if there may be one.
    pub fn standby(&self) -> Option<StandbyStatus> {
        self.hub.as_ref().map(|hub| hub.status())
    }

    /// The cores, for operators' operations from inside the process.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Serves until SIGINT or SIGTERM, then stops cleanly.
    pub fn wait_for_signal_and_stop(self) -> std::io::Result<()> {
        signals::until_told(self.told.notified())?;
        self.stop();
        Ok(())
    }

    /// Finishes what is under way, makes it durable, and ends every thread.
    pub fn stop(self) {
        self.stopper.stop();
        self.threads.stop();
        if let Some(snapshotter) = self.snapshotter {
            snapshotter.stop();
        }
        self.feed.stop();
        if let Some(listening) = self.replication {
            listening.stop();
        }
        if self.http_thread.join().is_err() {
            tracing::error!("the HTTP thread ended with a panic");
        }
        if let Some(member) = self.member {
            member.resign();
        }
    }
}

fn engine_of(config: &Config) -> EngineKind {
    match config.server.engine {
        config::Engine::Auto => EngineKind::Auto,
        config::Engine::IoUring => EngineKind::MonoioUring,
        config::Engine::Epoll => EngineKind::MonoioEpoll,
        config::Engine::Glommio => EngineKind::Glommio,
    }
}

/// Locks or makes the data directory. One that exists keeps its partitions, unless another number was asked for.
fn open_directory(config: &Config) -> Result<Beginning, WalError> {
    let options = |partitions| DirOptions {
        created_ms: Clock::wall_ms(),
        beside: KEY_FILES,
        ..DirOptions::new(partitions)
    };
    match DataDir::prepare(&config.server.data, options(config.partitions.count)) {
        Err(WalError::PartitionCount { found, .. }) if !config.partitions.asked => {
            DataDir::prepare(&config.server.data, options(found))
        }
        opened => opened,
    }
}

/// Starts the thread that makes snapshots. A log that is lost with the process has none: one that survived it
/// would speak of records that did not.
fn start_snapshots(
    config: &Config,
    round: Round,
    threads: &Threads,
    carried: u64,
) -> std::io::Result<Option<Snapshotter>> {
    if config.log.durability == config::Durability::Memory {
        return Ok(None);
    }
    let trigger = Trigger { every: config.log.snapshot_every, durable: threads.durable(), carried };
    Snapshotter::start(round, trigger, threads.progress(), core::cpu_set(&beside(config))).map(Some)
}

/// The CPUs that are no shard's.
fn beside(config: &Config) -> Vec<usize> {
    let server = &config.server;
    rustix::thread::sched_getaffinity(None).map_or_else(
        |_| Vec::new(),
        |all| {
            let own = 0..rustix::thread::CpuSet::MAX_CPU;
            own.filter(|&cpu| all.is_set(cpu) && !(server.pin && server.shard_cpus.contains(&cpu))).collect()
        },
    )
}

fn limits_of(config: &Config) -> Limits {
    Limits {
        requests: config.partitions.requests_remembered as usize,
        parties: config.partitions.waiting as usize,
        queues: config.partitions.queues as usize,
        tasks: config.partitions.section_claims as usize,
    }
}

/// The rest beside everything else, for answers wait for a standby: what has to be in the log waits for it, too, and who is to
/// give the standby up (`frontrow replication alone`) needs HTTP. What cannot be done is told, and tried again at the next start: an
/// operator's word may have come first.
fn reconcile_later(
    (handle, catalogue): (&Handle, &Arc<Catalogue>),
    known: KnownEvents,
    config: &Config,
    unfinished: &Arc<OnceLock<Vec<u32>>>,
) -> Result<(), StartError> {
    let (handle, catalogue, config) = (handle.clone(), Arc::clone(catalogue), config.clone());
    let unfinished = Arc::clone(unfinished);
    let settle = move || match reconcile(&handle, &catalogue, &known, (&config, Log::Writes)) {
        Ok(Reconciled { unfinished: found, .. }) => drop(unfinished.set(found)),
        Err(error) => tracing::error!(
            %error,
            "an event's head and the log are not brought together; restart once a standby follows, or after \
             `frontrow replication alone`"
        ),
    };
    let thread = std::thread::Builder::new().name("frontrow-settle".into()).spawn(settle);
    thread.map(drop).map_err(|error| StartError::Cores(CoreError::Thread(error)))
}

/// Puts the sample hall on sale.
fn sell_sample(handle: &Handle, catalogue: &Catalogue, config: &Config) -> Result<(), StartError> {
    let sample = |error: &dyn std::fmt::Display| StartError::Sample(error.to_string());
    let (plan, _) = frontrow_venue::pretix::import(frontrow_venue::SAMPLE_HALL.as_bytes())
        .map_err(|error| sample(&error))?;
    let event = catalogue.create("Opening night", &plan, config.events, handle.now_ms())?;
    let id = event.id();
    let refused = |code| StartError::Refused { event: id, code };
    let specs = catalogue::specs(id, &plan, &config.events, config.partitions.count)?;
    block_on(handle.create_event(specs)).map_err(refused)?;
    block_on(handle.set_state(id, EventState::Open)).map_err(refused)?;
    catalogue.set_state(id, EventState::Open, handle.now_ms())?;
    Ok(())
}

/// Waits for a core's answer on a thread that has nothing else to do.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let thread = std::thread::current();
    let waker = std::task::Waker::from(Arc::new(Unpark(thread)));
    let mut context = std::task::Context::from_waker(&waker);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut context) {
            return value;
        }
        std::thread::park();
    }
}

struct Unpark(std::thread::Thread);

impl std::task::Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Every connection is a descriptor, and the usual soft limit of 1024 is meant for other programs.
fn raise_descriptor_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let wanted = Rlimit { current: limit.maximum, maximum: limit.maximum };
    if limit.current != limit.maximum && setrlimit(Resource::Nofile, wanted).is_err() {
        tracing::warn!("the limit of open files stays low: raise it (ulimit -n) before many clients come");
    }
}

fn pin(cpus: &[usize]) {
    let Some(set) = core::cpu_set(cpus) else { return };
    if let Err(error) = rustix::thread::sched_setaffinity(None, &set) {
        tracing::warn!(%error, ?cpus, "the HTTP thread stays unpinned");
    }
}
