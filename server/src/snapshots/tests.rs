//! Rounds over a log that partitions wrote as the cores do: what is recovered is what was lived.

use super::round::Round;
use crate::core::{Recovered, RecoveryError, recover};
use frontrow_shard::record::Encoder;
use frontrow_shard::{
    ClaimSeats, ClaimSection, Command, Effects, EventRules, EventSpec, EventState, Fence, Limits, Op,
    Partition, Proof, Request, RowRef, RowSpec, Seats,
};
use frontrow_wal::{Appender, DataDir, DirOptions, Durability, LogIndex, LogOptions, WalError};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::mpsc::{Receiver, channel};

const COUNT: u16 = 6;
const ROWS: u16 = 30;
const START_MS: u64 = 1_700_000_000_000;

fn limits() -> Limits {
    Limits { requests: 256, parties: 64, queues: 32, tasks: 32 }
}

fn options() -> LogOptions {
    LogOptions { segment_bytes: 64 << 10, durability: Durability::Mapped, ..LogOptions::small() }
}

/// One epoch of a server with so many cores, without sockets.
struct Life {
    dir: DataDir,
    partitions: Vec<Partition>,
    logs: Vec<Appender>,
    woken: Vec<Receiver<()>>,
    letters: VecDeque<(u16, frontrow_shard::Letter)>,
    encoder: Encoder,
    now: u64,
    asked: u64,
    dice: u64,
}

impl Life {
    fn begin(path: &Path, cores: u16, dice: u64) -> (Self, Recovered) {
        let dir = DataDir::open(path, DirOptions::new(COUNT)).unwrap();
        let mut recovered = recover(&dir, limits()).unwrap();
        let (mut logs, mut woken) = (Vec::new(), Vec::new());
        for core in 0..cores {
            let (wake, woke) = channel();
            let wake = std::sync::Mutex::new(wake);
            // Nobody listens any more at the end.
            let told = move || wake.lock().unwrap().send(()).unwrap_or_default();
            logs.push(dir.open_stream(core, &options(), told).unwrap());
            woken.push(woke);
        }
        let partitions = std::mem::take(&mut recovered.partitions);
        let now = partitions.iter().map(Partition::now).max().unwrap().max(START_MS);
        let mut life = Self {
            dir,
            partitions,
            logs,
            woken,
            letters: VecDeque::new(),
            encoder: Encoder::default(),
            now,
            asked: 0,
            dice,
        };
        for id in 0..COUNT {
            let op = Op::Begin { epoch: life.dir.epoch(), secret: 77 };
            life.apply(id, &op);
            let left: Vec<_> = life.partitions[usize::from(id)].unconfirmed().copied().collect();
            life.letters.extend(left.into_iter().map(|letter| (id, letter)));
        }
        life.deliver();
        (life, recovered)
    }

    fn random(&mut self, below: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % below
    }

    fn apply(&mut self, id: u16, op: &Op) -> frontrow_shard::Answer {
        let mut effects = Effects::with_capacity(16);
        let partition = &mut self.partitions[usize::from(id)];
        let applied = partition.apply(self.now, op, &mut effects);
        if applied.recorded {
            let (lsn, stream) = (partition.lsn(), usize::from(id) % self.logs.len());
            let (kind, payload) = self.encoder.encode(op, &applied.answer, &effects);
            let log = &mut self.logs[stream];
            while log.append(id, lsn, self.now, kind, payload).is_err() {
                log.commit().unwrap();
                self.woken[stream].recv().unwrap();
            }
            log.commit().unwrap();
        }
        self.letters.extend(effects.letters.iter().map(|letter| (id, *letter)));
        applied.answer
    }

    /// Messages arrive, and their senders hear of it, as on a server that has made all durable.
    fn deliver(&mut self) {
        while let Some((from, letter)) = self.letters.pop_front() {
            let op = Op::Deliver { from, seq: letter.seq, mail: letter.mail };
            self.apply(letter.to, &op);
            self.partitions[usize::from(from)].confirm(letter.to, letter.seq);
        }
    }

