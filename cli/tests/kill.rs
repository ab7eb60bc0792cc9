//! SIGKILL in the middle of the load, again and again: what was acknowledged is there after the restart, and what
//! was not is one way only.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Dice, Server, within};
use frontrow_client::http::EventQuery;
use frontrow_client::{Client, Code, Command, Held, Http, Proof, Reply, RequestId, RowRef, Seats, flags};
use frontrow_shard::{Adjacency, ClaimSeats, ClaimSection, Join, Leave};
use std::cell::RefCell;
use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::rc::Rc;
use tokio::time::Instant;

/// Kills, unless `FRONTROW_KILLS` says how many.
const ROUNDS: u64 = 20;
/// Rounds with the smallest segments there are, and answers in each.
const SMALL_ROUNDS: u64 = 8;
const SMALL_ANSWERS: u64 = 4000;
const CLIENTS: u64 = 24;
const SEATS: u32 = 20_000;

/// What was asked and not answered when the server died, or answered and worth asking again.
#[derive(Clone)]
struct Asked {
    user: u64,
    id: RequestId,
    command: Command,
}

/// What the crowd knows to be true.
#[derive(Default)]
struct Truth {
    /// Holds by user.
    held: HashMap<u64, Vec<Held>>,
    booked: HashMap<u64, Vec<Held>>,
    /// Places in queues, and the size of the party.
    waiting: HashMap<(u64, RowRef), u8>,
    /// Requests without an answer.
    open: HashMap<RequestId, Asked>,
    /// The last answered requests of this round.
    answered: Vec<(Asked, Reply)>,
    acknowledged: u64,
    round_goal: u64,
}

impl Truth {
    /// Notes a hold, once: an offer may be told of more than once.
    fn hold(&mut self, user: u64, held: &Held) {
        let mine = self.held.entry(user).or_default();
        if !mine.iter().any(|other| other.fence.nonce == held.fence.nonce) {
            mine.push(*held);
        }
    }
}

type Shared = Rc<RefCell<Truth>>;

fn settings() -> Vec<(&'static str, &'static str)> {
    vec![
        ("FRONTROW_SERVER__CORES", "2"),
        ("FRONTROW_EVENTS__HOLD", "1h"),
        ("FRONTROW_EVENTS__OFFER", "1h"),
        ("FRONTROW_EVENTS__MAX_EXTENSIONS", "15"),
    ]
}

/// One client's part of the load, until the server is gone.
async fn load(
    client: Client,
    user: u64,
    mut dice: Dice,
    truth: Shared,
    sections: u64,
    killed: Rc<tokio::sync::Notify>,
) {
    loop {
        let command = next_command(user, &mut dice, &truth, sections);
        let id = client.next_id();
        let asked = Asked { user, id, command };
        truth.borrow_mut().open.insert(id, asked.clone());
        let Ok(reply) = client.decide_as(id, command).await else { return };
        let mut now = truth.borrow_mut();
        now.open.remove(&id);
        now.acknowledged += 1;
        learn(&mut now, user, &command, &reply);
        now.answered.push((asked, reply));
        if now.acknowledged == now.round_goal {
            killed.notify_one();
        }
    }
}

