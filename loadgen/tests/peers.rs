//! Peers with tiny inputs: everything that is installed is started, loaded and verified; nothing is timed.

use clap::Parser;
use frontrow_loadgen::LoadError;
use frontrow_loadgen::peers::{PeersOptions, PeersReport, run};
use std::io::Write as _;
use std::path::Path;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    options: PeersOptions,
}

/// A verified and written run of a few subjects; `None`, and a word about it, if they are not installed.
fn quick(only: &str) -> Option<PeersReport> {
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (data, out) = (folder.path().join("data"), folder.path().join("out"));
    let line = ["peers", "--quick", "--only", only, "--data", &text(&data), "--out", &text(&out)];
    let options = Line::parse_from(line).options;
    let report = match run(options.clone(), "quick".to_owned(), |_| ()) {
        Ok(report) => report,
        Err(missing @ LoadError::Missing(_)) => {
            assert!(missing.to_string().contains("apt-get install redis-server postgresql"), "{missing}");
            // Past the test runner, which keeps what a passing test prints to itself.
            let _ = writeln!(std::io::stderr(), "\nSKIPPED, AND SO NOT TESTED: {missing}\n");
            return None;
        }
        Err(error) => panic!("{error}"),
    };
    assert_eq!(std::fs::read_dir(&data).expect("made").count(), 0, "the servers' data is removed");
    report.write(&options.out_folder(&report.date).expect("a folder was given")).expect("written");
    let read = |name: &str| std::fs::read_to_string(out.join(name)).expect(name);
    let again: PeersReport = serde_json::from_str(&read("report.json")).expect("the report reads back");
    assert_eq!(again.ratios.len(), report.ratios.len());
    assert!(read("table.md").contains("All replies verified"));
    Some(report)
}

fn check(report: &PeersReport, subjects: &[&str], may_refuse: &[&str]) {
    for depth in &report.depths {
        let names: Vec<_> = depth.rows.iter().map(|row| row.subject.name()).collect();
        assert_eq!(names, subjects, "depth {}", depth.depth);
        for row in &depth.rows {
            assert_eq!(row.rounds.len(), 2);
            let name = row.subject.name();
            // How much fits into a short window is up to the disk; that something was served is not.
            assert!(
                row.rounds.iter().all(|run| run.serving_ns > 0.0 && run.requests_per_s >= 0.0),
                "{row:?}"
            );
            assert!(may_refuse.contains(&name) || row.median.refused.is_empty(), "{row:?}");
        }
    }
    assert_eq!(report.depths.len(), 2);
}

#[test]
fn frontrow_in_all_its_ways() {
    let report = quick("echo,memory,durable,websocket,durable-hot").expect("needs nothing else");
    check(&report, &["echo", "memory", "durable", "websocket", "durable-hot"], &["durable-hot"]);
    let of = |to: &str| report.ratios.iter().filter(|ratio| ratio.to == to).count();
    assert_eq!((of("echo"), of("memory"), of("TigerBeetle, published")), (4, 2, 1));
    assert_eq!(report.batches.len(), 1);
}

#[test]
fn redis_beside_frontrow() {
    let Some(report) = quick("memory,redis,redis-always") else { return };
    check(&report, &["memory", "redis", "redis-always"], &[]);
    assert!(report.versions["Redis"].starts_with(|digit: char| digit.is_ascii_digit()));
    assert!(report.ratios.iter().all(|ratio| ratio.to == "redis"), "{:?}", report.ratios);
    assert_eq!(report.ratios.len(), 2);
    assert!(report.depths[0].rows[1].median.serving_ns > 0.0, "the child's processor time is counted");
}

#[test]
fn postgresql_in_all_its_ways() {
    let subjects = ["postgres-id", "postgres-skip-locked", "postgres-hot"];
    let Some(report) = quick(&subjects.join(",")) else { return };
    check(&report, &subjects, &["postgres-skip-locked", "postgres-hot"]);
    assert!(report.versions["PostgreSQL"].starts_with(|digit: char| digit.is_ascii_digit()));
    assert!(report.ratios.is_empty(), "there is nothing to compare with");
    assert!(report.depths[0].rows[0].median.serving_ns > 0.0, "its processes' time is counted");
}
