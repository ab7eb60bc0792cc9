//! A standby that begins from the primary's snapshots: what goes over, what a cut or a crash at any step leaves, and what a
//! node that comes back may keep.

mod common;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::{PARTITIONS, Wakes, append, read_segment};
use frontrow_wal::fs::Disk;
use frontrow_wal::stream::{
    CONTROL, FILE_PIECE_BYTES, Heard, Hello, Mirror, Piece, Received, Receiver, SeekError, Sender, Source,
};
use frontrow_wal::{
    DataDir, DirOptions, Durability, Floor, History, LogIndex, LogOptions, Position, Resume, SeedError,
    SeedIntake, SnapshotMeta, WalError,
};

/// Nothing is synced; dies, so to speak, at a chosen one of the calls that change something.
struct Quick {
    calls: AtomicU64,
    last: u64,
}

impl Quick {
    fn step(&self) -> io::Result<()> {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        if call < self.last { Ok(()) } else { Err(io::Error::other("died")) }
    }
}

impl Disk for Quick {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.step()?;
        std::fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::rename(from, to)
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        self.step()?;
        std::fs::remove_file(path)
    }
    fn sync_data(&self, _: &File) -> io::Result<()> {
        self.step()
    }
    fn sync_all(&self, _: &File) -> io::Result<()> {
        self.step()
    }
    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        self.step()
    }
    fn preallocate(&self, mut file: &File, header: &[u8], bytes: u64) -> io::Result<()> {
        file.write_all(header)?;
        file.write_all(&vec![0; bytes as usize - header.len()])
    }
}

fn mortal(cluster: Option<u128>, last: u64) -> (DirOptions, Arc<Quick>) {
    let disk = Arc::new(Quick { calls: AtomicU64::new(0), last });
    (DirOptions { cluster, disk: Arc::<Quick>::clone(&disk), ..DirOptions::new(PARTITIONS) }, disk)
}

fn options(cluster: Option<u128>) -> DirOptions {
    mortal(cluster, u64::MAX).0
}

fn small() -> LogOptions {
    LogOptions {
        segment_bytes: 16 << 10,
        max_payload_bytes: 1 << 10,
        durability: Durability::Mapped,
        ..LogOptions::small()
    }
}

/// A primary at rest.
struct Primary {
    dir: DataDir,
    history: History,
    durable: BTreeMap<u16, Position>,
}

/// Opens the next epoch and writes `records` into each of two streams, from `lsn` on.
fn serve(path: &Path, lsn: &mut u64, records: u64) -> Primary {
    let dir = DataDir::open(path, options(None)).unwrap();
    let history = dir.begin_history(false).unwrap();
    let (wakes, mut durable) = (Wakes::default(), BTreeMap::new());
    for stream in 0..2 {
        let mut log = dir.open_stream(stream, &small(), wakes.callback()).unwrap();
        for n in 1..=records {
            *lsn += 1;
            append(&mut log, &wakes, *lsn, 300);
            if n % 7 == 0 {
                log.flush().unwrap();
            }
        }
        log.flush().unwrap();
        durable.insert(stream, log.position());
    }
    Primary { dir, history, durable }
}

impl Primary {
    fn hello(&self, stream: u16) -> Hello {
        Hello {
            stream,
            partitions: self.dir.partitions(),
            streams: self.dir.streams().unwrap(),
            epoch: self.dir.epoch(),
            cluster: self.dir.cluster(),
            node: self.history.node,
            created_ms: 0,
            epochs: self.history.epochs.clone(),
        }
    }

    fn floor(&self) -> Floor {
        Floor { epoch: self.dir.epoch(), streams: self.durable.clone() }
    }

    fn seek(&self, stream: u16, from: (u32, Position)) -> Result<Source, SeekError> {
        Source::seek(self.dir.clone(), stream, self.history.clone(), from)
    }
}

/// Two snapshots of every partition, up to `older` and 16 records further, and the log trimmed behind them.
fn trim(dir: &DataDir, older: u64) -> u64 {
    snap(dir, older);
    dir.trim(&mut LogIndex::default(), &|_| Position::MAX).unwrap().segments
}

