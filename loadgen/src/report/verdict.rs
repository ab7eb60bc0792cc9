//! The run in one sentence, and what stands against it.

use super::absence::{gone_s, headline};
use super::model::{RunKind, RunReport};
use super::saturation::Saturation;
use super::words::{count, micros, number, plural, seconds, violations};
use serde::Serialize;

/// Whether a reader may rely on the numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Tone {
    /// Nothing stands against them.
    Good,
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
        let gone = gone_s(report).is_some();
        if let Some(first) = saturation.first().filter(|_| !gone && saturation.load_was_the_limit()) {
            doubts.push(format!(
                "The load generator was the limit ({}): the server may hold more. Use more load threads, or another machine for the load.",
                first.evidence
            ));
        }
        if checks(report) == 0 {
            doubts.push("Nothing was verified.".to_owned());
        }
        let tone = match () {
            () if report.verified.violation_count > 0 => Tone::Bad,
            () if gone => Tone::CutShort,
            () if !doubts.is_empty() => Tone::Doubtful,
            () => Tone::Good,
        };
        // Of a run without its end, how fast it was and what gave out first is not what matters.
        let measured = [tail(report), Some(saturation.words())].into_iter().filter(|_| !gone).flatten();
        let parts =
            [headline(report), Some(outcome(report)), Some(violations(report.verified.violation_count))];
        let parts = parts.into_iter().flatten().chain(measured);
        Self { tone, line: parts.collect::<Vec<_>>().join("; "), doubts }
    }
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

fn sold(report: &RunReport) -> String {
    let (totals, seats) = (&report.totals, report.target.seats);
    match totals.sold_out_at_s {
        Some(at) => format!("{} sold out in {}", plural(seats, "seat"), seconds(at)),
        None if seats == 0 => {
            format!("{} booked in {}", plural(totals.seats_booked, "seat"), seconds(report.duration_s))
        }
        None => {
            let (booked, all) = (count(totals.seats_booked), plural(seats, "seat"));
            match gone_s(report) {
                Some(_) => format!("{booked} of {all} booked until then"),
                None => format!("{booked} of {all} booked in {}", seconds(report.duration_s)),
            }
        }
    }
}
