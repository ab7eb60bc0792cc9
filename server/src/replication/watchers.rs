//! Clients that watch seats at a standby. They live on the HTTP thread: what the applier tells of changed rows is
//! numbered and sent on here as a primary's core does it, and nobody else notices.
//!
//! Invariant: what a client does not take costs that client its connection, and the applier nothing.

mod session;
#[cfg(test)]
mod tests;

use super::status::Shared;
use super::view::Views;
use crate::cluster::Member;
use crate::config::{Config, Limits};
use crate::core::{ConnId, Watched};
use crate::exposition::Families;
use crate::http::{Adopted, CoreStatus, LiveRow, Place, Sales, Soon, Stop};
use crate::identity::Verifier;
use frontrow_engine::Clock;
use frontrow_protocol::{Delta, Goodbye, WireCode, encode_delta, encode_goodbye, encode_snapshot};
use frontrow_shard::{
    Answer, ArchiveStep, Code, EventId, EventSpec, EventState, Millis, ReadOut, RequestId, RowRef, RowState,
    Seats,
};
use session::Session;
use std::borrow::Cow;
use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::Notify;

/// Between two looks at what has changed: rows that change faster are told of once in this time.
const PACE: Duration = Duration::from_millis(5);
/// When to come back after the state was let go of, or this node became the primary.
const RETRY_MS: u32 = 500;

/// All that watch, and what they watch.
pub(super) struct Watchers {
    shared: Arc<Shared>,
    views: Arc<Views>,
    verifier: Verifier,
    limits: Limits,
    /// Requests that a partition remembers.
    remembered: u32,
    member: Option<Arc<Member>>,
    hall: Mutex<Hall>,
    /// Rung when the last one has gone.
    emptied: Notify,
}

#[derive(Default)]
struct Hall {
    count: u64,
    open: HashMap<ConnId, Arc<Outbox>>,
    sections: HashMap<RowRef, Watched>,
    /// The process is about to be something else: nobody is let in any more.
    closed: bool,
}

/// Frames on their way to one client.
#[derive(Default)]
struct Outbox {
    frames: Mutex<Vec<u8>>,
    wake: Notify,
    /// The connection ends once what is here has been sent.
    last: AtomicBool,
    /// Rung when more waits than may: perhaps the client does not read.
    much: Notify,
}

impl Outbox {
    fn lock(&self) -> MutexGuard<'_, Vec<u8>> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, most: u64, write: impl FnOnce(&mut Vec<u8>)) {
        let mut frames = self.lock();
        write(&mut frames);
        let much = frames.len() as u64 > most;
        drop(frames);
        if much {
            self.much.notify_one();
        }
        self.wake.notify_one();
    }

    fn goodbye(&self, most: u64, code: WireCode, retry_after_ms: u32, message: &str) {
        let message = Cow::Borrowed(message);
        self.say(most, |out| encode_goodbye(&Goodbye { code, retry_after_ms, message }, out));
        self.last.store(true, Ordering::Release);
        self.wake.notify_one();
    }
}

