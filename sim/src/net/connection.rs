//! A connection's two ends: sending, receiving, closing, and what happens when the other side is gone.

use super::pipe::{Parcel, Pipe};
use super::{Net, NetEvent};
use crate::rng::Rng;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr};
use std::task::{Poll, Waker};

/// One of a connection's two ends: 0 connected, 1 accepted.
pub(crate) type Side = usize;

/// One end of a connection.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) node: usize,
    pub(crate) addr: SocketAddr,
    pub(crate) reader: bool,
    pub(crate) writer: bool,
    /// No more is to be received: `shutdown` said so.
    pub(crate) deaf: bool,
    /// What ended it; told once, and from then on it is closed.
    pub(crate) error: Option<ErrorKind>,
    /// The node knows this end no more: it is closed, or its process or machine has died.
    pub(crate) gone: bool,
}

impl End {
    pub(crate) fn new(node: usize, addr: SocketAddr) -> Self {
        Self { node, addr, reader: true, writer: true, deaf: false, error: None, gone: false }
    }
}

/// Two ends and what is between them; `pipes[s]` begins at end `s`.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) ends: [End; 2],
    pub(crate) pipes: [Pipe; 2],
}

/// What the network needs of the world to do something.
pub(crate) struct Around<'a> {
    pub(crate) now_ns: u64,
    pub(crate) rng: &'a mut Rng,
    /// Which nodes answer at all.
    pub(crate) up: &'a [bool],
    /// Events to be scheduled.
    pub(crate) later: &'a mut Vec<(u64, NetEvent)>,
}

impl Net {
    /// Whether packets get from one node to another.
    pub(crate) fn passes(&self, around: &Around<'_>, from: usize, to: usize) -> bool {
        from == to || (around.up[from] && around.up[to] && !self.links.get(from, to).cut)
    }

    /// Puts some of `bytes` on the way; how many. Pending while the window is full.
    pub(crate) fn send(
        &mut self,
        around: &mut Around<'_>,
        (id, from): (u64, Side),
        bytes: &[u8],
        waker: &Waker,
    ) -> Poll<Result<usize, ErrorKind>> {
        let Some(connection) = self.connections.get_mut(&id) else {
            return Poll::Ready(Err(ErrorKind::BrokenPipe));
        };
        if let Some(error) = connection.ends[from].error.take() {
            return Poll::Ready(Err(error));
        }
        let nodes = (connection.ends[from].node, connection.ends[1 - from].node);
        let pipe = &mut connection.pipes[from];
        if pipe.closed {
            return Poll::Ready(Err(ErrorKind::BrokenPipe));
        }
        let room = pipe.room(self.options.window);
        if room == 0 {
            pipe.writer = Some(waker.clone());
            return Poll::Pending;
        }
        let mut most = bytes.len().min(room).min(self.options.segment);
        if around.rng.per_million(self.options.fragmented) {
            most = 1 + around.rng.index(most.min(64));
        }
        let at = self.links.carry(nodes, around.now_ns, most, &self.options, around.rng);
        let at = at.max(pipe.last_arrival_ns());
        pipe.flight.push_back((at, Parcel::Bytes(bytes[..most].to_vec())));
        pipe.sent += most as u64;
        around.later.push((at, NetEvent::Arrive { connection: id, from }));
        Poll::Ready(Ok(most))
    }

    /// Appends what has arrived to `buffer`, up to its capacity; 0 is the other side's end.
    pub(crate) fn receive(
        &mut self,
        around: &mut Around<'_>,
        (id, to): (u64, Side),
        buffer: &mut Vec<u8>,
        waker: &Waker,
    ) -> Poll<Result<usize, ErrorKind>> {
        let Some(connection) = self.connections.get_mut(&id) else { return Poll::Ready(Ok(0)) };
        let pipe = &mut connection.pipes[1 - to];
        if !pipe.arrived.is_empty() {
            let mut most = pipe.arrived.len().min(buffer.capacity() - buffer.len());
            if around.rng.per_million(self.options.short_reads) {
                most = 1 + around.rng.index(most);
            }
            buffer.extend(pipe.arrived.drain(..most));
            pipe.taken += most as u64;
            self.acknowledge(around, id, 1 - to);
            return Poll::Ready(Ok(most));
        }
        if let Some(error) = connection.ends[to].error.take() {
            return Poll::Ready(Err(error));
        }
        if pipe.ended || connection.ends[to].deaf {
            return Poll::Ready(Ok(0));
        }
        pipe.reader = Some(waker.clone());
        Poll::Pending
    }

