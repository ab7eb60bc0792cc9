//! What making snapshots does to claims.
//!
//! `cargo run --release -p frontrow-cli --example snapshot_latency -- [RATE] [ROUNDS] [SECONDS] [SEATS]` starts two servers
//! that differ in one setting: one makes snapshots again and again, the other makes none. Each has a stadium on sale
//! (1,000,000 seats); in turn each is sent claims and releases at a fixed rate (10,000 requests/s), and every answer's time
//! is counted from when its request was to leave. Only rounds in which snapshots were written count for the first.

mod child;

use child::{Outcome, Server, now};
use frontrow_client::{Client, Endpoint, Options, RowRef, Seats};
use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

const CONNECTIONS: usize = 16;
/// Small segments, and a snapshot of everything after each of them, or never. A part of a large hall does not fit into small ones.
fn settings(seats: u32, always: bool) -> [(&'static str, &'static str); 2] {
    let segment = if seats > 200_000 { "8MiB" } else { "4MiB" };
    [("LOG__SEGMENT", segment), ("LOG__SNAPSHOT_EVERY", if always { segment } else { "64GiB" })]
}

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return child::serve();
    }
    let number = |at: usize, default| words.get(at).map_or(Ok(default), |word| word.parse::<u32>());
    let (rate, rounds, seconds) = (number(0, 10_000)?, number(1, 7)?, number(2, 5)?);
    let seats = number(3, 1_000_000)?;
    let folder = std::env::temp_dir().join(format!("frontrow-snapshot-latency-{}", std::process::id()));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = tokio::task::LocalSet::new();
    let measured = local.block_on(&runtime, measure(&folder, (rate, rounds, seconds), seats));
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

/// One of the two servers, with what its rounds found.
struct Subject {
    server: Server,
    rows: Rc<Vec<(RowRef, usize)>>,
    clients: Vec<Rc<Client>>,
    p50: Vec<Duration>,
    p99: Vec<Duration>,
}

impl Subject {
    async fn start(folder: PathBuf, settings: &[(&str, &str)], seats: u32) -> Outcome<Self> {
        let server = Server::start(&folder, settings)?;
        let query = frontrow_client::http::EventQuery::default();
        let event = server.http.create_stadium(&query, seats, None).await?.event.event;
        server.http.open(event).await?;
        let rows = Rc::new(child::rows(&server, event).await?);
        let mut clients = Vec::new();
        for user in 1..=CONNECTIONS as u64 {
            let token = server.http.dev_token(user).await?.token;
            let endpoint = Endpoint::Tcp(server.tcp.clone());
            clients.push(Rc::new(Client::connect_with(endpoint, token, Options::default()).await?));
        }
        Ok(Self { server, rows, clients, p50: Vec::new(), p99: Vec::new() })
    }

    /// Snapshots written so far.
    async fn snapshots(&self) -> Outcome<u64> {
        let metrics = self.server.http.metrics().await?;
        let line = metrics.lines().find_map(|line| line.strip_prefix("frontrow_snapshots_total "));
        Ok(line.ok_or("no count of snapshots")?.trim().parse()?)
    }

    async fn round(&mut self, rate: u32, seconds: u32) -> Outcome<()> {
        let times = Rc::new(RefCell::new(Vec::new()));
        let began = now() + Duration::from_millis(20);
        let pairs = rate * seconds / 2;
        let mut all = Vec::new();
        for number in 0..pairs as usize {
            let due = began + Duration::from_secs(1) * 2 * number as u32 / rate;
            tokio::time::sleep_until(due.into()).await;
            let (row, seats) = self.rows[number * 7919 % self.rows.len()];
            let seats = Seats { mask: 1, first: (number / self.rows.len() % seats) as u8 };
            let (client, times) = (Rc::clone(&self.clients[number % CONNECTIONS]), Rc::clone(&times));
            all.push(tokio::task::spawn_local(async move {
                let held = client.claim_seats(row, seats).await?;
                times.borrow_mut().push(due.elapsed());
                client.release(&held).await
            }));
        }
        for one in all {
            one.await??;
        }
        let mut times = times.take();
        times.sort();
        self.p50.push(times[times.len() / 2]);
        self.p99.push(times[times.len() * 99 / 100]);
        Ok(())
    }
}

async fn measure(folder: &Path, (rate, rounds, seconds): (u32, u32, u32), seats: u32) -> Outcome<()> {
    let mut always = Subject::start(folder.join("always"), &settings(seats, true), seats).await?;
    let mut never = Subject::start(folder.join("never"), &settings(seats, false), seats).await?;
    for round in 1..=rounds {
        let before = always.snapshots().await?;
        always.round(rate, seconds).await?;
        let written = always.snapshots().await? - before;
        never.round(rate, seconds).await?;
        let last = |times: &[Duration]| times.last().copied().unwrap_or_default();
        println!(
            "round {round}: {written} snapshots written; p50 {:.2?} and {:.2?} without, p99 {:.2?} and {:.2?} without",
            last(&always.p50),
            last(&never.p50),
            last(&always.p99),
            last(&never.p99)
        );
        if written == 0 {
            always.p50.pop();
            always.p99.pop();
            never.p50.pop();
            never.p99.pop();
        }
    }
    for (name, always, never) in [("p50", &always.p50, &never.p50), ("p99", &always.p99, &never.p99)] {
        let mut ratios: Vec<f64> =
            always.iter().zip(never).map(|(a, b)| a.as_secs_f64() / b.as_secs_f64()).collect();
        ratios.sort_by(f64::total_cmp);
        let (Some(least), Some(most)) = (ratios.first(), ratios.last()) else {
            return Err("no snapshot was written in any round: give a higher rate or more seconds".into());
        };
        println!(
            "{name} while snapshots are made, to without: {:.2} (median of {}; {least:.2} to {most:.2})",
            ratios[ratios.len() / 2],
            ratios.len()
        );
    }
    Ok(())
}
