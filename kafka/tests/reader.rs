//! The reader against a real Kafka.

mod common;

use common::{PARTITIONS, anew, batch, change, read_raw, settings};
use frontrow_cdc::source::{Polled, Record, Source, SourceError};
use frontrow_cdc::{Change, Mark, Marks, Message, Sink};
use frontrow_kafka::{Reader, Settings, Tick, Ticks, Writer};
use rdkafka::mocking::MockCluster;
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_millis(100);
/// Looks until something must have happened.
const LOOKS: usize = 600;
const ANSWER: Duration = Duration::from_secs(10);

/// What one reader has been given.
#[derive(Default)]
struct Heard {
    own: BTreeSet<i32>,
    records: Vec<Record>,
    ends: BTreeMap<i32, i64>,
}

impl Heard {
    /// One look; whatever is assigned is read from where `from` says.
    fn look(&mut self, reader: &mut Reader, from: &BTreeMap<i32, i64>) {
        match reader.poll(1000, PATIENCE).expect("Kafka is there") {
            Polled::Records(records) => {
                for record in &records {
                    assert!(self.own.contains(&record.partition), "not before it is assigned");
                    self.ends.remove(&record.partition);
                }
                self.records.extend(records);
            }
            Polled::Assigned(partitions) => {
                let start = |of: &i32| (*of, from.get(of).copied());
                // Nobody asks where nothing goes on.
                if partitions.is_empty() {
                    return;
                }
                reader.start(&partitions.iter().map(start).collect::<Vec<_>>()).expect("it is ours");
                self.own.extend(partitions);
            }
            Polled::Revoked(gone) => self.own.retain(|of| !gone.contains(of)),
            Polled::End { partition, offset } => drop(self.ends.insert(partition, offset)),
        }
    }

    fn all_ended(&self) -> bool {
        self.ends.len() == usize::from(PARTITIONS)
    }

    fn bookings(&self) -> BTreeSet<(u64, u64)> {
        let of = |record: &Record| match Message::read(&record.value).expect("a message") {
            Message::Change(Change { user, position, .. }) => Some((user?, position.lsn)),
            _ => None,
        };
        self.records.iter().filter_map(of).collect()
    }
}

fn written(settings: &Settings, lsns: std::ops::Range<u64>) -> Writer {
    let mut writer = Writer::new(settings.clone());
    writer.begin(1).unwrap();
    writer.write(&batch(lsns.map(|lsn| change(0, (1, lsn), "booked", lsn, lsn)).collect())).unwrap();
    writer
}

/// Ticks that come within many looks, until there are so many.
fn hear(ticks: &mut Ticks, count: usize, again: &mut dyn FnMut()) -> Vec<Tick> {
    let mut heard = Vec::new();
    for _ in 0..LOOKS {
        heard.extend(ticks.poll(PATIENCE).expect("Kafka is there"));
        if heard.len() >= count {
            return heard;
        }
        again();
    }
    panic!("{count} ticks were to come, and {heard:?} came");
}

/// Whoever is no member of the group knows up to where everything was told, also while nothing is.
#[test]
fn ticks_say_up_to_where_everything_was_told() {
    let settings = settings("ticks", 38);
    let mut writer = written(&settings, 1..100);
    let mut ticks = Ticks::new(settings.clone(), "one");
    assert!(matches!(ticks.end(ANSWER), Err(SourceError::Away(_))), "it was not asked yet");
    assert_eq!(ticks.poll(PATIENCE).unwrap(), []);
    // Before everything was told once there are none.
    writer.tick().unwrap();
    assert_eq!(ticks.poll(PATIENCE).unwrap(), []);
    writer.whole().unwrap();
    // Who listens from now on hears what is said once it does.
    let heard = hear(&mut ticks, 1, &mut || writer.tick().unwrap());
    let upto = Marks::from([(0, Mark { epoch: 1, lsn: 99 })]);
    assert_eq!(heard[0].upto, upto);
    // Those behind an end were committed after it was asked for; who writes waits for that, so the second was made after it.
    let end = ticks.end(ANSWER).unwrap();
    assert!(heard.iter().all(|tick| tick.offset < end));
    writer.write(&batch(vec![change(0, (1, 100), "booked", 100, 100)])).unwrap();
    writer.tick().unwrap();
    writer.tick().unwrap();
    let later = hear(&mut ticks, 2, &mut || {});
    assert!(later.iter().all(|tick| tick.offset >= end && tick.upto[&0].lsn == 100), "{later:?}");
    // Who was replaced says nothing any more.
    let mut next = Writer::new(settings.clone());
    next.begin(2).unwrap();
    assert!(writer.tick().is_err());
    ticks.renew();
    let heard = hear(&mut ticks, 1, &mut || next.tick().unwrap());
    assert_eq!(heard[0].upto[&0].lsn, 100);
}

