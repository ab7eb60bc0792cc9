//! What one core holds, and how many cores that makes. The formulae stand with [`super::capacity`].

use super::buyers::{Demand, Notes};
use super::capacity::Question;
use super::model::RunReport;
use super::rates;
use super::saturation::{Resource, Saturation, polls};
use super::stats::quantile;
use super::usl::Usl;
use super::words::{number, percent, plural, ratio, were};
use serde::Serialize;

/// The share of the goodput that is planned with.
const PLANNED: f64 = 0.7;
/// Contention assumed where cores were not measured.
const CAUTIOUS: f64 = 0.05;
const MOST_CORES: u32 = 1024;

/// Cores it takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cores {
    /// If cores add up as the fit says, or fully where there is none.
    pub least: u32,
    /// Of slow seconds, and with 5 % contention where there is no fit.
    pub cautious: u32,
    /// Beyond what was measured.
    pub extrapolated: bool,
}

/// What a core's throughput rests on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Basis {
    /// Something in the server gave out.
    Measured,
    /// Processor time per answer.
    Computed,
    /// Only what was asked of it.
    AtLeast,
}

/// What one core holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct PerCore {
    pub(super) per_s: f64,
    /// What it held in nine of ten seconds.
    pub(super) low_per_s: f64,
    pub(super) basis: Basis,
}

/// What one core of the server holds.
pub(super) fn per_core(report: &RunReport, saturation: &Saturation, notes: &mut Notes) -> PerCore {
    let best = rates::best_three(report).unwrap_or(0.0) / f64::from(report.target.cores.max(1));
    let in_server = |resource| matches!(resource, Resource::Core(_) | Resource::Log(_) | Resource::Bounds);
    if let Some(first) = saturation.first().filter(|first| in_server(first.resource)) {
        notes.grounds.push(format!(
            "A core: one gave {} good answers/s in its best three seconds, with {} saturated: measured, for people who \
             behave as in this run. {} of that is \
             planned with; the rest, for bursts and failures, is the only margin.",
            number(best),
            first.resource.name(),
            percent(PLANNED)
        ));
        return PerCore { per_s: best, low_per_s: best, basis: Basis::Measured };
    }
    if let Some(computed) = from_processor_time(report, notes) {
        return computed;
    }
    let closed =
        report.scaling.iter().map(|p| p.answers_per_s / f64::from(p.cores.max(1))).fold(0.0, f64::max);
    PerCore { per_s: best.max(closed), low_per_s: best.max(closed), basis: Basis::AtLeast }
}

/// What a core would hold by the processor time that an answer took, if that could be seen.
fn from_processor_time(report: &RunReport, notes: &mut Notes) -> Option<PerCore> {
    let truly = |place: usize| !polls(&report.series, place as u16);
    let seen = || {
        let all = report.series.iter().flat_map(|sample| sample.cores.iter().enumerate());
        all.filter(|(place, core)| core.busy.is_some() && truly(*place)).map(|(_, core)| core)
    };
    let busy: f64 = seen().filter_map(|core| core.busy).sum();
    let answers: f64 = seen().map(|core| core.answers_per_s).sum();
    if busy <= 0.0 || answers <= 0.0 {
        return None;
    }
    let mean_us = busy / answers * 1e6;
    // Seconds with hardly anything to do say what waiting costs, not what an answer does.
    let most = seen().map(|core| core.answers_per_s).fold(0.0, f64::max);
    let worth = seen().filter(|core| core.answers_per_s >= most / 4.0);
    let mut each: Vec<f64> = worth.map(|core| core.busy.unwrap_or(0.0) / core.answers_per_s * 1e6).collect();
    each.sort_by(f64::total_cmp);
    let (low_us, high_us) = (quantile(&each, 0.1).min(mean_us), quantile(&each, 0.9).max(mean_us));
    notes.grounds.push(format!(
        "A core: an answer took {} µs of one ({} to {} µs in eight of ten seconds), so one that does nothing else \
         gives {} answers/s ({} at the slow end). {} of that is planned with; the rest, for bursts and failures, is the \
         only margin.",
        number(mean_us),
        number(low_us),
        number(high_us),
        number(1e6 / mean_us),
        number(1e6 / high_us),
        percent(PLANNED)
    ));
    notes.caveats.push(format!(
        "What a core holds was computed, for people who behave as in this run; the run did not bring the server to its \
         limit. `frontrow-loadgen search {}` measures it.",
        report.name
    ));
    Some(PerCore { per_s: 1e6 / mean_us, low_per_s: 1e6 / high_us, basis: Basis::Computed })
}

