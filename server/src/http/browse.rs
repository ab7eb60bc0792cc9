//! What buyers look at: events, maps, live seats.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use frontrow_shard::{Code, EventId, EventState, MAX_ROW_SEATS, RowState};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Http;
use super::error::ApiError;
use super::sales::LiveRow;
use crate::catalogue::{CategorySum, Event, Rules, SectionSum};

/// The words for `state`.
const STATES: [(&str, EventState); 5] = [
    ("draft", EventState::Draft),
    ("open", EventState::Open),
    ("paused", EventState::Paused),
    ("closed", EventState::Closed),
    ("archived", EventState::Archived),
];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListQuery {
    #[serde(default)]
    q: String,
    state: Option<String>,
}

/// An event in a list.
#[derive(Serialize, ToSchema)]
pub(super) struct EventLine {
    event: EventId,
    name: String,
    plan: String,
    state: &'static str,
    created_ms: u64,
    seats: u64,
    sections: usize,
}

/// All events that were asked for.
#[derive(Serialize, ToSchema)]
pub(super) struct EventList {
    events: Vec<EventLine>,
}

/// An event in full. A section's and a category's number is its place in the list.
#[derive(Serialize, ToSchema)]
pub(super) struct EventDetail {
    #[serde(flatten)]
    line: EventLine,
    rules: Rules,
    section_list: Vec<SectionSum>,
    category_list: Vec<CategorySum>,
    /// Where the map is; append a section's number for that section alone.
    map: String,
}

/// The live seats of a section.
#[derive(Serialize, ToSchema)]
pub(super) struct SectionState {
    event: EventId,
    section: u16,
    rows: Vec<RowLetters>,
}

/// A row: one letter per seat by place, `f`ree, `h`eld, `b`ooked or blocked (`x`).
#[derive(Serialize, ToSchema)]
pub(super) struct RowLetters {
    row: u16,
    seats: String,
}

impl EventLine {
    pub(super) fn event(&self) -> EventId {
        self.event
    }

    pub(super) fn of(event: &Event) -> Self {
        Self {
            event: event.id(),
            name: event.name().to_owned(),
            plan: event.plan_name().to_owned(),
            state: event.state_name(),
            created_ms: event.created_ms(),
            seats: event.seats(),
            sections: event.sections().len(),
        }
    }
}

#[utoipa::path(get, path = "/v1/events", tag = "browse", params(
    ("q" = Option<String>, Query, description = "words of the event's or its plan's name"),
    ("state" = Option<String>, Query, description = "draft, open, paused, closed or archived"),
), responses((status = 200, body = EventList), (status = 400)))]
/// Lists events.
pub(super) async fn list(
    State(http): State<Arc<Http>>,
    query: Result<Query<ListQuery>, QueryRejection>,
) -> Result<Json<EventList>, ApiError> {
    let Query(query) = query
        .map_err(|error| ApiError::bad_request(format!("{}; give q and state only", error.body_text())))?;
    let state = query.state.filter(|word| !word.is_empty()).map(|word| {
        let found = STATES.iter().find(|(name, _)| *name == word).map(|&(_, state)| state);
        found.ok_or_else(|| {
            ApiError::bad_request(format!(
                "`{word}` is no state; give draft, open, paused, closed or archived"
            ))
        })
    });
    let found = http.catalogue.search(&query.q, state.transpose()?);
    Ok(Json(EventList { events: found.iter().map(|event| EventLine::of(event)).collect() }))
}

#[utoipa::path(get, path = "/v1/events/{id}", tag = "browse", params(("id" = u32, Path, description = "the event")),
    responses((status = 200, body = EventDetail), (status = 404)))]
/// One event with its rules, sections and categories.
pub(super) async fn event(
    State(http): State<Arc<Http>>,
    path: Result<Path<EventId>, PathRejection>,
) -> Result<Json<EventDetail>, ApiError> {
    let event = find(&http, path)?;
    Ok(Json(EventDetail {
        line: EventLine::of(&event),
        rules: event.rules(),
        section_list: event.sections().to_vec(),
        category_list: event.categories().to_vec(),
        map: format!("/v1/events/{}/map", event.id()),
    }))
}

#[utoipa::path(get, path = "/v1/events/{id}/map", tag = "browse", params(("id" = u32, Path, description = "the event")),
    responses((status = 200, description = "labels and positions of all seats", content_type = "application/json"),
        (status = 304), (status = 404), (status = 503, description = "`map_damaged`: its file is to be put back")))]
/// The seat map: what never changes. Large for large events; ask section by section there.
pub(super) async fn map(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    path: Result<Path<EventId>, PathRejection>,
) -> Result<Response, ApiError> {
    let event = find(&http, path)?;
    let map = map_of(&http, &event).await?;
    Ok(tagged(&headers, &event.map_tag(), map))
}

