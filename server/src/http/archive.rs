//! Events that are over: archived, and looked at in their archives.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use frontrow_engine::HugePages;
use frontrow_shard::{
    ArchiveStep, Code, ColdBooking, ColdEvent, EventId, EventState, Millis, ReadOut, Seats, UserId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::admin::{blocking, internal};
use super::browse::{EventLine, find};
use super::error::ApiError;
use super::sales::LiveRow;
use super::{Http, Stop};
use crate::catalogue::{Catalogue, Event};
use crate::cold::{Cold, header};

/// How often events that are due are looked for, and archives that nobody asks for are let go of.
const TURN: Duration = Duration::from_secs(1);
/// How often what still runs about an event is looked at again, and the pause before each.
const LOOKS: u32 = 200;
const LOOK_PAUSE: Duration = Duration::from_millis(10);
/// Bookings in an answer, if nothing else is asked for, and at most.
const BOOKINGS: usize = 1000;
const BOOKINGS_MAX: usize = 100_000;

type IdPath = Result<Path<EventId>, PathRejection>;

#[utoipa::path(post, path = "/v1/admin/events/{id}/archive", tag = "admin", params(("id" = u32, Path, description = "the event")),
    responses((status = 200, body = EventLine), (status = 401), (status = 404),
        (status = 409, description = "not_closed, or holds_running"), (status = 500)))]
/// Archives a closed event: it goes to a file and leaves memory.
pub(super) async fn archive(
    State(http): State<Arc<Http>>,
    path: IdPath,
) -> Result<Json<EventLine>, ApiError> {
    let event = find(&http, path)?;
    if event.state() == EventState::Archived {
        return Ok(Json(EventLine::of(&event)));
    }
    // A task of its own: a client that leaves must not leave half of it undone.
    let work = tokio::spawn(async move { put_away(&http, event.id()).await });
    let event = work.await.map_err(|_| internal("archiving failed; the server's log says why"))??;
    Ok(Json(EventLine::of(&event)))
}

/// Archives an event, from wherever an earlier attempt was cut off.
async fn put_away(http: &Arc<Http>, event: EventId) -> Result<Arc<Event>, ApiError> {
    let _one_at_a_time = http.archiving.lock().await;
    let refused = |code| ApiError::refused(code, Seats::NONE);
    let look = http.sales.read_out(event, false).await.map_err(refused)?;
    let begun = look.iter().any(|part| is_cold(part.state));
    if look.iter().any(|part| !is_cold(part.state) && part.state != EventState::Closed) {
        let message = "the event is not closed; close it first: frontrow event close";
        return Err(ApiError::new(StatusCode::CONFLICT, "not_closed", message));
    }
    // So that nobody who may still book is refused for the time of an attempt that fails.
    if !begun && look.iter().any(|part| part.running) {
        return Err(still_running());
    }
    let is_over = look.iter().all(|part| part.state == EventState::Archived);
    if !is_over {
        let parts = read_whole(http, event).await?;
        let (catalogue, cold, now_ms) = (Arc::clone(&http.catalogue), Arc::clone(&http.cold), (http.clock)());
        blocking(move || {
            let parts = with_archived(&catalogue, &cold, event, parts, now_ms)?;
            let partitions = parts.len() as u16;
            let whole = ColdEvent::new(event, partitions, now_ms, parts);
            let body = whole.to_bytes().map_err(|error| internal(&error.to_string()))?;
            catalogue.write_archive(event, &header(cold.cluster(), event, &body), &body)?;
            cold.forget(event);
            // What is about to leave memory must be readable where it stands now.
            open(&catalogue, &cold, event, now_ms).map(|_| ())
        })
        .await?;
        http.sales.archive(event, ArchiveStep::End).await.map_err(refused)?;
    }
    let (catalogue, now_ms) = (Arc::clone(&http.catalogue), (http.clock)());
    let done = blocking(move || Ok(catalogue.set_state(event, EventState::Archived, now_ms)?)).await?;
    http.sales.forget(event);
    let _ = tokio::task::spawn_blocking(HugePages::give_back).await;
    tracing::info!(event, "archived");
    Ok(done)
}

fn is_cold(state: EventState) -> bool {
    matches!(state, EventState::Archiving | EventState::Archived)
}

fn still_running() -> ApiError {
    ApiError::refused(Code::HoldsRunning, Seats::NONE)
}

