//! What a client says.

use crate::error::DecodeError;
use crate::frame::{Frame, Frames, HEADER, Kind};
use crate::layout::{id_at, place_at, put, put_place, seats_at, u16_at, u32_at, u64_at, zero};
use crate::limits::{DEFAULT_MAX_FRAME, MAX_BATCH, MAX_TOKEN};
use frontrow_shard::{
    Adjacency, CANDIDATES, ClaimBest, ClaimSeats, ClaimSection, Command, Fence, Join, Leave, NO_ROW, Proof,
    RequestId, RowRef,
};
use std::borrow::Cow;

/// Option bit: at least one seat must be an accessible one.
const ACCESSIBLE: u8 = 1;
/// Option bit: wait in the queue if it cannot be had now.
const OR_JOIN: u8 = 2;

/// Anything a client can send.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientMessage<'a> {
    /// Who connects; the first frame on raw TCP.
    Hello(Hello<'a>),
    /// A request to the owner of a place.
    Request {
        /// The client's id for it.
        id: RequestId,
        /// What is asked.
        command: Command,
    },
    /// Where is this user in the queue of `place`, and is there an offer?
    Status {
        /// Echoed in the answer.
        id: RequestId,
        /// The row or section.
        place: RowRef,
    },
    /// Send the seats of a section now, and every change of them.
    Watch {
        /// Echoed in the snapshot.
        id: RequestId,
        /// The section.
        section: RowRef,
    },
    /// Send no more changes of a section. Nothing answers, unless it fails.
    Unwatch {
        /// Echoed in an error.
        id: RequestId,
        /// The section.
        section: RowRef,
    },
    /// Which core has which partition?
    Topology {
        /// Echoed.
        id: RequestId,
    },
    /// Is anybody there, and what time is it?
    Ping {
        /// Echoed.
        id: RequestId,
    },
    /// Several messages that have nothing to do with each other.
    Batch(Batch<'a>),
}

/// A feature: a standby's view of the seats is welcome, too. In a [`Welcome`](crate::Welcome) it says that this is one:
/// seats can be watched there, and everything else is refused with [`NotPrimary`](crate::WireCode::NotPrimary).
pub const FEATURE_STANDBY: u32 = 1;

/// See [`ClientMessage::Hello`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello<'a> {
    /// The token that says who the user is (a JWT); empty if it came with the WebSocket's upgrade.
    pub token: Cow<'a, str>,
    /// Optional features the client understands, as [`FEATURE_STANDBY`]. Unknown bits are ignored.
    pub features: u32,
}

/// Decoded and checked messages in one frame, kept in their binary form.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<'a> {
    count: u16,
    frames: Cow<'a, [u8]>,
}

impl Batch<'_> {
    /// How many messages.
    pub const fn count(&self) -> u16 {
        self.count
    }

    /// The messages, in order. None of them is a hello or a batch.
    pub fn iter(&self) -> impl Iterator<Item = ClientMessage<'_>> {
        // Every frame was cut out and decoded once before this batch came to be.
        Frames::new(&self.frames, u32::MAX).filter_map(|frame| decode_client(frame.ok()?).ok())
    }
}

/// Why messages do not make a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Nothing to send.
    #[error("a batch has at least one message: send nothing instead")]
    Empty,
    /// More than [`MAX_BATCH`] messages.
    #[error("a batch has at most {MAX_BATCH} messages: send several batches")]
    TooMany,
    /// A hello or a batch among them.
    #[error("message {index} of the batch is a hello or a batch: send it by itself")]
    Nested {
        /// Which message, from 0.
        index: usize,
    },
}

/// Appends one frame that holds all `messages` to `out`. On an error `out` is as it was.
pub fn encode_batch<'m>(
    messages: impl IntoIterator<Item = ClientMessage<'m>>,
    out: &mut Vec<u8>,
) -> Result<(), BatchError> {
    let start = out.len();
    Kind::Batch.append::<8>(out);
    let mut count = 0;
    for message in messages {
        let problem = match message {
            ClientMessage::Hello(_) | ClientMessage::Batch(_) => BatchError::Nested { index: count },
            _ if count == MAX_BATCH as usize => BatchError::TooMany,
            _ => {
                encode_client(&message, out);
                count += 1;
                continue;
            }
        };
        out.truncate(start);
        return Err(problem);
    }
    if count == 0 {
        out.truncate(start);
        return Err(BatchError::Empty);
    }
    let len = out.len() - start - HEADER;
    put(out, start, Kind::Batch.header(len));
    put(out, start + HEADER, (count as u16).to_le_bytes());
    Ok(())
}

