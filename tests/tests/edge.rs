//! Hostile input, at the socket of a real server: everything is answered or closed, and nobody else notices.

use frontrow_protocol::{ClientMessage, WireCode, encode_batch, encode_client};
use frontrow_shard::{Code, RequestId, RowRef};
use frontrow_tests::hall::{EVENT, best, named, section};
use frontrow_tests::rng::Rng;
use frontrow_tests::run;
use frontrow_tests::server::{Engine, Home, ServerProcess, Setup, token, token_from};
use frontrow_tests::session::{Session, Tally};
use frontrow_tests::wire::{Broken, Door, Heard, Link};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const BIN: &str = env!("CARGO_BIN_EXE_frontrow-test-server");
const TMP: &str = env!("CARGO_TARGET_TMPDIR");

fn nothing() -> String {
    String::new()
}

/// Runs a test with each engine that runs here.
fn with_engines(limits: &str, test: impl AsyncFn(&ServerProcess)) {
    for (engine, cores) in [(Engine::IoUring, 2), (Engine::Epoll, 2), (Engine::Glommio, 1)] {
        if engine.runs_here(cores) {
            run(LIMIT, || format!("engine {}", engine.name()), async {
                let home = Home::new(TMP, BIN);
                let server = home.start(&Setup::new(engine, cores).limits(limits)).await;
                test(&server).await;
                still_serves(&server).await;
            });
        }
    }
}

/// A well-behaved client gets its answers.
async fn still_serves(server: &ServerProcess) {
    // The test's own connections may just be ending, and count until they have.
    until(async || {
        let Ok((mut link, Heard::Welcome { .. })) = Link::greet(Door::Tcp(server.tcp), &token(9)).await
        else {
            return false;
        };
        link.send(&ClientMessage::Ping { id: 3 }).await.expect("it is open");
        matches!(link.recv().await, Ok(Heard::Pong { id: 3, .. }))
    })
    .await;
}

async fn connected(server: &ServerProcess, user: u64, tally: &Arc<Tally>) -> Session {
    let mut session = Session::new(user, Door::Tcp(server.tcp), tally);
    session.connect().await.expect("the server lets one in");
    session
}

async fn greeted(door: Door, user: u64) -> Link {
    let (link, first) = Link::greet(door, &token(user)).await.expect("the server lets one in");
    assert!(matches!(first, Heard::Welcome { .. }), "{first:?}");
    link
}

/// What the server says about these bytes before it closes the connection.
async fn last_words(link: &mut Link, bytes: &[u8]) -> Vec<(WireCode, bool)> {
    // It may close while we still write.
    let _ = link.send_raw(bytes).await;
    let (heard, broken) = link.rest().await;
    assert!(matches!(broken, Broken::Closed(_)), "{broken}");
    heard
        .into_iter()
        .filter_map(|heard| match heard {
            Heard::Error { code, fatal, .. } => Some((code, fatal)),
            Heard::Goodbye { code } => Some((code, true)),
            _ => None,
        })
        .collect()
}

fn frame(message: &ClientMessage<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_client(message, &mut bytes);
    bytes
}

#[test]
fn wrong_headers_are_named_and_end_the_connection() {
    with_engines("", async |server| {
        let ping = frame(&ClientMessage::Ping { id: 7 });
        let with = |at: usize, byte: u8| {
            let mut bytes = ping.clone();
            bytes[at] = byte;
            bytes
        };
        let cases = [
            (with(3, 0xff), WireCode::FrameTooLarge),
            (with(4, 9), WireCode::UnsupportedVersion),
            (with(6, 1), WireCode::Malformed),
        ];
        for (bytes, code) in cases {
            for welcomed in [false, true] {
                let mut link = if welcomed {
                    greeted(Door::Tcp(server.tcp), 1).await
                } else {
                    Link::open(Door::Tcp(server.tcp)).await.expect("it listens")
                };
                assert_eq!(last_words(&mut link, &bytes).await, [(code, true)], "{bytes:02x?}");
            }
        }
        let mut link = Link::open(Door::Tcp(server.tcp)).await.expect("it listens");
        assert_eq!(last_words(&mut link, &ping).await, [(WireCode::HelloExpected, true)]);
        // A kind that nobody knows can be skipped, for its length is known; but only friends are forgiven.
        let mut link = Link::open(Door::Tcp(server.tcp)).await.expect("it listens");
        assert_eq!(last_words(&mut link, &with(5, 0x7f)).await, [(WireCode::UnknownKind, true)]);
        let mut link = greeted(Door::Tcp(server.tcp), 1).await;
        link.send_raw(&with(5, 0x7f)).await.expect("it is open");
        let heard = link.recv().await.expect("an error");
        assert!(matches!(heard, Heard::Error { code: WireCode::UnknownKind, fatal: false, .. }), "{heard:?}");
        link.send_raw(&ping).await.expect("it is open");
        assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 7, .. })));
    });
}

