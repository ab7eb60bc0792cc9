//! Whatever can be said can be understood, and is the same on the other side.

use frontrow_protocol::*;
use frontrow_shard::{
    Adjacency, Answer, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Code, Command, Fence, Join, Leave,
    NO_ROW, Part, Parts, Proof, RowRef, Seats,
};
use proptest::prelude::*;

fn row() -> impl Strategy<Value = RowRef> {
    (any::<u32>(), any::<u16>(), 0..RowRef::SECTION).prop_map(|(e, s, r)| RowRef::new(e, s, r))
}

fn section() -> impl Strategy<Value = RowRef> {
    row().prop_map(RowRef::section_of)
}

fn place() -> impl Strategy<Value = RowRef> {
    prop_oneof![row(), section()]
}

fn seats() -> impl Strategy<Value = Seats> {
    (any::<u8>(), any::<u64>()).prop_map(|(first, mask)| Seats::new(first, mask).unwrap_or(Seats::NONE))
}

fn adjacency() -> impl Strategy<Value = Adjacency> {
    prop_oneof![Just(Adjacency::Required), Just(Adjacency::Preferred), Just(Adjacency::Any)]
}

fn proof() -> impl Strategy<Value = Proof> {
    (place(), any::<(u64, u64, u64, u64, u32, u32)>()).prop_map(
        |(place, (user, expires_ms, lsn, nonce, slot, epoch))| Proof {
            place,
            fence: Fence { user, expires_ms, lsn, nonce, slot, epoch },
        },
    )
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        (row(), seats()).prop_map(|(row, seats)| Command::ClaimSeats(ClaimSeats { row, seats })),
        (row(), any::<(u8, u8, bool, bool)>()).prop_map(|(row, (count, category, accessible, or_join))| {
            Command::ClaimBest(ClaimBest { row, count, category, accessible, or_join })
        }),
        (section(), adjacency(), any::<(u8, u8, bool, bool)>()).prop_map(
            |(section, adjacency, (count, category, accessible, or_join))| {
                Command::ClaimSection(ClaimSection {
                    section,
                    count,
                    category,
                    adjacency,
                    accessible,
                    or_join,
                    hopeless: false,
                    candidates: [NO_ROW; CANDIDATES],
                })
            }
        ),
        proof().prop_map(Command::Extend),
        proof().prop_map(Command::BeginPayment),
        proof().prop_map(Command::Book),
        proof().prop_map(Command::Release),
        proof().prop_map(Command::Cancel),
        (place(), adjacency(), any::<(u8, bool)>()).prop_map(|(place, adjacency, (count, accessible))| {
            Command::Join(Join { place, count, adjacency, accessible })
        }),
        place().prop_map(|place| Command::Leave(Leave { place })),
    ]
}

/// Anything but a hello and a batch.
fn plain_client() -> impl Strategy<Value = ClientMessage<'static>> {
    prop_oneof![
        4 => (any::<u128>(), command()).prop_map(|(id, command)| ClientMessage::Request { id, command }),
        1 => (any::<u128>(), place()).prop_map(|(id, place)| ClientMessage::Status { id, place }),
        1 => (any::<u128>(), section()).prop_map(|(id, section)| ClientMessage::Watch { id, section }),
        1 => (any::<u128>(), section()).prop_map(|(id, section)| ClientMessage::Unwatch { id, section }),
        1 => any::<u128>().prop_map(|id| ClientMessage::Topology { id }),
        1 => any::<u128>().prop_map(|id| ClientMessage::Ping { id }),
    ]
}

fn hello() -> impl Strategy<Value = ClientMessage<'static>> {
    ("\\PC{0,64}", any::<u32>())
        .prop_map(|(token, features)| ClientMessage::Hello(Hello { token: token.into(), features }))
}

