//! What people want: rows by popularity, parties by size, and the way they ask.

use super::dice::Dice;
use super::hall::{Hall, HallRow};
use super::scenario::{Group, Interest};
use frontrow_shard::{
    ANY_CATEGORY, Adjacency, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Command, Join, NO_ROW, RowRef,
    Seats,
};

/// Draws an index with given weights in constant time: M. D. Vose's alias method.
#[derive(Clone, Debug)]
pub(crate) struct Alias {
    keep: Vec<f32>,
    other: Vec<u32>,
}

impl Alias {
    /// Weights are not negative, and not all zero.
    pub(crate) fn new(weights: &[f64]) -> Self {
        let n = weights.len();
        let mean = weights.iter().sum::<f64>() / n as f64;
        let mut left: Vec<f64> = weights.iter().map(|weight| weight / mean).collect();
        let (mut keep, mut other) = (vec![1.0_f32; n], (0..n as u32).collect::<Vec<_>>());
        let (mut small, mut large): (Vec<usize>, Vec<usize>) = (0..n).partition(|&i| left[i] < 1.0);
        while let (Some(less), Some(&more)) = (small.pop(), large.last()) {
            keep[less] = left[less] as f32;
            other[less] = more as u32;
            left[more] -= 1.0 - left[less];
            if left[more] < 1.0 {
                large.pop();
                small.push(more);
            }
        }
        // What rounding leaves over must not let a weight of zero be drawn.
        let heaviest = (0..n).max_by(|&a, &b| weights[a].total_cmp(&weights[b])).unwrap_or(0);
        for at in small.into_iter().filter(|&at| weights[at] <= 0.0) {
            keep[at] = 0.0;
            other[at] = heaviest as u32;
        }
        Self { keep, other }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> u32 {
        let at = dice.below(self.keep.len() as u32);
        if dice.unit() < f64::from(self.keep[at as usize]) { at } else { self.other[at as usize] }
    }
}

/// How a person asks for seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Named,
    RowBest,
    SectionBest,
    RowQueue,
    SectionQueue,
}

const WAYS: [Way; 5] = [Way::Named, Way::RowBest, Way::SectionBest, Way::RowQueue, Way::SectionQueue];

/// One person's wish.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wish {
    /// Index of the row in the hall.
    pub(crate) row: u32,
    pub(crate) party: u8,
    pub(crate) way: Way,
    /// Whether one of the seats has to be accessible.
    pub(crate) accessible: bool,
}

/// What a group wants.
#[derive(Clone, Debug)]
pub(crate) struct Wishes {
    rows: Alias,
    /// Rows with accessible seats; none if nobody asks for one, or there are none.
    accessible_rows: Option<Alias>,
    accessible: f64,
    sizes: Vec<u8>,
    parties: Alias,
    ways: Alias,
    adjacency: Adjacency,
}

impl Wishes {
    /// Of a group that has been checked against the hall.
    pub(crate) fn new(group: &Group, hall: &Hall) -> Self {
        let interest = &group.interest;
        let ways = [
            interest.named,
            interest.row_best,
            interest.section_best,
            interest.row_queue,
            interest.section_queue,
        ];
        let wanted = popularity(interest, hall);
        let has_one = |(row, weight): (&HallRow, &f64)| if row.has_accessible() { *weight } else { 0.0 };
        let accessible: Vec<f64> = hall.rows().iter().zip(&wanted).map(has_one).collect();
        let any = interest.accessible > 0.0 && accessible.iter().any(|weight| *weight > 0.0);
        Self {
            rows: Alias::new(&wanted),
            accessible_rows: any.then(|| Alias::new(&accessible)),
            accessible: interest.accessible,
            sizes: group.party.sizes.clone(),
            parties: Alias::new(&group.party.weights),
            ways: Alias::new(&ways),
            adjacency: interest.adjacency.into(),
        }
    }

    pub(crate) fn draw(&self, dice: &mut Dice) -> Wish {
        let party = self.sizes[self.parties.draw(dice) as usize];
        let way = WAYS[self.ways.draw(dice) as usize];
        // Nothing is drawn where nobody asks: such a crowd stays the one that its seed gave before.
        let accessible = self.accessible_rows.is_some() && dice.chance(self.accessible);
        // Which seats of a row are accessible is for the server to know.
        let way = if accessible && way == Way::Named { Way::RowBest } else { way };
        Wish { row: self.row(accessible, dice), party, way, accessible }
    }

