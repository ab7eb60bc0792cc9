//! What an append and a commit cost here: mapped against direct, interleaved, in one run.
//!
//! `cargo run --release -p frontrow-wal --example commit_cost [rounds] [directory]`
//!
//! Every round opens a new epoch per mode and size, appends records of 88 bytes until the batch has
//! its size, commits and waits, while no segment is being prepared. Prints medians over the rounds of each round's quantiles. An append's
//! time includes one reading of the clock, whose cost is printed first.

#![allow(clippy::disallowed_methods, reason = "a measuring tool reads a clock")]

use std::path::PathBuf;
use std::time::Instant;

use frontrow_wal::{DataDir, DirOptions, Durability, LogOptions, RECORD_HEADER_BYTES};

const PAYLOAD: [u8; 88 - RECORD_HEADER_BYTES] = [7; 88 - RECORD_HEADER_BYTES];
/// (batch size in bytes, commits a round)
const SIZES: [(usize, usize); 3] = [(4 << 10, 1000), (64 << 10, 400), (1 << 20, 40)];
const MODES: [Durability; 3] = [Durability::Mapped, Durability::Direct, Durability::Memory];
const QUANTILES: [f64; 3] = [0.5, 0.99, 0.9999];

type Quantiles = [u64; 3];

fn quantiles(mut samples: Vec<u64>) -> Quantiles {
    samples.sort_unstable();
    QUANTILES.map(|q| samples[((samples.len() - 1) as f64 * q).round() as usize])
}

fn median(mut values: Vec<u64>) -> u64 {
    values.sort_unstable();
    values[values.len() / 2]
}

/// Nanoseconds per append and per commit of one round.
fn round(dir: &DataDir, mode: Durability, batch_bytes: usize, commits: usize) -> (Quantiles, Quantiles) {
    let options = LogOptions { durability: mode, backlog_bytes: 4 << 20, ..LogOptions::default() };
    let (woken, wakes) = std::sync::mpsc::channel();
    let wake = move || _ = woken.send(());
    let mut log = dir.open_stream(0, &options, wake).expect("open a stream");
    // A round fits into one segment; the next is made first, so that its zeros do not disturb.
    wakes.recv().expect("the next segment");
    let (mut appends, mut times) = (Vec::new(), Vec::new());
    let mut lsn = 0;
    for _ in 0..commits {
        while log.unsynced_bytes() + 88 <= batch_bytes {
            lsn += 1;
            let start = Instant::now();
            let appended = log.append(0, lsn, 0, 1, &PAYLOAD);
            appends.push(start.elapsed().as_nanos() as u64);
            appended.expect("a round fits into a segment");
        }
        let start = Instant::now();
        log.flush().expect("commit");
        times.push(start.elapsed().as_nanos() as u64);
    }
    (quantiles(appends), quantiles(times))
}

fn main() {
    let mut args = std::env::args().skip(1);
    let rounds: usize = args.next().map_or(5, |arg| arg.parse().expect("rounds: a number"));
    let base = args.next().map_or_else(std::env::temp_dir, PathBuf::from);
    let path = base.join(format!("frontrow-commit-cost-{}", std::process::id()));
    let clock: Vec<u64> = (0..100_000)
        .map(|_| {
            let start = Instant::now();
            start.elapsed().as_nanos() as u64
        })
        .collect();
    println!("reading the clock: p50 {} ns", quantiles(clock)[0]);
    let cells: Vec<_> = SIZES.iter().flat_map(|&size| MODES.map(|mode| (size, mode))).collect();
    let mut results = vec![Vec::new(); cells.len()];
    for _ in 0..rounds {
        for (result, &((bytes, commits), mode)) in results.iter_mut().zip(&cells) {
            let dir = DataDir::open(&path, DirOptions::new(1)).expect("open the directory");
            result.push(round(&dir, mode, bytes, commits));
            drop(dir);
            std::fs::remove_dir_all(&path).expect("remove the directory");
        }
    }
    println!("medians of {rounds} rounds      append ns                     commit us");
    println!("   batch mode           p50     p99   p99.99        p50      p99   p99.99");
    for (result, ((bytes, _), mode)) in results.iter().zip(cells) {
        let append = [0, 1, 2].map(|q| median(result.iter().map(|(append, _)| append[q]).collect()));
        let commit = [0, 1, 2].map(|q| median(result.iter().map(|(_, commit)| commit[q]).collect()) / 1000);
        let mode = format!("{mode:?}");
        println!(
            "{:>7}K {mode:8} {:>9} {:>7} {:>8}   {:>8} {:>8} {:>8}",
            bytes >> 10,
            append[0],
            append[1],
            append[2],
            commit[0],
            commit[1],
            commit[2]
        );
    }
}
