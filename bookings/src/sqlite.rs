//! The table in a file beside the log. It is made of the log and can be made again: who deletes the file loses nothing.
//!
//! One connection writes; every reader borrows one of its own, and sees the state of one moment (SQLite's
//! write-ahead log). Commits are not synced one by one: [`Sink::settle`] does that now and then, and until it has, the
//! server's log keeps what they say.

use crate::booking::{Booking, BookingId, Seats};
use crate::store::{After, SectionSales, Since, Store, StoreError};
use frontrow_cdc::{Batch, Begun, Change, Hold, Kind, Mark, Marks, Places, Position, Sink, SinkError};
use frontrow_shard::{Epoch, EventId, PartitionId, RowRef, UserId};
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, Transaction, params};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The layout of the tables. A file of another one is made again.
const LAYOUT: i64 = 1;
/// How long a reader waits for a writer that is changing the file itself.
const PATIENCE: Duration = Duration::from_secs(5);
/// Connections that are kept for readers.
const READERS: usize = 8;

/// Keeps what connections share in this process's memory. The usual way maps a file for it, and whoever cuts that short ends
/// the process (`SIGBUS`). The price: no other process can open the table meanwhile.
const VFS: &str = "unix-excl";

const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE marks (partition INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, lsn INTEGER NOT NULL);
CREATE TABLE places (stream INTEGER PRIMARY KEY, epoch INTEGER NOT NULL, position INTEGER NOT NULL);
CREATE TABLE bookings (
    user INTEGER NOT NULL, event INTEGER NOT NULL, section INTEGER NOT NULL, row INTEGER NOT NULL,
    epoch INTEGER NOT NULL, lsn INTEGER NOT NULL, slot INTEGER NOT NULL,
    partition INTEGER NOT NULL, seats TEXT NOT NULL, request BLOB,
    booked_ms INTEGER NOT NULL, cancelled_ms INTEGER,
    PRIMARY KEY (user, event, section, row, epoch, lsn, slot)
) WITHOUT ROWID;
CREATE INDEX by_event ON bookings (event, section, row, epoch, lsn, slot);
";

const COLUMNS: &str = "user, event, section, row, epoch, lsn, slot, seats, request, booked_ms, cancelled_ms";

/// The table.
#[derive(Clone)]
pub struct Sqlite {
    inner: Arc<Inner>,
}

struct Inner {
    path: PathBuf,
    readers: Mutex<Vec<Connection>>,
}

/// Who writes it.
pub struct SqliteSink {
    path: PathBuf,
    connection: Connection,
    epoch: Epoch,
}

fn away(error: &rusqlite::Error) -> SinkError {
    SinkError::Away(format!("the table of bookings: {error}"))
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Away(error.to_string())
    }
}

/// What is written in `meta`.
fn meta(connection: &Connection, key: &str) -> rusqlite::Result<Option<i64>> {
    connection.query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0)).optional()
}

impl Sqlite {
    /// Opens the table at `path`, or makes it, for the log of `cluster`. One that is of another layout or cluster, or that
    /// cannot be read, is put aside and made again.
    pub fn open(path: &Path, cluster: u128) -> Result<(Self, SqliteSink), SinkError> {
        let name = cluster_name(cluster);
        let connection = match prepared(path, name) {
            Ok(Some(connection)) => connection,
            found => {
                let why = found.err().map_or_else(
                    || "it is of another version or data directory".to_owned(),
                    |error| error.to_string(),
                );
                tracing::warn!(path = %path.display(), %why, "the table of bookings is made again from the log");
                set_aside(path).map_err(|error| {
                    SinkError::Unfit(format!("{}: {error}; remove it, it is made again", path.display()))
                })?;
                prepared(path, name).map_err(|error| away(&error))?.ok_or_else(|| {
                    SinkError::Unfit(format!("{} cannot be made; look at its folder", path.display()))
                })?
            }
        };
        let inner = Inner { path: path.to_owned(), readers: Mutex::default() };
        let sink = SqliteSink { path: path.to_owned(), connection, epoch: 0 };
        Ok((Self { inner: Arc::new(inner) }, sink))
    }

