//! What every test needs: a database of its own, bookings, and a consumer that ends by itself.

use frontrow_bookings::consume::memory::{MemorySource, MemoryTopic, is_drained};
use frontrow_bookings::consume::{BATCH, ConsumeError, Progress, Running, consume};
use frontrow_bookings::postgres::{Postgres as Reader, PostgresTable, Settings};
use frontrow_cdc::{Change, Mark, Message};
use frontrow_services::postgres::{Postgres, or_left_out};
use serde_json::json;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// The one server of all tests; its watcher ends it with this process. None if PostgreSQL is not installed.
pub(crate) fn server() -> Option<&'static Postgres> {
    static SERVER: OnceLock<Option<Postgres>> = OnceLock::new();
    SERVER.get_or_init(|| or_left_out(Postgres::start())).as_ref()
}

/// A database of one's own.
pub(crate) fn database() -> Option<Settings> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
    Some(Settings::of(server()?.database(&name).unwrap()))
}

pub(crate) fn name(settings: &Settings) -> &str {
    settings.primary.rsplit_once('/').unwrap().1
}

/// A booking or a cancellation of one: user, row, the grant's number, and the record's.
pub(crate) fn change(kind: &str, user: u64, row: u16, grant: u64, (epoch, lsn): (u32, u64)) -> Change {
    let document = json!({
        "partition": 1, "epoch": epoch, "lsn": lsn, "n": 0, "type": kind, "time_ms": 1000 + lsn, "event": 7, "section": 0,
        "row": row, "seats": [2, 3], "user": user, "request": format!("{lsn:032x}"),
        "hold": {"epoch": 1, "lsn": grant, "slot": 3},
    });
    serde_json::from_value(document).unwrap()
}

pub(crate) fn booked(user: u64, row: u16, lsn: u64) -> Message {
    Message::Change(change("booked", user, row, lsn - 1, (1, lsn)))
}

pub(crate) fn upto(epoch: u32, lsn: u64) -> Message {
    Message::Upto([(1, Mark { epoch, lsn })].into())
}

/// Consumes until everything was read.
pub(crate) fn drain(settings: &Settings, source: MemorySource) -> Result<Progress, ConsumeError> {
    let progress = Progress::default();
    run(settings, source, &progress, BATCH)?;
    Ok(progress)
}

pub(crate) fn run(
    settings: &Settings,
    mut source: MemorySource,
    progress: &Progress,
    batch: usize,
) -> Result<(), ConsumeError> {
    let drained = source.drained();
    let mut table = PostgresTable::new(settings).unwrap();
    let is_over = |_: Duration| is_drained(&drained);
    consume(&mut source, &mut table, Running { is_over: &is_over, progress, batch })
}

/// All of a topic's bookings into a table.
pub(crate) fn take(settings: &Settings, topic: &MemoryTopic) -> Progress {
    let all: Vec<i32> = (0..topic.records().len() as i32).collect();
    drain(settings, topic.reader(&all)).unwrap()
}

pub(crate) fn reader(settings: &Settings) -> Reader {
    Reader::open(settings, || 1).unwrap()
}
