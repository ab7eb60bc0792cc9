use super::*;
use crate::record::{Decoded, Encoder, decode, kind};
use crate::{EventState, Mail, Op};

const EVENT: EventId = 7;

fn rows(count: u16) -> Parts {
    let mut rows = Parts::default();
    for row in 0..count {
        assert!(rows.push(Part { row, seats: Seats { mask: 0b1011, first: 3 }, slot: 0 }));
    }
    rows
}

fn granted(slot: u32) -> Answer {
    let seats = Seats { mask: 0b11, first: 9 };
    Answer { seats, lsn: 40, epoch: 2, expires_ms: 1_000_000, slot, ..Answer::plain(Code::Granted) }
}

fn push(user: UserId, kind: PushKind, answer: Answer, parts: Parts) -> Push {
    Push { user, place: RowRef::new(EVENT, 1, 2), kind, answer, parts }
}

fn decided(request: RequestId, answer: Answer) -> Decided {
    Decided { request, user: 5, place: RowRef::new(EVENT, 1, RowRef::SECTION), answer, parts: rows(8) }
}

/// One of each.
fn all_kinds() -> Effects {
    let mut effects = Effects { parts: rows(2), ..Effects::default() };
    effects.answers.push(decided(u128::MAX - 1, granted(3)));
    effects.answers.push(decided(8, Answer { slot: 4, ..Answer::plain(Code::Queued) }));
    effects.answers.push(decided(9, Answer::plain(Code::SoldOut)));
    effects.pushes.push(push(1, PushKind::Offered, granted(1), Parts::default()));
    effects.pushes.push(push(2, PushKind::Expired, granted(2), rows(3)));
    effects.pushes.push(push(3, PushKind::Unfillable, Answer::plain(Code::SoldOut), Parts::default()));
    effects.pushes.push(push(4, PushKind::Closed, Answer::plain(Code::Closed), Parts::default()));
    effects.pushes.push(push(u64::MAX, PushKind::HoldCap, granted(0), Parts::default()));
    effects
}

fn closing() -> Op {
    Op::SetEventState { event: EVENT, state: EventState::Closed }
}

fn read(kind: u8, payload: &[u8]) -> Vec<Fact> {
    let facts = decode(kind, payload).expect("it was written").facts.expect("it has some");
    facts.iter().map(|fact| fact.expect("it was written")).collect()
}

/// The rows of facts do not say which hold each row has.
fn caused(effects: &Effects) -> Vec<Fact> {
    effects.facts().collect()
}

#[test]
fn facts_survive_the_log_in_the_order_in_which_they_make_sense() {
    let effects = all_kinds();
    let mut encoder = Encoder::default();
    let (kind, payload) = encoder.encode(&closing(), &Answer::plain(Code::Done), &effects);
    assert_eq!(kind, kind::SET_EVENT_STATE | kind::FACTS);
    let facts = read(kind, payload);
    assert_eq!(facts, caused(&effects));
    assert_eq!(facts.len(), 9);
    assert!(matches!(facts[0], Fact::Rows(_)) && matches!(facts[1], Fact::Expired { user: 2, .. }));
    // Cut or changed anywhere, nothing panics.
    for cut in 0..payload.len() {
        let mut bytes = payload.to_vec();
        bytes[cut] ^= 0x55;
        for bytes in [&payload[..cut], &bytes] {
            if let Ok(Decoded { facts: Some(facts), .. }) = decode(kind, bytes) {
                facts.iter().for_each(drop);
            }
        }
    }
}

#[test]
fn an_offer_takes_what_is_reckoned_with() {
    let mut bytes: AlignedVec = AlignedVec::new();
    Fact::of_push(&push(1, PushKind::Offered, granted(1), Parts::default())).put(&mut bytes);
    assert_eq!(bytes.len(), OFFER_BYTES);
    let mut rest = Effects { parts: rows(8), ..Effects::default() };
    rest.answers.push(decided(1, granted(3)));
    rest.pushes.push(push(1, PushKind::Offered, granted(1), rows(8)));
    rest.pushes.push(push(2, PushKind::Expired, granted(2), rows(8)));
    bytes.clear();
    put_within(&rest, usize::MAX, &mut bytes);
    assert!(bytes.len() + 200 < OTHER_BYTES, "{}", bytes.len());
}

/// Ten thousand lose their place, and seats of 64 are given, in a record of every length.
#[test]
fn a_record_is_written_whatever_room_there_is() {
    let mut effects = all_kinds();
    for user in 0..10_000 {
        effects.pushes.push(push(user, PushKind::Closed, Answer::plain(Code::Closed), Parts::default()));
    }
    for slot in 0..64 {
        effects.pushes.push(push(100 + u64::from(slot), PushKind::Offered, granted(slot), Parts::default()));
    }
    let about_seats = || effects.facts().filter(Fact::is_about_seats);
    let (all, seats) = (effects.facts().count() as u32, about_seats().count() as u32);
    let mut levels = [0; 3];
    let done = Answer::plain(Code::Done);
    let whole = Encoder::default().encode(&closing(), &done, &effects).1.len();
    let least = Encoder::within(0).encode(&closing(), &done, &effects).1.len();
    for most in (0..whole + 1000).step_by(97).chain([whole - 1, whole]) {
        let mut encoder = Encoder::within(most);
        let (kind, payload) = encoder.encode(&closing(), &done, &effects);
        assert!(payload.len() <= most.max(least), "{} bytes in {most}", payload.len());
        let facts = read(kind, payload);
        let level = match facts[0] {
            Fact::Unnamed { seats: true, count } => {
                assert_eq!((count, facts.len()), (all, 1));
                assert!(most < most_bytes_of(seats as usize) + least, "there was room for what matters");
                0
            }
            Fact::Unnamed { seats: false, count } => {
                assert_eq!(count, all - seats);
                assert!(facts[1..].iter().copied().eq(about_seats()));
                1
            }
            _ => {
                assert_eq!(facts, caused(&effects));
                2
            }
        };
        levels[level] += 1;
        // Replay says as much as the log does, and the same.
        let mut again: AlignedVec = AlignedVec::new();
        let Decoded { facts, .. } = decode(kind, payload).unwrap();
        put_like(&effects, facts.unwrap().bytes(), &mut again);
        assert_eq!(&*again, facts.unwrap().bytes());
    }
    assert!(levels.iter().all(|&count| count > 5), "{levels:?}");
}

#[test]
fn what_caused_nothing_is_as_long_as_before() {
    let mut encoder = Encoder::within(0);
    let credit = Op::Deliver { from: 3, seq: 1, mail: Mail::Credit { event: 1, user: 2, count: 3 } };
    let (kind, payload) = encoder.encode(&credit, &Answer::plain(Code::Done), &Effects::default());
    assert_eq!(kind, kind::DELIVER);
    assert_eq!(decode(kind, payload).unwrap().facts, None);
    // But a beginning says that facts are kept from here on.
    let begin = Op::Begin { epoch: 3, secret: 1 };
    let (kind, payload) = encoder.encode(&begin, &Answer::plain(Code::Done), &Effects::default());
    assert_eq!(kind, kind::BEGIN | kind::FACTS);
    assert_eq!(decode(kind, payload).unwrap().facts.unwrap().bytes(), b"");
}

#[test]
fn lengths_that_lie_are_refused() {
    for bytes in [&[][..], &[0; 3], &[1, 0, 0, 0], &[255; 40]] {
        assert!(decode(kind::BOOK | kind::FACTS, bytes).is_err(), "{bytes:?}");
    }
}