    /// Another row for the same wish.
    pub(crate) fn row(&self, accessible: bool, dice: &mut Dice) -> u32 {
        self.accessible_rows.as_ref().filter(|_| accessible).unwrap_or(&self.rows).draw(dice)
    }

    /// The request that a wish begins with.
    pub(crate) fn command(&self, wish: Wish, hall: &Hall, dice: &mut Dice) -> Command {
        let row = &hall.rows()[wish.row as usize];
        let (count, accessible) = (wish.party, wish.accessible);
        let adjacency = if accessible { Adjacency::Required } else { self.adjacency };
        match wish.way {
            Way::Named => {
                let starts = (u32::from(row.places) + 1).saturating_sub(u32::from(count)).max(1);
                let first = dice.below(starts) as u8;
                let fitting = u32::from(count).min(u32::from(row.places) - u32::from(first)).min(63);
                Command::ClaimSeats(ClaimSeats {
                    row: row.at,
                    seats: Seats { mask: (1 << fitting) - 1, first },
                })
            }
            Way::RowBest => Command::ClaimBest(ClaimBest {
                row: row.at,
                count,
                category: ANY_CATEGORY,
                accessible,
                or_join: false,
            }),
            Way::SectionBest => Command::ClaimSection(ClaimSection {
                section: row.at.section_of(),
                count,
                category: ANY_CATEGORY,
                adjacency,
                accessible,
                or_join: false,
                hopeless: false,
                candidates: [NO_ROW; CANDIDATES],
            }),
            Way::RowQueue => self.join(row.at, wish),
            Way::SectionQueue => self.join(row.at.section_of(), wish),
        }
    }

    /// The request to wait at a place.
    pub(crate) fn join(&self, place: RowRef, wish: Wish) -> Command {
        let Wish { party: count, accessible, .. } = wish;
        let apart = place.is_section() && !accessible;
        let adjacency = if apart { self.adjacency } else { Adjacency::Required };
        Command::Join(Join { place, count, adjacency, accessible })
    }
}

/// How much each row of the hall is wanted: Zipf's law over sections, and over the rows of each.
fn popularity(interest: &Interest, hall: &Hall) -> Vec<f64> {
    let mut wanted: Vec<f64> = hall
        .rows()
        .iter()
        .map(|row| {
            let section = (f64::from(row.at.section) + 1.0).powf(-interest.sections_zipf);
            let line = (f64::from(row.at.row) + 1.0).powf(-interest.rows_zipf);
            if row.free_seats() == 0 { 0.0 } else { section * line }
        })
        .collect();
    let most = interest.rows as usize;
    if most > 0 && most < wanted.len() {
        let mut ranks: Vec<usize> = (0..wanted.len()).collect();
        ranks.sort_by(|&a, &b| wanted[b].total_cmp(&wanted[a]).then(a.cmp(&b)));
        for &row in &ranks[most..] {
            wanted[row] = 0.0;
        }
    }
    wanted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_table_draws_by_weight_and_never_what_weighs_nothing() {
        let weights = [1.0, 0.0, 3.0, 6.0];
        let (table, mut dice) = (Alias::new(&weights), Dice::new(1, 2));
        let mut counts = [0_u32; 4];
        for _ in 0..100_000 {
            counts[table.draw(&mut dice) as usize] += 1;
        }
        assert_eq!(counts[1], 0);
        for (count, weight) in counts.iter().zip(weights) {
            let expected = weight * 10_000.0;
            assert!((f64::from(*count) - expected).abs() < 500.0, "{counts:?}");
        }
    }

    #[test]
    fn only_so_many_rows_are_wanted() {
        let hall = Hall::new(1, &[vec![10; 40], vec![10; 40]]);
        let interest = Interest { rows: 30, rows_zipf: 0.5, sections_zipf: 0.5, ..Interest::default() };
        let wanted = popularity(&interest, &hall);
        assert_eq!(wanted.iter().filter(|&&w| w > 0.0).count(), 30);
        let hall = hall.only_free(|section, row, _| (section, row) != (0, 0));
        assert_eq!(popularity(&interest, &hall)[0].to_bits(), 0, "a row without free seats is not wanted");
    }
}
