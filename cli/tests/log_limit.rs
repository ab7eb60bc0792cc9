//! Kafka is away, and the log that waits for it grows to `log.keep`: nothing new is sold then, what is held is bought or runs
//! out as ever, and when Kafka is there everything goes on by itself and nothing is missing in the topics. With a real server
//! and a real Kafka; without Kafka it is left out loudly, and where `CI` is set, that is a failure.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_cdc::source::{Polled, Source, SourceError};
use frontrow_client::http::EventQuery;
use frontrow_client::{Adjacency, Claim, Client, ClientError, Held, Http, RowRef, WireCode, Wish};
use frontrow_kafka::Reader;
use frontrow_services::kafka::{self, Kafka};
use serde_json::Value;
use std::cell::Cell;
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::time::Duration;
use tokio::sync::mpsc::UnboundedReceiver;

const USERS: u64 = 8;
/// Bytes of log that may wait.
const KEEP: u64 = 1 << 20;

/// A booking: whose, the section, and the epoch and LSN of its grant. Sections are in different partitions, each of which
/// counts its LSNs for itself.
type Booked = (u64, u64, u64, u64);

fn settings(brokers: &str) -> [(&'static str, &str); 9] {
    [
        ("FRONTROW_SERVER__CORES", "1"),
        ("FRONTROW_PARTITIONS__COUNT", "4"),
        ("FRONTROW_PARTITIONS__REQUESTS_REMEMBERED", "16384"),
        ("FRONTROW_LOG__SEGMENT", "1MiB"),
        ("FRONTROW_LOG__BACKLOG", "1MiB"),
        ("FRONTROW_LOG__KEEP", "1MiB"),
        ("FRONTROW_LOG_OUTPUT__LEVEL", "warn"),
        ("FRONTROW_KAFKA__BROKERS", brokers),
        ("FRONTROW_KAFKA__PARTITIONS", "4"),
    ]
}

fn is_there() -> bool {
    match kafka::ready() {
        Ok(()) => true,
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("\n!!! LEFT OUT, NOT TESTED: {error}\n");
            false
        }
        Err(error) => panic!("{error}"),
    }
}

/// Everything it takes.
struct Sale {
    server: Server,
    operator: Http,
    clients: Vec<Client>,
    /// What the server says in its log.
    words: UnboundedReceiver<String>,
    said: Vec<String>,
    /// Where everybody buys.
    event: u32,
    sections: u16,
    /// Sections before it may be full.
    from: Cell<u16>,
    bought: u64,
}

impl Sale {
    async fn open(data: &std::path::Path, brokers: &str) -> Self {
        let mut server = Server::overheard(data, &settings(brokers));
        let (operator, words) = (server.operator(data), server.words());
        let event = stadium(&operator, "3600000").await;
        let sections = operator.event(event).await.expect("it is there").section_list.len() as u16;
        let mut clients = Vec::new();
        for user in 1..=USERS {
            clients.push(server.client(user).await);
        }
        Self {
            server,
            operator,
            clients,
            words,
            said: Vec::new(),
            event,
            sections,
            from: Cell::new(0),
            bought: 0,
        }
    }

    /// Everybody claims a seat and books it, once; the first error.
    async fn buy(&mut self) -> Result<(), ClientError> {
        let (event, from, sections) = (self.event, &self.from, self.sections);
        let each = self.clients.iter().map(|client| async move {
            let held = loop {
                assert!(
                    from.get() < sections,
                    "sold out before the limit was seen: it is counted once a second"
                );
                let section = (client.user() as u16 + from.get()) % sections;
                match claim(client, event, section).await {
                    // Everybody goes on one further: the faster they buy, the more is bought before it is counted.
                    Err(ClientError::Refused(_)) => from.set(from.get() + 1),
                    answered => break answered?,
                }
            };
            client.book(&held).await.expect("it is held");
            Ok(())
        });
        let all: Vec<Result<(), ClientError>> = futures_util::future::join_all(each).await;
        self.bought += all.iter().filter(|one| one.is_ok()).count() as u64;
        all.into_iter().collect()
    }

