//! What settings have to do with each other, with the machine, and with safety: all in this one place.

use std::net::SocketAddr;
use std::path::Path;

use frontrow_kafka::BadSetting;
use frontrow_shard::HOLD_RANGE_MS;

use super::source::Source;
use super::value::{choice, show_bytes, some_cpus, text};
use super::{Acknowledge, Config, Cores, Durability, Limits, Machine, Secret, Server, TokenKey, count};

/// The most connections' worth of sockets kept for everything else: listeners, segments, HTTP.
const FILES_BESIDES: u64 = 256;
/// With fewer, not even the log's segments and the listeners of one core can be open.
const FILES_LEAST: u64 = 64;
/// What a remembered request costs: its answer, and its slots in the table (`shard/src/requests.rs`).
const REMEMBERED_BYTES: u64 = 112;
/// The shortest secret or key, in bytes: as long as HS256's hash (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// The largest key file that is read.
const KEY_FILE_BYTES_MAX: u64 = 64 << 10;
const MAKE_A_SECRET: &str = "`openssl rand -hex 32 > token.secret && chmod 600 token.secret`";
const MAKE_AN_ADMIN_KEY: &str = "`openssl rand -hex 32 > admin.key && chmod 600 admin.key`";

/// `identity.dev`, as written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Dev {
    Auto,
    On,
    Off,
}

/// Finds the keys, and holds them against the addresses: only a loopback server may do without.
pub(super) fn keys(source: &mut Source, config: &mut Config, base: &Path) {
    let dev = source.take(
        "identity.dev",
        "auto",
        &choice(&[("auto", Dev::Auto), ("true", Dev::On), ("false", Dev::Off)]),
    );
    let open =
        [config.server.tcp, config.server.http].into_iter().find(|address| !address.ip().is_loopback());
    let before = source.mistakes.len();
    let key = token_key(source, base);
    let key_is_wrong = source.mistakes.len() > before;
    config.identity.dev = match dev {
        Dev::On => true,
        Dev::Off => false,
        Dev::Auto => key.is_none() && open.is_none(),
    };
    if !key_is_wrong {
        identity_rule(source, dev, key.as_ref(), open);
    }
    config.identity.key = key.unwrap_or(TokenKey::Dev);
    admin_key(source, config, base, open);
}

fn identity_rule(source: &mut Source, dev: Dev, key: Option<&TokenKey>, open: Option<SocketAddr>) {
    match (dev, key, open) {
        (Dev::On, _, Some(address)) => source.mistake(
            "identity.dev",
            format!(
                "the server is bound to {address}, where strangers could make themselves tokens for any user; \
                 bind server.tcp and server.http to loopback, or remove identity.dev and set a key"
            ),
        ),
        (Dev::On, Some(TokenKey::EdDsa(_)), None) => source.mistake(
            "identity.dev",
            "tokens cannot be made with a public key; remove identity.dev or identity.eddsa_public_key_file",
        ),
        (Dev::Auto, None, Some(_)) | (Dev::Off, None, _) => {
            let why = open.map_or_else(
                || "identity.dev is off".to_owned(),
                |address| format!("the server is bound to {address}, which others can reach"),
            );
            source.mistake(
                "identity",
                format!(
                    "{why}, so tokens need a key: make a secret with {MAKE_A_SECRET} and set \
                     identity.hs256_secret_file, or set identity.eddsa_public_key_file to your issuer's public \
                     key (`openssl pkey -in private.pem -pubout -out public.pem`)"
                ),
            );
        }
        _ => {}
    }
}

