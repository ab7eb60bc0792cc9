//! A standby shows what its primary sells: seats over HTTP and to those who watch, each answer with its age and position;
//! it decides nothing, and whoever watched is sent away when it takes over.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_client::http::{EventQuery, SectionState};
use frontrow_client::{
    Client, ClientError, Code, Command, Endpoint, Http, HttpError, Options, Reply, RowRef, Seats, Update,
    WireCode,
};
use frontrow_shard::ClaimSeats;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command as Process, Stdio};

const EVENT: u32 = 1;
const PARTITIONS: u16 = 8;
const SECTION: u16 = 1;
const ROW: RowRef = RowRef::new(EVENT, SECTION, 2);

fn settings(acknowledge: &'static str) -> Vec<(&'static str, &'static str)> {
    common::replicated(acknowledge, &[])
}

async fn make_event(server: &Server, data: &Path) {
    let http = server.operator(data);
    while http.replication().await.expect("a status")["caught_up"] != true {
        tokio::task::yield_now().await;
    }
    let query = EventQuery { name: Some("Seen twice".into()), ..EventQuery::default() };
    let event = http.create_stadium(&query, 4000, None).await.expect("an event").event.event;
    assert_eq!(event, EVENT);
    http.open(event).await.expect("on sale");
}

/// Asks until there is an answer that will do; the test's own time ends it. What it says until then must be that it is
/// not ready, or does not have the event yet.
async fn section(http: &Http, wanted: impl Fn(&SectionState) -> bool) -> SectionState {
    loop {
        match http.section(EVENT, SECTION).await {
            Ok(state) if wanted(&state) => return state,
            Ok(_) => {}
            Err(HttpError::Refused { status: 503, code, .. }) => assert_eq!(code, "standby_not_ready"),
            Err(HttpError::Refused { status: 404, code, .. }) => assert_eq!(code, "unknown_event"),
            Err(error) => panic!("{error:?}"),
        }
        tokio::task::yield_now().await;
    }
}

fn letter(state: &SectionState, place: u8) -> char {
    char::from(state.rows[usize::from(ROW.row)].seats.as_bytes()[usize::from(place)])
}

async fn claim(client: &Client, place: u8) -> Result<Reply, ClientError> {
    let seats = Seats { mask: 1, first: place };
    client.request(Command::ClaimSeats(ClaimSeats { row: ROW, seats })).await
}

async fn onlooker(standby: &Server) -> Client {
    let token = standby.http().dev_token(3).await.expect("development mode gives tokens").token;
    let options = Options { standby: true, ..Options::default() };
    Client::connect_with(Endpoint::of_http(&standby.url), token, options).await.expect("it lets us look")
}

fn is_wire(error: &ClientError, wanted: WireCode) -> bool {
    matches!(error, ClientError::Wire { code, .. } if *code == wanted)
}

/// The primary has a claim: the standby's section and its watchers have it soon, and say how far they are.
async fn a_claim_is_seen(primary: &Server, standby: &Server, place: u8) {
    let http = standby.http();
    let client = onlooker(standby).await;
    assert!(client.is_at_standby());
    let mut watch = client.watch(ROW).await.expect("a section to watch");
    assert_eq!(watch.next().await, Ok(Update::Snapshot));
    let version = watch.view().rows[&ROW.row].version;
    let reply = claim(&primary.client(2).await, place).await.expect("it is free");

    section(&http, |state| letter(state, place) == 'h').await;
    let view = http.standby_view().expect("it says that it is a standby");
    let partition = ROW.partition(PARTITIONS);
    let lsn = view.position.iter().find(|(number, _)| *number == partition).expect("its partition").1;
    assert!(lsn >= reply.answer.lsn, "{lsn} of {}", reply.answer.lsn);
    assert_eq!(view.epoch, reply.answer.epoch);
    assert!(view.age_ms < 30_000, "{}", view.age_ms);

    let delta = loop {
        match watch.next().await.expect("it goes on") {
            Update::Row(delta) if delta.row == ROW => break delta,
            Update::Row(_) | Update::Snapshot => {}
            Update::Lost => panic!("nobody ended it"),
        }
    };
    assert_eq!(char::from(delta.state.letter(place.into())), 'h');
    assert_eq!(delta.state.version, version + 1);
    let pong = client.ping().await.expect("an answer").time_ms;
    assert!(pong > 0 && pong <= client.welcome().server_time_ms + 60_000, "{pong}");
    // And what was seen is what the primary says.
    let there = primary.http().section(EVENT, SECTION).await.expect("live seats");
    assert_eq!(http.section(EVENT, SECTION).await.expect("live seats"), there);
    assert_eq!(primary.http().standby_view(), None);
}

