//! The writer against a real Kafka.

mod common;

use common::{
    PARTITIONS, Seen, anew, batch, change, changes, delete_some, make, make_with, own_kafka, read, settings,
};
use frontrow_cdc::message::Anew;
use frontrow_cdc::{Begun, Mark, Marks, Message, Places, Sink, SinkError};
use frontrow_kafka::{Settings, Writer, murmur2};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use std::time::Duration;

fn begun(settings: &Settings, epoch: u32) -> (Writer, Begun) {
    let mut writer = Writer::new(settings.clone());
    let begun = writer.begin(epoch).unwrap();
    (writer, begun)
}

#[test]
fn what_is_written_is_read_in_order_and_goes_on_where_it_was() {
    let settings = settings("round", 1);
    let (mut writer, first) = begun(&settings, 1);
    assert_eq!(first, Begun::default());
    for lsn in (1..40).step_by(2) {
        let of = |partition| {
            [
                change(partition, (1, lsn), "claimed", lsn, lsn),
                change(partition, (1, lsn + 1), "booked", lsn, lsn),
            ]
        };
        writer.write(&batch((0..6).flat_map(of).collect())).unwrap();
    }
    writer.settle().unwrap();
    drop(writer);
    let (_, begun) = begun(&settings, 1);
    assert_eq!(begun.marks, (0..6).map(|of| (of, Mark { epoch: 1, lsn: 40 })).collect::<Marks>());
    assert_eq!(begun.places, Places::from([(0, (1, 4096 * 40))]));

    let seen = read(&settings, &settings.topics().changes);
    assert_eq!(seen.len(), 6 * 40);
    for partition in 0..6 {
        let of = |it: &&Seen| matches!(&it.message, Message::Change(change) if change.position.partition == partition);
        let own: Vec<Seen> = seen.iter().filter(of).cloned().collect();
        assert!(own.iter().all(|it| it.partition == i32::from(partition % PARTITIONS)));
        let lsns: Vec<_> = changes(&own).iter().map(|it| it.1).collect();
        assert_eq!(lsns, (1..=40).collect::<Vec<_>>());
    }
    let one = seen.iter().find(|it| it.headers["lsn"] == "4").unwrap();
    assert_eq!(one.key.as_deref(), Some("7/0/0"));
    let headers = [
        ("cluster", &*format!("{:032x}", 1)),
        ("epoch", "1"),
        ("event", "7"),
        ("lsn", "4"),
        ("type", "booked"),
        ("version", "1"),
    ];
    assert_eq!(one.headers, headers.map(|(key, value)| (key.to_owned(), value.to_owned())).into());

    let bookings = read(&settings, &settings.topics().bookings);
    assert_eq!(changes(&bookings).len(), 6 * 20);
    for it in bookings.iter().filter(|it| matches!(it.message, Message::Change(_))) {
        let key = it.key.as_deref().unwrap();
        assert_eq!(
            it.partition,
            (murmur2(key.as_bytes()).cast_signed() & i32::MAX) % i32::from(PARTITIONS),
            "{key}"
        );
    }
    for partition in 0..i32::from(PARTITIONS) {
        let last = bookings.iter().rfind(|it| it.partition == partition).unwrap();
        assert_eq!(last.message, Message::Upto((0..6).map(|of| (of, Mark { epoch: 1, lsn: 40 })).collect()));
    }
}

#[test]
fn a_batch_that_comes_again_is_not_told_twice() {
    let settings = settings("again", 2);
    let (mut writer, _) = begun(&settings, 1);
    let first = batch(vec![change(0, (1, 1), "claimed", 5, 1), change(0, (1, 2), "booked", 5, 1)]);
    writer.write(&first).unwrap();
    writer.write(&first).unwrap();
    drop(writer);
    let (mut writer, _) = begun(&settings, 1);
    writer.write(&first).unwrap();
    assert_eq!(changes(&read(&settings, &settings.topics().changes)).len(), 2);
    assert_eq!(changes(&read(&settings, &settings.topics().bookings)).len(), 1);
}

