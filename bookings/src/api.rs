//! The routes: one's own bookings, and an event's sales for whoever runs it.
//!
//! Whose bookings are read is what the token says, and nothing in the request. Somebody else's are not found.

#![allow(unused_qualifications, reason = "utoipa writes so")]

use crate::behind::{self, Behind, BehindCode};
use crate::booking::{Booking, BookingId, BookingView, LAST_LSN, LAST_MS, NoBookingId};
use crate::export;
use crate::store::{After, Since, Store, StoreError};
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use frontrow_shard::{EventId, Lsn, PartitionId, UserId};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use utoipa::{IntoParams, OpenApi, ToSchema};

/// Bookings on a page unless another number is asked for, and the most there may be.
const PAGE: usize = 100;
const PAGE_MAX: usize = 1000;
/// How long an answer waits for what was just bought, usually.
pub const PATIENCE: Duration = Duration::from_secs(2);
/// What an LSN from 2^63 on is told: a table would take it for one below 0, which everything is behind.
const NO_LSN: &str = "no record has an lsn of 9223372036854775808 (2^63) or above: give the one that the answer to the booking had";
/// After how many seconds to ask again: for what comes by itself in a moment, and for a table that is behind.
const SOON: HeaderValue = HeaderValue::from_static("1");
const LATER: HeaderValue = HeaderValue::from_static("5");
/// How often it looks meanwhile; and for what is not there, while it is not known whether the table has everything.
const LOOK: Duration = Duration::from_millis(10);
const AGAIN: Duration = Duration::from_millis(50);
/// How long the table may take to answer, whatever hangs behind it.
const ANSWER: Duration = Duration::from_secs(4);

/// Who is asking.
pub trait Gate: Send + Sync {
    /// The user that a request's token names.
    fn user(&self, headers: &HeaderMap) -> Result<UserId, Refusal>;

    /// Whether a request may see everybody's bookings.
    fn organiser(&self, headers: &HeaderMap) -> Result<(), Refusal>;
}

/// An error answer: `{"error":{"code","message","retryable"}}`.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// HTTP's.
    pub status: StatusCode,
    /// For machines.
    pub code: &'static str,
    /// What to do.
    pub message: String,
}

impl Refusal {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into() }
    }

    fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", message)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let Self { status, code, message } = self;
        let retryable = status == StatusCode::SERVICE_UNAVAILABLE;
        let error = json!({ "error": { "code": code, "message": message, "retryable": retryable } });
        let mut response = (status, Json(error)).into_response();
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if retryable {
            let after = if code == behind::CODE { LATER } else { SOON };
            response.headers_mut().insert(header::RETRY_AFTER, after);
        }
        response
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "bookings cannot be read");
        let message = "the bookings cannot be read just now, and nothing is lost; the server's log says why";
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "bookings_away", message)
    }
}

/// What the handlers use.
pub struct Service {
    /// The table.
    pub store: Arc<dyn Store>,
    /// Who may see what.
    pub gate: Arc<dyn Gate>,
    /// How many partitions the log has.
    pub partitions: PartitionId,
    /// How long an answer waits for what was just bought.
    pub patience: Duration,
    /// Whether there is such an event; `None` where nobody knows, which says nothing of what is not in the table.
    pub event: Option<Box<dyn Fn(EventId) -> bool + Send + Sync>>,
    /// Whether the table has had everything once: what is made again is not answered from by halves.
    pub complete: Box<dyn Fn() -> bool + Send + Sync>,
    /// Why the table may lack what was booked lately, if it may. Asked before the table is: what was not behind then has it.
    pub behind: Box<dyn Fn() -> Option<BehindCode> + Send + Sync>,
    /// Waits until the table has all that was told before it was asked to: why it may lack some of it after all, if it may. Nobody
    /// is told before that something is not there.
    pub settled: Box<dyn Fn() -> Settled + Send + Sync>,
}

/// What a table that is waited for comes to.
pub type Settled = Pin<Box<dyn Future<Output = Option<BehindCode>> + Send>>;

