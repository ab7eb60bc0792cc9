//! Names of things, and which partition owns them.
//!
//! A row is the unit of ownership: `(event, section, row)` hashes to one of a fixed number of
//! partitions. Three further owners exist: a *section home* coordinates what spans the rows of a
//! section, and an *account home* counts one user's seats in one event.

use rkyv::{Archive, Deserialize, Serialize};

/// Event number, given by the server when the event is created.
pub type EventId = u32;
/// User number, taken from the connection's verified identity and from nowhere else.
pub type UserId = u64;
/// 128-bit request id made by the client; its upper 48 bits are a server time in milliseconds.
pub type RequestId = u128;
/// Position of an operation in the history of one partition, dense from 1.
pub type Lsn = u64;
/// Number of the term in which an operation was decided; grows by at least one at every start.
pub type Epoch = u32;
/// Milliseconds since the Unix epoch, as stamped by the owner of the partition.
pub type Millis = u64;
/// Partition number, below [`MAX_PARTITIONS`].
pub type PartitionId = u16;

/// The most partitions one deployment may be divided into.
pub const MAX_PARTITIONS: u16 = 1024;
/// The most seats one row may have.
pub const MAX_ROW_SEATS: usize = 256;
/// The most seats one claim, or one party in a queue, may ask for.
pub const MAX_PARTY: u8 = 32;
/// The most rows that one section claim may be spread over.
pub const MAX_PARTS: usize = 8;

/// A row of an event's section, or, with [`RowRef::SECTION`] as its row, the section itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Archive, Serialize, Deserialize)]
pub struct RowRef {
    /// The event.
    pub event: EventId,
    /// Index of the section within the event.
    pub section: u16,
    /// Index of the row within the section.
    pub row: u16,
}

impl RowRef {
    /// The row number that stands for "the section as a whole".
    pub const SECTION: u16 = u16::MAX;

    /// The row `row` of `section` in `event`.
    pub const fn new(event: EventId, section: u16, row: u16) -> Self {
        Self { event, section, row }
    }

    /// The section of this row, as a place of its own.
    #[must_use]
    pub const fn section_of(self) -> Self {
        Self { row: Self::SECTION, ..self }
    }

    /// Whether this names a section rather than one row.
    pub const fn is_section(self) -> bool {
        self.row == Self::SECTION
    }

    /// The place as one number: event, section, row from the highest bits down.
    pub const fn key(self) -> u64 {
        ((self.event as u64) << 32) | ((self.section as u64) << 16) | self.row as u64
    }

    /// The place with this number.
    pub(crate) const fn of_key(key: u64) -> Self {
        Self::new((key >> 32) as EventId, (key >> 16) as u16, key as u16)
    }

    /// The partition that owns this place, of `partitions`. Part of the wire contract: clients that
    /// route themselves compute it too (`docs/protocol.md`).
    pub const fn partition(self, partitions: u16) -> PartitionId {
        spread(mix(self.key()), partitions)
    }
}

/// The partition that counts the seats of `user` in `event`.
pub const fn account_partition(event: EventId, user: UserId, partitions: u16) -> PartitionId {
    spread(mix(mix(user) ^ event as u64), partitions)
}

/// David Stafford's variant 13 of the MurmurHash3 finaliser (as in SplitMix64).
pub const fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Maps the upper 32 bits of a hash evenly onto `0..n` without a division (Lemire).
const fn spread(hash: u64, n: u16) -> u16 {
    (((hash >> 32) * n as u64) >> 32) as u16
}

/// Up to 64 places of one row, as a window: bit `i` of `mask` is the seat at place `first + i`.
///
/// The normal form has bit 0 set, so that equal sets are equal values; an empty set is all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Seats {
    /// Which seats, relative to `first`.
    pub mask: u64,
    /// Place of the first seat, from 0 at the row's low end.
    pub first: u8,
}

impl Seats {
    /// No seats.
    pub const NONE: Self = Self { mask: 0, first: 0 };
    /// How many places, from the first, one window reaches.
    pub(crate) const REACH: u32 = u64::BITS;

    /// The window in normal form. `None` if a seat would lie beyond the longest legal row.
    pub const fn new(first: u8, mask: u64) -> Option<Self> {
        if mask == 0 {
            return Some(Self::NONE);
        }
        let skip = mask.trailing_zeros();
        let start = first as u32 + skip;
        let last = start + 63 - (mask >> skip).leading_zeros();
        if last >= MAX_ROW_SEATS as u32 {
            return None;
        }
        Some(Self { mask: mask >> skip, first: start as u8 })
    }

