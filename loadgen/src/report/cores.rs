//! What one core holds, and how many cores that makes. The formulae stand with [`super::capacity`].

use super::buyers::{Demand, Notes, in_rush};
use super::capacity::Question;
use super::costs::Costs;
use super::curve::Rush;
use super::enough::most_cores;
use super::model::RunReport;
use super::rates;
use super::saturation::{Resource, Saturation};
use super::usl::Usl;
use super::words::{follow_up, number, number_down, percent, plural, ratio, seconds, were};
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
    /// What it held in nine of ten seconds, in those that granted most, and at its peak: the least of these.
    pub(super) low_per_s: f64,
    pub(super) basis: Basis,
}

/// What one core of the server holds.
pub(super) fn per_core(
    report: &RunReport,
    question: Question,
    saturation: &Saturation,
    notes: &mut Notes,
) -> PerCore {
    let best = rates::best_three(report).unwrap_or(0.0) / f64::from(report.target.cores.max(1));
    let in_server = |resource| matches!(resource, Resource::Core(_) | Resource::Log(_) | Resource::Bounds);
    if let Some(first) = saturation.first().filter(|first| in_server(first.resource)) {
        notes.grounds.push(format!(
            "A shard core: one gave {} good answers/s in its best three seconds, with {} saturated: measured, for people who \
             behave as in this run. {} of that is \
             planned with: the rest is kept for bursts and failures, and no other margin is.",
            number(best),
            first.resource.name(),
            percent(PLANNED)
        ));
        return PerCore { per_s: best, low_per_s: best, basis: Basis::Measured };
    }
    if let Some(computed) = from_processor_time(report, question, notes) {
        return computed;
    }
    let closed =
        report.scaling.iter().map(|p| p.answers_per_s / f64::from(p.cores.max(1))).fold(0.0, f64::max);
    PerCore { per_s: best.max(closed), low_per_s: best.max(closed), basis: Basis::AtLeast }
}

/// What a core would hold by the processor time that an answer took, if that could be seen.
fn from_processor_time(report: &RunReport, question: Question, notes: &mut Notes) -> Option<PerCore> {
    let costs = Costs::of(report)?;
    let (mean, slow) = (1e6 / costs.mean_us, 1e6 / costs.slow_us);
    notes.grounds.push(format!(
        "A shard core: {}, so one that does nothing else gives {} answers/s ({} at the slow end). {} of either is planned \
         with: the rest is kept for bursts and failures, and no other margin is (the slow end is what was measured).",
        costs.words(),
        number(mean),
        number(slow),
        percent(PLANNED)
    ));
    notes.grounds.extend(costs.of_grants());
    notes.caveats.push(format!(
        "What a core holds was computed, for people who behave as in this run; the run did not bring the server to its \
         limit. `{}` measures it{}.",
        follow_up(report, question, "search ", &objective(report)),
        if objective(report).is_empty() { "" } else { " (`busy`: the share of answers that say so)" }
    ));
    Some(PerCore { per_s: mean, low_per_s: slow, basis: Basis::Computed })
}

/// An objective that the run itself would have met, where the usual one is too strict for it.
fn objective(report: &RunReport) -> String {
    let p99_ms = report.latency.get("all").map_or(0.0, |all| all.p99_us / 1e3);
    if p99_ms < 5.0 {
        return String::new();
    }
    // With room to spare, and round: 8.5 ms make 20.
    let wanted = 1.5 * p99_ms;
    let unit = 10_f64.powi(wanted.log10().floor() as i32);
    let round = [1.0, 2.0, 5.0, 10.0].into_iter().map(|step| step * unit).find(|round| *round >= wanted);
    format!(" --objective 'p99<={}ms,busy<=0.1%'", round.unwrap_or(wanted).ceil())
}

/// Requests per second that are planned with on `k` cores: at the slow end, and in the mean.
fn planned(report: &RunReport, fit: Option<&Usl>, per_core: PerCore, k: u32) -> (f64, f64) {
    let (k, now) = (f64::from(k), f64::from(report.target.cores.max(1)));
    let (slow, mean) = match fit {
        Some(usl) => {
            let as_fitted = now * ratio(usl.at(k), usl.at(now));
            (as_fitted, as_fitted)
        }
        None => (k / (1.0 + CAUTIOUS * (k - 1.0)), k),
    };
    (PLANNED * per_core.low_per_s * slow, PLANNED * per_core.per_s * mean)
}

