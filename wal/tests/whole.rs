//! A log that is not all that its own history says: refused, whatever of it is gone.

mod common;

use common::{open, written};
use frontrow_wal::{DirView, Durability, LogOptions, Verdict, WalError, verify};
use std::fs;
use std::path::Path;

/// Two epochs, of which the first has ended, on record.
fn two_epochs(path: &Path) {
    let options = LogOptions { durability: Durability::Mapped, ..LogOptions::small() };
    open(path).begin_history(false).unwrap();
    written(path, &options, 200, 10, 500);
    open(path).begin_history(false).unwrap();
}

fn remove(path: &Path, gone: impl Fn(&str) -> bool) -> usize {
    let files = fs::read_dir(path.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let gone = files.filter(|file| gone(file.file_name().unwrap().to_str().unwrap()));
    gone.map(|file| fs::remove_file(file).unwrap()).count()
}

fn is_refused(path: &Path) {
    let found = open(path).begin_history(false);
    assert!(matches!(found, Err(WalError::LogBehindHistory { stream: 0, .. })), "{found:?}");
    assert!(verify(&DirView::open(path).unwrap()).is_bad());
}

#[test]
fn an_emptied_log_is_not_begun_anew() {
    let folder = tempfile::tempdir().unwrap();
    two_epochs(folder.path());
    assert!(remove(folder.path(), |_| true) > 0);
    is_refused(folder.path());
}

#[test]
fn an_epoch_s_last_segments_are_missed() {
    let folder = tempfile::tempdir().unwrap();
    two_epochs(folder.path());
    let most = fs::read_dir(folder.path().join("log")).unwrap().count();
    let removed = remove(folder.path(), |name| !name.ends_with("00000000.seg"));
    assert!(0 < removed && removed < most);
    is_refused(folder.path());
}

#[test]
fn a_whole_log_is_opened_again_and_again() {
    let folder = tempfile::tempdir().unwrap();
    two_epochs(folder.path());
    for _ in 0..3 {
        open(folder.path()).begin_history(false).unwrap();
        assert!(DirView::open(folder.path()).unwrap().check_against_history().is_ok());
    }
}

#[test]
fn a_damaged_history_is_named_itself() {
    let folder = tempfile::tempdir().unwrap();
    two_epochs(folder.path());
    let history = folder.path().join("HISTORY");
    fs::write(&history, fs::read_to_string(&history).unwrap().replace("epoch 2", "epoch 3")).unwrap();
    let found = verify(&DirView::open(folder.path()).unwrap());
    let bad: Vec<_> = found.findings.iter().filter(|it| it.verdict == Verdict::Bad).collect();
    assert!(bad.len() == 1 && bad[0].path == history, "{bad:?}");
}
