//! What people see.

use crate::made_up;
use frontrow_loadgen::report::{
    Question, RunKind, RunReport, Sample, Saturation, Tone, Totals, Verdict, Verified, page, summary,
};

/// Checks that every tag of a page is closed in order, every `&` begins a reference, and nothing is loaded.
pub(crate) fn well_formed(page: &str) {
    let mut open: Vec<&str> = Vec::new();
    let body = page.strip_prefix("<!doctype html>").expect("a doctype");
    for piece in body.split('<').skip(1) {
        let (tag, text) = piece.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '/']).find(|part| !part.is_empty()).expect("a name");
        assert_eq!(tag.matches('"').count() % 2, 0, "quotes in <{tag}>");
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "closed in order");
        } else if !tag.ends_with('/') {
            open.push(name);
        }
        for reference in text.split('&').skip(1).chain(tag.split('&').skip(1)) {
            let entity = reference.split(';').next().unwrap_or_default();
            assert!(["amp", "lt", "gt", "quot", "#39"].contains(&entity), "&{entity}");
        }
        for attribute in ["src=", "@import", "url(", "onload", "onclick"] {
            assert!(!tag.contains(attribute), "{attribute} in <{tag}>");
        }
        if let Some((_, address)) = tag.split_once("href=\"") {
            assert!(address.starts_with("./"), "<{tag}> leads outside");
        }
        assert!(!["script", "link", "iframe", "img", "object"].contains(&name), "<{tag}>");
    }
    assert!(open.is_empty(), "left open: {open:?}");
    let style =
        page.split_once("<style>").and_then(|(_, rest)| rest.split_once("</style>")).expect("a style").0;
    assert!(!style.contains("url(") && !style.contains("@import") && !style.contains("//"), "outside style");
    assert!(!page.contains("NaN") && !page.contains("\"inf"), "every number is one");
}

#[test]
fn the_page_is_whole_and_has_every_plot() {
    let page = page(&made_up::report());
    well_formed(&page);
    for title in [
        "Latency by percentile",
        "Rate",
        "Latency over time",
        "Core heat",
        "Seats",
        "Waiting",
        "Memory",
        "Processors",
        "Scalability over requests in flight",
        "Scalability over cores",
    ] {
        assert!(page.contains(&format!("<h3>{title}</h3>")), "{title}");
    }
    assert_eq!(page.matches("<figcaption>").count(), page.matches("<figure>").count());
    let verdict =
        page.find("50,000 seats sold out after 42 s; 0 violations; p99 of a claim").expect("the verdict");
    assert!(verdict < page.find("<h2>").expect("the rest"), "the verdict comes first");
    assert!(page.contains("500,000 buyers for 50,000 seats within 10 min: "), "the capacity answer");
    let search = super::pages::page(&made_up::search());
    well_formed(&search);
    assert!(search.contains("<h3>Steps</h3>") && search.contains("up to 4,200 visits/s meet p99&lt;=5ms"));
}

#[test]
fn names_are_texts_and_nothing_else() {
    let mut report = made_up::report();
    let evil = "<script>alert(1)</script>\"'&\u{0}";
    report.name = evil.to_owned();
    report.command = evil.to_owned();
    report.scenario = evil.to_owned();
    report.objective = Some(evil.to_owned());
    report.doubts = vec![evil.to_owned()];
    report.machine.cpu = evil.to_owned();
    report.target.event_name = evil.to_owned();
    report.verified.violations = vec![evil.to_owned()];
    report.totals.codes.insert(evil.to_owned(), 1);
    report.latency.insert(evil.to_owned(), report.latency["all"].clone());
    let page = page(&report);
    well_formed(&page);
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#39;&amp;"));
}

#[test]
fn the_planners_own_questions_are_answered_on_the_page() {
    let mut report = made_up::report();
    report.questions = vec![Question { buyers: 12_345, seats: 678, minutes: 9.0, ..Question::default() }];
    assert!(page(&report).contains("12,345 buyers for 678 seats within 9 min: "));
}

