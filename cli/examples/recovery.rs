//! How long after a SIGKILL a server serves again.
//!
//! `cargo run --release -p frontrow-cli --example recovery -- [SEATS] [RECORDS] [ROUNDS]` starts a server as a process
//! of its own, puts a stadium on sale (1,000,000 seats), has seats claimed and given back until the log has so many
//! records (5,000,000), kills it, and starts it again: twice as many rounds, once without any snapshot, so that all
//! records are replayed, and once with snapshots as they are by default. Times are from the kill; `first answer` is that of
//! a client that connects anew and claims a seat.

mod child;

use child::{Outcome, Server, now};
use frontrow_client::{Client, ClientError, Endpoint, Options, RowRef, Seats};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

/// Connections that claim, and requests in flight on each.
const CONNECTIONS: usize = 8;
const IN_FLIGHT: usize = 64;
/// The log is not trimmed in a whole run.
const NO_SNAPSHOTS: (&str, &str) = ("LOG__SNAPSHOT_EVERY", "64GiB");

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if words.first().is_some_and(|word| word == "serve") {
        return child::serve();
    }
    let number = |at: usize, default| words.get(at).map_or(Ok(default), |word| word.parse::<u64>());
    let (seats, records, rounds) = (number(0, 1_000_000)?, number(1, 5_000_000)?, number(2, 5)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        for (name, settings) in
            [("every record replayed", &[NO_SNAPSHOTS][..]), ("snapshots by default", &[])]
        {
            let folder = std::env::temp_dir().join(format!("frontrow-recovery-{}", std::process::id()));
            let measured = measure(&folder, settings, (seats as u32, records, rounds)).await;
            let _ = std::fs::remove_dir_all(&folder);
            let times = measured?;
            println!("{name}:");
            for (what, pick) in [("serving", 0), ("first answer", 1)] {
                let mut all: Vec<Duration> = times.iter().map(|round| round[pick]).collect();
                all.sort();
                let (least, most) = (all[0], all[all.len() - 1]);
                println!(
                    "  {what:<14} {:.2?} (median of {rounds}; {least:.2?} to {most:.2?})",
                    all[all.len() / 2]
                );
            }
        }
        Ok(())
    })
}

/// From each kill: until it serves, and until the first answer.
async fn measure(
    folder: &Path,
    settings: &[(&str, &str)],
    (seats, records, rounds): (u32, u64, u64),
) -> Outcome<Vec<[Duration; 2]>> {
    let server = Server::start(folder, settings)?;
    let query = frontrow_client::http::EventQuery::default();
    let event = server.http.create_stadium(&query, seats, None).await?.event.event;
    server.http.open(event).await?;
    let began = now();
    churn(&server, event, records).await?;
    println!("{records} records of {seats} seats in {:.1?}", began.elapsed());
    let mut server = Some(server);
    let mut times = Vec::new();
    for round in 0..rounds {
        let began = now();
        if let Some(server) = server.take() {
            server.stop()?;
        }
        let again = Server::start(folder, settings)?;
        let serving = began.elapsed();
        let token = again.http.dev_token(1).await?.token;
        let client =
            Client::connect_with(Endpoint::Tcp(again.tcp.clone()), token, Options::default()).await?;
        let row = RowRef::new(event, 0, 0);
        let held = client.claim_seats(row, Seats { mask: 1, first: 0 }).await?;
        let answered = began.elapsed();
        client.release(&held).await?;
        println!("  round {}: serving after {serving:.2?}, first answer after {answered:.2?}", round + 1);
        times.push([serving, answered]);
        server = Some(again);
    }
    Ok(times)
}

/// Seats are claimed and given back, two records each time, all over the hall.
async fn churn(server: &Server, event: u32, records: u64) -> Outcome<()> {
    let rows = Arc::new(child::rows(server, event).await?);
    let callers = CONNECTIONS * IN_FLIGHT;
    let each = records / 2 / callers as u64;
    let mut all = Vec::new();
    for connection in 0..CONNECTIONS {
        let token = server.http.dev_token(connection as u64 + 1).await?.token;
        let endpoint = Endpoint::Tcp(server.tcp.clone());
        let client = Arc::new(Client::connect_with(endpoint, token, Options::default().retrying()).await?);
        for number in 0..IN_FLIGHT {
            let (client, rows, caller) =
                (Arc::clone(&client), Arc::clone(&rows), connection * IN_FLIGHT + number);
            all.push(tokio::spawn(async move {
                for turn in 0..each as usize {
                    // Rows of its own, a place further each time round.
                    let at = (caller + turn * callers) % rows.len();
                    let (row, seats) = rows[at];
                    let first = (turn * callers / rows.len() % seats) as u8;
                    let held = client.claim_seats(row, Seats { mask: 1, first }).await?;
                    client.release(&held).await?;
                }
                Ok::<_, ClientError>(())
            }));
        }
    }
    for one in all {
        one.await??;
    }
    Ok(())
}
