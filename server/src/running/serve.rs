//! From what is ready to what serves: other nodes, the cores, the feeds, and HTTP, in this order.

use super::last_words::{LastWords, lacking};
use super::machine::{beside, pin};
use super::ready::{Opened, Ready, limits_of};
use super::settle::{Settled, settle, show_sample};
use super::{Running, StartError};
use crate::catalogue::Catalogue;
use crate::cluster::{Addresses, Fence, Member};
use crate::cold::Archives;
use crate::config::{self, Config};
use crate::core::{self, Handle, Setup, Threads};
use crate::feed::{self, Feed};
use crate::http::{self, Connections, Http, Sales, Stopper};
use crate::reconcile::KnownEvents;
use crate::replication::{self, Calling, Claim, Hub, HubParts, Listening, Port, followed};
use crate::snapshots::{Readers, Round, Snapshotter, Trigger};
use frontrow_engine::Clock;
use frontrow_shard::EventState;
use frontrow_wal::{DataDir, History, WalError};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Serves. With `demo`, an empty catalogue gets the sample hall.
pub(super) fn serve(
    demo: bool,
    from: Opened,
    ready: Ready,
    member: Option<Arc<Member>>,
) -> Result<Running, StartError> {
    let Opened { dir, history, now_ms, told } = from;
    let Ready { config, engine, recovered, catalogue, keys, http: listener, tcp, standbys, sinks } = ready;
    let (config, cluster) = (&config, dir.cluster());
    let http = listener.local_addr();
    let http = http.map_err(|source| StartError::Http { address: config.server.http, source })?;
    if recovered.torn_bytes > 0 {
        tracing::info!(bytes = recovered.torn_bytes, "cut commits that never became durable");
    }
    let others = Others::meet(config, (&dir, &history), standbys, member)?;
    if let Some(hub) = &others.hub {
        let told = Arc::clone(hub);
        catalogue.on_change(move || told.files_changed());
    }
    let round = Round::new(dir.clone(), limits_of(config), recovered.index)
        .read_by(others.hub.as_ref().map(|hub| readers_of(hub, config)))
        .needed_by(sinks.needed());
    let known = KnownEvents::of(&recovered.partitions, &history);
    let connections = Connections::new(config.limits.connections, config.limits.connections_per_address);
    tracing::debug!("the cores begin");
    let setup = Setup {
        config,
        engine: engine.kind,
        dir: dir.clone(),
        partitions: recovered.partitions,
        verifier: keys.verifier.clone(),
        connections: connections.clone(),
        host: core::Host::default(),
        hub: others.hub.clone(),
        now_ms,
    };
    let threads = core::launch(setup, tcp)?;
    tracing::debug!("the cores serve");
    let snapshotter =
        start_snapshots(config, round, &threads, recovered.bytes).map_err(StartError::thread)?;
    let fed = Fed::start(config, (dir, history), sinks, (&threads, &others, &catalogue))?;
    let handle = Handle::new(&threads);
    if let Some(hub) = &others.hub {
        hub.set_clock(handle.clock());
    }
    let Settled { unfinished, changed } = settle((&handle, &catalogue), known, config, others.wait())?;
    if demo {
        show_sample(&handle, &catalogue, config, others.wait())?;
    }
    let (dev, admin_key_file) = (keys.minter.is_some(), keys.admin_key_file.clone());
    let sales: Arc<dyn Sales> = Arc::new(handle.clone());
    let side = Http::new(config, keys, sales, Arc::clone(&catalogue), connections, Clock::wall_ms);
    let side = Http {
        hub: others.hub.clone(),
        predecessors: Arc::clone(&others.predecessors),
        table: fed.table,
        feeds: fed.progress,
        unfinished,
        cold: Arc::new(Archives::new(cluster)),
        ..side
    };
    let (stopper, http_thread) = start_http(listener, side, config)?;
    others.announce(config, (http, threads.tcp));
    Ok(Running {
        http,
        tcp: threads.tcp,
        core_tcp: threads.core_tcp.clone(),
        catalogue,
        engine: engine.to_string(),
        replayed: recovered.records,
        as_left: !fed.lacks && !changed,
        admin_key_file,
        dev,
        handle,
        threads,
        snapshotter,
        feed: fed.feed,
        stopper,
        http_thread,
        replication: others.listening,
        hub: others.hub,
        member: others.member,
        told,
    })
}

/// Other nodes: who follows, who was primary before, and who decides.
struct Others {
    hub: Option<Arc<Hub>>,
    listening: Option<Listening>,
    predecessors: Arc<[Calling]>,
    member: Option<Arc<Member>>,
}

