//! Single-row operations agree with the naive model, word for word.

mod common;

use common::rows::{Profile, Rows};
use common::{Whereabouts, operations, seeds};
use frontrow_shard::{EventState, Fairness};

fn run(test: &'static str, base: u64, how_many: u64, ops: u64, profile: Profile) {
    for seed in seeds(base, how_many * 4) {
        let mut at = Whereabouts { test, seed, step: 0 };
        let mut rows = Rows::new(seed, profile);
        for step in 0..operations(ops) {
            at.step = step;
            if step == 20 {
                rows.change_state(EventState::Open);
            }
            rows.step();
        }
        rows.finish();
    }
}

const USUAL: Profile =
    Profile { longest_row: 24, rows: 2, users: 14, cap: false, fairness: Fairness::Fifo, selling_out: false };

#[test]
fn short_rows() {
    run("short_rows", 1_000, 30, 4_000, USUAL);
}

#[test]
fn selling_out() {
    run("selling_out", 2_000, 120, 1_000, Profile { selling_out: true, rows: 1, ..USUAL });
}

#[test]
fn long_rows() {
    run("long_rows", 3_000, 16, 2_500, Profile { longest_row: 256, users: 60, ..USUAL });
}

#[test]
fn rows_of_about_a_word() {
    run("rows_of_about_a_word", 4_000, 16, 2_500, Profile { longest_row: 70, users: 40, ..USUAL });
}

#[test]
fn with_a_limit_per_user() {
    run("with_a_limit_per_user", 5_000, 40, 3_000, Profile { cap: true, ..USUAL });
}

#[test]
fn free_for_all() {
    run("free_for_all", 6_000, 10, 3_000, Profile { fairness: Fairness::FreeForAll, ..USUAL });
}
