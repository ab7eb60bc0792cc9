//! Holds in a snapshot: every slot as it is, also the free ones, which still know how they ended and in which order
//! they are used again. Timers are not in it: they are started anew.

use super::{Hold, HoldState, Holds, NONE};
use crate::ids::{Lsn, Millis};
use crate::rules::HOLD_RANGE_MS;
use crate::snapshot::{Reader, SnapshotError, Writer};
use std::hash::{Hash, Hasher};

const BYTES: usize = 48;
/// By how much extending may put a deadline past the longest time: a millisecond each.
const SLACK_MS: Millis = 64;

const STATES: [HoldState; 11] = [
    HoldState::Charging,
    HoldState::Held,
    HoldState::Paying,
    HoldState::Booked,
    HoldState::Part,
    HoldState::PartBooked,
    HoldState::Gathering,
    HoldState::Released,
    HoldState::Expired,
    HoldState::Cancelled,
    HoldState::Undone,
];

impl Hold {
    /// What stands in `mask`, as far as it says the same wherever the hold's group is kept.
    fn lasting_mask(&self) -> u64 {
        if self.is_group() && !self.state.is_over() { 0 } else { self.mask }
    }

    fn to_bytes(self) -> [u8; BYTES] {
        let mut bytes = [0; BYTES];
        let words = [self.user, self.nonce, self.lsn, self.expires_ms, self.lasting_mask()];
        for (place, word) in bytes.chunks_exact_mut(8).zip(words) {
            place.copy_from_slice(&word.to_le_bytes());
        }
        bytes[40..44].copy_from_slice(&self.row.to_le_bytes());
        bytes[44..].copy_from_slice(&[
            self.first,
            self.state as u8,
            self.bits & !Self::ARMED,
            self.extensions,
        ]);
        bytes
    }

    fn load(input: &mut Reader<'_>, lsn: Lsn, now: Millis) -> Result<Self, SnapshotError> {
        let hold = Self {
            user: input.u64()?,
            nonce: input.u64()?,
            lsn: input.u64()?,
            expires_ms: input.u64()?,
            mask: input.u64()?,
            row: input.u32()?,
            first: input.u8()?,
            state: input.choice(&STATES, "a hold in no known state")?,
            bits: input.u8()?,
            extensions: input.u8()?,
        };
        let known = Self::GROUP | Self::FROM_QUEUE | Self::TOGETHER | Self::WAIVED;
        input.check(hold.bits & !known == 0, "a hold with unknown marks")?;
        input.check(hold.lsn <= lsn, "a hold from the future")?;
        let latest = now + HOLD_RANGE_MS.end() + SLACK_MS;
        input.check(hold.expires_ms <= latest, "a hold that lasts too long")?;
        let alone = matches!(hold.state, HoldState::Charging | HoldState::Part | HoldState::PartBooked);
        let several = hold.state == HoldState::Gathering;
        let fits = hold.state.is_over() || if hold.is_group() { !alone } else { !several };
        input.check(fits, "a hold in a state that its kind never has")?;
        Ok(hold)
    }
}

impl Holds {
    pub(crate) fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.free);
        out.u32(self.slots.len() as u32);
        for hold in &self.slots {
            out.bytes(&hold.to_bytes());
        }
    }

    /// Holds without room for more: see [`Holds::make_room`].
    pub(crate) fn load(
        input: &mut Reader<'_>,
        capacity: usize,
        lsn: Lsn,
        now: Millis,
    ) -> Result<Self, SnapshotError> {
        let free = input.u32()?;
        let count = input.count(BYTES)?;
        input.check(count <= capacity, "more holds than there is room for")?;
        let mut slots = Vec::with_capacity(count);
        for _ in 0..count {
            slots.push(Hold::load(input, lsn, now)?);
        }
        let over = slots.iter().filter(|hold| hold.state.is_over()).count();
        let holds = Self { live: (count - over) as u32, slots, capacity, free };
        input.check(holds.free_list_is_sound(over), "the list of free holds is broken")?;
        Ok(holds)
    }

    /// How many slots have been used, the free ones among them.
    pub(crate) fn slots(&self) -> u32 {
        self.slots.len() as u32
    }

    /// Whether the free list leads through `over` free slots, each once, and ends.
    fn free_list_is_sound(&self, over: usize) -> bool {
        let mut at = u64::from(self.free);
        // A slot that came twice would lead in a circle, which does not end in time.
        for _ in 0..over {
            match usize::try_from(at).ok().and_then(|at| self.slots.get(at)) {
                Some(hold) if hold.state.is_over() => at = hold.mask,
                _ => return false,
            }
        }
        at == u64::from(NONE)
    }

    /// Sets aside the room for all holds there may be. `false` if the machine has not so much memory.
    pub(crate) fn make_room(&mut self) -> bool {
        self.slots.try_reserve_exact(self.capacity - self.slots.len()).is_ok()
    }

    /// Folds everything into `hash`.
    pub(crate) fn hash_into(&self, hash: &mut impl Hasher) {
        (self.capacity, self.free, self.slots.len()).hash(hash);
        for hold in &self.slots {
            (hold.user, hold.nonce, hold.lsn, hold.expires_ms, hold.lasting_mask()).hash(hash);
            let marks = [hold.first, hold.state as u8, hold.bits & !Hold::ARMED, hold.extensions];
            (u64::from(hold.row) << 32 | u64::from(u32::from_le_bytes(marks))).hash(hash);
        }
    }
}
