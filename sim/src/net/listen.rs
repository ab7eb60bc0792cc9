//! Listeners, and connections that are being made.

use super::connection::{Around, Connection, End};
use super::pipe::Pipe;
use super::{Net, NetEvent, ip_of, node_of};
use std::collections::VecDeque;
use std::io::{Error, ErrorKind, Result};
use std::net::SocketAddr;
use std::task::{Poll, Waker};

/// A listening socket.
#[derive(Debug)]
pub(crate) struct Listening {
    pub(crate) node: usize,
    pub(crate) addr: SocketAddr,
    shared: bool,
    backlog: usize,
    waiting: VecDeque<u64>,
    accepting: Option<Waker>,
}

/// A client's try to connect.
#[derive(Debug)]
pub(crate) struct Attempt {
    from: usize,
    near: SocketAddr,
    to: SocketAddr,
    /// What the other node made of it.
    made: Option<std::result::Result<u64, ErrorKind>>,
    /// The client knows of it.
    settled: bool,
    waker: Option<Waker>,
}

impl Net {
    /// Listens on a port of a node; port 0 is any free one.
    pub(crate) fn listen(
        &mut self,
        node: usize,
        addr: SocketAddr,
        shared: bool,
        backlog: usize,
    ) -> Result<u64> {
        if node_of(addr, node) != Some(node) {
            return Err(Error::new(ErrorKind::AddrNotAvailable, "not an address of this node"));
        }
        let port = if addr.port() == 0 { self.free_port(node) } else { addr.port() };
        let taken = |one: &Listening| one.node == node && one.addr.port() == port && !(one.shared && shared);
        if self.listening.values().any(taken) {
            return Err(ErrorKind::AddrInUse.into());
        }
        let addr = SocketAddr::new(addr.ip(), port);
        let id = self.new_id();
        let (waiting, accepting) = (VecDeque::new(), None);
        self.listening.insert(id, Listening { node, addr, shared, backlog, waiting, accepting });
        Ok(id)
    }

    /// The next connection that waits: its id, and the client's address.
    pub(crate) fn accept(&mut self, listener: u64, waker: &Waker) -> Poll<Result<(u64, SocketAddr)>> {
        let Some(listening) = self.listening.get_mut(&listener) else {
            return Poll::Ready(Err(ErrorKind::NotConnected.into()));
        };
        let Some(id) = listening.waiting.pop_front() else {
            listening.accepting = Some(waker.clone());
            return Poll::Pending;
        };
        let client = self.connections.get(&id).map(|connection| connection.ends[0].addr);
        Poll::Ready(client.map(|addr| (id, addr)).ok_or_else(|| ErrorKind::ConnectionAborted.into()))
    }

    /// A listener is dropped: who waited there is reset.
    pub(crate) fn unlisten(&mut self, around: &mut Around<'_>, listener: u64) {
        let Some(listening) = self.listening.remove(&listener) else { return };
        for id in listening.waiting {
            for writer in [false, true] {
                self.drop_half(around, (id, 1), writer);
            }
        }
    }

    /// Begins to connect.
    pub(crate) fn begin_connect(&mut self, around: &mut Around<'_>, from: usize, to: SocketAddr) -> u64 {
        let id = self.new_id();
        let near = SocketAddr::new(ip_of(from), self.free_port(from));
        let attempt = Attempt { from, near, to, made: None, settled: false, waker: None };
        self.attempts.insert(id, attempt);
        if let Some(node) = node_of(to, from) {
            let at = self.links.carry((from, node), around.now_ns, 0, &self.options, around.rng);
            around.later.push((at, NetEvent::Knock { attempt: id }));
        }
        let patience = self.options.give_up.as_nanos() as u64;
        around.later.push((around.now_ns + patience, NetEvent::Abandon { attempt: id }));
        id
    }

    /// How an attempt went.
    pub(crate) fn poll_connect(&mut self, attempt: u64, waker: &Waker) -> Poll<Result<u64>> {
        let Some(found) = self.attempts.get_mut(&attempt) else {
            return Poll::Ready(Err(ErrorKind::TimedOut.into()));
        };
        match found.made {
            Some(made) if found.settled => {
                self.attempts.remove(&attempt);
                Poll::Ready(made.map_err(Error::from))
            }
            _ => {
                found.waker = Some(waker.clone());
                Poll::Pending
            }
        }
    }

    /// A client's first packet is there.
    pub(crate) fn knock(&mut self, around: &mut Around<'_>, id: u64) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let (from, near, to) = (attempt.from, attempt.near, attempt.to);
        let Some(node) = node_of(to, from).filter(|&node| node < around.up.len()) else { return };
        if !around.up[node] || !self.passes(around, from, node) {
            return;
        }
        let here = |one: &Listening| one.node == node && one.addr.port() == to.port();
        let found: Vec<u64> = self.listening.iter().filter(|(_, one)| here(one)).map(|(&id, _)| id).collect();
        let made = if found.is_empty() {
            Err(ErrorKind::ConnectionRefused)
        } else {
            let listener = *around.rng.pick(&found);
            let connection = self.new_id();
            let Some(listening) = self.listening.get_mut(&listener) else { return };
            if listening.waiting.len() >= listening.backlog {
                return;
            }
            listening.waiting.push_back(connection);
            if let Some(waker) = listening.accepting.take() {
                waker.wake();
            }
            let ends = [End::new(from, near), End::new(node, to)];
            let pipes = [Pipe::default(), Pipe::default()];
            self.connections.insert(connection, Connection { ends, pipes });
            Ok(connection)
        };
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.made = Some(made);
        }
        let at = self.links.carry((node, from), around.now_ns, 0, &self.options, around.rng);
        around.later.push((at, NetEvent::Settle { attempt: id }));
    }

    /// The answer is back at the client, if the way back is open.
    pub(crate) fn settle(&mut self, around: &Around<'_>, id: u64) {
        let Some(attempt) = self.attempts.get(&id) else { return };
        let node = node_of(attempt.to, attempt.from).unwrap_or(attempt.from);
        if !self.passes(around, node, attempt.from) {
            return;
        }
        if let Some(attempt) = self.attempts.get_mut(&id) {
            attempt.settled = true;
            if let Some(waker) = attempt.waker.take() {
                waker.wake();
            }
        }
    }

    /// The client waits no longer, or is gone. What the other node made of it is unknown here.
    pub(crate) fn abandon(&mut self, around: &mut Around<'_>, id: u64) {
        let Some(attempt) = self.attempts.remove(&id) else { return };
        if let Some(Ok(connection)) = attempt.made {
            for writer in [false, true] {
                self.drop_half(around, (connection, 0), writer);
            }
        }
        if let Some(waker) = attempt.waker {
            waker.wake();
        }
    }
}
