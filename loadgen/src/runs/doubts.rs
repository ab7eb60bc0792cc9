//! Whether figures are worth anything: what stands against a run as a measurement.

use crate::drive::Tally;
use crate::report::model::RunReport;
use crate::report::words::count;

/// More requests than this share that left late through the load's own fault spoil a measurement.
const LATE_SHARE: f64 = 0.01;
/// Fewer than this share of what was to begin by the plan is another load than was asked for.
const BEGUN_SHARE: f64 = 0.99;

/// Everything that speaks against a run, in whole sentences with what to do about it.
pub(crate) fn of(report: &RunReport, tally: &Tally) -> Vec<String> {
    let totals = &report.totals;
    let late = tally.sent_late() as f64 / totals.sent.max(1) as f64;
    let lost_without_cause = totals.unanswered > 0 && totals.connections_lost == 0;
    [
        (totals.answered == 0).then(|| "No request was answered.".to_owned()),
        too_few(totals.people, totals.people + totals.people_missed).then(|| {
            format!(
                "Only {} of the {} visits that were to begin by the plan did begin: the load generator could not \
                 make so many. Ask for a lower --rate, or give it more --threads, or a machine of its own.",
                count(totals.people),
                count(totals.people + totals.people_missed)
            )
        }),
        too_few(totals.intended.saturating_sub(totals.left_over), totals.intended).then(|| {
            format!(
                "{} of the {} requests that were due had not left when the run ended: more was asked for than load \
                 and server could carry. Ask for a lower --rate, or give it more --connections.",
                count(totals.left_over),
                count(totals.intended)
            )
        }),
        (late > LATE_SHARE).then(|| {
            format!(
                "{:.1} % of the requests left more than a millisecond late by the load's own doing: latencies are too \
                 high by that. Its timer is right to some tens of microseconds, so its CPUs were busy: give it CPUs \
                 of its own (--cpus), more --threads, or a machine of its own.",
                late * 100.0
            )
        }),
        lost_without_cause.then(|| {
            format!(
                "{} requests were never answered although no connection was lost: the server stalls, or needs \
                 more --patience.",
                totals.unanswered
            )
        }),
        (totals.connections_lost > 0).then(|| {
            format!(
                "{} connections were lost that the crowd did not drop: see what the server says.",
                totals.connections_lost
            )
        }),
        (totals.connect_failed > 0).then(|| {
            format!(
                "{} connections could not be opened: see limits.connections, limits.connections_per_address and \
                 the open files of the server.",
                totals.connect_failed
            )
        }),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Whether so few of what was planned were begun that it is another load.
pub(crate) fn too_few(begun: u64, planned: u64) -> bool {
    (begun as f64) < BEGUN_SHARE * planned as f64
}
