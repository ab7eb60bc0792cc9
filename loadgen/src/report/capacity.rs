//! The planner's question: N buyers for M seats in T minutes: how many cores, and how long until sold out?
//!
//! All figures come from the run, unless a caveat says otherwise:
//!
//! - requests per buyer r = answers / people; whoever comes again is the same buyer. (Reports that did not count people:
//!   visits in their place)
//! - seats: people it takes per seat v = people until sold out / seats booked; until sold out means the share of all due
//!   requests that were due by then
//! - peak factor f = the busiest second's due requests / the mean while 95 % of them came
//! - demand at the peak D = f · r · N / (60·T)
//! - goodput of k cores X(k): the fit over cores, if there is one; else k times one core, and cautiously
//!   k / (1 + 0.05·(k−1)) times, as if 5 % were contention
//! - goodput of one core: the best three seconds less `busy` answers, if something in the server saturated; else
//!   what its processor time per answer gives at a busy share of 0.9
//! - cores: the least k with 0.7 · X(k) ≥ D. The rest is headroom, for bursts within a second and for failures
//! - sold out: v·M people arriving at N / (60·T) a second, plus the time people take to pay: seats held over seats
//!   granted per second (Little's law)
//!
//! A doubtful run, one that the load generator limited, or one with an interruption bears no firm answer: no number of
//! cores is named then, only what was answered at least. A run without its end bears none at all.

use super::absence;
use super::answer;
use super::buyers::{Notes, SoldOut, demand, sold_out, step_s};
use super::model::{RunReport, Sample};
use super::saturation::{Resource, SATURATED, Saturation, polls};
use super::usl::Usl;
use super::words::{number, percent, plural, ratio, were};
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
    /// Nobody asked for one: the run did not measure what it takes.
    NotAsked,
}

impl Fit {
    /// One size, or none, is what every run has without being asked for a fit.
    fn over_cores(points: &[(f64, f64)]) -> Self {
        let more = points.iter().any(|point| Some(point.0) != points.first().map(|first| first.0));
        if more { Self::of(points) } else { Self::NotAsked }
    }

    fn of(points: &[(f64, f64)]) -> Self {
        if points.is_empty() {
            return Self::NotAsked;
        }
        Usl::fit(points).map_or_else(|none| Self::None(none.to_string()), Self::Law)
    }

    /// Its words; `None` where nobody asked.
    pub fn words(&self) -> Option<String> {
        (*self != Self::NotAsked).then(|| self.to_string())
    }

    /// The law, if there is one.
    pub fn law(&self) -> Option<&Usl> {
        match self {
            Self::Law(usl) => Some(usl),
            Self::None(_) | Self::NotAsked => None,
        }
    }
}

impl fmt::Display for Fit {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Law(usl) => usl.fmt(out),
            Self::None(why) => write!(out, "no fit: {why}"),
            Self::NotAsked => write!(out, "not measured"),
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
pub(super) struct PerCore {
    pub(super) per_s: f64,
    pub(super) basis: Basis,
}

/// The answer, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// What was asked.
    pub question: Question,
    /// What came of the crowd that was played; empty if the run has no end.
    pub played: String,
    /// The answer in one sentence.
    pub sentence: String,
    /// Whether the run bears a firm answer.
    pub firm: bool,
    /// `None` if the run does not tell.
    pub cores: Option<Cores>,
    /// Seconds from the first buyer to the last booked seat; `None` if the buyers would not take all seats, or
    /// the run does not tell.
    pub sold_out_s: Option<f64>,
    /// Requests per second at the peak.
    pub demand_per_s: f64,
    /// Answers per second of one core, `busy` ones not counted; 0 without a firm answer.
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
    let mut answer = nothing(report, *question);
    if absence::gone_s(report).is_some() {
        answer.played.clear();
        "There is no planner's answer: the server went away and the run has no end. Repeat it."
            .clone_into(&mut answer.sentence);
        return answer;
    }
    let (mut held, mut notes) = (Notes::default(), Notes::default());
    let per_core = per_core(report, &answer.saturation, &mut held);
    answer.demand_per_s = demand(report, *question, &mut notes);
    if report.verified.violation_count > 0 {
        "The server broke a promise in this run: plan nothing on it.".clone_into(&mut answer.sentence);
        return answer;
    }
    if let Some(why) = answer::not_firm(report, &answer.saturation, &per_core) {
        // What a core holds and how fast seats sell is left out: it would be taken for an answer.
        answer.sentence = answer::shaky(*question, answer.demand_per_s, best_per_s(report), &why);
        let care = "Nothing here says how many cores it takes: plan with a run that nothing stands against.";
        notes.caveats.push(care.to_owned());
    } else {
        let sold_out = sold_out(report, *question, &mut notes);
        held.grounds.append(&mut notes.grounds);
        held.caveats.append(&mut notes.caveats);
        notes = held;
        let (law, load) = (answer.by_cores.law(), (per_core.per_s, answer.demand_per_s));
        answer.cores = cores(report, *question, law, load, &mut notes);
        answer.sentence = answer::firm(*question, answer.cores, answer.demand_per_s, &per_core, &sold_out);
        (answer.firm, answer.per_core_per_s) = (true, per_core.per_s);
        answer.sold_out_s = match sold_out {
            SoldOut::After(s) => Some(s),
            _ => None,
        };
    }
    if report.questions.is_empty() && *question == Question::of(report) {
        notes.grounds.insert(0, answer::example(*question));
    }
    Capacity { grounds: notes.grounds, caveats: notes.caveats, ..answer }
}

