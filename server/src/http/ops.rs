//! What operators and tools look at, and tokens for development.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::JsonRejection;
use axum::extract::{FromRef, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use frontrow_shard::{Millis, UserId};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Http;
use super::error::ApiError;
use super::sales::CoreStatus;
use crate::exposition::Families;
use crate::identity::Minter;
use crate::replication::Unacknowledged;

/// How long a development token lasts if nothing else is asked for, in seconds.
const DEV_TOKEN_S: u64 = 24 * 3600;
/// The longest a development token may last, in seconds.
const DEV_TOKEN_S_MAX: u64 = 30 * 24 * 3600;

const INDEX: &str = "\
Frontrow sells seats: claim them for minutes, buy what you claimed, queue fairly for what you did not get.

/v1/events                     what is on sale (?q=words&state=open)
/v1/events/{id}                one event: rules, sections, categories
/v1/events/{id}/map            its seat map (/map/{section}: one section)
/v1/events/{id}/sections/{s}   its live seats
/v1/ws                         WebSocket: claims, bookings, queues, seat changes as they happen
/v1/dev/token                  POST {\"user\": 7}: a token to try it with (development mode only)
/v1/bookings                   your bookings, with your token (/{id}: one of them)
/v1/admin/…                    for operators, with Authorization: Bearer <admin key>
/v1/status                     this node: primary or standby, its epoch, who follows it
/healthz  /readyz  /metrics    for orchestrators and monitoring
/openapi.json                  all of this for machines
";

#[utoipa::path(get, path = "/", tag = "operate", responses((status = 200, body = String)))]
/// What this is.
pub(super) async fn index() -> &'static str {
    INDEX
}

#[utoipa::path(get, path = "/healthz", tag = "operate", responses((status = 200, body = String)))]
/// Whether the process lives.
pub(super) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether claims can be sent here.
#[derive(Serialize, ToSchema)]
pub(super) struct Readiness {
    ready: bool,
    /// Why it is not ready; nothing if it is.
    reason: Option<NotReady>,
    /// The same in words, with what to do.
    message: Option<&'static str>,
    cores: Vec<CoreStatus>,
}

/// Why a node is not ready to sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum NotReady {
    /// Some core has not recovered yet.
    Recovering,
    /// Answers wait for a standby, and none follows: nothing is acknowledged.
    NoStandby,
    /// Answers wait for the standby, which is so far behind that what is new is refused.
    StandbyBehind,
}

impl NotReady {
    fn of(http: &Http, cores: &[CoreStatus]) -> Option<Self> {
        if cores.is_empty() || cores.iter().any(|core| !core.ready) {
            return Some(Self::Recovering);
        }
        http.hub.as_ref()?.unacknowledged().map(|why| match why {
            Unacknowledged::NoStandby => Self::NoStandby,
            Unacknowledged::StandbyBehind => Self::StandbyBehind,
        })
    }

    fn message(self) -> &'static str {
        match self {
            Self::Recovering => "it reads its log, and serves when it has: ask again",
            Self::NoStandby => {
                "nothing is acknowledged: answers wait for a standby, and none follows all of the log. Start it (frontrow \
                 backup), or go on without (frontrow replication alone). Events and seats are shown meanwhile"
            }
            Self::StandbyBehind => {
                "nothing is acknowledged: answers wait for the standby, which is behind, and what is new is refused. It mends \
                 itself if the standby catches up; else end that, or go on without (frontrow replication alone). Events and \
                 seats are shown meanwhile"
            }
        }
    }
}

#[utoipa::path(get, path = "/readyz", tag = "operate",
    responses((status = 200, body = Readiness), (status = 503, body = Readiness)))]
/// Whether claims can be sent here: every core serves, and what is decided is acknowledged.
pub(super) async fn readyz(State(http): State<Arc<Http>>) -> Response {
    let cores = http.sales.status();
    let reason = NotReady::of(&http, &cores);
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let message = reason.map(NotReady::message);
    (status, Json(Readiness { ready: reason.is_none(), reason, message, cores })).into_response()
}

