//! The compacted topic that says how far everything is, and in which epoch it was written last.
//!
//! | key | value |
//! | --- | --- |
//! | `cluster` | whose topics these are, and the highest epoch that wrote |
//! | `3` | the last record of partition 3 that has been told |
//! | `topics` | Kafka's ids of the other two topics, and whether everything has been told in them once |
//! | `begun` | some text, new at each beginning: whoever finds it has read all that stands before |
//! | `tick` | that everything has been told that was durable; written a few times a second ([`crate::ticks`]) |
//! | `place-0` | where in stream 0 of that node's log reading may go on |

use crate::context::Context;
use crate::settings::Settings;
use frontrow_cdc::{Begun, Mark, SinkError};
use frontrow_shard::Epoch;
use frontrow_wal::Position;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// For the next record.
const NEXT: Duration = Duration::from_secs(1);
/// How often there may be none.
const NONE_MOST: usize = 10;

pub(crate) const CLUSTER: &str = "cluster";
pub(crate) const TOPICS: &str = "topics";
pub(crate) const BEGUN: &str = "begun";
pub(crate) const TICK: &str = "tick";

/// What the topic says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Positions {
    /// In which epoch it was written last; 0 if never.
    pub(crate) epoch: Epoch,
    pub(crate) begun: Begun,
    /// What is known of the other topics; none before, or where an earlier version wrote.
    pub(crate) known: Option<Known>,
}

/// Value of the key `cluster`.
#[derive(Serialize, Deserialize)]
pub(crate) struct Whose {
    /// 32 hexadecimal digits.
    pub(crate) cluster: String,
    pub(crate) epoch: Epoch,
}

/// Value of the key `topics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Known {
    /// Kafka's id of each that was written; none where it gives none.
    pub(crate) changes: Option<String>,
    pub(crate) bookings: Option<String>,
    /// Whether everything that was durable has been told in them once: before, whoever reads to the end has a part.
    pub(crate) whole: bool,
}

/// Value of a partition's key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Told {
    pub(crate) epoch: Epoch,
    pub(crate) lsn: u64,
}

/// Value of a stream's key.
#[derive(Serialize, Deserialize)]
pub(crate) struct Place {
    pub(crate) epoch: Epoch,
    pub(crate) position: Position,
}

pub(crate) fn place_key(stream: u16) -> String {
    format!("place-{stream}")
}

/// Reads the topic: until `begun` has been found in every partition, or to its end. A node of Kafka's that has just come back
/// may give an end that lies before records it has, so only what was found to have been written lately counts as everything.
pub(crate) fn read(
    settings: &Settings,
    partitions: u32,
    begun: Option<&str>,
) -> Result<Positions, SinkError> {
    let (mut found, group) = (Positions::default(), format!("frontrow-{:032x}-positions", settings.cluster));
    let taken =
        each(settings, &group, (partitions, begun), |key, value| take(&mut found, key, value, settings));
    match taken {
        Ok(()) => Ok(found),
        Err(Unread::Kept(code)) => {
            let topic = settings.topics().positions;
            Err(SinkError::Away(settings.away(format!("{topic} cannot be read: {code}"))))
        }
        Err(Unread::For(error)) => Err(error),
    }
}

/// What a reader who is not the writer finds.
pub(crate) enum Said {
    /// It has no right to look.
    Hidden,
    /// Nobody has written here yet.
    Nothing,
    /// Whose the topics are, as 32 hexadecimal digits, and what the writer knows of them.
    Of(String, Option<Known>),
}

/// What stands there of the other topics.
pub(crate) fn said(settings: &Settings, group: &str, partitions: u32) -> Result<Said, SinkError> {
    let (mut cluster, mut known) = (None, None);
    // What cannot be read is somebody else's; the writer complains of it.
    fn of<T: serde::de::DeserializeOwned>(value: Option<&[u8]>) -> Option<T> {
        value.and_then(|value| serde_json::from_slice(value).ok())
    }
    let taken = each(settings, group, (partitions, None), |key, value| {
        if key == Some(CLUSTER.as_bytes()) {
            cluster = of(value).map(|whose: Whose| whose.cluster).or(cluster.take());
        } else if key == Some(TOPICS.as_bytes()) {
            known = of(value).or(known.take());
        }
        Ok(())
    });
    match (taken, cluster) {
        (Ok(()), Some(cluster)) => Ok(Said::Of(cluster, known)),
        (Ok(()) | Err(Unread::Kept(RDKafkaErrorCode::UnknownTopicOrPartition)), _) => Ok(Said::Nothing),
        (Err(Unread::Kept(_)), _) => Ok(Said::Hidden),
        (Err(Unread::For(error)), _) => Err(error),
    }
}

/// Why the topic was not read to its end.
enum Unread {
    /// It is not there, or not for this reader.
    Kept(RDKafkaErrorCode),
    For(SinkError),
}

