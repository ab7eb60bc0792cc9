//! Lock, manifest and epoch: whose directory this is, and who may open it.

mod common;

use std::fs;

use common::{PARTITIONS, open};
use frontrow_wal::{DataDir, DirOptions, LogOptions, WalError};

fn error(path: &std::path::Path, options: DirOptions) -> WalError {
    match DataDir::open(path, options) {
        Ok(_) => panic!("it opened"),
        Err(error) => error,
    }
}

#[test]
fn every_open_begins_an_epoch_and_keeps_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("made/on/the/way");
    let first = DataDir::open(&path, DirOptions { created_ms: 17, ..DirOptions::new(PARTITIONS) }).unwrap();
    let cluster = first.cluster();
    assert_eq!((first.epoch(), first.partitions(), first.created_ms()), (1, PARTITIONS, 17));
    drop(first);
    let second = DataDir::open(&path, DirOptions { create: false, ..DirOptions::new(PARTITIONS) }).unwrap();
    assert_eq!((second.epoch(), second.cluster(), second.created_ms()), (2, cluster, 17));
}

/// Whoever is about to serve may be refused by something else: then nothing has begun.
#[test]
fn what_is_prepared_is_not_begun() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let prepare = || DataDir::prepare(path, DirOptions::new(PARTITIONS)).unwrap();
    let (dir, history) = prepare().begin().unwrap();
    assert_eq!((dir.epoch(), history.epoch()), (1, 1), "a new directory begins with 1");
    drop(dir);
    let files = || ["MANIFEST", "HISTORY"].map(|name| fs::read(path.join(name)).unwrap());
    let before = files();
    for _ in 0..2 {
        let beginning = prepare();
        assert_eq!((beginning.dir().epoch(), beginning.history().epoch()), (1, 2));
        let locked = error(path, DirOptions::new(PARTITIONS));
        assert!(matches!(locked, WalError::Locked { .. }), "{locked}");
    }
    assert!(before == files());
    let (dir, history) = prepare().begin().unwrap();
    assert_eq!((dir.epoch(), history.epoch(), open_epochs(path)), (2, 2, vec![1, 2]));
    drop(dir);
    DataDir::attend(path, DirOptions::new(PARTITIONS), 0).unwrap();
    assert_eq!(open(path).epoch(), 3);
}

fn open_epochs(path: &std::path::Path) -> Vec<u32> {
    let dir = frontrow_wal::DirView::open(path).unwrap();
    let history = fs::read_to_string(dir.path().join("HISTORY")).unwrap();
    let epochs = history.lines().filter_map(|line| line.strip_prefix("epoch ")?.split(' ').next());
    epochs.map(|epoch| epoch.parse().unwrap()).collect()
}

#[test]
fn a_second_open_is_refused_and_told_the_pid() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    let log = dir.open_stream(0, &LogOptions::small(), || {}).unwrap();
    drop(dir);
    // The appender alone keeps the lock.
    let refused = error(folder.path(), DirOptions::new(PARTITIONS));
    assert!(matches!(&refused, WalError::Locked { pid, .. } if *pid == std::process::id().to_string()));
    assert!(refused.to_string().contains(&std::process::id().to_string()));
    drop(log);
    assert_eq!(open(folder.path()).epoch(), 2, "a refused open begins no epoch");
}

#[test]
fn another_partition_count_is_refused_with_the_right_one() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let refused = error(folder.path(), DirOptions::new(PARTITIONS + 1));
    assert!(refused.to_string().contains("set partitions.count to 16"), "{refused}");
    assert!(matches!(refused, WalError::PartitionCount { found: 16, asked: 17, .. }));
}

#[test]
fn another_version_and_garbage_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let manifest = folder.path().join("MANIFEST");
    let good = fs::read_to_string(&manifest).unwrap();
    fs::write(&manifest, good.replace("frontrow-log 1", "frontrow-log 2")).unwrap();
    let refused = error(folder.path(), DirOptions::new(PARTITIONS));
    assert!(matches!(refused, WalError::ManifestVersion { found: 2, expected: 1, .. }), "{refused}");
    for garbage in ["", "hello", "\u{0}\u{0}\u{0}\u{0}"] {
        fs::write(&manifest, garbage).unwrap();
        assert!(matches!(error(folder.path(), DirOptions::new(PARTITIONS)), WalError::BadManifest { .. }));
    }
    fs::write(&manifest, good).unwrap();
    assert_eq!(open(folder.path()).epoch(), 2);
}

#[test]
fn foreign_and_missing_directories_are_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let refused = error(&missing, DirOptions { create: false, ..DirOptions::new(1) });
    assert!(matches!(refused, WalError::NotInitialised { .. }) && !missing.exists());

    fs::write(folder.path().join("holiday.jpg"), b"x").unwrap();
    let refused = error(folder.path(), DirOptions::new(1));
    assert!(matches!(&refused, WalError::ForeignDirectory { found, .. } if found == "holiday.jpg"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "nothing was put there");
}

#[test]
fn what_may_be_beside_a_log_may_be_there_before_it() {
    let folder = tempfile::tempdir().unwrap();
    let options = || DirOptions { beside: &["a.key"], ..DirOptions::new(PARTITIONS) };
    fs::write(folder.path().join("a.key"), b"x").unwrap();
    fs::write(folder.path().join("holiday.jpg"), b"x").unwrap();
    let refused = error(folder.path(), options());
    assert!(matches!(&refused, WalError::ForeignDirectory { found, .. } if found == "holiday.jpg"));
    fs::remove_file(folder.path().join("holiday.jpg")).unwrap();
    assert_eq!(DataDir::open(folder.path(), options()).unwrap().epoch(), 1);
    assert_eq!(fs::read(folder.path().join("a.key")).unwrap(), b"x");
}

#[test]
fn a_log_without_its_manifest_is_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    common::written(folder.path(), &LogOptions::small(), 3, 1, 10);
    fs::remove_file(folder.path().join("MANIFEST")).unwrap();
    fs::write(folder.path().join("a.key"), b"x").unwrap();
    let options = DirOptions { beside: &["a.key"], ..DirOptions::new(PARTITIONS) };
    assert!(matches!(error(folder.path(), options), WalError::ForeignDirectory { .. }));
}

#[test]
fn the_asked_cluster_is_used_and_another_refused() {
    let folder = tempfile::tempdir().unwrap();
    let asked = |cluster| DirOptions { cluster: Some(cluster), ..DirOptions::new(PARTITIONS) };
    assert_eq!(DataDir::open(folder.path(), asked(5)).unwrap().cluster(), 5);
    let refused = error(folder.path(), asked(6));
    assert!(matches!(refused, WalError::ForeignCluster { found: 5, expected: 6, .. }));
}

#[test]
fn options_that_cannot_work_are_refused_at_open() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    let small = LogOptions::small();
    for options in [
        LogOptions { segment_bytes: 16 << 10, ..small.clone() },
        LogOptions { segment_bytes: (64 << 10) + 8, ..small.clone() },
        LogOptions { max_payload_bytes: 17 << 20, ..small.clone() },
        LogOptions { ready_ahead: 0, ..small.clone() },
        LogOptions { backlog_bytes: 0, ..small.clone() },
    ] {
        let refused = dir.open_stream(0, &options, || {}).err();
        assert!(matches!(refused, Some(WalError::BadOption { .. })), "{options:?}: {refused:?}");
    }
}
