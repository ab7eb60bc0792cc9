//! Buyers.

use crate::HALL;
use crate::common::Dice;
use crate::links::{Link, Links};
use crate::table;
use frontrow_client::{Adjacency, Claim, Client, ClientError, Held, RowRef, Wish};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use tokio::task::{JoinSet, LocalSet};

const USERS: u64 = 12;
/// More than this many bookings nobody keeps.
const OWNED_MAX: usize = 4;

/// What somebody has, by epoch and LSN of the grant.
type Owned = Rc<RefCell<BTreeMap<(u32, u64), Held>>>;

/// The hold, none if it was refused; an error if nothing was answered.
fn granted(claim: Result<Claim, ClientError>) -> Result<Option<Held>, ClientError> {
    match claim {
        Ok(Claim::Held(held)) => Ok(Some(held)),
        Ok(_) | Err(ClientError::Refused(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Of a stadium every seat is claimed and booked, by many at once. How many seats.
pub(crate) async fn sell_out(links: &Links, event: u32) -> u64 {
    let sections = links.server().http().event(event).await.expect("it is there").section_list.len() as u16;
    let sold = Rc::new(Cell::new(0));
    let (all, mut buyers) = (LocalSet::new(), JoinSet::new());
    for user in 1..=USERS {
        let client = links.server().client(user).await;
        let sold = Rc::clone(&sold);
        let buying = async move {
            for n in 0..sections {
                let place = RowRef::new(event, (n + user as u16) % sections, RowRef::SECTION);
                for size in (1..=8).rev() {
                    let wish = Wish { adjacency: Adjacency::Any, ..Wish::of(size) };
                    while let Some(held) =
                        granted(client.claim_section(place, wish).await).expect("it answers")
                    {
                        client.book(&held).await.expect("it is held");
                        sold.set(sold.get() + u64::from(size));
                    }
                }
            }
        };
        buyers.spawn_local_on(buying, &all);
    }
    all.run_until(async {
        while let Some(bought) = buyers.join_next().await {
            bought.expect("they buy until there is nothing");
        }
    })
    .await;
    sold.get()
}

/// What each of them was told that they have: by epoch and LSN of the grant.
#[derive(Default)]
pub(crate) struct Crowd {
    owned: BTreeMap<u64, Owned>,
}

/// One of them, until the end or until the server does not answer.
async fn buy(client: Client, owned: Owned, (mut dice, stop, done): (Dice, Rc<Cell<bool>>, Rc<Cell<u64>>)) {
    while !stop.get() {
        let many = owned.borrow().len() >= OWNED_MAX;
        if many || (dice.below(3) == 0 && !owned.borrow().is_empty()) {
            // What is not answered may have been done.
            let Some((_, held)) = owned.borrow_mut().pop_first() else { continue };
            if client.cancel(&held).await.is_err() {
                return;
            }
        } else {
            let section = dice.below(4) as u16;
            let count = 1 + dice.below(3) as u8;
            let claim = if dice.below(3) == 0 {
                let wish = Wish { adjacency: Adjacency::Any, ..Wish::of(count) };
                client.claim_section(RowRef::new(HALL, section, RowRef::SECTION), wish).await
            } else {
                client.claim_best(RowRef::new(HALL, section, dice.below(4) as u16), Wish::of(count)).await
            };
            match granted(claim) {
                Ok(Some(held)) => {
                    if client.book(&held).await.is_err() {
                        return;
                    }
                    owned.borrow_mut().insert((held.fence.epoch, held.fence.lsn), held);
                }
                Ok(None) => continue,
                Err(_) => return,
            }
        }
        done.set(done.get() + 1);
    }
}

impl Crowd {
    /// They buy; in the middle of it one of the four is killed, and a little later started again. How often they were
    /// answered.
    pub(crate) async fn buy_while(&mut self, links: &mut Links, victim: Link, dice: &mut Dice) -> u64 {
        let (stop, done) = (Rc::new(Cell::new(false)), Rc::new(Cell::new(0)));
        let mut tasks = JoinSet::new();
        let all = LocalSet::new();
        for user in 1..=USERS {
            let client = links.server().client(user).await;
            let owned = Rc::clone(self.owned.entry(user).or_default());
            let with = (Dice::new(dice.below(u64::MAX)), Rc::clone(&stop), Rc::clone(&done));
            tasks.spawn_local_on(buy(client, owned, with), &all);
        }
        let (before, after) = (20 + dice.below(400), 20 + dice.below(400));
        all.run_until(async {
            let until = async |count: u64| {
                while done.get() < count {
                    tokio::task::yield_now().await;
                }
            };
            until(before).await;
            links.kill(victim);
            if victim != Link::Server {
                // Nobody who buys notices.
                until(before + after).await;
            }
            links.start_again(victim);
            stop.set(true);
            while let Some(bought) = tasks.join_next().await {
                bought.expect("they buy until it is over");
            }
        })
        .await;
        done.get()
    }

    /// What they were told that they have is in the server's own state.
    pub(crate) async fn is_in(&self, links: &Links, event: u32) {
        let state = table::state(links, event).await;
        for (user, owned) in &self.owned {
            for (epoch, lsn) in owned.borrow().keys() {
                let is_there = state.iter().any(|it| (it.0, it.1, it.2) == (*user, *epoch, *lsn));
                assert!(is_there, "user {user} was told of a booking ({epoch}, {lsn}) that is not there");
            }
        }
    }
}