fn token_key(source: &mut Source, base: &Path) -> Option<TokenKey> {
    let names = ["identity.hs256_secret", "identity.hs256_secret_file", "identity.eddsa_public_key_file"];
    let secret = source.take_secret(names[0], &text());
    let secret_file = source.take(names[1], "", &text());
    let public_file = source.take(names[2], "", &text());
    let given = [secret.is_some(), secret_file.is_some(), public_file.is_some()];
    if given.iter().filter(|given| **given).count() > 1 {
        let several: Vec<_> =
            names.iter().zip(given).filter(|(_, given)| *given).map(|(name, _)| *name).collect();
        source.mistake(several[1], format!("there can be one key only; keep one of {}", several.join(", ")));
        return None;
    }
    if let Some(secret) = secret {
        return long_enough(source, names[0], secret.into_bytes(), MAKE_A_SECRET).map(TokenKey::Hs256);
    }
    if let Some(file) = secret_file {
        let bytes = key_file(source, names[1], &base.join(file), MAKE_A_SECRET)?;
        return long_enough(source, names[1], bytes, MAKE_A_SECRET).map(TokenKey::Hs256);
    }
    let file = base.join(public_file?);
    let remedy = "`openssl pkey -in private.pem -pubout -out public.pem`";
    let bytes = key_file(source, names[2], &file, remedy)?;
    match String::from_utf8(bytes) {
        Ok(pem) if crate::identity::is_ed25519_public_pem(&pem) => Some(TokenKey::EdDsa(pem)),
        _ => {
            source.mistake(
                names[2],
                format!("{} is no Ed25519 public key in PEM; write it with {remedy}", file.display()),
            );
            None
        }
    }
}

fn admin_key(source: &mut Source, config: &mut Config, base: &Path, open: Option<SocketAddr>) {
    let key = source.take_secret("admin.key", &text());
    let file = source.take("admin.key_file", "", &text());
    let before = source.mistakes.len();
    config.admin.key = match (key, file) {
        (Some(_), Some(_)) => {
            source.mistake(
                "admin.key_file",
                "there can be one key only; keep one of admin.key, admin.key_file",
            );
            None
        }
        (Some(key), None) => long_enough(source, "admin.key", key.into_bytes(), MAKE_AN_ADMIN_KEY),
        (None, Some(file)) => key_file(source, "admin.key_file", &base.join(file), MAKE_AN_ADMIN_KEY)
            .and_then(|bytes| long_enough(source, "admin.key_file", bytes, MAKE_AN_ADMIN_KEY)),
        (None, None) => None,
    };
    if let (None, Some(address), true) = (&config.admin.key, open, source.mistakes.len() == before) {
        source.mistake(
            "admin",
            format!(
                "the server is bound to {address}, which others can reach, so operators need a key: make one with \
                 {MAKE_AN_ADMIN_KEY} and set admin.key_file"
            ),
        );
    }
}

fn key_file(source: &mut Source, key: &str, path: &Path, remedy: &str) -> Option<Vec<u8>> {
    let read = std::fs::metadata(path).and_then(|file| {
        if file.len() > KEY_FILE_BYTES_MAX {
            return Err(std::io::Error::other("it is too large for a key"));
        }
        std::fs::read(path)
    });
    match read {
        Ok(bytes) => Some(bytes.trim_ascii().to_vec()),
        Err(error) => {
            let message = format!("{} cannot be read ({error}); make it with {remedy}", path.display());
            source.mistake(key, message);
            None
        }
    }
}

fn long_enough(source: &mut Source, key: &str, bytes: Vec<u8>, remedy: &str) -> Option<Secret> {
    if bytes.len() < SECRET_BYTES_MIN {
        source.mistake(
            key,
            format!(
                "{} are too few, at least {SECRET_BYTES_MIN} are needed; make one with {remedy}",
                count(bytes.len(), "byte")
            ),
        );
        return None;
    }
    Some(Secret::new(bytes))
}

/// Gives every shard its CPU.
pub(super) fn cores(source: &mut Source, server: &mut Server, machine: &Machine) {
    let allowed = &machine.cpus;
    let cpus: Vec<usize> = match &server.cores {
        Cores::Auto => allowed[..allowed.len().saturating_sub(1).max(1).min(allowed.len())].to_vec(),
        Cores::Count(n) => {
            if server.pin && *n > allowed.len() {
                let have = count(allowed.len(), "CPU");
                source.mistake(
                    "server.cores",
                    format!(
                        "{n} shards cannot each have one of {have}; give at most {}, or server.pin = false",
                        allowed.len()
                    ),
                );
            }
            allowed.iter().copied().cycle().take(*n).collect()
        }
        Cores::List(list) => {
            listed(source, list, allowed, server.pin);
            list.clone()
        }
    };
    server.shard_cpus = cpus;
}

