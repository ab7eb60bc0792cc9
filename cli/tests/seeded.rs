//! A standby that was away until the primary's log was trimmed: it catches up from snapshots while the primary sells on,
//! takes over with everything that was acknowledged, and the old primary, whose log was trimmed, comes back.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Dice, Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{Client, Code, Command, Http, HttpError, Reply, RequestId, RowRef, Seats, flags};
use frontrow_shard::ClaimSeats;
use std::cell::RefCell;
use std::path::Path;
use std::rc::Rc;

const CLIENTS: u64 = 8;
/// Requests of each that are under way.
const EACH: u64 = 16;
const EVENT: u32 = 1;

fn settings(acknowledge: &'static str) -> Vec<(&'static str, &'static str)> {
    common::replicated(
        acknowledge,
        &[
            ("FRONTROW_LOG__SEGMENT", "1MiB"),
            ("FRONTROW_LOG__SNAPSHOT_EVERY", "1MiB"),
            ("FRONTROW_REPLICATION__CHECK", "1s"),
        ],
    )
}

/// Requests and what they were told.
type Answers = Rc<RefCell<Vec<(u64, RequestId, Command, Reply)>>>;

/// Asks for seats until the server is gone. Most are taken by then: a refusal is a decision as well.
async fn ask(client: Client, user: u64, mut dice: Dice, answers: Answers) {
    loop {
        let row = RowRef::new(EVENT, dice.below(3) as u16, dice.below(8) as u16);
        let seats = Seats { mask: 1, first: dice.below(20) as u8 };
        let (id, command) = (client.next_id(), Command::ClaimSeats(ClaimSeats { row, seats }));
        let Ok(reply) = client.decide_as(id, command).await else { return };
        answers.borrow_mut().push((user, id, command, reply));
    }
}

async fn crowd(server: &Server, answers: &Answers, seed: u64) -> tokio::task::LocalSet {
    let tasks = tokio::task::LocalSet::new();
    for user in 1..=CLIENTS {
        let client = server.client(user).await;
        for n in 0..EACH {
            let dice = Dice::new(seed + user * EACH + n);
            tasks.spawn_local(ask(client.clone(), user, dice, Rc::clone(answers)));
        }
    }
    tasks
}

/// Everything acknowledged since the `from`th answer is there, by its request's id.
async fn verify(server: &Server, answers: &Answers, from: usize) {
    let mut clients = Vec::new();
    for user in 1..=CLIENTS {
        clients.push(server.client(user).await);
    }
    let last: Vec<_> = answers.borrow()[from..].iter().rev().take(3000).copied().collect();
    assert!(last.len() >= 1000, "{} answers", last.len());
    for (user, id, command, before) in last {
        let again = clients[user as usize - 1].decide_as(id, command).await.expect("an answer");
        let place = |reply: &Reply| {
            let answer = &reply.answer;
            (answer.code, answer.epoch, answer.lsn, answer.nonce, answer.expires_ms)
        };
        assert_eq!(place(&again), place(&before), "{command:?}");
        assert!(again.answer.flags & flags::REPEATED != 0, "{command:?} was done again");
    }
}

/// Looks until it is so; the test's own time ends it.
async fn until(wanted: impl AsyncFn() -> bool) {
    while !wanted().await {
        tokio::task::yield_now().await;
    }
}

async fn caught_up(http: &Http) {
    until(async || http.replication().await.expect("a status")["caught_up"] == true).await;
}

/// Whether the log of both cores was trimmed.
fn is_trimmed(data: &Path) -> bool {
    let mark = std::fs::read_to_string(data.join("data/TRIM")).unwrap_or_default();
    mark.contains("stream 0 ") && mark.contains("stream 1 ")
}

fn log_bytes(data: &Path) -> u64 {
    let files = std::fs::read_dir(data.join("data/log")).expect("a log");
    files.map(|file| file.and_then(|file| file.metadata()).map_or(0, |about| about.len())).sum()
}

/// A standby whose snapshots are gone, and no primary to be seen: it says so, and is not promoted.
async fn loses_its_snapshots(data: &Path) {
    for file in std::fs::read_dir(data.join("data/snap")).expect("snapshots") {
        std::fs::remove_file(file.expect("a file").path()).expect("removed");
    }
    let standby = Server::standby(data, "127.0.0.1:1", &settings("local"));
    let status = standby.http().node().await.expect("a status");
    assert!(status["applier"].as_str().is_some_and(|it| it.contains("no readable snapshot")), "{status}");
    let refused = standby.operator(data).operate("/v1/admin/promote?force=true").await.expect_err("no base");
    assert!(refused.to_string().contains("cannot be promoted"), "{refused}");
    standby.kill();
}

