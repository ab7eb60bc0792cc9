//! A server that stalls, hangs up or lies: a proxy before a real one.

use super::sells_twice::{Liar, Sold};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What the proxy does to what comes from the server.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Mischief {
    /// Passes everything on.
    None,
    /// Passes on the beginning of each WebSocket and then nothing any more.
    Stall,
    /// Ends each WebSocket after its beginning.
    Close,
    /// Says of every booked seat that it is free.
    ForgetBookings,
    /// Grants of each row the same seats again and again.
    SellTwice,
}

/// Whether a server can be reached: shut, it is as if it had been killed.
#[derive(Default)]
pub(crate) struct Gate {
    shut: AtomicBool,
    passing: Mutex<Vec<TcpStream>>,
}

impl Gate {
    /// Ends every connection, and takes no other.
    pub(crate) fn shut(&self) {
        self.shut.store(true, SeqCst);
        for socket in self.passing().drain(..) {
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// The server is there again.
    pub(crate) fn open(&self) {
        self.shut.store(false, SeqCst);
    }

    fn passing(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.passing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether this connection may pass.
    fn lets(&self, client: &TcpStream) -> bool {
        let mut passing = self.passing();
        if self.shut.load(SeqCst) {
            return false;
        }
        passing.extend(client.try_clone());
        true
    }
}

/// What a WebSocket gets before the mischief begins: handshake, welcome, some answers.
const BEGINNING: usize = 1500;

/// Starts a proxy before the server at `url`; gives its own address. It ends with the test's process.
pub(crate) fn proxy(url: &str, mischief: Mischief) -> String {
    gated(url, mischief).0
}

/// The same, with the gate before it.
pub(crate) fn gated(url: &str, mischief: Mischief) -> (String, Arc<Gate>) {
    let gate = Arc::new(Gate::default());
    let before = Arc::clone(&gate);
    let server: SocketAddr = url.trim_start_matches("http://").parse().expect("an address");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let own = format!("http://{}", listener.local_addr().expect("an address"));
    let (websockets, sold) = (Arc::new(AtomicU32::new(0)), Sold::default());
    std::thread::spawn(move || {
        for client in listener.incoming().flatten().filter(|client| before.lets(client)) {
            let (websockets, liar) = (Arc::clone(&websockets), Liar::new(&sold));
            std::thread::spawn(move || pass(&client, server, mischief, &websockets, liar));
        }
    });
    (own, gate)
}

/// Carries one connection. What goes wrong ends it: that is what proxies do.
fn pass(
    mut client: &TcpStream,
    server: SocketAddr,
    mischief: Mischief,
    websockets: &AtomicU32,
    mut liar: Liar,
) -> Option<()> {
    let mut request = vec![0; 8192];
    let read = client.read(&mut request).ok()?;
    request.truncate(read);
    let text = String::from_utf8_lossy(&request).into_owned();
    let upstream = TcpStream::connect(server).ok()?;
    (&upstream).write_all(&request).ok()?;
    let (mut from, mut to) = (client.try_clone().ok()?, upstream.try_clone().ok()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
    // The first WebSocket only asks for the topology.
    let troubled = text.contains("/v1/ws") && websockets.fetch_add(1, Relaxed) > 0;
    let spoils = troubled && matches!(mischief, Mischief::Stall | Mischief::Close);
    let sells_twice = troubled && mischief == Mischief::SellTwice;
    let forgets = mischief == Mischief::ForgetBookings && text.contains("/sections/");
    let (mut passed, mut chunk) = (0, vec![0; 65536]);
    loop {
        let read = (&upstream).read(&mut chunk).ok()?;
        passed += read;
        let spoilt = spoils && passed > BEGINNING;
        if read == 0 || (spoilt && mischief == Mischief::Close) {
            client.shutdown(Shutdown::Both).ok()?;
            upstream.shutdown(Shutdown::Both).ok()?;
            return Some(());
        }
        if forgets {
            forget(&mut chunk[..read]);
        }
        if sells_twice {
            client.write_all(&liar.pass(&chunk[..read])).ok()?;
        } else if !spoilt {
            client.write_all(&chunk[..read]).ok()?;
        }
    }
}

/// Rows are texts of letters: `"ffbbh"`. A `b` beside another letter of a row is a booked seat.
fn forget(bytes: &mut [u8]) {
    let is_row = |byte: u8| b"fhbx\"".contains(&byte);
    for at in 1..bytes.len().saturating_sub(1) {
        if bytes[at] == b'b' && is_row(bytes[at - 1]) && is_row(bytes[at + 1]) {
            bytes[at] = b'f';
        }
    }
}
