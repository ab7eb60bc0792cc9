//! A configuration from the machine's topology.

use std::fmt::Write;
use std::path::Path;

use crate::cpus::show;
use crate::need::{partition_bytes, size};
use crate::{ReadError, Root, Topology, cgroup};

/// Physical cores that one memory node must have for a server to stay on it.
const NODE_CORES_MIN: usize = 4;
/// Shards for one CPU of the log's threads.
const SHARDS_PER_LOG_CPU: usize = 8;
/// Defaults of the server, which are left out when they hold.
const REQUESTS: u32 = 65_536;
const PARTIES: u32 = 65_536;
const QUEUES: u32 = 4096;
const CONNECTIONS: u64 = 20_000;
const PER_ADDRESS: u64 = 10_000;
/// Open files beside connections.
const FILES_BESIDES: u64 = 256;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum AutoError {
    /// The machine does not say what it has.
    #[error("{0}; write the configuration by hand: `frontrow tune preset one-box`")]
    Unreadable(#[from] ReadError),
}

/// Who gets which CPUs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// One for each shard. Not pinned: only their number counts.
    pub shards: Vec<usize>,
    /// The log's threads; empty for any.
    pub log: Vec<usize>,
    /// HTTP; empty for any.
    pub http: Vec<usize>,
    /// Whether shards stay on their CPUs.
    pub pin: bool,
    /// Why it is so, a line each.
    pub why: Vec<String>,
}

/// Divides the CPUs: one shard on each physical core but those kept for the log, HTTP and interrupts.
///
/// `quota` is CPUs' worth of time, `busy` are CPUs that take the network card's interrupts.
pub fn layout(topology: &Topology, quota: Option<f64>, busy: &[usize]) -> Layout {
    let mut why = Vec::new();
    let allowed = topology.allowed.len();
    let mut cores = one_node(topology, &mut why);
    if topology.cores.iter().any(|core| core.siblings.len() > 1) {
        why.push(format!(
            "{} hyper-threads on {} physical cores: a shard has a whole core",
            allowed,
            cores.len()
        ));
    }
    let usable = quota.map_or(cores.len(), |cpus| (cpus.floor() as usize).max(1));
    if let Some(cpus) = quota.filter(|cpus| *cpus < allowed as f64) {
        why.push(format!(
            "the quota is {cpus:.1} of {allowed} CPUs, which others use too: not pinned, one CPU's worth kept for log and HTTP"
        ));
        let shards = usable.min(cores.len()).saturating_sub(1).max(1);
        cores.truncate(shards);
        return Layout { shards: cores, log: Vec::new(), http: Vec::new(), pin: false, why };
    }
    if cores.len() == 1 {
        why.push("one core: shard, log and HTTP share it".to_owned());
        // A second hyper-thread is better than none.
        let rest: Vec<usize> = topology.allowed.iter().copied().filter(|cpu| !cores.contains(cpu)).collect();
        return Layout { shards: cores, log: rest.clone(), http: rest, pin: true, why };
    }
    let spare = spare(&cores, busy);
    let shards: Vec<usize> = cores.iter().copied().filter(|cpu| !spare.contains(cpu)).collect();
    let (log, http) =
        if spare.len() == 1 { (spare.clone(), spare.clone()) } else { (spare[1..].to_vec(), vec![spare[0]]) };
    let mut whole = |cpus: &[usize], what: &str| {
        let mut all: Vec<usize> = cpus.iter().flat_map(|&cpu| with_siblings(topology, cpu)).collect();
        all.sort_unstable();
        why.push(format!("{what}: CPUs {}", show(&all)));
        all
    };
    let http = whole(&http, "HTTP, and whatever the system does on its first CPUs and the card's");
    let log = whole(&log, "the log's threads, away from every shard");
    Layout { shards, log, http, pin: true, why }
}

/// Physical cores on the node that has most of them, if that has enough; else all. Isolated ones if there are.
fn one_node(topology: &Topology, why: &mut Vec<String>) -> Vec<usize> {
    let physical = topology.physical();
    let nodes = topology.nodes();
    if nodes.len() < 2 {
        return physical;
    }
    let node_of = |cpu: usize| topology.core(cpu).map_or(0, |core| core.node);
    let on = |node: usize| physical.iter().filter(|&&cpu| node_of(cpu) == node).count();
    let best = nodes.iter().copied().max_by_key(|&node| (on(node), std::cmp::Reverse(node))).unwrap_or(0);
    if on(best) < NODE_CORES_MIN {
        why.push(format!("{} memory nodes of few cores each: all of them are used", nodes.len()));
        return physical;
    }
    why.push(format!(
        "{} memory nodes: only node {best} is used, for a crossing costs more than one within; start with \
         `numactl --membind={best}`, and run a second server with other events on another node",
        nodes.len()
    ));
    physical.into_iter().filter(|&cpu| node_of(cpu) == best).collect()
}

/// Cores that get no shard: those that take interrupts first, then the first ones, where the system does its own.
fn spare(cores: &[usize], busy: &[usize]) -> Vec<usize> {
    let for_log = if cores.len() >= 8 { (cores.len() / (SHARDS_PER_LOG_CPU + 1)).max(1) } else { 0 };
    let wanted = 1 + for_log;
    let interrupted = cores.iter().filter(|cpu| busy.contains(cpu));
    let others = cores.iter().filter(|cpu| !busy.contains(cpu));
    let mut spare: Vec<usize> = interrupted.chain(others).copied().take(wanted).collect();
    spare.sort_unstable();
    spare
}