fn snap(dir: &DataDir, older: u64) {
    for partition in 0..PARTITIONS {
        for lsn in [older, older + 16] {
            let meta = SnapshotMeta { partition, lsn, epoch: dir.epoch(), time_ms: 0, state_hash: 0 };
            dir.write_snapshot(&meta, &vec![7; 100 + usize::from(partition)]).unwrap();
        }
    }
}

fn attend(path: &Path, primary: &Primary) -> DataDir {
    let dir = DataDir::attend(path, options(Some(primary.dir.cluster())), primary.dir.epoch()).unwrap();
    dir.erase_torn().unwrap();
    dir
}

/// Brings a stream over from where the standby is; at most `budget` bytes of it.
fn copy(primary: &Primary, dir: &DataDir, resume: Resume, stream: u16, mut budget: usize) {
    let mut sender = Sender::new(primary.dir.cluster(), primary.dir.epoch());
    let mut receiver = Receiver::new(stream, primary.dir.cluster(), 77, dir.epoch());
    let mut mirror = Mirror::new(dir.clone(), stream);
    let mut source = None;
    loop {
        sender.push(&receiver.take_out());
        while let Some(heard) = sender.hear().unwrap() {
            match heard {
                Heard::Follow { .. } => sender.hello(primary.hello(stream)),
                Heard::Welcome { epoch, position } => {
                    source = Some(primary.seek(stream, (epoch, position)).unwrap());
                }
                _ => {}
            }
        }
        let mut done = false;
        if let Some(source) = &mut source {
            match source.next((primary.dir.epoch(), primary.durable[&stream])).unwrap() {
                Piece::Segment(start) => sender.segment(start),
                Piece::Data { segment, offset, bytes } => sender.data(segment, offset, bytes),
                Piece::End => done = true,
            }
        }
        let mut bytes = sender.take_out();
        bytes.truncate(budget);
        budget -= bytes.len();
        receiver.push(&bytes);
        while let Some(received) = receiver.receive().unwrap() {
            let mut ack = None;
            match received {
                Received::Hello(_) => receiver.welcome(resume.epoch, resume.position, resume.sealed),
                Received::Segment(start) => mirror.segment(start, true).unwrap(),
                Received::Data { segment, offset, bytes, batches, sealed } => {
                    ack = Some((segment.epoch, mirror.write(offset, bytes, &batches, sealed).unwrap()));
                }
                other => panic!("{other:?}"),
            }
            if let Some((epoch, position)) = ack {
                receiver.ack(epoch, position);
            }
        }
        if done || budget == 0 {
            return;
        }
    }
}

fn copy_all(primary: &Primary, dir: &DataDir) {
    for (stream, resume) in dir.follow_history(&primary.hello(CONTROL), 77).unwrap() {
        copy(primary, dir, resume, stream, usize::MAX);
    }
}

/// Asks for a seed over a pipe that is cut after `budget` bytes, and puts it in place. Whether all of it came.
fn seed(primary: &Primary, dir: &DataDir, mut budget: usize) -> Result<bool, SeedError> {
    let mut sender = Sender::new(primary.dir.cluster(), primary.dir.epoch());
    let mut receiver = Receiver::new(CONTROL, primary.dir.cluster(), 77, dir.epoch());
    let mut intake = SeedIntake::begin(dir)?;
    while budget > 0 {
        sender.push(&receiver.take_out());
        while let Some(heard) = sender.hear()? {
            match heard {
                Heard::Follow { .. } => sender.hello(primary.hello(CONTROL)),
                Heard::SeedWanted => {
                    let files = primary.dir.seed()?;
                    for file in &files {
                        for (at, piece) in file.bytes().chunks(FILE_PIECE_BYTES).enumerate() {
                            sender.piece(file.meta(), (at * FILE_PIECE_BYTES) as u64, piece);
                        }
                    }
                    sender.seed_done(files.len() as u32, primary.floor());
                }
                _ => {}
            }
        }
        let mut bytes = sender.take_out();
        bytes.truncate(budget);
        budget -= bytes.len();
        receiver.push(&bytes);
        while let Some(received) = receiver.receive()? {
            match received {
                Received::Hello(_) => {
                    receiver.files(Vec::new());
                    receiver.want_seed();
                }
                Received::Seed { meta, offset, bytes } => intake.take(&meta, offset, bytes)?,
                Received::SeedDone { files, floor } => {
                    intake.place(files, floor, &dir.history_of(&primary.hello(CONTROL), 77)?)?;
                    return Ok(true);
                }
                other => panic!("{other:?}"),
            }
        }
    }
    Ok(false)
}

