//! Two real processes with the same log: the primary is killed under load, the standby takes over with everything that
//! was acknowledged, and the old primary comes back as the standby of the new one.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Dice, Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{Client, Code, Command, Held, Http, Proof, Reply, RequestId, RowRef, Seats, flags};
use frontrow_shard::{Adjacency, ClaimSeats, Join};
use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

const CLIENTS: u64 = 12;
const SEATS: u32 = 4000;
const EVENT: u32 = 1;

fn settings(acknowledge: &'static str) -> Vec<(&'static str, &'static str)> {
    common::replicated(
        acknowledge,
        &[("FRONTROW_REPLICATION__BUSY_AFTER", "300ms"), ("FRONTROW_REPLICATION__CHECK", "1s")],
    )
}

/// One acknowledged request.
#[derive(Clone)]
struct Answered {
    user: u64,
    id: RequestId,
    command: Command,
    reply: Reply,
}

/// What the crowd was told.
#[derive(Default)]
struct Truth {
    answered: Vec<Answered>,
    held: HashMap<u64, Vec<Held>>,
    booked: HashMap<u64, Vec<Held>>,
    goal: usize,
}

type Shared = Rc<RefCell<Truth>>;

async fn load(client: Client, user: u64, mut dice: Dice, truth: Shared, enough: Rc<tokio::sync::Notify>) {
    loop {
        let mine = truth.borrow().held.get(&user).and_then(|all| all.last().copied());
        let row = RowRef::new(EVENT, dice.below(3) as u16, dice.below(8) as u16);
        let command = match (dice.below(4), mine) {
            (0, Some(held)) => Command::Book(Proof { place: held.place, fence: held.fence }),
            (1, _) => {
                let (count, adjacency) = (8, Adjacency::Required);
                Command::Join(Join { place: row, count, adjacency, accessible: false })
            }
            _ => {
                Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 1, first: dice.below(20) as u8 } })
            }
        };
        let id = client.next_id();
        let Ok(reply) = client.decide_as(id, command).await else { return };
        let mut now = truth.borrow_mut();
        match reply.answer.code {
            Code::Booked => {
                let held = now.held.get_mut(&user).and_then(Vec::pop).expect("it was held");
                now.booked.entry(user).or_default().push(held);
            }
            Code::Granted => {
                let held = Held::of(user, &reply).expect("a grant has a fence");
                now.held.entry(user).or_default().push(held);
            }
            _ => {}
        }
        now.answered.push(Answered { user, id, command, reply });
        if now.answered.len() == now.goal {
            enough.notify_one();
        }
    }
}

/// Runs the crowd until so many more answers have come, then kills the server under it.
async fn sell_and_kill(server: Server, truth: &Shared, more: usize, seed: u64) {
    let enough = Rc::new(tokio::sync::Notify::new());
    {
        let mut now = truth.borrow_mut();
        now.goal = now.answered.len() + more;
    }
    let tasks = tokio::task::LocalSet::new();
    for user in 1..=CLIENTS {
        let client = server.client(user).await;
        tasks.spawn_local(load(client, user, Dice::new(seed + user), Rc::clone(truth), Rc::clone(&enough)));
    }
    tasks.run_until(enough.notified()).await;
    server.kill();
    // Answers that were on their way count, too: the tasks end when the connections do.
    tasks.await;
}

