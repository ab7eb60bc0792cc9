//! What can be asked of the table.

use super::connection::{Connection, Parameters, PostgresError};
use super::rows::{booking, micros};
use super::servers::{Clock, Servers};
use super::{Settings, bigint};
use crate::booking::{Booking, BookingId};
use crate::store::{After, SectionSales, Since, Store, StoreError};
use frontrow_cdc::{Mark, Marks};
use frontrow_shard::{EventId, Lsn, PartitionId, UserId};
use futures_util::future::try_join;
use std::cell::Cell;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};

/// How long it is believed that the table has everything, in ms.
const COMPLETE_MS: u64 = 1000;

macro_rules! read {
    ($rest:literal) => {
        concat!(
            "SELECT user_id, event, section, row, epoch, lsn, slot, seats, seat_rows, request, \
             (extract(epoch FROM booked_at) * 1000)::bigint, (extract(epoch FROM cancelled_at) * 1000)::bigint FROM bookings ",
            $rest
        )
    };
}

const OF_USER: &str = read!(
    "WHERE user_id = $1 AND ($2::bigint IS NULL OR event = $2) AND ($3::timestamptz IS NULL OR booked_at < $3 OR (booked_at = $3 \
     AND (event, section, row, epoch, lsn, slot) > ($4::bigint, $5::integer, $6::integer, $7::bigint, $8::bigint, $9::bigint))) \
     ORDER BY booked_at DESC, event, section, row, epoch, lsn, slot LIMIT $10"
);
const ONE: &str = read!(
    "WHERE user_id = $1 AND event = $2 AND section = $3 AND row = $4 AND epoch = $5 AND lsn = $6 AND slot = $7"
);
const OF_EVENT: &str = read!(
    "WHERE event = $1 AND (section, row, epoch, lsn, slot) > ($2::integer, $3::integer, $4::bigint, $5::bigint, $6::bigint) \
     ORDER BY section, row, epoch, lsn, slot LIMIT $7"
);
const SALES: &str = "SELECT section, count(*) FILTER (WHERE cancelled_at IS NULL), \
    coalesce(sum(cardinality(seats)) FILTER (WHERE cancelled_at IS NULL), 0)::bigint, count(cancelled_at) \
    FROM bookings WHERE event = $1 GROUP BY section ORDER BY section";
/// The least that any of Kafka's partitions has.
const MARK: &str = "SELECT coalesce(m.epochs[m.n], 0), coalesce(m.lsns[m.n], 0) \
    FROM (SELECT epochs, lsns, array_position(partitions, $1) AS n FROM applied) AS m ORDER BY 1, 2 LIMIT 1";
const HAS: &str =
    "SELECT coalesce(bool_and(coalesce(lsns[array_position(partitions, $1)], 0) >= $2), false) FROM applied";
const APPLIED: &str = "SELECT complete, partitions, epochs, lsns FROM applied";
const COMPLETE: &str = "SELECT coalesce(bool_and(complete), false) FROM applied";
/// Whether a user's booking and a record are there; none of either is.
const SINCE: &str = "SELECT ($1::bigint IS NULL OR EXISTS (SELECT FROM bookings WHERE user_id = $1 AND event = $2 AND section = $3 \
    AND row = $4 AND epoch = $5 AND lsn = $6 AND slot = $7)) AND ($8::integer IS NULL OR (SELECT \
    coalesce(bool_and(coalesce(lsns[array_position(partitions, $8)], 0) >= $9), false) FROM applied))";

/// The table, to be read.
pub struct Postgres {
    servers: Servers,
    /// Until when it is believed to be complete.
    complete_until: AtomicU64,
}

/// How far the table is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Applied {
    /// Whether it has had everything once.
    pub complete: bool,
    /// By partition of the topic, in no order: by partition of the log, up to which record everything is there.
    pub marks: Vec<Marks>,
}

impl Applied {
    /// Whether it has everything up to these records.
    pub fn has(&self, upto: &Marks) -> bool {
        let has = |marks: &Marks, of: &PartitionId, wanted: &Mark| {
            marks.get(of).is_some_and(|mark| (mark.epoch, mark.lsn) >= (wanted.epoch, wanted.lsn))
        };
        !self.marks.is_empty()
            && upto.iter().all(|(of, wanted)| self.marks.iter().all(|it| has(it, of, wanted)))
    }
}