#[test]
fn a_wrong_body_is_refused_with_its_id_and_the_next_frame_is_read() {
    with_engines("", async |server| {
        for door in [Door::Tcp(server.tcp), Door::Ws(server.http)] {
            let mut link = greeted(door, 1).await;
            let row = RowRef::new(EVENT, 0, 0);
            let mut bytes = frame(&ClientMessage::Request { id: 77, command: named(row, &[3]) });
            *bytes.last_mut().expect("it has bytes") = 1;
            if let Door::Tcp(_) = door {
                link.send_raw(&bytes).await.expect("it is open");
            } else {
                link.send_raw(&ws_frame(0x82, &bytes)).await.expect("it is open");
            }
            link.send(&ClientMessage::Ping { id: 78 }).await.expect("it is open");
            let heard = link.recv().await.expect("an error");
            assert!(
                matches!(heard, Heard::Error { id: 77, code: WireCode::Malformed, fatal: false, .. }),
                "{heard:?}"
            );
            assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 78, .. })));
        }
    });
}

#[test]
fn garbage_and_half_frames_hurt_nobody() {
    // So few connections are allowed that any that were not given back would show.
    with_engines("connections_per_address = 4\nconnections = 8", async |server| {
        let mut rng = Rng::new(1);
        for round in 0..60_u32 {
            let length = rng.below(300) as usize;
            let mut bytes: Vec<u8> = (0..length).map(|_| rng.bits() as u8).collect();
            let mut link = loop {
                // The end of the one before may not have been noticed yet.
                let mut link = Link::open(Door::Tcp(server.tcp)).await.expect("it listens");
                if round % 2 == 1 {
                    break link;
                }
                link.send_raw(&hello(5)).await.expect("it is open");
                match link.recv().await {
                    Ok(Heard::Welcome { .. }) => break link,
                    Ok(Heard::Error { code: WireCode::TooManyConnections, .. }) | Err(_) => {}
                    Ok(other) => panic!("{other:?}"),
                }
            };
            if round % 3 == 0 {
                // A whole frame's beginning, and then the end.
                bytes = frame(&ClientMessage::Ping { id: 1 });
                bytes.truncate(1 + rng.below(23) as usize);
            }
            let _ = link.send_raw(&bytes).await;
            let _ = link.shutdown().await;
            let (_, broken) = link.rest().await;
            assert!(matches!(broken, Broken::Closed(_)), "{broken}");
        }
        until(async || server.metric("frontrow_connections", "").await == 0).await;
    });
}

#[test]
fn tokens_that_are_wrong_old_or_somebody_elses() {
    with_engines("", async |server| {
        let now_s = 1_000_000;
        let cases = [
            (String::new(), WireCode::Unauthenticated),
            ("a.b.c".to_owned(), WireCode::Unauthenticated),
            (token(1) + "x", WireCode::Unauthenticated),
            (token_from(1, now_s, 60), WireCode::TokenExpired),
        ];
        for door in [Door::Tcp(server.tcp), Door::Ws(server.http), Door::Json(server.http)] {
            for (token, code) in &cases {
                let (mut link, first) = Link::greet(door, token).await.expect("a word");
                assert!(
                    matches!(&first, Heard::Error { code: found, fatal: true, .. } if found == code),
                    "{token}: {first:?}"
                );
                assert_eq!(link.rest().await.0, []);
            }
            let mut link = greeted(door, 1).await;
            // The same user may renew the token, another one may not take over.
            link.send(&hello_message(&token(1))).await.expect("it is open");
            link.send(&ClientMessage::Ping { id: 5 }).await.expect("it is open");
            assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 5, .. })));
            link.send(&hello_message(&token(2))).await.expect("it is open");
            let (heard, _) = link.rest().await;
            assert!(
                matches!(&heard[..], [Heard::Error { code: WireCode::Unauthenticated, fatal: true, .. }]),
                "{heard:?}"
            );
        }
    });
}

