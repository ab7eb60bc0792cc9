//! Avro in a real Kafka, with its schema at a real registry.

mod common;

use common::{anew, batch, change, read, read_raw, settings};
use frontrow_cdc::avro::{self, SCHEMA, Schemas, UnknownSchema};
use frontrow_cdc::source::{Polled, Record, Source, SourceError};
use frontrow_cdc::{Message, Sink, SinkError};
use frontrow_kafka::{Format, Reader, Registry, Settings, Writer};
use frontrow_services::registry;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::OnceLock;
use std::time::Duration;

/// The binary's registry; whoever stops one takes one of their own.
static REGISTRY: OnceLock<Option<registry::Registry>> = OnceLock::new();

fn url() -> Option<String> {
    let started = REGISTRY.get_or_init(|| registry::or_left_out(registry::Registry::start()));
    started.as_ref().map(registry::Registry::url)
}

fn avro(url: &str, json: Settings) -> Settings {
    Settings { format: Format::Avro, registry: Some(url.to_owned()), ..json }
}

/// Everything that there is to say.
fn tell(settings: &Settings) {
    let mut writer = Writer::new(settings.clone());
    writer.begin(1).unwrap();
    let mut first = Vec::new();
    for lsn in (1..40).step_by(2) {
        first.push(change(2, (1, lsn), "claimed", u64::MAX - lsn, lsn));
        first.push(change(2, (1, lsn + 1), "booked", u64::MAX - lsn, lsn));
    }
    writer.write(&batch(first)).unwrap();
    writer.write(&anew(0, 7, vec![change(0, (1, 90), "booked", 6, 80)])).unwrap();
    writer.forget().unwrap();
}

/// What stands there, without where and how: the rest of the record, and the message.
fn told(records: &[Record]) -> Vec<(Record, Message)> {
    let schemas = Schemas::default();
    let one = |record: &Record| {
        let message = schemas.read(record).expect("a message");
        let mut rest = Record { offset: 0, value: Vec::new(), ..record.clone() };
        rest.headers.retain(|(name, _)| !["schema", "cluster"].contains(&name.as_str()));
        (rest, message)
    };
    records.iter().map(one).collect()
}

#[test]
fn avro_says_what_json_says_and_its_schema_is_at_the_registry() {
    let Some(url) = url() else { return };
    let json = settings("as-json", 41);
    let settings = avro(&url, settings("as-avro", 42));
    tell(&json);
    tell(&settings);
    let (as_json, as_avro) = (json.topics(), settings.topics());
    let registry = Registry::parse(&url).unwrap();
    for (json, avro) in [(as_json.changes, as_avro.changes), (as_json.bookings, as_avro.bookings)] {
        let records = read_raw(&settings, &avro);
        assert_eq!(told(&records), told(&read_raw(&settings, &json)));
        let id = avro::id(&records[0].value).expect("a zero, and an id");
        assert!(records.iter().all(|it| avro::id(&it.value) == Some(id)));
        assert!(records.iter().all(|it| it.header("schema") == Some(b"1")));
        let parsed = |text: &str| serde_json::from_str::<serde_json::Value>(text).unwrap();
        assert_eq!(parsed(&registry.schema(id).unwrap().unwrap()), parsed(SCHEMA));
        // It is known there now under the topic's name.
        assert_eq!(registry.register(&format!("{avro}-value"), SCHEMA), Ok(id));
    }
}

/// One of them without a word to the reader: each record says itself what it is.
#[test]
fn a_topic_that_goes_on_as_avro_is_read_as_one() {
    let Some(url) = url() else { return };
    let json = settings("both", 43);
    let settings = avro(&url, json.clone());
    for (settings, lsns) in [(&json, 1..20), (&settings, 20..40), (&json, 40..60)] {
        let mut writer = Writer::new(settings.clone());
        writer.begin(1).unwrap();
        writer.write(&batch(lsns.map(|lsn| change(0, (1, lsn), "booked", lsn, lsn)).collect())).unwrap();
    }
    // The schema is the reader's own: it asks no registry.
    let mut reader = Reader::new(json.clone(), "avro").unwrap();
    let (schemas, mut found) = (Schemas::default(), Vec::new());
    while found.len() < 59 {
        match reader.poll(1000, Duration::from_millis(100)).expect("Kafka is there") {
            Polled::Assigned(all) => {
                reader.start(&all.iter().map(|of| (*of, None)).collect::<Vec<_>>()).unwrap();
            }
            Polled::Records(records) => {
                assert!(records.iter().all(|record| schemas.missing(record).is_none()));
                let of = |record: &Record| match schemas.read(record).expect("a message") {
                    Message::Change(change) => Some(change.position.lsn),
                    _ => None,
                };
                found.extend(records.iter().filter_map(of));
            }
            Polled::Revoked(_) | Polled::End { .. } => {}
        }
    }
    found.sort_unstable();
    assert_eq!(found, (1..60).collect::<Vec<_>>());
}

