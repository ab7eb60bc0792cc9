//! The topics in Kafka, of a real server and a real Kafka: a reader that knows docs/cdc.md and nothing of Frontrow's code comes
//! to the bookings that the server has, though server and Kafka are killed in the middle.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Dice, Server, within};
use frontrow_cdc::avro::{self, Schemas};
use frontrow_cdc::source;
use frontrow_client::{Adjacency, Claim, Client, Held, Http, RowRef, Wish};
use frontrow_services::kafka::Kafka;
use frontrow_services::registry::{self, Registry};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Headers, Message};
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const EVENT: u32 = 1;
const USERS: u64 = 12;

/// Small segments and a snapshot for each, so that the log is trimmed; other cores at every start.
fn settings<'a>(start: usize, kafka: &'a str, prefix: &'a str) -> [(&'static str, &'a str); 10] {
    [
        ("FRONTROW_SERVER__CORES", ["2", "3", "1"][start % 3]),
        ("FRONTROW_LOG__SEGMENT", "1MiB"),
        ("FRONTROW_LOG__SNAPSHOT_EVERY", "1MiB"),
        ("FRONTROW_PARTITIONS__COUNT", "8"),
        ("FRONTROW_PARTITIONS__REQUESTS_REMEMBERED", "1024"),
        ("FRONTROW_LOG_OUTPUT__LEVEL", "error"),
        ("FRONTROW_KAFKA__BROKERS", kafka),
        ("FRONTROW_KAFKA__PREFIX", prefix),
        ("FRONTROW_KAFKA__PARTITIONS", "4"),
        ("FRONTROW_KAFKA__SETTINGS__COMPRESSION__CODEC", "none"),
    ]
}

/// A booking as both sides can tell it: whose, the grant's epoch and LSN, the section, and the seats.
type Booked = (String, u64, u64, u64, Vec<(u64, Vec<u64>)>);

/// The server's own state.
async fn state(http: &Http) -> BTreeSet<Booked> {
    let found = http.bookings(EVENT, None, 0).await.expect("bookings are known");
    assert!(found.total <= 1000, "all of them are looked at");
    let seats = |seats: &[u8]| seats.iter().map(|seat| u64::from(*seat)).collect();
    let one = |it: &frontrow_client::http::Booking| {
        let rows = it.rows.iter().map(|row| (row.row.into(), seats(&row.seats))).collect();
        (it.user.clone(), it.epoch.into(), it.lsn, it.section.into(), rows)
    };
    found.bookings.iter().map(one).collect()
}

/// Everything that counts in a topic, partition by partition in its order: partition, key, value.
fn read(kafka: &str, topic: &str) -> Vec<(i32, String, Value)> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", kafka).set("group.id", "anybody").set("enable.auto.commit", "false");
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer: BaseConsumer = config.set("fetch.wait.max.ms", "10").create().expect("a consumer");
    let mut all = TopicPartitionList::new();
    for partition in 0..4 {
        all.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
    }
    consumer.assign(&all).expect("assigned");
    let (mut records, mut ended) = (Vec::new(), 0);
    while ended < 4 {
        match consumer.poll(Duration::from_secs(20)).expect("Kafka answers") {
            Err(KafkaError::PartitionEOF(_)) => ended += 1,
            Err(KafkaError::MessageConsumption(_)) => return Vec::new(),
            Err(error) => panic!("{error}"),
            Ok(record) => {
                let version = record.headers().expect("headers").iter().find(|it| it.key == "version");
                assert_eq!(version.and_then(|it| it.value), Some(&b"1"[..]));
                let key = String::from_utf8(record.key().unwrap_or_default().to_vec()).expect("text");
                let value = value(record.payload().expect("a value"), record.headers().expect("headers"));
                records.push((record.partition(), key, value));
            }
        }
    }
    records
}

/// A value as JSON. What is Avro goes through Frontrow's own reader: tests/read_changes.py is the one that shares no code.
fn value(bytes: &[u8], headers: &rdkafka::message::BorrowedHeaders) -> Value {
    let header =
        |it: rdkafka::message::Header<'_, &[u8]>| (it.key.to_owned(), it.value.unwrap_or_default().to_vec());
    let headers = headers.iter().map(header).collect();
    let mut json = bytes.to_vec();
    if avro::id(bytes).is_some() {
        let record =
            source::Record { headers, value: std::mem::take(&mut json), ..source::Record::default() };
        Schemas::default().read(&record).expect("a message").write(&mut json);
    }
    serde_json::from_slice(&json).expect("JSON")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or_else(|| panic!("a number, not {value}"))
}

fn numbers(value: &Value) -> Vec<u64> {
    value.as_array().map(|all| all.iter().map(number).collect()).unwrap_or_default()
}

