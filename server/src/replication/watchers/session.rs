//! One client's connection, from its hello on.

use super::{Outbox, Watchers};
use crate::cluster::not_primary;
use crate::core::{ConnId, Incoming, Ws};
use crate::identity::{Identity, IdentityError};
use frontrow_engine::Clock;
use frontrow_protocol::{
    ClientMessage, ConnectionLimits, DecodeError, Durability, ErrorReply, FEATURE_STANDBY, Hello, MAX_BATCH,
    Welcome, WireCode, claimed_id, decode_client, decode_client_json, encode_error, encode_pong,
    encode_welcome, split,
};
use frontrow_shard::{RequestId, RowRef, UserId};
use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Instant, timeout};

/// Bytes read at a time, at least.
const READ_BYTES: usize = 4096;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// See the module.
pub(super) struct Session {
    desk: Arc<Watchers>,
    id: ConnId,
    outbox: Arc<Outbox>,
    ws: Ws,
    /// Who the token says it is, and, after its hello, who it is.
    identity: Option<Identity>,
    user: Option<UserId>,
    watches: Vec<RowRef>,
    begun: Instant,
    heard: Instant,
}

impl Session {
    pub(super) fn new(
        desk: Arc<Watchers>,
        id: ConnId,
        outbox: Arc<Outbox>,
        identity: Option<Identity>,
    ) -> Self {
        let ws = Ws::new(desk.limits.frame as usize + 1024, false);
        let now = Instant::now();
        Self { desk, id, outbox, ws, identity, user: None, watches: Vec::new(), begun: now, heard: now }
    }

    /// Serves until either side ends it.
    pub(super) async fn run(mut self, socket: TcpStream, mut buffer: Vec<u8>) {
        let (mut reader, mut writer) = socket.into_split();
        loop {
            let goes_on = buffer.is_empty() || self.take(&buffer).await;
            buffer.clear();
            // Words said from here on are sent in the next round.
            let last = !goes_on || self.outbox.last.load(Ordering::Acquire);
            if !self.flush(&mut writer).await {
                break;
            }
            if last {
                self.close(&mut writer).await;
                break;
            }
            buffer.reserve(READ_BYTES);
            let (until, code) = self.deadline();
            let outbox = Arc::clone(&self.outbox);
            tokio::select! {
                () = outbox.wake.notified() => {}
                read = reader.read_buf(&mut buffer) => {
                    if !matches!(read, Ok(1..)) {
                        break;
                    }
                    self.heard = Instant::now();
                }
                () = tokio::time::sleep_until(until) => {
                    self.outbox.goodbye(u64::MAX, code, 0, code.advice().message);
                }
            }
        }
        self.end();
    }

    /// Takes the connection off every list.
    pub(super) fn end(&self) {
        for &section in &self.watches {
            self.desk.unwatch(self.id, section);
        }
        self.desk.leave(self.id);
    }

    /// When it ends if nothing comes, and why then.
    fn deadline(&self) -> (Instant, WireCode) {
        let limits = &self.desk.limits;
        if self.user.is_none() {
            return (self.begun + limits.handshake, WireCode::HandshakeTimeout);
        }
        // Whoever watches may be silent.
        let idle = if self.watches.is_empty() { limits.idle } else { Duration::from_secs(365 * 86_400) };
        (self.heard + idle, WireCode::IdleTimeout)
    }

    /// Sends what waits. `false` if the client does not take it.
    async fn flush(&mut self, writer: &mut OwnedWriteHalf) -> bool {
        let (mut frames, mut out) = (std::mem::take(&mut *self.outbox.lock()), Vec::new());
        self.ws.wrap(&mut frames, self.user.unwrap_or(0), &mut out);
        if out.is_empty() {
            return true;
        }
        let dropped = async {
            // A word from before counts only if there is still too much.
            loop {
                self.outbox.much.notified().await;
                if self.outbox.lock().len() as u64 > self.desk.limits.output_queue {
                    return;
                }
            }
        };
        tokio::select! {
            wrote = writer.write_all(&out) => wrote.is_ok(),
            () = dropped => false,
            () = tokio::time::sleep(self.desk.limits.idle) => false,
        }
    }

