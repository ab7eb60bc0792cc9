//! The planner's question: N buyers for M seats in T minutes: how many cores, and how long until sold out?
//!
//! All figures come from the run, unless a caveat says otherwise:
//!
//! - requests per visit r = answers / visits
//! - seats: visits it takes per seat v = visits until sold out / seats booked; until sold out means the share of all due
//!   requests that were due by then
//! - peak factor f = the busiest second's due requests / the mean while 95 % of them came
//! - demand at the peak D = f · r · N / (60·T)
//! - goodput of k cores X(k): the fit over cores, if there is one; else k times one core, and cautiously
//!   k / (1 + 0.05·(k−1)) times, as if 5 % were contention
//! - goodput of one core: the best three seconds less `busy` answers, if something in the server saturated; else
//!   what its processor time per answer gives at a busy share of 0.9
//! - cores: the least k with 0.7 · X(k) ≥ D. The rest is headroom, for bursts within a second and for failures
//! - sold out: v·M visits arriving at N / (60·T) a second, plus the time people take to pay: seats held over seats
//!   granted per second (Little's law)

use super::buyers::{Notes, SoldOut, demand, sold_out, step_s};
use super::model::{RunReport, Sample};
use super::saturation::{Resource, SATURATED, Saturation, polls};
use super::usl::Usl;
use super::words::{count, number, percent, ratio, seconds};
use serde::{Deserialize, Serialize};
use std::fmt;

/// The share of the goodput that is planned with.
const PLANNED: f64 = 0.7;
/// Contention assumed where cores were not measured.
const CAUTIOUS: f64 = 0.05;
const MOST_CORES: u32 = 1024;

/// N buyers for M seats in T minutes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Who want seats.
    pub buyers: u64,
    /// Seats there are.
    pub seats: u64,
    /// Minutes in which the buyers come.
    pub minutes: f64,
}

impl Question {
    /// The one that a page answers unasked: ten buyers per seat of this hall, within ten minutes.
    pub fn of(report: &RunReport) -> Self {
        let seats = if report.target.seats > 0 { report.target.seats } else { 50_000 };
        Self { buyers: seats.saturating_mul(10), seats, minutes: 10.0 }
    }
}

/// A fit, or why there is none.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fit {
    /// It.
    Law(Usl),
    /// In words.
    None(String),
}

impl Fit {
    fn of(points: &[(f64, f64)]) -> Self {
        Usl::fit(points).map_or_else(|none| Self::None(none.to_string()), Self::Law)
    }

    /// The law, if there is one.
    pub fn law(&self) -> Option<&Usl> {
        match self {
            Self::Law(usl) => Some(usl),
            Self::None(_) => None,
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Law(usl) => usl.fmt(out),
            Self::None(why) => write!(out, "no fit: {why}"),
        }
    }
}

/// Cores it takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Cores {
    /// If cores add up as the fit says, or fully where there is none.
    pub least: u32,
    /// With 5 % contention where there is no fit.
    pub cautious: u32,
    /// Beyond what was measured.
    pub extrapolated: bool,
}

/// The answer, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// What was asked.
    pub question: Question,
    /// The answer in one sentence.
    pub sentence: String,
    /// `None` if the run does not tell.
    pub cores: Option<Cores>,
    /// Seconds from the first buyer to the last booked seat; `None` if the buyers would not take all seats, or
    /// the run does not tell.
    pub sold_out_s: Option<f64>,
    /// Requests per second at the peak.
    pub demand_per_s: f64,
    /// Answers per second of one core, `busy` ones not counted.
    pub per_core_per_s: f64,
    /// What it rests on, in sentences.
    pub grounds: Vec<String>,
    /// What to be careful about, in sentences.
    pub caveats: Vec<String>,
    /// What gave out first.
    pub saturation: Saturation,
    /// Throughput over requests in flight, at the most cores measured.
    pub by_depth: Fit,
    /// Throughput over cores.
    pub by_cores: Fit,
}

