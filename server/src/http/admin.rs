//! What operators do: create events, open and close sales, block seats.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection, PathRejection, QueryRejection};
use axum::extract::{Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use frontrow_shard::{EventId, EventRules, EventState, Fairness, OrphanRule, RowRef, Seats, SeatsError};
use frontrow_venue::stadium::{self, StadiumSpec};
use frontrow_venue::{ImportErrors, Plan, Report};
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::ToSchema;

use super::Http;
use super::browse::{EventLine, find};
use super::error::ApiError;
use super::websocket::bearer;
use crate::catalogue::{Rules, recordable, sellable, specs};

/// The longest event name, in bytes.
const NAME_BYTES_MAX: usize = 200;
/// A body up to here may be the wish for a generated stadium.
const WISH_BYTES_MAX: usize = 4096;

/// Lets only those pass who know the operator's key. Runs before any body is read.
pub(super) async fn only_operators(
    State(http): State<Arc<Http>>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let key = request.headers().get(header::AUTHORIZATION).and_then(bearer);
    if key.is_some_and(|key| http.admin.matches(key.as_bytes())) {
        return Ok(next.run(request).await);
    }
    let message = "this is for operators: send Authorization: Bearer <admin key> (on a development server the key \
                   is in dev-admin.key in the data directory)";
    Err(ApiError::new(StatusCode::UNAUTHORIZED, "not_an_operator", message))
}

/// An event's name and rules; what is left out is the server's default.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct CreateQuery {
    name: Option<String>,
    hold_ms: Option<u32>,
    offer_ms: Option<u32>,
    pay_ms: Option<u32>,
    max_extensions: Option<u8>,
    max_per_claim: Option<u8>,
    max_per_user: Option<u16>,
    max_passes: Option<u16>,
    fairness: Option<FairnessWord>,
    orphans: Option<OrphansWord>,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum FairnessWord {
    Fifo,
    FreeForAll,
}

#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum OrphansWord {
    Off,
    Prefer,
    Strict,
}

impl CreateQuery {
    fn rules(&self, base: &EventRules) -> Result<EventRules, ApiError> {
        let rules = EventRules {
            hold_ms: self.hold_ms.unwrap_or(base.hold_ms),
            offer_ms: self.offer_ms.unwrap_or(base.offer_ms),
            pay_ms: self.pay_ms.unwrap_or(base.pay_ms),
            max_extensions: self.max_extensions.unwrap_or(base.max_extensions),
            max_per_claim: self.max_per_claim.unwrap_or(base.max_per_claim),
            max_per_user: self.max_per_user.unwrap_or(base.max_per_user),
            max_passes: self.max_passes.unwrap_or(base.max_passes),
            fairness: self.fairness.map_or(base.fairness, |word| match word {
                FairnessWord::Fifo => Fairness::Fifo,
                FairnessWord::FreeForAll => Fairness::FreeForAll,
            }),
            orphans: self.orphans.map_or(base.orphans, |word| match word {
                OrphansWord::Off => OrphanRule::Off,
                OrphansWord::Prefer => OrphanRule::Prefer,
                OrphansWord::Strict => OrphanRule::Strict,
            }),
        };
        match rules.mistake() {
            None => Ok(rules),
            Some((rule, allowed)) => Err(ApiError::bad_request(format!(
                "the rule {rule} is out of its range; allowed is {allowed}"
            ))),
        }
    }
}

/// `{"stadium": {"seats": 50000}}`: a generated plan, for trials and load tests.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StadiumBody {
    stadium: StadiumWish,
}

/// What to generate.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StadiumWish {
    /// How many seats.
    seats: u32,
    /// How many tiers, each a category.
    tiers: Option<u32>,
    /// The plan's name.
    name: Option<String>,
}

/// A created event, and what was read from the plan.
#[derive(Serialize, ToSchema)]
pub(super) struct Created {
    #[serde(flatten)]
    line: EventLine,
    rules: Rules,
    /// What the importer read, ignored and found odd; absent for a generated plan.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    report: Option<Report>,
}

#[utoipa::path(post, path = "/v1/admin/events", tag = "admin", params(
    ("name" = Option<String>, Query, description = "the event's name; the plan's if left out"),
    ("hold_ms" = Option<u32>, Query), ("offer_ms" = Option<u32>, Query), ("pay_ms" = Option<u32>, Query),
    ("max_extensions" = Option<u8>, Query), ("max_per_claim" = Option<u8>, Query),
    ("max_per_user" = Option<u16>, Query), ("max_passes" = Option<u16>, Query),
    ("fairness" = Option<String>, Query, description = "fifo or free-for-all"),
    ("orphans" = Option<String>, Query, description = "off, prefer or strict")),
    request_body(description = "a pretix seating plan, a stored plan, CSV (section,row,seat), or a stadium to generate", content(
        (StadiumBody = "application/json"), (String = "text/csv"))),
    responses((status = 201, body = Created), (status = 400), (status = 401), (status = 413),
        (status = 422, description = "every mistake in the plan with its place"), (status = 503)))]
