//! Makes the pages of a made-up run, to be looked at: `cargo run -p frontrow-loadgen --example report_page -- FOLDER`.

#[path = "../tests/made_up/mod.rs"]
mod made_up;

use frontrow_loadgen::LoadError;
use frontrow_loadgen::report::{Question, capacity, remember, summary, write};
use std::path::PathBuf;

fn main() -> Result<(), LoadError> {
    let results = std::env::args().nth(1).map_or_else(|| PathBuf::from("made-up-results"), PathBuf::from);
    let mut slower = made_up::report();
    "onsale-slow".clone_into(&mut slower.name);
    slower.totals.sold_out_at_s = None;
    slower.verified.violation_count = 1;
    slower.verified.violations = vec!["seat 3/17/4 was granted to users 8 and 91 at once".to_owned()];
    slower.doubts = vec!["1.4 % of the requests were sent late.".to_owned()];
    for report in [made_up::report(), made_up::search(), slower] {
        let folder = results.join(format!("2026-11-24-{}", report.name));
        write(&report, &made_up::histograms(), &folder)?;
        remember(&results, &report, &folder)?;
        println!("{}", summary(&report));
        let question = Question { buyers: 500_000, seats: 60_000, minutes: 5.0, ..Question::default() };
        println!("{}", capacity(&report, &question));
    }
    println!("Open {}", results.join("index.html").display());
    Ok(())
}
