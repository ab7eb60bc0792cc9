//! Requests against a server at the level of frames.

mod common;

use common::{ROW, Server, TIME_MS, eager, granted, is_protocol, reply, seats};
use frontrow_client::{
    Answer, Claim, Client, ClientError, Code, Endpoint, NewsEvent, NewsKind, Options, Parts, RequestId,
    Retry, RowRef, Seats, WireCode, Wish, flags,
};
use frontrow_protocol::{ClientMessage, ErrorReply, Goodbye, News, ServerMessage, request_id_time};
use frontrow_shard::{ClaimSeats, Command};
use std::borrow::Cow;
use std::time::Duration;

fn busy(id: RequestId, retry_after_ms: u32) -> ServerMessage<'static> {
    ServerMessage::Error(ErrorReply { retry_after_ms, ..ErrorReply::of(id, WireCode::Busy) })
}

async fn out_of_order(web_socket: bool) {
    let server = Server::start(web_socket).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    assert_eq!((client.user(), &*peer.token), (7, "jwt"));
    let rows: Vec<RowRef> = (0..3).map(|row| RowRef::new(1, 2, row)).collect();
    let claims = rows.iter().map(|&row| client.claim_seats(row, seats(&[4, 5])));
    let (claims, ()) = tokio::join!(futures_util::future::join_all(claims), async {
        let mut asked = Vec::new();
        for _ in 0..3 {
            asked.push(peer.hear_request().await);
        }
        for (nth, &(id, row)) in asked.iter().enumerate().rev() {
            peer.say(&reply(id, row, granted(nth as u64 + 1, seats(&[4, 5])))).await;
        }
    });
    for (nth, held) in claims.into_iter().enumerate() {
        let held = held.unwrap();
        assert_eq!((held.place, held.fence.lsn, held.fence.user), (rows[nth], nth as u64 + 1, 7));
    }
}

#[tokio::test]
async fn many_are_in_flight_and_answered_in_any_order_over_tcp() {
    out_of_order(false).await;
}

#[tokio::test]
async fn many_are_in_flight_and_answered_in_any_order_over_websocket() {
    out_of_order(true).await;
}

#[tokio::test]
async fn ids_are_dated_by_the_server_and_never_the_same() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    let first = client.next_id();
    assert_eq!(request_id_time(first), TIME_MS);
    assert_ne!(first, client.next_id());
    let (pong, ()) = tokio::join!(client.ping(), async {
        let Some(ClientMessage::Ping { id }) = peer.hear().await else { panic!() };
        peer.say(&ServerMessage::Pong { id, time_ms: TIME_MS + 500 }).await;
    });
    assert_eq!(pong.unwrap().time_ms, TIME_MS + 500);
    assert_eq!(request_id_time(client.next_id()), TIME_MS + 500);
}

#[tokio::test]
async fn refusals_say_why_which_seats_and_what_to_do() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(eager()).await;
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[4, 5])), async {
        let (id, row) = peer.hear_request().await;
        peer.say(&reply(id, row, Answer::refuse(Code::SeatHeld, seats(&[5])))).await;
    });
    let Err(ClientError::Refused(refused)) = held else { panic!("{held:?}") };
    assert_eq!((refused.code(), refused.seats()), (Code::SeatHeld, seats(&[5])));
    assert_eq!(refused.remedy(), "take other seats, or join the row's queue");
    assert_eq!(refused.fenced_reason(), None);

    let held = frontrow_client::Held::from_token(&"A".repeat(66));
    assert!(held.is_err(), "version 0");
    let answer = Answer { flags: flags::STALE, ..Answer::plain(Code::Fenced) };
    let command = Command::ClaimSeats(ClaimSeats { row: ROW, seats: seats(&[1]) });
    let (refused, ()) = tokio::join!(client.request(command), async {
        let (id, row) = peer.hear_request().await;
        peer.say(&reply(id, row, answer)).await;
    });
    let Err(ClientError::Refused(refused)) = refused else { panic!("{refused:?}") };
    assert_eq!(refused.fenced_reason(), Some("stale"));
}

