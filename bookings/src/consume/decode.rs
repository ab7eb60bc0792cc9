//! What a record says, or why it cannot be used.

use crate::booking::{Booking, LAST_LSN, LAST_MS};
use frontrow_cdc::avro::Schemas;
use frontrow_cdc::message::{Anew, VERSION};
use frontrow_cdc::source::Record;
use frontrow_cdc::{Change, Kind, Marks, Message, Position};

/// What a record says.
#[derive(Debug)]
pub(super) enum Told {
    Booked(Position, Booking),
    Cancelled(Position, Booking),
    Upto(Marks),
    Anew(Anew),
    Forgotten,
}

/// Why a record is not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum Poison {
    /// Never to be.
    #[error("{0}")]
    Wrong(String),
    /// Not by this program.
    #[error("version {0}")]
    Later(u32),
}

fn wrong(why: impl Into<String>) -> Poison {
    Poison::Wrong(why.into())
}

/// Reads a record of the cluster `own`; `schemas` knows the schema of one that is Avro.
pub(super) fn decode(record: &Record, schemas: &Schemas, own: Option<&str>) -> Result<Told, Poison> {
    check(record, own)?;
    match schemas.read(record).map_err(|error| wrong(error.to_string()))? {
        Message::Change(change) => of_change(&change, &record.key),
        Message::Upto(marks) if marks.values().all(|mark| mark.lsn <= LAST_LSN) => Ok(Told::Upto(marks)),
        Message::Anew(anew) if anew.lsn <= LAST_LSN => Ok(Told::Anew(anew)),
        Message::Upto(_) | Message::Anew(_) => Err(wrong("a record of the log cannot have that number")),
        Message::Forgotten => Ok(Told::Forgotten),
    }
}

/// Whether its headers say that it is for this program, and for this table. What they mean hangs on the version.
pub(super) fn check(record: &Record, own: Option<&str>) -> Result<(), Poison> {
    check_version(record)?;
    let cluster = record.header("cluster").ok_or_else(|| wrong("it has no header 'cluster'"))?;
    match own {
        Some(own) if own.as_bytes() == cluster => Ok(()),
        Some(own) => {
            let theirs: String = cluster.escape_ascii().take(64).map(char::from).collect();
            Err(wrong(format!("it is of cluster {theirs}, and the table is of cluster {own}")))
        }
        None => Err(wrong("its header 'cluster' is none")),
    }
}

/// Whose a record is by itself: 32 hexadecimal digits.
pub(super) fn cluster(record: &Record) -> Option<&str> {
    check_version(record).ok()?;
    let is_digit = |byte: &u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let cluster = record.header("cluster").filter(|it| it.len() == 32 && it.iter().all(is_digit))?;
    std::str::from_utf8(cluster).ok()
}

/// Whether this program reads records of its version.
fn check_version(record: &Record) -> Result<(), Poison> {
    let version = record.header("version").ok_or_else(|| wrong("it has no header 'version'"))?;
    let version = std::str::from_utf8(version).ok().and_then(|text| text.parse().ok());
    match version {
        Some(VERSION) => Ok(()),
        Some(later) if later > VERSION => Err(Poison::Later(later)),
        _ => Err(wrong("its header 'version' is no version of these records")),
    }
}

fn of_change(change: &Change, key: &[u8]) -> Result<Told, Poison> {
    let kind = change.kind;
    if !matches!(kind, Kind::Booked | Kind::Cancelled) {
        return Err(wrong(format!("a change of type '{}' is nothing a booking hears of", kind.name())));
    }
    let mut booking = Booking::of(change).ok_or_else(|| wrong("section, user or hold is missing"))?;
    // Through another partition of Kafka's it may come before what happened before it.
    if key != booking.user.to_string().as_bytes() {
        return Err(wrong("its key is not its user"));
    }
    if booking.seats.is_empty() || booking.seats.iter().any(|row| row.seats.is_empty()) {
        return Err(wrong("a row without seats"));
    }
    if change.position.lsn > LAST_LSN || booking.id.hold.lsn > LAST_LSN {
        return Err(wrong("a record of the log cannot have that number"));
    }
    if change.time_ms > LAST_MS {
        return Err(wrong("its time is beyond all clocks"));
    }
    if kind == Kind::Booked {
        return Ok(Told::Booked(change.position, booking));
    }
    booking.cancelled_ms = Some(change.time_ms);
    Ok(Told::Cancelled(change.position, booking))
}
