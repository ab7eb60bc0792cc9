//! What a look at the clock costs.

use super::or_unknown;
use crate::{Finding, Host, ReadError, Severity, Step};

const CURRENT: &str = "/sys/devices/system/clocksource/clocksource0/current_clocksource";
const AVAILABLE: &str = "/sys/devices/system/clocksource/clocksource0/available_clocksource";

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    found.push(or_unknown("clock", clock(host)));
}

fn clock(host: &Host) -> Result<Finding, ReadError> {
    let current = host.root.word(CURRENT)?;
    let finding = Finding::ok("clock", format!("the clock is {current}"), CURRENT);
    // All of these are read without a system call.
    if ["tsc", "kvm-clock", "arch_sys_counter", "hyperv_clocksource_tsc_page"].contains(&current.as_str()) {
        return Ok(finding);
    }
    let why = "the clock is read at every receive and every turn; this one takes a system call or a slow device each time";
    let finding = finding.because(Severity::Warn, why);
    let others = host.root.text(AVAILABLE)?;
    Ok(if others.split_whitespace().any(|it| it == "tsc") {
        finding.by_writing(vec![Step::new(CURRENT, "tsc")])
    } else {
        finding.by_hand(format!(
            "there is only {others}; boot with tsc=reliable if the processor's clock is steady"
        ))
    })
}
