//! No seat has two holders at once.
//!
//! Two holds of a seat that its row decided are in the order of their positions in the row's history: the first must
//! have ended, by a release at or before the position of the second or by its time, before the second was granted. As
//! long as the first may still turn out to have ended in time, the pair is a doubt. The position of a section's hold
//! is that of its claim, which takes its seats later, row by row, and may have to ask again: of two such claims the
//! earlier may get a seat after the later has had it. So where a section's hold is one of the two they are compared
//! by what the load itself knows for certain: from having heard of the grant until asking for the last thing that
//! succeeded.

use super::super::Nanos;
use super::super::hall::Hall;
use super::super::slab::{NONE, Slab};
use super::facts::{Grant, Position};
use frontrow_shard::{Millis, Seats};
use std::collections::HashSet;
use std::sync::Arc;

/// Holds remembered per seat: the present one, and late facts' counterparts.
const PER_SEAT: usize = 4;

/// One hold, from its grant to its end.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    pub(crate) user: u64,
    pub(crate) of_section: bool,
    pub(crate) at: Position,
    pub(crate) latest_ms: Millis,
    pub(crate) expires_ms: Millis,
    pub(crate) ended: Option<Position>,
    pub(crate) booked: bool,
    /// A booking was asked for and not answered.
    pub(crate) booking: bool,
    /// A release or cancellation was asked for and not answered.
    pub(crate) ending: bool,
    /// Nothing more will be heard of it.
    pub(crate) closed: bool,
    certain_from: Nanos,
    certain_to: Nanos,
    first: (u32, Seats),
    more: Vec<(u32, Seats)>,
    /// Seats, doubts and visits that refer to it.
    refs: u32,
    /// First of the doubts that wait for its end.
    doubts: u32,
}

impl Span {
    /// How many seats.
    pub(crate) fn count(&self) -> u64 {
        u64::from(self.first.1.count())
            + self.more.iter().map(|(_, seats)| u64::from(seats.count())).sum::<u64>()
    }

    /// Whether the seats are sold to its user for certain.
    pub(crate) fn is_sold(&self) -> bool {
        self.booked && self.ended.is_none() && !self.ending
    }

    /// Whether the seats may be sold to its user.
    pub(crate) fn may_be_sold(&self) -> bool {
        self.ended.is_none() && (self.booked || self.booking)
    }
}

/// Two holds of a seat of which the first may not have ended before the second.
#[derive(Clone, Copy, Debug)]
struct Doubt {
    seat: (u32, u8),
    second: u32,
    next: u32,
}

/// What comparing two holds says.
enum Verdict {
    Fine,
    Doubt,
    Wrong,
}

/// What a seat is counted as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    #[default]
    Free,
    Held,
    Booked,
}

/// All seats, and who had them lately.
pub(crate) struct Floor {
    hall: Arc<Hall>,
    spans: Slab<Span>,
    doubts: Slab<Doubt>,
    cells: Vec<[u32; PER_SEAT]>,
    /// What each seat is at present. Of a hold that ran out its holder may hear after the next one has the seat: counted by
    /// holds, such a seat would be two.
    standing: Vec<Standing>,
    /// Seats that are held, and booked, by that.
    pub(crate) held: u64,
    pub(crate) booked: u64,
    pub(crate) violations: Vec<String>,
    pub(crate) compared: u64,
    /// Pairs that have been told of.
    told: HashSet<(Position, Position, (u32, u8))>,
}

/// Pairs told of one by one; beyond that a pair may be counted again.
const TOLD: usize = 10_000;

impl Floor {
    pub(crate) fn new(hall: Arc<Hall>) -> Self {
        let seats = hall.seats() as usize;
        Self {
            hall,
            spans: Slab::default(),
            doubts: Slab::default(),
            cells: vec![[NONE; PER_SEAT]; seats],
            standing: vec![Standing::Free; seats],
            held: 0,
            booked: 0,
            violations: Vec::new(),
            compared: 0,
            told: HashSet::new(),
        }
    }

    pub(crate) fn span(&self, at: u32) -> Option<&Span> {
        self.spans.get(at)
    }

