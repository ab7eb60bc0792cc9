//! Holds: who has which seats, for how long, and with which fence.

mod saved;

use crate::answer::{Answer, Code, Fence, flags};
use crate::ids::{Lsn, Millis, Seats, UserId};
use frontrow_plant::{Bug, planted};

/// End of a list of arena indices.
pub(crate) const NONE: u32 = u32::MAX;

/// Where a hold stands. The last four are free slots that still know how they ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub(crate) enum HoldState {
    /// The seats are set aside while the user's account is asked.
    Charging,
    /// Held until its deadline.
    Held,
    /// Held, and pinned by a payment until its deadline.
    Paying,
    /// Sold.
    Booked,
    /// Part of a section claim, which decides about it.
    Part,
    /// Part of a section claim that has been sold.
    PartBooked,
    /// A section claim that is still being put together.
    Gathering,
    /// Given back.
    Released,
    /// Run out.
    Expired,
    /// Was booked, and cancelled.
    Cancelled,
    /// Undone before it was ever granted.
    Undone,
}

impl HoldState {
    /// Whether the slot is free for another hold.
    pub(crate) const fn is_over(self) -> bool {
        matches!(self, Self::Released | Self::Expired | Self::Cancelled | Self::Undone)
    }

    /// Whether a deadline ends it.
    pub(crate) const fn is_timed(self) -> bool {
        matches!(self, Self::Held | Self::Paying)
    }
}

/// One hold, or, with [`Hold::GROUP`], a section claim made of several. 48 bytes: with a row's share this
/// keeps a seat with a hold of its own below 64.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub(crate) struct Hold {
    pub(crate) user: UserId,
    pub(crate) nonce: u64,
    pub(crate) lsn: Lsn,
    pub(crate) expires_ms: Millis,
    /// Seats relative to `first`; for a group, the index of its parts; in a free slot, the next free one.
    pub(crate) mask: u64,
    /// Row slot of the event; for a group, the section.
    pub(crate) row: u32,
    pub(crate) first: u8,
    pub(crate) state: HoldState,
    /// Remarks, see the constants.
    pub(crate) bits: u8,
    pub(crate) extensions: u8,
}

const _: () = assert!(size_of::<Hold>() == 48);

impl Hold {
    /// The timing wheel has an entry for this slot.
    pub(crate) const ARMED: u8 = 1;
    /// It is a section claim.
    pub(crate) const GROUP: u8 = 2;
    /// It came through a queue.
    pub(crate) const FROM_QUEUE: u8 = 4;
    /// Its seats are next to each other.
    pub(crate) const TOGETHER: u8 = 8;
    /// The rule about single seats was waived for it.
    pub(crate) const WAIVED: u8 = 16;

    pub(crate) fn seats(&self) -> Seats {
        if self.is_group() { Seats::NONE } else { Seats { mask: self.mask, first: self.first } }
    }

    pub(crate) fn has(&self, bit: u8) -> bool {
        self.bits & bit != 0
    }

    pub(crate) fn is_group(&self) -> bool {
        self.has(Self::GROUP)
    }

