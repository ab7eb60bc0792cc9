//! What the terminal shows at the end.

use super::absence::{gone_s, interruptions};
use super::capacity::{Question, capacity};
use super::codes::{self, Kind};
use super::lived;
use super::model::{Latency, RunReport};
use super::saturation::Saturation;
use super::tail::{WITHOUT_LATENCY, busiest, tail};
use super::verdict::{Verdict, is_double, sold_out, sold_twice};
use super::words::{count, durable, micros, number, percent, plural, ratio, seconds};
use crate::crowd::{Scenario, Shape};
use std::fmt::Write as _;

/// How many violations are shown; up to a hundred of them are in `report.json`.
const SHOWN: usize = 10;

/// The run in text: the verdict first, then what it rests on. Lines are at most about 100 columns wide, apart
/// from what the run itself put into words.
pub fn summary(report: &RunReport) -> String {
    let saturation = Saturation::of(report);
    let mut out = headline(report);
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

/// The verdict, what to do, and what stands against the run: the first lines of a summary, and of every answer made from it
/// later.
pub fn headline(report: &RunReport) -> String {
    let verdict = Verdict::of(report, &Saturation::of(report));
    let mut out = format!("{}  {}\n", verdict.tone.word(), verdict.line);
    let _ = writeln!(out, "TO DO  {}", capacity(report, &Question::first(report)).act);
    for doubt in &verdict.doubts {
        let _ = writeln!(out, "  ! {doubt}");
    }
    if !report.quick.is_empty() {
        let _ = writeln!(out, "  ! --quick made everything small: {}.", report.quick.join(", "));
    }
    out
}

fn violations(out: &mut String, report: &RunReport) {
    // A seat sold twice is what nobody must miss among other words.
    let (double, other): (Vec<_>, Vec<_>) =
        report.verified.violations.iter().partition(|violation| is_double(violation));
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
        "server       {}: {}, {}, {}; {} in {}",
        target.url,
        plural(target.cores.into(), "core"),
        plural(target.partitions.into(), "partition"),
        durable(&target.durability),
        plural(target.seats, "seat"),
        plural(target.rows.into(), "row")
    );
    let _ = writeln!(
        out,
        "load         {} (users; people take turns on them) over {}, {}, depth {}, {}{}",
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
    let burst = Scenario::parse(&report.scenario)
        .is_ok_and(|scenario| scenario.groups.iter().any(|group| group.arrivals.shape == Shape::Burst));
    let booked = sold_out(report).map_or_else(String::new, |sold_out| format!("; {sold_out}"));
    let booked = format!("and not cancelled{booked}");
    let _ = writeln!(out, "{:<12} {:>12} {:>12}", "", "in all", "per second");
    for (name, sum, what) in [
        ("people", totals.people, "each wants seats, alone or for a party"),
        ("visits", totals.visits, "one person's attempt; who fails may come again"),
        ("visits won", totals.visits_won, "ended with a booking; cancelled later counts, too"),
        ("requests due", totals.intended, "what the visits asked"),
        ("sent", totals.sent, ""),
        ("answered", totals.answered, "refusals included"),
        ("refused", codes::refused(report), "of those"),
        ("unanswered", totals.unanswered, "the server owes them an answer"),
        (
            "hung up on",
            totals.abandoned,
            "the person dropped the connection before the answer, as the scenario has some do",
        ),
        (
            "seats granted",
            totals.seats_granted,
            "held for somebody; given back and granted again counts twice",
        ),
        ("seats booked", totals.seats_booked, &booked),
    ] {
        // The people of a burst have no rate.
        let rate = if burst && ["people", "visits", "visits won"].contains(&name) {
            String::new()
        } else {
            per_s(sum)
        };
        let line = format!("{name:<13} {:>11} {rate:>12}  {what}", count(sum));
        let _ = writeln!(out, "{}", line.trim_end());
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
    let turns = match report.verified.checks.get("fifo") {
        Some(&served) if served > 0 && report.verified.violation_count == 0 => {
            format!(
                "; who was served in queues was looked at {} times: nobody before who came earlier and needs no more",
                count(served)
            )
        }
        _ => String::new(),
    };
    let checks: u64 = report.verified.checks.values().fold(0, |sum, checks| sum.saturating_add(*checks));
    let _ = writeln!(out, "sold twice   {}", sold_twice(report));
    let _ = writeln!(
        out,
        "verified     {} in all, {}{turns}",
        plural(checks, "check"),
        plural(report.verified.violation_count, "violation")
    );
    for line in [lived::people(report), lived::refusals(report)].into_iter().flatten() {
        let _ = writeln!(out, "people       {line}");
    }
    by_code(out, report);
}

/// Refusals, other answers and news, a line each, with what they mean.
fn by_code(out: &mut String, report: &RunReport) {
    let told = codes::told(report);
    let answered = report.totals.answered;
    for (kind, title) in [
        (
            Kind::Refusal,
            format!(
                "refusals: {} of the {} answers ({})",
                count(codes::refused(report)),
                count(answered),
                percent(ratio(codes::refused(report) as f64, answered as f64))
            ),
        ),
        (Kind::Done, "other answers".to_owned()),
        (Kind::News, "news: said unasked, no answers".to_owned()),
    ] {
        let mut of = told.iter().filter(|told| told.kind == kind).peekable();
        if of.peek().is_some() {
            let _ = writeln!(out, "\n{title}");
        }
        for told in of {
            let _ = writeln!(out, "  {:<20} {:>11}  {}", told.name, count(told.count), told.meaning);
        }
    }
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
    let ends = measured.iter().any(|(class, _)| class.starts_with('('));
    for (class, of) in measured {
        let _ = write!(out, "{class:<12} {:>12}", count(of.count));
        for us in [of.p50_us, of.p90_us, of.p99_us, of.p999_us, of.max_us] {
            let _ = write!(out, " {:>9}", micros(us));
        }
        let _ = writeln!(out);
    }
    if ends {
        let _ = writeln!(
            out,
            "Latency counts from when a request was due. (from send): from when it was sent. (left late): from due to sent, \
             by the\nload's own doing. {WITHOUT_LATENCY}"
        );
    }
    for line in [busiest(report), tail(report)].into_iter().flatten() {
        let _ = writeln!(out, "{line}");
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
    if let Some((core, share)) = saturation.busiest {
        if saturation.found.is_empty() {
            let _ = writeln!(out, "saturated    nothing");
        }
        let _ = writeln!(
            out,
            "busiest      shard core {core}, its thread ran for {} of the time at most",
            percent(share)
        );
    }
    if let Some(unseen) = &saturation.unseen {
        let _ = writeln!(out, "unseen       {unseen}");
    }
}
