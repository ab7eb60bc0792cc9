//! The one rule for a machine that others used too: verdict, page, planner and comparison all ask here.
//!
//! A run was on a crowded machine if other processes kept at least half a CPU busy, in the mean over the whole run,
//! while no CPU was idle. Then server and load had to wait for CPUs, and figures are too low by an amount nobody knows.

use super::model::{RunReport, Sample};
use super::words::{number, plural, ratio};

/// CPUs of other processes from which a machine counts as crowded.
pub(crate) const CROWDED_CPUS: f64 = 0.5;
/// Share of the machine's CPUs that is busy when none counts as idle.
const NONE_IDLE: f64 = 0.95;

/// What others took, where it was too much.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Crowded {
    /// CPUs that other processes kept busy while none was idle, in the mean over the run.
    others: f64,
    cpus: u64,
}

impl Crowded {
    /// Of `report`, if its machine was crowded.
    pub(crate) fn of(report: &RunReport) -> Option<Self> {
        let cpus = report.machine.cpus as f64;
        let full = report.series.iter().filter(|sample| none_idle(sample, cpus));
        let others = ratio(full.map(|sample| sample.others_cpus).sum(), report.series.len() as f64);
        (others >= CROWDED_CPUS).then_some(Self { others, cpus: report.machine.cpus as u64 })
    }

    /// `other processes kept 1.5 of the machine's 2 CPUs busy while none was idle`.
    pub(crate) fn words(self) -> String {
        format!(
            "other processes kept {} of the machine's {} busy while none was idle",
            number(self.others),
            plural(self.cpus, "CPU")
        )
    }

    /// A doubt, with its remedy.
    pub(crate) fn doubt(self) -> String {
        format!(
            "The machine was crowded: {}, in the mean over the run (doubtful from {CROWDED_CPUS} on). Server and load \
             waited for CPUs: rates may be too low and latencies too high. Repeat it on a quiet machine.",
            self.words()
        )
    }
}

/// Whether no CPU was idle in a sample.
pub(crate) fn none_idle(sample: &Sample, cpus: f64) -> bool {
    let all = sample.others_cpus + sample.load_cpus + sample.server_cpus.unwrap_or(0.0);
    cpus > 0.0 && all >= NONE_IDLE * cpus
}
