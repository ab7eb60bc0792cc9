//! What a client's handles and its connection have in common.
//!
//! A request is registered and encoded by whoever makes it; the connection's task only moves bytes. The
//! lock is held for microseconds and never across an await.

use crate::endpoint::Endpoint;
use crate::error::ClientError;
use crate::news::NewsEvent;
use crate::options::Options;
use crate::watch::FeedEvent;
use frontrow_protocol::{
    ClientMessage, ErrorReply, Reply, RequestIds, ServerMessage, Topology, Welcome, encode_client,
};
use frontrow_shard::{Millis, RequestId, RowRef, mix};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, broadcast, mpsc, oneshot};

/// What answers a request.
#[allow(
    clippy::large_enum_variant,
    reason = "nearly always the large one; a box would allocate for each answer"
)]
#[derive(Clone, Debug)]
pub(crate) enum Response {
    Reply(Reply),
    Topology(Topology),
    Pong(Millis),
    /// The first frame of a snapshot.
    Watching,
}

/// An answer on its way to who asked.
pub(crate) type Outcome = Result<Response, ClientError>;

struct Pending {
    message: ClientMessage<'static>,
    answer: oneshot::Sender<Outcome>,
    /// Counts requests, so that they are repeated in the order they were made.
    nth: u64,
}

/// Where updates of a section go.
struct Feed {
    section: RowRef,
    number: u64,
    events: mpsc::Sender<FeedEvent>,
    /// Set when an update found no room.
    overflowed: Arc<AtomicBool>,
}

/// See the module.
pub(crate) struct Shared {
    pub(crate) endpoint: Endpoint,
    pub(crate) token: String,
    pub(crate) options: Options,
    /// Rung when there is something to write.
    pub(crate) write: Notify,
    /// Rung when the last handle is gone.
    pub(crate) close: Notify,
    pub(crate) news: broadcast::Sender<NewsEvent>,
    state: Mutex<State>,
}

struct State {
    welcome: Welcome,
    ids: RequestIds,
    pending: HashMap<RequestId, Pending>,
    feeds: Vec<Feed>,
    /// Frames to be written.
    out: Vec<u8>,
    online: bool,
    /// While there is no connection: what each address that was tried did.
    away: Option<String>,
    /// Why nothing will ever be answered any more.
    ended: Option<ClientError>,
    /// Counts requests and feeds.
    count: u64,
    /// Frames heard since the last look, for the keepalive.
    heard: u64,
    /// Why the request that was turned away last is being repeated.
    held_up: Option<ClientError>,
    random: u64,
}

