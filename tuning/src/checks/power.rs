//! Whether a CPU runs at its full speed, and how long it takes to wake up.

use super::or_unknown;
use crate::{Finding, Host, ReadError, Severity, Step, Topology};

const CPU: &str = "/sys/devices/system/cpu";
/// Microseconds to leave an idle state that a wake at low load can bear.
const EXIT_US_MAX: u64 = 20;

pub(super) fn check(host: &Host, topology: &Topology, found: &mut Vec<Finding>) {
    found.push(or_unknown("governor", governor(host, topology)));
    found.push(or_unknown("idle-states", idle(host, topology)));
}

fn virtual_machine(host: &Host) -> bool {
    host.root.text("/proc/cpuinfo").is_ok_and(|text| {
        text.lines().any(|line| line.starts_with("flags") && line.split(' ').any(|flag| flag == "hypervisor"))
    })
}

fn governor(host: &Host, topology: &Topology) -> Result<Finding, ReadError> {
    const SOURCE: &str = "/sys/devices/system/cpu/cpu*/cpufreq/scaling_governor";
    let path = |cpu: usize| format!("{CPU}/cpu{cpu}/cpufreq/scaling_governor");
    let mut governors: Vec<(usize, String)> = Vec::new();
    for core in topology.cores.iter().filter(|core| host.root.has(&path(core.cpu))) {
        governors.push((core.cpu, host.root.word(&path(core.cpu))?));
    }
    if governors.is_empty() {
        let who = if virtual_machine(host) { "the hypervisor" } else { "the firmware" };
        return Ok(Finding::ok("governor", format!("no frequency scaling here: {who} decides"), SOURCE));
    }
    let slow: Vec<&(usize, String)> = governors.iter().filter(|(_, name)| name != "performance").collect();
    let Some((_, name)) = slow.first() else {
        return Ok(Finding::ok("governor", "performance on every CPU", SOURCE));
    };
    let why = "between bursts the clock is lowered, and the first claims of a rush are served at half speed";
    let steps = slow.iter().map(|(cpu, _)| Step::new(path(*cpu), "performance")).collect();
    Ok(Finding::ok("governor", format!("{name} on {} of {} CPUs", slow.len(), governors.len()), SOURCE)
        .because(Severity::Warn, why)
        .by_writing(steps))
}

/// Idle states of the first CPU: name, microseconds to leave it, whether it is off.
fn states(host: &Host, cpu: usize) -> Result<Vec<(String, String, u64, bool)>, ReadError> {
    let folder = format!("{CPU}/cpu{cpu}/cpuidle");
    let mut states = Vec::new();
    for name in host.root.names(&folder) {
        let state = format!("{folder}/{name}");
        let off = host.root.number(&format!("{state}/disable"))? != 0;
        states.push((
            name,
            host.root.text(&format!("{state}/name"))?,
            host.root.number(&format!("{state}/latency"))?,
            off,
        ));
    }
    Ok(states)
}

fn idle(host: &Host, topology: &Topology) -> Result<Finding, ReadError> {
    const SOURCE: &str = "/sys/devices/system/cpu/cpu*/cpuidle/state*/{latency,disable}";
    let Some(first) = topology.cores.first() else {
        return Err(ReadError::text(&format!("{CPU}/online"), "", "list with a CPU"));
    };
    let known = states(host, first.cpu)?;
    if known.is_empty() {
        return Ok(Finding::ok("idle-states", "none that the kernel can choose", SOURCE));
    }
    let driver =
        host.root.text(&format!("{CPU}/cpuidle/current_driver")).unwrap_or_else(|_| "unknown".into());
    let deep =
        known.iter().filter(|(_, _, us, off)| *us > EXIT_US_MAX && !off).max_by_key(|(_, _, us, _)| *us);
    let Some((_, name, us, _)) = deep else {
        let most = known.iter().filter(|(_, _, _, off)| !off).map(|(_, _, us, _)| *us).max().unwrap_or(0);
        let text = format!("the deepest state ({driver}) is left within {most} us");
        return Ok(Finding::ok("idle-states", text, SOURCE));
    };
    let mut steps = Vec::new();
    for cpu in topology.cores.iter().filter(|core| topology.allowed.contains(&core.cpu)).map(|core| core.cpu)
    {
        for (state, _, us, off) in states(host, cpu)? {
            if us > EXIT_US_MAX && !off {
                steps.push(Step::new(format!("{CPU}/cpu{cpu}/cpuidle/{state}/disable"), 1));
            }
        }
    }
    let why = "a claim that wakes a sleeping core waits for it first, at low load that is most of its time; the cost of \
               mending it is power";
    Ok(Finding::ok("idle-states", format!("{name} ({driver}) takes {us} us to leave"), SOURCE)
        .because(Severity::Warn, why)
        .by_writing(steps)
        .or_else("or hold /dev/cpu_dma_latency open with 0 written to it, as tuned's latency-performance profile does"))
}