/// A run that has nothing of what can be missing.
fn bare() -> RunReport {
    let mut report = made_up::report();
    report.series.clear();
    report.latency.clear();
    report.uncorrected = None;
    report.scaling.clear();
    report.totals = Totals::default();
    report.verified = Verified::default();
    report.duration_s = 0.0;
    report.series_step_s = 0.0;
    report
}

#[test]
fn a_run_without_anything_still_has_a_page() {
    for kind in [RunKind::Run, RunKind::Ramp, RunKind::Search, RunKind::Soak] {
        let mut report = bare();
        report.kind = kind;
        let page = page(&report);
        well_formed(&page);
        assert!(!page.contains("<figure>") && page.contains("Nothing was verified."));
        let summary = summary(&report);
        assert!(summary.starts_with("DOUBTFUL") && !summary.contains("NaN"), "{summary}");
    }
    let mut one = made_up::report();
    one.series.truncate(1);
    well_formed(&page(&one));
}

#[test]
fn long_runs_and_many_cores_stay_small() {
    let mut report = made_up::report();
    let sample = report.series[5].clone();
    report.series = (1..=3600)
        .map(|second| Sample {
            t_s: f64::from(second),
            cores: vec![sample.cores[0].clone(); 32],
            ..sample.clone()
        })
        .collect();
    let page = page(&report);
    well_formed(&page);
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
}

#[test]
fn the_summary_is_as_it_was() {
    let golden = include_str!("summary.txt");
    assert_eq!(summary(&made_up::report()), golden, "if this is meant, make tests/report/summary.txt anew");
}

#[test]
fn verdicts_say_what_stands_against_a_run() {
    let mut report = made_up::report();
    let verdict = |report: &RunReport| Verdict::of(report, &Saturation::of(report));
    assert_eq!(verdict(&report).tone, Tone::Good);
    report.interrupted = true;
    assert_eq!(verdict(&report).tone, Tone::Doubtful);
    assert!(summary(&report).contains("ended by hand after 60 s"));
    report.verified.violation_count = 3;
    report.verified.violations = vec!["seat 1/2/3 has two owners".to_owned()];
    assert_eq!(verdict(&report).tone, Tone::Bad);
    assert!(summary(&report).starts_with("FAILED  50,000 seats sold out after 42 s; 3 VIOLATIONS; "));
    assert!(summary(&report).contains("violation: seat 1/2/3 has two owners"));
}

#[test]
fn seats_that_are_given_back_after_a_hall_was_sold_out_are_told_everywhere() {
    let mut report = made_up::report();
    report.totals.seats_booked = 49_997;
    report.series.last_mut().expect("some").seats_held = 0;
    let words = "sold out after 42 s; 3 seats given back later are free";
    let (text, page) = (summary(&report), page(&report));
    assert!(text.starts_with(&format!("OK  50,000 seats {words}; 0 violations; ")), "{text}");
    let booked = text.lines().find(|line| line.starts_with("seats booked")).expect("a line");
    assert!(booked.contains("49,997") && booked.ends_with(words), "{booked}");
    for tile in [
        "<span>seats booked</span><strong>49,997 of 50,000 seats</strong>",
        "<span>sold out after</span><strong>42 s</strong>",
        "<span>given back later</span><strong>3 seats</strong>",
    ] {
        assert!(page.contains(tile), "{tile}");
    }
    assert!(
        page.contains(&format!("Booked meets all seats when the hall is sold out. This one was {words}."))
    );
    assert!(
        page.contains(">all seats<") && !page.contains(">seats on sale<"),
        "the line is called what it is"
    );
    // Somebody holds one of them: it is not free.
    report.series.last_mut().expect("some").seats_held = 1;
    let held = summary(&report);
    assert!(held.contains("; 3 seats given back later are not sold again; "), "{held}");
}
