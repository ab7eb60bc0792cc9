//! Whether figures are worth anything: what stands against a run as a measurement.

use crate::drive::Tally;
use crate::report::model::{RunKind, RunReport};
use crate::report::words::{count, plural, seconds, were};
use crate::report::{absence, refused_connections};

/// More requests than this share that left late through the load's own fault spoil a measurement.
const LATE_SHARE: f64 = 0.01;
/// Fewer than this share of what was to begin by the plan is another load than was asked for.
const BEGUN_SHARE: f64 = 0.99;

/// Everything that speaks against a run, in whole sentences with what to do about it.
pub(crate) fn of(report: &RunReport, tally: &Tally) -> Vec<String> {
    if let Some(from_s) = absence::gone_s(report) {
        return vec![format!(
            "From {} on there was no server: nothing is planned on this run, and the seats were not compared with the \
             server's own. See the end of its log, start it again, and repeat the run.",
            seconds(from_s)
        )];
    }
    let mut doubts = if report.away.is_empty() { connections(report) } else { away(report) };
    doubts.extend(load(report, tally));
    doubts
}

/// The server was away and came back: that explains what was lost and left undone.
fn away(report: &RunReport) -> Vec<String> {
    let told = absence::interruptions(report).into_iter().map(|interruption| {
        format!(
            "The server was {interruption}. Rates and latencies are those of a run with an interruption: for a \
             measurement, repeat it without one."
        )
    });
    told.collect()
}

/// What was not done as planned, or lost, with a server that was there all the time.
fn connections(report: &RunReport) -> Vec<String> {
    let totals = &report.totals;
    let lost_without_cause = totals.unanswered > 0 && totals.connections_lost == 0;
    let rate = lower_rate(report.kind);
    [
        too_few(totals.people, totals.people + totals.people_missed).then(|| {
            format!(
                "Only {} of the {} that were to begin by the plan did begin: the load generator could not \
                 make so many. Ask for {rate}, or give it more --threads, or a machine of its own.",
                count(totals.people),
                plural(totals.people + totals.people_missed, "visit")
            )
        }),
        too_few(totals.intended.saturating_sub(totals.left_over), totals.intended).then(|| {
            format!(
                "{} of the {} that were due had not left when the run ended: more was asked for than load \
                 and server could carry. Ask for {rate}, or give it more --connections.",
                count(totals.left_over),
                plural(totals.intended, "request")
            )
        }),
        lost_without_cause.then(|| {
            format!(
                "{} never answered although no connection was lost: the server stalls, or needs more --patience.",
                were(totals.unanswered, "request")
            )
        }),
        (totals.connections_lost > 0).then(|| {
            format!(
                "{} lost that the crowd did not drop: see what the server says.",
                were(totals.connections_lost, "connection")
            )
        }),
        refused_connections(report),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// What the load itself did.
fn load(report: &RunReport, tally: &Tally) -> Vec<String> {
    let late = tally.sent_late() as f64 / report.totals.sent.max(1) as f64;
    [
        (report.totals.answered == 0).then(|| "No request was answered.".to_owned()),
        // A tiny run measures nothing that lateness could spoil.
        (late > LATE_SHARE && report.quick.is_empty()).then(|| {
            format!(
                "{:.1} % of the requests left more than a millisecond late by the load's own doing: latencies are too \
                 high by that. Its timer is right to some tens of microseconds, so its CPUs were busy: give it CPUs \
                 of its own (--cpus), more --threads, or a machine of its own.",
                late * 100.0
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// How this kind of run is asked for less: a search and a ramp set their rates themselves.
fn lower_rate(kind: RunKind) -> &'static str {
    match kind {
        RunKind::Run | RunKind::Soak => "a lower --rate",
        RunKind::Ramp | RunKind::Search => "lower rates (--from, --to)",
    }
}

/// Whether so few of what was planned were begun that it is another load.
pub(crate) fn too_few(begun: u64, planned: u64) -> bool {
    (begun as f64) < BEGUN_SHARE * planned as f64
}