/// Which bookings of a user's a page is made of.
#[derive(Clone, Copy)]
struct Wanted {
    user: UserId,
    event: Option<EventId>,
    after: Option<After>,
    most: usize,
    since: Since,
}

type Shared = State<Arc<Service>>;

impl Service {
    /// Asks the table, which may block, beside the thread that serves.
    async fn ask<T: Send + 'static>(
        self: &Arc<Self>,
        ask: impl FnOnce(&dyn Store) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let wait = || {
            let what = "the table of bookings is being made from the log";
            let message = match (self.behind)() {
                Some(code @ (BehindCode::Ended | BehindCode::Waiting)) => code.because(what),
                _ => format!("{what}; ask again shortly (`frontrow status` says how far it is)"),
            };
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_there_yet", message)
        };
        if !(self.complete)() {
            return Err(wait());
        }
        let store = Arc::clone(&self.store);
        let asked = move || if store.is_complete()? { ask(&*store).map(Some) } else { Ok(None) };
        let away = |error: String| StoreError::Away(error);
        let answer = tokio::time::timeout(ANSWER, tokio::task::spawn_blocking(asked)).await;
        let answer = answer.map_err(|_| away(format!("no answer for {} s", ANSWER.as_secs())))?;
        answer.map_err(|error| away(error.to_string()))??.ok_or_else(wait)
    }

    /// What is asked for, once it is there; none once the table has all that was told before, or may lack some of it after all. And
    /// why the table may lack the newest, if it may.
    async fn find<T, Asked>(
        self: Arc<Self>,
        ask: impl Fn(Arc<Self>) -> Asked,
    ) -> Result<(Option<T>, Option<BehindCode>), Refusal>
    where
        Asked: Future<Output = Result<Option<T>, Refusal>>,
    {
        let ask = || ask(Arc::clone(&self));
        let behind = (self.behind)();
        if let Some(found) = ask().await? {
            return Ok((Some(found), behind));
        }
        let mut settled = (self.settled)();
        loop {
            if let Ok(behind) = tokio::time::timeout(AGAIN, &mut settled).await {
                return Ok((ask().await?, behind));
            }
            let behind = (self.behind)();
            if let Some(found) = ask().await? {
                return Ok((Some(found), behind));
            }
        }
    }

    /// A page once what it is to have is there; none if nothing is on it.
    async fn page(self: Arc<Self>, wanted: Wanted) -> Result<Option<Vec<Booking>>, Refusal> {
        let mut waited = Duration::ZERO;
        loop {
            let Wanted { user, event, after, most, since } = wanted;
            let ask = move |store: &dyn Store| store.of_user(user, event, after, most, &since);
            if let Some(found) = self.ask(ask).await? {
                return Ok(Some(found).filter(|found| !found.is_empty()));
            }
            if waited >= self.patience {
                let behind = (self.behind)();
                let what = "the bookings have not come so far yet";
                let message = behind.map_or(format!("{what}; ask again shortly"), |code| code.because(what));
                return Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not_there_yet", message));
            }
            tokio::time::sleep(LOOK).await;
            waited += LOOK;
        }
    }
}

/// The routes over a service.
pub fn routes(service: Arc<Service>) -> Router {
    Router::new()
        .route("/v1/bookings", get(mine))
        .route("/v1/bookings/{id}", get(one))
        .route("/v1/admin/events/{id}/sales", get(sales))
        .route("/v1/admin/events/{id}/sales.csv", get(csv))
        .route("/v1/admin/events/{id}/sales.ndjson", get(ndjson))
        .with_state(service)
}

/// The routes for machines.
#[derive(OpenApi)]
#[openapi(paths(mine, one, sales, csv, ndjson), modifiers(&Keys))]
pub struct Api;

/// What is to be shown at the door.
struct Keys;

impl utoipa::Modify for Keys {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
        let bearer = || SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
        let components = api.components.get_or_insert_default();
        components.add_security_scheme("token", bearer());
        components.add_security_scheme("operator", bearer());
    }
}