/// All segments with records, up to the last one of them, and all snapshots.
fn contents(dir: &DataDir, log: bool) -> Vec<(String, Vec<u8>)> {
    let mut out = Vec::new();
    let name = |path: &Path| path.file_name().unwrap().to_string_lossy().into_owned();
    for info in dir.segments().unwrap().iter().filter(|_| log) {
        let (records, _) = read_segment(info).unwrap();
        if let Some(last) = records.last() {
            let bytes = std::fs::read(info.path()).unwrap();
            let end = last.position - info.first_position() + 4096;
            out.push((name(info.path()), bytes[..end as usize].to_vec()));
        }
    }
    for file in dir.snapshots().unwrap() {
        out.push((name(file.path()), std::fs::read(file.path()).unwrap()));
    }
    out
}

/// The newest snapshots of the primary, with their twins, and its log.
fn same_as(primary: &Primary, dir: &DataDir, log: bool) {
    let newest = |all: Vec<(String, Vec<u8>)>| -> BTreeMap<_, _> {
        all.into_iter().filter(|(name, _)| name.starts_with('s')).collect()
    };
    let seed = primary.dir.seed().unwrap();
    let snapshots: BTreeMap<_, _> = seed
        .iter()
        .filter(|file| file.meta().name != "TRIM")
        .map(|file| (file.meta().name.clone(), file.bytes().to_vec()))
        .collect();
    let ours: BTreeMap<_, _> =
        contents(dir, false).into_iter().filter(|(name, _)| name.starts_with('p')).collect();
    assert!(ours == snapshots, "the newest snapshots");
    if log {
        assert!(newest(contents(&primary.dir, true)) == newest(contents(dir, true)), "the same log");
    }
}

/// Two epochs, the first of which is gone and the second in part.
fn trimmed(path: &Path) -> Primary {
    let mut lsn = 0;
    drop(serve(path, &mut lsn, 150));
    let primary = serve(path, &mut lsn, 150);
    assert!(trim(&primary.dir, 400) > 5);
    primary
}

#[test]
fn a_trimmed_primary_seeds_a_fresh_standby_which_can_be_promoted_once_it_has_come_that_far() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let primary = trimmed(a.path());
    for stream in 0..2 {
        assert!(matches!(primary.seek(stream, (0, 0)), Err(SeekError::Gone { first: 2 })));
        assert!(matches!(primary.seek(stream, (1, 900)), Err(SeekError::Gone { first: 2 })));
    }
    let dir = attend(b.path(), &primary);
    let resume = dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
    assert!(resume.values().all(|from| from.epoch == 0));
    assert!(seed(&primary, &dir, usize::MAX).unwrap());
    same_as(&primary, &dir, false);
    // Its snapshots are ahead of its log: it must not serve from that, whole streams or not.
    let resume = dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
    assert!(resume.values().all(|from| from.epoch == 2 && from.position > 0), "{resume:?}");
    copy(&primary, &dir, resume[&0], 0, usize::MAX);
    let early = dir.promote().map(drop);
    assert!(matches!(early, Err(WalError::NotCaughtUp { stream: 1, epoch: 2, .. })), "{early:?}");
    drop(dir);
    let dir = attend(b.path(), &primary);
    copy_all(&primary, &dir);
    same_as(&primary, &dir, true);
    assert_eq!(dir.floor().unwrap(), Some(primary.floor()));
    let history = dir.promote().unwrap().1;
    assert_eq!(dir.floor().unwrap(), None);
    assert_eq!(history.end(2, 1), Some(primary.durable[&1]));
    drop(dir);
    // As a primary it goes on, and trims on.
    let mut lsn = 1000;
    let new = serve(b.path(), &mut lsn, 100);
    assert!(trim(&new.dir, 5000) > 2);
}

