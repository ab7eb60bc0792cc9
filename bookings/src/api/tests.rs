use super::*;
use crate::Sqlite;
use axum::body::Body;
use axum::http::Request;
use frontrow_cdc::{Batch, Change, Mark, Marks, Sink};
use http_body_util::BodyExt;
use serde_json::Value;
use tower::ServiceExt;

/// `Bearer 42` is user 42, `Bearer key` whoever runs events.
struct Doors;

impl Gate for Doors {
    fn user(&self, headers: &HeaderMap) -> Result<UserId, Refusal> {
        let token = headers
            .get(header::AUTHORIZATION)
            .and_then(|it| it.to_str().ok()?.strip_prefix("Bearer ")?.parse().ok());
        token.ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "no_token", "a token is missing"))
    }

    fn organiser(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let is_key = headers.get(header::AUTHORIZATION).is_some_and(|it| it == "Bearer key");
        is_key
            .then_some(())
            .ok_or_else(|| Refusal::new(StatusCode::UNAUTHORIZED, "not_an_operator", "a key is missing"))
    }
}

fn booked(user: u64, row: u16, lsn: u64) -> Change {
    let document = json!({
        "partition": 1, "epoch": 1, "lsn": lsn, "n": 0, "type": "booked", "time_ms": 1000 + lsn, "event": 7, "section": 0,
        "row": row, "seats": [2, 3], "user": user, "hold": {"epoch": 1, "lsn": lsn - 1, "slot": 3},
    });
    serde_json::from_value(document).unwrap()
}

fn write(sink: &mut impl Sink, changes: Vec<Change>) {
    let upto = Marks::from([(1, Mark { epoch: 1, lsn: changes.last().unwrap().position.lsn })]);
    sink.write(&Batch { changes, upto, records: 1, ..Batch::default() }).unwrap();
}

fn service(folder: &std::path::Path, patience: Duration) -> (Router, crate::sqlite::SqliteSink) {
    service_behind(folder, patience, None)
}

fn service_behind(
    folder: &std::path::Path,
    patience: Duration,
    behind: Option<BehindCode>,
) -> (Router, crate::sqlite::SqliteSink) {
    service_of(folder, patience, (true, behind))
}

/// Over a table that has everything.
fn over(table: Sqlite) -> Service {
    Service {
        store: Arc::new(table),
        gate: Arc::new(Doors),
        partitions: 4,
        patience: Duration::ZERO,
        event: None,
        complete: Box::new(|| true),
        behind: Box::new(|| None),
        settled: Box::new(|| Box::pin(std::future::ready(None))),
    }
}

fn service_of(
    folder: &std::path::Path,
    patience: Duration,
    (is_complete, behind): (bool, Option<BehindCode>),
) -> (Router, crate::sqlite::SqliteSink) {
    let (table, mut sink) = Sqlite::open(&folder.join("bookings.db"), 1).unwrap();
    sink.begin(1).unwrap();
    let service = Service {
        patience,
        event: Some(Box::new(|event| event == 7)),
        complete: Box::new(move || is_complete),
        behind: Box::new(move || behind),
        settled: Box::new(move || Box::pin(std::future::ready(behind))),
        ..over(table)
    };
    (routes(Arc::new(service)), sink)
}

async fn ask(routes: &Router, token: &str, path: &str) -> Response {
    let request = Request::get(path).header(header::AUTHORIZATION, format!("Bearer {token}"));
    routes.clone().oneshot(request.body(Body::empty()).unwrap()).await.unwrap()
}

async fn get(routes: &Router, token: &str, path: &str) -> (StatusCode, String) {
    let response = ask(routes, token, path).await;
    let status = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(bytes.to_vec()).unwrap())
}

async fn json_of(routes: &Router, token: &str, path: &str) -> (StatusCode, Value) {
    let (status, text) = get(routes, token, path).await;
    (status, serde_json::from_str(&text).unwrap())
}

#[tokio::test]
async fn one_sees_ones_own_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service(folder.path(), Duration::ZERO);
    write(&mut sink, vec![booked(42, 1, 5), booked(43, 2, 7), booked(42, 3, 9)]);
    let (status, mine) = json_of(&routes, "42", "/v1/bookings").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(mine["bookings"].as_array().unwrap().len(), 2);
    assert_eq!(mine["bookings"][0]["id"], "7-0-3-1-8-3", "newest first");
    assert_eq!(mine["bookings"][0]["user"], "42");
    let theirs = json_of(&routes, "42", "/v1/bookings/7-0-2-1-6-3").await;
    assert_eq!((theirs.0, &theirs.1["error"]["code"]), (StatusCode::NOT_FOUND, &json!("unknown_booking")));
    assert_eq!(json_of(&routes, "43", "/v1/bookings/7-0-2-1-6-3").await.0, StatusCode::OK);
    for path in ["/v1/bookings", "/v1/bookings/7-0-2-1-6-3"] {
        assert_eq!(json_of(&routes, "nobody", path).await.0, StatusCode::UNAUTHORIZED);
    }
    for ending in ["", ".csv", ".ndjson"] {
        let path = format!("/v1/admin/events/7/sales{ending}");
        assert_eq!(json_of(&routes, "42", &path).await.0, StatusCode::UNAUTHORIZED);
    }
}