fn with_siblings(topology: &Topology, cpu: usize) -> Vec<usize> {
    let siblings = topology.core(cpu).map_or_else(|| vec![cpu], |core| core.siblings.clone());
    siblings.into_iter().filter(|cpu| topology.allowed.contains(cpu)).collect()
}

/// Reads the machine and writes the file's text. `data` becomes `server.data`; `files` is the hard limit of open
/// files, if there is one.
pub fn configure(root: &Root, data: &Path, files: Option<u64>) -> Result<String, AutoError> {
    let topology = Topology::read(root)?;
    let quota = cgroup::quota(root)?.cpus;
    let layout = layout(&topology, quota, &interrupted(root));
    let memory = memory(root)?;
    let mut out = String::from("# Frontrow on this machine, as `frontrow tune auto` found it:\n");
    for line in &layout.why {
        let _ = writeln!(out, "#   {line}.");
    }
    out.push_str("# Everything not said here has its default: tuning/frontrow.toml.\n\n[server]\n");
    let _ = writeln!(out, "data = {}", quoted(&data.display().to_string()));
    let list = |cpus: &[usize]| format!("{cpus:?}");
    if layout.pin {
        let _ = writeln!(out, "cores = {}", list(&layout.shards));
    } else {
        let _ = writeln!(out, "cores = {}\npin = false", layout.shards.len());
    }
    for (key, cpus) in [("log_cpus", &layout.log), ("http_cpus", &layout.http)] {
        if !cpus.is_empty() {
            let _ = writeln!(out, "{key} = {}", list(cpus));
        }
    }
    partitions(&mut out, layout.shards.len(), memory);
    connections(&mut out, files);
    Ok(out)
}

/// Arenas that fill at most a half of the memory.
fn partitions(out: &mut String, shards: usize, memory: u64) {
    let count = frontrow_server::config::Partitions::suggested(shards);
    let (mut requests, mut parties, mut queues) = (REQUESTS, PARTIES, QUEUES);
    let total = |requests, parties, queues| u64::from(count) * partition_bytes(requests, parties, queues);
    while total(requests, parties, queues) > memory / 2 && requests > 4096 {
        (requests, parties, queues) = (requests / 2, parties / 2, (queues / 2).max(256));
    }
    let needed = total(requests, parties, queues);
    let _ = writeln!(
        out,
        "\n[partitions]\n# {} at the most, of {}. The count cannot be changed once there are data.\ncount = {count}",
        size(needed),
        size(memory)
    );
    let values = [
        ("requests_remembered", requests, REQUESTS),
        ("waiting", parties, PARTIES),
        ("queues", queues, QUEUES),
    ];
    for (key, value, _) in values.into_iter().filter(|(_, value, default)| value != default) {
        let _ = writeln!(out, "{key} = {value}");
    }
}

fn connections(out: &mut String, files: Option<u64>) {
    let Some(files) = files.filter(|files| *files < CONNECTIONS + FILES_BESIDES) else { return };
    let connections = files.saturating_sub(FILES_BESIDES).max(1);
    let _ = writeln!(
        out,
        "\n[limits]\n# This process may have {files} open files; with LimitNOFILE= raised, more.\n\
         connections = {connections}"
    );
    if connections < PER_ADDRESS {
        let _ = writeln!(out, "connections_per_address = {connections}");
    }
}

/// What there is for this process, in bytes.
fn memory(root: &Root) -> Result<u64, ReadError> {
    const MEMINFO: &str = "/proc/meminfo";
    let text = root.text(MEMINFO)?;
    let total = text.lines().find_map(|line| line.strip_prefix("MemTotal:")).unwrap_or_default();
    let kib: u64 = total
        .trim()
        .trim_end_matches("kB")
        .trim()
        .parse()
        .map_err(|_| ReadError::text(MEMINFO, total, "number of kB"))?;
    let bound = cgroup::memory_limit(root)?.map_or(u64::MAX, |(bound, _)| bound);
    Ok((kib << 10).min(bound))
}

/// CPUs that any network card's interrupts are bound to, if they are bound to few.
fn interrupted(root: &Root) -> Vec<usize> {
    let text = root.text("/proc/interrupts").unwrap_or_default();
    let cards = root.names("/sys/class/net");
    let cards: Vec<&String> = cards.iter().filter(|name| *name != "lo").collect();
    let mut cpus = Vec::new();
    for line in text.lines().skip(1) {
        let Some((number, rest)) = line.split_once(':') else { continue };
        let name = rest.split_whitespace().last().unwrap_or_default();
        if cards.iter().any(|card| name == card.as_str() || name.starts_with(&format!("{card}-"))) {
            let path = format!("/proc/irq/{}/smp_affinity_list", number.trim());
            let bound = crate::topology::list(root, &path).unwrap_or_default();
            if bound.len() == 1 {
                cpus.extend(bound);
            }
        }
    }
    cpus.sort_unstable();
    cpus.dedup();
    cpus
}

/// A TOML string.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                let _ = write!(out, "\\u{:04X}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}
