//! A partition that was saved and loaded goes on as if nothing had happened; bytes that are not a snapshot any more
//! are refused, and what is not refused can be worked with.

mod common;

use common::market::{Crowd, Market};
use common::rng::Rng;
use common::rows::{Profile, Rows};
use common::saved::{bytes_of, reload};
use common::{Whereabouts, operations, seeds};
use frontrow_shard::*;

const LIMITS: Limits = Limits { requests: 512, parties: 512, queues: 64, tasks: 64 };

const USUAL: Crowd = Crowd {
    partitions: 4,
    users: 24,
    longest_row: 12,
    cap: false,
    cancels: true,
    crashes: 0,
    post: 50,
    limits: LIMITS,
    records: false,
};

/// Random steps in which partitions are replaced by what their bytes give, and copies go along.
fn run(test: &'static str, base: u64, how_many: u64, ops: u64, crowd: Crowd) {
    let (mut saves, mut compared, mut all) = (0, 0, 0);
    for seed in seeds(base, how_many) {
        let mut at = Whereabouts { test, seed, step: 0 };
        let mut market = Market::new(seed, crowd);
        let mut rng = Rng::new(seed ^ 0x5a4e);
        for step in 0..operations(ops) {
            at.step = step;
            let number = rng.below(u64::from(crowd.partitions)) as u16;
            match rng.below(100) {
                0..3 => market.world.twin(number),
                3..6 => market.world.reload(number),
                _ => {}
            }
            market.step();
            if step % 400 == 399 {
                market.quiesce();
            }
        }
        for number in 0..crowd.partitions {
            market.world.twin(number);
        }
        market.finish();
        saves += market.world.saves;
        compared += market.world.compared;
        all += market.world.cov.operations();
    }
    println!("{test}: {saves} snapshots, {all} operations, {compared} of them compared with a copy's");
    assert!(std::env::var_os("FRONTROW_SEED").is_some() || compared > how_many * ops / 2);
}

#[test]
fn four_partitions() {
    run("four_partitions", 40_000, 24, 2_000, USUAL);
}

#[test]
fn a_limit_per_user() {
    run("a_limit_per_user", 41_000, 24, 2_000, Crowd { cap: true, users: 12, ..USUAL });
}

#[test]
fn one_partition() {
    run("one_partition", 42_000, 12, 2_000, Crowd { partitions: 1, cap: true, ..USUAL });
}

#[test]
fn slow_post_and_crashes() {
    let crowd = Crowd { partitions: 8, post: 35, cap: true, crashes: 30, ..USUAL };
    run("slow_post_and_crashes", 43_000, 12, 2_000, crowd);
}

#[test]
fn long_rows() {
    run("long_rows", 44_000, 6, 2_000, Crowd { longest_row: 200, users: 200, ..USUAL });
}

#[test]
fn hardly_any_room() {
    let limits = Limits { requests: 512, parties: 6, queues: 2, tasks: 2 };
    run("hardly_any_room", 45_000, 16, 2_000, Crowd { limits, ..USUAL });
}

#[test]
fn rows_and_the_naive_model() {
    let usual = Profile {
        longest_row: 24,
        rows: 2,
        users: 14,
        cap: false,
        fairness: Fairness::Fifo,
        selling_out: false,
    };
    let profiles = [
        usual,
        Profile { longest_row: 256, users: 60, ..usual },
        Profile { cap: true, ..usual },
        Profile { selling_out: true, rows: 1, ..usual },
        Profile { fairness: Fairness::FreeForAll, ..usual },
    ];
    let mut saves = 0;
    for (profile, base) in profiles.into_iter().zip(46_000..) {
        for seed in seeds(base, 6) {
            let mut at = Whereabouts { test: "rows_and_the_naive_model", seed, step: 0 };
            let mut rows = Rows::new(seed, profile);
            for step in 0..operations(2_000) {
                at.step = step;
                if step == 20 {
                    rows.change_state(EventState::Open);
                }
                if step % 23 == 0 {
                    rows.reload();
                    saves += 1;
                }
                rows.step();
            }
            rows.finish();
        }
    }
    println!("rows_and_the_naive_model: {saves} snapshots");
}

/// Partitions with something of everything in them.
fn busy(seed: u64, cap: bool) -> Market {
    let limits = Limits { requests: 512, ..LIMITS };
    let mut market = Market::new(seed, Crowd { partitions: 2, cap, limits, post: 30, ..USUAL });
    for _ in 0..400 {
        market.step();
    }
    market
}

fn load(bytes: &[u8], id: PartitionId) -> Result<Partition, SnapshotError> {
    Partition::load(bytes, id, 2, Limits { requests: 512, ..LIMITS })
}

