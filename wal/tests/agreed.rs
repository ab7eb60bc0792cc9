//! What a primary and its standby both had durable was acknowledged: it is never cut silently, and a node that lacks it
//! is not served.

mod common;

use common::{PARTITIONS, Wakes, append};
use frontrow_wal::stream::{CONTROL, Heard, Hello, Receiver, Sender, StreamError};
use frontrow_wal::{
    Agreed, DataDir, DirOptions, DirView, Durability, History, LogOptions, Mended, Verdict, WalError, repair,
    verify,
};
use std::fs;
use std::path::{Path, PathBuf};

fn options() -> DirOptions {
    DirOptions::new(PARTITIONS)
}

/// Serves one epoch with `records`, from `lsn` on. What is durable in it.
fn serve(path: &Path, lsn: u64, records: u64) -> (DataDir, History, u64) {
    let dir = DataDir::open(path, options()).unwrap();
    let history = dir.begin_history(false).unwrap();
    let wakes = Wakes::default();
    let small = LogOptions { durability: Durability::Mapped, ..LogOptions::small() };
    let mut log = dir.open_stream(0, &small, wakes.callback()).unwrap();
    for lsn in lsn..lsn + records {
        append(&mut log, &wakes, lsn, 500);
    }
    log.flush().unwrap();
    let durable = log.position();
    (dir, history, durable)
}

fn hello(dir: &DataDir, history: &History) -> Hello {
    Hello {
        stream: CONTROL,
        partitions: PARTITIONS,
        streams: 1,
        epoch: dir.epoch(),
        cluster: dir.cluster(),
        node: history.node,
        created_ms: 0,
        epochs: history.epochs.clone(),
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            fs::copy(&path, &to).unwrap();
        }
    }
}

/// A primary and a standby that have the same two epochs, and both know it. Nobody runs.
fn two_nodes() -> (tempfile::TempDir, PathBuf, PathBuf, u64) {
    let folder = tempfile::tempdir().unwrap();
    let (here, there) = (folder.path().join("primary"), folder.path().join("standby"));
    drop(serve(&here, 1, 20));
    let (dir, history, durable) = serve(&here, 21, 60);
    let said = hello(&dir, &history);
    drop(dir);
    copy(&here, &there);
    fs::remove_file(there.join("HISTORY")).unwrap();
    let both = history.agreed(0, (2, durable), durable);
    assert_eq!((both.len(), both[&(2, 0)]), (2, durable));
    let standby = DataDir::attend(&there, options(), 2).unwrap();
    standby.follow_history(&said, 77).unwrap();
    standby.agree(&both).unwrap();
    DataDir::attend(&here, options(), 2).unwrap().agree(&both).unwrap();
    (folder, here, there, durable)
}

