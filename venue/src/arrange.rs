//! Puts the seats of a row in the order of their place and finds its aisles.
//!
//! **Order.** A row's main axis runs between its two ends (the seat farthest from the first one,
//! and the seat farthest from that one), so a row may stand at any angle. Seats are sorted along it,
//! in the direction in which the source lists them. Where the source's own order makes the shorter
//! walk (a row bent round more than half a circle), it is kept.
//!
//! **Aisles.** The pitch of a row is the median distance of neighbouring seats (of an even number of
//! distances, the lower middle one); a distance over [`AISLE_FACTOR`] times the pitch is an aisle. A
//! row of two seats has one distance and nothing to compare it with, so it takes the pitch of its
//! section: the median of its rows' pitches.

use std::cmp::Ordering;

use crate::plan::{Plan, Row, Seat, SeatPlace, Section};

/// How many pitches a distance must exceed to be an aisle.
pub(crate) const AISLE_FACTOR: f64 = 1.5;

/// Orders every row and sets `aisle_after`. `explicit` is asked with the seat's place in the source
/// and overrules the distance. Returns warnings.
pub(crate) fn arrange(plan: &mut Plan, explicit: impl Fn(SeatPlace) -> Option<bool>) -> Vec<String> {
    let mut wide = 0_usize;
    let mut first_wide = None;
    for (index, section) in plan.sections.iter_mut().enumerate() {
        let orders: Vec<Option<Vec<u32>>> = section.rows.iter_mut().map(reorder).collect();
        let pitches: Vec<Option<f64>> = section.rows.iter().map(pitch).collect();
        let usual = lower_median(pitches.iter().flatten().copied().collect());
        for (r, ((row, order), own)) in section.rows.iter_mut().zip(&orders).zip(&pitches).enumerate() {
            if let (Some(own), Some(usual)) = (own, usual)
                && *own > AISLE_FACTOR * usual
            {
                wide += 1;
                first_wide.get_or_insert_with(|| format!("row {} of {}", row.label, section.name));
            }
            let said = |seat: usize| {
                let source = order.as_ref().map_or(seat as u32, |order| order[seat]);
                explicit(SeatPlace { section: index as u32, row: r as u32, seat: source })
            };
            mark_aisles(row, own.or(usual), said);
        }
    }
    let warning = first_wide.map(|first| {
        format!(
            "{wide} rows are spaced over {AISLE_FACTOR} times wider than their section (first: {first}): their \
             seats count as adjacent; check that these are no aisles"
        )
    });
    warning.into_iter().collect()
}

/// How many aisles a plan has.
pub(crate) fn count_aisles(sections: &[Section]) -> usize {
    let seats = sections.iter().flat_map(|section| &section.rows).flat_map(|row| &row.seats);
    seats.filter(|seat| seat.aisle_after).count()
}

fn mark_aisles(row: &mut Row, pitch: Option<f64>, said: impl Fn(usize) -> Option<bool>) {
    for i in 1..row.seats.len() {
        let gap = distance(&row.seats[i - 1], &row.seats[i]);
        let wide = pitch.is_some_and(|pitch| gap > AISLE_FACTOR * pitch);
        row.seats[i - 1].aisle_after = said(i - 1).unwrap_or(wide);
    }
    if let Some(last) = row.seats.last_mut() {
        last.aisle_after = false;
    }
}

/// Sorts a row along its axis. Returns where each seat stood before, if any moved.
fn reorder(row: &mut Row) -> Option<Vec<u32>> {
    let along = projections(&row.seats)?;
    if along.is_sorted() {
        return None;
    }
    let mut order: Vec<u32> = (0..row.seats.len() as u32).collect();
    order.sort_by(|&a, &b| along[a as usize].total_cmp(&along[b as usize]));
    let sorted =
        order.windows(2).map(|w| distance(&row.seats[w[0] as usize], &row.seats[w[1] as usize])).sum();
    if walk(&row.seats).total_cmp(&sorted) == Ordering::Less {
        return None;
    }
    let mut moved: Vec<(f64, Seat)> = along.into_iter().zip(std::mem::take(&mut row.seats)).collect();
    moved.sort_by(|a, b| a.0.total_cmp(&b.0));
    row.seats = moved.into_iter().map(|(_, seat)| seat).collect();
    Some(order)
}

/// Each seat's position along the main axis, unscaled; `None` for rows that need no order.
fn projections(seats: &[Seat]) -> Option<Vec<f64>> {
    let [first, .., last] = seats else { return None };
    let one_end = farthest(seats, first)?;
    let other_end = farthest(seats, one_end)?;
    let (mut dx, mut dy) = delta(one_end, other_end);
    let (lx, ly) = delta(first, last);
    let listed = lx * dx + ly * dy;
    if listed < 0.0 || (listed == 0.0 && (dx, dy) < (0.0, 0.0)) {
        (dx, dy) = (-dx, -dy);
    }
    Some(seats.iter().map(|seat| f64::from(seat.x) * dx + f64::from(seat.y) * dy).collect())
}

fn farthest<'s>(seats: &'s [Seat], from: &Seat) -> Option<&'s Seat> {
    let mut best = (-1.0, None);
    for seat in seats {
        let (dx, dy) = delta(from, seat);
        let squared = dx * dx + dy * dy;
        if squared > best.0 {
            best = (squared, Some(seat));
        }
    }
    best.1
}

fn delta(from: &Seat, to: &Seat) -> (f64, f64) {
    (f64::from(to.x) - f64::from(from.x), f64::from(to.y) - f64::from(from.y))
}

fn distance(a: &Seat, b: &Seat) -> f64 {
    let (dx, dy) = delta(a, b);
    (dx * dx + dy * dy).sqrt()
}

fn walk(seats: &[Seat]) -> f64 {
    seats.windows(2).map(|pair| distance(&pair[0], &pair[1])).sum()
}

/// The pitch of an ordered row; `None` below three seats.
fn pitch(row: &Row) -> Option<f64> {
    let gaps: Vec<f64> = row.seats.windows(2).map(|pair| distance(&pair[0], &pair[1])).collect();
    if gaps.len() < 2 { None } else { lower_median(gaps) }
}

fn lower_median(mut values: Vec<f64>) -> Option<f64> {
    let middle = values.len().checked_sub(1)? / 2;
    Some(*values.select_nth_unstable_by(middle, f64::total_cmp).1)
}
