//! Whether figures are worth anything: what stands against a run as a measurement.

use crate::drive::Tally;
use crate::report::model::RunReport;

/// More requests than this share that left late through the load's own fault spoil a measurement.
const LATE_SHARE: f64 = 0.01;

/// Everything that speaks against a run, in whole sentences with what to do about it.
pub(crate) fn of(report: &RunReport, tally: &Tally) -> Vec<String> {
    let totals = &report.totals;
    let late = tally.sent_late() as f64 / totals.sent.max(1) as f64;
    let lost_without_cause = totals.unanswered > 0 && totals.connections_lost == 0;
    [
        (totals.answered == 0).then(|| "No request was answered.".to_owned()),
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
