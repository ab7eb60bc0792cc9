//! How many bookings a second the table beside the log takes, and how fast it is read: `fill [BOOKINGS [FOLDER]]`.
//! Batches are as large as a busy server's; each is a commit, and now and then the table is made durable.

#![allow(clippy::disallowed_methods, reason = "a measurement reads the clock")]

mod made_up;

use frontrow_bookings::{Since, Sqlite, Store};
use frontrow_cdc::{Batch, Change, Mark, Marks, Sink};
use made_up::{booked, template};
use std::time::{Duration, Instant};

const BATCH: u64 = 4096;
const PARTITIONS: u64 = 16;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut words = std::env::args().skip(1);
    let bookings: u64 = words.next().map_or(Ok(1_000_000), |word| word.parse())?;
    let folder = tempfile::tempdir_in(words.next().unwrap_or_else(|| ".".into()))?;
    let template = template()?;
    let (table, mut sink) = Sqlite::open(&folder.path().join("bookings.db"), 1)?;
    sink.begin(1)?;
    let begun = Instant::now();
    let (mut settled, mut slowest) = (begun, Duration::ZERO);
    for first in (0..bookings).step_by(BATCH as usize) {
        let changes: Vec<Change> =
            (first..bookings.min(first + BATCH)).map(|n| booked(&template, n, PARTITIONS)).collect();
        let upto: Marks = changes
            .iter()
            .map(|it| (it.position.partition, Mark { epoch: 1, lsn: it.position.lsn }))
            .collect();
        let before = Instant::now();
        sink.write(&Batch { records: changes.len() as u64, changes, upto, ..Batch::default() })?;
        slowest = slowest.max(before.elapsed());
        if settled.elapsed() > Duration::from_secs(2) {
            sink.settle()?;
            settled = Instant::now();
        }
    }
    sink.settle()?;
    let took = begun.elapsed();
    let bytes = std::fs::metadata(folder.path().join("bookings.db"))?.len();
    println!(
        "{bookings} bookings in {:.2} s, durable: {:.0} a second; the slowest batch took {:.1} ms; {} bytes a booking",
        took.as_secs_f64(),
        bookings as f64 / took.as_secs_f64(),
        slowest.as_secs_f64() * 1000.0,
        bytes / bookings.max(1)
    );
    let begun = Instant::now();
    let asked = 20_000.min(bookings);
    let found: usize = (1..=asked)
        .map(|user| {
            table.of_user(user, None, None, 100, &Since::default()).map(|it| it.map_or(0, |it| it.len()))
        })
        .sum::<Result<_, _>>()?;
    let each = begun.elapsed() / asked.max(1) as u32;
    println!(
        "{asked} users' bookings read one after the other, {found} in all: {:.1} us each",
        each.as_secs_f64() * 1e6
    );
    let begun = Instant::now();
    let sections = table.sales(7)?;
    let seats: u64 = sections.iter().map(|it| it.seats).sum();
    println!(
        "sales of an event of {seats} seats in {} sections: {:.0} ms",
        sections.len(),
        begun.elapsed().as_secs_f64() * 1000.0
    );
    if seats != bookings * 2 {
        return Err(format!("{seats} seats were sold, {} booked", bookings * 2).into());
    }
    Ok(())
}
