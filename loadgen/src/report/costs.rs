//! What an answer costs a shard core: in the mean of the run, at its slow end, where seats were granted, and at its peak.
//!
//! A run's answers are mostly refusals once its seats are gone, and seats are granted at its beginning; a larger hall grants
//! for longer. Its answers cost what those of this run's granting seconds did, so the slow end is never planned below that.
//! Nor is it below what the cores' busiest second had to do for each request of the second in which most were asked.

use super::buyers::step_s;
use super::model::{CoreSample, RunReport, Sample};
use super::rates;
use super::saturation::polls;
use super::stats::quantile;
use super::words::{number, percent, plural, ratio};

/// Of all grants so many are looked at, from the seconds that granted most on.
const GRANTS: f64 = 0.5;
/// Connections opened in a second, for each of its answers, from which on it says what opening costs, not what answers do.
const OPENS: f64 = 0.1;
/// Of such a second's time this share at least must be for that, or nothing is said.
const FOR_IT: f64 = 0.25;
/// Seconds with fewer answers than this share of the most say what waiting costs, not what an answer does.
const WORTH: f64 = 0.25;

/// Processor time of one shard core per answer, in microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Costs {
    /// In the mean of all.
    pub(super) mean_us: f64,
    /// Nine of ten seconds cost more.
    pub(super) low_us: f64,
    /// What is planned with where it has to hold: no figure here is above it.
    pub(super) slow_us: f64,
    high_us: f64,
    granting: Option<Granting>,
    peak_us: Option<f64>,
    pub(super) opening: Option<Opening>,
}

/// What the connections cost that were opened at the run's beginning.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Opening {
    /// One of them.
    pub(super) us: f64,
    pub(super) opened: u64,
}

/// The seconds in which half of the grants fell.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Granting {
    us: f64,
    seconds: u64,
    /// Of their answers, how many granted or booked.
    share: f64,
}

impl Costs {
    /// `None` if the cores' time could not be seen, or they poll.
    pub(super) fn of(report: &RunReport) -> Option<Self> {
        let calm =
            report.series.iter().zip(opened(report)).filter(|(sample, opened)| !opens(sample, *opened));
        let calm: Vec<&Sample> = calm.map(|(sample, _)| sample).collect();
        let each: Vec<(f64, f64)> =
            calm.iter().flat_map(|sample| seen(report, sample)).map(time_and_answers).collect();
        let mean_us = per_answer(each.iter().copied())?;
        let most = each.iter().map(|core| core.1).fold(0.0, f64::max);
        let worth = each.iter().filter(|core| core.1 >= most * WORTH);
        let mut costs: Vec<f64> = worth.map(|(busy, answers)| busy / answers * 1e6).collect();
        costs.sort_by(f64::total_cmp);
        let (low_us, high_us) = (quantile(&costs, 0.1).min(mean_us), quantile(&costs, 0.9).max(mean_us));
        let (granting, peak_us) = (granting(report, &calm), peak(report));
        let others = granting.map(|it| it.us).into_iter().chain(peak_us);
        let slow_us = others.fold(high_us, f64::max);
        let opening = opening(report, mean_us);
        Some(Self { mean_us, low_us, slow_us, high_us, granting, peak_us, opening })
    }

    /// `73 µs of one (56 to 90 µs in eight of ten seconds)`.
    pub(super) fn words(&self) -> String {
        format!(
            "an answer took {} µs of one ({} to {} µs in eight of ten seconds)",
            number(self.mean_us),
            number(self.low_us),
            number(self.high_us)
        )
    }

    /// What grants cost, and what the peak did; nothing of a run that granted nothing.
    pub(super) fn of_grants(&self) -> Option<String> {
        let Granting { us, seconds, share } = self.granting?;
        let and_peak = self.peak_us.map_or_else(String::new, |peak| {
            format!(", and {} µs at the peak (the cores' busiest second, for each request of the second in which most were due)", number(peak))
        });
        Some(format!(
            "What grants cost: half of them fell in {}, in which {} of the answers granted or booked seats. An answer took {} µs \
             there{and_peak}. A larger hall grants for longer than this run did: the slow end, {} µs, is the highest of these figures.",
            plural(seconds, "second"),
            percent(share),
            number(us),
            number(self.slow_us)
        ))
    }
}

/// The cores of a sample whose time says something.
fn seen<'a>(report: &'a RunReport, sample: &'a Sample) -> impl Iterator<Item = &'a CoreSample> {
    let cores = (0_u16..).zip(&sample.cores);
    cores.filter(|(place, core)| core.busy.is_some() && !polls(&report.series, *place)).map(|(_, core)| core)
}

fn time_and_answers(core: &CoreSample) -> (f64, f64) {
    (core.busy.unwrap_or(0.0), core.answers_per_s)
}

fn per_answer(cores: impl Iterator<Item = (f64, f64)>) -> Option<f64> {
    let (busy, answers) = cores.fold((0.0, 0.0), |sum, core| (sum.0 + core.0, sum.1 + core.1));
    (busy > 0.0 && answers > 0.0).then(|| busy / answers * 1e6)
}

/// By sample, the connections that there are more than before.
fn opened(report: &RunReport) -> Vec<u64> {
    let mut before = 0;
    let grown = |sample: &Sample| {
        let now = sample.cores.iter().map(|core| core.connections).sum::<u64>();
        let grown = now.saturating_sub(before);
        before = now;
        grown
    };
    report.series.iter().map(grown).collect()
}

fn opens(sample: &Sample, opened: u64) -> bool {
    opened as f64 > sample.answered as f64 * OPENS
}

/// The time of the sample in which most connections were opened, less what its answers took.
fn opening(report: &RunReport, mean_us: f64) -> Option<Opening> {
    let all = report.series.iter().zip(opened(report)).filter(|(sample, opened)| opens(sample, *opened));
    let (sample, opened) = all.max_by_key(|(_, opened)| *opened)?;
    let step_s = step_s(report);
    let busy_us = seen(report, sample).filter_map(|core| core.busy).sum::<f64>() * step_s * 1e6;
    let for_it = busy_us - sample.answered as f64 * mean_us;
    (for_it > busy_us * FOR_IT).then(|| Opening { us: for_it / opened as f64, opened })
}

fn granting(report: &RunReport, calm: &[&Sample]) -> Option<Granting> {
    let mut most: Vec<&Sample> = calm.iter().copied().filter(|sample| sample.granted > 0).collect();
    most.sort_by_key(|sample| std::cmp::Reverse(sample.granted));
    let wanted = GRANTS * most.iter().map(|sample| sample.granted as f64).sum::<f64>();
    let mut so_far = 0.0;
    most.retain(|sample| {
        let is_wanted = so_far < wanted;
        so_far += sample.granted as f64;
        is_wanted
    });
    let us = per_answer(most.iter().flat_map(|sample| seen(report, sample)).map(time_and_answers))?;
    let (changed, answered) = most.iter().fold((0, 0), |sum, sample| {
        (sum.0 + (sample.granted + sample.booked).min(sample.answered), sum.1 + sample.answered)
    });
    Some(Granting { us, seconds: most.len() as u64, share: ratio(changed as f64, answered as f64) })
}

fn peak(report: &RunReport) -> Option<f64> {
    let due = rates::busiest(report)?.due;
    let busy = |sample| seen(report, sample).filter_map(|core| core.busy).sum::<f64>();
    let most = report.series.iter().map(busy).fold(0.0, f64::max);
    (most > 0.0 && due > 0.0).then(|| most / due * 1e6)
}
