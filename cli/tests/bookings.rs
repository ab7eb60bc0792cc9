//! The table of bookings beside the log, on a real server: after anything that can happen to either, it has what the
//! server itself has, and everybody sees their own part of it.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Dice, Server, within};
use frontrow_client::http::{BookedSeats, EventQuery, HttpError};
use frontrow_client::{Adjacency, Claim, Client, Held, Http, RowRef, Wish};
use std::collections::BTreeSet;
use std::path::Path;

const EVENT: u32 = 1;
const USERS: u64 = 12;

/// Small segments and a snapshot for each of them, so that the log is trimmed; other cores at every start, so that a
/// partition's history lies in several streams.
fn settings(start: usize) -> [(&'static str, &'static str); 6] {
    [
        ("FRONTROW_SERVER__CORES", ["2", "3", "1"][start % 3]),
        ("FRONTROW_LOG__SEGMENT", "1MiB"),
        ("FRONTROW_LOG__SNAPSHOT_EVERY", "1MiB"),
        ("FRONTROW_PARTITIONS__COUNT", "8"),
        ("FRONTROW_PARTITIONS__REQUESTS_REMEMBERED", "1024"),
        ("FRONTROW_LOG_OUTPUT__LEVEL", "error"),
    ]
}

/// A booking as both sides can tell it: whose, the grant's epoch and LSN, the section, and the seats.
type Booked = (String, u32, u64, u16, Vec<(u16, Vec<u8>)>);

fn seats(rows: &[BookedSeats]) -> Vec<(u16, Vec<u8>)> {
    rows.iter().map(|it| (it.row, it.seats.clone())).collect()
}

/// The server's own state.
async fn state(http: &Http) -> BTreeSet<Booked> {
    let found = http.bookings(EVENT, None, 0).await.expect("bookings are known");
    assert!(found.total <= 1000, "all of them are looked at");
    found.bookings.iter().map(|it| (it.user.clone(), it.epoch, it.lsn, it.section, seats(&it.rows))).collect()
}