    fn read<T>(&self, ask: impl FnOnce(&Connection) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let lock = || self.inner.readers.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = lock().pop();
        let connection = match idle {
            Some(connection) => connection,
            None => reader(&self.inner.path)?,
        };
        let answer = ask(&connection);
        let mut readers = lock();
        if readers.len() < READERS {
            readers.push(connection);
        }
        answer
    }
}

fn reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags_and_vfs(path, flags, VFS)?;
    connection.busy_timeout(PATIENCE)?;
    Ok(connection)
}

/// Half of a cluster's name: enough to tell one from another.
fn cluster_name(cluster: u128) -> i64 {
    (cluster as u64).cast_signed()
}

/// The file, if it is of this layout and cluster.
fn prepared(path: &Path, cluster: i64) -> rusqlite::Result<Option<Connection>> {
    let connection = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), VFS)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Of kibibytes, as far as they are needed: a table that does not fit is written at a third of the speed.
    connection.pragma_update(None, "cache_size", -262_144)?;
    // `settle` empties the write-ahead log: a commit must not wait for that.
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    let empty: bool = connection.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |row| row.get(0))?;
    if empty {
        connection.execute_batch(TABLES)?;
        let mut put = connection.prepare("INSERT INTO meta VALUES (?1, ?2)")?;
        put.execute(params!["layout", LAYOUT])?;
        put.execute(params!["cluster", cluster])?;
        drop(put);
    }
    let sound: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if sound != "ok" {
        return Err(rusqlite::Error::SqliteFailure(
            rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT),
            Some(sound),
        ));
    }
    let ours = meta(&connection, "layout")? == Some(LAYOUT) && meta(&connection, "cluster")? == Some(cluster);
    Ok(ours.then_some(connection))
}

