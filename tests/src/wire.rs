//! One connection: messages out, messages in, nothing hidden.

use crate::json;
use frontrow_protocol::{
    ClientMessage, Delta, Frames, Hello, News, Reply, RowSnapshot, ServerMessage, Topology, WireCode,
    decode_server, encode_client, encode_client_json,
};
use frontrow_shard::{Epoch, Millis, RequestId, RowRef, UserId};
use futures_util::{SinkExt, StreamExt};
use std::borrow::Cow;
use std::collections::VecDeque;
use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// How to connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Door {
    /// Frames over TCP.
    Tcp(SocketAddr),
    /// Frames over a WebSocket.
    Ws(SocketAddr),
    /// JSON over a WebSocket.
    Json(SocketAddr),
}

/// What the server said.
#[allow(clippy::large_enum_variant, reason = "nearly always the large one")]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Heard {
    /// Come in.
    Welcome {
        /// Who the server says this is.
        user: UserId,
        /// Its time.
        time_ms: Millis,
        /// Its term.
        epoch: Epoch,
        /// The core that serves the connection.
        core: u16,
    },
    /// A decision.
    Answer(Reply),
    /// No decision.
    Error {
        /// About which request; 0 for the connection.
        id: RequestId,
        /// Why.
        code: WireCode,
        /// Whether the connection ends.
        fatal: bool,
        /// In words.
        message: String,
    },
    /// News.
    News(News),
    /// Rows of a section.
    Rows {
        /// The section.
        section: RowRef,
        /// The rows.
        rows: Vec<RowSnapshot>,
        /// Whether the snapshot ends here.
        last: bool,
    },
    /// A changed row.
    Delta(Delta),
    /// Where everything is.
    Topology(Topology),
    /// Somebody is there.
    Pong {
        /// Echoed.
        id: RequestId,
        /// The server's time.
        time_ms: Millis,
    },
    /// The connection ends.
    Goodbye {
        /// Why.
        code: WireCode,
    },
    /// Something these tests don't read in JSON.
    Other,
}

/// Why nothing more comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// The connection is closed.
    #[error("the connection is closed: {0}")]
    Closed(String),
    /// The server said something that is no message.
    #[error("the server does not keep to the protocol: {0}")]
    Garbage(String),
}

#[allow(clippy::large_enum_variant, reason = "one for each connection")]
enum Socket {
    Tcp(TcpStream),
    Ws { socket: WebSocketStream<TcpStream>, json: bool },
}

/// A connection.
pub struct Link {
    socket: Socket,
    buffer: Vec<u8>,
    heard: VecDeque<Heard>,
}

fn closed(error: impl std::fmt::Display) -> Broken {
    Broken::Closed(error.to_string())
}

impl Link {
    /// Connects, without a word.
    pub async fn open(door: Door) -> Result<Self, Broken> {
        let (Door::Tcp(address) | Door::Ws(address) | Door::Json(address)) = door;
        let tcp = TcpStream::connect(address).await.map_err(closed)?;
        tcp.set_nodelay(true).map_err(closed)?;
        let socket = match door {
            Door::Tcp(_) => Socket::Tcp(tcp),
            Door::Ws(_) | Door::Json(_) => {
                let url = format!("ws://{address}/v1/ws");
                let (socket, _) = tokio_tungstenite::client_async(url, tcp).await.map_err(closed)?;
                Socket::Ws { socket, json: matches!(door, Door::Json(_)) }
            }
        };
        Ok(Self { socket, buffer: Vec::new(), heard: VecDeque::new() })
    }

    /// Connects, shows the token and hears the first word.
    pub async fn greet(door: Door, token: &str) -> Result<(Self, Heard), Broken> {
        let mut link = Self::open(door).await?;
        link.send(&ClientMessage::Hello(Hello { token: Cow::Borrowed(token), features: 0 })).await?;
        let first = link.recv().await?;
        Ok((link, first))
    }

    /// Sends a message.
    pub async fn send(&mut self, message: &ClientMessage<'_>) -> Result<(), Broken> {
        self.send_all(std::slice::from_ref(message)).await
    }

