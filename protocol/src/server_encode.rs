//! Writing what the server says as frames.

use crate::frame::{HEADER, Kind};
use crate::layout::{put, put_place};
use crate::limits::MAX_MESSAGE;
use crate::rows::{Delta, RowSeats, RowSnapshot};
use crate::server::{ErrorReply, Goodbye, News, Reply, ServerMessage, Snapshot, Topology, Welcome};
use frontrow_shard::{Answer, Millis, Parts, RequestId, RowRef};

/// Appends `message` as one frame to `out`.
pub fn encode_server(message: &ServerMessage<'_>, out: &mut Vec<u8>) {
    match message {
        ServerMessage::Welcome(welcome) => encode_welcome(welcome, out),
        ServerMessage::Answer(reply) => encode_reply(reply, out),
        ServerMessage::Error(error) => encode_error(error, out),
        ServerMessage::Snapshot(snapshot) => encode_snapshot_frame(snapshot, out),
        ServerMessage::Delta(delta) => encode_delta(delta, out),
        ServerMessage::Push(push) => encode_news(push, out),
        ServerMessage::Topology(topology) => encode_topology(topology, out),
        ServerMessage::Pong { id, time_ms } => encode_pong(*id, *time_ms, out),
        ServerMessage::Goodbye(goodbye) => encode_goodbye(goodbye, out),
    }
}

/// Appends a welcome.
pub fn encode_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    let body = Kind::Welcome.append::<48>(out);
    put(body, 0, welcome.user.to_le_bytes());
    put(body, 8, welcome.server_time_ms.to_le_bytes());
    put(body, 16, welcome.epoch.to_le_bytes());
    put(body, 20, welcome.features.to_le_bytes());
    put(body, 24, welcome.partitions.to_le_bytes());
    put(body, 26, welcome.cores.to_le_bytes());
    put(body, 28, welcome.core.to_le_bytes());
    body[30] = welcome.durability as u8;
    put(body, 32, welcome.limits.max_frame.to_le_bytes());
    put(body, 36, welcome.limits.max_in_flight.to_le_bytes());
    put(body, 40, welcome.limits.remembered_ids.to_le_bytes());
    put(body, 44, welcome.limits.max_batch.to_le_bytes());
}

/// Appends the answer to a request.
pub fn encode_reply(reply: &Reply, out: &mut Vec<u8>) {
    let parts = reply.parts.as_slice().len();
    let start = out.len();
    let body = Kind::Answer.append::<88>(out);
    put(body, 0, reply.id.to_le_bytes());
    put(body, 16, reply.time_ms.to_le_bytes());
    put_place(body, 24, reply.place);
    put(body, 32, reply.durable.to_le_bytes());
    put_answer(&mut body[40..], &reply.answer, parts);
    finish_parts(Kind::Answer, start, &reply.parts, out);
}

/// Appends news.
pub fn encode_news(push: &News, out: &mut Vec<u8>) {
    let parts = push.parts.as_slice().len();
    let start = out.len();
    let body = Kind::Push.append::<72>(out);
    put_place(body, 0, push.place);
    put(body, 8, push.time_ms.to_le_bytes());
    put_answer(&mut body[16..], &push.answer, parts);
    body[64] = push.kind as u8;
    finish_parts(Kind::Push, start, &push.parts, out);
}

/// Writes an answer over the first 48 bytes. The number of parts is that of the list that will follow.
fn put_answer(bytes: &mut [u8], answer: &Answer, parts: usize) {
    put(bytes, 0, answer.seats.mask.to_le_bytes());
    put(bytes, 8, answer.lsn.to_le_bytes());
    put(bytes, 16, answer.expires_ms.to_le_bytes());
    put(bytes, 24, answer.nonce.to_le_bytes());
    put(bytes, 32, answer.slot.to_le_bytes());
    put(bytes, 36, answer.epoch.to_le_bytes());
    put(bytes, 40, [answer.code as u8, answer.flags, parts as u8, answer.seats.first]);
}

fn finish_parts(kind: Kind, start: usize, parts: &Parts, out: &mut Vec<u8>) {
    if parts.as_slice().is_empty() {
        return;
    }
    for part in parts.as_slice() {
        out.extend_from_slice(&part.seats.mask.to_le_bytes());
        out.extend_from_slice(&part.slot.to_le_bytes());
        out.extend_from_slice(&part.row.to_le_bytes());
        out.extend_from_slice(&[part.seats.first, 0]);
    }
    finish(kind, start, out);
}

/// Corrects the length of a frame that began at `start` and has grown since.
fn finish(kind: Kind, start: usize, out: &mut [u8]) {
    let len = out.len() - start - HEADER;
    put(out, start, kind.header(len));
}

