//! Two runs.

use crate::made_up::{self, Noise};
use frontrow_loadgen::report::{Comparison, Judgement, RunReport, compare};

/// A steady run at `rate` answers per second.
fn steady(rate: f64, seed: u64) -> RunReport {
    let (mut report, mut noise) = (made_up::report(), Noise(seed));
    for sample in &mut report.series {
        sample.intended = rate as u64;
        sample.answered = (rate * noise.about(0.05)) as u64;
        sample.granted = (rate * 0.2 * noise.about(0.05)) as u64;
        sample.refused = sample.answered / 4;
        sample.p50_us = 400.0 * noise.about(0.05);
        sample.p99_us = 2_000.0 * noise.about(0.1);
        sample.server_cpus = Some(1.0 * noise.about(0.03));
        sample.others_cpus = 0.05;
    }
    report
}

fn judged(comparison: &Comparison, what: &str) -> Judgement {
    comparison.changes.iter().find(|change| change.what == what).expect("compared").judgement
}

#[test]
fn two_draws_of_the_same_are_noise() {
    for seed in 1..=5 {
        let comparison = compare(&steady(10_000.0, seed), &steady(10_000.0, seed + 100));
        assert_eq!(judged(&comparison, "answered"), Judgement::Noise, "{comparison}");
        assert_eq!(judged(&comparison, "p99 of a second"), Judgement::Noise, "{comparison}");
        assert!(comparison.warnings.is_empty(), "{comparison}");
    }
}

#[test]
fn a_tenth_more_or_less_is_found() {
    let (a, b) = (steady(10_000.0, 1), steady(11_000.0, 2));
    let more = compare(&a, &b);
    assert_eq!(judged(&more, "answered"), Judgement::Better, "{more}");
    let answered = &more.changes[0];
    let (low, high) = answered.interval.expect("tested");
    assert!(low < 0.1 && 0.1 < high && low > 0.05 && high < 0.15, "{more}");
    assert_eq!(judged(&more, "server CPU per answer"), Judgement::Better, "{more}");
    let less = compare(&b, &a);
    assert_eq!(judged(&less, "answered"), Judgement::Worse, "{less}");
    assert!(less.verdict.contains("WORSE: answered"), "{less}");
    let json = serde_json::to_value(&less).expect("JSON");
    assert_eq!(json["changes"][0]["judgement"], "worse");
}

#[test]
fn what_makes_runs_incomparable_is_said() {
    let (a, mut b) = (steady(10_000.0, 1), steady(10_000.0, 2));
    b.machine.cpus = 2;
    b.seed = 43;
    b.scenario.push_str("depth = 9\n");
    b.series.iter_mut().for_each(|sample| sample.others_cpus = 1.5);
    b.interrupted = true;
    let said = compare(&a, &b).warnings.join("\n");
    for expected in ["machines differ", "seeds differ", "its text differs", "quiet machine", "ended by hand"]
    {
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn short_and_empty_runs_are_not_judged() {
    let (mut a, b) = (steady(10_000.0, 1), steady(20_000.0, 2));
    a.series.truncate(5);
    let short = compare(&a, &b);
    assert_eq!(judged(&short, "answered"), Judgement::Untested, "{short}");
    a.series.clear();
    a.latency.clear();
    let empty = compare(&a, &b);
    assert!(empty.changes.is_empty() && empty.verdict.contains("too few"), "{empty}");
    assert!(!compare(&a, &a).to_string().contains("NaN"));
}
