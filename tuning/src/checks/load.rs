//! What else runs on the machine, and what the hypervisor keeps.

use super::or_unknown;
use crate::{Finding, Host, ReadError, Severity, Step};

/// Part of a CPU that may be busy before it is worth a word.
const QUIET_CPUS: f64 = 0.2;
/// Part of a CPU that may be stolen.
const STOLEN_CPUS: f64 = 0.02;
const SOURCE: &str = "/proc/stat, watched for 0.4 s";
const AUTOGROUP: &str = "/proc/sys/kernel/sched_autogroup_enabled";

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    found.push(or_unknown("autogroup", autogroup(host)));
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
        let why = "whoever wakes up waits for the others' turn to end: a commit of 0.1 ms was measured to take 4 ms \
                   (`nice` helps only where autogroup is off); and a shard whose CPU is taken stops for as long";
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

/// Whether the scheduler shares CPUs among sessions first, and among the programs of each only then (sched(7), "The
/// autogroup feature").
fn autogroup(host: &Host) -> Result<Finding, ReadError> {
    if !host.root.path(AUTOGROUP).exists() {
        return Ok(Finding::ok("autogroup", "this kernel does not group programs by session", AUTOGROUP));
    }
    if host.root.text(AUTOGROUP)?.trim() == "0" {
        return Ok(Finding::ok("autogroup", "off: priorities hold between all programs", AUTOGROUP));
    }
    let why = "a server started from a shell gets as much of a CPU as any other login, however many programs run there, \
               and `nice` or an idle class count only within one login: beside eight builds of the idle class a server at \
               nice -15 waited eight times as long as it ran. A unit of systemd's with CPUWeight= stands apart";
    let quiet = host.live.load.as_ref().is_ok_and(|load| load.busy < QUIET_CPUS);
    let severity = if quiet { Severity::Note } else { Severity::Warn };
    let on = Finding::ok("autogroup", "on: each session has an equal share of the CPUs", AUTOGROUP);
    Ok(on.because(severity, why).by_writing(vec![Step::new(AUTOGROUP, 0)]))
}
