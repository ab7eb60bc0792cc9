//! What the server says, as JSON.

use super::write::Object;
use crate::codes::{WireCode, advice};
use crate::rows::RowSeats;
use crate::server::{ErrorReply, Goodbye, News, Reply, ServerMessage, Snapshot, Topology, Welcome};
use crate::server_encode::cut;
use crate::token::{token_room, token_text};
use frontrow_shard::{Answer, Code, Fence, Parts, Proof, RowRef, UserId, flags};

/// Appends `message` as one JSON object to `out`. `user` is the connection's: it is part of the tokens.
pub fn encode_server_json(message: &ServerMessage<'_>, user: UserId, out: &mut Vec<u8>) {
    match message {
        ServerMessage::Welcome(welcome) => write_welcome(welcome, out),
        ServerMessage::Answer(reply) if reply.answer.code.is_refusal() => write_refusal(reply, out),
        ServerMessage::Answer(reply) => write_answer(reply, user, out),
        ServerMessage::Error(error) => write_error(error, out),
        ServerMessage::Snapshot(snapshot) => write_snapshot(snapshot, out),
        ServerMessage::Delta(delta) => {
            let mut object = Object::open("delta", out);
            object.place(delta.row);
            write_seats(&mut object, &delta.state);
            object.close();
        }
        ServerMessage::Push(news) => write_news(news, user, out),
        ServerMessage::Topology(topology) => write_topology(topology, out),
        ServerMessage::Pong { id, time_ms } => {
            let mut object = Object::open("pong", out);
            object.id("id", *id);
            object.number("time_ms", *time_ms);
            object.close();
        }
        ServerMessage::Goodbye(goodbye) => write_goodbye(goodbye, out),
    }
}

fn write_welcome(welcome: &Welcome, out: &mut Vec<u8>) {
    let mut object = Object::open("welcome", out);
    object.wide("user", welcome.user);
    object.number("time_ms", welcome.server_time_ms);
    object.number("epoch", u64::from(welcome.epoch));
    object.number("features", u64::from(welcome.features));
    object.number("partitions", u64::from(welcome.partitions));
    object.number("cores", u64::from(welcome.cores));
    object.number("core", u64::from(welcome.core));
    object.text("durability", welcome.durability.name());
    object.inner("limits", |object| {
        object.number("max_frame", u64::from(welcome.limits.max_frame));
        object.number("max_in_flight", u64::from(welcome.limits.max_in_flight));
        object.number("max_batch", u64::from(welcome.limits.max_batch));
        object.number("remembered_ids", u64::from(welcome.limits.remembered_ids));
    });
    object.close();
}

fn write_answer(reply: &Reply, user: UserId, out: &mut Vec<u8>) {
    let mut object = Object::open("answer", out);
    object.id("id", reply.id);
    object.flag("ok", true);
    object.text("code", reply.answer.code.name());
    object.place(reply.place);
    write_outcome(&mut object, reply.place, &reply.answer, &reply.parts, user);
    write_position(&mut object, reply);
    object.close();
}

/// Where in history, and when.
fn write_position(object: &mut Object<'_>, reply: &Reply) {
    if reply.answer.flags & flags::REPEATED != 0 {
        object.flag("repeated", true);
    }
    object.number("lsn", reply.answer.lsn);
    object.number("epoch", u64::from(reply.answer.epoch));
    object.number("durable", reply.durable);
    object.number("time_ms", reply.time_ms);
}

/// Seats, token and position in the queue, as far as there are any.
fn write_outcome(object: &mut Object<'_>, place: RowRef, answer: &Answer, parts: &Parts, user: UserId) {
    object.places("seats", answer.seats);
    if !parts.as_slice().is_empty() {
        object.list("parts", parts.as_slice(), |part, out| {
            let mut object = Object::bare(out);
            object.number("row", u64::from(part.row));
            object.places("seats", part.seats);
            object.close();
        });
    }
    if !answer.seats.is_empty() || !parts.as_slice().is_empty() {
        object.flag("together", answer.flags & flags::TOGETHER != 0);
    }
    if answer.flags & flags::ORPHAN_WAIVED != 0 {
        object.flag("orphan_waived", true);
    }
    if answer.flags & flags::FROM_QUEUE != 0 {
        object.flag("from_queue", true);
    }
    if answer.nonce != 0 && !answer.code.is_refusal() {
        let proof = Proof { place, fence: Fence::of(user, answer) };
        object.text("token", token_text(&proof, &mut token_room()));
        object.number("expires_ms", answer.expires_ms);
    } else if answer.code == Code::Queued {
        object.number("position", u64::from(answer.slot));
    }
}