#[test]
fn who_says_nothing_is_sent_away() {
    with_engines("handshake = \"1s\"", async |server| {
        let mut tcp = Link::open(Door::Tcp(server.tcp)).await.expect("it listens");
        tcp.send_raw(&hello(1)[..7]).await.expect("it is open");
        let mut ws = Link::open(Door::Ws(server.http)).await.expect("it listens");
        for link in [&mut tcp, &mut ws] {
            let (heard, _) = link.rest().await;
            assert_eq!(heard, [Heard::Goodbye { code: WireCode::HandshakeTimeout }]);
        }
        let mut http = Link::open(Door::Tcp(server.http)).await.expect("it listens");
        http.send_raw(b"GET /v1/ev").await.expect("it is open");
        assert!(matches!(http.rest().await.1, Broken::Closed(_) | Broken::Garbage(_)));
    });
}

#[test]
fn too_many_connections_of_one_address() {
    with_engines("connections_per_address = 3", async |server| {
        let mut kept = Vec::new();
        for user in 1..=3 {
            kept.push(greeted(Door::Tcp(server.tcp), user).await);
        }
        let (_, first) = Link::greet(Door::Tcp(server.tcp), &token(4)).await.expect("a word");
        assert!(
            matches!(first, Heard::Error { code: WireCode::TooManyConnections, fatal: true, .. }),
            "{first:?}"
        );
        let Err(Broken::Closed(why)) = Link::open(Door::Ws(server.http)).await else {
            panic!("one too many")
        };
        assert!(why.contains("429"), "{why}");
        kept.pop();
        until(async || {
            let link = Link::greet(Door::Tcp(server.tcp), &token(4)).await;
            matches!(link, Ok((_, Heard::Welcome { .. })))
        })
        .await;
    });
}

#[test]
fn too_many_in_flight_each_gets_one_answer() {
    with_engines("in_flight = 4", async |server| {
        for door in [Door::Tcp(server.tcp), Door::Ws(server.http), Door::Json(server.http)] {
            let (mut link, first) = Link::greet(door, &token(7)).await.expect("let in");
            let Heard::Welcome { time_ms, .. } = first else { panic!("{first:?}") };
            let kind = match door {
                Door::Tcp(_) => 1,
                Door::Ws(_) => 2,
                Door::Json(_) => 3,
            };
            let id = |n: u64| RequestId::from(time_ms) << 80 | u128::from(n << 8 | kind);
            let row = RowRef::new(EVENT, 3, 0);
            let request =
                |n: u64| ClientMessage::Request { id: id(n), command: named(row, &[(n % 20) as u8]) };
            let mut open: HashSet<u64> = (0..64).collect();
            let mut refused = 0;
            while !open.is_empty() {
                let wave: Vec<u64> = open.iter().copied().collect();
                let messages: Vec<_> = wave.iter().map(|&n| request(n)).collect();
                link.send_all(&messages).await.expect("it is open");
                for _ in &wave {
                    match link.recv().await.expect("an answer each") {
                        Heard::Answer(reply) => assert!(open.remove(&((reply.id as u64) >> 8))),
                        Heard::Error { id, code: WireCode::TooManyInFlight, fatal: false, .. } => {
                            assert!(open.contains(&((id as u64) >> 8)));
                            refused += 1;
                        }
                        other => panic!("{other:?}"),
                    }
                }
            }
            link.send(&ClientMessage::Ping { id: 1 }).await.expect("it is open");
            assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 1, .. })), "nothing more than one each");
            assert!(refused > 0 || !matches!(door, Door::Tcp(_)));
        }
    });
}