/// Creates an event from a plan, in state draft.
pub(super) async fn create(
    State(http): State<Arc<Http>>,
    headers: HeaderMap,
    query: Result<Query<CreateQuery>, QueryRejection>,
    body: Result<Bytes, BytesRejection>,
) -> Result<Response, ApiError> {
    let Query(query) = query.map_err(|error| ApiError::bad_request(error.body_text()))?;
    let rules = query.rules(&http.rules)?;
    let name = query.name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty());
    if name.as_ref().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
        return Err(ApiError::bad_request(format!(
            "the name is longer than {NAME_BYTES_MAX} bytes; shorten it"
        )));
    }
    let body = body.map_err(|error| {
        let message =
            format!("{}; at most {} bytes are read (limits.body)", error.body_text(), http.body_bytes);
        ApiError::new(error.status(), "body", message)
    })?;
    let hint = headers.get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).map(str::to_owned);
    // A task of its own: a client that leaves must not leave half an event.
    let work = tokio::spawn(async move { make(&http, name, rules, body, hint).await });
    let created =
        work.await.map_err(|_| internal("creating the event failed; the server's log says why"))??;
    let place = format!("/v1/events/{}", created.line.event());
    Ok((StatusCode::CREATED, [(header::LOCATION, place)], Json(created)).into_response())
}

async fn make(
    http: &Arc<Http>,
    name: Option<String>,
    rules: EventRules,
    body: Bytes,
    hint: Option<String>,
) -> Result<Created, ApiError> {
    let (catalogue, now_ms) = (Arc::clone(&http.catalogue), (http.clock)());
    let (partitions, record_bytes) = (http.partitions, http.record_bytes);
    let made = blocking(move || {
        let (plan, report) = read_plan(&body, hint.as_deref(), name.as_deref().unwrap_or("Untitled"))?;
        drop(body);
        sellable(&plan).map_err(unsellable)?;
        let event = catalogue.create(name.as_deref().unwrap_or(&plan.name), &plan, rules, now_ms)?;
        let specs = specs(event.id(), &plan, &rules, partitions);
        match specs.and_then(|specs| recordable(&specs, record_bytes).map(|()| specs)) {
            Ok(specs) => Ok((event, specs, report)),
            Err(error) => {
                catalogue.abandon(event.id())?;
                Err(unsellable(error))
            }
        }
    });
    let (event, specs, report) = made.await?;
    if let Err(code) = http.sales.create_event(specs).await {
        let catalogue = Arc::clone(&http.catalogue);
        blocking(move || Ok(catalogue.abandon(event.id())?)).await?;
        return Err(ApiError::refused(code, Seats::NONE));
    }
    Ok(Created { line: EventLine::of(&event), rules: event.rules(), report })
}

fn read_plan(body: &[u8], hint: Option<&str>, name: &str) -> Result<(Plan, Option<Report>), ApiError> {
    let wish = (body.len() <= WISH_BYTES_MAX)
        .then(|| serde_json::from_slice::<serde_json::Value>(body).ok())
        .flatten()
        .filter(|value| value.get("stadium").is_some());
    let Some(wish) = wish else {
        let (plan, report) = frontrow_venue::import(body, hint, name).map_err(|errors| mistakes(&errors))?;
        return Ok((plan, Some(report)));
    };
    let StadiumBody { stadium: wish } = serde_json::from_value(wish).map_err(|error| {
        ApiError::bad_request(format!("{error}; write {{\"stadium\": {{\"seats\": 50000, \"tiers\": 3}}}}"))
    })?;
    let mut spec = StadiumSpec::new(wish.seats);
    spec.tiers = wish.tiers.unwrap_or(spec.tiers);
    spec.name = wish.name.unwrap_or(spec.name);
    let plan = stadium::generate(&spec)
        .map_err(|error| ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_stadium", error.to_string()))?;
    plan.check().map_err(|errors| mistakes(&errors))?;
    Ok((plan, None))
}

fn mistakes(errors: &ImportErrors) -> ApiError {
    let message = format!("the plan has {} mistakes; correct them and send it again", errors.count());
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_plan", message)
        .with("errors", json!(errors.errors))
        .with("more", json!(errors.more))
}

fn unsellable(error: crate::catalogue::SpecError) -> ApiError {
    ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, "bad_plan", error.to_string())
}

pub(super) fn internal(message: &str) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", message)
}

/// Runs what computes for long or waits for the disk beside the HTTP thread.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ApiError> + Send + 'static,
) -> Result<T, ApiError> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|_| internal("the work failed; the server's log says why"))?
}

type IdPath = Result<Path<EventId>, PathRejection>;

#[utoipa::path(post, path = "/v1/admin/events/{id}/open", tag = "admin", params(("id" = u32, Path, description = "the event")),
    responses((status = 200, body = EventLine), (status = 401), (status = 404), (status = 409)))]
