//! Seats of a row as bit sets: choosing the best run is a few shifts and masks.
//!
//! Every function is generic over the width, so that the usual row of up to 64 seats is worked on in one
//! machine word and longer rows in four.

use crate::ids::Seats;

/// A set of places of one row.
pub(crate) trait SeatBits: Copy + PartialEq {
    /// No place.
    const EMPTY: Self;
    /// How many places it can hold.
    const WIDTH: u32;
    fn and(self, other: Self) -> Self;
    fn or(self, other: Self) -> Self;
    fn not(self) -> Self;
    /// Moves every place up by `n`.
    fn up(self, n: u32) -> Self;
    /// Moves every place down by `n`: bit `i` of the result is bit `i + n`.
    fn down(self, n: u32) -> Self;
    fn count(self) -> u32;
    /// The lowest place, or `None` when empty.
    fn lowest(self) -> Option<u32>;
    /// The highest place, or `None` when empty.
    fn highest(self) -> Option<u32>;
    /// The 64 lowest places as a word.
    fn low_word(self) -> u64;
    /// These seats as a set of this width.
    fn of(seats: Seats) -> Self;

    fn without(self, other: Self) -> Self {
        self.and(other.not())
    }
    fn is_empty(self) -> bool {
        self == Self::EMPTY
    }
    /// All places below `n`, which may lie beyond the width.
    fn below(n: u32) -> Self {
        if n == 0 { Self::EMPTY } else { Self::EMPTY.not().down(Self::WIDTH.saturating_sub(n)) }
    }
    /// The set as a window. All places must lie within 64 of the lowest.
    fn seats(self) -> Seats {
        let Some(first) = self.lowest() else { return Seats::NONE };
        Seats { mask: self.down(first).low_word(), first: first as u8 }
    }
}

impl SeatBits for u64 {
    const EMPTY: Self = 0;
    const WIDTH: u32 = 64;
    fn and(self, other: Self) -> Self {
        self & other
    }
    fn or(self, other: Self) -> Self {
        self | other
    }
    fn not(self) -> Self {
        !self
    }
    fn up(self, n: u32) -> Self {
        self.checked_shl(n).unwrap_or(0)
    }
    fn down(self, n: u32) -> Self {
        self.checked_shr(n).unwrap_or(0)
    }
    fn count(self) -> u32 {
        self.count_ones()
    }
    fn lowest(self) -> Option<u32> {
        (self != 0).then(|| self.trailing_zeros())
    }
    fn highest(self) -> Option<u32> {
        self.checked_ilog2()
    }
    fn low_word(self) -> u64 {
        self
    }
    fn of(seats: Seats) -> Self {
        seats.mask.checked_shl(u32::from(seats.first)).unwrap_or(0)
    }
}

/// A set over the longest legal row.
pub(crate) type Wide = [u64; 4];

impl SeatBits for Wide {
    const EMPTY: Self = [0; 4];
    const WIDTH: u32 = 256;
    fn and(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] & other[i])
    }
    fn or(self, other: Self) -> Self {
        std::array::from_fn(|i| self[i] | other[i])
    }
    fn not(self) -> Self {
        self.map(|word| !word)
    }
    fn up(self, n: u32) -> Self {
        let (words, bits) = ((n / 64) as usize, n % 64);
        std::array::from_fn(|i| {
            let at = |k: usize| i.checked_sub(k).map_or(0, |j| self[j]);
            if bits == 0 { at(words) } else { (at(words) << bits) | (at(words + 1) >> (64 - bits)) }
        })
    }
    fn down(self, n: u32) -> Self {
        let (words, bits) = ((n / 64) as usize, n % 64);
        std::array::from_fn(|i| {
            let at = |k: usize| self.get(i + k).copied().unwrap_or(0);
            if bits == 0 { at(words) } else { (at(words) >> bits) | (at(words + 1) << (64 - bits)) }
        })
    }
    fn count(self) -> u32 {
        self.iter().map(|word| word.count_ones()).sum()
    }
    fn lowest(self) -> Option<u32> {
        let i = self.iter().position(|&word| word != 0)?;
        Some(i as u32 * 64 + self[i].trailing_zeros())
    }
    fn highest(self) -> Option<u32> {
        let i = self.iter().rposition(|&word| word != 0)?;
        Some(i as u32 * 64 + 63 - self[i].leading_zeros())
    }
    fn low_word(self) -> u64 {
        self[0]
    }
    fn of(seats: Seats) -> Self {
        [seats.mask, 0, 0, 0].up(u32::from(seats.first))
    }
}

