//! Two nodes, the first of which is halted: its kernel takes connections, and nobody answers. Whoever gave both addresses is served
//! by the other one.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{Claim, Client, Endpoint, Options, RowRef, Wish};
use frontrow_server::identity::{Expected, Minter};
use serde_json::Value;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const EVENT: u32 = 1;

/// Not in development mode: a token, and the operator's key, are good at both.
const SECRET: &str = "a secret of the test's own, longer than thirty-two bytes";
const KEY: &str = "an operator's key of the test's own, longer than thirty-two bytes";

/// Two nodes, the second of which has all that the first has.
struct Pair {
    first: Server,
    /// Where it is found again once it serves.
    second: Server,
    /// Raw TCP of both.
    tcp: [String; 2],
    /// The name of the section that is sold.
    section: String,
}

impl Pair {
    async fn start(a: &Path, b: &Path, more: &[(&'static str, &'static str)]) -> Self {
        let port = || frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
        let (http, tcp) = (format!("127.0.0.1:{}", port()), format!("127.0.0.1:{}", port()));
        let settings = common::replicated("local", more);
        let first = Server::empty(a, &settings);
        let mut fixed: Vec<(&str, &str)> = settings.clone();
        fixed.extend([("FRONTROW_SERVER__HTTP", &*http), ("FRONTROW_SERVER__TCP", &*tcp)]);
        let second = Server::standby(b, &first.replication, &fixed);
        let http = if more.is_empty() { first.operator(a) } else { first.http().with_admin_key(KEY) };
        let query = EventQuery { name: Some("Gala".into()), ..EventQuery::default() };
        http.create_stadium(&query, 400, None).await.expect("an event");
        http.open(EVENT).await.expect("on sale");
        let section = http.event(EVENT).await.expect("the event").section_list[0].name.clone();
        let has_all = |status: &Value| {
            let lags = status["lag_bytes"].as_array().is_some_and(|lags| lags.iter().all(|lag| *lag == 0));
            lags && status["caught_up"] == true
        };
        while !has_all(&http.replication().await.expect("a status")) {
            tokio::task::yield_now().await;
        }
        let tcp = [first.tcp.clone(), tcp];
        Self { first, second, tcp, section }
    }

    fn urls(&self) -> String {
        format!("{},{}", self.first.url, self.second.url)
    }
}

fn frontrow(words: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_frontrow"))
        .args(words)
        .output()
        .expect("the binary is built with this test")
}

/// What it answers, which is good.
fn answer(words: &[&str]) -> String {
    let output = frontrow(words);
    let (said, aside) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{words:?}: {said}{aside}");
    said.into_owned()
}

#[test]
fn commands_that_name_both_are_answered_by_the_one_that_serves() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let mut pair = Pair::start(a.path(), b.path(), &[]).await;
        pair.first.pause();
        let (both, key) = (pair.urls(), b.path().join("data"));
        let operator = ["--server", &both, "--data", key.to_str().expect("text")];
        let said = answer(&[&operator[..], &["promote", "--force"]].concat());
        assert!(said.contains("It serves, in epoch 100000"), "{said}");
        pair.second.hear();

        assert!(answer(&["--server", &both, "events"]).contains("Gala"));
        let event = EVENT.to_string();
        let said = answer(&["--server", &both, "--json", "claim", &event, &pair.section, "--best", "1"]);
        let held: Value = serde_json::from_str(&said).expect("one object");
        let by_tcp = ["--server", &both, "--tcp", &pair.tcp.join(",")];
        let said = answer(&[&by_tcp[..], &["book", held["token"].as_str().expect("a token")]].concat());
        assert!(said.starts_with("Booked: "), "{said}");

        pair.second.kill();
        let output = frontrow(&["--server", &both, "events"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        let (first, second) = both.split_once(',').expect("two");
        assert!(said.contains(&format!("{first} takes connections and does not answer")), "{said}");
        assert!(said.contains(&format!("{second} cannot be reached")), "{said}");
    });
}

#[test]
fn a_program_that_is_connected_goes_on_to_the_other_and_so_does_one_with_a_token_of_its_own() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let more = [("FRONTROW_IDENTITY__HS256_SECRET", SECRET), ("FRONTROW_ADMIN__KEY", KEY)];
        let mut pair = Pair::start(a.path(), b.path(), &more).await;
        let minter = Minter::new(SECRET.as_bytes(), &Expected::default());
        let token = minter.mint(9, frontrow_engine::Clock::wall_ms() / 1000 - 10, 86_400);
        let options = Options { connect_timeout: Duration::from_secs(3), ..Options::default() }.retrying();
        let endpoints = pair.tcp.iter().cloned().map(Endpoint::Tcp).collect();
        let client = Client::connect_to(endpoints, &*token, options).await.expect("the first serves");

        pair.first.pause();
        let operator = pair.second.http().with_admin_key(KEY);
        operator.operate("/v1/admin/promote?force=true").await.expect("it obeys");
        let place = RowRef::new(EVENT, 0, RowRef::SECTION);
        let claimed = client.claim_section(place, Wish::of(1)).await.expect("it went on to the second");
        assert!(matches!(claimed, Claim::Held(_)), "{claimed:?}");
        pair.second.hear();

        let (both, event) = (pair.urls(), EVENT.to_string());
        let words = ["--server", &both, "--token", &token, "claim", &event, &pair.section, "--best", "1"];
        assert!(answer(&words).starts_with("Held for you"));
    });
}
