//! Rates over true seconds. A run's samples may be shorter than a second (tiny runs are looked at ten times as often) or
//! longer (long runs are thinned): what is called "in a second" counts over one at least.

use super::model::{RunReport, Sample};

/// Samples make a second from here on: they come a few milliseconds early or late.
const WHOLE_S: f64 = 0.95;

/// A second of a run, or a longer stretch where samples are longer; everything per second.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Second {
    /// Its end, in seconds of the run.
    pub(super) t_s: f64,
    /// Requests that were due.
    pub(super) due: f64,
    /// Answers.
    pub(super) answered: f64,
    /// Answers that were not `busy`.
    pub(super) good: f64,
}

/// The whole seconds of a run; none if it did not last one. What is left over at the end is no second.
pub(super) fn whole(report: &RunReport) -> Vec<Second> {
    let mut out = Vec::new();
    let step = if report.series_step_s > 0.0 { report.series_step_s } else { 1.0 };
    let mut from_s = report.series.first().map_or(0.0, |first| (first.t_s - step).max(0.0));
    let (mut due, mut answered, mut busy) = (0, 0, 0);
    for sample in &report.series {
        due += sample.intended;
        answered += sample.answered;
        busy += busy_refusals(sample);
        let lasted = sample.t_s - from_s;
        if lasted >= WHOLE_S {
            let per_s = |sum: u64| sum as f64 / lasted;
            out.push(Second {
                t_s: sample.t_s,
                due: per_s(due),
                answered: per_s(answered),
                good: per_s(answered.saturating_sub(busy)),
            });
            (from_s, due, answered, busy) = (sample.t_s, 0, 0, 0);
        }
    }
    out
}

/// Requests refused for want of capacity.
fn busy_refusals(sample: &Sample) -> u64 {
    sample.cores.iter().map(|core| core.busy_refusals).sum()
}

/// Answers per second in the best second; `None` if the run was too short to tell.
pub(super) fn most_answered(report: &RunReport) -> Option<f64> {
    whole(report).into_iter().map(|second| second.answered).reduce(f64::max)
}

/// The second in which most requests were due.
pub(super) fn busiest(report: &RunReport) -> Option<Second> {
    whole(report).into_iter().max_by(|a, b| a.due.total_cmp(&b.due))
}

/// Good answers per second of the whole server in its best three seconds; `None` if the run was too short to tell.
pub(super) fn best_three(report: &RunReport) -> Option<f64> {
    let seconds = whole(report);
    let three = seconds.windows(3).map(|three| three.iter().map(|second| second.good).sum::<f64>() / 3.0);
    three.reduce(f64::max)
}
