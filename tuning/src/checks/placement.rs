//! Whether the CPUs that the configuration names are there, whole and near each other.

use super::or_unknown;
use crate::cpus::show;
use crate::{Finding, Host, ReadError, Severity, Step, Topology, cgroup};

pub(super) fn check(host: &Host, topology: &Topology, found: &mut Vec<Finding>) {
    found.push(cpus(host, topology));
    found.push(or_unknown("cpu-quota", quota(host)));
    found.push(siblings(host, topology));
    found.push(isolated(host, topology));
    found.push(numa(host, topology));
    found.push(or_unknown("timers", timers(host)));
}

const ONLINE: &str = "/sys/devices/system/cpu/online, /proc/self/status";

fn cpus(host: &Host, topology: &Topology) -> Finding {
    let server = &host.config.server;
    let others = server.log_cpus.iter().chain(&server.http_cpus).copied();
    let wanted = if server.pin { server.shard_cpus.clone() } else { Vec::new() };
    let mut absent: Vec<usize> =
        wanted.into_iter().chain(others).filter(|cpu| !topology.allowed.contains(cpu)).collect();
    absent.sort_unstable();
    absent.dedup();
    let text = format!(
        "{} CPUs, {} for this process ({}); shards on {}{}",
        topology.cores.len(),
        topology.allowed.len(),
        show(&topology.allowed),
        show(&server.shard_cpus),
        if server.pin { "" } else { " (not pinned)" }
    );
    let finding = Finding::ok("cpus", text, ONLINE);
    if !absent.is_empty() {
        let why = format!("this process may not use CPU {}: its thread cannot be placed", show(&absent));
        return finding.because(Severity::Bad, why).by_hand(
            "change server.cores, log_cpus or http_cpus (`frontrow tune auto` does), or the cpuset",
        );
    }
    if topology.allowed.len() == 1 {
        let why =
            "shard, log and HTTP take turns on one CPU: each commit and each HTTP request stops all claims";
        return finding.because(Severity::Warn, why).by_hand("give the process two CPUs or more");
    }
    if !server.pin && topology.allowed.len() > server.shard_cpus.len() {
        let why = "shards that are not pinned are moved about, away from their warm caches, and two may share a CPU";
        return finding.because(Severity::Note, why).by_hand("server.pin = true");
    }
    finding
}

fn quota(host: &Host) -> Result<Finding, ReadError> {
    let quota = cgroup::quota(&host.root)?;
    let Some(cpus) = quota.cpus else {
        return Ok(Finding::ok("cpu-quota", "no bound on processor time", quota.source));
    };
    let stopped = quota.throttled.filter(|(stopped, _)| *stopped > 0);
    let history =
        stopped.map_or_else(String::new, |(stopped, all)| format!(", stopped in {stopped} of {all} periods"));
    let text = format!("{cpus:.1} CPUs' time in every {:.0} ms{history}", quota.period_ms);
    let finding = Finding::ok("cpu-quota", text, &*quota.source);
    // Shards, and one CPU for the log's threads and HTTP together.
    let threads = host.config.server.shard_cpus.len() as f64 + 1.0;
    let mend = "no limit on CPU (in Kubernetes: whole CPUs as request and limit alike, with the static CPU manager), or \
                fewer shards (`frontrow tune auto` counts the quota)";
    if stopped.is_some() || cpus < threads {
        let why = format!(
            "when the time is used up, all threads stand still until the period ends, up to {:.0} ms: that is p99 from \
             then on",
            quota.period_ms
        );
        let severity = if cpus + 0.01 < host.config.server.shard_cpus.len() as f64 {
            Severity::Bad
        } else {
            Severity::Warn
        };
        return Ok(finding.because(severity, why).by_hand(mend));
    }
    Ok(finding)
}

