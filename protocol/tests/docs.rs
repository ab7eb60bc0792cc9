//! Holds `docs/protocol.md` to the code: its tables of codes, its byte tables, its hash vectors and its
//! examples. `FRONTROW_UPDATE_DOCS=1 cargo test -p frontrow-protocol --test docs` writes the generated
//! parts anew.

use frontrow_protocol::*;
use frontrow_shard::{
    Adjacency, Answer, CANDIDATES, ClaimSeats, ClaimSection, Code, Command, Fence, NO_ROW, Parts, Proof,
    RowRef, Seats, flags, mix,
};
use std::fmt::Write;

const ID: u128 = 0x019a_b2c3_d4e5_0001_1122_3344_5566_7788;
const USER: u64 = 7;

fn page() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/protocol.md")
}

/// Every generated part by the name it has in the page.
fn parts() -> Vec<(&'static str, String)> {
    vec![
        ("kinds", kinds()),
        ("codes", codes()),
        ("edge codes", edge_codes()),
        ("news", news()),
        ("limits", limits()),
        ("hash vectors", hash_vectors()),
        ("token example", token_example()),
        ("binary examples", binary_examples()),
        ("json client examples", json_client_examples()),
        ("json server examples", json_server_examples()),
    ]
}

#[test]
fn generated_parts_are_up_to_date() {
    let text = std::fs::read_to_string(page()).unwrap();
    let mut fresh = text.clone();
    for (name, part) in parts() {
        let begin = format!("<!-- generated: {name} -->\n");
        let (head, tail) = fresh.split_once(&begin).unwrap_or_else(|| panic!("the page lacks {begin}"));
        let (_, tail) = tail.split_once("<!-- end -->").expect("a generated part ends");
        fresh = format!("{head}{begin}{}\n<!-- end -->{tail}", part.trim_end());
    }
    if std::env::var_os("FRONTROW_UPDATE_DOCS").is_some() {
        std::fs::write(page(), fresh).unwrap();
        return;
    }
    for (line, (found, wanted)) in text.lines().zip(fresh.lines()).enumerate() {
        assert_eq!(found, wanted, "line {}: run this test with FRONTROW_UPDATE_DOCS=1", line + 1);
    }
    assert_eq!(text.len(), fresh.len(), "run this test with FRONTROW_UPDATE_DOCS=1");
}

/// Every kind has a byte table without gaps that ends where its fixed part ends.
#[test]
fn byte_tables_are_complete() {
    let text = std::fs::read_to_string(page()).unwrap();
    for &kind in Kind::ALL {
        let heading = format!("#### {:#04x} {}\n", kind as u8, kind.name());
        let (_, after) = text.split_once(&heading).unwrap_or_else(|| panic!("the page lacks {heading}"));
        let section = after.split("\n#").next().unwrap_or_default();
        let mut end = HEADER;
        for row in section.lines().filter(|line| line.starts_with("| ")) {
            let mut cells = row.split('|').skip(1).map(str::trim);
            let number = |cell: Option<&str>| cell.and_then(|cell| cell.parse::<usize>().ok());
            let (Some(at), Some(size)) = (number(cells.next()), number(cells.next())) else { continue };
            assert_eq!(at, end, "{}: `{row}` should be at {end}", kind.name());
            end = at + size;
        }
        assert_eq!(end, HEADER + kind.body(), "the byte table of {}", kind.name());
    }
}

/// The parts that stand in more than one message have tables without gaps, too.
#[test]
fn shared_byte_tables_are_complete() {
    let text = std::fs::read_to_string(page()).unwrap();
    for (heading, size) in [("place", 8), ("fence", 40), ("answer block", 48), ("part", 16)] {
        let (_, after) = text.split_once(&format!("#### {heading}\n")).expect(heading);
        let section = after.split("\n#").next().unwrap_or_default();
        let mut end = 0;
        for row in section.lines().filter(|line| line.starts_with("| ")) {
            let mut cells = row.split('|').skip(1).map(|cell| cell.trim().parse::<usize>().ok());
            let (Some(Some(at)), Some(Some(size))) = (cells.next(), cells.next()) else { continue };
            assert_eq!(at, end, "{heading}: `{row}`");
            end = at + size;
        }
        assert_eq!(end, size, "{heading}");
    }
}

fn kinds() -> String {
    let mut text = String::from("| kind | name | from | bytes in all |\n| --- | --- | --- | --- |\n");
    for &kind in Kind::ALL {
        let from = if kind.from_server() { "server" } else { "client" };
        let plus = if kind.is_fixed() { "" } else { " and more" };
        let size = HEADER + kind.body();
        writeln!(text, "| {:#04x} | {} | {from} | {size}{plus} |", kind as u8, kind.name()).unwrap();
    }
    text
}

fn yes(flag: bool) -> &'static str {
    if flag { "yes" } else { "" }
}

fn codes() -> String {
    let mut text = String::from(
        "| number | name | meaning | what to do | try again |\n| --- | --- | --- | --- | --- |\n",
    );
    for &code in Code::ALL {
        let Advice { meaning, remedy, .. } = advice(code);
        let (number, name, retry) = (code as u8, code.name(), yes(code.retryable()));
        writeln!(text, "| {number} | `{name}` | {meaning} | {remedy} | {retry} |").unwrap();
    }
    text
}

