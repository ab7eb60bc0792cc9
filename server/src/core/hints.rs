//! What is free in each row, roughly: how a section claim knows which rows to ask.
//!
//! Written by the row's owner a few milliseconds late, read by any core. A hint is no state: a wrong one
//! costs a question, never a seat. What was read of it goes into the operation, and so into the log.

use frontrow_shard::{Adjacency, CANDIDATES, ClaimSection, EventId, NO_ROW, RowRef, Supply};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Of a row that nobody has told of yet: it may have anything. Were it nothing, the first to come would be told that
/// all is sold.
const UNTOLD: u64 = u64::MAX;

/// One event's hints: a word per row.
#[derive(Debug)]
pub(crate) struct EventHints {
    sections: Vec<Vec<AtomicU64>>,
}

impl EventHints {
    pub(crate) fn new(section_rows: &[u16]) -> Arc<Self> {
        let section = |&rows: &u16| (0..rows).map(|_| AtomicU64::new(UNTOLD)).collect();
        Arc::new(Self { sections: section_rows.iter().map(section).collect() })
    }

    fn cell(&self, row: RowRef) -> Option<&AtomicU64> {
        self.sections.get(usize::from(row.section))?.get(usize::from(row.row))
    }

    /// How many rows each section has.
    pub(crate) fn section_rows(&self) -> impl Iterator<Item = usize> + '_ {
        self.sections.iter().map(Vec::len)
    }

    pub(crate) fn set(&self, row: RowRef, supply: &Supply) {
        if let Some(cell) = self.cell(row) {
            let byte = |n: u16| u64::from(n.min(255));
            let word = byte(supply.run)
                | byte(supply.accessible_run) << 8
                | byte(supply.free) << 16
                | byte(supply.ever_run) << 24
                | byte(supply.ever_accessible_run) << 32
                | byte(supply.ever) << 40;
            cell.store(word, Relaxed);
        }
    }
}

/// Hints of all events, as one core knows them.
pub(crate) type Hints = HashMap<EventId, Arc<EventHints>>;

/// Fills in the rows worth asking, best first: those that have all seats together, from the front of the
/// section; for a claim that may be spread, then those with most.
pub(crate) fn fill_candidates(hints: &Hints, claim: &mut ClaimSection) {
    let Some(rows) = hints
        .get(&claim.section.event)
        .and_then(|event| event.sections.get(usize::from(claim.section.section)))
    else {
        return;
    };
    let count = u64::from(claim.count);
    let byte = |word: u64, at: u32| word >> (8 * at) & 255;
    let (run, ever) = if claim.accessible { (1, 4) } else { (0, 3) };
    let words: Vec<u64> = rows.iter().map(|cell| cell.load(Relaxed)).collect();
    let spread = claim.adjacency != Adjacency::Required && !claim.accessible;
    claim.hopeless = if spread {
        words.iter().map(|&word| byte(word, 5)).sum::<u64>() < count
    } else {
        words.iter().all(|&word| byte(word, ever) < count)
    };
    let mut chosen: Vec<u16> = Vec::with_capacity(CANDIDATES);
    if claim.adjacency != Adjacency::Any || claim.accessible {
        let fitting = (0_u16..).zip(&words).filter(|&(_, &word)| byte(word, run) >= count);
        chosen.extend(fitting.map(|(row, _)| row).take(CANDIDATES));
    }
    if spread && chosen.len() < CANDIDATES {
        let mut most: Vec<(u64, u16)> =
            words.iter().zip(0_u16..).map(|(&word, row)| (byte(word, 2), row)).collect();
        most.sort_unstable_by_key(|&(free, row)| (std::cmp::Reverse(free), row));
        for (_, row) in most.into_iter().filter(|&(free, _)| free > 0) {
            if chosen.len() < CANDIDATES && !chosen.contains(&row) {
                chosen.push(row);
            }
        }
    }
    claim.candidates = [NO_ROW; CANDIDATES];
    claim.candidates[..chosen.len()].copy_from_slice(&chosen);
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_shard::ANY_CATEGORY;

    fn claim(count: u8, adjacency: Adjacency) -> ClaimSection {
        ClaimSection {
            section: RowRef::new(1, 0, RowRef::SECTION),
            count,
            category: ANY_CATEGORY,
            adjacency,
            accessible: false,
            or_join: false,
            hopeless: false,
            candidates: [NO_ROW; CANDIDATES],
        }
    }

    #[test]
    fn before_anything_is_told_there_may_be_seats() {
        let hints = Hints::from([(1, EventHints::new(&[5]))]);
        for adjacency in [Adjacency::Required, Adjacency::Any] {
            let mut early = claim(4, adjacency);
            fill_candidates(&hints, &mut early);
            assert!(!early.hopeless && early.candidates[0] != NO_ROW, "{early:?}");
        }
    }

    #[test]
    fn rows_that_fit_come_first_then_those_with_most() {
        let event = EventHints::new(&[4]);
        for (row, run, free) in [(0, 1, 5), (1, 3, 3), (2, 0, 0), (3, 4, 9)] {
            let supply = Supply { run, free, ever: 10, ever_run: 5, ..Supply::default() };
            event.set(RowRef::new(1, 0, row), &supply);
        }
        let hints = Hints::from([(1, event)]);
        let mut required = claim(3, Adjacency::Required);
        fill_candidates(&hints, &mut required);
        assert_eq!(&required.candidates[..3], &[1, 3, NO_ROW]);
        assert!(!required.hopeless);
        let mut any = claim(3, Adjacency::Any);
        fill_candidates(&hints, &mut any);
        assert_eq!(&any.candidates[..4], &[3, 0, 1, NO_ROW]);
        let mut hopeless = claim(6, Adjacency::Required);
        fill_candidates(&hints, &mut hopeless);
        assert!(hopeless.hopeless);
    }
}