#[utoipa::path(get, path = "/metrics", tag = "operate", responses((status = 200, body = String)))]
/// Metrics in the OpenMetrics text format.
pub(super) async fn metrics(State(http): State<Arc<Http>>) -> Response {
    let mut families = Families::default();
    families.counter("frontrow_http_answers", "Answers given over HTTP, by status.", http.counters.answers());
    families.value(
        "frontrow_connections_open",
        "Open connections of clients, at all cores.",
        http.connections.count().into(),
    );
    // Whoever plans a sale reads here how many may come.
    let (most, of_address) = http.connections.limits();
    families.value("frontrow_connections_limit", "limits.connections.", most.into());
    families.value(
        "frontrow_connections_per_address_limit",
        "limits.connections_per_address; 0 for none.",
        of_address.into(),
    );
    let events = http.catalogue.search("", None).len();
    families.value("frontrow_events", "Events in the catalogue.", events as f64);
    families.value(
        "frontrow_catalogue_ok",
        "1 while the events' files here are good, as far as they were looked at; 0, too, while they cannot be read.",
        f64::from(u8::from(http.keeper.found().is_none())),
    );
    let mended = (Vec::new(), http.keeper.mended());
    families.counter(
        "frontrow_catalogue_mended",
        "Heads and maps of events written anew from memory.",
        [mended],
    );
    http.sales.metrics(&mut families);
    crate::feed::read_off(&http.feeds, &mut families);
    families.answer()
}

/// What tokens are made with.
#[derive(Clone)]
pub(super) struct Tokens {
    pub(super) minter: Option<Minter>,
    pub(super) clock: fn() -> Millis,
}

impl FromRef<Arc<Http>> for Tokens {
    fn from_ref(http: &Arc<Http>) -> Self {
        Self { minter: http.minter.clone(), clock: http.clock }
    }
}

/// Who wants a token.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TokenWish {
    /// The user's number; as a text if it is too large for the client's numbers.
    #[schema(value_type = u64)]
    user: UserNumber,
    /// For how long, in seconds.
    lasts_s: Option<u64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum UserNumber {
    Number(UserId),
    Text(String),
}

/// A token.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenGrant {
    token: String,
    /// When it ends, in seconds since 1970.
    expires_s: u64,
}

#[utoipa::path(post, path = "/v1/dev/token", tag = "develop", request_body = TokenWish,
    responses((status = 200, body = TokenGrant), (status = 400), (status = 404, description = "not in development mode")))]
/// A token for any user: in development mode only.
pub(super) async fn dev_token(
    State(tokens): State<Tokens>,
    body: Result<Json<TokenWish>, JsonRejection>,
) -> Result<Json<TokenGrant>, ApiError> {
    let Some(minter) = &tokens.minter else {
        let message = "this server is not in development mode; get a token from your issuer";
        return Err(ApiError::new(StatusCode::NOT_FOUND, "not_in_development", message));
    };
    let usage = "send JSON like {\"user\": 7, \"lasts_s\": 3600}";
    let Json(wish) =
        body.map_err(|error| ApiError::bad_request(format!("{}; {usage}", error.body_text())))?;
    let user = match wish.user {
        UserNumber::Number(user) => Some(user),
        UserNumber::Text(text) => text.parse().ok(),
    };
    let user =
        user.ok_or_else(|| ApiError::bad_request(format!("a user is a number below 2^64; {usage}")))?;
    let now_s = (tokens.clock)() / 1000;
    let lasts_s = wish.lasts_s.unwrap_or(DEV_TOKEN_S).min(DEV_TOKEN_S_MAX);
    Ok(Json(TokenGrant { token: minter.mint(user, now_s, lasts_s), expires_s: now_s + lasts_s }))
}
