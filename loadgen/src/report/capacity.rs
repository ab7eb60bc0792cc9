//! The planner's question: N buyers for M seats in T minutes: how many cores, and how long until sold out?
//!
//! All figures come from the run, unless a caveat says otherwise:
//!
//! - the rush, which is the headline of a run whose people came by their own shape: all N come as fast as the people of
//!   the run did. Its busiest second asks D = N / people · the run's busiest second (true seconds, see [`super::rates`])
//!   Beside them each buyer opens a connection, if they are more than the run's: N · the share that came in that second, each
//!   as many requests as opening one cost answers
//! - the even crowd beside it: N spread over T. D = r · N / (60·T), with r requests per buyer = answers / people;
//!   whoever comes again is the same buyer. (Reports that did not count people: visits in their place.) Runs at a set rate
//!   know no rush: for them D is 3 times that
//! - what one core holds: the best three seconds less `busy` answers, if something in the server saturated; else one
//!   over its processor time per answer
//! - goodput of k cores X(k): the fit over cores, if there is one; else k times one core, and cautiously
//!   k / (1 + 0.05·(k−1)) times, as if 5 % were contention, of the processor time that nine of ten seconds, those that
//!   granted most and the peak stayed below (see [`super::costs`])
//! - cores: the least k with 0.7 · X(k) ≥ D. The rest, for bursts within a second and for failures, is the only margin
//! - another rush than the run's: see [`super::curve`]
//! - seats: people per seat v = people who came before none was left / seats. An even crowd has taken them after
//!   v·M / N · 60·T, plus the time from then to the last booking in the run (at least a hold's mean, by Little's law); at the
//!   earliest after M / e / N · 60·T, where a buyer takes e = a party's seats · seats booked / seats granted. In a rush none is left
//!   when v·M of the N have come by the run's curve of arrivals. Fewer than v·M buyers buy N·e seats; where that is more
//!   than there are, nothing is said. `Sold out` is promised only if the run sold out, else its share at least
//!
//! A doubtful run, one that the load generator limited, one on a crowded machine, or one with an interruption bears no
//! firm answer: no number of cores is promised then, only what was answered at least. Of a crowded machine an estimate is
//! given all the same: processor time is the server's own. A run without its end bears none at all.

use super::absence;
use super::act;
use super::answer;
use super::buyers::{Demand, Notes, demand};
use super::cores::{self, Basis, Cores, PerCore, beyond, carries, cores, per_core};
use super::crowded::Crowded;
use super::curve::Rush;
use super::doors;
use super::enough::too_little;
use super::model::RunReport;
use super::pace::{Pace, Sold};
use super::room;
use super::saturation::Saturation;
use super::sure::how_sure;
use super::unlike;
use super::usl::Usl;
use serde::{Deserialize, Serialize};
use std::fmt::{self, Write as _};

/// N buyers for M seats in T minutes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Question {
    /// Who want seats.
    pub buyers: u64,
    /// Seats there are.
    pub seats: u64,
    /// Minutes in which the buyers come.
    pub minutes: f64,
    /// Of a rush: half of the buyers come within so many seconds. As in the run if it is not said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub half_within_s: Option<f64>,
    /// Nobody said the minutes: they are the usual ones.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub minutes_unsaid: bool,
}

impl Question {
    /// The one that a page answers unasked: ten buyers per seat of this hall, within ten minutes.
    pub fn of(report: &RunReport) -> Self {
        let seats = if report.target.seats > 0 { report.target.seats } else { 50_000 };
        Self { buyers: seats.saturating_mul(10), seats, minutes: 10.0, ..Self::default() }
    }

    /// The one that a report answers first: asked, or of its own making.
    pub fn first(report: &RunReport) -> Self {
        report.questions.first().copied().unwrap_or_else(|| Self::of(report))
    }

    /// As options of a run that would ask it again; nothing if nobody asked, or if it is about other seats than a run has.
    pub(super) fn options(&self, report: &RunReport) -> String {
        if !report.questions.contains(self) || self.seats != report.target.seats {
            return String::new();
        }
        self.said()
    }

