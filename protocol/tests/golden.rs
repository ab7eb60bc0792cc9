//! The bytes of frames, written out: whoever changes them breaks every client there is.

use frontrow_protocol::*;
use frontrow_shard::*;

/// A text of hexadecimal bytes with spaces, as bytes.
fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|two| u8::from_str_radix(std::str::from_utf8(two).unwrap(), 16).unwrap()).collect()
}

const ID: RequestId = 0x0001_9a2b_3c4d_5e6f_1122_3344_5566_7788;
const ID_HEX: &str = "8877665544332211 6f5e4d3c2b9a0100";

fn proof() -> Proof {
    let fence =
        Fence { user: 7, expires_ms: 0x0102, lsn: 0x0304, nonce: 0xa1a2_a3a4_a5a6_a7a8, slot: 5, epoch: 6 };
    Proof { place: RowRef::new(1, 2, 3), fence }
}

#[track_caller]
fn client(message: &ClientMessage<'_>, text: &str) {
    let mut bytes = Vec::new();
    encode_client(message, &mut bytes);
    assert_eq!(bytes, hex(text), "{message:?}");
    let (frame, rest) = split(&bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
    assert!(rest.is_empty());
    assert_eq!(decode_client(frame).as_ref(), Ok(message));
}

#[track_caller]
fn server(message: &ServerMessage<'_>, text: &str) {
    let mut bytes = Vec::new();
    encode_server(message, &mut bytes);
    assert_eq!(bytes, hex(text), "{message:?}");
    let (frame, rest) = split(&bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
    assert!(rest.is_empty());
    assert_eq!(decode_server(frame).as_ref(), Ok(message));
}

#[test]
fn what_opens_and_keeps_a_connection() {
    let hello = Hello { token: "abc".into(), features: 1 };
    client(&ClientMessage::Hello(hello), "0b000000 01 01 0000  01000000 03000000 616263");
    client(&ClientMessage::Ping { id: ID }, &format!("10000000 01 03 0000 {ID_HEX}"));
    client(&ClientMessage::Topology { id: ID }, &format!("10000000 01 04 0000 {ID_HEX}"));
}

#[test]
fn what_names_only_a_place() {
    let place = "01000000 0200 0300";
    let section = "01000000 0200 ffff";
    let row = RowRef::new(1, 2, 3);
    client(&ClientMessage::Status { id: ID, place: row }, &format!("18000000 01 05 0000 {ID_HEX} {place}"));
    client(
        &ClientMessage::Watch { id: ID, section: row.section_of() },
        &format!("18000000 01 06 0000 {ID_HEX} {section}"),
    );
    client(
        &ClientMessage::Unwatch { id: ID, section: row.section_of() },
        &format!("18000000 01 07 0000 {ID_HEX} {section}"),
    );
    client(
        &ClientMessage::Request { id: ID, command: Command::Leave(Leave { place: row }) },
        &format!("18000000 01 19 0000 {ID_HEX} {place}"),
    );
}

#[test]
fn claims() {
    let row = RowRef::new(1, 2, 3);
    let seats = Seats::from_places(&[4, 5]).unwrap();
    client(
        &ClientMessage::Request { id: ID, command: Command::ClaimSeats(ClaimSeats { row, seats }) },
        &format!("28000000 01 10 0000 {ID_HEX} 01000000 0200 0300 0300000000000000 04 00000000000000"),
    );
    let best = ClaimBest { row, count: 2, category: ANY_CATEGORY, accessible: true, or_join: true };
    client(
        &ClientMessage::Request { id: ID, command: Command::ClaimBest(best) },
        &format!("20000000 01 11 0000 {ID_HEX} 01000000 0200 0300 02 ff 03 00 00000000"),
    );
    let section = ClaimSection {
        section: row.section_of(),
        count: 3,
        category: 4,
        adjacency: Adjacency::Preferred,
        accessible: false,
        or_join: true,
        hopeless: false,
        candidates: [NO_ROW; CANDIDATES],
    };
    client(
        &ClientMessage::Request { id: ID, command: Command::ClaimSection(section) },
        &format!("20000000 01 12 0000 {ID_HEX} 01000000 0200 ffff 03 04 02 01 00000000"),
    );
    let join = Join { place: row, count: 2, adjacency: Adjacency::Any, accessible: true };
    client(
        &ClientMessage::Request { id: ID, command: Command::Join(join) },
        &format!("20000000 01 18 0000 {ID_HEX} 01000000 0200 0300 02 00 01 02 00000000"),
    );
}

#[test]
fn what_shows_a_fence() {
    let commands = [
        (Command::Extend(proof()), "13"),
        (Command::BeginPayment(proof()), "14"),
        (Command::Book(proof()), "15"),
        (Command::Release(proof()), "16"),
        (Command::Cancel(proof()), "17"),
    ];
    for (command, kind) in commands {
        client(
            &ClientMessage::Request { id: ID, command },
            &format!(
                "40000000 01 {kind} 0000 {ID_HEX} 01000000 0200 0300 0700000000000000 0201000000000000
                 0403000000000000 a8a7a6a5a4a3a2a1 05000000 06000000"
            ),
        );
    }
}

#[test]
fn a_batch() {
    let messages = [ClientMessage::Ping { id: ID }, ClientMessage::Topology { id: ID }];
    let mut bytes = Vec::new();
    encode_batch(messages.clone(), &mut bytes).unwrap();
    let text = format!(
        "38000000 01 02 0000 0200 000000000000
         10000000 01 03 0000 {ID_HEX} 10000000 01 04 0000 {ID_HEX}"
    );
    assert_eq!(bytes, hex(&text));
    let (frame, _) = split(&bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
    let ClientMessage::Batch(batch) = decode_client(frame).unwrap() else { panic!("a batch") };
    assert_eq!(batch.iter().collect::<Vec<_>>(), messages);
    client(&ClientMessage::Batch(batch), &text);
}

fn granted(parts: u8) -> Answer {
    Answer {
        seats: Seats { mask: 3, first: 4 },
        lsn: 0x0304,
        expires_ms: 0x0102,
        nonce: 0xa1a2_a3a4_a5a6_a7a8,
        slot: 5,
        epoch: 6,
        code: Code::Granted,
        flags: flags::TOGETHER,
        parts,
    }
}

const GRANTED: &str =
    "0300000000000000 0403000000000000 0201000000000000 a8a7a6a5a4a3a2a1 05000000 06000000 01 01";

#[test]
fn answers_and_news() {
    let place = RowRef::new(1, 2, 3);
    let mut reply =
        Reply { id: ID, time_ms: 9, place, answer: granted(0), parts: Parts::default(), durable: 0x0305 };
    server(
        &ServerMessage::Answer(reply),
        &format!(
            "58000000 01 82 0000 {ID_HEX} 0900000000000000 01000000 0200 0300 0503000000000000
             {GRANTED} 00 04 00000000"
        ),
    );
    reply.answer.parts = 1;
    reply.parts.push(Part { row: 8, seats: Seats { mask: 1, first: 7 }, slot: 6 });
    server(
        &ServerMessage::Answer(reply),
        &format!(
            "68000000 01 82 0000 {ID_HEX} 0900000000000000 01000000 0200 0300 0503000000000000
             {GRANTED} 01 04 00000000 0100000000000000 06000000 0800 07 00"
        ),
    );
    let parts = Parts::default();
    let push = News { place, time_ms: 9, kind: NewsKind::Offered, answer: granted(0), parts };
    server(
        &ServerMessage::Push(push),
        &format!(
            "48000000 01 86 0000 01000000 0200 0300 0900000000000000 {GRANTED} 00 04 00000000
             01 00000000000000"
        ),
    );
}

#[test]
fn welcome_errors_and_goodbye() {
    let limits = ConnectionLimits { max_frame: 1, max_in_flight: 2, remembered_ids: 3, max_batch: 4 };
    let welcome = Welcome {
        user: 7,
        server_time_ms: 8,
        epoch: 9,
        features: 0,
        partitions: 64,
        cores: 2,
        core: 1,
        durability: Durability::Local,
        limits,
    };
    server(
        &ServerMessage::Welcome(welcome),
        "30000000 01 81 0000 0700000000000000 0800000000000000 09000000 00000000 4000 0200 0100 01 00
         01000000 02000000 03000000 0400 0000",
    );
    let error =
        ErrorReply { id: ID, code: WireCode::Busy, fatal: true, retry_after_ms: 50, message: "no".into() };
    server(&ServerMessage::Error(error), &format!("1a000000 01 83 0000 {ID_HEX} 32000000 88 01 0200 6e6f"));
    let goodbye = Goodbye { code: WireCode::ShuttingDown, retry_after_ms: 50, message: "no".into() };
    server(&ServerMessage::Goodbye(goodbye), "0a000000 01 89 0000 32000000 8e 00 0200 6e6f");
    server(
        &ServerMessage::Pong { id: ID, time_ms: 9 },
        &format!("18000000 01 88 0000 {ID_HEX} 0900000000000000"),
    );
}

#[test]
fn seats_and_topology() {
    let state = RowSeats {
        version: 5,
        seats: 10,
        free: [0b11, 0, 0, 0],
        booked: [0b100, 0, 0, 0],
        blocked: [0x200, 0, 0, 0],
    };
    let row = RowRef::new(1, 2, 3);
    server(
        &ServerMessage::Delta(Delta { row, state }),
        "16000000 01 85 0000 01000000 0200 0300 05000000 0a00 0000 0300 0400 0002",
    );
    let mut bytes = Vec::new();
    encode_snapshot(ID, row, [(3, state)], DEFAULT_MAX_FRAME, &mut bytes);
    let text = format!(
        "2e000000 01 84 0000 {ID_HEX} 01000000 0200 ffff 0100 01 0000000000
         0300 0a00 05000000 0300 0400 0002"
    );
    assert_eq!(bytes, hex(&text));
    let (frame, _) = split(&bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
    server(&decode_server(frame).unwrap(), &text);
    let topology = Topology {
        id: ID,
        cores: vec![CoreAddress { core: 1, tcp_port: 0x1234, ws_port: 0 }],
        owners: vec![1, 1],
    };
    server(
        &ServerMessage::Topology(topology),
        &format!("24000000 01 87 0000 {ID_HEX} 0200 0100 00000000 0100 3412 0000 0000 0100 0100"),
    );
}

#[test]
fn request_ids() {
    let mut ids = RequestIds::new(0x0001_9a2b_3c4d, 0x1122_3344_5566_7788);
    assert_eq!(ids.next(), 0x0001_9a2b_3c4d_0000_1122_3344_5566_7788);
    assert_eq!(ids.next(), 0x0001_9a2b_3c4d_0001_1122_3344_5566_7788);
    ids.heard(0x0001_9a2b_3c4e);
    ids.heard(5);
    let third = ids.next();
    assert_eq!(third, 0x0001_9a2b_3c4e_0002_1122_3344_5566_7788);
    assert_eq!(request_id_time(third), 0x0001_9a2b_3c4e);
    let mut seen: std::collections::HashSet<_> = (0..200_000).map(|_| ids.next()).collect();
    assert_eq!(seen.len(), 200_000);
    assert!(seen.insert(third));
    assert_eq!(parse_id(&format_id(third)), Ok(third));
    assert_eq!(parse_id("00019a2b-3c4d-5e6f-1122-334455667788"), Ok(ID));
    for wrong in ["", "1", "00019a2b-3c4d-5e6f-1122-33445566778g", "00019a2b3c4d5e6f-1122-334455667788aa--"] {
        assert_eq!(parse_id(wrong), Err(IdError));
    }
}

#[test]
fn a_holds_token() {
    let text = format_token(&proof());
    assert_eq!(text, "AQEAAAACAAMABwAAAAAAAAACAQAAAAAAAAQDAAAAAAAAqKempaSjoqEFAAAABgAAAA");
    assert_eq!(parse_token(&text), Ok(proof()));
    assert_eq!(parse_token(&text[1..]), Err(TokenError::Length { got: 65 }));
    assert_eq!(parse_token(&text.replace('Q', "=")), Err(TokenError::Encoding));
    assert_eq!(parse_token(&text.replacen("AQ", "Ag", 1)), Err(TokenError::Version { version: 2 }));
}
