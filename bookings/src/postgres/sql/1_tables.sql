CREATE TABLE frontrow.bookings (
    user_id bigint NOT NULL,
    event bigint NOT NULL,
    epoch bigint NOT NULL,
    lsn bigint NOT NULL,
    slot bigint NOT NULL,
    booked_at timestamptz NOT NULL,
    cancelled_at timestamptz,
    change_epoch bigint NOT NULL,
    change_lsn bigint NOT NULL,
    change_n bigint NOT NULL,
    section integer NOT NULL,
    row integer NOT NULL,
    partition integer NOT NULL,
    kafka_partition integer NOT NULL,
    request uuid,
    seats smallint[] NOT NULL,
    seat_rows integer[],
    PRIMARY KEY (user_id, event, section, row, epoch, lsn, slot)
) PARTITION BY HASH (user_id);

DO $$ BEGIN
    FOR n IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE frontrow.bookings_%s PARTITION OF frontrow.bookings FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            n, n);
    END LOOP;
END $$;

CREATE TABLE frontrow.applied (
    topic text NOT NULL,
    kafka_partition integer NOT NULL,
    next_offset bigint,
    complete boolean NOT NULL DEFAULT false,
    applied_at timestamptz,
    partitions integer[] NOT NULL DEFAULT '{}',
    epochs bigint[] NOT NULL DEFAULT '{}',
    lsns bigint[] NOT NULL DEFAULT '{}',
    newest_epochs bigint[] NOT NULL DEFAULT '{}',
    PRIMARY KEY (topic, kafka_partition)
) WITH (fillfactor = 50);

CREATE VIEW frontrow.marks AS
    SELECT topic, kafka_partition, mark.*
    FROM frontrow.applied, unnest(partitions, epochs, lsns, newest_epochs) AS mark (partition, epoch, lsn, newest_epoch);

COMMENT ON TABLE frontrow.bookings IS 'Who has booked what. Written by "frontrow bookings" alone; read it as you like';
COMMENT ON COLUMN frontrow.bookings.user_id IS 'The user; above 2^63 the negative number with the same bits';
COMMENT ON COLUMN frontrow.bookings.row IS 'Index of the row in the section; 65535 is a claim of the section, over the rows in seat_rows';
COMMENT ON COLUMN frontrow.bookings.epoch IS 'With lsn and slot the grant that the booking goes back to, as in its fence';
COMMENT ON COLUMN frontrow.bookings.booked_at IS 'When it was booked; if that is not known any more, a moment by which it had been';
COMMENT ON COLUMN frontrow.bookings.cancelled_at IS 'When it was given back; null if it counts';
COMMENT ON COLUMN frontrow.bookings.change_epoch IS 'With change_lsn and change_n the last change that is in the row';
COMMENT ON COLUMN frontrow.bookings.seats IS 'Places in the row, from 0 at its low end';
COMMENT ON COLUMN frontrow.bookings.seat_rows IS 'Of a claim of the section, the row of each seat; null otherwise';
COMMENT ON COLUMN frontrow.bookings.partition IS 'The partition of Frontrow''s log that it came from';
COMMENT ON COLUMN frontrow.bookings.kafka_partition IS 'The partition of the topic that it came through';
COMMENT ON TABLE frontrow.applied IS 'How far each partition of the topic is in the table, written with the rows';
COMMENT ON COLUMN frontrow.applied.complete IS 'Whether everything that was there has been in the table at once';
COMMENT ON VIEW frontrow.marks IS 'Up to which record of each partition of the log everything is in the table';
