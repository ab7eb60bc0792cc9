//! A primary whose answers wait for a standby that does not follow: it says so to load balancers and operators, and to whoever
//! waits at a terminal, shows what is on sale all the same, and is ready again by itself. Who does not wait to the end hears what
//! may still become of the request, and how to find out. A server that takes connections and says nothing is called that, too.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{Claim, RowRef, Wish};
use rustix::process::Signal;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};

const EVENT: u32 = 1;

fn place() -> RowRef {
    RowRef::new(EVENT, 0, RowRef::SECTION)
}

/// The status and the body of what is there.
fn get(server: &Server, path: &str) -> (u16, String) {
    let address = server.url.strip_prefix("http://").expect("an address");
    let mut socket = TcpStream::connect(address).expect("it listens");
    write!(socket, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    socket.read_to_string(&mut answer).expect("an answer");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    (head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status"), body.to_owned())
}

/// Whether it is ready, and why not.
fn readiness(server: &Server) -> (u16, Value, Value) {
    let (status, body) = get(server, "/readyz");
    let body: Value = serde_json::from_str(&body).expect("JSON");
    (status, body["ready"].clone(), body["reason"].clone())
}

async fn until_ready(server: &Server) {
    while readiness(server).0 != 200 {
        tokio::task::yield_now().await;
    }
    assert_eq!(readiness(server), (200, true.into(), Value::Null));
}

async fn until_unacknowledged(server: &Server) {
    while readiness(server).0 != 503 {
        tokio::task::yield_now().await;
    }
    assert_eq!(readiness(server), (503, false.into(), "no_standby".into()));
}

/// Somebody at a terminal, and what is said there beside the answer.
struct Terminal {
    child: Child,
    aside: BufReader<Box<dyn Read>>,
}

impl Terminal {
    fn claims(server: &Server, section: &str, user: &str) -> Self {
        Self::claims_with(server, section, user, &[])
    }

    fn claims_with(server: &Server, section: &str, user: &str, more: &[&str]) -> Self {
        let event = EVENT.to_string();
        let words = ["--user", user, "claim", &event, section, "--best", "1"];
        Self::types(server, &[&words, more].concat())
    }

    fn types(server: &Server, words: &[&str]) -> Self {
        // Whoever runs the tests may not hear SIGHUP, and what it starts would not either.
        let mut frontrow = Command::new("env");
        frontrow.args(["--default-signal=HUP", env!("CARGO_BIN_EXE_frontrow"), "--server", &server.url]);
        Self::runs(frontrow.args(words))
    }

    fn runs(command: &mut Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the binary is built with this test");
        let aside: Box<dyn Read> = Box::new(child.stderr.take().expect("piped"));
        let aside = BufReader::new(aside);
        Self { child, aside }
    }

    /// The first line; what is said when it fails begins otherwise.
    fn hears_what_it_waits_for(&mut self) {
        let mut line = String::new();
        self.aside.read_line(&mut line).expect("text");
        assert!(
            line.starts_with("waiting: ") && line.contains("none follows it; `") && line.contains(" status`"),
            "{line}"
        );
    }

    /// The same of a server that says nothing.
    fn hears_that_nobody_answers(&mut self) {
        let mut line = String::new();
        self.aside.read_line(&mut line).expect("text");
        assert!(line.starts_with("waiting: http://"), "{line}");
        assert!(line.ends_with("takes connections and has not answered yet\n"), "{line}");
    }

    /// Waits until Ctrl-C is caught; whether SIGHUP is, too.
    fn catches_a_hangup(&self) -> bool {
        loop {
            let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id()));
            let status = status.expect("it runs");
            let mask = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).expect("a mask");
            let mask = u64::from_str_radix(mask.trim(), 16).expect("a number");
            let has = |signal: Signal| mask >> (signal.as_raw() - 1) & 1 == 1;
            if has(Signal::INT) {
                return has(Signal::HUP);
            }
            std::thread::yield_now();
        }
    }

    /// `INT` is Ctrl-C.
    fn hears(&self, signal: Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).expect("it runs");
    }

    /// Nobody sees any more what it says, and it is told so: how it ended.
    fn closed_and_hung_up(mut self) -> ExitStatus {
        drop(self.child.stdout.take());
        self.aside = BufReader::new(Box::new(std::io::empty()));
        self.hears(Signal::HUP);
        self.child.wait().expect("it ends")
    }

    /// How it ended, what it answered, and what else was said.
    fn ended(mut self) -> (ExitStatus, String, String) {
        let (mut answer, mut rest) = (String::new(), String::new());
        let mut stdout = self.child.stdout.take().expect("piped");
        stdout.read_to_string(&mut answer).expect("text");
        self.aside.read_to_string(&mut rest).expect("text");
        (self.child.wait().expect("it ends"), answer, rest)
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Puts an event on sale; the name of its first section.
async fn sell(server: &Server, data: &Path) -> String {
    let http = server.operator(data);
    let query = EventQuery { name: Some("Gala".into()), ..EventQuery::default() };
    assert_eq!(http.create_stadium(&query, 400, None).await.expect("an event").event.event, EVENT);
    http.open(EVENT).await.expect("on sale");
    http.event(EVENT).await.expect("the event").section_list[0].name.clone()
}

#[test]
fn a_primary_that_acknowledges_nothing_is_not_ready_and_says_why_to_all_who_wait() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("backup", &[("FRONTROW_REPLICATION__BUSY_AFTER", "10ms")]);
        let primary = Server::empty(a.path(), &settings);
        assert_eq!(readiness(&primary), (503, false.into(), "no_standby".into()));
        let node = primary.http().node().await.expect("a status");
        assert_eq!(
            (&node["ready"], &node["replication"]["unacknowledged"]),
            (&true.into(), &"no_standby".into())
        );

        let standby = Server::standby(b.path(), &primary.replication, &settings);
        until_ready(&primary).await;
        let section = sell(&primary, a.path()).await;
        standby.kill();
        until_unacknowledged(&primary).await;
        assert_eq!(primary.http().events("Gala").await.expect("what is on sale").len(), 1);
        primary.http().section(EVENT, 0).await.expect("live seats");
        assert_eq!(get(&primary, "/healthz").0, 200);

        // The first is decided and waits for the standby; who comes later is turned away, and asks again.
        let mut first = Terminal::claims(&primary, &section, "1");
        first.hears_what_it_waits_for();
        let mut second = Terminal::claims(&primary, &section, "2");
        second.hears_what_it_waits_for();
        first.hears(Signal::INT);
        let (status, answer, rest) = first.ended();
        assert_eq!((status.code(), &*answer), (Some(130), ""), "Ctrl-C ends it there and then");
        assert!(rest.contains("may still be carried out") && rest.contains("--request-id"), "{rest}");

        primary.operator(a.path()).operate("/v1/admin/replication/alone").await.expect("it answers");
        until_ready(&primary).await;
        let (status, answer, rest) = second.ended();
        assert!(status.success() && answer.starts_with("Held for you"), "{answer}{rest}");
        assert_eq!(rest, "", "it is said once");
    });
}