    /// How many seats.
    pub const fn count(self) -> u8 {
        self.mask.count_ones() as u8
    }

    /// Whether no seat lies beyond the longest legal row.
    pub(crate) const fn is_in_reach(self) -> bool {
        self.mask == 0 || self.first as u32 + 63 - self.mask.leading_zeros() < MAX_ROW_SEATS as u32
    }

    /// Whether there is no seat in it.
    pub const fn is_empty(self) -> bool {
        self.mask == 0
    }

    /// The places, rising.
    pub fn places(self) -> impl Iterator<Item = u8> {
        let mut mask = self.mask;
        std::iter::from_fn(move || {
            let bit = (mask != 0).then(|| mask.trailing_zeros() as u8)?;
            mask &= mask - 1;
            Some(self.first + bit)
        })
    }

    /// The set of these places; the errors say why a list is not one claim.
    pub fn from_places(places: &[u8]) -> Result<Self, SeatsError> {
        let Some(&first) = places.iter().min() else { return Err(SeatsError::Empty) };
        let mut mask = 0_u64;
        for &place in places {
            let bit = place - first;
            if bit >= 64 {
                return Err(SeatsError::TooFarApart { low: first, high: place });
            }
            if mask & (1 << bit) != 0 {
                return Err(SeatsError::Duplicate { place });
            }
            mask |= 1 << bit;
        }
        Ok(Self { mask, first })
    }
}

/// Why a list of places cannot be claimed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeatsError {
    /// The list names no seat.
    Empty,
    /// A place stands in the list twice.
    Duplicate {
        /// The repeated place.
        place: u8,
    },
    /// Two places are 64 or more apart: ask for them in two claims.
    TooFarApart {
        /// The lowest place of the list.
        low: u8,
        /// The first place found out of reach of it.
        high: u8,
    },
}

/// The seats of one row that belong to a claim over several rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Part {
    /// Index of the row within the section.
    pub row: u16,
    /// The seats of that row.
    pub seats: Seats,
    /// The row's own hold, in the arena of the row's partition.
    pub slot: u32,
}

/// Up to [`MAX_PARTS`] parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Parts {
    len: u8,
    items: [Part; MAX_PARTS],
}

impl Parts {
    /// Adds a part. Returns whether there was room.
    pub fn push(&mut self, part: Part) -> bool {
        let Some(slot) = self.items.get_mut(self.len as usize) else { return false };
        *slot = part;
        self.len += 1;
        true
    }

    /// The parts, in the order they were reserved.
    pub fn as_slice(&self) -> &[Part] {
        &self.items[..self.len as usize]
    }

    /// Forgets them.
    pub(crate) fn clear(&mut self) {
        if self.len > 0 {
            *self = Self::default();
        }
    }

    /// Folds the parts into `hash`.
    pub(crate) fn hash_into(&self, hash: &mut impl std::hash::Hasher) {
        use std::hash::Hash;
        self.len.hash(hash);
        for part in self.as_slice() {
            (part.row, part.seats, part.slot).hash(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_have_one_normal_form() {
        assert_eq!(Seats::new(3, 0b1100), Seats::new(5, 0b11));
        assert_eq!(Seats::new(9, 0), Some(Seats::NONE));
        assert_eq!(Seats::new(255, 0b1), Some(Seats { mask: 1, first: 255 }));
        assert_eq!(Seats::new(255, 0b10), None);
        assert_eq!(Seats::new(250, 0b100_0000), None);
    }

    #[test]
    fn lists_become_windows_or_say_why_not() {
        assert_eq!(Seats::from_places(&[7, 5, 6]), Ok(Seats { mask: 0b111, first: 5 }));
        assert_eq!(Seats::from_places(&[]), Err(SeatsError::Empty));
        assert_eq!(Seats::from_places(&[1, 2, 1]), Err(SeatsError::Duplicate { place: 1 }));
        assert_eq!(Seats::from_places(&[0, 64]), Err(SeatsError::TooFarApart { low: 0, high: 64 }));
        let seats = Seats::from_places(&[9, 72]).unwrap();
        assert_eq!(seats.places().collect::<Vec<_>>(), [9, 72]);
    }

    #[test]
    fn rows_spread_evenly_over_partitions() {
        let mut counts = [0_u32; 64];
        for section in 0..100 {
            for row in 0..64 {
                counts[RowRef::new(1, section, row).partition(64) as usize] += 1;
            }
        }
        assert!(counts.iter().all(|&n| (60..=145).contains(&n)), "{counts:?}");
    }
}
