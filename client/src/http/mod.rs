//! The catalogue and operators' requests over HTTP.
//!
//! One connection per request: these are rare. Only `http://` is spoken; put a TLS proxy in between where
//! a network is not trusted.

mod addresses;
mod error;
mod types;

pub use error::HttpError;
pub use types::{
    Behind, Blocked, BookedSeats, Booking, Bookings, Categories, Category, Created, DevToken, Event,
    EventDetail, EventQuery, EventRulesLine, Map, OwnBooking, OwnBookings, RowMap, RowState, SectionMap,
    SectionState, SectionSum,
};

use error::no_connection;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use hyper::http::response::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::timeout;

use frontrow_shard::{Epoch, EventId, Lsn, PartitionId, UserId};

/// The longest answer taken, in bytes: the map of a very large event.
const MAX_ANSWER: usize = 256 << 20;
/// Gives the same user as many tokens as he asks for.
const DEV_TOKEN: &str = "/v1/dev/token";
/// How long a connection may take, and then the answer, unless somebody says otherwise.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a standby says of an answer that it gives from what it has applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StandbyView {
    /// The epoch that it follows.
    pub epoch: Epoch,
    /// All that the primary had so long ago is in it.
    pub age_ms: u64,
    /// With the seats of a section: of each partition that has rows of it, the last record that is in it.
    pub position: Vec<(PartitionId, Lsn)>,
}

/// A server's HTTP side.
#[derive(Clone)]
pub struct Http {
    /// `host:port` of each.
    authorities: Vec<String>,
    admin_key: Option<String>,
    /// A user's token, shown where one's own is asked for.
    token: Option<String>,
    patience: Duration,
    /// Where the last answer came from. Shared by clones.
    last: Arc<Mutex<Last>>,
}

/// Where an answer came from.
#[derive(Default)]
struct Last {
    /// `host:port`.
    at: Option<String>,
    /// What it was, if it was a standby's.
    view: Option<StandbyView>,
}

/// What is asked.
struct Asked<'a> {
    method: Method,
    path: &'a str,
    kind: Option<&'a str>,
    body: Bytes,
}

impl Asked<'_> {
    /// Whether it may be done by several, or done again: nothing is changed by it.
    fn only_asks(&self) -> bool {
        self.method == Method::GET || self.path == DEV_TOKEN
    }
}

/// An answer, and whether it is a standby's.
struct Fetched {
    bytes: Result<Bytes, HttpError>,
    standby: Option<StandbyView>,
}

impl std::fmt::Debug for Http {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Http").field("authorities", &self.authorities).finish_non_exhaustive()
    }
}

impl Http {
    /// The server at `url` (`http://host:port`), or at one of several with commas between them: the next is asked when
    /// one cannot be reached, does not answer within three seconds, or is not the primary. What a standby answers is taken if no
    /// other does better. Nothing is sent yet.
    pub fn new(url: &str) -> Result<Self, HttpError> {
        let authorities = url.split(',').map(|url| authority(url.trim())).collect::<Result<_, _>>()?;
        Ok(Self { authorities, admin_key: None, token: None, patience: PATIENCE, last: Arc::default() })
    }

    /// The same, with the operator's key for the requests that need it.
    #[must_use]
    pub fn with_admin_key(self, key: impl Into<String>) -> Self {
        Self { admin_key: Some(key.into()), ..self }
    }

    /// The same, and an answer may take so long.
    #[must_use]
    pub fn with_patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// One for each address, with its URL.
    pub fn each(&self) -> impl Iterator<Item = (String, Self)> {
        self.authorities.iter().map(|at| {
            let one = Self { authorities: vec![at.clone()], last: Arc::default(), ..self.clone() };
            (url(at), one)
        })
    }

    /// Whether somebody takes a connection there, whatever he says on it then; at one address of several is enough.
    pub async fn takes_connections(&self) -> bool {
        for at in &self.authorities {
            if matches!(timeout(self.patience, TcpStream::connect(at)).await, Ok(Ok(_))) {
                return true;
            }
        }
        false
    }

    /// The one that the last answer came from, with its URL.
    pub fn answered_by(&self) -> Option<(String, Self)> {
        let at = self.lock_last().at.clone()?;
        self.each().find(|(one, _)| *one == url(&at))
    }