    /// Everybody buys until so much of the log is written.
    async fn buy_until(&mut self, bytes: u64) {
        while metric(&self.server, "frontrow_log_durable_bytes{core=\"0\"}").await < bytes {
            self.buy().await.expect("the limit is not reached");
        }
    }

    /// Waits until the server's log says this.
    async fn hears(&mut self, text: &str) {
        // Shown only if the test fails: it waits for much, and where it stood must not be guessed.
        eprintln!("{} bought, waiting to hear: {text}", self.bought);
        while !self.said.iter().any(|line| line.contains(text)) {
            self.said.push(self.words.recv().await.expect("the server runs"));
        }
    }

    /// How often it has said this.
    fn times(&self, text: &str) -> usize {
        self.said.iter().filter(|line| line.contains(text)).count()
    }

    /// The server's own state.
    async fn booked(&self) -> BTreeSet<Booked> {
        let mut all = BTreeSet::new();
        loop {
            let page = self.operator.bookings(self.event, None, all.len()).await.expect("they are known");
            for it in &page.bookings {
                let booked = (it.user.parse().expect("a user"), it.section.into(), it.epoch.into(), it.lsn);
                assert!(all.insert(booked), "twice: {it:?}");
            }
            if page.bookings.is_empty() {
                return all;
            }
        }
    }
}

/// An event with this many milliseconds for a hold, on sale.
async fn stadium(operator: &Http, hold_ms: &str) -> u32 {
    let query = EventQuery { name: None, rules: vec![("hold_ms", hold_ms.to_owned())] };
    let event = operator.create_stadium(&query, 20_000, None).await.expect("an event").event.event;
    operator.open(event).await.expect("on sale");
    event
}

/// A seat of a section, which is large enough for everybody.
async fn claim(client: &Client, event: u32, section: u16) -> Result<Held, ClientError> {
    let wish = Wish { adjacency: Adjacency::Any, ..Wish::of(1) };
    match client.claim_section(RowRef::new(event, section, RowRef::SECTION), wish).await? {
        Claim::Held(held) => Ok(held),
        other @ Claim::Waiting(_) => panic!("there are seats: {other:?}"),
    }
}

fn is_read_only(error: &ClientError) -> bool {
    matches!(error, ClientError::Wire { code: WireCode::ReadOnly, .. })
}