#[test]
fn it_reads_from_where_it_is_told_and_says_when_that_was_all() {
    let settings = settings("read", 21);
    drop(written(&settings, 1..100));
    let mut reader = Reader::new(settings.clone(), "one").unwrap();
    assert_eq!(reader.partitions().unwrap(), i32::from(PARTITIONS));
    assert_eq!(reader.topic(), "test.read.bookings");
    assert_eq!(reader.origin().unwrap().cluster, Some(format!("{:032x}", settings.cluster)));
    let mut heard = Heard::default();
    (0..LOOKS).find(|_| {
        heard.look(&mut reader, &BTreeMap::new());
        heard.all_ended()
    });
    assert_eq!(heard.bookings(), (1..100).map(|lsn| (lsn, lsn)).collect());
    let one = heard.records.iter().find(|it| it.key == b"42").unwrap();
    assert!(one.headers.contains(&("lsn".to_owned(), b"42".to_vec())));
    for (&partition, &offset) in &heard.ends {
        assert_eq!(reader.high(partition), Some(offset), "nothing is to come");
    }
    // Once more from the middle of each.
    let middle: Vec<_> = heard.ends.iter().map(|(&of, &end)| (of, Some(end / 2))).collect();
    reader.start(&middle).unwrap();
    let wanted = |it: &&Record| middle.iter().any(|(of, at)| *of == it.partition && Some(it.offset) >= *at);
    let wanted: BTreeSet<_> =
        heard.records.iter().filter(wanted).map(|it| (it.partition, it.offset)).collect();
    let mut again = Heard { own: heard.own.clone(), ..Heard::default() };
    (0..LOOKS).find(|_| {
        again.look(&mut reader, &BTreeMap::new());
        again.all_ended()
    });
    let found: BTreeSet<_> = again.records.iter().map(|it| (it.partition, it.offset)).collect();
    assert_eq!((found.len(), found), (again.records.len(), wanted));
    // What is not there any more, or not yet.
    let (partition, end) = (0, heard.ends[&0]);
    reader.start(&[(partition, Some(end + 1000))]).unwrap();
    let odd = (0..LOOKS).find_map(|_| reader.poll(10, PATIENCE).err()).expect("nothing is there");
    assert!(matches!(&odd, SourceError::Unfit(why) if why.contains("does not have the records")), "{odd}");
}

#[test]
fn two_readers_share_the_partitions_and_one_takes_over_from_the_other() {
    let settings = settings("share", 22);
    let mut writer = written(&settings, 1..100);
    let mut first = Reader::new(settings.clone(), "two").unwrap();
    let (mut heard, none) = (Heard::default(), BTreeMap::new());
    (0..LOOKS).find(|_| {
        heard.look(&mut first, &none);
        heard.own.len() == usize::from(PARTITIONS)
    });
    let mut second = Reader::new(settings.clone(), "two").unwrap();
    let mut other = Heard::default();
    (0..LOOKS).find(|_| {
        heard.look(&mut first, &none);
        other.look(&mut second, &none);
        other.own.len() == 2 && heard.own.len() == 2
    });
    assert!(heard.own.is_disjoint(&other.own), "{:?} {:?}", heard.own, other.own);
    drop(first);
    (0..LOOKS).find(|_| {
        other.look(&mut second, &none);
        other.all_ended()
    });
    writer.write(&batch((100..120).map(|lsn| change(0, (1, lsn), "booked", lsn, lsn)).collect())).unwrap();
    (0..LOOKS).find(|_| {
        other.look(&mut second, &none);
        other.bookings().len() == 119
    });
    assert_eq!(other.bookings(), (1..120).map(|lsn| (lsn, lsn)).collect());
}

