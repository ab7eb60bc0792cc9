//! Where a partition's own rows of an event are: a table of buckets, filled once.
//!
//! A partition owns one row in many, so a plain array over all rows of the event would be nearly empty and,
//! kept by every partition, too large for the processor's caches.

use crate::hold::NONE;
use crate::prefetch;

const WAYS: usize = 8;
/// Rows per bucket on average: few enough that hardly a bucket runs over.
const FILL: usize = 4;

/// From a row's name to its slot.
#[derive(Debug)]
pub(crate) struct RowIndex {
    buckets: Vec<Bucket>,
}

/// One cache line, filled from the front. It is searched without a branch per entry: how far to look is random,
/// and each wrong guess of the processor would cost more than all eight comparisons.
#[derive(Clone, Debug)]
#[repr(C, align(64))]
struct Bucket {
    names: [u32; WAYS],
    slots: [u32; WAYS],
}

const _: () = assert!(size_of::<Bucket>() == 64);

impl RowIndex {
    /// Room for so many rows.
    pub(crate) fn with_room_for(rows: usize) -> Self {
        let empty = Bucket { names: [0; WAYS], slots: [NONE; WAYS] };
        Self { buckets: vec![empty; rows / FILL + 1] }
    }

    /// Adds a row that is not in yet.
    pub(crate) fn insert(&mut self, section: u16, row: u16, slot: u32) {
        let mut at = self.home(section, row);
        loop {
            let bucket = &mut self.buckets[at];
            if let Some(way) = bucket.slots.iter().position(|&slot| slot == NONE) {
                (bucket.names[way], bucket.slots[way]) = (name(section, row), slot);
                return;
            }
            at = self.next(at);
        }
    }

    /// The slot of a row; `None` if it is another partition's.
    pub(crate) fn find(&self, section: u16, row: u16) -> Option<u32> {
        let wanted = name(section, row);
        let mut at = self.home(section, row);
        loop {
            let bucket = &self.buckets[at];
            let found =
                (0..WAYS).fold(0_u32, |found, way| found | u32::from(bucket.names[way] == wanted) << way);
            if found != 0 {
                // An empty entry looks like row 0 of section 0, which would stand before it.
                let slot = bucket.slots[found.trailing_zeros() as usize];
                return (slot != NONE).then_some(slot);
            }
            if bucket.slots[WAYS - 1] == NONE {
                return None;
            }
            at = self.next(at);
        }
    }

    /// Asks the processor for the line that [`RowIndex::find`] will read first.
    pub(crate) fn prefetch(&self, section: u16, row: u16) {
        prefetch(&raw const self.buckets[self.home(section, row)]);
    }

    /// Multiplicative hashing (Knuth), brought into range by a multiplication (Lemire).
    fn home(&self, section: u16, row: u16) -> usize {
        let hash = u64::from(name(section, row)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((hash * self.buckets.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.buckets.len() { 0 } else { at + 1 }
    }
}

fn name(section: u16, row: u16) -> u32 {
    u32::from(section) << 16 | u32::from(row)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_found_and_no_other() {
        let mut index = RowIndex::with_room_for(1000);
        let rows = || (0..1000_u32).map(|n| ((n % 37) as u16, (n * 7 % 5003) as u16));
        for (slot, (section, row)) in rows().enumerate() {
            index.insert(section, row, slot as u32);
        }
        for (slot, (section, row)) in rows().enumerate() {
            assert_eq!(index.find(section, row), Some(slot as u32));
            assert_eq!(index.find(section + 100, row), None);
        }
        assert_eq!(RowIndex::with_room_for(0).find(0, 0), None);
    }
}