impl Others {
    /// Before anything is sold here.
    fn meet(
        config: &Config,
        (dir, history): (&DataDir, &History),
        port: Option<Port>,
        member: Option<Arc<Member>>,
    ) -> Result<Self, StartError> {
        let words = LastWords { dir: dir.clone(), elected: member.is_some() };
        let told = words.clone();
        let claim = Claim { cluster: dir.cluster(), node: history.node, epoch: dir.epoch() };
        // In a cluster the lease ends whoever was primary before.
        let before = if member.is_none() { followed::to_call(&config.server.data) } else { Vec::new() };
        let call = |of| {
            let words = words.clone();
            Calling::begin(of, claim, move |epoch, who| words.superseded(epoch, who))
        };
        let calling: Result<Vec<_>, _> = before.into_iter().map(call).collect();
        let predecessors = calling.map_err(StartError::thread)?.into();
        let hub = hub_of(config, (dir, history.clone()), member.as_ref(), told)?;
        let listening = match (&hub, port) {
            (Some(hub), Some(port)) => Some(replication::listen(Arc::clone(hub), port)?),
            _ => None,
        };
        Ok(Self { hub, listening, predecessors, member })
    }

    /// Whether answers wait for a standby.
    fn wait(&self) -> bool {
        self.hub.as_ref().is_some_and(|hub| hub.waits())
    }

    /// In a cluster: this is where clients and standbys find the primary.
    fn announce(&self, config: &Config, (http, tcp): (SocketAddr, SocketAddr)) {
        let (Some(member), Some(hub), Some(listening)) = (&self.member, &self.hub, &self.listening) else {
            return;
        };
        let of = |given: &Option<String>, at: SocketAddr| given.clone().unwrap_or_else(|| at.to_string());
        let cluster = &config.cluster;
        let at = Addresses {
            tcp: of(&cluster.advertise_tcp, tcp),
            http: of(&cluster.advertise_http, http),
            replication: of(&cluster.advertise_replication, listening.address),
        };
        member.serves(at, Arc::clone(hub));
    }
}

/// What the log says on its way to those who read bookings.
struct Fed {
    feed: Feed,
    table: Option<http::Table>,
    progress: Vec<Arc<feed::Progress>>,
    /// Whether a table knows more than the log has.
    lacks: bool,
}

impl Fed {
    fn start(
        config: &Config,
        (dir, history): (DataDir, History),
        sinks: feed::Opened,
        (threads, others, catalogue): (&Threads, &Others, &Catalogue),
    ) -> Result<Self, StartError> {
        let words = LastWords { dir: dir.clone(), elected: others.member.is_some() };
        let progress = sinks.progress();
        let feed::Opened { table, ways, streams, recovered, lacks } = sinks;
        let parts = feed::Parts {
            dir,
            history,
            streams,
            durable: threads.durable(),
            hub: others.hub.clone(),
            limits: limits_of(config),
            events: config.server.data.join("events"),
            archived: catalogue.search("", Some(EventState::Archived)).iter().map(|it| it.id()).collect(),
            recovered,
            limit: Arc::new(feed::LogLimit::new(config.log.keep, threads.log_full())),
            deposed: Arc::new(move |epoch, sink| words.superseded(epoch, sink)),
        };
        let feed = Feed::start(&parts, ways, core::cpu_set(&beside(config))).map_err(StartError::thread)?;
        let table = table.map(|(store, progress)| http::Table { store, progress });
        Ok(Self { feed, table, progress, lacks })
    }
}

fn start_http(
    listener: TcpListener,
    side: Http,
    config: &Config,
) -> Result<(Stopper, JoinHandle<()>), StartError> {
    let (stopper, stop) = http::stopper();
    let cpus = config.server.http_cpus.clone();
    let serve = move || {
        pin(&cpus);
        if let Err(error) = http::serve(listener, Arc::new(side), stop) {
            tracing::error!(%error, "HTTP ended");
        }
    };
    let thread = std::thread::Builder::new().name("frontrow-http".into()).spawn(serve);
    Ok((stopper, thread.map_err(StartError::thread)?))
}

/// The standby's side, if the configuration has one.
fn hub_of(
    config: &Config,
    (dir, history): (&DataDir, History),
    member: Option<&Arc<Member>>,
    words: LastWords,
) -> Result<Option<Arc<Hub>>, WalError> {
    let replication = &config.replication;
    if replication.listen.is_none() {
        return Ok(None);
    }
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
        superseded: Box::new(move |epoch| words.superseded(epoch, "a node that called")),
        lacking: Box::new(lacking),
        fence: member.map_or_else(|| Arc::new(Fence::open()), |member| member.fence()),
        look,
    })?;
    Ok(Some(Arc::new(hub)))
}

/// What a standby has not acknowledged yet stays in the log, up to a limit.
fn readers_of(hub: &Arc<Hub>, config: &Config) -> Readers {
    let hub = Arc::clone(hub);
    Readers { read: Box::new(move |stream| hub.read_up_to(stream)), keep: config.replication.keep_log }
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
