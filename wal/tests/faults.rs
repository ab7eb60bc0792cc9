//! Injected faults: a failed sync is final, a full disk is not, a slow disk gives a backlog.

mod common;

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex};

use common::{
    DURABLE_WAYS, Hand, PARTITIONS, Wakes, append, by, open, read_all, settle, settle_by, wait_durable,
};
use frontrow_wal::fs::{Disk, RealDisk};
use frontrow_wal::{
    AppendError, Carrier, DataDir, DirOptions, Durability, LogOptions, Space, Tail, WalError,
};

/// A disk whose commits can be made to fail or to wait, and that can be full.
#[derive(Default)]
struct FaultyDisk {
    fail_sync: AtomicBool,
    /// Commits' writes or syncs that still succeed; 0 for all. The one after them is torn: half of it
    /// reaches the file.
    tear_after: AtomicUsize,
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

    /// Whether this write or sync is the one to be torn.
    fn tears(&self) -> bool {
        self.tear_after.load(Ordering::SeqCst) > 0 && self.tear_after.fetch_sub(1, Ordering::SeqCst) == 1
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
        if self.tears() {
            self.fail_sync.store(true, Ordering::SeqCst);
            return self.commit_fault();
        }
        RealDisk.sync_data(file)
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.commit_fault()?;
        if self.tears() {
            self.fail_sync.store(true, Ordering::SeqCst);
            RealDisk.write_at(file, &bytes[..bytes.len() / 2 / 4096 * 4096], offset)?;
            return self.commit_fault();
        }
        RealDisk.write_at(file, bytes, offset)
    }
}

fn open_on(path: &Path, disk: &Arc<FaultyDisk>) -> DataDir {
    DataDir::open(path, DirOptions { disk: disk.clone(), ..DirOptions::new(PARTITIONS) }).unwrap()
}

#[test]
fn a_failed_sync_poisons_for_good() {
    for way in DURABLE_WAYS {
        let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
        let (dir, mut hand) = (open_on(folder.path(), &disk), Hand::default());
        let mut log = dir.open_stream(0, &by(way, &LogOptions::small()), wakes.callback()).unwrap();
        let kept = append(&mut log, &wakes, 1, 100);
        log.flush().unwrap();

        disk.fail_sync.store(true, Ordering::SeqCst);
        append(&mut log, &wakes, 2, 100);
        assert!(hand.commit(&mut log, &*disk).unwrap());
        wakes.wait_until(|| log.fault().is_some());
        // The disk is well again, the log is not: what the kernel dropped will not come back.
        disk.fail_sync.store(false, Ordering::SeqCst);
        assert_eq!(log.durable(), kept.position, "nothing was published");
        let poisoned = |error: &AppendError| matches!(error, AppendError::Poisoned { reason } if reason.contains("injected"));
        assert!(log.append(0, 3, 0, 0, b"x").is_err_and(|error| poisoned(&error)));
        assert!(log.commit().is_err_and(|error| poisoned(&error)));
        assert!(log.flush().is_err_and(|error| poisoned(&error)));
        assert!(!log.in_flight() && log.next_write().is_none());
        drop((log, dir));
        let records = read_all(&open(folder.path())).unwrap().0;
        assert_eq!(records[0], kept);
    }
}

/// One commit over several segments, torn at each of its writes in turn: what is left is a prefix, and
/// no segment was touched before the one in front of it was whole.
#[test]
fn a_commit_torn_at_any_write_leaves_a_prefix() {
    for way in DURABLE_WAYS {
        let mut torn_at = 0;
        loop {
            torn_at += 1;
            let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
            let (dir, mut hand) = (open_on(folder.path(), &disk), Hand::default());
            let options =
                LogOptions { ready_ahead: 4, backlog_bytes: 256 << 10, ..by(way, &LogOptions::small()) };
            let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
            let kept = append(&mut log, &wakes, 1, 100);
            log.flush().unwrap();
            let before = log.durable();
            for lsn in 2..=18 {
                wakes.wait_until(|| log.append(0, lsn, 0, 0, &[7; 9000]).is_ok());
            }
            disk.tear_after.store(torn_at, Ordering::SeqCst);
            assert!(hand.commit(&mut log, &*disk).unwrap());
            wakes.wait_until(|| log.fault().is_some() || !log.in_flight());
            let whole = log.fault().is_none();
            assert_eq!(log.durable(), if whole { log.position() } else { before }, "{way:?} {torn_at}");
            drop((log, dir));
            let (records, tails) = read_all(&open(folder.path())).unwrap();
            assert_eq!(records[0], kept);
            assert!(records.len() <= 18 && (!whole || records.len() == 18), "{way:?} {torn_at}");
            assert!(records.iter().zip(1..).all(|(record, lsn)| record.lsn == lsn));
            let last = tails.iter().rposition(|tail| *tail != Tail::Clean);
            let sealed = tails.iter().take_while(|tail| **tail == Tail::Sealed).count();
            assert!(last.is_none_or(|last| last <= sealed), "{way:?} {torn_at}: {tails:?}");
            if whole {
                break;
            }
        }
        // 153 kB in segments of 64 KiB: three parts, each with a write or a sync of its own.
        assert_eq!(torn_at, 4, "{way:?}");
    }
}

