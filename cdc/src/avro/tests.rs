use super::*;
use crate::change::{Hold, Kind, Position, RowSeats, Why};
use crate::message::{Anew, NoMessage};
use crate::sink::Mark;
use crate::source::Record;
use frontrow_shard::EventState;
use serde_avro_fast::ser::SerializerConfig;

/// As a topic has it.
fn record(id: u32, schema: Option<&str>, datum: &[u8]) -> Record {
    let mut value = Vec::new();
    begin(id, &mut value);
    value.extend_from_slice(datum);
    let headers = schema.map(|number| ("schema".to_owned(), number.as_bytes().to_vec()));
    Record { headers: headers.into_iter().collect(), value, ..Record::default() }
}

fn own(datum: &[u8]) -> Record {
    record(7, Some("1"), datum)
}

/// Written by hand as by the library, and read as it was.
fn same(message: &Message) {
    let schema: serde_avro_fast::Schema = SCHEMA.parse().unwrap();
    let (mut by_hand, mut texts) = (Vec::new(), flat::Texts::default());
    write(message, &mut by_hand).unwrap();
    let flat = match message {
        Message::Change(change) => Flat::of_change(change, &mut texts),
        other => Flat::of_other(other),
    };
    let by_library = serde_avro_fast::to_datum_vec(&flat, &mut SerializerConfig::new(&schema)).unwrap();
    assert_eq!(by_hand, by_library, "{message:?}");
    assert_eq!(Schemas::default().read(&own(&by_hand)).unwrap(), *message);
}

fn change() -> Change {
    let position = Position { partition: 3, epoch: 2, lsn: 4711, n: 0 };
    Change {
        section: Some(0),
        row: Some(12),
        seats: vec![3, 4],
        user: Some(42),
        request: Some(0x019b_d2a0_c0de_0000_0000_0000_0000_0001),
        hold: Some(Hold { epoch: 2, lsn: 4711, slot: 17 }),
        expires_ms: Some(1_795_671_656_000),
        ..Change::of_event(position, 1_795_671_356_000, Kind::Claimed, 7)
    }
}

#[test]
fn every_message_is_what_the_library_writes_and_is_read_as_it_was() {
    for kind in Kind::ALL {
        same(&Message::Change(Change { kind, ..change() }));
        same(&Message::Change(Change::of_event(change().position, 0, kind, 0)));
    }
    let most = i64::MAX as u64;
    let position = Position { partition: u16::MAX, epoch: u32::MAX, lsn: most, n: u32::MAX };
    let full = Change {
        position,
        time_ms: most,
        event: u32::MAX,
        section: Some(u16::MAX),
        row: Some(0),
        seats: (0..=255).collect(),
        parts: vec![RowSeats { row: 1, seats: vec![0, 255] }, RowSeats { row: u16::MAX, seats: Vec::new() }],
        hold: Some(Hold { epoch: u32::MAX, lsn: most, slot: u32::MAX }),
        expires_ms: Some(0),
        others: Some(u32::MAX),
        ..change()
    };
    for user in [None, Some(0), Some(63), Some(1 << 63), Some(u64::MAX)] {
        for request in [None, Some(0), Some(0xfeed), Some(u128::MAX)] {
            same(&Message::Change(Change { user, request, ..full.clone() }));
        }
    }
    for why in [Why::Unfillable, Why::Closed, Why::HoldCap] {
        same(&Message::Change(Change { why: Some(why), ..full.clone() }));
    }
    let states = [EventState::Draft, EventState::Open, EventState::Paused, EventState::Closed];
    for state in states.into_iter().chain([EventState::Archiving, EventState::Archived]) {
        same(&Message::Change(Change { state: Some(state), ..full.clone() }));
    }
    for numbers in [vec![], vec![7], (0..300).collect()] {
        let mark = |&of: &u32| (of as u16, Mark { epoch: of, lsn: most - u64::from(of) });
        same(&Message::Upto(numbers.iter().map(mark).collect()));
        same(&Message::Anew(Anew { partition: 3, epoch: 2, lsn: 9, events: numbers }));
    }
    same(&Message::Forgotten);
}