    /// Sends messages, on TCP in one write.
    pub async fn send_all(&mut self, messages: &[ClientMessage<'_>]) -> Result<(), Broken> {
        let mut bytes = Vec::new();
        match &mut self.socket {
            Socket::Tcp(socket) => {
                for message in messages {
                    encode_client(message, &mut bytes);
                }
                socket.write_all(&bytes).await.map_err(closed)
            }
            Socket::Ws { socket, json } => {
                for message in messages {
                    bytes.clear();
                    let message = if *json {
                        encode_client_json(message, &mut bytes);
                        let text = String::from_utf8(bytes.clone()).map_err(closed)?;
                        Message::Text(text.into())
                    } else {
                        encode_client(message, &mut bytes);
                        Message::Binary(Bytes::copy_from_slice(&bytes))
                    };
                    socket.feed(message).await.map_err(closed)?;
                }
                socket.flush().await.map_err(closed)
            }
        }
    }

    /// Sends bytes as they are, beneath any form.
    pub async fn send_raw(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        let socket = match &mut self.socket {
            Socket::Tcp(socket) => socket,
            Socket::Ws { socket, .. } => socket.get_mut(),
        };
        socket.write_all(bytes).await.map_err(closed)
    }

    /// Sends a text message over a WebSocket.
    pub async fn send_text(&mut self, text: &str) -> Result<(), Broken> {
        match &mut self.socket {
            Socket::Ws { socket, .. } => {
                socket.send(Message::Text(text.to_owned().into())).await.map_err(closed)
            }
            Socket::Tcp(_) => Err(Broken::Garbage("no text messages on TCP".into())),
        }
    }

    /// Ends the client's half of a TCP connection.
    pub async fn shutdown(&mut self) -> Result<(), Broken> {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.shutdown().await.map_err(closed),
            Socket::Ws { socket, .. } => socket.close(None).await.map_err(closed),
        }
    }

    /// The next message.
    pub async fn recv(&mut self) -> Result<Heard, Broken> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            match &mut self.socket {
                Socket::Tcp(socket) => {
                    self.buffer.reserve(16 << 10);
                    if socket.read_buf(&mut self.buffer).await.map_err(closed)? == 0 {
                        return Err(closed("its end was read"));
                    }
                    let read = frames(&self.buffer, &mut self.heard)?;
                    self.buffer.drain(..read);
                }
                Socket::Ws { socket, .. } => match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        if frames(&bytes, &mut self.heard)? != bytes.len() {
                            return Err(Broken::Garbage("half a frame in a WebSocket message".into()));
                        }
                    }
                    Some(Ok(Message::Text(text))) => {
                        self.heard.push_back(json::read(&text).map_err(Broken::Garbage)?);
                    }
                    Some(Ok(Message::Close(_))) | None => return Err(closed("it was closed")),
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(closed(error)),
                },
            }
        }
    }

    /// Everything that still comes until the server closes the connection.
    pub async fn rest(&mut self) -> (Vec<Heard>, Broken) {
        let mut all = Vec::new();
        loop {
            match self.recv().await {
                Ok(heard) => all.push(heard),
                Err(broken) => return (all, broken),
            }
        }
    }
}

/// Takes whole frames off the front; how many bytes those were.
fn frames(bytes: &[u8], into: &mut VecDeque<Heard>) -> Result<usize, Broken> {
    let garbage = |error: &dyn std::fmt::Display| Broken::Garbage(error.to_string());
    let mut frames = Frames::new(bytes, 8 << 20);
    for frame in &mut frames {
        let message = decode_server(frame.map_err(|error| garbage(&error))?);
        into.push_back(own(message.map_err(|error| garbage(&error))?));
    }
    Ok(bytes.len() - frames.rest().len())
}

fn own(message: ServerMessage<'_>) -> Heard {
    match message {
        ServerMessage::Welcome(welcome) => Heard::Welcome {
            user: welcome.user,
            time_ms: welcome.server_time_ms,
            epoch: welcome.epoch,
            core: welcome.core,
        },
        ServerMessage::Answer(reply) => Heard::Answer(reply),
        ServerMessage::Error(error) => Heard::Error {
            id: error.id,
            code: error.code,
            fatal: error.fatal,
            message: error.message.into_owned(),
        },
        ServerMessage::Snapshot(snapshot) => Heard::Rows {
            section: snapshot.section,
            rows: snapshot.rows.iter().collect(),
            last: snapshot.last,
        },
        ServerMessage::Delta(delta) => Heard::Delta(delta),
        ServerMessage::Push(news) => Heard::News(news),
        ServerMessage::Topology(topology) => Heard::Topology(topology),
        ServerMessage::Pong { id, time_ms } => Heard::Pong { id, time_ms },
        ServerMessage::Goodbye(goodbye) => Heard::Goodbye { code: goodbye.code },
    }
}
