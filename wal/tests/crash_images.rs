//! Every state a crash can leave, at every sync, opened again: nothing acknowledged is lost, nothing
//! appears that was not written, and no image is refused.

mod common;
#[path = "common/recorder.rs"]
mod recorder;

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use common::Wakes;
use frontrow_wal::fs::Disk;
use frontrow_wal::{
    AppendError, Appender, DataDir, DirOptions, Durability, LogIndex, LogOptions, Position, Segment,
    SegmentIndex, SegmentInfo, SnapshotMeta, Tail, WalError, spans,
};
use recorder::{Moment, Recorder};

const PARTITIONS: u16 = 3;
const EPOCHS: u32 = 3;

fn options(durability: Durability) -> LogOptions {
    LogOptions { segment_bytes: 16 << 10, max_payload_bytes: 2 << 10, durability, ..LogOptions::small() }
}

fn small_random(state: &mut u64) -> u64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    *state >> 33
}

/// A caller's state: per partition a hash over all of its records so far.
fn fold(hash: u64, lsn: u64, payload: &[u8]) -> u64 {
    let mut hasher = DefaultHasher::new();
    (hash, lsn, payload).hash(&mut hasher);
    hasher.finish()
}

/// What was written: by partition, the state after each record, from LSN 0.
#[derive(Clone)]
struct Written {
    states: Vec<Vec<u64>>,
}

impl Written {
    fn new() -> Self {
        Written { states: vec![vec![0]; usize::from(PARTITIONS)] }
    }

    fn lsns(&self) -> Vec<u64> {
        self.states.iter().map(|states| states.len() as u64 - 1).collect()
    }
}

/// Appends a record and commits where there is no room, until it is in.
fn append(log: &mut Appender, wakes: &Wakes, written: &mut Written, partition: u16, payload: &[u8]) {
    let states = &mut written.states[usize::from(partition)];
    let lsn = states.len() as u64;
    wakes.wait_until(|| match log.append(partition, lsn, lsn, 1, payload) {
        Ok(_) => true,
        Err(AppendError::Backlog { .. } | AppendError::NoSegment) => {
            log.commit().unwrap();
            false
        }
        Err(error) => panic!("{error}"),
    });
    states.push(fold(*states.last().unwrap(), lsn, payload));
}

/// A life of a log: commits of all sizes, snapshots, trims, and clean starts in between.
fn live(folder: &Path, disk: &Arc<Recorder>, durability: Durability) -> Written {
    let mut written = Written::new();
    let promised: Arc<Vec<AtomicU64>> = Arc::new((0..=PARTITIONS).map(|_| AtomicU64::new(0)).collect());
    let said = promised.clone();
    disk.promise(move || said.iter().map(|lsn| lsn.load(Ordering::SeqCst)).collect());
    let mut dice = 11;
    for epoch in 1..=EPOCHS {
        let options_ = DirOptions { disk: disk.clone(), cluster: Some(7), ..DirOptions::new(PARTITIONS) };
        let dir = DataDir::open(folder, options_).unwrap();
        let wakes = Wakes::default();
        let mut log = dir.open_stream(0, &options(durability), wakes.callback()).unwrap();
        for round in 0..12 {
            for _ in 0..=small_random(&mut dice) % 6 {
                let len = small_random(&mut dice) as usize % 1500;
                let byte = small_random(&mut dice) as u8 | 1;
                let partition = (small_random(&mut dice) % u64::from(PARTITIONS)) as u16;
                append(&mut log, &wakes, &mut written, partition, &vec![byte; len]);
            }
            let position = log.flush().unwrap();
            for (slot, lsn) in promised.iter().zip(written.lsns()) {
                slot.store(lsn, Ordering::SeqCst);
            }
            promised[usize::from(PARTITIONS)].store(position, Ordering::SeqCst);
            if round % 4 == 3 {
                snapshot_all(&dir, &written, epoch);
                dir.trim(&mut LogIndex::default(), &|_| Position::MAX).unwrap();
            }
        }
    }
    written
}

fn snapshot_all(dir: &DataDir, written: &Written, epoch: u32) {
    for (partition, states) in written.states.iter().enumerate() {
        let (lsn, state_hash) = (states.len() as u64 - 1, *states.last().unwrap());
        let meta = SnapshotMeta { partition: partition as u16, lsn, epoch, time_ms: 0, state_hash };
        dir.write_snapshot(&meta, &state_hash.to_le_bytes()).unwrap();
    }
}

/// Syncs cost more than all the rest here, and an image needs none.
struct Unsynced;

impl Disk for Unsynced {
    fn preallocate(&self, file: &fs::File, header: &[u8], bytes: u64) -> std::io::Result<()> {
        use std::os::unix::fs::FileExt;
        file.write_all_at(header, 0)?;
        file.set_len(bytes)
    }
    fn sync_data(&self, _: &fs::File) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_all(&self, _: &fs::File) -> std::io::Result<()> {
        Ok(())
    }
    fn sync_dir(&self, _: &Path) -> std::io::Result<()> {
        Ok(())
    }
}

