//! Where a partition's own rows of an event are: a table of open addresses, filled once.
//!
//! A partition owns one row in many, so a plain array over all rows of the event would be nearly empty and,
//! kept by every partition, too large for the processor's caches.

use crate::hold::NONE;
use crate::prefetch;

/// From a row's name to its slot.
#[derive(Debug)]
pub(crate) struct RowIndex {
    /// Name and slot; at most three quarters of the entries are used, so that a search ends soon.
    entries: Vec<(u32, u32)>,
}

impl RowIndex {
    /// Room for so many rows.
    pub(crate) fn with_room_for(rows: usize) -> Self {
        Self { entries: vec![(0, NONE); rows + rows / 3 + 2] }
    }

    /// Adds a row that is not in yet.
    pub(crate) fn insert(&mut self, section: u16, row: u16, slot: u32) {
        let mut at = self.home(section, row);
        while self.entries[at].1 != NONE {
            at = self.next(at);
        }
        self.entries[at] = (name(section, row), slot);
    }

    /// The slot of a row; `None` if it is another partition's.
    pub(crate) fn find(&self, section: u16, row: u16) -> Option<u32> {
        let mut at = self.home(section, row);
        loop {
            match self.entries[at] {
                (_, NONE) => return None,
                (found, slot) if found == name(section, row) => return Some(slot),
                _ => at = self.next(at),
            }
        }
    }

    /// Asks the processor for the line that [`RowIndex::find`] will read first.
    pub(crate) fn prefetch(&self, section: u16, row: u16) {
        prefetch(&raw const self.entries[self.home(section, row)]);
    }

    /// Multiplicative hashing (Knuth), brought into range by a multiplication (Lemire).
    fn home(&self, section: u16, row: u16) -> usize {
        let hash = u64::from(name(section, row)).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32;
        ((hash * self.entries.len() as u64) >> 32) as usize
    }

    fn next(&self, at: usize) -> usize {
        if at + 1 == self.entries.len() { 0 } else { at + 1 }
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
