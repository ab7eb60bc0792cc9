//! The load itself: connections that claim seats and give them back, and check every answer.

use crate::LoadError;
use crate::machine::ServerTime;
use crate::table::drive;
use crate::table::echo::Load;
use crate::table::hall::{Books, Hall, Purse, SeatNumber, SeatSet};
use crate::table::meter::{Meter, Window};
use frontrow_engine::{Clock, Engine};
use frontrow_protocol::{
    ClientMessage, HEADER, Hello, Kind, Reply, ServerMessage, decode_server, encode_client, split,
};
use frontrow_shard::{ClaimSeats, Code, Command, Fence, Millis, Proof, RequestId, UserId, mix};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Bytes of a claim of named seats, header included.
pub const CLAIM_BYTES: usize = HEADER + Kind::ClaimSeats.body();
/// Bytes of an answer to a claim of one row, header included.
pub const ANSWER_BYTES: usize = HEADER + Kind::Answer.body();
/// Bytes that a receive has room for, at least.
const BUFFER_BYTES: usize = 64 * 1024;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Aim {
    /// Claim for as long as the window is open; release when seats run out.
    Claim,
    /// Release everything, however long it takes.
    Release,
}

/// Whom to load, and as whom.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    pub(crate) addr: SocketAddr,
    /// A user and a token for each connection.
    pub(crate) users: Vec<(UserId, String)>,
}

/// What came of a run.
pub(crate) struct Outcome {
    pub(crate) meter: Meter,
    pub(crate) counts: Counts,
}

/// How answers came out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Counts {
    /// Grants inside the window.
    pub(crate) granted: u64,
    /// Releases inside the window.
    pub(crate) released: u64,
    /// Everything else, inside the window or not, by its name.
    pub(crate) refused: BTreeMap<&'static str, u64>,
}

/// Puts one load on the server. The books go in and come back.
pub(crate) fn run<E: Engine>(
    target: Target,
    books: Books,
    load: Load,
    aim: Aim,
) -> Result<(Books, Outcome), LoadError> {
    drive::on_core::<E, _, _>(load.core, move || run_all::<E>(target, books, load, aim))
}

/// What the connections of a run share.
struct Ledger {
    taken: SeatSet,
    meter: Meter,
    counts: Counts,
    purses: Vec<Purse>,
}

async fn run_all<E: Engine>(
    target: Target,
    books: Books,
    load: Load,
    aim: Aim,
) -> Result<(Books, Outcome), LoadError> {
    let Books { hall, mut purses, taken } = books;
    let mut open = Vec::with_capacity(load.connections);
    for (number, (user, token)) in target.users.iter().enumerate() {
        let (halves, now_ms) = enter::<E>(target.addr, token).await?;
        let purse = std::mem::take(&mut purses[number]);
        open.push((halves, Caller::new(Arc::clone(&hall), *user, now_ms, purse, load.depth, aim)));
    }
    let lasts = if aim == Aim::Claim { load.duration } else { load.patience };
    let warmup = if aim == Aim::Claim { load.warmup } else { Duration::ZERO };
    let window = Window::after(warmup, lasts);
    let ledger = Ledger { taken, meter: Meter::new(window)?, counts: Counts::default(), purses };
    let ledger = Rc::new(RefCell::new(ledger));
    let mut conversations = Vec::with_capacity(open.len());
    for (number, (halves, caller)) in open.into_iter().enumerate() {
        let ledger = Rc::clone(&ledger);
        conversations.push(async move {
            let purse = converse::<E>(halves, caller, &ledger).await?;
            ledger.borrow_mut().purses[number] = purse;
            Ok(())
        });
    }
    let before = ServerTime::now();
    drive::all::<E>(conversations, load.patience).await?;
    let ledger = Rc::into_inner(ledger).map(RefCell::into_inner);
    let Ledger { taken, mut meter, counts, purses } =
        ledger.ok_or_else(|| LoadError::Wrong("a conversation outlived its load".to_owned()))?;
    meter.used_since(before);
    let books = Books { hall, purses, taken };
    let (held, marked) = (books.held(), books.taken.len());
    if held != marked {
        let what = format!("the connections hold {held} seats, but {marked} seats have a winner");
        return Err(LoadError::Wrong(what));
    }
    Ok((books, Outcome { meter, counts }))
}

