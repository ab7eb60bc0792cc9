//! A plan written as one transaction.
//!
//! First the places move: each is compared with where it must be, and locked until the end. So of two consumers that both
//! believe to own a partition of Kafka's, the second one waits for the first, finds the place moved, and writes nothing.
//!
//! New bookings are copied straight into the table. If one of them is there already, the transaction is done again with care:
//! copied beside the table, and from there row by row, each only over an earlier change. What was told twice comes so; after
//! it, some batches are written with care from the beginning.

use super::connection::{Connection, For, Parameters, PostgresError, config};
use super::rows::{COPIED, copied};
use super::{Settings, bigint, schema};
use crate::consume::{Move, Origin, Place, Plan, Reached, RowChange, Step, Table, TableError};
use frontrow_cdc::Mark;
use futures_util::SinkExt;
use futures_util::future::try_join_all;
use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;
use tokio_postgres::Config;

/// How many batches are written with care after one that had to be.
const CAREFUL: u32 = 32;

const MOVE: &str = "UPDATE applied SET next_offset = $4, complete = $5, applied_at = now(), partitions = $6, epochs = $7, \
    lsns = $8, newest_epochs = $9 WHERE topic = $1 AND kafka_partition = $2 AND next_offset IS NOT DISTINCT FROM $3";

const STAGE: &str = "CREATE TEMP TABLE IF NOT EXISTS staged (LIKE frontrow.bookings) ON COMMIT DELETE ROWS";

const UNSTAGE: &str = "INSERT INTO bookings AS b SELECT * FROM staged ON CONFLICT (user_id, event, section, row, epoch, lsn, slot) \
    DO UPDATE SET booked_at = excluded.booked_at, cancelled_at = excluded.cancelled_at, change_epoch = excluded.change_epoch, \
    change_lsn = excluded.change_lsn, change_n = excluded.change_n, partition = excluded.partition, \
    kafka_partition = excluded.kafka_partition, request = excluded.request, seats = excluded.seats, \
    seat_rows = excluded.seat_rows \
    WHERE (excluded.change_epoch, excluded.change_lsn, excluded.change_n) > (b.change_epoch, b.change_lsn, b.change_n)";

const CANCEL: &str = "UPDATE bookings AS b SET cancelled_at = to_timestamp(0) + s.ms * interval '1 ms', \
    change_epoch = s.change_epoch, change_lsn = s.change_lsn, change_n = s.change_n \
    FROM unnest($1::bigint[], $2::bigint[], $3::integer[], $4::integer[], $5::bigint[], $6::bigint[], $7::bigint[], \
    $8::bigint[], $9::bigint[], $10::bigint[], $11::bigint[]) \
    AS s (user_id, event, section, row, epoch, lsn, slot, ms, change_epoch, change_lsn, change_n) \
    WHERE b.user_id = s.user_id AND b.event = s.event AND b.section = s.section AND b.row = s.row AND b.epoch = s.epoch \
    AND b.lsn = s.lsn AND b.slot = s.slot \
    AND (s.change_epoch, s.change_lsn, s.change_n) > (b.change_epoch, b.change_lsn, b.change_n)";

const KNOWN: &str = "SELECT cluster, id FROM topics WHERE topic = $1";
/// What is known stays.
const ORIGIN: &str = "INSERT INTO topics AS t (topic, cluster, id) VALUES ($1, $2, $3) ON CONFLICT (topic) \
    DO UPDATE SET cluster = coalesce(t.cluster, excluded.cluster), id = coalesce(t.id, excluded.id) RETURNING cluster, id";

const ANEW: &str = "DELETE FROM bookings WHERE event = ANY($1) AND partition = $2 AND kafka_partition = $3";
const FORGET: &str = "DELETE FROM bookings WHERE kafka_partition = $1";

/// The table, for one consumer.
pub struct PostgresTable {
    config: Config,
    patience: Duration,
    connection: Option<Connection>,
    topic: String,
    careful: u32,
}

impl From<PostgresError> for TableError {
    fn from(error: PostgresError) -> Self {
        match error {
            PostgresError::Away(_) | PostgresError::NoTable(_) | PostgresError::Doubled(_) => {
                Self::Away(error.to_string())
            }
            PostgresError::Refused(_) => Self::Refused(error.to_string()),
            PostgresError::Unfit(_) => Self::Unfit(error.to_string()),
        }
    }
}

impl PostgresTable {
    /// Connects when it is first used.
    pub fn new(settings: &Settings) -> Result<Self, PostgresError> {
        let patience = settings.write_patience;
        let config = config(&settings.primary, For::Writing, patience)?;
        Ok(Self { config, patience, connection: None, topic: String::new(), careful: 0 })
    }

