//! The planner's question: N buyers for M seats in T minutes: how many cores, and how long until sold out?
//!
//! All figures come from the run, unless a caveat says otherwise:
//!
//! - the rush, which is the headline of a run whose people came by their own shape: all N come as fast as the people of
//!   the run did. Its busiest second asks D = N / people · the run's busiest second (true seconds, see [`super::rates`])
//! - the even crowd beside it: N spread over T. D = r · N / (60·T), with r requests per buyer = answers / people;
//!   whoever comes again is the same buyer. (Reports that did not count people: visits in their place.) Runs at a set rate
//!   know no rush: for them D is 3 times that
//! - what one core holds: the best three seconds less `busy` answers, if something in the server saturated; else one
//!   over its processor time per answer
//! - goodput of k cores X(k): the fit over cores, if there is one; else k times one core, and cautiously
//!   k / (1 + 0.05·(k−1)) times, as if 5 % were contention, of the processor time that nine of ten seconds stayed below
//! - cores: the least k with 0.7 · X(k) ≥ D. The rest, for bursts within a second and for failures, is the only margin
//! - seats: people per seat v = people who came before none was left / seats. An even crowd has taken them after
//!   v·M / N · 60·T, plus the time from then to the last booking in the run (at least a hold's mean, by Little's law). A rush with as
//!   many for each seat takes as long as the run did. `Sold out` is promised only if the run sold out, else its share
//!
//! A doubtful run, one that the load generator limited, one on a crowded machine, or one with an interruption bears no
//! firm answer: no number of cores is promised then, only what was answered at least. Of a crowded machine an estimate is
//! given all the same: processor time is the server's own. A run without its end bears none at all.

use super::absence;
use super::answer;
use super::buyers::{Demand, Notes, Pace, Sold, demand};
use super::cores::{Basis, Cores, PerCore, beyond, carries, cores, per_core};
use super::crowded::Crowded;
use super::model::RunReport;
use super::saturation::Saturation;
use super::usl::Usl;
use super::words::{durable, number, plural, ratio};
use serde::{Deserialize, Serialize};
use std::fmt;

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

/// The answer, and what it rests on.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Capacity {
    /// What was asked.
    pub question: Question,
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
    let mut notes = Notes::default();
    let demand = demand(report, *question, &mut notes);
    (answer.demand_per_s, answer.even_per_s) = (demand.headline(), demand.even);
    if report.verified.violation_count > 0 {
        "The server broke a promise in this run: plan nothing on it.".clone_into(&mut answer.sentence);
        return answer;
    }
    let mut held = Notes::default();
    let per_core = per_core(report, &answer.saturation, &mut held);
    match answer::not_firm(report, &answer.saturation, &per_core) {
        Some(why) => {
            answer.sentence = answer::shaky(*question, &why);
            let certain = answer::certain(report, *question, demand);
            let crowded = report.quick.is_empty() && Crowded::of(report).is_some();
            if crowded && per_core.basis != Basis::AtLeast {
                let law = answer.by_cores.law();
                let cores = |per_s| cores(report, law, per_core, per_s);
                let cores = (cores(demand.headline()), cores(demand.even));
                let how_far = how_far(report, *question, &mut notes);
                let (first, even) = answer::both(report, *question, demand, cores, how_far);
                answer.more = std::iter::once(answer::estimate(&first)).chain(even).collect();
                notes.grounds.append(&mut held.grounds);
            }
            notes.grounds.insert(0, certain);
            notes.caveats.push(answer::NOT_FIRM.to_owned());
        }
        None => firm(report, &mut answer, per_core, demand, (&mut notes, held)),
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
    demand: Demand,
    (notes, mut held): (&mut Notes, Notes),
) {
    let question = answer.question;
    let how_far = how_far(report, question, notes);
    notes.grounds.append(&mut held.grounds);
    notes.caveats.append(&mut held.caveats);
    let law = answer.by_cores.law().cloned();
    answer.cores = cores(report, law.as_ref(), per_core, answer.demand_per_s);
    answer.even_cores = cores(report, law.as_ref(), per_core, demand.even);
    if answer.demand_per_s > 0.0 && per_core.per_s > 0.0 {
        carries(report, question, per_core, demand, notes);
        beyond(report, law.as_ref(), answer.cores, notes);
    }
    other_pressure(report, question, notes);
    notes.caveats.push(unlike(report));
    let (first, even) = answer::both(report, question, demand, (answer.cores, answer.even_cores), how_far);
    answer.sentence = answer::firm(question, &first);
    answer.more = even.into_iter().collect();
    (answer.firm, answer.per_core_per_s) = (true, per_core.per_s);
    answer.sold_out_s = match how_far.1 {
        Sold::Out(s) => Some(s),
        _ => None,
    };
}

/// How far the seats go: in a rush, and spread evenly.
fn how_far(report: &RunReport, question: Question, notes: &mut Notes) -> (Sold, Sold) {
    let pace = Pace::of(report, notes);
    pace.map_or((Sold::Unknown, Sold::Unknown), |pace| (pace.rush(question), pace.even(question)))
}

/// An answer that says nothing yet.
fn nothing(report: &RunReport, question: Question) -> Capacity {
    Capacity {
        question,
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
        self.grounds.iter().try_for_each(|ground| writeln!(out, "  - {ground}"))?;
        self.caveats.iter().try_for_each(|caveat| writeln!(out, "  ! {caveat}"))?;
        let fits = [("over requests in flight", &self.by_depth), ("over cores", &self.by_cores)];
        fits.into_iter()
            .filter_map(|(over, fit)| Some((over, fit.words()?)))
            .try_for_each(|(over, words)| writeln!(out, "  - {over}: {words}"))
    }
}

/// In what the load may be unlike the sale.
fn unlike(report: &RunReport) -> String {
    let (load, target) = (&report.load, &report.target);
    let over = if load.transport == "tcp" {
        "raw TCP (browsers come over WebSocket: `--transport websocket`)"
    } else {
        "WebSocket"
    };
    let same = if target.same_machine { "the server's own machine" } else { "another machine" };
    format!(
        "Measured with {} over {over} from {same}, without TLS; {}; cores are the server's. If your sale differs in any of these, \
         measure it so.",
        plural(load.connections.into(), "connection"),
        durable(&target.durability)
    )
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

/// With many more, or many fewer, for each seat than were played, other answers are given: refusals, queues.
fn other_pressure(report: &RunReport, question: Question, notes: &mut Notes) {
    let played = ratio(report.totals.people as f64, report.target.seats as f64);
    let asked = ratio(question.buyers as f64, question.seats as f64);
    if played <= 0.0 || asked <= 0.0 || (0.5..=2.0).contains(&(asked / played)) {
        return;
    }
    notes.caveats.push(format!(
        "{} buyers for each seat were asked about and {} people played: refusals and queues are others then. To play such a \
         crowd: `frontrow-loadgen {} --people {}`.",
        number(asked),
        number(played),
        report.name,
        (asked * report.target.seats as f64).round()
    ));
}
