//! A random history, taken over by consumers that are restarted, overtake each other and read again; in the end the table is
//! what one reader with a plain map makes of the topic.

use crate::common::{change, database, name, reader, run, server, take};
use frontrow_bookings::consume::memory::{CLUSTER, MemoryTopic};
use frontrow_bookings::consume::{Progress, Record, Running, consume};
use frontrow_bookings::postgres::{PostgresTable, Settings};
use frontrow_bookings::{Booking, BookingId, Store};
use frontrow_cdc::avro::Schemas;
use frontrow_cdc::message::Anew;
use frontrow_cdc::{Change, Kind, Mark, Message};
use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering::Relaxed;

const KAFKA: usize = 4;
const PARTITIONS: u16 = 3;

/// SplitMix64.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut x = self.0;
        x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (x ^ (x >> 31)) % n
    }
}

/// As JSON, or as Avro: no reader is to see a difference.
fn tell(topic: &MemoryTopic, message: &Message) {
    let is_avro = !matches!(message, Message::Change(change) if change.position.lsn % 2 == 0);
    if !is_avro || topic.send_avro(message).is_err() {
        topic.send(message);
    }
}

/// What a server tells, mostly in order.
struct History {
    dice: Dice,
    topic: MemoryTopic,
    epoch: u32,
    lsns: BTreeMap<u16, u64>,
    live: Vec<Change>,
    said: Vec<Change>,
}

impl History {
    fn new(seed: u64) -> Self {
        let lsns = (0..PARTITIONS).map(|partition| (partition, 0)).collect();
        let topic = MemoryTopic::new(KAFKA);
        Self { dice: Dice(seed), topic, epoch: 1, lsns, live: Vec::new(), said: Vec::new() }
    }

    fn next(&mut self, partition: u16) -> (u32, u64) {
        let lsn = self.lsns.get_mut(&partition).unwrap();
        *lsn += 1 + self.dice.below(3);
        (self.epoch, *lsn)
    }

    fn say(&mut self, change: Change) {
        tell(&self.topic, &Message::Change(change.clone()));
        self.said.push(change);
    }

    fn book(&mut self) {
        let partition = self.dice.below(u64::from(PARTITIONS)) as u16;
        let (epoch, lsn) = self.next(partition);
        // Every user is at home in all partitions, some above 2^63.
        let user = self.dice.below(9).wrapping_sub(3);
        let mut booked = change("booked", user, self.dice.below(4) as u16, lsn, (epoch, lsn));
        booked.position.partition = partition;
        booked.event = 7 + self.dice.below(2) as u32;
        booked.hold.as_mut().unwrap().slot = self.dice.below(1000) as u32 * 8 + u32::from(partition);
        self.live.push(booked.clone());
        self.say(booked);
    }

    fn cancel(&mut self) {
        if self.live.is_empty() {
            return;
        }
        let at = self.dice.below(self.live.len() as u64) as usize;
        let mut cancelled = self.live.swap_remove(at);
        let (epoch, lsn) = self.next(cancelled.position.partition);
        (cancelled.position.epoch, cancelled.position.lsn) = (epoch, lsn);
        (cancelled.kind, cancelled.time_ms) = (Kind::Cancelled, 5000 + lsn);
        self.say(cancelled);
    }

    fn marks(&self) {
        let mark = |(&partition, &lsn): (&u16, &u64)| (partition, Mark { epoch: self.epoch, lsn });
        tell(&self.topic, &Message::Upto(self.lsns.iter().map(mark).collect()));
    }

    /// A state in place of what was said; some of what was booked is gone.
    fn anew(&mut self) {
        let partition = self.dice.below(u64::from(PARTITIONS)) as u16;
        let (epoch, lsn) = self.next(partition);
        let lost = self.dice.below(10) as u32;
        self.live.retain(|it| it.position.partition != partition || it.hold.unwrap().slot % 10 != lost);
        tell(&self.topic, &Message::Anew(Anew { partition, epoch, lsn, events: vec![7, 8] }));
        let mut n = 0;
        for change in self.live.iter_mut().filter(|it| it.position.partition == partition) {
            (change.position.epoch, change.position.lsn, change.position.n) = (epoch, lsn, n);
            (change.request, n) = (None, n + 1);
            tell(&self.topic, &Message::Change(change.clone()));
        }
        self.marks();
    }