#[test]
fn an_outdated_standby_is_seeded_and_what_it_had_is_kept_aside() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let primary = serve(a.path(), &mut lsn, 200);
    let dir = attend(b.path(), &primary);
    let resume = dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
    copy(&primary, &dir, resume[&0], 0, 40_000);
    drop((dir, primary));
    let primary = serve(a.path(), &mut lsn, 200);
    trim(&primary.dir, 700);
    let dir = attend(b.path(), &primary);
    let resume = dir.follow_history(&primary.hello(CONTROL), 77).unwrap()[&0];
    assert_eq!(resume.epoch, 1);
    let refused = primary.seek(0, (resume.epoch, resume.position)).map(drop);
    assert!(matches!(refused, Err(SeekError::Gone { first: 2 })));
    let had = contents(&dir, true);
    // Cut at any byte, nothing has changed.
    let whole = {
        let (mut at, mut cuts) = (1, 0);
        while !seed(&primary, &dir, at).unwrap() {
            assert!(contents(&dir, true) == had && dir.floor().unwrap().is_none(), "cut at {at}");
            at += 1 + at / 40 + at % 97;
            cuts += 1;
        }
        assert!(cuts > 100, "{cuts} cuts");
        at
    };
    assert!(whole > 10_000, "{whole} bytes");
    let kept = std::fs::read_dir(b.path().join("cut/seeded-0001/log")).unwrap().count();
    assert!(kept >= 2, "{kept} segments");
    copy_all(&primary, &dir);
    same_as(&primary, &dir, true);
    // Once more, by the same way.
    assert!(seed(&primary, &dir, usize::MAX).unwrap());
    assert!(b.path().join("cut/seeded-0002/snap").is_dir());
    copy_all(&primary, &dir);
    same_as(&primary, &dir, true);
}

#[test]
fn a_crash_at_any_step_leaves_the_old_or_the_seed() {
    let a = tempfile::tempdir().unwrap();
    let primary = trimmed(a.path());
    let (mut old, mut new) = (0, 0);
    for last in 0.. {
        let b = tempfile::tempdir().unwrap();
        let cluster = Some(primary.dir.cluster());
        {
            // What it has: a standby's empty log, and snapshots.
            let dir = attend(b.path(), &primary);
            dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
            snap(&dir, 3);
        }
        let had = contents(&attend(b.path(), &primary), true);
        let (options, disk) = mortal(cluster, u64::MAX);
        drop(DataDir::attend(b.path(), options, primary.dir.epoch()).unwrap());
        // Opening takes some; it dies at the n-th call of the seed.
        let (options, _) = mortal(cluster, disk.calls.load(Ordering::SeqCst) + last);
        let dir = DataDir::attend(b.path(), options, primary.dir.epoch()).unwrap();
        let done = seed(&primary, &dir, usize::MAX);
        drop(dir);
        let dir = attend(b.path(), &primary);
        assert!(!b.path().join("seed").exists(), "nothing half done is left");
        if dir.floor().unwrap().is_none() {
            assert!(contents(&dir, true) == had, "died at {last}");
            assert!(!matches!(done, Ok(true)));
            old += 1;
        } else {
            same_as(&primary, &dir, false);
            copy_all(&primary, &dir);
            same_as(&primary, &dir, true);
            new += 1;
        }
        if matches!(done, Ok(true)) {
            break;
        }
    }
    assert!(old > 40 && new > 8, "{old} died before, {new} behind");
}

#[test]
fn a_stream_that_is_trimmed_while_it_is_sent_says_so() {
    let a = tempfile::tempdir().unwrap();
    let mut lsn = 0;
    let primary = serve(a.path(), &mut lsn, 300);
    let have = (1, primary.durable[&0]);
    let mut source = primary.seek(0, (0, 0)).unwrap();
    assert!(matches!(source.next(have).unwrap(), Piece::Segment(_)));
    // It is kept as long as it is within the limit.
    snap(&primary.dir, 10_000);
    let mut index = LogIndex::default();
    let within = primary.dir.trim_within(&mut index, &|_| 0, 1 << 30, &|_| u64::MAX).unwrap();
    assert_eq!(within.segments, 0);
    let needed = primary.dir.trim_within(&mut index, &|_| 0, 32 << 10, &|_| 0).unwrap();
    assert_eq!(needed.segments, 0, "somebody needs it however much it is");
    let beyond = primary.dir.trim_within(&mut index, &|_| 0, 32 << 10, &|_| u64::MAX).unwrap();
    assert!(beyond.segments > 4, "{beyond:?}");
    let gone = loop {
        match source.next(have) {
            Ok(Piece::End) => panic!("it is not at the end"),
            Ok(_) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(gone, SeekError::Gone { first: 1 }), "{gone}");
}

#[test]
fn whoever_has_all_of_an_epoch_goes_on_with_the_next_though_it_is_trimmed() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let primary = serve(a.path(), &mut lsn, 100);
    let dir = attend(b.path(), &primary);
    copy_all(&primary, &dir);
    drop((dir, primary));
    let primary = serve(a.path(), &mut lsn, 40);
    trim(&primary.dir, 200);
    assert!(primary.dir.segments().unwrap().iter().all(|info| info.epoch() == 2));
    let dir = attend(b.path(), &primary);
    copy_all(&primary, &dir);
    let ends = |dir: &DataDir| dir.ends(|info| info.epoch() == 2).unwrap();
    assert_eq!(ends(&dir), ends(&primary.dir));
    dir.promote().unwrap();
}