/// Opens the sale, or goes on after a pause.
pub(super) async fn open(State(http): State<Arc<Http>>, path: IdPath) -> Result<Json<EventLine>, ApiError> {
    set_state(http, path, EventState::Open).await
}

#[utoipa::path(post, path = "/v1/admin/events/{id}/pause", tag = "admin", params(("id" = u32, Path, description = "the event")),
    responses((status = 200, body = EventLine), (status = 401), (status = 404), (status = 409)))]
/// Pauses the sale: nothing new is claimed, holds can still be booked.
pub(super) async fn pause(State(http): State<Arc<Http>>, path: IdPath) -> Result<Json<EventLine>, ApiError> {
    set_state(http, path, EventState::Paused).await
}

#[utoipa::path(post, path = "/v1/admin/events/{id}/close", tag = "admin", params(("id" = u32, Path, description = "the event")),
    responses((status = 200, body = EventLine), (status = 401), (status = 404), (status = 409)))]
/// Ends the sale; holds can still be booked inside their time.
pub(super) async fn close(State(http): State<Arc<Http>>, path: IdPath) -> Result<Json<EventLine>, ApiError> {
    set_state(http, path, EventState::Closed).await
}

async fn set_state(http: Arc<Http>, path: IdPath, state: EventState) -> Result<Json<EventLine>, ApiError> {
    let event = find(&http, path)?.id();
    // As in `create`: shards and catalogue must both hear of it, also if the client leaves.
    let work = tokio::spawn(async move {
        http.sales.set_state(event, state).await.map_err(|code| ApiError::refused(code, Seats::NONE))?;
        let catalogue = Arc::clone(&http.catalogue);
        let now_ms = (http.clock)();
        blocking(move || Ok(catalogue.set_state(event, state, now_ms)?)).await
    });
    let event =
        work.await.map_err(|_| internal("changing the state failed; the server's log says why"))??;
    Ok(Json(EventLine::of(&event)))
}

/// Seats of one row, by section, row and places as in the map.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SeatsBody {
    section: u16,
    row: u16,
    /// Places from 0; at most 64 apart.
    seats: Vec<u8>,
}

/// Where it was decided.
#[derive(Serialize, ToSchema)]
pub(super) struct Blocked {
    code: &'static str,
    lsn: u64,
    epoch: u32,
}

type SeatsJson = Result<Json<SeatsBody>, JsonRejection>;

#[utoipa::path(post, path = "/v1/admin/events/{id}/block", tag = "admin", params(("id" = u32, Path, description = "the event")),
    request_body = SeatsBody,
    responses((status = 200, body = Blocked), (status = 400), (status = 401), (status = 404), (status = 409)))]
/// Takes free seats out of sale.
pub(super) async fn block(
    State(http): State<Arc<Http>>,
    path: IdPath,
    body: SeatsJson,
) -> Result<Json<Blocked>, ApiError> {
    set_blocked(&http, path, body, true).await
}

#[utoipa::path(post, path = "/v1/admin/events/{id}/unblock", tag = "admin", params(("id" = u32, Path, description = "the event")),
    request_body = SeatsBody,
    responses((status = 200, body = Blocked), (status = 400), (status = 401), (status = 404), (status = 409)))]
/// Puts blocked seats back on sale.
pub(super) async fn unblock(
    State(http): State<Arc<Http>>,
    path: IdPath,
    body: SeatsJson,
) -> Result<Json<Blocked>, ApiError> {
    set_blocked(&http, path, body, false).await
}

async fn set_blocked(
    http: &Http,
    path: IdPath,
    body: SeatsJson,
    blocked: bool,
) -> Result<Json<Blocked>, ApiError> {
    let event = find(http, path)?;
    let usage = "send JSON like {\"section\": 0, \"row\": 3, \"seats\": [0, 1]}";
    let Json(body) =
        body.map_err(|error| ApiError::bad_request(format!("{}; {usage}", error.body_text())))?;
    let section = event.sections().get(usize::from(body.section));
    let section = section.ok_or_else(|| ApiError::unknown_section(body.section))?;
    if u32::from(body.row) >= section.rows {
        let message =
            format!("the section has {} rows, numbered from 0; there is no row {}", section.rows, body.row);
        return Err(ApiError::new(StatusCode::NOT_FOUND, "unknown_row", message));
    }
    let seats = Seats::from_places(&body.seats).map_err(|error| {
        ApiError::bad_request(match error {
            SeatsError::Empty => format!("no seat is named; {usage}"),
            SeatsError::Duplicate { place } => format!("seat {place} is named twice; name each once"),
            SeatsError::TooFarApart { low, high } => {
                format!("seats {low} and {high} are 64 or more apart; send them in two requests")
            }
        })
    })?;
    let row = RowRef::new(event.id(), body.section, body.row);
    let answer = http.sales.set_blocked(row, seats, blocked).await;
    if answer.code.is_refusal() {
        return Err(ApiError::refused(answer.code, answer.seats));
    }
    Ok(Json(Blocked { code: answer.code.name(), lsn: answer.lsn, epoch: answer.epoch }))
}