    async fn close(&mut self, writer: &mut OwnedWriteHalf) {
        let (mut none, mut out) = (Vec::new(), Vec::new());
        self.ws.close();
        self.ws.wrap(&mut none, 0, &mut out);
        // A client that has gone needs no goodbye.
        let _ = timeout(LAST_WORDS, writer.write_all(&out)).await;
        let _ = writer.shutdown().await;
    }

    fn say(&self, write: impl FnOnce(&mut Vec<u8>)) {
        self.outbox.say(self.desk.limits.output_queue, write);
    }

    fn refuse(&self, reply: &ErrorReply<'_>) {
        self.say(|out| encode_error(reply, out));
    }

    /// Handles bytes that have come. `false` ends the connection.
    async fn take(&mut self, bytes: &[u8]) -> bool {
        self.ws.feed(bytes);
        loop {
            match self.ws.next() {
                Incoming::Nothing => return true,
                Incoming::Closed => return false,
                Incoming::Binary(bytes) => {
                    if !self.take_frames(&bytes).await {
                        return false;
                    }
                }
                Incoming::Text(text) => match decode_client_json(&text) {
                    Ok(message) => {
                        if !self.handle(&message).await {
                            return false;
                        }
                    }
                    Err(error) => {
                        let message = Cow::Owned(shorten(error.to_string()));
                        self.refuse(&ErrorReply { message, ..ErrorReply::of(error.id, error.code()) });
                    }
                },
            }
        }
    }

    /// Handles the frames of one message: whole ones only.
    async fn take_frames(&mut self, bytes: &[u8]) -> bool {
        let max = u32::try_from(self.desk.limits.frame).unwrap_or(u32::MAX);
        let mut rest = bytes;
        while !rest.is_empty() {
            let (frame, behind) = match split(rest, max) {
                Ok(Some(parts)) => parts,
                Ok(None) => {
                    let code = WireCode::Malformed;
                    self.outbox.goodbye(u64::MAX, code, 0, code.advice().message);
                    return false;
                }
                Err(error) => {
                    let message = Cow::Owned(shorten(error.to_string()));
                    self.refuse(&ErrorReply { message, fatal: true, ..ErrorReply::of(0, error.code()) });
                    return false;
                }
            };
            let goes_on = match decode_client(frame) {
                Ok(message) => self.handle(&message).await,
                Err(error) => self.garbled(claimed_id(frame), &error),
            };
            if !goes_on {
                return false;
            }
            rest = behind;
        }
        true
    }

    fn garbled(&self, id: u128, error: &DecodeError) -> bool {
        let fatal = self.user.is_none();
        let message = Cow::Owned(shorten(error.to_string()));
        self.refuse(&ErrorReply { message, fatal, ..ErrorReply::of(id, error.code()) });
        !fatal
    }

    /// Handles one message, or each of a batch. `false` ends the connection.
    async fn handle(&mut self, message: &ClientMessage<'_>) -> bool {
        if let ClientMessage::Hello(hello) = message {
            return self.greet(hello);
        }
        let Some(identity) = self.identity.filter(|_| self.user.is_some()) else {
            self.refuse(&ErrorReply { fatal: true, ..ErrorReply::of(0, WireCode::HelloExpected) });
            return false;
        };
        if now_s() >= identity.expires_s {
            let code = WireCode::TokenExpired;
            self.outbox.goodbye(u64::MAX, code, 0, code.advice().message);
            return false;
        }
        match message {
            ClientMessage::Batch(batch) => {
                for message in batch.iter() {
                    match &message {
                        ClientMessage::Hello(hello) => {
                            if !self.greet(hello) {
                                return false;
                            }
                        }
                        one => self.serve(one).await,
                    }
                }
            }
            one => self.serve(one).await,
        }
        true
    }

