//! Seats that nobody has at the end, and why: what is free, how it lies, and who waited for what when nobody came any
//! more.

use super::super::hall::Hall;
use super::facts::Kind;
use super::last::{FinalSeat, SeatState};
use crate::report::words::{count, plural};
use frontrow_shard::{RowRef, Seats};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// A party that waited when nobody came any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waited {
    /// In the queue of this row, or section.
    pub place: RowRef,
    /// For so many seats.
    pub count: u8,
    /// Of this kind.
    pub kind: Kind,
}

/// Why seats were left, in a sentence or two; `None` if none were. `seats` are the server's own word, `told` the seats
/// that people know to be theirs.
pub(crate) fn why(hall: &Hall, seats: &[FinalSeat], waited: &[Waited], told: u64) -> Option<String> {
    let ours = |seat: &&FinalSeat| {
        let at = RowRef::new(hall.event(), seat.section, seat.row);
        hall.row_index(at).is_some_and(|row| hall.rows()[row as usize].is_free(seat.place))
    };
    let count_of = |state| seats.iter().filter(ours).filter(|seat| seat.state == state).count() as u64;
    let (free, held) = (count_of(SeatState::Free), count_of(SeatState::Held));
    // The answer to a booking was lost with its connection, and nobody came back to ask.
    let unheard = count_of(SeatState::Booked).saturating_sub(told);
    if free + held + unheard == 0 {
        return None;
    }
    let mut still = String::new();
    for (seats, how) in
        [(held, "still held by somebody"), (unheard, "booked of which the buyer has not heard")]
    {
        if seats > 0 {
            let _ = write!(still, ", {} {how}", count(seats));
        }
    }
    if free == 0 {
        return Some(format!("At the end no seat was free{still}."));
    }
    let is_accessible = |seat: &&FinalSeat| {
        let row = hall.row_index(RowRef::new(hall.event(), seat.section, seat.row));
        row.is_some_and(|row| hall.rows()[row as usize].is_accessible(seat.place))
    };
    let (reserved, open): (Vec<&FinalSeat>, Vec<&FinalSeat>) =
        seats.iter().filter(ours).filter(|seat| seat.state == SeatState::Free).partition(is_accessible);
    let asks = |party: &&Waited| party.kind == Kind::Accessible;
    let mut words = format!("{} left{still}", plural(free, "seat"));
    if !reserved.is_empty() {
        let _ = write!(
            words,
            "; {} accessible, given only to people who name or ask for such a seat; {} for one",
            are(reserved.len() as u64, free),
            match waited.iter().filter(asks).count() as u64 {
                0 => "nobody waited".to_owned(),
                1 => "1 party waited".to_owned(),
                some => format!("{} parties waited", count(some)),
            }
        );
    }
    if !open.is_empty() {
        let runs = runs(hall, open.iter().copied());
        let others: Vec<Waited> = waited.iter().filter(|party| !asks(party)).copied().collect();
        let alone = runs.values().flatten().filter(|run| **run == 1).count() as u64;
        let _ = write!(
            words,
            "; {} alone, with no free seat beside {}. {}",
            are(alone, free),
            if alone > 1 { "them" } else { "it" },
            who_waited(&runs, &others).trim_end_matches('.')
        );
    }
    Some(format!("{words}."))
}

/// `3 of them are`; `all of them are`.
fn are(some: u64, all: u64) -> String {
    match some {
        0 if all == 1 => "it is not".to_owned(),
        0 => "none of them is".to_owned(),
        1 if all == 1 => "it is".to_owned(),
        1 => "1 of them is".to_owned(),
        some if some == all => "all of them are".to_owned(),
        some => format!("{} of them are", count(some)),
    }
}

/// Free seats next to each other, by row.
type Runs = BTreeMap<(u16, u16), Vec<u64>>;

fn runs<'a>(hall: &Hall, free: impl Iterator<Item = &'a FinalSeat>) -> Runs {
    let mut places: BTreeMap<(u16, u16), Vec<u8>> = BTreeMap::new();
    for seat in free {
        places.entry((seat.section, seat.row)).or_default().push(seat.place);
    }
    let together = |at: (u16, u16), a: u8, b: u8| {
        let row = hall.row_index(RowRef::new(hall.event(), at.0, at.1));
        let pair = Seats { mask: 0b11, first: a };
        a.checked_add(1) == Some(b) && row.is_some_and(|row| hall.rows()[row as usize].is_together(pair))
    };
    let lengths = |(at, mut of): ((u16, u16), Vec<u8>)| {
        of.sort_unstable();
        (at, of.chunk_by(|a, b| together(at, *a, *b)).map(|run| run.len() as u64).collect())
    };
    places.into_iter().map(lengths).collect()
}

