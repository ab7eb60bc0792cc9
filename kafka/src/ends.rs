//! Where the topic of bookings ends: for whoever wants to know whether a table has all of it, and reads nothing of it.

use crate::context::Context;
use crate::settings::Settings;
use frontrow_cdc::source::SourceError;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::time::Duration;

/// Reports that are taken at a time.
const REPORTS: usize = 16;
/// For the next record, and how often there may be none.
const NEXT: Duration = Duration::from_millis(250);
const NONE_MOST: usize = 8;

/// Asks for the ends. A member of no group.
pub struct Ends {
    settings: Settings,
    topic: String,
    group: String,
    client: BaseConsumer<Context>,
}

impl Ends {
    /// Connects when it is first asked. `group` is whose right to read the topic it uses.
    pub fn new(settings: Settings, group: &str) -> Result<Self, SourceError> {
        let client = settings.consumer(group).create_with_context(Context::default());
        let client =
            client.map_err(|error: KafkaError| SourceError::Unfit(format!("kafka.settings: {error}")))?;
        Ok(Self { topic: settings.topics().bookings, settings, group: group.to_owned(), client })
    }

    /// By these partitions of Kafka's, the offset behind all that is committed. Waits at most so long.
    pub fn look(
        &self,
        partitions: impl IntoIterator<Item = i32>,
        most: Duration,
    ) -> Result<BTreeMap<i32, i64>, SourceError> {
        // Or what it reports is kept for ever.
        for _ in 0..REPORTS {
            if self.client.poll(Duration::ZERO).is_none() {
                break;
            }
        }
        let away = |why: KafkaError| SourceError::Away(self.settings.away(self.client.context().why(why)));
        let mut asked = TopicPartitionList::new();
        for partition in partitions {
            // In place of a time: librdkafka asks for the end by the same request.
            asked.add_partition_offset(&self.topic, partition, Offset::End).map_err(away)?;
        }
        let answered = self.client.offsets_for_times(asked, most).map_err(away)?;
        self.client.context().went_well();
        let end = |one: &rdkafka::topic_partition_list::TopicPartitionListElem<'_>| match (
            one.error(),
            one.offset(),
        ) {
            (Ok(()), Offset::Offset(end)) => Ok((one.partition(), end)),
            (Err(error), _) => Err(away(error)),
            (Ok(()), odd) => Err(SourceError::Away(format!(
                "Kafka gives no end of {}, partition {}: {odd:?}",
                self.topic,
                one.partition()
            ))),
        };
        answered.elements().iter().map(end).collect()
    }
    /// By these partitions, how far from there on no record stands: up to the first one, or up to where `ends` says that they end.
    /// Before an end there are marks of Kafka's own, and what was taken back, which no reader is ever given.
    pub fn gaps(
        &self,
        from: &BTreeMap<i32, i64>,
        ends: &BTreeMap<i32, i64>,
    ) -> Result<BTreeMap<i32, i64>, SourceError> {
        let mut config = self.settings.consumer(&self.group);
        config.set("enable.partition.eof", "true").set("fetch.wait.max.ms", "10");
        // One record of each is enough.
        config.set("max.partition.fetch.bytes", "65536");
        // A client of its own: in one that is led from place to place ends of the place before might come.
        let reader: BaseConsumer<Context> = config
            .create_with_context(Context::default())
            .map_err(|error| SourceError::Unfit(format!("kafka.settings: {error}")))?;
        let away = |why: String| {
            SourceError::Away(self.settings.away(format!("{} cannot be read: {why}", self.topic)))
        };
        let mut all = TopicPartitionList::new();
        for (partition, offset) in from {
            let added = all.add_partition_offset(&self.topic, *partition, Offset::Offset(*offset));
            added.map_err(|error| away(error.to_string()))?;
        }
        reader.assign(&all).map_err(|error| away(error.to_string()))?;
        let (mut gaps, mut nothing) = (BTreeMap::new(), 0);
        while gaps.len() < from.len() {
            match reader.poll(NEXT) {
                Some(Ok(record)) => {
                    gaps.entry(record.partition()).or_insert(record.offset());
                }
                Some(Err(KafkaError::PartitionEOF(of))) => {
                    let end = ends.get(&of).copied().unwrap_or_default();
                    gaps.entry(of).or_insert(end);
                }
                Some(Err(_)) | None => {
                    nothing += 1;
                    if nothing > NONE_MOST || reader.context().is_down() {
                        return Err(away(reader.context().why("no answer")));
                    }
                }
            }
        }
        Ok(gaps)
    }
}
