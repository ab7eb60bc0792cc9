//! Clients that claim, book, give back and wait, and write down everything they are told.

use super::common::Dice;
use frontrow_client::{Client, Code, Command, Held, Proof, Reply, RequestId, RowRef, Seats, flags};
use frontrow_shard::ClaimSeats;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use tokio::sync::Notify;
use tokio::time::Instant;

pub(crate) const EVENT: u32 = 1;
/// Holds and bookings of one client; beyond them it gives some back.
const MINE_MAX: usize = 12;

/// One answered request.
#[derive(Clone)]
pub(crate) struct Told {
    pub(crate) user: u64,
    pub(crate) id: RequestId,
    pub(crate) command: Command,
    pub(crate) reply: Reply,
    pub(crate) at: Instant,
}

/// The same hold with the fence of a later answer, if that has one.
pub(crate) fn renewed(held: &Held, user: u64, reply: &Reply) -> Held {
    let newer = Held::of(user, reply);
    newer.map_or(*held, |newer| Held { fence: newer.fence, expires_ms: newer.expires_ms, ..*held })
}

/// What the crowd was told.
#[derive(Default)]
pub(crate) struct Crowd {
    pub(crate) told: RefCell<Vec<Told>>,
    pub(crate) held: RefCell<HashMap<u64, Vec<Held>>>,
    pub(crate) booked: RefCell<HashMap<u64, Vec<Held>>>,
    /// Nobody asks anything new while it is closed.
    closed: Cell<bool>,
    idle: Cell<usize>,
    opened: Notify,
    moved: Notify,
}

impl Crowd {
    /// One client, for ever.
    pub(crate) async fn play(self: Rc<Self>, client: Client, user: u64, mut dice: Dice) {
        loop {
            if self.closed.get() {
                self.idle.set(self.idle.get() + 1);
                self.moved.notify_waiters();
                self.opened.notified().await;
                self.idle.set(self.idle.get() - 1);
                continue;
            }
            let command = self.next(user, &mut dice);
            self.ask(&client, user, command).await;
        }
    }

    fn next(&self, user: u64, dice: &mut Dice) -> Command {
        let proof = |all: &RefCell<HashMap<u64, Vec<Held>>>| {
            let held = all.borrow().get(&user).and_then(|mine| mine.first().copied());
            held.map(|held| Proof { place: held.place, fence: held.fence })
        };
        let many = |all: &RefCell<HashMap<u64, Vec<Held>>>| {
            all.borrow().get(&user).is_some_and(|m| m.len() > MINE_MAX)
        };
        if many(&self.booked)
            && let Some(proof) = proof(&self.booked)
        {
            return Command::Cancel(proof);
        }
        match (dice.below(if many(&self.held) { 2 } else { 6 }), proof(&self.held)) {
            (0, Some(proof)) => Command::Book(proof),
            (1, Some(proof)) => Command::Release(proof),
            _ => {
                let row = RowRef::new(EVENT, dice.below(3) as u16, dice.below(7) as u16);
                Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 1, first: dice.below(20) as u8 } })
            }
        }
    }

    /// Asks until there is an answer, and writes it down.
    pub(crate) async fn ask(&self, client: &Client, user: u64, command: Command) -> Reply {
        let id = client.next_id();
        let reply = client.decide_as(id, command).await.expect("the client goes on until there is an answer");
        let mine = |all: &RefCell<HashMap<u64, Vec<Held>>>, of: &Proof| {
            let mut all = all.borrow_mut();
            let mine = all.entry(user).or_default();
            let at = mine.iter().position(|held| held.fence == of.fence).expect("it was this client's");
            mine.remove(at)
        };
        match (reply.answer.code, &command) {
            (Code::Granted, _) => {
                let held = Held::of(user, &reply).expect("a grant has a fence");
                self.held.borrow_mut().entry(user).or_default().push(held);
            }
            (Code::Booked, Command::Book(proof)) => {
                let held = mine(&self.held, proof);
                let held = renewed(&held, user, &reply);
                self.booked.borrow_mut().entry(user).or_default().push(held);
            }
            (Code::Released, Command::Release(proof)) => drop(mine(&self.held, proof)),
            (Code::Cancelled, Command::Cancel(proof)) => drop(mine(&self.booked, proof)),
            (code, Command::Book(_) | Command::Release(_) | Command::Cancel(_)) => {
                panic!("{user} was told it holds the seats of {command:?}, and now {code:?}")
            }
            _ => {}
        }
        self.told.borrow_mut().push(Told { user, id, command, reply, at: Instant::now() });
        self.moved.notify_waiters();
        reply
    }

    pub(crate) fn answers(&self) -> usize {
        self.told.borrow().len()
    }

    /// Waits until something has been said, or everybody is quiet.
    pub(crate) async fn until(&self, done: impl Fn(&Self) -> bool) {
        loop {
            let moved = self.moved.notified();
            if done(self) {
                return;
            }
            moved.await;
        }
    }

    /// The first answer that was decided in an epoch above this one.
    pub(crate) fn first_above(&self, epoch: u32, from: usize) -> Option<Instant> {
        let told = self.told.borrow();
        let new =
            |told: &&Told| told.reply.answer.epoch > epoch && told.reply.answer.flags & flags::REPEATED == 0;
        told[from..].iter().find(new).map(|told| told.at)
    }

    /// Lets everybody finish what was asked.
    pub(crate) async fn hush(&self, clients: usize) {
        self.closed.set(true);
        self.until(|crowd| crowd.idle.get() == clients).await;
    }

    pub(crate) fn go_on(&self) {
        self.closed.set(false);
        self.opened.notify_waiters();
    }
}
