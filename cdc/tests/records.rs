//! Single records: what they change, what cannot be told, and that the same record always says the same.

use frontrow_cdc::{Change, ChangeError, Record, changes, fuzz_changes};
use frontrow_shard::record::{Encoder, kind};
use frontrow_shard::*;
use serde_json::{Value, json};

const ROW: RowRef = RowRef::new(7, 0, 12);

fn tell(
    encoder: &mut Encoder,
    op: &Op,
    answer: &Answer,
    effects: &Effects,
) -> Result<Vec<Change>, ChangeError> {
    let (kind, payload) = encoder.encode(op, answer, effects);
    let mut out = Vec::new();
    let record = Record { partition: 3, epoch: 2, lsn: 4711, time_ms: 1000, kind, payload };
    changes(&record, &mut out).map(|()| out)
}

fn told(op: &Op, answer: &Answer, effects: &Effects) -> Vec<Value> {
    let changes = tell(&mut Encoder::default(), op, answer, effects).expect("it can be told");
    changes.iter().map(|change| serde_json::to_value(change).expect("it is JSON")).collect()
}

fn fence() -> Fence {
    Fence { user: 42, expires_ms: 9000, lsn: 4000, nonce: 1, slot: 17, epoch: 1 }
}

fn asked(command: Command) -> Op {
    Op::Request(Request { id: 0x019b_0000_0000_0000_0000_0000_0000_0001, user: 42, command })
}

fn rows() -> Parts {
    let mut rows = Parts::default();
    assert!(rows.push(Part { row: 4, seats: Seats { mask: 0b11, first: 1 }, slot: 9 }));
    assert!(rows.push(Part { row: 6, seats: Seats { mask: 1, first: 200 }, slot: 8 }));
    rows
}

fn push(user: UserId, kind: PushKind, code: Code) -> Push {
    let seats = Seats { mask: 0b11, first: 8 };
    let answer = Answer { seats, lsn: 4711, epoch: 2, expires_ms: 8000, slot: 3, ..Answer::plain(code) };
    Push { user, place: ROW, kind, answer, parts: Parts::default() }
}

#[test]
fn a_claim_is_told_as_the_documentation_says() {
    let claim = ClaimSeats { row: ROW, seats: Seats { mask: 0b11, first: 3 } };
    let answer = Answer { seats: claim.seats, expires_ms: 9000, slot: 17, ..Answer::plain(Code::Granted) };
    assert_eq!(
        told(&asked(Command::ClaimSeats(claim)), &answer, &Effects::default()),
        [json!({
            "partition": 3, "epoch": 2, "lsn": 4711, "n": 0, "type": "claimed", "time_ms": 1000, "event": 7,
            "section": 0, "row": 12, "seats": [3, 4], "user": 42, "request": "019b0000000000000000000000000001",
            "hold": {"epoch": 2, "lsn": 4711, "slot": 17}, "expires_ms": 9000,
        })]
    );
}

#[test]
fn what_ended_comes_before_what_was_given() {
    let effects = Effects {
        pushes: vec![push(5, PushKind::Offered, Code::Granted), push(42, PushKind::Expired, Code::Expired)],
        ..Effects::default()
    };
    let answer = Answer { seats: Seats { mask: 0b11, first: 8 }, slot: 17, ..Answer::plain(Code::Done) };
    let told = told(&Op::Expire { event: 7, slot: 17, lsn: 4000 }, &answer, &effects);
    let types: Vec<_> = told.iter().map(|change| (&change["n"], &change["type"], &change["seats"])).collect();
    let seats = json!([8, 9]);
    assert_eq!(types, [(&json!(0), &json!("expired"), &seats), (&json!(1), &json!("offered"), &seats)]);
    assert_eq!(told[0]["hold"], json!({"epoch": 2, "lsn": 4000, "slot": 17}));
    assert_eq!(told[1]["hold"], json!({"epoch": 2, "lsn": 4711, "slot": 3}));
}

