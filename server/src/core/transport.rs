//! Frames over raw TCP as they are, or inside WebSocket messages: binary as they are, text as JSON.

use frontrow_protocol::{HEADER, decode_server, encode_server_json, split};
use frontrow_shard::UserId;
use std::io::{self, Read, Write};
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Bytes, Message, Utf8Bytes, WebSocket};

/// How a connection's bytes are to be read.
pub(crate) enum Transport {
    Tcp,
    WebSocket(Box<Ws>),
}

/// A WebSocket without a socket: bytes are put in and taken out.
pub(crate) struct Ws {
    socket: WebSocket<Memory>,
    edge: Edge,
    /// What the client spoke last; JSON until it speaks.
    pub(crate) binary: bool,
}

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

/// What came in.
pub(crate) enum Incoming {
    Binary(Bytes),
    Text(Utf8Bytes),
    /// Nothing more until more bytes come.
    Nothing,
    /// The peer closed, or broke the protocol.
    Closed,
}

impl Ws {
    /// `binary` says what form has been agreed already: only binary connections move between cores.
    pub(crate) fn new(max_message: usize, binary: bool) -> Self {
        let config = WebSocketConfig::default()
            .max_message_size(Some(max_message))
            .max_frame_size(Some(max_message))
            .read_buffer_size(8 * 1024);
        let socket = WebSocket::from_raw_socket(Memory::default(), Role::Server, Some(config));
        Self { socket, edge: Edge::default(), binary }
    }

    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.edge.pass(bytes);
        self.socket.get_mut().input.extend_from_slice(bytes);
    }

    pub(crate) fn next(&mut self) -> Incoming {
        loop {
            match self.socket.read() {
                Ok(Message::Binary(bytes)) => {
                    self.binary = true;
                    return Incoming::Binary(bytes);
                }
                Ok(Message::Text(text)) => {
                    self.binary = false;
                    return Incoming::Text(text);
                }
                Ok(Message::Close(_)) => {
                    let _ = self.socket.flush();
                    return Incoming::Closed;
                }
                Ok(_) => {}
                Err(tungstenite::Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    let _ = self.socket.flush();
                    return Incoming::Nothing;
                }
                Err(_) => return Incoming::Closed,
            }
        }
    }

    /// Whether everything received has been read, down to the last byte: only then can the connection move.
    pub(crate) fn is_between_messages(&self) -> bool {
        self.edge.at_boundary() && self.socket.get_ref().input.is_empty()
    }

    /// Wraps server frames into messages and puts all that is to be sent into `out`.
    pub(crate) fn wrap(&mut self, frames: &mut Vec<u8>, user: UserId, out: &mut Vec<u8>) {
        if self.binary {
            if !frames.is_empty() {
                let message = Message::Binary(Bytes::copy_from_slice(frames));
                let _ = self.socket.write(message);
            }
        } else {
            let mut rest = frames.as_slice();
            while let Ok(Some((frame, behind))) = split(rest, u32::MAX) {
                if let Ok(message) = decode_server(frame) {
                    let mut json = Vec::with_capacity(256);
                    encode_server_json(&message, user, &mut json);
                    if let Ok(text) = String::from_utf8(json) {
                        let _ = self.socket.write(Message::Text(text.into()));
                    }
                }
                rest = behind;
            }
        }
        frames.clear();
        let _ = self.socket.flush();
        out.append(&mut self.socket.get_mut().output);
    }

    pub(crate) fn has_output(&self) -> bool {
        !self.socket.get_ref().output.is_empty()
    }

    /// Says goodbye in the WebSocket's own way.
    pub(crate) fn close(&mut self) {
        let _ = self.socket.close(None);
        let _ = self.socket.flush();
    }
}

/// Follows the frames of RFC 6455 just closely enough to know where a message ends.
#[derive(Default)]
struct Edge {
    header: [u8; 14],
    have: usize,
    payload: u64,
    /// In the middle of a fragmented message.
    fragmented: bool,
}

impl Edge {
    fn at_boundary(&self) -> bool {
        self.have == 0 && self.payload == 0 && !self.fragmented
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload > 0 {
                let n = self.payload.min(bytes.len() as u64);
                self.payload -= n;
                bytes = &bytes[n as usize..];
                continue;
            }
            self.header[self.have] = bytes[0];
            self.have += 1;
            bytes = &bytes[1..];
            if self.have >= 2 && self.have == self.header_len() {
                self.payload = self.payload_len();
                self.have = 0;
                let (last, control) = (self.header[0] & 0x80 != 0, self.header[0] & 0x08 != 0);
                if !control {
                    self.fragmented = !last;
                }
            }
        }
    }

    fn header_len(&self) -> usize {
        let extended = match self.header[1] & 0x7f {
            126 => 2,
            127 => 8,
            _ => 0,
        };
        let mask = if self.header[1] & 0x80 != 0 { 4 } else { 0 };
        2 + extended + mask
    }

    fn payload_len(&self) -> u64 {
        match self.header[1] & 0x7f {
            126 => u64::from(u16::from_be_bytes([self.header[2], self.header[3]])),
            127 => u64::from_be_bytes(self.header[2..10].try_into().expect("eight bytes")),
            short => u64::from(short),
        }
    }
}

const _: () = assert!(HEADER == 8, "the read buffer's least size counts on it");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_edge_between_messages_is_known_at_every_split() {
        let mut client = WebSocket::from_raw_socket(Memory::default(), Role::Client, None);
        for length in [0_usize, 5, 126, 70_000] {
            client.write(Message::Binary(vec![7; length].into())).unwrap();
        }
        client.write(Message::Ping(Bytes::from_static(b"hi"))).unwrap();
        client.flush().unwrap();
        let stream = client.get_ref().output.clone();
        let mut edge = Edge::default();
        let mut boundaries = 0;
        for byte in &stream {
            edge.pass(&[*byte]);
            boundaries += usize::from(edge.at_boundary());
        }
        assert_eq!(boundaries, 5);

        let mut server = Ws::new(1 << 20, false);
        let mut lengths = Vec::new();
        for chunk in stream.chunks(1000) {
            server.feed(chunk);
            while let Incoming::Binary(bytes) = server.next() {
                lengths.push(bytes.len());
            }
        }
        assert_eq!(lengths, [0, 5, 126, 70_000]);
        assert!(server.is_between_messages());
        assert!(server.has_output(), "the ping is answered");
    }
}