    fn create_event(&mut self) {
        let rules = EventRules::default();
        for id in 0..COUNT {
            let rows = (0..ROWS).filter(|&row| RowRef::new(1, 0, row).partition(COUNT) == id);
            let rows = rows.map(|row| RowSpec {
                section: 0,
                row,
                categories: vec![0; 20],
                aisles_after: Vec::new(),
                accessible: Vec::new(),
            });
            let spec = EventSpec {
                event: 1,
                rules,
                section_rows: vec![ROWS],
                section_seats: vec![u32::from(ROWS) * 20],
                rows: rows.collect(),
            };
            self.apply(id, &Op::CreateEvent(Box::new(spec)));
            self.apply(id, &Op::SetEventState { event: 1, state: EventState::Open });
        }
        self.deliver();
    }

    /// Claims, releases and claims of the section, by many users; `rows` says of which rows.
    fn sell(&mut self, requests: u64, rows: std::ops::Range<u16>) {
        let mut held: Vec<Proof> = Vec::new();
        for _ in 0..requests {
            self.now += 1;
            self.asked += 1;
            let user = 1 + self.random(50);
            let row = rows.start + self.random(u64::from(rows.len() as u16)) as u16;
            let place = RowRef::new(1, 0, row);
            let command = match self.random(8) {
                0..3 if !held.is_empty() => {
                    let at = self.random(held.len() as u64) as usize;
                    Command::Release(held.swap_remove(at))
                }
                3 if rows.len() == usize::from(ROWS) => Command::ClaimSection(ClaimSection {
                    section: place.section_of(),
                    count: 2,
                    category: frontrow_shard::ANY_CATEGORY,
                    adjacency: frontrow_shard::Adjacency::Any,
                    accessible: false,
                    or_join: false,
                    hopeless: false,
                    candidates: std::array::from_fn(|at| {
                        if at < 3 { row / 2 + at as u16 } else { frontrow_shard::NO_ROW }
                    }),
                }),
                _ => {
                    let seats = Seats { mask: 1, first: self.random(20) as u8 };
                    Command::ClaimSeats(ClaimSeats { row: place, seats })
                }
            };
            let at = match command {
                Command::Release(proof) => proof.place,
                Command::ClaimSection(claim) => claim.section,
                _ => place,
            };
            let user = if let Command::Release(proof) = command { proof.fence.user } else { user };
            let id = (u128::from(self.now) << 80) | u128::from(self.asked);
            let answer = self.apply(at.partition(COUNT), &Op::Request(Request { id, user, command }));
            if answer.code == frontrow_shard::Code::Granted {
                held.push(Proof { place: at, fence: Fence::of(user, &answer) });
            }
            self.deliver();
        }
        for log in &mut self.logs {
            log.flush().unwrap();
        }
    }

    fn durable(&self) -> Vec<Arc<AtomicU64>> {
        self.logs.iter().map(Appender::durable_handle).collect()
    }

    fn hashes(&self) -> Vec<(u64, u64)> {
        self.partitions.iter().map(|partition| (partition.lsn(), partition.state_hash())).collect()
    }

    /// Ends as a killed process does, but for what was durable.
    fn end(self) -> Vec<(u64, u64)> {
        self.hashes()
    }
}

fn hashes_of(partitions: &[Partition]) -> Vec<(u64, u64)> {
    partitions.iter().map(|partition| (partition.lsn(), partition.state_hash())).collect()
}

fn recovered(path: &Path) -> Result<Recovered, RecoveryError> {
    let dir = DataDir::open(path, DirOptions::new(COUNT)).unwrap();
    recover(&dir, limits())
}

#[test]
fn snapshots_and_log_give_what_was_lived_with_any_number_of_cores() {
    let folder = tempfile::tempdir().unwrap();
    let (mut before, mut replayed, mut lived) = (Vec::new(), 0, 0);
    for (epoch, cores) in [2, 1, 3, 2, 4].into_iter().enumerate() {
        let (mut life, from) = Life::begin(folder.path(), cores, epoch as u64);
        replayed += from.records;
        if epoch == 0 {
            life.create_event();
        }
        let mut round = Round::new(life.dir.clone(), limits(), from.index);
        for _ in 0..3 {
            life.sell(400, 0..ROWS);
            let done = round.run(&life.durable(), &|| false).unwrap();
            assert!(done.snapshots > 0 && done.bytes > 0, "{done:?}");
        }
        life.sell(100, 0..ROWS);
        lived = life.hashes().iter().map(|(lsn, _)| lsn).sum();
        before = life.end();
    }
    let after = recovered(folder.path()).unwrap();
    assert_eq!(hashes_of(&after.partitions), before);
    assert_eq!(after.snapshots, u64::from(COUNT));
    assert!(replayed + after.records < lived, "{replayed} and {} of {lived} were replayed", after.records);
    assert!(after.partitions.iter().all(|partition| partition.unconfirmed().count() == 0));
}

