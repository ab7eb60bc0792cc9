//! The JSON form: every wrong shape is refused by name, and what the server says looks as documented.

use frontrow_protocol::*;
use frontrow_shard::{
    Adjacency, Answer, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Code, Command, Fence, NO_ROW, Part,
    Parts, Proof, RowRef, Seats, flags,
};
use serde_json::{Value, json};

const ID: &str = "00019a2b3c4d5e6f1122334455667788";

fn claim(changes: &Value) -> String {
    let mut message = json!({"type": "claim", "id": ID, "event": 1, "section": 0, "row": 3, "seats": [4, 5]});
    for (key, value) in changes.as_object().unwrap() {
        message[key] = value.clone();
    }
    message.to_string()
}

#[test]
fn every_wrong_shape_is_named() {
    let shape = |text: &str, code: WireCode, words: &[&str]| {
        let error = decode_client_json(text).expect_err(text);
        assert_eq!(error.code(), code, "{text}: {error}");
        for word in words {
            assert!(error.to_string().contains(word), "{text}: `{error}` should say `{word}`");
        }
    };
    use WireCode::{BadToken, DuplicateSeat, Malformed, TooFarApart, UnknownKey, UnknownKind};
    shape("", Malformed, &["not JSON"]);
    shape("{", Malformed, &["not JSON"]);
    shape("{} x", Malformed, &["not JSON"]);
    shape(&"[".repeat(100_000), Malformed, &["not JSON"]);
    for (text, found) in
        [("1", "a number"), ("null", "null"), ("\"x\"", "a text"), ("true", "true"), ("[[]]", "a list")]
    {
        shape(text, Malformed, &["object", found]);
    }
    shape("[]", Malformed, &["at least one"]);
    shape("{}", Malformed, &["`type`"]);
    shape(r#"{"type":1}"#, Malformed, &["`type`", "text"]);
    shape(r#"{"type":"buy"}"#, UnknownKind, &["`buy`"]);
    shape(r#"{"type":"claim_section"}"#, UnknownKind, &["`claim_section`"]);
    shape(&claim(&json!({"seets": [1]})), UnknownKey, &["`seets`"]);
    shape(&claim(&json!({"user": 7})), UnknownKey, &["`user`"]);
    shape(&claim(&json!({"count": 2})), UnknownKey, &["`claim`", "`count`"]);
    shape(r#"{"type":"ping","type":"ping"}"#, Malformed, &["`type`", "twice"]);
    let wrong = [
        ("id", json!(7), "text"),
        ("id", json!("7"), "32 hexadecimal digits"),
        ("id", json!(null), "32 hexadecimal digits"),
        ("event", json!("1"), "a text"),
        ("event", json!(-1), "negative"),
        ("event", json!(1.5), "broken"),
        ("event", json!(4_294_967_296_u64), "4294967295"),
        ("event", json!([1]), "list"),
        ("event", json!({}), "an object"),
        ("section", json!(65536), "65535"),
        ("row", json!(65535), "65534"),
        ("row", json!(true), "true or false"),
        ("row", json!(null), "add a whole number"),
        ("seats", json!(4), "list"),
        ("seats", json!([256]), "0 to 255"),
        ("seats", json!(["4"]), "list"),
        ("seats", json!([[4]]), "list"),
        ("seats", json!([-1]), "list"),
        ("seats", json!(vec![0; 65]), "at most 64"),
    ];
    for (key, value, word) in wrong {
        shape(&claim(&json!({key: value})), Malformed, &[&format!("`{key}`"), word]);
    }
    shape(&claim(&json!({"seats": [4, 4]})), DuplicateSeat, &["4", "twice"]);
    shape(&claim(&json!({"seats": [0, 64]})), TooFarApart, &["0", "64"]);
    for key in ["id", "event", "section", "row", "seats"] {
        let mut message: Value = serde_json::from_str(&claim(&json!({}))).unwrap();
        message.as_object_mut().unwrap().remove(key);
        shape(&message.to_string(), Malformed, &["`claim`", &format!("`{key}`")]);
    }
    let best = json!({"type": "claim_best", "id": ID, "event": 1, "section": 0, "count": 2});
    let wrong = [
        ("count", json!(256)),
        ("adjacency", json!("near")),
        ("adjacency", json!(1)),
        ("accessible", json!(1)),
        ("category", json!(255)),
        ("or_join", json!("yes")),
    ];
    for (key, value) in wrong {
        let mut message = best.clone();
        message[key] = value;
        shape(&message.to_string(), Malformed, &[&format!("`{key}`")]);
    }
    let mut message = best.clone();
    message["row"] = json!(1);
    message["adjacency"] = json!("any");
    shape(&message.to_string(), Malformed, &["`adjacency`", "row"]);
    for token in ["", "x", &"A".repeat(66), &"!".repeat(66)] {
        let message = json!({"type": "book", "id": ID, "token": token}).to_string();
        shape(&message, BadToken, &["`token`", "token"]);
    }
    shape(&json!({"type": "book", "id": ID}).to_string(), Malformed, &["`book`", "`token`"]);
    shape(&json!({"type": "book", "id": ID, "token": 5}).to_string(), Malformed, &["`token`", "text"]);
    shape(&json!({"type": "watch", "event": 1, "section": 0, "row": 1}).to_string(), UnknownKey, &["`row`"]);
    shape(&json!({"type": "hello", "token": "x".repeat(4097)}).to_string(), Malformed, &["4096"]);
}

#[test]
fn errors_name_their_request_and_their_place_in_an_array() {
    let error = decode_client_json(&claim(&json!({"event": "x"}))).unwrap_err();
    assert_eq!((error.id, error.index), (parse_id(ID).unwrap(), None));
    // Also when the problem is found before the id is.
    let text = format!(r#"{{"sort":"x","id":"{ID}"}}"#);
    assert_eq!(decode_client_json(&text).unwrap_err().id, parse_id(ID).unwrap());
    let text = format!("[{},{}]", r#"{"type":"ping"}"#, claim(&json!({"event": "x"})));
    let error = decode_client_json(&text).unwrap_err();
    assert_eq!((error.id, error.index), (parse_id(ID).unwrap(), Some(1)));
    let many = format!("[{}]", vec![r#"{"type":"ping"}"#; 513].join(","));
    assert_eq!(decode_client_json(&many).unwrap_err().problem, JsonProblem::Batch(BatchError::TooMany));
    let hello = r#"[{"type":"hello"}]"#;
    assert_eq!(
        decode_client_json(hello).unwrap_err().problem,
        JsonProblem::Batch(BatchError::Nested { index: 0 })
    );
}

#[test]
fn defaults_and_freedoms() {
    let id = parse_id(ID).unwrap();
    let is = |text: &str, message: ClientMessage<'_>| {
        assert_eq!(decode_client_json(text), Ok(message), "{text}");
    };
    let row = RowRef::new(1, 0, 3);
    let seats = Seats { mask: 0b11, first: 4 };
    let named = ClientMessage::Request { id, command: Command::ClaimSeats(ClaimSeats { row, seats }) };
    is(&claim(&json!({})), named.clone());
    is(&claim(&json!({"id": "00019A2B-3C4D-5E6F-1122-334455667788", "seats": [5, 4]})), named);
    let none = Command::ClaimSeats(ClaimSeats { row, seats: Seats::NONE });
    is(&claim(&json!({"seats": []})), ClientMessage::Request { id, command: none });
    let best = json!({"type": "claim_best", "id": ID, "event": 1, "section": 0, "row": 3, "count": 2});
    let command = ClaimBest { row, count: 2, category: 255, accessible: false, or_join: false };
    is(&best.to_string(), ClientMessage::Request { id, command: Command::ClaimBest(command) });
    let best = json!({
        "type": "claim_best", "id": ID, "event": 1, "section": 0, "row": null, "count": 2,
        "adjacency": "preferred", "category": null, "accessible": true, "or_join": true
    });
    let command = ClaimSection {
        section: row.section_of(),
        count: 2,
        category: 255,
        adjacency: Adjacency::Preferred,
        accessible: true,
        or_join: true,
        hopeless: false,
        candidates: [NO_ROW; CANDIDATES],
    };
    is(&best.to_string(), ClientMessage::Request { id, command: Command::ClaimSection(command) });
    is(r#"{"type":"ping"}"#, ClientMessage::Ping { id: 0 });
    is(r#"{"type":"hello"}"#, ClientMessage::Hello(Hello { token: "".into(), features: 0 }));
    // Escapes in keys and values mean what they mean.
    is("{\"t\\u0079pe\":\"p\\u0069ng\"}", ClientMessage::Ping { id: 0 });
}

fn said(message: &ServerMessage<'_>) -> Value {
    let mut text = Vec::new();
    encode_server_json(message, 7, &mut text);
    serde_json::from_slice(&text).unwrap()
}

fn reply(answer: Answer) -> Reply {
    let (id, place) = (parse_id(ID).unwrap(), RowRef::new(1, 0, 3));
    Reply { id, time_ms: 1000, place, answer, parts: Parts::default(), durable: 12 }
}

#[test]
fn answers_look_as_documented() {
    let granted = Answer {
        seats: Seats { mask: 0b11, first: 4 },
        lsn: 11,
        expires_ms: 2000,
        nonce: u64::MAX,
        slot: 5,
        epoch: 6,
        code: Code::Granted,
        flags: flags::TOGETHER | flags::REPEATED,
        parts: 0,
    };
    let token = format_token(&Proof { place: RowRef::new(1, 0, 3), fence: Fence::of(7, &granted) });
    assert_eq!(
        said(&ServerMessage::Answer(reply(granted))),
        json!({
            "type": "answer", "id": ID, "ok": true, "code": "granted", "event": 1, "section": 0, "row": 3,
            "seats": [4, 5], "together": true, "token": token, "expires_ms": 2000, "repeated": true,
            "lsn": 11, "epoch": 6, "durable": 12, "time_ms": 1000
        })
    );
    let mut spread = reply(Answer { seats: Seats::NONE, parts: 1, ..granted });
    spread.place = spread.place.section_of();
    spread.parts.push(Part { row: 9, seats: Seats { mask: 1, first: 2 }, slot: 0 });
    let value = said(&ServerMessage::Answer(spread));
    assert_eq!(value["row"], Value::Null);
    assert_eq!(value["parts"], json!([{"row": 9, "seats": [2]}]));
    let queued = reply(Answer { slot: 42, ..Answer::plain(Code::Queued) });
    let value = said(&ServerMessage::Answer(queued));
    assert_eq!((&value["position"], &value["seats"]), (&json!(42), &json!([])));
    assert!(value.get("token").is_none());
}

#[test]
fn refusals_and_errors_look_as_documented() {
    let held = reply(Answer::refuse(Code::SeatHeld, Seats { mask: 0b101, first: 4 }));
    let value = said(&ServerMessage::Answer(held));
    assert_eq!((&value["type"], &value["ok"]), (&json!("error"), &json!(false)));
    let message = advice(Code::SeatHeld).message;
    assert_eq!(
        value["error"],
        json!({"code": "seat_held", "message": message, "retryable": true, "seats": [4, 6]})
    );
    for (remark, reason) in [(flags::STALE, "stale"), (flags::FOREIGN, "foreign"), (flags::FORGED, "forged")]
    {
        let fenced = reply(Answer { flags: remark, ..Answer::plain(Code::Fenced) });
        assert_eq!(said(&ServerMessage::Answer(fenced))["error"]["reason"], reason);
    }
    let error = ErrorReply {
        retry_after_ms: 50,
        message: "say \"when\"".into(),
        ..ErrorReply::of(parse_id(ID).unwrap(), WireCode::Busy)
    };
    let said_busy = said(&ServerMessage::Error(error));
    assert_eq!(
        said_busy,
        json!({
            "type": "error", "id": ID, "ok": false, "fatal": false,
            "error": {
                "code": "busy", "message": "say \"when\"", "retryable": true, "retry_after_ms": 50
            }
        })
    );
}

#[test]
fn seats_are_letters() {
    let state = RowSeats {
        version: 5,
        seats: 6,
        free: [0b1, 0, 0, 0],
        booked: [0b10, 0, 0, 0],
        blocked: [0b100, 0, 0, 0],
    };
    let value = said(&ServerMessage::Delta(Delta { row: RowRef::new(1, 2, 3), state }));
    assert_eq!(
        value,
        json!({"type": "delta", "event": 1, "section": 2, "row": 3, "version": 5, "state": "fbxhhh"})
    );
}

#[test]
fn every_code_has_its_own_advice() {
    let mut messages = std::collections::HashSet::new();
    let all = Code::ALL.iter().map(|&code| (code.name(), advice(code)));
    let all = all.chain(WireCode::ALL.iter().map(|&code| (code.name(), code.advice())));
    for (name, advice) in all {
        assert_ne!(advice.meaning, "Unknown", "{name} needs its advice");
        assert!(messages.insert(advice.message), "{name} needs its own advice");
        assert!(advice.message.len() <= MAX_MESSAGE);
    }
    for &code in WireCode::ALL {
        assert!(Code::from_number(code as u8).is_none(), "{} has a number of its own", code.name());
        assert_eq!(WireCode::from_number(code as u8), Some(code));
    }
}