/// Gives the threads beside the shards their CPUs. A list holds whether shards are pinned or not; without
/// one, HTTP gets the first CPU that no shard is pinned to, and the log's threads may run anywhere.
pub(super) fn beside(source: &mut Source, server: &mut Server, machine: &Machine) {
    let mut list = |key: &'static str| {
        let list = source.take(key, "auto", &some_cpus())?;
        for cpu in list.iter().filter(|cpu| !machine.cpus.contains(cpu)) {
            source.mistake(key, not_ours(*cpu, &machine.cpus));
        }
        Some(list)
    };
    server.log_cpus = list("server.log_cpus").unwrap_or_default();
    server.http_cpus = list("server.http_cpus").unwrap_or_else(|| {
        let free = machine.cpus.iter().copied().find(|cpu| !server.shard_cpus.contains(cpu));
        free.filter(|_| server.pin).into_iter().collect()
    });
}

fn not_ours(cpu: usize, allowed: &[usize]) -> String {
    format!("CPU {cpu} is not one this process may use; choose from {allowed:?}")
}

fn listed(source: &mut Source, list: &[usize], allowed: &[usize], pin: bool) {
    for (at, cpu) in list.iter().enumerate() {
        if pin && !allowed.contains(cpu) {
            source.mistake("server.cores", not_ours(*cpu, allowed));
        }
        if pin && list[..at].contains(cpu) {
            source.mistake(
                "server.cores",
                format!("CPU {cpu} is listed twice; give each shard its own, or server.pin = false"),
            );
        }
    }
}

/// Holds bounds against each other. Returns remarks on what is allowed but worth knowing.
pub(super) fn bounds(source: &mut Source, config: &Config, machine: &Machine) -> Vec<String> {
    let (limits, log) = (&config.limits, &config.log);
    at_least(source, ("limits.output_queue", limits.output_queue), ("limits.frame", limits.frame));
    at_least(source, ("log.backlog", log.backlog), ("limits.frame", limits.frame));
    at_least(source, ("log.segment", log.segment), ("limits.frame", 16 * limits.frame));
    at_least(source, ("log.snapshot_every", log.snapshot_every), ("log.segment", log.segment));
    at_least(source, ("limits.body", limits.body), ("limits.frame", limits.frame));
    if limits.idle < limits.handshake {
        source.mistake("limits.idle", "is shorter than limits.handshake; make it at least as long");
    }
    if limits.connections_per_address > limits.connections {
        source.mistake(
            "limits.connections_per_address",
            format!(
                "is more than limits.connections ({}); give at most that, or 0 for no limit",
                limits.connections
            ),
        );
    }
    let shards = config.server.shard_cpus.len();
    if shards > usize::from(config.partitions.count) {
        source.mistake(
            "partitions.count",
            format!(
                "{} cannot be divided among {shards} shards; give at least {shards}",
                config.partitions.count
            ),
        );
    }
    ports(source, config);
    room(source, config, machine);
    replication(source, config);
    cluster(source, config);
    kafka(source, config);
    if let Some((rule, allowed)) = config.events.mistake() {
        source.mistake(&format!("events.{rule}"), format!("is out of range; allowed is {allowed}"));
    }
    notes(config, limits, machine)
}

/// Answers can wait for a standby only if one can connect, and only for a log that is written at all.
fn replication(source: &mut Source, config: &Config) {
    let replication = &config.replication;
    if replication.acknowledge == Acknowledge::Backup && replication.listen.is_none() {
        source.mistake(
            "replication.acknowledge",
            "is `backup`, and no standby can connect; set replication.listen to an address of a private network",
        );
    }
    if replication.listen.is_some() && config.log.durability == Durability::Memory {
        source.mistake(
            "log.durability",
            "is `memory`, and a standby copies what is on disk; choose auto, or set replication.listen = off",
        );
    }
}

