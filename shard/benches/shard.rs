//! What the state machine costs by itself, on one core: operations per second with their log records
//! encoded, bytes per seat, and the longest step when very many holds are due at once.
//!
//! `cargo bench -p frontrow-shard` prints all three; `-- --quick` does the same in miniature, for the tests.
#![allow(clippy::disallowed_methods, reason = "a measuring tool reads the clock")]

use frontrow_shard::record::Encoder;
use frontrow_shard::{
    Answer, ClaimSeats, Code, Command, Effects, EventRules, EventSpec, EventState, Fence, Limits, Op,
    Partition, Proof, Request, RowRef, RowSpec, Seats, UserId, mix,
};
use std::collections::VecDeque;
use std::time::Instant;

const ROW_SEATS: u32 = 20;
const SECTION_ROWS: u32 = 50;
const START_MS: u64 = 1_800_000_000_000;

struct Bench {
    partition: Partition,
    effects: Effects,
    encoder: Encoder,
    now: u64,
    next_id: u64,
    sections: u32,
    bytes: u64,
}

struct Granted {
    place: RowRef,
    fence: Fence,
}

impl Bench {
    fn new(seats: u32, requests: usize) -> Self {
        let rows = seats / ROW_SEATS;
        let sections = rows.div_ceil(SECTION_ROWS);
        let rules = EventRules { hold_ms: 10_000, ..EventRules::default() };
        let spec = EventSpec {
            event: 1,
            rules,
            section_rows: vec![SECTION_ROWS as u16; sections as usize],
            section_seats: vec![SECTION_ROWS * ROW_SEATS; sections as usize],
            rows: (0..sections * SECTION_ROWS)
                .map(|row| RowSpec {
                    section: (row / SECTION_ROWS) as u16,
                    row: (row % SECTION_ROWS) as u16,
                    categories: vec![0; ROW_SEATS as usize],
                    aisles_after: vec![9],
                    accessible: Vec::new(),
                })
                .collect(),
        };
        let limits = Limits { requests, parties: 1024, queues: 64, tasks: 64 };
        let mut bench = Self {
            partition: Partition::new(0, 1, limits),
            effects: Effects::with_capacity(1024),
            encoder: Encoder::default(),
            now: START_MS,
            next_id: 0,
            sections,
            bytes: 0,
        };
        bench.apply(&Op::Begin { epoch: 1, secret: 7 });
        bench.apply(&Op::CreateEvent(Box::new(spec)));
        bench.apply(&Op::SetEventState { event: 1, state: EventState::Open });
        bench
    }

    fn apply(&mut self, op: &Op) -> Answer {
        self.effects.clear();
        let applied = self.partition.apply(self.now, op, &mut self.effects);
        if applied.recorded {
            let (_, payload) = self.encoder.encode(op, &applied.answer, &self.effects);
            self.bytes += payload.len() as u64;
        }
        applied.answer
    }

    fn request(&mut self, user: UserId, command: Command) -> Request {
        self.next_id += 1;
        Request { id: (u128::from(self.now) << 80) | u128::from(mix(self.next_id)), user, command }
    }

    fn row(&self, n: u64) -> RowRef {
        let row = mix(n) % u64::from(self.sections * SECTION_ROWS);
        RowRef::new(1, (row / u64::from(SECTION_ROWS)) as u16, (row % u64::from(SECTION_ROWS)) as u16)
    }
}

