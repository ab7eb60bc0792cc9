//! Rows in a snapshot: their geometry, and what of their state their holds do not tell.

use super::{Row, Rows, Set};
use crate::bits::{SeatBits, Wide};
use crate::event::Section;
use crate::hold::NONE;
use crate::ids::{MAX_ROW_SEATS, Seats};
use crate::snapshot::{Reader, SnapshotError, Writer};
use std::hash::{Hash, Hasher};

/// What one row of up to 64 seats takes at the least.
const LEAST: usize = 2 + 2 + 2 + 2 + 4 + 32;

impl Rows {
    pub(crate) fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.slots().count() as u32);
        out.u32(self.lines.len() as u32);
        for slot in self.slots() {
            let line = self.line(slot);
            out.u16(line.section);
            out.u16(line.number);
            out.u16(line.seats);
            match self.categories_of(slot) {
                Ok(all) => out.bytes(&[0, all]),
                Err(each) => {
                    out.bytes(&[1, 0]);
                    out.bytes(each);
                }
            }
            out.u32(line.loan);
            for line in &self.lines[slot as usize..slot as usize + usize::from(line.words)] {
                for word in [line.joins, line.accessible, line.blocked, line.lent] {
                    out.u64(word);
                }
            }
        }
    }

    /// Rows without holds: what is not blocked or lent is free, until [`Rows::occupy`] is told otherwise.
    pub(crate) fn load(input: &mut Reader<'_>, sections: &[Section]) -> Result<Self, SnapshotError> {
        let rows = input.count(LEAST)?;
        let lines = input.count(32)?;
        let mut loaded = Self {
            lines: Vec::with_capacity(lines),
            uniform: Vec::with_capacity(lines),
            categories: Vec::new(),
        };
        for _ in 0..rows {
            loaded.load_row(input, sections)?;
        }
        input.check(loaded.lines.len() == lines, "another number of lines than it says")?;
        Ok(loaded)
    }

    fn load_row(&mut self, input: &mut Reader<'_>, sections: &[Section]) -> Result<(), SnapshotError> {
        let (section, number, seats) = (input.u16()?, input.u16()?, input.u16()?);
        let known = sections.get(usize::from(section)).is_some_and(|section| number < section.rows);
        input.check(known, "a row that its event does not have")?;
        input.check((1..=MAX_ROW_SEATS).contains(&usize::from(seats)), "a row of an impossible length")?;
        let (mixed, all) = (input.bool()?, input.u8()?);
        let uniform = if mixed {
            let at = self.categories.len() as u32;
            self.categories.extend_from_slice(input.take(usize::from(seats))?);
            Err(at)
        } else {
            Ok(all)
        };
        let loan = input.u32()?;
        let words = usize::from(seats).div_ceil(64);
        let [mut joins, mut accessible, mut blocked, mut lent] = [Wide::EMPTY; 4];
        for word in 0..words {
            joins[word] = input.u64()?;
            accessible[word] = input.u64()?;
            blocked[word] = input.u64()?;
            lent[word] = input.u64()?;
        }
        let row = Wide::below(u32::from(seats));
        let inside = |set: Wide| set.without(row).is_empty();
        let joined = joins.without(Wide::below(u32::from(seats) - 1)).is_empty();
        input.check(
            joined && inside(accessible) && inside(blocked) && inside(lent),
            "seats past a row's end",
        )?;
        input.check(blocked.and(lent).is_empty(), "a seat is both blocked and lent")?;
        let free = row.without(blocked).without(lent);
        for word in 0..words {
            self.lines.push(Row {
                free: free[word],
                booked: 0,
                blocked: blocked[word],
                lent: lent[word],
                joins: joins[word],
                accessible: accessible[word],
                queue: NONE,
                // Only a row's first line counts its loans.
                loan: if word == 0 { loan } else { 0 },
                section,
                number,
                seats,
                words: words as u8,
            });
            self.uniform.push(uniform);
        }
        Ok(())
    }

    /// Whether a row begins at `slot`.
    pub(crate) fn begins_at(&self, slot: u32) -> bool {
        let Some(line) = self.lines.get(slot as usize) else { return false };
        let before = slot.checked_sub(1).map(|before| self.line(before));
        // A row's lines all have its name, and no other row has it.
        before.is_none_or(|before| (before.section, before.number) != (line.section, line.number))
    }

    /// Gives free seats of a row to a hold. `false` if they are not all free, or not all there.
    pub(crate) fn occupy(&mut self, slot: u32, seats: Seats, booked: bool) -> bool {
        let end = u32::from(seats.first) + (u64::BITS - seats.mask.leading_zeros());
        if !self.begins_at(slot) || seats.is_empty() || end > u32::from(self.len(slot)) {
            return false;
        }
        if self.among(slot, Set::Free, seats).count() != seats.count() {
            return false;
        }
        self.take_from(slot, Set::Free, seats);
        if booked {
            self.add_to(slot, Set::Booked, seats);
        }
        true
    }

    /// Folds a row into `hash`.
    pub(crate) fn hash_into(&self, slot: u32, hash: &mut impl Hasher) {
        let line = self.line(slot);
        (line.section, line.number, line.seats, line.loan).hash(hash);
        self.categories_of(slot).hash(hash);
        for line in &self.lines[slot as usize..slot as usize + usize::from(line.words)] {
            (line.free, line.booked, line.blocked, line.lent, line.joins, line.accessible).hash(hash);
        }
    }

    fn categories_of(&self, slot: u32) -> Result<u8, &[u8]> {
        self.uniform[slot as usize]
            .map_err(|at| &self.categories[at as usize..][..usize::from(self.len(slot))])
    }
}