/// An answer that says nothing yet.
fn nothing(report: &RunReport, question: Question) -> Capacity {
    Capacity {
        question,
        played: answer::played(report),
        sentence: String::new(),
        firm: false,
        cores: None,
        sold_out_s: None,
        demand_per_s: 0.0,
        per_core_per_s: 0.0,
        grounds: Vec::new(),
        caveats: Vec::new(),
        saturation: Saturation::of(report),
        by_depth: Fit::of(&depth_points(report)),
        by_cores: Fit::over_cores(&core_points(report)),
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.played.is_empty() {
            return writeln!(out, "{}", self.sentence);
        }
        writeln!(out, "as played    {}", self.played)?;
        writeln!(out, "asked about  {}", self.sentence)?;
        self.grounds.iter().try_for_each(|ground| writeln!(out, "  - {ground}"))?;
        self.caveats.iter().try_for_each(|caveat| writeln!(out, "  ! {caveat}"))?;
        let fits = [("over requests in flight", &self.by_depth), ("over cores", &self.by_cores)];
        fits.into_iter()
            .filter_map(|(over, fit)| Some((over, fit.words()?)))
            .try_for_each(|(over, words)| writeln!(out, "  - {over}: {words}"))
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

/// Good answers per second of the whole server in its best three seconds.
fn best_per_s(report: &RunReport) -> f64 {
    let good =
        |s: &Sample| s.answered.saturating_sub(s.cores.iter().map(|core| core.busy_refusals).sum()) as f64;
    let wide = report.series.len().clamp(1, 3);
    let stretches = report.series.windows(wide);
    stretches
        .map(|some| some.iter().map(good).sum::<f64>() / wide as f64 / step_s(report))
        .fold(0.0, f64::max)
}

fn per_core(report: &RunReport, saturation: &Saturation, notes: &mut Notes) -> PerCore {
    let best = best_per_s(report) / f64::from(report.target.cores.max(1));
    let in_server = |resource| matches!(resource, Resource::Core(_) | Resource::Log(_) | Resource::Bounds);
    if let Some(first) = saturation.first().filter(|first| in_server(first.resource)) {
        notes.grounds.push(format!(
            "One core gave {} good answers/s in its best three seconds, with {} saturated: measured.",
            number(best),
            first.resource.name()
        ));
        return PerCore { per_s: best, basis: Basis::Measured };
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
            "The run did not bring the server to its limit: what one core holds is computed from processor time, not measured. Batches grow under load, so it is rather too low. `frontrow-loadgen search` finds the limit.".to_owned(),
        );
        return PerCore { per_s: computed, basis: Basis::Computed };
    }
    let closed =
        report.scaling.iter().map(|p| p.answers_per_s / f64::from(p.cores.max(1))).fold(0.0, f64::max);
    PerCore { per_s: best.max(closed), basis: Basis::AtLeast }
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
    notes.grounds.push(
        "What a core holds is so for a load of this shape: with other people (more who pay, fewer who are refused, \
         longer queues) it is another number."
            .to_owned(),
    );
    notes.grounds.insert(
        0,
        format!(
            "As it is, with {}, it carries {} buyers in that time: planned to {} of what it holds, the rest is for bursts.",
            plural(report.target.cores.max(1).into(), "core"),
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
    Some(Cores { least, cautious, extrapolated })
}
