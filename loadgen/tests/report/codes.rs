//! The tables of refusals, other answers and news.

use crate::made_up;
use frontrow_loadgen::report::{RunReport, page, summary};

/// The lines of a summary's table under `title`: name and count.
fn table(report: &RunReport, title: &str) -> Vec<(String, u64)> {
    let text = summary(report);
    let lines = text.lines().skip_while(|line| !line.starts_with(title)).skip(1);
    let rows = lines.take_while(|line| line.starts_with("  ")).map(|line| {
        let mut words = line.split_whitespace();
        let name = words.next().expect("a name").to_owned();
        (name, words.next().expect("a count").replace(',', "").parse().expect("a number"))
    });
    rows.collect()
}

fn sum(rows: &[(String, u64)]) -> u64 {
    rows.iter().map(|(_, count)| count).sum()
}

#[test]
fn every_answer_that_is_no_success_is_among_the_refusals() {
    let report = made_up::report();
    let (refusals, others) = (table(&report, "refusals: "), table(&report, "other answers"));
    assert!(refusals.contains(&("expired".to_owned(), 208)), "{refusals:?}");
    assert_eq!(sum(&refusals) + sum(&others), report.totals.answered);
    let refused: u64 = report.series.iter().map(|second| second.refused).sum();
    assert_eq!(sum(&refusals), refused, "and none is there that is none");
    assert_eq!(table(&report, "news: "), [("expired".to_owned(), 312)]);
    let row = |what: &str, count: &str| {
        format!("<td>expired</td><td class=\"words\">{what}</td><td class=\"n\">{count}</td>")
    };
    let page = page(&report);
    assert!(page.contains(&row("refusal", "208")) && page.contains(&row("news", "312")));
}

#[test]
fn reports_that_had_answers_and_news_in_one_sum_are_taken_apart() {
    let mut old = made_up::report();
    old.totals.codes.remove("news:expired");
    old.totals.codes.insert("expired".to_owned(), 520);
    assert_eq!(summary(&old), summary(&made_up::report()));
}
