//! Snapshot files: two are kept, damage of the newer loses nothing, and what does not fit is refused.

mod common;

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::Path;

use common::{PARTITIONS, Wakes, append, open};
use frontrow_wal::{
    DataDir, DirOptions, LogOptions, PartitionSpan, Snapshot, SnapshotMeta, WalError, covered,
};

fn meta(partition: u16, lsn: u64) -> SnapshotMeta {
    SnapshotMeta { partition, lsn, epoch: 1, time_ms: lsn * 7, state_hash: lsn ^ 0xfeed }
}

fn body(lsn: u64, len: usize) -> Vec<u8> {
    common::payload(lsn, len)
}

/// What a whole log would hold of a partition.
fn span(first: u64, last: u64) -> PartitionSpan {
    PartitionSpan { partition: 3, first, last, records: last - first + 1 }
}

fn base(dir: &DataDir, span: impl Into<Option<PartitionSpan>>) -> Result<Option<u64>, WalError> {
    let found = dir.view().base(&dir.snapshots()?, 3, span.into())?;
    Ok(found.map(|snapshot| snapshot.meta().lsn))
}

fn flip(path: &Path, at: u64) {
    let file = fs::OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, at).unwrap();
    file.write_all_at(&[byte[0] ^ 1], at).unwrap();
}

fn path_of(folder: &Path, lsn: u64) -> std::path::PathBuf {
    folder.join(format!("snap/p0003-{lsn:016x}.snap"))
}

#[test]
fn bodies_of_every_size_come_back_in_place_and_two_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    for (lsn, len) in (1..).zip([0, 1, 8, 4096, 65_535, 65_536, 65_537, (2 << 20) + 5]) {
        let written = dir.write_snapshot(&meta(3, lsn), &body(lsn, len)).unwrap();
        assert_eq!(written.body(), body(lsn, len));
        assert_eq!(written.body().as_ptr() as usize % 4096, 0, "fit to be used in place");
        let files = dir.snapshots().unwrap();
        let lsns: Vec<u64> = files.iter().map(frontrow_wal::SnapshotFile::lsn).collect();
        assert_eq!(lsns, (1..=lsn).rev().take(2).collect::<Vec<_>>());
        for file in &files {
            let read = Snapshot::open(dir.view(), file).unwrap();
            assert_eq!(*read.meta(), meta(3, file.lsn()));
        }
    }
    assert_eq!(covered(dir.view(), &dir.snapshots().unwrap()).unwrap()[..5], [0, 0, 0, 7, 0]);
    drop(dir);
    assert_eq!(base(&open(folder.path()), span(1, 8)).unwrap(), Some(8));
}

#[test]
fn a_damaged_newest_falls_back_as_far_as_the_log_reaches() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    for lsn in [10, 20] {
        dir.write_snapshot(&meta(3, lsn), &body(lsn, 1000)).unwrap();
    }
    assert_eq!(base(&dir, span(11, 25)).unwrap(), Some(20));
    flip(&path_of(folder.path(), 20), 4200);
    assert_eq!(base(&dir, span(11, 25)).unwrap(), Some(10));
    let refused = base(&dir, span(12, 25)).unwrap_err();
    assert!(matches!(refused, WalError::SnapshotMissing { partition: 3, first: 12, .. }), "{refused}");
    assert!(refused.to_string().contains("restore snap/"), "{refused}");
    // With both gone only a whole log helps.
    flip(&path_of(folder.path(), 10), 4200);
    assert_eq!(base(&dir, span(1, 25)).unwrap(), None);
    assert!(matches!(base(&dir, span(2, 25)), Err(WalError::SnapshotMissing { first: 2, .. })));
    assert_eq!(covered(dir.view(), &dir.snapshots().unwrap()).unwrap()[3], 0, "nothing may be trimmed");
}

/// A damaged snapshot does not count as one of the two, and is not removed before both are newer.
#[test]
fn pruning_counts_only_what_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    let lsns = || dir.snapshots().unwrap().iter().map(frontrow_wal::SnapshotFile::lsn).collect::<Vec<_>>();
    for lsn in [10, 20] {
        dir.write_snapshot(&meta(3, lsn), &body(lsn, 1000)).unwrap();
    }
    flip(&path_of(folder.path(), 20), 100);
    dir.write_snapshot(&meta(3, 30), &body(30, 1000)).unwrap();
    assert_eq!(lsns(), [30, 20, 10]);
    assert_eq!(covered(dir.view(), &dir.snapshots().unwrap()).unwrap()[3], 10);
    dir.write_snapshot(&meta(3, 40), &body(40, 1000)).unwrap();
    assert_eq!(lsns(), [40, 30]);
}

