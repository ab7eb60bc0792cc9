//! Bookings for measurements.

use frontrow_cdc::Change;
use serde_json::json;

const USERS: u64 = 200_000;

/// Booking 0, which the others are made of.
pub(crate) fn template() -> Result<Change, serde_json::Error> {
    serde_json::from_value(json!({
        "partition": 0, "epoch": 1, "lsn": 1, "n": 0, "type": "booked", "time_ms": 1_795_671_356_000_u64, "event": 7, "section": 0,
        "row": 0, "seats": [0], "user": 1, "request": "00000000000000000000000000000001", "hold": {"epoch": 1, "lsn": 1, "slot": 3},
    }))
}

/// Booking `n` of a log with so many partitions: two seats of a row, by one of many users.
pub(crate) fn booked(template: &Change, n: u64, partitions: u64) -> Change {
    let mut change = template.clone();
    (change.position.partition, change.position.lsn) = ((n % partitions) as u16, 10 + n);
    (change.section, change.row) = (Some((n / 25 / 40 % 400) as u16), Some((n / 25 % 40) as u16));
    change.seats = vec![(n % 25 * 2) as u8, (n % 25 * 2 + 1) as u8];
    // Scattered, as real users are.
    change.user = Some(n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % USERS + 1);
    change.request = Some(u128::from(n) << 64 | 7);
    if let Some(hold) = &mut change.hold {
        hold.lsn = 9 + n;
    }
    change.time_ms += n / 100;
    change
}
