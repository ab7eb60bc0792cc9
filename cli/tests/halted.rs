//! Two nodes, the first of which is halted: its kernel takes connections, and nobody answers. Whoever gave both addresses is served
//! by the other one.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{Claim, Client, Endpoint, Options, RowRef, Wish};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

const EVENT: u32 = 1;

/// The second node, where it is found again once it serves; and where it speaks raw TCP.
fn standby_at_a_port(data: &Path, primary: &Server) -> (Server, String) {
    let port = || frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
    let (http, tcp) = (format!("127.0.0.1:{}", port()), format!("127.0.0.1:{}", port()));
    let mut settings: Vec<(&str, &str)> = common::replicated("local", &[]);
    settings.extend([("FRONTROW_SERVER__HTTP", &*http), ("FRONTROW_SERVER__TCP", &*tcp)]);
    (Server::standby(data, &primary.replication, &settings), tcp)
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
fn who_gave_both_addresses_is_served_by_the_one_that_answers() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let first = Server::empty(a.path(), &common::replicated("local", &[]));
        let (mut second, second_tcp) = standby_at_a_port(b.path(), &first);
        let http = first.operator(a.path());
        let query = EventQuery { name: Some("Gala".into()), ..EventQuery::default() };
        http.create_stadium(&query, 400, None).await.expect("an event");
        http.open(EVENT).await.expect("on sale");
        let section = http.event(EVENT).await.expect("the event").section_list[0].name.clone();
        while http.replication().await.expect("a status")["caught_up"] != true {
            tokio::task::yield_now().await;
        }
        // A program that is connected when it happens.
        let token = first.http().dev_token(9).await.expect("a token").token;
        let options = Options { connect_timeout: Duration::from_secs(3), ..Options::default() }.retrying();
        let tcp = [first.tcp.clone(), second_tcp];
        let client =
            Client::connect_to(tcp.iter().cloned().map(Endpoint::Tcp).collect(), token, options).await;
        let client = client.expect("the first serves");

        first.pause();
        let both = format!("{},{}", first.url, second.url);
        let key = b.path().join("data");
        let operator = ["--server", &both, "--data", key.to_str().expect("text")];
        let said = answer(&[&operator[..], &["promote", "--force"]].concat());
        assert!(said.contains("It serves, in epoch 100000"), "{said}");
        second.hear();

        assert!(answer(&["--server", &both, "events"]).contains("Gala"));
        let event = EVENT.to_string();
        let said = answer(&["--server", &both, "--json", "claim", &event, &section, "--best", "1"]);
        let held: serde_json::Value = serde_json::from_str(&said).expect("one object");
        let by_tcp = ["--server", &both, "--tcp", &tcp.join(",")];
        let said = answer(&[&by_tcp[..], &["book", held["token"].as_str().expect("a token")]].concat());
        assert!(said.starts_with("Booked: "), "{said}");
        let place = RowRef::new(EVENT, 0, RowRef::SECTION);
        let claimed = client.claim_section(place, Wish::of(1)).await.expect("it went on to the second");
        assert!(matches!(claimed, Claim::Held(_)), "{claimed:?}");

        second.kill();
        let output = frontrow(&["--server", &both, "events"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{said}");
        let urls: Vec<&str> = both.split(',').collect();
        assert!(said.contains(&format!("{} takes connections and does not answer", urls[0])), "{said}");
        assert!(said.contains(&format!("{} cannot be reached", urls[1])), "{said}");
    });
}