/// Requests per second at which the server as it is would be full, at the slow end: what is planned with is a share of that.
pub(super) fn full_at(report: &RunReport, fit: Option<&Usl>, per_core: PerCore) -> f64 {
    planned(report, fit, per_core, report.target.cores.max(1).into()).0 / PLANNED
}

/// Of a load at which a server is full, what is planned with.
pub(super) fn planned_of(full: f64) -> f64 {
    PLANNED * full
}

/// The least numbers of cores that hold `demand` requests per second.
pub(super) fn cores(report: &RunReport, fit: Option<&Usl>, per_core: PerCore, demand: f64) -> Option<Cores> {
    if per_core.per_s <= 0.0 || demand <= 0.0 {
        return None;
    }
    let holds = |k: u32| planned(report, fit, per_core, k);
    let measured = measured_to(report, fit);
    let most = most_cores(measured, MOST_CORES);
    let least = (1..=most).find(|k| holds(*k).1 >= demand)?;
    // Where the slow end never holds it, no number is promised: more cores would look surer than fewer.
    let cautious = (1..=most).find(|k| holds(*k).0 >= demand)?.max(least);
    Some(Cores { least, cautious, extrapolated: f64::from(cautious) > measured })
}

/// The most cores that were measured.
fn measured_to(report: &RunReport, fit: Option<&Usl>) -> f64 {
    fit.map_or(f64::from(report.target.cores), |usl| usl.measured_to)
}

/// How many buyers like those of `question` so many cores hold at the slow end, and the next number of cores that holds
/// more; `None` if none does that is forecast.
pub(super) fn until(
    report: &RunReport,
    fit: Option<&Usl>,
    (per_core, per_s): (PerCore, f64),
    question: Question,
    k: u32,
) -> (f64, Option<u32>) {
    let slow = |k: u32| planned(report, fit, per_core, k).0;
    let most = most_cores(measured_to(report, fit), MOST_CORES);
    let next = (k + 1..=most).find(|more| slow(*more) > slow(k));
    (ratio(question.buyers as f64 * slow(k), per_s), next)
}

/// The number of cores that holds most at the slow end, of those that are forecast, and how many such buyers that is.
pub(super) fn most(
    report: &RunReport,
    fit: Option<&Usl>,
    (per_core, per_s): (PerCore, f64),
    question: Question,
) -> (u32, f64) {
    let slow = |k: u32| planned(report, fit, per_core, k).0;
    let all = 1..=most_cores(measured_to(report, fit), MOST_CORES);
    let k = all.fold(1, |best, k| if slow(k) > slow(best) { k } else { best });
    (k, ratio(question.buyers as f64 * slow(k), per_s))
}

/// How the number of cores comes about: what one, two and so on are planned with, up to those that hold the demand.
pub(super) fn sum(
    report: &RunReport,
    fit: Option<&Usl>,
    per_core: PerCore,
    demand: f64,
    cores: Cores,
) -> String {
    let Cores { least, cautious, .. } = cores;
    let mut shown: Vec<u32> =
        vec![1, 2, least.saturating_sub(1), least, cautious.saturating_sub(1), cautious];
    shown.retain(|k| (1..=cautious).contains(k));
    shown.sort_unstable();
    shown.dedup();
    let each = shown.into_iter().map(|k| {
        let (slow, mean) = planned(report, fit, per_core, k);
        format!("{} {}", plural(k.into(), "core"), number_range(slow, mean))
    });
    let each = each.collect::<Vec<_>>().join(", ");
    let slow = if fit.is_some() {
        "by the fit over cores".to_owned()
    } else {
        format!("at the slow end with {} contention for each core more, to the mean", percent(CAUTIOUS))
    };
    let enough = if least == cautious {
        format!("the first number that holds it is {least}")
    } else {
        format!("the first number that holds it is {least} in the mean, {cautious} at the slow end")
    };
    format!(
        "The sum: {} requests/s are asked. {} of what shard cores give ({slow}): {each}; {enough}.",
        number(demand),
        percent(PLANNED)
    )
}