fn answer() -> impl Strategy<Value = (Answer, Parts)> {
    let numbers = any::<(u64, u64, u64, u32, u32, u8)>();
    let parts = prop::collection::vec((any::<u16>(), seats(), any::<u32>()), 0..=8);
    (seats(), numbers, prop::sample::select(Code::ALL), parts).prop_map(
        |(seats, (lsn, expires_ms, nonce, slot, epoch, flags), code, list)| {
            let mut parts = Parts::default();
            for (row, seats, slot) in &list {
                assert!(parts.push(Part { row: *row, seats: *seats, slot: *slot }));
            }
            let parts_len = list.len() as u8;
            let answer = Answer { seats, lsn, expires_ms, nonce, slot, epoch, code, flags, parts: parts_len };
            (answer, parts)
        },
    )
}

fn row_seats() -> impl Strategy<Value = RowSeats> {
    (any::<u32>(), 1..=256_u16, any::<[[u64; 4]; 3]>()).prop_map(|(version, seats, sets)| {
        let [free, booked, blocked] = sets.map(|mut set| {
            for (at, word) in set.iter_mut().enumerate() {
                let below = (seats as usize).saturating_sub(at * 64);
                *word &= if below >= 64 { u64::MAX } else { (1 << below) - 1 };
            }
            set
        });
        RowSeats { version, seats, free, booked, blocked }
    })
}

fn server() -> impl Strategy<Value = ServerMessage<'static>> {
    let text = "\\PC{0,100}";
    let code = || prop::sample::select(WireCode::ALL);
    prop_oneof![
        4 => (any::<u128>(), any::<(u64, u64)>(), place(), answer()).prop_map(
            |(id, (time_ms, durable), place, (answer, parts))| {
                ServerMessage::Answer(Reply { id, time_ms, place, answer, parts, durable })
            }
        ),
        2 => (place(), any::<u64>(), prop::sample::select(NewsKind::ALL), answer()).prop_map(
            |(place, time_ms, kind, (answer, parts))| {
                ServerMessage::Push(News { place, time_ms, kind, answer, parts })
            }
        ),
        1 => welcome(),
        1 => (any::<(u128, bool, u32)>(), code(), text).prop_map(
            |((id, fatal, retry_after_ms), code, message)| {
                let message = message.into();
                ServerMessage::Error(ErrorReply { id, code, fatal, retry_after_ms, message })
            }
        ),
        1 => (any::<u32>(), code(), text).prop_map(|(retry_after_ms, code, message)| {
            ServerMessage::Goodbye(Goodbye { code, retry_after_ms, message: message.into() })
        }),
        1 => (row(), row_seats()).prop_map(|(row, state)| ServerMessage::Delta(Delta { row, state })),
        1 => any::<(u128, u64)>().prop_map(|(id, time_ms)| ServerMessage::Pong { id, time_ms }),
        1 => topology(),
    ]
}

fn welcome() -> impl Strategy<Value = ServerMessage<'static>> {
    let durability = prop_oneof![Just(Durability::Memory), Just(Durability::Local), Just(Durability::Backup)];
    let limits =
        any::<(u32, u32, u32, u16)>().prop_map(|(max_frame, max_in_flight, remembered_ids, max_batch)| {
            ConnectionLimits { max_frame, max_in_flight, remembered_ids, max_batch }
        });
    (any::<(u64, u64, u32, u32, u16, u16, u16)>(), durability, limits).prop_map(
        |((user, server_time_ms, epoch, features, partitions, cores, core), durability, limits)| {
            ServerMessage::Welcome(Welcome {
                user,
                server_time_ms,
                epoch,
                features,
                partitions,
                cores,
                core,
                durability,
                limits,
            })
        },
    )
}

fn topology() -> impl Strategy<Value = ServerMessage<'static>> {
    let core = any::<(u16, u16, u16)>().prop_map(|(core, tcp_port, ws_port)| CoreAddress {
        core,
        tcp_port,
        ws_port,
    });
    (any::<u128>(), prop::collection::vec(core, 0..20), prop::collection::vec(any::<u16>(), 0..100))
        .prop_map(|(id, cores, owners)| ServerMessage::Topology(Topology { id, cores, owners }))
}

fn whole(bytes: &[u8]) -> Frame<'_> {
    let (frame, rest) = split(bytes, u32::MAX).unwrap().unwrap();
    assert!(rest.is_empty());
    frame
}

/// Every proper prefix is "not yet", never an error and never a message.
fn truncated_is_incomplete(bytes: &[u8]) {
    for end in 0..bytes.len() {
        assert_eq!(split(&bytes[..end], DEFAULT_MAX_FRAME), Ok(None), "cut at {end}");
    }
}

