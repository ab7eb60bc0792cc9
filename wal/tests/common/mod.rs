//! What the tests share: a log in a folder of its own, a way to wait, and an owned copy of a record.
#![allow(dead_code, reason = "each test binary uses its own part")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex};

use frontrow_wal::fs::{Disk, RealDisk};
use frontrow_wal::{
    AppendError, Appender, Carrier, DataDir, DirOptions, Durability, LogOptions, Segment, SegmentInfo, Tail,
    WalError,
};

pub(crate) const PARTITIONS: u16 = 16;

/// Every way in which commits become durable, and who writes them.
pub(crate) const DURABLE_WAYS: [(Durability, Carrier); 3] = [
    (Durability::Mapped, Carrier::Thread),
    (Durability::Direct, Carrier::Thread),
    (Durability::Direct, Carrier::Caller),
];

/// `options` with commits by `way`.
pub(crate) fn by((durability, carrier): (Durability, Carrier), options: &LogOptions) -> LogOptions {
    LogOptions { durability, carrier, ..options.clone() }
}

/// The caller's part of commits, as a runtime would do it: one write after the other on a file that came
/// with one of them. Does nothing for a stream whose thread writes.
#[derive(Default)]
pub(crate) struct Hand {
    file: Option<File>,
}

impl Hand {
    /// Carries out what can be written now; returns how many writes that were.
    pub(crate) fn carry(&mut self, log: &mut Appender, disk: &dyn Disk) -> usize {
        let mut writes = 0;
        while let Some(write) = log.next_write() {
            if write.file.is_some() {
                self.file = write.file;
            }
            let file = self.file.as_ref().expect("the first write of a file brings it");
            let result = disk.write_at(file, &write.buffer[write.range], write.offset);
            log.written(write.buffer, result);
            writes += 1;
        }
        writes
    }

