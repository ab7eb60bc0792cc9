//! The whole way of a booking, with real programs: server, Kafka, the bookings service and PostgreSQL. A stadium is sold out;
//! then a crowd goes on buying and giving back while one of the four is killed at random moments. After each, the table in
//! PostgreSQL is what the server itself has, row by row.
//!
//! `FRONTROW_ROUNDS=n` and `FRONTROW_SEATS=n` are the long form (`make chain`). Without Kafka or PostgreSQL it is left out
//! loudly; where `CI` is set, that is a failure.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod anew;
mod behind;
#[path = "../common/mod.rs"]
mod common;
mod crowd;
mod ends;
mod links;
mod stale;
mod table;

use common::{Dice, within};
use crowd::Crowd;
use frontrow_client::http::EventQuery;
use frontrow_services::kafka::Kafka;
use frontrow_services::postgres::{Postgres, or_left_out};
use frontrow_services::registry::{self, Registry};
use links::{Link, Links};
use std::time::Instant;

/// Partitions of the topic of bookings, as `links` sets them.
const KAFKA_PARTITIONS: u64 = 4;
/// The sample hall, in which the crowd buys.
const HALL: u32 = 1;

fn number(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().expect("a number"))
}

fn kafka() -> Option<Kafka> {
    match Kafka::start() {
        Ok(kafka) => Some(kafka),
        Err(error) if std::env::var_os("CI").is_none() => {
            eprintln!("\n!!! LEFT OUT, NOT TESTED: {error}\n");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "says how long it took")]
fn nothing_is_lost_or_doubled_between_the_server_and_postgresql() {
    let rounds = number("FRONTROW_ROUNDS", 4);
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    within(300 + 60 * rounds, async {
        let mut links = Links::start(kafka, postgres);
        let seats = number("FRONTROW_SEATS", 3000) as u32;
        let begun = Instant::now();
        let (event, sold) = sell_a_stadium(&links, seats).await;
        let took = begun.elapsed();
        let compared = table::alike(&links, event).await;
        println!(
            "{sold} of {seats} seats sold in {took:.1?}; {compared} bookings in PostgreSQL are the server's own, {:.1?} after \
             the last was made",
            begun.elapsed().checked_sub(took).unwrap_or_default()
        );
        let mut dice = Dice::new(number("FRONTROW_SEED", 1));
        let mut crowd = Crowd::default();
        let (mut acked, mut rows) = (0, compared);
        for round in 1..=rounds {
            // Each in turn, so that a few rounds have had all of them.
            let victim = [Link::Server, Link::Service, Link::Broker, Link::Table][(round % 4) as usize];
            let begun = Instant::now();
            acked += crowd.buy_while(&mut links, victim, &mut dice).await;
            let compared = table::alike(&links, HALL).await;
            crowd.is_in(&links, HALL).await;
            println!(
                "round {round:>3}: {victim:?} killed; {compared:>4} bookings alike in all, {:.1?}",
                begun.elapsed()
            );
            rows += compared;
        }
        table::answers(&links, HALL).await;
        assert_eq!(links.set_aside(), 0, "every record was taken");
        println!(
            "{rounds} rounds, {acked} answers to bookings and cancellations, {rows} rows compared: none lost, none doubled"
        );
    });
}

/// The same as Avro. Once the server has the schema's ids neither it nor the service needs the registry.
#[test]
fn what_comes_as_avro_is_in_the_table_too() {
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    let Some(registry) = registry::or_left_out(Registry::start()) else { return };
    within(240, async {
        let url = registry.url();
        let avro = [("FRONTROW_KAFKA__FORMAT", "avro"), ("FRONTROW_KAFKA__REGISTRY", &*url)];
        let mut links = Links::start_with(kafka, postgres, &avro);
        let (event, _) = sell_a_stadium(&links, 1000).await;
        table::alike(&links, event).await;
        drop(registry);
        let (mut dice, mut crowd) = (Dice::new(3), Crowd::default());
        crowd.buy_while(&mut links, Link::Service, &mut dice).await;
        let compared = table::alike(&links, HALL).await;
        crowd.is_in(&links, HALL).await;
        assert_eq!(links.set_aside(), 0, "every record was taken");
        println!("{compared} bookings that came as Avro are in PostgreSQL");
    });
}

/// Two services divide the topic among them. One is killed in the middle of a sale and does not come back: the other one goes on
/// from where the table says, with all of it.
#[test]
fn one_of_two_services_that_is_killed_leaves_its_share_to_the_other() {
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    within(120, async {
        let mut links = Links::start(kafka, postgres);
        links.start_second();
        let divided = |shares: &[u64]| shares.iter().sum::<u64>() == KAFKA_PARTITIONS && !shares.contains(&0);
        while !divided(&links.shares()) {
            tokio::task::yield_now().await;
        }
        let shares = links.shares();
        let (event, sold) = sell_a_stadium(&links, 600).await;
        table::alike(&links, event).await;
        let (mut dice, mut crowd) = (Dice::new(5), Crowd::default());
        crowd.buy_while(&mut links, Link::Second, &mut dice).await;
        let compared = table::alike(&links, HALL).await;
        crowd.is_in(&links, HALL).await;
        table::answers(&links, HALL).await;
        while links.shares() != [KAFKA_PARTITIONS] || links.lag() != Some(0) {
            tokio::task::yield_now().await;
        }
        assert_eq!(links.set_aside(), 0, "every record was taken");
        println!(
            "{sold} seats sold through shares of {shares:?} partitions; one killed, {compared} bookings are the server's own"
        );
    });
}

#[test]
fn a_stale_primary_writes_neither_to_kafka_nor_to_postgresql() {
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    stale::a_stale_primary_is_shut_out(kafka, postgres);
}

#[test]
fn topics_that_are_deleted_are_told_anew_and_no_table_is_a_part() {
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    anew::deleted_topics_are_told_anew(kafka, postgres);
}

#[test]
fn a_service_that_does_not_follow_shows_no_part_as_all_there_is() {
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    behind::no_answer_is_a_part_that_looks_whole(kafka, postgres);
}

#[test]
fn a_server_is_started_where_the_service_was_before_it() {
    ends::the_service_comes_first();
}

#[test]
fn a_service_ends_in_time_while_postgresql_hangs() {
    let Some(postgres) = or_left_out(Postgres::start()) else { return };
    let Some(kafka) = kafka() else { return };
    ends::the_service_ends_in_time(kafka, postgres);
}

/// How many seats of it were sold.
async fn sell_a_stadium(links: &Links, seats: u32) -> (u32, u64) {
    let operator = links.operator();
    let event = operator.create_stadium(&EventQuery::default(), seats, None).await.expect("made").event.event;
    operator.open(event).await.expect("open");
    (event, crowd::sell_out(links, event).await)
}
