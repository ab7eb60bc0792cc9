//! HTTP: browsing, operating, and the door through which WebSockets come in. Off the shard cores.
//!
//! Everything runs on one thread with its own tokio runtime ([`serve`]); whatever that thread starts
//! inherits its CPU. Seats are decided elsewhere: HTTP asks the shard cores through [`Sales`].

mod admin;
mod archive;
mod bookings;
mod browse;
mod connections;
mod error;
mod openapi;
mod ops;
mod replication;
mod sales;
mod serve;
mod websocket;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use frontrow_shard::{EventId, EventRules, Millis};

pub(crate) use archive::keep;
pub(crate) use bookings::Table;
pub use bookings::gate;
pub(crate) use browse::section_answer;
pub use connections::{Connections, NoRoom, Place};
pub(crate) use error::ApiError;
pub use sales::{Adopted, CoreStatus, LiveRow, Sales, Soon};
pub(crate) use serve::accept_all;
pub use serve::{Stop, Stopper, serve, stopper};
pub(crate) use websocket::upgrade;

use crate::catalogue::{Catalogue, Keeper};
use crate::cold::Archives;
use crate::config::Config;
use crate::exposition::Labels;
use crate::identity::{AdminKey, Keys, Minter, Verifier};
use crate::replication::{Calling, Hub};

/// Bytes of a body where no plan is expected.
const SMALL_BODY_BYTES: usize = 64 << 10;

/// Everything a handler may use.
pub struct Http {
    /// The shard cores.
    pub sales: Arc<dyn Sales>,
    /// What is on sale.
    pub catalogue: Arc<Catalogue>,
    /// Looks after its files, at a primary.
    pub(crate) keeper: Arc<Keeper>,
    /// Rules for events that do not bring their own.
    pub rules: EventRules,
    /// How many partitions there are.
    pub partitions: u16,
    /// Bytes that one record of a log may have.
    pub record_bytes: usize,
    /// Believes users' tokens.
    pub verifier: Verifier,
    /// Makes tokens, in development mode only.
    pub minter: Option<Minter>,
    /// The operator's key.
    pub admin: AdminKey,
    /// The connections of the whole server.
    pub connections: Connections,
    /// Bytes of a plan's body.
    pub body_bytes: usize,
    /// From a request's head to its answer.
    pub request_time: Duration,
    /// From a connection's first byte to a request's whole head.
    pub head_time: Duration,
    /// The time, ms since 1970: injected, so that tests say what time it is.
    pub clock: fn() -> Millis,
    /// The standby's side, if there may be a standby.
    pub hub: Option<Arc<Hub>>,
    /// Tells who was primary before, if this node was promoted without a cluster.
    pub(crate) predecessors: Arc<[Calling]>,
    /// The table of bookings, and how its feed is doing, if there is one.
    pub(crate) table: Option<Table>,
    /// How every feed is doing.
    pub(crate) feeds: Vec<Arc<crate::feed::Progress>>,
    /// The archives of events that are over.
    pub cold: Arc<Archives>,
    /// How long after its closing an event is archived by itself.
    pub archive_after: Option<Duration>,
    /// Events whose archiving had begun when the last process ended.
    pub unfinished: Arc<OnceLock<Vec<EventId>>>,
    /// Held while an event is archived: one at a time.
    pub archiving: tokio::sync::Mutex<()>,
    /// What this side counts.
    pub counters: Counters,
}

/// What the HTTP side counts about itself.
#[derive(Debug, Default)]
pub struct Counters {
    /// By status.
    answers: Mutex<BTreeMap<u16, u64>>,
}

impl Counters {
    fn answered(&self, status: StatusCode) {
        *self.answers.lock().unwrap_or_else(PoisonError::into_inner).entry(status.as_u16()).or_default() += 1;
    }

    /// Answers by status.
    fn answers(&self) -> Vec<(Labels, u64)> {
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        answers.iter().map(|(status, count)| (vec![("status", status.to_string())], *count)).collect()
    }
}