/// A `timestamptz` as PostgreSQL sends it.
#[derive(Debug)]
struct Moment(i64);

impl ToSql for Moment {
    fn to_sql(
        &self,
        of: &Type,
        out: &mut bytes::BytesMut,
    ) -> Result<tokio_postgres::types::IsNull, Box<dyn std::error::Error + Sync + Send>> {
        self.0.to_sql(of, out)
    }

    fn accepts(of: &Type) -> bool {
        *of == Type::TIMESTAMPTZ
    }

    tokio_postgres::types::to_sql_checked!();
}

impl From<PostgresError> for StoreError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Unfit(why) => Self::Unfit(why),
            error => Self::Away(error.to_string()),
        }
    }
}

/// A booking's name, as far as it is one, in the order of the key.
struct Name {
    event: Option<i64>,
    section: Option<i32>,
    row: Option<i32>,
    epoch: Option<i64>,
    lsn: Option<i64>,
    slot: Option<i64>,
}

impl From<Option<BookingId>> for Name {
    fn from(id: Option<BookingId>) -> Self {
        Self {
            event: id.map(|id| i64::from(id.place.event)),
            section: id.map(|id| i32::from(id.place.section)),
            row: id.map(|id| i32::from(id.place.row)),
            epoch: id.map(|id| i64::from(id.hold.epoch)),
            lsn: id.map(|id| bigint(id.hold.lsn)),
            slot: id.map(|id| i64::from(id.hold.slot)),
        }
    }
}

impl Postgres {
    /// Connects when it is first asked. `clock` is a time in ms, from whatever moment on.
    pub fn open(
        settings: &Settings,
        clock: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Result<Self, PostgresError> {
        let clock: Clock = Box::new(clock);
        Ok(Self { servers: Servers::new(settings, clock)?, complete_until: AtomicU64::new(0) })
    }

    /// How far the table is, as its primary has it.
    pub fn applied(&self) -> Result<Applied, StoreError> {
        let rows = match self.servers.ask_primary(|connection| connection.query(APPLIED, &[])) {
            Err(PostgresError::NoTable(_)) => Vec::new(),
            rows => rows?,
        };
        let marks = |row: &Row| {
            let (partitions, epochs, lsns): (Vec<i32>, Vec<i64>, Vec<i64>) =
                (row.get(1), row.get(2), row.get(3));
            let marks = epochs.iter().zip(&lsns);
            let marks = marks.map(|(epoch, lsn)| Mark { epoch: *epoch as u32, lsn: lsn.cast_unsigned() });
            partitions.iter().map(|of| *of as PartitionId).zip(marks).collect()
        };
        let complete = !rows.is_empty() && rows.iter().all(|row| row.get(0));
        Ok(Applied { complete, marks: rows.iter().map(marks).collect() })
    }

    /// What every server would answer alike, from whichever is asked.
    fn rows(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Row>, StoreError> {
        let rows = self.servers.ask(|connection| connection.query(sql, parameters).map(Some))?;
        Ok(rows.unwrap_or_default())
    }

    fn bookings(&self, sql: &'static str, parameters: Parameters<'_>) -> Result<Vec<Booking>, StoreError> {
        self.rows(sql, parameters)?.iter().map(booking).collect()
    }
}

/// Asks something of the same moment in which what it asks for is looked for: none if it is not there yet.
fn since(
    connection: &mut Connection,
    (user, since): (UserId, &Since),
    (sql, parameters): (&'static str, Parameters<'_>),
) -> Result<Option<Vec<Row>>, PostgresError> {
    if *since == Since::default() {
        return connection.query(sql, parameters).map(Some);
    }
    let (is_there, statement) = (connection.prepared(SINCE)?, connection.prepared(sql)?);
    let user = since.seen.map(|_| bigint(user));
    let name = Name::from(since.seen);
    let (partition, lsn) = since.after.unzip();
    let (partition, lsn) = (partition.map(i32::from), lsn.map(bigint));
    connection.run(|client| async move {
        let condition: Parameters<'_> = &[
            &user,
            &name.event,
            &name.section,
            &name.row,
            &name.epoch,
            &name.lsn,
            &name.slot,
            &partition,
            &lsn,
        ];
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let both = try_join(client.query_one(&is_there, condition), client.query(&statement, parameters));
        let (is_there, rows) = both.await?;
        client.batch_execute("COMMIT").await?;
        Ok(is_there.get::<_, bool>(0).then_some(rows))
    })
}

impl Store for Postgres {
    fn of_user(
        &self,
        user: UserId,
        event: Option<EventId>,
        after: Option<After>,
        most: usize,
        wanted: &Since,
    ) -> Result<Option<Vec<Booking>>, StoreError> {
        let name = Name::from(after.map(|after| after.id));
        let booked = after.map(|after| Moment(micros(after.booked_ms)));
        let (id, event) = (bigint(user), event.map(i64::from));
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let parameters: Parameters<'_> = &[
            &id,
            &event,
            &booked,
            &name.event,
            &name.section,
            &name.row,
            &name.epoch,
            &name.lsn,
            &name.slot,
            &most,
        ];
        let is_there = Cell::new(false);
        let rows = self.servers.ask(|connection| {
            let rows = since(connection, (user, wanted), (OF_USER, parameters))?;
            is_there.set(rows.is_some());
            // What a replica does not have it may not have yet: that there is nothing only the primary says.
            Ok(rows.filter(|rows| !rows.is_empty()))
        })?;
        let rows = rows.or_else(|| is_there.get().then(Vec::new));
        rows.map(|rows| rows.iter().map(booking).collect()).transpose()
    }