    /// Tells a sender what was taken, if the way back is open.
    fn acknowledge(&mut self, around: &mut Around<'_>, id: u64, from: Side) {
        let Some(connection) = self.connections.get(&id) else { return };
        let back = (connection.ends[1 - from].node, connection.ends[from].node);
        let open = self.passes(around, back.0, back.1);
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[from];
        if open {
            pipe.acknowledged = pipe.taken;
            if pipe.flight.front().is_none_or(|(at, _)| *at > around.now_ns) {
                pipe.silent_since_ns = None;
            }
            pipe.wake_writer();
        } else {
            self.silence(around, id, from);
        }
    }

    /// The sender hears nothing from the other side: from now on its patience runs out.
    fn silence(&mut self, around: &mut Around<'_>, id: u64, from: Side) {
        let patience = self.options.give_up.as_nanos() as u64;
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let pipe = &mut connection.pipes[from];
        if pipe.silent_since_ns.is_none() {
            pipe.silent_since_ns = Some(around.now_ns);
            let event = NetEvent::GiveUp { connection: id, from, since_ns: around.now_ns };
            around.later.push((around.now_ns + patience, event));
        }
    }

    /// What has come to the end of its way is there.
    pub(crate) fn arrive(&mut self, around: &mut Around<'_>, id: u64, from: Side) {
        loop {
            let Some(connection) = self.connections.get(&id) else { return };
            let (near, far) = (connection.ends[from].node, connection.ends[1 - from].node);
            if connection.pipes[from].flight.front().is_none_or(|(at, _)| *at > around.now_ns) {
                return;
            }
            if !self.passes(around, near, far) {
                return self.silence(around, id, from);
            }
            let Some(connection) = self.connections.get_mut(&id) else { return };
            let (end, pipe) = (&connection.ends[1 - from], &mut connection.pipes[from]);
            let Some((_, parcel)) = pipe.flight.pop_front() else { return };
            if end.gone {
                // Nobody there knows this connection: the sender is told so.
                let at = self.links.carry((far, near), around.now_ns, 0, &self.options, around.rng);
                around.later.push((at, NetEvent::Reset { connection: id, to: from }));
                continue;
            }
            match parcel {
                Parcel::Bytes(bytes) if end.deaf => {
                    pipe.taken += bytes.len() as u64;
                    self.acknowledge(around, id, from);
                }
                Parcel::Bytes(bytes) => {
                    pipe.arrived.extend(bytes);
                    pipe.wake_reader();
                }
                Parcel::End => {
                    pipe.ended = true;
                    pipe.wake_reader();
                }
            }
        }
    }

