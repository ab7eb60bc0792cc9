//! Where the network card's work is done.

use std::collections::BTreeMap;

use super::or_unknown;
use crate::cpus::{mask, parse_list, parse_mask, show};
use crate::{Finding, Host, ReadError, Root, Severity, Step, Topology};

const NET: &str = "/sys/class/net";
const INTERRUPTS: &str = "/proc/interrupts";

pub(super) fn check(host: &Host, topology: &Topology, found: &mut Vec<Finding>) {
    let cards = cards(&host.root);
    let loopback = host.config.server.tcp.ip().is_loopback() && host.config.server.http.ip().is_loopback();
    if loopback || cards.is_empty() {
        let why = if loopback {
            "the server listens on loopback only: no card is involved"
        } else {
            "there is no network card of hardware or hypervisor"
        };
        found.push(Finding::ok("nic", format!("not looked at: {why}"), NET));
        return;
    }
    for card in &cards {
        found.push(queues(host, topology, card));
        found.push(or_unknown("irq-affinity", affinity(host, topology, card)));
        found.push(or_unknown("rps", steering(host, topology, card)));
    }
    found.push(balancer(&host.root));
}

/// Interfaces with a device behind them.
fn cards(root: &Root) -> Vec<String> {
    root.names(NET)
        .into_iter()
        .filter(|name| name != "lo" && root.has(&format!("{NET}/{name}/device")))
        .collect()
}

fn queue_names(root: &Root, card: &str, kind: &str) -> Vec<String> {
    root.names(&format!("{NET}/{card}/queues")).into_iter().filter(|name| name.starts_with(kind)).collect()
}

fn queues(host: &Host, topology: &Topology, card: &str) -> Finding {
    let (rx, tx) = (queue_names(&host.root, card, "rx-").len(), queue_names(&host.root, card, "tx-").len());
    let finding = Finding::ok(
        "nic-queues",
        format!("{card}: {rx} receive and {tx} send queues"),
        format!("{NET}/{card}/queues"),
    );
    let shards = host.config.server.shard_cpus.len();
    if rx >= shards.min(topology.allowed.len()) || rx == 0 {
        return finding;
    }
    let why = "packets of all clients come in through fewer CPUs than there are shards, which saturate first";
    finding
        .because(Severity::Note, why)
        .by_hand(format!("`ethtool -L {card} combined {shards}` if the card has more; else see rps"))
}

/// Interrupts of a card, by its name or its device's, with the CPUs that may take them.
fn interrupts(root: &Root, card: &str) -> Result<BTreeMap<u32, Vec<usize>>, ReadError> {
    let text = root.text(INTERRUPTS)?;
    let device = root.link(&format!("{NET}/{card}/device"));
    let device = device.as_deref().and_then(|link| link.rsplit('/').next()).unwrap_or(card).to_owned();
    let msi: Vec<u32> = root
        .names(&format!("{NET}/{card}/device/msi_irqs"))
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect();
    let mut found = BTreeMap::new();
    for line in text.lines().skip(1) {
        let Some((number, rest)) = line.split_once(':') else { continue };
        let Ok(number) = number.trim().parse::<u32>() else { continue };
        let names = rest.split_whitespace().last().unwrap_or_default();
        let ours = |name: &str| {
            names == name || names.strip_prefix(name).is_some_and(|rest| rest.starts_with(['-', '@', '.']))
        };
        if (ours(card) || ours(&device) || msi.contains(&number)) && !names.ends_with("config") {
            let path = format!("/proc/irq/{number}/smp_affinity_list");
            let list = root.text(&path)?;
            let cpus = parse_list(&list).ok_or_else(|| ReadError::text(&path, &list, "list of CPUs"))?;
            found.insert(number, cpus);
        }
    }
    Ok(found)
}

/// CPUs that are not a shard's; all allowed ones if there are no others.
fn free_cpus(host: &Host, topology: &Topology) -> Vec<usize> {
    let shards = &host.config.server.shard_cpus;
    let free: Vec<usize> = topology.allowed.iter().copied().filter(|cpu| !shards.contains(cpu)).collect();
    if free.is_empty() { topology.allowed.clone() } else { free }
}