/// Connects, says who it is, and waits to be let in. The server's time comes back.
async fn enter<E: Engine>(
    addr: SocketAddr,
    token: &str,
) -> Result<((E::Reader, E::Writer), Millis), LoadError> {
    let (mut reader, mut writer) = E::connect(addr).await.map_err(LoadError::connection("to the server"))?;
    let mut out = Vec::new();
    encode_client(&ClientMessage::Hello(Hello { token: token.into(), features: 0 }), &mut out);
    let (sent, _) = E::send_all(&mut writer, out).await;
    sent.map_err(LoadError::connection("saying hello"))?;
    let mut received = Vec::with_capacity(1024);
    loop {
        let (result, back) = E::recv(&mut reader, received).await;
        received = back;
        if result.map_err(LoadError::connection("waiting for the welcome"))? == 0 {
            return Err(LoadError::Wrong("the server closed instead of a welcome".to_owned()));
        }
        let frame = split(&received, u32::MAX).map_err(|error| LoadError::Wrong(error.to_string()))?;
        let Some((frame, _)) = frame else { continue };
        return match decode_server(frame).map_err(|error| LoadError::Wrong(error.to_string()))? {
            ServerMessage::Welcome(welcome) => Ok(((reader, writer), welcome.server_time_ms)),
            other => Err(LoadError::Wrong(format!("instead of a welcome came {other:?}"))),
        };
    }
}

/// One connection, until its load is over and everything it asked has been answered.
async fn converse<E: Engine>(
    (mut reader, mut writer): (E::Reader, E::Writer),
    mut caller: Caller,
    ledger: &RefCell<Ledger>,
) -> Result<Purse, LoadError> {
    let window = ledger.borrow().meter.window;
    let depth = caller.slots.len();
    let mut received: Vec<u8> = Vec::with_capacity(BUFFER_BYTES.max(depth * ANSWER_BYTES));
    let mut out = Vec::with_capacity(depth * (HEADER + Kind::Release.body()));
    let mut now_ns = Clock::monotonic_ns();
    loop {
        if window.is_open(now_ns) {
            caller.fill(&mut out, now_ns);
        }
        if !out.is_empty() {
            let (sent, back) = E::send_all(&mut writer, out).await;
            out = back;
            out.clear();
            sent.map_err(LoadError::connection("sending requests"))?;
        }
        if caller.is_idle() {
            return Ok(caller.purse);
        }
        let (result, back) = E::recv(&mut reader, received).await;
        received = back;
        if result.map_err(LoadError::connection("receiving answers"))? == 0 {
            return Err(LoadError::Wrong("the server closed with requests unanswered".to_owned()));
        }
        now_ns = Clock::monotonic_ns();
        let used = caller.take_all(&received, now_ns, &mut ledger.borrow_mut())?;
        received.drain(..used);
    }
}

/// What was asked in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Nothing,
    Claim(SeatNumber),
    Release(SeatNumber),
}

/// One request in flight.
#[derive(Clone, Copy, Debug)]
struct Slot {
    id: RequestId,
    sent_ns: u64,
    asked: Asked,
}

/// One user's side of a connection, without the connection.
struct Caller {
    hall: Arc<Hall>,
    user: UserId,
    purse: Purse,
    /// As many as the depth.
    slots: Vec<Slot>,
    /// Slots with nothing in flight.
    free: Vec<u16>,
    aim: Aim,
    /// Holds to give back before the next claim.
    to_release: usize,
    heard_ms: Millis,
    /// Tells this connection's ids from all others'.
    tag: u32,
    made: u32,
}

impl Caller {
    fn new(hall: Arc<Hall>, user: UserId, now_ms: Millis, purse: Purse, depth: usize, aim: Aim) -> Self {
        let nothing = Slot { id: 0, sent_ns: 0, asked: Asked::Nothing };
        let to_release = if aim == Aim::Release { purse.held.len() } else { 0 };
        Self {
            hall,
            user,
            purse,
            slots: vec![nothing; depth],
            free: (0..depth as u16).rev().collect(),
            aim,
            to_release,
            heard_ms: now_ms,
            tag: mix(user ^ Clock::monotonic_ns()) as u32,
            made: 0,
        }
    }

    fn is_idle(&self) -> bool {
        self.free.len() == self.slots.len()
    }

    /// An id with the server's time, as the protocol wants it, and the slot that its answer frees.
    fn next_id(&mut self, slot: u16) -> RequestId {
        self.made = self.made.wrapping_add(1);
        let low = u128::from(self.made) << 48 | u128::from(self.tag) << 16 | u128::from(slot);
        u128::from(self.heard_ms) << 80 | low
    }

    /// Writes a request for every free slot, as far as there are seats to ask for or to give back.
    fn fill(&mut self, out: &mut Vec<u8>, now_ns: u64) {
        while let Some(&slot) = self.free.last() {
            let Some((asked, command)) = self.next_command() else { return };
            self.free.pop();
            let id = self.next_id(slot);
            self.slots[usize::from(slot)] = Slot { id, sent_ns: now_ns, asked };
            encode_client(&ClientMessage::Request { id, command }, out);
        }
    }

