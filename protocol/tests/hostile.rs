//! Bytes that no honest peer sends: each is refused, with a code, before anything is made of it.

use frontrow_protocol::*;
use frontrow_shard::{ClaimSeats, Command, MAX_PARTS, RowRef, Seats};

const MAX: u32 = DEFAULT_MAX_FRAME;

fn frame(kind: u8, body: &[u8]) -> Frame<'_> {
    Frame { kind, body }
}

fn client_bytes(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_client(message, &mut bytes);
    bytes
}

#[test]
fn headers_are_refused_as_soon_as_they_are_seen() {
    let too_large = SplitError::TooLarge { len: MAX + 1, max: MAX };
    let mut header = (MAX + 1).to_le_bytes().to_vec();
    assert_eq!(split(&header, MAX), Err(too_large), "four bytes suffice");
    header.extend_from_slice(&[1, 3, 0, 0]);
    assert_eq!(split(&header, MAX), Err(too_large));
    assert_eq!(split(&[0xff; 100], MAX), Err(SplitError::TooLarge { len: u32::MAX, max: MAX }));
    assert_eq!(split(&[0, 0, 0, 0, 2], MAX), Err(SplitError::Version { version: 2 }));
    assert_eq!(split(&[0, 0, 0, 0, 2, 3, 0, 0], MAX), Err(SplitError::Version { version: 2 }));
    assert_eq!(split(&[0, 0, 0, 0, 1, 3, 1, 2], MAX), Err(SplitError::Reserved { flags: 0x201 }));
    assert_eq!(split(b"GET / HT", MAX), Err(SplitError::TooLarge { len: 0x2054_4547, max: MAX }));
    assert_eq!(split(&[], MAX), Ok(None));
    // The longest body allowed is not too long.
    let longest = [&MAX.to_le_bytes()[..], &[1, 1, 0, 0], &vec![0; MAX as usize]].concat();
    assert_eq!(split(&longest, MAX).unwrap().unwrap().0.body.len(), MAX as usize);
    let codes = [too_large, SplitError::Version { version: 2 }, SplitError::Reserved { flags: 1 }];
    assert_eq!(
        codes.map(SplitError::code),
        [WireCode::FrameTooLarge, WireCode::UnsupportedVersion, WireCode::Malformed]
    );
}

#[test]
fn frames_stop_at_the_first_error() {
    let mut bytes = client_bytes(&ClientMessage::Ping { id: 1 });
    bytes.extend_from_slice(&[0, 0, 0, 0, 9, 0, 0, 0]);
    bytes.extend(client_bytes(&ClientMessage::Ping { id: 2 }));
    let mut frames = Frames::new(&bytes, MAX);
    assert!(frames.next().unwrap().is_ok());
    assert_eq!(frames.next(), Some(Err(SplitError::Version { version: 9 })));
    assert_eq!(frames.next(), None);
}

#[test]
fn unknown_kinds_and_wrong_directions() {
    for kind in 0..=u8::MAX {
        let known = Kind::from_number(kind);
        let unknown = Err(DecodeError::UnknownKind { kind });
        if known.is_none_or(Kind::from_server) {
            assert_eq!(decode_client(frame(kind, &[0; 64])).map(|_| ()), unknown);
        }
        if known.is_none_or(|kind| !kind.from_server()) {
            assert_eq!(decode_server(frame(kind, &[0; 64])).map(|_| ()), unknown);
        }
    }
    assert_eq!(DecodeError::UnknownKind { kind: 0 }.code(), WireCode::UnknownKind);
}

#[test]
fn every_wrong_length_is_refused() {
    for &kind in Kind::ALL {
        let least = kind.body();
        for len in (0..least).chain(kind.is_fixed().then_some(least + 1)) {
            let body = vec![0; len];
            let number = kind as u8;
            let error = if kind.from_server() {
                decode_server(frame(number, &body)).map(|_| ()).unwrap_err()
            } else {
                decode_client(frame(number, &body)).map(|_| ()).unwrap_err()
            };
            assert_eq!(error, DecodeError::Length { kind, got: len, want: least });
            assert_eq!(error.code(), WireCode::Malformed);
        }
    }
}

#[track_caller]
fn refuses_client(kind: Kind, body: &[u8], field: &str) {
    let error = decode_client(frame(kind as u8, body)).unwrap_err();
    assert!(error.to_string().contains(field), "{error} should name {field}");
}

#[track_caller]
fn refuses_server(kind: Kind, body: &[u8], field: &str) {
    let error = decode_server(frame(kind as u8, body)).map(|_| ()).unwrap_err();
    assert!(error.to_string().contains(field), "{error} should name {field}");
}