fn edge_codes() -> String {
    let mut text = String::from(
        "| number | name | meaning | what to do | try again |\n| --- | --- | --- | --- | --- |\n",
    );
    for &code in WireCode::ALL {
        let Advice { meaning, remedy, .. } = code.advice();
        let (number, name, retry) = (code as u8, code.name(), yes(code.retryable()));
        writeln!(text, "| {number} | `{name}` | {meaning} | {remedy} | {retry} |").unwrap();
    }
    text
}

fn news() -> String {
    let mut text = String::from("| number | name |\n| --- | --- |\n");
    for &kind in NewsKind::ALL {
        writeln!(text, "| {} | `{}` |", kind as u8, kind.name()).unwrap();
    }
    text
}

fn limits() -> String {
    format!(
        "| what | limit |\n| --- | --- |\n\
         | body of a frame, or JSON text | {DEFAULT_MAX_FRAME} bytes unless the welcome says otherwise; never below {MIN_MAX_FRAME} |\n\
         | messages in a batch | 1 to {MAX_BATCH} |\n\
         | connection token | {MAX_TOKEN} bytes |\n\
         | text of an error or goodbye | {MAX_MESSAGE} bytes |\n\
         | partitions | {} |\n\
         | cores | {MAX_CORES} |\n\
         | seats of a row | {} |\n\
         | seats of one claim or party | {}, or fewer by the event's rules |\n\
         | rows of one section claim | {} |\n",
        frontrow_shard::MAX_PARTITIONS,
        frontrow_shard::MAX_ROW_SEATS,
        frontrow_shard::MAX_PARTY,
        frontrow_shard::MAX_PARTS,
    )
}

fn hash_vectors() -> String {
    let mut text = String::from(
        "| event | section | row | key | mix(key) | of 1 | of 16 | of 64 | of 1024 |\n\
         | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    let section = RowRef::SECTION;
    for (event, number, row) in
        [(0, 0, 0), (1, 0, 0), (1, 0, 1), (1, 2, 3), (1, 2, section), (42, 7, 19), (u32::MAX, 65535, section)]
    {
        let place = RowRef::new(event, number, row);
        let key = place.key();
        let hash = mix(key);
        write!(text, "| {event} | {number} | {row} | `{key:016x}` | `{hash:016x}` |").unwrap();
        for partitions in [1, 16, 64, 1024] {
            // The page's own formula, so that the page is known to be right.
            let by_hand = ((u128::from(hash >> 32) * u128::from(partitions)) >> 32) as u16;
            assert_eq!(by_hand, place.partition(partitions));
            write!(text, " {by_hand} |").unwrap();
        }
        text.push('\n');
    }
    text
}

fn row() -> RowRef {
    RowRef::new(1, 0, 3)
}

fn granted() -> Answer {
    Answer {
        seats: Seats { mask: 0b11, first: 4 },
        lsn: 9001,
        expires_ms: 1_764_000_300_000,
        nonce: 0x0123_4567_89ab_cdef,
        slot: 17,
        epoch: 3,
        code: Code::Granted,
        flags: flags::TOGETHER,
        parts: 0,
    }
}

fn proof() -> Proof {
    Proof { place: row(), fence: Fence::of(USER, &granted()) }
}

fn reply(answer: Answer) -> ServerMessage<'static> {
    let parts = Parts::default();
    ServerMessage::Answer(Reply {
        id: ID,
        time_ms: 1_764_000_000_000,
        place: row(),
        answer,
        parts,
        durable: 9001,
    })
}

fn token_example() -> String {
    format!("```text\n{}\n```\n", format_token(&proof()))
}

fn client_examples() -> Vec<(&'static str, ClientMessage<'static>)> {
    let request = |command| ClientMessage::Request { id: ID, command };
    let seats = Seats { mask: 0b11, first: 4 };
    let best = ClaimSection {
        section: row().section_of(),
        count: 2,
        category: 255,
        adjacency: Adjacency::Required,
        accessible: false,
        or_join: true,
        hopeless: false,
        candidates: [NO_ROW; CANDIDATES],
    };
    vec![
        (
            "hello with the token `eyJ.e30.sig`",
            ClientMessage::Hello(Hello { token: "eyJ.e30.sig".into(), features: 0 }),
        ),
        (
            "claim of the seats at places 4 and 5 of row 3",
            request(Command::ClaimSeats(ClaimSeats { row: row(), seats })),
        ),
        (
            "claim of the best 2 seats of section 0, or a place in its queue",
            request(Command::ClaimSection(best)),
        ),
        ("booking of what was claimed", request(Command::Book(proof()))),
        ("watching section 0", ClientMessage::Watch { id: ID, section: row().section_of() }),
    ]
}

