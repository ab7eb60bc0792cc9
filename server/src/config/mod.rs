//! Configuration: one TOML file, overridden by the environment, checked as a whole.
//!
//! `FRONTROW_SERVER__TCP=0.0.0.0:7411` overrides `tcp` of `[server]`: the prefix, the section and the
//! key in capitals, two underscores between section and key; a list is written `[0, 2]`. Every mistake
//! is reported, not just the first, each with where it stands and what would be right. All settings with
//! their defaults stand in `tuning/frontrow.toml`.

mod check;
mod explain;
mod machine;
mod source;
mod value;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use frontrow_shard::{EventRules, Fairness, MAX_PARTITIONS, OrphanRule};

pub use machine::Machine;
pub use source::{ENV_PREFIX, Mistake, Origin};
use source::{Setting, Source};
pub use value::Cores;
use value::{
    address, auto_or, bytes, choice, cores, duration, filled, flag, list, number, off_or_address,
    off_or_duration, power_of_two, text,
};

/// The sections of the file.
const SECTIONS: [&str; 13] = [
    "server",
    "partitions",
    "log",
    "replication",
    "cluster",
    "limits",
    "identity",
    "admin",
    "events",
    "bookings",
    "kafka",
    "service",
    "log_output",
];

const KIB: u64 = 1 << 10;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// The port of HTTP and WebSocket unless the configuration says otherwise.
pub const DEFAULT_HTTP_PORT: u16 = 7410;
const MICROSECOND: Duration = Duration::from_micros(1);
const MILLISECOND: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);

/// A whole, checked configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// Addresses, cores, engine, data.
    pub server: Server,
    /// How the rows are divided, and what each part has room for.
    pub partitions: Partitions,
    /// The log on disk.
    pub log: Log,
    /// The second copy of everything.
    pub replication: Replication,
    /// Who decides which of two nodes is the primary.
    pub cluster: Cluster,
    /// What clients may use up.
    pub limits: Limits,
    /// Whose tokens are believed.
    pub identity: Identity,
    /// The operator's key.
    pub admin: Admin,
    /// Rules for events that do not bring their own.
    pub events: EventRules,
    /// How long after its closing an event is archived by itself; `None`: when an operator says so.
    pub archive_after: Option<Duration>,
    /// Whether a table of bookings is kept beside the log.
    pub bookings: Bookings,
    /// Where every change is told.
    pub kafka: Kafka,
    /// The bookings service.
    pub service: Service,
    /// What the server says about itself.
    pub log_output: LogOutput,
    settings: Vec<Setting>,
    notes: Vec<String>,
}

/// `[server]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where raw TCP clients connect, whichever core they land on.
    pub tcp: SocketAddr,
    /// Where HTTP and WebSocket clients connect.
    pub http: SocketAddr,
    /// The first port at which one core alone listens; core `i` has `core_ports + i`. 0: any free ports.
    pub core_ports: u16,
    /// The directory of everything durable.
    pub data: PathBuf,
    /// How shard cores do their input and output.
    pub engine: Engine,
    /// What was asked for; what came of it is in `shard_cpus`.
    pub cores: Cores,
    /// Whether each shard stays on its CPU.
    pub pin: bool,
    /// One entry per shard: the CPU it runs on if `pin` is set.
    pub shard_cpus: Vec<usize>,
    /// How long a shard core without work looks for some before it sleeps, on io_uring; `None`: it sleeps at once.
    pub busy_poll: Option<Duration>,
    /// CPUs that the log's threads may use; empty for all of the process.
    pub log_cpus: Vec<usize>,
    /// CPUs that HTTP may use; empty for all of the process.
    pub http_cpus: Vec<usize>,
}

impl Log {
    /// Bytes that one record may have: a segment must hold it beside what it needs itself.
    pub fn record_bytes(&self) -> usize {
        frontrow_wal::PAYLOAD_BYTES_MAX.min(usize::try_from(self.segment / 2).unwrap_or(usize::MAX))
    }
}

