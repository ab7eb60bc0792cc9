//! What stands in the topics: a change, or what a reader must know beside the changes.
//!
//! Each is one JSON object whose `type` says what it is, or the same as Avro ([`crate::avro`]);
//! [`docs/cdc.md`](../../docs/cdc.md) describes them for readers that share no code with Frontrow.

use crate::change::Change;
use crate::json;
use crate::sink::{Mark, Marks};
use frontrow_shard::{Epoch, EventId, Lsn, PartitionId};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// Version of what is in this file, in every record's header `version`. A reader that meets a later one stops.
pub const VERSION: u32 = 1;

/// One record of a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// Something happened.
    Change(Change),
    /// Everything of some partitions up to a record has been told, to this partition of the topic.
    Upto(Marks),
    /// Of a partition's events nothing counts any more that was told before.
    Anew(Anew),
    /// Nothing counts any more that was told before: it is of a history that is not this log's.
    Forgotten,
}

/// What stands for a log that does not go back so far: bookings that count follow, as `booked`, up to the mark.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Anew {
    /// The partition whose state it is.
    pub partition: PartitionId,
    /// The last record that is in that state.
    pub epoch: Epoch,
    /// Its number.
    pub lsn: Lsn,
    /// The events it is about.
    pub events: Vec<EventId>,
}

/// Bytes that are no message.
#[derive(Debug, thiserror::Error)]
pub enum NoMessage {
    /// They are no JSON of Frontrow's.
    #[error("no message of Frontrow's (docs/cdc.md): {0}")]
    Json(#[from] serde_json::Error),
    /// They begin as Avro does, and are none of Frontrow's.
    #[error("no message of Frontrow's in Avro (docs/cdc.md): {0}")]
    Avro(String),
}

#[derive(Deserialize)]
struct Named<'a> {
    #[serde(rename = "type", borrow)]
    kind: std::borrow::Cow<'a, str>,
}

#[derive(Serialize)]
struct Typed<'a, T> {
    #[serde(rename = "type")]
    kind: &'a str,
    #[serde(flatten)]
    what: T,
}

#[derive(Serialize, Deserialize)]
struct Told {
    /// By partition, epoch and LSN.
    marks: BTreeMap<PartitionId, (Epoch, Lsn)>,
}

impl Message {
    /// What it is, as its `type` and its header of that name say.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Change(change) => change.kind.name(),
            Self::Upto(_) => "upto",
            Self::Anew(_) => "anew",
            Self::Forgotten => "forgotten",
        }
    }

    /// Adds a change to `out` as JSON.
    pub fn write_change(change: &Change, out: &mut Vec<u8>) {
        json::write(change, out);
    }

    /// Adds it to `out` as JSON.
    pub fn write(&self, out: &mut Vec<u8>) {
        let kind = self.kind();
        let written = match self {
            Self::Change(change) => return Self::write_change(change, out),
            Self::Upto(marks) => {
                let marks = marks.iter().map(|(of, mark)| (*of, (mark.epoch, mark.lsn))).collect();
                serde_json::to_writer(out, &Typed { kind, what: Told { marks } })
            }
            Self::Anew(anew) => serde_json::to_writer(out, &Typed { kind, what: anew }),
            Self::Forgotten => serde_json::to_writer(out, &serde_json::json!({ "type": kind })),
        };
        written.expect("numbers and texts, into memory");
    }

    /// Reads one that is JSON; [`crate::avro::Schemas`] reads either.
    pub fn read(json: &[u8]) -> Result<Self, NoMessage> {
        let named: Named<'_> = serde_json::from_slice(json)?;
        Ok(match &*named.kind {
            "upto" => {
                let told: Told = serde_json::from_slice(json)?;
                let mark = |(of, (epoch, lsn))| (of, Mark { epoch, lsn });
                Self::Upto(told.marks.into_iter().map(mark).collect())
            }
            "anew" => Self::Anew(serde_json::from_slice(json)?),
            "forgotten" => Self::Forgotten,
            _ => Self::Change(serde_json::from_slice(json)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::change::{Kind, Position};

    #[test]
    fn every_message_is_read_as_it_was_written() {
        let position = Position { partition: 3, epoch: 2, lsn: u64::MAX, n: 1 };
        let kinds = [Kind::EventCreated, Kind::EventState, Kind::Booked, Kind::Unnamed];
        let changes = kinds.map(|kind| Message::Change(Change::of_event(position, 1, kind, 7)));
        let marks = [(0, Mark { epoch: 1, lsn: 2 }), (15, Mark { epoch: 3, lsn: 4 })].into();
        let anew = Anew { partition: 3, epoch: 2, lsn: 9, events: vec![7, 8] };
        let others = [Message::Upto(marks), Message::Anew(anew), Message::Forgotten];
        for message in changes.into_iter().chain(others) {
            let mut json = Vec::new();
            message.write(&mut json);
            let value: serde_json::Value = serde_json::from_slice(&json).unwrap();
            assert_eq!(value["type"], message.kind());
            assert_eq!(Message::read(&json).unwrap(), message);
        }
        let upto = br#"{"type":"upto","marks":{"3":[2,4711]}}"#;
        assert_eq!(Message::read(upto).unwrap(), Message::Upto([(3, Mark { epoch: 2, lsn: 4711 })].into()));
        for wrong in ["", "{}", "[]", r#"{"type":"sold"}"#, r#"{"type":"upto"}"#, "\u{0}"] {
            assert!(Message::read(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
