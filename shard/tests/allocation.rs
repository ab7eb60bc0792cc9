//! The claim path of a row allocates nothing once it is warm.

use frontrow_shard::record::{Encoder, kind};
use frontrow_shard::*;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is passed on to the system's allocator unchanged; counting touches no memory of it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const ROWS: u16 = 8;
const EVENT: EventId = 1;

struct Bench {
    part: Partition,
    out: Effects,
    encoder: Encoder,
    now: Millis,
    ids: u128,
    codes: [u64; 256],
    /// Records, and those of them that carry facts.
    records: [u64; 2],
}

impl Bench {
    fn ask(&mut self, user: UserId, command: Command) -> Answer {
        self.ids += 1;
        let id = (u128::from(self.now) << 80) | self.ids;
        self.apply(&Op::Request(Request { id, user, command }))
    }

    fn apply(&mut self, op: &Op) -> Answer {
        let applied = self.part.apply(self.now, op, &mut self.out);
        self.codes[applied.answer.code as usize] += 1;
        if applied.recorded {
            let (kind, _) = self.encoder.encode(op, &applied.answer, &self.out);
            self.records[usize::from(kind & kind::FACTS != 0)] += 1;
        }
        self.out.clear();
        applied.answer
    }

    /// Once round the whole life of a row: claimed, waited for, extended, paid, booked, given back, run out.
    fn round(&mut self, row: RowRef) {
        let best = |count, or_join| {
            let (category, accessible) = (ANY_CATEGORY, false);
            Command::ClaimBest(ClaimBest { row, count, category, accessible, or_join })
        };
        let seats = |first, mask| Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask, first } });
        let mut grants = [Answer::plain(Code::Done); 6];
        for (user, grant) in grants.iter_mut().enumerate() {
            *grant = self.ask(user as u64, best(3, false));
        }
        self.ask(7, seats(0, 0b11));
        self.ask(8, seats(18, 0b11));
        for user in 10..40 {
            self.ask(user, best((user % 6) as u8 + 1, true));
        }
        let (adjacency, accessible) = (Adjacency::Required, true);
        self.ask(40, Command::Join(Join { place: row, count: 2, adjacency, accessible }));
        self.ask(41, Command::Leave(Leave { place: row }));
        self.ask(12, Command::Leave(Leave { place: row }));
        let proof =
            |user: usize, answer: &Answer| Proof { place: row, fence: Fence::of(user as u64, answer) };
        let longer = self.ask(0, Command::Extend(proof(0, &grants[0])));
        self.ask(0, Command::Release(proof(0, &grants[0])));
        self.ask(0, Command::Release(proof(0, &longer)));
        let paying = self.ask(1, Command::BeginPayment(proof(1, &grants[1])));
        self.ask(1, Command::Book(proof(1, &paying)));
        self.ask(2, Command::Book(proof(2, &grants[2])));
        self.ask(2, Command::Cancel(proof(2, &grants[2])));
        self.ask(1, Command::Cancel(proof(1, &paying)));
        self.now += 100_000;
        for user in 10..41 {
            self.ask(user, Command::Leave(Leave { place: row }));
        }
        self.sweep();
    }

    fn sweep(&mut self) {
        let mut budget = u32::MAX;
        while let Some(op) = self.part.next_due(self.now, &mut budget) {
            self.apply(&op);
        }
    }
}

#[test]
fn the_claim_path_allocates_nothing_when_warm() {
    let limits = Limits { requests: 1024, parties: 1024, queues: 64, tasks: 8 };
    let mut bench = Bench {
        part: Partition::new(0, 1, limits),
        out: Effects::with_capacity(256),
        encoder: Encoder::default(),
        now: 1_700_000_000_000,
        ids: 0,
        codes: [0; 256],
        records: [0; 2],
    };
    let rules = EventRules { hold_ms: 60_000, offer_ms: 60_000, pay_ms: 60_000, ..EventRules::default() };
    let row = |row| RowSpec {
        section: 0,
        row,
        categories: vec![0; if row % 2 == 0 { 20 } else { 90 }],
        aisles_after: vec![9],
        accessible: vec![4],
    };
    let spec = EventSpec {
        event: EVENT,
        rules,
        section_rows: vec![ROWS],
        section_seats: vec![440],
        rows: (0..ROWS).map(row).collect(),
    };
    let ops = [
        Op::Begin { epoch: 1, secret: 5 },
        Op::CreateEvent(Box::new(spec)),
        Op::SetEventState { event: EVENT, state: EventState::Open },
    ];
    for op in &ops {
        bench.part.apply(bench.now, op, &mut bench.out);
    }
    for round in 0..64 {
        bench.round(RowRef::new(EVENT, 0, round % ROWS));
    }
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    let (codes, records) = (bench.codes, bench.records);
    for round in 0..512 {
        bench.round(RowRef::new(EVENT, 0, round % ROWS));
    }
    let allocated = ALLOCATIONS.load(Ordering::Relaxed) - before;
    for code in [
        Code::Granted,
        Code::Queued,
        Code::Extended,
        Code::Paying,
        Code::Booked,
        Code::Released,
        Code::Cancelled,
        Code::Left,
        Code::Done,
        Code::SeatHeld,
        Code::NotEnoughTogether,
        Code::NotQueued,
        Code::Fenced,
    ] {
        assert!(bench.codes[code as usize] > codes[code as usize], "{code:?} did not occur");
    }
    for (now, before) in bench.records.iter().zip(records) {
        assert!(*now > before + 1_000, "records without facts and with: {:?}", bench.records);
    }
    assert_eq!(allocated, 0, "allocations on the claim path");
}
