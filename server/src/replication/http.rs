//! What a standby says over HTTP, and the one thing it can be told: to become the primary.

use super::status::Shared;
use crate::identity::AdminKey;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::json;
use std::net::TcpListener;
use std::sync::Arc;

struct Side {
    shared: Arc<Shared>,
    admin: AdminKey,
}

/// Serves on this thread until the standby ends or is promoted.
pub(super) fn serve(listener: TcpListener, shared: Arc<Shared>, admin: AdminKey) -> std::io::Result<()> {
    listener.set_nonblocking(true)?;
    let ending = Arc::clone(&shared);
    let side = Arc::new(Side { shared, admin });
    let app = Router::new()
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/v1/status", get(status))
        .route("/v1/admin/promote", post(promote))
        .fallback(|| async {
            let message = "this is a standby: it has /v1/status, /healthz, /readyz and /metrics; sales are at the primary";
            (StatusCode::MISDIRECTED_REQUEST, Json(json!({"error": {"code": "standby", "message": message}})))
        })
        .with_state(side);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let listener = tokio::net::TcpListener::from_std(listener)?;
        let over = async move {
            // The answer to a promotion is sent before the next look.
            let mut look = tokio::time::interval(std::time::Duration::from_millis(20));
            while !ending.lock().is_ending() {
                look.tick().await;
            }
        };
        let serving = axum::serve(listener, app).with_graceful_shutdown(over);
        // A client that keeps its connection open must not keep a promotion waiting.
        let _ = serving.await;
        Ok(())
    })
}

async fn readyz(State(side): State<Arc<Side>>) -> Response {
    let state = side.shared.lock();
    let ready = state.is_caught_up();
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(json!({"ready": ready, "role": "standby"}))).into_response()
}

async fn status(State(side): State<Arc<Side>>) -> Response {
    Json(side.shared.lock().json()).into_response()
}

async fn metrics(State(side): State<Arc<Side>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], side.shared.lock().metrics()).into_response()
}

async fn promote(State(side): State<Arc<Side>>, headers: HeaderMap) -> Response {
    let key = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let key = key.and_then(|value| value.strip_prefix("Bearer "));
    if !key.is_some_and(|key| side.admin.matches(key.as_bytes())) {
        let message = "this is for operators: send Authorization: Bearer <admin key>";
        let error = Json(json!({"error": {"code": "not_an_operator", "message": message}}));
        return (StatusCode::UNAUTHORIZED, error).into_response();
    }
    tracing::warn!("an operator promotes this standby");
    side.shared.end(|state| state.promote = true);
    (StatusCode::ACCEPTED, Json(json!({"promoting": true}))).into_response()
}
