//! The door for WebSockets: the handshake of RFC 6455 here, everything after it on a shard core.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Version, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tungstenite::handshake::derive_accept_key;

use super::Http;
use super::connections::{NoRoom, Place};
use super::error::ApiError;
use super::sales::Adopted;
use crate::identity::Identity;

/// The HTTP connection that a request came on.
#[derive(Clone, Debug)]
pub(super) struct Connection {
    pub(super) peer: SocketAddr,
    /// Its place; an upgrade takes it along.
    pub(super) place: Arc<Mutex<Option<Place>>>,
    /// Why it has none, if it never had.
    pub(super) refused: Option<NoRoom>,
}

#[derive(Deserialize)]
struct TokenQuery {
    token: Option<String>,
}

#[utoipa::path(get, path = "/v1/ws", tag = "sell", params(
    ("token" = Option<String>, Query, description = "the user's token, where a header cannot be set; else Authorization: Bearer, or in the first message")),
    responses((status = 101), (status = 400), (status = 401), (status = 426), (status = 429)))]
/// Upgrades to a WebSocket, which then lives on a shard core.
pub(crate) async fn upgrade(
    State(http): State<Arc<Http>>,
    mut request: Request,
) -> Result<Response, ApiError> {
    let accept = accept_key(&request)?;
    let identity = identify(&http, &request)?;
    let connection = request.extensions().get::<Connection>().cloned();
    let Some(connection) = connection else {
        return Err(ApiError::bad_request(
            "this connection cannot be upgraded; connect to the server itself",
        ));
    };
    let upgraded = hyper::upgrade::on(&mut request);
    tokio::spawn(async move {
        match upgraded.await {
            Ok(upgraded) => hand_over(&http, upgraded, &connection, identity),
            Err(error) => {
                tracing::debug!(%error, peer = %connection.peer, "a client left during its upgrade");
            }
        }
    });
    let headers = [
        (header::CONNECTION, "upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_ACCEPT, &*accept),
    ];
    Ok((StatusCode::SWITCHING_PROTOCOLS, headers, Body::empty()).into_response())
}

/// Checks the handshake (RFC 6455, section 4.2.1) and answers its key.
fn accept_key(request: &Request) -> Result<String, ApiError> {
    let headers = request.headers();
    let wrong = |status, message: &str| Err(ApiError::new(status, "not_a_websocket", message));
    if request.method() != Method::GET || request.version() != Version::HTTP_11 {
        return wrong(StatusCode::BAD_REQUEST, "a WebSocket begins with GET over HTTP/1.1");
    }
    if !has_word(headers, &header::CONNECTION, "upgrade") || !has_word(headers, &header::UPGRADE, "websocket")
    {
        let message = "this is the WebSocket; connect with a WebSocket client, or see / for what HTTP can do";
        return wrong(StatusCode::UPGRADE_REQUIRED, message);
    }
    if headers.get(header::SEC_WEBSOCKET_VERSION).is_none_or(|version| version != "13") {
        return wrong(
            StatusCode::UPGRADE_REQUIRED,
            "only version 13 of the WebSocket protocol is spoken here",
        );
    }
    let key = headers.get(header::SEC_WEBSOCKET_KEY).map(|key| key.as_bytes().trim_ascii());
    match key {
        Some(key) if STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16) => Ok(derive_accept_key(key)),
        _ => wrong(StatusCode::BAD_REQUEST, "Sec-WebSocket-Key must be 16 bytes in base64"),
    }
}

fn has_word(headers: &HeaderMap, name: &header::HeaderName, word: &str) -> bool {
    let values = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|value| value.trim().eq_ignore_ascii_case(word))
}

/// Who it is, if the handshake says: by header, else by query. A token that is there must be good.
fn identify(http: &Http, request: &Request) -> Result<Option<Identity>, ApiError> {
    let query = Query::<TokenQuery>::try_from_uri(request.uri())
        .map_err(|error| ApiError::bad_request(format!("{}; give the token once", error.body_text())))?;
    let token = match request.headers().get(header::AUTHORIZATION) {
        Some(value) => Some(bearer(value).ok_or_else(|| {
            let message = "Authorization must be `Bearer <token>`; correct the header or leave it out";
            ApiError::new(StatusCode::UNAUTHORIZED, "token_malformed", message)
        })?),
        None => query.token.as_deref(),
    };
    token.map(|token| http.verifier.verify(token, http.now_s()).map_err(ApiError::from)).transpose()
}

/// The credentials behind `Bearer`.
pub(super) fn bearer(value: &header::HeaderValue) -> Option<&str> {
    let (scheme, credentials) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| credentials.trim())
}

/// Takes the socket out of hyper and gives it to the shard cores.
fn hand_over(
    http: &Http,
    upgraded: hyper::upgrade::Upgraded,
    connection: &Connection,
    identity: Option<Identity>,
) {
    let place = connection.place.lock().unwrap_or_else(PoisonError::into_inner).take();
    let (Some(place), Ok(parts)) = (place, upgraded.downcast::<TokioIo<tokio::net::TcpStream>>()) else {
        tracing::error!(peer = %connection.peer, "an upgraded connection was not one of this server's own; closed");
        return;
    };
    match parts.io.into_inner().into_std() {
        Ok(socket) => {
            let leftover = parts.read_buf.to_vec();
            http.sales.adopt_websocket(Adopted { socket, leftover, identity, peer: connection.peer, place });
        }
        Err(error) => {
            tracing::warn!(%error, peer = %connection.peer, "a socket could not be handed over; closed");
        }
    }
}
