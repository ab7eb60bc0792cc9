use super::memory::{CLUSTER, MemorySource, MemoryTopic, is_drained};
use super::*;
use frontrow_cdc::avro::UnknownSchema;
use frontrow_cdc::{Change, Mark, Message};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;

/// Remembers what is written, and fails as often as it is told to.
#[derive(Default)]
struct Paper {
    places: BTreeMap<i32, Place>,
    rows: Vec<u64>,
    failures: Vec<TableError>,
    origin: Origin,
    /// What becomes of its next questions of whose it is.
    origins: VecDeque<Result<(), TableError>>,
}

impl Table for Paper {
    fn begin(&mut self, _: &str, partitions: i32) -> Result<(), TableError> {
        self.places.extend(
            (0..partitions)
                .filter(|it| !self.places.contains_key(it))
                .map(|it| (it, Place::default()))
                .collect::<Vec<_>>(),
        );
        Ok(())
    }

    fn origin(&mut self, told: &Origin) -> Result<Origin, TableError> {
        self.origins.pop_front().unwrap_or(Ok(()))?;
        let Origin { cluster, id, .. } = &mut self.origin;
        *cluster = cluster.take().or_else(|| told.cluster.clone());
        *id = id.take().or_else(|| told.id.clone());
        Ok(self.origin.clone())
    }

    fn places(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, Place>, TableError> {
        Ok(partitions.iter().map(|partition| (*partition, self.places[partition].clone())).collect())
    }

    fn write(&mut self, plan: &Plan) -> Result<(), TableError> {
        if let Some(failure) = self.failures.pop() {
            return Err(failure);
        }
        if plan.moves.iter().any(|one| self.places[&one.partition].next != one.from) {
            return Err(TableError::Overtaken);
        }
        for one in &plan.moves {
            self.places.insert(one.partition, one.to.clone());
        }
        for step in &plan.steps {
            let Step::Rows(rows) = step else { continue };
            self.rows.extend(rows.iter().map(|row| row.booking.user));
        }
        Ok(())
    }
}

fn booked(user: u64) -> Message {
    let document = serde_json::json!({
        "partition": 1, "epoch": 1, "lsn": user, "n": 0, "type": "booked", "time_ms": 1, "event": 7, "section": 0, "row": 3,
        "seats": [2], "user": user, "hold": {"epoch": 1, "lsn": user, "slot": 3},
    });
    Message::Change(serde_json::from_value::<Change>(document).unwrap())
}

fn topic() -> MemoryTopic {
    let topic = MemoryTopic::new(2);
    (1..=10).for_each(|user| topic.send(&booked(user)));
    topic.send(&Message::Upto([(1, Mark { epoch: 1, lsn: 10 })].into()));
    topic
}

fn run(
    mut source: MemorySource,
    table: &mut Paper,
    progress: &Progress,
) -> (Result<(), ConsumeError>, Vec<Duration>) {
    let (drained, waits) = (source.drained(), RefCell::new(Vec::new()));
    let is_over = |pause: Duration| {
        if !pause.is_zero() {
            waits.borrow_mut().push(pause);
        }
        is_drained(&drained)
    };
    let ended = consume(&mut source, table, Running { is_over: &is_over, progress, batch: 4 });
    (ended, waits.into_inner())
}

#[test]
fn a_table_that_is_away_costs_time_and_nothing_else() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    table.failures = vec![TableError::Away("it is down".into()); 3];
    let (ended, waits) = run(topic.reader(&[0, 1]), &mut table, &progress);
    assert_eq!(ended, Ok(()));
    assert_eq!(waits, [100, 200, 400].map(Duration::from_millis), "longer each time");
    table.rows.sort_unstable();
    assert_eq!(table.rows, (1..=10).collect::<Vec<_>>(), "once each");
    assert!(table.places.values().all(|place| place.complete && place.reached[&1].mark.lsn == 10));
    assert_eq!((progress.trouble(), progress.retries.load(Relaxed)), (None, 3));
    assert!(progress.partitions().values().all(|standing| standing.lag() == Some(0) && standing.complete));
    assert!(
        progress.to_string().starts_with("2 partitions, 0 records behind; 10 changes written"),
        "{progress}"
    );
}

