//! The whole server: from a configuration to a process that sells, and back to rest.

use crate::catalogue::{self, Catalogue, CatalogueError, LoadErrors, SpecError};
use crate::cluster::{Addresses, Fence, MarkError, Member, mark};
use crate::cold::Archives;
use crate::config::{self, Config};
use crate::core::{self, CoreError, Handle, Recovered, RecoveryError, Setup, Threads};
use crate::feed::{self, Feed};
use crate::http::{self, Connections, Http, Sales, Stopper};
use crate::identity::{KEY_FILES, Keys, KeysError};
use crate::replication::{
    self, FollowError, Hub, HubParts, Leader, ListenError, Listening, Promoted, StandbyStatus,
};
use crate::signals;
use crate::snapshots::{Readers, Round, Snapshotter, Trigger};
use frontrow_cdc::SinkError;
use frontrow_engine::{Clock, EngineError, EngineKind, HugePages};
use frontrow_shard::{ArchiveStep, Code, EventState, Limits, Partition};
use frontrow_wal::{DataDir, DirOptions, History, LogIndex, Role, WalError};
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
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
    /// The log knows an event whose file is gone.
    #[error(
        "the log has event {event}, and {} is missing: put it back, and the event's other files with it, from the other node's \
         events/ folder or from a backup. Only a new epoch was begun; the log and events/ are as they were", .path.display()
    )]
    Lost {
        /// The event.
        event: u32,
        /// Its file.
        path: PathBuf,
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
    let dir = open_directory(config)?;
    let history = dir.begin_history(false)?;
    serve(config, demo, Promoted { dir, history, partitions: None, now_ms: None, told: Arc::default() }, None)
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
    serve(config, demo, promoted, Some(member)).map(Some).map_err(JoinError::from)
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
    replication::recover_caused(&dir, limits_of(config))?;
    Ok(dir.promote().map(|(dir, _)| dir.epoch())?)
}

/// A promoted standby serves.
pub fn take_over(config: &Config, promoted: Promoted) -> Result<Running, StartError> {
    serve(config, false, promoted, None)
}

/// The partitions as the log leaves them: as a standby has them already, or replayed now.
fn recovered(
    dir: &DataDir,
    partitions: Option<Vec<Partition>>,
    config: &Config,
) -> Result<Recovered, StartError> {
    if let Some(partitions) = partitions {
        let (records, bytes, snapshots, torn_bytes) = (0, 0, 0, 0);
        return Ok(Recovered {
            partitions,
            records,
            bytes,
            snapshots,
            torn_bytes,
            index: LogIndex::default(),
        });
    }
    Ok(HugePages::populated(|| core::recover(dir, limits_of(config)))?)
}

/// What a server whose epoch is over must not do: go on.
#[allow(
    clippy::exit,
    reason = "another node may be answering for the same seats, and no thread may answer here"
)]
fn superseded(epoch: u32, elected: bool) {
    tracing::error!(epoch, "stopping: another node of this cluster has opened a newer epoch");
    let again = if elected { "`frontrow serve`: it follows whoever is" } else { "`frontrow backup`" };
    eprintln!(
        "frontrow: another node of this cluster has opened epoch {epoch}: this one is not the primary any more, and stops. \
         Start it again with {again}."
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
        superseded: Box::new(move |epoch| superseded(epoch, elected)),
        lacking: Box::new(lacking),
        fence: member.map_or_else(|| Arc::new(Fence::open()), |member| member.fence()),
        look,
    })?;
    Ok(Some(Arc::new(hub)))
}