/// The bookings as the topic tells them, by the rules of docs/cdc.md.
fn table(kafka: &str, prefix: &str) -> BTreeSet<Booked> {
    // By Kafka's partition, the log's partition, and the hold.
    let mut table: BTreeMap<(i32, u64, Vec<u64>), (u64, Booked)> = BTreeMap::new();
    let mut names = BTreeSet::new();
    for (through, key, it) in read(kafka, &format!("{prefix}.bookings")) {
        let kind = it["type"].as_str().expect("a type").to_owned();
        match &*kind {
            "upto" => continue,
            "forgotten" => table.retain(|(of, ..), _| *of != through),
            "anew" => {
                let events = numbers(&it["events"]);
                table.retain(|(of, partition, _), (event, _)| {
                    *of != through || *partition != number(&it["partition"]) || !events.contains(event)
                });
                continue;
            }
            _ => {}
        }
        if kind == "forgotten" {
            continue;
        }
        let name = ["partition", "epoch", "lsn", "n"].map(|field| number(&it[field]));
        assert!(names.insert(name), "told twice: {it}");
        let user = number(&it["user"]).to_string();
        assert_eq!(key, user);
        let hold = ["epoch", "lsn", "slot"].map(|field| number(&it["hold"][field]));
        let at = (through, name[0], hold.to_vec());
        if kind == "cancelled" {
            assert!(table.remove(&at).is_some(), "it was booked: {it}");
            continue;
        }
        assert_eq!(kind, "booked");
        let rows = match &it["parts"] {
            Value::Array(parts) => {
                parts.iter().map(|it| (number(&it["row"]), numbers(&it["seats"]))).collect()
            }
            _ => vec![(number(&it["row"]), numbers(&it["seats"]))],
        };
        let booked = (user, hold[0], hold[1], number(&it["section"]), rows);
        assert!(table.insert(at, (number(&it["event"]), booked)).is_none(), "booked twice: {it}");
    }
    table.into_values().map(|(_, booked)| booked).collect()
}

