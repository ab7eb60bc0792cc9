//! The hall as the crowd knows it: sections, rows, places, and which of them may be had.

use frontrow_shard::{EventId, EventRules, MAX_ROW_SEATS, RowRef, Seats};
use frontrow_venue::Plan;

/// A set of places of one row.
type Places = [u64; MAX_ROW_SEATS / 64];

fn has(set: &Places, place: u8) -> bool {
    set[usize::from(place / 64)] >> (place % 64) & 1 == 1
}

/// One row.
#[derive(Clone, Debug)]
pub struct HallRow {
    /// Where it is.
    pub at: RowRef,
    /// How many places it has.
    pub places: u16,
    /// Index of its first seat among all seats of the hall.
    pub first_seat: u32,
    free: Places,
    aisles_after: Places,
    accessible: Places,
}

/// All rows of an event.
#[derive(Clone, Debug)]
pub struct Hall {
    event: EventId,
    rows: Vec<HallRow>,
    /// Index of each section's first row, and of the end.
    starts: Vec<u32>,
    seats: u32,
    rules: Option<EventRules>,
}

impl Hall {
    /// Sections of rows, each given by its number of places (at most 256: more are cut off). All seats are free.
    pub fn new(event: EventId, sections: &[Vec<u16>]) -> Self {
        let mut hall = Self { event, rows: Vec::new(), starts: vec![0], seats: 0, rules: None };
        for (section, rows) in sections.iter().enumerate() {
            for (row, &places) in rows.iter().enumerate() {
                let places = places.min(MAX_ROW_SEATS as u16);
                let mut free = Places::default();
                for place in 0..places {
                    free[usize::from(place / 64)] |= 1 << (place % 64);
                }
                hall.rows.push(HallRow {
                    at: RowRef::new(event, section as u16, row as u16),
                    places,
                    first_seat: hall.seats,
                    free,
                    aisles_after: Places::default(),
                    accessible: Places::default(),
                });
                hall.seats += u32::from(places);
            }
            hall.starts.push(hall.rows.len() as u32);
        }
        hall
    }

    /// The hall of a seating plan, with its aisles. All seats are free.
    pub fn from_plan(event: EventId, plan: &Plan) -> Self {
        let places = |section: &frontrow_venue::Section| {
            section.rows.iter().map(|row| row.seats.len() as u16).collect::<Vec<_>>()
        };
        let sections: Vec<_> = plan.sections.iter().map(places).collect();
        let mut hall = Self::new(event, &sections);
        for (at, _) in plan.seats().filter(|(_, seat)| seat.aisle_after) {
            hall.add_aisle(at.section as u16, at.row as u16, at.seat as u8);
        }
        for (at, _) in plan.seats().filter(|(_, seat)| seat.accessible) {
            hall = hall.with_accessible(at.section as u16, at.row as u16, &[at.seat as u8]);
        }
        hall
    }

    /// Says after which places of a row an aisle follows. Nothing happens if there is no such row.
    #[must_use]
    pub fn with_aisles(mut self, section: u16, row: u16, after: &[u8]) -> Self {
        for &place in after {
            self.add_aisle(section, row, place);
        }
        self
    }

    /// Says which places of a row are accessible: they are given only to who asks for one, or names it. Nothing happens if
    /// there is no such row.
    #[must_use]
    pub fn with_accessible(mut self, section: u16, row: u16, places: &[u8]) -> Self {
        if let Some(index) = self.row_index(RowRef::new(self.event, section, row)) {
            for &place in places {
                self.rows[index as usize].accessible[usize::from(place / 64)] |= 1 << (place % 64);
            }
        }
        self
    }

    fn add_aisle(&mut self, section: u16, row: u16, after: u8) {
        if let Some(index) = self.row_index(RowRef::new(self.event, section, row)) {
            self.rows[index as usize].aisles_after[usize::from(after / 64)] |= 1 << (after % 64);
        }
    }

    /// Leaves only those seats free that `is_free` says are, by section, row and place.
    #[must_use]
    pub fn only_free(mut self, mut is_free: impl FnMut(u16, u16, u8) -> bool) -> Self {
        for row in &mut self.rows {
            for place in 0..row.places {
                let place = place as u8;
                if !is_free(row.at.section, row.at.row, place) {
                    row.free[usize::from(place / 64)] &= !(1 << (place % 64));
                }
            }
        }
        self
    }

