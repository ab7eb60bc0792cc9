//! What operators see of the standby, and decide about it.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;

use super::Http;
use super::error::ApiError;
use crate::replication::{Hub, StandbyStatus};

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