    /// As options of a command that asks it of a run with its seats.
    pub(super) fn said(&self) -> String {
        let mut options = format!(" --buyers {}", self.buyers);
        if !self.minutes_unsaid {
            let _ = write!(options, " --minutes {}", self.minutes);
        }
        if let Some(half) = self.half_within_s {
            let whole = half.fract() == 0.0;
            let (number, unit) = if whole { (half, "s") } else { ((half * 1e3).round(), "ms") };
            let _ = write!(options, " --half-within {number}{unit}");
        }
        options
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

/// The answer, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// What was asked.
    pub question: Question,
    /// What to do, in one sentence; or what is missing for that.
    pub act: String,
    /// What came of the crowd that was played; empty if the run has no end.
    pub played: String,
    /// The answer in one sentence.
    pub sentence: String,
    /// What goes on from it: the same for buyers who come evenly, where `sentence` is about a rush; or an estimate.
    pub more: Vec<String>,
    /// Whether the run bears a firm answer.
    pub firm: bool,
    /// `None` if the run does not tell.
    pub cores: Option<Cores>,
    /// The same for buyers who come evenly; as `cores` where nothing is known of a rush.
    pub even_cores: Option<Cores>,
    /// Seconds from the first buyer to the last booked seat, of buyers who come evenly; `None` if they would not take
    /// all seats, or the run does not tell, or did not sell out itself.
    pub sold_out_s: Option<f64>,
    /// Requests per second that `cores` are for: in the busiest second of a rush, or at the peak of an even crowd.
    pub demand_per_s: f64,
    /// Requests per second of buyers who come evenly.
    pub even_per_s: f64,
    /// Answers per second of one core, `busy` ones not counted; 0 without a firm answer.
    pub per_core_per_s: f64,
    /// How many connections the buyers may be, against what the server takes; empty if nothing is planned.
    pub connections: String,
    /// How sure a firm answer is, in one paragraph; else empty.
    pub sure: String,
    /// What would give out first under what is asked; empty if the run does not tell.
    pub first: String,
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
        answer.act =
            act::nothing("the server went away", "a run through which it stays: see the end of its log");
        return answer;
    }
    let mut notes = Notes::default();
    let rush = Rush::of(report, *question);
    let demand = demand(report, *question, rush, &mut notes);
    (answer.demand_per_s, answer.even_per_s) = (demand.headline(), demand.even);
    if report.verified.violation_count > 0 {
        "The server broke a promise in this run: plan nothing on it.".clone_into(&mut answer.sentence);
        answer.act =
            act::nothing("the server broke a promise", "a server that keeps them: report the violations");
        return answer;
    }
    let mut held = Notes::default();
    let per_core = per_core(report, *question, &answer.saturation, &mut held);
    match answer::not_firm(report, &answer.saturation, &per_core) {
        Some(why) => {
            answer.sentence = answer::shaky(*question, &why);
            answer.act = act::nothing(&why, act::missing(report, &answer.saturation, &per_core));
            let certain = answer::certain(report, *question, demand, rush);
            let enough = report.quick.is_empty() && too_little(report).is_none();
            let crowded = enough && Crowded::of(report).is_some();
            if crowded && per_core.basis != Basis::AtLeast {
                answer.connections = doors::connections(report, *question);
                let law = answer.by_cores.law();
                let cores = |per_s| cores(report, law, per_core, per_s);
                let cores = (cores(demand.headline()), cores(demand.even));
                let how_far = how_far(report, *question, rush, &mut notes);
                let (first, even) = answer::both(report, *question, (demand, rush), cores, how_far);
                answer.more = std::iter::once(answer::estimate(&first)).chain(even).collect();
                answer.act.push_str(&act::until_then(if demand.is_rush() { cores.0 } else { cores.1 }));
                notes.grounds.append(&mut held.grounds);
            }
            if enough {
                notes.grounds.insert(0, certain);
            } else {
                // What so little answered is certain, and means nothing; what buyers would ask by it is no forecast.
                notes = Notes::default();
                notes.grounds.push("There is no forecast from so little.".to_owned());
            }
            notes.caveats.push(answer::NOT_FIRM.to_owned());
        }
        None => firm(report, &mut answer, per_core, (demand, rush), (&mut notes, held)),
    }
    if !report.quick.is_empty() {
        notes.caveats.insert(0, answer::quick(report));
    }
    if report.questions.is_empty() && *question == Question::of(report) {
        notes.grounds.insert(0, answer::example(*question));
    }
    Capacity { grounds: notes.grounds, caveats: notes.caveats, ..answer }
}