fn next_command(user: u64, dice: &mut Dice, truth: &Shared, sections: u64) -> Command {
    let truth = truth.borrow();
    let proof = |held: &Held| Proof { place: held.place, fence: held.fence };
    let mine = truth.held.get(&user).map_or(&[][..], Vec::as_slice);
    let row = RowRef::new(2, dice.below(sections) as u16, dice.below(8) as u16);
    // Bookings are cancelled where nobody queues: a party that was removed because it could never fit again
    // could fit again after a cancellation, and the check below could not tell that from a lost place.
    let queue = RowRef { section: row.section % 3, ..row };
    let cancellable = truth.booked.get(&user).and_then(|all| all.iter().find(|held| held.place.section >= 3));
    match dice.below(12) {
        0 | 1 if !mine.is_empty() => Command::Book(proof(&mine[dice.below(mine.len() as u64) as usize])),
        2 | 3 if !mine.is_empty() => Command::Release(proof(&mine[dice.below(mine.len() as u64) as usize])),
        4 if !mine.is_empty() => Command::Extend(proof(&mine[dice.below(mine.len() as u64) as usize])),
        5 if cancellable.is_some() => Command::Cancel(proof(cancellable.expect("just seen"))),
        6 => {
            Command::Join(Join { place: queue, count: 8, adjacency: Adjacency::Required, accessible: false })
        }
        7 => Command::Leave(Leave { place: queue }),
        8 | 9 => Command::ClaimSection(ClaimSection {
            section: row.section_of(),
            count: 1 + dice.below(4) as u8,
            category: frontrow_client::ANY_CATEGORY,
            adjacency: Adjacency::Any,
            accessible: false,
            or_join: false,
            hopeless: false,
            candidates: [frontrow_shard::NO_ROW; frontrow_shard::CANDIDATES],
        }),
        _ => Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 1, first: dice.below(20) as u8 } }),
    }
}

/// Takes an acknowledgement for true.
fn learn(truth: &mut Truth, user: u64, command: &Command, reply: &Reply) {
    let drop_held = |truth: &mut Truth, proof: &Proof| {
        let mine = truth.held.entry(user).or_default();
        let at = mine.iter().position(|held| held.fence.nonce == proof.fence.nonce)?;
        Some(mine.swap_remove(at))
    };
    match (command, reply.answer.code) {
        (Command::Book(proof), Code::Booked) => {
            if let Some(held) = drop_held(truth, proof) {
                truth.booked.entry(user).or_default().push(held);
            }
        }
        (Command::Release(proof), Code::Released) => drop(drop_held(truth, proof)),
        (Command::Cancel(proof), Code::Cancelled) => {
            let mine = truth.booked.entry(user).or_default();
            mine.retain(|held| held.fence.nonce != proof.fence.nonce);
        }
        (Command::Extend(proof), Code::Extended) => {
            if let (Some(old), Some(new)) = (drop_held(truth, proof), Held::of(user, reply)) {
                truth.held.entry(user).or_default().push(Held { seats: old.seats, parts: old.parts, ..new });
            }
        }
        (Command::Leave(leave), Code::Left) => drop(truth.waiting.remove(&(user, leave.place))),
        (_, Code::Granted) => {
            truth.waiting.remove(&(user, reply.place));
            truth.hold(user, &Held::of(user, reply).expect("a grant has a fence"));
        }
        (Command::Join(join), Code::Queued) => {
            // Who joins again keeps the first party's place.
            truth.waiting.entry((user, reply.place)).or_insert(join.count);
        }
        _ => {}
    }
}