/// Both may be told that nothing comes to them, and nobody must wait for that; nor does one end late that never took what came.
#[test]
fn more_readers_than_partitions_leave_each_other_in_peace() {
    let settings = settings("many", 33);
    let mut writer = written(&settings, 1..100);
    let mut readers: Vec<_> = (0..usize::from(PARTITIONS))
        .map(|_| (Reader::new(settings.clone(), "many").unwrap(), Heard::default()))
        .collect();
    let none = BTreeMap::new();
    let each = |readers: &mut Vec<(Reader, Heard)>| {
        for (reader, heard) in readers {
            heard.look(reader, &none);
        }
    };
    (0..LOOKS).find(|_| {
        each(&mut readers);
        readers.iter().all(|(_, heard)| heard.own.len() == 1)
    });
    assert!(readers.iter().all(|(_, heard)| heard.own.len() == 1), "one each");
    // Two more, to whom nothing is left; one of them never asks what came.
    readers.push((Reader::new(settings.clone(), "many").unwrap(), Heard::default()));
    let silent = Reader::new(settings.clone(), "many").unwrap();
    for _ in 0..10 {
        each(&mut readers);
    }
    writer.write(&batch((100..120).map(|lsn| change(0, (1, lsn), "booked", lsn, lsn)).collect())).unwrap();
    let all = |readers: &[(Reader, Heard)]| -> BTreeSet<(u64, u64)> {
        readers.iter().flat_map(|(_, heard)| heard.bookings()).collect()
    };
    (0..LOOKS).find(|_| {
        each(&mut readers);
        all(&readers).len() == 119
    });
    assert_eq!(all(&readers), (1..120).map(|lsn| (lsn, lsn)).collect());
    drop(silent);
    // What a member had goes to the others.
    readers.drain(..2);
    (0..LOOKS).find(|_| {
        each(&mut readers);
        readers.iter().map(|(_, heard)| heard.own.len()).sum::<usize>() == usize::from(PARTITIONS)
    });
    assert_eq!(readers.iter().map(|(_, heard)| heard.own.len()).sum::<usize>(), usize::from(PARTITIONS));
}

/// A partition came, and was never taken, as where the table is away.
#[test]
fn a_reader_ends_that_never_took_what_came() {
    let settings = settings("untaken", 34);
    let _writer = written(&settings, 1..10);
    let mut reader = Reader::new(settings.clone(), "untaken").unwrap();
    let came = (0..LOOKS).find_map(|_| match reader.poll(100, Duration::from_millis(100)) {
        Ok(Polled::Assigned(which)) if !which.is_empty() => Some(which),
        _ => None,
    });
    assert!(came.is_some(), "it is given partitions");
    drop(reader);
    let (mut next, mut heard) = (Reader::new(settings, "untaken").unwrap(), Heard::default());
    (0..LOOKS).find(|_| {
        heard.look(&mut next, &BTreeMap::new());
        heard.bookings().len() == 9
    });
    assert_eq!(heard.bookings().len(), 9, "whoever comes next has them");
}