async fn metric(server: &Server, name: &str) -> u64 {
    let metrics = server.http().metrics().await.expect("metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    let value = line.unwrap_or_else(|| panic!("{name} is in {metrics}"));
    value.trim().parse::<f64>().expect("a number") as u64
}

/// Seats of these rows that are held.
async fn held_seats(server: &Server, held: &Held) -> usize {
    let section = server.http().section(held.place.event, held.place.section).await.expect("live seats");
    section.rows.iter().map(|row| row.seats.matches('h').count()).sum()
}

/// The bookings in the topic, as soon as there are `wanted`; none comes twice.
fn read(brokers: &str, wanted: usize) -> BTreeSet<Booked> {
    let settings = frontrow_kafka::Settings {
        brokers: brokers.to_owned(),
        prefix: "frontrow".into(),
        partitions: 4,
        replication: 1,
        client: std::collections::BTreeMap::default(),
        format: frontrow_kafka::Format::Json,
        registry: None,
        cluster: 0,
    };
    let (mut reader, mut found) = (Reader::new(settings, "test").expect("a reader"), BTreeSet::new());
    while found.len() < wanted {
        match reader.poll(1000, Duration::from_millis(100)) {
            Ok(Polled::Assigned(which)) => {
                let from: Vec<_> = which.into_iter().map(|partition| (partition, None)).collect();
                reader.start(&from).expect("they are there");
            }
            Ok(Polled::Records(records)) => {
                for record in records {
                    let it: Value = serde_json::from_slice(&record.value).expect("JSON");
                    if it["type"] == "booked" {
                        let number = |value: &Value| value.as_u64().expect("a number");
                        let hold = &it["hold"];
                        let booked = (
                            number(&it["user"]),
                            number(&it["section"]),
                            number(&hold["epoch"]),
                            number(&hold["lsn"]),
                        );
                        assert!(found.insert(booked), "twice: {it}");
                    }
                }
            }
            // The topic is being made.
            Ok(_) | Err(SourceError::Away(_)) => {}
            Err(error) => panic!("{error}"),
        }
    }
    found
}

#[test]
fn the_log_grows_to_its_limit_without_kafka_and_selling_goes_on_with_it() {
    if !is_there() {
        return;
    }
    let port = TcpListener::bind("127.0.0.1:0").and_then(|it| it.local_addr()).expect("a free port").port();
    let brokers = format!("127.0.0.1:{port}");
    let folder = tempfile::tempdir().expect("a folder");
    within(240, async {
        let mut sale = Sale::open(folder.path(), &brokers).await;
        let (kept, lost) = hold_some(&sale).await;
        for (percent, told) in [(55, "at 50 %"), (80, "at 75 %"), (94, "at 90 %")] {
            sale.buy_until(KEEP * percent / 100).await;
            sale.hears(told).await;
        }
        let refused = loop {
            if let Err(error) = sale.buy().await {
                break error;
            }
        };
        assert!(is_read_only(&refused), "{refused:?}");
        sale.hears("the log is at its limit").await;
        at_the_limit(&mut sale, &kept, &lost).await;
        eprintln!("{} bought, starting Kafka", sale.bought);
        let before = sale.bought;
        let _kafka =
            Kafka::start_with(kafka::Settings { port: Some(port), ..Default::default() }).expect("Kafka");
        goes_on(&mut sale).await;
        eprintln!("{} bought, comparing", sale.bought);
        let wanted = sale.booked().await;
        assert_eq!(wanted.len() as u64, sale.bought);
        assert_eq!(read(&brokers, wanted.len()), wanted);
        for told in ["at 50 %", "at 75 %", "at 90 %", "the log is at its limit"] {
            assert_eq!(sale.times(told), 1, "{told}: {:#?}", sale.said);
        }
        println!("{before} bookings until the limit, {} in all, every one of them in the topic", sale.bought);
    });
}

/// Some hold seats: for an hour, and, in another event, for the shortest time there is.
async fn hold_some(sale: &Sale) -> (Vec<Held>, Held) {
    let mut kept = Vec::new();
    for client in &sale.clients {
        kept.push(claim(client, sale.event, 0).await.expect("it sells"));
    }
    let brief = stadium(&sale.operator, "10000").await;
    (kept, claim(&sale.clients[0], brief, 0).await.expect("it sells"))
}

/// Nothing new; but what was promised, and looking.
async fn at_the_limit(sale: &mut Sale, kept: &[Held], lost: &Held) {
    for client in &sale.clients {
        let refused = claim(client, sale.event, 0).await.expect_err("nothing new");
        assert!(is_read_only(&refused), "{refused:?}");
    }
    for (client, held) in sale.clients.iter().zip(kept) {
        client.book(held).await.expect("it is held");
        sale.bought += 1;
    }
    eprintln!("{} bought, waiting for a hold to run out", sale.bought);
    while held_seats(&sale.server, lost).await > 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(metric(&sale.server, "frontrow_log_read_only{core=\"0\"}").await, 1);
    // A log that fills up faster than Kafka is given up has come this far before that.
    let node = loop {
        let node = sale.server.http().node().await.expect("a status");
        if node["kafka"]["trouble"].is_string() {
            break node;
        }
    };
    let trouble = node["kafka"]["trouble"].as_str().unwrap_or_default();
    assert!(trouble.contains("Kafka at 127.0.0.1:"), "{node}");
    assert!(node["bookings"]["trouble"].is_null(), "the table of its own is held up by nobody: {node}");
}

/// Nobody does anything for it.
async fn goes_on(sale: &mut Sale) {
    while let Err(error) = sale.buy().await {
        assert!(is_read_only(&error), "{error:?}");
    }
    for _ in 0..10 {
        sale.buy().await.expect("it sells");
    }
    sale.hears("the log is below its limit: selling goes on").await;
    assert_eq!(metric(&sale.server, "frontrow_log_read_only{core=\"0\"}").await, 0);
    assert!(sale.server.http().node().await.expect("a status")["kafka"]["trouble"].is_null());
}