/// Every record of the topic, until `begun` has been found in every partition, or to its end.
fn each(
    settings: &Settings,
    group: &str,
    (partitions, begun): (u32, Option<&str>),
    mut taken: impl FnMut(Option<&[u8]>, Option<&[u8]>) -> Result<(), SinkError>,
) -> Result<(), Unread> {
    let topic = settings.topics().positions;
    let mut config = settings.consumer(group);
    config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
    let reader: BaseConsumer<Context> = config
        .create_with_context(Context::default())
        .map_err(|error| Unread::For(SinkError::Unfit(format!("kafka.settings: {error}"))))?;
    let mut all = TopicPartitionList::new();
    for partition in 0..partitions.cast_signed() {
        let _ = all.add_partition_offset(&topic, partition, Offset::Beginning);
    }
    let away =
        |why: String| Unread::For(SinkError::Away(settings.away(format!("{topic} cannot be read: {why}"))));
    reader.assign(&all).map_err(|error| away(error.to_string()))?;
    let (mut ended, mut nothing) = (0, 0);
    while ended < partitions {
        match reader.poll(NEXT) {
            Some(Ok(record)) => {
                let is_begun =
                    record.key() == Some(BEGUN.as_bytes()) && begun.map(str::as_bytes) == record.payload();
                ended += u32::from(is_begun && begun.is_some());
                taken(record.key(), record.payload()).map_err(Unread::For)?;
            }
            Some(Err(KafkaError::PartitionEOF(_))) => ended += u32::from(begun.is_none()),
            Some(Err(KafkaError::MessageConsumption(
                code @ (RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::GroupAuthorizationFailed
                | RDKafkaErrorCode::UnknownTopicOrPartition),
            ))) => return Err(Unread::Kept(code)),
            Some(Err(_)) | None => {
                nothing += 1;
                if nothing > NONE_MOST || reader.context().is_down() {
                    return Err(away(reader.context().why("no answer")));
                }
            }
        }
    }
    Ok(())
}

/// One record. A key that is not known is a later version's.
fn take(
    found: &mut Positions,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    settings: &Settings,
) -> Result<(), SinkError> {
    let key = key.and_then(|key| std::str::from_utf8(key).ok()).unwrap_or_default();
    let topic = settings.topics().positions;
    let odd = |error: serde_json::Error| {
        let prefix = &settings.prefix;
        SinkError::Unfit(format!(
            "{topic}, key {key:?}: {error}: somebody else writes there; set another kafka.prefix than {prefix:?}, or delete the \
             topics {prefix}.* to have them made anew"
        ))
    };
    if key == CLUSTER {
        let Some(value) = value else { return Ok(()) };
        let whose: Whose = serde_json::from_slice(value).map_err(odd)?;
        if whose.cluster != format!("{:032x}", settings.cluster) {
            return Err(SinkError::Unfit(format!(
                "the topics {0}.* in Kafka are those of cluster {1}, and this is cluster {2:032x}: set another kafka.prefix than \
                 {0:?}, or delete those topics",
                settings.prefix, whose.cluster, settings.cluster
            )));
        }
        found.epoch = found.epoch.max(whose.epoch);
    } else if key == TOPICS {
        found.known = value.map(serde_json::from_slice).transpose().map_err(odd)?;
    } else if let Some(stream) = key.strip_prefix("place-").and_then(|stream| stream.parse().ok()) {
        match value.map(serde_json::from_slice).transpose().map_err(odd)? {
            Some(Place { epoch, position }) => found.begun.places.insert(stream, (epoch, position)),
            None => found.begun.places.remove(&stream),
        };
    } else if let Ok(partition) = key.parse() {
        match value.map(serde_json::from_slice).transpose().map_err(odd)? {
            Some(Told { epoch, lsn }) => found.begun.marks.insert(partition, Mark { epoch, lsn }),
            None => found.begun.marks.remove(&partition),
        };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::Format;

    fn settings() -> Settings {
        let (brokers, prefix) = (String::new(), "frontrow".into());
        let (client, format, registry) = ([].into(), Format::Json, None);
        Settings { brokers, prefix, partitions: 1, replication: 1, client, format, registry, cluster: 0xfeed }
    }

    #[test]
    fn the_last_of_each_key_counts_and_none_of_another_cluster() {
        let mut found = Positions::default();
        let mut told = |key: &str, value: Option<&str>| {
            take(&mut found, Some(key.as_bytes()), value.map(str::as_bytes), &settings())
        };
        let whose = |epoch| format!(r#"{{"cluster":"{:032x}","epoch":{epoch}}}"#, 0xfeed);
        told(CLUSTER, Some(&whose(4))).unwrap();
        told("3", Some(r#"{"epoch":4,"lsn":7}"#)).unwrap();
        told("3", Some(r#"{"epoch":4,"lsn":9}"#)).unwrap();
        told("5", Some(r#"{"epoch":4,"lsn":1}"#)).unwrap();
        told("5", None).unwrap();
        told("place-1", Some(r#"{"epoch":4,"position":4096}"#)).unwrap();
        told(TOPICS, Some(r#"{"changes":"0a","bookings":null,"whole":true,"later":1}"#)).unwrap();
        told("of a later version", Some("?")).unwrap();
        let other = told(CLUSTER, Some(r#"{"cluster":"00","epoch":4}"#)).unwrap_err().to_string();
        assert!(
            other.contains("cluster 00") && other.contains("another kafka.prefix than \"frontrow\""),
            "{other}"
        );
        assert!(matches!(told("3", Some("?")), Err(SinkError::Unfit(_))));
        let begun = Begun { marks: [(3, Mark { epoch: 4, lsn: 9 })].into(), places: [(1, (4, 4096))].into() };
        let known = Some(Known { changes: Some("0a".into()), bookings: None, whole: true });
        assert_eq!(found, Positions { epoch: 4, begun, known });
    }
}
