//! `frontrow-sim SEED` replays one seed; `frontrow-sim SEED COUNT` plays that many on all processors and says how
//! fast; `frontrow-sim --bugs SEEDS` looks for every planted bug. `FRONTROW_SIM_ALOUD=1` prints every step of one.

use frontrow_sim::{Scenario, Totals, campaign, run};
use std::process::ExitCode;
use std::time::Instant;

fn main() -> ExitCode {
    if cfg!(panic = "abort") {
        eprintln!(
            "frontrow-sim ends a node's life by unwinding: build it without --release (the dev profile optimises it)"
        );
        return ExitCode::from(2);
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    let numbers: Vec<Option<u64>> = words.iter().map(|word| word.parse().ok()).collect();
    match (words.first().map(String::as_str), numbers.as_slice()) {
        (Some("--bugs"), [_, Some(seeds)]) => bugs(*seeds, None),
        (Some("--bugs"), [_, Some(seeds), None]) => bugs(*seeds, Some(&words[2])),
        (_, [Some(seed)] | [Some(seed), Some(1)]) => one(*seed),
        (_, [Some(first), Some(count)]) => many(*first, *count),
        _ => {
            eprintln!(
                "frontrow-sim SEED [COUNT]: plays the server under a seed, or under several from it on; \
                 frontrow-sim --bugs SEEDS [FIRST]: finds every planted bug, or those from FIRST on (built with \
                 --features plant)"
            );
            ExitCode::from(2)
        }
    }
}

fn one(seed: u64) -> ExitCode {
    let aloud = std::env::var_os("FRONTROW_SIM_ALOUD").is_some();
    let scenario = Scenario { aloud, ..Scenario::drawn(seed) };
    let outcome = run(seed, &scenario);
    println!("{scenario:?}");
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
    println!("  {:?}\n  {:?}", outcome.codes, outcome.faults);
    for violation in &outcome.violations {
        println!("  VIOLATION: {violation}");
    }
    if outcome.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[allow(clippy::disallowed_methods, reason = "measures the simulator itself, in real time")]
fn many(first: u64, count: u64) -> ExitCode {
    let begun = Instant::now();
    let say = |totals: &Totals| {
        let (real, lasted) = (begun.elapsed().as_secs_f64(), totals.lasted.as_secs_f64());
        println!(
            "{} seeds in {real:.1} s ({:.1} a second), {lasted:.0} s of virtual time, {:.0} times real time, {} with violations",
            totals.seeds,
            totals.seeds as f64 / real,
            lasted / real,
            totals.failed
        );
    };
    let totals = campaign(first..first.saturating_add(count), |totals| {
        if !totals.seeds.is_multiple_of(1000) {
            // A long run is looked into before its end.
            if let Some((seed, violations)) = totals.violations.last() {
                eprintln!("seed {seed}: {}", violations.join("; "));
            }
        } else if totals.seeds < count {
            say(totals);
        }
    });
    say(&totals);
    let Totals { answered, booked, starts, steps, .. } = totals;
    println!(
        "{} answers ({} repeated), {booked} booked, {starts} starts of the server, {steps} steps",
        answered.0, answered.1
    );
    for (head, counts) in [("answers by code", &totals.codes), ("faults and the like", &totals.faults)] {
        println!("\n{head}:");
        for (what, n) in counts {
            println!("  {n:>10}  {what}");
        }
    }
    for (seed, violations) in &totals.violations {
        for violation in violations {
            println!("seed {seed}: VIOLATION: {violation}");
        }
    }
    if totals.failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(feature = "plant")]
fn bugs(seeds: u64, first: Option<&str>) -> ExitCode {
    println!("| bug | room | what it does | seeds needed | found by |\n| --- | --- | --- | --- | --- |");
    let hunted = frontrow_sim::hunt(0..seeds, first, |hunt| {
        let (bug, room, what) = hunt.bug;
        let (needed, rule) = match &hunt.found {
            Some((_, why)) => {
                (hunt.played.to_string(), why.split(':').next().unwrap_or_default().to_string())
            }
            None => ("not found".into(), String::new()),
        };
        println!("| `{bug:?}` | {room} | {} | {needed} | {rule} |", what.trim());
        if let Some((seed, why)) = &hunt.found {
            eprintln!("{bug:?}, seed {seed}: {why}");
        }
    });
    let missed = hunted.iter().filter(|hunt| hunt.found.is_none()).count();
    println!("\n{} of {} found, within {seeds} seeds each.", hunted.len() - missed, hunted.len());
    if missed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[cfg(not(feature = "plant"))]
fn bugs(_: u64, _: Option<&str>) -> ExitCode {
    eprintln!("this build has no planted bugs: build it with --features plant (make sim-bugs)");
    ExitCode::from(2)
}
