//! A socket's life on its core: one task reads, one writes, and it may move to another core in between.

use super::dispatch::{self, Verdict};
use super::message::{Arrival, ConnId, CoreMessage, Origin};
use super::metrics::Metrics;
use super::room::Room;
use super::state::{Core, mono_ns, read_clock};
use super::transport::{Incoming, Transport, Ws};
use crate::http::Place;
use crate::identity::Identity;
use frontrow_engine::{Closer, Engine, LocalNotify};
use frontrow_protocol::{
    DecodeError, ErrorReply, Goodbye, WireCode, claimed_id, decode_client, decode_client_json, encode_error,
    encode_goodbye, split,
};
use frontrow_shard::{RowRef, UserId};
use std::cell::{Cell, RefCell};
use std::net::{Shutdown, SocketAddr};
use std::rc::Rc;

/// Requests for one other core in a row before the connection moves there.
const MOVE_AFTER: u32 = 4;

/// Bytes of what WebSocket frames are made from that a connection keeps.
const KEPT_BYTES: usize = 1024;

/// One connection, as its two tasks and the core's pump share it.
pub(crate) struct Conn<E: Engine> {
    pub(crate) id: ConnId,
    pub(crate) peer: SocketAddr,
    pub(crate) user: Cell<Option<UserId>>,
    pub(crate) identity: Cell<Option<Identity>>,
    /// Bytes that wait for the log, one buffer for each group of [`super::staging`].
    pub(crate) staged: RefCell<[Vec<u8>; 2]>,
    /// Bytes that may leave.
    pub(crate) ready: RefCell<Vec<u8>>,
    pub(crate) in_flight: Cell<u32>,
    pub(crate) watches: RefCell<Vec<RowRef>>,
    pub(crate) welcomed: Cell<bool>,
    /// When something last came in, and when the connection began: monotonic nanoseconds.
    pub(crate) heard_ns: Cell<u64>,
    pub(crate) begun_ns: u64,
    /// Tokens left of the request rate, in thousandths, and when they were counted.
    pub(crate) bucket: Cell<(u64, u64)>,
    /// The core that the last requests were for, and how many in a row.
    streak: Cell<(u16, u32)>,
    /// Its user has joined a queue through it, so news may come at any time.
    stays: Cell<bool>,
    transport: RefCell<Transport>,
    writer: RefCell<Option<E::Writer>>,
    /// Wakes the writing task.
    notify: LocalNotify,
    /// Wakes the reading task: output has gone, or a request has been answered.
    drained: LocalNotify,
    closing: Cell<bool>,
    closing_ns: Cell<u64>,
    gone: Cell<bool>,
    /// The writing task has ended.
    over: Cell<bool>,
    /// The most bytes that may wait while the client takes none.
    most_queued: usize,
    closer: Closer,
    place: RefCell<Option<Place>>,
}