/// Renames the files of a table that is of no use, over those of the one before.
fn set_aside(path: &Path) -> std::io::Result<()> {
    for ending in ["", "-wal", "-shm"] {
        let with = |more: &str| {
            let mut name = path.as_os_str().to_owned();
            name.push(more);
            name.push(ending);
            PathBuf::from(name)
        };
        match std::fs::rename(with(""), with(".old")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

impl SqliteSink {
    /// What is there.
    pub fn marks(&self) -> Result<Marks, SinkError> {
        marks(&self.connection).map_err(|error| away(&error))
    }

    /// Copies the table into a new file, for whoever asks later what was in it.
    pub fn keep_copy(&self, path: &Path) -> Result<(), SinkError> {
        let text = path.to_string_lossy();
        self.connection.execute("VACUUM INTO ?1", [&*text]).map(drop).map_err(|error| away(&error))
    }

    /// In which epoch it was written last; 0 if never.
    pub fn last_epoch(&self) -> Result<Epoch, SinkError> {
        let epoch = meta(&self.connection, "epoch").map_err(|error| away(&error))?;
        Ok(epoch.unwrap_or(0) as Epoch)
    }
}

impl Sink for SqliteSink {
    fn takes(&self, kind: Kind) -> bool {
        matches!(kind, Kind::Booked | Kind::Cancelled)
    }

    fn begin(&mut self, epoch: Epoch) -> Result<Begun, SinkError> {
        let found = self.last_epoch()?;
        if found > epoch {
            return Err(SinkError::Fenced { place: self.path.display().to_string(), found, own: epoch });
        }
        self.epoch = epoch;
        let put =
            "INSERT INTO meta VALUES ('epoch', ?1) ON CONFLICT (key) DO UPDATE SET value = excluded.value";
        self.connection.execute(put, [epoch]).map_err(|error| away(&error))?;
        let begun = || Ok(Begun { marks: marks(&self.connection)?, places: places(&self.connection)? });
        begun().map_err(|error: rusqlite::Error| away(&error))
    }

    fn forget(&mut self) -> Result<(), SinkError> {
        tracing::warn!(path = %self.path.display(), "the table of bookings is made again from the log");
        let all = "DELETE FROM bookings; DELETE FROM marks; DELETE FROM places; DELETE FROM meta WHERE key = 'epoch';";
        self.connection.execute_batch(all).map_err(|error| away(&error))
    }

    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let epoch = self.epoch;
        let mut write = || {
            let own = self.connection.transaction()?;
            let here = marks(&own)?;
            let mut table = Table::new(&own)?;
            for (partition, events) in &batch.anew {
                table.forget(*partition, events)?;
            }
            let anew = |of: PartitionId| batch.anew.iter().any(|(partition, _)| *partition == of);
            for change in &batch.changes {
                let Position { partition, lsn, .. } = change.position;
                if anew(partition) || here.get(&partition).is_none_or(|mark| lsn > mark.lsn) {
                    table.apply(change)?;
                }
            }
            for (partition, mark) in &batch.upto {
                table.mark(*partition, *mark)?;
            }
            for (&stream, &(epoch, position)) in &batch.places {
                table.place.execute(params![stream, epoch, position.cast_signed()])?;
            }
            drop(table);
            own.commit()
        };
        debug_assert!(epoch > 0, "it was begun");
        write().map_err(|error| away(&error))
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        // Syncs the write-ahead log, copies what no reader still looks at into the table, and syncs that.
        let checkpoint = |row: &Row<'_>| Ok((row.get::<_, i64>(1)?, row.get::<_, i64>(2)?));
        let done = self.connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], checkpoint);
        let (pages, copied) = done.map_err(|error| away(&error))?;
        if copied < pages {
            // A reader holds the rest back. What is not copied is not known to be on the disk.
            return Err(SinkError::Away(
                "the table of bookings is being read; it is synced a little later".into(),
            ));
        }
        Ok(())
    }
}

fn marks(connection: &Connection) -> rusqlite::Result<Marks> {
    let mut all = connection.prepare_cached("SELECT partition, epoch, lsn FROM marks")?;
    let one =
        |row: &Row<'_>| Ok((row.get(0)?, Mark { epoch: row.get(1)?, lsn: row.get::<_, i64>(2)? as u64 }));
    all.query_map([], one)?.collect()
}

fn places(connection: &Connection) -> rusqlite::Result<Places> {
    let mut all = connection.prepare_cached("SELECT stream, epoch, position FROM places")?;
    let one = |row: &Row<'_>| Ok((row.get(0)?, (row.get(1)?, row.get::<_, i64>(2)? as u64)));
    all.query_map([], one)?.collect()
}

/// A transaction's statements.
struct Table<'a> {
    book: rusqlite::CachedStatement<'a>,
    cancel: rusqlite::CachedStatement<'a>,
    mark: rusqlite::CachedStatement<'a>,
    place: rusqlite::CachedStatement<'a>,
    forget: rusqlite::CachedStatement<'a>,
}