/// Places from which `n` seats of `free` follow one another, each joined to the next.
pub(crate) fn run_starts<B: SeatBits>(free: B, joins: B, n: u32) -> B {
    if n == 0 {
        return B::EMPTY;
    }
    // A place counts as a step if it is free and joined to the next; n - 1 steps in a row and a last free
    // seat make a run. Windows of steps are built by doubling.
    let steps = free.and(joins);
    let (mut window, mut have) = (steps, 1);
    let mut starts = free.down(n - 1);
    let wanted = n - 1;
    if wanted > 0 {
        while have * 2 <= wanted {
            window = window.and(window.down(have));
            have *= 2;
        }
        starts = starts.and(window).and(window.down(wanted - have));
    }
    starts
}

/// Length of the longest run of `free` seats, each joined to the next: the longest run of pairs, by doubling
/// windows as long as there are any, then adding the halves back that still fit.
pub(crate) fn longest_run<B: SeatBits>(free: B, joins: B) -> u32 {
    let pairs = free.and(joins).and(free.down(1));
    if pairs.is_empty() {
        return u32::from(!free.is_empty());
    }
    // windows[i]: places from which 2^i pairs follow one another.
    let mut windows = [B::EMPTY; 8];
    let (mut top, mut window) = (0, pairs);
    loop {
        windows[top] = window;
        let doubled = window.and(window.down(1 << top));
        if doubled.is_empty() {
            break;
        }
        (top, window) = (top + 1, doubled);
    }
    let (mut starts, mut have) = (windows[top], 1_u32 << top);
    for i in (0..top).rev() {
        let longer = starts.and(windows[i].down(have));
        if !longer.is_empty() {
            (starts, have) = (longer, have + (1 << i));
        }
    }
    have + 1
}

/// Places from which a window of `n` has at least one of `wanted` in it.
pub(crate) fn windows_with<B: SeatBits>(wanted: B, n: u32) -> B {
    (0..n).fold(B::EMPTY, |windows, k| windows.or(wanted.down(k)))
}

/// Length of the longest run of `free` seats with one of `accessible` in it.
pub(crate) fn longest_run_with<B: SeatBits>(free: B, joins: B, accessible: B) -> u32 {
    let wanted = accessible.and(free);
    if wanted.is_empty() {
        return 0;
    }
    let longest = longest_run(free, joins);
    (1..=longest)
        .rev()
        .find(|&n| !run_starts(free, joins, n).and(windows_with(wanted, n)).is_empty())
        .unwrap_or(0)
}

/// Free seats without a free neighbour: nobody but a single buyer can use them.
pub(crate) fn lonely<B: SeatBits>(free: B, joins: B) -> B {
    let left = free.and(joins).up(1);
    let right = free.down(1).and(joins);
    free.without(left).without(right)
}

/// Whether taking `seats` out of `free` leaves a seat alone that was not alone before.
pub(crate) fn leaves_orphan<B: SeatBits>(free: B, joins: B, seats: B) -> bool {
    !lonely(free.without(seats), joins).without(lonely(free, joins)).is_empty()
}

/// Those of `starts` from which taking `n` seats leaves no new lonely seat.
pub(crate) fn tidy_starts<B: SeatBits>(free: B, joins: B, starts: B, n: u32) -> B {
    let has_left = free.and(joins).up(1);
    let has_right = free.down(1).and(joins);
    // A seat whose only free neighbour is the one above is orphaned if a run starts just above it …
    let only_right = free.without(has_left).and(has_right);
    // … and one whose only free neighbour is below, if a run ends just below it.
    let only_left = free.and(has_left).without(has_right);
    starts.without(only_right.up(1)).without(only_left.down(n))
}

/// The start whose run of `n` lies nearest to the middle of a row of `length` seats; ties go down.
pub(crate) fn nearest_middle<B: SeatBits>(starts: B, n: u32, length: u32) -> Option<u32> {
    // Twice the distance keeps halves exact: the run's middle is start + (n-1)/2, the row's (length-1)/2.
    let ideal = length.saturating_sub(n) / 2;
    let above = starts.down(ideal).lowest().map(|start| start + ideal);
    let below = starts.and(B::below(ideal)).highest();
    let distance = |start: u32| (2 * start + n).abs_diff(length);
    match (below, above) {
        (Some(low), Some(high)) if distance(low) <= distance(high) => Some(low),
        (Some(low), None) => Some(low),
        (_, high) => high,
    }
}

/// The most seats of `set` that lie within `reach` places of each other; of equals the lowest.
pub(crate) fn richest_window<B: SeatBits>(set: B, reach: u32) -> B {
    let (mut best, mut most) = (B::EMPTY, 0);
    let mut left = set;
    while let Some(at) = left.lowest() {
        let window = left.and(B::below(at + reach));
        if window.count() > most {
            (best, most) = (window, window.count());
        }
        if window == left {
            break;
        }
        left = left.without(B::below(at + 1));
    }
    best
}

