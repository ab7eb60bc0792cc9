//! Reading what the server says from frames.

use crate::client::require;
use crate::codes::WireCode;
use crate::error::DecodeError;
use crate::frame::{Frame, Kind};
use crate::layout::{id_at, place_at, seats_at, u16_at, u32_at, u64_at, zero};
use crate::limits::{ConnectionLimits, MAX_CORES, MAX_MESSAGE};
use crate::rows::{Delta, RowSeats, Rows, seats_in_range};
use crate::server::{
    CoreAddress, Durability, ErrorReply, Goodbye, News, NewsKind, Reply, ServerMessage, Snapshot, Topology,
    Welcome,
};
use frontrow_shard::{Answer, Code, MAX_PARTITIONS, MAX_PARTS, Part, Parts};
use std::borrow::Cow;

/// Bytes of one part of a claim over several rows.
const PART: usize = 16;

/// The message in a frame from a server. Borrows from it; only a topology allocates.
pub fn decode_server(frame: Frame<'_>) -> Result<ServerMessage<'_>, DecodeError> {
    let kind = match Kind::from_number(frame.kind) {
        Some(kind) if kind.from_server() => kind,
        _ => return Err(DecodeError::UnknownKind { kind: frame.kind }),
    };
    let body = frame.body;
    if body.len() < kind.body() || (kind.is_fixed() && body.len() > kind.body()) {
        return Err(DecodeError::Length { kind, got: body.len(), want: kind.body() });
    }
    match kind {
        Kind::Welcome => decode_welcome(body).map(ServerMessage::Welcome),
        Kind::Answer => decode_reply(body),
        Kind::Error => decode_error(body).map(ServerMessage::Error),
        Kind::Snapshot => decode_snapshot(body).map(ServerMessage::Snapshot),
        Kind::Delta => decode_delta(body).map(ServerMessage::Delta),
        Kind::Push => decode_push(body).map(ServerMessage::Push),
        Kind::TopologyIs => decode_topology(body).map(ServerMessage::Topology),
        Kind::Pong => Ok(ServerMessage::Pong { id: id_at(body, 0), time_ms: u64_at(body, 16) }),
        Kind::Goodbye => decode_goodbye(body).map(ServerMessage::Goodbye),
        _ => Err(DecodeError::UnknownKind { kind: frame.kind }),
    }
}

/// The body must be `want` bytes long.
fn exactly(kind: Kind, body: &[u8], want: usize) -> Result<(), DecodeError> {
    if body.len() == want { Ok(()) } else { Err(DecodeError::Length { kind, got: body.len(), want }) }
}

fn decode_welcome(body: &[u8]) -> Result<Welcome, DecodeError> {
    let kind = Kind::Welcome;
    let durability = Durability::from_number(body[30]).ok_or(DecodeError::field(
        kind,
        "durability",
        "0 memory, 1 local or 2 backup",
    ))?;
    require(body[31] == 0 && zero(&body[46..48]), kind, "bytes 31, 46 and 47 of the body", "0 (reserved)")?;
    Ok(Welcome {
        user: u64_at(body, 0),
        server_time_ms: u64_at(body, 8),
        epoch: u32_at(body, 16),
        features: u32_at(body, 20),
        partitions: u16_at(body, 24),
        cores: u16_at(body, 26),
        core: u16_at(body, 28),
        durability,
        limits: ConnectionLimits {
            max_frame: u32_at(body, 32),
            max_in_flight: u32_at(body, 36),
            remembered_ids: u32_at(body, 40),
            max_batch: u16_at(body, 44),
        },
    })
}

/// Makes the message where it will be returned: moving three hundred bytes twice would cost as much again.
fn decode_reply(body: &[u8]) -> Result<ServerMessage<'_>, DecodeError> {
    let kind = Kind::Answer;
    let answer = answer_at(kind, body, 40)?;
    check_parts(kind, body, 88, answer.parts)?;
    Ok(ServerMessage::Answer(Reply {
        id: id_at(body, 0),
        time_ms: u64_at(body, 16),
        place: place_at(body, 24),
        durable: u64_at(body, 32),
        answer,
        parts: parts_at(body, 88),
    }))
}

fn decode_push(body: &[u8]) -> Result<News, DecodeError> {
    let kind = Kind::Push;
    let answer = answer_at(kind, body, 16)?;
    check_parts(kind, body, 72, answer.parts)?;
    require(zero(&body[65..72]), kind, "bytes 65 to 71 of the body", "0 (reserved)")?;
    let about =
        NewsKind::from_number(body[64]).ok_or(DecodeError::field(kind, "the kind of news", "1 to 6"))?;
    let parts = parts_at(body, 72);
    Ok(News { place: place_at(body, 0), time_ms: u64_at(body, 8), kind: about, answer, parts })
}

fn answer_at(kind: Kind, body: &[u8], at: usize) -> Result<Answer, DecodeError> {
    let seats =
        seats_at(body, at, at + 43).ok_or(DecodeError::field(kind, "the seat window", "places 0 to 255"))?;
    let code = Code::from_number(body[at + 40]).ok_or(DecodeError::field(
        kind,
        "code",
        "a code below 128 of the protocol's table",
    ))?;
    require(u32_at(body, at + 44) == 0, kind, "the last 4 bytes of the answer", "0 (reserved)")?;
    Ok(Answer {
        seats,
        lsn: u64_at(body, at + 8),
        expires_ms: u64_at(body, at + 16),
        nonce: u64_at(body, at + 24),
        slot: u32_at(body, at + 32),
        epoch: u32_at(body, at + 36),
        code,
        flags: body[at + 41],
        parts: body[at + 42],
    })
}