/// Begins on all partitions and reads them out once nothing is on its way any more.
async fn read_whole(http: &Arc<Http>, event: EventId) -> Result<Vec<ReadOut>, ApiError> {
    let refused = |code| ApiError::refused(code, Seats::NONE);
    let begun = http.sales.archive(event, ArchiveStep::Begin).await;
    let looks = if begun.is_ok() { LOOKS } else { 0 };
    for _ in 0..looks {
        let look = http.sales.read_out(event, false).await.map_err(refused)?;
        if !look.iter().any(|part| part.running) {
            let parts = http.sales.read_out(event, true).await.map_err(refused)?;
            if !parts.iter().any(|part| part.running) {
                return Ok(parts);
            }
        }
        tokio::time::sleep(LOOK_PAUSE).await;
    }
    // Refused where some part is archived already, which changes nothing there.
    let _ = http.sales.archive(event, ArchiveStep::Undo).await;
    begun.map_err(refused)?;
    Err(still_running())
}

/// The parts, with those of partitions that have archived the event already from the file that stands.
fn with_archived(
    catalogue: &Catalogue,
    archives: &crate::cold::Archives,
    event: EventId,
    parts: Vec<ReadOut>,
    now_ms: Millis,
) -> Result<Vec<ReadOut>, ApiError> {
    if !parts.iter().any(|part| part.state == EventState::Archived) {
        return Ok(parts);
    }
    let cold = open(catalogue, archives, event, now_ms)?;
    let from_file = |part: ReadOut| match part.state {
        EventState::Archived => cold.view().part(part.partition).ok_or_else(|| {
            internal("the event's archive lacks a partition; put it back from a standby or a backup")
        }),
        _ => Ok(part),
    };
    parts.into_iter().map(from_file).collect()
}

fn open(
    catalogue: &Catalogue,
    archives: &crate::cold::Archives,
    event: EventId,
    now_ms: Millis,
) -> Result<Arc<Cold>, ApiError> {
    Ok(archives.open(event, &catalogue.archive_path(event), now_ms)?)
}

async fn opened(http: &Arc<Http>, event: EventId) -> Result<Arc<Cold>, ApiError> {
    let (catalogue, archives, now_ms) = (Arc::clone(&http.catalogue), Arc::clone(&http.cold), (http.clock)());
    blocking(move || open(&catalogue, &archives, event, now_ms)).await
}

/// The seats of a section, from whom `ask` asks or from the archive.
pub(super) async fn section_rows<F: Future<Output = Result<Vec<LiveRow>, Code>>>(
    http: &Arc<Http>,
    event: &Event,
    section: u16,
    ask: impl FnOnce(EventId, u16) -> F,
) -> Result<Vec<LiveRow>, ApiError> {
    let cold =
        |cold: &Cold| cold.view().section(section).map(|(row, state)| LiveRow { row, state }).collect();
    if event.state() == EventState::Archived {
        return opened(http, event.id()).await.map(|it| cold(&it));
    }
    let rows = ask(event.id(), section).await;
    let rows = rows.map_err(|code| ApiError::refused(code, Seats::NONE))?;
    let wanted = event.sections().get(usize::from(section)).map_or(0, |section| section.rows as usize);
    if event.state() == EventState::Closed && rows.len() < wanted {
        // It is leaving memory just now; its archive is written before anything of it goes.
        return opened(http, event.id()).await.map(|it| cold(&it));
    }
    Ok(rows)
}

/// Whose bookings, and how many of them.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BookingsQuery {
    user: Option<UserId>,
    #[serde(default)]
    from: usize,
    most: Option<usize>,
}

impl BookingsQuery {
    fn most(&self) -> usize {
        self.most.unwrap_or(BOOKINGS).min(BOOKINGS_MAX)
    }
}

/// Seats in one row.
#[derive(Serialize, ToSchema)]
pub(super) struct BookedSeats {
    row: u16,
    /// Places, as in the map.
    seats: Vec<u8>,
}

/// A booking.
#[derive(Serialize, ToSchema)]
pub(super) struct Booking {
    /// As a text: not every JSON reader keeps 64 bits.
    user: String,
    section: u16,
    rows: Vec<BookedSeats>,
    /// Until when the seats would have been held; the booking came before. Ms since 1970.
    held_until_ms: u64,
    /// The fence's position, epoch, place and unguessable part.
    lsn: u64,
    epoch: u32,
    slot: u32,
    nonce: String,
}