#[test]
fn what_nothing_can_be_done_with_is_set_aside_unchanged() {
    let settings = settings("aside", 23);
    let mut missing =
        Reader::new(Settings { prefix: "test.nothing".into(), ..settings.clone() }, "three").unwrap();
    let Err(SourceError::Away(why)) = missing.partitions() else { panic!("there is no such topic") };
    assert!(why.contains("there is no topic test.nothing.bookings yet"), "{why}");
    let Err(SourceError::Away(why)) = missing.origin() else { panic!("there is no such topic") };
    assert!(why.contains("there is no topic test.nothing.bookings yet"), "{why}");
    drop(written(&settings, 1..2));
    let mut reader = Reader::new(settings.clone(), "three").unwrap();
    let headers = vec![("version".to_owned(), b"1".to_vec()), ("type".to_owned(), vec![0xff])];
    let record =
        Record { partition: 1, offset: 7, key: b"42".to_vec(), headers, value: b"{\"type\":\"?\"}".to_vec() };
    reader.set_aside(&record, "no message").unwrap();
    reader.set_aside(&Record { key: Vec::new(), ..record.clone() }, "again").unwrap();
    let kept = read_raw(&settings, &settings.topics().dead);
    assert_eq!(kept.len(), 2);
    let one = kept.iter().find(|it| it.key == record.key).unwrap();
    let more = [("reason".to_owned(), b"no message".to_vec()), ("from".to_owned(), b"1/7".to_vec())];
    assert_eq!(one.headers, record.headers.iter().cloned().chain(more).collect::<Vec<_>>());
    assert_eq!(one.value, record.value);
}

/// Bookings from an archive have no record; they must not look older than what stands before them.
#[test]
fn what_comes_out_of_an_archive_is_told_at_the_mark_of_its_partition() {
    let settings = settings("archive", 24);
    let mut writer = written(&settings, 1..9);
    let mut old = anew(0, 7, vec![change(0, (0, 0), "booked", 5, 3)]);
    old.upto.clear();
    writer.write(&old).unwrap();
    let told = read_raw(&settings, &settings.topics().bookings);
    let told: Vec<_> = told.iter().map(|it| (it.partition, Message::read(&it.value).unwrap())).collect();
    let at = told.iter().position(|(_, it)| matches!(it, Message::Change(it) if it.position.n > 0)).unwrap();
    let partition = told[at].0;
    let around: Vec<_> = told.iter().filter(|it| it.0 == partition).collect();
    let at =
        around.iter().position(|(_, it)| matches!(it, Message::Change(it) if it.position.n > 0)).unwrap();
    let Message::Anew(anew) = &around[at - 1].1 else { panic!("it is told anew before") };
    assert_eq!((anew.epoch, anew.lsn), (1, 8));
    let Message::Change(booked) = &around[at].1 else { unreachable!("it was found as one") };
    assert_eq!((booked.position.epoch, booked.position.lsn), (1, 8));
    assert!(matches!(&around[at + 1].1, Message::Upto(marks) if marks[&0].lsn == 8));
}

/// A topic keeps its id, whoever asks and however much is written, and one that is made anew under its name has another.
#[test]
fn a_topic_that_is_made_anew_is_another_one() {
    let Some(kafka) = common::own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("again", 35) };
    let mut writer = written(&settings, 1..10);
    let mut reader = Reader::new(settings.clone(), "again").unwrap();
    let first = reader.origin().unwrap();
    assert_eq!(first.id.as_ref().map(String::len), Some(32), "{first:?}");
    writer.write(&batch((10..20).map(|lsn| change(0, (1, lsn), "booked", lsn, lsn)).collect())).unwrap();
    assert_eq!(Reader::new(settings.clone(), "other").unwrap().origin().unwrap(), first);
    drop(writer);
    common::delete(&settings);
    let gone = (0..LOOKS).find_map(|_| reader.origin().err()).expect("it is gone");
    assert!(matches!(&gone, SourceError::Away(why) if why.contains("there is no topic")), "{gone}");
    drop(written(&settings, 1..10));
    let second = (0..LOOKS).find_map(|_| reader.origin().ok()).expect("it is there again");
    assert_eq!(
        (second.cluster == first.cluster, second.id.is_some(), second.id == first.id),
        (true, true, false)
    );
}

