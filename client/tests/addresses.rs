//! Two addresses of one service, one of which takes connections and says nothing, as a halted process does.

mod common;

use common::{ROW, Server, eager, granted, reply, seats};
use frontrow_client::{
    Answer, Client, ClientError, Endpoint, Http, HttpError, Options, Retry, WireCode, flags,
};
use frontrow_protocol::{ErrorReply, ServerMessage};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::time::timeout;

/// All but connecting may take long.
fn patient(connect_timeout: Duration) -> Options {
    Options { connect_timeout, ..eager() }
}

/// A listener whose connections the kernel takes.
async fn silent() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

fn address(listener: &TcpListener) -> String {
    listener.local_addr().unwrap().to_string()
}

#[tokio::test]
async fn the_first_connection_goes_on_from_a_silent_address_to_the_next() {
    for web_socket in [false, true] {
        let (halted, server) = (silent().await, Server::start(web_socket).await);
        let first = if web_socket {
            Endpoint::of_http(&format!("http://{}", address(&halted)))
        } else {
            Endpoint::Tcp(address(&halted))
        };
        let options = patient(Duration::from_millis(100));
        let both = vec![first, server.endpoint()];
        let (client, _peer) = tokio::join!(Client::connect_to(both, "jwt", options), server.welcome());
        assert_eq!(client.expect("the second serves").user(), 7);
    }
}

#[tokio::test]
async fn a_request_at_a_server_that_is_halted_is_repeated_at_the_other_with_its_id() {
    let (a, b) = (Server::start(false).await, Server::start(false).await);
    let options = patient(Duration::from_millis(200));
    assert!(options.keepalive > Duration::from_secs(10) && options.request_timeout > Duration::from_secs(10));
    let both = vec![a.endpoint(), b.endpoint()];
    let (client, mut halted) = tokio::join!(Client::connect_to(both, "jwt", options), a.welcome());
    let client = client.unwrap();
    let claiming = timeout(Duration::from_secs(10), client.claim_seats(ROW, seats(&[1])));
    let (held, ()) = tokio::join!(claiming, async {
        let first = halted.hear_request().await;
        let mut peer = b.welcome().await;
        let again = peer.hear_request().await;
        assert_eq!(again, first, "the same request with the same id");
        let answer = Answer { flags: flags::REPEATED, ..granted(2, seats(&[1])) };
        peer.say(&reply(again.0, again.1, answer)).await;
    });
    assert!(held.expect("the keepalive is not waited for").is_ok());
}

/// Its answers wait, as those of a primary for its standby do: it is not left.
#[tokio::test]
async fn a_server_that_answers_pings_is_waited_for() {
    let (a, b) = (Server::start(false).await, Server::start(false).await);
    let both = vec![a.endpoint(), b.endpoint()];
    let options = patient(Duration::from_millis(200));
    let (client, mut peer) = tokio::join!(Client::connect_to(both, "jwt", options), a.welcome());
    let client = client.unwrap();
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        let (id, row) = peer.hear_request().await;
        for _ in 0..4 {
            let Some(frontrow_protocol::ClientMessage::Ping { id }) = peer.hear().await else { panic!() };
            peer.say(&ServerMessage::Pong { id, time_ms: common::TIME_MS }).await;
        }
        peer.say(&reply(id, row, granted(2, seats(&[1])))).await;
    });
    assert!(held.is_ok(), "{held:?}");
}

#[tokio::test]
async fn in_the_end_each_address_is_named_with_what_it_did() {
    let (halted, dead) = (silent().await, silent().await);
    let both = vec![Endpoint::Tcp(address(&halted)), Endpoint::Tcp(address(&dead))];
    let (first, second) = (address(&halted), address(&dead));
    drop(dead);
    let retry = Retry { attempts: 1, ..eager().retry.unwrap() };
    let options = Options { retry: Some(retry), ..patient(Duration::from_millis(50)) };
    let error = Client::connect_to(both, "", options).await.unwrap_err();
    let said = error.to_string();
    assert!(matches!(error, ClientError::Unreachable { .. }), "{said}");
    assert!(said.contains(&format!("tcp://{first}: no welcome within 50ms; tcp://{second}: ")), "{said}");
}

