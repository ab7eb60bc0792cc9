//! A connection as two halves that carry frames, whatever is underneath.

use frontrow_protocol::{Frames, HEADER};
use futures_util::stream::{SplitSink, SplitStream};
use futures_util::{SinkExt, StreamExt};
use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::error::ProtocolError;
use tokio_tungstenite::tungstenite::{Bytes, Error as WsError, Message};

/// Bytes read at once at most.
const READ: usize = 64 << 10;

/// Both halves of a fresh connection.
pub(crate) struct Link {
    pub(crate) reader: Reader,
    pub(crate) writer: Writer,
}

/// What the server says.
pub(crate) enum Reader {
    Tcp(OwnedReadHalf),
    Ws(SplitStream<WebSocketStream<TcpStream>>),
}

/// What the client says.
pub(crate) enum Writer {
    Tcp(OwnedWriteHalf),
    Ws(SplitSink<WebSocketStream<TcpStream>, Message>),
}

impl Link {
    pub(crate) fn tcp(socket: TcpStream) -> Self {
        let (reader, writer) = socket.into_split();
        Self { reader: Reader::Tcp(reader), writer: Writer::Tcp(writer) }
    }

    pub(crate) fn web_socket(socket: WebSocketStream<TcpStream>) -> Self {
        let (writer, reader) = socket.split();
        Self { reader: Reader::Ws(reader), writer: Writer::Ws(writer) }
    }
}

impl Reader {
    /// Appends what came to `into`; `false` if the server has closed its side.
    pub(crate) async fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        match self {
            Self::Tcp(socket) => {
                into.reserve(READ);
                Ok(socket.read_buf(into).await? > 0)
            }
            Self::Ws(socket) => loop {
                match socket.next().await {
                    None | Some(Err(WsError::ConnectionClosed) | Ok(Message::Close(_))) => return Ok(false),
                    Some(Ok(Message::Binary(bytes))) => {
                        into.extend_from_slice(&bytes);
                        return Ok(true);
                    }
                    Some(Ok(Message::Text(_))) => {
                        let what = "a text message where binary frames were agreed";
                        return Err(io::Error::new(io::ErrorKind::InvalidData, what));
                    }
                    // Pings are answered underneath.
                    Some(Ok(_)) => {}
                    Some(Err(WsError::Io(error))) => return Err(error),
                    // A server that died says no farewell.
                    Some(Err(error @ WsError::Protocol(ProtocolError::ResetWithoutClosingHandshake))) => {
                        return Err(io::Error::new(io::ErrorKind::ConnectionReset, error));
                    }
                    Some(Err(error)) => return Err(io::Error::new(io::ErrorKind::InvalidData, error)),
                }
            },
        }
    }
}

impl Writer {
    /// Writes whole frames: over WebSocket, each in a message of its own.
    pub(crate) async fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(socket) => socket.write_all(frames).await,
            Self::Ws(socket) => {
                let mut rest = frames;
                for frame in Frames::new(frames, u32::MAX).flatten() {
                    let (one, after) = rest.split_at(HEADER + frame.body.len());
                    rest = after;
                    socket
                        .feed(Message::Binary(Bytes::copy_from_slice(one)))
                        .await
                        .map_err(io::Error::other)?;
                }
                socket.flush().await.map_err(io::Error::other)
            }
        }
    }

    /// Says that nothing more comes. Whether that arrives does not matter any more.
    pub(crate) async fn close(&mut self) {
        match self {
            Self::Tcp(socket) => drop(socket.shutdown().await),
            Self::Ws(socket) => drop(socket.close().await),
        }
    }
}
