//! A Kafka for a test binary, changes to write, and a plain reader of topics.

use frontrow_cdc::source::Record;
use frontrow_cdc::{Batch, Change, Mark, Marks, Message, Places};
use frontrow_kafka::{Format, Settings};
use frontrow_services::kafka::Kafka;
use frontrow_shard::{Epoch, EventId, Lsn, PartitionId};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message as _};
use rdkafka::mocking::MockCluster;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) const PARTITIONS: u16 = 4;
/// Tries to make a topic while the one before is being deleted.
const MAKES: usize = 1000;

/// Kafka as it is, or librdkafka's imitation.
enum Any {
    Real(Kafka),
    Mock(MockCluster<'static, rdkafka::producer::DefaultProducerContext>),
}

// SAFETY: the imitation is a handle to threads of librdkafka's own, and only its address is asked for.
unsafe impl Send for Any {}

/// The binary's Kafka. Whoever stops it takes it for themselves; the rest asks for its address.
static KAFKA: OnceLock<Mutex<Any>> = OnceLock::new();

/// Real Kafka; loudly the imitation where there is none, which in CI is a failure.
fn kafka() -> MutexGuard<'static, Any> {
    let any = KAFKA.get_or_init(|| {
        Mutex::new(match Kafka::start() {
            Ok(kafka) => Any::Real(kafka),
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "{error}");
                eprintln!("\nNOT TESTED WITH KAFKA, but with librdkafka's imitation of it: {error}\n");
                Any::Mock(MockCluster::new(1).expect("an imitation"))
            }
        })
    });
    any.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(crate) fn brokers() -> String {
    match &*kafka() {
        Any::Real(kafka) => kafka.brokers(),
        Any::Mock(mock) => mock.bootstrap_servers(),
    }
}

/// A node of one's own, if real ones can be had.
#[allow(dead_code, reason = "not every test kills it")]
pub(crate) fn own_kafka() -> Option<Kafka> {
    Kafka::start().inspect_err(|error| eprintln!("NOT TESTED: {error}")).ok()
}

/// Settings with topics and a cluster of the test's own.
pub(crate) fn settings(test: &str, cluster: u128) -> Settings {
    Settings {
        brokers: brokers(),
        prefix: format!("test.{test}"),
        partitions: PARTITIONS,
        replication: 1,
        client: BTreeMap::new(),
        format: Format::Json,
        registry: None,
        cluster,
    }
}

/// A change of a hold in row `partition` of an event.
pub(crate) fn change(
    partition: PartitionId,
    (epoch, lsn): (Epoch, Lsn),
    kind: &str,
    user: u64,
    grant: Lsn,
) -> Change {
    let document = serde_json::json!({
        "partition": partition, "epoch": epoch, "lsn": lsn, "n": 0, "type": kind, "time_ms": 1000 + lsn, "event": 7,
        "section": 0, "row": partition, "seats": [lsn % 60], "user": user, "request": format!("{lsn:032x}"),
        "hold": {"epoch": epoch, "lsn": grant, "slot": 3},
    });
    serde_json::from_value(document).expect("a change")
}

/// A batch of these.
pub(crate) fn batch(changes: Vec<Change>) -> Batch {
    let mut upto = Marks::new();
    for change in &changes {
        let position = change.position;
        upto.insert(position.partition, Mark { epoch: position.epoch, lsn: position.lsn });
    }
    let (epoch, lsn) = changes.last().map_or((0, 0), |last| (last.position.epoch, last.position.lsn));
    let records = changes.len() as u64;
    Batch { anew: Vec::new(), changes, upto, places: Places::from([(0, (epoch, 4096 * lsn))]), records }
}

/// A record of a topic, as a reader sees it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Seen {
    pub(crate) partition: i32,
    pub(crate) key: Option<String>,
    pub(crate) headers: BTreeMap<String, String>,
    pub(crate) message: Message,
}