impl Shared {
    pub(crate) fn new(
        endpoint: Endpoint,
        token: String,
        options: Options,
        welcome: Welcome,
        random: [u64; 2],
    ) -> Self {
        let news = broadcast::Sender::new(options.backlog.max(1));
        let state = State {
            welcome,
            ids: RequestIds::new(welcome.server_time_ms, random[0]),
            pending: HashMap::new(),
            feeds: Vec::new(),
            out: Vec::new(),
            online: true,
            away: None,
            ended: None,
            count: 0,
            heard: 0,
            held_up: None,
            random: random[1],
        };
        let (write, close) = (Notify::new(), Notify::new());
        Self { endpoint, token, options, write, close, news, state: Mutex::new(state) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // No code under the lock panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn welcome(&self) -> Welcome {
        self.lock().welcome
    }

    pub(crate) fn next_id(&self) -> RequestId {
        self.lock().ids.next()
    }

    /// 64 bits for spreading pauses; not secret.
    pub(crate) fn random(&self) -> u64 {
        let mut state = self.lock();
        state.random = state.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(state.random)
    }

    /// Registers a request and has it written, now or once there is a connection again.
    pub(crate) fn submit(
        self: &Arc<Self>,
        id: RequestId,
        message: ClientMessage<'static>,
    ) -> Result<Ticket, ClientError> {
        let (answer, receiver) = oneshot::channel();
        let mut guard = self.lock();
        let state = &mut *guard;
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        let Entry::Vacant(entry) = state.pending.entry(id) else { return Err(ClientError::InFlight(id)) };
        state.count += 1;
        if state.online {
            encode_client(&message, &mut state.out);
        }
        entry.insert(Pending { message, answer, nth: state.count });
        drop(guard);
        self.write.notify_one();
        Ok(Ticket { id, receiver, shared: Arc::clone(self) })
    }

    /// Has a message written that nothing waits for. Does nothing without a connection.
    pub(crate) fn say(&self, message: impl FnOnce(RequestId) -> ClientMessage<'static>) {
        let mut guard = self.lock();
        let state = &mut *guard;
        if state.online {
            let id = state.ids.next();
            encode_client(&message(id), &mut state.out);
            drop(guard);
            self.write.notify_one();
        }
    }

    /// Takes the frames to be written, and leaves `spare` to be filled.
    pub(crate) fn take_out(&self, spare: &mut Vec<u8>) {
        spare.clear();
        std::mem::swap(&mut self.lock().out, spare);
    }

    /// Why the request that was turned away last is being repeated, if it is.
    pub(crate) fn held_up(&self) -> Option<ClientError> {
        self.lock().held_up.clone()
    }

    /// A request is about to be repeated for this reason, or has come to its end.
    pub(crate) fn hold_up(&self, why: Option<ClientError>) {
        self.lock().held_up = why;
    }

    /// The connection cannot be made again so far: what each address that was tried did.
    pub(crate) fn away(&self, report: String) {
        self.lock().away = Some(report);
    }

    /// Why there is no answer, if that is because there is no connection.
    pub(crate) fn why_away(&self) -> Option<ClientError> {
        let reason = self.lock().away.clone()?;
        Some(ClientError::Closed { reason: format!("and none could be made again: {reason}") })
    }

    /// Whether somebody waits for an answer.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.lock().pending.is_empty()
    }

    /// How many frames came since the last call.
    pub(crate) fn take_heard(&self) -> u64 {
        std::mem::take(&mut self.lock().heard)
    }

    /// Passes a message on to who waits for it.
    pub(crate) fn deliver(&self, message: ServerMessage<'_>) -> Result<(), ClientError> {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.heard += 1;
        match message {
            ServerMessage::Answer(reply) => {
                state.ids.heard(reply.time_ms);
                state.answer(reply.id, Ok(Response::Reply(reply)));
            }
            ServerMessage::Pong { id, time_ms } => {
                state.ids.heard(time_ms);
                state.answer(id, Ok(Response::Pong(time_ms)));
            }
            ServerMessage::Topology(topology) => {
                state.answer(topology.id, Ok(Response::Topology(topology)));
            }
            ServerMessage::Snapshot(snapshot) => {
                let event = FeedEvent::Rows { rows: snapshot.rows.iter().collect(), last: snapshot.last };
                state.feed(snapshot.section, &event);
                state.answer(snapshot.id, Ok(Response::Watching));
            }
            ServerMessage::Delta(delta) => {
                state.feed(delta.row.section_of(), &FeedEvent::Delta(delta));
            }
            ServerMessage::Push(news) => {
                state.ids.heard(news.time_ms);
                drop(guard);
                // Nobody listening is fine.
                let _ = self.news.send(NewsEvent::News(news));
            }
            ServerMessage::Error(ErrorReply { id, code, fatal, retry_after_ms, message }) => {
                let error = ClientError::Wire { code, message: message.into_owned(), retry_after_ms };
                if fatal {
                    return Err(error);
                }
                state.answer(id, Err(error));
            }
            ServerMessage::Goodbye(goodbye) => {
                return Err(ClientError::Wire {
                    code: goodbye.code,
                    message: goodbye.message.into_owned(),
                    retry_after_ms: goodbye.retry_after_ms,
                });
            }
            ServerMessage::Welcome(_) => {
                return Err(ClientError::Protocol("a second welcome on one connection".into()));
            }
        }
        Ok(())
    }

