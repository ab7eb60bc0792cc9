//! A message in the shape of the schema: one record for all of them, for readers that put a topic into a table cannot do
//! with several.

use crate::change::{Change, Hold, Kind, Position, RowSeats, Why, state};
use crate::json::Digits;
use crate::message::{Anew, Message, NoMessage};
use crate::sink::Mark;
use frontrow_shard::{Epoch, EventId, EventState, Lsn, Millis, PartitionId, RequestId};
use serde::de::IntoDeserializer;
use serde::de::value::StrDeserializer;
use serde::{Deserialize, Serialize};
use std::borrow::Cow;

/// Its fields, in the schema's order. What a schema does not have is as if it were not said.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Flat<'a> {
    #[serde(rename = "type")]
    pub(super) kind: &'a str,
    #[serde(default)]
    pub(super) partition: Option<PartitionId>,
    #[serde(default)]
    pub(super) epoch: Option<Epoch>,
    #[serde(default)]
    pub(super) lsn: Option<Lsn>,
    #[serde(default)]
    pub(super) n: Option<u32>,
    #[serde(default)]
    pub(super) time_ms: Option<Millis>,
    #[serde(default)]
    pub(super) event: Option<EventId>,
    #[serde(default)]
    pub(super) section: Option<u16>,
    #[serde(default)]
    pub(super) row: Option<u16>,
    #[serde(default)]
    pub(super) seats: Cow<'a, [u8]>,
    #[serde(default)]
    pub(super) parts: Cow<'a, [RowSeats]>,
    #[serde(default)]
    pub(super) user: Option<&'a str>,
    #[serde(default)]
    pub(super) request: Option<&'a str>,
    #[serde(default)]
    pub(super) hold: Option<Hold>,
    #[serde(default)]
    pub(super) expires_ms: Option<Millis>,
    #[serde(default)]
    pub(super) why: Option<&'a str>,
    #[serde(default)]
    pub(super) state: Option<&'a str>,
    #[serde(default)]
    pub(super) others: Option<u32>,
    #[serde(default)]
    pub(super) marks: Cow<'a, [FlatMark]>,
    #[serde(default)]
    pub(super) events: Cow<'a, [EventId]>,
}

/// Up to where a partition has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct FlatMark {
    pub(super) partition: PartitionId,
    pub(super) epoch: Epoch,
    pub(super) lsn: Lsn,
}

/// Where numbers stand that the schema has as texts.
#[derive(Default)]
pub(super) struct Texts {
    user: Option<Digits>,
    request: [u8; 32],
}

impl<'a> Flat<'a> {
    pub(super) fn of_change(change: &'a Change, texts: &'a mut Texts) -> Self {
        let Position { partition, epoch, lsn, n } = change.position;
        texts.user = change.user.map(Digits::of);
        if let Some(request) = change.request {
            texts.request = hex(request);
        }
        let Texts { user, request } = texts;
        Self {
            kind: change.kind.name(),
            partition: Some(partition),
            epoch: Some(epoch),
            lsn: Some(lsn),
            n: Some(n),
            time_ms: Some(change.time_ms),
            event: Some(change.event),
            section: change.section,
            row: change.row,
            seats: Cow::Borrowed(&change.seats),
            parts: Cow::Borrowed(&change.parts),
            user: user.as_ref().map(|user| text(user.as_bytes())),
            request: change.request.map(|_| text(request)),
            hold: change.hold,
            expires_ms: change.expires_ms,
            why: change.why.map(Why::name),
            state: change.state.map(state::name),
            others: change.others,
            ..Self::default()
        }
    }

    /// What is no change.
    pub(super) fn of_other(message: &Message) -> Self {
        let flat = Self { kind: message.kind(), ..Self::default() };
        match message {
            Message::Upto(marks) => {
                let mark = |(&partition, mark): (&PartitionId, &Mark)| FlatMark {
                    partition,
                    epoch: mark.epoch,
                    lsn: mark.lsn,
                };
                Self { marks: marks.iter().map(mark).collect(), ..flat }
            }
            Message::Anew(Anew { partition, epoch, lsn, events }) => Self {
                partition: Some(*partition),
                epoch: Some(*epoch),
                lsn: Some(*lsn),
                events: events.clone().into(),
                ..flat
            },
            Message::Change(_) | Message::Forgotten => flat,
        }
    }

    pub(super) fn into_message(self) -> Result<Message, NoMessage> {
        Ok(match self.kind {
            "upto" => {
                let mark = |it: &FlatMark| (it.partition, Mark { epoch: it.epoch, lsn: it.lsn });
                Message::Upto(self.marks.iter().map(mark).collect())
            }
            "anew" => Message::Anew(Anew {
                partition: there(self.partition, "partition")?,
                epoch: there(self.epoch, "epoch")?,
                lsn: there(self.lsn, "lsn")?,
                events: self.events.into_owned(),
            }),
            "forgotten" => Message::Forgotten,
            _ => Message::Change(self.into_change()?),
        })
    }

    fn into_change(self) -> Result<Change, NoMessage> {
        let kind: StrDeserializer<'_, serde::de::value::Error> = self.kind.into_deserializer();
        let position = Position {
            partition: there(self.partition, "partition")?,
            epoch: there(self.epoch, "epoch")?,
            lsn: there(self.lsn, "lsn")?,
            n: there(self.n, "n")?,
        };
        Ok(Change {
            position,
            kind: Kind::deserialize(kind).map_err(odd)?,
            time_ms: there(self.time_ms, "time_ms")?,
            event: there(self.event, "event")?,
            section: self.section,
            row: self.row,
            seats: self.seats.into_owned(),
            parts: self.parts.into_owned(),
            user: self.user.map(|user| user.parse().map_err(|_| odd("a user is a number"))).transpose()?,
            request: self.request.map(request).transpose()?,
            hold: self.hold,
            expires_ms: self.expires_ms,
            why: self.why.map(why).transpose()?,
            state: self.state.map(event_state).transpose()?,
            others: self.others,
        })
    }
}

fn odd(why: impl std::fmt::Display) -> NoMessage {
    NoMessage::Avro(why.to_string())
}

fn there<T>(value: Option<T>, field: &str) -> Result<T, NoMessage> {
    value.ok_or_else(|| odd(format_args!("missing field `{field}`")))
}

fn why(name: &str) -> Result<Why, NoMessage> {
    let name: StrDeserializer<'_, serde::de::value::Error> = name.into_deserializer();
    Why::deserialize(name).map_err(odd)
}

fn event_state(name: &str) -> Result<EventState, NoMessage> {
    state::of(name).ok_or_else(|| odd("no state of an event"))
}

fn request(text: &str) -> Result<RequestId, NoMessage> {
    crate::change::hex::parse(text).ok_or_else(|| odd("a request is 32 hexadecimal digits"))
}

/// Digits, which are ASCII.
fn text(digits: &[u8]) -> &str {
    std::str::from_utf8(digits).unwrap_or_default()
}

fn hex(request: RequestId) -> [u8; 32] {
    let digits = request.to_be_bytes();
    std::array::from_fn(|n| {
        let nibble = if n % 2 == 0 { digits[n / 2] >> 4 } else { digits[n / 2] & 15 };
        b"0123456789abcdef"[usize::from(nibble)]
    })
}