/// Rushes that a planner weighs: half of the buyers within so many seconds.
const RUSHES_S: [f64; 5] = [5.0, 15.0, 30.0, 60.0, 120.0];

/// How many cores other rushes of the same buyers take, as far as they come faster than evenly; `None` where nothing is
/// known of one.
pub(super) fn other_rushes(
    report: &RunReport,
    fit: Option<&Usl>,
    question: Question,
    per_core: PerCore,
) -> Option<String> {
    let takes = |half_s: f64| {
        let how = Rush::of(report, Question { half_within_s: Some(half_s), ..question });
        how.half_s?;
        let cores = cores(report, fit, per_core, in_rush(report, question, how)?.per_s);
        let takes = cores.map_or_else(
            || "more than can be forecast".to_owned(),
            |Cores { least, cautious, .. }| {
                if least == cautious { least.to_string() } else { format!("{least} to {cautious}") }
            },
        );
        Some(format!("{takes} if within {}", seconds(half_s)))
    };
    let rushes = RUSHES_S.into_iter().filter(|half_s| *half_s < 30.0 * question.minutes).filter_map(takes);
    let rushes = rushes.collect::<Vec<_>>();
    (!rushes.is_empty()).then(|| {
        format!(
            "Shard cores by how fast half of the buyers come: {}. Only this run's rush was played; others are reckoned, with people who go on asking for as long as here.",
            rushes.join(", ")
        )
    })
}

/// `7,770 to 9,310`, both rounded down.
fn number_range(low: f64, high: f64) -> String {
    let (low, high) = (number_down(low), number_down(high));
    if low == high { low } else { format!("{low} to {high}") }
}

/// How many buyers the server carries as it is: at the slow end, and in the mean, as the numbers of cores.
pub(super) fn carries(
    report: &RunReport,
    fit: Option<&Usl>,
    question: Question,
    (per_core, demand): (PerCore, Demand),
) -> String {
    let now: u32 = report.target.cores.max(1).into();
    let (slow, mean) = planned(report, fit, per_core, now);
    let buyers = |per_s: f64| {
        let of = |holds: f64| ratio(question.buyers as f64 * holds, per_s);
        number_range(of(slow), of(mean))
    };
    let even = format!("{} who come within {} min", buyers(demand.even), number(question.minutes));
    let now = plural(now.into(), "shard core");
    match demand.rush {
        Some(rush) if demand.even_is_no_other => {
            format!("As it is, with {now}, it carries {} buyers in such a rush.", buyers(rush))
        }
        Some(rush) => {
            format!(
                "As it is, with {now}, it carries {} buyers in such a rush, or {even} evenly.",
                buyers(rush)
            )
        }
        None => format!("As it is, with {now}, it carries {even}."),
    }
}

/// What to be careful about where an answer goes beyond what was measured.
pub(super) fn beyond(report: &RunReport, fit: Option<&Usl>, cores: Option<Cores>, notes: &mut Notes) {
    let Some(cores) = cores else {
        let measured = measured_to(report, fit);
        notes.caveats.push(format!(
            "No number of cores up to {} holds the peak on one machine at the slow end of what was measured, and from {} \
             more is no forecast: let them in more slowly, split the sale, or measure more people (--people) on more cores.",
            most_cores(measured, MOST_CORES),
            plural(measured as u64, "core")
        ));
        return;
    };
    if !cores.extrapolated {
        return;
    }
    let measured = measured_to(report, fit);
    let how =
        if fit.is_some() { "the fit over cores" } else { "cores adding up, cautiously less 5 % contention" };
    notes.caveats.push(format!(
        "EXTRAPOLATED: at most {} measured; more rests on {how}.",
        were(measured as u64, "shard core")
    ));
    if let Some(usl) = fit.filter(|usl| usl.r_squared < 0.95 || usl.alpha.margin > 0.1) {
        notes.caveats.push(format!(
            "The fit over cores is loose (contention {} ± {}): measure more numbers of cores before you rely on it.",
            percent(usl.alpha.value),
            percent(usl.alpha.margin)
        ));
    }
}