/// Whether anybody who waited could have had these seats.
fn who_waited(runs: &Runs, waited: &[Waited]) -> String {
    if waited.is_empty() {
        return "Nobody waited when people stopped coming.".to_owned();
    }
    let of = |place: RowRef| {
        runs.iter().filter(move |((section, row), _)| {
            *section == place.section && (place.is_section() || *row == place.row)
        })
    };
    let here: Vec<&Waited> = waited.iter().filter(|party| of(party.place).next().is_some()).collect();
    let fits = |party: &&&Waited| {
        let lengths = || of(party.place).flat_map(|(_, lengths)| lengths.iter().copied());
        let most = if party.kind == Kind::Apart { lengths().sum() } else { lengths().max().unwrap_or(0) };
        most >= u64::from(party.count)
    };
    let fitting = here.iter().filter(fits).count() as u64;
    let stood = format!(
        "When people stopped coming {} waited",
        if waited.len() == 1 {
            "1 party".to_owned()
        } else {
            format!("{} parties", count(waited.len() as u64))
        }
    );
    match (here.len() as u64, fitting) {
        (0, _) => format!("{stood} in queues, all for rows or sections without a free seat."),
        (some, 0) => format!(
            "{stood} in queues. Seats were left over in the rows and sections where {} of them waited, but fewer together than each wanted.",
            count(some)
        ),
        (some, fit) => {
            let left: u64 = runs.values().flatten().sum();
            format!(
                "{stood} in queues. Seats were left over in the rows and sections where {} of them waited, and {} could have had some by \
                 waiting on: their seats came back when they had gone home.",
                count(some),
                count(fit.min(left))
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A section of rows, `.` free, `h` held, `b` booked.
    fn seats(rows: &[&str]) -> (Hall, Vec<FinalSeat>) {
        let hall = Hall::new(1, &[rows.iter().map(|row| row.len() as u16).collect()]);
        let state = |letter| match letter {
            '.' => SeatState::Free,
            'h' => SeatState::Held,
            _ => SeatState::Booked,
        };
        let of = |(row, text): (usize, &&str)| {
            let seat = |(place, letter): (usize, char)| FinalSeat {
                section: 0,
                row: row as u16,
                place: place as u8,
                state: state(letter),
            };
            text.chars().enumerate().map(seat).collect::<Vec<_>>()
        };
        (hall, rows.iter().enumerate().flat_map(of).collect())
    }

    fn party(row: u16, count: u8) -> Waited {
        Waited { place: RowRef::new(1, 0, row), count, kind: Kind::Together }
    }

    #[test]
    fn why_seats_were_left_is_told_from_how_they_lie_and_who_waited() {
        let (hall, sold) = seats(&["bbb", "bbb"]);
        assert_eq!(why(&hall, &sold, &[], 6), None);
        let unheard = why(&hall, &sold, &[], 5).expect("one of them heard nothing");
        assert_eq!(unheard, "At the end no seat was free, 1 booked of which the buyer has not heard.");
        let (hall, left) = seats(&["b.b.b", "bbhbb", "b..bb"]);
        let words = |waited: &[Waited]| why(&hall, &left, waited, 10).expect("some were left");
        let nobody = words(&[]);
        assert!(
            nobody.starts_with("4 seats left, 1 still held by somebody; 2 of them are alone"),
            "{nobody}"
        );
        assert!(nobody.ends_with("Nobody waited when people stopped coming."), "{nobody}");
        assert!(nobody.contains("alone, with no free seat beside them. "), "{nobody}");
        let elsewhere = words(&[party(1, 2)]);
        assert!(
            elsewhere.contains("1 party waited in queues, all for rows or sections without a free seat"),
            "{elsewhere}"
        );
        let large = words(&[party(0, 2), party(2, 3), party(1, 1)]);
        assert!(large.contains("Seats were left over in the rows and sections where 2 of them waited, but fewer together than each"), "{large}");
        let fits = words(&[party(0, 1), party(2, 2)]);
        assert!(fits.contains("2 could have had some by waiting on"), "{fits}");
        let apart = [Waited { place: RowRef::new(1, 0, RowRef::SECTION), count: 4, kind: Kind::Apart }];
        assert!(words(&apart).contains("1 could have had some"), "{}", words(&apart));
    }

    #[test]
    fn accessible_seats_are_for_who_asks() {
        let (hall, left) = seats(&[".bb", "bbb"]);
        let hall = hall.with_accessible(0, 0, &[0]);
        let words = why(&hall, &left, &[party(0, 1)], 5).expect("one is left");
        assert!(
            words.ends_with(
                "it is accessible, given only to people who name or ask for such a seat; nobody waited for one."
            ),
            "they waited for others: {words}"
        );
        let one = Waited { kind: Kind::Accessible, ..party(0, 2) };
        let words = why(&hall, &left, &[party(0, 1), one], 5).expect("one is left");
        assert!(words.ends_with("; 1 party waited for one."), "{words}");
    }
}