    fn next_command(&mut self) -> Option<(Asked, Command)> {
        if self.aim == Aim::Claim && self.to_release == 0 {
            if let Some(seat) = self.purse.stock.pop_front() {
                let claim = ClaimSeats { row: self.hall.row(seat), seats: self.hall.seats(seat) };
                return Some((Asked::Claim(seat), Command::ClaimSeats(claim)));
            }
            self.to_release = self.purse.held.len().div_ceil(2);
        }
        self.to_release = self.to_release.checked_sub(1)?;
        let (seat, fence) = self.purse.held.pop_front()?;
        let proof = Proof { place: self.hall.row(seat), fence };
        Some((Asked::Release(seat), Command::Release(proof)))
    }

    /// Takes every whole frame of `bytes` in. How many bytes that were.
    fn take_all(&mut self, bytes: &[u8], now_ns: u64, ledger: &mut Ledger) -> Result<usize, LoadError> {
        let wrong = |what: String| LoadError::Wrong(what);
        let mut rest = bytes;
        // Requests of one send have one time: they are booked together.
        let (mut sent_ns, mut count) = (0, 0);
        while let Some((frame, behind)) = split(rest, u32::MAX).map_err(|error| wrong(error.to_string()))? {
            rest = behind;
            let slot = match decode_server(frame).map_err(|error| wrong(error.to_string()))? {
                ServerMessage::Answer(reply) => self.take_reply(&reply, now_ns, ledger)?,
                ServerMessage::Error(error) if error.id != 0 && !error.fatal => {
                    let slot = self.take_slot(error.id)?;
                    self.undo(slot.asked, error.code.name(), &mut ledger.counts)?;
                    slot
                }
                other => return Err(wrong(format!("an answer was due, but there came {other:?}"))),
            };
            if slot.sent_ns != sent_ns {
                ledger.meter.replies(now_ns, sent_ns, count);
                (sent_ns, count) = (slot.sent_ns, 0);
            }
            count += 1;
        }
        ledger.meter.replies(now_ns, sent_ns, count);
        Ok(bytes.len() - rest.len())
    }

    /// Frees the slot of an answered request; an error if nothing with this id is in flight.
    fn take_slot(&mut self, id: RequestId) -> Result<Slot, LoadError> {
        let at = id as u16;
        let slot = self.slots.get_mut(usize::from(at)).filter(|slot| slot.id == id);
        let Some(slot) = slot.filter(|slot| slot.asked != Asked::Nothing) else {
            let what = format!("request {id:032x} was answered twice, or never asked on this connection");
            return Err(LoadError::Wrong(what));
        };
        let was = *slot;
        slot.asked = Asked::Nothing;
        self.free.push(at);
        Ok(was)
    }

    fn take_reply(&mut self, reply: &Reply, now_ns: u64, ledger: &mut Ledger) -> Result<Slot, LoadError> {
        let slot = self.take_slot(reply.id)?;
        self.heard_ms = self.heard_ms.max(reply.time_ms);
        let answer = &reply.answer;
        let counts = u64::from(ledger.meter.window.counts(now_ns));
        match (slot.asked, answer.code) {
            (Asked::Claim(seat), Code::Granted) => {
                if answer.seats != self.hall.seats(seat) || reply.place != self.hall.row(seat) {
                    return Err(LoadError::Wrong(format!(
                        "seat {seat} was asked, but granted was {reply:?}"
                    )));
                }
                if !ledger.taken.insert(seat) {
                    return Err(LoadError::Wrong(format!(
                        "seat {seat} was granted while it was held: {reply:?}"
                    )));
                }
                self.purse.held.push_back((seat, Fence::of(self.user, answer)));
                ledger.counts.granted += counts;
            }
            (Asked::Release(seat), Code::Released) => {
                if !ledger.taken.remove(seat) {
                    return Err(LoadError::Wrong(format!("seat {seat} was released twice: {reply:?}")));
                }
                self.purse.stock.push_back(seat);
                ledger.counts.released += counts;
            }
            (asked, code) => self.undo(asked, code.name(), &mut ledger.counts)?,
        }
        Ok(slot)
    }

    /// A claim was refused: the seat is still to be had. A refused release must not be.
    fn undo(&mut self, asked: Asked, why: &'static str, counts: &mut Counts) -> Result<(), LoadError> {
        let Asked::Claim(seat) = asked else {
            return Err(LoadError::Wrong(format!("{asked:?} with the right fence was refused: {why}")));
        };
        self.purse.stock.push_back(seat);
        *counts.refused.entry(why).or_default() += 1;
        Ok(())
    }
}