fn serve(
    config: &Config,
    demo: bool,
    from: Promoted,
    member: Option<Arc<Member>>,
) -> Result<Running, StartError> {
    let Promoted { dir, history, partitions, now_ms, told } = from;
    let executors = config.server.shard_cpus.len().max(1);
    let choice = frontrow_engine::choose(engine_of(config), executors, &frontrow_engine::probe())?;
    let data = &config.server.data;
    let mut settled = config.clone();
    settled.partitions.count = dir.partitions();
    let config = &settled;
    if usize::from(dir.partitions()) < executors {
        return Err(StartError::TooManyShards { shards: executors, partitions: dir.partitions() });
    }
    let recovered = recovered(&dir, partitions, config)?;
    let cluster = dir.cluster();
    let hub = hub_of(config, &dir, history.clone(), member.as_ref())?;
    // Before the catalogue is opened, which clears away what an unfinished creation left behind.
    for event in recovered.partitions.iter().flat_map(Partition::events) {
        let path = data.join("events").join(format!("{event}.json"));
        if !path.exists() {
            return Err(StartError::Lost { event, path });
        }
    }
    let catalogue = Arc::new(Catalogue::open(data)?);
    let keys = Keys::open(config)?;
    if recovered.torn_bytes > 0 {
        tracing::info!(bytes = recovered.torn_bytes, "cut commits that never became durable");
    }
    let round = Round::new(dir.clone(), limits_of(config), recovered.index)
        .read_by(hub.as_ref().map(|hub| readers_of(hub, config)));
    let sinks = feed::open(config, &dir, &history, &recovered.partitions)?;
    let round = round.needed_by(sinks.needed());
    let known = KnownEvents::of(&recovered.partitions);
    let connections = Connections::new(config.limits.connections, config.limits.connections_per_address);
    let (dev, admin_key_file) = (keys.minter.is_some(), keys.admin_key_file.clone());
    let http_listener = std::net::TcpListener::bind(config.server.http)
        .map_err(|source| StartError::Http { address: config.server.http, source })?;
    let http_at = http_listener
        .local_addr()
        .map_err(|source| StartError::Http { address: config.server.http, source })?;
    if let Some(hub) = &hub {
        let told = Arc::clone(hub);
        catalogue.on_change(move || told.files_changed());
    }
    let replication = match (&hub, config.replication.listen) {
        (Some(hub), Some(address)) => Some(replication::listen(Arc::clone(hub), address)?),
        _ => None,
    };
    tracing::debug!("the cores begin");
    let threads = core::launch(Setup {
        config,
        engine: choice.kind,
        dir: dir.clone(),
        partitions: recovered.partitions,
        verifier: keys.verifier.clone(),
        connections: connections.clone(),
        host: core::Host::default(),
        hub: hub.clone(),
        now_ms,
    })?;
    tracing::debug!("the cores serve");
    let snapshotter = start_snapshots(config, round, &threads, recovered.bytes)
        .map_err(|error| StartError::Cores(CoreError::Thread(error)))?;
    let limit = Arc::new(feed::LogLimit::new(config.log.keep, threads.log_full()));
    let feeds = sinks.progress();
    let feed::Opened { table, ways, streams, recovered: lsns } = sinks;
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
    };
    let feed = Feed::start(&parts, ways, core::cpu_set(&beside(config)))
        .map_err(|error| StartError::Cores(CoreError::Thread(error)))?;
    let table = table.map(|(store, progress)| http::Table { store, progress });
    let handle = Handle::new(&threads);
    if let Some(hub) = &hub {
        hub.set_clock(handle.clock());
    }
    let unfinished = reconcile(&handle, &catalogue, &known, config)?;
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
    let side =
        Http { hub: hub.clone(), table, feeds, unfinished, cold: Arc::new(Archives::new(cluster)), ..side };
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

    /// What is on sale, where to connect, and what to type next: a few lines for the terminal.
    pub fn banner(&self) -> String {
        let mut out = String::new();
        let events = self.catalogue.search("", None);
        let cores = self.core_tcp.len();
        let _ = writeln!(out, "Frontrow is open. {cores} shard core{}, {}.", plural(cores), self.engine);
        if self.replayed > 0 {
            let _ = writeln!(out, "Replayed {} log records; everything is as it was left.", self.replayed);
        }
        let _ = writeln!(out);
        for event in events.iter().take(8) {
            let _ = writeln!(
                out,
                "  event {}: {} ({}), {} seats in {} sections",
                event.id(),
                event.name(),
                event.state_name(),
                event.seats(),
                event.sections().len()
            );
        }
        if events.len() > 8 {
            let _ = writeln!(out, "  and {} more", events.len() - 8);
        }
        if events.is_empty() {
            let _ = writeln!(out, "  Nothing is on sale yet: frontrow event create PLAN.json --name NAME");
        }
        let _ = writeln!(out, "\n  HTTP and WebSocket  http://{}  (ws://{}/v1/ws)", self.http, self.http);
        let _ = writeln!(out, "  raw TCP             {}", self.tcp);
        if let Some(listening) = &self.replication {
            let _ = writeln!(out, "  standbys            {}", listening.address);
        }
        if let Some(path) = &self.admin_key_file {
            let _ = writeln!(out, "  operator's key      {}", path.display());
        }
        if self.dev {
            let _ = writeln!(out, "  development mode: anybody on this machine can be any user");
        }
        if let Some(event) = events.first() {
            let section = event.sections().first().map_or("", |section| section.name.as_str());
            let url = if self.http.port() == config::DEFAULT_HTTP_PORT {
                String::new()
            } else {
                format!(" --server http://{}", self.http)
            };
            let me = std::env::args().next().unwrap_or_else(|| "frontrow".into());
            let _ = writeln!(out, "\nNext, in another terminal:");
            let _ = writeln!(out, "  {me}{url} seats {} \"{section}\"", event.id());
            let _ = writeln!(out, "  {me}{url} claim {} \"{section}\" --best 2", event.id());
        }
        out
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

fn plural(n: usize) -> &'static str {
    if n == 1 { "" } else { "s" }
}

