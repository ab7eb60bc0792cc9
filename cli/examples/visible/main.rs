//! How long after its answer a booking is to be seen through the bookings' API, while so many are made a second.
//!
//! `visible [BOOKINGS_A_SECOND [SECONDS [ROUNDS]]]` (20,000, 20 s, 5) sells stadiums at that rate to users over raw TCP. One
//! booking in 200, but for the first 10 s, is asked for by its name, again and again, from the moment its answer is here until it is found. Once with the
//! embedded table, and once through Kafka, the bookings service and PostgreSQL, in turn; every program is on this machine.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `main` | the order, and what is said |
//! | `crowd` | who buys at a rate, and who looks |
//! | `way` | the programs a booking goes through |

#[path = "../child/mod.rs"]
mod child;
mod crowd;
mod way;

use child::Outcome;
use crowd::Seen;
use way::Way;

#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

fn main() -> Outcome<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match words.first().map(String::as_str) {
        Some("serve") => return child::serve(),
        Some("service") => return way::service(),
        _ => {}
    }
    let number = |at: usize, default| words.get(at).map_or(Ok(default), |word| word.parse::<u64>());
    let (rate, seconds, rounds) = (number(0, 20_000)?, number(1, 20)?, number(2, 5)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{rate} bookings a second for {seconds} s, {rounds} rounds of each, in turn");
    let mut all = Vec::new();
    for round in 1..=rounds {
        for full in [false, true] {
            let folder = tempfile::tempdir()?;
            let way = if full { Way::full(folder.path())? } else { Way::embedded(folder.path())? };
            let seen = runtime.block_on(crowd::buy_and_look(&way, rate, seconds))?;
            println!("  {round} {}: {seen}", way.name);
            all.push((way.name, seen));
        }
    }
    for name in [way::EMBEDDED, way::FULL] {
        let of: Vec<&Seen> = all.iter().filter(|(of, _)| *of == name).map(|(_, seen)| seen).collect();
        let median = |value: fn(&Seen) -> f64| {
            let mut values: Vec<f64> = of.iter().map(|seen| value(seen)).collect();
            values.sort_unstable_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
        };
        println!(
            "{name}: medians of {rounds} rounds: {:.0} bookings/s, visible after {:.1} ms (p50), {:.1} ms (p99), {:.1} ms (most)",
            median(|seen| seen.rate),
            median(|seen| seen.ms(0.5)),
            median(|seen| seen.ms(0.99)),
            median(|seen| seen.ms(1.0))
        );
    }
    Ok(())
}