    fn one(&self, user: UserId, id: BookingId) -> Result<Option<Booking>, StoreError> {
        let (user, name) = (bigint(user), Name::from(Some(id)));
        let parameters: Parameters<'_> =
            &[&user, &name.event, &name.section, &name.row, &name.epoch, &name.lsn, &name.slot];
        // What a replica does not have it may not have yet.
        let row = self.servers.ask(|connection| Ok(connection.query(ONE, parameters)?.pop()))?;
        row.as_ref().map(booking).transpose()
    }

    fn of_event(
        &self,
        event: EventId,
        after: Option<BookingId>,
        most: usize,
    ) -> Result<Vec<Booking>, StoreError> {
        let name = Name::from(after);
        // Before all of them.
        let (section, row) = (name.section.unwrap_or(-1), name.row.unwrap_or(0));
        let [epoch, lsn, slot] = [name.epoch, name.lsn, name.slot].map(Option::unwrap_or_default);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.bookings(OF_EVENT, &[&i64::from(event), &section, &row, &epoch, &lsn, &slot, &most])
    }

    fn sales(&self, event: EventId) -> Result<Vec<SectionSales>, StoreError> {
        let sold = |row: &Row| {
            let number = |at| row.get::<_, i64>(at).cast_unsigned();
            let section = row.get::<_, i32>(0) as u16;
            SectionSales { section, bookings: number(1), seats: number(2), cancelled: number(3) }
        };
        Ok(self.rows(SALES, &[&i64::from(event)])?.iter().map(sold).collect())
    }

    fn mark(&self, partition: PartitionId) -> Result<Mark, StoreError> {
        let mark = |row: &Row| Mark {
            epoch: row.get::<_, i64>(0) as u32,
            lsn: row.get::<_, i64>(1).cast_unsigned(),
        };
        Ok(self.rows(MARK, &[&i32::from(partition)])?.first().map(mark).unwrap_or_default())
    }

    fn has(&self, partition: PartitionId, lsn: Lsn) -> Result<bool, StoreError> {
        let (partition, lsn) = (i32::from(partition), bigint(lsn));
        let has = |connection: &mut Connection| -> Result<Option<()>, PostgresError> {
            let rows = connection.query(HAS, &[&partition, &lsn])?;
            Ok(rows.first().is_some_and(|row| row.get(0)).then_some(()))
        };
        Ok(self.servers.ask(has)?.is_some())
    }

    fn is_complete(&self) -> Result<bool, StoreError> {
        let now = self.servers.now();
        if now < self.complete_until.load(Relaxed) {
            return Ok(true);
        }
        let complete = |connection: &mut Connection| -> Result<Option<()>, PostgresError> {
            match connection.query(COMPLETE, &[]) {
                Ok(rows) => Ok(rows.first().is_some_and(|row| row.get(0)).then_some(())),
                // Before the first consumer made it, and while it is being made anew.
                Err(PostgresError::NoTable(_)) => Ok(None),
                Err(error) => Err(error),
            }
        };
        let is_complete = self.servers.ask(complete)?.is_some();
        if is_complete {
            self.complete_until.store(now + COMPLETE_MS, Relaxed);
        }
        Ok(is_complete)
    }
}
