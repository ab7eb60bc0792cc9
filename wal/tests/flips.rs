//! One bit flipped anywhere: in a log of several segments and epochs, and in snapshots. Each is a typed
//! error, or a cut of an epoch's last batch where that cannot be told from a tear, never another record.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use common::{Owned, Wakes, append, open, read_all};
use frontrow_wal::{DataDir, LogOptions, Snapshot, SnapshotMeta, WalError};

const FLIPS: usize = 12_000;

fn random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 24
}

/// Two epochs of several segments each, batches of five.
fn two_epochs(folder: &std::path::Path) -> Vec<Owned> {
    let options = LogOptions { segment_bytes: 16 << 10, max_payload_bytes: 1 << 10, ..LogOptions::small() };
    let mut out = Vec::new();
    for epoch in 0..2 {
        let (dir, wakes) = (open(folder), Wakes::default());
        let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
        for lsn in epoch * 100 + 1..=epoch * 100 + 100 {
            out.push(append(&mut log, &wakes, lsn, (lsn * 37 % 600) as usize));
            if lsn % 5 == 0 {
                log.flush().unwrap();
            }
        }
    }
    out
}

/// Flips bits of `files` one at a time, at random and over `focus` bytes around given places.
fn each_flip(files: &[PathBuf], flips: usize, mut each: impl FnMut(&PathBuf, u64, u8)) {
    let mut state = 5;
    let opened: Vec<_> =
        files.iter().map(|path| fs::OpenOptions::new().read(true).write(true).open(path).unwrap()).collect();
    for _ in 0..flips {
        let at = random(&mut state) as usize % files.len();
        let len = opened[at].metadata().unwrap().len();
        let (offset, bit) = (random(&mut state) % len, (random(&mut state) % 8) as u8);
        let mut byte = [0];
        opened[at].read_exact_at(&mut byte, offset).unwrap();
        opened[at].write_all_at(&[byte[0] ^ 1 << bit], offset).unwrap();
        each(&files[at], offset, bit);
        opened[at].write_all_at(&byte, offset).unwrap();
    }
}

/// True if `found` is `all` without some of the last batch of the first or the second epoch.
fn is_cut(found: &[Owned], all: &[Owned]) -> bool {
    let fits = |epoch: u32| {
        let of = |records: &[Owned]| records.iter().filter(|r| r.epoch == epoch).cloned().collect::<Vec<_>>();
        let (found, all) = (of(found), of(all));
        all.starts_with(&found) && found.len() + 5 >= all.len()
    };
    fits(1) && fits(2)
}

#[test]
fn a_flipped_bit_in_the_log_is_never_another_record() {
    let folder = tempfile::tempdir().unwrap();
    let all = two_epochs(folder.path());
    let dir = open(folder.path());
    let files: Vec<PathBuf> = dir.segments().unwrap().iter().map(|info| info.path().to_path_buf()).collect();
    assert!(files.len() >= 6);
    let (mut same, mut cut, mut refused) = (0, 0, 0);
    each_flip(&files, FLIPS, |path, offset, bit| match read_all(&dir) {
        Ok((records, _)) if records == all => same += 1,
        Ok((records, _)) => {
            assert!(is_cut(&records, &all), "{} at {offset}, bit {bit}", path.display());
            cut += 1;
        }
        Err(WalError::Corrupt { file, offset: blamed, .. }) => {
            assert!(file <= *path, "blamed {} for {}", file.display(), path.display());
            assert!(blamed <= offset || file != *path);
            refused += 1;
        }
        Err(other) => panic!("{} at {offset}, bit {bit}: {other}", path.display()),
    });
    println!(
        "{FLIPS} flips in {} segments: {refused} refused, {cut} cut as a tear, {same} in bytes that hold nothing",
        files.len()
    );
    assert!(refused > FLIPS / 3 && cut > 0);
    assert_eq!(read_all(&dir).unwrap().0, all);
}

/// Nothing is free in a snapshot: every bit counts.
#[test]
fn a_flipped_bit_in_a_snapshot_is_always_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    for (partition, len) in [(0, 1), (1, 30_000), (2, (64 << 10) + 3), (3, 200_000)] {
        let meta = SnapshotMeta { partition, lsn: 9, epoch: 1, time_ms: 1, state_hash: 2 };
        dir.write_snapshot(&meta, &common::payload(9, len)).unwrap();
    }
    let listed = dir.snapshots().unwrap();
    let files: Vec<PathBuf> = listed.iter().map(|file| file.path().to_path_buf()).collect();
    let mut refused = 0;
    each_flip(&files, FLIPS, |path, offset, bit| {
        let file = listed.iter().find(|file| file.path() == path).unwrap();
        match Snapshot::open(dir.view(), file) {
            Err(WalError::BadSnapshot { path: blamed, .. }) => assert_eq!(blamed, *path),
            other => panic!("{} at {offset}, bit {bit}: {other:?}", path.display()),
        }
        refused += 1;
    });
    let cuts = cut_at_every_length(&dir);
    println!("{refused} flips and {cuts} lengths of {} snapshots: all refused", files.len());
    for file in &listed {
        Snapshot::open(dir.view(), file).unwrap();
    }
}

/// Shorter at every byte of its end and its beginning, and longer.
fn cut_at_every_length(dir: &DataDir) -> usize {
    let file = &dir.snapshots().unwrap()[1];
    let whole = fs::read(file.path()).unwrap();
    let lengths = (0..64).chain(4000..4200).chain(whole.len() - 600..whole.len()).chain([whole.len() + 1]);
    let mut cuts = 0;
    for len in lengths {
        let mut bytes = whole.clone();
        bytes.resize(len, 0);
        fs::write(file.path(), &bytes).unwrap();
        let refused = Snapshot::open(dir.view(), file);
        assert!(matches!(refused, Err(WalError::BadSnapshot { .. })), "length {len}: {refused:?}");
        cuts += 1;
    }
    fs::write(file.path(), &whole).unwrap();
    cuts
}
