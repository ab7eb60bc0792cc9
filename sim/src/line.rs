//! A client's connection: frames out, messages in, and a bound on how long it waits.

use crate::engine::{Reader, Sim, Writer};
use frontrow_engine::{Clock, Engine};
use frontrow_protocol::{
    ClientMessage, DEFAULT_MAX_FRAME, Hello, News, Reply, ServerMessage, Welcome, WireCode, decode_server,
    encode_client, split,
};
use frontrow_shard::RequestId;
use std::borrow::Cow;
use std::cell::Cell;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

/// How long a client waits for an answer before it connects anew.
const PATIENCE_NS: u64 = 2_000_000_000;

/// What a client heard.
#[derive(Debug, Clone)]
pub(crate) enum Heard {
    Welcome(Welcome),
    Answer(Reply),
    News(News),
    Refused { id: RequestId, code: WireCode, fatal: bool, retry_after_ms: u32 },
    Other,
}

/// The connection is of no use any more.
#[derive(Debug)]
pub(crate) struct Lost;

/// A connection that has been welcomed.
pub(crate) struct Line {
    reader: Reader,
    writer: Writer,
    buffer: Vec<u8>,
    heard: VecDeque<Heard>,
    /// Until when something must be heard; `u64::MAX` while nothing is awaited.
    until_ns: Rc<Cell<u64>>,
}

impl Drop for Line {
    fn drop(&mut self) {
        self.until_ns.set(0);
    }
}

impl Line {
    /// Connects and says who it is.
    pub(crate) async fn open(addr: SocketAddr, token: &str) -> Result<(Self, Welcome), Lost> {
        let (reader, writer) = Sim::connect(addr).await.map_err(|_| Lost)?;
        let until_ns = Rc::new(Cell::new(u64::MAX));
        let (closer, watched) = (Sim::closer(&reader), Rc::clone(&until_ns));
        Sim::spawn(async move {
            // 0 says that the line is gone.
            while watched.get() > Clock::monotonic_ns() {
                Sim::sleep(Duration::from_millis(500)).await;
            }
            closer.close();
        });
        let mut line = Self { reader, writer, buffer: Vec::new(), heard: VecDeque::new(), until_ns };
        line.send(&ClientMessage::Hello(Hello { token: Cow::Borrowed(token), features: 0 })).await?;
        loop {
            match line.next().await? {
                Heard::Welcome(welcome) => return Ok((line, welcome)),
                Heard::Refused { .. } => return Err(Lost),
                _ => {}
            }
        }
    }

    pub(crate) async fn send(&mut self, message: &ClientMessage<'_>) -> Result<(), Lost> {
        let mut bytes = Vec::new();
        encode_client(message, &mut bytes);
        self.until_ns.set(Clock::monotonic_ns() + PATIENCE_NS);
        Sim::send_all(&mut self.writer, bytes).await.0.map_err(|_| Lost)
    }

    /// The next message.
    pub(crate) async fn next(&mut self) -> Result<Heard, Lost> {
        loop {
            if let Some(heard) = self.heard.pop_front() {
                return Ok(heard);
            }
            let mut buffer = std::mem::take(&mut self.buffer);
            buffer.reserve(4096);
            let (result, buffer) = Sim::recv(&mut self.reader, buffer).await;
            self.buffer = buffer;
            match result {
                Ok(count) if count > 0 => self.take_in(),
                _ => return Err(Lost),
            }
        }
    }

    /// Nothing is awaited now.
    pub(crate) fn content(&self) {
        self.until_ns.set(u64::MAX);
    }

    fn take_in(&mut self) {
        let mut rest = self.buffer.as_slice();
        while let Some((frame, behind)) =
            split(rest, DEFAULT_MAX_FRAME).expect("the server frames its messages rightly")
        {
            let message = decode_server(frame).expect("the server says what the protocol knows");
            self.heard.push_back(match message {
                ServerMessage::Welcome(welcome) => Heard::Welcome(welcome),
                ServerMessage::Answer(reply) => Heard::Answer(reply),
                ServerMessage::Push(news) => Heard::News(news),
                ServerMessage::Error(error) => Heard::Refused {
                    id: error.id,
                    code: error.code,
                    fatal: error.fatal,
                    retry_after_ms: error.retry_after_ms,
                },
                _ => Heard::Other,
            });
            rest = behind;
        }
        let used = self.buffer.len() - rest.len();
        self.buffer.drain(..used);
    }
}
