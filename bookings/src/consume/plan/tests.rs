use super::super::memory::{CLUSTER, MemoryTopic};
use super::*;
use frontrow_cdc::{Change, Message};

fn change(kind: &str, user: u64, grant: u64, (epoch, lsn): (u32, u64)) -> Message {
    let document = serde_json::json!({
        "partition": 1, "epoch": epoch, "lsn": lsn, "n": 0, "type": kind, "time_ms": lsn.wrapping_add(1000), "event": 7, "section": 0,
        "row": 3, "seats": [2, 3], "user": user, "hold": {"epoch": 1, "lsn": grant, "slot": 3},
    });
    Message::Change(serde_json::from_value::<Change>(document).unwrap())
}

fn upto(epoch: Epoch, lsn: u64) -> Message {
    Message::Upto([(1, Mark { epoch, lsn })].into())
}

fn drafted(messages: &[Message]) -> (BTreeMap<i32, Place>, Drafted) {
    let topic = MemoryTopic::new(1);
    for message in messages {
        topic.send(message);
    }
    let mut places = BTreeMap::from([(0, Place::default())]);
    let drafted = draft(&mut places, &topic.records()[0], (&Schemas::default(), Some(CLUSTER)));
    (places, drafted)
}

#[test]
fn of_a_booking_that_is_cancelled_in_the_same_batch_one_row_is_left() {
    let (places, drafted) = drafted(&[
        change("booked", 42, 4, (1, 5)),
        change("booked", 43, 6, (1, 7)),
        change("cancelled", 42, 4, (1, 8)),
        change("cancelled", 44, 2, (1, 9)),
        upto(1, 9),
    ]);
    let [Step::Rows(rows)] = &drafted.steps[..] else { panic!("{:?}", drafted.steps) };
    let all: Vec<_> = rows
        .iter()
        .map(|row| {
            (row.booking.user, row.booked, row.booking.booked_ms, row.booking.cancelled_ms, row.at.lsn)
        })
        .collect();
    let cancelled_only = (44, false, 1009, Some(1009), 9);
    assert_eq!(all, [(42, true, 1005, Some(1008), 8), (43, true, 1007, None, 7), cancelled_only]);
    assert_eq!((drafted.changes, drafted.known, places[&0].next), (4, 0, Some(5)));
    assert_eq!(places[&0].reached[&1], Reached { mark: Mark { epoch: 1, lsn: 9 }, newest: 1 });
}

#[test]
fn what_is_told_again_is_known_and_what_an_older_epoch_tells_is_stale() {
    let (places, drafted) = drafted(&[
        change("booked", 42, 4, (1, 5)),
        upto(1, 5),
        change("booked", 42, 4, (1, 5)),
        change("booked", 42, 6, (100, 7)),
        change("booked", 43, 6, (1, 7)),
        upto(1, 9),
        upto(100, 7),
    ]);
    assert_eq!((drafted.changes, drafted.known), (2, 1));
    let aside: Vec<usize> = drafted.aside.iter().map(|(n, _)| *n).collect();
    assert_eq!(aside, [4, 5]);
    assert!(drafted.aside[0].1.starts_with("stale: it is of epoch 1"), "{}", drafted.aside[0].1);
    assert_eq!(places[&0].reached[&1].mark, Mark { epoch: 100, lsn: 7 });
}

#[test]
fn a_state_told_anew_comes_between_what_was_before_and_what_follows() {
    let anew = Anew { partition: 1, epoch: 1, lsn: 9, events: vec![7] };
    let (places, drafted) = drafted(&[
        change("booked", 42, 4, (1, 5)),
        Message::Anew(anew.clone()),
        change("booked", 42, 4, (1, 9)),
        upto(1, 9),
        change("booked", 42, 4, (1, 9)),
        Message::Forgotten,
        change("booked", 42, 4, (1, 1)),
    ]);
    let kinds: Vec<_> = drafted.steps.iter().map(|step| matches!(step, Step::Rows(_))).collect();
    assert_eq!(kinds, [true, false, true, false, true], "{:?}", drafted.steps);
    assert_eq!(drafted.steps[1], Step::Anew { through: 0, partition: 1, events: vec![7] });
    assert_eq!(drafted.known, 1, "behind the mark it is known");
    assert!(!places[&0].complete && drafted.aside.is_empty());
}

#[test]
fn what_is_no_message_of_a_booking_is_set_aside_with_its_reason() {
    let topic = MemoryTopic::new(1);
    let wrong = |message: &Message, key: &str, mend: &dyn Fn(&mut Record)| {
        let other = MemoryTopic::new(1);
        other.send(message);
        let mut record = other.records()[0][0].clone();
        key.as_bytes().clone_into(&mut record.key);
        mend(&mut record);
        topic.add(record);
    };
    let good = change("booked", 42, 4, (1, 5));
    wrong(&good, "43", &|_| {});
    wrong(&change("claimed", 42, 4, (1, 5)), "42", &|_| {});
    wrong(&change("booked", 42, 4, (1, u64::MAX)), "42", &|_| {});
    wrong(&upto(1, u64::MAX), "", &|_| {});
    wrong(&good, "42", &|record| record.value = b"\xff".to_vec());
    wrong(&good, "42", &|record| record.value = b"\0\0\0\0\x07\x0cbooked".to_vec());
    wrong(&good, "42", &|record| {
        record.value = b"\0\0\0\0\x07\x0cbooked".to_vec();
        record.headers.push(("schema".to_owned(), b"1".to_vec()));
    });
    wrong(&good, "42", &|record| record.headers.clear());
    wrong(&good, "42", &|record| record.headers[0].1 = b"one".to_vec());
    wrong(&good, "42", &|record| drop(record.headers.remove(1)));
    wrong(&good, "42", &|record| record.headers[1].1 = b"\xff".to_vec());
    let mut places = BTreeMap::from([(0, Place::default())]);
    let drafted = draft(&mut places, &topic.records()[0], (&Schemas::default(), Some(CLUSTER)));
    let reasons: Vec<&str> = drafted.aside.iter().map(|(_, reason)| reason.as_str()).collect();
    let words =
        ["key", "claimed", "number", "number", "no message", "'schema'", "Avro", "no header", "no version"];
    let words = words.into_iter().chain(["no header 'cluster'", "of cluster \\xff"]);
    for (reason, word) in reasons.iter().zip(words) {
        assert!(reason.contains(word), "{reason}: {word}");
    }
    assert_eq!(
        (reasons.len(), drafted.steps.len(), places[&0].next),
        (11, 0, Some(11)),
        "nothing stops at it"
    );
}