/// What everybody sees of their own.
async fn table(http: &Http) -> Result<BTreeSet<Booked>, HttpError> {
    let mut all = BTreeSet::new();
    for user in 1..=USERS {
        let mine = http.as_user(http.dev_token(user).await?.token);
        let mut cursor = None;
        loop {
            let page = mine.own_bookings(Some(EVENT), cursor.as_deref()).await?;
            for it in page.bookings.iter().filter(|it| it.state == "booked") {
                let parts: Vec<&str> = it.id.split('-').collect();
                let (epoch, lsn) = (parts[3].parse().unwrap(), parts[4].parse().unwrap());
                all.insert((user.to_string(), epoch, lsn, it.section, seats(&it.rows)));
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
    }
    Ok(all)
}

/// Waits until the table is what the server has; `within` bounds it.
async fn alike(server: &Server, data: &Path) -> usize {
    let (public, operator) = (server.http(), server.operator(data));
    let wanted = state(&operator).await;
    let mut tries = 0_u32;
    loop {
        let found = match table(&public).await {
            Ok(found) => found,
            // It is made again: then nothing is answered by halves.
            Err(HttpError::Refused { status: 503, code, .. }) if code == "not_there_yet" => BTreeSet::new(),
            Err(error) => panic!("{error}"),
        };
        if found == wanted {
            return found.len();
        }
        tries += 1;
        assert!(
            tries < 2000,
            "it comes to {} bookings and stays there, wanted {}",
            found.len(),
            wanted.len()
        );
        tokio::task::yield_now().await;
    }
}

/// A crowd that buys, thinks better of it, and asks for more.
struct People {
    clients: Vec<Client>,
    owned: Vec<(usize, Held)>,
    dice: Dice,
}

impl People {
    async fn come(server: &Server, seed: u64) -> Self {
        let mut clients = Vec::new();
        for user in 1..=USERS {
            clients.push(server.client(user).await);
        }
        Self { clients, owned: Vec::new(), dice: Dice::new(seed) }
    }

    /// All at once, so that there is a log to be trimmed.
    async fn churn(&self, event: u32) {
        let tasks = tokio::task::LocalSet::new();
        for (client, n) in self.clients.iter().cloned().zip(0_u16..) {
            tasks.spawn_local(async move {
                for i in 0..1500 {
                    let row = RowRef::new(event, n % 4, (n / 4 + i) % 6);
                    if let Ok(Claim::Held(held)) = client.claim_best(row, Wish::of(1)).await {
                        client.release(&held).await.expect("it is held");
                    }
                }
            });
        }
        tasks.await;
    }

    async fn act(&mut self, times: u32) {
        for _ in 0..times {
            let who = self.dice.below(USERS) as usize;
            if self.owned.len() > 60 || (self.dice.below(3) == 0 && !self.owned.is_empty()) {
                let at = self.dice.below(self.owned.len() as u64) as usize;
                let (owner, held) = self.owned.swap_remove(at);
                self.clients[owner].cancel(&held).await.expect("it is theirs");
                continue;
            }
            let client = &self.clients[who];
            let (section, row) = (self.dice.below(4) as u16, self.dice.below(4) as u16);
            let count = 1 + self.dice.below(3) as u8;
            let claim = if self.dice.below(3) == 0 {
                let wish = Wish { adjacency: Adjacency::Any, ..Wish::of(count) };
                client.claim_section(RowRef::new(EVENT, section, RowRef::SECTION), wish).await
            } else {
                client.claim_best(RowRef::new(EVENT, section, row), Wish::of(count)).await
            };
            let Ok(Claim::Held(held)) = claim else { continue };
            if self.dice.below(8) == 0 {
                client.release(&held).await.expect("it is held");
            } else {
                self.owned.push((who, client.book(&held).await.expect("it is held")));
            }
        }
    }
}

fn forget(data: &Path) {
    for ending in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("data/bookings.db{ending}")));
    }
}

#[test]
fn whatever_happens_the_table_has_what_the_server_has() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(300, async {
        let mut server = Server::start(data, &settings(0));
        let mut compared = 0;
        for round in 0..6_u64 {
            let mut people = People::come(&server, round + 1).await;
            people.churn(EVENT).await;
            people.act(1000).await;
            let bookings = alike(&server, data).await;
            assert!(bookings > 0);
            compared += bookings;
            drop(people);
            server.kill();
            match round {
                1 => forget(data),
                2 => std::fs::write(data.join("data/bookings.db"), b"no table at all").unwrap(),
                3 => std::fs::copy(data.join("data/MANIFEST"), data.join("data/bookings.db"))
                    .map(drop)
                    .unwrap(),
                _ => {}
            }
            server = Server::start(data, &settings(round as usize + 1));
            compared += alike(&server, data).await;
        }
        assert!(data.join("data/TRIM").exists(), "some of the log is gone, and stood in for by snapshots");
        // The event goes to its archive; its bookings stay, also in a table that is made again.
        let http = server.operator(data);
        http.close(EVENT).await.expect("it can be closed");
        http.archive(EVENT).await.expect("nothing is held any more");
        compared += alike(&server, data).await;
        http.sales(EVENT).await.expect("it is an event as before");
        // Snapshots that have no more of it than its name, and a log that has nothing.
        let query = EventQuery { name: Some("The next one".into()), ..EventQuery::default() };
        let next = http.create_stadium(&query, 2000, None).await.expect("an event").event.event;
        http.open(next).await.expect("on sale");
        let people = People::come(&server, 99).await;
        for _ in 0..3 {
            people.churn(next).await;
        }
        drop(people);
        server.kill();
        forget(data);
        let server = Server::start(data, &settings(7));
        compared += alike(&server, data).await;
        println!("{compared} bookings compared, none differs");
    });
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("it is there").flatten() {
        let (path, to) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &to);
        } else {
            std::fs::copy(&path, &to).expect("copied");
        }
    }
}