/// Everything that never changes is the same at both.
async fn the_catalogue_is_the_same(primary: &Http, standby: &Http) {
    // The word that the sale is open travels by itself.
    while standby.event(EVENT).await != primary.event(EVENT).await {
        tokio::task::yield_now().await;
    }
    assert_eq!(standby.events("seen").await, primary.events("seen").await);
    assert_eq!(standby.events("unseen").await, Ok(Vec::new()));
    assert_eq!(standby.map(EVENT).await, primary.map(EVENT).await);
    let one = standby.section_map(EVENT, SECTION).await;
    assert_eq!(one, primary.section_map(EVENT, SECTION).await);
    assert!(standby.standby_view().is_some());
}

/// Nothing is decided at a standby, and who does not ask for its view is not let in.
async fn nothing_is_decided_there(standby: &Server, data: &Path) {
    let client = onlooker(standby).await;
    let refused = claim(&client, 9).await.expect_err("it is a standby");
    assert!(is_wire(&refused, WireCode::NotPrimary), "{refused:?}");
    let refused = client.status_of(ROW).await.expect_err("it is a standby");
    assert!(is_wire(&refused, WireCode::NotPrimary), "{refused:?}");
    client.ping().await.expect("it goes on");
    let token = standby.http().dev_token(4).await.expect("a token").token;
    let endpoint = Endpoint::of_http(&standby.url);
    let refused = Client::connect_with(endpoint.clone(), token, Options::default()).await;
    let refused = refused.expect_err("it wants the primary");
    assert!(is_wire(&refused, WireCode::NotPrimary), "{refused:?}");
    let options = Options { standby: true, ..Options::default() };
    let refused = Client::connect_with(endpoint, "not.a.token", options).await.expect_err("no token");
    assert!(is_wire(&refused, WireCode::Unauthenticated), "{refused:?}");
    let refused = standby.operator(data).pause(EVENT).await.expect_err("it is a standby");
    let HttpError::Refused { status, code, .. } = refused else { panic!("{refused:?}") };
    assert_eq!((status, code.as_str()), (421, "standby"));
    // The seats of no section, of an event that there is and of one that there is not.
    let refused = client.watch(RowRef::new(EVENT, 999, 0)).await.expect_err("no such section");
    assert!(is_wire(&refused, WireCode::Malformed), "{refused:?}");
    for (event, section) in [(EVENT, 999), (77, 0)] {
        let refused = standby.http().section(event, section).await.expect_err("there is none");
        assert!(matches!(refused, HttpError::Refused { status: 404, .. }), "{refused:?}");
    }
}

fn command(standby: &Server, words: &[&str]) -> Process {
    let mut command = Process::new(env!("CARGO_BIN_EXE_frontrow"));
    command.args(["--server", &standby.url, "--place"]).args(words).stdout(Stdio::piped());
    command
}

/// The commands for looking say that it is a standby's view.
async fn the_commands_say_so(primary: &Server, standby: &Server, place: u8) {
    for words in [&["seats", "1"][..], &["seats", "1", "1"]] {
        let said = command(standby, words).output().expect("it runs");
        let text = String::from_utf8_lossy(&said.stdout).into_owned();
        assert!(said.status.success() && text.starts_with("A standby's view, at most "), "{text}");
    }
    let mut child = command(standby, &["watch", "1", "1", "--updates", "1"]).spawn().expect("it runs");
    let mut lines = BufReader::new(child.stdout.take().expect("piped")).lines();
    let first = lines.next().expect("it says something").expect("text");
    assert!(first.starts_with("A standby's view, at most "), "{first}");
    claim(&primary.client(2).await, place).await.expect("it is free");
    let last = lines.last().expect("it says more").expect("text");
    assert!(last.ends_with("held"), "{last}");
    assert!(child.wait().expect("it ends").success());
}

#[test]
fn a_standby_shows_what_its_primary_sells_and_serves_after_it() {
    within(200, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let primary = Server::empty(a.path(), &settings("backup"));
        let mut standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        make_event(&primary, a.path()).await;
        section(&standby.http(), |_| true).await;
        a_claim_is_seen(&primary, &standby, 0).await;
        the_catalogue_is_the_same(&primary.http(), &standby.http()).await;
        nothing_is_decided_there(&standby, b.path()).await;
        the_commands_say_so(&primary, &standby, 1).await;
        // With both addresses the primary's word is taken, whichever comes first; a standby's if there is no other.
        let both = Http::new(&format!("{},{}", standby.url, primary.url)).expect("addresses");
        both.section(EVENT, SECTION).await.expect("live seats");
        assert_eq!(both.standby_view(), None);

        let client = onlooker(&standby).await;
        let mut watch = client.watch(ROW).await.expect("a section to watch");
        assert_eq!(watch.next().await, Ok(Update::Snapshot));
        primary.kill();
        let state = both.section(EVENT, SECTION).await.expect("a standby's seats");
        assert_eq!((letter(&state, 0), letter(&state, 1), letter(&state, 2)), ('h', 'h', 'f'));
        let age = both.standby_view().expect("it is a standby's").age_ms;
        // Without a primary it grows older.
        let older = async || {
            both.event(EVENT).await.expect("it is read all the same");
            both.standby_view().expect("it is a standby's").age_ms
        };
        while older().await <= age + 100 {
            tokio::task::yield_now().await;
        }

        standby.operator(b.path()).operate("/v1/admin/promote").await.expect("it obeys");
        let told = loop {
            match watch.next().await {
                Ok(update) => assert_eq!(update, Update::Lost),
                Err(told) => break told,
            }
        };
        assert!(is_wire(&told, WireCode::ShuttingDown), "{told:?}");
        standby.hear();
        let client = standby.client(5).await;
        assert!(!client.is_at_standby());
        let refused = claim(&client, 0).await.expect_err("somebody holds it");
        assert!(matches!(&refused, ClientError::Refused(refused) if refused.code() == Code::SeatHeld));
        claim(&client, 2).await.expect("it is free");
        let http = standby.http();
        section(&http, |state| letter(state, 2) == 'h').await;
        assert_eq!(http.standby_view(), None);
    });
}