/// A transaction with a change in it that is neither committed nor aborted, as of a primary that was killed.
fn open_transaction(settings: &Settings) -> BaseProducer {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &settings.brokers).set("linger.ms", "0");
    let id = format!("frontrow-{:032x}", settings.cluster);
    let producer: BaseProducer = config.set("transactional.id", id).create().unwrap();
    producer.init_transactions(Duration::from_secs(30)).unwrap();
    producer.begin_transaction().unwrap();
    let topic = settings.topics().changes;
    let value = serde_json::to_vec(&change(0, (1, 99), "booked", 5, 98)).unwrap();
    producer.send(BaseRecord::<(), [u8]>::to(&topic).partition(0).payload(&value)).unwrap();
    producer.flush(Duration::from_secs(30)).unwrap();
    producer
}

#[test]
fn what_was_not_committed_never_counts() {
    let settings = settings("uncommitted", 3);
    let (mut writer, _) = begun(&settings, 1);
    writer.write(&batch(vec![change(0, (1, 1), "claimed", 5, 1)])).unwrap();
    drop(writer);
    // Written, and then killed.
    let killed = open_transaction(&settings);
    let (mut writer, begun) = begun(&settings, 1);
    assert_eq!(begun.marks, Marks::from([(0, Mark { epoch: 1, lsn: 1 })]));
    writer.write(&batch(vec![change(0, (1, 2), "booked", 5, 1)])).unwrap();
    assert!(killed.commit_transaction(Duration::from_secs(30)).is_err(), "it is fenced");
    let seen = read(&settings, &settings.topics().changes);
    assert_eq!(changes(&seen), [(0, 1, "claimed"), (0, 2, "booked")]);
}

#[test]
fn a_primary_of_an_earlier_epoch_writes_no_more() {
    let settings = settings("stale", 4);
    let (mut old, _) = begun(&settings, 1);
    old.write(&batch(vec![change(0, (1, 1), "claimed", 5, 1)])).unwrap();
    let (mut new, _) = begun(&settings, 100_000);
    let Err(SinkError::Away(why)) = old.write(&batch(vec![change(0, (1, 2), "booked", 5, 1)])) else {
        panic!("it is fenced, and looks who it was")
    };
    assert!(why.contains("another writer"), "{why}");
    let Err(SinkError::Fenced { found: 100_000, own: 1, .. }) = old.begin(1) else { panic!("for good") };
    // Looking has not disturbed the later one.
    new.write(&batch(vec![change(0, (100_000, 2), "expired", 5, 1)])).unwrap();
    assert!(matches!(old.write(&batch(vec![])), Err(SinkError::Away(_))));
    let seen = read(&settings, &settings.topics().changes);
    assert_eq!(changes(&seen), [(0, 1, "claimed"), (0, 2, "expired")]);
}

#[test]
fn what_is_said_anew_and_forgotten_is_told_to_every_reader() {
    let settings = settings("anew", 5);
    let (mut writer, _) = begun(&settings, 1);
    writer.write(&batch(vec![change(0, (1, 2), "booked", 5, 1)])).unwrap();
    // The log between is gone.
    writer.write(&anew(0, 7, vec![change(0, (1, 90), "booked", 6, 80)])).unwrap();
    for topic in [settings.topics().changes, settings.topics().bookings] {
        let told = read(&settings, &topic);
        let anew = Message::Anew(Anew { partition: 0, epoch: 1, lsn: 90, events: vec![7] });
        for partition in 0..i32::from(PARTITIONS) {
            let own: Vec<_> = told.iter().filter(|it| it.partition == partition).collect();
            let at = own.iter().position(|it| it.message == anew).expect("everywhere");
            assert!(
                changes(&own[at..].iter().map(|&it| it.clone()).collect::<Vec<_>>())
                    .iter()
                    .all(|it| it.1 == 90)
            );
        }
    }
    writer.forget().unwrap();
    drop(writer);
    let (_, begun) = begun(&settings, 2);
    assert_eq!(begun, Begun::default(), "nothing is there");
    for topic in [settings.topics().changes, settings.topics().bookings] {
        let forgotten = read(&settings, &topic).iter().filter(|it| it.message == Message::Forgotten).count();
        assert_eq!(forgotten, usize::from(PARTITIONS));
    }
}

