//! Replays one seed, or runs many: `frontrow-sim SEED [COUNT]`; `FRONTROW_SIM_ALOUD=1` prints every step.

use frontrow_sim::{Scenario, run};
use std::process::ExitCode;

fn main() -> ExitCode {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse::<u64>());
    let (first, count) = match (numbers.next(), numbers.next()) {
        (Some(Ok(first)), None) => (first, 1),
        (Some(Ok(first)), Some(Ok(count))) => (first, count),
        _ => {
            eprintln!(
                "frontrow-sim SEED [COUNT]: plays the server under a seed, or under several from it on"
            );
            return ExitCode::from(2);
        }
    };
    let aloud = std::env::var_os("FRONTROW_SIM_ALOUD").is_some();
    let mut failed = false;
    for seed in first..first.saturating_add(count) {
        let outcome = run(seed, &Scenario { aloud, ..Scenario::default() });
        println!(
            "seed {seed}: {} s, {} answers ({} repeated), {} booked, {} starts, {} steps, trace {:016x}",
            outcome.lasted.as_secs(),
            outcome.answered.0,
            outcome.answered.1,
            outcome.booked,
            outcome.starts,
            outcome.trace.1,
            outcome.trace.0
        );
        if count == 1 {
            let codes: Vec<_> = outcome.codes.iter().map(|(code, n)| format!("{code} {n}")).collect();
            println!("  {}", codes.join(", "));
        }
        for violation in &outcome.violations {
            println!("  VIOLATION: {violation}");
        }
        failed |= !outcome.violations.is_empty();
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