/// Where nothing happens any more, the second snapshot is of the same state, and the log may go altogether.
#[test]
fn a_quiet_partition_has_a_twin() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    for lsn in [10, 20, 20] {
        dir.write_snapshot(&meta(3, lsn), &body(lsn, 1000)).unwrap();
    }
    let files = dir.snapshots().unwrap();
    assert_eq!(
        files.iter().map(|file| (file.lsn(), file.is_twin())).collect::<Vec<_>>(),
        [(20, false), (20, true)]
    );
    assert_eq!(covered(dir.view(), &files).unwrap()[3], 20);
    for bad in [files[0].path(), files[1].path()] {
        assert_eq!(base(&dir, None).unwrap(), Some(20));
        assert_eq!(base(&dir, span(21, 25)).unwrap(), Some(20));
        flip(bad, 5000);
    }
    assert!(matches!(base(&dir, span(21, 25)), Err(WalError::SnapshotMissing { .. })));
    // One more state, and the twins count as one that is older.
    dir.write_snapshot(&meta(3, 30), &body(30, 1000)).unwrap();
    dir.write_snapshot(&meta(3, 40), &body(40, 1000)).unwrap();
    assert_eq!(dir.snapshots().unwrap().len(), 2);
}

#[test]
fn a_snapshot_ahead_of_the_log_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    dir.write_snapshot(&meta(3, 10), &body(10, 10)).unwrap();
    for (log, last) in [(None, 0), (Some(span(1, 9)), 9)] {
        let refused = base(&dir, log).unwrap_err();
        assert!(
            matches!(refused, WalError::LogBehindSnapshot { lsn: 10, last: found, .. } if found == last),
            "{refused}"
        );
    }
    assert_eq!(base(&dir, span(1, 10)).unwrap(), Some(10));
}

#[test]
fn files_of_another_place_cluster_version_or_time_are_refused() {
    let (ours, theirs) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let dir = open(ours.path());
    let other = open(theirs.path());
    for (dir, lsn) in [(&dir, 10), (&dir, 20), (&other, 20)] {
        dir.write_snapshot(&meta(3, lsn), &body(lsn, 5000)).unwrap();
    }
    let (ten, twenty) = (path_of(ours.path(), 10), path_of(ours.path(), 20));
    let good = fs::read(&twenty).unwrap();
    let read = || Snapshot::open(dir.view(), &dir.snapshots().unwrap()[0]).map(|_| ());

    fs::copy(path_of(theirs.path(), 20), &twenty).unwrap();
    assert!(matches!(read(), Err(WalError::ForeignCluster { .. })));
    assert!(matches!(base(&dir, span(1, 30)), Err(WalError::ForeignCluster { .. })), "no falling back");

    fs::copy(&ten, &twenty).unwrap();
    assert!(matches!(read(), Err(WalError::Misnamed { .. })));
    assert_eq!(base(&dir, span(1, 30)).unwrap(), Some(10));

    let patched = |at: usize, byte: u8| {
        let mut page = good.clone();
        page[at] = byte;
        let crc = crc32c::crc32c(&page[..4092]).to_le_bytes();
        page[4092..4096].copy_from_slice(&crc);
        fs::write(&twenty, page).unwrap();
    };
    patched(8, 9);
    assert!(matches!(read(), Err(WalError::SnapshotVersion { found: 9, .. })));
    // Its header changed with a good checksum: the blocks no longer fit it.
    patched(16, 2);
    assert!(matches!(read(), Err(WalError::BadSnapshot { offset: 4096, .. })));

    // A block of the older snapshot in the newer one's place, its checksum too.
    let mut mixed = good.clone();
    let old = fs::read(&ten).unwrap();
    mixed[4096..].copy_from_slice(&old[4096..]);
    fs::write(&twenty, mixed).unwrap();
    assert!(matches!(read(), Err(WalError::BadSnapshot { .. })));

    fs::write(&twenty, &good).unwrap();
    read().unwrap();
    fs::write(ours.path().join("snap/notes.txt"), b"x").unwrap();
    assert!(matches!(dir.snapshots(), Err(WalError::ForeignFile { .. })));
}

#[test]
fn leftovers_go_and_a_snapshot_of_a_missing_partition_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    drop(open(folder.path()));
    let leftover = folder.path().join("snap/p0003-0000000000000001.snap.tmp");
    fs::write(&leftover, b"half").unwrap();
    let dir = open(folder.path());
    assert!(!leftover.exists());
    let refused = dir.write_snapshot(&meta(PARTITIONS, 1), b"");
    assert!(matches!(refused, Err(WalError::BadOption { .. })));
}

/// A folder with snapshots and no manifest is somebody's data, not an empty place.
#[test]
fn snapshots_without_a_manifest_are_not_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let dir = open(folder.path());
    let wakes = Wakes::default();
    let mut log = dir.open_stream(0, &LogOptions::small(), wakes.callback()).unwrap();
    append(&mut log, &wakes, 3, 10);
    log.flush().unwrap();
    dir.write_snapshot(&meta(3, 1), b"state").unwrap();
    drop((log, dir));
    fs::remove_file(folder.path().join("MANIFEST")).unwrap();
    fs::remove_dir_all(folder.path().join("log")).unwrap();
    let refused = DataDir::open(folder.path(), DirOptions::new(PARTITIONS)).err();
    assert!(matches!(refused, Some(WalError::ForeignDirectory { .. })), "{refused:?}");
}
