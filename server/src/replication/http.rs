//! What a standby says over HTTP, and the one thing it can be told: to become the primary.

use super::status::Shared;
use crate::cluster::{Member, misdirected};
use crate::identity::AdminKey;
use axum::extract::{Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;

/// How long open requests may take when it ends.
const FAREWELL: std::time::Duration = std::time::Duration::from_millis(10);

struct Side {
    shared: Arc<Shared>,
    admin: AdminKey,
    member: Option<Arc<Member>>,
}

/// Serves on this thread until the standby ends or is promoted.
pub(super) fn serve(
    listener: TcpListener,
    shared: Arc<Shared>,
    admin: AdminKey,
    member: Option<Arc<Member>>,
) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let ending = Arc::clone(&shared);
    let side = Arc::new(Side { shared, admin, member });
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/admin/promote", post(promote))
        .fallback(elsewhere)
        .with_state(side);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let over = async move {
            while !ending.lock().is_ending() {
                ending.over.notified().await;
            }
        };
        let (done, heard) = tokio::sync::oneshot::channel();
        let over = async {
            over.await;
            let _ = done.send(());
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(over);
        // A client that keeps its connection open must not keep a promotion waiting.
        let farewell = async {
            if heard.await.is_ok() {
                tokio::time::sleep(FAREWELL).await;
            }
        };
        tokio::select! {
            _ = serving => {}
            () = farewell => {}
        }
        Ok(())
    })
}

/// Everything else is the primary's.
async fn elsewhere(State(side): State<Arc<Side>>, request: Request) -> Response {
    if let Some(member) = &side.member {
        return misdirected(member, request);
    }
    let message =
        "this is a standby: it has /v1/status, /healthz, /readyz and /metrics; sales are at the primary";
    let error = Json(json!({"error": {"code": "standby", "message": message}}));
    (StatusCode::MISDIRECTED_REQUEST, error).into_response()
}

async fn readyz(State(side): State<Arc<Side>>) -> Response {
    let state = side.shared.lock();
    let ready = state.is_caught_up();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "role": "standby"}))).into_response()
}

async fn status(State(side): State<Arc<Side>>) -> Response {
    let mut status = side.shared.lock().json();
    if let Some(member) = &side.member {
        status["cluster"] = member.json();
    }
    Json(status).into_response()
}

async fn metrics(State(side): State<Arc<Side>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], side.shared.lock().metrics()).into_response()
}

#[derive(serde::Deserialize)]
struct How {
    /// Take over from a primary that lives.
    #[serde(default)]
    force: bool,
}

/// Whether the primary is still followed a moment later: one that has just died may not have been missed yet.
async fn primary_lives(side: &Side) -> bool {
    for _ in 0..50 {
        if !side.shared.lock().connected {
            return false;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    true
}

async fn promote(State(side): State<Arc<Side>>, Query(how): Query<How>, headers: HeaderMap) -> Response {
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = key.and_then(|value| value.strip_prefix("Bearer "));
    if !key.is_some_and(|key| side.admin.matches(key.as_bytes())) {
        let message = "this is for operators: send Authorization: Bearer <admin key>";
        let error = Json(json!({"error": {"code": "not_an_operator", "message": message}}));
        return (StatusCode::UNAUTHORIZED, error).into_response();
    }
    if !how.force && primary_lives(&side).await {
        let message = "the primary lives, and this standby follows it: two primaries would sell the same seats. Stop it \
                       first, then ask again; or, if it must be taken from it, add --force (?force=true)";
        let error = Json(json!({"error": {"code": "primary_lives", "message": message}}));
        return (StatusCode::CONFLICT, error).into_response();
    }
    tracing::warn!("an operator promotes this standby");
    side.shared.end(|state| state.promote = true);
    (StatusCode::ACCEPTED, Json(json!({"promoting": true}))).into_response()
}
