//! The log replayed by the piece that recovery uses: the same states come out, whatever they began from, and a log
//! that is not what was lived is found.

mod common;

use common::market::{Crowd, Market};
use common::rng::Rng;
use common::saved::bytes_of;
use common::world::Recorded;
use common::{Whereabouts, seeds};
use frontrow_shard::*;

const LIMITS: Limits = Limits { requests: 1024, parties: 512, queues: 64, tasks: 64 };

const USUAL: Crowd = Crowd {
    partitions: 4,
    users: 24,
    longest_row: 12,
    cap: true,
    cancels: true,
    crashes: 10,
    post: 50,
    limits: LIMITS,
    records: true,
};

fn logged(at: usize, record: &Recorded) -> Logged<'_> {
    Logged {
        partition: record.partition,
        lsn: record.lsn,
        time_ms: record.time_ms,
        kind: record.kind,
        payload: &record.payload,
        position: at as u64,
    }
}

fn replay(partitions: &mut [Partition], records: &[Recorded]) -> Result<u64, ReplayError> {
    let mut replayer = Replayer::new(&*partitions);
    for (at, record) in records.iter().enumerate() {
        replayer.push(partitions, &logged(at, record))?;
    }
    replayer.finish(partitions)?;
    replayer.reconcile(partitions);
    Ok(replayer.records())
}

fn fresh(limits: Limits) -> Vec<Partition> {
    (0..USUAL.partitions).map(|id| Partition::new(id, USUAL.partitions, limits)).collect()
}

fn lived(seed: u64, steps: u64) -> (Market, Vec<Recorded>) {
    let mut market = Market::new(seed, USUAL);
    for _ in 0..steps {
        market.step();
    }
    let records = market.world.records.clone().expect("they were asked for");
    (market, records)
}

#[test]
fn from_nothing_and_from_snapshots() {
    let (mut replayed, mut snapshots) = (0, 0);
    for seed in seeds(50_000, 12) {
        let _at = Whereabouts { test: "from_nothing_and_from_snapshots", seed, step: 0 };
        let mut rng = Rng::new(seed);
        // Snapshots of the partitions are made at moments of their own, as a server makes them.
        let mut market = Market::new(seed, USUAL);
        let mut saved: Vec<Option<Vec<u8>>> = vec![None; 4];
        for _ in 0..1_500 {
            market.step();
            if rng.chance(1) {
                let at = rng.below(4) as usize;
                saved[at] = Some(bytes_of(&market.world.parts[at]));
                snapshots += 1;
            }
        }
        let records = market.world.records.clone().expect("they were asked for");
        let mut whole = fresh(LIMITS);
        assert_eq!(replay(&mut whole, &records), Ok(records.len() as u64));
        let load = |(id, bytes): (usize, &Option<Vec<u8>>)| match bytes {
            Some(bytes) => Partition::load(bytes, id as u16, 4, LIMITS).expect("it was saved"),
            None => Partition::new(id as u16, 4, LIMITS),
        };
        let mut from_snapshots: Vec<Partition> = saved.iter().enumerate().map(load).collect();
        let left = replay(&mut from_snapshots, &records).expect("the log is what was lived");
        assert!(left < records.len() as u64 || saved.iter().all(Option::is_none));
        for ((one, other), live) in whole.iter().zip(&from_snapshots).zip(&market.world.parts) {
            assert_eq!(one.state_hash(), live.state_hash());
            // Also the letters that are left to send are the same, whichever way.
            assert!(bytes_of(one) == bytes_of(other), "partition {}", live.id());
        }
        replayed += records.len() as u64 + left;
    }
    println!("{replayed} records replayed, from {snapshots} snapshots and from nothing");
}

