//! How many records of the log a second are told to a real Kafka: `publish [RECORDS [SETTING=VALUE …]]`.
//!
//! A log of claims, bookings, cancellations, releases and expiries is written first. Then it is followed and written to the
//! topics as the server does it. The broker is on this machine and takes processor time of its own: what this process takes
//! for a million records is said beside the time on the wall. It is done as JSON and as Avro by turns, first without Kafka, and
//! then with it.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

use frontrow_cdc::{Batch, Follower, Message, Sink, avro};
use frontrow_kafka::{Format, Settings, Writer};
use frontrow_services::kafka::{Kafka, Size};
use frontrow_services::registry::Registry;
use frontrow_shard::record::Encoder;
use frontrow_shard::{
    ClaimSeats, Code, Command, Effects, EventRules, EventSpec, EventState, Fence, Limits, Op, Partition,
    PartitionId, Proof, Request, RowRef, RowSpec, Seats, mix,
};
use frontrow_wal::{Appender, DataDir, DirOptions, Durability, LogOptions};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::time::Instant;

const PARTITIONS: u16 = 16;
const ROWS: u16 = 20_000;
const SECTION_ROWS: u16 = 50;
const ROW_SEATS: u8 = 20;
const START_MS: u64 = 1_800_000_000_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

struct Sale {
    partitions: Vec<Partition>,
    effects: Effects,
    encoder: Encoder,
    log: Appender,
    now: u64,
    records: u64,
    held: VecDeque<(RowRef, Fence)>,
    booked: VecDeque<(RowRef, Fence)>,
}

impl Sale {
    fn apply(&mut self, at: PartitionId, op: &Op) -> Outcome<frontrow_shard::Answer> {
        self.effects.clear();
        let partition = &mut self.partitions[usize::from(at)];
        let applied = partition.apply(self.now, op, &mut self.effects);
        if applied.recorded {
            let (kind, payload) = self.encoder.encode(op, &applied.answer, &self.effects);
            while self.log.append(at, partition.lsn(), self.now, kind, payload).is_err() {
                self.log.flush()?;
            }
            self.records += 1;
        }
        Ok(applied.answer)
    }

    fn request(&mut self, random: u64) -> Outcome<()> {
        let want = random % 100;
        let proof = |(place, fence)| Proof { place, fence };
        let (user, command) = match want {
            60.. if want < 78 && self.booked.len() > 1024 => {
                let granted = self.booked.pop_front().expect("more than a thousand");
                (granted.1.user, Command::Cancel(proof(granted)))
            }
            40.. if self.held.len() > 1024 => {
                let granted = self.held.pop_front().expect("more than a thousand");
                if want < 60 {
                    self.booked.push_back(granted);
                    (granted.1.user, Command::Book(proof(granted)))
                } else {
                    (granted.1.user, Command::Release(proof(granted)))
                }
            }
            _ => {
                let row = (mix(random) % u64::from(ROWS)) as u16;
                let row = RowRef::new(1, row / SECTION_ROWS, row % SECTION_ROWS);
                let first = ((random >> 8) % u64::from(ROW_SEATS - 1)) as u8;
                (random >> 40, Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 0b11, first } }))
            }
        };
        let id = u128::from(self.now) << 80 | u128::from(random);
        let place = command.place();
        let answer = self.apply(place.partition(PARTITIONS), &Op::Request(Request { id, user, command }))?;
        if answer.code == Code::Granted {
            self.held.push_back((place, Fence::of(user, &answer)));
        }
        Ok(())
    }
}

fn event(own: PartitionId) -> EventSpec {
    let row = |row: u16| RowSpec {
        section: row / SECTION_ROWS,
        row: row % SECTION_ROWS,
        categories: vec![0; usize::from(ROW_SEATS)],
        aisles_after: Vec::new(),
        accessible: Vec::new(),
    };
    let sections = usize::from(ROWS / SECTION_ROWS);
    EventSpec {
        event: 1,
        rules: EventRules { hold_ms: 10_000, ..EventRules::default() },
        section_rows: vec![SECTION_ROWS; sections],
        section_seats: vec![u32::from(SECTION_ROWS) * u32::from(ROW_SEATS); sections],
        rows: (0..ROWS)
            .map(row)
            .filter(|it| RowRef::new(1, it.section, it.row).partition(PARTITIONS) == own)
            .collect(),
    }
}

