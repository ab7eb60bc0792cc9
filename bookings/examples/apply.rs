//! How many bookings a second consumers take from a topic in memory into PostgreSQL, durable:
//! `apply [BOOKINGS [CONSUMERS [BATCH,BATCH,… [ROUNDS [FOLDER]]]]]`. Each round has a database of its own; the median counts.
//! One in twenty is cancelled later.

#![allow(
    clippy::disallowed_methods,
    clippy::cast_possible_wrap,
    reason = "a measurement reads the clock; small numbers"
)]

mod made_up;

use frontrow_bookings::Store;
use frontrow_bookings::consume::memory::{MemoryTopic, is_drained};
use frontrow_bookings::consume::{Progress, Running, consume};
use frontrow_bookings::postgres::{Postgres as Reader, PostgresTable, Settings};
use frontrow_cdc::{Kind, Mark, Message};
use frontrow_services::postgres::{Postgres, Settings as Server};
use made_up::{booked, template};
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

const KAFKA: usize = 16;
const PARTITIONS: u64 = 64;
/// Changes of one transaction of the producer's, about.
const TOLD: u64 = 1000;

type Failure = Box<dyn std::error::Error + Send + Sync>;

fn topic(bookings: u64) -> Result<MemoryTopic, Failure> {
    let template = template()?;
    let topic = MemoryTopic::new(KAFKA);
    for n in 0..bookings {
        topic.send(&Message::Change(booked(&template, n, PARTITIONS)));
        if n % 20 == 0 && n >= 40_000 {
            let mut cancelled = booked(&template, n - 40_000, PARTITIONS);
            (cancelled.kind, cancelled.position.lsn, cancelled.position.n) = (Kind::Cancelled, 10 + n, 1);
            topic.send(&Message::Change(cancelled));
        }
        if n % TOLD == TOLD - 1 || n + 1 == bookings {
            let mark = |partition| (partition as u16, Mark { epoch: 1, lsn: 10 + n });
            topic.send(&Message::Upto((0..PARTITIONS).map(mark).collect()));
        }
    }
    Ok(topic)
}

/// User and system time of this process so far, in seconds.
fn own_cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields = stat.rsplit_once(')').map_or("", |(_, rest)| rest).split_whitespace();
    fields.skip(11).take(2).filter_map(|ticks| ticks.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// Seconds of one round, and of CPU here and in PostgreSQL.
fn round(
    server: &Postgres,
    settings: &Settings,
    topic: &MemoryTopic,
    (consumers, batch): (usize, usize),
) -> Result<[f64; 3], Failure> {
    let (begun, cpu) = (Instant::now(), (own_cpu(), server.cpu_seconds()));
    let progress = Progress::default();
    std::thread::scope(|scope| {
        let one = |n: usize| {
            let progress = &progress;
            move || -> Result<(), Failure> {
                let share: Vec<i32> = (0..KAFKA as i32).filter(|it| *it as usize % consumers == n).collect();
                let mut source = topic.reader(&share);
                let drained = source.drained();
                let mut table = PostgresTable::new(settings)?;
                let is_over = |_: Duration| is_drained(&drained);
                Ok(consume(&mut source, &mut table, Running { is_over: &is_over, progress, batch })?)
            }
        };
        let all: Vec<_> = (0..consumers).map(|n| scope.spawn(one(n))).collect();
        all.into_iter().try_for_each(|it| it.join().map_err(|_| "a consumer ended with a panic")?)
    })?;
    let took = begun.elapsed().as_secs_f64();
    if progress.overtaken.load(Relaxed) + progress.aside.load(Relaxed) + progress.retries.load(Relaxed) > 0 {
        return Err(format!("not undisturbed: {progress}").into());
    }
    Ok([took, own_cpu() - cpu.0, server.cpu_seconds() - cpu.1])
}

fn main() -> Result<(), Failure> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, usual: u64| words.get(at).map_or(Ok(usual), |word| word.parse());
    let (bookings, consumers) = (number(0, 300_000)?, number(1, 2)? as usize);
    let batches = words.get(2).map_or("8192", String::as_str);
    let rounds = number(3, 5)? as usize;
    let folder = tempfile::tempdir_in(words.get(4).map_or(std::env::temp_dir(), Into::into))?;
    std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let further = ["shared_buffers=1GB", "max_wal_size=8GB", "checkpoint_timeout=30min"].map(str::to_owned);
    let place = Some(folder.path().join("postgres"));
    let server =
        Postgres::start_with(Server { folder: place, fsync: true, further: further.into(), port: None })?;
    let topic = topic(bookings)?;
    println!("{bookings} bookings, {consumers} consumers, fsync on; {rounds} rounds each, the median:");
    for batch in batches.split(',') {
        let batch: usize = batch.parse()?;
        let (mut all, mut bytes, mut log) = (Vec::new(), 0, 0);
        for n in 0..rounds {
            let name = format!("b{batch}_{n}");
            let settings = Settings::of(server.database(&name)?);
            let written = server.sql("postgres", "SELECT pg_current_wal_lsn()")?;
            all.push(round(&server, &settings, &topic, (consumers, batch))?);
            let sold = Reader::open(&settings, || 1)?.sales(7)?;
            let counted: u64 = sold.iter().map(|it| it.bookings + it.cancelled).sum();
            if counted != bookings {
                return Err(format!("{counted} bookings are there, {bookings} were said").into());
            }
            let since = format!("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '{written}')::bigint");
            log = server.sql("postgres", &since)?.parse::<u64>()? / bookings;
            if n + 1 < rounds {
                server.sql("postgres", &format!("DROP DATABASE {name} WITH (FORCE)"))?;
            } else {
                let all = "SELECT sum(pg_total_relation_size(oid))::bigint FROM pg_class WHERE relname ~ '^bookings_[0-9]+$'";
                bytes = server.sql(&name, all)?.parse::<u64>()? / bookings;
            }
            server.sql("postgres", "CHECKPOINT")?;
        }
        all.sort_unstable_by(|a, b| a[0].total_cmp(&b[0]));
        let [took, here, there] = all[all.len() / 2];
        let each = |seconds: f64| seconds * 1e6 / bookings as f64;
        println!(
            "  batch {batch:6}: {:8.0} a second; CPU {:.1} us a booking here, {:.1} in PostgreSQL; {bytes} bytes a booking, {log} in its log",
            bookings as f64 / took,
            each(here),
            each(there)
        );
    }
    Ok(())
}
