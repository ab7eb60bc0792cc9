//! The page of one run: the verdict, the planner's answer, plots, tables.

use super::capacity::{Capacity, Question, capacity};
use super::chart::figures;
use super::codes;
use super::lived;
use super::model::{Latency, RunReport};
use super::style::document;
use super::svg::escape;
use super::tail::{WITHOUT_LATENCY, busiest, tail};
use super::verdict::{Verdict, sold_twice};
use super::words::{count, durable, micros, number, of_all, percent, plural, ratio, seconds};
use std::fmt::Write as _;

/// The words that page and summary use, once.
const WORDS: &str = "A person wants seats, alone or for a party. A visit is one attempt of theirs; who fails may come again, and \
    is the same person. A visit makes requests. A connection is one user at the server; the people take turns on them. A \
    buyer, in the planner's question, is a person who wants seats, whether they get some or not. News are said unasked: a better \
    place in a queue, an offer, a hold that ran out. Depth is how many requests a connection may have in flight at once. Not \
    routed: connections are opened at any shard core, which hands on what belongs to another. A fence is the number that proves who \
    holds a seat: older ones are refused. A party is passed when one that came later is served before it.";

/// One HTML page that needs nothing else: no script, no font, no picture from outside.
pub fn page(report: &RunReport) -> String {
    let asked =
        if report.questions.is_empty() { vec![Question::of(report)] } else { report.questions.clone() };
    let answers: Vec<Capacity> = asked.iter().map(|question| capacity(report, question)).collect();
    let mut body = String::new();
    let Some(first) = answers.first() else { return document(&report.name, &body) };
    let verdict = Verdict::of(report, &first.saturation);
    head(&mut body, report, &verdict, &first.act);
    tiles(&mut body, report);
    answer(&mut body, &answers);
    body.push_str("<section><h2>Plots</h2>\n<div class=\"plots\">\n");
    for figure in figures(report, &first.by_depth, &first.by_cores) {
        let _ = writeln!(
            body,
            "<figure><h3>{}</h3><div class=\"wide\">{}</div><figcaption>{}</figcaption></figure>",
            figure.title,
            figure.picture,
            escape(&figure.caption)
        );
    }
    body.push_str("</div></section>\n");
    latencies(&mut body, report);
    steps(&mut body, report);
    trends(&mut body, report);
    answers_by_name(&mut body, report);
    checks(&mut body, report);
    about(&mut body, report);
    document(&format!("{}: {}", report.name, verdict.line), &body)
}

fn head(body: &mut String, report: &RunReport, verdict: &Verdict, act: &str) {
    let _ = writeln!(
        body,
        "<header><h1>Frontrow load report: {} · {}</h1>\n<p class=\"verdict {}\"><b>{}</b>{}</p>",
        escape(&report.name),
        escape(&report.started),
        verdict.tone.class(),
        verdict.tone.word(),
        escape(&verdict.line)
    );
    let _ = writeln!(body, "<p class=\"lead\"><b>To do:</b> {}</p>", escape(act));
    for doubt in &verdict.doubts {
        let _ = writeln!(body, "<p class=\"doubt\">{}</p>", escape(doubt));
    }
    if !report.quick.is_empty() {
        let small = report.quick.join(", ");
        let _ = writeln!(body, "<p class=\"doubt\">--quick made everything small: {}.</p>", escape(&small));
    }
    for violation in report.verified.violations.iter().take(20) {
        let _ = writeln!(body, "<p class=\"wrong\">{}</p>", escape(violation));
    }
    body.push_str("</header>\n");
}