fn server_examples() -> Vec<(&'static str, ServerMessage<'static>)> {
    let state = RowSeats {
        version: 18,
        seats: 10,
        free: [0b11_1100_0001, 0, 0, 0],
        booked: [0b110, 0, 0, 0],
        blocked: [0b1000, 0, 0, 0],
    };
    let welcome = Welcome {
        user: USER,
        server_time_ms: 1_764_000_000_000,
        epoch: 3,
        features: 0,
        partitions: 64,
        cores: 2,
        core: 1,
        durability: Durability::Local,
        limits: ConnectionLimits::default(),
    };
    let offered = Answer { flags: flags::TOGETHER | flags::FROM_QUEUE, ..granted() };
    let news = News {
        place: row(),
        time_ms: 1_764_000_000_000,
        kind: NewsKind::Offered,
        answer: offered,
        parts: Parts::default(),
    };
    let topology = Topology {
        id: ID,
        cores: vec![
            CoreAddress { core: 0, tcp_port: 7100, ws_port: 7200 },
            CoreAddress { core: 1, tcp_port: 7101, ws_port: 7201 },
        ],
        owners: vec![0, 1, 0, 1],
    };
    vec![
        ("welcome", ServerMessage::Welcome(welcome)),
        ("the seats are held", reply(granted())),
        (
            "a seat is held by somebody else",
            reply(Answer {
                lsn: 9000,
                epoch: 3,
                ..Answer::refuse(Code::SeatHeld, Seats { mask: 1, first: 5 })
            }),
        ),
        ("42nd in the queue", reply(Answer { slot: 42, lsn: 8999, epoch: 3, ..Answer::plain(Code::Queued) })),
        (
            "overload",
            ServerMessage::Error(ErrorReply { retry_after_ms: 250, ..ErrorReply::of(ID, WireCode::Busy) }),
        ),
        ("an offer from the queue", ServerMessage::Push(news)),
        ("row 3 has changed", ServerMessage::Delta(Delta { row: row(), state })),
        ("topology of 4 partitions on 2 cores", ServerMessage::Topology(topology)),
    ]
}

fn snapshot_bytes() -> Vec<u8> {
    let state = RowSeats {
        version: 17,
        seats: 10,
        free: [0b11_1111_0001, 0, 0, 0],
        booked: [0b110, 0, 0, 0],
        blocked: [0b1000, 0, 0, 0],
    };
    let mut bytes = Vec::new();
    encode_snapshot(ID, row(), [(3, state)], DEFAULT_MAX_FRAME, &mut bytes);
    bytes
}

fn dump(caption: &str, bytes: &[u8]) -> String {
    let mut text = format!("{caption} ({} bytes):\n```text\n", bytes.len());
    for (line, chunk) in bytes.chunks(16).enumerate() {
        write!(text, "{:04}:", line * 16).unwrap();
        for (index, byte) in chunk.iter().enumerate() {
            write!(text, "{}{byte:02x}", if index % 8 == 0 { "  " } else { " " }).unwrap();
        }
        text.push('\n');
    }
    text + "```\n"
}

fn binary_examples() -> String {
    let mut text = String::new();
    for (caption, message) in client_examples() {
        let mut bytes = Vec::new();
        encode_client(&message, &mut bytes);
        text += &dump(&format!("Client: {caption}"), &bytes);
    }
    for (caption, message) in server_examples() {
        let mut bytes = Vec::new();
        encode_server(&message, &mut bytes);
        text += &dump(&format!("Server: {caption}"), &bytes);
    }
    text + &dump("Server: snapshot of a section with one row", &snapshot_bytes())
}

fn json_client_examples() -> String {
    let mut text = String::from("```json\n");
    for (_, message) in client_examples() {
        let mut bytes = Vec::new();
        encode_client_json(&message, &mut bytes);
        let line = String::from_utf8(bytes).unwrap();
        assert_eq!(decode_client_json(&line), Ok(message));
        text += &line;
        text.push('\n');
    }
    text + "```\n"
}

fn json_server_examples() -> String {
    let mut text = String::from("```json\n");
    let bytes = snapshot_bytes();
    let (frame, _) = split(&bytes, DEFAULT_MAX_FRAME).unwrap().unwrap();
    let snapshot = decode_server(frame).unwrap();
    for message in server_examples().into_iter().map(|(_, message)| message).chain([snapshot]) {
        let mut line = Vec::new();
        encode_server_json(&message, USER, &mut line);
        text += &String::from_utf8(line).unwrap();
        text.push('\n');
    }
    text + "```\n"
}

/// Every JSON object in the page that a client could send is one that the server takes.
#[test]
fn written_examples_are_taken() {
    let text = std::fs::read_to_string(page()).unwrap();
    let mut taken = 0;
    for line in text.lines().filter(|line| line.starts_with("{\"type\":") || line.starts_with("[{\"type\":"))
    {
        let from_server = ["welcome", "answer", "error", "snapshot", "delta", "push", "pong", "goodbye"]
            .iter()
            .any(|kind| line.starts_with(&format!("{{\"type\":\"{kind}\"")))
            || line.contains("\"owners\":");
        if !from_server {
            decode_client_json(line).unwrap_or_else(|error| panic!("{line}: {error}"));
            taken += 1;
        }
    }
    assert!(taken >= 15, "{taken} examples of what a client sends");
}