/// Answers `question` from `report`.
pub fn capacity(report: &RunReport, question: &Question) -> Capacity {
    let saturation = Saturation::of(report);
    let (by_depth, by_cores) = (Fit::of(&depth_points(report)), Fit::of(&core_points(report)));
    let mut notes = Notes::default();
    if report.verified.violation_count > 0 {
        notes.caveats.push("The run has violations: plan nothing on it.".to_owned());
    } else if report.interrupted || !report.doubts.is_empty() {
        notes.caveats.push("The run is partial or doubtful, and so is this answer.".to_owned());
    }
    let per_core = per_core(report, &saturation, &mut notes);
    let demand = demand(report, *question, &mut notes);
    let cores = cores(report, *question, by_cores.law(), (per_core, demand), &mut notes);
    let sold_out = sold_out(report, *question, &mut notes);
    let sentence = sentence(*question, cores, demand, per_core, &sold_out);
    Capacity {
        question: *question,
        sentence,
        cores,
        sold_out_s: match sold_out {
            SoldOut::After(s) => Some(s),
            _ => None,
        },
        demand_per_s: demand,
        per_core_per_s: per_core,
        grounds: notes.grounds,
        caveats: notes.caveats,
        saturation,
        by_depth,
        by_cores,
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}", self.sentence)?;
        self.grounds.iter().try_for_each(|ground| writeln!(out, "  - {ground}"))?;
        self.caveats.iter().try_for_each(|caveat| writeln!(out, "  ! {caveat}"))?;
        writeln!(out, "  - {}", self.saturation.words())?;
        writeln!(out, "  - over requests in flight: {}", self.by_depth)?;
        writeln!(out, "  - over cores: {}", self.by_cores)
    }
}

/// (Requests in flight, answers per second) at the most cores measured.
pub(crate) fn depth_points(report: &RunReport) -> Vec<(f64, f64)> {
    let most = report.scaling.iter().map(|point| point.cores).max();
    let points = report.scaling.iter().filter(|point| Some(point.cores) == most);
    points.map(|point| (f64::from(point.in_flight), point.answers_per_s)).collect()
}

/// (Cores, answers per second) at the depth that was measured at the most different numbers of cores: between
/// depths throughput differs for other reasons. Of equal ones the deepest.
pub(crate) fn core_points(report: &RunReport) -> Vec<(f64, f64)> {
    let at = |depth: u32| report.scaling.iter().filter(move |point| point.in_flight == depth);
    let sizes = |depth: u32| {
        let mut cores: Vec<u16> = at(depth).map(|point| point.cores).collect();
        cores.sort_unstable();
        cores.dedup();
        cores.len()
    };
    let best = report.scaling.iter().map(|point| point.in_flight).max_by_key(|depth| (sizes(*depth), *depth));
    best.map_or_else(Vec::new, |best| {
        at(best).map(|point| (f64::from(point.cores), point.answers_per_s)).collect()
    })
}

fn per_core(report: &RunReport, saturation: &Saturation, notes: &mut Notes) -> f64 {
    let cores = f64::from(report.target.cores.max(1));
    let good =
        |s: &Sample| s.answered.saturating_sub(s.cores.iter().map(|core| core.busy_refusals).sum()) as f64;
    let wide = report.series.len().clamp(1, 3);
    let best = report
        .series
        .windows(wide)
        .map(|some| some.iter().map(good).sum::<f64>() / wide as f64 / step_s(report))
        .fold(0.0, f64::max);
    let closed =
        report.scaling.iter().map(|p| p.answers_per_s / f64::from(p.cores.max(1))).fold(0.0, f64::max);
    let in_server = |resource| matches!(resource, Resource::Core(_) | Resource::Log(_) | Resource::Bounds);
    if saturation.first().is_some_and(|first| in_server(first.resource)) {
        notes.grounds.push(format!(
            "One core gave {} good answers/s in its best three seconds, with {} saturated: measured.",
            number(best / cores),
            saturation.first().map_or_else(String::new, |first| first.resource.name())
        ));
        return best / cores;
    }
    let truly = |place: usize| !polls(&report.series, place as u16);
    let seen = || {
        let all = report.series.iter().flat_map(|sample| sample.cores.iter().enumerate());
        all.filter(|(place, core)| core.busy.is_some() && truly(*place)).map(|(_, core)| core)
    };
    let busy: f64 = seen().filter_map(|core| core.busy).sum();
    let answers: f64 = seen().map(|core| core.answers_per_s).sum();
    if busy > 0.0 && answers > 0.0 {
        let computed = SATURATED * answers / busy;
        notes.grounds.push(format!(
            "An answer took {} µs of a core, which gives {} answers/s per core at a busy share of {SATURATED}.",
            number(busy / answers * 1e6),
            number(computed)
        ));
        notes.caveats.push(
            "The run did not bring the server to its limit: that figure is computed from processor time, not measured. Batches grow under load, so it is rather too low.".to_owned(),
        );
        return computed;
    }
    notes.caveats.push(format!(
        "The server's limit was not reached and its cores could not be seen: {} answers/s per core is only what was asked of it, and it may hold far more.",
        number((best / cores).max(closed))
    ));
    (best / cores).max(closed)
}