    /// Whether `fence`, shown by `user` at `now`, is the proof of this hold as it is. The refusal says
    /// what it is instead.
    pub(crate) fn check(
        &self,
        (row, group): (u32, bool),
        user: UserId,
        fence: &Fence,
        now: Millis,
    ) -> Result<(), Answer> {
        let fenced = |why: u8| Err(Answer { flags: why, ..Answer::plain(Code::Fenced) });
        if fence.user != user && !planted(Bug::ForeignFence) {
            return fenced(flags::FOREIGN);
        }
        if self.lsn != fence.lsn {
            // The nonce of this very hold with another LSN was never given out.
            if self.nonce == fence.nonce {
                return fenced(flags::FORGED);
            }
            // Another hold has the slot now, so this one is over; its own expiry says how it ended.
            if self.lsn < fence.lsn {
                return fenced(flags::FORGED);
            }
            // The fence of a booking's answer has no expiry, and only a cancellation ends a booking.
            let code = match fence.expires_ms {
                0 => Code::AlreadyCancelled,
                until if now >= until => Code::Expired,
                _ => Code::AlreadyReleased,
            };
            return Err(Answer::plain(code));
        }
        let same_place = self.row == row && self.is_group() == group;
        let nonce = self.nonce == fence.nonce || planted(Bug::NonceIgnored);
        let own = self.user == user || planted(Bug::ForeignFence);
        if !nonce || !own || !same_place {
            return fenced(flags::FORGED);
        }
        let code = match self.state {
            HoldState::Booked => Code::AlreadyBooked,
            HoldState::Released => Code::AlreadyReleased,
            HoldState::Cancelled => Code::AlreadyCancelled,
            HoldState::Expired => Code::Expired,
            HoldState::Held | HoldState::Paying
                if self.expires_ms != fence.expires_ms && !planted(Bug::StaleFence) =>
            {
                return fenced(if fence.expires_ms < self.expires_ms { flags::STALE } else { flags::FORGED });
            }
            HoldState::Held | HoldState::Paying
                if now >= self.expires_ms && !planted(Bug::ExpiredBookable) =>
            {
                Code::Expired
            }
            HoldState::Held | HoldState::Paying => return Ok(()),
            _ => return fenced(flags::FORGED),
        };
        Err(Answer::plain(code))
    }
}

/// An event's holds: an arena with a free list, sized once.
#[derive(Debug)]
pub(crate) struct Holds {
    slots: Vec<Hold>,
    capacity: usize,
    free: u32,
    live: u32,
}

impl Holds {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { slots: Vec::with_capacity(capacity), capacity, free: NONE, live: 0 }
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Hold> {
        self.slots.get(slot as usize)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Hold> {
        self.slots.get_mut(slot as usize)
    }

    pub(crate) fn capacity(&self) -> usize {
        self.capacity
    }

    pub(crate) fn live(&self) -> u32 {
        self.live
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Hold> {
        self.slots.iter()
    }

    /// Whether `insert` would find no room.
    pub(crate) fn is_full(&self) -> bool {
        self.free == NONE && self.slots.len() == self.capacity
    }

    /// Puts a hold into a free slot. The slot's timer entry, if it has one, stays armed.
    pub(crate) fn insert(&mut self, hold: Hold) -> u32 {
        self.live += 1;
        if self.free == NONE {
            assert!(self.slots.len() < self.capacity, "holds are counted before they are made");
            self.slots.push(hold);
            return self.slots.len() as u32 - 1;
        }
        let slot = self.free;
        let old = &mut self.slots[slot as usize];
        self.free = old.mask as u32;
        *old = Hold { bits: hold.bits | (old.bits & Hold::ARMED), ..hold };
        // Only this slot knows which one is next, so now is the first time to ask for it.
        self.prefetch(self.free);
        slot
    }

    /// Ends a hold and frees its slot; the slot remembers how it ended until it is used again.
    pub(crate) fn remove(&mut self, slot: u32, end: HoldState) -> Hold {
        debug_assert!(end.is_over());
        self.live -= 1;
        let hold = &mut self.slots[slot as usize];
        let was = *hold;
        assert!(!was.state.is_over(), "a hold ends once");
        hold.state = end;
        hold.mask = u64::from(self.free);
        self.free = slot;
        was
    }

    /// Asks the processor for a slot. Every other one lies across two lines.
    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(hold) = self.slots.get(slot as usize) {
            crate::prefetch_ends(hold);
        }
    }
}

impl std::ops::Index<u32> for Holds {
    type Output = Hold;
    fn index(&self, slot: u32) -> &Hold {
        &self.slots[slot as usize]
    }
}

impl std::ops::IndexMut<u32> for Holds {
    fn index_mut(&mut self, slot: u32) -> &mut Hold {
        &mut self.slots[slot as usize]
    }
}
