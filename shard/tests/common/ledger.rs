//! What users were told, kept as they would keep it, and checked for contradictions.

use frontrow_shard::*;
use std::collections::{HashMap, HashSet};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Standing {
    Held,
    Booked,
    Ended,
}

#[derive(Clone, Debug)]
pub(crate) struct Grant {
    pub(crate) user: UserId,
    pub(crate) place: RowRef,
    pub(crate) seats: Vec<(RowRef, u8)>,
    pub(crate) fence: Fence,
    pub(crate) standing: Standing,
}

#[derive(Default)]
pub(crate) struct Ledger {
    pub(crate) grants: Vec<Grant>,
    pub(crate) by_fence: HashMap<(RowRef, u32, Lsn), usize>,
    pub(crate) owner: HashMap<(RowRef, u8), usize>,
    pub(crate) seats_of: HashMap<UserId, u32>,
    /// Requests whose answer is outstanding.
    pub(crate) pending: HashMap<RequestId, Request>,
    pub(crate) blocked: HashSet<(RowRef, u8)>,
    pub(crate) cap: u32,
}

/// The seats of an answer, over one row or several.
pub(crate) fn seats_of(place: RowRef, answer: &Answer, parts: &Parts) -> Vec<(RowRef, u8)> {
    if !place.is_section() {
        return answer.seats.places().map(|seat| (place, seat)).collect();
    }
    assert_eq!(usize::from(answer.parts), parts.as_slice().len());
    let of_part = |part: &Part| {
        let row = RowRef { row: part.row, ..place };
        part.seats.places().map(move |seat| (row, seat)).collect::<Vec<_>>()
    };
    parts.as_slice().iter().flat_map(of_part).collect()
}

impl Ledger {
    pub(crate) fn granted(&mut self, user: UserId, place: RowRef, answer: &Answer, parts: &Parts) -> &Grant {
        let seats = seats_of(place, answer, parts);
        let index = self.grants.len();
        for seat in &seats {
            assert!(!self.blocked.contains(seat), "{seat:?} is out of sale");
            if let Some(old) = self.owner.insert(*seat, index) {
                panic!("{seat:?} is held twice: {:?} and {user}", self.grants[old]);
            }
        }
        let used = self.seats_of.entry(user).or_default();
        *used += seats.len() as u32;
        assert!(self.cap == 0 || *used <= self.cap, "user {user} has {used} seats of {}", self.cap);
        let fence = Fence::of(user, answer);
        assert!(self.by_fence.insert((place, fence.slot, fence.lsn), index).is_none(), "one fence twice");
        self.grants.push(Grant { user, place, seats, fence, standing: Standing::Held });
        &self.grants[index]
    }

    pub(crate) fn find(&self, place: RowRef, slot: u32, lsn: Lsn) -> usize {
        self.by_fence[&(place, slot, lsn)]
    }

    pub(crate) fn ended(&mut self, index: usize) {
        let grant = &mut self.grants[index];
        assert_ne!(grant.standing, Standing::Ended, "it ends once: {grant:?}");
        grant.standing = Standing::Ended;
        *self.seats_of.get_mut(&grant.user).unwrap() -= grant.seats.len() as u32;
        for seat in &grant.seats {
            self.owner.remove(seat);
        }
    }

    pub(crate) fn live(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.grants.len()).filter(|&i| self.grants[i].standing != Standing::Ended)
    }
}