fn write_refusal(reply: &Reply, out: &mut Vec<u8>) {
    let answer = &reply.answer;
    let mut object = Object::open("error", out);
    object.id("id", reply.id);
    object.flag("ok", false);
    object.inner("error", |object| {
        object.text("code", answer.code.name());
        object.text("message", advice(answer.code).message);
        object.flag("retryable", answer.code.retryable());
        object.places("seats", answer.seats);
        if answer.code == Code::Fenced {
            object.text("reason", fenced_reason(answer.flags));
        }
    });
    object.place(reply.place);
    write_position(&mut object, reply);
    object.close();
}

const fn fenced_reason(remarks: u8) -> &'static str {
    if remarks & flags::STALE != 0 {
        "stale"
    } else if remarks & flags::FOREIGN != 0 {
        "foreign"
    } else {
        "forged"
    }
}

fn write_error(error: &ErrorReply<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open("error", out);
    object.id("id", error.id);
    object.flag("ok", false);
    object.flag("fatal", error.fatal);
    object.inner("error", |object| write_edge(object, error.code, &error.message, error.retry_after_ms));
    object.close();
}

fn write_goodbye(goodbye: &Goodbye<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open("goodbye", out);
    write_edge(&mut object, goodbye.code, &goodbye.message, goodbye.retry_after_ms);
    object.close();
}

fn write_edge(object: &mut Object<'_>, code: WireCode, message: &str, retry_after_ms: u32) {
    object.text("code", code.name());
    object.text("message", cut(message));
    object.flag("retryable", code.retryable());
    object.number("retry_after_ms", u64::from(retry_after_ms));
}

fn write_seats(object: &mut Object<'_>, state: &RowSeats) {
    object.number("version", u64::from(state.version));
    let mut letters = [0; frontrow_shard::MAX_ROW_SEATS];
    let used =
        letters.iter_mut().zip(0..state.seats).map(|(slot, place)| *slot = state.letter(place)).count();
    object.text("state", std::str::from_utf8(&letters[..used]).unwrap_or_default());
}

fn write_snapshot(snapshot: &Snapshot<'_>, out: &mut Vec<u8>) {
    let mut object = Object::open("snapshot", out);
    object.id("id", snapshot.id);
    object.number("event", u64::from(snapshot.section.event));
    object.number("section", u64::from(snapshot.section.section));
    object.flag("last", snapshot.last);
    object.list("rows", snapshot.rows.iter(), |row, out| {
        let mut object = Object::bare(out);
        object.number("row", u64::from(row.row));
        write_seats(&mut object, &row.state);
        object.close();
    });
    object.close();
}

fn write_news(news: &News, user: UserId, out: &mut Vec<u8>) {
    let mut object = Object::open("push", out);
    object.text("kind", news.kind.name());
    object.place(news.place);
    object.text("code", news.answer.code.name());
    write_outcome(&mut object, news.place, &news.answer, &news.parts, user);
    object.number("lsn", news.answer.lsn);
    object.number("epoch", u64::from(news.answer.epoch));
    object.number("time_ms", news.time_ms);
    object.close();
}

fn write_topology(topology: &Topology, out: &mut Vec<u8>) {
    let mut object = Object::open("topology", out);
    object.id("id", topology.id);
    object.number("partitions", topology.owners.len() as u64);
    object.list("cores", &topology.cores, |core, out| {
        let mut object = Object::bare(out);
        object.number("core", u64::from(core.core));
        object.number("tcp_port", u64::from(core.tcp_port));
        object.number("ws_port", u64::from(core.ws_port));
        object.close();
    });
    object.list("owners", &topology.owners, |owner, out| {
        out.extend_from_slice(owner.to_string().as_bytes());
    });
    object.close();
}
