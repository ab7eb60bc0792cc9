//! The whole bench with tiny inputs: everything is verified, nothing is timed.

use clap::Parser;
use frontrow_loadgen::table::{Report, Subject, TableOptions, run as run_table};
use frontrow_services::kafka;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: TableOptions,
}

fn quick(engine: &str, more: &[&str]) -> (Report, tempfile::TempDir) {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let data = folder.path().join("data");
    let out = folder.path().join("out");
    let line = ["table", "--quick", "--bookings", "--engine", engine, "--data"];
    let paths = [data.to_str().expect("UTF-8"), "--out", out.to_str().expect("UTF-8")];
    let options = Line::parse_from(line.into_iter().chain(paths).chain(more.iter().copied())).options;
    let report = run_table(options.clone(), "quick".to_owned(), |_| ()).expect("a verified run");
    report.write(&options.out_folder(&report.date).expect("a folder was given")).expect("written");
    assert_eq!(std::fs::read_dir(&data).expect("made").count(), 0, "the servers' data is removed");
    (report, folder)
}

fn check(report: &Report) {
    assert_eq!(report.depths.iter().map(|depth| depth.depth).collect::<Vec<_>>(), [1, 16]);
    for row in report.depths.iter().flat_map(|depth| &depth.rows) {
        assert_eq!(row.rounds.len(), 2);
        for run in &row.rounds {
            assert_eq!(run.claims_per_s > 0.0, row.subject != Subject::Echo, "{run:?}");
            assert!(run.refused.is_empty(), "{run:?}");
            assert!(run.requests_per_s > 0.0 && run.p50_us <= run.p999_us, "{run:?}");
        }
    }
}

#[test]
fn a_quick_table_is_verified_and_written() {
    let (report, folder) = quick("auto", &[]);
    check(&report);
    let read = |name: &str| std::fs::read_to_string(folder.path().join("out").join(name)).expect(name);
    let again: Report = serde_json::from_str(&read("report.json")).expect("the report reads back");
    assert_eq!(again.depths.len(), report.depths.len());
    let table = read("table.md");
    assert_eq!(table.matches("| durable |").count(), 2, "{table}");
    assert!(table.contains("All replies verified"), "{table}");
    assert_eq!(read("command.txt"), "quick\n");
    assert!(read("machine.txt").contains("kernel"));
}

#[test]
fn a_quick_table_on_epoll() {
    let (report, _folder) = quick("epoll", &[]);
    check(&report);
    assert!(report.engine.contains("epoll"), "{}", report.engine);
}

/// With a real Kafka; where there is none it is left out loudly, and where `CI` is set, that is a failure.
#[test]
fn a_quick_table_with_everything_told_to_kafka() {
    match kafka::ready() {
        Ok(()) => {}
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("\n!!! LEFT OUT, NOT TESTED: {error}\n");
            return;
        }
        Err(error) => panic!("{error}"),
    }
    let (report, folder) = quick("auto", &["--kafka"]);
    check(&report);
    let rounds = || report.depths.iter().flat_map(|depth| &depth.rows).flat_map(|row| &row.rounds);
    assert_eq!(rounds().filter(|run| run.told_after_s.is_some()).count(), 4, "each was waited for");
    let table = std::fs::read_to_string(folder.path().join("out/table.md")).expect("a table");
    assert!(
        table.contains("with every change told to Kafka") && table.contains("All of it was told"),
        "{table}"
    );
}