/// A request whose time is over while there is no connection says what each address does; its outcome is not known.
#[tokio::test]
async fn a_request_without_a_connection_says_what_each_address_did() {
    let (a, b) = (Server::start(false).await, Server::start(false).await);
    let options =
        Options { request_timeout: Duration::from_millis(800), ..patient(Duration::from_millis(100)) };
    let both = vec![a.endpoint(), b.endpoint()];
    let (client, mut halted) = tokio::join!(Client::connect_to(both, "jwt", options), a.welcome());
    let client = client.unwrap();
    let (held, ()) = tokio::join!(client.claim_seats(ROW, seats(&[1])), async {
        halted.hear_request().await;
        let refused = ErrorReply { fatal: true, ..ErrorReply::of(0, WireCode::ShuttingDown) };
        b.accept().await.say(&ServerMessage::Error(refused)).await;
    });
    let Err(ClientError::Closed { reason }) = held else { panic!("{held:?}") };
    assert!(reason.contains(&a.endpoint().to_string()), "{reason}");
    assert!(reason.contains(&b.endpoint().to_string()), "{reason}");
}

/// Answers whatever comes over HTTP with this, as often as it comes, and gives the paths.
async fn answers(
    status: &'static str,
    body: &'static str,
) -> (String, std::sync::Arc<std::sync::Mutex<Vec<String>>>) {
    let listener = silent().await;
    let (at, paths) = (address(&listener), std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default());
    let heard = std::sync::Arc::clone(&paths);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let mut asked = Vec::new();
            while !asked.ends_with(b"\r\n\r\n") && !asked.ends_with(b"}") && !asked.ends_with(b"null") {
                if socket.read_buf(&mut asked).await.unwrap_or(0) == 0 {
                    break;
                }
            }
            let asked = String::from_utf8_lossy(&asked).into_owned();
            heard.lock().unwrap().push(asked.split(' ').nth(1).unwrap_or_default().to_owned());
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (at, paths)
}

/// One second of patience: a fifth of it is silence.
fn http(addresses: &[&str]) -> Http {
    let urls: Vec<String> = addresses.iter().map(|at| format!("http://{at}")).collect();
    Http::new(&urls.join(",")).unwrap().with_patience(Duration::from_secs(1))
}

#[tokio::test]
async fn what_only_asks_is_asked_of_the_next_as_well() {
    let halted = silent().await;
    let (at, _) = answers("200 OK", r#"{"role":"primary"}"#).await;
    let http = http(&[&address(&halted), &at]);
    assert_eq!(http.node().await.expect("the second answers")["role"], "primary");
    assert_eq!(http.answered_by().expect("one did").0, format!("http://{at}"));
    // From now on it is asked first.
    let again = timeout(Duration::from_millis(150), http.node()).await;
    assert!(again.is_ok(), "less than what an address may be silent for");

    // One that breaks the connection is no better.
    let broken = silent().await;
    let first = address(&broken);
    tokio::spawn(async move { while broken.accept().await.is_ok() {} });
    assert_eq!(self::http(&[&first, &at]).node().await.expect("the second answers")["role"], "primary");
}

#[tokio::test]
async fn what_changes_something_is_never_sent_to_a_silent_address() {
    let halted = silent().await;
    let (at, paths) = answers("200 OK", r#"{"promoting":true}"#).await;
    let http = http(&[&address(&halted), &at]);
    http.operate("/v1/admin/promote").await.expect("the second does it");
    assert_eq!(*paths.lock().unwrap(), ["/healthz", "/v1/admin/promote"]);
    let (mut socket, _) = halted.accept().await.unwrap();
    let mut asked = String::new();
    socket.read_to_string(&mut asked).await.unwrap();
    assert!(asked.starts_with("GET /healthz "), "{asked}");
}

#[tokio::test]
async fn none_of_several_names_them_all() {
    let (halted, dead) = (silent().await, silent().await);
    let gone = address(&dead);
    drop(dead);
    let body = r#"{"error":{"code":"not_primary","message":"ask the primary"}}"#;
    let (standby, _) = answers("421 Misdirected Request", body).await;
    let http = http(&[&address(&halted), &gone, &standby]);
    for error in [http.node().await.unwrap_err(), http.operate("/v1/admin/promote").await.unwrap_err()] {
        let said = error.to_string();
        assert!(matches!(error, HttpError::Nowhere(_)) && !error.is_open(), "{said}");
        assert!(error.is_refusal("not_primary"), "{said}");
        let halted = address(&halted);
        for each in [
            format!("http://{halted} takes connections and does not answer"),
            format!("http://{gone} cannot be reached (no connection: "),
            format!("http://{standby} says: ask the primary"),
        ] {
            assert!(said.contains(&each), "{each} in {said}");
        }
    }
    // If all answered, their word is the answer.
    let error = self::http(&[&standby, &standby]).node().await.unwrap_err();
    assert!(matches!(error, HttpError::Refused { .. }), "{error}");
}
