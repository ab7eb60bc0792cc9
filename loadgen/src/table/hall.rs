//! The seats on sale, who may ask for which, and who holds what: the load's own books.

use crate::LoadError;
use frontrow_shard::{EventId, Fence, RowRef, Seats, mix};
use frontrow_venue::Plan;
use std::collections::VecDeque;
use std::sync::Arc;

/// Index of a seat in its hall.
pub(crate) type SeatNumber = u32;

/// Where a seat is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) section: u16,
    pub(crate) row: u16,
    pub(crate) place: u8,
}

/// All seats of an event, by section, row and place.
#[derive(Debug)]
pub(crate) struct Hall {
    pub(crate) event: EventId,
    pub(crate) sections: u16,
    pub(crate) spots: Vec<Spot>,
}

impl Hall {
    pub(crate) fn new(event: EventId, plan: &Plan) -> Self {
        let spot = |section: u32, row: u32, seat: u32| Spot {
            section: section as u16,
            row: row as u16,
            place: seat as u8,
        };
        let spots = plan.seats().map(|(at, _)| spot(at.section, at.row, at.seat)).collect();
        Self { event, sections: plan.sections.len() as u16, spots }
    }

    pub(crate) fn row(&self, seat: SeatNumber) -> RowRef {
        let spot = self.spots[seat as usize];
        RowRef::new(self.event, spot.section, spot.row)
    }

    /// The seat as a claim names it.
    pub(crate) fn seats(&self, seat: SeatNumber) -> Seats {
        Seats { mask: 1, first: self.spots[seat as usize].place }
    }
}

/// A set of seats.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeatSet {
    words: Vec<u64>,
}

impl SeatSet {
    pub(crate) fn new(seats: usize) -> Self {
        Self { words: vec![0; seats.div_ceil(64)] }
    }

    /// Adds a seat; `false` if it was in already.
    pub(crate) fn insert(&mut self, seat: SeatNumber) -> bool {
        let (word, bit) = (&mut self.words[seat as usize / 64], 1_u64 << (seat % 64));
        let new = *word & bit == 0;
        *word |= bit;
        new
    }

    /// Takes a seat out; `false` if it was not in.
    pub(crate) fn remove(&mut self, seat: SeatNumber) -> bool {
        let (word, bit) = (&mut self.words[seat as usize / 64], 1_u64 << (seat % 64));
        let old = *word & bit != 0;
        *word &= !bit;
        old
    }

    pub(crate) fn contains(&self, seat: SeatNumber) -> bool {
        self.words[seat as usize / 64] >> (seat % 64) & 1 == 1
    }

    pub(crate) fn len(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

/// What one connection may claim, and what it holds.
#[derive(Debug)]
pub(crate) struct Purse<F = Fence> {
    /// Free seats, in the order they will be asked for.
    pub(crate) stock: VecDeque<SeatNumber>,
    /// Held seats, oldest first.
    pub(crate) held: VecDeque<(SeatNumber, F)>,
}

impl<F> Default for Purse<F> {
    fn default() -> Self {
        Self { stock: VecDeque::new(), held: VecDeque::new() }
    }
}

/// The load's books of one server, kept from run to run.
pub(crate) struct Books<F = Fence> {
    pub(crate) hall: Arc<Hall>,
    pub(crate) purses: Vec<Purse<F>>,
    pub(crate) taken: SeatSet,
}

impl<F> Books<F> {
    /// Deals the seats at random to `connections`, none to two of them.
    pub(crate) fn deal(hall: Arc<Hall>, connections: usize, seed: u64) -> Self {
        let seats = shuffled(hall.spots.len(), seed);
        let share = seats.len().div_ceil(connections.max(1)).max(1);
        let mut purses: Vec<Purse<F>> = seats
            .chunks(share)
            .map(|seats| Purse {
                stock: seats.iter().copied().collect(),
                held: VecDeque::with_capacity(seats.len()),
            })
            .collect();
        purses.resize_with(connections, Purse::default);
        let taken = SeatSet::new(hall.spots.len());
        Self { hall, purses, taken }
    }

    /// Every connection wants all seats, each in an order of its own, and has at least `tokens` wishes to
    /// keep in flight.
    pub(crate) fn crowd(hall: Arc<Hall>, connections: usize, tokens: usize, seed: u64) -> Self {
        let purse = |number: usize| {
            let order = shuffled(hall.spots.len(), mix(seed ^ number as u64));
            let stock = order.iter().copied().cycle().take(tokens.max(order.len())).collect();
            Purse { stock, held: VecDeque::with_capacity(hall.spots.len()) }
        };
        let purses = (0..connections).map(purse).collect();
        let taken = SeatSet::new(hall.spots.len());
        Self { hall, purses, taken }
    }

    /// An error if anything is held still.
    pub(crate) fn all_back(&self) -> Result<(), LoadError> {
        match self.held() {
            0 => Ok(()),
            held => Err(LoadError::Wrong(format!("{held} holds were left after all were released"))),
        }
    }

    /// How many seats the connections hold.
    pub(crate) fn held(&self) -> u64 {
        self.purses.iter().map(|purse| purse.held.len() as u64).sum()
    }
}

/// All seats in random order.
fn shuffled(seats: usize, seed: u64) -> Vec<SeatNumber> {
    let mut seats: Vec<SeatNumber> = (0..seats as SeatNumber).collect();
    for i in (1..seats.len()).rev() {
        // Fisher and Yates, with a counter through a mixing function as the source of numbers.
        let at = (u128::from(mix(seed ^ mix(i as u64))) * (i as u128 + 1)) >> 64;
        seats.swap(i, at as usize);
    }
    seats
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seat_is_dealt_to_one_connection() {
        let plan = frontrow_venue::stadium::generate(&frontrow_venue::stadium::StadiumSpec::new(1000));
        let hall = Arc::new(Hall::new(1, &plan.expect("a plan")));
        assert_eq!(hall.spots.len(), 1000);
        let crowd = Books::<Fence>::crowd(Arc::clone(&hall), 3, 1500, 42);
        assert!(crowd.purses.iter().all(|purse| purse.stock.len() == 1500));
        assert_ne!(crowd.purses[0].stock, crowd.purses[1].stock, "each has an order of its own");
        let books = Books::<Fence>::deal(hall, 7, 42);
        let mut seen = SeatSet::new(1000);
        assert!(books.purses.iter().flat_map(|purse| &purse.stock).all(|&seat| seen.insert(seat)));
        assert_eq!((seen.len(), books.purses.len(), books.held()), (1000, 7, 0));
        let first: Vec<_> = books.purses[0].stock.iter().take(5).copied().collect();
        assert_ne!(first, [0, 1, 2, 3, 4], "the order is random");
        assert!(seen.remove(17) && !seen.contains(17) && !seen.remove(17) && seen.len() == 999);
    }
}