#[test]
fn a_batch_is_answered_one_by_one_or_refused_whole() {
    with_engines("", async |server| {
        let (mut link, first) = Link::greet(Door::Tcp(server.tcp), &token(7)).await.expect("let in");
        let Heard::Welcome { time_ms, .. } = first else { panic!("{first:?}") };
        let id = |n: u128| RequestId::from(time_ms) << 80 | n;
        let requests = (0..10_u8).map(|n| {
            let command = named(RowRef::new(EVENT, u16::from(n % 6), 1), &[n]);
            ClientMessage::Request { id: id(n.into()), command }
        });
        let mut bytes = Vec::new();
        encode_batch(requests, &mut bytes).expect("a batch");
        link.send_raw(&bytes).await.expect("it is open");
        let mut open: HashSet<u128> = (0..10).map(id).collect();
        while !open.is_empty() {
            let Heard::Answer(reply) = link.recv().await.expect("an answer") else { panic!("no answer") };
            assert_eq!(reply.answer.code, Code::Granted);
            assert!(open.remove(&reply.id));
        }
        // The last byte of the last message in it.
        *bytes.last_mut().expect("it has bytes") = 9;
        link.send_raw(&bytes).await.expect("it is open");
        let heard = link.recv().await.expect("an error");
        assert!(matches!(heard, Heard::Error { code: WireCode::Malformed, fatal: false, .. }), "{heard:?}");
        link.send(&ClientMessage::Ping { id: 1 }).await.expect("it is open");
        assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 1, .. })));
    });
}

#[test]
fn json_of_wrong_shapes() {
    with_engines("", async |server| {
        let mut link = greeted(Door::Json(server.http), 3).await;
        let cases = [
            ("", WireCode::Malformed),
            ("{", WireCode::Malformed),
            ("7", WireCode::Malformed),
            ("[]", WireCode::Malformed),
            ("{\"type\":7}", WireCode::Malformed),
            ("{\"type\":\"sing\"}", WireCode::UnknownKind),
            ("{\"type\":\"ping\",\"ping\":1}", WireCode::UnknownKey),
            ("{\"type\":\"ping\",\"type\":\"ping\"}", WireCode::Malformed),
            ("{\"type\":\"watch\",\"event\":4294967296,\"section\":0}", WireCode::Malformed),
            ("{\"type\":\"watch\",\"event\":1,\"section\":\"0\"}", WireCode::Malformed),
            ("{\"type\":\"watch\",\"event\":99,\"section\":0}", WireCode::Malformed),
            (
                "{\"type\":\"claim\",\"id\":\"00000000000000000000000000000001\",\"event\":1,\"section\":0,\
                 \"row\":0,\"seats\":[1,1]}",
                WireCode::DuplicateSeat,
            ),
            (
                "{\"type\":\"claim\",\"id\":\"00000000000000000000000000000001\",\"event\":1,\"section\":0,\
                 \"row\":0,\"seats\":[1,200]}",
                WireCode::TooFarApart,
            ),
            (
                "{\"type\":\"book\",\"id\":\"00000000000000000000000000000001\",\"token\":\"abc\"}",
                WireCode::BadToken,
            ),
        ];
        for (text, code) in cases {
            link.send_text(text).await.expect("it is open");
            let heard = link.recv().await.expect("an error");
            assert!(
                matches!(&heard, Heard::Error { code: found, fatal: false, .. } if *found == code),
                "{text}: {heard:?}"
            );
        }
        let deep = "[".repeat(30_000);
        link.send_text(&deep).await.expect("it is open");
        assert!(matches!(link.recv().await, Ok(Heard::Error { fatal: false, .. })));
        link.send(&ClientMessage::Ping { id: 1 }).await.expect("it is open");
        assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 1, .. })));
    });
}

/// A WebSocket frame as a client sends it, with a mask of zeros.
fn ws_frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![first];
    if payload.len() < 126 {
        bytes.push(0x80 | payload.len() as u8);
    } else {
        bytes.push(0x80 | 126);
        bytes.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    }
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(payload);
    bytes
}