#[test]
fn who_was_overtaken_goes_on_behind_the_other_one() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    table.failures = vec![TableError::Overtaken];
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    assert_eq!((table.rows.len(), progress.overtaken.load(Relaxed)), (10, 1));
}

#[test]
fn a_topic_that_is_away_is_tried_again_and_one_that_lacks_records_is_not() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    topic.fail(SourceError::Away("no broker".into()));
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    assert_eq!(table.rows.len(), 10);
    topic.fail(SourceError::Unfit("offset 7 is gone".into()));
    let (ended, _) = run(topic.reader(&[0, 1]), &mut table, &progress);
    assert_eq!(ended, Err(ConsumeError::Source("offset 7 is gone".into())));
    assert!(progress.trouble().unwrap().contains("offset 7 is gone"));
    let text = progress.to_string();
    assert!(
        progress.is_over() && text.ends_with("; ended: the topic of bookings: offset 7 is gone"),
        "{text}"
    );
}

#[test]
fn a_later_version_ends_it_once_what_is_before_is_written() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    let mut later = topic.records()[0][0].clone();
    later.headers[0].1 = b"2".to_vec();
    topic.add(later);
    let (ended, _) = run(topic.reader(&[0]), &mut table, &progress);
    let at = ("frontrow.bookings".to_owned(), 0, 6);
    assert_eq!(ended, Err(ConsumeError::Later { topic: at.0, partition: at.1, offset: at.2, version: 2 }));
    assert!(
        progress
            .trouble()
            .unwrap()
            .starts_with("frontrow.bookings, partition 0, offset 6: a record of version 2")
    );
    assert_eq!(table.places[&0].next, Some(6));
}

#[test]
fn partitions_that_are_taken_away_are_written_no_more() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    let mut source = topic.reader(&[0, 1]);
    source.news.push_back(Polled::Revoked(vec![1]));
    assert_eq!(run(source, &mut table, &progress).0, Ok(()));
    assert_eq!((table.places[&0].next, table.places[&1].next), (Some(6), None));
    assert_eq!(progress.partitions().len(), 1);
}

#[test]
fn poison_is_kept_aside_before_anything_goes_past_it() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    topic.add(Record { partition: 1, value: b"?".to_vec(), ..Record::default() });
    table.failures = vec![TableError::Away("it is down".into())];
    assert_eq!(run(topic.reader(&[1]), &mut table, &progress).0, Ok(()));
    let aside = topic.aside();
    assert_eq!((aside.len(), progress.aside.load(Relaxed)), (1, 1));
    assert_eq!((aside[0].0.offset, aside[0].1.as_str()), (6, "it has no header 'version'"));
}

/// A schema later than this program's is asked for once, and what the registry knows nothing of is set aside.
#[test]
fn what_is_avro_is_read_and_later_schemas_are_asked_for() {
    let (topic, mut table, progress) = (MemoryTopic::new(1), Paper::default(), Progress::default());
    topic.send_avro(&booked(1)).unwrap();
    let own = topic.records()[0][0].clone();
    let later = |id: u8| {
        let mut record = own.clone();
        record.value[4] = id;
        record.headers.retain(|(name, _)| name != "schema");
        record.headers.push(("schema".to_owned(), b"2".to_vec()));
        topic.add(record);
    };
    topic.register(UnknownSchema(9), frontrow_cdc::avro::SCHEMA);
    [9, 8, 9].into_iter().for_each(later);
    topic.send(&booked(2));
    assert_eq!(run(topic.reader(&[0]), &mut table, &progress).0, Ok(()));
    assert_eq!((table.rows.len(), table.places[&0].next), (2, Some(5)));
    let aside = topic.aside();
    assert_eq!(aside.len(), 1, "{aside:?}");
    assert!(aside[0].1.contains("the registry knows of no schema 8"), "{}", aside[0].1);
}