#[tokio::test]
async fn pages_follow_on_each_other_to_the_end() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service(folder.path(), Duration::ZERO);
    write(&mut sink, (0..25).map(|n| booked(42, n, 5 + 2 * u64::from(n))).collect());
    let (mut path, mut ids) = ("/v1/bookings?most=10".to_owned(), Vec::new());
    loop {
        let (_, page) = json_of(&routes, "42", &path).await;
        ids.extend(page["bookings"].as_array().unwrap().iter().map(|it| it["id"].to_string()));
        let Some(next) = page["next"].as_str() else { break };
        path = format!("/v1/bookings?most=10&cursor={next}");
    }
    assert_eq!(ids.len(), 25);
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 25, "none comes twice");
}

#[tokio::test]
async fn what_was_just_bought_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service(folder.path(), Duration::ZERO);
    write(&mut sink, vec![booked(42, 1, 5)]);
    assert_eq!(json_of(&routes, "42", "/v1/bookings?seen=7-0-1-1-4-3&after=1.5").await.0, StatusCode::OK);
    let (status, late) = json_of(&routes, "42", "/v1/bookings?after=1.6").await;
    assert_eq!((status, &late["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not_there_yet")));
    assert_eq!(late["error"]["retryable"], true);
    drop(sink);
    let (routes, mut sink) = service(folder.path(), Duration::from_secs(60));
    let asked = json_of(&routes, "42", "/v1/bookings?seen=7-0-2-1-8-3");
    let ((status, page), ()) = tokio::join!(asked, async { write(&mut sink, vec![booked(42, 2, 9)]) });
    assert_eq!((status, page["bookings"].as_array().unwrap().len()), (StatusCode::OK, 2));
}

#[tokio::test]
async fn wrong_questions_are_told_what_is_right() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, _sink) = service(folder.path(), Duration::ZERO);
    for (path, word) in [
        ("/v1/bookings?most=0", "1 to 1000"),
        ("/v1/bookings?most=x", "openapi"),
        ("/v1/bookings?user=43", "openapi"),
        ("/v1/bookings?cursor=x", "next"),
        ("/v1/bookings?seen=x", "event-section-row"),
        ("/v1/bookings?after=4.1", "below 4"),
        ("/v1/bookings?after=1.9223372036854775808", "2^63"),
        ("/v1/bookings?after=1.18446744073709551615", "2^63"),
        ("/v1/bookings?after=1.18446744073709551616", "partition.lsn"),
        ("/v1/bookings?seen=7-0-2-1-9223372036854775808-3", "2^63"),
        ("/v1/bookings?cursor=1_7-0-2-1-9223372036854775808-3", "next"),
        ("/v1/bookings?cursor=9223372036854775807_7-0-2-1-8-3", "next"),
    ] {
        let (status, answer) = json_of(&routes, "42", path).await;
        assert_eq!(status, StatusCode::BAD_REQUEST, "{path}");
        let message = answer["error"]["message"].as_str().unwrap();
        assert!(message.contains(word), "{path}: {message}");
    }
}

#[tokio::test]
async fn of_an_event_that_there_is_none_of_nothing_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, _sink) = service(folder.path(), Duration::ZERO);
    for ending in ["", ".csv", ".ndjson"] {
        let path = |event: &str| format!("/v1/admin/events/{event}/sales{ending}");
        assert_eq!(get(&routes, "key", &path("7")).await.0, StatusCode::OK, "nothing was sold of it");
        assert_eq!(get(&routes, "key", &path("x")).await.0, StatusCode::BAD_REQUEST);
        let (status, answer) = json_of(&routes, "key", &path("8")).await;
        assert_eq!((status, &answer["error"]["code"]), (StatusCode::NOT_FOUND, &json!("unknown_event")));
        assert!(answer["error"]["message"].as_str().unwrap().contains("no event 8"));
        // Whoever may not know is not told.
        assert_eq!(json_of(&routes, "42", &path("8")).await.0, StatusCode::UNAUTHORIZED);
    }
}

