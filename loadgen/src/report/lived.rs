//! What people lived through, in sentences: who got seats, how long it took, and what the refusals were.

use super::codes::{self, Kind};
use super::model::RunReport;
use super::pace::gone_at;
use super::words::{count, micros, number, percent, ratio, seconds, were};
use std::fmt::Write as _;

/// `4,893 of 20,000 people booked seats; half of these had them 9.1 s after they came …`; `None` if people were not counted.
pub(super) fn people(report: &RunReport) -> Option<String> {
    let totals = &report.totals;
    if totals.people == 0 {
        return None;
    }
    let mut words = format!("{} of {} people booked seats", count(totals.visits_won), count(totals.people));
    let cancelled = codes::told(report).into_iter().find(|told| told.name == "cancelled");
    if let Some(cancelled) = cancelled.filter(|cancelled| cancelled.count > 0) {
        let _ = write!(words, " ({} cancelled later)", were(cancelled.count, "booking"));
    }
    if let Some(lived) = &report.lived {
        if lived.to_booked.count > 0 {
            let _ = write!(
                words,
                "; half of these had booked within {} of coming, nine of ten within {} (later tries included)",
                micros(lived.to_booked.p50_us),
                micros(lived.to_booked.p90_us)
            );
        }
        if lived.queued.count > 0 {
            let _ = write!(
                words,
                "; a stay in a queue lasted {} at the median, {} at the 90th percentile ({} stays)",
                micros(lived.queued.p50_us),
                micros(lived.queued.p90_us),
                count(lived.queued.count)
            );
        }
    }
    Some(words + ".")
}

/// Codes that are named in the sentence at most, each of a hundredth of the refusals at least; the table has all.
const NAMED: usize = 3;

/// What the refusals were, if many answers are: by their codes, by when they came, and by how often people tried.
pub(super) fn refusals(report: &RunReport) -> Option<String> {
    let (refused, answered) = (codes::refused(report), report.totals.answered);
    let share = ratio(refused as f64, answered as f64);
    if share < 0.2 {
        return None;
    }
    let mut words = format!(
        "{} of the answers were refusals ({} of {})",
        percent(share),
        count(refused),
        count(answered)
    );
    let told = codes::told(report).into_iter().filter(|told| told.kind == Kind::Refusal);
    let told = told.take(NAMED).filter(|told| 100 * told.count >= refused);
    let most: Vec<String> = told
        .map(|told| {
            let part = percent(ratio(told.count as f64, refused as f64));
            format!("{part} said “{}” ({})", told.meaning, told.name)
        })
        .collect();
    if !most.is_empty() {
        let _ = write!(words, ": {}", most.join(", "));
    }
    words.push('.');
    if !codes::told(report).iter().any(|told| told.kind == Kind::Refusal && told.name.starts_with("error:")) {
        words.push_str(" None of them was an error or said “busy”: they are the sale's own answers.");
    }
    words.extend(when(report));
    words.extend(tries(report));
    Some(words)
}

/// How many refusals came while a seat was free, and how many when none was.
fn when(report: &RunReport) -> Option<String> {
    let all = report.series.iter().map(|sample| sample.refused).sum::<u64>();
    if report.target.seats == 0 || all == 0 {
        return None;
    }
    let Some(gone_s) = gone_at(report, report.target.seats) else {
        return Some(" Some seat was free all the time.".to_owned());
    };
    let before = report.series.iter().filter(|sample| sample.t_s <= gone_s).map(|sample| sample.refused);
    let before = percent(ratio(before.sum::<u64>() as f64, all as f64));
    Some(format!(
        " {before} of them came before the first moment without a free seat (at {}), the others after it.",
        seconds(gone_s)
    ))
}

/// How often a person tried.
fn tries(report: &RunReport) -> Option<String> {
    let totals = &report.totals;
    let each = |sum: u64| number(ratio(sum as f64, totals.people as f64));
    (totals.people > 0).then(|| {
        format!(
            " A person made {} requests in {} visits in the mean.",
            each(totals.answered),
            each(totals.visits)
        )
    })
}
