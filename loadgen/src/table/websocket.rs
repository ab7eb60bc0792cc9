//! Frontrow's own protocol in binary WebSocket messages: what goes out together is one message.

use crate::LoadError;
use crate::table::dialect::{Dialect, Halves, Verdict, receive};
use crate::table::frontrow::{Frontrow, Login};
use crate::table::hall::{Hall, SeatNumber};
use frontrow_engine::Engine;
use frontrow_shard::Fence;
use std::io::{self, Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use tungstenite::client::client_with_config;
use tungstenite::handshake::HandshakeError;
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Bytes, Message};

type Socket = tungstenite::WebSocket<Memory>;

/// A conversation whose frames travel in WebSocket messages.
pub(crate) struct WebSocket {
    inner: Frontrow,
    socket: Socket,
}

/// Bytes that came and bytes to go: a stream for tungstenite without a socket of its own.
#[derive(Default)]
struct Memory {
    input: Vec<u8>,
    read: usize,
    output: Vec<u8>,
}

impl Read for Memory {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let left = &self.input[self.read..];
        if left.is_empty() {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let n = left.len().min(into.len());
        into[..n].copy_from_slice(&left[..n]);
        self.read += n;
        if self.read == self.input.len() {
            self.input.clear();
            self.read = 0;
        }
        Ok(n)
    }
}

impl Write for Memory {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.output.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn wrong(error: impl std::fmt::Display) -> LoadError {
    LoadError::Wrong(format!("the WebSocket: {error}"))
}

/// The next binary message, if a whole one has come.
fn next_message(socket: &mut Socket) -> Result<Option<Bytes>, LoadError> {
    loop {
        match socket.read() {
            Ok(Message::Binary(bytes)) => return Ok(Some(bytes)),
            Ok(Message::Ping(_) | Message::Pong(_)) => {}
            Ok(other) => return Err(wrong(format!("an answer was due, but there came {other:?}"))),
            Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                return Ok(None);
            }
            Err(error) => return Err(wrong(error)),
        }
    }
}

/// Asks for the upgrade and reads until it is granted.
async fn upgrade<E: Engine>(addr: SocketAddr, (reader, writer): &mut Halves<E>) -> Result<Socket, LoadError> {
    // The default of 128 KiB is filled with zeros at every read.
    let config = WebSocketConfig::default().read_buffer_size(8 * 1024);
    let mut step = client_with_config(format!("ws://{addr}/v1/ws"), Memory::default(), Some(config));
    loop {
        let mut waiting = match step {
            Ok((socket, _)) => return Ok(socket),
            Err(HandshakeError::Failure(error)) => return Err(wrong(error)),
            Err(HandshakeError::Interrupted(waiting)) => waiting,
        };
        let memory = waiting.get_mut().get_mut();
        let out = std::mem::take(&mut memory.output);
        if !out.is_empty() {
            let (sent, _) = E::send_all(writer, out).await;
            sent.map_err(LoadError::connection("asking for a WebSocket"))?;
        }
        let received = Vec::with_capacity(1024);
        let received = receive::<E>(reader, received, "waiting for a WebSocket").await?;
        memory.input.extend_from_slice(&received);
        step = waiting.handshake();
    }
}

impl Dialect for WebSocket {
    type Login = Login;
    type Fence = Fence;

    async fn enter<E: Engine>(
        addr: SocketAddr,
        (user, token): &Login,
        hall: Arc<Hall>,
        depth: usize,
    ) -> Result<(Halves<E>, Self), LoadError> {
        let mut halves = E::connect(addr).await.map_err(LoadError::connection("to the server"))?;
        let mut socket = upgrade::<E>(addr, &mut halves).await?;
        let mut out = Vec::new();
        Frontrow::hello(token, &mut out);
        seal(&mut socket, &mut out)?;
        let (sent, _) = E::send_all(&mut halves.1, out).await;
        sent.map_err(LoadError::connection("saying hello"))?;
        loop {
            if let Some(message) = next_message(&mut socket)? {
                let inner = Frontrow::welcomed(&message, *user, &hall, depth)?;
                let inner = inner.ok_or_else(|| wrong("the welcome came in parts"))?;
                return Ok((halves, Self { inner, socket }));
            }
            let received = Vec::with_capacity(1024);
            let received = receive::<E>(&mut halves.0, received, "waiting for the welcome").await?;
            socket.get_mut().input.extend_from_slice(&received);
        }
    }

    fn claim(&mut self, slot: u16, seat: SeatNumber, out: &mut Vec<u8>) {
        self.inner.claim(slot, seat, out);
    }

    fn release(&mut self, slot: u16, seat: SeatNumber, fence: Fence, out: &mut Vec<u8>) {
        self.inner.release(slot, seat, fence, out);
    }

    fn seal(&mut self, out: &mut Vec<u8>) -> Result<(), LoadError> {
        seal(&mut self.socket, out)
    }

    fn take(
        &mut self,
        received: &mut Vec<u8>,
        mut each: impl FnMut(u16, Verdict<Fence>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        self.socket.get_mut().input.append(received);
        while let Some(message) = next_message(&mut self.socket)? {
            let used = self.inner.take_frames(&message, &mut each)?;
            if used != message.len() {
                return Err(wrong("a message ends within a frame"));
            }
        }
        Ok(())
    }
}

/// Makes one message of `out`, and puts what is to be sent in its place.
fn seal(socket: &mut Socket, out: &mut Vec<u8>) -> Result<(), LoadError> {
    socket.write(Message::Binary(Bytes::copy_from_slice(out))).map_err(wrong)?;
    socket.flush().map_err(wrong)?;
    out.clear();
    out.append(&mut socket.get_mut().output);
    Ok(())
}
