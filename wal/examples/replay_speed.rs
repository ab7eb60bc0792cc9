//! How fast a log is read back: records per second of one core, the log in the page cache.
//!
//! `cargo run --release -p frontrow-wal --example replay_speed [directory]`

#![allow(clippy::disallowed_methods, reason = "a measuring tool reads a clock")]

use std::path::PathBuf;
use std::time::Instant;

use frontrow_wal::{DataDir, DirOptions, Durability, LogOptions, Segment};

const RECORDS: u64 = 2_000_000;

fn main() {
    let base = std::env::args().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let path = base.join(format!("frontrow-replay-speed-{}", std::process::id()));
    for payload in [64_usize, 96, 128] {
        let dir = DataDir::open(&path, DirOptions::new(1)).expect("open the directory");
        let options = LogOptions { durability: Durability::Memory, ready_ahead: 4, ..LogOptions::default() };
        let mut log = dir.open_stream(0, &options, || {}).expect("open a stream");
        let bytes = vec![7; payload];
        let mut lsn = 0;
        while lsn < RECORDS {
            match log.append(0, lsn, 0, 1, &bytes) {
                Ok(_) => lsn += 1,
                Err(_) => _ = log.flush().expect("commit"),
            }
        }
        log.flush().expect("commit");
        drop((log, dir));
        let dir = DataDir::open(&path, DirOptions::new(1)).expect("open the directory");
        let mut rates = Vec::new();
        for _ in 0..5 {
            let (mut records, mut sum) = (0_u64, 0_u64);
            let start = Instant::now();
            for info in dir.segments().expect("list") {
                let segment = Segment::open(&info).expect("map");
                let each = |record: frontrow_wal::Record<'_>| {
                    records += 1;
                    sum = sum.wrapping_add(record.lsn + u64::from(record.payload[0]));
                };
                segment.for_each(each).expect("read");
            }
            assert_eq!(records, RECORDS);
            rates.push(records as f64 / start.elapsed().as_secs_f64() / 1e6);
            std::hint::black_box(sum);
        }
        rates.sort_unstable_by(f64::total_cmp);
        println!("payload {payload:>3} B: {:.1} M records/s (median of {})", rates[2], rates.len());
        drop(dir);
        std::fs::remove_dir_all(&path).expect("remove the directory");
    }
}
