//! A booking, and its name.

use frontrow_cdc::{Change, Hold, RowSeats};
use frontrow_shard::{EventId, Lsn, Millis, RowRef, UserId};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::str::FromStr;
use utoipa::ToSchema;

/// The last moment a table can hold: the year 294,246. What says a later one is damaged.
pub(crate) const LAST_MS: Millis = 9_224_318_015_999_999;
/// The last number a record may have: they are given without gaps from 1, so a greater one is damaged.
pub(crate) const LAST_LSN: Lsn = i64::MAX as Lsn;

/// The name of a booking: the place that was asked for, and the grant it goes back to. A client can make it from the place
/// and fence it has in its hands.
///
/// As text `event-section-row-epoch-lsn-slot`, with `s` for the row of a claim of the section: `7-0-12-2-4711-17`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BookingId {
    /// The row or section.
    pub place: RowRef,
    /// The grant.
    pub hold: Hold,
}

/// Text that is no booking's name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "'{0}' is no booking's id: it is event-section-row-epoch-lsn-slot with s for the row of a section, as in 7-0-12-2-4711-17"
)]
pub struct NoBookingId(String);

impl fmt::Display for BookingId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { place, hold } = self;
        write!(f, "{}-{}-", place.event, place.section)?;
        if place.is_section() {
            f.write_str("s")?;
        } else {
            write!(f, "{}", place.row)?;
        }
        write!(f, "-{}-{}-{}", hold.epoch, hold.lsn, hold.slot)
    }
}

impl FromStr for BookingId {
    type Err = NoBookingId;

    fn from_str(text: &str) -> Result<Self, NoBookingId> {
        let parse = || {
            let mut parts = text.split('-');
            let mut next = || parts.next();
            let (event, section) = (next()?.parse().ok()?, next()?.parse().ok()?);
            let row = match next()? {
                "s" => RowRef::SECTION,
                row => row.parse().ok().filter(|row| *row != RowRef::SECTION)?,
            };
            let hold = Hold {
                epoch: next()?.parse().ok()?,
                lsn: next()?.parse().ok()?,
                slot: next()?.parse().ok()?,
            };
            let id = Self { place: RowRef::new(event, section, row), hold };
            // One spelling only: no signs, no leading zeros, nothing behind.
            (parts.next().is_none() && id.to_string() == text).then_some(id)
        };
        parse().ok_or_else(|| NoBookingId(text.chars().take(80).collect()))
    }
}

/// Whether it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The seats are the user's.
    Booked,
    /// They were given back.
    Cancelled,
}

/// Seats of one row, by their places.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Seats {
    /// Index of the row in the section.
    pub row: u16,
    /// Places, rising.
    pub seats: Vec<u8>,
}

/// A booking.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Booking {
    /// Its name.
    pub id: BookingId,
    /// Whose.
    pub user: UserId,
    /// The seats, row by row.
    pub seats: Vec<Seats>,
    /// The request that booked it, if that is known.
    pub request: Option<u128>,
    /// When. If that is not known any more, a moment by which it had been.
    pub booked_ms: Millis,
    /// When it was given back.
    pub cancelled_ms: Option<Millis>,
}

impl Booking {
    /// Whether it counts.
    pub fn state(&self) -> State {
        if self.cancelled_ms.is_some() { State::Cancelled } else { State::Booked }
    }

    /// What a change says of a booking. `None` if it is about something else.
    pub fn of(change: &Change) -> Option<Self> {
        let (place, user, hold) = (change.place()?, change.user?, change.hold?);
        let seats = if place.is_section() {
            let part = |RowSeats { row, seats }: &RowSeats| Seats { row: *row, seats: seats.clone() };
            change.parts.iter().map(part).collect()
        } else {
            vec![Seats { row: place.row, seats: change.seats.clone() }]
        };
        let id = BookingId { place, hold };
        let (request, booked_ms) = (change.request, change.time_ms);
        Some(Self { id, user, seats, request, booked_ms, cancelled_ms: None })
    }

    /// How many seats.
    pub fn count(&self) -> usize {
        self.seats.iter().map(|row| row.seats.len()).sum()
    }
}

/// A booking as HTTP gives it. What may not fit into a double is text.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct BookingView {
    /// Its name: `event-section-row-epoch-lsn-slot`, `s` for the row of a section.
    #[schema(example = "7-0-12-2-4711-17")]
    pub id: String,
    /// Whether it counts.
    pub state: State,
    /// The event.
    pub event: EventId,
    /// Index of the section within the event.
    pub section: u16,
    /// The seats, row by row.
    pub rows: Vec<Seats>,
    /// Whose.
    pub user: String,
    /// The request that booked it, as 32 hexadecimal digits, if that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<String>,
    /// When, in ms since 1970. If that is not known any more, a moment by which it had been.
    pub booked_ms: Millis,
    /// When it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_ms: Option<Millis>,
}

impl From<&Booking> for BookingView {
    fn from(booking: &Booking) -> Self {
        Self {
            id: booking.id.to_string(),
            state: booking.state(),
            event: booking.id.place.event,
            section: booking.id.place.section,
            rows: booking.seats.clone(),
            user: booking.user.to_string(),
            request: booking.request.map(|request| format!("{request:032x}")),
            booked_ms: booking.booked_ms,
            cancelled_ms: booking.cancelled_ms,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(row: u16) -> BookingId {
        BookingId { place: RowRef::new(7, 0, row), hold: Hold { epoch: 2, lsn: 4711, slot: 17 } }
    }

    #[test]
    fn a_name_has_one_spelling() {
        for (id, text) in [(id(12), "7-0-12-2-4711-17"), (id(RowRef::SECTION), "7-0-s-2-4711-17")] {
            assert_eq!(id.to_string(), text);
            assert_eq!(text.parse(), Ok(id));
        }
        for wrong in [
            "",
            "7",
            "7-0-12-2-4711",
            "7-0-12-2-4711-17-1",
            "07-0-12-2-4711-17",
            "7-0-+12-2-4711-17",
            "7-0-65535-2-1-1",
        ] {
            assert!(wrong.parse::<BookingId>().is_err(), "{wrong}");
        }
        let long = "9".repeat(100_000).parse::<BookingId>().unwrap_err();
        assert!(long.to_string().len() < 300);
    }
}
