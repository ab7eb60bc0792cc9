//! The comparison that shows the changes to be complete would notice if one were missing. A test of its own process, for
//! it has the others fail without a word.

#[path = "../../shard/tests/common/mod.rs"]
mod common;
mod hall;

use common::market::{Crowd, Market};
use frontrow_cdc::{Kind, Record, changes};
use frontrow_shard::Limits;
use hall::Hall;
use std::panic::{AssertUnwindSafe, catch_unwind};

const CROWD: Crowd = Crowd {
    partitions: 4,
    users: 24,
    longest_row: 12,
    cap: false,
    cancels: true,
    crashes: 0,
    post: 50,
    limits: Limits { requests: 4096, parties: 512, queues: 64, tasks: 64 },
    records: true,
};

/// Leaves out the first change of this kind. Whether there was one, and whether it is noticed at once.
fn miss(kind: Kind, seed: u64) -> Option<bool> {
    let mut market = Market::new(seed, CROWD);
    let mut hall = Hall::default();
    for _ in 0..2_000 {
        market.step();
        let records = std::mem::take(market.world.records.as_mut().expect("they were asked for"));
        let mut missed = false;
        let noticed = catch_unwind(AssertUnwindSafe(|| {
            for it in &records {
                let mut out = Vec::new();
                let (partition, epoch, lsn, time_ms) = (it.partition, it.epoch, it.lsn, it.time_ms);
                let record = Record { partition, epoch, lsn, time_ms, kind: it.kind, payload: &it.payload };
                changes(&record, &mut out).expect("the log says everything");
                for change in out {
                    if change.kind == kind && !missed {
                        missed = true;
                    } else {
                        hall.apply(&change);
                    }
                }
            }
            if missed {
                hall.compare(&market, false);
            }
        }));
        if missed {
            return Some(noticed.is_err());
        }
        noticed.expect("nothing is missing yet");
    }
    None
}

#[test]
fn a_change_that_is_missed_is_noticed() {
    let said = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));
    let count = |kind: Kind| {
        let tries: Vec<bool> = (1..=24).filter_map(|seed| miss(kind, 30_000_000 + seed)).collect();
        (kind, tries.len(), tries.iter().filter(|&&noticed| noticed).count())
    };
    let counts: Vec<_> = Kind::ALL.iter().copied().map(count).collect();
    std::panic::set_hook(said);
    println!("of each kind, missed and noticed: {counts:?}");
    for (kind, missed, noticed) in counts {
        match kind {
            // Does not occur; and nothing here rests on these.
            Kind::Unnamed | Kind::EventCreated | Kind::EventState => {}
            // These may be told again, or to somebody who did not wait; and who waits for a section is compared at rest.
            Kind::Joined | Kind::Left | Kind::Dropped => {
                assert!(noticed * 5 >= missed && noticed > 0, "{kind:?}: {noticed} of {missed}");
            }
            _ => assert!(missed > 0 && noticed == missed, "{kind:?}: {noticed} of {missed}"),
        }
    }
}