/// What is before it is taken; and where it is, and why, is said.
#[test]
fn a_later_schema_that_nobody_can_be_asked_for_ends_it_where_it_is() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    let avro = MemoryTopic::new(1);
    avro.send_avro(&booked(11)).unwrap();
    let mut later = avro.records()[0][0].clone();
    later.headers.retain(|(name, _)| name != "schema");
    later.headers.push(("schema".to_owned(), b"2".to_vec()));
    topic.add(later);
    topic.send(&booked(12));
    topic.without_registry();
    let (ended, _) = run(topic.reader(&[0]), &mut table, &progress);
    let Err(ConsumeError::Schema { topic: of, partition, offset, .. }) = ended else { panic!("{ended:?}") };
    assert_eq!((of.as_str(), partition, offset), ("frontrow.bookings", 0, 6));
    assert_eq!((table.rows.len(), table.places[&0].next), (5, Some(6)));
    let trouble = progress.trouble().unwrap();
    assert!(trouble.starts_with("frontrow.bookings, partition 0, offset 6: schema 1 cannot"), "{trouble}");
    assert!(topic.aside().is_empty());
}

const OTHER: &str = "000000000000000000000000000beef0";

fn other() -> Origin {
    Origin { cluster: Some(OTHER.to_owned()), ..Origin::default() }
}

/// Sends what another cluster would: the same but for its header.
fn send_as(topic: &MemoryTopic, cluster: &str, message: &Message) {
    let single = MemoryTopic::new(1);
    single.send(message);
    let mut record = single.records()[0].pop().unwrap();
    let header = record.headers.iter_mut().find(|(name, _)| name == "cluster").unwrap();
    header.1 = cluster.into();
    topic.add(record);
}

#[test]
fn what_another_cluster_tells_is_set_aside() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    send_as(&topic, OTHER, &booked(11));
    send_as(&topic, OTHER, &Message::Forgotten);
    send_as(&topic, OTHER, &Message::Upto([(1, Mark { epoch: 9, lsn: 99 })].into()));
    topic.send(&booked(12));
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    table.rows.sort_unstable();
    assert_eq!(table.rows, (1..=10).chain([12]).collect::<Vec<_>>());
    assert_eq!(table.places[&0].reached[&1].mark, Mark { epoch: 1, lsn: 10 });
    let aside = topic.aside();
    let reason = format!("it is of cluster {OTHER}, and the table is of cluster {CLUSTER}");
    assert_eq!(aside.iter().map(|it| it.1.as_str()).collect::<Vec<_>>(), [&*reason; 3]);
}

/// Also where nothing beside the topic says it, and where the table knew it from before.
#[test]
fn whose_the_table_is_the_first_record_says_if_nothing_else_does() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    topic.belongs_to(None);
    send_as(&topic, OTHER, &booked(11));
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    assert_eq!((table.rows.len(), table.origin.cluster.as_deref()), (10, Some(CLUSTER)));
    let mut known = Paper { origin: other(), ..Paper::default() };
    assert_eq!(run(topic.reader(&[0, 1]), &mut known, &progress).0, Ok(()));
    assert_eq!((known.rows, topic.aside().len()), (vec![11], 1 + 12));
}

#[test]
fn topics_of_another_cluster_are_refused_and_none_of_them_is_set_aside() {
    let (topic, progress) = (topic(), Progress::default());
    let mut table = Paper { origin: other(), ..Paper::default() };
    let (ended, _) = run(topic.reader(&[0, 1]), &mut table, &progress);
    let wanted = ConsumeError::OtherCluster { table: OTHER.to_owned(), topic: CLUSTER.to_owned() };
    assert_eq!(ended, Err(wanted));
    assert!(progress.trouble().unwrap().contains("DROP SCHEMA frontrow CASCADE"));
    assert!(topic.aside().is_empty() && table.rows.is_empty());
}