#[tokio::test]
async fn a_lost_connection_is_made_again_and_requests_repeated_with_their_ids_in_order() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(eager()).await;
    let mut news = client.news();
    let rows: Vec<RowRef> = (0..4).map(|row| RowRef::new(1, 2, row)).collect();
    let claims = rows.iter().map(|&row| client.claim_seats(row, seats(&[1])));
    let (claims, ()) = tokio::join!(futures_util::future::join_all(claims), async {
        let mut asked = Vec::new();
        for _ in 0..4 {
            asked.push(peer.hear_request().await);
        }
        // One is answered; the rest is not when the connection breaks.
        let (id, row) = asked.remove(1);
        peer.say(&reply(id, row, granted(1, seats(&[1])))).await;
        drop(peer);
        drop(server.accept().await);
        let mut peer = server.welcome().await;
        for first in asked {
            let again = peer.hear_request().await;
            assert_eq!(again, first, "the same request with the same id, in order");
            let answer = Answer { flags: flags::REPEATED, ..granted(2, seats(&[1])) };
            peer.say(&reply(again.0, again.1, answer)).await;
        }
    });
    assert!(claims.iter().all(Result::is_ok), "{claims:?}");
    assert_eq!(news.next().await, Some(NewsEvent::Reconnected));
}

#[tokio::test]
async fn without_retrying_a_lost_connection_is_an_error_for_all_that_is_open_and_comes() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    let mut news = client.news();
    let (lost, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        peer.hear_request().await;
        let message = Cow::Borrowed("going");
        let goodbye = Goodbye { code: WireCode::ShuttingDown, retry_after_ms: 40, message };
        peer.say(&ServerMessage::Goodbye(goodbye)).await;
        drop(peer);
    });
    let want =
        ClientError::Wire { code: WireCode::ShuttingDown, message: "going".into(), retry_after_ms: 40 };
    assert_eq!(lost, Err(want.clone()));
    assert_eq!(client.ping().await, Err(want.clone()));
    assert_eq!(news.next().await, Some(NewsEvent::Ended(want)));
    assert_eq!(news.next().await, None);
}

#[tokio::test]
async fn busy_is_repeated_with_the_same_id_after_the_time_asked_for() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(eager()).await;
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (first, row) = peer.hear_request().await;
        peer.say(&busy(first, 20)).await;
        let waited = tokio::time::timeout(Duration::from_millis(15), peer.hear()).await;
        assert!(waited.is_err(), "repeated before the time asked for: {waited:?}");
        let (again, _) = peer.hear_request().await;
        assert_eq!(again, first);
        peer.say(&reply(again, row, Answer::plain(Code::InProgress))).await;
        let (again, _) = peer.hear_request().await;
        assert_eq!(again, first, "still being decided: the same id again");
        peer.say(&reply(again, row, granted(1, seats(&[1])))).await;
    });
    assert!(held.is_ok(), "{held:?}");

    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, _) = peer.hear_request().await;
        peer.say(&busy(id, 20)).await;
    });
    assert!(matches!(held, Err(ClientError::Wire { code: WireCode::Busy, retry_after_ms: 20, .. })));
}

/// Why it was refused says more than that the time is over; but not if a repetition is under way, which may be heard.
#[tokio::test]
async fn when_the_time_is_over_the_refusal_is_told_if_nothing_is_under_way() {
    let server = Server::start(false).await;
    let options = Options { request_timeout: Duration::from_millis(200), ..eager() };
    let (client, mut peer) = server.meet(options).await;
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, _) = peer.hear_request().await;
        peer.say(&ServerMessage::Error(ErrorReply {
            retry_after_ms: 60_000,
            ..ErrorReply::of(id, WireCode::ReadOnly)
        }))
        .await;
    });
    assert!(matches!(held, Err(ClientError::Wire { code: WireCode::ReadOnly, .. })), "{held:?}");
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, _) = peer.hear_request().await;
        peer.say(&busy(id, 1)).await;
        assert_eq!(peer.hear_request().await.0, id);
    });
    assert!(matches!(held, Err(ClientError::Timeout { .. })), "{held:?}");
}

#[tokio::test]
async fn what_waiting_cannot_help_is_not_repeated() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(eager()).await;
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, _) = peer.hear_request().await;
        peer.say(&ServerMessage::Error(ErrorReply::of(id, WireCode::Malformed))).await;
    });
    assert!(matches!(held, Err(ClientError::Wire { code: WireCode::Malformed, .. })), "{held:?}");
}

