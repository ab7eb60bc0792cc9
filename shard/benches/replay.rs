//! What coming back costs, on one core: records of the log replayed per second, and the whole state saved and loaded.
//!
//! A server lives through a mix of claims, bookings, releases and expiries over an event of a million seats; its
//! records are replayed piece by piece by another one, which must end in the same state. Neither the living nor the
//! reading of files is timed. `-- --quick` does the same in miniature, for the tests.
#![allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock")]

use frontrow_shard::record::Encoder;
use frontrow_shard::{
    Answer, ClaimSeats, Code, Command, Effects, EventRules, EventSpec, EventState, Fence, Limits, Logged, Op,
    Partition, PartitionId, Proof, Replayer, Request, RowRef, RowSpec, Seats, mix,
};
use std::collections::VecDeque;

const ROW_SEATS: u32 = 20;
const SECTION_ROWS: u32 = 50;
const START_MS: u64 = 1_800_000_000_000;
/// Records lived through before they are replayed.
const PIECE: usize = 200_000;

/// Records as they stand in a segment: one behind the other, at multiples of eight.
#[derive(Default)]
struct Log {
    words: Vec<u64>,
    records: Vec<Place>,
}

struct Place {
    partition: PartitionId,
    kind: u8,
    bytes: u16,
    word: u32,
    lsn: u64,
    time_ms: u64,
}

impl Log {
    fn append(&mut self, (partition, lsn, time_ms): (PartitionId, u64, u64), kind: u8, payload: &[u8]) {
        let bytes = u16::try_from(payload.len()).expect("events are made before the log begins");
        self.records.push(Place { partition, kind, bytes, word: self.words.len() as u32, lsn, time_ms });
        for piece in payload.chunks(8) {
            let mut word = [0; 8];
            word[..piece.len()].copy_from_slice(piece);
            self.words.push(u64::from_ne_bytes(word));
        }
        // What a record's header takes.
        self.words.extend([0; 4]);
    }

    fn records(&self) -> impl Iterator<Item = Logged<'_>> {
        // SAFETY: the bytes of initialised numbers, all of them.
        let bytes =
            unsafe { std::slice::from_raw_parts(self.words.as_ptr().cast::<u8>(), self.words.len() * 8) };
        self.records.iter().map(move |place| Logged {
            partition: place.partition,
            lsn: place.lsn,
            time_ms: place.time_ms,
            kind: place.kind,
            payload: &bytes[place.word as usize * 8..][..usize::from(place.bytes)],
            position: u64::from(place.word),
        })
    }
}

struct Granted {
    place: RowRef,
    fence: Fence,
}

/// A server that lives through the sale.
struct Live {
    partitions: Vec<Partition>,
    effects: Effects,
    encoder: Encoder,
    log: Log,
    now: u64,
    random: u64,
    rows: u32,
    held: VecDeque<Granted>,
    booked: VecDeque<Granted>,
    counts: [u64; 5],
}

fn first_ops(seats: u32, own: PartitionId, partitions: u16) -> [Op; 3] {
    let sections = (seats / ROW_SEATS).div_ceil(SECTION_ROWS);
    let row = |row: u32| RowSpec {
        section: (row / SECTION_ROWS) as u16,
        row: (row % SECTION_ROWS) as u16,
        categories: vec![0; ROW_SEATS as usize],
        aisles_after: vec![9],
        accessible: Vec::new(),
    };
    let owned = |spec: &RowSpec| RowRef::new(1, spec.section, spec.row).partition(partitions) == own;
    let spec = EventSpec {
        event: 1,
        rules: EventRules { hold_ms: 10_000, ..EventRules::default() },
        section_rows: vec![SECTION_ROWS as u16; sections as usize],
        section_seats: vec![SECTION_ROWS * ROW_SEATS; sections as usize],
        rows: (0..sections * SECTION_ROWS).map(row).filter(owned).collect(),
    };
    let state = EventState::Open;
    [
        Op::Begin { epoch: 1, secret: 7 },
        Op::CreateEvent(Box::new(spec)),
        Op::SetEventState { event: 1, state },
    ]
}

fn fresh(seats: u32, partitions: u16) -> Vec<Partition> {
    let limits = Limits { requests: 1 << 16, parties: 1024, queues: 64, tasks: 64 };
    let one = |id| {
        let mut partition = Partition::new(id, partitions, limits);
        for op in first_ops(seats, id, partitions) {
            partition.apply(START_MS, &op, &mut Effects::default());
        }
        partition
    };
    (0..partitions).map(one).collect()
}

impl Live {
    fn new(seats: u32, partitions: u16) -> Self {
        Self {
            partitions: fresh(seats, partitions),
            effects: Effects::with_capacity(64),
            encoder: Encoder::default(),
            log: Log::default(),
            now: START_MS,
            random: 1,
            rows: (seats / ROW_SEATS).div_ceil(SECTION_ROWS) * SECTION_ROWS,
            held: VecDeque::new(),
            booked: VecDeque::new(),
            counts: [0; 5],
        }
    }

    fn apply(&mut self, at: PartitionId, op: &Op) -> Answer {
        self.effects.clear();
        let partition = &mut self.partitions[usize::from(at)];
        let applied = partition.apply(self.now, op, &mut self.effects);
        if applied.recorded {
            let (kind, payload) = self.encoder.encode(op, &applied.answer, &self.effects);
            self.log.append((at, partition.lsn(), self.now), kind, payload);
        }
        applied.answer
    }