#[test]
fn of_a_topic_that_was_made_anew_nothing_is_read_from_a_place_of_the_old_one() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    topic.make_anew(Some("second"));
    (11..=30).for_each(|user| topic.send(&booked(user)));
    let (ended, _) = run(topic.reader(&[0, 1]), &mut table, &progress);
    let (first, second) = ("first".to_owned(), "second".to_owned());
    assert_eq!(ended, Err(ConsumeError::MadeAnew { table: first, topic: second }));
    assert!(progress.trouble().unwrap().contains("DROP SCHEMA frontrow CASCADE"));
    assert_eq!(table.rows.len(), 10, "rather nothing than a part");
}

/// Its end would be taken for all there is: a new table waits until it is, and one that was told to forget does so again.
#[test]
fn a_topic_is_read_once_everything_has_been_told_in_it() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    topic.untold(Some("it is being told"));
    let (mut source, waits) = (topic.reader(&[0, 1]), Cell::new(0));
    let drained = source.drained();
    let is_over = |pause: Duration| {
        if !pause.is_zero() {
            waits.set(waits.get() + 1);
            assert_eq!(progress.trouble().as_deref(), Some("it is being told"));
            assert!(progress.to_string().ends_with("; waiting: it is being told") && !progress.is_over());
            assert!(progress.partitions().values().all(|it| !it.complete));
            if waits.get() == 3 {
                topic.untold(None);
            }
        }
        is_drained(&drained)
    };
    let running = Running { is_over: &is_over, progress: &progress, batch: 4 };
    assert_eq!(consume(&mut source, &mut table, running), Ok(()));
    assert_eq!((waits.get(), table.rows.len(), table.origin.id.as_deref()), (3, 10, Some("first")));
    assert!(table.places.values().all(|place| place.complete));

    topic.send(&Message::Forgotten);
    let (mut source, looks) = (topic.reader(&[0, 1]), Cell::new(0));
    let is_over = |pause: Duration| {
        looks.set(looks.get() + 1);
        if looks.get() == 2 {
            topic.untold(Some("it is being told once more"));
        }
        !pause.is_zero()
    };
    let running = Running { is_over: &is_over, progress: &progress, batch: 4 };
    assert_eq!(consume(&mut source, &mut table, running), Ok(()));
    assert_eq!(progress.trouble().as_deref(), Some("it is being told once more"));
    assert!(table.places.values().all(|place| !place.complete), "what was taken back is not all");
}

/// Of a topic that nothing is told in yet the table has nothing: it is not the table's.
#[test]
fn a_topic_that_was_made_anew_and_not_told_yet_is_another_one() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    topic.make_anew(Some("second"));
    topic.untold(Some("nobody has noticed"));
    let (ended, _) = run(topic.reader(&[0, 1]), &mut table, &progress);
    assert!(matches!(ended, Err(ConsumeError::MadeAnew { .. })), "{ended:?}");
}

/// Where Kafka gives no ids there is none to compare; and one is taken as soon as there is one.
#[test]
fn a_table_without_an_identity_takes_the_one_that_is_there() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    topic.make_anew(None);
    (1..=4).for_each(|user| topic.send(&booked(user)));
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    assert_eq!((table.rows.len(), table.origin.id.take()), (4, None));
    topic.make_anew(Some("third"));
    assert_eq!(run(topic.reader(&[]), &mut table, &progress).0, Ok(()));
    assert_eq!(table.origin.id.as_deref(), Some("third"));
}

/// Kafka tells of them once.
#[test]
fn partitions_that_came_while_the_table_was_away_are_read_once_it_is_back() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    table.origins = [Ok(()), Err(TableError::Away("it is down".into()))].into();
    assert_eq!(run(topic.reader(&[0, 1]), &mut table, &progress).0, Ok(()));
    assert_eq!((table.rows.len(), progress.retries.load(Relaxed)), (10, 1));
}