/// Everything acknowledged is there: seats, and every request's answer.
async fn verify(server: &Server, truth: &Shared) {
    let mut clients = HashMap::new();
    for user in 1..=CLIENTS {
        clients.insert(user, server.client(user).await);
    }
    let answered: Vec<Answered> = truth.borrow().answered.iter().rev().take(3000).cloned().collect();
    for before in &answered {
        let again = clients[&before.user].decide_as(before.id, before.command).await.expect("an answer");
        assert_eq!(again.answer.code, before.reply.answer.code, "{:?}", before.command);
        assert!(again.answer.flags & flags::REPEATED != 0, "{:?} was done again", before.command);
        let place = |reply: &Reply| {
            (reply.answer.epoch, reply.answer.lsn, reply.answer.nonce, reply.answer.expires_ms)
        };
        assert_eq!(place(&again), place(&before.reply), "{:?}", before.command);
    }
    let http = server.http();
    for section in 0..3 {
        let state = http.section(EVENT, section).await.expect("live seats");
        let now = truth.borrow();
        for (letter, holds) in [('h', &now.held), ('b', &now.booked)] {
            for held in holds.values().flatten().filter(|held| held.place.section == section) {
                for (row, seats) in held.rows() {
                    for seat in seats.places() {
                        let found = state.rows[usize::from(row)].seats.as_bytes()[usize::from(seat)];
                        // A booking that was not answered may have been carried out.
                        let unanswered = (letter, found) == ('h', b'b');
                        let found = if unanswered { letter } else { char::from(found) };
                        assert_eq!(found, letter, "section {section}, row {row}, seat {seat}");
                    }
                }
            }
        }
    }
}

/// Asks until the answer is the wanted one; the test's own time ends it.
async fn until(http: &Http, wanted: impl Fn(&serde_json::Value) -> bool) -> serde_json::Value {
    loop {
        let status = http.replication().await.expect("a status");
        if wanted(&status) {
            return status;
        }
        tokio::task::yield_now().await;
    }
}

async fn caught_up(server: &Server, data: &Path) {
    until(&server.operator(data), |status| status["caught_up"] == true).await;
}

async fn make_event(server: &Server, data: &Path) {
    let http = server.operator(data);
    let query = EventQuery { name: Some("Both have it".into()), ..EventQuery::default() };
    let event = http.create_stadium(&query, SEATS, None).await.expect("an event").event.event;
    assert_eq!(event, EVENT);
    http.open(event).await.expect("on sale");
}

/// Has a standby take over.
async fn promote(standby: &mut Server, data: &Path) {
    standby.operator(data).operate("/v1/admin/promote").await.expect("it obeys");
    standby.hear();
}

#[test]
fn a_standby_takes_over_with_everything_acknowledged_and_the_old_primary_comes_back() {
    within(200, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let truth = Shared::default();
        let primary = Server::empty(a.path(), &settings("backup"));
        let mut standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        caught_up(&primary, a.path()).await;
        make_event(&primary, a.path()).await;
        sell_and_kill(primary, &truth, 2500, 1).await;
        promote(&mut standby, b.path()).await;
        verify(&standby, &truth).await;
        println!("{} answers, all there after the promotion", truth.borrow().answered.len());

        // The old one is not served from by mistake in the new one's name: it follows, and has the same again.
        let new = standby;
        let mut back = Server::standby(a.path(), &new.replication, &settings("local"));
        caught_up(&new, b.path()).await;
        // With `local` the new primary acknowledges what the standby may not have: it is told to wait for it first.
        let before = truth.borrow().answered.len();
        {
            let client = new.client(1).await;
            let row = RowRef::new(EVENT, 2, 7);
            for seat in 0..20 {
                let command = Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 1, first: seat } });
                let id = client.next_id();
                let reply = client.decide_as(id, command).await.expect("an answer");
                if reply.answer.code == Code::Granted {
                    let held = Held::of(1, &reply).expect("a fence");
                    truth.borrow_mut().held.entry(1).or_default().push(held);
                }
                truth.borrow_mut().answered.push(Answered { user: 1, id, command, reply });
            }
        }
        assert!(truth.borrow().answered.len() > before);
        until(&new.operator(b.path()), |status| {
            status["lag_bytes"].as_array().is_some_and(|lags| lags.iter().all(|lag| *lag == 0))
        })
        .await;
        new.kill();
        promote(&mut back, a.path()).await;
        verify(&back, &truth).await;
    });
}

