//! Errors as HTTP clients see them: `{"error":{"code","message","retryable",…}}`.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use frontrow_shard::{Code, EventId, Seats};
use serde_json::{Map, Value, json};

use crate::catalogue::CatalogueError;
use crate::cold::ColdFileError;
use crate::identity::IdentityError;

/// An error answer.
#[derive(Clone, Debug)]
pub(crate) struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    retryable: bool,
    more: Map<String, Value>,
}

impl ApiError {
    pub(crate) fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        let retryable = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
        Self { status, code, message: message.into(), retryable, more: Map::new() }
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }

    pub(super) fn unknown_event(id: impl std::fmt::Display) -> Self {
        let message = format!("there is no event {id}; list the events at /v1/events");
        Self::new(StatusCode::NOT_FOUND, "unknown_event", message)
    }

    pub(super) fn unknown_section(section: impl std::fmt::Display) -> Self {
        let message =
            format!("the event has no section {section}; its sections are listed at /v1/events/{{id}}");
        Self::new(StatusCode::NOT_FOUND, "unknown_section", message)
    }

    /// The log says what is wrong with it.
    pub(super) fn map_damaged(id: EventId) -> Self {
        let message = format!(
            "the seat map of event {id} is damaged or missing at this node, and is not shown: put events/{id}.map.json back from the              other node or from a backup, and it is shown at once; until then ask the other node, if there is one"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "map_damaged", message)
    }

    pub(crate) fn code(&self) -> &'static str {
        self.code
    }

    pub(crate) fn with(mut self, key: &str, value: Value) -> Self {
        self.more.insert(key.to_owned(), value);
        self
    }

    /// What a shard refused, with the seats it named.
    pub(super) fn refused(code: Code, seats: Seats) -> Self {
        let status = match code {
            Code::UnknownEvent | Code::UnknownSection | Code::UnknownRow | Code::UnknownSeat => {
                StatusCode::NOT_FOUND
            }
            Code::Full | Code::InProgress | Code::NotOwner => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CONFLICT,
        };
        let message = format!("the shard that decides this refused it: {}", code.name().replace('_', " "));
        let mut error = Self::new(status, code.name(), message);
        error.retryable = code.retryable();
        if seats.is_empty() { error } else { error.with("seats", json!(seats.places().collect::<Vec<_>>())) }
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut error = self.more;
        error.insert("code".into(), self.code.into());
        error.insert("message".into(), self.message.into());
        error.insert("retryable".into(), self.retryable.into());
        let mut response = (self.status, Json(json!({ "error": error }))).into_response();
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<IdentityError> for ApiError {
    fn from(error: IdentityError) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, error.code(), error.to_string())
    }
}

impl From<CatalogueError> for ApiError {
    fn from(error: CatalogueError) -> Self {
        match error {
            CatalogueError::Unknown(id) => Self::unknown_event(id),
            error => {
                tracing::error!(%error, "the catalogue failed");
                let message = "the catalogue could not be read or written; the server's log says why";
                Self::new(StatusCode::INTERNAL_SERVER_ERROR, "catalogue", message)
            }
        }
    }
}

impl From<ColdFileError> for ApiError {
    fn from(error: ColdFileError) -> Self {
        tracing::error!(%error, "an archive cannot be read");
        let code = match error {
            ColdFileError::Missing { .. } => "archive_missing",
            ColdFileError::Foreign { .. } => "archive_foreign",
            ColdFileError::Version { .. } => "archive_version",
            ColdFileError::Damaged { .. } => "archive_damaged",
            ColdFileError::File { .. } => "archive_unreadable",
        };
        let message = "the event's archive cannot be read, all else is served; the server's log names the file: put it \
                       back from a standby or a backup";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, code, message)
    }
}

/// The answer to a path or method that does not exist.
pub(super) async fn not_found() -> ApiError {
    ApiError::new(
        StatusCode::NOT_FOUND,
        "not_found",
        "there is nothing here; all routes are in /openapi.json",
    )
}

/// The answer to a method that a path does not have.
pub(super) async fn wrong_method() -> ApiError {
    let message = "this path has another method; all routes are in /openapi.json";
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", message)
}