/// The last number that one may have is asked for like any other.
#[tokio::test]
async fn the_last_record_there_can_be_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, _sink) = service(folder.path(), Duration::ZERO);
    for path in
        ["/v1/bookings?after=1.9223372036854775807", "/v1/bookings?seen=7-0-2-1-9223372036854775807-3"]
    {
        let (status, answer) = json_of(&routes, "42", path).await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("not_there_yet"))
        );
    }
    let page =
        json_of(&routes, "42", "/v1/bookings?cursor=9224318015999999_7-0-2-1-9223372036854775807-3").await;
    assert_eq!(page.0, StatusCode::OK);
}

#[tokio::test]
async fn a_name_that_is_none_is_told_how_one_looks() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, _sink) = service(folder.path(), Duration::ZERO);
    let (status, answer) = json_of(&routes, "42", "/v1/bookings/x").await;
    assert_eq!(status, StatusCode::NOT_FOUND);
    assert!(answer["error"]["message"].as_str().unwrap().contains("event-section-row"));
}

#[tokio::test]
async fn an_event_is_exported_whole_however_many_pages_it_has() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service(folder.path(), Duration::ZERO);
    write(&mut sink, (0..2500).map(|n| booked(n, n as u16 % 40, 5 + 2 * n)).collect());
    let (_, sales) = json_of(&routes, "key", "/v1/admin/events/7/sales").await;
    assert_eq!((&sales["bookings"], &sales["seats"]), (&json!(2500), &json!(5000)));
    let (_, lines) = get(&routes, "key", "/v1/admin/events/7/sales.ndjson").await;
    let mut users: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["user"].as_str().unwrap().parse().unwrap())
        .collect();
    users.sort_unstable();
    assert_eq!(users, (0..2500).collect::<Vec<u64>>());
    let (_, table) = get(&routes, "key", "/v1/admin/events/7/sales.csv").await;
    let mut rows = csv::Reader::from_reader(table.as_bytes());
    assert_eq!(rows.records().filter(|row| row.as_ref().is_ok_and(|row| &row[5] == "2 3")).count(), 2500);
}

/// What there is is shown. But a list says that it may not be all, and nothing is said not to be there.
#[tokio::test]
async fn a_table_that_is_behind_says_so_in_every_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service_behind(folder.path(), Duration::ZERO, Some(BehindCode::Ended));
    write(&mut sink, vec![booked(42, 1, 5)]);
    for (token, path, bookings) in [("42", "/v1/bookings", 1), ("43", "/v1/bookings?event=7", 0)] {
        let said = ask(&routes, token, path).await.headers()["frontrow-behind"].clone();
        let (status, page) = json_of(&routes, token, path).await;
        assert_eq!((status, page["bookings"].as_array().unwrap().len()), (StatusCode::OK, bookings));
        assert_eq!((said.to_str().unwrap(), &page["behind"]["code"]), ("ended", &json!("ended")));
        assert!(page["behind"]["reason"].as_str().unwrap().contains("/v1/status"), "{page}");
    }
    let (status, one) = json_of(&routes, "42", "/v1/bookings/7-0-1-1-4-3").await;
    assert_eq!(
        (status, &one["id"], &one["behind"]["code"]),
        (StatusCode::OK, &json!("7-0-1-1-4-3"), &json!("ended"))
    );
    let unknown = ask(&routes, "43", "/v1/bookings/7-0-1-1-4-3").await;
    assert_eq!(unknown.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(unknown.headers()["retry-after"], "5");
    let (_, unknown) = json_of(&routes, "43", "/v1/bookings/7-0-1-1-4-3").await;
    assert_eq!((&unknown["error"]["code"], &unknown["error"]["retryable"]), (&json!("behind"), &json!(true)));
    assert_eq!(json_of(&routes, "43", "/v1/bookings/x").await.0, StatusCode::NOT_FOUND, "that can be none");
    let (status, late) = json_of(&routes, "42", "/v1/bookings?after=1.6").await;
    assert_eq!((status, &late["error"]["code"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("not_there_yet")));
    assert!(late["error"]["message"].as_str().unwrap().contains("taken over no more"), "{late}");
    let (status, sales) = json_of(&routes, "key", "/v1/admin/events/7/sales").await;
    assert_eq!(
        (status, &sales["bookings"], &sales["behind"]["code"]),
        (StatusCode::OK, &json!(1), &json!("ended"))
    );
}

/// A file does not say who made it: none is made of a table that is behind, but for whoever wants one.
#[tokio::test]
async fn an_export_of_a_table_that_is_behind_has_to_be_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service_behind(folder.path(), Duration::ZERO, Some(BehindCode::CatchingUp));
    write(&mut sink, vec![booked(42, 1, 5)]);
    for ending in ["csv", "ndjson"] {
        let path = |query: &str| format!("/v1/admin/events/7/sales.{ending}{query}");
        for query in ["", "?behind=false"] {
            let (status, refused) = json_of(&routes, "key", &path(query)).await;
            assert_eq!(
                (status, &refused["error"]["code"]),
                (StatusCode::SERVICE_UNAVAILABLE, &json!("behind"))
            );
            assert!(refused["error"]["message"].as_str().unwrap().contains("?behind=true"), "{refused}");
        }
        assert_eq!(get(&routes, "key", &path("?behind=1")).await.0, StatusCode::BAD_REQUEST);
        assert_eq!(get(&routes, "42", &path("?behind=true")).await.0, StatusCode::UNAUTHORIZED);
        let answer = ask(&routes, "key", &path("?behind=true")).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["frontrow-behind"], "catching_up");
        let name = answer.headers()[header::CONTENT_DISPOSITION].to_str().unwrap();
        assert!(name.contains(&format!("event-7-behind.{ending}")), "{name}");
        assert!(get(&routes, "key", &path("?behind=true")).await.1.contains("7-0-1-1-4-3"));
    }
}