impl<E: Engine> Conn<E> {
    /// Puts bytes that need not wait for the log on the way.
    pub(crate) fn say(&self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.ready.borrow_mut());
        self.bound();
        self.notify.wake();
    }

    /// Ends a connection whose client takes nothing while more and more waits for it. The writing task can't
    /// see to that: it is in the middle of a write.
    fn bound(&self) {
        let writing = self.writer.borrow().is_none();
        if writing && self.queued() > self.most_queued && !self.closing.get() {
            self.abort();
        }
    }

    /// Whether the writing task has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.over.get()
    }

    /// Since when the connection is ending, in monotonic nanoseconds; `None` while it is not.
    pub(crate) fn closing_since(&self) -> Option<u64> {
        self.closing.get().then(|| self.closing_ns.get())
    }

    pub(crate) fn error(&self, id: u128, code: WireCode, retry_after_ms: u32) {
        self.error_saying(id, code, retry_after_ms, code.advice().message);
    }

    /// An error in other words than the code's own.
    pub(crate) fn error_saying(&self, id: u128, code: WireCode, retry_after_ms: u32, message: &str) {
        let message = std::borrow::Cow::Borrowed(message);
        self.say(|out| {
            encode_error(&ErrorReply { retry_after_ms, message, ..ErrorReply::of(id, code) }, out);
        });
    }

    /// The group's commit is durable: its bytes may leave.
    pub(crate) fn release(&self, group: usize) {
        let mut staged = self.staged.borrow_mut();
        let mut ready = self.ready.borrow_mut();
        if ready.is_empty() {
            std::mem::swap(&mut *ready, &mut staged[group]);
        } else {
            ready.extend_from_slice(&staged[group]);
        }
        staged[group].clear();
        drop((staged, ready));
        self.bound();
        self.notify.wake();
    }

    /// Frames from another core.
    pub(crate) fn deliver(&self, frames: &[u8], ends_request: bool) {
        if ends_request {
            self.in_flight.set(self.in_flight.get().saturating_sub(1));
        }
        self.say(|out| out.extend_from_slice(frames));
    }

    pub(crate) fn queued(&self) -> usize {
        let staged = self.staged.borrow();
        self.ready.borrow().len() + staged[0].len() + staged[1].len()
    }

    /// Ends the connection with a word on why.
    pub(crate) fn goodbye(&self, code: WireCode, retry_after_ms: u32) {
        let message = std::borrow::Cow::Borrowed(code.advice().message);
        self.say(|out| encode_goodbye(&Goodbye { code, retry_after_ms, message }, out));
        self.finish();
    }

    /// Ends the connection once what is ready has been sent.
    pub(crate) fn finish(&self) {
        if !self.closing.replace(true) {
            self.closing_ns.set(mono_ns());
        }
        self.notify.wake();
        self.drained.wake();
    }

    /// Ends the connection at once: the client does not take what it is sent.
    pub(crate) fn abort(&self) {
        if !self.closing.replace(true) {
            self.closing_ns.set(mono_ns());
        }
        self.closer.close();
        self.notify.wake();
        self.drained.wake();
    }

    /// The connection stays on this core: while it moved, an offer to its user would not find it.
    pub(crate) fn stay(&self) {
        self.stays.set(true);
    }

    /// Notes which core a request was for.
    pub(crate) fn went_to(&self, core: u16) {
        let (last, n) = self.streak.get();
        self.streak.set(if last == core { (core, n.saturating_add(1)) } else { (core, 1) });
    }

    /// Bytes for the socket; `false` if there are none.
    fn take_output(&self, out: &mut Vec<u8>) -> bool {
        let mut ready = self.ready.borrow_mut();
        match &mut *self.transport.borrow_mut() {
            Transport::Tcp => std::mem::swap(out, &mut *ready),
            Transport::WebSocket(ws) => {
                ws.wrap(&mut ready, self.user.get().unwrap_or(0), out);
                if ready.is_empty() && ready.capacity() > KEPT_BYTES {
                    *ready = Vec::new();
                }
            }
        }
        !out.is_empty()
    }

    fn is_idle(&self) -> bool {
        let wrapped = match &*self.transport.borrow() {
            Transport::Tcp => false,
            Transport::WebSocket(ws) => ws.has_output(),
        };
        self.in_flight.get() == 0 && self.queued() == 0 && !wrapped && self.writer.borrow().is_some()
    }
}

/// Serves a new or handed-over connection until it ends or moves on.
pub(crate) async fn serve<E: Engine>(
    core: Rc<Core<E>>,
    (mut reader, writer): (E::Reader, E::Writer),
    arrival: ArrivalInfo,
) {
    let place = arrival.place;
    let conn = register(&core, &reader, writer, &arrival.about, place);
    let (of, writing) = (Rc::clone(&core), Rc::clone(&conn));
    E::spawn(async move {
        write(of, Rc::clone(&writing)).await;
        writing.over.set(true);
    });
    conn.identity.set(arrival.about.identity);
    if let Some(identity) = arrival.about.identity.filter(|_| arrival.about.welcomed) {
        dispatch::admit(&core, &conn, identity, true);
    }
    let mut buffer = arrival.about.leftover;
    let mut room = Room::default();
    let moved = loop {
        if !buffer.is_empty() {
            if !process(&core, &conn, &mut buffer) {
                break None;
            }
            // The other core's answers must reach this connection before it can go there.
            if let Some(to) = wants_to_move(&core, &conn) {
                while !conn.is_idle() && !conn.closing.get() {
                    conn.drained.wait().await;
                }
                if !conn.closing.get() {
                    break Some(to);
                }
            }
        }
        let most = core.shared.limits.output_queue as usize;
        while conn.queued() > most / 2 && !conn.closing.get() {
            conn.drained.wait().await;
        }
        if conn.closing.get() {
            break None;
        }
        room.make(&mut buffer);
        let (had, spare) = (buffer.len(), buffer.capacity() - buffer.len());
        let (result, back) = E::recv(&mut reader, buffer).await;
        buffer = back;
        room.came(buffer.len() - had, spare);
        match result {
            Ok(0) | Err(_) => break None,
            Ok(_) => conn.heard_ns.set(read_clock()),
        }
    };
    unregister(&core, &conn);
    if let Some(to) = moved {
        hand_over(&core, &conn, reader, to, buffer);
        return;
    }
    conn.finish();
    // Its place is free again when its socket is: a client that reads no more must not keep both.
    core.state.borrow_mut().ending.push(conn);
}

