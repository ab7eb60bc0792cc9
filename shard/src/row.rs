//! Rows: which seats are free, booked or blocked, and choosing among them.
//!
//! A row of up to 64 seats is one cache line; a longer one is that line and up to three continuation
//! lines behind it. *Held* is what is none of free, booked, blocked.

mod saved;

use crate::answer::{Answer, Code};
use crate::bits::{self, SeatBits, Wide};
use crate::hold::NONE;
use crate::ids::{MAX_ROW_SEATS, Seats};
use crate::op::Supply;
use crate::rules::{OrphanRule, RowSpec};

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
pub(crate) struct Row {
    pub(crate) free: u64,
    pub(crate) booked: u64,
    pub(crate) blocked: u64,
    /// Free, but lent to the section's queue; nobody else may have them.
    pub(crate) lent: u64,
    joins: u64,
    accessible: u64,
    /// The row's queue, if anybody waits in it.
    pub(crate) queue: u32,
    /// Counts what was lent, so that a late answer is told apart. Bounded use, may wrap.
    pub(crate) loan: u32,
    pub(crate) section: u16,
    pub(crate) number: u16,
    seats: u16,
    words: u8,
}

const _: () = assert!(size_of::<Row>() == 64);

/// Which of a row's sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Set {
    Free,
    Booked,
    Blocked,
    Lent,
}

/// The state of a row as anyone may see it, as bit sets over its places.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowState {
    /// How many seats the row has.
    pub seats: u16,
    /// To be had now. Seats lent to the section's queue show as held.
    pub free: [u64; 4],
    /// Sold.
    pub booked: [u64; 4],
    /// Out of sale.
    pub blocked: [u64; 4],
}

/// What a choice of seats must keep to.
#[derive(Clone, Copy)]
pub(crate) struct Wish {
    pub(crate) count: u8,
    pub(crate) accessible: bool,
    pub(crate) orphans: OrphanRule,
    /// Take lent seats, too.
    pub(crate) lent: bool,
}

/// A choice, and whether the rule about single seats had to be waived for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Choice {
    pub(crate) seats: Seats,
    pub(crate) waived: bool,
    pub(crate) together: bool,
}

/// A partition's rows of one event.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    lines: Vec<Row>,
    /// Category of a row's seats if they are all alike, else where they stand in `categories`.
    uniform: Vec<Result<u8, u32>>,
    categories: Vec<u8>,
}

/// Runs the same code on one word or on four, as the row needs.
macro_rules! by_width {
    ($self:ident, $slot:expr, $bits:ident => $body:expr) => {
        if $self.lines[$slot as usize].words == 1 {
            type $bits = u64;
            $body
        } else {
            type $bits = Wide;
            $body
        }
    };
}

/// How a set is read out of a row's lines and written back.
trait Stored: SeatBits {
    fn load(lines: &[Row], of: impl Fn(&Row) -> u64) -> Self;
    fn store(self, lines: &mut [Row], of: impl Fn(&mut Row) -> &mut u64);
}

impl Stored for u64 {
    fn load(lines: &[Row], of: impl Fn(&Row) -> u64) -> Self {
        of(&lines[0])
    }
    fn store(self, lines: &mut [Row], of: impl Fn(&mut Row) -> &mut u64) {
        *of(&mut lines[0]) = self;
    }
}

impl Stored for Wide {
    fn load(lines: &[Row], of: impl Fn(&Row) -> u64) -> Self {
        let words = usize::from(lines[0].words);
        std::array::from_fn(|i| if i < words { of(&lines[i]) } else { 0 })
    }
    fn store(self, lines: &mut [Row], of: impl Fn(&mut Row) -> &mut u64) {
        let words = usize::from(lines[0].words);
        for (line, word) in lines[..words].iter_mut().zip(self) {
            *of(line) = word;
        }
    }
}

impl Rows {
    /// Room for the rows of `specs`.
    pub(crate) fn with_room_for(specs: &[RowSpec]) -> Self {
        let lines = specs.iter().map(|spec| spec.categories.len().div_ceil(64)).sum();
        Self { lines: Vec::with_capacity(lines), uniform: Vec::with_capacity(lines), categories: Vec::new() }
    }

