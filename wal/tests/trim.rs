//! Trimming: only what two snapshots stand in for, never a gap, no position twice, files written again.

mod common;

use std::fs;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{Owned, PARTITIONS, Wakes, append, open, read_all, segment_path};
use frontrow_wal::fs::{Disk, RealDisk};
use frontrow_wal::{
    Appender, DataDir, DirOptions, LogIndex, LogOptions, Position, SnapshotMeta, Trimmed, WalError,
};

fn options() -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, max_payload_bytes: 1 << 10, ..LogOptions::small() }
}

/// Appends records `lsns`, ten to a commit. Partition and all else follow from the number.
fn write(log: &mut Appender, wakes: &Wakes, lsns: std::ops::RangeInclusive<u64>) -> Vec<Owned> {
    let mut out = Vec::new();
    for lsn in lsns {
        out.push(append(log, wakes, lsn, 300));
        if lsn % 10 == 0 {
            log.flush().unwrap();
        }
    }
    log.flush().unwrap();
    out
}

/// Two snapshots of every partition: the older up to `older`, the newer a little behind.
fn snap(dir: &DataDir, older: u64) {
    for partition in 0..PARTITIONS {
        for lsn in [older, older + 16] {
            let meta = SnapshotMeta { partition, lsn, epoch: dir.epoch(), time_ms: 0, state_hash: 0 };
            dir.write_snapshot(&meta, b"state").unwrap();
        }
    }
}

fn trim(dir: &DataDir) -> Trimmed {
    dir.trim(&mut LogIndex::default(), &|_| Position::MAX).unwrap()
}

fn is_nameless(name: &str) -> bool {
    Path::new(name).extension().is_some_and(|extension| extension == "tmp")
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), &to).unwrap();
        }
    }
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder.join("log")).unwrap();
    let mut names: Vec<_> =
        entries.map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn what_two_snapshots_cover_goes_and_the_rest_reads_back() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, wakes) = (open(folder.path()), Wakes::default());
    let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
    let records = write(&mut log, &wakes, 1..=400);
    assert_eq!(trim(&dir).segments, 0, "without snapshots nothing goes");
    // One partition's older snapshot stays behind: its records keep their segments and all later ones.
    snap(&dir, 200);
    let one = trim(&dir);
    assert!(one.segments >= 3 && one.left >= 5, "{one:?}");
    let read = || {
        let mut out = Vec::new();
        for info in dir.segments().unwrap().iter().filter(|info| info.is_closed()) {
            out.extend(common::read_segment(info).unwrap().0);
        }
        out
    };
    let left = read();
    assert!(left[0].lsn <= 201 && left[0].lsn > 150, "from {}", left[0].lsn);
    assert!(records[left[0].lsn as usize - 1..].starts_with(&left));
    assert_eq!(trim(&dir), Trimmed { segments: 0, bytes: 0, recycled: 0, ..one });

    snap(&dir, 100_000);
    let two = trim(&dir);
    assert!(two.segments > 0);
    assert!(read().is_empty(), "all but the segment in use is gone");
    let last = *dir.segments().unwrap().first().map(frontrow_wal::SegmentInfo::number).iter().max().unwrap();
    let position = log.position();
    drop((log, dir));

    // Everything older goes once a new epoch is there, and the positions go on.
    let dir = open(folder.path());
    let log = dir.open_stream(0, &options(), || {}).unwrap();
    assert!(log.durable() >= position);
    let first = log.durable();
    let three = trim(&dir);
    assert!(three.segments >= 1, "{three:?} after segment {last}");
    drop((log, dir));
    let dir = open(folder.path());
    assert!(dir.segments().unwrap().iter().all(|info| info.epoch() == 2), "{:?}", names(folder.path()));
    let log = dir.open_stream(0, &options(), || {}).unwrap();
    assert!(log.durable() > first, "positions are never used twice");
}

/// A stream that nobody writes any more is trimmed away whole; should it come back, its positions go on.
#[test]
fn a_stream_can_go_altogether_and_come_back_further_on() {
    let folder = tempfile::tempdir().unwrap();
    let wakes = Wakes::default();
    let end = {
        let dir = open(folder.path());
        let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
        write(&mut log, &wakes, 1..=100);
        log.position()
    };
    let dir = open(folder.path());
    let other = dir.open_stream(1, &options(), || {}).unwrap();
    snap(&dir, 1000);
    trim(&dir);
    assert!(dir.segments().unwrap().iter().all(|info| info.stream() == 1));
    drop((other, dir));
    let dir = open(folder.path());
    let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
    assert!(log.durable() >= end);
    let more = write(&mut log, &wakes, 101..=110);
    drop((log, dir));
    let (records, _) = read_all(&open(folder.path())).unwrap();
    assert_eq!(records, more);
}

#[test]
fn a_reader_that_lags_keeps_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, wakes) = (open(folder.path()), Wakes::default());
    let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
    write(&mut log, &wakes, 1..=200);
    snap(&dir, 100_000);
    let segment = (16 << 10) - 4096;
    let kept = dir.trim(&mut LogIndex::default(), &|_| 2 * segment + 5).unwrap();
    assert_eq!(kept.segments, 2);
    assert_eq!(dir.trim(&mut LogIndex::default(), &|_| 0).unwrap().segments, 0);
}

