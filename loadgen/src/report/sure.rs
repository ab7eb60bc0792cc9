//! How sure a planner's answer is, in one paragraph: what was measured, how far the answer goes beyond it, and what that
//! allows to be said.

use super::buyers::Demand;
use super::cores::{Basis, Cores, PerCore};
use super::model::RunReport;
use super::rates;
use super::saturation::Saturation;
use super::words::{number, percent, plural, ratio, seconds};
use crate::crowd::Scenario;

/// What is known of the answer's error.
pub(super) fn how_sure(
    report: &RunReport,
    per_core: PerCore,
    demand: Demand,
    cores: Option<Cores>,
    saturation: &Saturation,
) -> String {
    let mut on =
        vec![format!("measured on {} in one run", plural(report.target.cores.max(1).into(), "shard core"))];
    match (per_core.basis, saturation.busiest) {
        (Basis::Measured, _) => on.push("which something in the server ended at its limit".to_owned()),
        (_, Some((_, share))) => on.push(format!("busy for {} of the time at most", percent(share))),
        (_, None) => {}
    }
    let played = rates::busiest(report).map_or(0.0, |second| second.due);
    let times = ratio(demand.headline(), played);
    if times > 1.0 {
        on.push(format!("extrapolated to {} times the requests that were played", number(times)));
    }
    on.push(
        if report.load.transport == "tcp" {
            "over raw TCP without TLS"
        } else {
            "over WebSocket without TLS"
        }
        .to_owned(),
    );
    on.push(
        if report.target.same_machine { "from the server's own machine" } else { "from another machine" }
            .to_owned(),
    );
    if let Ok(scenario) = Scenario::parse(&report.scenario) {
        on.push(format!("with holds of {} at most", seconds(scenario.event.hold_s.into())));
    }
    format!("How sure: {}. {}", on.join(", "), worth(per_core, cores, times))
}

/// Whether the answer goes beyond what was measured.
pub(super) fn is_first_quote(
    report: &RunReport,
    per_core: PerCore,
    cores: Option<Cores>,
    demand: Demand,
) -> bool {
    let played = rates::busiest(report).map_or(0.0, |second| second.due);
    is_beyond(per_core, cores, ratio(demand.headline(), played))
}

fn is_beyond(per_core: PerCore, cores: Option<Cores>, times: f64) -> bool {
    cores.is_none_or(|cores| cores.extrapolated) || per_core.basis != Basis::Measured || times > 1.0
}

/// What may be expected of it.
fn worth(per_core: PerCore, cores: Option<Cores>, times: f64) -> String {
    let spread = ratio(per_core.per_s, per_core.low_per_s) - 1.0;
    let beyond = is_beyond(per_core, cores, times);
    let within = if spread > 0.005 {
        format!(
            "For this very kind of load expect what a shard core holds to be right within about {} (the spread between this run's \
             seconds); ",
            percent(spread)
        )
    } else {
        "How far runs differ from each other one run does not tell; ".to_owned()
    };
    let rest = if beyond {
        "nothing here bounds what more cores, TLS, WebSocket or longer holds change: a first quote. Measure before buying"
    } else {
        "TLS, WebSocket and longer holds are in no figure here: measure with them before buying"
    };
    format!("{within}{rest}.")
}