/// librdkafka must take what it is told, and what is told to Kafka must outlive this process.
fn kafka(source: &mut Source, config: &Config) {
    let kafka = &config.kafka;
    if kafka.brokers.is_some() && config.log.durability == Durability::Memory {
        source.mistake(
            "log.durability",
            "is `memory`, and what is told to Kafka must not be lost here; choose auto, or remove kafka.brokers",
        );
    }
    if let Err(error) = kafka.client_anywhere(0).check() {
        let key = match error {
            BadSetting::Prefix(_) => "kafka.prefix",
            BadSetting::Registry(_) | BadSetting::NoRegistry => "kafka.registry",
            BadSetting::Own(_) | BadSetting::Refused { .. } => "kafka.settings",
        };
        source.mistake(key, error.to_string());
    }
}

/// Whoever is to decide must be reachable, and others must be told addresses that lead here.
fn cluster(source: &mut Source, config: &Config) {
    let cluster = &config.cluster;
    if cluster.etcd.is_empty() {
        return;
    }
    let is_address = |url: &String| crate::cluster::authority(url).is_some();
    if let Some(url) = cluster.etcd.iter().find(|url| !is_address(url)) {
        source.mistake("cluster.etcd", format!("`{url}` is no address of etcd; write http://host:2379"));
    }
    if cluster.name.contains(|it: char| it == '/' || it.is_control()) {
        source.mistake(
            "cluster.name",
            "has a slash, which divides etcd's keys, or a line break; choose a plain word",
        );
    }
    if cluster.lease.subsec_nanos() != 0 {
        source.mistake(
            "cluster.lease",
            "is not in whole seconds, which is how etcd counts; give 2s, 3s or more",
        );
    }
    let Some(listen) = config.replication.listen else {
        source.mistake(
            "cluster.etcd",
            "is set, and the other node could not follow this one; set replication.listen to an address of a private network",
        );
        return;
    };
    let own = [
        ("cluster.advertise_tcp", &cluster.advertise_tcp, "server.tcp", config.server.tcp),
        ("cluster.advertise_http", &cluster.advertise_http, "server.http", config.server.http),
        ("cluster.advertise_replication", &cluster.advertise_replication, "replication.listen", listen),
    ];
    for (key, given, of, address) in own {
        if given.is_none() && address.ip().is_unspecified() {
            source.mistake(
                key,
                format!("is not set, and {of} is {address}, which leads others nowhere; set it to host:port as others see it"),
            );
        }
        if given.as_ref().is_some_and(|given| !given.contains(':')) {
            source.mistake(key, "has no port; write host:port");
        }
    }
    let local = config.replication.acknowledge == Acknowledge::Local;
    if local && !cluster.allow_loss && !source.is_mistaken("replication.acknowledge") {
        source.mistake(
            "replication.acknowledge",
            "is `local`, so that a standby taking over by itself could lack what was answered; set it to backup, or say \
             cluster.allow_loss = true",
        );
    }
}

fn at_least(source: &mut Source, (key, value): (&str, u64), (than, least): (&str, u64)) {
    if value < least {
        source.mistake(
            key,
            format!(
                "{} is less than the {} that follow from {than}; raise it or lower {than}",
                show_bytes(value),
                show_bytes(least)
            ),
        );
    }
}

fn ports(source: &mut Source, config: &Config) {
    let server = &config.server;
    let shards = server.shard_cpus.len();
    let (first, end) = (usize::from(server.core_ports), usize::from(server.core_ports) + shards);
    if first != 0 && end > 65_536 {
        source
            .mistake("server.core_ports", format!("{shards} ports from {first} go past 65535; start lower"));
    }
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    let listeners = [("server.tcp", Some(server.tcp)), ("server.http", Some(server.http))];
    for (key, address) in listeners.into_iter().chain([("replication.listen", config.replication.listen)]) {
        let Some(address) = address.filter(|address| address.port() != 0) else { continue };
        let port = address.port();
        if first != 0 && (first..end).contains(&usize::from(port)) {
            let last = end - 1;
            let message = format!("port {port} is one of the cores' ports {first} to {last}; choose another");
            source.mistake(key, message);
        }
        if let Some((other, _)) = taken.iter().find(|(_, other)| meet(*other, address)) {
            source.mistake(key, format!("port {port} is {other}'s already; choose another"));
        }
        taken.push((key, address));
    }
}

