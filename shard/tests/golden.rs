//! Records as they were written before operations' facts stood in them: they are read as ever, and what causes nothing
//! is still written so, byte by byte. `golden/records.txt` has kind and payload of each, by the version before.

use frontrow_shard::record::{Decoded, Encoder, Outcome, decode, kind};
use frontrow_shard::*;

/// One record of each kind that is a fixed size, and a small event; with what came of it.
fn ops() -> Vec<(Op, Answer)> {
    let row = RowRef::new(1, 2, 3);
    let section = row.section_of();
    let seats = Seats { mask: 0b111, first: 200 };
    let fence = Fence { user: 42, expires_ms: 1_700_000_300_000, lsn: 7, nonce: 0xfeed, slot: 4, epoch: 5 };
    let asked =
        |n: u128, command| Op::Request(Request { id: (1_700_000_000_000 << 80) | n, user: 42, command });
    let answer =
        |code| Answer { seats, expires_ms: 1_700_000_300_000, slot: 4, flags: 1, ..Answer::plain(code) };
    let proof = Proof { place: row, fence };
    let spec = EventSpec {
        event: 1,
        rules: EventRules::default(),
        section_rows: vec![1],
        section_seats: vec![3],
        rows: vec![RowSpec {
            section: 0,
            row: 0,
            categories: vec![0, 1, 1],
            aisles_after: vec![1],
            accessible: vec![2],
        }],
    };
    let best = ClaimBest { row, count: 3, category: ANY_CATEGORY, accessible: false, or_join: true };
    let candidates = [1, 2, 3, NO_ROW, NO_ROW, NO_ROW, NO_ROW, NO_ROW];
    let of_section = ClaimSection {
        section,
        count: 3,
        category: 1,
        adjacency: Adjacency::Preferred,
        accessible: false,
        or_join: false,
        hopeless: true,
        candidates,
    };
    let join = Join { place: section, count: 2, adjacency: Adjacency::Any, accessible: true };
    vec![
        (Op::Begin { epoch: 5, secret: 1 << 100 }, Answer::plain(Code::Done)),
        (Op::CreateEvent(Box::new(spec)), Answer::plain(Code::Done)),
        (Op::SetEventState { event: 1, state: EventState::Open }, Answer::plain(Code::Done)),
        (Op::Block { row, seats, blocked: true }, answer(Code::Done)),
        (Op::Expire { event: 1, slot: 4, lsn: 7 }, answer(Code::Done)),
        (
            Op::Deliver { from: 3, seq: 9, mail: Mail::Charged { event: 1, slot: 4, granted: true } },
            Answer::plain(Code::Done),
        ),
        (Op::Archive { event: 1, step: ArchiveStep::End }, Answer::plain(Code::HoldsRunning)),
        (asked(1, Command::ClaimSeats(ClaimSeats { row, seats })), answer(Code::Granted)),
        (asked(2, Command::ClaimBest(best)), answer(Code::Queued)),
        (asked(3, Command::ClaimSection(of_section)), Answer::plain(Code::Pending)),
        (asked(4, Command::Extend(proof)), answer(Code::Extended)),
        (asked(5, Command::BeginPayment(proof)), answer(Code::Paying)),
        (asked(6, Command::Book(proof)), answer(Code::Booked)),
        (asked(7, Command::Release(proof)), answer(Code::Released)),
        (asked(8, Command::Cancel(proof)), answer(Code::Cancelled)),
        (asked(9, Command::Join(join)), answer(Code::Queued)),
        (asked(10, Command::Leave(Leave { place: section })), answer(Code::Left)),
    ]
}

#[test]
fn records_without_facts_are_what_they_were() {
    let lines: Vec<&str> = include_str!("golden/records.txt").lines().collect();
    assert_eq!(lines.len(), ops().len());
    let mut encoder = Encoder::default();
    for ((op, answer), line) in ops().iter().zip(lines) {
        let (was, hex) = line.split_once(' ').expect("kind and payload");
        let was: u8 = was.parse().expect("a kind");
        let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        let payload: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let own = !matches!(op, Op::Begin { .. } | Op::Deliver { .. });
        let outcome = own.then(|| Outcome::from(answer));
        assert_eq!(decode(was, &payload), Ok(Decoded { op: op.clone(), outcome, facts: None }));
        let (now, bytes) = encoder.encode(op, answer, &Effects::default());
        if matches!(op, Op::Begin { .. }) {
            // It says that facts are kept from here on, and causes none.
            assert_eq!((now, bytes), (was | kind::FACTS, [&payload[..], &[0; 4]].concat().as_slice()));
        } else {
            assert_eq!((now, bytes), (was, payload.as_slice()), "{op:?}");
        }
    }
}