/// Before everything is there the topic's end is that of a part: a reader says so, and which server has to do what.
#[test]
fn a_topic_in_which_not_everything_is_told_is_not_to_be_read_yet() {
    let Some(kafka) = common::own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("untold", 37) };
    let bookings = settings.topics().bookings;
    let mut reader = Reader::new(settings.clone(), "untold").unwrap();
    common::make(&settings, &bookings);
    // A topic that was just made is not known at once.
    let untold = |reader: &mut Reader| {
        let found = (0..LOOKS).find_map(|_| reader.origin().ok());
        found.expect("the topic is there").untold
    };
    let nothing = untold(&mut reader).expect("there is no word of a server");
    assert!(nothing.contains("test.untold.positions does not say yet"), "{nothing}");
    let mut writer = written(&settings, 1..10);
    let part = untold(&mut reader).expect("it is not all");
    assert!(part.contains("is telling everything in test.untold.bookings"), "{part}");
    writer.whole().unwrap();
    assert_eq!(untold(&mut reader), None);
    // A new writer goes on with it.
    drop(writer);
    let mut writer = written(&settings, 10..20);
    assert_eq!(untold(&mut Reader::new(settings.clone(), "other").unwrap()), None);
    writer.forget().unwrap();
    let (mut heard, none) = (Heard::default(), BTreeMap::new());
    (0..LOOKS).find(|_| {
        heard.look(&mut reader, &none);
        untold(&mut reader).is_some()
    });
    let part = untold(&mut reader).expect("it was taken back");
    assert!(part.contains("is telling everything"), "{part}");
    writer.begin(1).unwrap();
    writer.whole().unwrap();
    assert_eq!(untold(&mut reader), None);
    common::delete_some(&settings, &[&bookings]);
    common::make(&settings, &bookings);
    let anew = (0..LOOKS).find_map(|_| reader.origin().ok()?.untold).expect("it is another one");
    assert!(anew.contains("was made anew, and nothing is told in it yet"), "{anew}");
    writer.look().unwrap_err();
    writer.begin(1).unwrap();
    writer.whole().unwrap();
    assert_eq!(untold(&mut reader), None);
}

/// A reader that Kafka does not let into the group hears nothing: it must not look like one that has nothing to do.
#[test]
fn a_reader_that_is_not_let_into_its_group_is_told_so() {
    let mock = MockCluster::new(1).unwrap();
    let settings = Settings { brokers: mock.bootstrap_servers(), ..settings("denied", 36) };
    mock.create_topic(&settings.topics().bookings, i32::from(PARTITIONS), 1).unwrap();
    mock.request_errors(
        RDKafkaApiKey::JoinGroup,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED],
    );
    let mut reader = Reader::new(settings, "denied").unwrap();
    let refused = (0..LOOKS).find_map(|_| reader.poll(10, PATIENCE).err()).expect("it is refused");
    let SourceError::Refused(why) = refused else { panic!("{refused:?}") };
    assert!(why.contains("Group authorization failed") && why.contains("group denied"), "{why}");
}

/// What was wrong at the start is not why it does not answer now.
#[test]
fn a_kafka_that_stands_still_is_not_said_to_be_as_it_was_before() {
    let Some(mut kafka) = common::own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("still", 39) };
    drop(written(&settings, 1..10));
    let mut ticks = Ticks::new(settings.clone(), "still");
    ticks.poll(PATIENCE).unwrap();
    kafka.kill();
    let mut look = || {
        // It says what it met only when it is polled.
        let _ = ticks.poll(PATIENCE);
        ticks.end(Duration::from_secs(1))
    };
    let away =
        |why: &SourceError| matches!(why, SourceError::Away(why) if why.contains("Connection refused"));
    assert!((0..20).any(|_| look().is_err_and(|why| away(&why))), "nobody is there");
    kafka.start_again().unwrap();
    assert!((0..60).any(|_| look().is_ok()), "it is there");
    kafka.pause();
    let Err(SourceError::Away(why)) = look() else { panic!("it does not answer") };
    kafka.resume();
    assert!(!why.contains("Connection refused") && why.contains(&settings.brokers), "{why}");
}