/// What of a topic counts, partition by partition.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn read(settings: &Settings, topic: &str) -> Vec<Seen> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("text");
    let seen = |record: &Record| Seen {
        partition: record.partition,
        key: (!record.key.is_empty()).then(|| text(&record.key)),
        headers: record.headers.iter().map(|(name, value)| (name.clone(), text(value))).collect(),
        message: Message::read(&record.value).expect("a message"),
    };
    read_raw(settings, topic).iter().map(seen).collect()
}

/// The same as bytes.
pub(crate) fn read_raw(settings: &Settings, topic: &str) -> Vec<Record> {
    let mut config = ClientConfig::new();
    config
        .set("bootstrap.servers", &settings.brokers)
        .set("group.id", "test")
        .set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.set("fetch.wait.max.ms", "10").create().expect("a consumer");
    let metadata = consumer.fetch_metadata(Some(topic), Duration::from_secs(10)).expect("the topic");
    let partitions = metadata.topics()[0].partitions().len();
    let mut all = TopicPartitionList::new();
    for partition in (0..).take(partitions) {
        all.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("assigned");
    let (mut seen, mut ended) = (Vec::new(), 0);
    while ended < partitions {
        match consumer.poll(Duration::from_secs(20)).expect("Kafka answers") {
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(error) => panic!("{error}"),
            Ok(record) => {
                let header = |of: rdkafka::message::Header<'_, &[u8]>| {
                    (of.key.to_owned(), of.value.unwrap_or_default().to_vec())
                };
                seen.push(Record {
                    partition: record.partition(),
                    offset: record.offset(),
                    key: record.key().unwrap_or_default().to_vec(),
                    headers: record.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
                    value: record.payload().expect("a value").to_vec(),
                });
            }
        }
    }
    seen.sort_by_key(|it| (it.partition, it.offset));
    seen
}

/// The changes among them: (partition, LSN, kind).
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn changes(seen: &[Seen]) -> Vec<(PartitionId, Lsn, &'static str)> {
    let of = |it: &Seen| match &it.message {
        Message::Change(change) => Some((change.position.partition, change.position.lsn, change.kind.name())),
        _ => None,
    };
    seen.iter().filter_map(of).collect()
}

/// A batch that takes the place of what was told of an event in a partition.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn anew(partition: PartitionId, event: EventId, changes: Vec<Change>) -> Batch {
    Batch { anew: vec![(partition, vec![event])], ..batch(changes) }
}

/// Deletes the four topics.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn delete(settings: &Settings) {
    let topics = settings.topics();
    delete_some(settings, &[&topics.changes, &topics.bookings, &topics.positions, &topics.dead]);
}

fn admin(
    settings: &Settings,
) -> (AdminClient<rdkafka::client::DefaultClientContext>, tokio::runtime::Runtime) {
    let mut config = ClientConfig::new();
    let admin = config.set("bootstrap.servers", &settings.brokers).create().expect("a client");
    (admin, tokio::runtime::Builder::new_current_thread().build().expect("a runtime"))
}

/// Deletes these topics.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn delete_some(settings: &Settings, names: &[&str]) {
    let (admin, runtime) = admin(settings);
    let deleted = runtime.block_on(admin.delete_topics(names, &AdminOptions::new())).expect("it answers");
    for one in deleted {
        one.expect("it is deleted");
    }
}

/// Makes a topic once the one before is gone.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn make(settings: &Settings, name: &str) {
    make_with(settings, name, &[]);
}

/// The same with settings of its own.
#[allow(dead_code, reason = "not every test needs it")]
pub(crate) fn make_with(settings: &Settings, name: &str, own: &[(&str, &str)]) {
    let (admin, runtime) = admin(settings);
    let plain = NewTopic::new(name, i32::from(PARTITIONS), TopicReplication::Fixed(1));
    let wanted = own.iter().fold(plain, |topic, (key, value)| topic.set(key, value));
    let made = (0..MAKES).find(|_| {
        let made =
            runtime.block_on(admin.create_topics([&wanted], &AdminOptions::new())).expect("it answers");
        made.into_iter().all(|one| one.is_ok())
    });
    assert!(made.is_some(), "{name} is made");
}