impl Booking {
    fn of(it: &ColdBooking) -> Self {
        let seats = |part: &frontrow_shard::cold::ColdPart| BookedSeats {
            row: part.row,
            seats: part.seats.places().collect(),
        };
        Self {
            user: it.user.to_string(),
            section: it.section,
            rows: it.parts.iter().map(seats).collect(),
            held_until_ms: it.held_until_ms,
            lsn: it.lsn,
            epoch: it.epoch,
            slot: it.slot,
            nonce: it.nonce.to_string(),
        }
    }
}

/// Bookings of an event, by user.
#[derive(Serialize, ToSchema)]
pub(super) struct BookingList {
    event: EventId,
    /// How many there are, of this user or in all.
    total: usize,
    /// Whether they come from the archive.
    archived: bool,
    bookings: Vec<Booking>,
}

#[utoipa::path(get, path = "/v1/admin/events/{id}/bookings", tag = "admin", params(
    ("id" = u32, Path, description = "the event"), ("user" = Option<u64>, Query, description = "of this user only"),
    ("from" = Option<usize>, Query, description = "leave out so many"),
    ("most" = Option<usize>, Query, description = "give at most so many; 1000 if left out")),
    responses((status = 200, body = BookingList), (status = 400), (status = 401), (status = 404), (status = 500)))]
/// An event's bookings, by user; from its archive, if it has been archived.
pub(super) async fn bookings(
    State(http): State<Arc<Http>>,
    path: IdPath,
    query: Result<Query<BookingsQuery>, QueryRejection>,
) -> Result<Json<BookingList>, ApiError> {
    let event = find(&http, path)?;
    let Query(query) = query.map_err(|error| {
        ApiError::bad_request(format!("{}; give user, from and most only", error.body_text()))
    })?;
    let id = event.id();
    if event.state() == EventState::Archived {
        return from_archive(&http, id, &query).await;
    }
    let parts = http.sales.read_out(id, true).await.map_err(|code| ApiError::refused(code, Seats::NONE))?;
    if parts.iter().any(|part| part.state == EventState::Archived) {
        // It is leaving memory just now; its archive is written before anything of it goes.
        return from_archive(&http, id, &query).await;
    }
    let found = ColdEvent::new(id, parts.len() as u16, 0, parts).bookings;
    let found: Vec<_> =
        found.into_iter().filter(|it| query.user.is_none_or(|user| user == it.user)).collect();
    let bookings = found.iter().skip(query.from).take(query.most()).map(Booking::of).collect();
    Ok(Json(BookingList { event: id, total: found.len(), archived: false, bookings }))
}

async fn from_archive(
    http: &Arc<Http>,
    event: EventId,
    query: &BookingsQuery,
) -> Result<Json<BookingList>, ApiError> {
    let cold = opened(http, event).await?;
    let found = cold.view().bookings(query.user);
    let total = found.len();
    let bookings = found.skip(query.from).take(query.most()).map(|it| Booking::of(&it)).collect();
    Ok(Json(BookingList { event, total, archived: true, bookings }))
}

/// The closed events whose time to be archived has come.
fn due(catalogue: &Catalogue, after: Duration, now_ms: Millis) -> Vec<EventId> {
    let closed = catalogue.search("", Some(EventState::Closed));
    let after = after.as_millis() as Millis;
    let is_due = |event: &Arc<Event>| {
        // Closed by a server that did not note when: as if at its creation.
        event.closed_ms().unwrap_or(event.created_ms()).saturating_add(after) <= now_ms
    };
    closed.iter().filter(|event| is_due(event)).map(|event| event.id()).collect()
}

/// Ends what an earlier process had begun, archives what is due, and lets go of archives nobody asks for.
pub(crate) async fn keep(http: Arc<Http>, mut stop: Stop) {
    let mut is_begun = false;
    loop {
        // Not known yet as long as a start waits for its standby.
        if let Some(events) = http.unfinished.get().filter(|_| !is_begun) {
            is_begun = true;
            for &event in events {
                if let Err(error) = put_away(&http, event).await {
                    tracing::error!(
                        event,
                        ?error,
                        "archiving had begun before the start and cannot be ended"
                    );
                }
            }
        }
        tokio::select! {
            () = stop.asked() => return,
            () = tokio::time::sleep(TURN) => {}
        }
        let now_ms = (http.clock)();
        http.cold.sweep(now_ms);
        let Some(after) = http.archive_after else { continue };
        for event in due(&http.catalogue, after, now_ms) {
            if let Err(error) = put_away(&http, event).await {
                tracing::debug!(event, ?error, "not archived yet");
            }
        }
    }
}

#[cfg(test)]
mod tests;