/// Appends an error. A message that is too long is cut.
pub fn encode_error(error: &ErrorReply<'_>, out: &mut Vec<u8>) {
    let message = cut(&error.message);
    let start = out.len();
    let body = Kind::Error.append::<24>(out);
    put(body, 0, error.id.to_le_bytes());
    put(body, 16, error.retry_after_ms.to_le_bytes());
    body[20] = error.code as u8;
    body[21] = u8::from(error.fatal);
    put(body, 22, (message.len() as u16).to_le_bytes());
    out.extend_from_slice(message.as_bytes());
    finish(Kind::Error, start, out);
}

/// Appends a goodbye. A message that is too long is cut.
pub fn encode_goodbye(goodbye: &Goodbye<'_>, out: &mut Vec<u8>) {
    let message = cut(&goodbye.message);
    let start = out.len();
    let body = Kind::Goodbye.append::<8>(out);
    put(body, 0, goodbye.retry_after_ms.to_le_bytes());
    body[4] = goodbye.code as u8;
    put(body, 6, (message.len() as u16).to_le_bytes());
    out.extend_from_slice(message.as_bytes());
    finish(Kind::Goodbye, start, out);
}

/// The text, or as much of it as may be sent, cut between two characters.
pub(crate) fn cut(text: &str) -> &str {
    let mut end = text.len().min(MAX_MESSAGE);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// Appends a pong.
pub fn encode_pong(id: RequestId, time_ms: Millis, out: &mut Vec<u8>) {
    let body = Kind::Pong.append::<24>(out);
    put(body, 0, id.to_le_bytes());
    put(body, 16, time_ms.to_le_bytes());
}

/// Appends a topology.
pub fn encode_topology(topology: &Topology, out: &mut Vec<u8>) {
    let start = out.len();
    let body = Kind::TopologyIs.append::<24>(out);
    put(body, 0, topology.id.to_le_bytes());
    put(body, 16, (topology.owners.len() as u16).to_le_bytes());
    put(body, 18, (topology.cores.len() as u16).to_le_bytes());
    for core in &topology.cores {
        for field in [core.core, core.tcp_port, core.ws_port, 0] {
            out.extend_from_slice(&field.to_le_bytes());
        }
    }
    for owner in &topology.owners {
        out.extend_from_slice(&owner.to_le_bytes());
    }
    finish(Kind::TopologyIs, start, out);
}

/// Appends one row's change.
pub fn encode_delta(delta: &Delta, out: &mut Vec<u8>) {
    let start = out.len();
    let body = Kind::Delta.append::<16>(out);
    put_place(body, 0, delta.row);
    put(body, 8, delta.state.version.to_le_bytes());
    put(body, 12, delta.state.seats.to_le_bytes());
    delta.state.append_sets(out);
    finish(Kind::Delta, start, out);
}

fn begin_snapshot(id: RequestId, section: RowRef, out: &mut Vec<u8>) -> usize {
    let start = out.len();
    let body = Kind::Snapshot.append::<32>(out);
    put(body, 0, id.to_le_bytes());
    put_place(body, 16, section.section_of());
    start
}

fn finish_snapshot(start: usize, count: u16, last: bool, out: &mut [u8]) {
    put(out, start + HEADER + 24, count.to_le_bytes());
    out[start + HEADER + 26] = u8::from(last);
    finish(Kind::Snapshot, start, out);
}

fn encode_snapshot_frame(snapshot: &Snapshot<'_>, out: &mut Vec<u8>) {
    let start = begin_snapshot(snapshot.id, snapshot.section, out);
    out.extend_from_slice(snapshot.rows.bytes);
    finish_snapshot(start, snapshot.rows.count, snapshot.last, out);
}

/// Appends the rows of `section` as one or more snapshot frames, none with a body longer than
/// `max_frame` (which must have room for one row, 136 bytes). Without rows it is one empty frame.
pub fn encode_snapshot(
    id: RequestId,
    section: RowRef,
    rows: impl IntoIterator<Item = (u16, RowSeats)>,
    max_frame: u32,
    out: &mut Vec<u8>,
) {
    let mut start = begin_snapshot(id, section, out);
    let mut count = 0;
    for (row, state) in rows {
        let row = RowSnapshot { row, state };
        let len = out.len() - start - HEADER;
        if count > 0 && (len + row.wire_len() > max_frame as usize || count == u16::MAX) {
            finish_snapshot(start, count, false, out);
            start = begin_snapshot(id, section, out);
            count = 0;
        }
        row.append(out);
        count += 1;
    }
    finish_snapshot(start, count, true, out);
}