#[test]
fn a_reader_asks_the_registry_for_a_later_schema() {
    let Some(url) = url() else { return };
    let settings = settings("later", 44);
    let later =
        SCHEMA.replacen("\"fields\": [", "\"fields\": [{\"name\": \"colour\", \"type\": \"string\"},", 1);
    let id = Registry::parse(&url).unwrap().register("test.later-value", &later).unwrap();
    let mut reader = Reader::new(Settings { registry: Some(url), ..settings.clone() }, "later").unwrap();
    let found = reader.schema(UnknownSchema(id)).unwrap().expect("it is known");
    assert!(found.contains("colour"), "{found}");
    assert_eq!(reader.schema(UnknownSchema(1 << 30)), Ok(None));
    let mut reader = Reader::new(settings, "later").unwrap();
    let Err(SourceError::Unfit(why)) = reader.schema(UnknownSchema(id)) else { panic!("none is set") };
    assert!(why.contains("set kafka.registry"), "{why}");
}

#[test]
fn a_registry_that_is_away_is_waited_for_and_then_not_needed_any_more() {
    let Some(mut own) = registry::or_left_out(registry::Registry::start()) else { return };
    let settings = avro(&own.url(), settings("away", 45));
    own.kill();
    let mut writer = Writer::new(settings.clone());
    let Err(SinkError::Away(why)) = writer.begin(1) else { panic!("it is not there") };
    assert!(why.contains(&own.url()) && why.contains("set kafka.registry"), "{why}");
    assert!(read(&settings, &settings.topics().changes).is_empty());
    own.start_again().unwrap();
    writer.begin(1).unwrap();
    writer.write(&batch(vec![change(0, (1, 1), "claimed", 5, 1)])).unwrap();
    own.kill();
    writer.write(&batch(vec![change(0, (1, 2), "booked", 5, 1)])).unwrap();
    // As after an error of Kafka's: the ids are known.
    writer.begin(1).unwrap();
    writer.write(&batch(vec![change(0, (1, 3), "cancelled", 5, 1)])).unwrap();
    let records = read_raw(&settings, &settings.topics().changes);
    assert_eq!(told(&records).len(), 3);
    // One that begins anew does not know them.
    assert!(matches!(Writer::new(settings).begin(1), Err(SinkError::Away(_))));
}

/// What the writer does not do, in so many words.
fn http(method: &str, url: &str, path: &str, body: &str) -> String {
    let rest = url.strip_prefix("http://").unwrap();
    let (authority, root) = rest.split_at(rest.find('/').unwrap());
    let mut socket = TcpStream::connect(authority).unwrap();
    let head = format!("{method} {root}{path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    let kind = "Content-Type: application/vnd.schemaregistry.v1+json";
    write!(socket, "{head}{kind}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") || answer.starts_with("HTTP/1.1 204"), "{answer}");
    answer
}

#[test]
fn a_subject_where_another_schema_stands_is_said_and_gone_on_with_once_it_is_gone() {
    let Some(url) = url() else { return };
    let settings = avro(&url, settings("taken", 46));
    let subject = format!("{}-value", settings.topics().bookings);
    let other = r#"{"type":"record","name":"Order","fields":[{"name":"id","type":"long"}]}"#;
    Registry::parse(&url).unwrap().register(&subject, other).unwrap();
    http("PUT", &url, &format!("/config/{subject}"), r#"{"compatibility":"BACKWARD"}"#);
    let mut writer = Writer::new(settings.clone());
    let Err(SinkError::Away(why)) = writer.begin(1) else { panic!("an order stands there") };
    assert!(why.contains(&subject) && why.contains("delete that subject"), "{why}");
    http("DELETE", &url, &format!("/subjects/{subject}"), "");
    writer.begin(1).unwrap();
    writer.write(&batch(vec![change(0, (1, 1), "booked", 5, 1)])).unwrap();
    let booked = |record: &Record| record.header("type") == Some(b"booked");
    assert_eq!(read_raw(&settings, &settings.topics().bookings).iter().filter(|it| booked(it)).count(), 1);
}