#[test]
fn web_socket_fragments_floods_and_half_frames() {
    with_engines("", async |server| {
        let mut link = greeted(Door::Ws(server.http), 3).await;
        // A message in fragments of one byte, each with a ping behind it, each byte in a write of its own.
        let ping = frame(&ClientMessage::Ping { id: 6 });
        for (i, byte) in ping.iter().enumerate() {
            let first = if i == 0 { 0x02 } else { 0x00 };
            let last = if i + 1 == ping.len() { 0x80 } else { 0 };
            for part in ws_frame(first | last, &[*byte]).chunks(2) {
                link.send_raw(part).await.expect("it is open");
            }
            if last == 0 {
                link.send_raw(&ws_frame(0x89, b"")).await.expect("it is open");
            }
        }
        assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 6, .. })));
        // Empty fragments without end, then the message's own end.
        let mut flood = ws_frame(0x02, &ping);
        for _ in 0..5000 {
            flood.extend(ws_frame(0x00, b""));
        }
        flood.extend(ws_frame(0x80, b""));
        link.send_raw(&flood).await.expect("it is open");
        assert!(matches!(link.recv().await, Ok(Heard::Pong { id: 6, .. })));
        // Two whole frames and a half.
        let bytes = [&ping[..], &ping, &ping[..5]].concat();
        link.send_raw(&ws_frame(0x82, &bytes)).await.expect("it is open");
        let (heard, _) = link.rest().await;
        assert!(
            matches!(
                &heard[..],
                [Heard::Pong { .. }, Heard::Pong { .. }, Heard::Goodbye { code: WireCode::Malformed }]
            ),
            "{heard:?}"
        );
        // Larger than any message may be.
        let mut link = greeted(Door::Ws(server.http), 3).await;
        let head = [&[0x82, 0xff][..], &(1_u64 << 40).to_be_bytes(), &[0; 4]].concat();
        link.send_raw(&head).await.expect("it is open");
        assert!(matches!(link.rest().await.1, Broken::Closed(_)));
        // No mask, which a client must set.
        let mut link = greeted(Door::Ws(server.http), 3).await;
        link.send_raw(&[0x82, 0x01, 0x00]).await.expect("it is open");
        assert!(matches!(link.rest().await.1, Broken::Closed(_)));
    });
}

#[test]
fn who_does_not_read_is_closed_and_others_are_not_held_up() {
    with_engines("frame = \"8KiB\"\noutput_queue = \"32KiB\"\nidle = \"1h\"", async |server| {
        let tally: Arc<Tally> = Arc::default();
        let mut stuck = Vec::new();
        for door in [Door::Tcp(server.tcp), Door::Ws(server.http)] {
            let mut link = greeted(door, 50).await;
            for of in 0..6 {
                link.send(&ClientMessage::Watch { id: 1, section: section(of) }).await.expect("it is open");
            }
            // Asks for the topology until nothing more can be written: the server has stopped reading, for
            // what it said is not taken.
            let many = vec![ClientMessage::Topology { id: 1 }; 200];
            while tokio::time::timeout(Duration::from_millis(300), link.send_all(&many)).await.is_ok() {}
            stuck.push(link);
        }
        let mut mover = connected(server, 51, &tally).await;
        // Every row changes, again and again, until the server has had enough of the two.
        until(async || {
            for of in 0..6 {
                for row in 0..9 {
                    let claim = best(RowRef::new(EVENT, of, row), 1, false);
                    let reply = mover.ask(claim).await.expect("others are served");
                    let held = frontrow_client::Held::of(51, &reply).expect("a hold");
                    let release = frontrow_shard::Command::Release(held.proof());
                    mover.ask(release).await.expect("others are served");
                }
            }
            server.metric("frontrow_connections", "").await == 1
        })
        .await;
        for mut link in stuck {
            let (_, broken) = link.rest().await;
            assert!(matches!(broken, Broken::Closed(_) | Broken::Garbage(_)), "{broken}");
        }
        assert_eq!(tally.wrongs(), Vec::<String>::new());
    });
}