    /// Makes the event's real rules known, so that times and passes can be checked exactly.
    #[must_use]
    pub fn with_rules(mut self, rules: EventRules) -> Self {
        self.rules = Some(rules);
        self
    }

    /// The event.
    pub fn event(&self) -> EventId {
        self.event
    }

    /// The event's rules, if they are known.
    pub fn rules(&self) -> Option<&EventRules> {
        self.rules.as_ref()
    }

    /// Rows in the order of the hall.
    pub fn rows(&self) -> &[HallRow] {
        &self.rows
    }

    /// How many sections.
    pub fn sections(&self) -> usize {
        self.starts.len() - 1
    }

    /// The rows of a section.
    pub fn rows_of(&self, section: u16) -> &[HallRow] {
        let at = usize::from(section);
        match (self.starts.get(at), self.starts.get(at + 1)) {
            (Some(&from), Some(&to)) => &self.rows[from as usize..to as usize],
            _ => &[],
        }
    }

    /// Index of a row among all rows.
    pub fn row_index(&self, row: RowRef) -> Option<u32> {
        let from = *self.starts.get(usize::from(row.section))?;
        let to = *self.starts.get(usize::from(row.section) + 1)?;
        let index = from + u32::from(row.row);
        (row.event == self.event && index < to).then_some(index)
    }

    /// How many seats, free or not.
    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// How many seats were free when the hall was looked at.
    pub fn free_seats(&self) -> u32 {
        self.rows.iter().map(|row| u32::from(row.free_seats())).sum()
    }

    /// Places of the longest row.
    pub fn longest_row(&self) -> u16 {
        self.rows.iter().map(|row| row.places).max().unwrap_or(0)
    }
}

impl HallRow {
    /// How many of its seats were free.
    pub fn free_seats(&self) -> u16 {
        self.free.iter().map(|word| word.count_ones() as u16).sum()
    }

    /// Whether a place was free.
    pub fn is_free(&self, place: u8) -> bool {
        has(&self.free, place)
    }

    /// Whether a place is accessible.
    pub fn is_accessible(&self, place: u8) -> bool {
        has(&self.accessible, place)
    }

    /// Whether any of its places is accessible.
    pub fn has_accessible(&self) -> bool {
        self.accessible.iter().any(|word| *word != 0)
    }

    /// Whether all of `seats` are places of this row.
    pub fn contains(&self, seats: Seats) -> bool {
        let last = u16::from(seats.first) + 63_u16.saturating_sub(seats.mask.leading_zeros() as u16);
        seats.is_empty() || last < self.places
    }

    /// Whether the seats are next to each other, with no aisle in between.
    pub fn is_together(&self, seats: Seats) -> bool {
        let run = seats.mask >> seats.mask.trailing_zeros().min(63);
        let unbroken = run & run.wrapping_add(1) == 0;
        let last = seats.places().last();
        unbroken && seats.places().all(|place| Some(place) == last || !has(&self.aisles_after, place))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_and_their_seats_known() {
        let hall = Hall::new(7, &[vec![3, 4], vec![300]]).with_aisles(0, 1, &[1]);
        assert_eq!((hall.sections(), hall.seats(), hall.longest_row()), (2, 263, 256));
        assert_eq!(hall.row_index(RowRef::new(7, 1, 0)), Some(2));
        assert_eq!(hall.row_index(RowRef::new(7, 1, 1)), None);
        assert_eq!(hall.row_index(RowRef::new(8, 0, 0)), None);
        assert_eq!(hall.row_index(RowRef::new(7, 2, 0)), None);
        let row = &hall.rows_of(0)[1];
        assert!(row.is_together(Seats { mask: 0b11, first: 0 }));
        assert!(!row.is_together(Seats { mask: 0b11, first: 1 }), "an aisle lies between");
        assert!(!row.is_together(Seats { mask: 0b101, first: 0 }));
        assert!(
            row.contains(Seats { mask: 0b11, first: 2 }) && !row.contains(Seats { mask: 0b11, first: 3 })
        );
        let some = hall.only_free(|section, _, place| section == 0 && place > 0);
        assert_eq!(some.free_seats(), 5);
    }
}