    /// Adds a row with all its seats free. The slot it is at.
    pub(crate) fn add(&mut self, spec: &RowSpec) -> u32 {
        let seats = spec.categories.len();
        assert!((1..=MAX_ROW_SEATS).contains(&seats), "a row's length is checked where it comes in");
        let slot = self.lines.len() as u32;
        let mut joins = Wide::below(seats as u32 - 1);
        for &place in &spec.aisles_after {
            joins = joins.without(Wide::of(Seats { mask: 1, first: place }));
        }
        let accessible = spec
            .accessible
            .iter()
            .fold(Wide::EMPTY, |set, &place| set.or(Wide::of(Seats { mask: 1, first: place })));
        let free = Wide::below(seats as u32);
        let first = spec.categories[0];
        let uniform = if spec.categories.iter().all(|&category| category == first) {
            Ok(first)
        } else {
            let at = self.categories.len() as u32;
            self.categories.extend_from_slice(&spec.categories);
            Err(at)
        };
        let words = seats.div_ceil(64);
        for word in 0..words {
            self.lines.push(Row {
                free: free[word],
                booked: 0,
                blocked: 0,
                lent: 0,
                joins: joins[word],
                accessible: accessible[word].and(free[word]),
                queue: NONE,
                loan: 0,
                section: spec.section,
                number: spec.row,
                seats: seats as u16,
                words: words as u8,
            });
            self.uniform.push(uniform);
        }
        slot
    }

    pub(crate) fn line(&self, slot: u32) -> &Row {
        &self.lines[slot as usize]
    }

    pub(crate) fn line_mut(&mut self, slot: u32) -> &mut Row {
        &mut self.lines[slot as usize]
    }

