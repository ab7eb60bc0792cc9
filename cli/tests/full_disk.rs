//! A disk that fills up under load, and one that fails: on real, small file systems. They need root for a loop device;
//! without it they say so and test nothing. The same by injection is in `wal/tests/faults.rs` and in the simulator.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;
#[path = "common/small_disk.rs"]
mod small_disk;

use common::{Dice, Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{
    Client, ClientError, Code, Command, Held, Proof, Reply, RequestId, RowRef, Seats, WireCode, flags,
};
use frontrow_shard::ClaimSeats;
use small_disk::SmallDisk;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use tokio::time::Instant;

const EVENT: u32 = 1;
/// Requests in flight.
const USERS: u64 = 16;

fn settings() -> Vec<(&'static str, &'static str)> {
    vec![
        ("FRONTROW_SERVER__CORES", "1"),
        ("FRONTROW_PARTITIONS__COUNT", "4"),
        ("FRONTROW_PARTITIONS__REQUESTS_REMEMBERED", "16384"),
        ("FRONTROW_EVENTS__HOLD", "1h"),
        ("FRONTROW_LOG__SEGMENT", "1MiB"),
        ("FRONTROW_LOG__READY_SEGMENTS", "2"),
        ("FRONTROW_LOG__BACKLOG", "1MiB"),
        ("FRONTROW_LOG_OUTPUT__LEVEL", "error"),
    ]
}

fn disk_or_say_why(test: &str, mib: u64, promised: Option<u64>) -> Option<SmallDisk> {
    SmallDisk::mount(mib, promised)
        .inspect_err(|why| {
            println!("SKIPPED {test}: no small file system of its own ({why}); run it as root");
        })
        .ok()
}

/// Writes until there is no room; the file.
fn fill(folder: &Path) -> std::path::PathBuf {
    let path = folder.join("ballast");
    let mut file = File::create(&path).expect("a file");
    for piece in [1 << 20, 4096] {
        let bytes = vec![1; piece];
        while file.write_all(&bytes).is_ok() && file.sync_data().is_ok() {}
    }
    path
}

struct Person {
    user: u64,
    client: Client,
    held: Vec<Held>,
    booked: Vec<Held>,
    /// The last claims and their answers.
    answered: Vec<(RequestId, Command, Reply)>,
}

impl Person {
    async fn claim(&mut self, dice: &mut Dice) -> Result<Code, ClientError> {
        let row = RowRef::new(EVENT, dice.below(4) as u16, dice.below(8) as u16);
        let seats = Seats { mask: 1, first: dice.below(20) as u8 };
        let (id, command) = (self.client.next_id(), Command::ClaimSeats(ClaimSeats { row, seats }));
        let reply = self.client.decide_as(id, command).await?;
        if reply.answer.code == Code::Granted {
            self.held.push(Held::of(self.user, &reply).expect("a grant has a fence"));
        }
        let code = reply.answer.code;
        self.answered.push((id, command, reply));
        Ok(code)
    }

    /// Gives a hold back, if there are two.
    async fn release(&mut self) -> Result<(), ClientError> {
        if self.held.len() < 2 {
            return Ok(());
        }
        let held = self.held.swap_remove(0);
        let proof = Proof { place: held.place, fence: held.fence };
        let reply = self.client.decide(Command::Release(proof)).await?;
        assert_eq!(reply.answer.code, Code::Released);
        Ok(())
    }

    /// Books a hold.
    async fn book(&mut self) -> Code {
        let held = self.held.swap_remove(0);
        let proof = Proof { place: held.place, fence: held.fence };
        let reply = self.client.decide(Command::Book(proof)).await.expect("a purchase has room");
        self.booked.push(held);
        reply.answer.code
    }
}

async fn make_event(server: &Server, data: &Path) {
    let http = server.operator(data);
    let query = EventQuery { name: Some("Fill me".into()), ..EventQuery::default() };
    let event = http.create_stadium(&query, 4000, None).await.expect("an event").event.event;
    assert_eq!(event, EVENT);
    http.open(event).await.expect("on sale");
}

async fn people(server: &Server) -> Vec<Person> {
    let mut people = Vec::new();
    for user in 1..=USERS {
        let client = server.client(user).await;
        people.push(Person { user, client, held: Vec::new(), booked: Vec::new(), answered: Vec::new() });
    }
    people
}

/// Claims and gives back until somebody hears something else than an answer; answers until then, and what it was.
async fn load_until_trouble(people: &mut [Person], dice: &mut Dice) -> (u64, ClientError) {
    for answers in 0.. {
        let turn = people.iter_mut().map(|person| {
            let mut dice = Dice::new(dice.below(u64::MAX));
            async move {
                person.claim(&mut dice).await?;
                person.release().await
            }
        });
        for result in futures_util::future::join_all(turn).await {
            if let Err(error) = result {
                return (answers * USERS, error);
            }
        }
    }
    unreachable!("the loop ends by returning")
}

#[test]
fn a_full_disk_sells_nothing_new_finishes_what_was_begun_and_recovers() {
    let Some(disk) = disk_or_say_why("a full disk", 96, None) else { return };
    within(120, async {
        let begun = Instant::now();
        let mut server = Server::empty(&disk.path(), &settings());
        make_event(&server, &disk.path()).await;
        let (mut people, mut dice) = (people(&server).await, Dice::new(7));
        let ballast = fill(&disk.path());
        let (answers, error) = load_until_trouble(&mut people, &mut dice).await;
        let ClientError::Wire { code: WireCode::ReadOnly, retry_after_ms, .. } = error else {
            panic!("{error:?}");
        };
        assert!(retry_after_ms > 0);
        // Who holds seats can have them; everybody can look.
        let mut bought = 0;
        for person in people.iter_mut().filter(|person| !person.held.is_empty()) {
            assert_eq!(person.book().await, Code::Booked);
            person.release().await.expect("what is given back has room");
            bought += 1;
        }
        assert!(bought > 0);
        server.http().section(EVENT, 0).await.expect("live seats");
        let metrics = server.http().metrics().await.expect("metrics");
        assert!(metrics.contains("frontrow_log_read_only{core=\"0\"} 1"), "{metrics}");
        let wanted = people[0].claim(&mut dice).await.expect_err("nothing new");
        assert!(matches!(wanted, ClientError::Wire { code: WireCode::ReadOnly, .. }), "{wanted:?}");
        // There is room again.
        std::fs::remove_file(ballast).expect("it is there");
        let refused = Instant::now();
        while let Err(error) = people[0].claim(&mut dice).await {
            let ClientError::Wire { code: WireCode::ReadOnly, .. } = error else { panic!("{error:?}") };
            // A turn of the crowd's others; the server looks again once a second.
            server.http().section(EVENT, 0).await.expect("live seats");
        }
        let again = refused.elapsed();
        for _ in 0..50 {
            people[1].claim(&mut dice).await.expect("selling goes on");
            people[1].release().await.expect("selling goes on");
        }
        server.kill();
        server = Server::empty(&disk.path(), &settings());
        verify(&server, &people).await;
        println!(
            "a full disk: {answers} answers until read_only, {bought} bought on the reserve, selling again {:.1} s after there was room, all there after a kill; {:.1} s",
            again.as_secs_f64(),
            begun.elapsed().as_secs_f64()
        );
        server.kill();
    });
}

/// Everything acknowledged is there.
async fn verify(server: &Server, people: &[Person]) {
    for (user, person) in (1..).zip(people) {
        let client = server.client(user).await;
        for (id, command, before) in person.answered.iter().rev().take(100) {
            let again = client.decide_as(*id, *command).await.expect("an answer");
            assert_eq!(again.answer.code, before.answer.code, "{command:?}");
            assert!(again.answer.flags & flags::REPEATED != 0, "{command:?} was done again");
        }
        for (holds, letter) in [(&person.held, 'h'), (&person.booked, 'b')] {
            for held in holds {
                let state = server.http().section(EVENT, held.place.section).await.expect("seats");
                for (row, seats) in held.rows() {
                    for seat in seats.places() {
                        let found = state.rows[usize::from(row)].seats.as_bytes()[usize::from(seat)];
                        assert_eq!(char::from(found), letter, "{:?} seat {seat}", held.place);
                    }
                }
            }
        }
    }
}

/// The file system promises room that its disk does not have: a commit fails for good. The server must end with a
/// clear word and acknowledge nothing that is not there.
#[test]
fn a_disk_that_fails_ends_the_server_with_a_word() {
    let Some(disk) = disk_or_say_why("a failing disk", 256, Some(48)) else { return };
    within(120, async {
        let begun = Instant::now();
        let mut server = Server::overheard(&disk.path(), &settings());
        make_event(&server, &disk.path()).await;
        let (mut people, mut dice) = (people(&server).await, Dice::new(9));
        for _ in 0..20 {
            for person in &mut people {
                person.claim(&mut dice).await.expect("the disk is well so far");
            }
        }
        // The blocks under the log are taken away, and there are no others: its commits cannot be written any more.
        disk.lose();
        fill(&disk.backing());
        let (answers, error) = load_until_trouble(&mut people, &mut dice).await;
        assert!(matches!(error, ClientError::Closed { .. } | ClientError::Unreachable { .. }), "{error:?}");
        let (code, last_words) = server.ended();
        assert_ne!(code, Some(0));
        assert!(last_words.contains("log"), "{last_words}");
        println!(
            "a failing disk: {answers} answers, then the server ended (exit code {code:?}): {}; {:.1} s",
            last_words.trim().lines().last().unwrap_or_default(),
            begun.elapsed().as_secs_f64()
        );
    });
}
