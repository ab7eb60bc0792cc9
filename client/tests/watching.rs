//! Live seats against a server at the level of frames.

mod common;

use common::{Peer, ROW, Server, eager};
use frontrow_client::{ClientError, Options, RequestId, RowRef, RowSeats, Update, WireCode};
use frontrow_protocol::{ClientMessage, Delta, ErrorReply, Frames, ServerMessage};

const SECTION: RowRef = ROW.section_of();

fn row(version: u32, free: u64) -> RowSeats {
    RowSeats { version, seats: 10, free: [free, 0, 0, 0], ..RowSeats::default() }
}

fn delta(number: u16, version: u32, free: u64) -> ServerMessage<'static> {
    ServerMessage::Delta(Delta { row: RowRef { row: number, ..SECTION }, state: row(version, free) })
}

/// Sends a snapshot, a frame per row.
async fn say_rows(peer: &mut Peer, id: RequestId, rows: &[(u16, RowSeats)]) {
    let mut frames = Vec::new();
    // Room for one row of ten seats.
    frontrow_protocol::encode_snapshot(id, SECTION, rows.iter().copied(), 48, &mut frames);
    assert_eq!(Frames::new(&frames, 48).count(), rows.len());
    peer.say_bytes(&frames).await;
}

#[tokio::test]
async fn a_snapshot_then_deltas() {
    for web_socket in [false, true] {
        let server = Server::start(web_socket).await;
        let (client, mut peer) = server.meet(Options::default()).await;
        let (watch, ()) = tokio::join!(client.watch(ROW), async {
            let id = peer.hear_watch().await;
            // A delta may overtake the row's part of the snapshot.
            peer.say(&delta(1, 6, 0b1)).await;
            say_rows(&mut peer, id, &[(0, row(1, 0b11)), (1, row(5, 0b111))]).await;
        });
        let mut watch = watch.unwrap();
        assert!(matches!(watch.next().await, Ok(Update::Row(_))));
        assert_eq!(watch.next().await, Ok(Update::Snapshot));
        assert_eq!((watch.view().rows[&1], watch.view().free()), (row(6, 0b1), 3));
        peer.say(&delta(0, 2, 0b1)).await;
        peer.say(&delta(0, 2, 0b1)).await;
        peer.say(&delta(1, 7, 0)).await;
        for free in [2, 1] {
            assert!(matches!(watch.next().await, Ok(Update::Row(_))));
            assert_eq!(watch.view().free(), free);
        }
        assert_eq!(watch.resyncs(), 0);
        drop(watch);
        assert!(matches!(peer.hear().await, Some(ClientMessage::Unwatch { section: SECTION, .. })));
    }
}

#[tokio::test]
async fn a_gap_is_answered_by_a_new_snapshot() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    let (watch, first) = tokio::join!(client.watch(ROW), async {
        let id = peer.hear_watch().await;
        say_rows(&mut peer, id, &[(0, row(1, 0b11)), (1, row(1, 0b11))]).await;
        id
    });
    let mut watch = watch.unwrap();
    assert_eq!(watch.next().await, Ok(Update::Snapshot));
    peer.say(&delta(0, 3, 0b1)).await;
    assert!(matches!(watch.next().await, Ok(Update::Row(_))));
    assert_eq!(watch.view().rows[&0], row(3, 0b1), "a delta stands for itself");
    let (update, second) = tokio::join!(watch.next(), async {
        let id = peer.hear_watch().await;
        say_rows(&mut peer, id, &[(0, row(3, 0b1)), (1, row(9, 0b10))]).await;
        id
    });
    assert_eq!(update, Ok(Update::Snapshot));
    assert_ne!(first, second);
    assert_eq!((watch.view().rows[&1], watch.resyncs()), (row(9, 0b10), 1));
}

#[tokio::test]
async fn after_a_lost_connection_the_view_begins_anew() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(eager()).await;
    let (watch, ()) = tokio::join!(client.watch(ROW), async {
        let id = peer.hear_watch().await;
        say_rows(&mut peer, id, &[(0, row(50, 0b11))]).await;
    });
    let mut watch = watch.unwrap();
    assert_eq!(watch.next().await, Ok(Update::Snapshot));
    drop(peer);
    assert_eq!(watch.next().await, Ok(Update::Lost));
    assert!(!watch.view().synced);
    let (update, ()) = tokio::join!(watch.next(), async {
        let mut peer = server.welcome().await;
        let id = peer.hear_watch().await;
        // The numbers may have begun anew.
        say_rows(&mut peer, id, &[(0, row(2, 0b1))]).await;
    });
    assert_eq!(update, Ok(Update::Snapshot));
    assert_eq!(watch.view().rows[&0], row(2, 0b1));
}

#[tokio::test]
async fn a_slow_reader_starts_again_from_a_snapshot() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options { backlog: 4, ..Options::default() }).await;
    let (watch, ()) = tokio::join!(client.watch(ROW), async {
        let id = peer.hear_watch().await;
        say_rows(&mut peer, id, &[(0, row(1, 0))]).await;
    });
    let mut watch = watch.unwrap();
    for version in 2..20 {
        peer.say(&delta(0, version, 0)).await;
    }
    // Its pong comes behind all of them.
    let (pong, ()) = tokio::join!(client.ping(), async {
        let Some(ClientMessage::Ping { id }) = peer.hear().await else { panic!() };
        peer.say(&ServerMessage::Pong { id, time_ms: 1 }).await;
    });
    pong.unwrap();
    let ((), ()) = tokio::join!(
        async { while watch.next().await.unwrap() != Update::Snapshot || watch.resyncs() == 0 {} },
        async {
            let id = peer.hear_watch().await;
            say_rows(&mut peer, id, &[(0, row(30, 0b1))]).await;
        }
    );
    assert_eq!((watch.view().rows[&0], watch.resyncs()), (row(30, 0b1), 1));
}

#[tokio::test]
async fn a_refused_watch_is_an_error_and_leaves_nothing_behind() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(eager()).await;
    let (watch, ()) = tokio::join!(client.watch(ROW), async {
        let id = peer.hear_watch().await;
        peer.say(&ServerMessage::Error(ErrorReply::of(id, WireCode::WatchLimit))).await;
    });
    assert!(matches!(watch, Err(ClientError::Wire { code: WireCode::WatchLimit, .. })));
    assert!(matches!(peer.hear().await, Some(ClientMessage::Unwatch { .. })));
}