#[test]
fn without_its_standby_a_primary_waits_then_is_busy_and_goes_on_alone_only_when_told() {
    within(120, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let primary = Server::empty(a.path(), &settings("backup"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        caught_up(&primary, a.path()).await;
        make_event(&primary, a.path()).await;
        let client = primary.client(2).await;
        let claim = |seat: u8| {
            let row = RowRef::new(EVENT, 0, 0);
            Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 1, first: seat } })
        };
        let reply = client.decide(claim(0)).await.expect("an answer");
        assert_eq!(reply.answer.code, Code::Granted);
        standby.kill();
        // What is asked now waits: it is decided, and not acknowledged.
        let held_id = client.next_id();
        let tasks = tokio::task::LocalSet::new();
        let asked = {
            let client = client.clone();
            tasks.spawn_local(async move { client.decide_as(held_id, claim(1)).await })
        };
        let other = primary.client(3).await;
        let busy = tasks
            .run_until(async {
                loop {
                    match tokio::time::timeout(Duration::from_millis(200), other.decide(claim(2))).await {
                        Ok(Err(error)) => break error,
                        Ok(Ok(reply)) => panic!("answered without the standby: {reply:?}"),
                        Err(_) => {}
                    }
                }
            })
            .await;
        assert!(format!("{busy:?}").contains("Busy"), "{busy:?}");
        assert!(busy.to_string().contains("wait for a standby, and none follows"), "{busy}");
        assert!(!asked.is_finished(), "nothing is acknowledged without the standby");
        // The standby comes back: what waited is answered.
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        let reply = tasks.run_until(asked).await.expect("it ends").expect("an answer");
        assert_eq!(reply.answer.code, Code::Granted);
        caught_up(&primary, a.path()).await;
        standby.kill();
        // An operator's word, which holds across a restart.
        let status = primary.operator(a.path()).operate("/v1/admin/replication/alone").await.expect("alone");
        assert_eq!(
            (status["policy"].as_str(), status["acknowledge"].as_str()),
            (Some("backup"), Some("local"))
        );
        let reply = other.decide(claim(3)).await.expect("an answer");
        assert_eq!(reply.answer.code, Code::Granted);
        primary.kill();
        let primary = Server::empty(a.path(), &settings("backup"));
        let client = primary.client(3).await;
        assert_eq!(client.decide(claim(4)).await.expect("an answer").answer.code, Code::Granted);
        let status =
            primary.operator(a.path()).operate("/v1/admin/replication/backup").await.expect("paired");
        assert_eq!(status["acknowledge"], "backup");
    });
}

#[test]
fn a_promotion_is_over_when_the_command_is_and_an_end_during_it_is_an_end() {
    within(120, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let settings = settings("local");
        let primary = Server::empty(a.path(), &settings);
        // The command asks where it has asked before.
        let port = frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
        let at = format!("127.0.0.1:{port}");
        let mut fixed = settings.clone();
        fixed.push(("FRONTROW_SERVER__HTTP", &at));
        let mut standby = Server::standby(b.path(), &primary.replication, &fixed);
        make_event(&primary, a.path()).await;
        caught_up(&primary, a.path()).await;
        primary.kill();
        let key = std::fs::read_to_string(b.path().join("data/dev-admin.key")).expect("the operator's key");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow"))
            .args(["promote", "--server", &standby.url, "--admin-key", key.trim()])
            .output()
            .expect("the binary is built with this test");
        // The next question finds the primary: nobody has to ask again.
        let node = standby.http().node().await.expect("it serves");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let said = said + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.contains("It serves, in epoch 100000"), "{said}");
        assert_eq!((node["role"].as_str(), node["ready"].as_bool()), (Some("primary"), Some(true)));
        assert!(said.contains("Keep the old primary from serving"), "{said}");
        standby.hear();
        // One that is told to end while it takes over ends.
        let c = tempfile::tempdir().expect("a folder");
        let mut next = Server::standby(c.path(), &standby.replication, &settings);
        caught_up(&standby, b.path()).await;
        standby.kill();
        next.operator(c.path()).operate("/v1/admin/promote").await.expect("it obeys");
        next.terminate();
        let (code, _) = tokio::task::spawn_blocking(move || next.ended()).await.expect("no panic");
        assert_eq!(code, Some(0));
    });
}

fn folder(path: &Path) -> String {
    path.join("data").display().to_string()
}