/// Whether two listeners are in each other's way.
fn meet(a: SocketAddr, b: SocketAddr) -> bool {
    a.port() == b.port() && (a.ip() == b.ip() || a.ip().is_unspecified() || b.ip().is_unspecified())
}

/// What the file system and the memory must have before a server can begin.
fn room(source: &mut Source, config: &Config, machine: &Machine) {
    let data = &config.server.data;
    if data.exists() && !data.is_dir() {
        let message = format!("{} is no directory; name one, it is made if it is missing", data.display());
        source.mistake("server.data", message);
    }
    let remembered = u64::from(config.partitions.requests_remembered).next_power_of_two();
    let needed = u64::from(config.partitions.count) * remembered * REMEMBERED_BYTES;
    if let Some(memory) = machine.memory.filter(|memory| needed > *memory) {
        source.mistake(
            "partitions.requests_remembered",
            format!(
                "{} in each of {} need {}, there is {} of memory; remember fewer or have fewer partitions",
                count(remembered as usize, "request"),
                count(config.partitions.count.into(), "partition"),
                show_bytes(needed),
                show_bytes(memory)
            ),
        );
    }
    if let Some(most) = machine.open_files.filter(|most| *most < FILES_LEAST) {
        source.mistake(
            "limits.connections",
            format!(
                "this process may have {most} open files, which is too few for the log and the listeners alone; raise \
                 LimitNOFILE or `ulimit -n` to {} or more",
                u64::from(config.limits.connections) + FILES_BESIDES
            ),
        );
    }
}

fn notes(config: &Config, limits: &Limits, machine: &Machine) -> Vec<String> {
    let mut notes = Vec::new();
    let wanted = u64::from(limits.connections) + FILES_BESIDES;
    if let Some(most) = machine.open_files.filter(|most| *most < wanted) {
        notes.push(format!(
            "limits.connections needs {wanted} open files, this process may have {most}: raise LimitNOFILE or `ulimit -n`"
        ));
    }
    if config.log.durability == Durability::Memory {
        notes.push("log.durability = memory: nothing survives the process; for measuring only".to_owned());
    }
    if let Some(address) = config.replication.listen.filter(|address| !address.ip().is_loopback()) {
        notes.push(format!(
            "replication.listen is {address}: the stream is neither encrypted nor authenticated, so only trusted nodes may \
             reach it"
        ));
    }
    if !config.cluster.etcd.is_empty() && config.cluster.allow_loss {
        notes.push(
            "cluster.allow_loss: a standby takes over even if it is not known to have everything; what was answered last may be \
             lost then"
                .to_owned(),
        );
    }
    if config.identity.dev {
        notes.push(
            "development mode: whoever reaches the HTTP port can be any user; set identity.dev = false before \
             putting a proxy in front"
                .to_owned(),
        );
    }
    let shared = |cpus: &[usize]| cpus.iter().all(|cpu| config.server.shard_cpus.contains(cpu));
    if config.server.pin && shared(&config.server.http_cpus) {
        notes.push("HTTP has no CPU without a shard: answers of both wait for each other".to_owned());
    }
    if !config.server.log_cpus.is_empty() && shared(&config.server.log_cpus) {
        notes.push(
            "server.log_cpus has shards' CPUs only: every new segment takes one from its shard, and so does every \
             commit that a thread writes"
                .to_owned(),
        );
    }
    notes
}

const _: () = assert!(*HOLD_RANGE_MS.start() == 10_000 && *HOLD_RANGE_MS.end() == 3_600_000);