    /// What the last answer said of itself, if it came from a standby.
    pub fn standby_view(&self) -> Option<StandbyView> {
        self.lock_last().view.clone()
    }

    fn lock_last(&self) -> MutexGuard<'_, Last> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events whose name has these words; all for none.
    pub async fn events(&self, words: &str) -> Result<Vec<Event>, HttpError> {
        #[derive(Deserialize)]
        struct List {
            events: Vec<Event>,
        }
        let list: List = self.get(&format!("/v1/events?q={}", escaped(words))).await?;
        Ok(list.events)
    }

    /// One event.
    pub async fn event(&self, event: EventId) -> Result<EventDetail, HttpError> {
        self.get(&format!("/v1/events/{event}")).await
    }

    /// The whole seat map.
    pub async fn map(&self, event: EventId) -> Result<Map, HttpError> {
        self.get(&format!("/v1/events/{event}/map")).await
    }

    /// One section of the seat map.
    pub async fn section_map(&self, event: EventId, section: u16) -> Result<SectionMap, HttpError> {
        self.get(&format!("/v1/events/{event}/map/{section}")).await
    }

    /// The seats of a section as they are now.
    pub async fn section(&self, event: EventId, section: u16) -> Result<SectionState, HttpError> {
        self.get(&format!("/v1/events/{event}/sections/{section}")).await
    }

    /// A token for any user, from a server in development mode.
    pub async fn dev_token(&self, user: UserId) -> Result<DevToken, HttpError> {
        // As a text: not every JSON reader keeps 64 bits.
        self.post(DEV_TOKEN, &json!({ "user": user.to_string() })).await
    }

    /// The server's counters, in Prometheus' text format.
    pub async fn metrics(&self) -> Result<String, HttpError> {
        let bytes = self.fetch(Method::GET, "/metrics", None, Bytes::new()).await?;
        String::from_utf8(bytes.into()).map_err(|error| HttpError::Answer(error.to_string()))
    }

    /// Creates an event from a seating plan (pretix JSON, a stored plan, CSV), in state draft. `kind` is the
    /// plan's media type, if known: `text/csv` or `application/json`.
    pub async fn create_event(
        &self,
        query: &EventQuery,
        kind: Option<&str>,
        plan: Vec<u8>,
    ) -> Result<Created, HttpError> {
        let path = format!("/v1/admin/events{}", query.text());
        self.send(Method::POST, &path, kind, plan.into()).await
    }

    /// Creates an event in a generated stadium, in state draft.
    pub async fn create_stadium(
        &self,
        query: &EventQuery,
        seats: u32,
        tiers: Option<u32>,
    ) -> Result<Created, HttpError> {
        let mut stadium = json!({ "seats": seats });
        if let Some(tiers) = tiers {
            stadium["tiers"] = tiers.into();
        }
        let path = format!("/v1/admin/events{}", query.text());
        self.post(&path, &json!({ "stadium": stadium })).await
    }

    /// Opens the sale, or goes on after a pause.
    pub async fn open(&self, event: EventId) -> Result<Event, HttpError> {
        self.post(&format!("/v1/admin/events/{event}/open"), &json!({})).await
    }

    /// Pauses the sale.
    pub async fn pause(&self, event: EventId) -> Result<Event, HttpError> {
        self.post(&format!("/v1/admin/events/{event}/pause"), &json!({})).await
    }

    /// Ends the sale.
    pub async fn close(&self, event: EventId) -> Result<Event, HttpError> {
        self.post(&format!("/v1/admin/events/{event}/close"), &json!({})).await
    }

    /// Archives a closed event: it goes to a file and leaves memory.
    pub async fn archive(&self, event: EventId) -> Result<Event, HttpError> {
        self.post(&format!("/v1/admin/events/{event}/archive"), &json!({})).await
    }

    /// An event's bookings by user, or those of one user; the first thousand of them behind `from`.
    pub async fn bookings(
        &self,
        event: EventId,
        user: Option<UserId>,
        from: usize,
    ) -> Result<Bookings, HttpError> {
        let user = user.map(|user| format!("&user={user}")).unwrap_or_default();
        self.get(&format!("/v1/admin/events/{event}/bookings?from={from}{user}")).await
    }

    /// The same, as a user with this token.
    #[must_use]
    pub fn as_user(&self, token: impl Into<String>) -> Self {
        Self { token: Some(token.into()), ..self.clone() }
    }