#[test]
fn a_real_gap_is_still_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (dir, wakes) = (open(folder.path()), Wakes::default());
    let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
    write(&mut log, &wakes, 1..=400);
    snap(&dir, 200);
    trim(&dir);
    drop((log, dir));
    let dir = open(folder.path());
    let numbers: Vec<u32> = dir.segments().unwrap().iter().map(frontrow_wal::SegmentInfo::number).collect();
    assert!(numbers[0] > 2 && numbers.len() > 5, "{numbers:?}");
    let aside = folder.path().join("aside");
    for number in numbers {
        let path = segment_path(folder.path(), 1, number);
        fs::rename(&path, &aside).unwrap();
        let refused = read_all(&dir).unwrap_err();
        assert!(matches!(&refused, WalError::SegmentMissing { path: named } if *named == path), "{refused}");
        fs::rename(&aside, &path).unwrap();
    }
    let (mark, saved) = (folder.path().join("TRIM"), fs::read(folder.path().join("TRIM")).unwrap());
    fs::remove_file(&mark).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::SegmentMissing { .. })), "without the mark");
    fs::write(&mark, &saved[..saved.len() - 3]).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::BadTrimMark { .. })));
    let newer = String::from_utf8(saved.clone()).unwrap().replace("frontrow-trim 1", "frontrow-trim 2");
    fs::write(&mark, newer).unwrap();
    assert!(matches!(read_all(&dir), Err(WalError::ManifestVersion { found: 2, .. })));
    fs::write(&mark, &saved).unwrap();
    read_all(&dir).unwrap();
}

/// Dies, so to speak, at a chosen one of the calls that change names.
#[derive(Default)]
struct Mortal {
    calls: AtomicU64,
    last: AtomicU64,
}

impl Mortal {
    fn step(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call < self.last.load(Ordering::SeqCst) { Ok(()) } else { Err(io::Error::other("died")) }
    }
}

impl Disk for Mortal {
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.remove(path)
    }
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.step()?;
        RealDisk.sync_dir(dir)
    }
}

#[test]
fn a_trim_cut_short_anywhere_is_finished_by_the_next() {
    let template = tempfile::tempdir().unwrap();
    let expected = {
        let (dir, wakes) = (open(template.path()), Wakes::default());
        let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
        let records = write(&mut log, &wakes, 1..=600);
        snap(&dir, 500);
        records
    };
    let mut steps = 0;
    loop {
        let folder = tempfile::tempdir().unwrap();
        copy(template.path(), folder.path());
        let disk = Arc::new(Mortal::default());
        disk.last.store(u64::MAX, Ordering::SeqCst);
        let options = DirOptions { disk: disk.clone(), ..DirOptions::new(PARTITIONS) };
        let dir = DataDir::open(folder.path(), options).unwrap();
        disk.last.store(disk.calls.load(Ordering::SeqCst) + steps, Ordering::SeqCst);
        let done = dir.trim(&mut LogIndex::default(), &|_| Position::MAX);
        drop(dir);
        let dir = open(folder.path());
        let (records, _) = read_all(&dir).unwrap();
        assert!(expected.ends_with(&records) && records[0].lsn <= 501, "after {steps} steps");
        trim(&dir);
        let (records, _) = read_all(&dir).unwrap();
        assert!(expected.ends_with(&records) && records[0].lsn > 400 && records[0].lsn <= 501);
        let seen = names(folder.path()).len();
        assert_eq!(
            seen - dir.segments().unwrap().len(),
            names(folder.path()).iter().filter(|name| is_nameless(name)).count()
        );
        if done.is_ok() {
            break;
        }
        steps += 1;
    }
    println!("a trim was cut short at each of {steps} steps");
    assert!(steps > 10);
}

/// Full for new files, not for those that are there already.
#[derive(Default)]
struct FullDisk(AtomicU64);

impl Disk for FullDisk {
    fn create(&self, path: &Path) -> io::Result<fs::File> {
        if self.0.load(Ordering::SeqCst) > 0 && path.to_string_lossy().contains(".seg") {
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.create(path)
    }
}

#[test]
fn retired_files_are_written_again_also_on_a_full_disk() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let disk = Arc::new(FullDisk::default());
    let on = DirOptions { disk: disk.clone(), ..DirOptions::new(PARTITIONS) };
    let dir = DataDir::open(folder.path(), on).unwrap();
    let mut log = dir.open_stream(0, &options(), wakes.callback()).unwrap();
    let mut all = write(&mut log, &wakes, 1..=300);
    disk.0.store(1, Ordering::SeqCst);
    let mut lsn = 300;
    for _ in 0..6 {
        snap(&dir, 16 * lsn);
        let trimmed = trim(&dir);
        assert!(trimmed.recycled > 0, "{trimmed:?}");
        log.retry_space();
        all.extend(write(&mut log, &wakes, lsn + 1..=lsn + 60));
        lsn += 60;
        let names = names(folder.path());
        assert!(names.len() < 16, "{names:?}");
    }
    disk.0.store(0, Ordering::SeqCst);
    let end = log.position();
    drop((log, dir));
    let dir = open(folder.path());
    let (records, _) = read_all(&dir).unwrap();
    assert!(all.ends_with(&records) && records.last().unwrap().position == end);
    assert!(names(folder.path()).iter().all(|name| !is_nameless(name)), "retired files go at a start");
}
