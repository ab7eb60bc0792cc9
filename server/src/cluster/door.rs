//! What a standby says at the ports of a primary: who is. Clients go there by themselves. Without a primary, clients at the
//! raw TCP port are answered as soon as there is one, this node included.

use super::member::Member;
use super::record::Addresses;
use axum::Json;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use frontrow_protocol::{ErrorReply, ServerMessage, WireCode, encode_error, encode_server_json};
use hyper_util::rt::TokioIo;
use serde_json::json;
use std::borrow::Cow;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;
use tungstenite::handshake::derive_accept_key;

/// Connections that are answered at a time; more are closed.
const ANSWERED_MAX: usize = 256;
/// How long a client is let wait for a primary; twice as long for everything.
const PATIENCE: Duration = Duration::from_secs(2);
/// When to ask again while there is no primary.
const RETRY_MS: u32 = 100;

/// The raw TCP port of a standby.
pub(crate) struct Door {
    over: Arc<Notify>,
    closed: std::sync::mpsc::Receiver<()>,
}

impl Door {
    /// Answers at `address` until it is closed.
    pub(crate) fn open(address: SocketAddr, member: &Arc<Member>) -> io::Result<Self> {
        let listener = std::net::TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let over = Arc::new(Notify::new());
        let (closing, member) = (Arc::clone(&over), Arc::clone(member));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (done, closed) = std::sync::mpsc::channel();
        let serve = move || {
            runtime.block_on(async {
                let room = Arc::new(Semaphore::new(ANSWERED_MAX));
                let Ok(listener) = TcpListener::from_std(listener) else { return };
                tokio::select! {
                    () = closing.notified() => {}
                    () = answer_all(&listener, &member, &room) => {}
                }
                drop(listener);
                let _ = done.send(());
                // Those who wait are told when somebody serves.
                let _ = room.acquire_many(ANSWERED_MAX as u32).await;
            });
        };
        // The thread ends by itself, when everybody has been answered.
        let _ = std::thread::Builder::new().name("cluster-door".into()).spawn(serve)?;
        Ok(Self { over, closed })
    }

    /// Gives the port back. Who has come before is answered all the same.
    pub(crate) fn close(self) {
        self.over.notify_one();
        // If the thread is gone, so is the listener.
        let _ = self.closed.recv();
    }
}

async fn answer_all(listener: &TcpListener, member: &Arc<Member>, room: &Arc<Semaphore>) {
    loop {
        let Ok((socket, _)) = listener.accept().await else {
            // Out of descriptors, most likely: a pause lets some be closed.
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let Ok(place) = Arc::clone(room).try_acquire_owned() else { continue };
        let member = Arc::clone(member);
        tokio::spawn(async move {
            let _ = timeout(PATIENCE * 2, turn_away(socket, &member)).await;
            drop(place);
        });
    }
}

/// Hears the hello, answers, and lets the client close: a socket closed on unread bytes would lose the answer.
async fn turn_away(mut socket: TcpStream, member: &Member) -> io::Result<()> {
    let mut buffer = [0; 4096];
    if socket.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    let mut out = Vec::new();
    let at = timeout(PATIENCE, member.whoever_serves()).await.ok();
    encode_error(&not_primary(at.map(|at| at.tcp)), &mut out);
    say_and_close(&mut socket, &out).await
}

async fn say_and_close(socket: &mut (impl AsyncRead + AsyncWrite + Unpin), out: &[u8]) -> io::Result<()> {
    let mut buffer = [0; 4096];
    socket.write_all(out).await?;
    socket.shutdown().await?;
    while socket.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// The answer to everything, with the address of who is primary; without one, when to ask again.
pub(crate) fn not_primary(address: Option<String>) -> ErrorReply<'static> {
    let retry_after_ms = if address.is_some() { 0 } else { RETRY_MS };
    let message = Cow::Owned(address.unwrap_or_default());
    ErrorReply { fatal: true, retry_after_ms, message, ..ErrorReply::of(0, WireCode::NotPrimary) }
}

/// The same over HTTP: 421 with the address; a WebSocket is let in and told in its own words, for a browser does not see
/// the answer to a handshake.
pub(crate) fn misdirected(member: &Member, mut request: Request) -> Response {
    let at = member.primary();
    if let Some(key) = websocket_key(request.headers()) {
        let upgraded = hyper::upgrade::on(&mut request);
        tokio::spawn(async move {
            if let Ok(upgraded) = upgraded.await {
                let _ = timeout(PATIENCE, tell_websocket(TokioIo::new(upgraded), at)).await;
            }
        });
        let headers = [
            (header::CONNECTION, "upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_ACCEPT, &*key),
        ];
        return (StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response();
    }
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let Some(Addresses { tcp, http, .. }) = at else {
        let message = "this is a standby, and there is no primary at present: ask again shortly";
        let error = json!({"error": {"code": "not_primary", "message": message, "retryable": true}});
        return (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "1")], Json(error)).into_response();
    };
    let message = format!("this is a standby; the primary is at http://{http}: ask there");
    let error = json!({"error": {
        "code": "not_primary", "message": message, "retryable": true, "primary": {"http": http, "tcp": tcp},
    }});
    let headers = [(header::LOCATION, format!("http://{http}{path}"))];
    (StatusCode::MISDIRECTED_REQUEST, headers, Json(error)).into_response()
}

fn websocket_key(headers: &HeaderMap) -> Option<String> {
    let upgrade = headers.get(header::UPGRADE)?.to_str().ok()?;
    let key = headers.get(header::SEC_WEBSOCKET_KEY)?;
    upgrade.eq_ignore_ascii_case("websocket").then(|| derive_accept_key(key.as_bytes()))
}

async fn tell_websocket(
    mut socket: impl AsyncRead + AsyncWrite + Unpin,
    at: Option<Addresses>,
) -> io::Result<()> {
    let mut buffer = [0; 4096];
    if socket.read(&mut buffer).await? == 0 {
        return Ok(());
    }
    let error = not_primary(at.map(|at| format!("ws://{}/v1/ws", at.http)));
    say_and_close(&mut socket, &websocket_words(buffer[0] & 0x0f == 1, error)).await
}

/// The error in the form of the client's own messages, then the end (RFC 6455, section 5.2).
fn websocket_words(text: bool, error: ErrorReply<'_>) -> Vec<u8> {
    let mut body = Vec::new();
    if text {
        encode_server_json(&ServerMessage::Error(error), 0, &mut body);
    } else {
        encode_error(&error, &mut body);
    }
    let mut out = vec![if text { 0x81 } else { 0x82 }];
    match body.len() {
        len @ 0..=125 => out.push(len as u8),
        len => {
            out.push(126);
            out.extend_from_slice(&(len as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(&body);
    // Close, 1001: going away.
    out.extend_from_slice(&[0x88, 2, 0x03, 0xe9]);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_websocket_is_told_in_its_own_words() {
        let error = || not_primary(Some("ws://10.0.0.1:7410/v1/ws".into()));
        let binary = websocket_words(false, error());
        assert_eq!((binary[0], binary[1]), (0x82, binary.len() as u8 - 6));
        let text = websocket_words(true, error());
        let body = &text[if text[1] == 126 { 4 } else { 2 }..text.len() - 4];
        let json: serde_json::Value = serde_json::from_slice(body).expect("JSON");
        assert!(
            json.to_string().contains("not_primary") && json.to_string().contains("ws://10.0.0.1:7410/v1/ws")
        );
    }
}