impl<'a> Table<'a> {
    fn new(own: &'a Transaction<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            book: own.prepare_cached(
                "INSERT INTO bookings (user, event, section, row, epoch, lsn, slot, partition, seats, request, booked_ms) \
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11) \
                 ON CONFLICT DO UPDATE SET seats = excluded.seats, cancelled_ms = NULL",
            )?,
            cancel: own.prepare_cached(
                "UPDATE bookings SET cancelled_ms = ?8 WHERE user = ?1 AND event = ?2 AND section = ?3 AND row = ?4 \
                 AND epoch = ?5 AND lsn = ?6 AND slot = ?7",
            )?,
            mark: own.prepare_cached(
                "INSERT INTO marks VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET epoch = excluded.epoch, lsn = excluded.lsn",
            )?,
            place: own.prepare_cached(
                "INSERT INTO places VALUES (?1, ?2, ?3) \
                 ON CONFLICT DO UPDATE SET epoch = excluded.epoch, position = excluded.position",
            )?,
            forget: own.prepare_cached("DELETE FROM bookings WHERE event = ?1 AND partition = ?2")?,
        })
    }

    fn apply(&mut self, change: &Change) -> rusqlite::Result<()> {
        if !matches!(change.kind, Kind::Booked | Kind::Cancelled) {
            return Ok(());
        }
        let Some(booking) = Booking::of(change) else { return Ok(()) };
        let BookingId { place, hold } = booking.id;
        let (user, lsn) = (booking.user.cast_signed(), hold.lsn.cast_signed());
        if change.kind == Kind::Cancelled {
            self.cancel.execute(params![
                user,
                place.event,
                place.section,
                place.row,
                hold.epoch,
                lsn,
                hold.slot,
                change.time_ms.cast_signed()
            ])?;
            return Ok(());
        }
        let seats = serde_json::to_string(&booking.seats).unwrap_or_default();
        let request = booking.request.map(u128::to_be_bytes);
        self.book.execute(params![
            user,
            place.event,
            place.section,
            place.row,
            hold.epoch,
            lsn,
            hold.slot,
            change.position.partition,
            seats,
            request,
            booking.booked_ms.cast_signed()
        ])?;
        Ok(())
    }

    fn mark(&mut self, partition: PartitionId, mark: Mark) -> rusqlite::Result<()> {
        self.mark.execute(params![partition, mark.epoch, mark.lsn.cast_signed()]).map(drop)
    }

    /// What is said of these events in this partition is said anew.
    fn forget(&mut self, partition: PartitionId, events: &[EventId]) -> rusqlite::Result<()> {
        events.iter().try_for_each(|event| self.forget.execute(params![event, partition]).map(drop))
    }
}

/// A row as a booking.
fn booking(row: &Row<'_>) -> Result<Booking, StoreError> {
    let place = RowRef::new(row.get(1)?, row.get(2)?, row.get(3)?);
    let hold = Hold { epoch: row.get(4)?, lsn: row.get::<_, i64>(5)? as u64, slot: row.get(6)? };
    let id = BookingId { place, hold };
    let seats: String = row.get(7)?;
    let seats: Vec<Seats> = serde_json::from_str(&seats)
        .map_err(|error| StoreError::Unfit(format!("{id}: seats {seats}: {error}")))?;
    let request: Option<[u8; 16]> = row.get(8)?;
    Ok(Booking {
        id,
        user: row.get::<_, i64>(0)? as UserId,
        seats,
        request: request.map(u128::from_be_bytes),
        booked_ms: row.get::<_, i64>(9)? as u64,
        cancelled_ms: row.get::<_, Option<i64>>(10)?.map(|ms| ms as u64),
    })
}

fn all(
    connection: &Connection,
    sql: &str,
    params: impl rusqlite::Params,
) -> Result<Vec<Booking>, StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    let mut rows = statement.query(params)?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(booking(row)?);
    }
    Ok(found)
}

fn one(connection: &Connection, user: UserId, id: BookingId) -> Result<Option<Booking>, StoreError> {
    let sql = format!(
        "SELECT {COLUMNS} FROM bookings WHERE user = ?1 AND event = ?2 AND section = ?3 AND row = ?4 AND epoch = ?5 \
         AND lsn = ?6 AND slot = ?7"
    );
    let BookingId { place, hold } = id;
    let key = params![
        user.cast_signed(),
        place.event,
        place.section,
        place.row,
        hold.epoch,
        hold.lsn.cast_signed(),
        hold.slot
    ];
    Ok(all(connection, &sql, key)?.pop())
}