    /// Takes in a grant. The caller refers to the span until [`Floor::close`].
    pub(crate) fn grant(&mut self, grant: &Grant) -> u32 {
        let row = self.hall.row_index(grant.place).unwrap_or(NONE);
        let span = self.spans.insert(Span {
            user: grant.user,
            of_section: grant.place.is_section(),
            at: grant.at,
            latest_ms: grant.latest_ms,
            expires_ms: grant.expires_ms,
            ended: None,
            booked: false,
            booking: false,
            ending: false,
            closed: false,
            certain_from: grant.heard_ns,
            certain_to: grant.heard_ns,
            first: (row, if row == NONE { Seats::NONE } else { grant.seats }),
            more: Vec::new(),
            refs: 1,
            doubts: NONE,
        });
        if row != NONE {
            self.seat_in(span, row, grant.seats);
        }
        span
    }

    /// Takes in seats of one more row of a section claim.
    pub(crate) fn part(&mut self, span: u32, section: u16, row: u16, seats: Seats) {
        let event = self.hall.event();
        let Some(row) = self.hall.row_index(frontrow_shard::RowRef::new(event, section, row)) else { return };
        if let Some(span) = self.spans.get_mut(span) {
            span.more.push((row, seats));
        }
        self.seat_in(span, row, seats);
    }

    fn seat_in(&mut self, span: u32, row: u32, seats: Seats) {
        for place in seats.places() {
            let Some(cell) = self.cell(row, place) else { continue };
            for other in self.cells[cell] {
                self.compare(other, span, (row, place));
            }
            self.put(cell, span);
            self.recount(cell);
        }
    }

    /// Counts a seat as what its holds make of it now.
    fn recount(&mut self, cell: usize) {
        let holds =
            || self.cells[cell].iter().filter_map(|at| self.spans.get(*at)).filter(|it| it.ended.is_none());
        let now = match () {
            () if holds().any(|span| span.booked) => Standing::Booked,
            () if holds().any(|span| !span.closed) => Standing::Held,
            () => Standing::Free,
        };
        let before = std::mem::replace(&mut self.standing[cell], now);
        let counted = |standing| (u64::from(before == standing), u64::from(now == standing));
        let ((was_held, is_held), (was_booked, is_booked)) =
            (counted(Standing::Held), counted(Standing::Booked));
        self.held = self.held + is_held - was_held;
        self.booked = self.booked + is_booked - was_booked;
    }

    /// Counts the seats of a hold again.
    fn recount_all(&mut self, at: u32) {
        let rows = self.spans.get(at).map_or(0, |span| span.more.len() + 1);
        for i in 0..rows {
            let Some(span) = self.spans.get(at) else { return };
            let (row, seats) = if i == 0 { span.first } else { span.more[i - 1] };
            for place in seats.places() {
                if let Some(cell) = self.cell(row, place) {
                    self.recount(cell);
                }
            }
        }
    }

    fn cell(&self, row: u32, place: u8) -> Option<usize> {
        let row = self.hall.rows().get(row as usize)?;
        (u16::from(place) < row.places).then_some(row.first_seat as usize + usize::from(place))
    }

    /// Puts a hold among those of a seat, and forgets one that is over if there is no room.
    fn put(&mut self, cell: usize, span: u32) {
        let cell_spans = self.cells[cell];
        let worth = |at: u32| match self.spans.get(at) {
            None => 0_u8,
            Some(span) if span.ended.is_some() => 1,
            Some(span) if span.closed && !span.may_be_sold() => 2,
            Some(_) => 3,
        };
        let order = |i: usize| {
            let at = cell_spans[i];
            (worth(at), self.spans.get(at).map_or((0, 0), |span| span.at))
        };
        let victim = (0..PER_SEAT).min_by_key(|&i| order(i)).unwrap_or(0);
        self.release(cell_spans[victim]);
        self.cells[cell][victim] = span;
        self.refer(span);
    }

    fn refer(&mut self, span: u32) {
        if let Some(span) = self.spans.get_mut(span) {
            span.refs += 1;
        }
    }

    fn release(&mut self, at: u32) {
        let Some(span) = self.spans.get_mut(at) else { return };
        span.refs -= 1;
        if span.refs == 0 {
            self.spans.remove(at);
        }
    }

    fn compare(&mut self, a: u32, b: u32, seat: (u32, u8)) {
        if a == b {
            return;
        }
        let (Some(one), Some(other)) = (self.spans.get(a), self.spans.get(b)) else { return };
        self.compared += 1;
        if one.of_section || other.of_section {
            let from = one.certain_from.max(other.certain_from);
            if from < one.certain_to.min(other.certain_to) {
                self.wrong(a, b, seat);
            }
            return;
        }
        let (first, second) = if one.at <= other.at { (a, b) } else { (b, a) };
        match self.judge(first, second) {
            Verdict::Fine => {}
            Verdict::Wrong => self.wrong(first, second, seat),
            Verdict::Doubt => self.doubt(first, second, seat),
        }
    }