#[utoipa::path(get, path = "/v1/events/{id}/map/{section}", tag = "browse", params(
    ("id" = u32, Path, description = "the event"), ("section" = u16, Path, description = "the section")),
    responses((status = 200, description = "one section of the map", content_type = "application/json"),
        (status = 304), (status = 404), (status = 503, description = "`map_damaged`: its file is to be put back")))]
/// One section of the seat map.
pub(super) async fn section_map(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    path: Result<Path<(EventId, u16)>, PathRejection>,
) -> Result<Response, ApiError> {
    let (event, section) = find_section(&http, path)?;
    let map = map_of(&http, &event).await?;
    let map = event.section_of(&map, section).ok_or_else(|| ApiError::unknown_section(section))?;
    Ok(tagged(&headers, &event.map_tag(), map))
}

#[utoipa::path(get, path = "/v1/events/{id}/sections/{section}", tag = "browse", params(
    ("id" = u32, Path, description = "the event"), ("section" = u16, Path, description = "the section")),
    responses((status = 200, body = SectionState), (status = 404), (status = 503)))]
/// The seats of a section as they are now. To follow them, watch the section over a connection.
pub(super) async fn section(
    State(http): State<Arc<Http>>,
    path: Result<Path<(EventId, u16)>, PathRejection>,
) -> Result<Response, ApiError> {
    let ask = |event, section| http.sales.section_state(event, section);
    section_answer(&http, path, ask).await
}

/// The seats of a section, from whoever `ask` asks for the live ones.
pub(crate) async fn section_answer<F: Future<Output = Result<Vec<LiveRow>, Code>>>(
    http: &Arc<Http>,
    path: Result<Path<(EventId, u16)>, PathRejection>,
    ask: impl FnOnce(EventId, u16) -> F,
) -> Result<Response, ApiError> {
    let (event, section) = find_section(http, path)?;
    let rows = super::archive::section_rows(http, &event, section, ask).await?;
    let rows = rows.iter().map(|LiveRow { row, state }| RowLetters { row: *row, seats: letters(state) });
    let body = SectionState { event: event.id(), section, rows: rows.collect() };
    Ok(([(header::CACHE_CONTROL, "no-store")], Json(body)).into_response())
}

fn letters(row: &RowState) -> String {
    let has = |set: &[u64; 4], place: usize| set[place / 64] >> (place % 64) & 1 == 1;
    let letter = |place| match place {
        _ if has(&row.free, place) => 'f',
        _ if has(&row.booked, place) => 'b',
        _ if has(&row.blocked, place) => 'x',
        _ => 'h',
    };
    (0..usize::from(row.seats).min(MAX_ROW_SEATS)).map(letter).collect()
}

/// An event's seat map: from memory, or from its file if that is as it was written.
async fn map_of(http: &Arc<Http>, event: &Arc<Event>) -> Result<Bytes, ApiError> {
    if let Some(map) = event.map_in_memory() {
        return Ok(map);
    }
    let (catalogue, of) = (Arc::clone(&http.catalogue), Arc::clone(event));
    let read = tokio::task::spawn_blocking(move || catalogue.map(&of).ok()).await;
    read.ok().flatten().ok_or_else(|| ApiError::map_damaged(event.id()))
}

/// Looks an event up by the path's number.
pub(super) fn find(http: &Http, path: Result<Path<EventId>, PathRejection>) -> Result<Arc<Event>, ApiError> {
    let Path(id) = path.map_err(|error| not_a_number(&error))?;
    http.catalogue.get(id).ok_or_else(|| ApiError::unknown_event(id))
}

fn find_section(
    http: &Http,
    path: Result<Path<(EventId, u16)>, PathRejection>,
) -> Result<(Arc<Event>, u16), ApiError> {
    let Path((id, section)) = path.map_err(|error| not_a_number(&error))?;
    let event = http.catalogue.get(id).ok_or_else(|| ApiError::unknown_event(id))?;
    if usize::from(section) >= event.sections().len() {
        return Err(ApiError::unknown_section(section));
    }
    Ok((event, section))
}

fn not_a_number(error: &PathRejection) -> ApiError {
    ApiError::bad_request(format!("{}; events and sections are named by their numbers", error.body_text()))
}

/// Sends `body`, unless the client has it already.
fn tagged(headers: &HeaderMap, tag: &str, body: Bytes) -> Response {
    let caching = [(header::ETAG, tag), (header::CACHE_CONTROL, "public, max-age=60, must-revalidate")];
    let asked = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let known = asked
        .flat_map(|value| value.split(','))
        .map(|value| value.trim().trim_start_matches("W/"))
        .any(|value| value == tag || value == "*");
    if known {
        return (StatusCode::NOT_MODIFIED, caching).into_response();
    }
    (caching, [(header::CONTENT_TYPE, "application/json")], body).into_response()
}
