//! Fair queues: first come, first served, as far as it fits.
//!
//! A queue is a doubly linked list in an arena, in the order of joining, with a hash map by user: joining,
//! leaving and looking up are O(1). Beside it stands an index by size: parties of the same size and kind
//! form a list of their own, so that the first who fits is found among at most [`CLASSES`] heads, and those
//! who can never fit any more are found from the largest down.
//!
//! Being passed is bounded: every grant out of order, and every direct claim let through, counts one pass
//! for everybody who waits. When the oldest party has been passed as often as the event allows, nobody is
//! served before it. As passes are counted from each party's joining, no party is ever passed more often.

mod saved;

use crate::hold::NONE;
use crate::ids::{Lsn, MAX_PARTY, Millis, RequestId, RowRef, UserId};
use crate::requests::Fold;
use frontrow_plant::{Bug, planted};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hash, Hasher};

pub(crate) type Map<K, V> = HashMap<K, V, BuildHasherDefault<Fold>>;

/// What kind of seats a party waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum Kind {
    Together = 0,
    Accessible = 1,
    Spread = 2,
}

const KINDS: usize = 3;
/// Sizes times kinds.
pub(crate) const CLASSES: usize = MAX_PARTY as usize * KINDS;

/// A party's class: its kind and size as one index, larger sizes higher.
fn class_of(kind: Kind, count: u8) -> usize {
    (usize::from(count) - 1) * KINDS + kind as usize
}

fn kind_and_count(class: usize) -> (Kind, u8) {
    let kind = match class % KINDS {
        0 => Kind::Together,
        1 => Kind::Accessible,
        _ => Kind::Spread,
    };
    (kind, (class / KINDS) as u8 + 1)
}

/// One waiting party.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Party {
    pub(crate) user: UserId,
    /// LSN of the joining: the order of the queue.
    pub(crate) ticket: Lsn,
    pub(crate) joined_ms: Millis,
    /// The join request while its answer is outstanding, else 0.
    pub(crate) request: RequestId,
    pub(crate) count: u8,
    pub(crate) kind: Kind,
    passes_at_join: u64,
    queue: u32,
    next: u32,
    prev: u32,
    class_next: u32,
    class_prev: u32,
}

#[derive(Clone)]
struct Queue {
    place: RowRef,
    head: u32,
    tail: u32,
    len: u32,
    passes: u64,
    /// Which classes have parties.
    classes: u128,
    class_heads: [u32; CLASSES],
    class_tails: [u32; CLASSES],
}

const _: () = assert!(CLASSES <= 128);

/// All queues of a partition.
pub(crate) struct Queues {
    parties: Vec<Party>,
    room_for_parties: usize,
    free_party: u32,
    lines: Vec<Queue>,
    open_at_most: usize,
    free_queue: u32,
    by_user: Map<(u64, UserId), u32>,
}

impl Queues {
    pub(crate) fn new(parties: usize, queues: usize) -> Self {
        Self {
            parties: Vec::with_capacity(parties),
            room_for_parties: parties,
            free_party: NONE,
            lines: Vec::with_capacity(queues),
            open_at_most: queues,
            free_queue: NONE,
            by_user: Map::with_capacity_and_hasher(parties, BuildHasherDefault::default()),
        }
    }

    /// How many parties wait, in all queues together.
    pub(crate) fn waiting(&self) -> usize {
        self.by_user.len()
    }

    /// The party of `user` at `place`.
    pub(crate) fn find(&self, place: RowRef, user: UserId) -> Option<u32> {
        self.by_user.get(&(place.key(), user)).copied()
    }

    pub(crate) fn party(&self, index: u32) -> &Party {
        &self.parties[index as usize]
    }

    pub(crate) fn party_mut(&mut self, index: u32) -> &mut Party {
        &mut self.parties[index as usize]
    }

    /// How many wait in a queue.
    pub(crate) fn len(&self, queue: u32) -> u32 {
        self.lines.get(queue as usize).map_or(0, |q| q.len)
    }

