//! Injected faults: a failed sync is final, a full disk is not, a slow disk gives a backlog.

mod common;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use common::{PARTITIONS, Wakes, append, open, read_all, settle};
use frontrow_wal::fs::{Disk, RealDisk};
use frontrow_wal::{AppendError, DataDir, DirOptions, Durability, LogOptions, Space, WalError};

/// A disk whose commits can be made to fail or to wait, and that can be full.
#[derive(Default)]
struct FaultyDisk {
    fail_sync: AtomicBool,
    full: AtomicBool,
    held: Mutex<bool>,
    released: Condvar,
}

impl FaultyDisk {
    fn hold(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }

    fn commit_fault(&self) -> io::Result<()> {
        let mut held = self.held.lock().unwrap();
        while *held {
            held = self.released.wait(held).unwrap();
        }
        if self.fail_sync.load(Ordering::SeqCst) {
            return Err(io::Error::other("injected"));
        }
        Ok(())
    }
}

impl Disk for FaultyDisk {
    fn preallocate(&self, file: &File, header: &[u8], bytes: u64) -> io::Result<()> {
        if self.full.load(Ordering::SeqCst) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        RealDisk.preallocate(file, header, bytes)
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.commit_fault()?;
        RealDisk.sync_data(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.commit_fault()?;
        RealDisk.write_at(file, bytes, offset)
    }
}

fn open_on(path: &Path, disk: &Arc<FaultyDisk>) -> DataDir {
    DataDir::open(path, DirOptions { disk: disk.clone(), ..DirOptions::new(PARTITIONS) }).unwrap()
}

#[test]
fn a_failed_sync_poisons_for_good() {
    for durability in [Durability::Mapped, Durability::Direct] {
        let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
        let dir = open_on(folder.path(), &disk);
        let options = LogOptions { durability, ..LogOptions::small() };
        let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
        let kept = append(&mut log, &wakes, 1, 100);
        log.flush().unwrap();

        disk.fail_sync.store(true, Ordering::SeqCst);
        append(&mut log, &wakes, 2, 100);
        assert!(log.commit().unwrap());
        wakes.wait_until(|| log.fault().is_some());
        // The disk is well again, the log is not: what the kernel dropped will not come back.
        disk.fail_sync.store(false, Ordering::SeqCst);
        assert_eq!(log.durable(), kept.position, "nothing was published");
        let poisoned = |error: &AppendError| matches!(error, AppendError::Poisoned { reason } if reason.contains("injected"));
        assert!(log.append(0, 3, 0, 0, b"x").is_err_and(|error| poisoned(&error)));
        assert!(log.commit().is_err_and(|error| poisoned(&error)));
        assert!(log.flush().is_err_and(|error| poisoned(&error)));
        assert!(!log.in_flight());
        drop((log, dir));
        let records = read_all(&open(folder.path())).unwrap().0;
        assert_eq!(records[0], kept);
    }
}

#[test]
fn a_full_disk_is_met_at_preparation_and_passes() {
    let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
    let dir = open_on(folder.path(), &disk);
    let mut log = dir.open_stream(0, &LogOptions::small(), wakes.callback()).unwrap();
    let mut expected = vec![append(&mut log, &wakes, 1, 100)];
    log.flush().unwrap();
    disk.full.store(true, Ordering::SeqCst);
    // What is prepared can still be used; then the refusal says why.
    let refused = loop {
        match settle(&mut log, &wakes, expected.len() as u64 + 1, 1000) {
            Ok(record) => expected.push(record),
            Err(error) => break error,
        }
    };
    assert!(matches!(&refused, AppendError::DiskFull { .. }), "{refused}");
    assert!(refused.to_string().contains("free"), "{refused}");
    assert!(log.fault().is_none(), "a full disk is no failed sync");
    log.flush().unwrap();

    disk.full.store(false, Ordering::SeqCst);
    log.retry_space();
    wakes.wait_until(|| log.space() == Space::Ready);
    expected.push(append(&mut log, &wakes, 9999, 5000));
    log.flush().unwrap();
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0, expected);
}