/// What a restarted server must still know.
async fn verify(server: &Server, clients: &HashMap<u64, Client>, truth: &Shared) -> (usize, usize) {
    let (answered, open) = {
        let mut now = truth.borrow_mut();
        (std::mem::take(&mut now.answered), std::mem::take(&mut now.open))
    };
    // The same request gets the same answer.
    for (asked, before) in answered.iter().rev().take(200) {
        let again = clients[&asked.user].decide_as(asked.id, asked.command).await.expect("an answer");
        assert_eq!(again.answer.code, before.answer.code, "{:?}", asked.command);
        assert!(again.answer.flags & flags::REPEATED != 0, "{:?} was done again", asked.command);
        assert_eq!((again.answer.lsn, again.answer.nonce), (before.answer.lsn, before.answer.nonce));
        assert_eq!(again.parts.as_slice(), before.parts.as_slice());
    }
    // What had no answer gets one now, for good.
    let undecided = open.len();
    for asked in open.into_values() {
        let reply = clients[&asked.user].decide_as(asked.id, asked.command).await.expect("an answer");
        let again = clients[&asked.user].decide_as(asked.id, asked.command).await.expect("an answer");
        assert_eq!(again.answer.code, reply.answer.code);
        learn(&mut truth.borrow_mut(), asked.user, &asked.command, &reply);
    }
    check_seats(&server.http(), truth).await;
    let waiting: Vec<_> = truth.borrow().waiting.iter().map(|(key, count)| (*key, *count)).collect();
    let mut offers = 0;
    for ((user, place), count) in waiting {
        let reply = clients[&user].status_of(place).await.expect("status");
        if reply.answer.code == Code::Granted {
            // Handed on since: also acknowledged.
            let mut now = truth.borrow_mut();
            now.waiting.remove(&(user, place));
            now.hold(user, &Held::of(user, &reply).expect("a fence"));
            offers += 1;
        } else if reply.answer.code == Code::NotQueued {
            // Only who can never fit any more is out of the queue, and then joining again says so.
            let join = Join { place, count, adjacency: Adjacency::Required, accessible: false };
            let again = clients[&user].decide(Command::Join(join)).await.expect("an answer");
            assert_eq!(again.answer.code, Code::SoldOut, "user {user} lost the place at {place:?}");
            truth.borrow_mut().waiting.remove(&(user, place));
        } else {
            assert_eq!(reply.answer.code, Code::Queued, "user {user} at {place:?}");
        }
    }
    (undecided, offers)
}

/// Every held and booked seat is what it was acknowledged to be, and nobody's twice.
async fn check_seats(http: &Http, truth: &Shared) {
    let mut expected: HashMap<(u16, u16, u8), char> = HashMap::new();
    {
        let now = truth.borrow();
        let all = [(&now.held, 'h'), (&now.booked, 'b')];
        for (holds, letter) in all {
            for held in holds.values().flatten() {
                for (row, seats) in held.rows() {
                    for seat in seats.places() {
                        let before = expected.insert((held.place.section, row, seat), letter);
                        assert_eq!(
                            before, None,
                            "acknowledged twice: {:?} row {row} seat {seat}",
                            held.place
                        );
                    }
                }
            }
        }
    }
    let sections: HashSet<u16> = expected.keys().map(|key| key.0).collect();
    for section in sections {
        let state = http.section(2, section).await.expect("live seats");
        for (&(_, row, seat), &letter) in expected.iter().filter(|(key, _)| key.0 == section) {
            let found = state.rows[usize::from(row)].seats.as_bytes()[usize::from(seat)];
            assert_eq!(char::from(found), letter, "section {section}, row {row}, seat {seat}");
        }
    }
}

async fn crowd(server: &Server) -> HashMap<u64, Client> {
    let mut clients = HashMap::new();
    for user in 1..=CLIENTS {
        clients.insert(user, server.client(user).await);
    }
    clients
}

async fn make_event(server: &Server, data: &Path) -> u64 {
    let key = std::fs::read_to_string(data.join("data/dev-admin.key")).expect("the operator's key");
    let http = server.http().with_admin_key(key.trim());
    let query = EventQuery { name: Some("Kill me".into()), ..EventQuery::default() };
    let event = http.create_stadium(&query, SEATS, None).await.expect("an event").event.event;
    assert_eq!(event, 2, "the sample hall is the first");
    http.open(event).await.expect("on sale");
    http.map(event).await.expect("its map").sections.len() as u64
}