    /// The connection, made if there is none.
    fn connected(&mut self) -> Result<&mut Connection, PostgresError> {
        if self.connection.is_none() {
            let connection = Connection::open(&self.config, self.patience)?;
            connection.batch(STAGE)?;
            self.connection = Some(connection);
        }
        Ok(self.connection.as_mut().expect("it was made"))
    }

    /// Does something; after an error the connection is made anew.
    fn with<T, E: From<PostgresError>>(
        &mut self,
        act: impl FnOnce(&mut Connection) -> Result<T, E>,
    ) -> Result<T, E> {
        let done = self.connected().map_err(E::from).and_then(act);
        if done.is_err() {
            self.connection = None;
        }
        done
    }
}

impl Table for PostgresTable {
    fn begin(&mut self, topic: &str, partitions: i32) -> Result<(), TableError> {
        self.connection = None;
        let mut connection = Connection::open(&self.config, self.patience)?;
        schema::migrate(&mut connection)?;
        connection.batch(STAGE)?;
        let other = "SELECT topic FROM applied WHERE topic <> $1 LIMIT 1";
        if let Some(row) = connection.query(other, &[&topic])?.first() {
            return Err(TableError::Unfit(format!(
                "the database has the bookings of topic '{}', and not of '{topic}': give another database",
                row.get::<_, String>(0)
            )));
        }
        let all = "INSERT INTO applied (topic, kafka_partition) SELECT $1, n FROM generate_series(0, $2 - 1) AS n \
                   ON CONFLICT DO NOTHING";
        connection.execute(all, &[&topic, &partitions])?;
        topic.clone_into(&mut self.topic);
        self.connection = Some(connection);
        Ok(())
    }

    fn origin(&mut self, told: &Origin) -> Result<Origin, TableError> {
        let topic = self.topic.clone();
        self.with(|connection| {
            let origin =
                |row: &tokio_postgres::Row| Origin { cluster: row.get(0), id: row.get(1), untold: None };
            let is_news = |known: &Option<String>, told: &Option<String>| known.is_none() && told.is_some();
            // It is asked again and again, and nothing is written for it.
            let known = connection.query(KNOWN, &[&topic])?.first().map(origin).unwrap_or_default();
            if !is_news(&known.cluster, &told.cluster) && !is_news(&known.id, &told.id) {
                return Ok(known);
            }
            let found = connection.query(ORIGIN, &[&topic, &told.cluster, &told.id])?;
            Ok(found.first().map(origin).unwrap_or_default())
        })
    }