/// How many holds the cores have.
fn holds(server: &Server) -> u64 {
    let (_, metrics) = get(server, "/metrics");
    let of_cores = metrics.lines().filter(|line| line.starts_with("frontrow_holds{"));
    of_cores.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

/// How many seats nobody has, of all rows of the section.
async fn free(server: &Server) -> usize {
    let rows = server.http().section(EVENT, 0).await.expect("live seats").rows;
    rows.iter().map(|row| row.seats.bytes().filter(|&seat| seat == b'f').count()).sum()
}

/// A primary whose answers wait for a standby, and whose standby is dead; and the section that it sells.
async fn left_alone(a: &Path, b: &Path) -> (Server, String) {
    let settings = common::replicated("backup", &[]);
    let primary = Server::empty(a, &settings);
    let standby = Server::standby(b, &primary.replication, &settings);
    until_ready(&primary).await;
    let section = sell(&primary, a).await;
    standby.kill();
    until_unacknowledged(&primary).await;
    (primary, section)
}

/// The claim of one that was told to end is decided, and durable at the primary: as soon as a standby has it, the seat is held.
#[test]
fn who_is_interrupted_finds_out_with_the_requests_id_and_claims_once() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (primary, section) = left_alone(a.path(), b.path()).await;
        let all = free(&primary).await;

        let claims = |user: &str| Terminal::claims(&primary, &section, user);
        let (mut typed, mut hung_up, mut closed) = (claims("1"), claims("3"), claims("4"));
        typed.hears_what_it_waits_for();
        typed.hears(Signal::INT);
        let (status, answer, said) = typed.ended();
        assert_eq!((status.code(), &*answer), (Some(130), ""));
        let after = said.rsplit_once("--request-id ").expect("what to do").1;
        let typed_id = after.split(':').next().expect("an id").to_owned();

        // The connection to the terminal is gone, and then the terminal itself.
        hung_up.hears_what_it_waits_for();
        hung_up.hears(Signal::HUP);
        let (status, answer, said) = hung_up.ended();
        assert_eq!((status.code(), &*answer), (Some(129), ""));
        assert!(said.contains("--request-id "), "{said}");
        closed.hears_what_it_waits_for();
        assert_eq!(closed.closed_and_hung_up().code(), Some(129));

        // As `timeout` ends it, for a program; this one asks with an id of its own.
        let last = if typed_id.ends_with('7') { '8' } else { '7' };
        let own_id = format!("{}{last}", &typed_id[..31]);
        let mut other = Terminal::claims_with(&primary, &section, "2", &["--request-id", &own_id]);
        other.hears_what_it_waits_for();
        other.hears(Signal::TERM);
        assert_eq!(other.ended().0.code(), Some(143));

        let _standby = Server::standby(b.path(), &primary.replication, &common::replicated("backup", &[]));
        until_ready(&primary).await;
        let again = |user: &str, id: &str| {
            let more = ["--json", "--request-id", id];
            let (status, answer, rest) = Terminal::claims_with(&primary, &section, user, &more).ended();
            assert!(status.success(), "{answer}{rest}");
            serde_json::from_str::<Value>(&answer).expect("JSON")["token"].clone()
        };
        let token = again("1", &typed_id);
        assert!(
            token.is_string() && again("1", &typed_id) == token,
            "the same answer as often as it is asked"
        );
        assert!(again("2", &own_id) != token);
        assert_eq!(free(&primary).await, all - 4, "each has one");
    });
}