    /// One's own bookings ([`Http::as_user`]), of one event or of all, newest first; behind a page's end with its cursor.
    pub async fn own_bookings(
        &self,
        event: Option<EventId>,
        cursor: Option<&str>,
    ) -> Result<OwnBookings, HttpError> {
        let event = event.map(|event| format!("event={event}"));
        let cursor = cursor.map(|cursor| format!("cursor={}", escaped(cursor)));
        let query: Vec<String> = event.into_iter().chain(cursor).collect();
        self.get(&format!("/v1/bookings?{}", query.join("&"))).await
    }

    /// One of one's own bookings ([`Http::as_user`]).
    pub async fn own_booking(&self, id: &str) -> Result<OwnBooking, HttpError> {
        self.get(&format!("/v1/bookings/{}", escaped(id))).await
    }

    /// Waits until a booking of one's own ([`Http::as_user`]) is in the table that the answers come from.
    pub async fn booking_seen(&self, id: &str) -> Result<(), HttpError> {
        let page: Result<OwnBookings, _> =
            self.get(&format!("/v1/bookings?most=1&seen={}", escaped(id))).await;
        page.map(drop)
    }

    /// What has been sold of an event, section by section, for operators.
    pub async fn sales(&self, event: EventId) -> Result<Value, HttpError> {
        self.get(&format!("/v1/admin/events/{event}/sales")).await
    }

    /// Takes free seats of a row out of sale (`blocked`), or puts them back.
    pub async fn block(
        &self,
        event: EventId,
        (section, row): (u16, u16),
        seats: &[u8],
        blocked: bool,
    ) -> Result<Blocked, HttpError> {
        let word = if blocked { "block" } else { "unblock" };
        let body = json!({ "section": section, "row": row, "seats": seats });
        self.post(&format!("/v1/admin/events/{event}/{word}"), &body).await
    }

    /// How the server's standby is doing, for operators.
    pub async fn replication(&self) -> Result<Value, HttpError> {
        self.get("/v1/admin/replication").await
    }

    /// What the node says of itself, primary or standby.
    pub async fn node(&self) -> Result<Value, HttpError> {
        self.get("/v1/status").await
    }