/// How many records say that nothing counts any more.
fn forgotten(settings: &Settings, topic: &str) -> usize {
    read(settings, topic).iter().filter(|it| it.message == Message::Forgotten).count()
}

/// What counts in a topic, by the rules of docs/cdc.md.
fn counts(settings: &Settings, topic: &str) -> Vec<(u16, u64, &'static str)> {
    let all = read(settings, topic);
    let last =
        |partition| all.iter().rposition(|it| it.partition == partition && it.message == Message::Forgotten);
    let counted = |(n, it): (usize, &Seen)| last(it.partition).is_none_or(|at| n > at).then(|| it.clone());
    changes(&all.iter().enumerate().filter_map(counted).collect::<Vec<_>>())
}

/// Somebody deletes one of them and makes it again while the writer lives; another time while there is none.
#[test]
fn a_topic_that_was_made_anew_is_noticed_and_everything_told_once_more() {
    let Some(kafka) = own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("made", 10) };
    let topics = settings.topics();
    let first = batch(vec![change(0, (1, 1), "claimed", 5, 1), change(0, (1, 2), "booked", 5, 1)]);
    let second = batch(vec![change(0, (1, 3), "cancelled", 5, 1)]);
    let (mut writer, _) = begun(&settings, 1);
    writer.write(&first).unwrap();
    writer.whole().unwrap();
    writer.look().unwrap();
    let mut epoch = 1;
    for anew in [&topics.changes, &topics.bookings, &topics.positions] {
        for is_running in [true, false] {
            delete_some(&settings, &[anew]);
            make(&settings, anew);
            if is_running {
                let Err(SinkError::Away(why)) = writer.look() else { panic!("{anew} is another one") };
                assert!(why.contains(&format!("the topic {anew} in Kafka was deleted")), "{why}");
                assert_eq!(writer.begin(epoch).unwrap(), Begun::default(), "{anew}");
            } else {
                drop(writer);
                epoch += 1;
                let begun = begun(&settings, epoch);
                assert_eq!(begun.1, Begun::default(), "{anew}");
                writer = begun.0;
            }
            for topic in [&topics.changes, &topics.bookings] {
                assert!(forgotten(&settings, topic) >= usize::from(PARTITIONS), "{topic} of {anew}");
                assert_eq!(counts(&settings, topic), []);
            }
            writer.write(&first).unwrap();
            // In the middle of it.
            drop(writer);
            let again = begun(&settings, epoch);
            assert_eq!(again.1.marks, Marks::from([(0, Mark { epoch: 1, lsn: 2 })]));
            writer = again.0;
            writer.write(&second).unwrap();
            writer.whole().unwrap();
            writer.look().unwrap();
            let all = [(0, 1, "claimed"), (0, 2, "booked"), (0, 3, "cancelled")];
            assert_eq!(counts(&settings, &topics.changes), all);
            assert_eq!(counts(&settings, &topics.bookings), all[1..]);
        }
    }
}

/// A topic that somebody deleted and nobody made again is made by the next beginning.
#[test]
fn a_topic_that_is_gone_is_made_and_told_everything() {
    let Some(kafka) = own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("gone", 11) };
    let all = batch(vec![change(0, (1, 1), "claimed", 5, 1), change(0, (1, 2), "booked", 5, 1)]);
    let (mut writer, _) = begun(&settings, 1);
    writer.write(&all).unwrap();
    delete_some(&settings, &[&settings.topics().bookings]);
    let gone = (0..1000).find_map(|_| writer.look().err()).expect("it is gone");
    assert!(gone.to_string().contains("test.gone.bookings in Kafka was deleted"), "{gone}");
    let begun = (0..30).find_map(|_| writer.begin(1).ok()).expect("it is made");
    assert_eq!(begun, Begun::default());
    writer.write(&all).unwrap();
    assert_eq!(counts(&settings, &settings.topics().bookings), [(0, 2, "booked")]);
    assert_eq!(counts(&settings, &settings.topics().changes), [(0, 1, "claimed"), (0, 2, "booked")]);
}