#[test]
fn a_full_disk_at_open_is_typed_and_leaves_nothing() {
    let (folder, disk) = (tempfile::tempdir().unwrap(), Arc::<FaultyDisk>::default());
    let dir = open_on(folder.path(), &disk);
    disk.full.store(true, Ordering::SeqCst);
    let refused = dir.open_stream(0, &LogOptions::small(), || {}).err();
    assert!(matches!(refused, Some(WalError::DiskFull { .. })), "{refused:?}");
    assert_eq!(std::fs::read_dir(folder.path().join("log")).unwrap().count(), 0);
}

#[test]
fn the_backlog_is_bounded_and_recovers() {
    let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
    let dir = open_on(folder.path(), &disk);
    let options = LogOptions { backlog_bytes: 4 << 10, ..LogOptions::small() };
    let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
    disk.hold(true);
    append(&mut log, &wakes, 1, 100);
    assert!(log.commit().unwrap());
    assert!(log.in_flight());
    let mut lsn = 1;
    let refused = loop {
        lsn += 1;
        if let Err(error) = log.append(0, lsn, 0, 0, &[1; 100]) {
            break error;
        }
        assert!(!log.commit().unwrap(), "one commit in flight at a time");
    };
    assert!(
        matches!(refused, AppendError::Backlog { unsynced_bytes, .. } if unsynced_bytes < (4 << 10) + 144)
    );
    assert_eq!(log.durable(), 0);
    disk.hold(false);
    wakes.wait_until(|| log.append(0, lsn, 0, 0, &[1; 100]).is_ok());
    assert_eq!(log.flush().unwrap(), log.position());
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0.len() as u64, lsn);
}

#[test]
fn what_was_not_committed_is_forgotten_and_a_refused_record_leaves_no_trace() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let dir = open(folder.path());
    let options = LogOptions::small();
    let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
    let too_large = AppendError::TooLarge { len_bytes: 20_000, limit_bytes: options.max_payload_bytes };
    assert_eq!(log.append(0, 1, 0, 0, &vec![1; 20_000]), Err(too_large.clone()));
    let written_too_much = log.append_with(0, 1, 0, 0, 10, |buffer| buffer.resize(buffer.len() + 20_000, 1));
    assert_eq!(written_too_much, Err(too_large));
    assert!(!log.has_pending());
    let position = log.append_with(3, 1, 2, 4, 5, |buffer| buffer.extend_from_slice(b"hello")).unwrap();
    assert_eq!(log.flush().unwrap(), position);
    append(&mut log, &wakes, 2, 50);
    drop((log, dir));
    let records = read_all(&open(folder.path())).unwrap().0;
    assert_eq!(records.len(), 1);
    assert_eq!((records[0].partition, &*records[0].payload), (3, &b"hello"[..]));
}

/// A filesystem that accepts `O_DIRECT` at open and refuses the write, or refuses both.
struct NoDirect;

impl Disk for NoDirect {
    fn write_at(&self, _: &File, _: &[u8], _: u64) -> io::Result<()> {
        Err(io::ErrorKind::InvalidInput.into())
    }
}

#[test]
fn direct_commits_fall_back_where_they_are_refused() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let options = DirOptions { disk: Arc::new(NoDirect), ..DirOptions::new(PARTITIONS) };
    let dir = DataDir::open(folder.path(), options).unwrap();
    let direct = LogOptions { durability: Durability::Direct, ..LogOptions::small() };
    let mut log = dir.open_stream(0, &direct, wakes.callback()).unwrap();
    assert_eq!(log.durability(), Durability::Mapped);
    let record = append(&mut log, &wakes, 1, 100);
    log.flush().unwrap();
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0, [record]);
}

/// A payload of the largest size comes back, and one byte more is refused.
#[test]
fn the_largest_payload_fits_a_segment_of_the_least_size() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let dir = open(folder.path());
    let options = LogOptions {
        segment_bytes: (1 << 20) + (8 << 10),
        max_payload_bytes: 1 << 20,
        ..LogOptions::small()
    };
    let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
    let records: Vec<_> = (1..=3).map(|lsn| append(&mut log, &wakes, lsn, 1 << 20)).collect();
    assert!(matches!(settle(&mut log, &wakes, 4, (1 << 20) + 1), Err(AppendError::TooLarge { .. })));
    log.flush().unwrap();
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0, records);
}