    fn places(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, Place>, TableError> {
        let topic = self.topic.clone();
        self.with(|connection| {
            let of = "SELECT kafka_partition, next_offset, complete, partitions, epochs, lsns, newest_epochs FROM applied \
                      WHERE topic = $1 AND kafka_partition = ANY($2)";
            let rows = connection.query(of, &[&topic, &partitions])?;
            Ok(rows.iter().map(|row| (row.get(0), place(row))).collect())
        })
    }

    fn write(&mut self, plan: &Plan) -> Result<(), TableError> {
        let topic = std::mem::take(&mut self.topic);
        let mut careful = self.careful > 0;
        let written = loop {
            match self.with(|connection| write(connection, &topic, plan, careful)) {
                Err(Written::Failed(PostgresError::Doubled(_))) if !careful => careful = true,
                written => break written,
            }
        };
        self.topic = topic;
        self.careful = match (careful, self.careful) {
            (true, 0) => CAREFUL,
            (_, left) => left.saturating_sub(1),
        };
        written.map_err(|error| match error {
            Written::Overtaken => TableError::Overtaken,
            Written::Failed(error) => error.into(),
        })
    }
}

/// Why a plan is not written.
enum Written {
    Overtaken,
    Failed(PostgresError),
}

impl From<PostgresError> for Written {
    fn from(error: PostgresError) -> Self {
        Self::Failed(error)
    }
}

fn place(row: &tokio_postgres::Row) -> Place {
    let (partitions, epochs): (Vec<i32>, Vec<i64>) = (row.get(3), row.get(4));
    let (lsns, newest): (Vec<i64>, Vec<i64>) = (row.get(5), row.get(6));
    let each = partitions.iter().zip(epochs).zip(lsns.iter().zip(newest));
    let reached = each.map(|((&partition, epoch), (&lsn, newest))| {
        let mark = Mark { epoch: epoch as u32, lsn: lsn.cast_unsigned() };
        (partition as u16, Reached { mark, newest: newest as u32 })
    });
    Place { next: row.get(1), complete: row.get(2), reached: reached.collect() }
}

fn write(connection: &mut Connection, topic: &str, plan: &Plan, careful: bool) -> Result<(), Written> {
    connection.batch("BEGIN")?;
    if !move_on(connection, topic, &plan.moves)? {
        connection.batch("ROLLBACK")?;
        return Err(Written::Overtaken);
    }
    for step in &plan.steps {
        match step {
            Step::Rows(rows) => write_rows(connection, rows, careful)?,
            Step::Anew { through, partition, events } => {
                let events: Vec<i64> = events.iter().map(|event| i64::from(*event)).collect();
                let partition = i32::from(*partition);
                connection.at_length(|it| it.execute(ANEW, &[&events, &partition, through]))?;
            }
            Step::Forgotten { through } => {
                connection.at_length(|it| it.execute(FORGET, &[through]))?;
            }
        }
    }
    connection.batch("COMMIT")?;
    Ok(())
}

/// Moves the places, all at once; whether all of them were where they must be.
fn move_on(connection: &mut Connection, topic: &str, moves: &[Move]) -> Result<bool, PostgresError> {
    let statement = connection.prepared(MOVE)?;
    connection.run(|client| async move {
        let each = moves.iter().map(|one| {
            let (client, statement) = (client, &statement);
            async move {
                let reached = || one.to.reached.iter();
                let partitions: Vec<i32> = reached().map(|(partition, _)| i32::from(*partition)).collect();
                let epochs: Vec<i64> = reached().map(|(_, it)| i64::from(it.mark.epoch)).collect();
                let lsns: Vec<i64> = reached().map(|(_, it)| bigint(it.mark.lsn)).collect();
                let newest: Vec<i64> = reached().map(|(_, it)| i64::from(it.newest)).collect();
                let Move { partition, from, to } = one;
                client
                    .execute(
                        statement,
                        &[
                            &topic,
                            partition,
                            from,
                            &to.next,
                            &to.complete,
                            &partitions,
                            &epochs,
                            &lsns,
                            &newest,
                        ],
                    )
                    .await
            }
        });
        Ok(try_join_all(each).await?.iter().all(|moved| *moved == 1))
    })
}

fn write_rows(connection: &mut Connection, rows: &[RowChange], careful: bool) -> Result<(), PostgresError> {
    let (booked, cancelled): (Vec<&RowChange>, Vec<&RowChange>) = rows.iter().partition(|row| row.booked);
    if !booked.is_empty() {
        let into = if careful { "staged" } else { "frontrow.bookings" };
        copy(connection, &format!("COPY {into} ({COPIED}) FROM STDIN BINARY"), &booked)?;
        if careful {
            connection.execute(UNSTAGE, &[])?;
            connection.batch("TRUNCATE staged")?;
        }
    }
    if cancelled.is_empty() { Ok(()) } else { cancel(connection, &cancelled) }
}

fn copy(connection: &Connection, sql: &str, rows: &[&RowChange]) -> Result<(), PostgresError> {
    let bytes = copied(rows).freeze();
    connection.run(|client| async move {
        let mut sink = pin!(client.copy_in(sql).await?);
        sink.send(bytes).await?;
        sink.finish().await.map(drop)
    })
}

/// Cancels bookings that are there. One that is not is of a past that was told anew without it.
fn cancel(connection: &mut Connection, rows: &[&RowChange]) -> Result<(), PostgresError> {
    let big = |of: fn(&RowChange) -> i64| -> Vec<i64> { rows.iter().map(|row| of(row)).collect() };
    let small = |of: fn(&RowChange) -> i32| -> Vec<i32> { rows.iter().map(|row| of(row)).collect() };
    let (user, event) = (big(|it| bigint(it.booking.user)), big(|it| i64::from(it.booking.id.place.event)));
    let section = small(|it| i32::from(it.booking.id.place.section));
    let row = small(|it| i32::from(it.booking.id.place.row));
    let epoch = big(|it| i64::from(it.booking.id.hold.epoch));
    let (lsn, slot) =
        (big(|it| bigint(it.booking.id.hold.lsn)), big(|it| i64::from(it.booking.id.hold.slot)));
    let ms = big(|it| bigint(it.booking.cancelled_ms.unwrap_or(0)));
    let at_epoch = big(|it| i64::from(it.at.epoch));
    let (at_lsn, at_n) = (big(|it| bigint(it.at.lsn)), big(|it| i64::from(it.at.n)));
    let parameters: Parameters<'_> =
        &[&user, &event, &section, &row, &epoch, &lsn, &slot, &ms, &at_epoch, &at_lsn, &at_n];
    connection.execute(CANCEL, parameters).map(drop)
}