/// Up to `wanted` seats of `left` in as few runs as can be, longest first, all within 64 places.
pub(crate) fn spread_runs<B: SeatBits>(mut left: B, joins: B, mut wanted: u32, length: u32) -> B {
    let mut taken = B::EMPTY;
    while wanted > 0 {
        let run = longest_run(left, joins).min(wanted);
        let starts = run_starts(left, joins, run);
        let Some(start) = nearest_middle(starts, run, length) else { break };
        taken = taken.or(B::below(run).up(start));
        wanted -= run;
        // Only what shares a window with everything taken so far may follow.
        let (Some(low), Some(high)) = (taken.lowest(), taken.highest()) else { break };
        let window = B::below(low + Seats::REACH).without(B::below((high + 1).saturating_sub(Seats::REACH)));
        left = left.without(taken).and(window);
    }
    taken
}

/// Whether these seats are all next to each other.
pub(crate) fn together<B: SeatBits>(seats: B, joins: B) -> bool {
    let Some(highest) = seats.highest() else { return false };
    let all_but_last = seats.and(B::below(highest));
    all_but_last.and(joins).and(seats.down(1)) == all_but_last
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// One seat at a time, as a person would check it.
    fn slow_starts(free: &[bool], joins: &[bool], n: usize) -> Vec<u32> {
        (0..free.len())
            .filter(|&i| {
                i + n <= free.len() && (i..i + n).all(|k| free[k]) && (i..i + n - 1).all(|k| joins[k])
            })
            .map(|i| i as u32)
            .collect()
    }

    fn slow_lonely(free: &[bool], joins: &[bool]) -> Vec<usize> {
        (0..free.len())
            .filter(|&i| {
                let left = i > 0 && free[i - 1] && joins[i - 1];
                let right = i + 1 < free.len() && free[i + 1] && joins[i];
                free[i] && !left && !right
            })
            .collect()
    }

    fn wide(bits: &[bool]) -> Wide {
        let mut out = Wide::EMPTY;
        for (i, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
            out[i / 64] |= 1 << (i % 64);
        }
        out
    }

    fn places(set: Wide) -> Vec<u32> {
        (0..256).filter(|&i| set[i as usize / 64] >> (i % 64) & 1 == 1).collect()
    }

    proptest! {
        #[test]
        fn runs_agree_with_counting(
            row in prop::collection::vec((any::<bool>(), prop::bool::weighted(0.8)), 1..=256),
            n in 1_usize..=32,
        ) {
            let free: Vec<bool> = row.iter().map(|s| s.0).collect();
            let mut joins: Vec<bool> = row.iter().map(|s| s.1).collect();
            *joins.last_mut().unwrap() = false;
            let (f, j) = (wide(&free), wide(&joins));
            let starts = run_starts(f, j, n as u32);
            let slow = slow_starts(&free, &joins, n);
            prop_assert_eq!(places(starts), slow.clone());
            let longest = longest_run(f, j) as usize;
            prop_assert!(longest == 0 || !slow_starts(&free, &joins, longest).is_empty());
            prop_assert!(slow_starts(&free, &joins, longest + 1).is_empty());

            let tidy: Vec<u32> = slow.iter().copied().filter(|&s| {
                let before = slow_lonely(&free, &joins);
                let mut after = free.clone();
                after[s as usize..s as usize + n].fill(false);
                slow_lonely(&after, &joins).iter().all(|seat| before.contains(seat))
            }).collect();
            prop_assert_eq!(places(tidy_starts(f, j, starts, n as u32)), tidy);

            let length = free.len() as u32;
            let distance = |s: u32| (2 * i64::from(s) + i64::try_from(n).unwrap() - i64::from(length)).abs();
            let best = slow.iter().copied().min_by_key(|&s| (distance(s), s));
            prop_assert_eq!(nearest_middle(starts, n as u32, length), best);

            if free.len() <= 64 {
                prop_assert_eq!(run_starts(f[0], j[0], n as u32), starts[0]);
                prop_assert_eq!(nearest_middle(starts[0], n as u32, length), best);
            }
        }
    }

    #[test]
    fn an_aisle_parts_neighbours() {
        let (free, joins) = (0b1111_u64, 0b0101_u64);
        assert_eq!(longest_run(free, joins), 2);
        assert_eq!(run_starts(free, joins, 2), 0b0101);
        assert!(together(0b0011_u64, joins));
        assert!(!together(0b0110_u64, joins));
        assert!(together(0b1000_u64, joins));
    }

    #[test]
    fn an_accessible_run_has_an_accessible_seat() {
        assert_eq!(longest_run_with(0b1111_0111_u64, u64::MAX, 0b1_0000), 4);
        assert_eq!(longest_run_with(0b1111_0111_u64, u64::MAX, 0b1000), 0);
    }
}