fn check_parts(kind: Kind, body: &[u8], at: usize, count: u8) -> Result<(), DecodeError> {
    let count = count as usize;
    require(count <= MAX_PARTS, kind, "the number of parts", "0 to 8")?;
    exactly(kind, body, at + count * PART)?;
    for bytes in body[at..].chunks_exact(PART) {
        require(seats_at(bytes, 0, 14).is_some(), kind, "the seat window of a part", "places 0 to 255")?;
        require(bytes[15] == 0, kind, "the last byte of a part", "0 (reserved)")?;
    }
    Ok(())
}

/// Parts that have been checked.
fn parts_at(body: &[u8], at: usize) -> Parts {
    let mut parts = Parts::default();
    for bytes in body[at..].chunks_exact(PART) {
        let seats = seats_at(bytes, 0, 14).unwrap_or_default();
        parts.push(Part { row: u16_at(bytes, 12), seats, slot: u32_at(bytes, 8) });
    }
    parts
}

fn decode_error(body: &[u8]) -> Result<ErrorReply<'_>, DecodeError> {
    let kind = Kind::Error;
    require(body[21] <= 1, kind, "fatal", "0 or 1")?;
    Ok(ErrorReply {
        id: id_at(body, 0),
        retry_after_ms: u32_at(body, 16),
        code: wire_code(kind, body[20])?,
        fatal: body[21] == 1,
        message: text(kind, body, 24, u16_at(body, 22))?,
    })
}

fn decode_goodbye(body: &[u8]) -> Result<Goodbye<'_>, DecodeError> {
    let kind = Kind::Goodbye;
    require(body[5] == 0, kind, "byte 5 of the body", "0 (reserved)")?;
    Ok(Goodbye {
        retry_after_ms: u32_at(body, 0),
        code: wire_code(kind, body[4])?,
        message: text(kind, body, 8, u16_at(body, 6))?,
    })
}

fn wire_code(kind: Kind, number: u8) -> Result<WireCode, DecodeError> {
    WireCode::from_number(number).ok_or(DecodeError::field(
        kind,
        "code",
        "a code from 128 of the protocol's table",
    ))
}

fn text(kind: Kind, body: &[u8], at: usize, len: u16) -> Result<Cow<'_, str>, DecodeError> {
    require(len as usize <= MAX_MESSAGE, kind, "message length", "0 to 512")?;
    exactly(kind, body, at + len as usize)?;
    let text =
        std::str::from_utf8(&body[at..]).map_err(|_| DecodeError::field(kind, "message", "text in UTF-8"))?;
    Ok(Cow::Borrowed(text))
}

fn decode_snapshot(body: &[u8]) -> Result<Snapshot<'_>, DecodeError> {
    let kind = Kind::Snapshot;
    let section = place_at(body, 16);
    require(section.is_section(), kind, "row", "65535, which stands for the section")?;
    require(body[26] <= 1, kind, "last", "0 or 1")?;
    require(zero(&body[27..32]), kind, "bytes 27 to 31 of the body", "0 (reserved)")?;
    let rows = Rows::checked(u16_at(body, 24), &body[32..])?;
    Ok(Snapshot { id: id_at(body, 0), section, last: body[26] == 1, rows })
}

fn decode_delta(body: &[u8]) -> Result<Delta, DecodeError> {
    let kind = Kind::Delta;
    let row = place_at(body, 0);
    require(!row.is_section(), kind, "row", "0 to 65534 (65535 stands for the section)")?;
    require(zero(&body[14..16]), kind, "bytes 14 and 15 of the body", "0 (reserved)")?;
    let seats = seats_in_range(kind, u16_at(body, 12))?;
    exactly(kind, body, 16 + 3 * RowSeats::set_len(seats))?;
    Ok(Delta { row, state: RowSeats::with_sets(kind, u32_at(body, 8), seats, &body[16..])? })
}

fn decode_topology(body: &[u8]) -> Result<Topology, DecodeError> {
    let kind = Kind::TopologyIs;
    let (partitions, cores) = (u16_at(body, 16), u16_at(body, 18));
    require(partitions <= MAX_PARTITIONS, kind, "the number of partitions", "0 to 1024")?;
    require(cores <= MAX_CORES, kind, "the number of cores", "0 to 1024")?;
    require(zero(&body[20..24]), kind, "bytes 20 to 23 of the body", "0 (reserved)")?;
    let owners_at = 24 + cores as usize * 8;
    // Checked before the lists are made, so that a count cannot make anybody allocate for nothing.
    exactly(kind, body, owners_at + partitions as usize * 2)?;
    let mut list = Vec::with_capacity(cores as usize);
    for bytes in body[24..owners_at].chunks_exact(8) {
        require(zero(&bytes[6..8]), kind, "the last 2 bytes of a core", "0 (reserved)")?;
        list.push(CoreAddress {
            core: u16_at(bytes, 0),
            tcp_port: u16_at(bytes, 2),
            ws_port: u16_at(bytes, 4),
        });
    }
    let owners = body[owners_at..].chunks_exact(2).map(|bytes| u16_at(bytes, 0)).collect();
    Ok(Topology { id: id_at(body, 0), cores: list, owners })
}
