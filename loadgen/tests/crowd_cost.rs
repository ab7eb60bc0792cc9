//! What a crowd and its verifier cost: no allocation for a request, once as many visits as ever have been under way.

#![allow(unsafe_code, reason = "counting allocations takes an allocator")]

use frontrow_loadgen::crowd::{Action, Carried, CrowdPlan, Hall, Outcome, Scenario, crowds};
use frontrow_protocol::Reply;
use frontrow_shard::{Answer, Code, Command, EventRules, Millis, Parts, RowRef, Seats, flags, mix};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: hands everything to the system's allocator and counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promise is passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise is passed on.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const START_MS: Millis = 1_700_000_000_000;
const ROWS: u16 = 500;
const HOLD_MS: u32 = 60_000;

/// A server that knows single seats of rows and nothing else.
struct Seller {
    free: Vec<u64>,
    lsn: u64,
}

impl Seller {
    fn decide(&mut self, command: &Command, now_ms: Millis) -> Reply {
        self.lsn += 1;
        let plain = |code| Answer { lsn: self.lsn, epoch: 1, ..Answer::plain(code) };
        let place = command.place();
        let free = &mut self.free[usize::from(place.section) * usize::from(ROWS) + usize::from(place.row)];
        let answer = match command {
            Command::ClaimBest(_) if *free == 0 => plain(Code::NotEnoughTogether),
            Command::ClaimBest(_) => {
                let first = free.trailing_zeros() as u8;
                *free &= *free - 1;
                Answer {
                    seats: Seats { mask: 1, first },
                    expires_ms: now_ms + Millis::from(HOLD_MS),
                    nonce: mix(self.lsn),
                    slot: u32::from(first),
                    flags: flags::TOGETHER,
                    ..plain(Code::Granted)
                }
            }
            Command::Book(proof) => Answer {
                seats: Seats { mask: 1, first: proof.fence.slot as u8 },
                lsn: proof.fence.lsn,
                nonce: proof.fence.nonce,
                ..plain(Code::Booked)
            },
            Command::Release(proof) | Command::Cancel(proof) => {
                *free |= 1 << proof.fence.slot;
                let code =
                    if matches!(command, Command::Release(_)) { Code::Released } else { Code::Cancelled };
                Answer { seats: Seats { mask: 1, first: proof.fence.slot as u8 }, ..plain(code) }
            }
            other => panic!("nobody asks for {other:?} here"),
        };
        Reply { id: 1, time_ms: now_ms, place, answer, parts: Parts::default(), durable: self.lsn }
    }
}

#[test]
fn a_request_costs_no_allocation() {
    let mut scenario = Scenario::named("steady").unwrap().at_rate(100_000.0, 100.0);
    let group = &mut scenario.groups[0];
    (group.party.sizes, group.party.weights) = (vec![1], vec![1.0]);
    group.interest.named = 0.0;
    let rules = EventRules { hold_ms: HOLD_MS, ..EventRules::default() };
    let hall = Arc::new(Hall::new(1, &vec![vec![64; usize::from(ROWS)]; 2]).with_rules(rules));
    assert!(hall.row_index(RowRef::new(1, 1, ROWS - 1)).is_some());
    let plan = CrowdPlan { seed: 1, connections: 500, threads: 1, first_user: 1, routing: None };
    let (mut crowds, verifier) = crowds(&scenario, &hall, &plan).unwrap();
    let crowd = &mut crowds[0];
    let mut seller = Seller { free: vec![u64::MAX; usize::from(ROWS) * 2], lsn: 0 };
    let mut actions = Vec::new();
    let (mut counted, mut before, mut spent) = (0_u64, 0, std::time::Duration::ZERO);
    for ms in 0..4000_u64 {
        if ms == 2000 {
            (counted, before) = (0, ALLOCATIONS.load(Ordering::Relaxed));
            spent = std::time::Duration::ZERO;
        }
        let now = ms * 1_000_000;
        #[allow(clippy::disallowed_methods, reason = "it measures")]
        let begun = std::time::Instant::now();
        crowd.due(now, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Connect(connection) => crowd.connected(connection, now, START_MS),
                Action::Request { tag, command, .. } => {
                    counted += 1;
                    let reply = seller.decide(&command, START_MS + ms);
                    crowd.outcome(tag, Outcome::Answer(&reply), now);
                }
                other => panic!("{other:?} in a steady crowd"),
            }
        }
        spent += begun.elapsed();
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - before;
    let per_s = counted as f64 / spent.as_secs_f64();
    println!(
        "{counted} requests, {allocations} allocations, {per_s:.0} requests/s with the verifier, in this build"
    );
    assert!(counted > 300_000, "{counted}");
    assert!(allocations * 500 < counted, "{allocations} allocations for {counted} requests");
    crowd.hand_over();
    let verified = verifier.finish(&[]);
    assert_eq!(verified.violations, Vec::<String>::new());
}