/// A partition may be replayed apart from the others, and with another memory of requests than it had.
#[test]
fn some_of_the_partitions_and_less_memory() {
    let (market, records) = lived(7, 1_500);
    let mut own: Vec<Option<Partition>> =
        fresh(Limits { requests: 64, ..LIMITS }).into_iter().map(Some).collect();
    own[1] = None;
    own[3] = None;
    let mut replayer = Replayer::new(own.as_slice());
    for (at, record) in records.iter().enumerate().filter(|(_, record)| record.partition % 2 == 0) {
        replayer.push(own.as_mut_slice(), &logged(at, record)).expect("the log is what was lived");
    }
    replayer.finish(own.as_mut_slice()).expect("the log is what was lived");
    replayer.reconcile(own.as_mut_slice());
    for at in [0, 2] {
        let (part, live) = (own[at].as_ref().expect("it is replayed"), &market.world.parts[at]);
        assert_eq!((part.lsn(), part.holds(), part.waiting()), (live.lsn(), live.holds(), live.waiting()));
        let to_others = part.unconfirmed().filter(|letter| letter.to % 2 == 1).count();
        assert!(to_others > 0, "nobody said that they arrived");
    }
}

/// Whoever looks only at the rows that are noted as changed misses nothing that can be seen.
#[test]
fn rows_that_change_are_noted() {
    let (_, records) = lived(11, 600);
    let mut parts = fresh(LIMITS);
    let mut replayer = Replayer::new(parts.as_slice());
    replayer.note_rows(true);
    let (mut seen, mut noted) = (std::collections::HashMap::new(), 0);
    for (at, record) in records.iter().enumerate() {
        replayer.push(parts.as_mut_slice(), &logged(at, record)).expect("the log is what was lived");
        replayer.finish(parts.as_mut_slice()).expect("the log is what was lived");
        let part = &parts[usize::from(record.partition)];
        for row in replayer.take_rows() {
            noted += 1;
            seen.insert(row, part.row_state(row));
        }
        for row in part.rows() {
            let state = part.row_state(row);
            assert_eq!(*seen.entry(row).or_insert(state), state, "{row:?} after record {at}");
        }
    }
    assert!(noted > 100, "{noted}");
    replayer.note_rows(false);
    assert_eq!(replayer.take_rows().count(), 0);
}

#[test]
fn what_was_not_lived_is_found() {
    let (_, records) = lived(3, 600);
    let fault =
        |records: &[Recorded]| replay(&mut fresh(LIMITS), records).expect_err("it is not what was lived");
    let middle = records.len() / 2;
    let mut missing = records.clone();
    let gone = missing.remove(middle);
    let error = fault(&missing);
    assert_eq!((error.partition, error.fault), (gone.partition, ReplayFault::Gap { last: gone.lsn - 1 }));
    let mut twice = records.clone();
    twice.insert(middle + 1, records[middle].clone());
    let error = fault(&twice);
    assert_eq!(error.position, middle as u64 + 1);
    assert!(matches!(error.fault, ReplayFault::Gap { .. }), "{error}");
    let mut foreign = records.clone();
    foreign[middle].partition = 9;
    assert_eq!(fault(&foreign).fault, ReplayFault::Partition);
    let mut strange = records.clone();
    strange[middle].kind = 99;
    let error = fault(&strange);
    assert!(matches!(error.fault, ReplayFault::Record(_)) && error.position == middle as u64, "{error}");
    let begin = records.iter().position(|record| record.kind == record::kind::BEGIN).expect("epochs begin");
    let mut mixed = records.clone();
    let next = records[begin + 1..].iter().position(|record| record.partition == records[begin].partition);
    let next = begin + 1 + next.expect("more is done in an epoch");
    (mixed[next].kind, mixed[next].payload) = (records[begin].kind, records[begin].payload.clone());
    assert_eq!(fault(&mixed).fault, ReplayFault::Epoch { epoch: 1, before: 1 });
    // The first booking was of other seats, by the log.
    let booked = records.iter().position(|record| {
        let decoded = record::decode(record.kind, &record.payload).expect("it was encoded");
        decoded.1.is_some_and(|outcome| outcome.code == Code::Booked)
    });
    let booked = booked.expect("something was booked");
    let mut diverged = records;
    let (op, outcome) = record::decode(diverged[booked].kind, &diverged[booked].payload).unwrap();
    let outcome = outcome.unwrap();
    let other =
        Answer { seats: Seats { mask: 1 << 20, first: 0 }, expires_ms: 1, ..Answer::plain(outcome.code) };
    let mut encoder = record::Encoder::default();
    diverged[booked].payload = encoder.encode(&op, &other).1.to_vec();
    let error = fault(&diverged);
    let both = ReplayFault::Diverged { now: Code::Booked, then: Code::Booked };
    assert_eq!((error.position, error.fault), (booked as u64, both));
}