#[test]
fn a_program_hears_it_in_json() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let (primary, section) = left_alone(a.path(), b.path()).await;
        let mut asking = Terminal::claims_with(&primary, &section, "1", &["--json"]);
        while holds(&primary) == 0 {
            tokio::task::yield_now().await;
        }
        let mut line = String::new();
        asking.aside.read_line(&mut line).expect("text");
        let waiting = serde_json::from_str::<Value>(&line).expect("JSON")["waiting"].clone();
        assert!(
            waiting.as_str().is_some_and(|text| text.starts_with("the server answers only what a standby"))
        );
        asking.hears(Signal::INT);
        let (status, answer, rest) = asking.ended();
        assert_eq!((status.code(), &*rest), (Some(130), ""));
        let error = serde_json::from_str::<Value>(&answer).expect("JSON")["error"].clone();
        assert_eq!((&error["code"], &error["retryable"]), (&"interrupted".into(), &true.into()));
        assert_eq!(error["request_id"].as_str().map(str::len), Some(32), "{error}");
    });
}

/// Stopped, it still has its connections taken by the kernel.
#[test]
fn who_is_interrupted_before_anything_was_sent_hears_that() {
    within(180, async {
        let data = tempfile::tempdir().expect("a folder");
        let server = Server::empty(data.path(), &[("FRONTROW_LOG_OUTPUT__LEVEL", "warn")]);
        let section = sell(&server, data.path()).await;
        let token = server.client(2).await.claim_section(place(), Wish::of(1)).await.expect("a hold");
        let Claim::Held(held) = token else { panic!("{token:?}") };
        server.pause();

        let token = held.token();
        let by_tcp = ["--tcp", &server.tcp];
        let mut all = [
            Terminal::claims(&server, &section, "1"),
            Terminal::claims_with(&server, &section, "1", &by_tcp),
            Terminal::types(&server, &["--user", "2", "book", &token]),
            Terminal::types(&server, &["events"]),
        ];
        for one in &mut all {
            one.hears_that_nobody_answers();
        }
        for one in all {
            one.hears(Signal::INT);
            let (status, answer, rest) = one.ended();
            assert_eq!((status.code(), &*answer), (Some(130), ""));
            assert_eq!(
                rest,
                "frontrow: interrupted: nothing was sent that could change anything; simply run it again.\n"
            );
        }

        let program = Terminal::types(&server, &["--json", "--user", "2", "book", &token]);
        assert!(program.catches_a_hangup());
        program.hears(Signal::INT);
        // It may have begun to say what it waits for.
        let (status, answer, rest) = program.ended();
        assert!(
            status.code() == Some(130) && rest.lines().all(|line| line.starts_with("{\"waiting\":")),
            "{rest}"
        );
        let error = serde_json::from_str::<Value>(&answer).expect("JSON")["error"].clone();
        assert_eq!((&error["code"], &error["retryable"]), (&"interrupted".into(), &true.into()));
        assert_eq!(error["remedy"], "simply run it again");

        let mut nohup = Command::new("sh");
        nohup.args(["-c", "trap '' HUP; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_frontrow")]);
        let nohup = Terminal::runs(nohup.args(["--server", &server.url, "events"]));
        assert!(!nohup.catches_a_hangup(), "whoever waits under nohup goes on");
    });
}