proptest! {
    #[test]
    fn clients_are_understood(message in prop_oneof![plain_client(), hello()]) {
        let mut bytes = vec![0xee];
        encode_client(&message, &mut bytes);
        prop_assert_eq!(bytes[0], 0xee, "appends");
        prop_assert_eq!(decode_client(whole(&bytes[1..])), Ok(message.clone()));
        truncated_is_incomplete(&bytes[1..]);
        let mut text = Vec::new();
        encode_client_json(&message, &mut text);
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(decode_client_json(&text), Ok(message), "{}", text);
    }

    #[test]
    fn batches_are_understood(messages in prop::collection::vec(plain_client(), 1..20)) {
        let mut bytes = Vec::new();
        encode_batch(messages.clone(), &mut bytes).unwrap();
        let decoded = decode_client(whole(&bytes)).unwrap();
        let ClientMessage::Batch(batch) = &decoded else { panic!("a batch") };
        prop_assert_eq!(batch.count() as usize, messages.len());
        prop_assert_eq!(batch.iter().collect::<Vec<_>>(), messages);
        let mut text = Vec::new();
        encode_client_json(&decoded, &mut text);
        let text = String::from_utf8(text).unwrap();
        prop_assert_eq!(decode_client_json(&text), Ok(decoded.clone()));
    }

    #[test]
    fn servers_are_understood(message in server(), user in any::<u64>()) {
        let mut bytes = Vec::new();
        encode_server(&message, &mut bytes);
        prop_assert_eq!(decode_server(whole(&bytes)), Ok(message.clone()));
        truncated_is_incomplete(&bytes);
        let mut text = Vec::new();
        encode_server_json(&message, user, &mut text);
        let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
        prop_assert!(value["type"].is_string());
    }

    #[test]
    fn snapshots_are_cut_to_size(
        rows in prop::collection::vec((any::<u16>(), row_seats()), 0..40),
        section in section(),
        max in 136..2000_u32,
    ) {
        let mut bytes = Vec::new();
        encode_snapshot(9, section, rows.clone(), max, &mut bytes);
        let (mut found, mut lasts) = (Vec::new(), Vec::new());
        for frame in Frames::new(&bytes, max) {
            let ServerMessage::Snapshot(part) = decode_server(frame.unwrap()).unwrap() else { panic!("one") };
            prop_assert_eq!((part.id, part.section), (9, section));
            prop_assert_eq!(part.rows.count() as usize, part.rows.iter().count());
            found.extend(part.rows.iter().map(|row| (row.row, row.state)));
            lasts.push(part.last);
        }
        prop_assert_eq!(found, rows);
        prop_assert_eq!(lasts.iter().filter(|&&last| last).count(), 1);
        prop_assert_eq!(lasts.last(), Some(&true));
    }

    #[test]
    fn tokens_are_understood(proof in proof()) {
        prop_assert_eq!(parse_token(&format_token(&proof)), Ok(proof));
    }

    /// Bytes that are nearly messages: one byte of a good frame is changed.
    #[test]
    fn damage_never_panics(
        client in plain_client(),
        server in server(),
        at in any::<prop::sample::Index>(),
        value in any::<u8>(),
    ) {
        let mut bytes = Vec::new();
        encode_client(&client, &mut bytes);
        let place = at.index(bytes.len());
        bytes[place] = value;
        fuzz::fuzz_client_frame(&bytes);
        bytes.clear();
        encode_server(&server, &mut bytes);
        let place = at.index(bytes.len());
        bytes[place] = value;
        fuzz::fuzz_server_frame(&bytes);
    }

    #[test]
    fn noise_never_panics(data in prop::collection::vec(any::<u8>(), 0..200), text in "\\PC{0,200}") {
        fuzz::fuzz_client_frame(&data);
        fuzz::fuzz_server_frame(&data);
        fuzz::fuzz_client_json(&data);
        fuzz::fuzz_client_json(text.as_bytes());
        fuzz::fuzz_token(&data);
        fuzz::fuzz_token(text.as_bytes());
    }
}
