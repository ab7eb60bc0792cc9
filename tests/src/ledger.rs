//! The books about a whole sale: who bought what, who waited since when and was served when.

use frontrow_client::Held;
use frontrow_shard::{Adjacency, Lsn, RowRef, UserId};
use std::collections::HashMap;

/// What parties of one queue must have in common for their order to be fixed: place, seats, adjacency,
/// accessible.
pub type Kind = (RowRef, u8, Adjacency, bool);

/// One party's wait. Both positions are of the history of the queue's own partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wait {
    /// Who.
    pub user: UserId,
    /// Where the party joined.
    pub joined: Lsn,
    /// Where it was served.
    pub served: Lsn,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every sold seat: section, row and place, and whose.
    pub sold: HashMap<(u16, u16, u8), UserId>,
    /// How many bookings.
    pub bookings: u64,
    waits: HashMap<Kind, Vec<Wait>>,
}

impl Ledger {
    /// Enters a booking; `Err` names what was sold before.
    pub fn book(&mut self, user: UserId, held: &Held) -> Result<(), String> {
        self.bookings += 1;
        for (row, seats) in held.rows() {
            for place in seats.places() {
                let seat = (held.place.section, row, place);
                if let Some(other) = self.sold.insert(seat, user) {
                    return Err(format!("seat {seat:?} was sold to {other} and to {user}"));
                }
            }
        }
        Ok(())
    }

    /// Enters a party that has been served.
    pub fn served(&mut self, kind: Kind, wait: Wait) {
        self.waits.entry(kind).or_default().push(wait);
    }

    /// How many parties have been served from queues.
    pub fn waits(&self) -> usize {
        self.waits.values().map(Vec::len).sum()
    }

    /// Every pair of alike parties of which the later one was served first.
    pub fn unfair(&self) -> Vec<String> {
        let mut all = Vec::new();
        for (kind, waits) in &self.waits {
            let mut waits = waits.clone();
            waits.sort_unstable_by_key(|wait| wait.joined);
            for pair in waits.windows(2) {
                if pair[0].served > pair[1].served {
                    all.push(format!("{kind:?}: {:?} before {:?}", pair[1], pair[0]));
                }
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_party_that_overtakes_its_like_is_found() {
        let mut ledger = Ledger::default();
        let kind = (RowRef::new(1, 0, 3), 2, Adjacency::Required, false);
        ledger.served(kind, Wait { user: 1, joined: 10, served: 30 });
        ledger.served(kind, Wait { user: 2, joined: 20, served: 30 });
        ledger.served(
            (RowRef::new(1, 0, 4), 2, Adjacency::Required, false),
            Wait { user: 4, joined: 1, served: 9 },
        );
        assert_eq!(ledger.unfair(), Vec::<String>::new());
        ledger.served(kind, Wait { user: 3, joined: 15, served: 40 });
        assert_eq!(ledger.unfair().len(), 1);
        assert_eq!(ledger.waits(), 4);
    }
}
