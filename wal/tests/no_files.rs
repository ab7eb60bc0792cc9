//! A pipe, a folder or a device where a file should be: it is named, nothing waits for it, and nothing is lost by it.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::time::Duration;

use common::{Hand, PARTITIONS, Wakes, append, open, wait_durable};
use frontrow_wal::{
    DataDir, DirOptions, DirView, LogOptions, PartitionSpan, SnapshotMeta, Verdict, WalError, verify,
};
use rustix::fs::{CWD, Mode, mkfifoat};

/// What `look` says, on a thread of its own: one that waited for good would have the test wait.
fn in_time<T: Send + 'static>(look: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || tell.send(look()));
    told.recv_timeout(Duration::from_secs(60)).expect("it does not wait for what is no file")
}

fn pipe(path: &Path) {
    let _ = fs::remove_file(path);
    mkfifoat(CWD, path, Mode::RUSR | Mode::WUSR).unwrap();
}

/// A directory that was closed, with records, two snapshots of a partition, and every note but that of a seed.
fn made(folder: &Path) {
    let dir = open(folder);
    dir.begin_history(false).unwrap();
    let wakes = Wakes::default();
    let mut log = dir.open_stream(0, &LogOptions::small(), wakes.callback()).unwrap();
    (1..=20).for_each(|lsn| drop(append(&mut log, &wakes, lsn, 50)));
    log.commit().unwrap();
    wait_durable(&mut Hand::default(), &mut log, &wakes);
    for lsn in [3, 4] {
        let meta = SnapshotMeta { partition: 3, lsn, epoch: 1, time_ms: 7, state_hash: 9 };
        dir.write_snapshot(&meta, b"all of it").unwrap();
    }
}

fn first_of(folder: &Path) -> PathBuf {
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.swap_remove(0)
}

fn opened(folder: &Path) -> Result<DataDir, WalError> {
    let folder = folder.to_path_buf();
    in_time(move || DataDir::open(folder, DirOptions { create: false, ..DirOptions::new(PARTITIONS) }))
}

#[test]
fn in_place_of_what_an_open_reads_it_is_named_and_the_directory_is_as_it_was() {
    for name in ["MANIFEST", "HISTORY", "LOCK", "SEED"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        made(folder.path());
        let good = fs::read(&path).ok();
        let manifest = (name != "MANIFEST").then(|| fs::read(folder.path().join("MANIFEST")).unwrap());
        pipe(&path);
        let error = opened(folder.path()).err().unwrap_or_else(|| panic!("{name}"));
        assert!(matches!(&error, WalError::NoFile { path: found, .. } if *found == path), "{error}");
        let said = error.to_string();
        assert!(said.starts_with(&format!("{}: it is no file, but a pipe; ", path.display())), "{said}");
        if let Some(manifest) = manifest {
            assert_eq!(fs::read(folder.path().join("MANIFEST")).unwrap(), manifest, "no epoch was opened");
        }
        fs::remove_file(&path).unwrap();
        if let Some(good) = good {
            fs::write(&path, good).unwrap();
        }
        assert_eq!(opened(folder.path()).unwrap().epoch(), 2, "{name}");
    }
}

#[test]
fn in_place_of_any_other_file_it_is_a_finding() {
    for name in ["TRIM", "AGREED", "HISTORY", "log", "snap"] {
        let folder = tempfile::tempdir().unwrap();
        made(folder.path());
        let path = folder.path().join(name);
        let path = if path.is_dir() { first_of(&path) } else { path };
        pipe(&path);
        let view = DirView::open(folder.path()).unwrap();
        let verified = in_time(move || verify(&view));
        let is_named = |verdict, text: &str| verdict == Verdict::Bad && text.contains("no file, but a pipe");
        let found = verified.findings.iter().find(|it| it.path == path && is_named(it.verdict, &it.text));
        assert!(found.is_some(), "{name}: {:?}", verified.findings);
    }
}

#[test]
fn of_a_snapshot_an_older_one_stands_in() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    pipe(&folder.path().join(format!("snap/p0003-{:016x}.snap", 4)));
    let view = DirView::open(folder.path()).unwrap();
    let span = PartitionSpan { partition: 3, first: 1, last: 4, records: 4 };
    let based =
        in_time(move || view.base(&view.snapshots()?, 3, span.into()).map(|it| it.unwrap().meta().lsn));
    assert_eq!(based.unwrap(), 3);
}

#[test]
fn in_place_of_an_unfinished_file_it_gives_way() {
    let folder = tempfile::tempdir().unwrap();
    made(folder.path());
    let manifest = folder.path().join("MANIFEST.tmp");
    pipe(&manifest);
    let segment = folder.path().join("log/s0000-e00000002-00000000.seg.tmp");
    pipe(&segment);
    let folder = folder.path().to_path_buf();
    let last = in_time(move || {
        let dir = open(&folder);
        let wakes = Wakes::default();
        let mut log = dir.open_stream(0, &LogOptions::small(), wakes.callback()).unwrap();
        append(&mut log, &wakes, 21, 50);
        log.commit().unwrap();
        wait_durable(&mut Hand::default(), &mut log, &wakes);
        dir.segments().unwrap().last().unwrap().epoch()
    });
    assert_eq!(last, 2);
    assert!(!manifest.exists() && !segment.exists());
}