    /// Whether `first` had ended when `second` was granted.
    fn judge(&self, first: u32, second: u32) -> Verdict {
        let (Some(one), Some(two)) = (self.spans.get(first), self.spans.get(second)) else {
            return Verdict::Fine;
        };
        let run_out = one.expires_ms <= two.latest_ms;
        match one.ended {
            Some(end) if end <= two.at || (run_out && !one.booked) => Verdict::Fine,
            Some(_) => Verdict::Wrong,
            None if !one.booked && run_out => Verdict::Fine,
            // It may have been ended by a request whose answer was never heard.
            None if one.closed && one.ending => Verdict::Fine,
            None if one.closed => Verdict::Wrong,
            None => Verdict::Doubt,
        }
    }

    fn doubt(&mut self, first: u32, second: u32, seat: (u32, u8)) {
        let next = self.spans.get(first).map_or(NONE, |span| span.doubts);
        let known = std::iter::successors(self.doubts.get(next), |doubt| self.doubts.get(doubt.next));
        if known.into_iter().any(|doubt| doubt.second == second && doubt.seat == seat) {
            return;
        }
        let doubt = self.doubts.insert(Doubt { seat, second, next });
        if let Some(span) = self.spans.get_mut(first) {
            span.doubts = doubt;
        }
        self.refer(second);
    }

    /// Judges again what waited for more to be known of a hold.
    fn settle(&mut self, first: u32) {
        let Some(span) = self.spans.get_mut(first) else { return };
        let mut next = std::mem::replace(&mut span.doubts, NONE);
        while let Some(doubt) = self.doubts.remove(next) {
            next = doubt.next;
            match self.judge(first, doubt.second) {
                Verdict::Fine => {}
                Verdict::Wrong => self.wrong(first, doubt.second, doubt.seat),
                Verdict::Doubt => self.doubt(first, doubt.second, doubt.seat),
            }
            self.release(doubt.second);
        }
    }

    fn wrong(&mut self, a: u32, b: u32, (row, place): (u32, u8)) {
        let (Some(one), Some(two)) = (self.spans.get(a), self.spans.get(b)) else { return };
        let pair = (one.at.min(two.at), one.at.max(two.at), (row, place));
        if self.told.len() < TOLD && !self.told.insert(pair) {
            return;
        }
        let at = self.hall.rows().get(row as usize).map(|row| row.at);
        let tell = |span: &Span| {
            let what = if span.booked { "booked by" } else { "held by" };
            let end = span.ended.map_or_else(String::new, |(_, lsn)| format!(", ended at LSN {lsn}"));
            let (epoch, lsn) = span.at;
            format!(
                "{what} user {} (granted at LSN {lsn}, epoch {epoch}, until {}{end})",
                span.user, span.expires_ms
            )
        };
        let (section, row) = at.map_or((0, 0), |at| (at.section, at.row));
        self.violations.push(format!(
            "seat {place} of row {row}, section {section}, had two holders at once: {} and {}",
            tell(one),
            tell(two)
        ));
    }

    /// Something new is known of a hold: what was compared with it is compared again.
    pub(crate) fn learn(&mut self, at: u32, change: impl FnOnce(&mut Span)) {
        let Some(span) = self.spans.get_mut(at) else { return };
        let was_booked = span.booked;
        change(span);
        let newly_booked = span.booked && !was_booked;
        let of_section = span.of_section;
        self.recount_all(at);
        self.settle(at);
        self.compare_again(at, newly_booked, of_section);
    }

    /// Compares a hold with the others of its seats: where one is of a section more is certain now, and, once it is
    /// booked, those that came after its time would have been over.
    fn compare_again(&mut self, at: u32, newly_booked: bool, of_section: bool) {
        let Some(span) = self.spans.get(at) else { return };
        let how_many = span.more.len() + 1;
        for i in 0..how_many {
            let Some(span) = self.spans.get(at) else { return };
            let (row, seats) = if i == 0 { span.first } else { span.more[i - 1] };
            for place in seats.places() {
                let Some(cell) = self.cell(row, place) else { continue };
                for other in self.cells[cell] {
                    let Some(it) = self.spans.get(other) else { continue };
                    if of_section || it.of_section || (newly_booked && it.at > self.position(at)) {
                        self.compare(at, other, (row, place));
                    }
                }
            }
        }
    }