    /// Begins a commit and carries out what can be.
    pub(crate) fn commit(&mut self, log: &mut Appender, disk: &dyn Disk) -> Result<bool, AppendError> {
        let begun = log.commit()?;
        self.carry(log, disk);
        Ok(begun)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Owned {
    pub(crate) stream: u16,
    pub(crate) partition: u16,
    pub(crate) epoch: u32,
    pub(crate) lsn: u64,
    pub(crate) time_ms: u64,
    pub(crate) kind: u8,
    pub(crate) payload: Vec<u8>,
    pub(crate) position: u64,
}

/// Counts wakes; waits for a condition to come true at one of them.
#[derive(Clone, Default)]
pub(crate) struct Wakes(Arc<(Mutex<u64>, Condvar)>);

impl Wakes {
    pub(crate) fn callback(&self) -> impl Fn() + Send + Sync + 'static {
        let inner = self.0.clone();
        move || {
            *inner.0.lock().unwrap() += 1;
            inner.1.notify_all();
        }
    }

    pub(crate) fn wait_until(&self, mut done: impl FnMut() -> bool) {
        let mut seen = self.0.0.lock().unwrap();
        while !done() {
            seen = self.0.1.wait(seen).unwrap();
        }
    }
}

pub(crate) fn open(path: &Path) -> DataDir {
    DataDir::open(path, DirOptions::new(PARTITIONS)).unwrap()
}

pub(crate) fn payload(lsn: u64, len: usize) -> Vec<u8> {
    (0..len).map(|i| (lsn.wrapping_mul(31).wrapping_add(i as u64 * 7) % 251) as u8 + 1).collect()
}

/// Appends one record whose fields all follow from `lsn`, as [`settle`] does.
pub(crate) fn append(log: &mut Appender, wakes: &Wakes, lsn: u64, len: usize) -> Owned {
    settle(log, wakes, lsn, len).unwrap()
}

pub(crate) fn settle(log: &mut Appender, wakes: &Wakes, lsn: u64, len: usize) -> Result<Owned, AppendError> {
    settle_by(&mut Hand::default(), log, wakes, lsn, len)
}

/// Tries to append for as long as the answer is "busy", committing and waiting for wakes in between.
pub(crate) fn settle_by(
    hand: &mut Hand,
    log: &mut Appender,
    wakes: &Wakes,
    lsn: u64,
    len: usize,
) -> Result<Owned, AppendError> {
    let (partition, time_ms, kind) = ((lsn % 16) as u16, lsn * 3, (lsn % 7) as u8);
    let bytes = payload(lsn, len);
    let mut settled = Ok(0);
    wakes.wait_until(|| {
        loop {
            settled = log.append(partition, lsn, time_ms, kind, &bytes);
            if !matches!(settled, Err(AppendError::Backlog { .. } | AppendError::NoSegment)) {
                return true;
            }
            log.commit().unwrap();
            // Without a write of our own, only a wake can bring news.
            if hand.carry(log, &RealDisk) == 0 {
                return false;
            }
        }
    });
    let position = settled?;
    let (stream, epoch) = (log.stream(), log.epoch());
    Ok(Owned { stream, partition, epoch, lsn, time_ms, kind, payload: bytes, position })
}

pub(crate) fn read_segment(info: &SegmentInfo) -> Result<(Vec<Owned>, Tail), WalError> {
    let mut out = Vec::new();
    let tail = Segment::open(info)?.for_each(|record| {
        assert_eq!(record.payload.as_ptr() as usize % 8, 0, "payloads are aligned");
        out.push(Owned {
            stream: info.stream(),
            partition: record.partition,
            epoch: record.epoch,
            lsn: record.lsn,
            time_ms: record.time_ms,
            kind: record.kind,
            payload: record.payload.to_vec(),
            position: record.position,
        });
    })?;
    Ok((out, tail))
}

/// All records before the epoch `dir` began, and the tails of all segments.
pub(crate) fn read_all(dir: &DataDir) -> Result<(Vec<Owned>, Vec<Tail>), WalError> {
    let (mut records, mut tails) = (Vec::new(), Vec::new());
    for info in dir.segments()?.iter().filter(|info| info.epoch() < dir.epoch()) {
        let (more, tail) = read_segment(info)?;
        records.extend(more);
        tails.push(tail);
    }
    Ok((records, tails))
}

/// Waits until the commit in flight is durable.
pub(crate) fn wait_durable(hand: &mut Hand, log: &mut Appender, wakes: &Wakes) {
    wakes.wait_until(|| {
        hand.carry(log, &RealDisk);
        !log.in_flight()
    });
}

/// Writes `records` records into a new directory, `per_commit` at a time, and closes it.
pub(crate) fn written(
    path: &Path,
    options: &LogOptions,
    records: u64,
    per_commit: u64,
    len: usize,
) -> Vec<Owned> {
    let (dir, wakes, mut hand) = (open(path), Wakes::default(), Hand::default());
    dir.begin_history(false).unwrap();
    let mut log = dir.open_stream(0, options, wakes.callback()).unwrap();
    let mut out = Vec::new();
    for lsn in 1..=records {
        out.push(settle_by(&mut hand, &mut log, &wakes, lsn, len).unwrap());
        if lsn % per_commit == 0 {
            // One may be in flight already, for a segment had to be waited for; and it may have taken all there is with it.
            wait_durable(&mut hand, &mut log, &wakes);
            let _ = hand.commit(&mut log, &RealDisk).unwrap();
            wait_durable(&mut hand, &mut log, &wakes);
        }
    }
    log.flush().unwrap();
    out
}

pub(crate) fn segment_path(path: &Path, epoch: u32, number: u32) -> PathBuf {
    path.join(format!("log/s0000-e{epoch:08}-{number:08}.seg"))
}

/// Copies a data directory.
pub(crate) fn copy_all(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let (path, to) = (entry.as_ref().unwrap().path(), to.join(entry.unwrap().file_name()));
        if path.is_dir() {
            copy_all(&path, &to);
        } else {
            // Beside a writer a file that is being made gets its name, or goes, between two steps.
            match std::fs::copy(&path, &to) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                copied => drop(copied.unwrap()),
            }
        }
    }
}