/// Which of one's bookings.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct PageQuery {
    /// Of this event only.
    #[param(value_type = Option<i64>, minimum = 0, maximum = 4_294_967_295_i64)]
    event: Option<EventId>,
    /// At most so many, 1 to 1000.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    most: Option<usize>,
    /// Where the last page ended: its `next`.
    cursor: Option<String>,
    /// Not before this booking is in the table: what was just bought is in the answer.
    #[param(example = "7-0-12-2-4711-17")]
    seen: Option<String>,
    /// Not before the table has this record of a partition: `partition.lsn`, as in the change topic. An LSN is below 2^63.
    #[param(example = "3.4711")]
    after: Option<String>,
}

/// A page of bookings.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct Page {
    /// Newest first.
    bookings: Vec<BookingView>,
    /// The cursor of the next page; none if this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    next: Option<String>,
    /// There if the newest bookings may be missing: this is not all then, also where it is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<Behind>,
}

/// One booking.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct OneView {
    #[serde(flatten)]
    booking: BookingView,
    /// There if it may have been given back meanwhile.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<Behind>,
}

/// An answer, with a header that says so if it may lack the newest bookings.
struct Shown<T>(T, Option<BehindCode>);

impl<T: IntoResponse> IntoResponse for Shown<T> {
    fn into_response(self) -> Response {
        let mut response = self.0.into_response();
        response.headers_mut().extend(self.1.map(BehindCode::header));
        response
    }
}

fn wrong_query(error: &QueryRejection) -> Refusal {
    Refusal::bad_request(format!("{}; all parameters are in /openapi.json", error.body_text()))
}

#[utoipa::path(get, path = "/v1/bookings", tag = "bookings", params(PageQuery), security(("token" = [])),
    responses((status = 200, body = Page,
        headers(("frontrow-behind" = BehindCode, description = "there if the newest may be missing"))),
        (status = 400), (status = 401), (status = 503)))]
/// One's own bookings, newest first. Where the table is behind, what is there, with the field `behind`.
async fn mine(
    State(service): Shared,
    headers: HeaderMap,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Shown<Json<Page>>, Refusal> {
    let user = service.gate.user(&headers)?;
    let Query(query) = query.map_err(|error| wrong_query(&error))?;
    let most = query.most.unwrap_or(PAGE);
    if !(1..=PAGE_MAX).contains(&most) {
        return Err(Refusal::bad_request(format!("most is {most}; give 1 to {PAGE_MAX}")));
    }
    let after = query.cursor.as_deref().map(read_cursor).transpose()?;
    let since = wanted(&query, service.partitions)?;
    let wanted = Wanted { user, event: query.event, after, most: most + 1, since };
    let (found, behind) = service.find(|service| service.page(wanted)).await?;
    let mut found = found.unwrap_or_default();
    let more = found.len() > most;
    found.truncate(most);
    let next = found.last().filter(|_| more).map(write_cursor);
    let bookings = found.iter().map(BookingView::from).collect();
    Ok(Shown(Json(Page { bookings, next, behind: behind.map(BehindCode::view) }), behind))
}

fn write_cursor(last: &Booking) -> String {
    format!("{}_{}", last.booked_ms, last.id)
}

fn read_cursor(text: &str) -> Result<After, Refusal> {
    let read = || {
        let (booked_ms, id) = text.split_once('_')?;
        let after = After { booked_ms: booked_ms.parse().ok()?, id: id.parse().ok()? };
        // No table could compare it with what it has.
        (after.booked_ms <= LAST_MS && after.id.hold.lsn <= LAST_LSN).then_some(after)
    };
    read().ok_or_else(|| Refusal::bad_request("that is no cursor; give the `next` of the page before"))
}

/// What must be there before the answer.
fn wanted(query: &PageQuery, partitions: PartitionId) -> Result<Since, Refusal> {
    let named =
        |text: &str| text.parse().map_err(|error: NoBookingId| Refusal::bad_request(error.to_string()));
    let seen: Option<BookingId> = query.seen.as_deref().map(named).transpose()?;
    if let Some(id) = seen.filter(|id| id.hold.lsn > LAST_LSN) {
        return Err(Refusal::bad_request(format!("seen is {id}, and {NO_LSN}")));
    }
    let after = query.after.as_deref().map(|text| read_record(text, partitions)).transpose()?;
    Ok(Since { seen, after })
}

fn read_record(text: &str, partitions: PartitionId) -> Result<(PartitionId, Lsn), Refusal> {
    let read = || {
        let (partition, lsn) = text.split_once('.')?;
        Some((partition.parse().ok().filter(|it| *it < partitions)?, lsn.parse().ok()?))
    };
    let wrong = || {
        let message = format!("after is partition.lsn with a partition below {partitions}, as in 3.4711");
        Refusal::bad_request(message)
    };
    let (partition, lsn) = read().ok_or_else(wrong)?;
    if lsn > LAST_LSN {
        return Err(Refusal::bad_request(format!("after is {partition}.{lsn}, and {NO_LSN}")));
    }
    Ok((partition, lsn))
}

#[utoipa::path(get, path = "/v1/bookings/{id}", tag = "bookings", security(("token" = [])),
    params(("id" = String, Path, description = "event-section-row-epoch-lsn-slot, s for the row of a section",
        example = "7-0-12-2-4711-17")),
    responses((status = 200, body = OneView,
        headers(("frontrow-behind" = BehindCode, description = "there if the newest may be missing"))),
        (status = 400), (status = 401), (status = 404), (status = 503)))]