/// Waits until the server says that Kafka lacks something for a reason that has this in it.
async fn waits(server: &Server, reason: &str) {
    let mut said = Value::Null;
    for _ in 0..20_000 {
        said = server.http().node().await.expect("its status")["kafka"].take();
        if said["trouble"].as_str().is_some_and(|why| why.contains(reason)) {
            let metrics = server.http().metrics().await.expect("metrics");
            assert!(metrics.contains("frontrow_bookings_waits{sink=\"kafka\"} 1"), "{metrics}");
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it waits for {reason}: {said}");
}

/// Waits until the topic tells what the server has; `within` bounds it.
async fn alike(server: &Server, data: &Path, kafka: &str, prefix: &str) -> usize {
    let wanted = state(&server.operator(data)).await;
    for _ in 0..200 {
        if table(kafka, prefix) == wanted {
            return wanted.len();
        }
        tokio::task::yield_now().await;
    }
    panic!("it comes to {:?}, wanted {wanted:?}", table(kafka, prefix));
}

/// People who buy, think better of it, and ask for more.
async fn act(clients: &[Client], owned: &mut Vec<(usize, Held)>, dice: &mut Dice, times: u32) {
    for _ in 0..times {
        let who = dice.below(USERS) as usize;
        if owned.len() > 60 || (dice.below(3) == 0 && !owned.is_empty()) {
            let (owner, held) = owned.swap_remove(dice.below(owned.len() as u64) as usize);
            clients[owner].cancel(&held).await.expect("it is theirs");
            continue;
        }
        let (section, row) = (dice.below(4) as u16, dice.below(4) as u16);
        let count = 1 + dice.below(3) as u8;
        let claim = if dice.below(3) == 0 {
            let wish = Wish { adjacency: Adjacency::Any, ..Wish::of(count) };
            clients[who].claim_section(RowRef::new(EVENT, section, RowRef::SECTION), wish).await
        } else {
            clients[who].claim_best(RowRef::new(EVENT, section, row), Wish::of(count)).await
        };
        let Ok(Claim::Held(held)) = claim else { continue };
        if dice.below(8) == 0 {
            clients[who].release(&held).await.expect("it is held");
        } else {
            owned.push((who, clients[who].book(&held).await.expect("it is held")));
        }
    }
}

async fn come(server: &Server) -> Vec<Client> {
    let mut clients = Vec::new();
    for user in 1..=USERS {
        clients.push(server.client(user).await);
    }
    clients
}

/// The reader that shares no code, where it was set up (`make cdc-reader`): how many bookings it finds, and seats. With a
/// registry it reads Avro.
fn read_in_python(kafka: &str, prefix: &str, registry: Option<&str>) -> Option<(usize, usize)> {
    let root = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/.."));
    let python = root.join("target/venv/bin/python");
    let knows =
        |python: &Path| Command::new(python).args(["-c", "import confluent_kafka, fastavro"]).output();
    if !knows(&python).is_ok_and(|said| said.status.success()) {
        eprintln!("tests/read_changes.py is left out: make cdc-reader");
        return None;
    }
    let mut command = Command::new(python);
    command.arg(root.join("tests/read_changes.py")).args([kafka, prefix]).args(registry);
    let said = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&said.stdout);
    assert!(said.status.success(), "{text}{}", String::from_utf8_lossy(&said.stderr));
    // event 1: 5 bookings of 9 seats, no seat twice
    let line = text.lines().find_map(|line| line.strip_prefix("event 1: "));
    let words: Vec<&str> = line.unwrap_or_default().split(' ').collect();
    let number = |at: usize| words.get(at)?.parse().ok();
    let found = number(0).zip(number(3));
    Some(found.unwrap_or_else(|| panic!("bookings of event 1: {text}")))
}

/// Bookings, and their seats.
fn sums(state: &BTreeSet<Booked>) -> (usize, usize) {
    let seats = |booked: &Booked| booked.4.iter().map(|(_, seats)| seats.len()).sum::<usize>();
    (state.len(), state.iter().map(seats).sum())
}

/// A Kafka, if there is one.
fn kafka() -> Option<Kafka> {
    let started = Kafka::start();
    if let Err(error) = &started {
        assert!(std::env::var_os("CI").is_none(), "{error}");
        eprintln!("\nNOT TESTED: {error}\n");
    }
    started.ok()
}

#[test]
fn the_topics_tell_what_the_server_has_whoever_is_killed() {
    let Some(mut kafka) = kafka() else { return };
    let (folder, brokers) = (tempfile::tempdir().unwrap(), kafka.brokers());
    let data = folder.path();
    within(300, async {
        let (mut dice, mut compared) = (Dice::new(7), 0);
        let mut server = Server::start(data, &settings(0, &brokers, "sale"));
        for round in 0..3 {
            let (clients, mut owned) = (come(&server).await, Vec::new());
            act(&clients, &mut owned, &mut dice, 300).await;
            if round == 1 {
                // Selling goes on without it.
                kafka.kill();
                act(&clients, &mut owned, &mut dice, 100).await;
                kafka.start_again().expect("Kafka");
            }
            drop(clients);
            // In the middle of whatever is being told.
            server.kill();
            server = Server::start(data, &settings(round + 1, &brokers, "sale"));
            compared += alike(&server, data, &brokers, "sale").await;
        }
        let sold = sums(&state(&server.operator(data)).await);
        assert!(read_in_python(&brokers, "sale", None).is_none_or(|found| found == sold));
        // Topics that are made when the log does not go back any more to where the bookings were made.
        let clients = come(&server).await;
        while !data.join("data/TRIM").exists() {
            for client in &clients {
                if let Ok(Claim::Held(held)) = client.claim_best(RowRef::new(EVENT, 0, 5), Wish::of(1)).await
                {
                    client.release(&held).await.expect("it is held");
                }
            }
        }
        drop(clients);
        server.terminate();
        drop(server);
        let server = Server::start(data, &settings(5, &brokers, "later"));
        compared += alike(&server, data, &brokers, "later").await;
        println!("{compared} bookings compared, none differs");
    });
}

/// The same as Avro: the schema's registry is away at first, and whoever reads in the end knows the registry, the stock
/// deserializer and docs/cdc.md.
#[test]
fn the_topics_tell_the_same_as_avro() {
    let Some(kafka) = kafka() else { return };
    let Some(mut registry) = registry::or_left_out(Registry::start()) else { return };
    let (folder, brokers, url) = (tempfile::tempdir().unwrap(), kafka.brokers(), registry.url());
    let data = folder.path();
    within(300, async {
        registry.kill();
        let more = [("FRONTROW_KAFKA__FORMAT", "avro"), ("FRONTROW_KAFKA__REGISTRY", &url)];
        let started = |start| [&settings(start, &brokers, "avro")[..], &more[..]].concat();
        let mut dice = Dice::new(8);
        let server = Server::start(data, &started(0));
        let (clients, mut owned) = (come(&server).await, Vec::new());
        // Selling goes on without it.
        act(&clients, &mut owned, &mut dice, 200).await;
        waits(&server, "set kafka.registry to where it is").await;
        registry.start_again().expect("the registry");
        act(&clients, &mut owned, &mut dice, 200).await;
        drop(clients);
        alike(&server, data, &brokers, "avro").await;
        server.kill();
        let server = Server::start(data, &started(1));
        let (clients, mut owned) = (come(&server).await, Vec::new());
        act(&clients, &mut owned, &mut dice, 100).await;
        drop(clients);
        let compared = alike(&server, data, &brokers, "avro").await;
        let sold = sums(&state(&server.operator(data)).await);
        assert!(read_in_python(&brokers, "avro", Some(&url)).is_none_or(|found| found == sold));
        println!("{compared} bookings compared, none differs");
    });
}
