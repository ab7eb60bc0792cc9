//! The on-sale: a thousand clients want the sample hall. Every answer is accounted for, the sum of the bookings
//! is the hall, nobody has another's seat, and every queue is served in its order.

#![allow(dead_code, reason = "the helpers are shared by several tests, each of which uses some")]

mod common;

use common::{Dice, Server, within};
use frontrow_client::{
    ANY_CATEGORY, Adjacency, Client, Code, Command, Held, NewsEvent, NewsKind, NewsStream, Proof, Reply,
    RowRef, Seats,
};
use frontrow_shard_ops::{best, join_of, named, section};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::rc::Rc;

/// Commands by their shape.
mod frontrow_shard_ops {
    use super::{ANY_CATEGORY, Adjacency, Command, RowRef, Seats};
    use frontrow_shard::{CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Join, NO_ROW};

    pub(crate) fn named(row: RowRef, seats: Seats) -> Command {
        Command::ClaimSeats(ClaimSeats { row, seats })
    }
    pub(crate) fn best(row: RowRef, count: u8, or_join: bool) -> Command {
        Command::ClaimBest(ClaimBest { row, count, category: ANY_CATEGORY, accessible: false, or_join })
    }
    pub(crate) fn section(section: RowRef, count: u8, adjacency: Adjacency, or_join: bool) -> Command {
        let candidates = [NO_ROW; CANDIDATES];
        Command::ClaimSection(ClaimSection {
            section,
            count,
            category: ANY_CATEGORY,
            adjacency,
            accessible: false,
            or_join,
            hopeless: false,
            candidates,
        })
    }
    pub(crate) fn join_of(place: RowRef, count: u8) -> Command {
        Command::Join(Join { place, count, adjacency: Adjacency::Required, accessible: false })
    }
}

const CLIENTS: u64 = 1000;

/// A queue as the check of its order sees it: the place, the party's size, whether it may be spread.
type Line = (RowRef, u8, bool);
/// LSN and position of a join.
type Joined = (u64, u32);

/// What all clients of the crowd write down.
#[derive(Default)]
struct Book {
    asked: u64,
    answered: u64,
    by_code: BTreeMap<&'static str, u64>,
    /// Who bought which seat.
    sold: HashMap<(u16, u16, u8), u64>,
    /// The offers of each queue and party size: LSN of the offer, the join that it answers, and the user.
    offered: HashMap<Line, Vec<(u64, Joined, u64)>>,
    expired: u64,
    reconnected: u64,
}

type Ledger = Rc<RefCell<Book>>;

/// One buyer.
struct Buyer {
    user: u64,
    client: Client,
    news: NewsStream,
    dice: Dice,
    ledger: Ledger,
    wanted: u8,
    /// Whether a section's queue may spread the party over rows.
    spread: bool,
    /// The join whose offer is waited for.
    joined: Joined,
    /// Nonces of the offers that have been taken note of.
    seen: HashSet<u64>,
    server: Rc<Server>,
}

/// How an attempt to get seats ended.
enum Got {
    Held(Box<Held>),
    Nothing,
}

impl Buyer {
    async fn ask(&self, command: Command) -> Reply {
        self.ledger.borrow_mut().asked += 1;
        let reply = self.client.decide(command).await.expect("every request is answered");
        let mut book = self.ledger.borrow_mut();
        book.answered += 1;
        *book.by_code.entry(reply.answer.code.name()).or_default() += 1;
        reply
    }

    /// Tries to get seats, and waits in a queue if it comes to that.
    async fn get(&mut self, rows: &[u16], seats: &[Vec<u8>]) -> Got {
        let at = self.dice.below(rows.len() as u64) as u16;
        let row = self.dice.below(u64::from(rows[usize::from(at)])) as u16;
        let place = RowRef::new(1, at, row);
        let way = self.dice.below(6);
        self.spread = way == 4;
        let command = match way {
            0 => {
                let length = u64::from(seats[usize::from(at)][usize::from(row)]);
                let first = self.dice.below(length) as u8;
                let mask = if u64::from(first) + 1 < length { 0b11 } else { 1 };
                named(place, Seats { mask, first })
            }
            1 => best(place, self.wanted, false),
            2 => best(place, self.wanted, true),
            3 => join_of(place, self.wanted),
            4 => section(place.section_of(), self.wanted, Adjacency::Any, self.dice.below(2) == 0),
            _ => section(place.section_of(), self.wanted, Adjacency::Required, true),
        };
        let reply = self.ask(command).await;
        match reply.answer.code {
            Code::Granted => Got::Held(Box::new(Held::of(self.user, &reply).expect("a grant has a fence"))),
            Code::Queued => {
                self.joined = (reply.answer.lsn, reply.answer.slot);
                self.wait_at(reply.place).await
            }
            _ => Got::Nothing,
        }
    }