fn affinity(host: &Host, topology: &Topology, card: &str) -> Result<Finding, ReadError> {
    let irqs = interrupts(&host.root, card)?;
    let source = format!("{INTERRUPTS}, /proc/irq/*/smp_affinity_list");
    if irqs.is_empty() {
        return Ok(Finding::ok("irq-affinity", format!("{card}: no interrupts of its own"), source));
    }
    let (shards, free) = (&host.config.server.shard_cpus, free_cpus(host, topology));
    let mut on: Vec<usize> = irqs.values().flatten().copied().collect();
    on.sort_unstable();
    on.dedup();
    let text = format!("{card}: {} interrupts, which may go to CPUs {}", irqs.len(), show(&on));
    let finding = Finding::ok("irq-affinity", text, source);
    let on_shards = on.iter().any(|cpu| shards.contains(cpu));
    if !on_shards || free.iter().all(|cpu| shards.contains(cpu)) {
        return Ok(finding);
    }
    // With a queue for each shard, each queue's interrupt belongs on that shard's CPU.
    if irqs.len() >= shards.len() && irqs.values().all(|cpus| cpus.len() == 1) {
        return Ok(finding);
    }
    let why =
        "an interrupt takes a shard's CPU in the middle of a batch, and its packets are worked off there too";
    let steps = irqs
        .iter()
        .enumerate()
        .map(|(at, (irq, _))| Step::new(format!("/proc/irq/{irq}/smp_affinity_list"), free[at % free.len()]));
    Ok(finding.because(Severity::Note, why).by_writing(steps.collect()))
}

fn steering(host: &Host, topology: &Topology, card: &str) -> Result<Finding, ReadError> {
    let (rx, tx) = (queue_names(&host.root, card, "rx-"), queue_names(&host.root, card, "tx-"));
    let mut steered = Vec::new();
    let mut said = Vec::new();
    for (queues, file) in [(&rx, "rps_cpus"), (&tx, "xps_cpus")] {
        let mut cpus = Vec::new();
        for queue in queues {
            let path = format!("{NET}/{card}/queues/{queue}/{file}");
            // A card with one queue has no xps_cpus to be read.
            let Ok(text) = host.root.text(&path) else { continue };
            cpus.extend(parse_mask(&text).ok_or_else(|| ReadError::text(&path, &text, "mask of CPUs"))?);
        }
        cpus.sort_unstable();
        cpus.dedup();
        said.push(format!("{} {}", &file[..3].to_uppercase(), show(&cpus)));
        steered.push(cpus);
    }
    let text = format!("{card}: {}", said.join(", "));
    let finding = Finding::ok("rps", text, format!("{NET}/{card}/queues/*"));
    let shards = host.config.server.shard_cpus.len();
    if rx.len() >= shards || !steered[0].is_empty() || topology.allowed.len() < 3 {
        return Ok(finding);
    }
    let why = "the CPU that takes the interrupt also runs the network stack for every packet; spread over CPUs without a \
               shard it does not saturate first";
    let to = mask(&free_cpus(host, topology));
    let steps = rx.iter().map(|queue| Step::new(format!("{NET}/{card}/queues/{queue}/rps_cpus"), &to));
    Ok(finding.because(Severity::Note, why).by_writing(steps.collect()))
}

fn balancer(root: &Root) -> Finding {
    const SOURCE: &str = "/proc/*/comm";
    let pids = root.names("/proc").into_iter().filter(|name| name.bytes().all(|b| b.is_ascii_digit()));
    let runs = pids
        .into_iter()
        .any(|pid| root.text(&format!("/proc/{pid}/comm")).is_ok_and(|name| name == "irqbalance"));
    if !runs {
        return Finding::ok("irqbalance", "not running: interrupts stay where they are put", SOURCE);
    }
    let why = "it moves interrupts about every ten seconds, and undoes what is set by hand";
    Finding::ok("irqbalance", "running", SOURCE)
        .because(Severity::Note, why)
        .by_hand("IRQBALANCE_BANNED_CPULIST= with the shards' CPUs in /etc/default/irqbalance, or `systemctl disable --now irqbalance`")
}
