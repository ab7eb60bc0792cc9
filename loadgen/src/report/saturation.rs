//! What gave out first. Each resource has a sign in the series; the first stretch that shows it counts.
//!
//! | resource | sign, in at least two samples one after the other |
//! | --- | --- |
//! | load generator | 5 % of the requests sent more than a millisecond late by its own doing, or its threads at 90 % of their CPUs |
//! | server core | its thread on a CPU for at least 90 % of the time |
//! | log of a core | a backlog above 1 MiB that keeps growing, or commits four times as slow as in the run's calmest quarter and above 5 ms |
//! | other processes | they keep a quarter of a CPU busy while the machine as a whole is 95 % busy |
//! | bounds | at least 0.1 % of the answers say `busy` |
//!
//! What shows within two samples of the first is taken as one event, and its likeliest cause is named: the order
//! of the table.

use super::model::{CoreSample, RunReport, Sample};
use super::words::{bytes, micros, number, percent, plural, ratio, seconds, were};
use serde::Serialize;

/// Busy share from which a core counts as saturated.
pub(crate) const SATURATED: f64 = 0.9;
/// Share of a moment's requests that may leave late.
const LATE: f64 = 0.05;
const BACKLOG: u64 = 1 << 20;
const SLOW_COMMIT_US: f64 = 5_000.0;

/// Something that can give out. The order is that of likeliest cause first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Resource {
    /// The load generator itself: the server was not the limit.
    Load,
    /// A serving core.
    Core(u16),
    /// The log behind a core.
    Log(u16),
    /// Other processes on the machine.
    Others,
    /// A bound inside the server that answers `busy`, with no resource seen to be short.
    Bounds,
}

impl Resource {
    /// `core 0`, `the load generator`.
    pub fn name(self) -> String {
        match self {
            Self::Load => "the load generator".to_owned(),
            Self::Core(core) => format!("core {core}"),
            Self::Log(core) => format!("the log of core {core}"),
            Self::Others => "other processes on the machine".to_owned(),
            Self::Bounds => "a bound inside the server".to_owned(),
        }
    }
}

/// A resource that gave out.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Saturated {
    /// Which.
    pub resource: Resource,
    /// Since when, in seconds of the run.
    pub since_s: f64,
    /// What shows it.
    pub evidence: String,
}

/// What gave out, and what could not be seen.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Saturation {
    /// First to give out first.
    pub found: Vec<Saturated>,
    /// What was not to be seen in this run, in a sentence.
    pub unseen: Option<String>,
    /// The busiest sample of any core: core and share.
    pub busiest: Option<(u16, f64)>,
}

impl Saturation {
    /// What `report` shows.
    pub fn of(report: &RunReport) -> Self {
        let series = &report.series;
        let mut found: Vec<Saturated> =
            [load(report), others(report), bounds(series)].into_iter().flatten().collect();
        for core in 0..cores(series) {
            found.extend(core_busy(series, core));
            found.extend(core_log(series, core));
        }
        found.sort_by(|a, b| a.since_s.total_cmp(&b.since_s));
        let first = found.first().map_or(0.0, |first| first.since_s);
        let together = first + 2.0 * report.series_step_s.max(0.0);
        found.sort_by(|a, b| {
            let key = |s: &Saturated| {
                if s.since_s <= together { (0.0, s.resource) } else { (s.since_s, s.resource) }
            };
            let (a, b) = (key(a), key(b));
            a.0.total_cmp(&b.0).then(a.1.cmp(&b.1))
        });
        Self { found, unseen: unseen(series), busiest: busiest(series) }
    }

    /// The first to give out.
    pub fn first(&self) -> Option<&Saturated> {
        self.found.first()
    }

    /// Whether the load generator gave out before the server did.
    pub fn load_was_the_limit(&self) -> bool {
        self.first().is_some_and(|first| first.resource == Resource::Load)
    }

    /// One phrase for a headline.
    pub fn words(&self) -> String {
        match self.first() {
            Some(first) if first.resource == Resource::Load => "the load generator was the limit".to_owned(),
            Some(first) => format!("first to saturate: {}", first.resource.name()),
            None if self.busiest.is_none() => "what saturates first could not be seen".to_owned(),
            None => "nothing saturated".to_owned(),
        }
    }
}

fn cores(series: &[Sample]) -> u16 {
    series.iter().map(|sample| sample.cores.len()).max().unwrap_or(0).try_into().unwrap_or(u16::MAX)
}

/// The first stretch of samples that all show the sign.
fn stretch(series: &[Sample], sign: impl Fn(&Sample) -> bool) -> Option<&[Sample]> {
    let least = if series.len() < 4 { 1 } else { 2 };
    series
        .chunk_by(|a, b| sign(a) == sign(b))
        .find(|chunk| chunk.len() >= least && chunk.first().is_some_and(&sign))
}

fn begin(stretch: &[Sample], series: &[Sample]) -> f64 {
    let step = series.get(1).map_or(0.0, |second| second.t_s - series[0].t_s);
    stretch.first().map_or(0.0, |sample| (sample.t_s - step).max(0.0))
}

fn most(stretch: &[Sample], value: impl Fn(&Sample) -> f64) -> f64 {
    stretch.iter().map(value).fold(0.0, f64::max)
}

fn at(core: u16) -> impl Fn(&Sample) -> Option<&CoreSample> {
    move |sample| sample.cores.get(core as usize)
}