#[test]
fn a_booking_over_several_rows_names_them() {
    let place = ROW.section_of();
    let effects = Effects { parts: rows(), ..Effects::default() };
    let told =
        told(&asked(Command::Book(Proof { place, fence: fence() })), &Answer::plain(Code::Booked), &effects);
    assert_eq!(told[0]["parts"], json!([{"row": 4, "seats": [1, 2]}, {"row": 6, "seats": [200]}]));
    assert_eq!(
        (&told[0]["row"], &told[0]["seats"], &told[0]["expires_ms"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    assert_eq!(told[0]["hold"], json!({"epoch": 1, "lsn": 4000, "slot": 17}));
}

#[test]
fn who_is_dropped_is_told_why_and_so_is_who_was_about_to_wait() {
    let mut effects = Effects {
        pushes: vec![push(5, PushKind::Closed, Code::Closed), push(6, PushKind::Unfillable, Code::SoldOut)],
        ..Effects::default()
    };
    let decided = |user, code| Decided {
        request: 1,
        user,
        place: ROW,
        answer: Answer::plain(code),
        parts: Parts::default(),
    };
    effects.answers =
        vec![decided(7, Code::Closed), decided(8, Code::NotEnoughTogether), decided(9, Code::Queued)];
    let closing = Op::SetEventState { event: 7, state: EventState::Closed };
    let told = told(&closing, &Answer::plain(Code::Done), &effects);
    let what: Vec<_> =
        told.iter().map(|it| (it["type"].as_str(), it["user"].as_u64(), it["why"].as_str())).collect();
    assert_eq!(
        what,
        [
            (Some("event_state"), None, None),
            (Some("dropped"), Some(7), Some("closed")),
            (Some("joined"), Some(9), None),
            (Some("dropped"), Some(5), Some("closed")),
            (Some("dropped"), Some(6), Some("unfillable")),
        ]
    );
    assert_eq!(told[0]["state"], "closed");
}

#[test]
fn refusals_messages_and_beginnings_change_nothing() {
    let claim = Command::ClaimSeats(ClaimSeats { row: ROW, seats: Seats { mask: 1, first: 3 } });
    let block = Op::Block { row: ROW, seats: Seats { mask: 1, first: 3 }, blocked: true };
    let mail = Mail::Credit { event: 7, user: 42, count: 2 };
    for (op, code) in [
        (asked(claim), Code::SeatHeld),
        (asked(claim), Code::Pending),
        (block, Code::SeatHeld),
        (Op::Deliver { from: 1, seq: 1, mail }, Code::Done),
        (Op::Begin { epoch: 2, secret: 1 }, Code::Done),
        (Op::Expire { event: 7, slot: 17, lsn: 4000 }, Code::Fenced),
        (Op::SetEventState { event: 7, state: EventState::Open }, Code::BadTransition),
    ] {
        let answer = Answer { seats: Seats { mask: 1, first: 3 }, ..Answer::plain(code) };
        assert_eq!(told(&op, &answer, &Effects::default()), Vec::<Value>::new(), "{op:?}");
    }
}

#[test]
fn a_log_without_facts_is_refused_by_what_shows_it() {
    let refused = |kind: u8, payload: &[u8]| {
        let mut out = Vec::new();
        let record = Record { partition: 3, epoch: 2, lsn: 9, time_ms: 0, kind, payload };
        assert_eq!(changes(&record, &mut out), Err(ChangeError::NoFacts { partition: 3, epoch: 2, lsn: 9 }));
        assert!(out.is_empty());
    };
    let mut encoder = Encoder::default();
    let none = Effects::default();
    // The beginning of an epoch as it was written before.
    let (kind, payload) =
        encoder.encode(&Op::Begin { epoch: 2, secret: 1 }, &Answer::plain(Code::Done), &none);
    refused(kind & !kind::FACTS, &payload[..payload.len() - 4]);
    let done = Answer::plain(Code::Done);
    let (kind, payload) = encoder.encode(&Op::Expire { event: 7, slot: 1, lsn: 1 }, &done, &none);
    refused(kind, payload);
    let proof = Proof { place: ROW.section_of(), fence: fence() };
    let (kind, payload) =
        encoder.encode(&asked(Command::Release(proof)), &Answer::plain(Code::Released), &none);
    refused(kind, payload);
}

#[test]
fn without_room_names_go_first_and_seats_never_in_silence() {
    let closed = |user| push(user, PushKind::Closed, Code::Closed);
    let mut effects = Effects { pushes: (0..1000).map(closed).collect(), ..Effects::default() };
    effects.pushes.push(push(5, PushKind::Offered, Code::Granted));
    let closing = Op::SetEventState { event: 7, state: EventState::Closed };
    let done = Answer::plain(Code::Done);
    let told = tell(&mut Encoder::within(500), &closing, &done, &effects).expect("what matters can be told");
    let told = serde_json::to_value(&told).expect("it is JSON");
    assert_eq!(told.as_array().map(Vec::len), Some(3));
    assert_eq!(
        (&told[1]["type"], &told[1]["others"], &told[1]["event"]),
        (&json!("unnamed"), &json!(1000), &json!(7))
    );
    assert_eq!((&told[2]["type"], &told[2]["user"]), (&json!("offered"), &json!(5)));
    let left_out = ChangeError::LeftOut { partition: 3, lsn: 4711, count: 1001 };
    assert_eq!(tell(&mut Encoder::within(80), &closing, &done, &effects), Err(left_out));
}

#[test]
fn garbage_is_refused_without_panic() {
    let mut state = 1_u64;
    let mut told = 0;
    for length in (0..200).cycle().take(20_000) {
        let bytes: Vec<u8> = (0..length)
            .map(|_| {
                state = mix(state + 1);
                state as u8
            })
            .collect();
        told += fuzz_changes(&bytes).len();
    }
    assert_eq!(told, 0);
}
