//! What both runtimes share about sockets: making listeners, closing from aside, modes.

use std::any::Any;
use std::io;
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, RawFd};
use std::rc::{Rc, Weak};
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use socket2::{Domain, Protocol, SockRef, Socket, Type};

/// How to listen.
#[derive(Debug, Clone, Copy)]
pub struct ListenOptions {
    /// `SO_REUSEPORT`: several cores listen on one port and the kernel spreads connections.
    pub reuse_port: bool,
    /// Connections the kernel holds before they are accepted (capped by `net.core.somaxconn`).
    pub backlog: i32,
}

impl Default for ListenOptions {
    fn default() -> Self {
        Self { reuse_port: false, backlog: 4096 }
    }
}

/// Binds and listens. The blocking mode is the caller's business.
pub(crate) fn listen(addr: SocketAddr, options: ListenOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if options.reuse_port {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&addr.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// A port that is one process's from now on, before anybody listens there: its cores may still join it.
#[derive(Debug)]
pub struct ReservedPort {
    address: SocketAddr,
    _bound: Socket,
}

impl ReservedPort {
    /// Takes `address`, a free port if none is asked for. A port that is listened at is refused, even by a
    /// server of the same user, which `SO_REUSEPORT` alone would join unnoticed.
    pub fn take(address: SocketAddr) -> io::Result<Self> {
        if address.port() != 0 {
            drop(listen(address, ListenOptions::default())?);
        }
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { address, _bound: socket })
    }

    /// Where to listen, with `reuse_port`, while this is held.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A free port of `ip` for a program that is started next and must be told a number. It lies below those that
/// the kernel hands out by itself, so that no connection takes it in between; two calls of a process never
/// give the same, and those of two processes begin far apart.
pub fn free_port(ip: IpAddr) -> io::Result<u16> {
    const FIRST: u32 = 12_000;
    const COUNT: u32 = 18_000;
    static NEXT: AtomicU32 = AtomicU32::new(0);
    for _ in 0..COUNT {
        let next = std::process::id().wrapping_mul(7_919).wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = (FIRST + next % COUNT) as u16;
        match TcpListener::bind((ip, port)) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            bound => return bound.map(|_| port),
        }
    }
    Err(io::ErrorKind::AddrInUse.into())
}

/// What `recv` answers to a buffer without room: `Ok(0)` would look like the peer's close.
pub(crate) fn no_room() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, "no spare capacity to receive into: reserve some before recv")
}

/// What `release` answers while an operation is in flight or the halves belong to two sockets.
pub(crate) fn not_idle() -> io::Error {
    io::Error::new(
        io::ErrorKind::ResourceBusy,
        "the two halves are not one idle connection: await the pending recv and send_all before release",
    )
}

/// An open descriptor, shared by the two halves of a connection. It lives as long as one of them
/// does, and so does the descriptor.
#[derive(Debug)]
pub(crate) struct Open(pub(crate) RawFd);

impl AsFd for Open {
    fn as_fd(&self) -> BorrowedFd<'_> {
        // SAFETY: an `Open` is only held by the reader and writer of the connection that owns the
        // descriptor, each of which drops it before its own share of the socket.
        unsafe { BorrowedFd::borrow_raw(self.0) }
    }
}

impl Open {
    pub(crate) fn shutdown(&self, how: Shutdown) -> io::Result<()> {
        SockRef::from(self).shutdown(how)
    }
}

/// Ends a connection from aside, while its halves are busy in other tasks of the same core: a
/// pending `recv` returns `Ok(0)`, a pending `send_all` an error. Does nothing once both halves
/// are gone.
#[derive(Clone)]
pub struct Closer(How);

#[derive(Clone)]
enum How {
    Socket(Weak<Open>),
    Other(Rc<dyn Fn()>),
}

impl std::fmt::Debug for Closer {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Closer")
    }
}

impl Closer {
    pub(crate) fn new(open: &Rc<Open>) -> Self {
        Self(How::Socket(Rc::downgrade(open)))
    }

    /// Of an engine whose connections are no sockets. `close` must do nothing once both halves are gone.
    pub fn of(close: impl Fn() + 'static) -> Self {
        Self(How::Other(Rc::new(close)))
    }

    /// Shuts both directions down. Errors (already disconnected) do not matter to the caller.
    pub fn close(&self) {
        match &self.0 {
            How::Socket(open) => {
                if let Some(open) = open.upgrade() {
                    let _ = open.shutdown(Shutdown::Both);
                }
            }
            How::Other(close) => close(),
        }
    }
}

/// A connection between two cores, or between another runtime and a core.
#[derive(Debug)]
pub struct Carried(Load);

#[derive(Debug)]
enum Load {
    Socket(TcpStream),
    Other(Box<dyn Any + Send>),
}

impl From<TcpStream> for Carried {
    fn from(stream: TcpStream) -> Self {
        Self(Load::Socket(stream))
    }
}

impl Carried {
    /// Of an engine whose connections are no sockets.
    pub fn of(connection: impl Any + Send) -> Self {
        Self(Load::Other(Box::new(connection)))
    }

    /// The socket, in blocking mode unless it came from another runtime.
    pub fn into_socket(self) -> io::Result<TcpStream> {
        match self.0 {
            Load::Socket(stream) => Ok(stream),
            Load::Other(_) => Err(other_engine()),
        }
    }

    /// What [`Carried::of`] was given.
    pub fn into_other<T: Any>(self) -> io::Result<T> {
        match self.0 {
            Load::Other(connection) => connection.downcast().map(|inner| *inner).map_err(|_| other_engine()),
            Load::Socket(_) => Err(other_engine()),
        }
    }
}

fn other_engine() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        "the connection is of another kind of engine: run all cores of a process on one",
    )
}