fn cores(
    report: &RunReport,
    question: Question,
    fit: Option<&Usl>,
    (per_core, demand): (f64, f64),
    notes: &mut Notes,
) -> Option<Cores> {
    if per_core <= 0.0 || demand <= 0.0 {
        return None;
    }
    let now = f64::from(report.target.cores.max(1));
    notes.grounds.insert(
        0,
        format!(
            "As it is, with {}, it carries {} buyers in that time: planned to {} of what it holds.",
            plural(u32::from(report.target.cores.max(1))),
            number(question.buyers as f64 * PLANNED * per_core * now / demand),
            percent(PLANNED)
        ),
    );
    let scale = |k: f64| match fit {
        Some(usl) => now * ratio(usl.at(k), usl.at(now)),
        None => k,
    };
    let least_with =
        |x: &dyn Fn(f64) -> f64| (1..=MOST_CORES).find(|k| PLANNED * per_core * x(f64::from(*k)) >= demand);
    let least = least_with(&scale);
    let cautious = if fit.is_some() { least } else { least_with(&|k| k / (1.0 + CAUTIOUS * (k - 1.0))) };
    let (Some(least), Some(cautious)) = (least, cautious.or(least)) else {
        notes.caveats.push(format!(
            "No number of cores up to {MOST_CORES} holds the peak on one machine: let them in more slowly, or split the sale."
        ));
        return None;
    };
    let measured = fit.map_or(f64::from(report.target.cores), |usl| usl.measured_to);
    let extrapolated = f64::from(cautious) > measured;
    if extrapolated {
        let how = if fit.is_some() {
            "the fit over cores"
        } else {
            "cores adding up, cautiously less 5 % contention"
        };
        notes.caveats.push(format!(
            "EXTRAPOLATED: at most {} cores were measured; more rests on {how}.",
            number(measured)
        ));
        if let Some(usl) = fit.filter(|usl| usl.r_squared < 0.95 || usl.alpha.margin > 0.1) {
            notes.caveats.push(format!(
                "The fit over cores is loose (contention {} ± {}): measure more numbers of cores before you rely on it.",
                percent(usl.alpha.value),
                percent(usl.alpha.margin)
            ));
        }
    }
    Some(Cores { least, cautious, extrapolated })
}

fn plural(cores: u32) -> String {
    if cores == 1 { "1 core".to_owned() } else { format!("{cores} cores") }
}

fn sentence(
    question: Question,
    cores: Option<Cores>,
    demand: f64,
    per_core: f64,
    sold_out: &SoldOut,
) -> String {
    let asked = format!(
        "{} buyers for {} seats within {} min",
        count(question.buyers),
        count(question.seats),
        number(question.minutes)
    );
    let cores = match cores {
        None => "this run does not tell how many cores it takes".to_owned(),
        Some(cores) => {
            let range = if cores.cautious > cores.least {
                format!("{} to {}", cores.least, plural(cores.cautious))
            } else {
                plural(cores.least)
            };
            format!(
                "{range}{} (the peak asks {} requests/s; one core holds {})",
                if cores.extrapolated { ", extrapolated" } else { "" },
                number(demand),
                number(per_core)
            )
        }
    };
    let sold = match sold_out {
        SoldOut::After(s) => format!("sold out after about {}", seconds(*s)),
        SoldOut::Never(seats) => {
            format!("not sold out: as people behaved here they would buy about {} seats", number(*seats))
        }
        SoldOut::Unknown => "how long until sold out is not known".to_owned(),
    };
    format!("{asked}: {cores}; {sold}.")
}