/// "Shortly" is said only where that is to be expected.
#[tokio::test]
async fn a_table_that_is_being_made_is_waited_for_unless_nobody_makes_it() {
    let folder = tempfile::tempdir().unwrap();
    for (behind, word) in [
        (None, "ask again shortly"),
        (Some(BehindCode::CatchingUp), "ask again shortly"),
        (Some(BehindCode::Ended), "taken over no more"),
        (Some(BehindCode::Waiting), "something keeps"),
    ] {
        let (routes, _sink) = service_of(folder.path(), Duration::ZERO, (false, behind));
        let (status, answer) = json_of(&routes, "42", "/v1/bookings").await;
        assert_eq!(
            (status, &answer["error"]["code"]),
            (StatusCode::SERVICE_UNAVAILABLE, &json!("not_there_yet"))
        );
        assert!(answer["error"]["message"].as_str().unwrap().contains(word), "{answer}");
    }
}

/// Who has just booked is told that nothing is there only by a table that has everything.
#[tokio::test]
async fn that_nothing_is_there_is_said_of_a_table_that_has_come_so_far() {
    let folder = tempfile::tempdir().unwrap();
    for path in ["/v1/bookings", "/v1/bookings/7-0-3-1-8-3"] {
        let (table, mut sink) = Sqlite::open(&folder.path().join("bookings.db"), 1).unwrap();
        sink.begin(1).unwrap();
        let sink = std::sync::Mutex::new(sink);
        let service = |settled| Service { settled, ..over(table.clone()) };
        let never = service(Box::new(|| Box::pin(std::future::ready(Some(BehindCode::CatchingUp)))));
        let (_, answer) = json_of(&routes(Arc::new(never)), "42", path).await;
        let code = if path.ends_with('3') { &answer["error"]["code"] } else { &answer["behind"]["code"] };
        assert!(code == "behind" || code == "catching_up", "{answer}");
        let comes = move || -> Settled {
            write(&mut *sink.lock().unwrap(), vec![booked(42, 3, 9)]);
            Box::pin(std::future::ready(None))
        };
        let (status, answer) = json_of(&routes(Arc::new(service(Box::new(comes)))), "42", path).await;
        assert_eq!((status, &answer["behind"]), (StatusCode::OK, &Value::Null), "{answer}");
        assert!(answer.to_string().contains("7-0-3-1-8-3"), "{answer}");
        std::fs::remove_file(folder.path().join("bookings.db")).unwrap();
    }
}

#[tokio::test]
async fn a_table_that_is_not_behind_says_nothing_of_it() {
    let folder = tempfile::tempdir().unwrap();
    let (routes, mut sink) = service(folder.path(), Duration::ZERO);
    write(&mut sink, vec![booked(42, 1, 5)]);
    for (token, path) in [
        ("42", "/v1/bookings"),
        ("42", "/v1/bookings/7-0-1-1-4-3"),
        ("key", "/v1/admin/events/7/sales"),
        ("key", "/v1/admin/events/7/sales.csv?behind=true"),
    ] {
        assert!(!ask(&routes, token, path).await.headers().contains_key("frontrow-behind"), "{path}");
        assert!(!get(&routes, token, path).await.1.contains("behind"), "{path}");
    }
}