    /// A sender has waited long enough, if nothing was heard since.
    pub(crate) fn give_up(&mut self, id: u64, from: Side, since_ns: u64) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.pipes[from].silent_since_ns == Some(since_ns) && !connection.ends[from].gone {
            Self::fail(connection, from, ErrorKind::TimedOut);
        }
    }

    /// A reset reaches an end.
    pub(crate) fn reset(&mut self, around: &Around<'_>, id: u64, to: Side) {
        let Some(connection) = self.connections.get(&id) else { return };
        let (near, far) = (connection.ends[to].node, connection.ends[1 - to].node);
        // One that is lost is not sent again; the next try to send brings another.
        if !self.passes(around, far, near) {
            return;
        }
        if let Some(connection) = self.connections.get_mut(&id)
            && !connection.ends[to].gone
        {
            Self::fail(connection, to, ErrorKind::ConnectionReset);
        }
    }

    /// Ends a connection at one of its ends, with an error; what has arrived can still be read.
    fn fail(connection: &mut Connection, at: Side, error: ErrorKind) {
        connection.ends[at].error.get_or_insert(error);
        connection.pipes[at].flight.clear();
        connection.pipes[at].closed = true;
        connection.pipes[1 - at].ended = true;
        connection.pipes[at].wake_writer();
        connection.pipes[1 - at].wake_reader();
    }

    /// Shuts an end down, as the socket call of that name does.
    pub(crate) fn shutdown(&mut self, around: &mut Around<'_>, (id, side): (u64, Side), how: Shutdown) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.ends[side].gone {
            return;
        }
        if how != Shutdown::Write {
            connection.ends[side].deaf = true;
            connection.pipes[1 - side].wake_reader();
        }
        if how != Shutdown::Read {
            self.end(around, id, side);
        }
    }

    /// Says that no more bytes come.
    fn end(&mut self, around: &mut Around<'_>, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let nodes = (connection.ends[side].node, connection.ends[1 - side].node);
        let pipe = &mut connection.pipes[side];
        if std::mem::replace(&mut pipe.closed, true) {
            return;
        }
        pipe.wake_writer();
        let at = self.links.carry(nodes, around.now_ns, 0, &self.options, around.rng);
        let at = at.max(pipe.last_arrival_ns());
        pipe.flight.push_back((at, Parcel::End));
        around.later.push((at, NetEvent::Arrive { connection: id, from: side }));
    }

    /// A half is dropped. A dropped writer is a half-close; with both gone the socket is closed.
    pub(crate) fn drop_half(&mut self, around: &mut Around<'_>, (id, side): (u64, Side), writer: bool) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        let end = &mut connection.ends[side];
        if writer {
            end.writer = false;
        } else {
            end.reader = false;
        }
        let closed = !end.writer && !end.reader;
        if !around.up[end.node] {
            // Its machine has lost power: nobody is told.
            end.gone |= closed;
            self.sweep(id);
        } else if closed {
            self.close(around, id, side);
        } else if writer {
            self.end(around, id, side);
        }
    }

    /// Closes a socket: with unread bytes the other side is reset, otherwise it sees the end.
    pub(crate) fn close(&mut self, around: &mut Around<'_>, id: u64, side: Side) {
        let Some(connection) = self.connections.get_mut(&id) else { return };
        if connection.ends[side].gone {
            return;
        }
        if connection.pipes[1 - side].arrived.is_empty() {
            self.end(around, id, side);
        } else {
            let nodes = (connection.ends[side].node, connection.ends[1 - side].node);
            // What was under way may be overtaken by the reset.
            connection.pipes[side].flight.clear();
            let at = self.links.carry(nodes, around.now_ns, 0, &self.options, around.rng);
            around.later.push((at, NetEvent::Reset { connection: id, to: 1 - side }));
        }
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.ends[side].gone = true;
            connection.pipes[side].closed = true;
            connection.pipes[1 - side].arrived.clear();
        }
        self.sweep(id);
    }

    /// Forgets a connection that neither side knows any more.
    fn sweep(&mut self, id: u64) {
        if self.connections.get(&id).is_some_and(|one| one.ends.iter().all(|end| end.gone)) {
            self.connections.remove(&id);
        }
    }

    /// A machine has lost power: its ends are gone, and what had arrived with them.
    pub(crate) fn power_lost(&mut self, node: usize) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            let Some(connection) = self.connections.get_mut(&id) else { continue };
            for side in 0..2 {
                if connection.ends[side].node == node {
                    connection.ends[side].gone = true;
                    connection.pipes[1 - side].arrived.clear();
                    connection.pipes[side].clear();
                }
            }
            self.sweep(id);
        }
    }

    /// A way is open again, or a node is back: what waited is sent again.
    pub(crate) fn reopened(&mut self, around: &mut Around<'_>) {
        let ids: Vec<u64> = self.connections.keys().copied().collect();
        for id in ids {
            for from in 0..2 {
                let Some(connection) = self.connections.get_mut(&id) else { continue };
                let pipe = &mut connection.pipes[from];
                if pipe.silent_since_ns.take().is_none() {
                    continue;
                }
                let at = around.now_ns + around.rng.within(self.options.again_ns.clone());
                for (arrival, _) in &mut pipe.flight {
                    *arrival = at.max(*arrival);
                }
                around.later.push((at, NetEvent::Arrive { connection: id, from }));
                self.acknowledge(around, id, from);
            }
        }
    }
}