/// One of one's own bookings. Where the table is behind, one that is not there is not said not to be: 503 `behind`.
async fn one(
    State(service): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Shown<Json<OneView>>, Refusal> {
    let user = service.gate.user(&headers)?;
    let none = |error: NoBookingId| Refusal::new(StatusCode::NOT_FOUND, "unknown_booking", error.to_string());
    let id: BookingId = id.parse().map_err(none)?;
    let ask = move |store: &dyn Store| store.one(user, id);
    let (found, behind) = service.find(|service| async move { service.ask(ask).await }).await?;
    let missing = || {
        let message = format!("you have no booking {id}; your bookings are at /v1/bookings");
        let certain = Refusal::new(StatusCode::NOT_FOUND, "unknown_booking", message);
        behind.map_or(certain, |code| code.refusal(format_args!("booking {id} of yours is not known here")))
    };
    let booking = BookingView::from(found.as_ref().ok_or_else(missing)?);
    Ok(Shown(Json(OneView { booking, behind: behind.map(BehindCode::view) }), behind))
}

/// What has been sold of a section.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SectionView {
    /// Index of the section.
    section: u16,
    /// Bookings that count.
    bookings: u64,
    /// Their seats.
    seats: u64,
    /// Bookings that were given back.
    cancelled: u64,
}

/// What has been sold of an event.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct SalesView {
    /// The event.
    event: EventId,
    /// Bookings that count, all sections together.
    bookings: u64,
    /// Their seats.
    seats: u64,
    /// Bookings that were given back.
    cancelled: u64,
    /// Sections in which anything was booked.
    sections: Vec<SectionView>,
    /// There if the newest bookings and cancellations may not be counted.
    #[serde(skip_serializing_if = "Option::is_none")]
    behind: Option<Behind>,
}

/// What an export may be.
#[derive(Clone, Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub struct ExportQuery {
    /// Also where the table is behind: what is there then. Its name says so (`event-7-behind.csv`), and the header does.
    #[serde(default)]
    #[param(default = false)]
    behind: bool,
}

/// The event that a path names, if there is one.
fn event_of(service: &Service, id: &str) -> Result<EventId, Refusal> {
    let wrong = |_| Refusal::bad_request("an event is a number; the events are at /v1/events");
    let event = id.parse().map_err(wrong)?;
    if service.event.as_ref().is_some_and(|is_there| !is_there(event)) {
        let message = format!("there is no event {event}; list the events at /v1/events");
        return Err(Refusal::new(StatusCode::NOT_FOUND, "unknown_event", message));
    }
    Ok(event)
}

