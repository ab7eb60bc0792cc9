//! What operators see of the standby, and decide about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use utoipa::ToSchema;

use super::Http;
use super::error::ApiError;
use crate::feed::FeedStatus;
use crate::replication::{Calling, Hub, PredecessorStatus, StandbyStatus};
use frontrow_engine::Clock;

/// What a primary says of itself; a standby's `/v1/status` begins alike.
#[derive(Serialize, ToSchema)]
pub(super) struct Node {
    /// `primary`; a standby says `standby`.
    role: &'static str,
    /// The epoch it decides in.
    epoch: u32,
    /// Whether every core has recovered and serves. Whether what it decides is acknowledged is said in `replication`, and
    /// whether both hold by `/readyz`.
    ready: bool,
    /// Events in the catalogue.
    events: usize,
    /// `ok`, or what is wrong with the events' files and was not mended by itself, with what to do; that they cannot be read, too.
    catalogue: String,
    /// How old the look at them is that says so, in milliseconds: longer ago than some seconds if the disk does not answer. Nothing
    /// before the first one.
    catalogue_age_ms: Option<u64>,
    /// Open connections of clients.
    connections: u32,
    /// How its standby is doing; nothing if it is to have none.
    replication: Option<StandbyStatus>,
    /// Who was primary before; nothing if there was nobody, if it follows this node now, or in a cluster.
    predecessors: Vec<PredecessorStatus>,
    /// How the feed of its table of bookings is doing; nothing if it keeps none.
    bookings: Option<FeedStatus>,
    /// How its feed of Kafka is doing; nothing if there is none.
    kafka: Option<FeedStatus>,
}

#[utoipa::path(get, path = "/v1/status", tag = "operate", responses((status = 200, body = Node)))]
/// What this node is, and who follows it.
pub(super) async fn node(State(http): State<Arc<Http>>) -> Json<Node> {
    let cores = http.sales.status();
    let keeper = Arc::clone(&http.keeper);
    // Whoever asks wants to know how the files are, not how they were, and has an answer all the same if they cannot be read now.
    let looked = tokio::task::spawn_blocking(move || keeper.glance()).await;
    let catalogue = looked.unwrap_or_else(|_| http.keeper.found());
    let feed = |sink| http.feeds.iter().find(|feed| feed.sink() == sink).map(|feed| feed.status());
    Json(Node {
        role: "primary",
        epoch: cores.iter().map(|core| core.epoch).max().unwrap_or(0),
        ready: !cores.is_empty() && cores.iter().all(|core| core.ready),
        events: http.catalogue.search("", None).len(),
        catalogue: catalogue.unwrap_or_else(|| "ok".to_owned()),
        catalogue_age_ms: http.keeper.age_ms(),
        connections: http.connections.count(),
        replication: http.hub.as_ref().map(|hub| hub.status()),
        predecessors: predecessors(&http),
        bookings: feed("embedded"),
        kafka: feed("kafka"),
    })
}

/// Who was primary before, but for those that follow this node now.
fn predecessors(http: &Http) -> Vec<PredecessorStatus> {
    let follows = |of: &Calling| http.hub.as_ref().is_some_and(|hub| hub.is_followed_by(of.node()));
    let now_ns = Clock::monotonic_ns();
    http.predecessors.iter().filter(|of| !follows(of)).map(|of| of.status(now_ns)).collect()
}

#[utoipa::path(post, path = "/v1/admin/promote", tag = "admin", responses((status = 401), (status = 409)))]
/// For a standby only: this node is the primary.
pub(super) async fn promote(State(http): State<Arc<Http>>) -> ApiError {
    let epoch = http.sales.status().iter().map(|core| core.epoch).max().unwrap_or(0);
    let message = format!(
        "this node is the primary already, in epoch {epoch}; promote is for its standby: give that one's HTTP address"
    );
    ApiError::new(StatusCode::CONFLICT, "is_primary", message)
}

fn hub(http: &Http) -> Result<&Arc<Hub>, ApiError> {
    let message = "this server has no standby: set replication.listen in its configuration";
    http.hub.as_ref().ok_or_else(|| ApiError::new(StatusCode::NOT_FOUND, "no_replication", message))
}

#[utoipa::path(get, path = "/v1/admin/replication", tag = "admin",
    responses((status = 200, body = StandbyStatus), (status = 401), (status = 404)))]
/// How the standby is doing, and what answers wait for.
pub(super) async fn status(State(http): State<Arc<Http>>) -> Result<Json<StandbyStatus>, ApiError> {
    Ok(Json(hub(&http)?.status()))
}

#[utoipa::path(post, path = "/v1/admin/replication/alone", tag = "admin",
    responses((status = 200, body = StandbyStatus), (status = 401), (status = 404)))]
/// From now on answers do not wait for the standby. Recorded; holds across restarts.
pub(super) async fn alone(State(http): State<Arc<Http>>) -> Result<Json<StandbyStatus>, ApiError> {
    set_alone(&http, true).await
}

#[utoipa::path(post, path = "/v1/admin/replication/backup", tag = "admin",
    responses((status = 200, body = StandbyStatus), (status = 401), (status = 404)))]
/// From now on answers wait as the configuration says.
pub(super) async fn backup(State(http): State<Arc<Http>>) -> Result<Json<StandbyStatus>, ApiError> {
    set_alone(&http, false).await
}

async fn set_alone(http: &Http, alone: bool) -> Result<Json<StandbyStatus>, ApiError> {
    let hub = Arc::clone(hub(http)?);
    let failed = |why: String| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "history", why);
    let decided = tokio::task::spawn_blocking(move || hub.set_alone(alone).map(|()| hub.status()));
    let decided = decided.await.map_err(|error| failed(error.to_string()))?;
    decided.map(Json).map_err(|error| failed(error.to_string()))
}
