//! What everybody may see of a row: which seats are free, booked and blocked.

use crate::error::DecodeError;
use crate::frame::Kind;
use crate::layout::{u16_at, u32_at};
use frontrow_shard::{MAX_ROW_SEATS, RowRef, RowState};

/// A set of places of one row: bit `i` of word `w` is place `64 * w + i`.
pub type SeatSet = [u64; MAX_ROW_SEATS / 64];

/// A row's seats at one version. A seat in none of the sets is held by somebody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct RowSeats {
    /// Grows by exactly 1 with every change of this row that can be seen.
    pub version: u32,
    /// How many seats the row has, 1 to 256.
    pub seats: u16,
    /// To be had.
    pub free: SeatSet,
    /// Sold.
    pub booked: SeatSet,
    /// Taken out of sale.
    pub blocked: SeatSet,
}

impl RowSeats {
    /// The seats of a row as its owner knows them, at `version`.
    pub const fn of(version: u32, row: &RowState) -> Self {
        let RowState { seats, free, booked, blocked } = *row;
        Self { version, seats, free, booked, blocked }
    }

    /// Bytes of one bit set of a row of `seats` seats on the wire.
    pub const fn set_len(seats: u16) -> usize {
        (seats as usize).div_ceil(8)
    }

    /// What the seat at `place` is: `f`ree, `h`eld, `b`ooked or blocked (`x`).
    pub const fn letter(&self, place: u16) -> u8 {
        match place {
            _ if bit(&self.free, place) => b'f',
            _ if bit(&self.booked, place) => b'b',
            _ if bit(&self.blocked, place) => b'x',
            _ => b'h',
        }
    }

    pub(crate) fn append_sets(&self, out: &mut Vec<u8>) {
        let len = Self::set_len(self.seats);
        for set in [&self.free, &self.booked, &self.blocked] {
            let mut bytes = [0; MAX_ROW_SEATS / 8];
            for (chunk, word) in bytes.chunks_exact_mut(8).zip(set) {
                chunk.copy_from_slice(&word.to_le_bytes());
            }
            out.extend_from_slice(&bytes[..len]);
        }
    }

    /// Reads three sets, of `3 * set_len` bytes in all.
    pub(crate) fn with_sets(kind: Kind, version: u32, seats: u16, bytes: &[u8]) -> Result<Self, DecodeError> {
        let len = Self::set_len(seats);
        let mut state = Self { version, seats, ..Self::default() };
        for (set, from) in
            [&mut state.free, &mut state.booked, &mut state.blocked].into_iter().zip(bytes.chunks_exact(len))
        {
            let mut padded = [0; MAX_ROW_SEATS / 8];
            padded[..len].copy_from_slice(from);
            for (word, chunk) in set.iter_mut().zip(padded.chunks_exact(8)) {
                *word = chunk.first_chunk().map_or(0, |chunk| u64::from_le_bytes(*chunk));
            }
            if !seats.is_multiple_of(8) && from[len - 1] >> (seats % 8) != 0 {
                return Err(DecodeError::field(kind, "a bit set", "bits of the row's seats only, others 0"));
            }
        }
        Ok(state)
    }
}

const fn bit(set: &SeatSet, place: u16) -> bool {
    (place as usize) < MAX_ROW_SEATS && set[place as usize / 64] >> (place % 64) & 1 == 1
}

/// Checks a row's number of seats.
pub(crate) fn seats_in_range(kind: Kind, seats: u16) -> Result<u16, DecodeError> {
    if (1..=MAX_ROW_SEATS as u16).contains(&seats) {
        Ok(seats)
    } else {
        Err(DecodeError::field(kind, "the number of seats of a row", "1 to 256"))
    }
}

/// One row of a snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowSnapshot {
    /// Index of the row within the section.
    pub row: u16,
    /// Its seats.
    pub state: RowSeats,
}

impl RowSnapshot {
    /// Bytes of this row on the wire.
    pub(crate) const fn wire_len(&self) -> usize {
        8 + 3 * RowSeats::set_len(self.state.seats)
    }

    pub(crate) fn append(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.row.to_le_bytes());
        out.extend_from_slice(&self.state.seats.to_le_bytes());
        out.extend_from_slice(&self.state.version.to_le_bytes());
        self.state.append_sets(out);
    }

    /// Cuts the first row off `bytes`.
    fn take(bytes: &[u8]) -> Result<(Self, &[u8]), DecodeError> {
        let kind = Kind::Snapshot;
        let short = |want| DecodeError::Length { kind, got: bytes.len(), want };
        if bytes.len() < 8 {
            return Err(short(8));
        }
        let seats = seats_in_range(kind, u16_at(bytes, 2))?;
        let len = 8 + 3 * RowSeats::set_len(seats);
        let (own, rest) = bytes.split_at_checked(len).ok_or(short(len))?;
        let state = RowSeats::with_sets(kind, u32_at(own, 4), seats, &own[8..])?;
        Ok((Self { row: u16_at(own, 0), state }, rest))
    }
}

/// The rows in one snapshot frame, checked, and read in place as they are asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows<'a> {
    pub(crate) count: u16,
    pub(crate) bytes: &'a [u8],
}

impl<'a> Rows<'a> {
    pub(crate) fn checked(count: u16, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        let mut rest = bytes;
        for _ in 0..count {
            (_, rest) = RowSnapshot::take(rest)?;
        }
        if !rest.is_empty() {
            let want = bytes.len() - rest.len();
            return Err(DecodeError::Length { kind: Kind::Snapshot, got: bytes.len(), want });
        }
        Ok(Self { count, bytes })
    }

    /// How many rows.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The rows, in the order they were sent.
    pub fn iter(&self) -> impl Iterator<Item = RowSnapshot> + use<'a> {
        let mut rest = self.bytes;
        std::iter::from_fn(move || {
            // Every row was read once before, so this ends where the bytes end.
            let (row, after) = RowSnapshot::take(rest).ok()?;
            rest = after;
            Some(row)
        })
    }
}

/// One row has changed; carries all of its seats, so that any delta newer than what is known stands for
/// itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delta {
    /// The row.
    pub row: RowRef,
    /// Its seats.
    pub state: RowSeats,
}