impl Partitions {
    /// How many partitions a new data directory gets for so many shards: room to grow to four times as many, and
    /// no more, for each has memory of its own that competes for the processor's caches.
    pub fn suggested(shards: usize) -> u16 {
        (shards * 4).next_power_of_two().clamp(16, usize::from(MAX_PARTITIONS)) as u16
    }
}

/// How a shard core does its input and output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// io_uring where it is allowed, else epoll.
    Auto,
    /// monoio over io_uring, or nothing.
    IoUring,
    /// monoio over epoll.
    Epoll,
    /// glommio.
    Glommio,
}

/// `[partitions]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partitions {
    /// How many. Fixed once the data directory exists.
    pub count: u16,
    /// Whether that many were asked for; otherwise a data directory that exists keeps what it has.
    pub asked: bool,
    /// Requests whose answers each partition remembers; a power of two.
    pub requests_remembered: u32,
    /// Parties that can wait in each partition's queues together.
    pub waiting: u32,
    /// Queues of each partition that can have anybody in them at one time.
    pub queues: u32,
    /// Section claims that each partition can be putting together at one time.
    pub section_claims: u32,
    /// Whether memory is asked for in huge pages. All of it is there from the start, either way.
    pub huge_pages: bool,
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Log {
    /// How a commit becomes durable.
    pub durability: Durability,
    /// Bytes of one segment file.
    pub segment: u64,
    /// Segments made ready ahead of need, per core.
    pub ready_segments: u32,
    /// Bytes decided but not durable yet, per core, before requests are refused as busy.
    pub backlog: u64,
    /// Bytes of log, over all cores, after which the partitions' next snapshots are made.
    pub snapshot_every: u64,
    /// Bytes of log that may wait for those who follow it, a table of bookings or Kafka; past it nothing new is sold.
    pub keep: u64,
}

/// How a commit becomes durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// What measured best where it can be had.
    Auto,
    /// Through the mapping, flushed beside the core.
    Mapped,
    /// Direct writes past the page cache.
    Direct,
    /// Not at all: for measuring. Everything is lost with the process.
    Memory,
}

/// `[replication]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Where standbys connect; `None`: nowhere.
    pub listen: Option<SocketAddr>,
    /// What answers wait for.
    pub acknowledge: Acknowledge,
    /// How long answers may wait for a standby before new requests are refused as busy.
    pub busy_after: Duration,
    /// Bytes of log that are kept for a standby alone; one that is further behind is seeded from snapshots.
    pub keep_log: u64,
    /// How often each core has one of its partitions compared with the standby's; zero: never.
    pub check: Duration,
}

/// `[cluster]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cluster {
    /// etcd's client addresses (`http://host:port`); none: an operator decides who is primary.
    pub etcd: Vec<String>,
    /// Which cluster of those that use this etcd.
    pub name: String,
    /// How long the primary stays it without a word; whole seconds.
    pub lease: Duration,
    /// How long a standby may be away before the primary records that it goes on without it.
    pub alone_after: Duration,
    /// Whether a standby may take over that may lack what was acknowledged.
    pub allow_loss: bool,
    /// Where others reach this node's raw TCP port; `None`: `server.tcp`.
    pub advertise_tcp: Option<String>,
    /// Where others reach its HTTP port; `None`: `server.http`.
    pub advertise_http: Option<String>,
    /// Where others reach its port for standbys; `None`: `replication.listen`.
    pub advertise_replication: Option<String>,
}

/// `[bookings]`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bookings {
    /// Where the table is.
    pub table: BookingTable,
}

/// `[kafka]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kafka {
    /// `host:port` of some of its nodes, with commas between; `None`: nothing is told to Kafka.
    pub brokers: Option<String>,
    /// What the topics' names begin with.
    pub prefix: String,
    /// Partitions of topics that are made.
    pub partitions: u16,
    /// On how many nodes Kafka keeps each.
    pub replication: u16,
    /// What librdkafka is told beside, by its names.
    pub settings: BTreeMap<String, String>,
    /// How values are written.
    pub format: frontrow_kafka::Format,
    /// The schema registry's address.
    pub registry: Option<String>,
}