/// Kills a server under load again and again, each time after some answers more; verifies everything in between.
/// Calls `look` after each kill, with the data directory; goes on until it has seen enough, within twice the
/// rounds. Acknowledgements in all.
async fn kill_again_and_again(
    data: &Path,
    settings: &[(&str, &str)],
    rounds: u64,
    answers: u64,
    mut look: impl FnMut(&Path) -> bool,
) -> u64 {
    let truth = Shared::default();
    let mut server = Server::start(data, settings);
    let sections = make_event(&server, data).await;
    let mut dice = Dice::new(42);
    for round in 1..=2 * rounds {
        let clients = crowd(&server).await;
        let (undecided, offers) = verify(&server, &clients, &truth).await;
        let killed = Rc::new(tokio::sync::Notify::new());
        {
            let mut now = truth.borrow_mut();
            now.round_goal = now.acknowledged + answers / 4 + dice.below(answers * 3 / 4);
        }
        let tasks = tokio::task::LocalSet::new();
        for (user, client) in clients {
            let own = Dice::new(round * 1000 + user);
            let work = load(client, user, own, Rc::clone(&truth), sections.min(6), Rc::clone(&killed));
            tasks.spawn_local(work);
        }
        tasks.run_until(killed.notified()).await;
        server.kill();
        // Answers that were on their way count, too: the tasks end when the connections do.
        tasks.await;
        {
            let now = truth.borrow();
            println!(
                "round {round}: {} acknowledged, {} held, {} booked, {} waiting; before: {undecided} undecided, {offers} handed on",
                now.acknowledged,
                now.held.values().map(Vec::len).sum::<usize>(),
                now.booked.values().map(Vec::len).sum::<usize>(),
                now.waiting.len(),
            );
        }
        let enough = look(&data.join("data"));
        server = Server::start(data, settings);
        if enough && round >= rounds {
            break;
        }
    }
    let clients = crowd(&server).await;
    verify(&server, &clients, &truth).await;
    truth.borrow().acknowledged
}

#[test]
fn nothing_acknowledged_is_lost_in_twenty_kills() {
    let rounds =
        std::env::var("FRONTROW_KILLS").map_or(ROUNDS, |text| text.parse().expect("a number of kills"));
    within(240 + rounds * 10, async {
        let data = tempfile::tempdir().expect("a folder");
        let begun = Instant::now();
        let total = kill_again_and_again(data.path(), &settings(), rounds, 800, |_| true).await;
        println!(
            "{rounds} kills, {total} acknowledgements, none lost, in {:.1} s",
            begun.elapsed().as_secs_f64()
        );
    });
}

/// The same with snapshots all the time: what the log no longer has, the snapshots have.
#[test]
fn nothing_is_lost_with_snapshots_in_place_of_the_log() {
    within(240, async {
        let data = tempfile::tempdir().expect("a folder");
        let begun = Instant::now();
        // A few partitions, so that a life between two kills is long enough for their snapshots.
        let small = [
            ("FRONTROW_PARTITIONS__COUNT", "4"),
            ("FRONTROW_LOG__SEGMENT", "1MiB"),
            ("FRONTROW_LOG__SNAPSHOT_EVERY", "1MiB"),
            ("FRONTROW_LOG__BACKLOG", "1MiB"),
            ("FRONTROW_LIMITS__BODY", "64MiB"),
        ];
        let settings: Vec<_> = settings().into_iter().chain(small).collect();
        let mut trims = 0;
        let look = |data: &Path| {
            trims =
                std::fs::read_to_string(data.join("TRIM")).map_or(0, |mark| mark.matches("stream").count());
            let out = std::process::Command::new(env!("CARGO_BIN_EXE_frontrow"))
                .args(["wal", "verify", "--data"])
                .arg(data)
                .output()
                .expect("it runs");
            assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stdout));
            // The snapshotter has a low priority: beside busy programs it takes its time.
            trims > 0
        };
        let total = kill_again_and_again(data.path(), &settings, SMALL_ROUNDS, SMALL_ANSWERS, look).await;
        // How far snapshots come beside the load is the machine's affair; that the log is trimmed behind them is tested
        // where time is given (`server/src/snapshots/tests.rs`).
        println!(
            "at least {SMALL_ROUNDS} kills, {total} acknowledgements, none lost, {trims} streams trimmed, in {:.1} s",
            begun.elapsed().as_secs_f64()
        );
    });
}