    /// One request, as in the mix of the bench beside this one: claim, book, cancel, release.
    fn command(&mut self) -> (u64, Command) {
        self.random = mix(self.random.wrapping_add(0x9e37_79b9));
        let (random, want) = (self.random, self.random % 100);
        let user = random >> 40;
        let proof = |granted: &Granted| Proof { place: granted.place, fence: granted.fence };
        if want < 40 || self.held.len() < 1024 {
            let row = (mix(random) % u64::from(self.rows)) as u32;
            let row = RowRef::new(1, (row / SECTION_ROWS) as u16, (row % SECTION_ROWS) as u16);
            let first = ((random >> 8) % u64::from(ROW_SEATS - 1)) as u8;
            return (user, Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 0b11, first } }));
        }
        if (60..78).contains(&want) && self.booked.len() > 1024 {
            let granted = self.booked.pop_front().expect("more than a thousand");
            return (granted.fence.user, Command::Cancel(proof(&granted)));
        }
        let granted = self.held.pop_front().expect("more than a thousand");
        let (user, proof) = (granted.fence.user, proof(&granted));
        if want < 60 {
            self.booked.push_back(granted);
            return (user, Command::Book(proof));
        }
        (user, Command::Release(proof))
    }

    /// Fills the log anew.
    fn live(&mut self) {
        self.log.words.clear();
        self.log.records.clear();
        while self.log.records.len() < PIECE {
            let (user, command) = self.command();
            // A third of what is given up is left to run out instead.
            if matches!(command, Command::Release(_)) && self.random.is_multiple_of(3) {
                continue;
            }
            let id = (u128::from(self.now) << 80) | u128::from(self.random);
            let at = command.place().partition(self.partitions.len() as u16);
            let answer = self.apply(at, &Op::Request(Request { id, user, command }));
            match answer.code {
                Code::Granted => {
                    self.held.push_back(Granted { place: command.place(), fence: Fence::of(user, &answer) });
                    self.counts[0] += 1;
                }
                Code::Booked => self.counts[1] += 1,
                Code::Cancelled | Code::Released => self.counts[2] += 1,
                _ => self.counts[4] += 1,
            }
            if self.log.records.len().is_multiple_of(256) {
                self.now += 10;
                self.expire();
            }
        }
    }

    fn expire(&mut self) {
        for at in 0..self.partitions.len() {
            let mut budget = 256;
            while let Some(op) = self.partitions[at].next_due(self.now, &mut budget) {
                self.apply(at as PartitionId, &op);
                self.counts[3] += 1;
            }
        }
    }
}

/// Processor time of this thread, in seconds: what other processes take of the machine does not count.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn replay(seats: u32, partitions: u16, pieces: usize) -> (Live, Vec<Partition>) {
    let mut live = Live::new(seats, partitions);
    let mut replica = fresh(seats, partitions);
    let (mut rates, mut records, mut payload) = (Vec::new(), 0, 0);
    for piece in 0..pieces {
        live.live();
        let start = processor_seconds();
        let mut replayer = Replayer::new(replica.as_slice());
        for record in live.log.records() {
            replayer.push(replica.as_mut_slice(), &record).expect("the log is what was lived");
        }
        replayer.finish(replica.as_mut_slice()).expect("the log is what was lived");
        let spent = processor_seconds() - start;
        // The venue fills to about half before it counts.
        if piece >= pieces / 5 {
            rates.push(replayer.records() as f64 / spent);
        }
        records += replayer.records();
        payload += live.log.records.iter().map(|place| u64::from(place.bytes)).sum::<u64>();
    }
    for (one, other) in replica.iter().zip(&live.partitions) {
        assert_eq!(one.state_hash(), other.state_hash(), "replay came to another state");
    }
    let target = if seats == 1_000_000 { ">= 5" } else { "-" };
    println!(
        "| records replayed, {seats} seats, {partitions} partition(s), M/s of processor time (median of {} pieces of {PIECE}) | {:.2} | {target} |",
        rates.len(),
        median(rates) / 1e6
    );
    let [granted, booked, given_up, expired, refused] = live.counts;
    println!(
        "| … {records} records of {:.0} bytes: granted / booked / given up / expired / refused | {granted} / {booked} / {given_up} / {expired} / {refused} | |",
        payload as f64 / records as f64
    );
    (live, replica)
}

fn snapshot(seats: u32, partition: &Partition) {
    let start = processor_seconds();
    let mut bytes = Vec::new();
    partition.save(&mut bytes).expect("writing to memory does not fail");
    let saved = processor_seconds() - start;
    let start = processor_seconds();
    let limits = Limits { requests: 1 << 16, parties: 1024, queues: 64, tasks: 64 };
    let loaded = Partition::load(&bytes, partition.id(), 1, limits).expect("it was saved just now");
    let took = processor_seconds() - start;
    assert_eq!(loaded.state_hash(), partition.state_hash());
    println!(
        "| a snapshot of it, {} holds: MB, bytes per seat / saved in, ms / loaded in, ms | {:.1}, {:.1} / {:.0} / {:.0} | |",
        partition.holds(),
        bytes.len() as f64 / 1e6,
        bytes.len() as f64 / f64::from(seats),
        saved * 1e3,
        took * 1e3
    );
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let (seats, pieces) = if quick { (10_000, 2) } else { (1_000_000, 25) };
    println!("| measure | figure | target |\n| --- | --- | --- |");
    let (_, replica) = replay(seats, 1, pieces);
    snapshot(seats, &replica[0]);
    drop(replica);
    replay(seats, 4, pieces);
}
