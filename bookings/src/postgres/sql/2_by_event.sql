-- What has been sold of an event, and its export in the order of the bookings' names.
CREATE INDEX by_event ON frontrow.bookings (event, section, row, epoch, lsn, slot);
