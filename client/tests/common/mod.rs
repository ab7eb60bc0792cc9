//! A server at the level of frames: each test says what it answers.

#![allow(dead_code, reason = "each test file uses some of it")]

use frontrow_client::{
    Answer, Client, ClientError, Code, Endpoint, Options, Parts, Reply, RequestId, Retry, RowRef, Seats,
    Welcome,
};
use frontrow_protocol::{
    ClientMessage, ConnectionLimits, Durability, Frames, ServerMessage, decode_client, encode_server, split,
};
use futures_util::{SinkExt, StreamExt};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::{Bytes, Message};

/// The time all test servers begin with.
pub(crate) const TIME_MS: u64 = 1_700_000_000_000;
/// A row to claim in.
pub(crate) const ROW: RowRef = RowRef::new(1, 2, 3);

pub(crate) struct Server {
    listener: TcpListener,
    web_socket: bool,
}

/// One accepted connection.
pub(crate) struct Peer {
    socket: Socket,
    buffer: Vec<u8>,
    /// What the hello said.
    pub(crate) token: String,
}

enum Socket {
    Tcp(TcpStream),
    Ws(Box<WebSocketStream<TcpStream>>),
}

impl Server {
    pub(crate) async fn start(web_socket: bool) -> Self {
        Self { listener: TcpListener::bind("127.0.0.1:0").await.unwrap(), web_socket }
    }

    pub(crate) fn endpoint(&self) -> Endpoint {
        let address = self.listener.local_addr().unwrap();
        if self.web_socket {
            Endpoint::WebSocket(format!("ws://{address}/v1/ws"))
        } else {
            Endpoint::Tcp(address.to_string())
        }
    }

    /// Accepts a connection and hears its hello.
    pub(crate) async fn accept(&self) -> Peer {
        let (socket, _) = self.listener.accept().await.unwrap();
        let socket = if self.web_socket {
            Socket::Ws(Box::new(tokio_tungstenite::accept_async(socket).await.unwrap()))
        } else {
            Socket::Tcp(socket)
        };
        let mut peer = Peer { socket, buffer: Vec::new(), token: String::new() };
        let hello = peer.hear_some(|message| match message {
            ClientMessage::Hello(hello) => hello.token.into_owned(),
            other => panic!("a hello should come first, not {other:?}"),
        });
        peer.token = hello.await.expect("the client left before its hello");
        peer
    }

    /// Accepts and welcomes.
    pub(crate) async fn welcome(&self) -> Peer {
        let mut peer = self.accept().await;
        peer.say(&ServerMessage::Welcome(welcome())).await;
        peer
    }

    /// A connected client and its peer.
    pub(crate) async fn meet(&self, options: Options) -> (Client, Peer) {
        let (client, peer) =
            tokio::join!(Client::connect_with(self.endpoint(), "jwt", options), self.welcome());
        (client.unwrap(), peer)
    }
}

impl Peer {
    async fn hear_some<T>(&mut self, take: impl FnOnce(ClientMessage<'_>) -> T) -> Option<T> {
        loop {
            if let Some((frame, rest)) = split(&self.buffer, 1 << 16).unwrap() {
                let taken = take(decode_client(frame).unwrap());
                let read = self.buffer.len() - rest.len();
                self.buffer.drain(..read);
                return Some(taken);
            }
            match &mut self.socket {
                Socket::Tcp(socket) => {
                    if socket.read_buf(&mut self.buffer).await.unwrap_or(0) == 0 {
                        return None;
                    }
                }
                Socket::Ws(socket) => match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        assert_eq!(Frames::new(&bytes, 1 << 16).count(), 1, "one frame in a message");
                        self.buffer.extend_from_slice(&bytes);
                    }
                    _ => return None,
                },
            }
        }
    }

    /// The next message; `None` if the client has left.
    pub(crate) async fn hear(&mut self) -> Option<ClientMessage<'static>> {
        self.hear_some(|message| match message {
            ClientMessage::Hello(_) | ClientMessage::Batch(_) => panic!("not expected: {message:?}"),
            ClientMessage::Request { id, command } => ClientMessage::Request { id, command },
            ClientMessage::Status { id, place } => ClientMessage::Status { id, place },
            ClientMessage::Watch { id, section } => ClientMessage::Watch { id, section },
            ClientMessage::Unwatch { id, section } => ClientMessage::Unwatch { id, section },
            ClientMessage::Topology { id } => ClientMessage::Topology { id },
            ClientMessage::Ping { id } => ClientMessage::Ping { id },
        })
        .await
    }

    /// The id and place of the request that comes next.
    pub(crate) async fn hear_request(&mut self) -> (RequestId, RowRef) {
        match self.hear().await {
            Some(ClientMessage::Request { id, command }) => (id, command.place()),
            other => panic!("a request should come, not {other:?}"),
        }
    }

    /// The id of the watch that comes next.
    pub(crate) async fn hear_watch(&mut self) -> RequestId {
        match self.hear().await {
            Some(ClientMessage::Watch { id, .. }) => id,
            other => panic!("a watch should come, not {other:?}"),
        }
    }

    pub(crate) async fn say(&mut self, message: &ServerMessage<'_>) {
        let mut frame = Vec::new();
        encode_server(message, &mut frame);
        self.say_bytes(&frame).await;
    }

    pub(crate) async fn say_bytes(&mut self, bytes: &[u8]) {
        match &mut self.socket {
            Socket::Tcp(socket) => socket.write_all(bytes).await.unwrap(),
            Socket::Ws(socket) => socket.send(Message::Binary(Bytes::copy_from_slice(bytes))).await.unwrap(),
        }
    }
}

pub(crate) fn welcome() -> Welcome {
    Welcome {
        user: 7,
        server_time_ms: TIME_MS,
        epoch: 1,
        features: 0,
        partitions: 64,
        cores: 1,
        core: 0,
        durability: Durability::Local,
        limits: ConnectionLimits::default(),
    }
}

pub(crate) fn granted(lsn: u64, seats: Seats) -> Answer {
    Answer { seats, lsn, expires_ms: TIME_MS + 300_000, nonce: 9, epoch: 1, ..Answer::plain(Code::Granted) }
}

pub(crate) fn reply(id: RequestId, place: RowRef, answer: Answer) -> ServerMessage<'static> {
    ServerMessage::Answer(Reply {
        id,
        time_ms: TIME_MS + 1,
        place,
        answer,
        parts: Parts::default(),
        durable: answer.lsn,
    })
}

pub(crate) fn seats(places: &[u8]) -> Seats {
    Seats::from_places(places).unwrap()
}

/// Retries at once and not for long.
pub(crate) fn eager() -> Options {
    let retry = Retry { first: Duration::from_millis(1), longest: Duration::from_millis(4), attempts: 5 };
    Options { retry: Some(retry), ..Options::default() }
}

pub(crate) fn is_protocol(error: &ClientError) -> bool {
    matches!(error, ClientError::Protocol(_))
}
