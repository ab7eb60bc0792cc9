//! What is printed: a line of text, or a JSON object on a line.

use crate::failure::Failure;
use crate::places::Labels;
use frontrow_client::http::{BookedSeats, StandbyView};
use frontrow_client::{Held, Millis};
use serde_json::{Value, json};
use std::fmt::Display;
use std::io::Write;

/// How to print.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Out {
    /// JSON rather than text.
    pub(crate) json: bool,
}

impl Out {
    /// Prints one result.
    pub(crate) fn say(self, json: &Value, text: impl Display) {
        if self.json { Self::line(json) } else { Self::line(text) }
    }

    /// A line; a reader that has gone (`| head`) is no failure.
    fn line(text: impl Display) {
        let mut out = std::io::stdout().lock();
        let _ = writeln!(out, "{text}").and_then(|()| out.flush());
    }

    /// What is waited for, beside the result, which is not there yet: that is the one object on the standard output.
    pub(crate) fn aside(self, text: &str) {
        let text = if self.json {
            json!({"waiting": text.trim_start_matches("waiting: ")}).to_string()
        } else {
            text.to_owned()
        };
        let _ = writeln!(std::io::stderr(), "{text}");
    }

    pub(crate) fn failure(self, failure: &Failure) {
        if failure.is_told() {
            return;
        }
        if self.json {
            Self::line(failure.json());
        } else {
            let _ = writeln!(std::io::stderr(), "frontrow: {}", failure.text());
        }
    }
}

/// A standby's view for people: what comes with it may be old.
pub(crate) fn view_text(view: &StandbyView) -> String {
    format!("A standby's view, at most {} ms old.", view.age_ms)
}

/// The same for machines.
pub(crate) fn view_json(view: &StandbyView) -> Value {
    json!({"epoch": view.epoch, "age_ms": view.age_ms})
}

/// A hold for machines; `now_ms` is the server's time.
pub(crate) fn hold_json(code: &str, held: &Held, labels: &Labels, now_ms: Millis) -> Value {
    let rows = held.rows();
    let rows = rows.iter().map(|(row, seats)| {
        let places: Vec<u8> = seats.places().collect();
        json!({
            "row": row, "label": labels.row(*row), "places": places,
            "seats": labels.seats(*row, *seats),
        })
    });
    json!({
        "ok": true, "code": code,
        "event": held.place.event, "section": held.place.section, "section_name": labels.section(),
        "rows": rows.collect::<Vec<_>>(), "together": held.together, "from_queue": held.from_queue,
        "token": held.token(), "expires_ms": held.expires_ms,
        "expires_in_ms": held.expires_ms.saturating_sub(now_ms),
    })
}

/// `Block B, row 3, seats 4, 5`.
pub(crate) fn hold_seats(held: &Held, labels: &Labels) -> String {
    let rows = held.rows();
    named_seats(rows.iter().map(|(row, seats)| (*row, labels.seats(*row, *seats))), labels)
}

/// The same for a booking, whose seats are indexes.
pub(crate) fn booked_seats(rows: &[BookedSeats], labels: &Labels) -> String {
    let seats = |it: &BookedSeats| it.seats.iter().map(|seat| labels.seat(it.row, (*seat).into())).collect();
    named_seats(rows.iter().map(|it| (it.row, seats(it))), labels)
}

fn named_seats(rows: impl Iterator<Item = (u16, Vec<String>)>, labels: &Labels) -> String {
    let rows: Vec<String> = rows
        .map(|(row, seats)| {
            let word = if seats.len() == 1 { "seat" } else { "seats" };
            format!("row {}, {word} {}", labels.row(row), seats.join(", "))
        })
        .collect();
    if rows.is_empty() {
        labels.section().to_owned()
    } else {
        format!("{}, {}", labels.section(), rows.join("; "))
    }
}

/// A span of time for people, rounded down to whole seconds.
pub(crate) fn span(ms: Millis) -> String {
    let s = ms / 1000;
    match (s / 60, s % 60) {
        (0, s) => format!("{s} s"),
        (m, 0) => format!("{m} min"),
        (m, s) => format!("{m} min {s} s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::places::tests::sample;
    use frontrow_client::{Fence, Part, Parts, RowRef, Seats};

    fn held() -> Held {
        let fence = Fence { user: 7, expires_ms: 90_000, lsn: 1, nonce: 2, slot: 3, epoch: 4 };
        let seats = Seats::from_places(&[2, 3]).unwrap();
        Held {
            place: RowRef::new(1, 0, 0),
            fence,
            seats,
            parts: Parts::default(),
            expires_ms: fence.expires_ms,
            together: true,
            from_queue: false,
        }
    }

    #[test]
    fn holds_are_shown_by_their_labels() {
        let labels = Labels::new(sample());
        let mut held = held();
        assert_eq!(hold_seats(&held, &labels), "Block B, row A, seats 5, 7");
        let json = hold_json("granted", &held, &labels, 30_000);
        assert_eq!(json["rows"], json!([{"row": 0, "label": "A", "places": [2, 3], "seats": ["5", "7"]}]));
        assert_eq!((&json["expires_in_ms"], &json["token"]), (&json!(60_000), &json!(held.token())));
        held.place.row = RowRef::SECTION;
        for (row, places) in [(0, [0, 1]), (1, [0, 1])] {
            held.parts.push(Part { row, seats: Seats::from_places(&places).unwrap(), slot: 0 });
        }
        assert_eq!(hold_seats(&held, &labels), "Block B, row A, seats 1, 3; row 2, seats 1, 2");
    }

    #[test]
    fn bookings_are_shown_by_their_labels() {
        let rows = [(1, vec![2]), (0, vec![0, 3])].map(|(row, seats)| BookedSeats { row, seats });
        let text = booked_seats(&rows, &Labels::new(sample()));
        assert_eq!(text, "Block B, row 2, seat 2-b; row A, seats 1, 7");
        let text = booked_seats(&rows[..1], &Labels::unknown(4));
        assert_eq!(text, "section 4, row 1 (index), seat 2 (index)");
    }

    #[test]
    fn labels_that_are_not_known_are_places() {
        let labels = Labels::unknown(0);
        assert_eq!(hold_seats(&held(), &labels), "section 0, row 0 (index), seats 2 (index), 3 (index)");
    }

    #[test]
    fn times_are_short() {
        assert_eq!([span(999), span(61_000), span(300_000)], ["0 s", "1 min 1 s", "5 min"]);
    }
}
