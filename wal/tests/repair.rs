//! Segments that are damaged or gone, mended with another node's copies; and what must not be mended with.

mod common;

use common::{Wakes, append, copy_all, open, segment_path, written};
use frontrow_wal::{DirView, Durability, Finding, LogOptions, Mended, Verdict, WalError, repair, verify};
use std::fs;
use std::path::{Path, PathBuf};

/// A log of several segments, and a copy of it as another node would have it.
fn two_nodes() -> (tempfile::TempDir, PathBuf, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let options = LogOptions { durability: Durability::Mapped, ..LogOptions::small() };
    written(&here, &options, 400, 10, 700);
    copy_all(&here, &there);
    (folder, here, there)
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn views(here: &Path, there: &Path) -> (DirView, DirView) {
    (DirView::open(here).unwrap(), DirView::open(there).unwrap())
}

#[test]
fn what_is_damaged_or_gone_comes_from_the_other_node() {
    let (_folder, here, there) = two_nodes();
    let good = fs::read(segment_path(&here, 1, 0)).unwrap();
    flip(&segment_path(&here, 1, 0), 5000);
    fs::remove_file(segment_path(&here, 1, 1)).unwrap();
    let (view, other) = views(&here, &there);
    assert!(verify(&view).is_bad());
    let mended = repair(&view, &other).unwrap();
    let replaced = |one: &Mended| matches!(one, Mended::Replaced { .. });
    assert!(mended.len() == 2 && mended.iter().all(replaced), "{mended:?}");
    let log = here.join("log");
    let bad = |finding: &Finding| finding.verdict == Verdict::Bad && finding.path.starts_with(&log);
    assert!(!verify(&view).findings.iter().any(bad), "{:?}", verify(&view));
    assert_eq!(fs::read(segment_path(&here, 1, 0)).unwrap(), good);
    assert!(here.join("damaged").read_dir().unwrap().count() > 0, "what was there is kept");
    open(&here);
}

#[test]
fn a_copy_that_is_bad_itself_or_ends_before_is_refused() {
    let (_folder, here, there) = two_nodes();
    let path = segment_path(&here, 1, 0);
    flip(&path, 5000);
    let damaged = fs::read(&path).unwrap();
    flip(&segment_path(&there, 1, 0), 6000);
    let (view, other) = views(&here, &there);
    let left = repair(&view, &other).unwrap();
    assert!(matches!(&left[..], [Mended::Left { why, .. }] if why.contains("cannot stand in")), "{left:?}");

    // A copy without the last records.
    let (_folder, shorter, there) = two_nodes();
    let mut bytes = fs::read(segment_path(&there, 1, 0)).unwrap();
    bytes[4096..].fill(0);
    fs::write(segment_path(&there, 1, 0), bytes).unwrap();
    flip(&segment_path(&shorter, 1, 0), 5000);
    let (view, other) = views(&shorter, &there);
    let left = repair(&view, &other).unwrap();
    assert!(matches!(&left[..], [Mended::Left { .. }]), "{left:?}");
    assert_eq!(fs::read(path).unwrap(), damaged, "nothing was changed");
}

#[test]
fn another_cluster_s_copies_and_a_log_in_use_are_refused() {
    let (_folder, here, _) = two_nodes();
    let (_other_folder, foreign, _) = two_nodes();
    let (view, other) = views(&here, &foreign);
    assert!(matches!(repair(&view, &other), Err(WalError::ForeignCluster { .. })));
    let (_folder, here, there) = two_nodes();
    let _open = open(&here);
    let (view, other) = views(&here, &there);
    assert!(matches!(repair(&view, &other), Err(WalError::Locked { .. })));
}

#[test]
fn a_directory_is_not_mended_with_itself() {
    let (_folder, here, _) = two_nodes();
    let other_name = here.join("../here/.");
    let (view, other) = views(&here, &other_name);
    assert!(matches!(repair(&view, &other), Err(WalError::SameDirectory { .. })));
}

/// The other node is copied while it has segments ready that nothing was written to.
#[test]
fn a_segment_that_was_only_prepared_is_not_missed() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    let dir = open(&here);
    dir.begin_history(false).unwrap();
    let wakes = Wakes::default();
    let options = LogOptions { durability: Durability::Mapped, ..LogOptions::small() };
    let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
    append(&mut log, &wakes, 1, 100);
    log.flush().unwrap();
    let ready = segment_path(&here, 1, 1);
    wakes.wait_until(|| ready.exists());
    copy_all(&here, &there);
    drop((log, dir));
    fs::remove_file(ready).unwrap_or_default();
    let (view, other) = views(&here, &there);
    assert_eq!(repair(&view, &other).unwrap(), []);
}
