//! Claims and queues over rows of several partitions: what must hold whatever the letters' delays, and
//! whatever crashes in between.

mod common;

use common::market::{Crowd, Market};
use common::{Whereabouts, operations, seeds};
use frontrow_shard::Limits;

fn run(test: &'static str, base: u64, how_many: u64, ops: u64, crowd: Crowd) {
    for seed in seeds(base, how_many * 4) {
        let mut at = Whereabouts { test, seed, step: 0 };
        let mut market = Market::new(seed, crowd);
        for step in 0..operations(ops) {
            at.step = step;
            market.step();
            if step % 400 == 399 {
                market.quiesce();
            }
        }
        market.finish();
    }
}

const USUAL: Crowd = Crowd {
    partitions: 4,
    users: 24,
    longest_row: 12,
    cap: false,
    cancels: true,
    crashes: 0,
    post: 50,
    limits: Limits { requests: 4096, parties: 512, queues: 64, tasks: 64 },
    records: false,
};

#[test]
fn four_partitions() {
    run("four_partitions", 10_000, 60, 2_000, USUAL);
}

#[test]
fn one_partition() {
    run("one_partition", 11_000, 30, 2_000, Crowd { partitions: 1, ..USUAL });
}

#[test]
fn sixteen_partitions_with_slow_post() {
    run("sixteen_partitions_with_slow_post", 12_000, 30, 2_000, Crowd { partitions: 16, post: 35, ..USUAL });
}

#[test]
fn a_limit_per_user() {
    run("a_limit_per_user", 13_000, 60, 2_000, Crowd { cap: true, users: 12, ..USUAL });
}

#[test]
fn crashes_at_random_moments() {
    run("crashes_at_random_moments", 14_000, 40, 2_000, Crowd { crashes: 60, cap: true, ..USUAL });
}

#[test]
fn nothing_is_cancelled() {
    run("nothing_is_cancelled", 15_000, 80, 1_000, Crowd { cancels: false, ..USUAL });
}

#[test]
fn long_rows() {
    run("long_rows", 16_000, 10, 2_000, Crowd { longest_row: 200, users: 200, ..USUAL });
}

#[test]
fn hardly_any_room() {
    let limits = Limits { requests: 512, parties: 6, queues: 2, tasks: 2 };
    run("hardly_any_room", 17_000, 30, 2_000, Crowd { limits, ..USUAL });
}
