//! Two runs side by side: what changed, and whether it is more than noise.
//!
//! The seconds of a run are its samples. A figure *changed* if a Mann–Whitney test finds the two sets of seconds
//! apart (p < 0.01), a block bootstrap's 95 % interval of the change of the median does not hold 0, and the change is
//! at least 2 %. Below eight seconds on a side nothing is tested. Figures with one value per run (percentiles of the
//! whole) are shown and not judged.

use super::model::{RunReport, Sample};
use super::stats::{change_interval, mann_whitney, median};
use super::words::{micros, number, percent, plural, ratio};
use serde::Serialize;
use std::fmt;

const LEAST: usize = 8;
const SURE: f64 = 0.01;
const WORTH: f64 = 0.02;

/// Whether a figure changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Judgement {
    /// And for the better.
    Better,
    /// And for the worse.
    Worse,
    /// Changed, and neither is good in itself.
    Changed,
    /// What differs is noise, or too small to matter.
    Noise,
    /// Too few seconds, or only one value a run.
    Untested,
}

impl Judgement {
    /// One word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Better => "better",
            Self::Worse => "WORSE",
            Self::Changed => "changed",
            Self::Noise => "noise",
            Self::Untested => "not tested",
        }
    }
}

/// One figure of both runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// What.
    pub what: String,
    /// Unit of `a` and `b`: `/s`, `us`, `share`.
    pub unit: &'static str,
    /// The first run's: the median over its seconds if tested.
    pub a: f64,
    /// The second run's.
    pub b: f64,
    /// b/a − 1; `None` if a is 0.
    pub change: Option<f64>,
    /// 95 % interval of `change`.
    pub interval: Option<(f64, f64)>,
    /// Probability of such a difference if nothing had changed.
    pub p: Option<f64>,
    /// Whether it changed.
    pub judgement: Judgement,
}

/// Everything about two runs.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Comparison {
    /// The first run: name, commit, start.
    pub a: String,
    /// The second.
    pub b: String,
    /// One sentence.
    pub verdict: String,
    /// Why they may not be comparable, in sentences.
    pub warnings: Vec<String>,
    /// Figure by figure.
    pub changes: Vec<Change>,
}

/// A figure that every second has: name, unit, whether more is better, and the value of a second of some length.
type PerSecond = (&'static str, &'static str, Option<bool>, fn(&Sample, f64) -> Option<f64>);

const FIGURES: [PerSecond; 6] = [
    ("answered", "/s", Some(true), |s, step| Some(s.answered as f64 / step)),
    ("granted", "/s", Some(true), |s, step| Some(s.granted as f64 / step)),
    ("p50 of a second", "us", Some(false), |s, _| (s.answered > 0).then_some(s.p50_us)),
    ("p99 of a second", "us", Some(false), |s, _| (s.answered > 0).then_some(s.p99_us)),
    ("refused share", "share", None, |s, _| (s.answered > 0).then(|| s.refused as f64 / s.answered as f64)),
    ("server CPU per answer", "us", Some(false), |s, step| {
        s.server_cpus.filter(|_| s.answered > 0).map(|cpus| cpus * step * 1e6 / s.answered as f64)
    }),
];

/// Compares the run `b` with the run `a`.
pub fn compare(a: &RunReport, b: &RunReport) -> Comparison {
    let mut changes: Vec<Change> = FIGURES.iter().filter_map(|figure| tested(a, b, figure)).collect();
    changes.extend(whole(a, b));
    let warnings = warnings(a, b);
    Comparison { a: title(a), b: title(b), verdict: verdict(&changes, &warnings), warnings, changes }
}

fn title(report: &RunReport) -> String {
    let commit: String = report.commit.chars().take(12).collect();
    format!("{} of {} at {commit}", report.name, report.started)
}

/// The values of the seconds in which anything was due, without the first and the last of them: those are cut short.
fn seconds(report: &RunReport, value: fn(&Sample, f64) -> Option<f64>) -> Vec<f64> {
    let step = if report.series_step_s > 0.0 { report.series_step_s } else { 1.0 };
    let at_work = |sample: &Sample| sample.intended > 0;
    let first = report.series.iter().position(at_work).unwrap_or(0);
    let last = report.series.iter().rposition(at_work).unwrap_or(0);
    let inner = report.series.get(first + 1..last).unwrap_or_default();
    inner.iter().filter_map(|sample| value(sample, step)).filter(|value| value.is_finite()).collect()
}

fn tested(a: &RunReport, b: &RunReport, (what, unit, more, value): &PerSecond) -> Option<Change> {
    let (before, after) = (seconds(a, *value), seconds(b, *value));
    if before.is_empty() || after.is_empty() {
        return None;
    }
    let (from, to) = (median(&before), median(&after));
    let mut change = plain(what, unit, from, to);
    if before.len() < LEAST || after.len() < LEAST {
        return Some(change);
    }
    let p = mann_whitney(&before, &after);
    let (low, high) = change_interval(&before, &after);
    // From nothing to something has no ratio: then the ranks alone decide.
    let real = match change.change {
        Some(size) => p < SURE && size.abs() >= WORTH && (low > 0.0 || high < 0.0),
        None => p < SURE && from.total_cmp(&to).is_ne(),
    };
    change.p = Some(p);
    change.interval = change.change.map(|_| (low, high));
    change.judgement = match (real, more) {
        (false, _) => Judgement::Noise,
        (true, None) => Judgement::Changed,
        (true, Some(more)) if *more == (to > from) => Judgement::Better,
        (true, Some(_)) => Judgement::Worse,
    };
    Some(change)
}

fn plain(what: &str, unit: &'static str, a: f64, b: f64) -> Change {
    let change = (a > 0.0).then(|| b / a - 1.0);
    Change {
        what: what.to_owned(),
        unit,
        a,
        b,
        change,
        interval: None,
        p: None,
        judgement: Judgement::Untested,
    }
}

