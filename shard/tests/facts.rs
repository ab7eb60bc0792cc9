//! Records with facts at their largest: a sale that goes on after a pause and gives every seat away at once, and one
//! that ends while thousands wait. Whatever a record may take, it is written, and replayed.

use frontrow_shard::record::{self, Encoder, Fact, most_bytes_of};
use frontrow_shard::*;

const EVENT: EventId = 1;
const ROWS: u16 = 8;
const SEATS: u16 = 200;
const NOW: Millis = 1_700_000_000_000;

/// One partition, and its log in an encoder's records.
struct Sale {
    part: Partition,
    out: Effects,
    encoder: Encoder,
    log: Vec<(Lsn, u8, Vec<u8>)>,
    ids: u128,
}

fn limits() -> Limits {
    Limits { requests: 16_384, parties: 8192, queues: 64, tasks: 8 }
}

impl Sale {
    fn new(most: usize) -> Self {
        let row = |row| RowSpec {
            section: 0,
            row,
            categories: vec![0; usize::from(SEATS)],
            aisles_after: Vec::new(),
            accessible: Vec::new(),
        };
        let spec = EventSpec {
            event: EVENT,
            rules: EventRules { orphans: OrphanRule::Off, max_passes: 10_000, ..EventRules::default() },
            section_rows: vec![ROWS],
            section_seats: vec![u32::from(ROWS * SEATS)],
            rows: (0..ROWS).map(row).collect(),
        };
        let (part, out) = (Partition::new(0, 1, limits()), Effects::default());
        let mut sale = Self { part, out, encoder: Encoder::within(most), log: Vec::new(), ids: 0 };
        sale.apply(&Op::Begin { epoch: 1, secret: 5 });
        sale.apply(&Op::CreateEvent(Box::new(spec)));
        sale.go_to(EventState::Open);
        sale
    }

    fn apply(&mut self, op: &Op) -> Answer {
        self.out.clear();
        let applied = self.part.apply(NOW, op, &mut self.out);
        if applied.recorded {
            let (kind, payload) = self.encoder.encode(op, &applied.answer, &self.out);
            self.log.push((self.part.lsn(), kind, payload.to_vec()));
        }
        applied.answer
    }

    fn go_to(&mut self, state: EventState) {
        assert_eq!(self.apply(&Op::SetEventState { event: EVENT, state }).code, Code::Done);
    }

    fn ask(&mut self, user: UserId, command: Command) -> Answer {
        self.ids += 1;
        self.apply(&Op::Request(Request { id: (u128::from(NOW) << 80) | self.ids, user, command }))
    }

    /// Every seat is somebody's, and twice as many people wait, a seat each.
    fn sell_out(&mut self) -> Vec<Proof> {
        let mut held = Vec::new();
        let mut user = 0;
        for place in (0..ROWS).map(|row| RowRef::new(EVENT, 0, row)) {
            for first in 0..SEATS {
                user += 1;
                let claim = ClaimSeats { row: place, seats: Seats { mask: 1, first: first as u8 } };
                let answer = self.ask(user, Command::ClaimSeats(claim));
                assert_eq!(answer.code, Code::Granted);
                held.push(Proof { place, fence: Fence::of(user, &answer) });
            }
            for _ in 0..2 * SEATS {
                user += 1;
                let join = Join { place, count: 1, adjacency: Adjacency::Required, accessible: false };
                assert_eq!(self.ask(user, Command::Join(join)).code, Code::Queued);
            }
        }
        held
    }

    /// What the last record says was caused.
    fn last(&self) -> Vec<Fact> {
        let (_, kind, payload) = self.log.last().expect("something was recorded");
        let facts =
            record::decode(*kind, payload).expect("it was encoded").facts.expect("it caused something");
        facts.iter().map(|fact| fact.expect("it was encoded")).collect()
    }

    fn replay(&self) {
        let mut again = [Partition::new(0, 1, limits())];
        let mut replayer = Replayer::new(again.as_slice());
        for (lsn, kind, payload) in &self.log {
            let logged =
                Logged { partition: 0, lsn: *lsn, time_ms: NOW, kind: *kind, payload, position: *lsn };
            replayer.push(again.as_mut_slice(), &logged).expect("the log is what was lived");
        }
        replayer.finish(again.as_mut_slice()).expect("the log is what was lived");
        assert_eq!(again[0].state_hash(), self.part.state_hash());
    }
}

/// Everything is given away at once, and then everybody else is sent home at once, in records of at most `most` bytes.
fn play(most: usize) -> (Vec<Fact>, Vec<Fact>) {
    let mut sale = Sale::new(most);
    let held = sale.sell_out();
    sale.go_to(EventState::Paused);
    for proof in held {
        let answer = sale.ask(proof.fence.user, Command::Release(proof));
        assert_eq!((answer.code, sale.out.pushes.len()), (Code::Released, 0));
    }
    sale.go_to(EventState::Open);
    let opened = sale.last();
    sale.go_to(EventState::Closed);
    let closed = sale.last();
    sale.replay();
    (opened, closed)
}

#[test]
fn everything_is_named_where_there_is_room() {
    let (opened, closed) = play(usize::MAX);
    let seats = usize::from(ROWS * SEATS);
    assert!(opened.len() == seats && opened.iter().all(|fact| matches!(fact, Fact::Offered(_))));
    assert!(closed.len() == seats && closed.iter().all(|fact| matches!(fact, Fact::Dropped { .. })));
}

/// What is reckoned with when an event is created is enough for all its seats, and does not ask for much more.
#[test]
fn what_is_reckoned_with_is_enough_for_the_seats() {
    let seats = usize::from(ROWS * SEATS);
    let (opened, _) = play(most_bytes_of(seats));
    assert!(opened.len() == seats && opened.iter().all(Fact::is_about_seats), "{:?}", opened[0]);
    let (opened, _) = play(most_bytes_of(seats) - 1200);
    assert_eq!(opened, [Fact::Unnamed { seats: true, count: seats as u32 }]);
}

#[test]
fn names_go_where_there_is_no_room_for_them() {
    let seats = u32::from(ROWS * SEATS);
    for most in [0, 100, 1 << 10, 10 << 10] {
        let (opened, closed) = play(most);
        assert_eq!(opened, [Fact::Unnamed { seats: true, count: seats }]);
        assert_eq!(closed, [Fact::Unnamed { seats: false, count: seats }], "in {most} bytes");
    }
}
