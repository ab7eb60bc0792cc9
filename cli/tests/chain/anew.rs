//! Somebody deletes topics while everything runs. The server tells everything once more by itself; a table of the topic of
//! bookings is refused until it is dropped, and then made whole: at no moment does it say that a part is all.

use crate::HALL;
use crate::behind::shows_no_part;
use crate::common::within;
use crate::links::{Link, Links};
use crate::stale::buy;
use crate::table::{self, Booked};
use frontrow_client::{Client, Held};
use frontrow_services::kafka::Kafka;
use frontrow_services::postgres::Postgres;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::Value;
use std::collections::BTreeSet;
use std::time::Duration;

const PARTITIONS: i32 = crate::KAFKA_PARTITIONS as i32;

/// Whoever may delete topics.
struct Hand {
    brokers: String,
    admin: AdminClient<DefaultClientContext>,
}

impl Hand {
    fn new(brokers: String) -> Self {
        let admin = ClientConfig::new().set("bootstrap.servers", &brokers).create().expect("a client");
        Self { brokers, admin }
    }

    async fn delete(&self, topics: &[&str]) {
        let deleted = self.admin.delete_topics(topics, &AdminOptions::new()).await.expect("it answers");
        assert!(deleted.iter().all(Result::is_ok), "{deleted:?}");
    }