#[test]
fn a_standby_that_has_not_heard_its_primary_shows_nothing() {
    within(120, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let primary = Server::empty(a.path(), &settings("backup"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        make_event(&primary, a.path()).await;
        section(&standby.http(), |_| true).await;
        let address = primary.replication.clone();
        primary.kill();
        standby.kill();
        // It has all of it, and cannot say how old it is.
        let standby = Server::standby(b.path(), &address, &settings("local"));
        for _ in 0..3 {
            let refused = standby.http().events("").await.expect_err("it cannot know");
            let HttpError::Refused { status, code, error, retryable, .. } = refused else {
                panic!("{refused:?}")
            };
            assert_eq!((status, code.as_str(), retryable), (503, "standby_not_ready", true));
            assert_eq!(error["reason"], "catching_up");
        }
        let status = standby.http().node().await.expect("a status");
        assert_eq!(
            (&status["age_ms"], &status["unreadable"]),
            (&serde_json::Value::Null, &"catching_up".into())
        );
        let token = standby.http().dev_token(3).await.expect("a token").token;
        let options = Options { standby: true, ..Options::default() };
        let refused = Client::connect_with(Endpoint::of_http(&standby.url), token, options).await;
        assert!(refused.is_err(), "nobody watches what is not shown");
    });
}

/// Nobody has answered it since it was started: whom it calls, what that came to, and what it has, can be asked all the same.
#[test]
fn a_standby_without_a_primary_says_why_since_when_and_in_which_epoch() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("local", &[]);
        let primary = Server::empty(a.path(), &settings);
        let standby = Server::standby(b.path(), &primary.replication, &settings);
        primary.kill();
        standby.kill();
        // It takes connections, and says nothing.
        let mute = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = mute.local_addr().expect("an address").to_string();
        let standby = Server::standby(b.path(), &address, &settings);
        let status = || {
            let output = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow"))
                .args(["--server", &standby.url, "status"])
                .output()
                .expect("the binary is built with this test");
            String::from_utf8(output.stdout).expect("text")
        };
        let begins = "Standby in epoch 1, has no connection to its primary (for ";
        let calling = format!("calling {address}, which has not answered yet");
        loop {
            let said = status();
            assert!(said.starts_with(begins) && !said.contains("null"), "{said}");
            if said.contains(&calling) {
                break;
            }
        }
        drop(mute);
        loop {
            let said = status();
            assert!(said.starts_with(begins) && !said.contains("null"), "{said}");
            if said.contains(&format!("the primary at {address}: ")) {
                break;
            }
        }
    });
}

/// A primary that is stopped keeps its connection for ten seconds; one that is dead may be replaced.
#[test]
fn a_standby_says_that_its_primary_is_silent_and_that_it_could_be_promoted() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let primary = Server::empty(a.path(), &settings("local"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        make_event(&primary, a.path()).await;
        let ready = || {
            let mut socket =
                std::net::TcpStream::connect(standby.url.trim_start_matches("http://")).expect("it listens");
            write!(socket, "GET /readyz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("an answer");
            answer
        };
        let status = || {
            let said = Process::new(env!("CARGO_BIN_EXE_frontrow"))
                .args(["--server", &standby.url, "status"])
                .output();
            String::from_utf8(said.expect("it is built with this test").stdout).expect("text")
        };
        while !ready().starts_with("HTTP/1.1 200") {}
        while !status().contains("follows its primary and is caught up") {}
        primary.pause();
        while !status().contains("has not heard from its primary for ") {}
        let said = ready();
        assert!(said.starts_with("HTTP/1.1 503") && said.contains("\"reason\":\"primary_silent\""), "{said}");
        primary.wake();
        while !ready().starts_with("HTTP/1.1 200") {}
        // It may be called again meanwhile.
        let said = loop {
            let said = status();
            if said.contains("follows its primary and is caught up") {
                break said;
            }
        };
        assert!(!said.contains(" promote`"), "{said}");
        primary.kill();
        while !ready().contains("\"reason\":\"no_connection\"") {}
        // As soon as nobody answers where it was.
        let typed = format!(" --server {} promote`", standby.url);
        while !status().contains("could be promoted: `") {}
        assert!(status().contains(&typed), "{}", status());
    });
}