#[test]
fn topics_that_are_there_are_used_and_those_of_another_cluster_are_not() {
    let settings = settings("there", 6);
    let (mut writer, _) = begun(&Settings { partitions: 2, ..settings.clone() }, 1);
    writer.write(&batch(vec![change(3, (1, 1), "claimed", 5, 1)])).unwrap();
    drop(writer);
    let (mut writer, _) = begun(&Settings { partitions: 8, ..settings.clone() }, 1);
    writer.write(&batch(vec![change(3, (1, 2), "booked", 5, 1)])).unwrap();
    drop(writer);
    let seen = read(&settings, &settings.topics().changes);
    assert_eq!(changes(&seen), [(3, 1, "claimed"), (3, 2, "booked")]);
    assert!(seen.iter().all(|it| it.partition == 1), "3 of 2 partitions");
    let mut other = Writer::new(Settings { cluster: 7, ..settings });
    let Err(SinkError::Unfit(why)) = other.begin(1) else { panic!("they are another cluster's") };
    assert!(why.contains("another kafka.prefix than \"test.there\""), "{why}");
}

#[test]
fn a_kafka_that_is_not_there_is_said_at_once() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut writer = Writer::new(Settings { brokers: nobody.clone(), ..settings("away", 8) });
    let Err(SinkError::Away(why)) = writer.begin(1) else { panic!("nobody is there") };
    assert!(why.contains(&nobody) && why.contains("set kafka.brokers") && why.contains("refused"), "{why}");
}

#[test]
fn a_kafka_that_was_killed_is_gone_on_with() {
    let Some(mut kafka) = own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("killed", 9) };
    let (mut writer, _) = begun(&settings, 1);
    let first = batch(vec![change(0, (1, 1), "claimed", 5, 1)]);
    writer.write(&first).unwrap();
    kafka.kill();
    let second = batch(vec![change(0, (1, 2), "booked", 5, 1)]);
    let Err(SinkError::Away(why)) = writer.write(&second) else { panic!("it is not there") };
    assert!(why.contains(&kafka.brokers()), "{why}");
    assert!(matches!(writer.begin(1), Err(SinkError::Away(_))));
    kafka.start_again().unwrap();
    let begun = (0..30).find_map(|_| writer.begin(1).ok()).expect("it is there again");
    assert_eq!(begun.marks, Marks::from([(0, Mark { epoch: 1, lsn: 1 })]));
    writer.write(&second).unwrap();
    let seen = read(&settings, &settings.topics().changes);
    assert_eq!(changes(&seen), [(0, 1, "claimed"), (0, 2, "booked")]);
}

#[test]
fn a_topic_that_takes_only_small_batches_is_said_and_what_to_do() {
    let Some(kafka) = own_kafka() else { return };
    let settings = Settings { brokers: kafka.brokers(), ..settings("small", 12) };
    make_with(&settings, &settings.topics().changes, &[("max.message.bytes", "3000")]);
    let (mut writer, _) = begun(&settings, 1);
    let many = |partition| (1..500).map(move |lsn| change(partition, (1, lsn), "claimed", lsn * 7919, lsn));
    let Err(SinkError::Away(why)) = writer.write(&batch((0..4).flat_map(many).collect())) else {
        panic!("it is too much for the topic")
    };
    assert!(why.contains("MessageSizeTooLarge") && why.contains("raise max.message.bytes"), "{why}");
    assert!(!why.contains("start it"), "{why}");
}