/// Removes the log's files of an epoch.
fn lose(path: &Path, epoch: u32) {
    let of = format!("s0000-e{epoch:08}-");
    let all: Vec<_> = fs::read_dir(path.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    let gone: Vec<_> =
        all.iter().filter(|file| file.file_name().unwrap().to_str().unwrap().starts_with(&of)).collect();
    assert!(!gone.is_empty(), "{all:?}");
    for file in gone {
        fs::remove_file(file).unwrap();
    }
}

fn begin(path: &Path) -> Result<History, WalError> {
    DataDir::open(path, options()).unwrap().begin_history(false)
}

fn log_of(path: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut all: Vec<_> =
        fs::read_dir(path.join("log")).unwrap().map(|entry| entry.unwrap().path()).collect();
    all.sort();
    all.into_iter().map(|file| (file.file_name().unwrap().into(), fs::read(&file).unwrap())).collect()
}

#[test]
fn a_primary_that_lost_its_last_segments_is_refused_and_mended_from_its_standby() {
    let (_folder, here, there, durable) = two_nodes();
    let whole = log_of(&here);
    lose(&here, 2);
    let view = DirView::open(&here).unwrap();
    let found = verify(&view);
    assert!(found.is_bad() && found.findings.iter().any(|it| it.text.contains("wal repair")), "{found:?}");
    for _ in 0..2 {
        let refused = begin(&here);
        let right = matches!(refused, Err(WalError::LacksAgreed { epoch: 2, stream: 0, own: 0, agreed, .. }) if agreed == durable);
        assert!(right, "{refused:?}");
    }
    let mended = repair(&view, &DirView::open(&there).unwrap()).unwrap();
    assert!(
        !mended.is_empty() && mended.iter().all(|one| matches!(one, Mended::Replaced { .. })),
        "{mended:?}"
    );
    assert!(
        !verify(&view)
            .findings
            .iter()
            .any(|it| it.path.starts_with(here.join("log")) && it.verdict == Verdict::Bad)
    );
    assert!(whole.iter().all(|(name, bytes)| log_of(&here).contains(&(name.clone(), bytes.clone()))));
    assert_eq!(begin(&here).unwrap().end(2, 0), Some(durable));
}

#[test]
fn a_segment_that_lost_its_tail_is_missed_too() {
    let (_folder, here, there, _) = two_nodes();
    let last = log_of(&here).pop().unwrap().0;
    let path = here.join("log").join(last);
    let mut bytes = fs::read(&path).unwrap();
    let end = bytes.iter().rposition(|byte| *byte != 0).unwrap();
    bytes[end - 300..=end].fill(0);
    fs::write(&path, bytes).unwrap();
    assert!(matches!(begin(&here), Err(WalError::LacksAgreed { epoch: 2, .. })));
    let view = DirView::open(&here).unwrap();
    let mended = repair(&view, &DirView::open(&there).unwrap()).unwrap();
    assert!(matches!(&mended[..], [Mended::Replaced { kept: Some(_), .. }]), "{mended:?}");
    begin(&here).unwrap();
}

#[test]
fn a_standby_does_not_cut_what_both_had_unless_it_is_given_up() {
    let (_folder, here, there, durable) = two_nodes();
    // The primary does not know either: it was killed before it could note anything.
    fs::remove_file(here.join("AGREED")).unwrap();
    lose(&here, 2);
    let (primary, history, _) = serve(&here, 21, 5);
    let said = hello(&primary, &history);
    let before = log_of(&there);
    let standby = DataDir::attend(&there, options(), primary.epoch()).unwrap();
    let refused = standby.follow_history(&said, 77).map(drop);
    let Err(WalError::PrimaryLacksAgreed { epoch: 2, stream: 0, end: 0, agreed, .. }) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(agreed, durable);
    assert!(before == log_of(&there), "nothing was cut");
    // The primary hears of it, over the connection on which it said its history.
    let mut sender = Sender::new(primary.cluster(), primary.epoch());
    let mut receiver = Receiver::new(CONTROL, primary.cluster(), 77, 2);
    sender.push(&receiver.take_out());
    assert!(matches!(sender.hear(), Ok(Some(Heard::Follow { .. }))));
    sender.hello(said.clone());
    receiver.push(&sender.take_out());
    receiver.receive().unwrap();
    receiver.refuse_lacking(2, 0, agreed);
    sender.push(&receiver.take_out());
    assert_eq!(sender.hear(), Err(StreamError::Lacking { epoch: 2, stream: 0, position: durable }));
    // And is not served from any more, once it has noted it.
    primary.agree(&Agreed::from([((2, 0), agreed)])).unwrap();
    drop(primary);
    assert!(matches!(begin(&here), Err(WalError::LacksAgreed { epoch: 2, .. })));
    // The loss is accepted: what goes is kept.
    let noted = standby.accept_loss().unwrap().unwrap();
    assert!(noted.exists() && standby.accept_loss().unwrap().is_none());
    standby.follow_history(&said, 77).unwrap();
    let kept = fs::read_dir(there.join("cut")).unwrap();
    assert!(
        kept.filter(|it| it.as_ref().unwrap().path().extension().is_some_and(|it| it == "bin")).count() > 0
    );
    DataDir::attend(&here, options(), 0).unwrap().accept_loss().unwrap().unwrap();
    begin(&here).unwrap();
}

#[test]
fn an_old_primary_does_not_follow_a_standby_that_forgot() {
    let (_folder, here, there, durable) = two_nodes();
    // An older copy of the standby takes over: without the second epoch's end.
    lose(&there, 2);
    fs::remove_file(there.join("AGREED")).unwrap();
    let standby = DataDir::attend(&there, options(), 0).unwrap();
    let (new, history) = standby.promote().unwrap();
    let before = log_of(&here);
    let old = DataDir::attend(&here, options(), new.epoch()).unwrap();
    let refused = old.follow_history(&hello(&new, &history), 5).map(drop);
    assert!(
        matches!(refused, Err(WalError::PrimaryLacksAgreed { epoch: 2, agreed, .. }) if agreed == durable),
        "{refused:?}"
    );
    assert!(before == log_of(&here));
}

#[test]
fn an_epoch_without_files_is_told_of() {
    let folder = tempfile::tempdir().unwrap();
    drop(serve(folder.path(), 1, 20));
    lose(folder.path(), 1);
    let found = verify(&DirView::open(folder.path()).unwrap());
    let doubtful = found.findings.iter().find(|it| it.verdict == Verdict::Doubtful);
    assert!(!found.is_bad() && doubtful.is_some_and(|it| it.text.contains("epoch 1")), "{found:?}");
}