    /// Waits for the offer, or for word that none will come.
    async fn wait_at(&mut self, place: RowRef) -> Got {
        match self.dice.below(8) {
            0 => {
                // The connection drops; the place in the queue does not.
                self.connect().await;
                let reply = self.client.status_of(place).await.expect("status is answered");
                match reply.answer.code {
                    Code::Granted => {
                        if let Some(held) = self.offered(&reply) {
                            return Got::Held(held);
                        }
                        // An older offer, from which he had walked away: it shows as long as its hold runs. He
                        // waits on. To buy it and stand in the queue all the same would make of his next join
                        // one that is answered with where he stands already, and nothing that orders him.
                    }
                    Code::Queued => {}
                    _ => return Got::Nothing,
                }
            }
            1 => {
                // Has changed his mind; unless the offer was faster.
                let leave = Command::Leave(frontrow_shard::Leave { place });
                if self.ask(leave).await.answer.code == Code::Left {
                    return Got::Nothing;
                }
                let reply = self.client.status_of(place).await.expect("status is answered");
                let held = if reply.answer.code == Code::Granted { self.offered(&reply) } else { None };
                return held.map_or(Got::Nothing, Got::Held);
            }
            _ => {}
        }
        loop {
            let event = self.news.next().await.expect("the server goes on");
            let NewsEvent::News(news) = event else { panic!("a buyer misses no news: {event:?}") };
            if news.kind == NewsKind::Expired {
                self.ledger.borrow_mut().expired += 1;
            }
            if news.place != place {
                continue;
            }
            match news.kind {
                NewsKind::Offered => {
                    let held = Held::offered(self.user, &news).expect("an offer has a fence");
                    // Old ones were pushed as well as told by status after a reconnection.
                    if self.note_offer(&held) {
                        return Got::Held(Box::new(held));
                    }
                }
                NewsKind::Unfillable | NewsKind::Closed => return Got::Nothing,
                _ => {}
            }
        }
    }

    /// A new connection of the same user.
    async fn connect(&mut self) {
        self.client = self.server.client(self.user).await;
        self.news = self.client.news();
        self.ledger.borrow_mut().reconnected += 1;
    }

    /// The offer in an answer, if it is a new one.
    fn offered(&mut self, reply: &Reply) -> Option<Box<Held>> {
        let held = Held::of(self.user, reply).expect("an offer has a fence");
        self.note_offer(&held).then(|| Box::new(held))
    }

    /// Takes note of the offer that answers the join; whether it is one.
    fn note_offer(&mut self, held: &Held) -> bool {
        if !self.seen.insert(held.fence.nonce) || held.fence.lsn < self.joined.0 {
            return false;
        }
        let key = (held.place, self.wanted, self.spread);
        let offer = (held.fence.lsn, self.joined, self.user);
        self.ledger.borrow_mut().offered.entry(key).or_default().push(offer);
        true
    }

    /// Buys, gives back, or walks away.
    async fn decide(&mut self, held: &Held) -> bool {
        let proof = |held: &Held| Proof { place: held.place, fence: held.fence };
        let mut held = *held;
        if self.dice.below(4) == 0 {
            let command = match self.dice.below(2) {
                0 => Command::Extend(proof(&held)),
                _ => Command::BeginPayment(proof(&held)),
            };
            let reply = self.ask(command).await;
            if let Some(longer) = Held::of(self.user, &reply) {
                held = Held { seats: held.seats, parts: held.parts, ..longer };
            }
        }
        match self.dice.below(10) {
            0 | 1 => {
                self.ask(Command::Release(proof(&held))).await;
                false
            }
            // Walks away: the hold runs out, and the seat goes to the next.
            2 => false,
            _ => {
                let reply = self.ask(Command::Book(proof(&held))).await;
                if reply.answer.code != Code::Booked {
                    assert_eq!(reply.answer.code, Code::Expired, "a holder's own hold is booked or run out");
                    return false;
                }
                if !held.place.is_section() {
                    assert_eq!(reply.answer.seats, held.seats, "booked is what was held");
                }
                let named = |parts: &frontrow_client::Parts| -> Vec<_> {
                    parts.as_slice().iter().map(|part| (part.row, part.seats)).collect()
                };
                assert_eq!(named(&reply.parts), named(&held.parts), "booked is what was held, row by row");
                let mut book = self.ledger.borrow_mut();
                for (row, seats) in held.rows() {
                    for seat in seats.places() {
                        let before = book.sold.insert((held.place.section, row, seat), self.user);
                        assert_eq!(before, None, "seat {seat} of row {row} was sold twice");
                    }
                }
                true
            }
        }
    }
}

/// One client's day: buys until nothing is left.
async fn shop(
    server: Rc<Server>,
    user: u64,
    ledger: Ledger,
    rows: Rc<Vec<u16>>,
    seats: Rc<Vec<Vec<u8>>>,
    total: usize,
) {
    let mut dice = Dice::new(user);
    let wanted = 1 + dice.below(4) as u8;
    let client = server.client(user).await;
    let news = client.news();
    let mut buyer = Buyer {
        user,
        client,
        news,
        dice,
        ledger,
        wanted,
        spread: false,
        joined: (0, 0),
        seen: HashSet::new(),
        server,
    };
    while buyer.ledger.borrow().sold.len() < total {
        match buyer.get(&rows, &seats).await {
            Got::Held(held) => {
                buyer.decide(&held).await;
            }
            Got::Nothing => {}
        }
        if buyer.dice.below(12) == 0 && buyer.ledger.borrow().sold.len() < total {
            buyer.connect().await;
        }
        buyer.wanted = if buyer.ledger.borrow().sold.len() * 10 > total * 9 { 1 } else { buyer.wanted };
    }
}

