use crate::common::{booked, change, reader, take, upto};
use crate::model::Dice;
use frontrow_bookings::Store;
use frontrow_bookings::consume::memory::{MemorySource, MemoryTopic, is_drained};
use frontrow_bookings::consume::{
    Move, Origin, Place, Plan, Polled, Progress, Record, Running, Source, SourceError, Table, TableError,
    consume,
};
use frontrow_bookings::postgres::{PostgresTable, Settings};
use frontrow_cdc::Message;
use frontrow_cdc::avro::UnknownSchema;
use frontrow_services::postgres::{Postgres, or_left_out};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

const ROUNDS: u64 = 20;
const EACH: u64 = 3000;

/// Tells of each batch that it hands out.
struct Nudging(MemorySource, Sender<()>);

impl Source for Nudging {
    fn topic(&self) -> &str {
        self.0.topic()
    }

    fn partitions(&mut self) -> Result<i32, SourceError> {
        self.0.partitions()
    }

    fn origin(&mut self) -> Result<Origin, SourceError> {
        self.0.origin()
    }

    fn poll(&mut self, most: usize, patience: Duration) -> Result<Polled, SourceError> {
        let polled = self.0.poll(most, patience)?;
        if matches!(&polled, Polled::Records(records) if !records.is_empty()) {
            let _ = self.1.send(());
        }
        Ok(polled)
    }

    fn start(&mut self, from: &[(i32, Option<i64>)]) -> Result<(), SourceError> {
        self.0.start(from)
    }

    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), SourceError> {
        self.0.set_aside(record, reason)
    }

    fn schema(&mut self, schema: UnknownSchema) -> Result<Option<String>, SourceError> {
        self.0.schema(schema)
    }

    fn high(&self, partition: i32) -> Option<i64> {
        self.0.high(partition)
    }
}

/// Every user's second booking of a round is cancelled.
fn say(topic: &MemoryTopic, round: u64) {
    let first = 10 + round * EACH * 4;
    for n in 0..EACH {
        let lsn = first + 4 * n;
        topic.send(&booked(n % 500, (n % 40) as u16, lsn));
        if n >= 500 && n % 2 == 0 {
            let grant = lsn - 4 * 500 - 1;
            let cancelled =
                change("cancelled", (n - 500) % 500, ((n - 500) % 40) as u16, grant, (1, lsn + 1));
            topic.send(&Message::Change(cancelled));
        }
    }
    topic.send(&upto(1, first + 4 * EACH - 1));
}

#[test]
fn a_database_that_is_killed_again_and_again_loses_and_doubles_nothing() {
    let Some(mut server) = or_left_out(Postgres::start()) else { return };
    let settings = Settings::of(server.database("killed").unwrap());
    let (topic, progress, done) = (MemoryTopic::new(4), Progress::default(), AtomicBool::new(false));
    let (nudge, nudged) = channel();
    let (end, waits) = channel::<()>();
    std::thread::scope(|scope| {
        let (progress, settings, topic, done) = (&progress, &settings, &topic, &done);
        scope.spawn(move || {
            let mut source = Nudging(topic.reader(&[0, 1, 2, 3]), nudge);
            let drained = source.0.drained();
            let is_over = |pause: Duration| {
                if !pause.is_zero() || is_drained(&drained) {
                    let _ = waits.recv_timeout(Duration::from_millis(5));
                }
                done.load(Acquire) && is_drained(&drained)
            };
            let mut table = PostgresTable::new(settings).unwrap();
            consume(&mut source, &mut table, Running { is_over: &is_over, progress, batch: 200 }).unwrap();
        });
        let mut dice = Dice(7);
        let (_never, pause) = channel::<()>();
        for round in 0..ROUNDS {
            say(topic, round);
            (0..=dice.below(12)).for_each(|_| nudged.recv().unwrap());
            let _ = pause.recv_timeout(Duration::from_micros(dice.below(8000)));
            server.kill().unwrap();
            server.start_again().unwrap();
        }
        done.store(true, Release);
        drop(end);
    });
    let table = reader(&settings);
    let sold = table.sales(7).unwrap();
    let cancelled = ROUNDS * (EACH - 500) / 2;
    assert_eq!((sold[0].bookings, sold[0].cancelled), (ROUNDS * EACH - cancelled, cancelled));
    assert_eq!(sold[0].seats, 2 * sold[0].bookings);
    assert!(table.is_complete().unwrap() && topic.aside().is_empty());
    println!("{ROUNDS} kills, {} retries: {progress}", progress.retries.load(Relaxed));
}

#[test]
fn a_consumer_that_wakes_up_late_writes_nothing() {
    let Some(settings) = crate::common::database() else { return };
    let topic = MemoryTopic::new(1);
    topic.send(&booked(42, 1, 5));
    take(&settings, &topic);
    let mut tables = [0, 1].map(|_| PostgresTable::new(&settings).unwrap());
    let plan = |to: i64| {
        let to = Place { next: Some(to), ..Place::default() };
        Plan { moves: vec![Move { partition: 0, from: Some(1), to }], steps: Vec::new() }
    };
    for table in &mut tables {
        table.begin("frontrow.bookings", 1).unwrap();
        assert_eq!(table.places(&[0]).unwrap()[&0].next, Some(1));
    }
    let [awake, halted] = &mut tables;
    awake.write(&plan(9)).unwrap();
    assert_eq!(halted.write(&plan(5)), Err(TableError::Overtaken));
    assert_eq!(halted.places(&[0]).unwrap()[&0].next, Some(9));
}