/// What a command that is refused says.
fn command(words: &[&str]) -> String {
    let output =
        std::process::Command::new(env!("CARGO_BIN_EXE_frontrow")).args(words).output().expect("built");
    assert!(!output.status.success(), "{words:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// It was promoted in the past, or copied, or is the wrong one of two: what it has is not what was sold since.
#[test]
fn a_standby_that_does_not_follow_is_not_promoted_beside_a_primary_that_lives() {
    within(120, async {
        let [a, b, c] = [(); 3].map(|()| tempfile::tempdir().expect("a folder"));
        let port = frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
        let at = format!("127.0.0.1:{port}");
        let fixed = [settings("local"), vec![("FRONTROW_REPLICATION__LISTEN", &*at)]].concat();
        let primary = Server::empty(a.path(), &fixed);
        make_event(&primary, a.path()).await;
        let past = Server::standby(c.path(), &primary.replication, &settings("local"));
        caught_up(&primary, a.path()).await;
        past.kill();
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        caught_up(&primary, a.path()).await;
        let past = Server::standby(c.path(), &primary.replication, &settings("local"));
        let status = async || past.http().node().await.expect("it answers");
        while !status().await["trouble"].as_str().is_some_and(|why| why.contains("another standby")) {
            tokio::task::yield_now().await;
        }
        assert_eq!(status().await["could_be_promoted"], false);
        let promote = async || {
            let refused = past.operator(c.path()).operate("/v1/admin/promote").await;
            refused.expect_err("it is refused").to_string()
        };
        let why = promote().await;
        assert!(why.contains("the primary may live") && why.contains("is primary in epoch 1)"), "{why}");
        primary.pause();
        let why = promote().await;
        assert!(why.contains("may be halted") && why.contains("--force"), "{why}");
        assert_eq!(status().await["could_be_promoted"], false);
        // It is dead, and the other one has what was sold since.
        primary.kill();
        let why = loop {
            let why = promote().await;
            if !why.contains("may live") {
                break why;
            }
        };
        assert!(why.contains("Promote that other standby"), "{why}");
        past.kill();
        past_is_not_promoted_after_a_restart(&at, c.path()).await;
        let primary = Server::empty(a.path(), &fixed);
        // Now it is let in, and once it has all that there is it is as good as any.
        standby.kill();
        let past = Server::standby(c.path(), &primary.replication, &settings("local"));
        while !past.http().node().await.expect("it answers")["behind"].is_null() {
            tokio::task::yield_now().await;
        }
        assert!(!c.path().join("data/BEHIND").exists());
        past.kill();
        primary.pause();
        let offline = ["promote", "--offline", "--data", &folder(c.path())];
        let why = command(&offline);
        assert!(why.contains("may be halted") && why.contains("FOLLOWED"), "{why}");
        // Who cannot be asked may live.
        std::fs::write(c.path().join("data/FOLLOWED"), "x").expect("written");
        let why = command(&offline);
        assert!(why.contains("it is damaged") && why.contains("--force"), "{why}");
        primary.wake();
        assert_eq!(primary.http().node().await.expect("it serves")["epoch"], 2);
    });
}

/// It knows what it lacks when it is started again, and while it is not running.
async fn past_is_not_promoted_after_a_restart(primary: &str, data: &Path) {
    let past = Server::standby(data, primary, &settings("local"));
    let refused = past.operator(data).operate("/v1/admin/promote").await;
    let why = refused.expect_err("it is refused").to_string();
    assert!(why.contains("Promote that other standby"), "{why}");
    let node = past.http().node().await.expect("it answers");
    assert_eq!(
        (node["could_be_promoted"].as_bool(), node["behind"]["reason"].as_str()),
        (Some(false), Some("another_standby"))
    );
    past.kill();
    let why = command(&["promote", "--offline", "--data", &folder(data)]);
    assert!(why.contains("Promote that other standby") && why.contains("--force"), "{why}");
}

/// One that has just been primary follows nobody yet; one that follows has not had all.
#[test]
fn who_was_primary_and_who_has_not_caught_up_is_not_promoted_unforced() {
    within(120, async {
        let [a, b] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let primary = Server::empty(a.path(), &settings("local"));
        make_event(&primary, a.path()).await;
        let at = primary.replication.clone();
        primary.kill();
        // Whoever it is told to follow now may have sold since.
        let old = Server::standby(a.path(), &at, &settings("local"));
        let promote = async |node: &Server, data: &Path| {
            let refused = node.operator(data).operate("/v1/admin/promote").await;
            refused.expect_err("it is refused").to_string()
        };
        let why = promote(&old, a.path()).await;
        assert!(why.contains("it was primary itself") && why.contains("`frontrow serve`"), "{why}");
        old.kill();
        // One that was ended while it took in what was there.
        let primary = Server::empty(a.path(), &settings("local"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        while !standby.http().node().await.expect("it answers")["behind"].is_null() {
            tokio::task::yield_now().await;
        }
        standby.kill();
        let [begun, of] = [b.path().join("data/BEHIND"), a.path().join("data/BEHIND")];
        assert!(!begun.exists() && !of.exists());
        std::fs::write(&begun, "frontrow-behind 1\nwhy never_caught_up\ncrc32c 00000000\n").expect("written");
        let why = command(&["promote", "--offline", "--data", &folder(b.path())]);
        assert!(why.contains("BEHIND cannot be read (it is damaged)"), "{why}");
        let text = frontrow_wal::sealed("frontrow-behind 1\nwhy never_caught_up\n");
        std::fs::write(&begun, text).expect("written");
        primary.kill();
        let standby = Server::standby(b.path(), &at, &settings("local"));
        let why = promote(&standby, b.path()).await;
        assert!(why.contains("had more than came from it"), "{why}");
    });
}

/// Somebody has mistyped where the primary is, and nobody listens there; it is asked, and told, where it was followed.
#[test]
fn a_standby_with_a_wrong_address_neither_takes_over_unforced_nor_forgets_whom_it_followed() {
    within(120, async {
        let [a, b] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let mut primary = Server::overheard(a.path(), &settings("local"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        make_event(&primary, a.path()).await;
        caught_up(&primary, a.path()).await;
        standby.kill();
        let nobody = frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
        let nobody = format!("127.0.0.1:{nobody}");
        let mut standby = Server::standby(b.path(), &nobody, &settings("local"));
        let operator = standby.operator(b.path());
        let why = operator.operate("/v1/admin/promote").await.expect_err("it is refused").to_string();
        let address = &primary.replication;
        assert!(why.contains("the primary may live") && why.contains(address.as_str()), "{why}");
        operator.operate("/v1/admin/promote?force=true").await.expect("it obeys");
        standby.hear();
        let all = standby.http().node().await.expect("it serves")["predecessors"].clone();
        assert_eq!(
            (all[0]["address"].as_str(), all[1]["address"].as_str()),
            (Some(&*nobody), Some(&**address))
        );
        let (code, words) = tokio::task::spawn_blocking(move || primary.ended()).await.expect("no panic");
        assert!(code == Some(76) && words.contains("has opened epoch 100000"), "{code:?} {words}");
    });
}

/// Both were told to: the epochs have one number, and the nodes each other's address.
#[test]
fn of_two_nodes_that_opened_the_same_epoch_one_ends() {
    within(120, async {
        let [a, b] = [(); 2].map(|()| tempfile::tempdir().expect("a folder"));
        let port = || frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
        let [at_a, at_b] = [(); 2].map(|()| format!("127.0.0.1:{}", port()));
        let listening = |at| [settings("local"), vec![("FRONTROW_REPLICATION__LISTEN", at)]].concat();
        let primary = Server::empty(a.path(), &listening(&at_a));
        let standby = Server::standby(b.path(), &at_a, &listening(&at_b));
        caught_up(&primary, a.path()).await;
        primary.kill();
        standby.kill();
        let mut both = [
            Server::standby(a.path(), &at_b, &listening(&at_a)),
            Server::standby(b.path(), &at_a, &listening(&at_b)),
        ];
        let operators = [both[0].operator(a.path()), both[1].operator(b.path())];
        let told = operators.each_ref().map(|it| it.operate("/v1/admin/promote?force=true"));
        let [of_a, of_b] = told;
        let (of_a, of_b) = tokio::join!(of_a, of_b);
        of_a.and(of_b).expect("both obey");
        let ended = loop {
            if let Some(found) = both.iter_mut().position(|node| node.has_ended().is_some()) {
                break found;
            }
            tokio::task::yield_now().await;
        };
        assert_eq!(both[ended].has_ended(), Some(76));
        let other = &mut both[1 - ended];
        other.hear();
        let node = other.http().node().await.expect("it serves");
        // One that had begun to follow the other in between goes on from there, in the next one.
        let epoch = node["epoch"].as_u64().unwrap_or(0);
        assert!(node["role"] == "primary" && [100_000, 200_000].contains(&epoch), "{node}");
        assert_eq!(other.has_ended(), None);
    });
}

/// Halted, not dead: an operator could not end it, and it wakes as what it was.
#[test]
fn an_old_primary_that_wakes_or_is_started_again_is_told_and_stops() {
    within(120, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let port = frontrow_engine::free_port(std::net::Ipv4Addr::LOCALHOST.into()).expect("a port");
        let at = format!("127.0.0.1:{port}");
        let mut fixed = settings("local");
        fixed.push(("FRONTROW_REPLICATION__LISTEN", &at));
        let old = Server::overheard(a.path(), &fixed);
        let mut standby = Server::standby(b.path(), &old.replication, &settings("local"));
        make_event(&old, a.path()).await;
        caught_up(&old, a.path()).await;
        old.pause();
        let history = a.path().join("data/HISTORY");
        let as_primary = std::fs::read(&history).expect("a history");
        standby.operator(b.path()).operate("/v1/admin/promote?force=true").await.expect("it obeys");
        standby.hear();
        let known = async || standby.http().node().await.expect("it serves")["predecessors"][0].clone();
        let first = known().await;
        assert_eq!((first["address"].as_str(), &first["told_ms"]), (Some(&*at), &serde_json::Value::Null));
        old.wake();
        let ended = |mut old: Server| tokio::task::spawn_blocking(move || old.ended());
        let (code, words) = ended(old).await.expect("no panic");
        assert!(code == Some(76) && words.contains("has opened epoch 100000"), "{code:?} {words}");
        while !known().await["told_ms"].is_u64() {
            tokio::task::yield_now().await;
        }
        // By mistake, as a primary: it knows by now that it is none.
        let refused = command(&["serve", "--data", &folder(a.path())]);
        assert!(refused.contains("standby"), "{refused}");
        let refused = command(&["promote", "--offline", "--data", &folder(a.path())]);
        assert!(refused.contains("another node was primary in epoch 100000"), "{refused}");
        // One that does not know it serves until it is told, by a successor that was itself started again meanwhile.
        std::fs::write(&history, as_primary).expect("written");
        standby.kill();
        let standby = Server::empty(b.path(), &settings("local"));
        let again = Server::overheard(a.path(), &fixed);
        let (code, words) = ended(again).await.expect("no panic");
        assert!(code == Some(76) && words.contains("`frontrow backup"), "{code:?} {words}");
        // Once it follows, there is nobody left to be told.
        let _back = Server::standby(a.path(), &standby.replication, &fixed);
        while !standby.http().node().await.expect("it serves")["predecessors"][0].is_null() {
            tokio::task::yield_now().await;
        }
    });
}

#[test]
fn strangers_at_the_port_are_refused() {
    within(120, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let primary = Server::empty(a.path(), &settings("local"));
        for garbage in [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0; 4096], &[0xff; 4096]] {
            let mut socket = std::net::TcpStream::connect(&primary.replication).expect("it listens");
            socket.write_all(garbage).expect("it takes it");
            let mut answer = Vec::new();
            // Closed, with or without a reset; nothing of the log comes back.
            let _ = socket.read_to_end(&mut answer);
            assert!(answer.len() < 64, "{answer:?}");
        }
        // A node of another cluster does not follow, and says why.
        drop(Server::empty(b.path(), &settings("local")));
        let other = Server::standby(b.path(), &primary.replication, &settings("local"));
        let is_refused = async || {
            let status = other.http().node().await.expect("a status");
            // Before the answer it says whom it calls.
            status["trouble"].as_str().is_some_and(|trouble| trouble.contains("cluster"))
        };
        while !is_refused().await {
            tokio::task::yield_now().await;
        }
        make_event(&primary, a.path()).await;
    });
}

/// Waits until a node has noted that both had `stream` of `epoch`.
async fn noted(data: &Path, epoch: u32, stream: u16) {
    let line = format!("epoch {epoch} stream {stream} position ");
    while !std::fs::read_to_string(data.join("data/AGREED")).unwrap_or_default().contains(&line) {
        tokio::task::yield_now().await;
    }
}

/// The files of an epoch are gone from a log.
fn lose(data: &Path, epoch: u32) {
    let of = format!("-e{epoch:08}-");
    let files = std::fs::read_dir(data.join("data/log")).expect("a log");
    let files = files.map(|file| file.expect("a file").path());
    let gone: Vec<_> = files.filter(|file| file.to_string_lossy().contains(&of)).collect();
    assert!(!gone.is_empty());
    for file in gone {
        std::fs::remove_file(file).expect("removed");
    }
}

fn wal(data: &Path, words: &[&str]) -> (bool, String) {
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow"));
    let output =
        command.arg("wal").args(words).arg("--data").arg(data.join("data")).output().expect("it runs");
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout) + &text(&output.stderr))
}

#[test]
fn a_primary_that_lost_what_both_had_is_not_served_and_its_standby_cuts_nothing() {
    within(200, async {
        let (a, b) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let truth = Shared::default();
        let primary = Server::empty(a.path(), &settings("backup"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        caught_up(&primary, a.path()).await;
        make_event(&primary, a.path()).await;
        // What is lost is the second epoch: without the event a start would wait for it.
        primary.kill();
        standby.kill();
        let primary = Server::empty(a.path(), &settings("backup"));
        let standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        caught_up(&primary, a.path()).await;
        sell_and_kill(primary, &truth, 500, 7).await;
        // Its connections are gone, so the standby has noted what both had; the primary was killed too early.
        noted(b.path(), 2, 0).await;
        noted(b.path(), 2, 1).await;
        standby.kill();
        std::fs::copy(b.path().join("data/AGREED"), a.path().join("data/AGREED")).expect("a file");
        lose(a.path(), 2);
        let (good, said) = wal(a.path(), &["verify"]);
        assert!(!good && said.contains("lacks acknowledged records"), "{said}");
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow"))
            .args(["serve", "--no-demo"])
            .env("FRONTROW_SERVER__DATA", a.path().join("data"))
            .envs(settings("backup"))
            .output()
            .expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && said.contains("wal repair"), "{said}");

        // Without a note of its own it does not know; its standby does, and cuts nothing.
        std::fs::remove_file(a.path().join("data/AGREED")).expect("removed");
        let mut primary = Server::overheard(a.path(), &settings("backup"));
        let mut standby = Server::standby(b.path(), &primary.replication, &settings("local"));
        let (code, said) = primary.ended();
        assert!(
            code == Some(76) && said.contains("acknowledged records are missing here"),
            "{code:?} {said}"
        );
        let told = |status: &serde_json::Value| {
            status["trouble"].as_str().is_some_and(|it| it.contains("the primary lacks acknowledged records"))
        };
        while !told(&standby.http().node().await.expect("a status")) {
            tokio::task::yield_now().await;
        }
        assert!(!b.path().join("data/cut").exists(), "nothing is cut");
        assert!(!wal(a.path(), &["verify"]).0, "it knows by now");
        let (good, said) = wal(a.path(), &["accept-loss"]);
        assert!(good && said.contains("nothing was changed"), "{said}");

        promote(&mut standby, b.path()).await;
        verify(&standby, &truth).await;
        // The old one gets back what it has lost.
        let mut back = Server::standby(a.path(), &standby.replication, &settings("local"));
        caught_up(&standby, b.path()).await;
        standby.kill();
        promote(&mut back, a.path()).await;
        verify(&back, &truth).await;
    });
}