/// A connection that begins on this core.
pub(crate) struct ArrivalInfo {
    pub(crate) about: About,
    pub(crate) place: Option<Place>,
}

/// What is known of a connection when it begins on a core.
pub(crate) struct About {
    pub(crate) websocket: bool,
    pub(crate) leftover: Vec<u8>,
    pub(crate) identity: Option<Identity>,
    pub(crate) welcomed: bool,
    pub(crate) peer: SocketAddr,
}

fn register<E: Engine>(
    core: &Rc<Core<E>>,
    reader: &E::Reader,
    writer: E::Writer,
    about: &About,
    place: Option<Place>,
) -> Rc<Conn<E>> {
    let now = mono_ns();
    let max_message = core.shared.limits.frame as usize + 1024;
    let transport = if about.websocket {
        Transport::WebSocket(Box::new(Ws::new(max_message, about.welcomed)))
    } else {
        Transport::Tcp
    };
    let closer = E::closer(reader);
    let conn = core.state.borrow_mut().conns.insert(|id| {
        Rc::new(Conn {
            id,
            peer: about.peer,
            user: Cell::new(None),
            identity: Cell::new(None),
            staged: RefCell::default(),
            ready: RefCell::default(),
            in_flight: Cell::new(0),
            watches: RefCell::default(),
            welcomed: Cell::new(about.welcomed),
            heard_ns: Cell::new(now),
            begun_ns: now,
            bucket: Cell::new((u64::from(core.shared.limits.requests_burst) * 1000, now)),
            streak: Cell::new((core.me, 0)),
            stays: Cell::new(false),
            transport: RefCell::new(transport),
            writer: RefCell::new(Some(writer)),
            notify: LocalNotify::new(),
            drained: LocalNotify::new(),
            closing: Cell::new(false),
            closing_ns: Cell::new(0),
            gone: Cell::new(false),
            over: Cell::new(false),
            most_queued: core.shared.limits.output_queue as usize,
            closer,
            place: RefCell::new(place),
        })
    });
    Metrics::add(&core.counters().connections, 1);
    conn
}

fn unregister<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>) {
    dispatch::forget(core, conn);
    core.state.borrow_mut().conns.remove(conn.id);
    Metrics::add(&core.counters().connections, 1_u64.wrapping_neg());
}

/// Handles what has been received; what is left of it stays in `buffer`. `false` ends the connection.
fn process<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, buffer: &mut Vec<u8>) -> bool {
    let websocket = matches!(&*conn.transport.borrow(), Transport::WebSocket(_));
    let go_on = if websocket {
        let go_on = process_websocket(core, conn, buffer);
        buffer.clear();
        conn.notify.wake();
        go_on
    } else {
        let (used, go_on) = process_frames(core, conn, buffer);
        buffer.drain(..used);
        go_on
    };
    core.state.borrow_mut().flush_outbound(&core.shared, core.counters());
    core.work.wake();
    go_on
}

fn process_websocket<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, bytes: &[u8]) -> bool {
    let with = |f: &mut dyn FnMut(&mut Ws) -> Incoming| match &mut *conn.transport.borrow_mut() {
        Transport::WebSocket(ws) => f(ws),
        Transport::Tcp => Incoming::Nothing,
    };
    with(&mut |ws| {
        ws.feed(bytes);
        Incoming::Nothing
    });
    loop {
        match with(&mut Ws::next) {
            Incoming::Nothing => return true,
            Incoming::Closed => return false,
            Incoming::Binary(bytes) => {
                let (used, go_on) = process_frames(core, conn, &bytes);
                if !go_on {
                    return false;
                }
                if used < bytes.len() {
                    conn.goodbye(WireCode::Malformed, 0);
                    return false;
                }
            }
            Incoming::Text(text) => {
                let verdict = match decode_client_json(&text) {
                    Ok(message) => dispatch::handle(core, conn, &message),
                    Err(error) => {
                        let message = std::borrow::Cow::Owned(shorten(error.to_string()));
                        let reply = ErrorReply { message, ..ErrorReply::of(error.id, error.code()) };
                        conn.say(|out| encode_error(&reply, out));
                        Verdict::GoOn
                    }
                };
                if verdict == Verdict::Close {
                    return false;
                }
            }
        }
    }
}

