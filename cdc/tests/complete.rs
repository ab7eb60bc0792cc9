//! The changes alone say who has which seats: a crowd does everything that can be done at an event over several
//! partitions, and somebody who only applies the changes of the log's records, one after another, to a table of holds
//! comes to what the partitions have, at random moments and in the end.

#[path = "../../shard/tests/common/mod.rs"]
mod common;
mod hall;

use common::market::{Crowd, Market};
use common::rng::Rng;
use common::world::Recorded;
use common::{Whereabouts, operations, seeds};
use frontrow_cdc::{Change, Kind, Record, changes};
use frontrow_shard::{EventState, Limits};
use hall::Hall;
use std::collections::BTreeMap;

const USUAL: Crowd = Crowd {
    partitions: 4,
    users: 24,
    longest_row: 12,
    cap: false,
    cancels: true,
    crashes: 10,
    post: 50,
    limits: Limits { requests: 4096, parties: 512, queues: 64, tasks: 64 },
    records: true,
};

fn changes_of(record: &Recorded) -> Vec<Change> {
    let Recorded { partition, epoch, lsn, time_ms, kind, ref payload } = *record;
    let mut out = Vec::new();
    let record = Record { partition, epoch, lsn, time_ms, kind, payload };
    changes(&record, &mut out).expect("the log says everything");
    out
}

/// Follows the records that have been written since the last time.
struct Follower {
    hall: Hall,
    /// All changes so far.
    log: Vec<Change>,
}

impl Follower {
    fn follow(&mut self, market: &mut Market) {
        let records = market.world.records.as_mut().expect("they were asked for");
        for change in records.drain(..).flat_map(|record| changes_of(&record)) {
            self.hall.apply(&change);
            self.log.push(change);
        }
    }

    fn compare(&mut self, market: &mut Market, at_rest: bool) {
        self.follow(market);
        self.hall.compare(market, at_rest);
    }
}

fn run(test: &'static str, base: u64, how_many: u64, ops: u64, crowd: Crowd) -> BTreeMap<Kind, u64> {
    let (mut kinds, mut compared, mut total) = (BTreeMap::new(), 0, 0);
    for seed in seeds(base, how_many) {
        let mut at = Whereabouts { test, seed, step: 0 };
        let mut rng = Rng::new(seed ^ 0xcdc);
        let mut market = Market::new(seed, crowd);
        let mut follower = Follower { hall: Hall::default(), log: Vec::new() };
        for step in 0..operations(ops) {
            at.step = step;
            market.step();
            if rng.chance(3) {
                follower.compare(&mut market, false);
                compared += 1;
            }
            if step % 500 == 499 {
                market.quiesce();
                follower.compare(&mut market, true);
                compared += 1;
            }
        }
        if seed % 2 == 0 {
            // The sale is over while everybody waits.
            market.set_state(EventState::Closed);
            follower.compare(&mut market, false);
            market.quiesce();
        } else {
            market.finish();
        }
        follower.compare(&mut market, true);
        follower.hall.compare_apart(&follower.log);
        for change in &follower.log {
            *kinds.entry(change.kind).or_default() += 1;
        }
        total += follower.log.len();
    }
    println!("{test}: {total} changes, compared {compared} times: {kinds:?}");
    kinds
}

#[test]
fn four_partitions() {
    let kinds = run("four_partitions", 20_000, 60, 2_000, USUAL);
    for kind in Kind::ALL {
        assert!(
            kinds.get(&kind).is_some_and(|&count| count > 0) || kind == Kind::Unnamed,
            "{kind:?} did not occur"
        );
    }
}

#[test]
fn one_partition() {
    run("one_partition", 21_000, 20, 2_000, Crowd { partitions: 1, ..USUAL });
}

#[test]
fn sixteen_partitions_with_slow_post() {
    run("sixteen_partitions_with_slow_post", 22_000, 20, 2_000, Crowd { partitions: 16, post: 35, ..USUAL });
}

#[test]
fn a_limit_per_user() {
    run("a_limit_per_user", 23_000, 60, 2_000, Crowd { cap: true, users: 12, ..USUAL });
}

#[test]
fn crashes_at_random_moments() {
    run("crashes_at_random_moments", 24_000, 20, 2_000, Crowd { crashes: 60, cap: true, ..USUAL });
}

#[test]
fn long_rows() {
    run("long_rows", 25_000, 8, 2_000, Crowd { longest_row: 200, users: 200, ..USUAL });
}

#[test]
fn hardly_any_room() {
    let limits = Limits { requests: 512, parties: 6, queues: 2, tasks: 2 };
    run("hardly_any_room", 26_000, 20, 2_000, Crowd { limits, ..USUAL });
}

/// What is told in JSON is what was meant.
#[test]
fn json_and_back() {
    let mut market = Market::new(5, Crowd { cap: true, ..USUAL });
    for _ in 0..3_000 {
        market.step();
    }
    let mut names = std::collections::HashSet::new();
    for record in market.world.records.iter().flatten() {
        for change in changes_of(record) {
            let text = serde_json::to_string(&change).expect("it is JSON");
            let again: Change = serde_json::from_str(&text).expect("it was JSON");
            assert_eq!(again, change, "{text}");
            assert!(names.insert(change.position), "one name twice: {text}");
        }
    }
    assert!(names.len() > 200, "{}", names.len());
}

/// Bytes that a defect has changed are refused or tell something else, and never end the reader.
#[test]
fn flipped_bits_are_refused_or_tell_something() {
    let mut market = Market::new(6, Crowd { cap: true, ..USUAL });
    for _ in 0..1_500 {
        market.step();
    }
    let records = market.world.records.take().expect("they were asked for");
    let mut rng = Rng::new(6);
    let (mut refused, mut told) = (0, 0);
    for _ in 0..50_000 {
        let at = rng.below(records.len() as u64) as usize;
        let mut bytes = vec![records[at].kind];
        bytes.extend_from_slice(&records[at].payload);
        for _ in 0..rng.between(1, 3) {
            let bit = rng.below(bytes.len() as u64 * 8) as usize;
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        if rng.chance(20) {
            bytes.truncate(rng.between(1, bytes.len() as u64) as usize);
        }
        match frontrow_cdc::fuzz_changes(&bytes).len() {
            0 => refused += 1,
            _ => told += 1,
        }
        frontrow_shard::record::fuzz_decode(&bytes);
    }
    println!("of 50000: {told} told something, {refused} nothing");
    assert!(refused > 1_000 && told > 1_000);
}