fn siblings(host: &Host, topology: &Topology) -> Finding {
    const SOURCE: &str = "/sys/devices/system/cpu/cpu*/topology/thread_siblings_list";
    let shards = &host.config.server.shard_cpus;
    if topology.cores.iter().all(|core| core.siblings.len() == 1) {
        return Finding::ok(
            "smt",
            "no CPU shares its core with another (or the hypervisor does not tell)",
            SOURCE,
        );
    }
    let shared: Vec<usize> = shards
        .iter()
        .copied()
        .filter(|cpu| {
            topology
                .core(*cpu)
                .is_some_and(|core| core.siblings.iter().any(|it| it != cpu && shards.contains(it)))
        })
        .collect();
    if !host.config.server.pin || shared.is_empty() {
        return Finding::ok("smt", "no two shards share a physical core", SOURCE);
    }
    let why = "two shards on one core halve each other's caches and execution units: expect about 1.2 shards' worth of both";
    Finding::ok("smt", format!("shards on CPUs {} share physical cores", show(&shared)), SOURCE)
        .because(Severity::Warn, why)
        .by_hand(format!("server.cores = {:?}", topology.physical()))
}

fn isolated(host: &Host, topology: &Topology) -> Finding {
    const SOURCE: &str = "/sys/devices/system/cpu/isolated";
    let shards = &host.config.server.shard_cpus;
    let text = format!("isolated from other programs: {}", show(&topology.isolated));
    let finding = Finding::ok("isolation", text, SOURCE);
    if topology.isolated.is_empty() {
        let why = "any program may be scheduled onto a shard's CPU; on a machine for Frontrow alone this hardly matters";
        return finding.because(Severity::Note, why).by_hand(format!(
            "if others run here: boot with isolcpus={0} nohz_full={0} rcu_nocbs={0}",
            show(shards)
        ));
    }
    let beside = [
        ("server.log_cpus", &host.config.server.log_cpus),
        ("server.http_cpus", &host.config.server.http_cpus),
    ];
    for (key, cpus) in beside {
        if cpus.len() > 1 && cpus.iter().all(|cpu| topology.isolated.contains(cpu)) {
            let why = format!(
                "nothing spreads threads over isolated CPUs: all threads of {key} pile up on one of them"
            );
            return finding
                .because(Severity::Warn, why)
                .by_hand(format!("give {key} CPUs that are not isolated"));
        }
    }
    let open: Vec<usize> = shards.iter().copied().filter(|cpu| !topology.isolated.contains(cpu)).collect();
    if open.is_empty() || !host.config.server.pin {
        return finding;
    }
    let why = format!("CPUs are kept free, but shards run on {}, which are not", show(&open));
    finding.because(Severity::Warn, why).by_hand(format!("server.cores = {:?}", topology.isolated))
}

fn numa(host: &Host, topology: &Topology) -> Finding {
    const SOURCE: &str = "/sys/devices/system/node/node*/cpulist";
    let nodes = topology.nodes();
    if nodes.len() < 2 {
        return Finding::ok("numa", "one memory node", SOURCE);
    }
    let mut used: Vec<usize> = host
        .config
        .server
        .shard_cpus
        .iter()
        .filter_map(|cpu| topology.core(*cpu).map(|core| core.node))
        .collect();
    used.sort_unstable();
    used.dedup();
    let finding =
        Finding::ok("numa", format!("{} memory nodes, shards on {}", nodes.len(), show(&used)), SOURCE);
    if used.len() < 2 {
        return finding;
    }
    let why = "what was replayed at the start lies in the memory of the node that replayed it, and a crossing between \
               nodes costs more than one within";
    finding.because(Severity::Note, why).by_hand(
        "keep shards on one node if it has cores enough (`frontrow tune auto` does), or start with \
         `numactl --interleave=all` so that no node is the far one",
    )
}

fn timers(host: &Host) -> Result<Finding, ReadError> {
    const PATH: &str = "/proc/sys/kernel/timer_migration";
    let value = host.root.number(PATH)?;
    let finding = Finding::ok("timers", format!("kernel.timer_migration is {value}"), PATH);
    if value == 0 || host.config.server.shard_cpus.len() < 2 {
        return Ok(finding);
    }
    let why = "timers of an idle core are moved to busy ones: other programs' timers run on shards";
    Ok(finding.because(Severity::Note, why).by_writing(vec![Step::new(PATH, 0)]))
}