#[tokio::test]
async fn a_refused_identity_ends_it_also_on_reconnecting() {
    let refuse = |code| ServerMessage::Error(ErrorReply { fatal: true, ..ErrorReply::of(0, code) });
    let server = Server::start(true).await;
    let (client, ()) = tokio::join!(Client::connect(server.endpoint(), "bad"), async {
        server.accept().await.say(&refuse(WireCode::Unauthenticated)).await;
    });
    assert!(matches!(client, Err(ClientError::Wire { code: WireCode::Unauthenticated, .. })), "{client:?}");

    let server = Server::start(false).await;
    let (client, peer) = server.meet(eager()).await;
    drop(peer);
    let (lost, ()) = tokio::join!(client.ping(), async {
        server.accept().await.say(&refuse(WireCode::TokenExpired)).await;
    });
    assert!(matches!(lost, Err(ClientError::Wire { code: WireCode::TokenExpired, .. })), "{lost:?}");
}

#[tokio::test]
async fn garbage_is_a_typed_error_and_not_retried() {
    let cases: [&[u8]; 4] = [
        b"HTTP/1.1 400 Bad Request\r\n",
        &[0xff; 64],
        &[0, 0, 0, 0, 1, 0x70, 0, 0],
        &[1, 0, 0, 0, 1, 0x82, 0, 0, 9],
    ];
    for bytes in cases {
        let server = Server::start(false).await;
        let (client, ()) = tokio::join!(Client::connect_with(server.endpoint(), "", eager()), async {
            server.accept().await.say_bytes(bytes).await;
        });
        assert!(is_protocol(&client.unwrap_err()), "{bytes:x?}");

        for web_socket in [false, true] {
            let server = Server::start(web_socket).await;
            let (client, mut peer) = server.meet(eager()).await;
            let (pong, ()) = tokio::join!(client.ping(), peer.say_bytes(bytes));
            assert!(is_protocol(&pong.unwrap_err()), "{bytes:x?}");
        }
    }
}

#[tokio::test]
async fn an_answer_of_another_kind_is_a_typed_error() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, _) = peer.hear_request().await;
        peer.say(&ServerMessage::Pong { id, time_ms: TIME_MS }).await;
    });
    assert!(is_protocol(&held.unwrap_err()));
    // A grant without a fence.
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, row) = peer.hear_request().await;
        peer.say(&reply(id, row, Answer::plain(Code::Granted))).await;
    });
    assert!(is_protocol(&held.unwrap_err()));
}

#[tokio::test]
async fn waiting_has_an_end_and_late_answers_are_ignored() {
    let server = Server::start(false).await;
    let after = Duration::from_millis(20);
    let (client, mut peer) = server.meet(Options { request_timeout: after, ..Options::default() }).await;
    let id = client.next_id();
    let command = Command::ClaimSeats(ClaimSeats { row: ROW, seats: seats(&[1]) });
    assert_eq!(client.decide_as(id, command).await, Err(ClientError::Timeout { after }));
    // The same id may be asked again once it is given up, and the first answer serves.
    let (again, ()) = tokio::join!(client.decide_as(id, command), async {
        for _ in 0..2 {
            let (id, row) = peer.hear_request().await;
            peer.say(&reply(id, row, granted(1, seats(&[1])))).await;
        }
    });
    assert_eq!(again.unwrap().id, id);
    let (one, two, ()) = tokio::join!(client.decide_as(id, command), client.decide_as(id, command), async {
        let (id, row) = peer.hear_request().await;
        peer.say(&reply(id, row, granted(1, seats(&[1])))).await;
    });
    assert!(one.is_ok());
    assert_eq!(two, Err(ClientError::InFlight(id)));
}

#[tokio::test]
async fn nobody_there_is_told_apart_and_retries_are_bounded() {
    let server = Server::start(false).await;
    let retry = Retry { attempts: 2, ..eager().retry.unwrap() };
    let (client, peer) = server.meet(Options { retry: Some(retry), ..Options::default() }).await;
    let endpoint = server.endpoint();
    drop((server, peer));
    assert!(matches!(client.ping().await, Err(ClientError::Unreachable { .. })));
    assert!(matches!(Client::connect(endpoint, "").await, Err(ClientError::Unreachable { .. })));
    let wrong = Client::connect(Endpoint::Tcp("localhost".into()), "").await;
    assert!(matches!(wrong, Err(ClientError::Address(_))));
    let wrong = Client::connect(Endpoint::WebSocket("http://x".into()), "").await;
    assert!(matches!(wrong, Err(ClientError::Address(_))));
}