#[test]
fn what_is_cut_off_anywhere_is_refused() {
    let mut cases = 0;
    for seed in 1..=6 {
        let market = busy(seed, seed % 2 == 0);
        for part in &market.world.parts {
            let bytes = bytes_of(part);
            for cut in 0..bytes.len() {
                let error = load(&bytes[..cut], part.id()).err().expect("a part is missing");
                assert!(matches!(error, SnapshotError::Truncated { .. }), "cut at {cut}: {error}");
                cases += 1;
            }
            let mut longer = bytes;
            longer.push(0);
            assert!(load(&longer, part.id()).is_err());
        }
    }
    println!("{cases} truncations refused");
}

/// Works with a partition, whatever state it is in.
fn use_it(mut part: Partition, rng: &mut Rng) {
    let again = reload(&part, 2, Limits { requests: 512, ..LIMITS });
    assert_eq!(again.lsn(), part.lsn());
    let mut out = Effects::default();
    let rows: Vec<RowRef> = part.rows().collect();
    let mut now = part.now();
    let epoch = part.epoch();
    part.apply(now, &Op::Begin { epoch: epoch + 1, secret: 5 }, &mut out);
    for n in 0..60 {
        now += 500;
        if let Some(op) = part.next_due(now, &mut 64) {
            part.apply(now, &op, &mut out);
        }
        let Some(&row) = rows.get(rng.below(rows.len().max(1) as u64) as usize) else { return };
        let place = if rng.chance(30) { row.section_of() } else { row };
        let count = rng.between(1, 4) as u8;
        let join = Join { place, count, adjacency: Adjacency::Any, accessible: rng.chance(20) };
        let category = ANY_CATEGORY;
        let best = ClaimBest { row, count, category, accessible: false, or_join: true };
        let command = match rng.below(3) {
            0 => Command::Join(join),
            1 => Command::Leave(Leave { place }),
            _ => Command::ClaimBest(best),
        };
        let id = (u128::from(now) << 80) | (1 << 79) | n;
        part.apply(now, &Op::Request(Request { id, user: rng.between(1, 24), command }), &mut out);
        part.status(place, 3);
        out.clear();
    }
    part.apply(now, &Op::SetEventState { event: rows[0].event, state: EventState::Closed }, &mut out);
    part.state_hash();
}

/// As a program with a defect might write it: the digest is right for what stands there.
fn with_right_hash(bytes: &mut [u8], id: PartitionId) -> bool {
    const HASH_AT: usize = 8 + 4 + 4 + 8 + 8;
    let Err(SnapshotError::Hash { loaded, .. }) = load(bytes, id) else { return false };
    bytes[HASH_AT..HASH_AT + 8].copy_from_slice(&loaded.to_le_bytes());
    true
}

#[test]
fn flipped_bits_are_refused_or_give_a_state() {
    let (mut refused, mut loaded, mut repaired) = (0_u64, 0_u64, 0_u64);
    let mut kinds = std::collections::BTreeMap::<&str, u64>::new();
    for seed in 0..30 {
        let market = busy(seed, seed % 2 == 0);
        let mut rng = Rng::new(seed);
        for part in &market.world.parts {
            let bytes = bytes_of(part);
            for _ in 0..400 {
                let mut flipped = bytes.clone();
                let bit = rng.below(bytes.len() as u64 * 8) as usize;
                flipped[bit / 8] ^= 1 << (bit % 8);
                match load(&flipped, part.id()) {
                    Ok(part) => {
                        loaded += 1;
                        use_it(part, &mut rng);
                    }
                    Err(error) => {
                        refused += 1;
                        *kinds.entry(kind(&error)).or_default() += 1;
                    }
                }
                if with_right_hash(&mut flipped, part.id()) {
                    repaired += 1;
                    let part = load(&flipped, part.id()).expect("its digest is right now");
                    use_it(part, &mut rng);
                }
            }
        }
    }
    println!("{} flips: {refused} refused ({kinds:?}), {loaded} give a state", refused + loaded);
    println!("{repaired} of the refused give a state once their digest is right, and it can be worked with");
    assert!(refused + loaded >= 10_000 && refused > loaded);
}

fn kind(error: &SnapshotError) -> &'static str {
    match error {
        SnapshotError::NotASnapshot => "not a snapshot",
        SnapshotError::Version { .. } => "version",
        SnapshotError::Foreign { .. } => "foreign",
        SnapshotError::Truncated { .. } => "truncated",
        SnapshotError::Inconsistent { .. } => "inconsistent",
        SnapshotError::Hash { .. } => "digest",
        SnapshotError::Limit { .. } => "limit",
        SnapshotError::Memory { .. } => "memory",
    }
}

