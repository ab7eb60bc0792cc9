//! What a run says about times when the server was away.

use super::model::{Away, RunReport};
use super::words::{plural, seconds};

/// Since when the server was away for good, which ended the run.
pub(crate) fn gone_s(report: &RunReport) -> Option<f64> {
    report.away.iter().find(|away| away.to_s.is_none()).map(|away| away.from_s)
}

/// `the run waited 10 s for it and gave up (--patience 30s waits longer)`, if it was so.
fn gave_up(away: &Away) -> Option<String> {
    let waited_s = away.gave_up_after_s?;
    let longer = (3.0 * waited_s).ceil();
    Some(format!(
        "the run waited {} for it and gave up (`--patience {longer}s` waits longer)",
        seconds(waited_s)
    ))
}

/// `the server did not answer from 21 s on; the run was cut short`, if it was so.
pub(crate) fn headline(report: &RunReport) -> Option<String> {
    let away = report.away.iter().find(|away| away.to_s.is_none())?;
    let cut = gave_up(away).unwrap_or_else(|| "the run was cut short".to_owned());
    Some(format!("the server did not answer from {} on; {cut}", seconds(away.from_s)))
}

/// `away from 20 s to 24 s; 500 connections opened again`, for each time that it came back; or why the run was over by then.
pub(crate) fn interruptions(report: &RunReport) -> Vec<String> {
    let words = |away: &Away| {
        let to_s = away.to_s?;
        let then =
            gave_up(away).unwrap_or_else(|| format!("{} opened again", plural(away.reopened, "connection")));
        Some(format!("away from {} to {}; {then}", seconds(away.from_s), seconds(to_s)))
    };
    report.away.iter().filter_map(words).collect()
}
