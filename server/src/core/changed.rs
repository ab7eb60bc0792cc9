//! Rows that have changed since hints and watchers were last told of them.
//!
//! A bit for each row of the event, so that noting a change touches memory which is always at hand: with claims
//! all over a large venue a mark that stands with the row's hint would be a miss for every claim.

use frontrow_shard::{EventId, RowRef};
use std::collections::HashMap;

/// The changed rows of all events.
#[derive(Default)]
pub(crate) struct Changed {
    events: Vec<Marks>,
    by_number: HashMap<EventId, usize>,
    /// The event of the last change: mostly it is that of the next one, too.
    last: usize,
    /// The event that the next row is taken from.
    turn: usize,
    marked: usize,
}

/// One event's.
struct Marks {
    event: EventId,
    /// Where the rows of each section begin, and behind the last one the end.
    starts: Vec<u32>,
    words: Vec<u64>,
    /// The next row is taken from here on, counted in bits: a row that is marked again at once has its turn again
    /// only after all others.
    at: usize,
}

impl Changed {
    /// Makes room for an event whose sections have so many rows; none of them is marked.
    pub(crate) fn add(&mut self, event: EventId, section_rows: impl Iterator<Item = usize>) {
        let mut starts = vec![0];
        starts.extend(section_rows.scan(0, |end, rows| {
            *end += rows as u32;
            Some(*end)
        }));
        let rows = starts.last().copied().unwrap_or(0) as usize;
        let marks = Marks { event, starts, words: vec![0; rows.div_ceil(64)], at: 0 };
        if let Some(at) = self.find(event) {
            self.marked -= self.events[at].count();
            self.events[at] = marks;
        } else {
            self.by_number.insert(event, self.events.len());
            self.events.push(marks);
        }
    }

    /// Marks a row; `false` if it was marked already, or there is no such row.
    pub(crate) fn mark(&mut self, row: RowRef) -> bool {
        let Some((word, bit)) = self.bit(row) else { return false };
        let fresh = *word & bit == 0;
        *word |= bit;
        self.marked += usize::from(fresh);
        fresh
    }

    /// Takes a row's mark away; `false` if it had none.
    pub(crate) fn unmark(&mut self, row: RowRef) -> bool {
        let Some((word, bit)) = self.bit(row) else { return false };
        let marked = *word & bit != 0;
        *word &= !bit;
        self.marked -= usize::from(marked);
        marked
    }

    /// Takes the mark of some row away. Every row has its turn.
    pub(crate) fn take(&mut self) -> Option<RowRef> {
        if self.marked == 0 {
            return None;
        }
        loop {
            if let Some(row) = self.events[self.turn].take() {
                self.marked -= 1;
                return Some(row);
            }
            self.turn = if self.turn + 1 < self.events.len() { self.turn + 1 } else { 0 };
        }
    }

    fn find(&self, event: EventId) -> Option<usize> {
        if self.events.get(self.last).is_some_and(|marks| marks.event == event) {
            return Some(self.last);
        }
        self.by_number.get(&event).copied()
    }

    fn bit(&mut self, row: RowRef) -> Option<(&mut u64, u64)> {
        self.last = self.find(row.event)?;
        let marks = &mut self.events[self.last];
        let section = usize::from(row.section);
        let at = marks.starts.get(section)? + u32::from(row.row);
        if at >= *marks.starts.get(section + 1)? {
            return None;
        }
        Some((&mut marks.words[at as usize / 64], 1 << (at % 64)))
    }
}

impl Marks {
    fn count(&self) -> usize {
        self.words.iter().map(|word| word.count_ones() as usize).sum()
    }

    /// The next marked row from where the last one was; `None` at the end, from where it begins again.
    fn take(&mut self) -> Option<RowRef> {
        while let Some(word) = self.words.get_mut(self.at / 64) {
            let rest = *word >> (self.at % 64);
            if rest != 0 {
                self.at += rest.trailing_zeros() as usize;
                *word &= !(1 << (self.at % 64));
                let at = self.at as u32;
                self.at += 1;
                let section = self.starts.partition_point(|&start| start <= at) - 1;
                return Some(RowRef::new(self.event, section as u16, (at - self.starts[section]) as u16));
            }
            self.at = (self.at / 64 + 1) * 64;
        }
        self.at = 0;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed() -> Changed {
        let mut changed = Changed::default();
        changed.add(7, [0, 3, 0, 100].into_iter());
        changed.add(9, [2].into_iter());
        changed
    }

    #[test]
    fn every_marked_row_is_taken_once() {
        let mut changed = changed();
        let rows = [(7, 1, 2), (9, 0, 0), (7, 3, 99), (7, 1, 0), (9, 0, 1)];
        let mut rows = rows.map(|(event, section, row)| RowRef::new(event, section, row));
        assert!(rows.iter().all(|&row| changed.mark(row)));
        assert!(rows.iter().all(|&row| !changed.mark(row)), "a row is marked once");
        let mut taken: Vec<RowRef> = std::iter::from_fn(|| changed.take()).collect();
        taken.sort_unstable_by_key(|row| row.key());
        rows.sort_unstable_by_key(|row| row.key());
        assert_eq!(taken, rows);
        assert!(changed.mark(rows[0]) && changed.unmark(rows[0]) && !changed.unmark(rows[0]));
        assert_eq!(changed.take(), None);
    }

    #[test]
    fn a_row_that_changes_all_the_time_does_not_keep_others_waiting() {
        let mut changed = changed();
        let (busy, other) = (RowRef::new(7, 1, 0), RowRef::new(9, 0, 1));
        changed.mark(other);
        for _ in 0..3 {
            changed.mark(busy);
            if changed.take() == Some(other) {
                return;
            }
        }
        panic!("the other row never had its turn");
    }

    #[test]
    fn what_is_no_row_is_not_marked_and_a_new_event_begins_without_marks() {
        let mut changed = changed();
        for row in [RowRef::new(8, 0, 0), RowRef::new(7, 0, 0), RowRef::new(7, 4, 0), RowRef::new(9, 0, 2)] {
            assert!(!changed.mark(row), "{row:?}");
        }
        assert!(changed.mark(RowRef::new(9, 0, 1)));
        changed.add(9, [2].into_iter());
        assert_eq!(changed.take(), None);
    }
}