/// The least numbers of cores that hold `demand` requests per second.
pub(super) fn cores(report: &RunReport, fit: Option<&Usl>, per_core: PerCore, demand: f64) -> Option<Cores> {
    if per_core.per_s <= 0.0 || demand <= 0.0 {
        return None;
    }
    let now = f64::from(report.target.cores.max(1));
    let scale = |k: f64| match fit {
        Some(usl) => now * ratio(usl.at(k), usl.at(now)),
        None => k,
    };
    let least_with = |one: f64, x: &dyn Fn(f64) -> f64| {
        (1..=MOST_CORES).find(|k| PLANNED * one * x(f64::from(*k)) >= demand)
    };
    let least = least_with(per_core.per_s, &scale)?;
    let cautious = if fit.is_some() {
        least_with(per_core.low_per_s, &scale)
    } else {
        least_with(per_core.low_per_s, &|k| k / (1.0 + CAUTIOUS * (k - 1.0)))
    };
    let cautious = cautious.unwrap_or(least);
    let measured = fit.map_or(f64::from(report.target.cores), |usl| usl.measured_to);
    Some(Cores { least, cautious, extrapolated: f64::from(cautious) > measured })
}

/// How many buyers the server carries as it is.
pub(super) fn carries(
    report: &RunReport,
    question: Question,
    per_core: PerCore,
    demand: Demand,
    notes: &mut Notes,
) {
    let now = report.target.cores.max(1);
    let holds = PLANNED * per_core.per_s * f64::from(now);
    let buyers = |per_s: f64| number(ratio(question.buyers as f64 * holds, per_s));
    let even = format!("{} who come within {} min", buyers(demand.even), number(question.minutes));
    if let Some(rush) = demand.rush {
        let cores = |one: f64| number(ratio(rush, PLANNED * one));
        notes.grounds.push(format!(
            "Cores for the rush: {} requests/s / ({} × {}) = {}; at the slow end {}. Several cores are reckoned \
             with somewhat less than their sum.",
            number(rush),
            percent(PLANNED),
            number(per_core.per_s),
            cores(per_core.per_s),
            cores(per_core.low_per_s)
        ));
    }
    notes.grounds.push(match demand.rush {
        Some(rush) => format!(
            "As it is, with {}, it carries {} buyers in such a rush, or {even} evenly.",
            plural(now.into(), "core"),
            buyers(rush)
        ),
        None => format!("As it is, with {}, it carries {even}.", plural(now.into(), "core")),
    });
}

/// What to be careful about where an answer goes beyond what was measured.
pub(super) fn beyond(report: &RunReport, fit: Option<&Usl>, cores: Option<Cores>, notes: &mut Notes) {
    let Some(cores) = cores else {
        notes.caveats.push(format!(
            "No number of cores up to {MOST_CORES} holds the peak on one machine: let them in more slowly, or split the sale."
        ));
        return;
    };
    if !cores.extrapolated {
        return;
    }
    let measured = fit.map_or(f64::from(report.target.cores), |usl| usl.measured_to);
    let how =
        if fit.is_some() { "the fit over cores" } else { "cores adding up, cautiously less 5 % contention" };
    notes.caveats.push(format!(
        "EXTRAPOLATED: at most {} measured; more rests on {how}.",
        were(measured as u64, "core")
    ));
    if let Some(usl) = fit.filter(|usl| usl.r_squared < 0.95 || usl.alpha.margin > 0.1) {
        notes.caveats.push(format!(
            "The fit over cores is loose (contention {} ± {}): measure more numbers of cores before you rely on it.",
            percent(usl.alpha.value),
            percent(usl.alpha.margin)
        ));
    }
}