/// The log stays bounded also where some partitions have nothing to do: they have a second snapshot of the
/// same state, and do not keep the others' records.
#[test]
fn the_log_stays_small_whoever_is_quiet() {
    let folder = tempfile::tempdir().unwrap();
    let (mut life, from) = Life::begin(folder.path(), 1, 5);
    life.create_event();
    let mut round = Round::new(life.dir.clone(), limits(), from.index);
    let mut most = 0;
    for _ in 0..30 {
        // One row, so one partition.
        life.sell(300, 4..5);
        let done = round.run(&life.durable(), &|| false).unwrap();
        most = done.trimmed.left_bytes.max(most);
    }
    let written = life.logs[0].position();
    assert!(most < written / 2, "{most} bytes of {written} are left");
    assert!(
        round.run(&life.durable(), &|| false).unwrap().snapshots <= 1,
        "who has two of the same is left alone"
    );
    drop(round);
    let before = life.end();
    assert_eq!(hashes_of(&recovered(folder.path()).unwrap().partitions), before);
}

#[test]
fn one_damaged_snapshot_loses_nothing_and_two_are_refused_with_a_remedy() {
    let folder = tempfile::tempdir().unwrap();
    let (mut life, from) = Life::begin(folder.path(), 2, 9);
    life.create_event();
    let mut round = Round::new(life.dir.clone(), limits(), from.index);
    for _ in 0..6 {
        life.sell(400, 0..ROWS);
        round.run(&life.durable(), &|| false).unwrap();
    }
    let dir = life.dir.clone();
    let before = life.end();
    let files = dir.snapshots().unwrap();
    drop((round, dir));
    let of_two: Vec<_> = files.iter().filter(|file| file.partition() == 2).collect();
    let damage = |path: &Path| {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[5000] ^= 1;
        std::fs::write(path, bytes).unwrap();
    };
    damage(of_two[0].path());
    assert_eq!(hashes_of(&recovered(folder.path()).unwrap().partitions), before);
    damage(of_two[1].path());
    let refused = recovered(folder.path()).err().expect("nothing leads up to the log");
    assert!(
        matches!(&refused, RecoveryError::Log(WalError::SnapshotMissing { partition: 2, .. })),
        "{refused}"
    );
}

/// Only what is durable may be in a snapshot: what a crash takes back must not come back from one.
#[test]
fn a_round_reads_no_further_than_the_log_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let (mut life, from) = Life::begin(folder.path(), 1, 3);
    life.create_event();
    life.sell(50, 0..ROWS);
    let frozen: Vec<Arc<AtomicU64>> = life
        .durable()
        .iter()
        .map(|at| Arc::new(AtomicU64::new(at.load(std::sync::atomic::Ordering::Acquire))))
        .collect();
    let then = life.hashes();
    life.sell(200, 0..ROWS);
    let mut round = Round::new(life.dir.clone(), limits(), from.index);
    round.run(&frozen, &|| false).unwrap();
    let newest =
        |id: u16| life.dir.snapshots().unwrap().into_iter().find(|file| file.partition() == id).unwrap();
    for id in 0..COUNT {
        assert_eq!(newest(id).lsn(), then[usize::from(id)].0);
    }
    // And what it has is what was lived then.
    let index = LogIndex::default();
    let mut again = Round::new(life.dir.clone(), limits(), index);
    again.run(&life.durable(), &|| false).unwrap();
    let now = life.hashes();
    for id in 0..COUNT {
        assert_eq!(newest(id).lsn(), now[usize::from(id)].0);
    }
}