/// The part that seals a segment is durable, what follows was never written: the end of a core.
#[test]
fn a_commit_given_up_half_way_leaves_a_prefix() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let dir = open(folder.path());
    let way = (Durability::Direct, Carrier::Caller);
    let mut log = dir.open_stream(0, &by(way, &LogOptions::small()), wakes.callback()).unwrap();
    for lsn in 1..=9 {
        wakes.wait_until(|| log.append(0, lsn, 0, 0, &[7; 9000]).is_ok());
    }
    log.commit().unwrap();
    let write = log.next_write().expect("a commit is in flight");
    let file = write.file.expect("the first write brings the file");
    RealDisk.write_at(&file, &write.buffer[write.range], write.offset).unwrap();
    log.written(write.buffer, Ok(()));
    assert_eq!(log.durable(), 0, "not all of it is written");
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0.len(), 6);
}

#[test]
fn a_buffer_that_is_not_the_one_lent_poisons() {
    let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
    let dir = open(folder.path());
    let way = (Durability::Direct, Carrier::Caller);
    let mut log = dir.open_stream(0, &by(way, &LogOptions::small()), wakes.callback()).unwrap();
    append(&mut log, &wakes, 1, 100);
    assert!(log.next_write().is_none(), "nothing is committed yet");
    log.commit().unwrap();
    let write = log.next_write().expect("a commit is in flight");
    assert!(log.next_write().is_none(), "one write at a time");
    assert_eq!((write.range.len(), write.offset), (4096, 4096));
    log.written(Vec::new(), Ok(()));
    assert!(log.fault().is_some());
    assert_eq!(log.durable(), 0);
}

/// What a runtime began is ended by a flush, on the handle that the log has kept, also in a new segment.
#[test]
fn a_flush_goes_on_where_the_caller_stopped() {
    let (folder, wakes, mut hand) = (tempfile::tempdir().unwrap(), Wakes::default(), Hand::default());
    let dir = open(folder.path());
    let way = (Durability::Direct, Carrier::Caller);
    let mut log = dir.open_stream(0, &by(way, &LogOptions::small()), wakes.callback()).unwrap();
    let mut expected = Vec::new();
    for lsn in 1..=40 {
        expected.push(settle_by(&mut hand, &mut log, &wakes, lsn, 5000).unwrap());
        match lsn % 3 {
            0 => assert_eq!(log.flush().unwrap(), log.position()),
            1 => {
                log.commit().unwrap();
                wait_durable(&mut hand, &mut log, &wakes);
            }
            _ => {}
        }
    }
    log.flush().unwrap();
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0, expected);
}

#[test]
fn a_full_disk_is_met_at_preparation_and_passes() {
    DURABLE_WAYS.into_iter().for_each(full_disk);
}

fn full_disk(way: (Durability, Carrier)) {
    let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
    let (dir, mut hand) = (open_on(folder.path(), &disk), Hand::default());
    let mut log = dir.open_stream(0, &by(way, &LogOptions::small()), wakes.callback()).unwrap();
    let mut expected = vec![append(&mut log, &wakes, 1, 100)];
    log.flush().unwrap();
    disk.full.store(true, Ordering::SeqCst);
    // What is prepared can still be used; then the refusal says why.
    let refused = loop {
        match settle_by(&mut hand, &mut log, &wakes, expected.len() as u64 + 1, 1000) {
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
    expected.push(settle_by(&mut hand, &mut log, &wakes, 9999, 5000).unwrap());
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
    DURABLE_WAYS.into_iter().for_each(backlog);
}

fn backlog(way: (Durability, Carrier)) {
    let (folder, disk, wakes) = (tempfile::tempdir().unwrap(), Arc::default(), Wakes::default());
    let (dir, mut hand) = (open_on(folder.path(), &disk), Hand::default());
    let options = LogOptions { backlog_bytes: 4 << 10, ..by(way, &LogOptions::small()) };
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
    hand.carry(&mut log, &*disk);
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
    for carrier in [Carrier::Thread, Carrier::Caller] {
        let (folder, wakes) = (tempfile::tempdir().unwrap(), Wakes::default());
        let options = DirOptions { disk: Arc::new(NoDirect), ..DirOptions::new(PARTITIONS) };
        let dir = DataDir::open(folder.path(), options).unwrap();
        let direct = by((Durability::Direct, carrier), &LogOptions::small());
        let mut log = dir.open_stream(0, &direct, wakes.callback()).unwrap();
        assert_eq!((log.durability(), log.carrier()), (Durability::Mapped, Carrier::Thread));
        let record = append(&mut log, &wakes, 1, 100);
        log.flush().unwrap();
        assert!(log.next_write().is_none());
        drop((log, dir));
        assert_eq!(read_all(&open(folder.path())).unwrap().0, [record]);
    }
}

/// A payload of the largest size comes back, and one byte more is refused.
#[test]
fn the_largest_payload_fits_a_segment_of_the_least_size() {
    DURABLE_WAYS.into_iter().for_each(largest_payload);
}

fn largest_payload(way: (Durability, Carrier)) {
    let (folder, wakes, mut hand) = (tempfile::tempdir().unwrap(), Wakes::default(), Hand::default());
    let dir = open(folder.path());
    let options = LogOptions {
        segment_bytes: (1 << 20) + (8 << 10),
        max_payload_bytes: 1 << 20,
        ..by(way, &LogOptions::small())
    };
    let mut log = dir.open_stream(0, &options, wakes.callback()).unwrap();
    let records: Vec<_> =
        (1..=3).map(|lsn| settle_by(&mut hand, &mut log, &wakes, lsn, 1 << 20).unwrap()).collect();
    assert!(matches!(settle(&mut log, &wakes, 4, (1 << 20) + 1), Err(AppendError::TooLarge { .. })));
    log.flush().unwrap();
    drop((log, dir));
    assert_eq!(read_all(&open(folder.path())).unwrap().0, records);
}