/// The bytes that are in topics out there.
#[test]
fn a_record_is_these_bytes() {
    let mut value = Vec::new();
    begin(0x0102_0304, &mut value);
    write_change(&change(), &mut value).unwrap();
    let wanted = [
        "00 01020304",                 // Confluent's frame: a zero, the id
        "0e 636c61696d6564",           // type: 7 bytes, "claimed"
        "02 06  02 04  02 ce49 02 00", // partition 3, epoch 2, lsn 4711, n 0
        "02 c0c9d3e5c268",             // time_ms
        "02 0e  02 00  02 18",         // event 7, section 0, row 12
        "04 06 08 00",                 // seats: two, 3 and 4, no more
        "00",                          // parts
        "02 04 3432",                  // user "42"
        "02 40 3031396264326130633064653030303030303030303030303030303030303031",
        "02 04 ce49 22",   // hold: epoch 2, lsn 4711, slot 17
        "02 8099f8e5c268", // expires_ms
        "00 00 00 00 00",  // why, state, others, marks, events
    ];
    let wanted = wanted.concat().replace(' ', "");
    let byte = |at| u8::from_str_radix(&wanted[at..at + 2], 16).unwrap();
    assert_eq!(value, (0..wanted.len()).step_by(2).map(byte).collect::<Vec<_>>());
}

/// The schema that was published is never changed: what is in topics could not be read by its number any more. A change is a
/// new file, with a number of its own.
#[test]
fn the_schema_is_the_one_that_was_published() {
    let schema: serde_avro_fast::Schema = SCHEMA.parse().unwrap();
    assert_eq!(u64::from_le_bytes(*schema.rabin_fingerprint()), 666_100_278_370_257_155);
    let fields: serde_json::Value = serde_json::from_str(SCHEMA).unwrap();
    // A later schema can leave out what is optional, and a reader of this one reads it.
    for field in &fields["fields"].as_array().unwrap()[1..] {
        assert!(field.get("default").is_some(), "{field}");
    }
}

/// The same without words.
fn plain(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(fields) => {
            fields.remove("doc");
            fields.values_mut().for_each(plain);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(plain),
        _ => {}
    }
}

#[test]
fn the_schema_is_shown_as_it_is() {
    let page = include_str!("../../../docs/cdc.md");
    let from = page.find("{\"type\": \"record\"").expect("it is shown");
    let shown = page[from..].split("```").next().unwrap();
    let [mut shown, mut own] = [shown, SCHEMA].map(|text| serde_json::from_str(text).unwrap());
    plain(&mut shown);
    plain(&mut own);
    assert_eq!(shown, own);
}

#[test]
fn what_a_long_does_not_hold_is_refused_and_not_wrapped() {
    let beyond = 1 << 63;
    let own = change();
    let wrong = [
        ("lsn", Change { position: Position { lsn: beyond, ..own.position }, ..own.clone() }),
        ("time_ms", Change { time_ms: beyond, ..own.clone() }),
        ("hold.lsn", Change { hold: Some(Hold { epoch: 1, lsn: beyond, slot: 0 }), ..own.clone() }),
        ("expires_ms", Change { expires_ms: Some(u64::MAX), ..own.clone() }),
    ];
    for (field, change) in wrong {
        let mut out = Vec::new();
        let error = write_change(&change, &mut out).unwrap_err();
        assert_eq!((error.field, out.is_empty()), (field, true), "{error}");
    }
    let upto = Message::Upto([(1, Mark { epoch: 1, lsn: beyond })].into());
    assert_eq!(write(&upto, &mut Vec::new()), Err(TooLarge { field: "marks.lsn", value: beyond }));
}

