//! An event over several partitions, and what its rows show.

use super::rng::Rng;
use super::rows::random_row;
use super::world::World;
use frontrow_shard::*;

pub(crate) const EVENT: EventId = 9;

pub(crate) struct Venue {
    pub(crate) rules: EventRules,
    pub(crate) sections: Vec<Vec<RowSpec>>,
}

/// What a user wants when it waits: always the same, so that a queue's order can be checked from outside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Wish {
    pub(crate) count: u8,
    pub(crate) accessible: bool,
    pub(crate) adjacency: Adjacency,
}

impl Venue {
    pub(crate) fn new(rng: &mut Rng, rules: EventRules, longest_row: u64) -> Self {
        let section = |rng: &mut Rng, section| {
            let rows = rng.between(1, 6) as u16;
            (0..rows).map(|row| random_row(rng, section, row, longest_row)).collect()
        };
        let how_many = rng.between(1, 3) as u16;
        Self { rules, sections: (0..how_many).map(|at| section(rng, at)).collect() }
    }

    pub(crate) fn spec_for(&self, at: PartitionId, partitions: u16) -> EventSpec {
        let rows = self.sections.iter().flatten();
        let owned = |spec: &&RowSpec| RowRef::new(EVENT, spec.section, spec.row).partition(partitions) == at;
        let seats = |rows: &Vec<RowSpec>| rows.iter().map(|row| row.categories.len() as u32).sum();
        EventSpec {
            event: EVENT,
            rules: self.rules,
            section_rows: self.sections.iter().map(|rows| rows.len() as u16).collect(),
            section_seats: self.sections.iter().map(seats).collect(),
            rows: rows.filter(owned).cloned().collect(),
        }
    }

    pub(crate) fn wish(&self, user: UserId) -> Wish {
        let most = u64::from(self.rules.max_per_claim.min(6));
        Wish {
            count: (user % most) as u8 + 1,
            accessible: user.is_multiple_of(7),
            adjacency: [Adjacency::Required, Adjacency::Preferred, Adjacency::Any][(user % 3) as usize],
        }
    }

    pub(crate) fn rows(&self) -> impl Iterator<Item = (RowRef, &RowSpec)> + '_ {
        self.sections.iter().flatten().map(|spec| (RowRef::new(EVENT, spec.section, spec.row), spec))
    }

    pub(crate) fn section_rows(&self, section: RowRef) -> impl Iterator<Item = (RowRef, &RowSpec)> + '_ {
        self.rows().filter(move |(row, _)| row.section == section.section)
    }

    pub(crate) fn homes(&self) -> impl Iterator<Item = RowRef> + '_ {
        (0..self.sections.len() as u16).map(|section| RowRef::new(EVENT, section, RowRef::SECTION))
    }

    pub(crate) fn spec(&self, row: RowRef) -> &RowSpec {
        &self.sections[usize::from(row.section)][usize::from(row.row)]
    }

    /// Whether `wish` fits the seats of `place` that `usable` says can be used.
    pub(crate) fn fits(&self, place: RowRef, wish: Wish, usable: &impl Fn(RowRef, u8) -> bool) -> bool {
        if !place.is_section() {
            return fits_row(self.spec(place), wish, |seat| usable(place, seat));
        }
        if self.section_rows(place).any(|(row, spec)| fits_row(spec, wish, |seat| usable(row, seat))) {
            return true;
        }
        let spread = !wish.accessible && wish.adjacency != Adjacency::Required;
        let ordinary = |(row, spec): (RowRef, &RowSpec)| {
            let all = 0..spec.categories.len() as u32;
            let seats: Vec<u8> = all.map(|seat| seat as u8).collect();
            let good = |seat: &&u8| usable(row, **seat) && !spec.accessible.contains(seat);
            let good: Vec<u8> = seats.iter().filter(good).copied().collect();
            most_in_a_window(&good)
        };
        let mut free: Vec<usize> = self.section_rows(place).map(ordinary).collect();
        free.sort_unstable_by(|a, b| b.cmp(a));
        spread && free.iter().take(MAX_PARTS).sum::<usize>() >= usize::from(wish.count)
    }
}

/// The most of these places that lie within 64 of each other.
fn most_in_a_window(places: &[u8]) -> usize {
    let reach = |&low: &u8| places.iter().filter(|&&p| p >= low && p - low < 64).count();
    places.iter().map(reach).max().unwrap_or(0)
}

fn fits_row(spec: &RowSpec, wish: Wish, usable: impl Fn(u8) -> bool) -> bool {
    let mut run: Vec<u8> = Vec::new();
    for seat in 0..spec.categories.len() {
        let seat = seat as u8;
        if !usable(seat) || (!wish.accessible && spec.accessible.contains(&seat)) {
            run.clear();
            continue;
        }
        if seat > 0 && spec.aisles_after.contains(&(seat - 1)) {
            run.clear();
        }
        run.push(seat);
        let window = &run[run.len().saturating_sub(usize::from(wish.count))..];
        let good = !wish.accessible || window.iter().any(|s| spec.accessible.contains(s));
        if window.len() == usize::from(wish.count) && good {
            return true;
        }
    }
    false
}

/// Whether a seat is in one of a row's sets.
pub(crate) fn has(set: &[u64; 4], seat: u8) -> bool {
    set[usize::from(seat / 64)] >> (seat % 64) & 1 == 1
}

impl World {
    pub(crate) fn state(&self, row: RowRef) -> RowState {
        let owner = row.partition(self.count());
        self.parts[usize::from(owner)].row_state(row).expect("its owner knows the row")
    }

    pub(crate) fn waiting_at(&self, place: RowRef) -> Vec<UserId> {
        let owner = place.partition(self.count());
        self.parts[usize::from(owner)].waiting_at(place).collect()
    }
}
