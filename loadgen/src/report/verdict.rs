//! The run in one sentence, and what stands against it.

use super::absence::{gone_s, headline, interruptions};
use super::crowded::Crowded;
use super::model::{RunKind, RunReport};
use super::saturation::Saturation;
use super::words::{micros, number, of_all, plural, seconds, violations};
use serde::Serialize;

/// Whether a reader may rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Nothing stands against them.
    Good,
    /// Everything worked, with inputs so small that nothing was measured.
    Quick,
    /// True, but partial or doubtful as a measurement.
    Doubtful,
    /// The server went away, and the run ended there.
    CutShort,
    /// Something was wrong: the run fails.
    Bad,
}

impl Tone {
    /// One word, or two.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Good => "OK",
            Self::Quick => "QUICK",
            Self::Doubtful => "DOUBTFUL",
            Self::CutShort => "CUT SHORT",
            Self::Bad => "FAILED",
        }
    }
}

/// What a reader reads first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Verdict {
    /// Whether to rely on it.
    pub tone: Tone,
    /// The sentence.
    pub line: String,
    /// What stands against it, in whole sentences.
    pub doubts: Vec<String>,
}

impl Verdict {
    /// Of `report`, in which `saturation` was found.
    pub fn of(report: &RunReport, saturation: &Saturation) -> Self {
        let mut doubts = report.doubts.clone();
        if report.interrupted {
            doubts.insert(
                0,
                format!("The run was ended by hand after {}: true, but partial.", seconds(report.duration_s)),
            );
        }
        let (gone, quick) = (gone_s(report).is_some(), !report.quick.is_empty());
        // What limits a quick run is no finding: nothing is measured.
        if let Some(first) = saturation.first().filter(|_| !gone && !quick && saturation.load_was_the_limit())
        {
            doubts.push(format!(
                "The load generator was the limit ({}): the server may hold more. Use more load threads, or another machine for the load.",
                first.evidence
            ));
        }
        if let Some(crowded) = Crowded::of(report).filter(|_| !gone && !quick) {
            doubts.push(crowded.doubt());
        }
        if checks(report) == 0 {
            doubts.push("Nothing was verified.".to_owned());
        }
        let tone = match () {
            () if report.verified.violation_count > 0 => Tone::Bad,
            () if gone => Tone::CutShort,
            () if !doubts.is_empty() => Tone::Doubtful,
            () if quick => Tone::Quick,
            () => Tone::Good,
        };
        // Of a run without its end, how fast it was and what gave out first is not what matters.
        let measured =
            [tail(report), Some(saturation.words())].into_iter().filter(|_| !gone && !quick).flatten();
        let parts = [
            headline(report).or_else(|| interrupted(report)),
            quick.then(|| mean_nothing(tone)),
            Some(outcome(report)),
            Some(broken(report, gone)),
        ];
        let parts = parts.into_iter().flatten().chain(measured);
        Self { tone, line: parts.collect::<Vec<_>>().join("; "), doubts }
    }
}

/// `the server was away from 20 s to 24 s`, if it was: that explains what else looks odd. Why the run ended is part of it.
fn interrupted(report: &RunReport) -> Option<String> {
    let all = interruptions(report);
    let over = report.away.iter().position(|away| away.gave_up_after_s.is_some() && away.to_s.is_some());
    if let Some(over) = over.and_then(|over| all.get(over)) {
        return Some(format!("the server was {over}"));
    }
    let first = all.into_iter().next()?;
    Some(format!("the server was {}", first.split(';').next().unwrap_or(&first)))
}

/// What a quick run's figures are worth; its tone says that it was one, unless something else is worse.
fn mean_nothing(tone: Tone) -> String {
    let quick = if tone == Tone::Quick { "" } else { "QUICK: " };
    format!("{quick}these figures mean nothing")
}

/// `0 violations`; of a run without its end, as far as it went.
fn broken(report: &RunReport, gone: bool) -> String {
    let words = violations(report.verified.violation_count);
    if gone { format!("{words} until then") } else { words }
}

