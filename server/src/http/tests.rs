use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;

use axum::body::Body;
use frontrow_shard::{
    Answer, ArchiveStep, Code, EventId, EventSpec, EventState, ReadOut, RowRef, RowState, Seats,
};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::config::{Machine, Secret};
use crate::exposition::Families;
use crate::identity::{Expected, Identity};

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const ADMIN: &str = "an operator's key";
const NOW_MS: Millis = 1_000_000_000;
const NOW_S: u64 = NOW_MS / 1000;

/// Shard cores that remember what they were asked, and refuse if told to.
struct Cores {
    asked: Mutex<Vec<String>>,
    refuse: Mutex<Option<Code>>,
    ready: AtomicBool,
    adopted: Mutex<Sender<Adopted>>,
    /// A read that returns once the other end is let go of: it begins when their status is asked for.
    read: Mutex<Option<Receiver<()>>>,
}

impl Cores {
    fn verdict(&self, asked: String) -> Result<(), Code> {
        self.asked.lock().unwrap().push(asked);
        self.refuse.lock().unwrap().map_or(Ok(()), Err)
    }
}

impl Sales for Cores {
    fn create_event(&self, specs: Vec<EventSpec>) -> Soon<'_, Result<(), Code>> {
        let rows: usize = specs.iter().map(|spec| spec.rows.len()).sum();
        let asked = format!("create {} partitions {rows} rows hold {}", specs.len(), specs[0].rules.hold_ms);
        Box::pin(async move { self.verdict(asked) })
    }

    fn set_state(&self, event: EventId, state: EventState) -> Soon<'_, Result<(), Code>> {
        Box::pin(async move { self.verdict(format!("{event} {state:?}")) })
    }

    fn set_blocked(&self, row: RowRef, seats: Seats, blocked: bool) -> Soon<'_, Answer> {
        let places: Vec<u8> = seats.places().collect();
        let asked = format!("{}/{}/{} {places:?} {blocked}", row.event, row.section, row.row);
        Box::pin(async move {
            match self.verdict(asked) {
                Ok(()) => Answer { lsn: 9, epoch: 2, ..Answer::plain(Code::Done) },
                Err(code) => Answer::refuse(code, seats),
            }
        })
    }

    fn section_state(&self, _event: EventId, _section: u16) -> Soon<'_, Result<Vec<LiveRow>, Code>> {
        let state = RowState {
            seats: 66,
            free: [0b1, 0b10, 0, 0],
            booked: [0b10, 0, 0, 0],
            blocked: [0b1000, 0, 0, 0],
        };
        Box::pin(async move { self.verdict("section".into()).map(|()| vec![LiveRow { row: 0, state }]) })
    }

    fn archive(&self, event: EventId, step: ArchiveStep) -> Soon<'_, Result<(), Code>> {
        Box::pin(async move { self.verdict(format!("{event} {step:?}")) })
    }

    fn read_out(&self, event: EventId, whole: bool) -> Soon<'_, Result<Vec<ReadOut>, Code>> {
        Box::pin(async move { self.verdict(format!("read {event} {whole}")).map(|()| Vec::new()) })
    }

    fn forget(&self, _event: EventId) {}

    fn status(&self) -> Vec<CoreStatus> {
        if let Some(read) = self.read.lock().unwrap().take() {
            tokio::task::spawn_blocking(move || read.recv());
        }
        vec![CoreStatus {
            core: 0,
            ready: self.ready.load(Ordering::Relaxed),
            epoch: 1,
            decided: 3,
            durable: 2,
        }]
    }

    fn metrics(&self, families: &mut Families) {
        families.counter("frontrow_claims", "Claims.", [(Labels::new(), 7)]);
    }

    fn adopt_websocket(&self, socket: Adopted) {
        self.adopted.lock().unwrap().send(socket).unwrap();
    }
}