    async fn serve(&mut self, message: &ClientMessage<'_>) {
        match message {
            ClientMessage::Watch { id, section } => self.watch(*id, section.section_of()).await,
            ClientMessage::Unwatch { section, .. } => {
                let section = section.section_of();
                self.watches.retain(|other| *other != section);
                self.desk.unwatch(self.id, section);
            }
            ClientMessage::Ping { id } => self.say(|out| encode_pong(*id, self.desk.seen_ms(), out)),
            ClientMessage::Request { id, .. }
            | ClientMessage::Status { id, .. }
            | ClientMessage::Topology { id } => {
                self.refuse(&ErrorReply { id: *id, fatal: false, ..not_primary(self.desk.primary()) });
            }
            // The one has been seen to, the other has no batches in it.
            ClientMessage::Hello(_) | ClientMessage::Batch(_) => {}
        }
    }

    async fn watch(&mut self, id: RequestId, section: RowRef) {
        if !self.watches.contains(&section) {
            if self.watches.len() >= self.desk.limits.watches as usize {
                return self.refuse(&ErrorReply::of(id, WireCode::WatchLimit));
            }
            self.watches.push(section);
        }
        if !self.desk.watch(self.id, id, section).await {
            self.watches.retain(|other| *other != section);
            let message = Cow::Borrowed(
                "no such section, or the event is archived: look it up in the event's map, and read an archived \
                 event's seats over HTTP",
            );
            self.refuse(&ErrorReply { message, ..ErrorReply::of(id, WireCode::Malformed) });
        }
    }

    /// A hello: who is it, and is a standby what it wants?
    fn greet(&mut self, hello: &Hello<'_>) -> bool {
        if self.user.is_some() && hello.token.is_empty() {
            return true;
        }
        if hello.features & FEATURE_STANDBY == 0 && self.user.is_none() {
            self.refuse(&not_primary(self.desk.primary()));
            return false;
        }
        let identity = match self.identity.filter(|_| hello.token.is_empty()) {
            // The token came with the upgrade, and was verified there.
            Some(identity) => Ok(identity),
            None => self.desk.verifier.verify(&hello.token, now_s()),
        };
        match identity {
            Ok(identity) if self.user.is_some_and(|user| user != identity.user) => {
                let why = "this connection belongs to another user: open one for each user";
                self.turn_away(WireCode::Unauthenticated, why)
            }
            Ok(identity) => {
                self.identity = Some(identity);
                if self.user.replace(identity.user).is_none() {
                    self.welcome(identity.user);
                }
                true
            }
            Err(error @ IdentityError::Expired { .. }) if self.user.is_none() => {
                self.turn_away(WireCode::TokenExpired, &error.to_string())
            }
            Err(error) => self.turn_away(WireCode::Unauthenticated, &error.to_string()),
        }
    }

    fn turn_away(&self, code: WireCode, why: &str) -> bool {
        let message = Cow::Owned(why.chars().take(200).collect());
        self.refuse(&ErrorReply { message, fatal: true, ..ErrorReply::of(0, code) });
        false
    }

    fn welcome(&self, user: UserId) {
        let desk = &self.desk;
        let (epoch, server_time_ms, partitions) = {
            let state = desk.shared.lock();
            let epoch = state.standing(Clock::monotonic_ns()).map_or(0, |standing| standing.epoch);
            (epoch, state.primary_ms().unwrap_or(0), state.applied.len() as u16)
        };
        let welcome = Welcome {
            user,
            server_time_ms,
            epoch,
            features: FEATURE_STANDBY,
            partitions,
            cores: 1,
            core: 0,
            durability: Durability::Local,
            limits: ConnectionLimits {
                max_frame: desk.limits.frame as u32,
                max_in_flight: desk.limits.in_flight,
                remembered_ids: desk.remembered,
                max_batch: MAX_BATCH,
            },
        };
        self.say(|out| encode_welcome(&welcome, out));
    }
}

/// Tokens are good by this node's clock.
fn now_s() -> u64 {
    Clock::wall_ms() / 1000
}

fn shorten(text: String) -> String {
    let most = frontrow_protocol::MAX_MESSAGE;
    if text.len() <= most { text } else { text.chars().take(most / 4).collect() }
}
