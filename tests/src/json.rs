//! What the server says in JSON, in the same terms as the binary form.

use crate::wire::Heard;
use frontrow_protocol::{News, NewsKind, Reply, WireCode, parse_id, parse_token};
use frontrow_shard::{Answer, Code, Part, Parts, RequestId, RowRef, Seats, flags};
use serde_json::Value;

/// Reads one message; `Err` names what is wrong with it.
pub fn read(text: &str) -> Result<Heard, String> {
    let value: Value = serde_json::from_str(text).map_err(|error| format!("{error} in {text}"))?;
    message(&value).ok_or_else(|| format!("not as the protocol says: {text}"))
}

fn message(value: &Value) -> Option<Heard> {
    Some(match value["type"].as_str()? {
        "welcome" => Heard::Welcome {
            user: value["user"].as_str()?.parse().ok()?,
            time_ms: value["time_ms"].as_u64()?,
            epoch: number(value, "epoch")?,
            core: number(value, "core")?,
        },
        "answer" => Heard::Answer(reply(value, code(&value["code"])?)?),
        "error" if value.get("lsn").is_some() => {
            let mut reply = reply(value, code(&value["error"]["code"])?)?;
            reply.answer.seats = seats(&value["error"]["seats"])?;
            reply.answer.flags |= match value["error"]["reason"].as_str() {
                Some("stale") => flags::STALE,
                Some("foreign") => flags::FOREIGN,
                Some("forged") => flags::FORGED,
                _ => 0,
            };
            Heard::Answer(reply)
        }
        "error" => Heard::Error {
            id: id(value)?,
            code: wire_code(&value["error"]["code"])?,
            fatal: value["fatal"].as_bool()?,
            message: value["error"]["message"].as_str()?.to_owned(),
        },
        "push" => Heard::News(News {
            place: place(value)?,
            time_ms: value["time_ms"].as_u64()?,
            kind: *NewsKind::ALL.iter().find(|kind| Some(kind.name()) == value["kind"].as_str())?,
            answer: answer(value, code(&value["code"])?)?,
            parts: parts(value)?,
        }),
        "pong" => Heard::Pong { id: id(value)?, time_ms: value["time_ms"].as_u64()? },
        "goodbye" => Heard::Goodbye { code: wire_code(&value["code"])? },
        "snapshot" | "delta" | "topology" => Heard::Other,
        _ => return None,
    })
}

fn reply(value: &Value, code: Code) -> Option<Reply> {
    Some(Reply {
        id: id(value)?,
        time_ms: value["time_ms"].as_u64()?,
        place: place(value)?,
        answer: answer(value, code)?,
        parts: parts(value)?,
        durable: value["durable"].as_u64()?,
    })
}

fn answer(value: &Value, code: Code) -> Option<Answer> {
    let mut answer = Answer {
        seats: value.get("seats").map_or(Some(Seats::NONE), seats)?,
        lsn: value["lsn"].as_u64()?,
        epoch: number(value, "epoch")?,
        ..Answer::plain(code)
    };
    if let Some(token) = value.get("token") {
        let fence = parse_token(token.as_str()?).ok()?.fence;
        answer.nonce = fence.nonce;
        answer.slot = fence.slot;
        answer.expires_ms = value["expires_ms"].as_u64()?;
        // The two ways of saying it have to agree.
        if (fence.lsn, fence.epoch, fence.expires_ms) != (answer.lsn, answer.epoch, answer.expires_ms) {
            return None;
        }
    }
    if let Some(position) = value.get("position") {
        answer.slot = u32::try_from(position.as_u64()?).ok()?;
    }
    let remarks = [
        ("together", flags::TOGETHER),
        ("orphan_waived", flags::ORPHAN_WAIVED),
        ("from_queue", flags::FROM_QUEUE),
        ("repeated", flags::REPEATED),
    ];
    for (key, flag) in remarks {
        if value.get(key).and_then(Value::as_bool) == Some(true) {
            answer.flags |= flag;
        }
    }
    Some(answer)
}

fn parts(value: &Value) -> Option<Parts> {
    let mut parts = Parts::default();
    for part in value.get("parts").and_then(Value::as_array).into_iter().flatten() {
        parts.push(Part { row: number(part, "row")?, seats: seats(&part["seats"])?, slot: 0 });
    }
    Some(parts)
}

fn seats(list: &Value) -> Option<Seats> {
    let places = list.as_array()?.iter().map(|place| u8::try_from(place.as_u64()?).ok());
    let places: Vec<u8> = places.collect::<Option<_>>()?;
    if places.is_empty() { Some(Seats::NONE) } else { Seats::from_places(&places).ok() }
}

fn place(value: &Value) -> Option<RowRef> {
    let row = match value.get("row") {
        None | Some(Value::Null) => RowRef::SECTION,
        Some(row) => u16::try_from(row.as_u64()?).ok()?,
    };
    Some(RowRef::new(number(value, "event")?, number(value, "section")?, row))
}

fn number<T: TryFrom<u64>>(value: &Value, key: &str) -> Option<T> {
    T::try_from(value[key].as_u64()?).ok()
}

fn id(value: &Value) -> Option<RequestId> {
    parse_id(value["id"].as_str()?).ok()
}

fn code(name: &Value) -> Option<Code> {
    Code::ALL.iter().copied().find(|code| Some(code.name()) == name.as_str())
}

fn wire_code(name: &Value) -> Option<WireCode> {
    WireCode::ALL.iter().copied().find(|code| Some(code.name()) == name.as_str())
}
