//! What a run says about times when the server was away.

use super::model::{Away, RunReport};
use super::words::{plural, seconds};

/// Since when the server was away for good, which ended the run.
pub(crate) fn gone_s(report: &RunReport) -> Option<f64> {
    report.away.iter().find(|away| away.to_s.is_none()).map(|away| away.from_s)
}

/// `the server did not answer from 21 s on; the run was cut short`, if it was so.
pub(crate) fn headline(report: &RunReport) -> Option<String> {
    let from_s = gone_s(report)?;
    Some(format!("the server did not answer from {} on; the run was cut short", seconds(from_s)))
}

/// `away from 20 s to 24 s; 500 connections opened again`, for each time that it came back.
pub(crate) fn interruptions(report: &RunReport) -> Vec<String> {
    let words = |away: &Away| {
        let to_s = away.to_s?;
        Some(format!(
            "away from {} to {}; {} opened again",
            seconds(away.from_s),
            seconds(to_s),
            plural(away.reopened, "connection")
        ))
    };
    report.away.iter().filter_map(words).collect()
}