fn engine_of(config: &Config) -> EngineKind {
    match config.server.engine {
        config::Engine::Auto => EngineKind::Auto,
        config::Engine::IoUring => EngineKind::MonoioUring,
        config::Engine::Epoll => EngineKind::MonoioEpoll,
        config::Engine::Glommio => EngineKind::Glommio,
    }
}

/// Opens or makes the data directory. One that exists keeps its partitions, unless another number was asked for.
fn open_directory(config: &Config) -> Result<DataDir, WalError> {
    let options = |partitions| DirOptions {
        created_ms: Clock::wall_ms(),
        beside: KEY_FILES,
        ..DirOptions::new(partitions)
    };
    match DataDir::open(&config.server.data, options(config.partitions.count)) {
        Err(WalError::PartitionCount { found, .. }) if !config.partitions.asked => {
            DataDir::open(&config.server.data, options(found))
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

/// Which partitions know which events, and how they stand there.
struct KnownEvents(Vec<std::collections::HashMap<u32, EventState>>);

impl KnownEvents {
    fn of(partitions: &[Partition]) -> Self {
        let one = |p: &Partition| {
            p.events().filter_map(|event| p.event(event).map(|(state, _)| (event, state))).collect()
        };
        Self(partitions.iter().map(one).collect())
    }

    fn knows(&self, event: u32) -> bool {
        self.0.iter().all(|known| known.contains_key(&event))
    }

    /// Whether every partition knows it, and its archiving has begun somewhere.
    fn is_leaving(&self, event: u32) -> bool {
        let cold = |state: &EventState| matches!(state, EventState::Archiving | EventState::Archived);
        let states = || self.0.iter().map(|known| known.get(&event));
        states().all(|state| state.is_some()) && states().flatten().any(cold)
    }

    fn all_have(&self, event: u32, state: EventState) -> bool {
        self.0.iter().all(|known| known.get(&event) == Some(&state))
    }
}

/// Brings every partition to what the catalogue says: a crash may have come between the two. The events whose archiving
/// had begun: it is ended once HTTP is served.
fn reconcile(
    handle: &Handle,
    catalogue: &Catalogue,
    known: &KnownEvents,
    config: &Config,
) -> Result<Vec<u32>, StartError> {
    let mut unfinished = Vec::new();
    for event in catalogue.search("", None) {
        let (id, state) = (event.id(), event.state());
        if known.all_have(id, state) {
            continue;
        }
        if known.is_leaving(id) {
            unfinished.push(id);
            continue;
        }
        let refused = |code| StartError::Refused { event: id, code };
        let rules = event.rules().into();
        let specs = catalogue::specs(id, &catalogue.plan(id)?, &rules, config.partitions.count)?;
        block_on(handle.create_event(specs)).map_err(refused)?;
        match state {
            EventState::Draft => {}
            // The log is behind the catalogue, as after a promotion: archived anew from what the log has.
            EventState::Archived if known.knows(id) => {
                block_on(handle.set_state(id, EventState::Closed)).map_err(refused)?;
                unfinished.push(id);
            }
            // The log is gone, as it is meant to be with durability `memory`: the archive is what is left.
            EventState::Archived => block_on(retire(handle, id)).map_err(refused)?,
            state => block_on(handle.set_state(id, state)).map_err(refused)?,
        }
    }
    Ok(unfinished)
}

/// Lets an event that was made anew leave memory, for it stands in its archive.
async fn retire(handle: &Handle, event: u32) -> Result<(), Code> {
    handle.set_state(event, EventState::Open).await?;
    handle.set_state(event, EventState::Closed).await?;
    handle.archive(event, ArchiveStep::Begin).await?;
    handle.archive(event, ArchiveStep::End).await
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
fn block_on<T>(future: impl Future<Output = T>) -> T {
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
