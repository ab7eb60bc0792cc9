//! From what was played to a report.

use crate::LoadError;
use crate::crowd::Books;
use crate::drive::Tally;
use crate::machine::{self, Machine};
use crate::options::LoadOptions;
use crate::report::model::{Lived, MODEL, RunKind, RunReport, Totals, Verified};
use crate::report::{self};
use crate::runs::plan::Plan;
use crate::runs::play::Played;
use crate::runs::sale::Sale;
use crate::runs::site::Site;
use frontrow_engine::Clock;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::time::{Duration, UNIX_EPOCH};

/// A report, and the histograms that go beside it.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The report.
    pub(crate) report: RunReport,
    /// Latencies in nanoseconds, by class of request.
    pub(crate) histograms: BTreeMap<String, Histogram<u64>>,
    /// Why the end of the run is missing, if it is: the server went away.
    pub(crate) cut_short: Option<LoadError>,
}

/// What is known before anything is played: the rest is left empty.
pub(crate) fn blank(kind: RunKind, options: &LoadOptions, site: &Site, plan: &Plan) -> RunReport {
    RunReport {
        model: MODEL,
        kind,
        name: plan.scenario.name.clone(),
        started: humantime::format_rfc3339_seconds(now()).to_string(),
        command: command_line(),
        commit: machine::commit(),
        machine: Machine::here(std::path::Path::new(".")),
        target: site.target(),
        scenario: plan.scenario.to_toml().unwrap_or_default(),
        seed: plan.seed,
        load: plan.load(options.rate.unwrap_or(0.0)),
        duration_s: 0.0,
        interrupted: false,
        totals: Totals::default(),
        latency: BTreeMap::new(),
        uncorrected: None,
        lateness: None,
        server_rss_before: None,
        series: Vec::new(),
        series_step_s: 1.0,
        steps: Vec::new(),
        scaling: Vec::new(),
        verified: Verified::default(),
        objective: None,
        found_per_s: None,
        trends: Vec::new(),
        doubts: Vec::new(),
        away: Vec::new(),
        quick: plan.shrunk.clone(),
        seats_left: None,
        lived: None,
        questions: Vec::new(),
    }
}

/// The time of day.
pub(crate) fn now() -> std::time::SystemTime {
    UNIX_EPOCH + Duration::from_millis(Clock::wall_ms())
}

/// As it was typed, but without the operator's key.
fn command_line() -> String {
    let mut hide = false;
    let shown = std::env::args().map(|word| {
        let secret = std::mem::take(&mut hide);
        hide = word == "--admin-key";
        if secret {
            "…".to_owned()
        } else if word.starts_with("--admin-key=") {
            "--admin-key=…".to_owned()
        } else {
            word
        }
    });
    shown.collect::<Vec<_>>().join(" ")
}

/// Adds what one stage brought.
pub(crate) fn add(report: &mut RunReport, sale: &Sale, played: &Played) {
    sale.describe(&mut report.target);
    report.duration_s += played.duration_s;
    if matches!(report.kind, RunKind::Run | RunKind::Soak) {
        report.seats_left.clone_from(&played.seats_left);
        report.lived = Some(Lived {
            to_booked: report::latency(&played.lived.to_booked),
            queued: report::latency(&played.lived.queued),
        });
    }
    report.away.extend(played.away.iter().cloned());
    add_totals(&mut report.totals, &played.total, &played.books);
    add_verified(&mut report.verified, &played.verified);
    let faults = Verified {
        violations: played.total.faults.clone(),
        violation_count: played.total.fault_count,
        ..Verified::default()
    };
    add_verified(&mut report.verified, &faults);
}

fn add_totals(totals: &mut Totals, tally: &Tally, books: &Books) {
    totals.visits += books.visits;
    totals.visits_won += books.visits_won;
    totals.people += books.people;
    totals.people_missed += books.people_missed;
    totals.left_over += tally.left_over;
    totals.intended += tally.intended;
    totals.sent += tally.sent;
    totals.answered += tally.answered;
    totals.unanswered += tally.unanswered;
    totals.abandoned += tally.abandoned;
    for (code, count) in &tally.codes {
        *totals.codes.entry(code.clone()).or_default() += count;
    }
    totals.seats_granted += books.seats_granted;
    totals.seats_booked += books.seats_booked;
    totals.connected += tally.connected;
    totals.connect_failed += tally.connect_failed;
    totals.connections_lost += tally.connections_lost;
    if totals.sold_out_at_s.is_none() {
        // From when people could come, not from the first connection.
        let since_began = |ns: u64| ns.saturating_sub(books.began_ns.unwrap_or(0)) as f64 / 1e9;
        totals.sold_out_at_s = books.sold_out_at.map(since_began);
    }
    totals.people_until_gone = totals.people_until_gone.or(books.people_until_gone);
}

/// The most violations told in words.
const TOLD: usize = 100;

fn add_verified(all: &mut Verified, more: &Verified) {
    for (check, count) in &more.checks {
        *all.checks.entry(check.clone()).or_default() += count;
    }
    let room = TOLD.saturating_sub(all.violations.len());
    all.violations.extend(more.violations.iter().take(room).cloned());
    all.violation_count += more.violation_count;
}

/// Fills in the latencies.
pub(crate) fn latencies(report: &mut RunReport, tally: &Tally) -> BTreeMap<String, Histogram<u64>> {
    let histograms: BTreeMap<String, Histogram<u64>> =
        tally.by_class().into_iter().filter(|(_, histogram)| !histogram.is_empty()).collect();
    report.latency = histograms.iter().map(|(class, it)| (class.clone(), report::latency(it))).collect();
    let measured = |histogram: &Histogram<u64>| (!histogram.is_empty()).then(|| report::latency(histogram));
    report.uncorrected = measured(&tally.uncorrected);
    report.lateness = measured(&tally.late);
    histograms
}