    /// Does what stands behind a path for operators that needs no more words than its name.
    pub async fn operate(&self, path: &str) -> Result<Value, HttpError> {
        self.post(path, &Value::Null).await
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, HttpError> {
        self.send(Method::GET, path, None, Bytes::new()).await
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &Value) -> Result<T, HttpError> {
        self.send(Method::POST, path, Some("application/json"), body.to_string().into()).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Result<T, HttpError> {
        let bytes = self.fetch(method, path, kind, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| HttpError::Answer(error.to_string()))
    }

    /// The bytes of a good answer.
    async fn fetch(
        &self,
        method: Method,
        path: &str,
        kind: Option<&str>,
        body: Bytes,
    ) -> Result<Bytes, HttpError> {
        let asked = Asked { method, path, kind, body };
        // In boxes: a command asks in many places, and each would have room for all of it.
        match &self.authorities[..] {
            [at] => {
                let fetched = self.fetch_at(at, &asked, self.patience).await;
                self.answered(at, fetched)
            }
            _ if asked.only_asks() => Box::pin(self.ask_any(&asked)).await,
            _ => Box::pin(self.send_to_one(&asked)).await,
        }
    }

    fn answered(&self, at: &str, fetched: Fetched) -> Result<Bytes, HttpError> {
        self.note(at, fetched.standby.filter(|_| fetched.bytes.is_ok()));
        fetched.bytes
    }

    fn note(&self, at: &str, view: Option<StandbyView>) {
        *self.lock_last() = Last { at: Some(at.to_owned()), view };
    }

    async fn fetch_at(&self, at: &str, asked: &Asked<'_>, after: Duration) -> Fetched {
        let answering = async {
            let request = self.build(at, asked)?;
            let socket = timeout(after, TcpStream::connect(at)).await;
            let none = |why: String| HttpError::Unreachable { url: url(at), reason: no_connection(&why) };
            let socket = socket.map_err(|_| none(format!("none within {after:?}")))?;
            let socket = socket.map_err(|error| none(error.to_string()))?;
            let late = |_| HttpError::Silent { url: url(at), after };
            timeout(after, exchange(at, socket, request)).await.map_err(late)?
        };
        match answering.await {
            Ok((parts, bytes)) => {
                let status = parts.status;
                let bytes = if status.is_success() { Ok(bytes) } else { Err(refusal(status, &bytes)) };
                Fetched { bytes, standby: standby_view(&parts.headers) }
            }
            Err(error) => Fetched { bytes: Err(error), standby: None },
        }
    }

    fn build(&self, at: &str, asked: &Asked<'_>) -> Result<Request<Full<Bytes>>, HttpError> {
        let Asked { method, path, kind, body } = asked;
        let mut request = Request::builder().method(method).uri(*path).header(HOST, at);
        if let Some(kind) = kind {
            request = request.header(CONTENT_TYPE, *kind);
        }
        let key = if path.starts_with("/v1/admin/") { &self.admin_key } else { &self.token };
        if let Some(key) = key {
            request = request.header(AUTHORIZATION, format!("Bearer {key}"));
        }
        request.body(Full::new(body.clone())).map_err(|error| HttpError::Address(format!("{path}: {error}")))
    }
}

/// `host:port` of `http://host:port`.
fn authority(url: &str) -> Result<String, HttpError> {
    let wrong = || HttpError::Address(url.to_owned());
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?.trim_end_matches('/');
    let whole = rest.parse::<hyper::http::uri::Authority>().map_err(|_| wrong())?;
    Ok(if whole.port().is_some() { rest.to_owned() } else { format!("{rest}:80") })
}

/// What a standby's headers say of its answer.
fn standby_view(headers: &HeaderMap) -> Option<StandbyView> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    text("frontrow-role").filter(|&role| role == "standby")?;
    let pair = |pair: &str| {
        let (partition, lsn) = pair.split_once('=')?;
        Some((partition.parse().ok()?, lsn.parse().ok()?))
    };
    let position = text("frontrow-position").unwrap_or_default();
    Some(StandbyView {
        epoch: text("frontrow-epoch").and_then(|epoch| epoch.parse().ok()).unwrap_or(0),
        age_ms: text("frontrow-age-ms").and_then(|age| age.parse().ok()).unwrap_or(0),
        position: position.split(',').filter_map(pair).collect(),
    })
}

async fn exchange(
    at: &str,
    socket: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<(Parts, Bytes), HttpError> {
    let broken = |error: hyper::Error| unreachable(at, error.to_string());
    let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await.map_err(broken)?;
    let answering = async {
        let response = sender.send_request(request).await.map_err(broken)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER).collect().await;
        let body = body.map_err(|error| match error.downcast::<hyper::Error>() {
            Ok(error) => broken(*error),
            Err(too_long) => HttpError::Answer(too_long.to_string()),
        })?;
        Ok((parts, body.to_bytes()))
    };
    // The connection only moves when it is polled; it may well end before the answer is taken apart.
    let connection = async {
        let _ = connection.await;
        std::future::pending::<()>().await;
    };
    tokio::select! {
        answer = answering => answer,
        () = connection => unreachable!("pending never ends"),
    }
}

fn unreachable(at: &str, reason: String) -> HttpError {
    HttpError::Unreachable { url: url(at), reason }
}

fn url(at: &str) -> String {
    format!("http://{at}")
}

/// `{"error": {"code", "message", "retryable", …}}`, or whatever a proxy in between made of it.
fn refusal(status: StatusCode, body: &[u8]) -> HttpError {
    let mut body: Value = serde_json::from_slice(body).unwrap_or_default();
    let error = body.get_mut("error").map(Value::take).unwrap_or_default();
    let text = |key: &str| error.get(key).and_then(Value::as_str).map(str::to_owned);
    HttpError::Refused {
        status: status.as_u16(),
        code: text("code").unwrap_or_else(|| format!("http_{}", status.as_u16())),
        message: text("message").unwrap_or_else(|| {
            format!("the server answered {status}; check that the address is a Frontrow server's")
        }),
        retryable: error.get("retryable").and_then(Value::as_bool).unwrap_or(status.is_server_error()),
        error: Box::new(error),
    }
}

/// Percent-encodes everything but unreserved characters (RFC 3986, section 2.3).
pub(crate) fn escaped(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for &byte in text.as_bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            out.push(byte.into());
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests;
