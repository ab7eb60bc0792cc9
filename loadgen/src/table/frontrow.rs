//! Frontrow's own protocol, over raw TCP.

use crate::LoadError;
use crate::table::dialect::{Dialect, Halves, Verdict, receive};
use crate::table::hall::{Hall, SeatNumber};
use frontrow_engine::{Clock, Engine};
use frontrow_protocol::{ClientMessage, Hello, Reply, ServerMessage, decode_server, encode_client, split};
use frontrow_shard::{ClaimSeats, Code, Command, Fence, Millis, Proof, RequestId, UserId, mix};
use std::net::SocketAddr;
use std::sync::Arc;

/// A user and the token that says so.
pub(crate) type Login = (UserId, String);

/// One user's side of the conversation.
pub(crate) struct Frontrow {
    hall: Arc<Hall>,
    user: UserId,
    /// By slot: the request in flight (0: none) and its seat.
    asked: Vec<(RequestId, SeatNumber)>,
    heard_ms: Millis,
    /// Tells this connection's ids from all others'.
    tag: u32,
    made: u32,
}

impl Frontrow {
    fn new(hall: Arc<Hall>, user: UserId, now_ms: Millis, depth: usize) -> Self {
        let tag = mix(user ^ Clock::monotonic_ns()) as u32;
        Self { hall, user, asked: vec![(0, 0); depth], heard_ms: now_ms, tag, made: 0 }
    }

    /// An id with the server's time, as the protocol wants it, and the slot that its answer frees.
    fn next_id(&mut self, slot: u16, seat: SeatNumber) -> RequestId {
        self.made = self.made.wrapping_add(1);
        let low = u128::from(self.made) << 48 | u128::from(self.tag) << 16 | u128::from(slot);
        let id = u128::from(self.heard_ms) << 80 | low;
        self.asked[usize::from(slot)] = (id, seat);
        id
    }

    /// The slot and the seat of an answered request; an error if nothing with this id is in flight.
    fn answered(&mut self, id: RequestId) -> Result<(u16, SeatNumber), LoadError> {
        let slot = id as u16;
        match self.asked.get_mut(usize::from(slot)) {
            Some((asked, seat)) if *asked == id && id != 0 => {
                *asked = 0;
                Ok((slot, *seat))
            }
            _ => {
                let what = format!("request {id:032x} was answered twice, or never asked on this connection");
                Err(LoadError::Wrong(what))
            }
        }
    }

    fn verdict(&mut self, reply: &Reply) -> Result<(u16, Verdict<Fence>), LoadError> {
        let (slot, seat) = self.answered(reply.id)?;
        self.heard_ms = self.heard_ms.max(reply.time_ms);
        let answer = &reply.answer;
        let verdict = match answer.code {
            Code::Granted => {
                if answer.seats != self.hall.seats(seat) || reply.place != self.hall.row(seat) {
                    let what = format!("seat {seat} was asked, but granted was {reply:?}");
                    return Err(LoadError::Wrong(what));
                }
                Verdict::Granted(seat, Fence::of(self.user, answer))
            }
            Code::Released => Verdict::Released,
            code => Verdict::Refused(code.name()),
        };
        Ok((slot, verdict))
    }

    /// Takes every whole frame of `bytes` in. How many bytes that were.
    pub(crate) fn take_frames(
        &mut self,
        bytes: &[u8],
        mut each: impl FnMut(u16, Verdict<Fence>) -> Result<(), LoadError>,
    ) -> Result<usize, LoadError> {
        let wrong = |what: String| LoadError::Wrong(what);
        let mut rest = bytes;
        while let Some((frame, behind)) = split(rest, u32::MAX).map_err(|error| wrong(error.to_string()))? {
            rest = behind;
            let (slot, verdict) = match decode_server(frame).map_err(|error| wrong(error.to_string()))? {
                ServerMessage::Answer(reply) => self.verdict(&reply)?,
                ServerMessage::Error(error) if error.id != 0 && !error.fatal => {
                    (self.answered(error.id)?.0, Verdict::Refused(error.code.name()))
                }
                other => return Err(wrong(format!("an answer was due, but there came {other:?}"))),
            };
            each(slot, verdict)?;
        }
        Ok(bytes.len() - rest.len())
    }

    /// The first message of a connection.
    pub(crate) fn hello(token: &str, out: &mut Vec<u8>) {
        encode_client(&ClientMessage::Hello(Hello { token: token.into(), features: 0 }), out);
    }

    /// Who came in, once the welcome is whole.
    pub(crate) fn welcomed(
        bytes: &[u8],
        user: UserId,
        hall: &Arc<Hall>,
        depth: usize,
    ) -> Result<Option<Self>, LoadError> {
        let frame = split(bytes, u32::MAX).map_err(|error| LoadError::Wrong(error.to_string()))?;
        let Some((frame, _)) = frame else { return Ok(None) };
        match decode_server(frame).map_err(|error| LoadError::Wrong(error.to_string()))? {
            ServerMessage::Welcome(welcome) => {
                Ok(Some(Self::new(Arc::clone(hall), user, welcome.server_time_ms, depth)))
            }
            other => Err(LoadError::Wrong(format!("instead of a welcome came {other:?}"))),
        }
    }
}

impl Dialect for Frontrow {
    type Login = Login;
    type Fence = Fence;

    async fn enter<E: Engine>(
        addr: SocketAddr,
        (user, token): &Login,
        hall: Arc<Hall>,
        depth: usize,
    ) -> Result<(Halves<E>, Self), LoadError> {
        let (mut reader, mut writer) =
            E::connect(addr).await.map_err(LoadError::connection("to the server"))?;
        let mut out = Vec::new();
        Self::hello(token, &mut out);
        let (sent, _) = E::send_all(&mut writer, out).await;
        sent.map_err(LoadError::connection("saying hello"))?;
        let mut received = Vec::with_capacity(1024);
        loop {
            received = receive::<E>(&mut reader, received, "waiting for the welcome").await?;
            if let Some(entered) = Self::welcomed(&received, *user, &hall, depth)? {
                return Ok(((reader, writer), entered));
            }
        }
    }

    fn claim(&mut self, slot: u16, seat: SeatNumber, out: &mut Vec<u8>) {
        let id = self.next_id(slot, seat);
        let claim = ClaimSeats { row: self.hall.row(seat), seats: self.hall.seats(seat) };
        encode_client(&ClientMessage::Request { id, command: Command::ClaimSeats(claim) }, out);
    }

    fn release(&mut self, slot: u16, seat: SeatNumber, fence: Fence, out: &mut Vec<u8>) {
        let id = self.next_id(slot, seat);
        let proof = Proof { place: self.hall.row(seat), fence };
        encode_client(&ClientMessage::Request { id, command: Command::Release(proof) }, out);
    }

    fn take(
        &mut self,
        received: &mut Vec<u8>,
        each: impl FnMut(u16, Verdict<Fence>) -> Result<(), LoadError>,
    ) -> Result<(), LoadError> {
        let used = self.take_frames(received, each)?;
        received.drain(..used);
        Ok(())
    }
}