async fn sell_out(engine: &str, cores: &str, busy_poll: &str) {
    let data = tempfile::tempdir().expect("a folder");
    let server = Rc::new(Server::start(
        data.path(),
        &[
            ("FRONTROW_SERVER__ENGINE", engine),
            ("FRONTROW_SERVER__CORES", cores),
            ("FRONTROW_SERVER__BUSY_POLL", busy_poll),
            ("FRONTROW_EVENTS__HOLD", "10s"),
            ("FRONTROW_EVENTS__OFFER", "10s"),
            ("FRONTROW_EVENTS__PAY", "10s"),
            ("FRONTROW_EVENTS__MAX_PER_USER", "0"),
        ],
    ));
    let http = server.http();
    let map = http.map(1).await.expect("the sample hall");
    let rows: Vec<u16> = map.sections.iter().map(|section| section.rows.len() as u16).collect();
    let seats: Vec<Vec<u8>> = map
        .sections
        .iter()
        .map(|section| section.rows.iter().map(|row| row.numbers.len() as u8).collect())
        .collect();
    let total: usize = seats.iter().flatten().map(|&n| usize::from(n)).sum();
    assert_eq!(total, 1222);
    let (rows, seats) = (Rc::new(rows), Rc::new(seats));
    let ledger = Ledger::default();
    let crowd = tokio::task::LocalSet::new();
    let done = Rc::new(tokio::sync::Notify::new());
    for user in 1..=CLIENTS {
        let (server, ledger) = (Rc::clone(&server), Rc::clone(&ledger));
        let (rows, seats, done) = (Rc::clone(&rows), Rc::clone(&seats), Rc::clone(&done));
        crowd.spawn_local(async move {
            shop(server, user, Rc::clone(&ledger), rows, seats, total).await;
            if ledger.borrow().sold.len() == total {
                done.notify_one();
            }
        });
    }
    // When the last seat is sold the crowd goes home; who still waits in a queue would wait for ever.
    crowd.run_until(done.notified()).await;
    let book = ledger.take();
    println!(
        "{engine}, {cores} cores, busy poll {busy_poll}: {} seats sold to {CLIENTS} clients, {} requests, {} reconnections, {:?}",
        book.sold.len(),
        book.asked,
        book.reconnected,
        book.by_code
    );
    assert_eq!(book.sold.len(), total);
    assert!(book.asked - book.answered <= CLIENTS, "only requests of the moment the sale ended are open");
    for (section, lengths) in seats.iter().enumerate() {
        let state = http.section(1, section as u16).await.expect("live seats");
        for (row, length) in state.rows.iter().zip(lengths) {
            assert_eq!(row.seats, "b".repeat(usize::from(*length)), "section {section}");
        }
    }
    check_order(&book);
}

/// In each queue, parties of the same size are offered seats in the order in which they joined.
fn check_order(book: &Book) {
    let mut checked = 0;
    for (key, offers) in &book.offered {
        // One operation may make several offers at the same LSN; their order among themselves cannot be seen.
        let mut served = offers.clone();
        served.sort_unstable();
        for pair in served.windows(2) {
            let ((_, before, _), (_, at, user)) = (pair[0], pair[1]);
            assert!(at >= before, "{key:?}: user {user} joined at {at:?} and was served after {before:?}");
            checked += 1;
        }
    }
    assert!(checked > 0, "nobody was served from a queue: nothing was checked");
    println!("order of {checked} offers checked");
}

#[test]
fn a_thousand_clients_buy_the_hall_on_io_uring() {
    if frontrow_server::io_uring_works() {
        within(150, sell_out("io_uring", "2", "off"));
    } else {
        println!("SKIPPED: io_uring is forbidden here; the epoll test runs the same sale");
    }
}

/// Holds run out, connections come and go: while it looks for work, everything else has its turns.
#[test]
fn a_thousand_clients_buy_the_hall_from_a_core_that_polls() {
    if frontrow_server::io_uring_works() {
        within(150, sell_out("io_uring", "1", "1ms"));
    } else {
        println!("SKIPPED: cores poll on io_uring only, which is forbidden here");
    }
}

#[test]
fn a_thousand_clients_buy_the_hall_on_epoll() {
    within(150, sell_out("epoll", "3", "off"));
}

#[test]
fn a_thousand_clients_buy_the_hall_on_glommio() {
    if frontrow_server::io_uring_works() {
        within(150, sell_out("glommio", "1", "off"));
    } else {
        println!("SKIPPED: glommio needs io_uring, which is forbidden here");
    }
}