#[test]
fn a_standby_behind_a_trimmed_log_catches_up_from_snapshots_and_takes_over() {
    within(240, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let answers = Answers::default();
        let primary = Server::empty(a.path(), &settings("backup"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        let operator = primary.operator(a.path());
        caught_up(&operator).await;
        let query = EventQuery { name: Some("From snapshots".into()), ..EventQuery::default() };
        operator.create_stadium(&query, 4000, None).await.expect("an event");
        operator.open(EVENT).await.expect("on sale");

        // Away until the log behind it is gone.
        standby.kill();
        operator.operate("/v1/admin/replication/alone").await.expect("alone");
        let tasks = crowd(&primary, &answers, 1).await;
        tasks.run_until(until(async || is_trimmed(a.path()))).await;
        println!("{} answers until the log was trimmed", answers.borrow().len());

        // Back, while the primary sells on.
        let before = answers.borrow().len();
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        // Until it has caught up it shows nothing, and says why; then the seats.
        let shown = async || match standby.http().section(EVENT, 0).await {
            Ok(_) => true,
            // Its copy of the catalogue may come later than the seats.
            Err(HttpError::Refused { status: 404, .. }) => false,
            Err(HttpError::Refused { status, code, error, .. }) => {
                assert_eq!((status, code.as_str()), (503, "standby_not_ready"));
                assert!(error["reason"] == "seeding" || error["reason"] == "catching_up", "{error}");
                false
            }
            Err(error) => panic!("{error:?}"),
        };
        tasks.run_until(until(shown)).await;
        tasks.run_until(caught_up(&operator)).await;
        assert!(b.path().join("data/cut/seeded-0001/log").is_dir(), "what it had is kept aside");
        operator.operate("/v1/admin/replication/backup").await.expect("paired");
        // From here on both have it, but for what was on its way then: one request of each.
        let paired = answers.borrow().len() + (CLIENTS * EACH) as usize;
        // Its state is the primary's, it makes snapshots and trims its own log as well.
        let http = standby.http();
        let goes_on = async || {
            let status = http.node().await.expect("a status");
            assert_eq!(status["applier"], "ok");
            let mark = std::fs::read_to_string(b.path().join("data/TRIM")).unwrap_or_default();
            let enough = answers.borrow().len() >= paired + 1000;
            enough && status["states_compared"].as_u64() >= Some(4) && mark.contains("kept")
        };
        tasks.run_until(until(goes_on)).await;
        let during = answers.borrow().len() - before;
        assert!(during > 1000, "the primary sold on: {during}");
        let logs = (log_bytes(a.path()) >> 20, log_bytes(b.path()) >> 20);
        println!("{during} answers while it caught up and after; logs of {logs:?} MiB");

        // Its snapshots are lost: it is of no use before the primary has seeded it again.
        standby.kill();
        loses_its_snapshots(b.path()).await;
        let mut standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        let seeded = async || b.path().join("data/cut/seeded-0002/log").is_dir();
        tasks.run_until(until(seeded)).await;
        tasks.run_until(caught_up(&operator)).await;
        assert_eq!(standby.http().node().await.expect("a status")["applier"], "ok");

        primary.kill();
        tasks.await;
        standby.operator(b.path()).operate("/v1/admin/promote").await.expect("it obeys");
        standby.hear();
        verify(&standby, &answers, paired).await;

        // From its snapshots and its log alone, the same.
        standby.kill();
        let new = Server::empty(b.path(), &settings("local"));
        verify(&new, &answers, paired).await;
        // The old primary has trimmed its log, too: it follows all the same.
        let mut back = Server::standby(a.path(), &new.replication, &settings("local"));
        caught_up(&new.operator(b.path())).await;
        new.kill();
        back.operator(a.path()).operate("/v1/admin/promote").await.expect("it obeys");
        back.hear();
        verify(&back, &answers, paired).await;
        assert!(answers.borrow().iter().any(|(.., reply)| reply.answer.code == Code::Granted));
    });
}