fn tiles(body: &mut String, report: &RunReport) {
    let totals = &report.totals;
    let per_s = |sum: u64| format!("{}/s", number(ratio(sum as f64, report.duration_s)));
    body.push_str("<div class=\"tiles\">\n");
    let all = report.latency.get("all").cloned().unwrap_or_default();
    let seats = report.target.seats;
    let back = seats.saturating_sub(totals.seats_booked);
    let sold_out = totals.sold_out_at_s.map(|at| ("sold out after", seconds(at)));
    let later = sold_out.as_ref().filter(|_| back > 0).map(|_| ("given back later", plural(back, "seat")));
    let booked = if seats > 0 { of_all(totals.seats_booked, seats) } else { count(totals.seats_booked) };
    let first = [Some(("seats booked", booked)), sold_out, later].into_iter().flatten();
    for (name, value) in first.chain([
        ("people", count(totals.people)),
        ("visits won", format!("{} of {}", count(totals.visits_won), count(totals.visits))),
        ("requests answered", count(totals.answered)),
        ("answered on average", per_s(totals.answered)),
        ("median answer", micros(all.p50_us)),
        ("p99 answer", micros(all.p99_us)),
        ("unanswered", count(totals.unanswered)),
        ("violations", count(report.verified.violation_count)),
    ]) {
        let _ = writeln!(body, "<div class=\"tile\"><span>{name}</span><strong>{value}</strong></div>");
    }
    body.push_str("</div>\n");
    let _ = writeln!(body, "<p>Sold twice: {}.</p>", escape(&sold_twice(report)));
    for line in [lived::people(report), lived::refusals(report)].into_iter().flatten() {
        let _ = writeln!(body, "<p>{}</p>", escape(&line));
    }
    let _ = writeln!(body, "<p>{}</p>", escape(WORDS));
}

fn answer(body: &mut String, answers: &[Capacity]) {
    body.push_str("<section><h2>What it held, and what it will hold</h2>\n");
    if let Some(first) = answers.first().filter(|first| !first.played.is_empty()) {
        let _ = writeln!(body, "<div class=\"answer\"><p>{}</p></div>", escape(&first.played));
    }
    for of in answers {
        let voice = if of.firm { "answer" } else { "answer open" };
        let _ = writeln!(body, "<div class=\"{voice}\"><p>{}</p>", escape(&of.sentence));
        for more in &of.more {
            let _ = writeln!(body, "<p>{}</p>", escape(more));
        }
        for line in [&of.connections, &of.sure].into_iter().filter(|line| !line.is_empty()) {
            let _ = writeln!(body, "<p>{}</p>", escape(line));
        }
        if of.grounds.is_empty() && of.caveats.is_empty() {
            body.push_str("</div>\n");
            continue;
        }
        body.push_str("<ul>\n");
        for ground in &of.grounds {
            let _ = writeln!(body, "<li>{}</li>", escape(ground));
        }
        for caveat in &of.caveats {
            let _ = writeln!(body, "<li class=\"care\">{}</li>", escape(caveat));
        }
        body.push_str("</ul></div>\n");
    }
    let Some(first) = answers.first().filter(|first| !first.played.is_empty()) else {
        body.push_str("</section>\n");
        return;
    };
    body.push_str("<h3>What saturates first</h3><ul>\n");
    for saturated in &first.saturation.found {
        let _ = writeln!(
            body,
            "<li><strong>{}</strong> since {}: {}</li>",
            escape(&saturated.resource.name()),
            seconds(saturated.since_s),
            escape(&saturated.evidence)
        );
    }
    match (first.saturation.busiest, first.saturation.found.is_empty()) {
        (Some((core, share)), true) => {
            let _ = writeln!(
                body,
                "<li>In this run nothing did. The busiest moment was shard core {core} at {}.</li>",
                percent(share)
            );
        }
        (Some((core, share)), false) => {
            let _ =
                writeln!(body, "<li>The busiest core was core {core}, at {} at most.</li>", percent(share));
        }
        (None, true) => body.push_str("<li>Nothing that could be seen.</li>\n"),
        _ => {}
    }
    if let Some(unseen) = &first.saturation.unseen {
        let _ = writeln!(body, "<li>{}</li>", escape(unseen));
    }
    for of in answers.iter().filter(|of| !of.first.is_empty()) {
        let _ = writeln!(body, "<li>{}</li>", escape(&of.first));
    }
    for (over, fit) in [("requests in flight", &first.by_depth), ("cores", &first.by_cores)] {
        if let Some(words) = fit.words() {
            let _ = writeln!(body, "<li>Scalability over {over}: {}</li>", escape(&words));
        }
    }
    body.push_str("</ul></section>\n");
}