    fn poison(&mut self) {
        let mut record = self.topic.records().concat().pop().unwrap_or_default();
        match self.dice.below(6) {
            0 => record.value = b"{not json".to_vec(),
            1 => record.headers = vec![("version".into(), b"0".to_vec())],
            2 => record.headers.clear(),
            3 => record.value = br#"{"type":"booked","partition":1}"#.to_vec(),
            4 => record.headers.retain(|(name, _)| name != "cluster"),
            _ => {
                let mut wrong = change("booked", 1, 1, 1, (self.epoch, 1_000_000));
                wrong.time_ms = u64::MAX;
                Message::Change(wrong).write({
                    record.value.clear();
                    &mut record.value
                });
                record.key = b"1".to_vec();
            }
        }
        record.partition = self.dice.below(KAFKA as u64) as i32;
        self.topic.add(record);
    }

    fn step(&mut self) {
        match self.dice.below(100) {
            0..45 => self.book(),
            45..65 => self.cancel(),
            65..85 => self.marks(),
            85..90 => self.poison(),
            90..93 if !self.said.is_empty() => {
                // What a node says again that does not know what it has said.
                let from = self.dice.below(self.said.len() as u64) as usize;
                for change in self.said[from..].iter().take(5) {
                    tell(&self.topic, &Message::Change(change.clone()));
                }
            }
            93..95 => {
                self.epoch += 1;
                self.said.clear();
            }
            95 if self.epoch > 1 => {
                // A node that was halted, and does not know that another one is the primary.
                let lsn = self.lsns[&1] + 1;
                tell(&self.topic, &Message::Change(change("booked", 2, 1, 999, (self.epoch - 1, lsn))));
            }
            96..99 => self.anew(),
            99 if self.dice.below(4) == 0 => {
                tell(&self.topic, &Message::Forgotten);
                (self.live, self.said) = (Vec::new(), Vec::new());
            }
            _ => {}
        }
    }
}

type Rows = BTreeMap<(u64, BookingId), Booking>;

/// A booking: through which of Kafka's partitions, from which of the log's, and its last change.
type Known = (i32, u16, (u32, u64, u32), Booking);

/// One reader, record by record, with a map.
#[derive(Default)]
struct Plain {
    rows: BTreeMap<(u64, BookingId), Known>,
    marks: BTreeMap<(i32, u16), (Mark, u32)>,
    aside: BTreeSet<(i32, i64)>,
    schemas: Schemas,
}

impl Plain {
    fn read(&mut self, record: &Record) {
        let through = record.partition;
        let message = self.schemas.read(record).ok().filter(|_| record.header("version") == Some(b"1"));
        let message = message.filter(|_| record.header("cluster") == Some(CLUSTER.as_bytes()));
        let is_taken = match message {
            Some(Message::Change(change)) if change.time_ms < u64::MAX => self.change(through, &change),
            Some(Message::Upto(marks)) => {
                for (partition, mark) in marks {
                    let own = self.marks.entry((through, partition)).or_default();
                    if (mark.epoch, mark.lsn) > (own.0.epoch, own.0.lsn) {
                        *own = (mark, mark.epoch);
                    }
                }
                true
            }
            Some(Message::Anew(Anew { partition, epoch, lsn, events })) => {
                self.rows.retain(|(_, id), (of, from, ..)| {
                    (*of, *from) != (through, partition) || !events.contains(&id.place.event)
                });
                self.marks.insert((through, partition), (Mark { epoch, lsn: lsn - 1 }, epoch));
                true
            }
            Some(Message::Forgotten) => {
                self.rows.retain(|_, (of, ..)| *of != through);
                self.marks.retain(|(of, _), _| *of != through);
                true
            }
            _ => false,
        };
        if !is_taken {
            self.aside.insert((through, record.offset));
        }
    }