    fn position(&self, at: u32) -> Position {
        self.spans.get(at).map_or((0, 0), |span| span.at)
    }

    /// A request about the hold that was asked then has succeeded: until then it lasted for certain.
    pub(crate) fn certain_until(span: &mut Span, ns: Nanos) {
        span.certain_to = span.certain_to.max(ns);
    }

    /// Nothing more will be heard of a hold; nobody refers to it but its seats.
    pub(crate) fn close(&mut self, at: u32) {
        self.learn(at, |span| {
            span.closed = true;
            if span.is_sold() {
                span.certain_to = Nanos::MAX;
            }
        });
        self.release(at);
    }

    /// The holds of a seat.
    pub(crate) fn holders(&self, row: u32, place: u8) -> impl Iterator<Item = &Span> {
        let cell = self.cell(row, place).map(|cell| self.cells[cell]);
        cell.into_iter().flatten().filter_map(|at| self.spans.get(at))
    }

    /// The holds that visits have not closed, at the end of a run.
    pub(crate) fn unclosed(&self) -> Vec<u32> {
        self.spans.slots().filter(|&at| self.spans.get(at).is_some_and(|span| !span.closed)).collect()
    }

    /// How many holds and doubts are remembered.
    pub(crate) fn remembered(&self) -> usize {
        self.spans.len() + self.doubts.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_shard::RowRef;

    const EVENT: u32 = 1;

    fn floor() -> Floor {
        Floor::new(Arc::new(Hall::new(EVENT, &[vec![10, 10]])))
    }

    /// A claim of the section by `user`, asked for at `lsn`, heard of at `heard_ns`; it has seat 3 of row 1.
    fn of_section(floor: &mut Floor, user: u64, lsn: u64, heard_ns: Nanos) -> u32 {
        let grant = Grant {
            place: RowRef::new(EVENT, 0, RowRef::SECTION),
            seats: Seats::NONE,
            user,
            at: (1, lsn),
            latest_ms: 1000,
            expires_ms: 20_000,
            nonce: lsn,
            heard_ns,
            offered: false,
        };
        let span = floor.grant(&grant);
        floor.part(span, 0, 1, Seats { mask: 1, first: 3 });
        span
    }

    fn ended(floor: &mut Floor, span: u32, lsn: u64, asked_ns: Nanos) {
        floor.learn(span, |span| {
            span.ended = Some((1, lsn));
            Floor::certain_until(span, asked_ns);
        });
        floor.close(span);
    }

    fn booked(floor: &mut Floor, span: u32, asked_ns: Nanos) {
        floor.learn(span, |span| {
            span.booked = true;
            Floor::certain_until(span, asked_ns);
        });
        floor.close(span);
    }

    #[test]
    fn a_claim_of_a_section_may_get_a_seat_that_a_later_one_has_given_back() {
        let mut floor = floor();
        let later = of_section(&mut floor, 19, 910, 100);
        ended(&mut floor, later, 998, 150);
        let earlier = of_section(&mut floor, 9, 807, 200);
        booked(&mut floor, earlier, 300);
        assert_eq!(floor.violations, [""; 0]);
    }

    #[test]
    fn a_seat_is_one_thing_at_a_time() {
        let mut floor = floor();
        let run_out = of_section(&mut floor, 9, 807, 100);
        let next = of_section(&mut floor, 19, 910, 200);
        assert_eq!(
            (floor.held, floor.booked),
            (1, 0),
            "the holder of the first has not heard that it ran out"
        );
        booked(&mut floor, next, 300);
        assert_eq!((floor.held, floor.booked), (0, 1));
        ended(&mut floor, run_out, 900, 150);
        assert_eq!((floor.held, floor.booked), (0, 1), "that says nothing of the next");
        floor.learn(next, |span| span.ended = Some((1, 1000)));
        assert_eq!((floor.held, floor.booked), (0, 0), "cancelled");
    }

    #[test]
    fn two_claims_of_a_section_that_had_a_seat_at_the_same_time_are_told() {
        let mut floor = floor();
        let later = of_section(&mut floor, 19, 910, 100);
        let earlier = of_section(&mut floor, 9, 807, 200);
        booked(&mut floor, earlier, 300);
        assert_eq!(floor.violations, [""; 0], "the later one may have ended by then");
        ended(&mut floor, later, 998, 250);
        assert_eq!(floor.violations.len(), 1, "{:?}", floor.violations);
        assert!(floor.violations[0].contains("seat 3 of row 1"), "{:?}", floor.violations);
    }
}
