//! What an event costs in memory while it is on sale, and what it costs in its archive.
//!
//! `cargo run --release -p frontrow-cli --example cold_memory -- [SEATS]` starts a server as a process of its own,
//! sells a stadium out to the last seat, archives it, looks at it, and starts the server again.

mod child;

use child::{Outcome, Server, now};
use frontrow_client::{Client, Endpoint, Held, Options, Seats};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

/// Buyers at the same time.
const BUYERS: u64 = 64;
const BUYER_CONNECTIONS: u64 = 8;
/// Seats in a claim.
const PARTY: usize = 8;

fn main() -> Outcome<()> {
    let mut words = std::env::args().skip(1);
    match words.next().as_deref() {
        Some("serve") => child::serve(),
        seats => {
            let seats = seats.map_or(Ok(500_000), str::parse)?;
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(measure(seats))
        }
    }
}

/// Prints what the process has in memory: its own, and pages of files it has mapped.
fn memory(server: &Server, when: &str) -> Outcome<()> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", server.child.id()))?;
    let mib = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap_or_default();
        let kib = line.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok());
        kib.unwrap_or_default() / 1024.0
    };
    let (all, own, files) = (mib("VmRSS:"), mib("RssAnon:"), mib("RssFile:"));
    println!("{when:<42} {all:>8.1} {own:>8.1} {files:>8.1}");
    Ok(())
}

async fn measure(seats: u32) -> Outcome<()> {
    let folder = std::env::temp_dir().join(format!("frontrow-cold-memory-{}", std::process::id()));
    let measured = run(seats, &folder).await;
    let _ = std::fs::remove_dir_all(&folder);
    measured
}

async fn run(seats: u32, folder: &Path) -> Outcome<()> {
    println!("{:<42} {:>8} {:>8} {:>8}", "MiB resident", "all", "own", "files");
    let server = Server::start(folder, &[])?;
    memory(&server, "empty server")?;
    let query = frontrow_client::http::EventQuery::default();
    let event = server.http.create_stadium(&query, seats, None).await?.event.event;
    server.http.open(event).await?;
    memory(&server, "event on sale")?;
    let began = now();
    let sold = sell_out(&server, event).await?;
    let took = began.elapsed();
    memory(&server, "sold out")?;
    server.http.close(event).await?;
    let began = now();
    server.http.archive(event).await?;
    let archived = began.elapsed();
    memory(&server, "archived")?;
    browse(&server, event).await?;
    memory(&server, "while browsed")?;
    // Nobody asks for a minute, and a little longer.
    tokio::time::sleep(Duration::from_secs(63)).await;
    memory(&server, "after browsing")?;
    server.stop()?;

    let server = Server::start(folder, &[])?;
    memory(&server, "after a restart")?;
    let began = now();
    server.http.section(event, 0).await?;
    let first = began.elapsed();
    let began = now();
    server.http.section(event, 0).await?;
    let second = began.elapsed();
    let began = now();
    let found = server.http.bookings(event, None, 0).await?;
    let bookings = began.elapsed();
    memory(&server, "after the first looks")?;
    let file = std::fs::metadata(folder.join(format!("events/{event}.archive")))?.len();
    println!("\n{seats} seats, {sold} sold in {took:.1?} by {} bookings", found.total);
    println!("archived in {archived:.1?}; the archive has {:.1} MiB", file as f64 / f64::from(1 << 20));
    println!(
        "restart {:.1?}; first section {first:.1?}, again {second:.1?}, a thousand bookings {bookings:.1?}",
        server.started_in
    );
    server.stop()
}

async fn browse(server: &Server, event: u32) -> Outcome<()> {
    let sections = server.http.event(event).await?.section_list.len();
    for section in 0..sections as u16 {
        server.http.section(event, section).await?;
    }
    server.http.bookings(event, None, 0).await?;
    Ok(())
}

/// Every seat is claimed and booked. How many.
async fn sell_out(server: &Server, event: u32) -> Outcome<usize> {
    let rows = child::rows(server, event).await?;
    let (rows, next, sold) = (Arc::new(rows), Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
    let mut clients = Vec::new();
    for user in 1..=BUYER_CONNECTIONS {
        let token = server.http.dev_token(user).await?.token;
        let endpoint = Endpoint::Tcp(server.tcp.clone());
        clients.push(Arc::new(Client::connect_with(endpoint, token, Options::default().retrying()).await?));
    }
    let mut buying = Vec::new();
    for buyer in 0..BUYERS {
        let client = Arc::clone(&clients[(buyer % BUYER_CONNECTIONS) as usize]);
        let (rows, next, sold) = (Arc::clone(&rows), Arc::clone(&next), Arc::clone(&sold));
        buying.push(tokio::spawn(async move {
            while let Some(&(row, seats)) = rows.get(next.fetch_add(1, Ordering::Relaxed)) {
                for from in (0..seats).step_by(PARTY) {
                    let count = PARTY.min(seats - from);
                    let wanted = Seats { mask: (1 << count) - 1, first: from as u8 };
                    let held: Held = client.claim_seats(row, wanted).await?;
                    client.book(&held).await?;
                    sold.fetch_add(count, Ordering::Relaxed);
                }
            }
            Ok::<_, frontrow_client::ClientError>(())
        }));
    }
    for buyer in buying {
        buyer.await??;
    }
    Ok(sold.load(Ordering::Relaxed))
}