#[tokio::test]
async fn the_last_handle_closes_the_connection() {
    for web_socket in [false, true] {
        let server = Server::start(web_socket).await;
        let (client, mut peer) = server.meet(Options::default()).await;
        let other = client.clone();
        drop(client);
        let (pong, ()) = tokio::join!(other.ping(), async {
            let Some(ClientMessage::Ping { id }) = peer.hear().await else { panic!() };
            peer.say(&ServerMessage::Pong { id, time_ms: TIME_MS }).await;
        });
        assert!(pong.is_ok());
        drop(other);
        assert!(peer.hear().await.is_none());
    }
}

#[tokio::test]
async fn a_silent_server_is_pinged_and_then_taken_for_lost() {
    let server = Server::start(false).await;
    let options = Options { keepalive: Duration::from_millis(10), ..eager() };
    let (client, mut peer) = server.meet(options).await;
    assert!(matches!(peer.hear().await, Some(ClientMessage::Ping { .. })));
    let mut next = server.welcome().await;
    let (pong, ()) = tokio::join!(client.ping(), async {
        // One of them is the request, the others may be the client's own.
        while let Ok(Some(ClientMessage::Ping { id })) =
            tokio::time::timeout(Duration::from_millis(5), next.hear()).await
        {
            next.say(&ServerMessage::Pong { id, time_ms: TIME_MS }).await;
        }
    });
    assert!(pong.is_ok(), "{pong:?}");
}

#[tokio::test]
async fn queues_and_offers() {
    let server = Server::start(false).await;
    let (client, mut peer) = server.meet(Options::default()).await;
    let mut news = client.news();
    let section = ROW.section_of();
    let (waiting, ()) = tokio::join!(client.claim_section(section, Wish::of(2).or_join()), async {
        let (id, place) = peer.hear_request().await;
        assert_eq!(place, section);
        peer.say(&reply(id, place, Answer { slot: 3, ..Answer::plain(Code::Queued) })).await;
    });
    let Ok(Claim::Waiting(waiting)) = waiting else { panic!("{waiting:?}") };
    assert_eq!((waiting.place, waiting.position), (section, 3));

    let answer = Answer { flags: flags::FROM_QUEUE | flags::TOGETHER, ..granted(8, Seats::NONE) };
    let mut parts = Parts::default();
    parts.push(frontrow_client::Part { row: 4, seats: seats(&[1, 2]), slot: 1 });
    let answer = Answer { parts: 1, ..answer };
    let offer = News { place: section, time_ms: TIME_MS, kind: NewsKind::Offered, answer, parts };
    peer.say(&ServerMessage::Push(offer)).await;
    assert_eq!(news.next().await, Some(NewsEvent::News(offer)));
    let held = frontrow_client::Held::offered(client.user(), &offer).unwrap();
    assert_eq!(held.rows(), [(4, seats(&[1, 2]))]);
    assert!(held.together && held.from_queue);

    let (booked, ()) = tokio::join!(client.book(&held), async {
        let Some(ClientMessage::Request { id, command: Command::Book(proof) }) = peer.hear().await else {
            panic!()
        };
        assert_eq!(proof, held.proof());
        let answer = Answer { lsn: 9, nonce: 77, ..Answer::plain(Code::Booked) };
        peer.say(&reply(id, proof.place, answer)).await;
    });
    let booked = booked.unwrap();
    assert_eq!((booked.fence.lsn, booked.rows()), (9, held.rows()), "the seats stay known");

    let (status, ()) = tokio::join!(client.status(section), async {
        let Some(ClientMessage::Status { id, place }) = peer.hear().await else { panic!() };
        peer.say(&reply(id, place, Answer::plain(Code::NotQueued))).await;
    });
    assert_eq!(status.unwrap_err().refusal(), Some(Code::NotQueued));
}