/// Percentiles of the whole run, by class that both have.
fn whole(a: &RunReport, b: &RunReport) -> Vec<Change> {
    let both = a.latency.iter().filter_map(|(class, x)| Some((class, x, b.latency.get(class)?)));
    both.filter(|(_, x, y)| x.count > 0 && y.count > 0)
        .flat_map(|(class, x, y)| {
            [("p50", x.p50_us, y.p50_us), ("p99", x.p99_us, y.p99_us), ("p99.9", x.p999_us, y.p999_us)]
                .map(|(name, x, y)| plain(&format!("{class} {name}"), "us", x, y))
        })
        .collect()
}

fn warnings(a: &RunReport, b: &RunReport) -> Vec<String> {
    let mut out = Vec::new();
    let mut differ = |differs: bool, what: String| {
        if differs {
            out.push(what);
        }
    };
    let machine =
        |r: &RunReport| format!("{} x {}, kernel {}", r.machine.cpus, r.machine.cpu, r.machine.kernel);
    differ(machine(a) != machine(b), format!("The machines differ: {} against {}.", machine(a), machine(b)));
    differ(
        a.kind != b.kind || a.name != b.name,
        format!("The scenarios differ: {} against {}.", a.name, b.name),
    );
    differ(
        a.name == b.name && a.scenario != b.scenario,
        format!("Both ran {}, but its text differs.", a.name),
    );
    differ(a.seed != b.seed, format!("The seeds differ ({} against {}): other people came.", a.seed, b.seed));
    let target = |r: &RunReport| {
        format!(
            "{}, {}, answers wait for {}",
            plural(r.target.cores.into(), "core"),
            plural(r.target.seats, "seat"),
            r.target.durability
        )
    };
    differ(target(a) != target(b), format!("The servers differ: {} against {}.", target(a), target(b)));
    let load = |r: &RunReport| {
        format!(
            "{} over {}, {}, depth {}, {} visits/s",
            plural(r.load.connections.into(), "connection"),
            r.load.transport,
            plural(r.load.threads.into(), "thread"),
            r.load.depth,
            number(r.load.rate_per_s)
        )
    };
    differ(load(a) != load(b), format!("The loads differ: {} against {}.", load(a), load(b)));
    let others = |r: &RunReport| ratio(r.series.iter().map(|s| s.others_cpus).sum(), r.series.len() as f64);
    let (x, y) = (others(a), others(b));
    differ(
        (x - y).abs() >= 0.1 || x.max(y) >= 0.5,
        format!(
            "Other processes kept {} and {} CPUs busy: measure on a quiet machine.",
            number(x),
            number(y)
        ),
    );
    for (name, r) in [("first", a), ("second", b)] {
        differ(r.interrupted, format!("The {name} run was ended by hand."));
        differ(
            r.verified.violation_count > 0,
            format!("The {name} run has violations: its figures are worth nothing."),
        );
        differ(!r.doubts.is_empty(), format!("The {name} run is doubtful: {}", r.doubts.join(" ")));
    }
    out
}

fn verdict(changes: &[Change], warnings: &[String]) -> String {
    let named = |judgement: Judgement| {
        let some = changes.iter().filter(|change| change.judgement == judgement);
        some.map(|c| match c.change {
            Some(size) => format!("{} {}", c.what, signed(size)),
            None => c.what.clone(),
        })
        .collect::<Vec<_>>()
        .join(", ")
    };
    let said = [Judgement::Worse, Judgement::Better, Judgement::Changed]
        .map(|judgement| (judgement, named(judgement)))
        .into_iter()
        .filter(|(_, names)| !names.is_empty())
        .map(|(judgement, names)| format!("{}: {names}", judgement.word()))
        .collect::<Vec<_>>()
        .join("; ");
    let tested = changes.iter().any(|change| change.p.is_some());
    let body = match (tested, said.is_empty()) {
        (false, _) => format!("too few seconds to judge (at least {} in each run)", LEAST + 2),
        (true, true) => "nothing changed beyond noise".to_owned(),
        (true, false) => said,
    };
    if warnings.is_empty() {
        body
    } else {
        format!("{body} (with {}: the runs may not be comparable)", plural(warnings.len() as u64, "warning"))
    }
}

fn signed(size: f64) -> String {
    if size < 0.0 { percent(size) } else { format!("+{}", percent(size)) }
}

impl Change {
    fn told(&self, value: f64) -> String {
        match self.unit {
            "us" => micros(value),
            "share" => percent(value),
            unit => format!("{}{unit}", number(value)),
        }
    }
}

impl fmt::Display for Comparison {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "{}\n", self.verdict)?;
        writeln!(out, "A  {}\nB  {}", self.a, self.b)?;
        self.warnings.iter().try_for_each(|warning| writeln!(out, "!  {warning}"))?;
        writeln!(
            out,
            "\n{:<22} {:>11} {:>11} {:>9}  {:<20} {:>7}",
            "", "A", "B", "change", "95 % interval", "p"
        )?;
        for change in &self.changes {
            let size = change.change.map_or("–".to_owned(), signed);
            let interval = change
                .interval
                .map_or(String::new(), |(low, high)| format!("{} to {}", signed(low), signed(high)));
            let p = change
                .p
                .map_or(String::new(), |p| if p < 0.001 { "<0.001".to_owned() } else { format!("{p:.3}") });
            writeln!(
                out,
                "{:<22} {:>11} {:>11} {size:>9}  {interval:<20} {p:>7}  {}",
                change.what,
                change.told(change.a),
                change.told(change.b),
                change.judgement.word()
            )?;
        }
        Ok(())
    }
}
