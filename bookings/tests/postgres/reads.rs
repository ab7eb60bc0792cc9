use crate::common::{booked, change, database, name, reader, server, take, upto};
use crate::model::Dice;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use frontrow_bookings::consume::memory::MemoryTopic;
use frontrow_bookings::postgres::{Postgres as Reader, Settings};
use frontrow_bookings::store::{After, Since};
use frontrow_bookings::{Booking, Gate, Refusal, Service, Sqlite, Store, StoreError, routes};
use frontrow_cdc::{Batch, Change, Mark, Message, Sink};
use frontrow_services::postgres::{Postgres, or_left_out};
use frontrow_shard::UserId;
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;
use tower::ServiceExt;

/// Bookings of rows and of sections, some cancelled.
fn changes() -> Vec<Change> {
    let mut dice = Dice(3);
    let mut all = Vec::new();
    for n in 0..200 {
        let lsn = 10 + 3 * n;
        let mut one =
            change("booked", dice.below(12).wrapping_sub(2), dice.below(5) as u16, lsn - 1, (1, lsn));
        one.section = Some(dice.below(3) as u16);
        one.time_ms = 1000 + dice.below(20);
        if n % 4 == 0 {
            let part = |row: u16, seats: &[u8]| json!({"row": row, "seats": seats});
            one.parts = serde_json::from_value(json!([part(3, &[7, 8]), part(4, &[0, 1, 255])])).unwrap();
            (one.row, one.seats, one.request) = (None, Vec::new(), None);
        }
        all.push(one.clone());
        if n % 5 == 0 {
            one.kind = frontrow_cdc::Kind::Cancelled;
            (one.position.lsn, one.time_ms) = (lsn + 1, 5000 + n);
            all.push(one);
        }
    }
    all
}

fn pages(table: &dyn Store, user: UserId, event: Option<u32>) -> Vec<Booking> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page = table.of_user(user, event, after, 7, &Since::default()).unwrap().unwrap();
        let Some(last) = page.last() else { return found };
        after = Some(After { booked_ms: last.booked_ms, id: last.id });
        found.extend(page);
    }
}

#[test]
fn both_tables_answer_alike() {
    let Some(settings) = database() else { return };
    let folder = tempfile::tempdir().unwrap();
    let (file, mut sink) = Sqlite::open(&folder.path().join("bookings.db"), 1).unwrap();
    sink.begin(1).unwrap();
    let (changes, topic) = (changes(), MemoryTopic::new(4));
    for change in &changes {
        topic.send(&Message::Change(change.clone()));
    }
    topic.send(&upto(1, 700));
    take(&settings, &topic);
    let mark = [(1, Mark { epoch: 1, lsn: 700 })].into();
    sink.write(&Batch { changes, upto: mark, records: 1, ..Batch::default() }).unwrap();
    let table = reader(&settings);
    for user in (0..12_u64).map(|n| n.wrapping_sub(2)) {
        for event in [None, Some(7), Some(8)] {
            let mine = pages(&table, user, event);
            assert_eq!(mine, pages(&file, user, event));
            if let Some(first) = mine.first() {
                assert_eq!(table.one(user, first.id).unwrap().as_ref(), Some(first));
                assert_eq!(table.one(user ^ 64, first.id).unwrap(), None, "somebody else's");
            }
        }
    }
    let (mut after, mut all) = (None, 0);
    loop {
        let page = table.of_event(7, after, 33).unwrap();
        assert_eq!(page, file.of_event(7, after, 33).unwrap());
        all += page.len();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
    }
    assert_eq!(all, 200);
    for event in [7, 8] {
        assert_eq!(table.sales(event).unwrap(), file.sales(event).unwrap());
    }
    // As docs/bookings.md shows it, seat by seat.
    let seats = "SELECT section, coalesce(seat_row, row) AS row, seat, user_id \
                 FROM frontrow.bookings, unnest(seat_rows, seats) AS s (seat_row, seat) \
                 WHERE event = 7 AND cancelled_at IS NULL ORDER BY 1, 2, 3";
    let sold = server().unwrap().sql(name(&settings), seats).unwrap();
    let counted: u64 = table.sales(7).unwrap().iter().map(|it| it.seats).sum();
    assert_eq!(sold.lines().count() as u64, counted);
    assert!(!sold.contains("|65535|"), "every seat has its row: {sold}");
    for (partition, lsn) in [(1, 700), (1, 701), (2, 1)] {
        assert_eq!(table.has(partition, lsn).unwrap(), file.has(partition, lsn).unwrap());
        assert_eq!(table.mark(partition).unwrap(), file.mark(partition).unwrap());
    }
}

/// `42` in the header is user 42.
struct Doors;