    /// The connection is gone. Who watches must know; who waits for an answer goes on waiting.
    pub(crate) fn offline(&self) {
        let mut state = self.lock();
        state.online = false;
        state.out.clear();
        for feed in &state.feeds {
            feed.send(&FeedEvent::Lost);
        }
    }

    /// There is a connection again: repeats what has no answer yet, in its order and with its ids.
    pub(crate) fn online(&self, welcome: Welcome) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.welcome = welcome;
        state.ids.heard(welcome.server_time_ms);
        (state.online, state.away) = (true, None);
        let mut open: Vec<&Pending> = state.pending.values().collect();
        open.sort_unstable_by_key(|pending| pending.nth);
        for pending in open {
            encode_client(&pending.message, &mut state.out);
        }
        drop(guard);
        self.write.notify_one();
        let _ = self.news.send(NewsEvent::Reconnected);
    }

    /// Nothing will be answered any more.
    pub(crate) fn end(&self, error: &ClientError) {
        let mut guard = self.lock();
        let state = &mut *guard;
        state.online = false;
        state.ended.get_or_insert_with(|| error.clone());
        for (_, pending) in state.pending.drain() {
            let _ = pending.answer.send(Err(error.clone()));
        }
        for feed in state.feeds.drain(..) {
            feed.send(&FeedEvent::Ended(error.clone()));
        }
        drop(guard);
        let _ = self.news.send(NewsEvent::Ended(error.clone()));
    }

    /// Has the updates of a section sent to a new reader.
    pub(crate) fn add_feed(
        &self,
        section: RowRef,
    ) -> Result<(u64, mpsc::Receiver<FeedEvent>, Arc<AtomicBool>), ClientError> {
        let (events, receiver) = mpsc::channel(self.options.backlog.max(1));
        let overflowed = Arc::new(AtomicBool::new(false));
        let mut state = self.lock();
        if let Some(error) = &state.ended {
            return Err(error.clone());
        }
        state.count += 1;
        let number = state.count;
        state.feeds.push(Feed { section, number, events, overflowed: Arc::clone(&overflowed) });
        Ok((number, receiver, overflowed))
    }

    /// Sends a reader no more; the server is told when it was the last of the section.
    pub(crate) fn drop_feed(&self, number: u64) {
        let mut state = self.lock();
        let Some(at) = state.feeds.iter().position(|feed| feed.number == number) else { return };
        let section = state.feeds.swap_remove(at).section;
        let last = state.feeds.iter().all(|feed| feed.section != section);
        drop(state);
        if last {
            self.say(|id| ClientMessage::Unwatch { id, section });
        }
    }
}

impl State {
    fn answer(&mut self, id: RequestId, outcome: Outcome) {
        // Unknown ids are answers that came after their caller had given up.
        if let Some(pending) = self.pending.remove(&id) {
            let _ = pending.answer.send(outcome);
        }
    }

    fn feed(&mut self, section: RowRef, event: &FeedEvent) {
        for feed in self.feeds.iter().filter(|feed| feed.section == section) {
            feed.send(event);
        }
    }
}

impl Feed {
    fn send(&self, event: &FeedEvent) {
        if self.events.try_send(event.clone()).is_err() {
            self.overflowed.store(true, Ordering::Release);
        }
    }
}

/// A registered request. Dropping it forgets the request here; the server may still carry it out.
pub(crate) struct Ticket {
    id: RequestId,
    receiver: oneshot::Receiver<Outcome>,
    shared: Arc<Shared>,
}

impl Ticket {
    pub(crate) async fn answer(mut self) -> Outcome {
        let closed = || Err(ClientError::Closed { reason: "the client was closed".into() });
        (&mut self.receiver).await.unwrap_or_else(|_| closed())
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.shared.lock().pending.remove(&self.id);
    }
}
