//! What buyers ask of a server, and how fast they take the seats; from a run's sums and series. The formulae stand
//! with [`super::capacity`].

use super::capacity::Question;
use super::model::{RunReport, Sample};
use super::words::{number, ratio, seconds};

/// The peak factor where the run was at a set rate and so says nothing about arrivals.
const ASSUMED_PEAK: f64 = 3.0;
#[derive(Default)]
pub(super) struct Notes {
    pub(super) grounds: Vec<String>,
    pub(super) caveats: Vec<String>,
}

pub(super) fn step_s(report: &RunReport) -> f64 {
    if report.series_step_s > 0.0 { report.series_step_s } else { 1.0 }
}

pub(super) fn demand(report: &RunReport, question: Question, notes: &mut Notes) -> f64 {
    if report.totals.visits == 0 {
        notes.caveats.push("The run had no visits, so requests per buyer are not known.".to_owned());
        return 0.0;
    }
    let per_buyer = ratio(report.totals.answered as f64, people(report) as f64);
    let peak = if report.load.rate_per_s > 0.0 {
        notes.caveats.push(format!(
            "People came at a set rate here, which says nothing about how buyers arrive: a busiest second of {ASSUMED_PEAK} times the mean is assumed."
        ));
        ASSUMED_PEAK
    } else {
        let peak = peak_factor(&report.series);
        notes
            .grounds
            .push(format!("The busiest second asks {} times the mean, as it did here.", number(peak)));
        peak
    };
    let who = if report.totals.people > 0 { "A buyer" } else { "A visit (people were not counted)" };
    notes.grounds.push(format!("{who} made {} requests, those of later tries included.", number(per_buyer)));
    ratio(peak * per_buyer * question.buyers as f64, 60.0 * question.minutes)
}

/// Who came. Whoever tries again is the same person, but another visit.
fn people(report: &RunReport) -> u64 {
    if report.totals.people > 0 { report.totals.people } else { report.totals.visits }
}

fn peak_factor(series: &[Sample]) -> f64 {
    let mut due: Vec<u64> = series.iter().map(|sample| sample.intended).skip_while(|due| *due == 0).collect();
    let total: u64 = due.iter().sum();
    let mut left = (total as f64 * 0.05) as u64;
    while let Some(last) = due.last().copied().filter(|last| *last <= left) {
        left -= last;
        due.pop();
    }
    let mean = ratio(due.iter().sum::<u64>() as f64, due.len() as f64);
    ratio(due.iter().max().copied().unwrap_or(0) as f64, mean).max(1.0)
}

pub(super) enum SoldOut {
    After(f64),
    /// Seats that would be sold.
    Never(f64),
    Unknown,
}

pub(super) fn sold_out(report: &RunReport, question: Question, notes: &mut Notes) -> SoldOut {
    let totals = &report.totals;
    if totals.seats_booked == 0 || totals.visits == 0 || question.minutes <= 0.0 || question.buyers == 0 {
        notes.caveats.push("Nobody bought in this run, so how fast seats sell is not known.".to_owned());
        return SoldOut::Unknown;
    }
    let due =
        |until: f64| report.series.iter().filter(|s| s.t_s <= until).map(|s| s.intended).sum::<u64>() as f64;
    let share = totals.sold_out_at_s.map_or(1.0, |at| ratio(due(at + step_s(report)), due(f64::INFINITY)));
    let share = if share > 0.0 { share } else { 1.0 };
    let people_per_seat = people(report) as f64 * share / totals.seats_booked as f64;
    let held: f64 = report.series.iter().map(|sample| sample.seats_held as f64 * step_s(report)).sum();
    let pay_s = ratio(held, totals.seats_granted as f64);
    let (needed, per_s) =
        (people_per_seat * question.seats as f64, question.buyers as f64 / (60.0 * question.minutes));
    notes.grounds.push(format!(
        "It took {} people to sell a seat, and a seat was held for {} until it was paid or given back.",
        number(people_per_seat),
        seconds(pay_s)
    ));
    if needed > question.buyers as f64 {
        return SoldOut::Never(question.buyers as f64 / people_per_seat);
    }
    SoldOut::After(needed / per_s + pay_s)
}