fn mark(connection: &Connection, partition: PartitionId) -> Result<Mark, StoreError> {
    let mut one = connection.prepare_cached("SELECT epoch, lsn FROM marks WHERE partition = ?1")?;
    let mark = |row: &Row<'_>| Ok(Mark { epoch: row.get(0)?, lsn: row.get::<_, i64>(1)? as u64 });
    Ok(one.query_row([partition], mark).optional()?.unwrap_or_default())
}

impl Store for Sqlite {
    fn of_user(
        &self,
        user: UserId,
        event: Option<EventId>,
        after: Option<After>,
        most: usize,
        wanted: &Since,
    ) -> Result<Option<Vec<Booking>>, StoreError> {
        let sql = format!("SELECT {COLUMNS} FROM bookings WHERE user = ?1 AND (?2 IS NULL OR event = ?2)");
        let found = self.read(|connection| {
            let moment = connection.unchecked_transaction()?;
            let is_there =
                wanted.seen.map_or(Ok(true), |id| Ok::<_, StoreError>(one(&moment, user, id)?.is_some()))?
                    && wanted.after.map_or(Ok(true), |(partition, lsn)| {
                        Ok::<_, StoreError>(mark(&moment, partition)?.lsn >= lsn)
                    })?;
            is_there.then(|| all(&moment, &sql, params![user.cast_signed(), event])).transpose()
        })?;
        // One user's bookings are few: they are put in order here.
        let Some(mut found) = found else { return Ok(None) };
        let key = |it: &Booking| (std::cmp::Reverse(it.booked_ms), it.id);
        found.sort_unstable_by_key(key);
        if let Some(after) = after {
            found.retain(|it| key(it) > (std::cmp::Reverse(after.booked_ms), after.id));
        }
        found.truncate(most);
        Ok(Some(found))
    }

    fn one(&self, user: UserId, id: BookingId) -> Result<Option<Booking>, StoreError> {
        self.read(|connection| one(connection, user, id))
    }

    fn of_event(
        &self,
        event: EventId,
        after: Option<BookingId>,
        most: usize,
    ) -> Result<Vec<Booking>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM bookings WHERE event = ?1 AND (section, row, epoch, lsn, slot) > (?2, ?3, ?4, ?5, ?6) \
             ORDER BY section, row, epoch, lsn, slot LIMIT ?7"
        );
        // Before all of them.
        let (section, row, epoch, lsn, slot) = after.map_or((-1, 0, 0, 0, 0), |BookingId { place, hold }| {
            (
                i64::from(place.section),
                i64::from(place.row),
                i64::from(hold.epoch),
                hold.lsn.cast_signed(),
                i64::from(hold.slot),
            )
        });
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        self.read(|connection| all(connection, &sql, params![event, section, row, epoch, lsn, slot, most]))
    }

    fn sales(&self, event: EventId) -> Result<Vec<SectionSales>, StoreError> {
        let sql = "SELECT section, count(*) FILTER (WHERE cancelled_ms IS NULL), \
                   coalesce(sum((SELECT sum(json_array_length(value, '$.seats')) FROM json_each(seats))) \
                   FILTER (WHERE cancelled_ms IS NULL), 0), count(cancelled_ms) \
                   FROM bookings WHERE event = ?1 GROUP BY section ORDER BY section";
        self.read(|connection| {
            let mut statement = connection.prepare_cached(sql)?;
            let one = |row: &Row<'_>| {
                let number = |at| row.get::<_, i64>(at).map(|number| number as u64);
                let (bookings, seats, cancelled) = (number(1)?, number(2)?, number(3)?);
                Ok(SectionSales { section: row.get(0)?, bookings, seats, cancelled })
            };
            Ok(statement.query_map([event], one)?.collect::<Result<_, _>>()?)
        })
    }

    fn mark(&self, partition: PartitionId) -> Result<Mark, StoreError> {
        self.read(|connection| mark(connection, partition))
    }
}

#[cfg(test)]
mod tests;