/// Writes a log of so many records.
fn live(folder: &Path, records: u64) -> Outcome<u64> {
    let dir = DataDir::open(folder, DirOptions::new(PARTITIONS))?;
    dir.begin_history(false)?;
    let options = LogOptions { durability: Durability::Memory, ready_ahead: 4, ..LogOptions::default() };
    let limits = Limits { requests: 1 << 16, parties: 1024, queues: 64, tasks: 64 };
    let mut sale = Sale {
        partitions: (0..PARTITIONS).map(|id| Partition::new(id, PARTITIONS, limits)).collect(),
        effects: Effects::with_capacity(64),
        encoder: Encoder::default(),
        log: dir.open_stream(0, &options, || {})?,
        now: START_MS,
        records: 0,
        held: VecDeque::new(),
        booked: VecDeque::new(),
    };
    for at in 0..PARTITIONS {
        sale.apply(at, &Op::Begin { epoch: 1, secret: 7 })?;
        sale.apply(at, &Op::CreateEvent(Box::new(event(at))))?;
        sale.apply(at, &Op::SetEventState { event: 1, state: EventState::Open })?;
    }
    let mut random = 1_u64;
    while sale.records < records {
        random = mix(random.wrapping_add(0x9e37_79b9));
        sale.request(random)?;
        if random.is_multiple_of(256) {
            sale.now += 10;
            for at in 0..PARTITIONS {
                let mut budget = 256;
                while let Some(op) = sale.partitions[usize::from(at)].next_due(sale.now, &mut budget) {
                    sale.apply(at, &op)?;
                }
            }
        }
    }
    sale.log.flush()?;
    Ok(sale.records)
}

/// Processor time of this process, all its threads, in seconds.
fn processor_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}

/// Nowhere: what reading the log alone costs, and writing values that nobody gets.
#[derive(Default)]
struct Nowhere {
    format: Option<Format>,
    value: Vec<u8>,
    bytes: usize,
}

impl Sink for Nowhere {
    fn takes(&self, _: frontrow_cdc::Kind) -> bool {
        true
    }
    fn begin(&mut self, _: u32) -> Result<frontrow_cdc::Begun, frontrow_cdc::SinkError> {
        Ok(frontrow_cdc::Begun::default())
    }
    fn forget(&mut self) -> Result<(), frontrow_cdc::SinkError> {
        Ok(())
    }
    fn write(&mut self, batch: &Batch) -> Result<(), frontrow_cdc::SinkError> {
        for change in &batch.changes {
            self.value.clear();
            match self.format {
                None => {}
                Some(Format::Json) => Message::write_change(change, &mut self.value),
                Some(Format::Avro) => {
                    avro::begin(1, &mut self.value);
                    avro::write_change(change, &mut self.value).expect("a clock's times");
                }
            }
            self.bytes += self.value.len();
        }
        Ok(())
    }
    fn settle(&mut self) -> Result<(), frontrow_cdc::SinkError> {
        Ok(())
    }
}

fn follow(dir: &DataDir, sink: &mut dyn Sink, what: &str) -> Outcome<()> {
    let history = dir.begin_history(false)?;
    let begun = sink.begin(history.epoch())?;
    let mut follower = Follower::new(dir, &history, 1, &begun);
    let (mut batch, mut records, mut changes, mut batches) = (Batch::default(), 0, 0, 0);
    let (wall, processor) = (Instant::now(), processor_seconds());
    loop {
        let more = follower.take(&|_| 0, (&|_| true, sink.most()), &mut batch)?;
        if !batch.is_empty() {
            batch.places = follower.places();
            sink.write(&batch)?;
            (records, changes, batches) =
                (records + batch.records, changes + batch.changes.len(), batches + 1);
            batch.clear();
        }
        if !more {
            break;
        }
    }
    let (wall, processor) = (wall.elapsed().as_secs_f64(), processor_seconds() - processor);
    let millions = records as f64 / 1e6;
    println!(
        "{what}: {records} records, {changes} changes, {batches} batches in {wall:.2} s: {:.0} records/s; {:.2} s of this \
         process's processor time a million, so {:.0} records/s of one core",
        records as f64 / wall,
        processor / millions,
        records as f64 / processor
    );
    Ok(())
}

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    let records = words.next().map_or(Ok(3_000_000), |word| word.parse())?;
    let setting =
        |word: String| word.split_once('=').map(|(name, value)| (name.to_owned(), value.to_owned()));
    let client: BTreeMap<String, String> = words.filter_map(setting).collect();
    let folder = tempfile::tempdir()?;
    let records = live(folder.path(), records)?;
    println!("a log of {records} records");
    let dir = DataDir::open(folder.path(), DirOptions::new(PARTITIONS))?;
    follow(&dir, &mut Nowhere::default(), "read alone")?;
    for format in [Format::Json, Format::Avro].repeat(3) {
        let mut nowhere = Nowhere { format: Some(format), ..Nowhere::default() };
        follow(&dir, &mut nowhere, &format!("read and written as {format:?}"))?;
        println!("  {} bytes", nowhere.bytes);
    }
    let kafka = Kafka::start_of(Size::Large)?;
    let registry = Registry::start()?;
    for (round, format) in (0..).zip([Format::Json, Format::Avro].repeat(3)) {
        let settings = Settings {
            brokers: kafka.brokers(),
            prefix: format!("publish{round}"),
            partitions: 16,
            replication: 1,
            client: client.clone(),
            format,
            registry: Some(registry.url()),
            cluster: round,
        };
        follow(&dir, &mut Writer::new(settings), &format!("to Kafka as {format:?}"))?;
    }
    Ok(())
}
