//! What is on disk.

use crate::made_up;
use frontrow_loadgen::LoadError;
use frontrow_loadgen::report::{History, ReportError, history, read, remember, summary, write};
use std::collections::BTreeMap;
use std::fs;

fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder")
}

#[test]
fn a_run_comes_back_as_it_was_written() {
    let (folder, report) = (folder(), made_up::search());
    let run = folder.path().join("deep/in/run");
    write(&report, &made_up::histograms(), &run).expect("written");
    assert_eq!(read(&run).expect("read"), report);
    assert_eq!(read(&run.join("report.json")).expect("read by its file"), report);
    let mut names: Vec<String> = fs::read_dir(&run)
        .expect("listed")
        .map(|entry| entry.expect("an entry").file_name().into_string().expect("UTF-8"))
        .collect();
    names.sort();
    let expected = [
        "all.hgrm",
        "book.hgrm",
        "claim.hgrm",
        "command.txt",
        "index.html",
        "release.hgrm",
        "report.json",
        "scenario.toml",
        "summary.txt",
    ];
    assert_eq!(names, expected);
    let text = fs::read_to_string(run.join("summary.txt")).expect("there");
    assert!(text.starts_with(&summary(&report)), "{text}");
    assert!(text.contains("\nasked about  "), "and the planner's answer");
}

#[test]
fn no_number_is_lost_to_nan() {
    let (folder, mut report) = (folder(), made_up::report());
    report.duration_s = f64::NAN;
    report.series[0].cores[0].busy = Some(f64::INFINITY);
    report.series[0].p99_us = f64::NAN;
    report.latency.get_mut("claim").expect("claims").curve[0].1 = f64::NEG_INFINITY;
    report.totals.sold_out_at_s = Some(f64::NAN);
    write(&report, &BTreeMap::new(), folder.path()).expect("written");
    let back = read(folder.path()).expect("read");
    assert_eq!((back.duration_s, back.series[0].p99_us, back.totals.sold_out_at_s), (0.0, 0.0, Some(0.0)));
    for name in ["index.html", "summary.txt", "report.json"] {
        let text = fs::read_to_string(folder.path().join(name)).expect("there");
        assert!(!text.contains("NaN") && !text.contains("inf "), "{name}");
    }
}

#[test]
fn other_models_and_damage_are_told_apart() {
    let folder = folder();
    write(&made_up::report(), &BTreeMap::new(), folder.path()).expect("written");
    let path = folder.path().join("report.json");
    let whole = fs::read_to_string(&path).expect("there");
    let found = |text: &str| {
        fs::write(&path, text).expect("changed");
        match read(folder.path()) {
            Err(LoadError::Report(error)) => error,
            other => panic!("{other:?}"),
        }
    };
    let newer = found(&whole.replacen("\"model\": 1", "\"model\": 999", 1));
    assert!(matches!(newer, ReportError::OtherModel { found: 999, .. }), "{newer}");
    assert!(newer.to_string().contains("model 999"), "{newer}");
    let damaged =
        [&whole[..whole.len() / 2], "", "{}", "[]", "\0\u{1}", "{\"model\":1}", "{\"model\":\"1\"}"];
    for text in damaged {
        let error = found(text);
        assert!(matches!(error, ReportError::Damaged { .. }), "{error}");
    }
    fs::remove_file(&path).expect("removed");
    assert!(matches!(read(folder.path()), Err(LoadError::Report(ReportError::Unreadable { .. }))));
}

#[test]
fn a_report_of_an_earlier_day_lacks_what_came_later() {
    let folder = folder();
    write(&made_up::report(), &BTreeMap::new(), folder.path()).expect("written");
    let path = folder.path().join("report.json");
    let text = fs::read_to_string(&path).expect("there");
    let mut json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for later in ["questions", "doubts", "trends", "objective", "found_per_s"] {
        assert!(json.as_object_mut().expect("an object").remove(later).is_some(), "{later}");
    }
    fs::write(&path, json.to_string()).expect("changed");
    assert_eq!(read(folder.path()).expect("read"), made_up::report());
}

#[test]
fn what_cannot_be_written_is_an_error_with_a_remedy_and_harms_nothing() {
    let folder = folder();
    let file = folder.path().join("a-file");
    fs::write(&file, "mine").expect("written");
    let error =
        write(&made_up::report(), &BTreeMap::new(), &file.join("run")).expect_err("a file is no folder");
    assert!(matches!(error, LoadError::Report(ReportError::Unwritable { .. })), "{error:?}");
    assert!(error.to_string().contains("--out"), "{error}");
    assert_eq!(fs::read_to_string(&file).expect("there"), "mine");
}

#[test]
fn history_keeps_every_run_and_survives_a_torn_line() {
    let results = folder();
    let report = made_up::report();
    remember(results.path(), &report, &results.path().join("one")).expect("remembered");
    let lines = results.path().join("history.ndjson");
    let mut torn = fs::read_to_string(&lines).expect("there");
    torn.push_str("{\"started\":\"2026-");
    fs::write(&lines, torn).expect("torn");
    let entry =
        remember(results.path(), &made_up::search(), &results.path().join("two:x")).expect("remembered");
    assert_eq!((entry.folder.as_str(), entry.found_per_s), ("two:x", Some(4200.0)));
    let past = history(results.path()).expect("read");
    assert_eq!(past.damaged, [2]);
    assert_eq!(past.entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(), ["onsale", "steady"]);
    assert!(past.to_string().contains("42 s"), "{past}");
    let index = fs::read_to_string(results.path().join("index.html")).expect("made");
    assert!(index.contains("./two%3Ax/index.html") && index.contains("class=\"spark\""), "{index}");
    crate::pages::well_formed(&index);
}

#[test]
fn no_history_is_an_empty_one() {
    let results = folder();
    assert_eq!(history(results.path()).expect("read"), History::default());
}