/// A table; the first column is words, the others numbers.
fn table(body: &mut String, title: &str, heads: &[&str], rows: &[Vec<String>]) {
    if rows.is_empty() {
        return;
    }
    let _ = write!(body, "<section><h2>{title}</h2><div class=\"wide\"><table><thead><tr>");
    for (place, head) in heads.iter().enumerate() {
        let _ = write!(body, "<th{}>{head}</th>", class(place, head));
    }
    body.push_str("</tr></thead><tbody>\n");
    for row in rows {
        body.push_str("<tr>");
        for (place, (cell, head)) in row.iter().zip(heads).enumerate() {
            let _ = write!(body, "<td{}>{}</td>", class(place, head), escape(cell));
        }
        body.push_str("</tr>\n");
    }
    body.push_str("</tbody></table></div></section>\n");
}

fn class(place: usize, head: &str) -> &'static str {
    match (place, head) {
        (0, _) => "",
        (_, "why" | "what" | "meaning") => " class=\"words\"",
        _ => " class=\"n\"",
    }
}

fn latencies(body: &mut String, report: &RunReport) {
    let row = |name: &str, of: &Latency| {
        let shown = [of.mean_us, of.p50_us, of.p90_us, of.p99_us, of.p999_us, of.p9999_us, of.max_us];
        [name.to_owned(), count(of.count)].into_iter().chain(shown.map(micros)).collect::<Vec<_>>()
    };
    let mut rows: Vec<Vec<String>> =
        report.latency.iter().filter(|(_, of)| of.count > 0).map(|(class, of)| row(class, of)).collect();
    rows.extend(report.uncorrected.iter().map(|of| row("all, from when sent (uncorrected)", of)));
    rows.extend(report.lateness.iter().map(|of| row("from due to sent, by the load's own doing", of)));
    table(
        body,
        "Latency from when a request was due",
        &["class", "count", "mean", "p50", "p90", "p99", "p99.9", "p99.99", "max"],
        &rows,
    );
    let lines = [Some(WITHOUT_LATENCY.to_owned()), busiest(report), tail(report)];
    for line in lines.into_iter().flatten() {
        let _ = writeln!(body, "<p>{}</p>", escape(&line));
    }
}

fn steps(body: &mut String, report: &RunReport) {
    let rows: Vec<Vec<String>> = report
        .steps
        .iter()
        .map(|step| {
            vec![
                number(step.rate_per_s),
                number(step.intended_per_s),
                number(step.answered_per_s),
                number(step.granted_per_s),
                micros(step.latency.p50_us),
                micros(step.latency.p99_us),
                percent(step.busy_share),
                if step.met { "met" } else { "missed" }.to_owned(),
                step.why.clone(),
            ]
        })
        .collect();
    let heads = ["visits/s", "due/s", "answered/s", "granted/s", "p50", "p99", "busy", "objective", "why"];
    table(body, "Steps in numbers", &heads, &rows);
}

fn trends(body: &mut String, report: &RunReport) {
    let rows: Vec<Vec<String>> = report
        .trends
        .iter()
        .map(|trend| {
            vec![
                trend.what.clone(),
                number(trend.mean),
                number(trend.per_hour),
                format!("{} to {}", number(trend.low), number(trend.high)),
                if trend.flat { "flat" } else { "GROWS" }.to_owned(),
                trend.why.clone(),
            ]
        })
        .collect();
    table(
        body,
        "Is anything growing?",
        &["what", "mean", "per hour", "95 % interval", "trend", "why"],
        &rows,
    );
}

fn answers_by_name(body: &mut String, report: &RunReport) {
    let (answered, refused) = (report.totals.answered, codes::refused(report));
    let rows: Vec<Vec<String>> = codes::told(report)
        .into_iter()
        .map(|told| {
            vec![
                told.name.to_owned(),
                told.kind.word().to_owned(),
                count(told.count),
                told.meaning.to_owned(),
            ]
        })
        .collect();
    if rows.is_empty() {
        return;
    }
    table(body, "Answers and news", &["code", "what", "count", "meaning"], &rows);
    let _ = writeln!(
        body,
        "<p>{} of the {} answers were refusals ({}). News are said unasked and answer no request.</p>",
        count(refused),
        count(answered),
        percent(ratio(refused as f64, answered as f64))
    );
}