impl Gate for Doors {
    fn user(&self, headers: &HeaderMap) -> Result<UserId, Refusal> {
        let user = headers.get("user").and_then(|it| it.to_str().ok()?.parse().ok());
        user.ok_or(Refusal { status: StatusCode::UNAUTHORIZED, code: "no_token", message: String::new() })
    }

    fn organiser(&self, _: &HeaderMap) -> Result<(), Refusal> {
        Ok(())
    }
}

async fn status(routes: &axum::Router, path: &str) -> StatusCode {
    let request = Request::get(path).header("user", "42").body(Body::empty()).unwrap();
    routes.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn the_routes_answer_from_it_once_it_is_whole() {
    let Some(settings) = database() else { return };
    let topic = MemoryTopic::new(2);
    let service = Service {
        store: Arc::new(reader(&settings)),
        gate: Arc::new(Doors),
        partitions: 4,
        patience: Duration::ZERO,
        // As in the bookings service: what it knows of an event is its bookings.
        event: None,
        complete: Box::new(|| true),
        behind: Box::new(|| None),
        settled: Box::new(|| Box::pin(std::future::ready(None))),
    };
    let routes = routes(Arc::new(service));
    assert_eq!(
        status(&routes, "/v1/bookings").await,
        StatusCode::SERVICE_UNAVAILABLE,
        "there is no table yet"
    );
    topic.send(&booked(42, 1, 5));
    topic.send(&upto(1, 5));
    let settings_too = settings.clone();
    tokio::task::spawn_blocking(move || take(&settings_too, &topic)).await.unwrap();
    for (path, expected) in [
        ("/v1/bookings?seen=7-0-1-1-4-3&after=1.5", 200),
        ("/v1/bookings?seen=7-0-1-1-6-3", 503),
        ("/v1/bookings?after=1.6", 503),
        ("/v1/bookings?after=1.9223372036854775808", 400),
        ("/v1/bookings?seen=7-0-1-1-9223372036854775808-3", 400),
        ("/v1/bookings/7-0-1-1-4-3", 200),
        ("/v1/bookings/7-0-1-1-6-3", 404),
        ("/v1/admin/events/7/sales.csv", 200),
        ("/v1/admin/events/8/sales", 200),
        ("/v1/admin/events/8/sales.csv", 200),
    ] {
        assert_eq!(status(&routes, path).await, expected, "{path}");
    }
}

/// How many bookings user 42 has, as far as whoever answers knows.
fn count(table: &Reader, wanted: &Since) -> Result<Option<usize>, StoreError> {
    Ok(table.of_user(42, None, None, 100, wanted)?.map(|found| found.len()))
}

#[test]
fn what_a_replica_has_not_the_primary_has() {
    let Some(mut primary) = or_left_out(Postgres::start()) else { return };
    let mut settings =
        Settings { patience: Duration::from_secs(2), ..Settings::of(primary.database("b").unwrap()) };
    let topic = MemoryTopic::new(2);
    topic.send(&booked(42, 1, 5));
    topic.send(&upto(1, 5));
    take(&settings, &topic);
    let replica = primary.replica().unwrap();
    settings.replicas = vec![replica.url("b")];
    let table = Reader::open(&settings, || 1000).unwrap();
    replica.sql("b", "SELECT pg_wal_replay_pause()").unwrap();
    while replica.sql("b", "SELECT pg_get_wal_replay_pause_state()").unwrap() != "paused" {}
    topic.send(&booked(42, 2, 8));
    topic.send(&upto(1, 8));
    take(&settings, &topic);
    let (any, new) = (Since::default(), Since { after: Some((1, 8)), ..Since::default() });
    // Until it has been looked at, the primary answers.
    while count(&table, &any).unwrap() != Some(1) {}
    assert_eq!(count(&table, &any).unwrap(), Some(1), "the replica answers, as old as it is");
    assert_eq!(count(&table, &new).unwrap(), Some(2), "what it has not the primary has");
    assert!(table.has(1, 8).unwrap() && !table.has(1, 9).unwrap());
    let later = Since { after: Some((1, 9)), ..any };
    assert_eq!(count(&table, &later).unwrap(), None, "nobody has it yet");

    primary.pause().unwrap();
    assert_eq!(count(&table, &any).unwrap(), Some(1), "a primary that hangs keeps nobody from the replica");
    let alone = Settings { replicas: Vec::new(), patience: Duration::from_millis(300), ..settings.clone() };
    let hanging = Reader::open(&alone, || 1).unwrap();
    assert!(matches!(count(&hanging, &any), Err(StoreError::Away(_))), "nobody waits for ever");
    primary.resume().unwrap();
    assert_eq!(count(&hanging, &any).unwrap(), Some(2));
    primary.kill().unwrap();
    assert!(matches!(count(&hanging, &any), Err(StoreError::Away(_))));
    primary.start_again().unwrap();
    assert_eq!(count(&hanging, &any).unwrap(), Some(2), "connections that have ended are made again");
}