fn load(report: &RunReport) -> Option<Saturated> {
    let (series, load) = (&report.series, &report.load);
    let late_share = |s: &Sample| ratio(s.late.unwrap_or(0) as f64, s.sent as f64);
    let late = |s: &Sample| late_share(s) >= LATE;
    let threads = f64::from(load.threads);
    let spent = |s: &Sample| threads > 0.0 && s.load_cpus >= SATURATED * threads;
    let found = stretch(series, |s| late(s) || spent(s))?;
    let evidence = if found.iter().any(late) {
        format!(
            "up to {} of a second's requests left more than a millisecond late by its own doing",
            percent(most(found, late_share))
        )
    } else {
        format!(
            "its {} kept {} CPUs busy",
            plural(load.threads.into(), "thread"),
            number(most(found, |s| s.load_cpus))
        )
    };
    Some(Saturated { resource: Resource::Load, since_s: begin(found, series), evidence })
}

fn others(report: &RunReport) -> Option<Saturated> {
    let (series, cpus) = (&report.series, report.machine.cpus as f64);
    let all = |s: &Sample| s.others_cpus + s.load_cpus + s.server_cpus.unwrap_or(0.0);
    let found = stretch(series, |s| cpus > 0.0 && s.others_cpus >= 0.25 && all(s) >= 0.95 * cpus)?;
    let evidence = format!(
        "they kept up to {} of the machine's {} CPUs busy while none was idle",
        number(most(found, |s| s.others_cpus)),
        number(cpus)
    );
    Some(Saturated { resource: Resource::Others, since_s: begin(found, series), evidence })
}

fn bounds(series: &[Sample]) -> Option<Saturated> {
    let refused = |s: &Sample| s.cores.iter().map(|core| core.busy_refusals).sum::<u64>();
    let found = stretch(series, |s| refused(s) > 0 && refused(s) as f64 >= 0.001 * s.answered as f64)?;
    let total: u64 = found.iter().map(refused).sum();
    let lasted = found.len() as f64 * series.get(1).map_or(1.0, |second| second.t_s - series[0].t_s);
    let evidence = format!("{} answered “busy” within {}", were(total, "request"), seconds(lasted));
    Some(Saturated { resource: Resource::Bounds, since_s: begin(found, series), evidence })
}

fn core_busy(series: &[Sample], core: u16) -> Option<Saturated> {
    let busy = |s: &Sample| at(core)(s).and_then(|core| core.busy).unwrap_or(0.0);
    if polls(series, core) {
        return None;
    }
    let found = stretch(series, |s| busy(s) >= SATURATED)?;
    let evidence = format!("its thread ran for up to {} of the time", percent(most(found, busy)));
    Some(Saturated { resource: Resource::Core(core), since_s: begin(found, series), evidence })
}

/// Whether a core's thread runs all the time, whatever there is to do: then its busy share says nothing.
pub(crate) fn polls(series: &[Sample], core: u16) -> bool {
    let seen =
        || series.iter().filter_map(at(core)).filter_map(|core| Some((core.busy?, core.answers_per_s)));
    let most = seen().map(|(_, answers)| answers).fold(0.0, f64::max);
    let idle = || seen().filter(|(_, answers)| *answers < 0.25 * most);
    idle().count() >= 2 && idle().all(|(busy, _)| busy >= SATURATED)
}

fn core_log(series: &[Sample], core: u16) -> Option<Saturated> {
    let backlog = |s: &Sample| at(core)(s).map_or(0, |core| core.backlog_bytes);
    let commit = |s: &Sample| at(core)(s).map_or(0.0, |core| core.commit_p99_us);
    let mut calm: Vec<f64> = series.iter().map(commit).filter(|us| *us > 0.0).collect();
    calm.sort_by(f64::total_cmp);
    let calm = calm.get(calm.len() / 4).copied().unwrap_or(0.0);
    let slow = |s: &Sample| commit(s) >= SLOW_COMMIT_US && commit(s) >= 4.0 * calm;
    let growing = series.windows(3).position(|three| {
        backlog(&three[0]) > BACKLOG && three.windows(2).all(|two| backlog(&two[1]) > backlog(&two[0]))
    });
    let found = match growing {
        Some(place) => &series[place..],
        None => stretch(series, slow)?,
    };
    let evidence = if growing.is_some() {
        format!("bytes not yet durable kept growing, up to {}", bytes(most(found, |s| backlog(s) as f64)))
    } else {
        format!("p99 of a commit rose from {} to {}", micros(calm), micros(most(found, commit)))
    };
    Some(Saturated { resource: Resource::Log(core), since_s: begin(found, series), evidence })
}

fn unseen(series: &[Sample]) -> Option<String> {
    let cores = || series.iter().flat_map(|sample| &sample.cores);
    if series.is_empty() {
        Some("The run has no series, so nothing can be said about what saturates.".to_owned())
    } else if cores().next().is_none() {
        Some("The server's metrics could not be read, so its cores and its log were not watched.".to_owned())
    } else if (0..self::cores(series)).any(|core| polls(series, core)) {
        Some("A core's thread runs all the time, with much to do or little (it polls): how busy it was is not known.".to_owned())
    } else if cores().all(|core| core.busy.is_none()) {
        Some("The server is on another machine, so how busy its cores were is not known.".to_owned())
    } else {
        None
    }
}

fn busiest(series: &[Sample]) -> Option<(u16, f64)> {
    let all = series.iter().flat_map(|sample| (0_u16..).zip(&sample.cores));
    all.filter_map(|(number, core)| Some((number, core.busy?))).max_by(|a, b| a.1.total_cmp(&b.1))
}
