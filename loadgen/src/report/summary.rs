//! What the terminal shows at the end.

use super::absence::{gone_s, interruptions};
use super::model::{Latency, RunReport};
use super::saturation::Saturation;
use super::verdict::Verdict;
use super::words::{count, micros, number, percent, plural, ratio, seconds};
use std::fmt::Write as _;

/// How many violations and codes are shown; all of them are in `report.json`.
const SHOWN: usize = 10;

/// The run in text: the verdict first, then what it rests on. Lines are at most about 100 columns wide, apart
/// from what the run itself put into words.
pub fn summary(report: &RunReport) -> String {
    let saturation = Saturation::of(report);
    let verdict = Verdict::of(report, &saturation);
    let mut out = format!("{}  {}\n", verdict.tone.word(), verdict.line);
    for doubt in &verdict.doubts {
        let _ = writeln!(out, "  ! {doubt}");
    }
    violations(&mut out, report);
    let _ = writeln!(out);
    head(&mut out, report);
    let _ = writeln!(out);
    sums(&mut out, report);
    latencies(&mut out, report);
    steps(&mut out, report);
    for trend in &report.trends {
        let flat = if trend.flat { "flat" } else { "GROWS" };
        let _ = writeln!(
            out,
            "{flat:<12} {}: mean {}, {} per hour; {}",
            trend.what,
            number(trend.mean),
            number(trend.per_hour),
            trend.why
        );
    }
    if gone_s(report).is_none() {
        limits(&mut out, &saturation);
    }
    out
}

fn violations(out: &mut String, report: &RunReport) {
    // A seat sold twice is what nobody must miss among other words.
    let (double, other): (Vec<_>, Vec<_>) =
        report.verified.violations.iter().partition(|violation| violation.contains("two holders at once"));
    for violation in double.into_iter().chain(other).take(SHOWN) {
        let _ = writeln!(out, "  violation: {violation}");
    }
    let more = report.verified.violation_count.saturating_sub(SHOWN as u64);
    if more > 0 {
        let _ = writeln!(out, "  … and {} more", count(more));
    }
}

fn head(out: &mut String, report: &RunReport) {
    let (target, load) = (&report.target, &report.load);
    let _ = writeln!(
        out,
        "run          {} ({:?}), seed {}, {}, {}",
        report.name,
        report.kind,
        report.seed,
        report.started,
        seconds(report.duration_s)
    );
    let _ = writeln!(
        out,
        "server       {}: {}, {}, answers wait for {}; {} in {}",
        target.url,
        plural(target.cores.into(), "core"),
        plural(target.partitions.into(), "partition"),
        target.durability,
        plural(target.seats, "seat"),
        plural(target.rows.into(), "row")
    );
    let _ = writeln!(
        out,
        "load         {} over {}, {}, depth {}, {}{}",
        plural(load.connections.into(), "connection"),
        load.transport,
        plural(load.threads.into(), "thread"),
        load.depth,
        if load.routed { "routed to cores" } else { "not routed" },
        if target.same_machine { ", same machine" } else { ", another machine" }
    );
}

fn sums(out: &mut String, report: &RunReport) {
    let totals = &report.totals;
    let per_s = |sum: u64| number(ratio(sum as f64, report.duration_s));
    let _ = writeln!(out, "{:<12} {:>12} {:>12}", "", "in all", "per second");
    for (name, sum) in [
        ("visits", totals.visits),
        ("visits won", totals.visits_won),
        ("requests due", totals.intended),
        ("sent", totals.sent),
        ("answered", totals.answered),
        ("unanswered", totals.unanswered),
        ("hung up on", totals.abandoned),
        ("seats granted", totals.seats_granted),
        ("seats booked", totals.seats_booked),
    ] {
        let _ = writeln!(out, "{name:<13} {:>11} {:>12}", count(sum), per_s(sum));
    }
    if totals.connect_failed + totals.connections_lost > 0 {
        let _ = writeln!(
            out,
            "connections  {} opened, {} refused, {} lost",
            count(totals.connected),
            count(totals.connect_failed),
            count(totals.connections_lost)
        );
    }
    for interruption in interruptions(report) {
        let _ = writeln!(out, "the server   {interruption}");
    }
    let mut codes: Vec<(&String, &u64)> = totals.codes.iter().collect();
    codes.sort_by(|a, b| b.1.cmp(a.1).then(a.0.cmp(b.0)));
    if !codes.is_empty() {
        let said = codes.iter().take(SHOWN).map(|(name, sum)| format!("{name} {}", count(**sum)));
        let _ = writeln!(out, "answers      {}", said.collect::<Vec<_>>().join(", "));
    }
    let checks: u64 = report.verified.checks.values().fold(0, |sum, checks| sum.saturating_add(*checks));
    let _ = writeln!(
        out,
        "verified     {}, {}",
        plural(checks, "check"),
        plural(report.verified.violation_count, "violation")
    );
}

fn latencies(out: &mut String, report: &RunReport) {
    let measured: Vec<(&str, &Latency)> = report
        .latency
        .iter()
        .map(|(class, latency)| (class.as_str(), latency))
        .chain(report.uncorrected.iter().map(|latency| ("(from send)", latency)))
        .chain(report.lateness.iter().map(|latency| ("(left late)", latency)))
        .filter(|(_, latency)| latency.count > 0)
        .collect();
    if measured.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<12} {:>12} {:>9} {:>9} {:>9} {:>9} {:>9}",
        "latency", "count", "p50", "p90", "p99", "p99.9", "max"
    );
    for (class, of) in measured {
        let _ = write!(out, "{class:<12} {:>12}", count(of.count));
        for us in [of.p50_us, of.p90_us, of.p99_us, of.p999_us, of.max_us] {
            let _ = write!(out, " {:>9}", micros(us));
        }
        let _ = writeln!(out);
    }
}

fn steps(out: &mut String, report: &RunReport) {
    if report.steps.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\n{:<12} {:>12} {:>12} {:>12} {:>9} {:>8}",
        "visits/s", "due/s", "answered/s", "granted/s", "p99", "busy"
    );
    for step in &report.steps {
        let _ = writeln!(
            out,
            "{:<12} {:>12} {:>12} {:>12} {:>9} {:>8}  {}{}{}",
            number(step.rate_per_s),
            number(step.intended_per_s),
            number(step.answered_per_s),
            number(step.granted_per_s),
            micros(step.latency.p99_us),
            percent(step.busy_share),
            if step.met { "met" } else { "missed" },
            if step.why.is_empty() { "" } else { ": " },
            step.why
        );
    }
}

fn limits(out: &mut String, saturation: &Saturation) {
    let _ = writeln!(out);
    for saturated in &saturation.found {
        let _ = writeln!(
            out,
            "saturated    {} since {}: {}",
            saturated.resource.name(),
            seconds(saturated.since_s),
            saturated.evidence
        );
    }
    if let (Some((core, share)), true) = (saturation.busiest, saturation.found.is_empty()) {
        let _ =
            writeln!(out, "saturated    nothing; the busiest second was core {core} at {}", percent(share));
    }
    if let Some(unseen) = &saturation.unseen {
        let _ = writeln!(out, "unseen       {unseen}");
    }
}