#[test]
fn a_server_that_hangs_is_called_so() {
    within(180, async {
        let data = tempfile::tempdir().expect("a folder");
        let server = Server::empty(data.path(), &[("FRONTROW_LOG_OUTPUT__LEVEL", "warn")]);
        server.pause();
        let mut status = Terminal::types(&server, &["status"]);
        let key = data.path().join("data");
        let mut promote = Terminal::types(&server, &["--data", key.to_str().expect("text"), "promote"]);
        promote.hears_that_nobody_answers();
        promote.hears(Signal::INT);
        let (ended, answer, rest) = promote.ended();
        assert_eq!((ended.code(), &*answer), (Some(130), ""));
        assert!(
            rest.contains("may still be carried out")
                && rest.contains(&format!(" --server {} status`", server.url)),
            "{rest}"
        );

        status.hears_that_nobody_answers();
        let (ended, answer, rest) = status.ended();
        assert_eq!((ended.code(), &*answer), (Some(3), ""));
        assert!(rest.contains("takes connections and does not answer (nothing within 15s)"), "{rest}");
    });
}

/// What `frontrow status` says.
fn status(server: &Server) -> String {
    let output =
        Command::new(env!("CARGO_BIN_EXE_frontrow")).args(["--server", &server.url, "status"]).output();
    String::from_utf8(output.expect("the binary is built with this test").stdout).expect("text")
}

/// A standby that is stopped keeps its connection for ten seconds: it is not called caught up while answers wait for it.
#[test]
fn a_standby_that_is_silent_is_called_so() {
    within(180, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = common::replicated("backup", &[("FRONTROW_REPLICATION__BUSY_AFTER", "10ms")]);
        let primary = Server::empty(a.path(), &settings);
        let standby = Server::standby(b.path(), &primary.replication, &settings);
        until_ready(&primary).await;
        let section = sell(&primary, a.path()).await;
        assert!(status(&primary).contains("caught up"), "{}", status(&primary));
        standby.pause();
        let waiting = Terminal::claims(&primary, &section, "1");
        while readiness(&primary) != (503, false.into(), "standby_behind".into()) {
            tokio::task::yield_now().await;
        }
        let said = loop {
            let said = status(&primary);
            assert!(said.contains("NOTHING IS ACKNOWLEDGED NOW") && !said.contains("caught up"), "{said}");
            if said.contains("silent for ") {
                break said;
            }
        };
        assert!(said.contains("bytes behind"), "{said}");
        standby.wake();
        let (ended, answer, rest) = waiting.ended();
        assert!(ended.success() && answer.starts_with("Held for you"), "{answer}{rest}");
        until_ready(&primary).await;
        while !status(&primary).contains("caught up") {}
    });
}