#[test]
fn bytes_of_any_kind_are_no_trouble() {
    let market = busy(3, true);
    let bytes = bytes_of(&market.world.parts[0]);
    let mut rng = Rng::new(9);
    for _ in 0..20_000 {
        // Several bytes at once, and pieces of itself in the wrong place.
        let mut strange = bytes.clone();
        for _ in 0..rng.between(1, 4) {
            let at = rng.below(strange.len() as u64) as usize;
            strange[at] = rng.next() as u8;
        }
        if rng.chance(30) {
            let (from, to) = (rng.below(bytes.len() as u64) as usize, rng.below(bytes.len() as u64) as usize);
            let length = (rng.below(64) as usize).min(bytes.len() - from.max(to));
            strange[to..to + length].copy_from_slice(&bytes[from..from + length]);
        }
        snapshot::fuzz_load(&strange);
        if with_right_hash(&mut strange, 0) {
            use_it(load(&strange, 0).expect("its digest is right now"), &mut rng);
        }
    }
}

#[test]
fn another_partition_or_version_is_refused() {
    let market = busy(4, false);
    let bytes = bytes_of(&market.world.parts[0]);
    let foreign = |found| Err(SnapshotError::Foreign { expected: found, found: (0, 2) });
    assert_eq!(Partition::load(&bytes, 1, 2, LIMITS).map(|_| ()), foreign((1, 2)));
    assert_eq!(Partition::load(&bytes, 0, 4, LIMITS).map(|_| ()), foreign((0, 4)));
    let mut newer = bytes.clone();
    newer[8] += 1;
    let error = load(&newer, 0).err().expect("a newer layout");
    assert!(error.to_string().contains("start the version of Frontrow that wrote it"), "{error}");
    assert_eq!(load(b"nothing of the kind", 0).err(), Some(SnapshotError::NotASnapshot));
    let header = SnapshotHeader::read(&bytes).unwrap();
    let part = &market.world.parts[0];
    assert_eq!((header.lsn, header.state_hash, header.now), (part.lsn(), part.state_hash(), part.now()));
    assert_eq!(header.epochs.last().map(|&(_, epoch)| epoch), Some(part.epoch()));
}

#[test]
fn too_little_room_names_the_setting() {
    let mut named = std::collections::BTreeSet::new();
    for seed in 1..40 {
        let market = busy(seed, seed % 2 == 0);
        for part in &market.world.parts {
            let bytes = bytes_of(part);
            let larger = Limits { requests: 512, parties: 9_000, queues: 900, tasks: 900 };
            let loaded = Partition::load(&bytes, part.id(), 2, larger).expect("more room does no harm");
            assert_eq!(loaded.state_hash(), part.state_hash());
            let small = Limits { requests: 512, ..LIMITS };
            let smaller =
                [Limits { parties: 1, ..small }, Limits { queues: 1, ..small }, Limits { tasks: 0, ..small }];
            for limits in smaller {
                if let Err(SnapshotError::Limit { setting, used, limit }) =
                    Partition::load(&bytes, part.id(), 2, limits)
                {
                    assert!(used > limit);
                    named.insert(setting);
                }
            }
        }
    }
    let all = ["partitions.queues", "partitions.section_claims", "partitions.waiting"];
    assert!(named.iter().eq(all.iter()), "{named:?}");
}

/// A memory of another size: the newest are kept, and whatever is not is too old.
#[test]
fn no_request_is_done_twice_by_a_memory_of_another_size() {
    let row = RowSpec {
        section: 0,
        row: 0,
        categories: vec![0; 8],
        aisles_after: Vec::new(),
        accessible: Vec::new(),
    };
    let spec = EventSpec {
        event: 1,
        rules: EventRules::default(),
        section_rows: vec![1],
        section_seats: vec![8],
        rows: vec![row],
    };
    let limits = Limits { requests: 512, ..LIMITS };
    let mut part = Partition::new(0, 1, limits);
    let mut out = Effects::default();
    part.apply(1, &Op::Begin { epoch: 1, secret: 1 }, &mut out);
    part.apply(1, &Op::CreateEvent(Box::new(spec)), &mut out);
    let place = RowRef::new(1, 0, 0);
    let request = |n: u64| Request {
        id: (u128::from(1_000 + n) << 80) | u128::from(n),
        user: n,
        command: Command::Leave(Leave { place }),
    };
    for n in 0..800 {
        assert!(part.apply(1_000 + n, &Op::Request(request(n)), &mut out).recorded);
    }
    for size in [8, 64, 256, 512, 1024, 4096] {
        let smaller = Limits { requests: size, ..limits };
        let mut loaded = Partition::load(&bytes_of(&part), 0, 1, smaller).expect("any size will do");
        let mut kept = 0;
        for n in 0..800 {
            let applied = loaded.apply(2_000, &Op::Request(request(n)), &mut out);
            assert!(!applied.recorded, "{n} was done twice by a memory of {size}");
            if applied.answer.code == Code::TooOld {
                assert!(n < 800 - size.min(512) as u64 / 4, "{n} was forgotten by a memory of {size}");
            } else {
                assert_eq!(applied.answer.flags & flags::REPEATED, flags::REPEATED);
                kept += 1;
            }
        }
        assert!(kept >= size.min(512) / 2, "a memory of {size} kept {kept}");
    }
}
