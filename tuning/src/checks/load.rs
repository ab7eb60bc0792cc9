//! What else runs on the machine, and what the hypervisor keeps.

use crate::{Finding, Host, Severity};

/// Part of a CPU that may be busy before it is worth a word.
const QUIET_CPUS: f64 = 0.2;
/// Part of a CPU that may be stolen.
const STOLEN_CPUS: f64 = 0.02;
const SOURCE: &str = "/proc/stat, watched for 0.4 s";

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    let load = match &host.live.load {
        Ok(load) => load,
        Err(why) => {
            for id in ["others-load", "steal"] {
                found.push(Finding { severity: Severity::Unknown, ..Finding::ok(id, why, SOURCE) });
            }
            return;
        }
    };
    let average = host.root.text("/proc/loadavg").unwrap_or_default();
    let average = average.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let busy = Finding::ok(
        "others-load",
        format!("{:.2} CPUs busy with other things (load average {average})", load.busy),
        SOURCE,
    );
    found.push(if load.busy < QUIET_CPUS {
        busy
    } else {
        let why = "whatever runs on a shard's CPU stops that shard for milliseconds at a time, and p99 is what others leave";
        busy.because(Severity::Warn, why).by_hand(
            "move it elsewhere, or keep it off the shards' CPUs (CPUAffinity= in its unit, a cpuset, or isolcpus= for all \
             of it); `ps -eo pcpu,psr,comm --sort -pcpu | head` names it",
        )
    });
    let steal = Finding::ok("steal", format!("{:.2} CPUs given to other machines", load.stolen), SOURCE);
    found.push(if load.stolen < STOLEN_CPUS {
        steal
    } else {
        let why = "the hypervisor runs somebody else on this CPU while claims wait; nothing inside the machine can help";
        let severity = if load.stolen > 10.0 * STOLEN_CPUS { Severity::Bad } else { Severity::Warn };
        steal.because(severity, why).by_hand("take a machine with CPUs of its own (dedicated, not burstable)")
    });
}
