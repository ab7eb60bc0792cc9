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
        let why = "whoever wakes up waits for the others' turn to end: a commit of 0.1 ms was measured to take 4 ms, \
                   which `nice` does not change; and a shard whose CPU is taken stops for as long";
        busy.because(Severity::Warn, why).by_hand(
            "move it elsewhere, or keep it off the server's CPUs (CPUAffinity= in its unit, a cpuset, isolcpus=); \
             `ps -eo pcpu,psr,comm --sort -pcpu | head` names it. Where it must stay: server.pin = false, so that \
             threads can step aside; or CPUSchedulingPolicy=rr and \
             CPUSchedulingPriority=1 in the server's unit, or `chrt -r 1 frontrow serve`",
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