fn poison(schemas: &Schemas, record: &Record) -> String {
    match schemas.read(record) {
        Err(error @ NoMessage::Avro(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn bytes_that_are_no_message_are_told_so() {
    let (schemas, mut good) = (Schemas::default(), Vec::new());
    write_change(&change(), &mut good).unwrap();
    for cut in 0..good.len() {
        poison(&schemas, &own(&good[..cut]));
    }
    let more = poison(&schemas, &own(&[good.as_slice(), &[0]].concat()));
    assert!(more.contains("more than the schema says"), "{more}");
    let mut nothing = vec![0; 20];
    nothing.splice(..1, *b"\x08sold");
    let odd = poison(&schemas, &own(&nothing));
    assert!(odd.contains("missing field `partition`"), "{odd}");
    let odd = |kind: &'static str, flat: Flat<'_>| {
        let mut out = Vec::new();
        write::write(&Flat { kind, ..flat }, &mut out).unwrap();
        poison(&schemas, &own(&out))
    };
    let (booked, mut texts) = (change(), flat::Texts::default());
    let flat = Flat::of_change(&booked, &mut texts);
    assert!(odd("sold", flat.clone()).contains("unknown variant `sold`"));
    assert!(odd("booked", Flat { user: Some("-1"), ..flat.clone() }).contains("a user is a number"));
    assert!(odd("booked", Flat { request: Some("12"), ..flat.clone() }).contains("32 hexadecimal digits"));
    assert!(odd("booked", Flat { state: Some("lost"), ..flat.clone() }).contains("no state"));
    assert!(odd("booked", Flat { why: Some("so"), ..flat.clone() }).contains("unknown variant `so`"));
    assert!(odd("booked", Flat { time_ms: None, ..flat }).contains("time_ms"));
    // An int of Avro's, and no seat.
    let mut flat: Vec<u8> = good.clone();
    let at = flat.windows(4).position(|it| it == [4, 6, 8, 0]).unwrap();
    flat.splice(at + 1..=at + 1, [1]);
    poison(&schemas, &own(&flat));
    // A list without end.
    flat.splice(at.., [0xff, 0xff, 0xff, 0xff, 0x0f]);
    poison(&schemas, &own(&flat));
}

/// Whatever a byte becomes, it is a message or an error, and soon.
#[test]
fn damage_is_never_more_than_an_error() {
    let (schemas, mut good) = (Schemas::default(), Vec::new());
    write_change(&change(), &mut good).unwrap();
    for at in 0..good.len() {
        for byte in 0..=255 {
            let mut damaged = good.clone();
            damaged[at] = byte;
            if let Ok(message) = schemas.read(&own(&damaged)) {
                let mut again = Vec::new();
                // Other bytes may say the same, for a number can be written in more of them than it needs.
                assert!(
                    write(&message, &mut again).is_err() || schemas.read(&own(&again)).unwrap() == message
                );
            }
        }
    }
}

/// A field more, another one less, and another order.
const LATER: &str = r#"{"type": "record", "name": "frontrow.Message", "fields": [
    {"name": "colour", "type": ["null", "string"], "default": null},
    {"name": "events", "type": {"type": "array", "items": "long"}},
    {"name": "partition", "type": "int"}, {"name": "epoch", "type": "long"}, {"name": "lsn", "type": "long"},
    {"name": "type", "type": "string"}]}"#;

#[test]
fn what_another_schema_writes_is_read_by_it_once_it_is_known() {
    let mut schemas = Schemas::default();
    let mut datum = vec![2, 6];
    datum.extend_from_slice(b"red\x02\x0e\x00\x06\x04\x12\x08anew");
    let later = record(9, Some("2"), &datum);
    assert_eq!(schemas.missing(&later), Some(UnknownSchema(9)));
    assert!(poison(&schemas, &later).contains("nothing is known"));
    schemas.learn(UnknownSchema(9), Some(LATER));
    assert_eq!(schemas.missing(&later), None);
    let anew = Message::Anew(Anew { partition: 3, epoch: 2, lsn: 9, events: vec![7] });
    assert_eq!(schemas.read(&later).unwrap(), anew);
    let lost = record(10, Some("2"), &datum);
    schemas.learn(UnknownSchema(10), None);
    assert_eq!(schemas.missing(&lost), None);
    assert!(poison(&schemas, &lost).contains("the registry knows of no schema 10"));
    // For what this program knows by its number, and for what is nobody's, nobody is asked.
    for number in [Some("1"), Some("0"), Some("?"), None] {
        assert_eq!(schemas.missing(&record(77, number, &datum)), None);
    }
    assert!(poison(&schemas, &record(9, None, &datum)).contains("no header 'schema'"));
    for (id, text) in
        [(11, r#"{"type": "record", "name": "Order", "fields": []}"#), (12, "\"string\""), (13, "?")]
    {
        schemas.learn(UnknownSchema(id), Some(text));
        assert!(poison(&schemas, &record(id, Some("2"), &[0])).contains("is not frontrow.Message"));
    }
    let broken = r#"{"type": "record", "name": "Message", "namespace": "frontrow"}"#;
    schemas.learn(UnknownSchema(14), Some(broken));
    poison(&schemas, &record(14, Some("2"), &[0]));
}

#[test]
fn json_and_avro_are_told_apart_record_by_record() {
    let (schemas, message) = (Schemas::default(), Message::Change(change()));
    let (mut json, mut avro) = (Vec::new(), Vec::new());
    message.write(&mut json);
    write(&message, &mut avro).unwrap();
    for value in [json, own(&avro).value] {
        let record = Record { value, ..own(&[]) };
        assert_eq!(schemas.missing(&record), None);
        assert_eq!(schemas.read(&record).unwrap(), message);
    }
    for neither in [&b""[..], b"\x00", b"\x00\x00\x00\x01", b"?"] {
        let record = Record { value: neither.to_vec(), ..Record::default() };
        assert_eq!(schemas.missing(&record), None);
        assert!(matches!(schemas.read(&record), Err(NoMessage::Json(_))), "{neither:?}");
    }
    let mut value = own(&avro).value;
    set_id(0x0a0b_0c0d, &mut value);
    assert_eq!((id(&value), value[FRAME..].to_vec()), (Some(0x0a0b_0c0d), avro));
}