pub(super) struct House {
    cores: Arc<Cores>,
    pub(super) http: Arc<Http>,
    adopted: Receiver<Adopted>,
    _folder: tempfile::TempDir,
}

pub(super) fn house_with(change: impl FnOnce(&mut Http)) -> House {
    let folder = tempfile::tempdir().unwrap();
    let (sender, adopted) = channel();
    let cores = Arc::new(Cores {
        asked: Mutex::default(),
        refuse: Mutex::default(),
        ready: AtomicBool::new(true),
        adopted: Mutex::new(sender),
        read: Mutex::default(),
    });
    let env = [("FRONTROW_PARTITIONS__COUNT".to_owned(), "8".to_owned())];
    let machine = Machine { cpus: vec![0, 1], open_files: None, memory: None };
    let mut config = crate::config::read(None, env, &machine).into_result().unwrap();
    config.limits.body = 1 << 20;
    config.limits.handshake = Duration::from_secs(20);
    let keys = Keys {
        verifier: Verifier::hs256(SECRET, Expected::default()),
        minter: Some(Minter::new(SECRET, &Expected::default())),
        admin: AdminKey::new(Secret::new(ADMIN.into())),
        admin_key_file: None,
    };
    let catalogue = Arc::new(Catalogue::open(folder.path()).unwrap());
    let sales = Arc::<Cores>::clone(&cores);
    let mut http = Http::new(&config, keys, sales, catalogue, Connections::new(100, 2), || NOW_MS);
    change(&mut http);
    House { cores, http: Arc::new(http), adopted, _folder: folder }
}

fn house() -> House {
    house_with(|_| ())
}

struct Reply {
    status: u16,
    headers: axum::http::HeaderMap,
    body: Vec<u8>,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|_| panic!("no JSON: {}", String::from_utf8_lossy(&self.body)))
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

impl House {
    async fn ask(&self, line: &str, headers: &[(&str, &str)], body: impl Into<Body>) -> Reply {
        let (method, path) = line.split_once(' ').unwrap();
        let mut request = axum::http::Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).unwrap();
        let response = router(Arc::clone(&self.http)).oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        Reply { status: head.status.as_u16(), headers: head.headers, body }
    }

    async fn get(&self, path: &str) -> Reply {
        self.ask(&format!("GET {path}"), &[], "").await
    }

    async fn admin(&self, path: &str, body: impl Into<Body>) -> Reply {
        let key = format!("Bearer {ADMIN}");
        let headers = [("authorization", key.as_str()), ("content-type", "application/json")];
        self.ask(&format!("POST /v1/admin{path}"), &headers, body).await
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.cores.asked.lock().unwrap())
    }

    fn refuse(&self, code: Code) {
        *self.cores.refuse.lock().unwrap() = Some(code);
    }

    /// Serves on a free port, on a thread of its own.
    fn serve(&self) -> (SocketAddr, Stopper, JoinHandle<std::io::Result<()>>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (stopper, stop) = stopper();
        let http = Arc::clone(&self.http);
        (address, stopper, std::thread::spawn(move || serve(listener, http, stop)))
    }
}

#[tokio::test]
async fn every_route_is_in_the_document_and_the_other_way_round() {
    let document = house().get("/openapi.json").await.json();
    let mut documented = BTreeSet::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            documented.insert(format!("{method} {path}"));
        }
    }
    let mut routed = BTreeSet::new();
    for source in [include_str!("mod.rs"), include_str!("../../../bookings/src/api.rs")] {
        let source: String = source.split_whitespace().collect();
        routed.extend(source.split(".route(\"").skip(1).map(|rest| {
            let (path, handler) = rest.split_once("\",").unwrap();
            format!("{} {path}", handler.split('(').next().unwrap())
        }));
    }
    assert!(routed.len() >= 18, "{routed:?}");
    assert_eq!(documented, routed);
}