/// Handles whole frames from the front of `bytes`. How many bytes that were, and whether to go on.
fn process_frames<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, bytes: &[u8]) -> (usize, bool) {
    let mut rest = bytes;
    let max = u32::try_from(core.shared.limits.frame).unwrap_or(u32::MAX);
    loop {
        match split(rest, max) {
            Ok(None) => return (bytes.len() - rest.len(), true),
            Ok(Some((frame, behind))) => {
                let verdict = match decode_client(frame) {
                    Ok(message) => dispatch::handle(core, conn, &message),
                    Err(error) => {
                        // Nobody is known to be there yet: such a connection is not worth keeping.
                        let fatal = conn.user.get().is_none();
                        refuse_frame(conn, claimed_id(frame), &error, fatal);
                        if fatal { Verdict::Close } else { Verdict::GoOn }
                    }
                };
                if verdict == Verdict::Close {
                    return (bytes.len(), false);
                }
                rest = behind;
            }
            Err(error) => {
                // Where the next frame begins is not known any more.
                let message = std::borrow::Cow::Owned(shorten(error.to_string()));
                let reply = ErrorReply { message, fatal: true, ..ErrorReply::of(0, error.code()) };
                conn.say(|out| encode_error(&reply, out));
                return (bytes.len(), false);
            }
        }
    }
}

fn refuse_frame<E: Engine>(conn: &Conn<E>, id: u128, error: &DecodeError, fatal: bool) {
    let message = std::borrow::Cow::Owned(shorten(error.to_string()));
    let reply = ErrorReply { message, fatal, ..ErrorReply::of(id, error.code()) };
    conn.say(|out| encode_error(&reply, out));
}

fn shorten(mut text: String) -> String {
    let mut end = text.len().min(frontrow_protocol::MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

/// The core to move to, if the connection's requests have all been for another one.
fn wants_to_move<E: Engine>(core: &Core<E>, conn: &Conn<E>) -> Option<u16> {
    let (to, n) = conn.streak.get();
    let between = match &*conn.transport.borrow() {
        Transport::Tcp => true,
        Transport::WebSocket(ws) => ws.is_between_messages() && ws.binary,
    };
    let free = conn.watches.borrow().is_empty() && between && !conn.stays.get();
    (to != core.me && n >= MOVE_AFTER && free && conn.user.get().is_some()).then_some(to)
}

fn hand_over<E: Engine>(core: &Rc<Core<E>>, conn: &Rc<Conn<E>>, reader: E::Reader, to: u16, left: Vec<u8>) {
    conn.gone.set(true);
    conn.notify.wake();
    let Some(writer) = conn.writer.borrow_mut().take() else { return };
    let Ok(connection) = E::release(reader, writer) else { return };
    let binary = matches!(&*conn.transport.borrow(), Transport::WebSocket(_));
    let arrival = Arrival {
        connection,
        websocket: binary,
        leftover: left,
        identity: conn.identity.get(),
        welcomed: true,
        peer: conn.peer,
        place: conn.place.borrow_mut().take(),
    };
    Metrics::add(&core.counters().handovers, 1);
    core.state.borrow_mut().send(&core.shared, to, CoreMessage::Arrival(Box::new(arrival)));
}

/// The writing task: one write in flight, everything that is ready in one go.
async fn write<E: Engine>(core: Rc<Core<E>>, conn: Rc<Conn<E>>) {
    let mut out = Vec::new();
    loop {
        conn.notify.wait().await;
        if conn.gone.get() {
            return;
        }
        if conn.queued() as u64 > core.shared.limits.output_queue {
            conn.abort();
        }
        while conn.take_output(&mut out) {
            let Some(mut writer) = conn.writer.borrow_mut().take() else { return };
            let (result, back) = E::send_all(&mut writer, out).await;
            conn.writer.replace(Some(writer));
            core.state.borrow_mut().buffers.give(back);
            out = Vec::new();
            conn.drained.wake();
            if result.is_err() {
                conn.abort();
                break;
            }
        }
        conn.drained.wake();
        if conn.closing.get() {
            if let Transport::WebSocket(ws) = &mut *conn.transport.borrow_mut() {
                ws.close();
            }
            let mut last = Vec::new();
            conn.take_output(&mut last);
            let writer = conn.writer.borrow_mut().take();
            if let Some(mut writer) = writer {
                let _ = E::send_all(&mut writer, last).await;
                let _ = E::shutdown(&writer, Shutdown::Both);
            }
            conn.place.borrow_mut().take();
            return;
        }
    }
}

/// The sender's side of [`Origin`].
pub(crate) fn origin<E: Engine>(core: &Core<E>, conn: &Conn<E>) -> Origin {
    Origin { core: core.me, conn: conn.id }
}