    fn change(&mut self, through: i32, change: &Change) -> bool {
        let at = change.position;
        let own = self.marks.entry((through, at.partition)).or_default();
        if at.epoch < own.1 {
            return false;
        }
        if (at.epoch, at.lsn) <= (own.0.epoch, own.0.lsn) {
            return true;
        }
        own.1 = at.epoch;
        let mut booking = Booking::of(change).unwrap();
        let (key, order) = ((booking.user, booking.id), (at.epoch, at.lsn, at.n));
        let there = self.rows.get_mut(&key);
        if there.as_ref().is_some_and(|it| it.2 >= order) {
            return true;
        }
        if change.kind == Kind::Booked {
            self.rows.insert(key, (through, at.partition, order, booking));
        } else if let Some(it) = there {
            booking.cancelled_ms = Some(change.time_ms);
            (it.2, it.3.cancelled_ms) = (order, booking.cancelled_ms);
        }
        true
    }
}

fn rows(settings: &Settings) -> Rows {
    let table = reader(settings);
    let mut found = Vec::new();
    for event in [7, 8] {
        found.extend(table.of_event(event, None, 100_000).unwrap());
    }
    found.into_iter().map(|it| ((it.user, it.id), it)).collect()
}

/// A consumer that is ended after some batches, wherever it is then.
fn some(settings: &Settings, topic: &MemoryTopic, dice: &mut Dice, progress: &Progress) {
    let partitions: Vec<i32> = (0..KAFKA as i32).filter(|_| dice.below(4) > 0).collect();
    let mut source = topic.reader(&partitions);
    source.again = dice.below(4) as i64;
    let left = Cell::new(dice.below(8) + 3);
    let is_over = |_| left.replace(left.get().saturating_sub(1)) == 0;
    let batch = 1 + dice.below(40) as usize;
    let mut table = PostgresTable::new(settings).unwrap();
    consume(&mut source, &mut table, Running { is_over: &is_over, progress, batch }).unwrap();
}

fn play(seed: u64, progress: &Progress) {
    let Some(settings) = database() else { return };
    let mut history = History::new(seed);
    let mut dice = Dice(!seed);
    for _ in 0..12 {
        (0..25).for_each(|_| history.step());
        if dice.below(3) == 0 {
            // Two that both believe to own everything.
            let seeds = [dice.below(u64::MAX), dice.below(u64::MAX)];
            std::thread::scope(|scope| {
                for seed in seeds {
                    let (settings, topic) = (&settings, &history.topic);
                    scope.spawn(move || some(settings, topic, &mut Dice(seed), progress));
                }
            });
        } else {
            some(&settings, &history.topic, &mut dice, progress);
        }
    }
    let topic = history.topic;
    let all: Vec<i32> = (0..KAFKA as i32).collect();
    run(&settings, topic.reader(&all), progress, 64).unwrap();
    let mut plain = Plain::default();
    topic.records().concat().iter().for_each(|record| plain.read(record));
    let expected: Rows = plain.rows.iter().map(|(key, it)| (*key, it.3.clone())).collect();
    assert_eq!(rows(&settings), expected, "seed {seed}");
    let aside: BTreeSet<_> = topic.aside().iter().map(|(it, _)| (it.partition, it.offset)).collect();
    assert_eq!(aside, plain.aside, "seed {seed}");
    let table = reader(&settings);
    for partition in 0..PARTITIONS {
        let marks =
            all.iter().map(|of| plain.marks.get(&(*of, partition)).map(|it| it.0).unwrap_or_default());
        let least = marks.min_by_key(|mark| (mark.epoch, mark.lsn)).unwrap();
        assert_eq!(table.mark(partition).unwrap(), least, "seed {seed}, partition {partition}");
    }
    assert!(table.is_complete().unwrap());
    // All of it once more changes nothing.
    server()
        .unwrap()
        .sql(
            name(&settings),
            "UPDATE frontrow.applied SET next_offset = next_offset - 3 WHERE next_offset > 3",
        )
        .unwrap();
    take(&settings, &topic);
    assert_eq!(rows(&settings), expected, "seed {seed}");
}

#[test]
fn the_table_is_what_a_plain_map_makes_of_the_topic() {
    let progress = Progress::default();
    for seed in 0..6 {
        play(seed, &progress);
    }
    if progress.batches.load(Relaxed) > 0 {
        println!("{progress}; overtaken {} times", progress.overtaken.load(Relaxed));
        assert!(progress.aside.load(Relaxed) > 0 && progress.known.load(Relaxed) > 0);
    }
}