/// `[service]`: `frontrow bookings serve`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it answers.
    pub http: SocketAddr,
    /// PostgreSQL, as libpq is told of it.
    pub postgres: Option<String>,
    /// Replicas of it, for reading.
    pub replicas: Vec<String>,
    /// Which services divide the topic among them.
    pub group: String,
    /// Threads that take bookings over.
    pub consumers: u16,
}

/// Where bookings are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookingTable {
    /// In a file in the data directory.
    Embedded,
    /// Nowhere here.
    Off,
}

/// What answers wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acknowledge {
    /// This node's log, as `log.durability` says.
    Local,
    /// This node's log and the standby's.
    Backup,
}

/// `[limits]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections to the whole server.
    pub connections: u32,
    /// Connections from one address; 0 for no limit of its own.
    pub connections_per_address: u32,
    /// Bytes of one frame or message.
    pub frame: u64,
    /// Bytes waiting to be sent on one connection before it is no longer read from.
    pub output_queue: u64,
    /// Requests of one connection that are not answered yet.
    pub in_flight: u32,
    /// From the first byte to a finished handshake.
    pub handshake: Duration,
    /// Without a word from the client.
    pub idle: Duration,
    /// Sections one connection may watch.
    pub watches: u32,
    /// Requests per second of one user; 0 for no limit.
    pub requests_per_second: u32,
    /// Requests one user may make at once after a pause.
    pub requests_burst: u32,
    /// Bytes of an HTTP request's body, seating plans included.
    pub body: u64,
    /// From an HTTP request's head to its answer.
    pub http_request: Duration,
}

/// `[identity]`
#[derive(Clone, Debug)]
pub struct Identity {
    /// Whether this server gives out tokens to whoever asks.
    pub dev: bool,
    /// What tokens are signed with.
    pub key: TokenKey,
    /// `iss` that a token must have.
    pub issuer: Option<String>,
    /// `aud` that a token must have among its own.
    pub audience: Option<String>,
    /// How far clocks may be apart.
    pub leeway: Duration,
}

/// What tokens are signed with: it decides the algorithm too.
#[derive(Clone, Debug)]
pub enum TokenKey {
    /// A secret this server makes for itself and keeps in the data directory. Loopback only.
    Dev,
    /// A shared secret; tokens say HS256.
    Hs256(Secret),
    /// The issuer's public key, as PEM; tokens say EdDSA (Ed25519).
    EdDsa(String),
}

/// `[admin]`
#[derive(Clone, Debug)]
pub struct Admin {
    /// The operator's key; `None` for one this server makes for itself. Loopback only.
    pub key: Option<Secret>,
}

/// `[log_output]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOutput {
    /// How lines look.
    pub format: LogFormat,
    /// The least important level that is written: off, error, warn, info, debug or trace.
    pub level: &'static str,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For collectors: one object a line.
    Json,
}

/// Bytes that are never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for a key or a comparison.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Secret({} bytes)", self.0.len())
    }
}