/// As a server recovers: newest good snapshot of each partition, and the log behind it.
fn recover(dir: &DataDir) -> Result<Vec<(u64, u64)>, WalError> {
    let infos: Vec<SegmentInfo> =
        dir.segments()?.into_iter().filter(|info| info.epoch() < dir.epoch()).collect();
    let segments = infos.iter().map(Segment::open).collect::<Result<Vec<_>, _>>()?;
    let indexes = segments.iter().map(SegmentIndex::scan).collect::<Result<Vec<_>, _>>()?;
    let spans = spans(PARTITIONS, indexes.iter());
    let files = dir.snapshots()?;
    let mut states = Vec::new();
    for partition in 0..PARTITIONS {
        let base = dir.view().base(&files, partition, spans[usize::from(partition)])?;
        let base = base.map_or((0, 0), |snapshot| {
            let hash = u64::from_le_bytes(snapshot.body().try_into().unwrap());
            assert_eq!(hash, snapshot.meta().state_hash);
            (snapshot.meta().lsn, hash)
        });
        states.push(base);
    }
    for segment in &segments {
        let tail = segment.for_each(|record| {
            let (lsn, hash) = &mut states[usize::from(record.partition)];
            if record.lsn > *lsn {
                assert_eq!(record.lsn, *lsn + 1, "a hole in the history");
                (*lsn, *hash) = (record.lsn, fold(*hash, record.lsn, record.payload));
            }
        })?;
        assert!(matches!(tail, Tail::Sealed | Tail::Clean | Tail::Torn { .. }));
    }
    Ok(states)
}

struct Checker {
    folder: PathBuf,
    from: PathBuf,
    seen: HashSet<u64>,
    images: u64,
    started: u64,
}

impl Checker {
    fn check(&mut self, files: &BTreeMap<PathBuf, Arc<Vec<u8>>>, promised: &[u64], written: &Written) {
        let mut hasher = DefaultHasher::new();
        (files, promised).hash(&mut hasher);
        self.images += 1;
        if !self.seen.insert(hasher.finish()) {
            return;
        }
        let _ = fs::remove_dir_all(&self.folder);
        for dir in ["log", "snap"] {
            fs::create_dir_all(self.folder.join(dir)).unwrap();
        }
        for (path, bytes) in files {
            fs::write(self.folder.join(path.strip_prefix(&self.from).unwrap()), &bytes[..]).unwrap();
        }
        let on = || DirOptions { disk: Arc::new(Unsynced), cluster: Some(7), ..DirOptions::new(PARTITIONS) };
        let dir = DataDir::open(&self.folder, on()).expect("an image is refused");
        let states = recover(&dir).expect("an image is refused");
        for (partition, (lsn, hash)) in states.iter().enumerate() {
            let promised = promised.get(partition).copied().unwrap_or(0);
            assert!(*lsn >= promised, "partition {partition} lost {promised}, it ends at {lsn}");
            let known = written.states[partition].get(*lsn as usize);
            assert_eq!(known, Some(hash), "partition {partition} has another record up to {lsn}");
        }
        // Every so often all the way to serving again, and through one more start behind that.
        if self.seen.len() % 16 == 1 {
            let wakes = Wakes::default();
            let mut log = dir.open_stream(0, &options(Durability::Memory), wakes.callback()).unwrap();
            let position = promised.get(usize::from(PARTITIONS)).copied().unwrap_or(0);
            assert!(log.durable() >= position, "a position would be used twice");
            let mut more =
                Written { states: states.iter().map(|(lsn, hash)| vec![*hash; *lsn as usize + 1]).collect() };
            append(&mut log, &wakes, &mut more, 1, b"again");
            log.flush().unwrap();
            drop((log, dir));
            let dir = DataDir::open(&self.folder, on()).unwrap();
            let again = recover(&dir).expect("a second start is refused");
            assert_eq!(again[1], (states[1].0 + 1, *more.states[1].last().unwrap()));
            self.started += 1;
        }
    }
}

fn crash_everywhere(durability: Durability) {
    let (folder, images) = (tempfile::tempdir().unwrap(), scratch());
    let disk = Arc::new(Recorder::default());
    let written = live(folder.path(), &disk, durability);
    let moments: Vec<Moment> = disk.take();
    let folder_of = images.path().join("image");
    let from = folder.path().to_path_buf();
    let mut checker = Checker { folder: folder_of, from, seen: HashSet::new(), images: 0, started: 0 };
    let mut dice = 3;
    for moment in &moments {
        moment.images(6, &mut || small_random(&mut dice), |files| {
            checker.check(files, &moment.promised, &written);
        });
    }
    println!(
        "{durability:?}: {} syncs, {} crash images, {} of them different, {} started twice; {} records written",
        moments.len(),
        checker.images,
        checker.seen.len(),
        checker.started,
        written.lsns().iter().sum::<u64>(),
    );
    assert!(moments.len() > 150 && checker.seen.len() > 1500, "too few: {}", checker.seen.len());
}

/// Images need no disk that survives anything.
fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).unwrap()
}

#[test]
fn mapped_commits_survive_a_crash_at_every_sync() {
    crash_everywhere(Durability::Mapped);
}

#[test]
fn direct_commits_survive_a_crash_at_every_sync() {
    crash_everywhere(Durability::Direct);
}

/// What the images are worth: a log that acknowledges before its sync must be caught.
#[test]
fn an_acknowledgement_before_the_sync_is_caught() {
    let (folder, images) = (tempfile::tempdir().unwrap(), scratch());
    let disk = Arc::new(Recorder::default());
    let on = DirOptions { disk: disk.clone(), cluster: Some(7), ..DirOptions::new(PARTITIONS) };
    let (dir, wakes, mut written) =
        (DataDir::open(folder.path(), on).unwrap(), Wakes::default(), Written::new());
    let mut log = dir.open_stream(0, &options(Durability::Mapped), wakes.callback()).unwrap();
    append(&mut log, &wakes, &mut written, 0, b"promised too early");
    disk.promise(|| vec![1]);
    log.flush().unwrap();
    let mut checker = Checker {
        folder: images.path().join("image"),
        from: folder.path().to_path_buf(),
        seen: HashSet::new(),
        images: 0,
        started: 0,
    };
    let moments = disk.take();
    let caught = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        for moment in &moments {
            moment.images(0, &mut || 0, |files| checker.check(files, &moment.promised, &written));
        }
    }));
    assert!(caught.is_err());
}