/// Operations per second of a mix of claim, book, cancel, release and expire over `seats` seats.
fn mixed(seats: u32, operations: u64) -> (f64, f64, [u64; 6]) {
    /// How many requests ahead memory is asked for: see the server's pump.
    const INDEX_AHEAD: usize = 16;
    const ROW_AHEAD: usize = 8;
    const BATCH: usize = 256;
    let mut bench = Bench::new(seats, 1 << 16);
    let (mut held, mut booked): (VecDeque<Granted>, VecDeque<Granted>) = Default::default();
    let mut counts = [0_u64; 6];
    let mut batch: Vec<Request> = Vec::with_capacity(BATCH);
    let mut answers: Vec<Answer> = Vec::with_capacity(BATCH);
    let mut random = 1_u64;
    let (mut done, mut spent) = (0_u64, 0.0);
    // The venue fills to about half before the clock runs.
    let warm = u64::from(seats) / 2;
    while done < operations + warm {
        batch.clear();
        bench.now += 10;
        while batch.len() < BATCH {
            random = mix(random.wrapping_add(0x9e37_79b9));
            let want = random % 100;
            let user = random >> 40;
            let fence_of = |granted: &Granted| Proof { place: granted.place, fence: granted.fence };
            let request = if want < 40 || held.len() < BATCH * 4 {
                let first = ((random >> 8) % u64::from(ROW_SEATS - 1)) as u8;
                let seats = Seats { mask: 0b11, first };
                let row = bench.row(random);
                bench.request(user, Command::ClaimSeats(ClaimSeats { row, seats }))
            } else if want < 60 {
                let granted = held.pop_front().expect("kept above a batch");
                let proof = fence_of(&granted);
                let user = granted.fence.user;
                booked.push_back(granted);
                bench.request(user, Command::Book(proof))
            } else if want < 78 && booked.len() > BATCH * 4 {
                let granted = booked.pop_front().expect("kept above a batch");
                bench.request(granted.fence.user, Command::Cancel(fence_of(&granted)))
            } else {
                // A third of what is given up is left to run out instead.
                let granted = held.pop_front().expect("kept above a batch");
                if random.is_multiple_of(3) {
                    continue;
                }
                bench.request(granted.fence.user, Command::Release(fence_of(&granted)))
            };
            batch.push(request);
        }
        let start = processor_seconds();
        answers.clear();
        for request in batch.iter().take(INDEX_AHEAD) {
            bench.partition.prefetch_index(request.id, &request.command);
        }
        for (i, request) in batch.iter().enumerate() {
            if let Some(ahead) = batch.get(i + INDEX_AHEAD) {
                bench.partition.prefetch_index(ahead.id, &ahead.command);
            }
            if let Some(ahead) = batch.get(i + ROW_AHEAD) {
                bench.partition.prefetch_row(&ahead.command);
            }
            answers.push(bench.apply(&Op::Request(*request)));
            done += 1;
        }
        let mut budget = 64;
        while let Some(op) = bench.partition.next_due(bench.now, &mut budget) {
            bench.apply(&op);
            counts[4] += 1;
            done += 1;
        }
        if done > warm {
            spent += processor_seconds() - start;
        }
        for (request, answer) in batch.iter().zip(&answers) {
            if answer.code == Code::Granted {
                let fence = Fence::of(request.user, answer);
                held.push_back(Granted { place: request.command.place(), fence });
            }
            let kind = match answer.code {
                Code::Granted => 0,
                Code::Booked => 1,
                Code::Cancelled => 2,
                Code::Released => 3,
                _ => 5,
            };
            counts[kind] += 1;
        }
        if done <= warm {
            counts = [0; 6];
            bench.bytes = 0;
        }
    }
    let timed: u64 = counts.iter().sum();
    (timed as f64 / spent, bench.bytes as f64 / timed as f64, counts)
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: u64 = status.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0);
    pages * 4096
}

/// Resident bytes per seat: all free, and every seat held in claims of `per_claim`.
fn footprint(seats: u32, per_claim: u8) -> (f64, f64) {
    let before = resident_bytes();
    let mut bench = Bench::new(seats, 1 << 16);
    let free = resident_bytes() - before;
    for row in 0..seats / ROW_SEATS {
        bench.now += u64::from(row % 50 == 0);
        let place = RowRef::new(1, (row / SECTION_ROWS) as u16, (row % SECTION_ROWS) as u16);
        for first in (0..ROW_SEATS as u8).step_by(usize::from(per_claim)) {
            let seats = Seats { mask: (1 << per_claim) - 1, first };
            let request =
                bench.request(u64::from(row), Command::ClaimSeats(ClaimSeats { row: place, seats }));
            assert_eq!(bench.apply(&Op::Request(request)).code, Code::Granted);
        }
    }
    let held = resident_bytes() - before;
    (free as f64 / f64::from(seats), held as f64 / f64::from(seats))
}