/// The batch of `messages`, as if it had been received.
pub(crate) fn batch_of<'m>(
    messages: impl IntoIterator<Item = ClientMessage<'m>>,
) -> Result<Batch<'static>, BatchError> {
    let mut bytes = Vec::new();
    encode_batch(messages, &mut bytes)?;
    let count = u16_at(&bytes, HEADER);
    bytes.drain(..HEADER + 8);
    Ok(Batch { count, frames: Cow::Owned(bytes) })
}

/// Appends `message` as one frame to `out`.
///
/// Values that no message can have (a row claim that names a section, a token beyond
/// [`MAX_TOKEN`]) are written as they are and refused by the receiver.
pub fn encode_client(message: &ClientMessage<'_>, out: &mut Vec<u8>) {
    match message {
        ClientMessage::Hello(hello) => {
            out.extend_from_slice(&Kind::Hello.header(8 + hello.token.len()));
            out.extend_from_slice(&hello.features.to_le_bytes());
            out.extend_from_slice(&(hello.token.len() as u32).to_le_bytes());
            out.extend_from_slice(hello.token.as_bytes());
        }
        ClientMessage::Request { id, command } => encode_command(*id, command, out),
        ClientMessage::Status { id, place } => put_place_only(Kind::Status, *id, *place, out),
        ClientMessage::Watch { id, section } => {
            put_place_only(Kind::Watch, *id, section.section_of(), out);
        }
        ClientMessage::Unwatch { id, section } => {
            put_place_only(Kind::Unwatch, *id, section.section_of(), out);
        }
        ClientMessage::Topology { id } => put(Kind::Topology.append::<16>(out), 0, id.to_le_bytes()),
        ClientMessage::Ping { id } => put(Kind::Ping.append::<16>(out), 0, id.to_le_bytes()),
        ClientMessage::Batch(batch) => {
            out.extend_from_slice(&Kind::Batch.header(8 + batch.frames.len()));
            out.extend_from_slice(&batch.count.to_le_bytes());
            out.extend_from_slice(&[0; 6]);
            out.extend_from_slice(&batch.frames);
        }
    }
}

fn put_place_only(kind: Kind, id: RequestId, place: RowRef, out: &mut Vec<u8>) {
    let body = kind.append::<24>(out);
    put(body, 0, id.to_le_bytes());
    put_place(body, 16, place);
}

fn encode_command(id: RequestId, command: &Command, out: &mut Vec<u8>) {
    match command {
        Command::ClaimSeats(claim) => {
            let body = Kind::ClaimSeats.append::<40>(out);
            put(body, 0, id.to_le_bytes());
            put_place(body, 16, claim.row);
            put(body, 24, claim.seats.mask.to_le_bytes());
            body[32] = claim.seats.first;
        }
        Command::ClaimBest(claim) => {
            let options = options(claim.accessible, claim.or_join);
            let wish = [claim.count, claim.category, options, 0];
            put_wish(Kind::ClaimBest, id, claim.row, wish, out);
        }
        Command::ClaimSection(claim) => {
            let options = options(claim.accessible, claim.or_join);
            let wish = [claim.count, claim.category, options, claim.adjacency as u8];
            put_wish(Kind::ClaimSection, id, claim.section.section_of(), wish, out);
        }
        Command::Join(join) => {
            let wish = [join.count, 0, options(join.accessible, false), join.adjacency as u8];
            put_wish(Kind::Join, id, join.place, wish, out);
        }
        Command::Leave(leave) => put_place_only(Kind::Leave, id, leave.place, out),
        Command::Extend(proof) => put_proof(Kind::Extend, id, proof, out),
        Command::BeginPayment(proof) => put_proof(Kind::BeginPayment, id, proof, out),
        Command::Book(proof) => put_proof(Kind::Book, id, proof, out),
        Command::Release(proof) => put_proof(Kind::Release, id, proof, out),
        Command::Cancel(proof) => put_proof(Kind::Cancel, id, proof, out),
    }
}

const fn options(accessible: bool, or_join: bool) -> u8 {
    (accessible as u8 * ACCESSIBLE) | (or_join as u8 * OR_JOIN)
}

fn put_wish(kind: Kind, id: RequestId, place: RowRef, wish: [u8; 4], out: &mut Vec<u8>) {
    let body = kind.append::<32>(out);
    put(body, 0, id.to_le_bytes());
    put_place(body, 16, place);
    put(body, 24, wish);
}