    /// Makes one that was deleted, before anybody else does.
    async fn make(&self, topic: &str) {
        let wanted = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        loop {
            let made = self.admin.create_topics([&wanted], &AdminOptions::new()).await.expect("it answers");
            if made.iter().all(Result::is_ok) {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// The bookings that count by a topic's own words; none if it is not there.
    fn told(&self, topic: &str) -> Option<BTreeSet<Booked>> {
        let mut config = ClientConfig::new();
        config
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", "hand")
            .set("enable.auto.commit", "false");
        config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
        config.set("topic.metadata.propagation.max.ms", "1000").set("fetch.wait.max.ms", "10");
        let consumer: BaseConsumer = config.create().expect("a consumer");
        let mut all = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            all.add_partition_offset(topic, partition, Offset::Beginning).expect("a partition");
        }
        consumer.assign(&all).expect("assigned");
        let (mut told, mut ended) = (BTreeSet::<(i32, Option<u64>, Booked)>::new(), 0);
        while ended < PARTITIONS {
            match consumer.poll(Duration::from_secs(5))? {
                Err(KafkaError::PartitionEOF(_)) => ended += 1,
                Err(KafkaError::MessageConsumption(_)) => return None,
                Err(error) => panic!("{error}"),
                Ok(record) => {
                    let it: Value = serde_json::from_slice(record.payload().expect("a value")).expect("JSON");
                    let key = || (record.partition(), it["partition"].as_u64(), booked(&it));
                    match it["type"].as_str().expect("a type") {
                        "forgotten" => told.retain(|(of, ..)| *of != record.partition()),
                        "booked" => assert!(told.insert(key()), "told twice: {it}"),
                        // Before it is told once more the booking may have been in the topic that is gone.
                        "cancelled" => drop(told.remove(&key())),
                        _ => {}
                    }
                }
            }
        }
        Some(told.into_iter().map(|(.., one)| one).collect())
    }
}

/// A booking of seats in one row, as the state has it.
fn booked(it: &Value) -> Booked {
    let number = |of: &Value| of.as_u64().expect("a number");
    let seats = it["seats"].as_array().expect("seats").iter().map(|seat| number(seat) as u8).collect();
    let (epoch, lsn) = (number(&it["hold"]["epoch"]) as u32, number(&it["hold"]["lsn"]));
    (number(&it["user"]), epoch, lsn, number(&it["section"]) as u16, vec![(number(&it["row"]) as u16, seats)])
}

/// Waits until both topics tell what the server has.
async fn both_tell(links: &Links, hand: &Hand) {
    let wanted = table::state(links, HALL).await;
    for topic in ["frontrow.changes", "frontrow.bookings"] {
        while hand.told(topic).as_ref() != Some(&wanted) {
            tokio::task::yield_now().await;
        }
    }
}

/// Waits until the table is the server's own state; whenever it says that it has everything, it has.
async fn whole(links: &Links) -> usize {
    let wanted = table::state(links, HALL).await.len();
    let looked = "SELECT coalesce((SELECT bool_and(complete) FROM frontrow.applied), false), \
                  (SELECT count(*) FROM frontrow.bookings WHERE cancelled_at IS NULL)";
    loop {
        let said = links.sql(looked).unwrap_or_default();
        let (complete, count) = said.trim().split_once('|').unwrap_or_default();
        if complete == "t" {
            assert_eq!(count.parse(), Ok(wanted), "a part is shown as all there is");
            return table::alike(links, HALL).await;
        }
        tokio::task::yield_now().await;
    }
}

/// Bookings, and one that is given back.
async fn sell(client: &Client, row: u16, kept: &mut Vec<Held>) {
    kept.extend(buy(client, row, 6).await);
    client.cancel(&kept.swap_remove(0)).await.expect("it is theirs");
}

pub(crate) fn deleted_topics_are_told_anew(kafka: Kafka, postgres: Postgres) {
    within(600, async {
        let hand = Hand::new(kafka.brokers());
        let mut links = Links::start(kafka, postgres);
        let (mut client, mut kept) = (links.server().client(1).await, Vec::new());
        sell(&client, 0, &mut kept).await;
        table::alike(&links, HALL).await;

        // Made anew under the server's hands. Nobody has to do anything.
        hand.delete(&["frontrow.changes"]).await;
        hand.make("frontrow.changes").await;
        sell(&client, 1, &mut kept).await;
        both_tell(&links, &hand).await;
        table::alike(&links, HALL).await;
        // And while there is no server.
        drop(client);
        links.kill(Link::Server);
        hand.delete(&["frontrow.changes"]).await;
        links.start_again(Link::Server);
        client = links.server().client(1).await;
        sell(&client, 2, &mut kept).await;
        both_tell(&links, &hand).await;
        let alike = table::alike(&links, HALL).await;
        println!("frontrow.changes made anew, twice: {alike} bookings, and the service went on by itself");

        // Of the topic of bookings the table is another one's, whoever starts the service again; the server is killed meanwhile.
        hand.delete(&["frontrow.bookings"]).await;
        sell(&client, 3, &mut kept).await;
        both_tell(&links, &hand).await;
        drop(client);
        links.kill(Link::Server);
        links.start_again(Link::Server);
        for _ in 0..2 {
            while !links.trouble().iter().all(|it| it.contains("was deleted and made anew")) {
                tokio::task::yield_now().await;
            }
            shows_no_part(&links, 1, "ended").await;
            links.kill(Link::Service);
            links.start_again(Link::Service);
        }
        links.kill(Link::Service);
        drop_table(&links);
        links.start_again(Link::Service);
        let count = whole(&links).await;
        println!("frontrow.bookings made anew: refused until the table was dropped, then {count} bookings");

        // Everything at once, and the service is there before the server has noticed.
        for (row, topics) in (1..).zip([&["frontrow.bookings"][..], &ALL[..], &["frontrow.positions"][..]]) {
            client = links.server().client(1).await;
            sell(&client, row, &mut kept).await;
            table::alike(&links, HALL).await;
            links.kill(Link::Service);
            hand.delete(topics).await;
            if topics.len() == 1 {
                hand.make(topics[0]).await;
            }
            drop_table(&links);
            links.start_again(Link::Service);
            let count = whole(&links).await;
            both_tell(&links, &hand).await;
            println!("{topics:?} and the table: {count} bookings");
        }
        assert_eq!(links.set_aside(), 0, "nothing was stale or odd");
    });
}

const ALL: [&str; 4] =
    ["frontrow.changes", "frontrow.bookings", "frontrow.positions", "frontrow.bookings.dead"];

fn drop_table(links: &Links) {
    links.sql("DROP SCHEMA frontrow CASCADE").expect("it is dropped");
}
