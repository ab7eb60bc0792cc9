//! Little-endian fields at fixed offsets.
//!
//! Readers take a slice whose length the caller has checked against the message's fixed size, so that the
//! offsets, which are constants, lie inside it.

use frontrow_shard::{RequestId, RowRef, Seats};

fn chunk<const W: usize>(bytes: &[u8], at: usize) -> [u8; W] {
    *bytes[at..].first_chunk().expect("the length was checked before")
}

pub(crate) fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn id_at(bytes: &[u8], at: usize) -> RequestId {
    u128::from_le_bytes(chunk(bytes, at))
}

pub(crate) fn place_at(bytes: &[u8], at: usize) -> RowRef {
    RowRef::new(u32_at(bytes, at), u16_at(bytes, at + 4), u16_at(bytes, at + 6))
}

/// The window in normal form; `None` if it reaches beyond the longest row.
pub(crate) fn seats_at(bytes: &[u8], mask_at: usize, first_at: usize) -> Option<Seats> {
    Seats::new(bytes[first_at], u64_at(bytes, mask_at))
}

pub(crate) fn zero(bytes: &[u8]) -> bool {
    bytes.iter().all(|&byte| byte == 0)
}

/// Writes `value` over the bytes at `at`.
pub(crate) fn put<const W: usize>(bytes: &mut [u8], at: usize, value: [u8; W]) {
    bytes[at..at + W].copy_from_slice(&value);
}

pub(crate) fn put_place(bytes: &mut [u8], at: usize, place: RowRef) {
    put(bytes, at, place.event.to_le_bytes());
    put(bytes, at + 4, place.section.to_le_bytes());
    put(bytes, at + 6, place.row.to_le_bytes());
}