fn put_proof(kind: Kind, id: RequestId, proof: &Proof, out: &mut Vec<u8>) {
    let body = kind.append::<64>(out);
    put(body, 0, id.to_le_bytes());
    put_place(body, 16, proof.place);
    put_fence(&mut body[24..], &proof.fence);
}

/// Writes a fence over the first 40 bytes.
pub(crate) fn put_fence(bytes: &mut [u8], fence: &Fence) {
    put(bytes, 0, fence.user.to_le_bytes());
    put(bytes, 8, fence.expires_ms.to_le_bytes());
    put(bytes, 16, fence.lsn.to_le_bytes());
    put(bytes, 24, fence.nonce.to_le_bytes());
    put(bytes, 32, fence.slot.to_le_bytes());
    put(bytes, 36, fence.epoch.to_le_bytes());
}

/// Reads a fence from the first 40 bytes.
pub(crate) fn fence_at(bytes: &[u8], at: usize) -> Fence {
    Fence {
        user: u64_at(bytes, at),
        expires_ms: u64_at(bytes, at + 8),
        lsn: u64_at(bytes, at + 16),
        nonce: u64_at(bytes, at + 24),
        slot: u32_at(bytes, at + 32),
        epoch: u32_at(bytes, at + 36),
    }
}

/// The message in a frame from a client. Borrows from it; allocates nothing.
pub fn decode_client(frame: Frame<'_>) -> Result<ClientMessage<'_>, DecodeError> {
    let kind = match Kind::from_number(frame.kind) {
        Some(kind) if !kind.from_server() => kind,
        _ => return Err(DecodeError::UnknownKind { kind: frame.kind }),
    };
    let body = frame.body;
    if kind == Kind::ClaimSeats && body.len() == Kind::ClaimSeats.body() {
        // By far the commonest; alone, it needs no detour over a command of any other size.
        let command = Command::ClaimSeats(decode_claim(body)?);
        return Ok(ClientMessage::Request { id: id_at(body, 0), command });
    }
    let fits = if kind.is_fixed() { body.len() == kind.body() } else { body.len() >= kind.body() };
    if !fits {
        return Err(DecodeError::Length { kind, got: body.len(), want: kind.body() });
    }
    match kind {
        Kind::Hello => decode_hello(body).map(ClientMessage::Hello),
        Kind::Batch => decode_batch(body).map(ClientMessage::Batch),
        Kind::Ping => Ok(ClientMessage::Ping { id: id_at(body, 0) }),
        Kind::Topology => Ok(ClientMessage::Topology { id: id_at(body, 0) }),
        Kind::Status => Ok(ClientMessage::Status { id: id_at(body, 0), place: place_at(body, 16) }),
        Kind::Watch => Ok(ClientMessage::Watch { id: id_at(body, 0), section: section_at(kind, body)? }),
        Kind::Unwatch => Ok(ClientMessage::Unwatch { id: id_at(body, 0), section: section_at(kind, body)? }),
        _ => decode_request(kind, body),
    }
}

/// Makes the message where it will be returned: moving a command from result to result costs as much as
/// reading it.
fn decode_request(kind: Kind, body: &[u8]) -> Result<ClientMessage<'_>, DecodeError> {
    let id = id_at(body, 0);
    let command = match kind {
        Kind::ClaimSeats => Command::ClaimSeats(decode_claim(body)?),
        Kind::ClaimBest => {
            let (accessible, or_join) = wish_at(kind, body, ACCESSIBLE | OR_JOIN)?;
            require(body[27] == 0, kind, "byte 27 of the body", "0 (reserved)")?;
            let row = row_at(kind, body)?;
            Command::ClaimBest(ClaimBest { row, count: body[24], category: body[25], accessible, or_join })
        }
        Kind::ClaimSection => {
            let (accessible, or_join) = wish_at(kind, body, ACCESSIBLE | OR_JOIN)?;
            Command::ClaimSection(ClaimSection {
                section: section_at(kind, body)?,
                count: body[24],
                category: body[25],
                adjacency: adjacency(kind, body[27])?,
                accessible,
                or_join,
                hopeless: false,
                candidates: [NO_ROW; CANDIDATES],
            })
        }
        Kind::Join => {
            let (accessible, _) = wish_at(kind, body, ACCESSIBLE)?;
            require(body[25] == 0, kind, "byte 25 of the body", "0 (reserved)")?;
            let adjacency = adjacency(kind, body[27])?;
            Command::Join(Join { place: place_at(body, 16), count: body[24], adjacency, accessible })
        }
        Kind::Leave => Command::Leave(Leave { place: place_at(body, 16) }),
        Kind::Extend => Command::Extend(proof_at(body)),
        Kind::BeginPayment => Command::BeginPayment(proof_at(body)),
        Kind::Book => Command::Book(proof_at(body)),
        Kind::Release => Command::Release(proof_at(body)),
        Kind::Cancel => Command::Cancel(proof_at(body)),
        _ => return Err(DecodeError::UnknownKind { kind: kind as u8 }),
    };
    Ok(ClientMessage::Request { id, command })
}