/// The log of yesterday is put back, or the disk has lost what it said was durable: the table knew more, and what it knew is
/// kept for whoever has to find out.
#[test]
fn a_table_that_is_ahead_of_the_log_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (data, old) = (folder.path(), folder.path().join("old"));
    within(120, async {
        let mut held = 0;
        for times in [40, 200] {
            let mut server = Server::start(data, &settings(0));
            let mut people = People::come(&server, times).await;
            people.act(times as u32).await;
            held = alike(&server, data).await;
            drop(people);
            server.terminate();
            server.ended();
            if !old.exists() {
                copy(&data.join("data"), &old);
            }
        }
        for ending in ["", "-wal", "-shm"] {
            let name = format!("bookings.db{ending}");
            let _ = std::fs::remove_file(old.join(&name));
            let _ = std::fs::copy(data.join("data").join(&name), old.join(&name));
        }
        std::fs::remove_dir_all(data.join("data")).unwrap();
        std::fs::rename(&old, data.join("data")).unwrap();
        let server = Server::start(data, &settings(0));
        assert!(alike(&server, data).await < held, "what the log does not have is not sold");
        let kept = data.join("data/bookings.db.ahead-1");
        let bytes = std::fs::read(&kept).expect("it is kept");
        assert!(bytes.starts_with(b"SQLite format 3\0"), "whole");
    });
}

/// A server knows its events: nothing was sold of one, and there is none of the other.
#[test]
fn sales_of_an_event_that_there_is_none_of_are_not_found() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(60, async {
        let server = Server::start(data, &settings(0));
        assert_eq!(alike(&server, data).await, 0);
        let http = server.operator(data);
        assert_eq!(http.sales(EVENT).await.expect("it is on sale")["bookings"], 0);
        let error = http.sales(999).await.expect_err("there is none");
        assert!(
            matches!(&error, HttpError::Refused { status: 404, code, .. } if code == "unknown_event"),
            "{error}"
        );
    });
}

#[test]
fn a_server_without_a_table_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path();
    within(60, async {
        let server = Server::start(data, &[("FRONTROW_BOOKINGS__TABLE", "off")]);
        let http = server.http();
        let mine = http.as_user(http.dev_token(1).await.expect("a token").token);
        let error = mine.own_bookings(None, None).await.expect_err("there is none");
        assert!(
            matches!(&error, HttpError::Refused { status: 404, code, .. } if code == "no_bookings_here"),
            "{error}"
        );
    });
}

/// Typed one after the other, as fast as programs start: the list has what was booked just before.
#[test]
fn what_was_booked_at_the_terminal_is_listed_at_once() {
    let folder = tempfile::tempdir().unwrap();
    within(120, async {
        let server = Server::start(folder.path(), &settings(0));
        let typed = |words: &[&str]| {
            let mut program = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow"));
            program.args(["--server", &server.url, "--user", "77", "--json"]).args(words);
            let output = program.output().expect("it runs");
            assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
            String::from_utf8(output.stdout).expect("text")
        };
        for booked in 1..=12 {
            let claimed: serde_json::Value =
                serde_json::from_str(&typed(&["claim", "1", "Block A", "--best", "1"])).expect("JSON");
            let of = |text: &str| {
                let said: serde_json::Value = serde_json::from_str(text).expect("JSON");
                said["token"].as_str().expect("a token").to_owned()
            };
            let booking = of(&typed(&["book", claimed["token"].as_str().expect("a token")]));
            let listed = typed(&["bookings"]);
            assert_eq!(listed.lines().count(), booked);
            assert_eq!(listed.matches("\"cancelled\"").count(), booked - 1, "{listed}");
            typed(&["cancel", &booking]);
            assert_eq!(typed(&["bookings"]).matches("\"cancelled\"").count(), booked);
        }
    });
}