/// Kafka gives it out anew, or only a look tells: both while the consumer lives.
#[test]
fn a_topic_that_is_made_anew_meanwhile_is_noticed() {
    for is_given_out in [true, false] {
        let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
        let mut source = topic.reader(&[0, 1]);
        let polls = Cell::new(0);
        let is_over = |_: Duration| {
            polls.set(polls.get() + 1);
            if polls.get() == 3 {
                topic.make_anew(Some("second"));
            }
            polls.get() > 3 * POLLS
        };
        if is_given_out {
            source.news.extend([Polled::Revoked(vec![0, 1]), Polled::Assigned(vec![0, 1])]);
        }
        let ended =
            consume(&mut source, &mut table, Running { is_over: &is_over, progress: &progress, batch: 4 });
        assert!(matches!(ended, Err(ConsumeError::MadeAnew { .. })), "{ended:?}");
        assert_eq!(polls.get() < POLLS, is_given_out);
    }
}

/// Its places may be gone before anybody looks at its id.
#[test]
fn records_that_are_gone_with_their_topic_are_said_to_be_so() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    let (mut source, looks) = (topic.reader(&[0, 1]), Cell::new(0));
    let is_over = |_: Duration| {
        looks.set(looks.get() + 1);
        if looks.get() == 3 {
            topic.make_anew(Some("second"));
            topic.fail(SourceError::Unfit("offset 7 is gone".into()));
        }
        looks.get() > POLLS
    };
    let ended =
        consume(&mut source, &mut table, Running { is_over: &is_over, progress: &progress, batch: 4 });
    assert!(matches!(ended, Err(ConsumeError::MadeAnew { .. })), "{ended:?}");
    assert!(looks.get() < POLLS && progress.to_string().contains("; ended: "), "{progress}");
}

#[test]
fn what_somebody_has_to_mend_is_said_to_be_so_and_tried_on() {
    let (topic, mut table, progress) = (topic(), Paper::default(), Progress::default());
    table.failures = vec![TableError::Refused("wrong password".into()); 2];
    let (mut source, said) = (topic.reader(&[0, 1]), RefCell::new(Vec::new()));
    let drained = source.drained();
    let is_over = |pause: Duration| {
        if !pause.is_zero() {
            said.borrow_mut().extend(progress.trouble());
        }
        is_drained(&drained)
    };
    let ended =
        consume(&mut source, &mut table, Running { is_over: &is_over, progress: &progress, batch: 4 });
    assert_eq!((ended, table.rows.len(), progress.trouble()), (Ok(()), 10, None));
    assert_eq!(said.into_inner(), ["will not mend by itself: wrong password"; 2]);
}

/// Kafka says once that a group is not for this reader, and then nothing: it stays said until something comes.
#[test]
fn a_refusal_of_the_topic_is_said_until_something_comes() {
    let (topic, mut table, progress) = (MemoryTopic::new(1), Paper::default(), Progress::default());
    let (mut source, looks) = (topic.reader(&[0]), RefCell::new(Vec::new()));
    let is_over = |_: Duration| {
        let mut looks = looks.borrow_mut();
        looks.push(progress.trouble().is_some());
        match looks.len() {
            5 => topic.fail(SourceError::Refused("not for you".into())),
            20 => topic.send(&booked(1)),
            _ => {}
        }
        looks.len() == 30
    };
    let ended =
        consume(&mut source, &mut table, Running { is_over: &is_over, progress: &progress, batch: 4 });
    assert_eq!((ended, table.rows.len()), (Ok(()), 1));
    let looks = looks.into_inner();
    assert_eq!(
        (&looks[..5], &looks[5..20], &looks[21..]),
        (&[false; 5][..], &[true; 15][..], &[false; 9][..])
    );
}