/// How a violation is told that is a seat sold twice.
pub(super) fn is_double(violation: &str) -> bool {
    violation.contains("two holders at once")
}

/// Whether a seat was sold twice, in words.
pub(super) fn sold_twice(report: &RunReport) -> String {
    let checks = |name: &str| report.verified.checks.get(name).copied().unwrap_or(0);
    let doubles = report.verified.violations.iter().filter(|told| is_double(told)).count();
    if doubles > 0 {
        return format!(
            "YES, see the violations: {} had two holders at once",
            plural(doubles as u64, "seat")
        );
    }
    if checks("one_owner") + checks("final_state") == 0 {
        return "not known: no seat was granted".to_owned();
    }
    let own = match checks("final_state") {
        0 => "; the seats were NOT compared with the server's own view at the end".to_owned(),
        seats => format!(", and at the end all {} with the server's own view", plural(seats, "seat")),
    };
    format!("no seat was: every grant was compared with those of the same seats before and after{own}")
}

fn checks(report: &RunReport) -> u64 {
    report.verified.checks.values().fold(0, |sum, checks| sum.saturating_add(*checks))
}

fn tail(report: &RunReport) -> Option<String> {
    let claim = report.latency.get("claim").filter(|latency| latency.count > 0);
    let all = report.latency.get("all").filter(|latency| latency.count > 0);
    claim
        .map(|latency| format!("p99 of a claim {}", micros(latency.p99_us)))
        .or_else(|| all.map(|latency| format!("p99 of an answer {}", micros(latency.p99_us))))
}

/// What came of it, by kind.
pub(super) fn outcome(report: &RunReport) -> String {
    match report.kind {
        RunKind::Run => sold(report),
        RunKind::Soak => {
            let grew: Vec<&str> = report.trends.iter().filter(|t| !t.flat).map(|t| t.what.as_str()).collect();
            match (report.trends.is_empty(), grew.is_empty()) {
                (true, _) => format!("{} under load", seconds(report.duration_s)),
                (false, true) => format!("{} under load and nothing grew", seconds(report.duration_s)),
                (false, false) => {
                    format!("{} under load, and this grew: {}", seconds(report.duration_s), grew.join(", "))
                }
            }
        }
        RunKind::Ramp | RunKind::Search => {
            let objective = report.objective.as_deref().unwrap_or("the objective");
            let best =
                report.steps.iter().filter(|step| step.met).map(|step| step.rate_per_s).reduce(f64::max);
            match report.found_per_s.or(best) {
                Some(rate) => format!("up to {} visits/s meet {objective}", number(rate)),
                None if report.steps.is_empty() => {
                    format!("no step was finished, so {objective} was not judged")
                }
                None => format!("no rate that was tried meets {objective}"),
            }
        }
    }
}

/// `sold out after 58 s; 3 seats given back later are free`, if it was sold out.
pub(super) fn sold_out(report: &RunReport) -> Option<String> {
    let at = report.totals.sold_out_at_s?;
    let back = report.target.seats.saturating_sub(report.totals.seats_booked);
    let held = report.series.last().is_some_and(|last| last.seats_held > 0);
    let how = if held { "not sold again" } else { "free" };
    let is = if back == 1 { "is" } else { "are" };
    let later = match back {
        0 => String::new(),
        _ => format!("; {} given back later {is} {how}", plural(back, "seat")),
    };
    Some(format!("sold out after {}{later}", seconds(at)))
}

fn sold(report: &RunReport) -> String {
    let (totals, seats) = (&report.totals, report.target.seats);
    match sold_out(report) {
        Some(sold_out) => format!("{} {sold_out}", plural(seats, "seat")),
        None if seats == 0 => {
            format!("{} booked in {}", plural(totals.seats_booked, "seat"), seconds(report.duration_s))
        }
        None => {
            let booked = of_all(totals.seats_booked, seats);
            match gone_s(report) {
                Some(_) => format!("{booked} booked until then"),
                None => format!("{booked} booked in {}", seconds(report.duration_s)),
            }
        }
    }
}
