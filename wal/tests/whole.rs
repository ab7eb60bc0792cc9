//! A log that is not all that its own history says: refused, whatever of it is gone.

mod common;

use common::{open, written};
use frontrow_wal::{
    DataDir, DirOptions, DirView, Durability, LogOptions, Mended, Verdict, WalError, repair, verify,
};
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

/// Zeros over the end of the last written segment, as of a disk that said it had it.
fn lose_an_end(path: &Path) {
    lose_an_end_of(path, u32::MAX);
}

/// The same of the last epoch up to this one.
fn lose_an_end_of(path: &Path, epoch: u32) {
    use std::os::unix::fs::FileExt;
    let infos = DirView::open(path).unwrap().segments().unwrap();
    let infos = infos.iter().filter(|info| info.epoch() <= epoch);
    let mut last = infos.filter(|info| fs::read(info.path()).unwrap()[4096..].iter().any(|byte| *byte != 0));
    let path = last.next_back().unwrap().path();
    let end = fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap();
    fs::File::options().write(true).open(path).unwrap().write_all_at(&[0; 700], end as u64 - 699).unwrap();
}

fn misses_an_end(view: &DirView) -> bool {
    let findings = verify(view).findings;
    findings.iter().any(|it| it.verdict == Verdict::Bad && it.text.contains("has lost records"))
}

/// What no header tells: the last records of an epoch that is over.
#[test]
fn an_epoch_s_last_records_are_missed_brought_back_or_given_up() {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("here"), folder.path().join("there"));
    two_epochs(&here);
    common::copy_all(&here, &there);
    lose_an_end(&here);
    let view = DirView::open(&here).unwrap();
    assert!(matches!(view.read_ends(), Err(WalError::EndLost { stream: 0, .. })));
    assert!(misses_an_end(&view));

    let repaired = folder.path().join("repaired");
    common::copy_all(&here, &repaired);
    let view = DirView::open(&repaired).unwrap();
    let mended = repair(&view, &DirView::open(&there).unwrap()).unwrap();
    assert!(matches!(&mended[..], [Mended::Replaced { kept: Some(_), .. }]), "{mended:?}");
    assert!(!misses_an_end(&view) && view.read_ends().is_ok());

    // Records of a later epoch rest on what is lost: then nothing of the way back is given away.
    let later = folder.path().join("later");
    common::copy_all(&there, &later);
    let options = LogOptions { durability: Durability::Mapped, ..LogOptions::small() };
    written(&later, &options, 20, 10, 500);
    lose_an_end_of(&later, 2);
    let history = fs::read(later.join("HISTORY")).unwrap();
    assert!(matches!(open(&later).accept_loss(), Err(WalError::LossInside { .. })));
    assert_eq!(fs::read(later.join("HISTORY")).unwrap(), history);

    open(&here).accept_loss().unwrap();
    let view = DirView::open(&here).unwrap();
    assert!(!misses_an_end(&view) && view.read_ends().is_ok());
}

/// What `verify` says of bytes that do not read back.
fn torn(path: &Path) -> String {
    let findings = verify(&DirView::open(path).unwrap()).findings;
    let torn = findings.iter().find(|it| it.verdict == Verdict::Torn);
    torn.unwrap_or_else(|| panic!("nothing is torn: {findings:?}")).text.clone()
}

#[test]
fn what_does_not_read_back_is_said_to_have_been_acknowledged_where_that_is_on_record() {
    let options = LogOptions { durability: Durability::Mapped, ..LogOptions::small() };
    let folder = tempfile::tempdir().unwrap();
    let (ended, last, agreed) =
        (folder.path().join("ended"), folder.path().join("last"), folder.path().join("agreed"));
    two_epochs(&ended);
    lose_an_end(&ended);
    assert!(torn(&ended).contains("were durable and acknowledged"), "{}", torn(&ended));
    // Of the last epoch nothing says how far it went,
    open(&last).begin_history(false).unwrap();
    written(&last, &options, 200, 10, 500);
    common::copy_all(&last, &agreed);
    lose_an_end(&last);
    assert!(torn(&last).contains("it may have been acknowledged"), "{}", torn(&last));
    // but the other node.
    let dir = DataDir::attend(&agreed, DirOptions::new(common::PARTITIONS), 0).unwrap();
    let ends = dir.ends(|_| true).unwrap();
    dir.agree(&ends.iter().map(|(place, end)| (*place, end.position)).collect()).unwrap();
    drop(dir);
    lose_an_end(&agreed);
    assert!(torn(&agreed).contains("were durable and acknowledged"), "{}", torn(&agreed));
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
