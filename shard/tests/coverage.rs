//! Everything that can occur does occur in the property tests' runs.

mod common;

use common::coverage::{COMMANDS, Coverage, MAILS, PUSHES, UNREACHABLE};
use common::market::{Crowd, Market};
use common::rows::{Profile, Rows};
use frontrow_shard::{Code, EventSpec, EventState, Fairness, Limits, Op, Partition};

fn rows(cov: &mut Coverage, seed: u64, fairness: Fairness, selling_out: bool) {
    let profile = Profile { longest_row: 16, rows: 2, users: 14, cap: false, fairness, selling_out };
    let mut rows = Rows::new(seed, profile);
    for step in 0..6_000 {
        if step == 40 {
            rows.change_state(EventState::Open);
        }
        rows.step();
    }
    rows.finish();
    cov.add(&rows.cov);
}

fn market(cov: &mut Coverage, seed: u64, limits: Limits, cap: bool) {
    let crowd = Crowd {
        partitions: 4,
        users: 24,
        longest_row: 12,
        cap,
        cancels: true,
        crashes: 10,
        post: 50,
        limits,
        records: false,
    };
    let mut market = Market::new(seed, crowd);
    for _ in 0..2_000 {
        market.step();
    }
    market.finish();
    cov.add(&market.world.cov);
}

/// An event is created twice, once with other content.
fn create_twice(cov: &mut Coverage) {
    let mut part = Partition::new(0, 1, Limits { requests: 64, parties: 4, queues: 4, tasks: 4 });
    let mut out = frontrow_shard::Effects::default();
    let spec = EventSpec {
        event: 1,
        rules: frontrow_shard::EventRules::default(),
        section_rows: vec![1],
        section_seats: vec![1],
        rows: Vec::new(),
    };
    let other = EventSpec { section_rows: vec![2], ..spec.clone() };
    for (spec, code) in [(&spec, Code::Done), (&spec, Code::Done), (&other, Code::EventExists)] {
        let op = Op::CreateEvent(Box::new(spec.clone()));
        let applied = part.apply(1, &op, &mut out);
        assert_eq!(applied.answer.code, code);
        cov.op(&op);
        cov.code(applied.answer.code);
    }
}

#[test]
fn everything_reachable_occurs() {
    let mut cov = Coverage::default();
    for seed in 1..=4 {
        rows(&mut cov, seed, Fairness::Fifo, seed % 2 == 0);
    }
    rows(&mut cov, 5, Fairness::FreeForAll, false);
    let limits = Limits { requests: 4096, parties: 512, queues: 64, tasks: 64 };
    let hardly_any = Limits { requests: 512, parties: 6, queues: 2, tasks: 1 };
    for seed in 1..=4 {
        market(&mut cov, seed, limits, true);
        market(&mut cov, seed, limits, false);
        market(&mut cov, seed, hardly_any, false);
    }
    create_twice(&mut cov);
    cov.print();
    println!("{} operations", cov.operations());
    let missing = |group, names: &[&'static str]| {
        let gone = names.iter().filter(|name| cov.of(group, name) == 0);
        gone.map(|name| format!("{group} {name}")).collect::<Vec<_>>()
    };
    let codes: Vec<&'static str> =
        Code::ALL.iter().filter(|code| !UNREACHABLE.contains(code)).map(|code| code.name()).collect();
    let mut all = missing("command", &COMMANDS);
    all.extend(missing("mail", &MAILS));
    all.extend(missing("push", &PUSHES));
    all.extend(missing("code", &codes));
    all.extend(missing("op", &["begin", "expire", "create_event", "set_event_state", "block"]));
    assert!(all.is_empty(), "never occurred: {all:?}");
    for code in UNREACHABLE {
        assert_eq!(cov.of("code", code.name()), 0, "{code:?} occurs after all");
    }
}