/// The answer of a run that bears one.
fn firm(
    report: &RunReport,
    answer: &mut Capacity,
    per_core: PerCore,
    (demand, rush): (Demand, Rush),
    (notes, mut held): (&mut Notes, Notes),
) {
    let question = answer.question;
    let how_far = how_far(report, question, rush, notes);
    answer.connections = doors::connections(report, question);
    notes.grounds.append(&mut held.grounds);
    notes.caveats.append(&mut held.caveats);
    let law = answer.by_cores.law().cloned();
    answer.cores = cores(report, law.as_ref(), per_core, answer.demand_per_s);
    answer.even_cores = cores(report, law.as_ref(), per_core, demand.even);
    if answer.demand_per_s > 0.0 && per_core.per_s > 0.0 {
        if let Some(cores) = answer.cores {
            notes.grounds.push(cores::sum(report, law.as_ref(), per_core, answer.demand_per_s, cores));
        }
        notes.grounds.extend(cores::other_rushes(report, law.as_ref(), question, per_core));
        notes.grounds.push(carries(report, law.as_ref(), question, (per_core, demand)));
        notes.grounds.push(room::beside(report));
        answer.sure = how_sure(report, per_core, demand, answer.cores, &answer.saturation);
        let full_at = cores::full_at(report, law.as_ref(), per_core);
        answer.first = room::first(report, question, demand, (&answer.saturation, full_at));
        beyond(report, law.as_ref(), answer.cores, notes);
    }
    unlike::caveats(report, question, notes);
    let (first, even) =
        answer::both(report, question, (demand, rush), (answer.cores, answer.even_cores), how_far);
    answer.sentence = answer::firm(question, &first);
    let sold = if demand.is_rush() { how_far.0 } else { how_far.1 };
    let cores = (answer.cores, answer.even_cores, sold);
    answer.act = act::buy(report, law.as_ref(), question, (per_core, demand, rush), cores);
    answer.more = even.into_iter().collect();
    (answer.firm, answer.per_core_per_s) = (true, per_core.per_s);
    answer.sold_out_s = match how_far.1 {
        Sold::Out(times) => Some(times.late),
        _ => None,
    };
}

/// How far the seats go: in a rush, and spread evenly.
fn how_far(report: &RunReport, question: Question, rush: Rush, notes: &mut Notes) -> (Sold, Sold) {
    let pace = Pace::of(report, notes);
    pace.map_or((Sold::Unknown, Sold::Unknown), |pace| (pace.rush(question, rush), pace.even(question)))
}

/// An answer that says nothing yet.
fn nothing(report: &RunReport, question: Question) -> Capacity {
    Capacity {
        question,
        act: String::new(),
        played: answer::played(report),
        sentence: String::new(),
        more: Vec::new(),
        firm: false,
        cores: None,
        even_cores: None,
        sold_out_s: None,
        demand_per_s: 0.0,
        even_per_s: 0.0,
        per_core_per_s: 0.0,
        connections: String::new(),
        sure: String::new(),
        first: String::new(),
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
        self.more.iter().try_for_each(|more| writeln!(out, "             {more}"))?;
        for line in [&self.connections, &self.sure, &self.first].into_iter().filter(|line| !line.is_empty()) {
            writeln!(out, "             {line}")?;
        }
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