#[test]
fn reserved_bytes_and_unknown_options_are_refused() {
    let with = |len: usize, changes: &[(usize, u8)]| {
        let mut body = vec![0; len];
        for &(at, value) in changes {
            body[at] = value;
        }
        body
    };
    let section = [(22, 0xff), (23, 0xff)];
    for at in 33..40 {
        refuses_client(Kind::ClaimSeats, &with(40, &[(at, 1)]), "reserved");
    }
    for at in 27..32 {
        refuses_client(Kind::ClaimBest, &with(32, &[(at, 1)]), "reserved");
    }
    refuses_client(Kind::ClaimBest, &with(32, &[(26, 4)]), "options");
    refuses_client(Kind::Join, &with(32, &[(26, 2)]), "options");
    refuses_client(Kind::Join, &with(32, &[(25, 1)]), "reserved");
    refuses_client(Kind::Join, &with(32, &[(27, 3)]), "adjacency");
    refuses_client(Kind::ClaimSection, &with(32, &[section[0], section[1], (27, 3)]), "adjacency");
    // A row where a section belongs, and the other way round.
    refuses_client(Kind::ClaimSection, &with(32, &[]), "row");
    refuses_client(Kind::Watch, &with(24, &[]), "row");
    refuses_client(Kind::Unwatch, &with(24, &[]), "row");
    refuses_client(Kind::ClaimBest, &with(32, &section), "row");
    refuses_client(Kind::ClaimSeats, &with(40, &section), "row");
    for at in [84, 87] {
        refuses_server(Kind::Answer, &with(88, &[(at, 1)]), "reserved");
    }
    refuses_server(Kind::Answer, &with(88, &[(80, 10)]), "code");
    refuses_server(Kind::Push, &with(72, &[(64, 0)]), "kind of news");
    refuses_server(Kind::Push, &with(72, &[(64, 1), (71, 1)]), "reserved");
    refuses_server(Kind::Welcome, &with(48, &[(30, 3)]), "durability");
    refuses_server(Kind::Welcome, &with(48, &[(46, 1)]), "reserved");
    refuses_server(Kind::Error, &with(24, &[(20, 127)]), "code");
    refuses_server(Kind::Error, &with(24, &[(20, 128), (21, 2)]), "fatal");
    refuses_server(Kind::Goodbye, &with(8, &[(4, 1)]), "code");
}

#[test]
fn counts_do_not_promise_what_is_not_there() {
    // A token longer than the body, shorter, too long, and one that is not text.
    let hello = |len: u32, token: &[u8]| [&[0; 4], &len.to_le_bytes()[..], token].concat();
    refuses_client(Kind::Hello, &hello(4, b"abc"), "11 bytes where its layout has 12");
    refuses_client(Kind::Hello, &hello(2, b"abc"), "11 bytes where its layout has 10");
    refuses_client(Kind::Hello, &hello(u32::MAX, b"abc"), "token length");
    refuses_client(Kind::Hello, &hello(4097, &[b'a'; 4097]), "token length");
    refuses_client(Kind::Hello, &hello(2, &[0xff, 0xff]), "UTF-8");
    assert!(decode_client(frame(1, &hello(4096, &[b'a'; 4096]))).is_ok());

    let mut answer = vec![0; 88 + 16 * 9];
    answer[82] = MAX_PARTS as u8 + 1;
    refuses_server(Kind::Answer, &answer, "parts");
    answer[82] = 8;
    refuses_server(Kind::Answer, &answer, "232 bytes where its layout has 216");

    let mut topology = vec![0; 24];
    topology[16..18].copy_from_slice(&1025_u16.to_le_bytes());
    refuses_server(Kind::TopologyIs, &topology, "partitions");
    topology[16..20].copy_from_slice(&[0, 4, 0xff, 0xff]);
    refuses_server(Kind::TopologyIs, &topology, "cores");
    topology[16..20].copy_from_slice(&[0, 4, 0, 4]);
    refuses_server(Kind::TopologyIs, &topology, "24 bytes where its layout has 10264");

    let mut delta = vec![0; 16];
    refuses_server(Kind::Delta, &delta, "seats of a row");
    delta[12..14].copy_from_slice(&257_u16.to_le_bytes());
    refuses_server(Kind::Delta, &delta, "seats of a row");
    delta[12..14].copy_from_slice(&[3, 0]);
    delta.extend_from_slice(&[0b111, 0b1000, 0]);
    refuses_server(Kind::Delta, &delta, "bit set");

    let mut snapshot = vec![0; 32];
    snapshot[22..24].copy_from_slice(&[0xff, 0xff]);
    assert!(decode_server(frame(Kind::Snapshot as u8, &snapshot)).is_ok(), "no rows");
    snapshot[24..26].copy_from_slice(&[0xff, 0xff]);
    refuses_server(Kind::Snapshot, &snapshot, "layout");
    snapshot[24..26].copy_from_slice(&[0, 0]);
    snapshot.push(0);
    refuses_server(Kind::Snapshot, &snapshot, "1 bytes where its layout has 0");

    refuses_server(Kind::Error, &[&[0; 20], &[128, 0, 1, 2][..]].concat(), "message length");
    refuses_server(Kind::Error, &[&[0; 20], &[128, 0, 1, 0, 0xff][..]].concat(), "UTF-8");
}