#[tokio::test]
async fn an_event_is_created_and_browsed() {
    let house = house();
    let made = house.admin("/events?name=Winter%20Gala&hold_ms=60000", frontrow_venue::SAMPLE_HALL).await;
    assert_eq!(made.status, 201, "{}", made.json());
    assert_eq!(made.header("location"), "/v1/events/1");
    assert_eq!((&made.json()["event"], &made.json()["report"]["seats"]), (&json!(1), &json!(1222)));
    assert_eq!(house.asked(), ["create 8 partitions 63 rows hold 60000"]);

    let key = format!("bearer {ADMIN}");
    let headers = [("authorization", key.as_str()), ("content-type", "text/csv")];
    let csv =
        house.ask("POST /v1/admin/events?name=Club", &headers, "section,row,seat\nFloor,A,1\nFloor,A,2\n");
    assert_eq!(csv.await.status, 201);
    let stadium = house.admin("/events", r#"{"stadium":{"seats":5000,"name":"Bowl"}}"#).await;
    assert_eq!((stadium.status, stadium.json()["name"].clone()), (201, json!("Bowl")));

    assert_eq!(house.admin("/events/1/open", "").await.json()["state"], "open");
    let names = |reply: Reply| -> Vec<Value> {
        reply.json()["events"].as_array().unwrap().iter().map(|event| event["name"].clone()).collect()
    };
    assert_eq!(names(house.get("/v1/events").await), ["Winter Gala", "Club", "Bowl"]);
    assert_eq!(names(house.get("/v1/events?q=gala").await), ["Winter Gala"]);
    assert_eq!(names(house.get("/v1/events?state=draft").await), ["Club", "Bowl"]);
    assert_eq!(house.get("/v1/events?state=sold").await.status, 400);
    assert_eq!(house.get("/v1/events?page=1").await.status, 400);

    let event = house.get("/v1/events/1").await.json();
    assert_eq!((&event["rules"]["hold_ms"], &event["rules"]["fairness"]), (&json!(60_000), &json!("fifo")));
    assert_eq!(event["section_list"].as_array().unwrap().len(), 6);
    for path in ["/v1/events/9", "/v1/events/9/map", "/v1/events/9/sections/0"] {
        let reply = house.get(path).await;
        assert_eq!((reply.status, reply.code()), (404, "unknown_event".into()), "{path}");
    }
    assert_eq!(house.get("/v1/events/x").await.status, 400);
    assert_eq!(house.get("/v1/events/1/sections/6").await.code(), "unknown_section");
    assert_eq!(house.get("/v1/nothing").await.code(), "not_found");
    assert_eq!(house.ask("DELETE /v1/events", &[], "").await.code(), "method_not_allowed");
}

#[tokio::test]
async fn maps_are_cached_and_live_seats_are_not() {
    let house = house();
    house.admin("/events", frontrow_venue::SAMPLE_HALL).await;
    let map = house.get("/v1/events/1/map").await;
    assert_eq!((map.status, map.header("content-type")), (200, "application/json"));
    let tag = map.header("etag").to_owned();
    assert!(map.header("cache-control").contains("max-age") && !tag.is_empty());
    for known in [tag.clone(), format!("\"x\", W/{tag}"), "*".to_owned()] {
        let again = house.ask("GET /v1/events/1/map", &[("if-none-match", &known)], "").await;
        assert_eq!((again.status, again.body.len(), again.header("etag")), (304, 0, &*tag), "{known}");
    }
    assert_eq!(house.ask("GET /v1/events/1/map", &[("if-none-match", "\"x\"")], "").await.status, 200);
    assert_eq!(house.get("/v1/events/1/map/2").await.json(), map.json()["sections"][2]);
    assert_eq!(house.get("/v1/events/1/map/6").await.status, 404);

    let live = house.get("/v1/events/1/sections/0").await;
    assert_eq!(live.header("cache-control"), "no-store");
    let row = &live.json()["rows"][0];
    let letters = format!("fbhx{}hf", "h".repeat(60));
    assert_eq!(row["seats"].as_str(), Some(&*letters));
    house.refuse(Code::Full);
    let refused = house.get("/v1/events/1/sections/0").await;
    assert_eq!((refused.status, refused.code()), (503, "full".into()));
    assert_eq!(refused.json()["error"]["retryable"], true);
}

#[tokio::test]
async fn a_map_that_is_not_as_it_was_written_is_refused_until_it_is() {
    let house = house();
    house.admin("/events", frontrow_venue::SAMPLE_HALL).await;
    let (good, section) = (house.get("/v1/events/1/map").await, house.get("/v1/events/1/map/2").await);
    // One that is not kept in memory.
    let catalogue = &house.http.catalogue;
    catalogue.set_state(1, EventState::Archived, NOW_S * 1000).unwrap();
    let file = catalogue.data().join("events/1.map.json");
    let bytes = std::fs::read(&file).unwrap();
    let mut other = bytes.clone();
    other[bytes.len() / 2] ^= 1;
    for harmed in [&bytes[..10], &other] {
        std::fs::write(&file, harmed).unwrap();
        for path in ["/v1/events/1/map", "/v1/events/1/map/2"] {
            let reply = house.get(path).await;
            assert_eq!((reply.status, reply.code()), (503, "map_damaged".into()), "{path}");
            let error = &reply.json()["error"];
            assert!(error["retryable"] == true && error["message"].as_str().unwrap().contains("1.map.json"));
        }
        std::fs::write(&file, &bytes).unwrap();
        assert_eq!(house.get("/v1/events/1/map").await.body, good.body);
        assert_eq!(house.get("/v1/events/1/map/2").await.body, section.body);
    }
}

#[tokio::test]
async fn operators_need_the_key() {
    let house = house();
    for key in ["", "Bearer", "Bearer x", "Basic an operator's key", &format!("Bearer {ADMIN}!")] {
        let reply =
            house.ask("POST /v1/admin/events", &[("authorization", key)], frontrow_venue::SAMPLE_HALL).await;
        assert_eq!((reply.status, reply.code()), (401, "not_an_operator".into()), "{key}");
        assert_eq!(reply.header("www-authenticate"), "Bearer");
    }
    assert_eq!(house.ask("POST /v1/admin/events/1/open", &[], "").await.status, 401);
    assert_eq!(house.asked(), [""; 0]);
}

#[tokio::test]
async fn plans_with_mistakes_are_refused_with_all_of_them() {
    let house = house();
    let csv = "section,row,seat\nA,1,\nA,,2\nA,2,1\nA,2,1\n";
    let reply = house.admin("/events", csv).await;
    assert_eq!((reply.status, reply.code()), (422, "bad_plan".into()));
    let errors = reply.json()["error"]["errors"].clone();
    let places: Vec<_> =
        errors.as_array().unwrap().iter().map(|error| error["place"].as_str().unwrap()).collect();
    assert!(places.len() >= 3 && places.iter().all(|place| place.starts_with("line ")), "{errors}");

    let table = [
        ("/events", "not a plan", 422),
        ("/events", r#"{"stadium":{"seats":0}}"#, 422),
        ("/events", r#"{"stadium":{"chairs":1}}"#, 400),
        ("/events?hold_ms=1", r#"{"stadium":{"seats":50}}"#, 400),
        ("/events?hold=5m", r#"{"stadium":{"seats":50}}"#, 400),
        ("/events?fairness=lottery", r#"{"stadium":{"seats":50}}"#, 400),
    ];
    for (path, body, status) in table {
        let reply = house.admin(path, body).await;
        assert_eq!(reply.status, status, "{path} {body}: {}", reply.json());
    }
    let large = house.admin("/events", vec![b' '; (1 << 20) + 1]).await;
    assert_eq!((large.status, large.code()), (413, "body".into()));
    assert_eq!(house.get("/v1/events").await.json(), json!({"events": []}));
    assert_eq!(house.asked(), [""; 0]);
}

#[tokio::test]
async fn an_event_that_no_record_can_hold_is_refused_before_the_log_meets_it() {
    let house = house_with(|http| http.record_bytes = 600);
    let reply = house.admin("/events", r#"{"stadium":{"seats":20000}}"#).await;
    assert_eq!((reply.status, reply.code()), (422, "bad_plan".into()));
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("log.segment"), "{}", reply.json());
    assert_eq!(house.get("/v1/events").await.json(), json!({"events": []}));
    assert_eq!(house.asked(), [""; 0]);
}

#[tokio::test]
async fn what_the_shards_refuse_is_not_on_sale() {
    let house = house();
    house.refuse(Code::Full);
    let reply = house.admin("/events", r#"{"stadium":{"seats":50}}"#).await;
    assert_eq!((reply.status, reply.code()), (503, "full".into()));
    assert_eq!(house.get("/v1/events").await.json(), json!({"events": []}));
    *house.cores.refuse.lock().unwrap() = None;
    assert_eq!(house.admin("/events", r#"{"stadium":{"seats":50}}"#).await.json()["event"], 2);
    house.refuse(Code::BadTransition);
    let reply = house.admin("/events/2/close", "").await;
    assert_eq!((reply.status, reply.code()), (409, "bad_transition".into()));
    assert_eq!(house.get("/v1/events/2").await.json()["state"], "draft");
}

#[tokio::test]
async fn seats_are_blocked_and_put_back() {
    let house = house();
    house.admin("/events", frontrow_venue::SAMPLE_HALL).await;
    house.asked();
    let reply = house.admin("/events/1/block", r#"{"section":1,"row":2,"seats":[3,4]}"#).await;
    assert_eq!((reply.status, reply.json()), (200, json!({"code": "done", "lsn": 9, "epoch": 2})));
    house.admin("/events/1/unblock", r#"{"section":1,"row":2,"seats":[3]}"#).await;
    assert_eq!(house.asked(), ["1/1/2 [3, 4] true", "1/1/2 [3] false"]);
    let table = [
        (r#"{"section":9,"row":0,"seats":[0]}"#, 404, "unknown_section"),
        (r#"{"section":0,"row":999,"seats":[0]}"#, 404, "unknown_row"),
        (r#"{"section":0,"row":0,"seats":[]}"#, 400, "bad_request"),
        (r#"{"section":0,"row":0,"seats":[1,1]}"#, 400, "bad_request"),
        (r#"{"section":0,"row":0,"seats":[0,64]}"#, 400, "bad_request"),
        (r#"{"section":0,"row":0,"seats":[300]}"#, 400, "bad_request"),
        (r#"{"section":0,"row":0}"#, 400, "bad_request"),
    ];
    for (body, status, code) in table {
        let reply = house.admin("/events/1/block", body).await;
        assert_eq!((reply.status, &*reply.code()), (status, code), "{body}");
    }
    assert_eq!(house.asked(), [""; 0]);
    house.refuse(Code::SeatHeld);
    let reply = house.admin("/events/1/block", r#"{"section":1,"row":2,"seats":[3,4]}"#).await;
    assert_eq!((reply.status, reply.code()), (409, "seat_held".into()));
    assert_eq!(reply.json()["error"]["seats"], json!([3, 4]));
}

#[tokio::test]
async fn tokens_are_given_out_in_development_only() {
    let house = house();
    let json = [("content-type", "application/json")];
    for (body, user) in
        [(r#"{"user":7}"#, 7), (r#"{"user":"18446744073709551615","lasts_s":86400}"#, u64::MAX)]
    {
        let reply = house.ask("POST /v1/dev/token", &json, body).await.json();
        let want = Identity { user, expires_s: NOW_S + 86_400 };
        assert_eq!(house.http.verifier.verify(reply["token"].as_str().unwrap(), NOW_S), Ok(want));
        assert_eq!(reply["expires_s"], want.expires_s);
    }
    for body in ["", "{}", r#"{"user":"seven"}"#, r#"{"user":-1}"#, r#"{"user":1,"admin":true}"#] {
        assert_eq!(house.ask("POST /v1/dev/token", &json, body).await.status, 400, "{body}");
    }
    let strict = house_with(|http| http.minter = None);
    let reply = strict.ask("POST /v1/dev/token", &json, r#"{"user":7}"#).await;
    assert_eq!((reply.status, reply.code()), (404, "not_in_development".into()));
}

/// What cannot be written into the table is booked all the same: nobody is told that it is not.
#[tokio::test]
async fn a_table_that_something_keeps_from_being_fed_is_said_to_be_behind() {
    let folder = tempfile::tempdir().unwrap();
    let (table, mut sink) = frontrow_bookings::Sqlite::open(&folder.path().join("bookings.db"), 1).unwrap();
    frontrow_cdc::Sink::begin(&mut sink, 1).unwrap();
    let progress = Arc::new(crate::feed::Progress::new("embedded", 1, 0));
    progress.complete();
    // All that anybody will ever ask for: there is no log here.
    progress.had(u64::MAX);
    let feed = Arc::clone(&progress);
    let house = house_with(|http| http.table = Some(Table { store: Arc::new(table), progress: feed }));
    let token = Minter::new(SECRET, &Expected::default()).mint(7, NOW_S, 60);
    let bearer = format!("Bearer {token}");
    let get = async |path: &str| house.ask(&format!("GET {path}"), &[("authorization", &bearer)], "").await;
    let reply = get("/v1/bookings").await;
    assert_eq!((reply.status, reply.json()), (200, json!({"bookings": []})));
    assert_eq!(get("/v1/bookings/7-0-1-1-4-3").await.status, 404);
    progress.trouble(Some("the disk is full".into()));
    let reply = get("/v1/bookings").await;
    assert_eq!((reply.status, reply.header("frontrow-behind")), (200, "waiting"));
    assert_eq!(reply.json()["behind"]["code"], "waiting");
    let reply = get("/v1/bookings/7-0-1-1-4-3").await;
    assert_eq!((reply.status, reply.code()), (503, "behind".to_owned()));
    progress.trouble(None);
    assert_eq!(get("/v1/bookings/7-0-1-1-4-3").await.status, 404);
}

#[tokio::test]
async fn orchestrators_and_monitoring_are_answered() {
    let house = house();
    assert!(String::from_utf8(house.get("/").await.body).unwrap().contains("/v1/ws"));
    assert_eq!(house.get("/healthz").await.status, 200);
    let ready = house.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["cores"][0]["durable"]), (200, &json!(2)));
    assert_eq!((&ready.json()["ready"], &ready.json()["reason"]), (&json!(true), &Value::Null));
    house.cores.ready.store(false, Ordering::Relaxed);
    let ready = house.get("/readyz").await;
    assert_eq!((ready.status, &ready.json()["reason"]), (503, &json!("recovering")));
    assert_eq!(house.get("/healthz").await.status, 200);
    let text = String::from_utf8(house.get("/metrics").await.body).unwrap();
    for line in [
        "frontrow_http_answers_total{status=\"503\"} 1",
        "frontrow_claims_total 7",
        "frontrow_connections_open 0",
        "frontrow_connections_limit ",
        "frontrow_connections_per_address_limit ",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert!(text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1, "{text}");
}

/// The example of RFC 6455, section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

fn handshake(path: &str, more: &str) -> String {
    format!(
        "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: WebSocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n{more}\r\n"
    )
}

/// Sends `request` and reads the head of the answer; the stream stays open.
fn talk(address: SocketAddr, request: &[u8]) -> (TcpStream, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.write_all(request).unwrap();
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
        head.push(byte[0]);
    }
    (stream, String::from_utf8(head).unwrap())
}

#[test]
fn websockets_are_handed_over_whole() {
    let house = house_with(|http| http.connections = Connections::new(100, 100));
    let (address, stopper, server) = house.serve();
    let token = Minter::new(SECRET, &Expected::default()).mint(7, NOW_S, 60);
    let known = Some(Identity { user: 7, expires_s: NOW_S + 60 });
    let table = [
        ("/v1/ws".to_owned(), String::new(), None),
        ("/v1/ws".to_owned(), format!("Authorization: Bearer {token}\r\n"), known),
        (format!("/v1/ws?token={token}"), String::new(), known),
    ];
    for (path, header, identity) in table {
        let mut request = handshake(&path, &header).into_bytes();
        request.extend(b"first frame");
        let (mut client, head) = talk(address, &request);
        assert!(head.starts_with("HTTP/1.1 101 ") && head.contains(ACCEPT), "{head}");
        let mut adopted = house.adopted.recv_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!(adopted.identity, identity);
        assert_eq!(adopted.peer, client.local_addr().unwrap());
        // The rest of what the client sent is either left over or still in the socket.
        adopted.socket.set_nonblocking(false).unwrap();
        let mut got = adopted.leftover.clone();
        got.resize(11, 0);
        adopted.socket.read_exact(&mut got[adopted.leftover.len()..]).unwrap();
        assert_eq!(got, b"first frame");
        adopted.socket.write_all(b"hello").unwrap();
        let mut hello = [0; 5];
        client.read_exact(&mut hello).unwrap();
        assert_eq!(&hello, b"hello");
        assert_eq!(house.http.connections.count(), 1);
        drop(adopted);
        assert_eq!(house.http.connections.count(), 0);
    }
    stopper.stop();
    server.join().unwrap().unwrap();
}

#[test]
fn bad_handshakes_are_told_why() {
    let house = house_with(|http| http.connections = Connections::new(100, 100));
    let (address, stopper, server) = house.serve();
    let good = handshake("/v1/ws", "");
    let expired = Minter::new(SECRET, &Expected::default()).mint(7, NOW_S - 100, 60);
    let table = [
        (good.replace("Upgrade: WebSocket\r\n", ""), "426"),
        (good.replace("Connection: keep-alive, Upgrade", "Connection: keep-alive"), "426"),
        (good.replace("Version: 13", "Version: 8"), "426"),
        (good.replace(KEY, "c2hvcnQ="), "400"),
        (good.replace(KEY, "???"), "400"),
        (good.replace("GET", "POST"), "405"),
        (handshake("/v1/ws?token=nonsense", ""), "401"),
        (handshake(&format!("/v1/ws?token={expired}"), ""), "401"),
        (handshake("/v1/ws", "Authorization: Basic abc\r\n"), "401"),
    ];
    for (request, status) in table {
        let (_client, head) = talk(address, request.as_bytes());
        assert!(head.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{head}");
    }
    assert!(house.adopted.try_recv().is_err());
    stopper.stop();
    server.join().unwrap().unwrap();
}

#[test]
fn an_address_has_only_so_many_connections() {
    let house = house();
    let (address, stopper, server) = house.serve();
    let open =
        |n: usize| -> Vec<_> { (0..n).map(|_| talk(address, handshake("/v1/ws", "").as_bytes())).collect() };
    let clients = open(2);
    assert!(clients.iter().all(|(_, head)| head.starts_with("HTTP/1.1 101 ")));
    let adopted: Vec<_> =
        (0..2).map(|_| house.adopted.recv_timeout(Duration::from_secs(20)).unwrap()).collect();
    let (mut third, head) = talk(address, handshake("/v1/ws", "").as_bytes());
    assert!(head.starts_with("HTTP/1.1 429 "), "{head}");
    let mut rest = String::new();
    third.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("too_many_connections"), "{rest}");
    let (_operator, head) = talk(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
    drop(adopted);
    let (_fourth, head) = talk(address, handshake("/v1/ws", "").as_bytes());
    assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
    stopper.stop();
    server.join().unwrap().unwrap();
}

#[test]
fn a_stopped_server_lets_idle_connections_go() {
    let house = house();
    let (address, stopper, server) = house.serve();
    let (mut idle, head) = talk(address, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stopper.stop();
    server.join().unwrap().unwrap();
    let mut rest = Vec::new();
    idle.read_to_end(&mut rest).unwrap();
    assert_eq!(rest, b"ok\n");
    assert!(TcpStream::connect(address).is_err());
}

#[test]
fn slow_heads_are_cut() {
    let house = house_with(|http| http.head_time = Duration::from_millis(30));
    let (address, stopper, server) = house.serve();
    let (_client, head) = talk(address, b"GET /healthz HTTP/1.1\r\nHost: ");
    assert!(!head.starts_with("HTTP/1.1 200 "), "{head}");
    stopper.stop();
    server.join().unwrap().unwrap();
    assert_eq!(house.http.connections.count(), 0);
}

/// A house whose events' files are read once `Sender` says what is wrong with them, or is let go of; and a clock.
fn house_that_reads() -> (House, Sender<&'static str>, Receiver<()>, Arc<AtomicU64>) {
    let (answer, answers) = channel();
    let (ask, asked) = channel();
    let now_ns = Arc::new(AtomicU64::new(1_000_000_000));
    let of = Arc::clone(&now_ns);
    let look = move || {
        let _ = ask.send(());
        answers.recv().ok().map(str::to_owned)
    };
    let keeper = Keeper::seeing(Arc::new(move || of.load(Ordering::Relaxed)), look);
    (house_with(|http| http.keeper = Arc::new(keeper)), answer, asked, now_ns)
}

#[tokio::test]
async fn whoever_asks_how_it_is_waits_for_no_file_and_is_told_that_it_cannot_be_read() {
    let (house, answer, asked, now_ns) = house_that_reads();
    let metrics = async || String::from_utf8(house.get("/metrics").await.body).unwrap();
    let status = async || house.get("/v1/status").await.json();
    let said = status().await;
    assert_eq!((&said["catalogue"], &said["catalogue_age_ms"]), (&json!("ok"), &Value::Null));
    asked.recv().unwrap();
    assert!(metrics().await.contains("frontrow_catalogue_ok 1"));
    now_ns.fetch_add(11_000_000_000, Ordering::Relaxed);
    let why = "reading data/events has not returned for 11 s: look at the disk";
    assert_eq!(status().await["catalogue"], why);
    assert!(metrics().await.contains("frontrow_catalogue_ok 0"));
    assert_eq!(house.get("/readyz").await.status, 200, "it sells from memory");
    answer.send("1.plan.json is missing").unwrap();
    // It was asked for meanwhile.
    asked.recv().unwrap();
    let said = status().await;
    assert_eq!(
        (&said["catalogue"], &said["catalogue_age_ms"]),
        (&json!("1.plan.json is missing"), &json!(11_000))
    );
    drop(answer);
    assert_eq!(house.http.keeper.look(), None);
    assert_eq!(status().await["catalogue"], "ok");
    assert!(metrics().await.contains("frontrow_catalogue_ok 1"));
}

#[test]
fn a_stopped_server_waits_for_no_read_that_does_not_return() {
    let (house, answer, asked, _) = house_that_reads();
    let (hold, read) = channel();
    *house.cores.read.lock().unwrap() = Some(read);
    let (address, stopper, server) = house.serve();
    asked.recv().unwrap();
    let (_stream, head) = talk(address, b"GET /readyz HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
    stopper.stop();
    let (tell, told) = channel();
    std::thread::spawn(move || tell.send(server.join().unwrap()));
    told.recv_timeout(Duration::from_secs(20)).expect("it has ended").unwrap();
    drop((hold, answer));
}