impl Watchers {
    pub(super) fn new(
        config: &Config,
        verifier: Verifier,
        member: Option<Arc<Member>>,
        shared: &Arc<Shared>,
        views: &Arc<Views>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared: Arc::clone(shared),
            views: Arc::clone(views),
            verifier,
            limits: config.limits.clone(),
            remembered: config.partitions.requests_remembered,
            member,
            hall: Mutex::default(),
            emptied: Notify::new(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Hall> {
        self.hall.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends on what the applier tells, until the process becomes something else; then everybody is told to go.
    pub(super) async fn keep(self: Arc<Self>, mut stop: Stop) {
        let mut seen = 0;
        loop {
            tokio::select! {
                () = stop.asked() => break,
                () = self.views.news.notified() => {}
            }
            let news = self.views.take();
            if news.cuts == seen {
                self.tell(news.rows);
            } else {
                seen = news.cuts;
                self.send_away("the standby builds its state anew: connect again in a moment");
            }
            tokio::time::sleep(PACE).await;
        }
        self.lock().closed = true;
        self.send_away("this standby ends, or becomes the primary: connect again");
        self.is_empty();
    }

    /// Waits until nobody is connected any more, after [`Watchers::keep`] has ended.
    pub(super) async fn all_gone(&self) {
        while !(self.lock().closed && self.is_empty()) {
            self.emptied.notified().await;
        }
    }

    fn is_empty(&self) -> bool {
        let empty = self.lock().open.is_empty();
        if empty {
            self.emptied.notify_one();
        }
        empty
    }

    /// Rows have changed: numbers the changes and sends them to those who watch.
    fn tell(&self, rows: HashMap<RowRef, RowState>) {
        let mut hall = self.lock();
        let Hall { open, sections, .. } = &mut *hall;
        let mut frame = Vec::new();
        for (row, state) in rows {
            let Some(watched) = sections.get_mut(&row.section_of()) else { continue };
            let was_complete = watched.is_complete();
            let change = watched.update(row.row, &state);
            if !was_complete && watched.is_complete() {
                for (id, request) in std::mem::take(&mut watched.fresh) {
                    if let Some(outbox) = open.get(&id) {
                        self.snapshot(outbox, request, row.section_of(), watched);
                        watched.watchers.push(id);
                    }
                }
            } else if was_complete && let Some(state) = change {
                frame.clear();
                encode_delta(&Delta { row, state }, &mut frame);
                for outbox in watched.watchers.iter().filter_map(|id| open.get(id)) {
                    outbox.say(self.limits.output_queue, |out| out.extend_from_slice(&frame));
                }
            }
        }
    }

    fn snapshot(&self, outbox: &Outbox, request: RequestId, section: RowRef, watched: &Watched) {
        let rows = watched.rows.iter().map(|(&row, &seats)| (row, seats));
        let max = self.limits.frame as u32;
        // However large, it is what was asked for: only what comes on top of it is too much.
        outbox.say(u64::MAX, |out| encode_snapshot(request, section, rows, max, out));
    }

    /// Ends all connections with a word on why.
    fn send_away(&self, why: &str) {
        let mut hall = self.lock();
        for (section, _) in hall.sections.drain() {
            self.views.order(section, false, &self.shared);
        }
        for outbox in hall.open.values() {
            outbox.goodbye(u64::MAX, WireCode::ShuttingDown, RETRY_MS, why);
        }
    }

    /// Begins or goes on to watch a section for a connection. `false` if there is no such section to be watched.
    async fn watch(&self, id: ConnId, request: RequestId, section: RowRef) -> bool {
        if !self.lock().sections.contains_key(&section) {
            let Some(shown) = self.views.section(section, &self.shared).await else { return false };
            let there = u16::try_from(shown.rows.len()).unwrap_or(u16::MAX);
            if there == 0 {
                // An archived event has no rows here.
                return false;
            }
            self.lock().sections.entry(section).or_insert_with(|| {
                self.views.order(section, true, &self.shared);
                Watched { wanted: there, ..Watched::default() }
            });
        }
        let mut hall = self.lock();
        let Hall { open, sections, .. } = &mut *hall;
        let (Some(watched), Some(outbox)) = (sections.get_mut(&section), open.get(&id)) else { return true };
        if watched.is_complete() {
            self.snapshot(outbox, request, section, watched);
            if !watched.watchers.contains(&id) {
                watched.watchers.push(id);
            }
        } else {
            watched.fresh.push((id, request));
        }
        true
    }

    fn unwatch(&self, id: ConnId, section: RowRef) {
        let mut hall = self.lock();
        let Some(watched) = hall.sections.get_mut(&section) else { return };
        watched.watchers.retain(|other| *other != id);
        watched.fresh.retain(|(other, _)| *other != id);
        if watched.watchers.is_empty() && watched.fresh.is_empty() {
            hall.sections.remove(&section);
            self.views.order(section, false, &self.shared);
        }
    }

    /// Lets a connection in; `None` once nobody is.
    fn enter(&self) -> Option<(ConnId, Arc<Outbox>)> {
        let mut hall = self.lock();
        if hall.closed {
            return None;
        }
        hall.count += 1;
        let id = ConnId { slot: hall.count as u32, generation: (hall.count >> 32) as u32 };
        let outbox = Arc::<Outbox>::default();
        hall.open.insert(id, Arc::clone(&outbox));
        Some((id, outbox))
    }

    fn leave(&self, id: ConnId) {
        self.lock().open.remove(&id);
        self.is_empty();
    }

    /// The primary's time up to which all that it had is in what is seen here.
    fn seen_ms(&self) -> Millis {
        let state = self.shared.lock();
        let age_ms = state.standing(Clock::monotonic_ns()).map_or(0, |standing| standing.age_ms);
        state.onlookers_ms().saturating_sub(age_ms)
    }

    /// Where the primary's WebSocket is, if that is known.
    fn primary(&self) -> Option<String> {
        let at = self.member.as_ref()?.primary()?;
        Some(format!("ws://{}/v1/ws", at.http))
    }
}

/// The shard cores that a standby has not: sockets are taken, everything else is the primary's.
pub(super) struct Desk(pub(super) Arc<Watchers>);

/// What is refused before it gets here.
fn not_here<T: Send + 'static>() -> Soon<'static, Result<T, Code>> {
    Box::pin(async { Err(Code::NotOwner) })
}

impl Sales for Desk {
    fn create_event(&self, _: Vec<EventSpec>) -> Soon<'_, Result<(), Code>> {
        not_here()
    }

    fn set_state(&self, _: EventId, _: EventState) -> Soon<'_, Result<(), Code>> {
        not_here()
    }

    fn set_blocked(&self, _: RowRef, seats: Seats, _: bool) -> Soon<'_, Answer> {
        Box::pin(async move { Answer::refuse(Code::NotOwner, seats) })
    }

    fn section_state(&self, event: EventId, section: u16) -> Soon<'_, Result<Vec<LiveRow>, Code>> {
        let place = RowRef::new(event, section, RowRef::SECTION);
        Box::pin(async move {
            let shown = self.0.views.section(place, &self.0.shared).await;
            shown.map(|shown| shown.rows.clone()).ok_or(Code::UnknownSection)
        })
    }

    fn archive(&self, _: EventId, _: ArchiveStep) -> Soon<'_, Result<(), Code>> {
        not_here()
    }

    fn read_out(&self, _: EventId, _: bool) -> Soon<'_, Result<Vec<ReadOut>, Code>> {
        not_here()
    }

    fn forget(&self, _: EventId) {}

    fn status(&self) -> Vec<CoreStatus> {
        Vec::new()
    }

    fn metrics(&self, _: &mut Families) {}

    fn adopt_websocket(&self, socket: Adopted) {
        let Adopted { socket, leftover, identity, peer, place } = socket;
        let Some((id, outbox)) = self.0.enter() else { return };
        let session = Session::new(Arc::clone(&self.0), id, outbox, identity);
        tokio::spawn(async move {
            let _place: Place = place;
            match tokio::net::TcpStream::from_std(socket) {
                Ok(socket) => session.run(socket, leftover).await,
                Err(error) => {
                    tracing::warn!(%error, %peer, "a socket could not be taken over; closed");
                    session.end();
                }
            }
        });
    }
}