#[test]
fn batches_are_taken_whole_or_not_at_all() {
    let ping = client_bytes(&ClientMessage::Ping { id: 1 });
    let batch = |count: u16, frames: &[u8]| [&count.to_le_bytes(), &[0; 6][..], frames].concat();
    assert!(decode_client(frame(2, &batch(1, &ping))).is_ok());
    refuses_client(Kind::Batch, &batch(0, &[]), "count");
    refuses_client(Kind::Batch, &batch(513, &ping), "count");
    refuses_client(Kind::Batch, &batch(2, &ping), "count");
    refuses_client(Kind::Batch, &batch(1, &[&ping[..], &ping].concat()), "count");
    refuses_client(Kind::Batch, &batch(1, &ping[..20]), "last frame");
    refuses_client(Kind::Batch, &batch(1, &[&ping[..], &[0]].concat()), "last frame");
    let hello = client_bytes(&ClientMessage::Hello(Hello { token: "".into(), features: 0 }));
    refuses_client(Kind::Batch, &batch(1, &hello), "kind");
    let mut nested = Vec::new();
    encode_batch([ClientMessage::Ping { id: 1 }], &mut nested).unwrap();
    refuses_client(Kind::Batch, &batch(1, &nested), "kind");
    let mut wrong_version = ping.clone();
    wrong_version[4] = 9;
    refuses_client(Kind::Batch, &batch(1, &wrong_version), "version");
    let mut unknown = ping.clone();
    unknown[5] = 0x7f;
    assert_eq!(
        decode_client(frame(2, &batch(2, &[&ping[..], &unknown].concat()))),
        Err(DecodeError::UnknownKind { kind: 0x7f })
    );

    let mut out = vec![1, 2, 3];
    let ping = || ClientMessage::Ping { id: 1 };
    assert_eq!(encode_batch([], &mut out), Err(BatchError::Empty));
    assert_eq!(encode_batch((0..513).map(|_| ping()), &mut out), Err(BatchError::TooMany));
    let hello = ClientMessage::Hello(Hello { token: "".into(), features: 0 });
    assert_eq!(encode_batch([ping(), hello], &mut out), Err(BatchError::Nested { index: 1 }));
    assert_eq!(out, [1, 2, 3], "nothing is left behind");
    encode_batch((0..512).map(|_| ping()), &mut out).unwrap();
    assert!(decode_client(split(&out[3..], MAX).unwrap().unwrap().0).is_ok());
}

#[test]
fn windows_are_brought_into_normal_form() {
    let row = RowRef::new(1, 2, 3);
    let claim = |first, mask| {
        let seats = Seats { mask, first };
        let bytes = client_bytes(&ClientMessage::Request {
            id: 1,
            command: Command::ClaimSeats(ClaimSeats { row, seats }),
        });
        match decode_client(split(&bytes, MAX).unwrap().unwrap().0) {
            Ok(ClientMessage::Request { command: Command::ClaimSeats(claim), .. }) => Ok(claim.seats),
            Ok(other) => panic!("{other:?}"),
            Err(error) => Err(error.code()),
        }
    };
    assert_eq!(claim(3, 0b1100), Ok(Seats { mask: 0b11, first: 5 }));
    assert_eq!(claim(9, 0), Ok(Seats::NONE));
    assert_eq!(claim(255, 1), Ok(Seats { mask: 1, first: 255 }));
    assert_eq!(claim(192, 1 << 63), Ok(Seats { mask: 1, first: 255 }));
    assert_eq!(claim(193, 1 << 63), Err(WireCode::Malformed));
    assert_eq!(claim(255, 2), Err(WireCode::Malformed));
}

#[test]
fn an_error_can_name_its_request() {
    let ping = client_bytes(&ClientMessage::Ping { id: 77 });
    assert_eq!(claimed_id(split(&ping, MAX).unwrap().unwrap().0), 77);
    // Too long for its kind, but the id is where it always is.
    assert_eq!(claimed_id(frame(Kind::ClaimSeats as u8, &[1; 99])), u128::from_le_bytes([1; 16]));
    assert_eq!(claimed_id(frame(Kind::ClaimSeats as u8, &[1; 15])), 0);
    assert_eq!(claimed_id(frame(Kind::Hello as u8, &[1; 99])), 0);
    assert_eq!(claimed_id(frame(Kind::Answer as u8, &[1; 99])), 0);
    assert_eq!(claimed_id(frame(0x7f, &[1; 99])), 0);
}

#[test]
fn long_messages_are_cut_between_characters() {
    let message = "é".repeat(400).into();
    let error = ErrorReply { message, ..ErrorReply::of(1, WireCode::Internal) };
    let mut bytes = Vec::new();
    encode_error(&error, &mut bytes);
    let ServerMessage::Error(error) = decode_server(split(&bytes, MAX).unwrap().unwrap().0).unwrap() else {
        panic!("an error");
    };
    assert_eq!(error.message, "é".repeat(256));
}