/// Processor time of this thread, in seconds: what other processes take of the machine does not count.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// `holds` holds due in the same second: the longest step in microseconds by the wall clock and by the
/// processor's, and all of them in seconds.
fn storm(holds: u32) -> (f64, f64, f64) {
    let mut bench = Bench::new(holds, 1 << 16);
    for row in 0..holds / ROW_SEATS {
        if row % (holds / ROW_SEATS / 1000).max(1) == 0 {
            bench.now += 1;
        }
        let place = RowRef::new(1, (row / SECTION_ROWS) as u16, (row % SECTION_ROWS) as u16);
        for first in 0..ROW_SEATS as u8 {
            let seats = Seats { mask: 1, first };
            let request =
                bench.request(u64::from(row), Command::ClaimSeats(ClaimSeats { row: place, seats }));
            assert_eq!(bench.apply(&Op::Request(request)).code, Code::Granted);
        }
    }
    let (mut worst, mut worst_cpu, mut ended) = (0.0_f64, 0.0_f64, 0);
    let all = Instant::now();
    // Past the last deadline and the width of the wheel's finest bucket.
    bench.now += 10_000 + 2 * frontrow_shard::TICK_MS;
    while ended < holds {
        let (start, cpu) = (Instant::now(), processor_seconds());
        // As the server does it: a bounded step, then everything else has its turn.
        let mut budget = 256;
        while let Some(op) = bench.partition.next_due(bench.now, &mut budget) {
            assert_eq!(bench.apply(&op).code, Code::Done);
            ended += 1;
        }
        worst = worst.max(start.elapsed().as_secs_f64() * 1e6);
        worst_cpu = worst_cpu.max((processor_seconds() - cpu) * 1e6);
    }
    (worst, worst_cpu, all.elapsed().as_secs_f64())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn main() {
    let quick = std::env::args().any(|arg| arg == "--quick" || arg == "--test");
    let rounds = if quick { 1 } else { 5 };
    let scale = if quick { 100 } else { 1 };

    if std::env::args().any(|arg| arg == "--profile") {
        println!("{:.2} M/s", mixed(1_000_000, 20_000_000).0 / 1e6);
        return;
    }
    // First, while the process is small: memory that was used before would be used again and not be seen.
    let seats = 10_000_000 / scale;
    let (free, single) = footprint(seats, 1);
    println!("| measure | figure | target |\n| --- | --- | --- |");
    println!("| bytes per seat, {seats} seats, all free | {free:.1} | <= 64 |");
    println!("| bytes per seat, every seat in a claim of its own | {single:.1} | <= 64 |");

    for seats in [64_000 / scale.min(10), 1_000_000 / scale] {
        let mut rates = Vec::new();
        let mut last = (0.0, 0.0, [0; 6]);
        for _ in 0..rounds {
            last = mixed(seats, 10_000_000 / u64::from(scale));
            rates.push(last.0);
        }
        let [granted, booked, cancelled, released, expired, refused] = last.2;
        let target = if seats == 1_000_000 { ">= 8" } else { "-" };
        println!(
            "| mixed operations, {seats} seats, records encoded, M/s of processor time (median of {rounds}) | {:.2} | {target} |",
            median(rates.clone()) / 1e6
        );
        println!(
            "| of these: granted / booked / cancelled / released / expired / refused | {granted} / {booked} / {cancelled} / {released} / {expired} / {refused} | |"
        );
        println!("| record payload, bytes on average | {:.0} | |", last.1);
    }

    let (mut walls, mut cpus, mut total) = (Vec::new(), Vec::new(), 0.0);
    for _ in 0..rounds {
        let (wall, cpu, seconds) = storm(1_000_000 / scale);
        walls.push(wall);
        cpus.push(cpu);
        total = seconds;
    }
    let longest = |values: &[f64]| values.iter().copied().fold(0.0, f64::max);
    let holds = 1_000_000 / scale;
    println!(
        "| {holds} holds due in one second: longest step of 256, us of processor time (median / worst of {rounds}) | {:.0} / {:.0} | < 1000 |",
        median(cpus.clone()),
        longest(&cpus)
    );
    println!(
        "| … by the wall clock, other processes included | {:.0} / {:.0} | |",
        median(walls.clone()),
        longest(&walls)
    );
    println!("| … all of them ended in, s | {total:.2} | |");
}