/// What a check makes sure of.
fn what_for(check: &str) -> &'static str {
    match check {
        "one_owner" => "No seat has two holders at once",
        "seats_asked" => "Granted is what was asked: these seats, so many, next to each other",
        "fence" => "The number that proves a hold (its fence) is of this place and time",
        "fresh_token" => "No fence is given out twice",
        "expiry" => "A hold ends no sooner than was said, and nothing is booked after it",
        "own_hold" => "Who holds seats is not refused what they may do with them",
        "answered_once" => "An answer is to a request that was asked, and only one",
        "repeats" => "Only what was asked again is answered as a repetition",
        "fifo" => "Nobody is served before who came earlier and needs no more",
        "passes" => "Nobody is passed in a queue more often than the event allows",
        "sense" => "An answer is one that the request can have",
        "final_state" => "At the end each seat is at the server what its holder was told",
        "winners" => "As many seats are booked as winners were told",
        _ => "",
    }
}

fn checks(body: &mut String, report: &RunReport) {
    let rows: Vec<Vec<String>> = report
        .verified
        .checks
        .iter()
        .map(|(name, sum)| vec![name.clone(), count(*sum), what_for(name).to_owned()])
        .collect();
    table(body, "What was verified", &["check", "times", "what"], &rows);
}

/// What other programs took of the machine that the load ran on.
fn others(report: &RunReport) -> String {
    // Reports of earlier versions have samples of a moment, in which a hundredth of a second looks like many CPUs.
    let all = || report.series.iter().map(|sample| sample.others_cpus.min(report.machine.cpus as f64));
    let mean = ratio(all().sum(), report.series.len() as f64);
    format!(
        "other programs took {} of {} at most, {} in the mean",
        number(all().fold(0.0, f64::max)),
        plural(report.machine.cpus as u64, "CPU"),
        number(mean)
    )
}

fn about(body: &mut String, report: &RunReport) {
    let (target, load, machine) = (&report.target, &report.load, &report.machine);
    let server = format!(
        "{}, {}, {}, {}, {} as the load",
        target.url,
        plural(target.cores.into(), "core"),
        plural(target.partitions.into(), "partition"),
        durable(&target.durability),
        if target.same_machine { "on the same machine" } else { "not on the same machine" }
    );
    let hall = format!(
        "{} (event {}): {} in {} of {}",
        target.event_name,
        target.event,
        plural(target.seats, "seat"),
        plural(target.rows.into(), "row"),
        plural(target.sections.into(), "section")
    );
    let loaded = format!(
        "{} over {}, {}, depth {}, {}, seed {}",
        plural(load.connections.into(), "connection"),
        load.transport,
        plural(load.threads.into(), "thread"),
        load.depth,
        if load.routed { "routed to cores" } else { "not routed" },
        report.seed
    );
    let virtualised = if machine.virtualised { ", virtual" } else { "" };
    let box_ = format!(
        "{} x {}{virtualised}, {} MiB, kernel {}, data on {}, load average {}",
        machine.cpus,
        machine.cpu,
        machine.memory_mib,
        machine.kernel,
        machine.filesystem,
        machine.load_average
    );
    body.push_str("<section><h2>How it was run</h2><dl>\n");
    for (name, value) in [
        ("command", &report.command),
        ("commit", &report.commit),
        ("server", &server),
        ("hall", &hall),
        ("load", &loaded),
        ("machine", &box_),
        ("others", &others(report)),
        ("lasted", &seconds(report.duration_s)),
    ] {
        let _ = writeln!(body, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    }
    body.push_str("</dl>\n");
    if !report.scenario.is_empty() {
        let _ = writeln!(
            body,
            "<details><summary>The scenario</summary><pre>{}</pre></details>",
            escape(&report.scenario)
        );
    }
    body.push_str("</section>\n<footer>Everything here is made from report.json in the same folder; the .hgrm files are for HdrHistogram's plotter.</footer>\n");
}