#[utoipa::path(get, path = "/v1/admin/events/{id}/sales", tag = "admin", security(("operator" = [])),
    params(("id" = i64, Path, minimum = 0, maximum = 4_294_967_295_i64, description = "the event")),
    responses((status = 200, body = SalesView,
        headers(("frontrow-behind" = BehindCode, description = "there if the newest may be missing"))),
        (status = 400), (status = 401), (status = 404), (status = 503)))]
/// What has been sold of an event, section by section. A server says 404 of an event that there is none of; the bookings service
/// knows of bookings only, and of such an event that nothing was sold.
async fn sales(
    State(service): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
) -> Result<Shown<Json<SalesView>>, Refusal> {
    service.gate.organiser(&headers)?;
    let event = event_of(&service, &id)?;
    let behind = (service.behind)();
    let found = service.ask(move |store| store.sales(event)).await?;
    let view = |it: &crate::store::SectionSales| SectionView {
        section: it.section,
        bookings: it.bookings,
        seats: it.seats,
        cancelled: it.cancelled,
    };
    let sections: Vec<SectionView> = found.iter().map(view).collect();
    let sum = |of: fn(&SectionView) -> u64| sections.iter().map(of).sum();
    let (bookings, seats, cancelled) = (sum(|it| it.bookings), sum(|it| it.seats), sum(|it| it.cancelled));
    let view =
        SalesView { event, bookings, seats, cancelled, sections, behind: behind.map(BehindCode::view) };
    Ok(Shown(Json(view), behind))
}

/// Of which event an export is, and whether it may lack the newest bookings. A file does not show that to whoever reads it later,
/// so one that may is made only for whoever asks for such.
async fn export_of(
    service: &Arc<Service>,
    (headers, id): (&HeaderMap, &str),
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<(EventId, Option<BehindCode>), Refusal> {
    service.gate.organiser(headers)?;
    let event = event_of(service, id)?;
    let Query(query) = query.map_err(|error| wrong_query(&error))?;
    let behind = (service.behind)();
    service.ask(|_| Ok(())).await?;
    match behind.filter(|_| !query.behind) {
        Some(code) => {
            let what = format!(
                "an export of event {event} would lack the newest bookings (?behind=true gives what is there)"
            );
            Err(code.refusal(what))
        }
        None => Ok((event, behind)),
    }
}

#[utoipa::path(get, path = "/v1/admin/events/{id}/sales.csv", tag = "admin", security(("operator" = [])),
    params(("id" = i64, Path, minimum = 0, maximum = 4_294_967_295_i64, description = "the event"), ExportQuery),
    responses((status = 200, content_type = "text/csv", body = String,
        headers(("frontrow-behind" = BehindCode, description = "there if the newest may be missing"))),
        (status = 400), (status = 401), (status = 404), (status = 503)))]
/// All bookings of an event as CSV, a line for every row of seats. Where the table is behind, 503 unless that is asked for.
async fn csv(
    State(service): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Shown<Response>, Refusal> {
    let (event, behind) = export_of(&service, (&headers, &id), query).await?;
    Ok(Shown(export::csv(Arc::clone(&service.store), event, behind.is_some()), behind))
}

#[utoipa::path(get, path = "/v1/admin/events/{id}/sales.ndjson", tag = "admin", security(("operator" = [])),
    params(("id" = i64, Path, minimum = 0, maximum = 4_294_967_295_i64, description = "the event"), ExportQuery),
    responses((status = 200, content_type = "application/x-ndjson", body = String,
        headers(("frontrow-behind" = BehindCode, description = "there if the newest may be missing"))),
        (status = 400), (status = 401), (status = 404), (status = 503)))]
/// All bookings of an event, one JSON document a line. Where the table is behind, 503 unless that is asked for.
async fn ndjson(
    State(service): Shared,
    headers: HeaderMap,
    Path(id): Path<String>,
    query: Result<Query<ExportQuery>, QueryRejection>,
) -> Result<Shown<Response>, Refusal> {
    let (event, behind) = export_of(&service, (&headers, &id), query).await?;
    Ok(Shown(export::ndjson(Arc::clone(&service.store), event, behind.is_some()), behind))
}

#[cfg(test)]
mod tests;
