//! Whether a run has enough in it to forecast from. One too short, or with too few answers, gives numbers as well: those of
//! what happened to fall into it.

use super::model::RunReport;
use super::rates;
use super::words::{count, plural};

/// Whole seconds that a forecast takes at least.
const SECONDS: usize = 5;
/// Answers that it takes at least.
const ANSWERS: u64 = 1_000;
/// How many times the cores that were measured are forecast at most.
const TIMES_MEASURED: f64 = 32.0;

/// `it lasted 1 whole second and brought 312 answers, too little to forecast from`, if it is.
pub(super) fn too_little(report: &RunReport) -> Option<String> {
    let whole = rates::whole(report);
    // Samples of long runs stand for several seconds each.
    let lasted = whole.len() as f64 * report.series_step_s.max(1.0);
    let answered = report.totals.answered;
    (lasted < SECONDS as f64 || answered < ANSWERS).then(|| {
        format!(
            "it had {} and {} to look at, and a forecast takes {SECONDS} and {} at least",
            plural(lasted as u64, "whole second"),
            plural(answered, "answer"),
            count(ANSWERS)
        )
    })
}

/// The most cores that are forecast from so many measured ones.
pub(super) fn most_cores(measured: f64, most: u32) -> u32 {
    ((TIMES_MEASURED * measured.max(1.0)) as u32).min(most)
}