impl Http {
    /// What `config` says about HTTP, over these parts. `connections` is shared with the TCP listeners.
    pub fn new(
        config: &Config,
        keys: Keys,
        sales: Arc<dyn Sales>,
        catalogue: Arc<Catalogue>,
        connections: Connections,
        clock: fn() -> Millis,
    ) -> Self {
        Self {
            sales,
            keeper: Arc::new(Keeper::new(Arc::clone(&catalogue))),
            catalogue,
            rules: config.events,
            partitions: config.partitions.count,
            record_bytes: config.log.record_bytes(),
            verifier: keys.verifier,
            minter: keys.minter,
            admin: keys.admin,
            connections,
            body_bytes: usize::try_from(config.limits.body).unwrap_or(usize::MAX),
            request_time: config.limits.http_request,
            head_time: config.limits.handshake,
            clock,
            hub: None,
            predecessors: Arc::new([]),
            table: None,
            feeds: Vec::new(),
            cold: Arc::new(Archives::new(0)),
            archive_after: config.archive_after,
            unfinished: Arc::default(),
            archiving: tokio::sync::Mutex::default(),
            counters: Counters::default(),
        }
    }

    fn now_s(&self) -> u64 {
        (self.clock)() / 1000
    }
}

/// Reading what is on sale, but for the seats of a section; a standby has these routes, too.
pub(crate) fn browsing() -> Router<Arc<Http>> {
    Router::new()
        .route("/v1/events", get(browse::list))
        .route("/v1/events/{id}", get(browse::event))
        .route("/v1/events/{id}/map", get(browse::map))
        .route("/v1/events/{id}/map/{section}", get(browse::section_map))
}

/// In development mode, tokens for whoever asks.
pub(crate) fn tokens() -> Router<Arc<Http>> {
    Router::new().route("/v1/dev/token", post(ops::dev_token))
}

/// The same for a service of its own that listens at `address`: never where strangers could ask.
pub fn dev_tokens(keys: &Keys, address: SocketAddr) -> Router {
    let minter = keys.minter.clone().filter(|_| address.ip().is_loopback());
    let tokens = ops::Tokens { minter, clock: frontrow_engine::Clock::wall_ms };
    Router::new().route("/v1/dev/token", post(ops::dev_token)).with_state(tokens)
}

/// Bounds every request over `http` in time and size, and counts its answer.
pub(crate) fn within_bounds(routes: Router<Arc<Http>>, http: Arc<Http>) -> Router {
    routes
        .layer(middleware::from_fn_with_state(Arc::clone(&http), bounded))
        .layer(DefaultBodyLimit::max(SMALL_BODY_BYTES))
        .with_state(http)
}

/// All routes over `http`.
pub fn router(http: Arc<Http>) -> Router {
    let admin = Router::new()
        .route("/v1/admin/events", post(admin::create).layer(DefaultBodyLimit::max(http.body_bytes)))
        .route("/v1/admin/events/{id}/open", post(admin::open))
        .route("/v1/admin/events/{id}/pause", post(admin::pause))
        .route("/v1/admin/events/{id}/close", post(admin::close))
        .route("/v1/admin/events/{id}/archive", post(archive::archive))
        .route("/v1/admin/events/{id}/bookings", get(archive::bookings))
        .route("/v1/admin/events/{id}/block", post(admin::block))
        .route("/v1/admin/events/{id}/unblock", post(admin::unblock))
        .route("/v1/admin/promote", post(replication::promote))
        .route("/v1/admin/replication", get(replication::status))
        .route("/v1/admin/replication/alone", post(replication::alone))
        .route("/v1/admin/replication/backup", post(replication::backup))
        .route_layer(middleware::from_fn_with_state(Arc::clone(&http), admin::only_operators));
    let routes = Router::new()
        .route("/", get(ops::index))
        .route("/healthz", get(ops::healthz))
        .route("/readyz", get(ops::readyz))
        .route("/metrics", get(ops::metrics))
        .route("/openapi.json", get(openapi::document))
        .route("/v1/status", get(replication::node))
        .route("/v1/events/{id}/sections/{section}", get(browse::section))
        .route("/v1/ws", get(upgrade))
        .merge(browsing())
        .merge(tokens())
        .merge(admin)
        .fallback(error::not_found)
        .method_not_allowed_fallback(error::wrong_method);
    within_bounds(routes.merge(bookings::routes(&http)), http)
}

/// Bounds every request in time and counts its answer.
async fn bounded(State(http): State<Arc<Http>>, request: Request, next: Next) -> Response {
    let answer = tokio::time::timeout(http.request_time, next.run(request)).await;
    let response = answer.unwrap_or_else(|_| {
        let message = "the request took too long; ask what became of it, then try again";
        ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "timeout", message).into_response()
    });
    http.counters.answered(response.status());
    response
}
