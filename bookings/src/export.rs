//! An event's sales as CSV and NDJSON, page by page, so that no export is ever whole in memory. Bookings come in the order
//! of their names; what is booked meanwhile is in it if its turn had not come.

use crate::booking::{Booking, BookingId, BookingView};
use crate::store::{Store, StoreError};
use axum::body::{Body, Bytes};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use frontrow_shard::EventId;
use std::sync::Arc;

/// Bookings read at a time.
const PAGE: usize = 1000;

const HEAD: [&str; 9] =
    ["id", "state", "event", "section", "row", "seats", "user", "booked_ms", "cancelled_ms"];

type Page = fn(&[Booking], bool) -> Result<Vec<u8>, StoreError>;

/// `is_behind`: it may lack the newest bookings, and its name says so.
pub(crate) fn csv(store: Arc<dyn Store>, event: EventId, is_behind: bool) -> Response {
    exported(store, (event, is_behind), ("text/csv; charset=utf-8", "csv"), csv_page)
}

pub(crate) fn ndjson(store: Arc<dyn Store>, event: EventId, is_behind: bool) -> Response {
    exported(store, (event, is_behind), ("application/x-ndjson", "ndjson"), ndjson_page)
}

fn exported(
    store: Arc<dyn Store>,
    (event, is_behind): (EventId, bool),
    (kind, ending): (&'static str, &str),
    page: Page,
) -> Response {
    let (send, mut receive) = tokio::sync::mpsc::channel::<Result<Bytes, StoreError>>(2);
    // Ends when the client goes, for then nobody receives.
    tokio::task::spawn_blocking(move || {
        let mut after: Option<BookingId> = None;
        loop {
            let first = after.is_none();
            let read = store.of_event(event, after, PAGE);
            let (bytes, last) = match read.and_then(|found| Ok((page(&found, first)?, found))) {
                Ok((bytes, found)) => {
                    (Ok(bytes.into()), found.last().map(|it| it.id).filter(|_| found.len() == PAGE))
                }
                Err(error) => {
                    tracing::error!(%error, event, "an export is cut off");
                    (Err(error), None)
                }
            };
            if send.blocking_send(bytes).is_err() || last.is_none() {
                return;
            }
            after = last;
        }
    });
    let pages = futures_util::stream::poll_fn(move |context| receive.poll_recv(context));
    let behind = if is_behind { "-behind" } else { "" };
    let name = format!("attachment; filename=\"event-{event}{behind}.{ending}\"");
    let headers = [(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, name)];
    (headers, Body::from_stream(pages)).into_response()
}

fn csv_page(bookings: &[Booking], first: bool) -> Result<Vec<u8>, StoreError> {
    let mut out = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| StoreError::Unfit(error.to_string());
    if first {
        out.write_record(HEAD).map_err(failed)?;
    }
    for booking in bookings {
        let view = BookingView::from(booking);
        let state = if booking.cancelled_ms.is_some() { "cancelled" } else { "booked" };
        for row in &booking.seats {
            let seats: Vec<String> = row.seats.iter().map(ToString::to_string).collect();
            let cancelled = booking.cancelled_ms.map(|ms| ms.to_string()).unwrap_or_default();
            out.write_record([
                &view.id,
                state,
                &view.event.to_string(),
                &view.section.to_string(),
                &row.row.to_string(),
                &seats.join(" "),
                &view.user,
                &view.booked_ms.to_string(),
                &cancelled,
            ])
            .map_err(failed)?;
        }
    }
    out.into_inner().map_err(|error| StoreError::Unfit(error.to_string()))
}

fn ndjson_page(bookings: &[Booking], _first: bool) -> Result<Vec<u8>, StoreError> {
    let mut out = Vec::new();
    for booking in bookings {
        serde_json::to_writer(&mut out, &BookingView::from(booking))
            .map_err(|error| StoreError::Unfit(error.to_string()))?;
        out.push(b'\n');
    }
    Ok(out)
}