#[test]
fn who_neither_reads_nor_speaks_does_not_keep_a_place() {
    let limits = "connections_per_address = 3\nframe = \"8KiB\"\noutput_queue = \"8KiB\"\nidle = \"1s\"\nhandshake = \"1s\"";
    with_engines(limits, async |server| {
        let mut stuck = Vec::new();
        for _ in 0..2 {
            let mut link = greeted(Door::Tcp(server.tcp), 50).await;
            let many = vec![ClientMessage::Topology { id: 1 }; 200];
            while tokio::time::timeout(Duration::from_millis(300), link.send_all(&many)).await.is_ok() {}
            stuck.push(link);
        }
        // Both are told to go after a second, and cannot hear it. Their sockets must end all the same.
        for link in &mut stuck {
            let ended = async { while link.send_all(&[ClientMessage::Ping { id: 1 }]).await.is_ok() {} };
            ended.await;
        }
    });
}

#[test]
fn a_data_directory_has_one_process_one_version_and_one_number_of_partitions() {
    run(LIMIT, nothing, async {
        let home = Home::new(TMP, BIN);
        let setup = Setup::new(Engine::Epoll, 2);
        let server = home.start(&setup).await;
        let refused = async |text: &str, words: &[&str]| {
            let Err(why) = home.try_start(text).await else { panic!("it starts") };
            for word in words {
                assert!(why.contains(word), "{word} is not in: {why}");
            }
            assert!(!why.contains("panicked"), "{why}");
        };
        refused(&Home::text(&setup), &["is locked by process", "stop that process"]).await;
        assert!(server.stop().await.success());
        let other = Setup { partitions: 8, ..setup.clone() };
        refused(&Home::text(&other), &["16 partitions, not 8", "partitions.count"]).await;
        let manifest = find(&home.data(), "MANIFEST");
        let good = std::fs::read(&manifest).expect("the manifest");
        let mut bad = good.clone();
        let at = bad.len() / 2;
        bad[at] ^= 0x40;
        std::fs::write(&manifest, &bad).expect("it can be written");
        refused(&Home::text(&setup), &["MANIFEST", "restore it"]).await;
        std::fs::write(&manifest, &good).expect("it can be written");
        home.start(&setup).await;
    });
}

fn find(folder: &std::path::Path, name: &str) -> std::path::PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("a folder").flatten() {
            if entry.file_name() == name {
                return entry.path();
            }
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
    panic!("no {name} below {}", folder.display());
}

#[test]
fn two_servers_do_not_share_a_port_and_strangers_need_keys() {
    run(LIMIT, nothing, async {
        let (home, other) = (Home::new(TMP, BIN), Home::new(TMP, BIN));
        let setup = Setup::new(Engine::Epoll, 1);
        let server = home.start(&setup).await;
        let text = Home::text(&setup);
        let same = text.replacen("tcp = \"127.0.0.1:0\"", &format!("tcp = \"{}\"", server.tcp), 1);
        let Err(why) = other.try_start(&same).await else { panic!("two servers at one port") };
        assert!(why.contains("cannot listen on") && why.contains("choose another address"), "{why}");
        let open: String = text
            .replacen("tcp = \"127.0.0.1:0\"", "tcp = \"0.0.0.0:0\"", 1)
            .lines()
            .filter(|line| !line.starts_with("hs256") && !line.starts_with("key"))
            .map(|line| format!("{line}\n"))
            .collect();
        let Err(why) = other.try_start(&open).await else { panic!("open to strangers") };
        assert!(why.contains("tokens need a key") && why.contains("operators need a key"), "{why}");
    });
}

fn hello_message(token: &str) -> ClientMessage<'_> {
    ClientMessage::Hello(frontrow_protocol::Hello { token: token.into(), features: 0 })
}

fn hello(user: u64) -> Vec<u8> {
    frame(&hello_message(&token(user)))
}

/// Asks until it is so; the test's own limit ends it.
async fn until(is_so: impl AsyncFnMut() -> bool) {
    let mut is_so = is_so;
    while !is_so().await {
        tokio::task::yield_now().await;
    }
}