    /// The parties of a queue, first come first.
    pub(crate) fn iter(&self, queue: u32) -> impl Iterator<Item = u32> + '_ {
        let mut at = self.lines.get(queue as usize).map_or(NONE, |q| q.head);
        std::iter::from_fn(move || {
            let party = self.parties.get(at as usize)?;
            let index = at;
            at = party.next;
            Some(index)
        })
    }

    /// The oldest party of a queue.
    pub(crate) fn first(&self, queue: u32) -> Option<u32> {
        let head = self.lines.get(queue as usize)?.head;
        (self.lines[queue as usize].len > 0 && head != NONE).then_some(head)
    }

    /// The party behind this one.
    pub(crate) fn after(&self, index: u32) -> Option<u32> {
        let next = self.parties[index as usize].next;
        (next != NONE).then_some(next)
    }

    /// Whether [`Queues::join`] would find room, given the queue it would go to.
    pub(crate) fn has_room(&self, queue: u32) -> bool {
        let party = self.free_party != NONE || self.parties.len() < self.room_for_parties;
        let room = queue != NONE || self.free_queue != NONE || self.lines.len() < self.open_at_most;
        party && room
    }

    /// Puts a party at the end of `queue`, or, if that is `NONE`, of a new one for `place`. Room has been
    /// asked for. The queue and the party.
    pub(crate) fn join(
        &mut self,
        queue: u32,
        place: RowRef,
        user: UserId,
        wish: (Kind, u8),
        ticket: Lsn,
        now: Millis,
    ) -> (u32, u32) {
        let queue = if queue == NONE { self.open(place) } else { queue };
        let q = &mut self.lines[queue as usize];
        let class = class_of(wish.0, wish.1);
        let party = Party {
            user,
            ticket,
            joined_ms: now,
            request: 0,
            count: wish.1,
            kind: wish.0,
            passes_at_join: q.passes,
            queue,
            next: NONE,
            prev: q.tail,
            class_next: NONE,
            class_prev: q.class_tails[class],
        };
        let index = if self.free_party == NONE {
            self.parties.push(party);
            self.parties.len() as u32 - 1
        } else {
            let index = self.free_party;
            self.free_party = self.parties[index as usize].next;
            self.parties[index as usize] = party;
            index
        };
        match q.tail {
            NONE => q.head = index,
            tail => self.parties[tail as usize].next = index,
        }
        q.tail = index;
        match q.class_tails[class] {
            NONE => q.class_heads[class] = index,
            tail => self.parties[tail as usize].class_next = index,
        }
        q.class_tails[class] = index;
        q.classes |= 1 << class;
        q.len += 1;
        self.by_user.insert((place.key(), user), index);
        (queue, index)
    }

    /// Takes a party out. Whether the queue is gone with it.
    pub(crate) fn remove(&mut self, index: u32) -> bool {
        let party = self.parties[index as usize];
        let q = &mut self.lines[party.queue as usize];
        let class = class_of(party.kind, party.count);
        match party.prev {
            NONE => q.head = party.next,
            prev => self.parties[prev as usize].next = party.next,
        }
        match party.next {
            NONE => q.tail = party.prev,
            next => self.parties[next as usize].prev = party.prev,
        }
        match party.class_prev {
            NONE => q.class_heads[class] = party.class_next,
            prev => self.parties[prev as usize].class_next = party.class_next,
        }
        match party.class_next {
            NONE => q.class_tails[class] = party.class_prev,
            next => self.parties[next as usize].class_prev = party.class_prev,
        }
        if q.class_heads[class] == NONE {
            q.classes &= !(1 << class);
        }
        q.len -= 1;
        let gone = q.len == 0;
        let place = q.place;
        if gone {
            q.head = self.free_queue;
            self.free_queue = party.queue;
        }
        self.by_user.remove(&(place.key(), party.user));
        self.parties[index as usize].next = self.free_party;
        self.free_party = index;
        gone
    }

    /// Whether the oldest party has been passed as often as it may be: then everybody waits for it.
    pub(crate) fn is_strict(&self, queue: u32, max_passes: u16) -> bool {
        let q = &self.lines[queue as usize];
        let oldest = &self.parties[q.head as usize];
        q.passes - oldest.passes_at_join >= u64::from(max_passes)
    }

    /// The first in the queue who `fits` and may be served now. Who joined later fits no better than another
    /// of the same kind and size.
    pub(crate) fn first_fit(
        &self,
        queue: u32,
        max_passes: u16,
        fits: impl Fn(&Party) -> bool,
    ) -> Option<u32> {
        let q = self.lines.get(queue as usize)?;
        if q.len == 0 {
            return None;
        }
        if self.is_strict(queue, max_passes) {
            let oldest = &self.parties[q.head as usize];
            return fits(oldest).then_some(q.head);
        }
        classes(q.classes)
            .map(|class| if planted(Bug::WaiterOrder) { q.class_tails[class] } else { q.class_heads[class] })
            .filter(|&index| fits(&self.parties[index as usize]))
            .min_by_key(|&index| self.parties[index as usize].ticket)
    }

    /// The largest party that is not `possible` any more, if any.
    pub(crate) fn largest_impossible(&self, queue: u32, possible: impl Fn(Kind, u8) -> bool) -> Option<u32> {
        let q = self.lines.get(queue as usize)?;
        let classes_left = if q.len == 0 { 0 } else { q.classes };
        (0..CLASSES)
            .rev()
            .filter(|class| classes_left >> class & 1 == 1)
            .find(|&class| {
                let (kind, count) = kind_and_count(class);
                !possible(kind, count)
            })
            .map(|class| q.class_heads[class])
    }

    /// Counts a pass for everybody in the queue.
    pub(crate) fn pass(&mut self, queue: u32) {
        self.lines[queue as usize].passes += 1;
    }

    /// Whether the party is the oldest of its queue.
    pub(crate) fn is_first(&self, index: u32) -> bool {
        self.parties[index as usize].prev == NONE
    }

    /// The party's place in the queue, from 1. O(position).
    pub(crate) fn position(&self, index: u32) -> u32 {
        let mut position = 1;
        let mut at = self.parties[index as usize].prev;
        while at != NONE {
            position += 1;
            at = self.parties[at as usize].prev;
        }
        position
    }

    /// Folds the queue into `hash`.
    pub(crate) fn hash_into(&self, queue: u32, hash: &mut impl Hasher) {
        let Some(q) = self.lines.get(queue as usize) else { return };
        (q.place, q.len, q.passes).hash(hash);
        for index in self.iter(queue) {
            let p = self.party(index);
            (p.user, p.ticket, p.joined_ms, p.request, p.count, p.kind, p.passes_at_join).hash(hash);
        }
    }

    fn open(&mut self, place: RowRef) -> u32 {
        let fresh = Queue {
            place,
            head: NONE,
            tail: NONE,
            len: 0,
            passes: 0,
            classes: 0,
            class_heads: [NONE; CLASSES],
            class_tails: [NONE; CLASSES],
        };
        if self.free_queue == NONE {
            self.lines.push(fresh);
            return self.lines.len() as u32 - 1;
        }
        let index = self.free_queue;
        self.free_queue = self.lines[index as usize].head;
        self.lines[index as usize] = fresh;
        index
    }
}

/// The classes in a set, rising.
fn classes(mut set: u128) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let class = (set != 0).then(|| set.trailing_zeros() as usize)?;
        set &= set - 1;
        Some(class)
    })
}
