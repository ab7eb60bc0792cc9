//! Bookings as COPY's binary format has them, and as rows are read.

use super::bigint;
use crate::booking::{Booking, BookingId, Seats};
use crate::consume::RowChange;
use crate::store::StoreError;
use bytes::{BufMut, BytesMut};
use frontrow_cdc::Hold;
use frontrow_shard::{Millis, RowRef, UserId};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

/// What COPY is given, in this order.
pub(super) const COPIED: &str = "user_id, event, epoch, lsn, slot, booked_at, cancelled_at, change_epoch, change_lsn, change_n, \
                                 section, row, partition, kafka_partition, request, seats, seat_rows";
/// How many those are.
const FIELDS: i16 = 17;
/// PostgreSQL counts from 2000-01-01, in microseconds.
const EPOCH_MS: i64 = 946_684_800_000;

/// Rows as a whole COPY.
pub(super) fn copied(rows: &[&RowChange]) -> BytesMut {
    let mut out = BytesMut::with_capacity(64 + rows.len() * 256);
    out.put_slice(b"PGCOPY\n\xff\r\n\0");
    // No flags, no more header.
    out.put_i64(0);
    for row in rows {
        put(&mut out, row);
    }
    out.put_i16(-1);
    out
}

fn put(out: &mut BytesMut, row: &RowChange) {
    let RowChange { through, at, booking, .. } = row;
    let BookingId { place, hold } = booking.id;
    out.put_i16(FIELDS);
    for number in [
        bigint(booking.user),
        i64::from(place.event),
        i64::from(hold.epoch),
        bigint(hold.lsn),
        i64::from(hold.slot),
        micros(booking.booked_ms),
    ] {
        put_i64(out, number);
    }
    match booking.cancelled_ms {
        Some(ms) => put_i64(out, micros(ms)),
        None => out.put_i32(-1),
    }
    for number in [i64::from(at.epoch), bigint(at.lsn), i64::from(at.n)] {
        put_i64(out, number);
    }
    for number in [i32::from(place.section), i32::from(place.row), i32::from(at.partition), *through] {
        out.put_i32(4);
        out.put_i32(number);
    }
    match booking.request {
        Some(request) => {
            out.put_i32(16);
            out.put_u128(request);
        }
        None => out.put_i32(-1),
    }
    put_seats(out, booking);
}

fn put_i64(out: &mut BytesMut, number: i64) {
    out.put_i32(8);
    out.put_i64(number);
}

/// Milliseconds since 1970 as a `timestamptz`. They have been looked at: they fit.
pub(super) fn micros(ms: Millis) -> i64 {
    (bigint(ms) - EPOCH_MS) * 1000
}

/// The seats, and for a claim of the section the row of each.
fn put_seats(out: &mut BytesMut, booking: &Booking) {
    let count = i32::try_from(booking.count()).expect("a record has no room for so many");
    put_array(out, count, 2, &Type::INT2);
    for seat in booking.seats.iter().flat_map(|row| &row.seats) {
        out.put_i32(2);
        out.put_i16(i16::from(*seat));
    }
    if !booking.id.place.is_section() {
        out.put_i32(-1);
        return;
    }
    put_array(out, count, 4, &Type::INT4);
    for row in &booking.seats {
        for _ in &row.seats {
            out.put_i32(4);
            out.put_i32(i32::from(row.row));
        }
    }
}

/// The head of an array of one dimension, from 1 on, without nulls.
fn put_array(out: &mut BytesMut, count: i32, width: i32, of: &Type) {
    out.put_i32(20 + count * (4 + width));
    for number in [1, 0, of.oid().cast_signed(), count, 1] {
        out.put_i32(number);
    }
}

/// A row as a booking; `reads` says in which order its columns are.
pub(super) fn booking(row: &Row) -> Result<Booking, StoreError> {
    let unfit = |what: &str| StoreError::Unfit(format!("{what}: {row:?}"));
    let small = |at: usize| u16::try_from(row.get::<_, i32>(at)).map_err(|_| unfit("no section or row"));
    let number =
        |at: usize| u32::try_from(row.get::<_, i64>(at)).map_err(|_| unfit("no event, epoch or slot"));
    let place = RowRef::new(number(1)?, small(2)?, small(3)?);
    let hold = Hold { epoch: number(4)?, lsn: row.get::<_, i64>(5).cast_unsigned(), slot: number(6)? };
    let places: Vec<i16> = row.get(7);
    let rows: Option<Vec<i32>> = row.get(8);
    let mut seats: Vec<Seats> = Vec::new();
    for (n, seat) in places.iter().enumerate() {
        let of = match &rows {
            Some(rows) => rows.get(n).and_then(|row| u16::try_from(*row).ok()),
            None => Some(place.row),
        };
        let (of, seat) = of.zip(u8::try_from(*seat).ok()).ok_or_else(|| unfit("no seats"))?;
        match seats.last_mut() {
            Some(last) if last.row == of => last.seats.push(seat),
            _ => seats.push(Seats { row: of, seats: vec![seat] }),
        }
    }
    let request: Option<Uuid> = row.get(9);
    Ok(Booking {
        id: BookingId { place, hold },
        user: row.get::<_, i64>(0) as UserId,
        seats,
        request: request.map(|Uuid(request)| request),
        booked_ms: row.get::<_, i64>(10).cast_unsigned(),
        cancelled_ms: row.get::<_, Option<i64>>(11).map(i64::cast_unsigned),
    })
}

/// A `uuid` as its number.
struct Uuid(u128);

impl<'a> tokio_postgres::types::FromSql<'a> for Uuid {
    fn from_sql(_: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn std::error::Error + Sync + Send>> {
        Ok(Self(u128::from_be_bytes(raw.try_into()?)))
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::UUID
    }
}