/// Everything wrong with a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistakes(pub Vec<Mistake>);

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} in the configuration:", count(self.0.len(), "mistake"))?;
        for mistake in &self.0 {
            writeln!(f, "  {mistake}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Mistakes {}

/// A configuration as read, right or wrong.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The configuration, with defaults where there were mistakes. To be run only without any.
    pub config: Config,
    /// What is wrong, in the order of the file, the environment last.
    pub mistakes: Vec<Mistake>,
}

impl Reading {
    /// The configuration, if nothing is wrong with it.
    pub fn into_result(self) -> Result<Config, Mistakes> {
        if self.mistakes.is_empty() { Ok(self.config) } else { Err(Mistakes(self.mistakes)) }
    }
}

/// Reads `path` (or no file), the environment of this process, and the machine it runs on.
pub fn load(path: Option<&Path>) -> Result<Config, Mistakes> {
    read(path, process_env(), &Machine::probe()).into_result()
}

/// What `frontrow serve --check` prints, and whether a server would start with it.
pub fn check(path: Option<&Path>) -> (String, bool) {
    let reading = read(path, process_env(), &Machine::probe());
    (reading.explain(), reading.mistakes.is_empty())
}

/// This process's environment, without what is not UTF-8: such a variable sets nothing here.
pub fn process_env() -> impl Iterator<Item = (String, String)> {
    std::env::vars_os().filter_map(|(name, text)| Some((name.into_string().ok()?, text.into_string().ok()?)))
}

/// Reads a configuration from given places. Relative paths in it are relative to the file's directory.
pub fn read(
    path: Option<&Path>,
    env: impl IntoIterator<Item = (String, String)>,
    machine: &Machine,
) -> Reading {
    let mut source = Source::read(path, env);
    let base = path.and_then(Path::parent).map(Path::to_path_buf).unwrap_or_default();
    let mut config = Config {
        server: server(&mut source, &base),
        partitions: partitions(&mut source),
        log: log(&mut source),
        replication: replication(&mut source),
        cluster: cluster(&mut source),
        limits: limits(&mut source),
        identity: Identity {
            dev: false,
            key: TokenKey::Dev,
            issuer: source.take("identity.issuer", "", &text()),
            audience: source.take("identity.audience", "", &text()),
            leeway: source.take("identity.leeway", "30s", &duration(Duration::ZERO..=HOUR)),
        },
        admin: Admin { key: None },
        events: events(&mut source),
        archive_after: source.take("events.archive_after", "off", &off_or_duration(SECOND..=8760 * HOUR)),
        bookings: bookings(&mut source),
        kafka: kafka(&mut source),
        service: service(&mut source),
        log_output: log_output(&mut source),
        settings: Vec::new(),
        notes: Vec::new(),
    };
    check::keys(&mut source, &mut config, &base);
    check::cores(&mut source, &mut config.server, machine);
    if !config.partitions.asked {
        config.partitions.count = Partitions::suggested(config.server.shard_cpus.len());
    }
    check::beside(&mut source, &mut config.server, machine);
    config.notes = check::bounds(&mut source, &config, machine);
    source.finish();
    config.settings = source.settings;
    let mut mistakes = source.mistakes;
    mistakes.sort_by_key(|mistake| match &mistake.origin {
        Origin::File { line, .. } => (0, *line),
        Origin::Env(_) => (1, 0),
        Origin::Default => (2, 0),
    });
    Reading { config, mistakes }
}

fn server(source: &mut Source, base: &Path) -> Server {
    const ENGINES: &[(&str, Engine)] = &[
        ("auto", Engine::Auto),
        ("io_uring", Engine::IoUring),
        ("epoll", Engine::Epoll),
        ("glommio", Engine::Glommio),
    ];
    Server {
        tcp: source.take("server.tcp", "127.0.0.1:7411", &address()),
        http: source.take("server.http", "127.0.0.1:7410", &address()),
        core_ports: source.take("server.core_ports", "7430", &number(0..=u16::MAX)),
        data: base.join(source.take("server.data", "data", &filled())),
        engine: source.take("server.engine", "auto", &choice(ENGINES)),
        cores: source.take("server.cores", "auto", &cores()),
        pin: source.take("server.pin", "true", &flag()),
        busy_poll: source.take("server.busy_poll", "off", &off_or_duration(MICROSECOND..=MILLISECOND)),
        shard_cpus: Vec::new(),
        log_cpus: Vec::new(),
        http_cpus: Vec::new(),
    }
}

fn partitions(source: &mut Source) -> Partitions {
    let count = source.take("partitions.count", "auto", &auto_or(1..=MAX_PARTITIONS));
    Partitions {
        count: count.unwrap_or(MAX_PARTITIONS),
        asked: count.is_some(),
        requests_remembered: source.take(
            "partitions.requests_remembered",
            "65536",
            &power_of_two(1024..=1 << 26),
        ),
        waiting: source.take("partitions.waiting", "65536", &number(16..=1 << 24)),
        queues: source.take("partitions.queues", "4096", &number(16..=1 << 24)),
        section_claims: source.take("partitions.section_claims", "4096", &number(16..=1 << 20)),
        huge_pages: source.take("partitions.huge_pages", "false", &flag()),
    }
}

fn log(source: &mut Source) -> Log {
    const DURABILITIES: &[(&str, Durability)] = &[
        ("auto", Durability::Auto),
        ("mapped", Durability::Mapped),
        ("direct", Durability::Direct),
        ("memory", Durability::Memory),
    ];
    Log {
        durability: source.take("log.durability", "auto", &choice(DURABILITIES)),
        segment: source.take("log.segment", "64MiB", &bytes(MIB..=4 * GIB)),
        ready_segments: source.take("log.ready_segments", "2", &number(1..=64)),
        backlog: source.take("log.backlog", "32MiB", &bytes(64 * KIB..=4 * GIB)),
        snapshot_every: source.take("log.snapshot_every", "256MiB", &bytes(MIB..=1024 * GIB)),
        keep: source.take("log.keep", "16GiB", &bytes(MIB..=1024 * GIB)),
    }
}

fn replication(source: &mut Source) -> Replication {
    const ACKNOWLEDGE: &[(&str, Acknowledge)] =
        &[("local", Acknowledge::Local), ("backup", Acknowledge::Backup)];
    Replication {
        listen: source.take("replication.listen", "off", &off_or_address()),
        acknowledge: source.take("replication.acknowledge", "local", &choice(ACKNOWLEDGE)),
        busy_after: source.take("replication.busy_after", "2s", &duration(Duration::from_millis(10)..=HOUR)),
        keep_log: source.take("replication.keep_log", "4GiB", &bytes(MIB..=1024 * GIB)),
        check: source.take("replication.check", "1m", &duration(Duration::ZERO..=24 * HOUR)),
    }
}

fn cluster(source: &mut Source) -> Cluster {
    Cluster {
        etcd: source.take("cluster.etcd", "[]", &list()),
        name: source.take("cluster.name", "main", &filled()),
        lease: source.take("cluster.lease", "3s", &duration(2 * SECOND..=60 * SECOND)),
        alone_after: source.take("cluster.alone_after", "1s", &duration(Duration::from_millis(10)..=HOUR)),
        allow_loss: source.take("cluster.allow_loss", "false", &flag()),
        advertise_tcp: source.take("cluster.advertise_tcp", "", &text()),
        advertise_http: source.take("cluster.advertise_http", "", &text()),
        advertise_replication: source.take("cluster.advertise_replication", "", &text()),
    }
}

fn limits(source: &mut Source) -> Limits {
    let deadline = duration(Duration::from_millis(100)..=HOUR);
    Limits {
        connections: source.take("limits.connections", "20000", &number(1..=4_000_000)),
        connections_per_address: source.take(
            "limits.connections_per_address",
            "10000",
            &number(0..=4_000_000),
        ),
        frame: source.take("limits.frame", "64KiB", &bytes(KIB..=16 * MIB)),
        output_queue: source.take("limits.output_queue", "1MiB", &bytes(4 * KIB..=GIB)),
        in_flight: source.take("limits.in_flight", "1024", &number(1..=65_536)),
        handshake: source.take("limits.handshake", "5s", &deadline),
        idle: source.take("limits.idle", "2m", &duration(SECOND..=24 * HOUR)),
        watches: source.take("limits.watches", "64", &number(0..=65_536)),
        requests_per_second: source.take("limits.requests_per_second", "0", &number(0..=10_000_000)),
        requests_burst: source.take("limits.requests_burst", "100", &number(1..=10_000_000)),
        body: source.take("limits.body", "512MiB", &bytes(KIB..=2 * GIB)),
        http_request: source.take("limits.http_request", "60s", &deadline),
    }
}

fn events(source: &mut Source) -> EventRules {
    const FAIRNESS: &[(&str, Fairness)] = &[("fifo", Fairness::Fifo), ("free-for-all", Fairness::FreeForAll)];
    const ORPHANS: &[(&str, OrphanRule)] =
        &[("off", OrphanRule::Off), ("prefer", OrphanRule::Prefer), ("strict", OrphanRule::Strict)];
    let time = duration(10 * SECOND..=HOUR);
    let ms = |time: Duration| time.as_millis() as u32;
    EventRules {
        hold_ms: ms(source.take("events.hold", "5m", &time)),
        offer_ms: ms(source.take("events.offer", "5m", &time)),
        pay_ms: ms(source.take("events.pay", "5m", &time)),
        max_extensions: source.take("events.max_extensions", "2", &number(0..=15)),
        max_per_claim: source.take("events.max_per_claim", "8", &number(1..=frontrow_shard::MAX_PARTY)),
        max_per_user: source.take("events.max_per_user", "0", &number(0..=u16::MAX)),
        max_passes: source.take("events.max_passes", "100", &number(0..=u16::MAX)),
        fairness: source.take("events.fairness", "fifo", &choice(FAIRNESS)),
        orphans: source.take("events.orphans", "prefer", &choice(ORPHANS)),
    }
}

fn bookings(source: &mut Source) -> Bookings {
    const TABLES: &[(&str, BookingTable)] =
        &[("embedded", BookingTable::Embedded), ("off", BookingTable::Off)];
    Bookings { table: source.take("bookings.table", "embedded", &choice(TABLES)) }
}

fn kafka(source: &mut Source) -> Kafka {
    use frontrow_kafka::Format;
    const FORMATS: &[(&str, Format)] = &[("json", Format::Json), ("avro", Format::Avro)];
    Kafka {
        brokers: source.take("kafka.brokers", "", &text()),
        prefix: source.take("kafka.prefix", "frontrow", &filled()),
        partitions: source.take("kafka.partitions", "16", &number(1..=1024)),
        replication: source.take("kafka.replication", "1", &number(1..=16)),
        settings: source.take_table("kafka.settings"),
        format: source.take("kafka.format", "json", &choice(FORMATS)),
        registry: source.take_secret("kafka.registry", &text()),
    }
}

impl Kafka {
    /// What is told to its writers and readers: of this cluster's changes, if there is a Kafka.
    pub fn client(&self, cluster: u128) -> Option<frontrow_kafka::Settings> {
        Some(frontrow_kafka::Settings { brokers: self.brokers.clone()?, ..self.client_anywhere(cluster) })
    }

    /// The same, wherever it is.
    pub(crate) fn client_anywhere(&self, cluster: u128) -> frontrow_kafka::Settings {
        frontrow_kafka::Settings {
            brokers: String::new(),
            prefix: self.prefix.clone(),
            partitions: self.partitions,
            replication: self.replication,
            client: self.settings.clone(),
            format: self.format,
            registry: self.registry.clone(),
            cluster,
        }
    }
}

fn service(source: &mut Source) -> Service {
    Service {
        http: source.take("service.http", "127.0.0.1:7420", &address()),
        postgres: source.take_secret("service.postgres", &text()),
        replicas: source.take_secret("service.replicas", &list()),
        group: source.take("service.group", "frontrow-bookings", &filled()),
        consumers: source.take("service.consumers", "1", &number(1..=64)),
    }
}

fn log_output(source: &mut Source) -> LogOutput {
    const FORMATS: &[(&str, LogFormat)] = &[("text", LogFormat::Text), ("json", LogFormat::Json)];
    const LEVELS: &[(&str, &str)] = &[
        ("off", "off"),
        ("error", "error"),
        ("warn", "warn"),
        ("info", "info"),
        ("debug", "debug"),
        ("trace", "trace"),
    ];
    LogOutput {
        format: source.take("log_output.format", "text", &choice(FORMATS)),
        level: source.take("log_output.level", "info", &choice(LEVELS)),
    }
}

/// `1 mistake`, `2 mistakes`.
fn count(n: usize, what: &str) -> String {
    if n == 1 { format!("1 {what}") } else { format!("{n} {what}s") }
}
