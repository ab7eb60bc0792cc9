//! The server's real cores under seeds, with crashes and cuts: what clients heard can be true, a seed repeats,
//! and a disk that loses what it acknowledged is found out.

use frontrow_sim::{Outcome, Scenario, run};
use std::collections::BTreeMap;

/// Seeds of one test run; `FRONTROW_SEED=n` runs that one alone.
fn seeds(first: u64, count: u64) -> std::ops::Range<u64> {
    let one = std::env::var("FRONTROW_SEED").ok().and_then(|text| text.parse::<u64>().ok());
    one.map_or(first..first + count, |seed| seed..seed + 1)
}

fn play(seed: u64, scenario: &Scenario) -> Outcome {
    let outcome = run(seed, scenario);
    assert!(
        outcome.violations.is_empty(),
        "seed {seed} (make sim SEED={seed}):\n{}",
        outcome.violations.join("\n")
    );
    outcome
}

#[test]
fn what_clients_hear_is_true_through_crashes_and_cuts() {
    let mut codes: BTreeMap<&'static str, u64> = BTreeMap::new();
    let (mut answered, mut repeated, mut booked, mut starts) = (0, 0, 0, 0);
    let seeds = seeds(0, 60);
    let count = seeds.end - seeds.start;
    for seed in seeds {
        let outcome = play(seed, &Scenario::default());
        answered += outcome.answered.0;
        repeated += outcome.answered.1;
        booked += outcome.booked;
        starts += outcome.starts;
        for (code, n) in outcome.codes {
            *codes.entry(code).or_default() += n;
        }
    }
    println!(
        "{count} seeds: {answered} answers, {repeated} repeated, {booked} booked, {starts} starts\n{codes:?}"
    );
    if count == 1 {
        return;
    }
    for code in [
        "granted",
        "queued",
        "extended",
        "paying",
        "booked",
        "released",
        "cancelled",
        "left",
        "offered",
        "expired news",
        "seat_held",
        "seat_booked",
        "not_enough_together",
        "sold_out",
        "queued_first",
        "hold_cap",
        "expired",
        "fenced",
        "already_booked",
        "already_released",
        "already_paying",
        "extend_limit",
        "already_cancelled",
        "not_queued",
    ] {
        assert!(codes.contains_key(code), "{code} was never heard: {codes:?}");
    }
    assert!(repeated > 0 && booked > 0 && u64::from(starts) > 2 * count);
}

#[test]
fn a_seed_repeats_down_to_the_last_step() {
    for seed in seeds(100, 3) {
        assert_eq!(run(seed, &Scenario::default()), run(seed, &Scenario::default()), "seed {seed}");
    }
}

#[test]
fn one_core_and_four_cores_keep_their_word_too() {
    for cores in [1, 4] {
        for seed in seeds(200, 3) {
            play(seed, &Scenario { cores, ..Scenario::default() });
        }
    }
}

/// What proves that the check can fail.
#[test]
fn a_disk_that_loses_acknowledged_writes_is_found_out() {
    let found = (300..308)
        .filter(|&seed| {
            let scenario = Scenario { lost_writes: 60_000, ..Scenario::default() };
            !run(seed, &scenario).violations.is_empty()
        })
        .count();
    assert!(found >= 6, "only {found} of 8 seeds found it");
}
