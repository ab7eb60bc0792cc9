//! Bookings are read from their table, here as in a service of its own: the same routes, and this server's tokens and key.

use super::Http;
use super::error::ApiError;
use super::websocket::bearer;
use crate::feed::Progress;
use crate::identity::{AdminKey, Verifier};
use axum::Router;
use axum::http::{HeaderMap, StatusCode, header};
use frontrow_bookings::{BehindCode, Gate, Refusal, Service, Store};
use frontrow_shard::{Millis, UserId};
use std::sync::Arc;
use std::time::Duration;

/// How often it is looked whether the table has what is waited for.
const LOOK: Duration = Duration::from_millis(5);

/// A table of bookings beside the log.
pub(crate) struct Table {
    pub(crate) store: Arc<dyn Store>,
    pub(crate) progress: Arc<Progress>,
}

/// This server's keys.
struct Keys {
    verifier: Verifier,
    admin: AdminKey,
    clock: fn() -> Millis,
}

impl Gate for Keys {
    fn user(&self, headers: &HeaderMap) -> Result<UserId, Refusal> {
        let refused = |code, message| Refusal { status: StatusCode::UNAUTHORIZED, code, message };
        let token = headers.get(header::AUTHORIZATION).and_then(bearer).ok_or_else(|| {
            let message = "bookings are their owner's: send Authorization: Bearer <token> (on a development server POST \
                           /v1/dev/token gives one)";
            refused("no_token", message.to_owned())
        })?;
        let found = self.verifier.verify(token, (self.clock)() / 1000);
        found.map(|identity| identity.user).map_err(|error| refused(error.code(), error.to_string()))
    }

    fn organiser(&self, headers: &HeaderMap) -> Result<(), Refusal> {
        let key = headers.get(header::AUTHORIZATION).and_then(bearer);
        if key.is_some_and(|key| self.admin.matches(key.as_bytes())) {
            return Ok(());
        }
        let message = "this is for organisers: send Authorization: Bearer <admin key>";
        Err(Refusal { status: StatusCode::UNAUTHORIZED, code: "not_an_operator", message: message.into() })
    }
}

/// The keys of a server, before a service of its own.
pub fn gate(keys: &crate::identity::Keys) -> Arc<dyn Gate> {
    let clock = frontrow_engine::Clock::wall_ms;
    Arc::new(Keys { verifier: keys.verifier.clone(), admin: keys.admin.clone(), clock })
}

/// The routes of the table, if there is one.
pub(super) fn routes(http: &Arc<Http>) -> Router<Arc<Http>> {
    let Some(table) = &http.table else {
        let off = || async {
            let message = "this server keeps no table of bookings (bookings.table = \"off\", or a log that is not durable)";
            ApiError::new(StatusCode::NOT_FOUND, "no_bookings_here", message)
        };
        return Router::new()
            .route("/v1/bookings", axum::routing::get(off))
            .route("/v1/bookings/{id}", axum::routing::get(off));
    };
    let [complete, feed, settled] = [(); 3].map(|()| Arc::clone(&table.progress));
    let catalogue = Arc::clone(&http.catalogue);
    let gate = Keys { verifier: http.verifier.clone(), admin: http.admin.clone(), clock: http.clock };
    let service = Service {
        store: Arc::clone(&table.store),
        gate: Arc::new(gate),
        partitions: http.partitions,
        patience: frontrow_bookings::api::PATIENCE,
        event: Some(Box::new(move |event| catalogue.get(event).is_some())),
        complete: Box::new(move || complete.is_complete()),
        behind: Box::new(move || behind(&feed)),
        settled: Box::new(move || {
            let feed = Arc::clone(&settled);
            Box::pin(async move { wait(&feed).await })
        }),
    };
    frontrow_bookings::routes(Arc::new(service)).with_state(())
}

fn behind(feed: &Progress) -> Option<BehindCode> {
    feed.is_troubled().then_some(BehindCode::Waiting)
}

/// Waits until all that is durable now is in the table. Who has just booked asks within the moment that this takes.
async fn wait(feed: &Progress) -> Option<BehindCode> {
    let wanted = feed.want();
    let has_all = async {
        loop {
            let why = behind(feed);
            if why.is_some() || feed.has(wanted) {
                return why;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    tokio::time::timeout(frontrow_bookings::api::PATIENCE, has_all)
        .await
        .unwrap_or(Some(BehindCode::CatchingUp))
}
