//! The changes that stand for a state: what whoever begins late takes over in place of the log that is gone.

use crate::change::{Change, Hold, Kind, Position, RowSeats};
use crate::sink::{Batch, Mark};
use frontrow_shard::cold::ColdBooking;
use frontrow_shard::{EventId, EventState, Millis, Partition, PartitionId, RowRef};

/// A booking as a change. It has neither the request nor the moment of the booking: the state has not kept those. Its
/// time is until when the seats would have been held.
pub fn booked(event: EventId, position: Position, booking: &ColdBooking) -> Change {
    let place = RowRef::new(event, booking.section, booking.row);
    let time_ms: Millis = booking.held_until_ms;
    let change = Change::of_event(position, time_ms, Kind::Booked, event).at(place);
    let rows = booking.parts.iter().map(|part| (part.row, part.seats.places().collect::<Vec<u8>>()));
    let (seats, parts) = if place.is_section() {
        (Vec::new(), rows.map(|(row, seats)| RowSeats { row, seats }).collect())
    } else {
        (rows.flat_map(|(_, seats)| seats).collect(), Vec::new())
    };
    let hold = Hold { epoch: booking.epoch, lsn: booking.lsn, slot: booking.slot };
    Change { user: Some(booking.user), hold: Some(hold), seats, parts, ..change }
}

/// Adds to a batch all bookings of a partition, in place of its history up to here.
pub fn stand_in(partition: &Partition, batch: &mut Batch) {
    let (id, mark): (PartitionId, _) =
        (partition.id(), Mark { epoch: partition.epoch(), lsn: partition.lsn() });
    // Of one that is archived only the name is here; its bookings are in its archive.
    let is_here =
        |event: &EventId| partition.event(*event).is_some_and(|(state, _)| state != EventState::Archived);
    let events: Vec<EventId> = partition.events().filter(is_here).collect();
    let mut n = 0;
    for &event in &events {
        let read = partition.read_out(event, true);
        for booking in read.iter().flat_map(|read| &read.bookings) {
            let position = Position { partition: id, epoch: mark.epoch, lsn: mark.lsn, n };
            batch.changes.push(booked(event, position, booking));
            n += 1;
        }
    }
    batch.anew.push((id, events));
    batch.upto.insert(id, mark);
}