#[test]
fn a_standby_trims_its_own_log_and_goes_on() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    drop(serve(a.path(), &mut lsn, 150));
    let primary = serve(a.path(), &mut lsn, 100);
    let dir = attend(b.path(), &primary);
    let resume = dir.follow_history(&primary.hello(CONTROL), 77).unwrap();
    copy(&primary, &dir, resume[&0], 0, usize::MAX);
    copy(&primary, &dir, resume[&1], 1, 90_000);
    assert!(trim(&dir, 350) > 5);
    drop(dir);
    let dir = attend(b.path(), &primary);
    copy_all(&primary, &dir);
    assert_eq!(dir.snapshots().unwrap().len(), 2 * usize::from(PARTITIONS), "they stay");
    let last = |dir: &DataDir| dir.ends(|info| info.epoch() == 2).unwrap();
    assert_eq!(last(&dir), last(&primary.dir));
    dir.promote().unwrap();
}

#[test]
fn what_a_snapshot_has_of_what_is_cut_does_not_survive() {
    let (a, b) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut lsn = 0;
    let old = serve(a.path(), &mut lsn, 100);
    let standby = attend(b.path(), &old);
    copy_all(&old, &standby);
    // The old one: snapshots of what both have, and further ones of what only it has.
    snap(&old.dir, 60);
    drop(old);
    let old = serve(a.path(), &mut 200, 100);
    for partition in 0..8 {
        let meta = SnapshotMeta { partition, lsn: 300, epoch: 2, time_ms: 0, state_hash: 0 };
        old.dir.write_snapshot(&meta, b"state").unwrap();
    }
    drop((old, standby));
    let dir = DataDir::attend(b.path(), options(None), 0).unwrap();
    drop(dir.promote().unwrap());
    drop(dir);
    let new = serve(b.path(), &mut 900, 30);
    let back = attend(a.path(), &new);
    copy_all(&new, &back);
    let left: Vec<u64> = back.snapshots().unwrap().iter().map(frontrow_wal::SnapshotFile::lsn).collect();
    assert!(left.iter().all(|lsn| *lsn <= 76) && left.len() == 24, "{left:?}");
    drop(back);
    // One that trimmed what only it had cannot go on: it is seeded.
    let (d, mut lsn) = (tempfile::tempdir().unwrap(), 0);
    let old = serve(d.path(), &mut lsn, 60);
    let e = tempfile::tempdir().unwrap();
    let standby = attend(e.path(), &old);
    copy_all(&old, &standby);
    drop(old);
    let old = serve(d.path(), &mut lsn, 150);
    assert!(trim(&old.dir, 330) > 5);
    drop((old, standby));
    let dir = DataDir::attend(e.path(), options(None), 0).unwrap();
    drop(dir.promote().unwrap());
    drop(dir);
    let new = serve(e.path(), &mut 900, 30);
    snap(&new.dir, 2000);
    let back = attend(d.path(), &new);
    let before = contents(&back, true);
    let refused = back.follow_history(&new.hello(CONTROL), 77).map(drop);
    assert!(matches!(refused, Err(WalError::TrimmedStandby { .. })), "{refused:?}");
    assert!(contents(&back, true) == before, "nothing was changed");
    assert!(seed(&new, &back, usize::MAX).unwrap());
    copy_all(&new, &back);
    same_as(&new, &back, true);
}