fn decode_claim(body: &[u8]) -> Result<ClaimSeats, DecodeError> {
    let kind = Kind::ClaimSeats;
    let beyond = DecodeError::field(kind, "the seat window", "places 0 to 255");
    let seats = seats_at(body, 24, 32).ok_or(beyond)?;
    require(u64_at(body, 32) >> 8 == 0, kind, "bytes 33 to 39 of the body", "0 (reserved)")?;
    Ok(ClaimSeats { row: row_at(kind, body)?, seats })
}

fn proof_at(body: &[u8]) -> Proof {
    Proof { place: place_at(body, 16), fence: fence_at(body, 24) }
}

/// Checks the option bits and the reserved end of a body that says how many seats of what sort.
fn wish_at(kind: Kind, body: &[u8], known: u8) -> Result<(bool, bool), DecodeError> {
    let options = body[26];
    require(options & !known == 0, kind, "the options byte", "the option bits of this kind, others 0")?;
    require(u32_at(body, 28) == 0, kind, "bytes 28 to 31 of the body", "0 (reserved)")?;
    Ok((options & ACCESSIBLE != 0, options & OR_JOIN != 0))
}

fn adjacency(kind: Kind, number: u8) -> Result<Adjacency, DecodeError> {
    match number {
        0 => Ok(Adjacency::Required),
        1 => Ok(Adjacency::Preferred),
        2 => Ok(Adjacency::Any),
        _ => Err(DecodeError::field(kind, "adjacency", "0 required, 1 preferred or 2 any")),
    }
}

fn row_at(kind: Kind, body: &[u8]) -> Result<RowRef, DecodeError> {
    let place = place_at(body, 16);
    require(!place.is_section(), kind, "row", "0 to 65534 (65535 stands for the section)")?;
    Ok(place)
}

fn section_at(kind: Kind, body: &[u8]) -> Result<RowRef, DecodeError> {
    let place = place_at(body, 16);
    require(place.is_section(), kind, "row", "65535, which stands for the section")?;
    Ok(place)
}

pub(crate) fn require(
    holds: bool,
    kind: Kind,
    field: &'static str,
    allowed: &'static str,
) -> Result<(), DecodeError> {
    if holds { Ok(()) } else { Err(DecodeError::field(kind, field, allowed)) }
}

fn decode_hello(body: &[u8]) -> Result<Hello<'_>, DecodeError> {
    let len = u32_at(body, 4) as usize;
    require(len <= MAX_TOKEN, Kind::Hello, "token length", "0 to 4096")?;
    let token = &body[8..];
    if token.len() != len {
        return Err(DecodeError::Length { kind: Kind::Hello, got: body.len(), want: 8 + len });
    }
    let token =
        std::str::from_utf8(token).map_err(|_| DecodeError::field(Kind::Hello, "token", "text in UTF-8"))?;
    Ok(Hello { token: Cow::Borrowed(token), features: u32_at(body, 0) })
}

/// Every frame in it is decoded here once: a batch is taken whole or refused whole.
fn decode_batch(body: &[u8]) -> Result<Batch<'_>, DecodeError> {
    let count = u16_at(body, 0);
    require((1..=MAX_BATCH).contains(&count), Kind::Batch, "count", "1 to 512")?;
    require(zero(&body[2..8]), Kind::Batch, "bytes 2 to 7 of the body", "0 (reserved)")?;
    let mut frames = Frames::new(&body[8..], DEFAULT_MAX_FRAME);
    let mut found = 0_u16;
    for frame in &mut frames {
        let frame = frame.map_err(DecodeError::Batch)?;
        let nested = [Kind::Hello as u8, Kind::Batch as u8].contains(&frame.kind);
        require(!nested, Kind::Batch, "a frame's kind", "any from a client but hello and batch")?;
        require(found < count, Kind::Batch, "count", "the number of frames that follow")?;
        decode_client(frame)?;
        found += 1;
    }
    require(frames.rest().is_empty(), Kind::Batch, "the last frame", "a whole one")?;
    require(found == count, Kind::Batch, "count", "the number of frames that follow")?;
    Ok(Batch { count, frames: Cow::Borrowed(&body[8..]) })
}