    /// The slots at which rows begin.
    pub(crate) fn slots(&self) -> impl Iterator<Item = u32> + '_ {
        let mut next = 0;
        std::iter::from_fn(move || {
            let line = self.lines.get(next as usize)?;
            let slot = next;
            next += u32::from(line.words);
            Some(slot)
        })
    }

    pub(crate) fn prefetch(&self, slot: u32) {
        if let Some(line) = self.lines.get(slot as usize) {
            crate::prefetch(&raw const *line);
        }
    }

    /// How many seats the row has.
    pub(crate) fn len(&self, slot: u32) -> u16 {
        self.line(slot).seats
    }

    fn get<B: Stored>(&self, slot: u32, set: Set) -> B {
        B::load(&self.lines[slot as usize..], |line| match set {
            Set::Free => line.free,
            Set::Booked => line.booked,
            Set::Blocked => line.blocked,
            Set::Lent => line.lent,
        })
    }

    fn put<B: Stored>(&mut self, slot: u32, set: Set, bits: B) {
        bits.store(&mut self.lines[slot as usize..], |line| match set {
            Set::Free => &mut line.free,
            Set::Booked => &mut line.booked,
            Set::Blocked => &mut line.blocked,
            Set::Lent => &mut line.lent,
        });
    }

    fn geometry<B: Stored>(&self, slot: u32) -> (B, B) {
        let lines = &self.lines[slot as usize..];
        (B::load(lines, |line| line.joins), B::load(lines, |line| line.accessible))
    }

    /// Adds seats to a set.
    pub(crate) fn add_to(&mut self, slot: u32, set: Set, seats: Seats) {
        by_width!(self, slot, B => {
            let bits = self.get::<B>(slot, set);
            self.put(slot, set, bits.or(B::of(seats)));
        });
    }

    /// Takes seats out of a set.
    pub(crate) fn take_from(&mut self, slot: u32, set: Set, seats: Seats) {
        by_width!(self, slot, B => {
            let bits = self.get::<B>(slot, set);
            self.put(slot, set, bits.without(B::of(seats)));
        });
    }

    /// Those of `seats` that are in a set.
    pub(crate) fn among(&self, slot: u32, set: Set, seats: Seats) -> Seats {
        by_width!(self, slot, B => self.get::<B>(slot, set).and(B::of(seats)).seats())
    }

    /// Moves all free seats to the lent ones.
    pub(crate) fn lend_all(&mut self, slot: u32) {
        by_width!(self, slot, B => {
            let (free, lent) = (self.get::<B>(slot, Set::Free), self.get::<B>(slot, Set::Lent));
            self.put(slot, Set::Lent, lent.or(free));
            self.put(slot, Set::Free, B::EMPTY);
        });
    }

    /// Moves all lent seats back to the free ones.
    pub(crate) fn unlend_all(&mut self, slot: u32) {
        by_width!(self, slot, B => {
            let (free, lent) = (self.get::<B>(slot, Set::Free), self.get::<B>(slot, Set::Lent));
            self.put(slot, Set::Free, free.or(lent));
            self.put(slot, Set::Lent, B::EMPTY);
        });
    }

    /// Whether any seat is free and not lent.
    pub(crate) fn has_free(&self, slot: u32) -> bool {
        by_width!(self, slot, B => !self.get::<B>(slot, Set::Free).is_empty())
    }

    /// Whether any seat is lent.
    pub(crate) fn has_lent(&self, slot: u32) -> bool {
        by_width!(self, slot, B => !self.get::<B>(slot, Set::Lent).is_empty())
    }

    /// Whether naming these seats is legal, as far as the row's own state goes. The refusal names every
    /// seat in conflict; `lent` seats do not conflict.
    pub(crate) fn conflict(&self, slot: u32, seats: Seats) -> Option<Answer> {
        by_width!(self, slot, B => {
            let wanted = B::of(seats);
            let row = B::below(u32::from(self.len(slot)));
            // A set of one word cannot even show a place past it, so the count tells.
            if wanted.count() < u32::from(seats.count()) || !wanted.without(row).is_empty() {
                let beyond = Wide::of(seats).without(Wide::below(u32::from(self.len(slot))));
                return Some(Answer::refuse(Code::UnknownSeat, beyond.seats()));
            }
            let open = self.get::<B>(slot, Set::Free).or(self.get::<B>(slot, Set::Lent));
            let taken = wanted.without(open);
            if taken.is_empty() {
                return None;
            }
            let code = if !taken.and(self.get::<B>(slot, Set::Booked)).is_empty() {
                Code::SeatBooked
            } else if !taken.and(self.get::<B>(slot, Set::Blocked)).is_empty() {
                Code::SeatBlocked
            } else {
                Code::SeatHeld
            };
            Some(Answer::refuse(code, taken.seats()))
        })
    }

    /// Named free seats as a choice; `Err` if the rule about single seats forbids it.
    pub(crate) fn named(&self, slot: u32, seats: Seats, rule: OrphanRule) -> Result<Choice, ()> {
        by_width!(self, slot, B => {
            let (joins, accessible) = self.geometry::<B>(slot);
            let free = self.get::<B>(slot, Set::Free);
            let wanted = B::of(seats);
            let together = bits::together(wanted, joins);
            let mut waived = false;
            if rule == OrphanRule::Strict && bits::leaves_orphan(free, joins, wanted) {
                let count = u32::from(seats.count());
                let ordinary = free.without(accessible);
                let starts = bits::run_starts(ordinary, joins, count);
                if !bits::tidy_starts(free, joins, starts, count).is_empty() {
                    return Err(());
                }
                waived = true;
            }
            Ok(Choice { seats, waived, together })
        })
    }

    /// The best `wish.count` seats together, nearest the row's middle; `None` if they can't be had.
    pub(crate) fn best(&self, slot: u32, wish: Wish, category: Option<u8>) -> Option<Choice> {
        by_width!(self, slot, B => {
            let (joins, accessible) = self.geometry::<B>(slot);
            let open = self.open::<B>(slot, wish.lent);
            let count = u32::from(wish.count);
            let mut eligible = open;
            if !wish.accessible {
                eligible = eligible.without(accessible);
            }
            if let Some(category) = category {
                eligible = eligible.and(self.of_category::<B>(slot, category));
            }
            let mut starts = bits::run_starts(eligible, joins, count);
            if wish.accessible {
                starts = starts.and(bits::windows_with(accessible.and(eligible), count));
            }
            if starts.is_empty() {
                return None;
            }
            let mut waived = false;
            if wish.orphans != OrphanRule::Off {
                let tidy = bits::tidy_starts(open, joins, starts, count);
                waived = tidy.is_empty();
                if !waived {
                    starts = tidy;
                }
            }
            let start = bits::nearest_middle(starts, count, u32::from(self.len(slot)))?;
            let seats = B::below(count).up(start).seats();
            Some(Choice { seats, waived, together: true })
        })
    }

    /// Up to `wish.count` ordinary seats, longest runs first, all within one window.
    pub(crate) fn gather(&self, slot: u32, wish: Wish, category: Option<u8>) -> Option<Choice> {
        by_width!(self, slot, B => {
            let (joins, accessible) = self.geometry::<B>(slot);
            let mut left = self.open::<B>(slot, wish.lent).without(accessible);
            if let Some(category) = category {
                left = left.and(self.of_category::<B>(slot, category));
            }
            let length = u32::from(self.len(slot));
            let mut taken = bits::spread_runs(left, joins, u32::from(wish.count), length);
            if taken.count() < u32::from(wish.count) {
                // The longest run was in a poor corner. The richest window gives all that one claim can have.
                left = bits::richest_window(left, Seats::REACH);
                taken = bits::spread_runs(left, joins, u32::from(wish.count), length);
            }
            let together = bits::together(taken, joins);
            (!taken.is_empty()).then(|| Choice { seats: taken.seats(), waived: false, together })
        })
    }

    /// What the row can still give.
    pub(crate) fn supply(&self, slot: u32) -> Supply {
        by_width!(self, slot, B => {
            let (joins, accessible) = self.geometry::<B>(slot);
            let open = self.open::<B>(slot, true);
            let ordinary = open.without(accessible);
            let ever_open = B::below(u32::from(self.len(slot))).without(self.get::<B>(slot, Set::Booked));
            let ever = ever_open.without(accessible);
            // Seats too far apart for one window are no supply for one claim.
            let (reachable, ever_reachable) =
                (bits::richest_window(ordinary, Seats::REACH), bits::richest_window(ever, Seats::REACH));
            Supply {
                free: reachable.count() as u16,
                run: bits::longest_run(ordinary, joins) as u16,
                accessible_run: bits::longest_run_with(open, joins, accessible) as u16,
                ever: ever_reachable.count() as u16,
                ever_run: bits::longest_run(ever, joins) as u16,
                ever_accessible_run: bits::longest_run_with(ever_open, joins, accessible) as u16,
            }
        })
    }

    /// The row as anyone may see it.
    pub(crate) fn state(&self, slot: u32) -> RowState {
        RowState {
            seats: self.len(slot),
            free: self.get::<Wide>(slot, Set::Free),
            booked: self.get::<Wide>(slot, Set::Booked),
            blocked: self.get::<Wide>(slot, Set::Blocked),
        }
    }

    fn open<B: Stored>(&self, slot: u32, lent: bool) -> B {
        let free = self.get::<B>(slot, Set::Free);
        if lent { free.or(self.get::<B>(slot, Set::Lent)) } else { free }
    }

    fn of_category<B: Stored>(&self, slot: u32, category: u8) -> B {
        match self.uniform[slot as usize] {
            Ok(all) if all == category => B::EMPTY.not(),
            Ok(_) => B::EMPTY,
            Err(at) => {
                let seats = &self.categories[at as usize..at as usize + usize::from(self.len(slot))];
                seats
                    .iter()
                    .enumerate()
                    .filter(|&(_, &own)| own == category)
                    .fold(B::EMPTY, |set, (place, _)| set.or(B::of(Seats { mask: 1, first: place as u8 })))
            }
        }
    }
}
