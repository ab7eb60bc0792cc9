//! Ticks: by which the writer says, a few times a second, that everything that was durable has been told. They come also while
//! nothing happens, so whoever reads bookings can tell "nothing was booked" from "nobody has told it yet".
//!
//! A tick is made after the one before it was committed. So the second one that stands behind an end of the topic was made after
//! that end was asked for, whatever the clocks of the two machines say: [`Ticks::end`].

use crate::context::{Context, is_refusal};
use crate::murmur2;
use crate::positions::{TICK, Told};
use crate::settings::Settings;
use crate::topics;
use frontrow_cdc::source::SourceError;
use frontrow_cdc::{Mark, Marks};
use frontrow_shard::PartitionId;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Message, Offset, TopicPartitionList};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Taken at a time, reports of the client's among them.
const MOST: usize = 256;

/// One that was heard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tick {
    /// Its place in the topic.
    pub offset: i64,
    /// By partition, up to which record everything has been told.
    pub upto: Marks,
}

/// A tick as it stands in the topic.
#[derive(Serialize, Deserialize)]
pub(crate) struct Said {
    upto: BTreeMap<PartitionId, Told>,
}

impl Said {
    pub(crate) fn of(upto: &Marks) -> Self {
        let told = |(of, mark): (&PartitionId, &Mark)| (*of, Told { epoch: mark.epoch, lsn: mark.lsn });
        Self { upto: upto.iter().map(told).collect() }
    }

    fn marks(self) -> Marks {
        self.upto.into_iter().map(|(of, Told { epoch, lsn })| (of, Mark { epoch, lsn })).collect()
    }
}

/// Hears them. A member of no group.
pub struct Ticks {
    settings: Settings,
    topic: String,
    group: String,
    /// With Kafka's partition that they stand in, once that is known.
    heard: Option<(BaseConsumer<Context>, i32)>,
}

impl Ticks {
    /// Connects when it is first asked. `group` is whose right to read the topic it uses.
    pub fn new(settings: Settings, group: &str) -> Self {
        Self { topic: settings.topics().positions, settings, group: group.to_owned(), heard: None }
    }

    /// Begins anew at the next question: nothing comes, and the topic may be another one.
    pub fn renew(&mut self) {
        self.heard = None;
    }

    /// Those that came since the last question; at first, from now on. Waits for `most` if there is none, and a second to connect.
    pub fn poll(&mut self, most: Duration) -> Result<Vec<Tick>, SourceError> {
        self.connect()?;
        let mut ticks = Vec::new();
        let Some((client, _)) = &self.heard else { return Ok(ticks) };
        for _ in 0..MOST {
            match client.poll(if ticks.is_empty() { most } else { Duration::ZERO }) {
                None => break,
                Some(Ok(record)) if record.key() == Some(TICK.as_bytes()) => {
                    client.context().went_well();
                    // What cannot be read is a later version's.
                    let said = record.payload().and_then(|value| serde_json::from_slice::<Said>(value).ok());
                    ticks.extend(said.map(|said| Tick { offset: record.offset(), upto: said.marks() }));
                }
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(KafkaError::MessageConsumption(code))) if is_refusal(code) => {
                    let why = format!("{code}, for topic {} as a member of group {}", self.topic, self.group);
                    return Err(SourceError::Refused(self.settings.refused(why)));
                }
                Some(Err(error)) if client.context().is_down() => {
                    client.context().told_down();
                    return Err(self.away(&client.context().why(error)));
                }
                Some(Err(error)) => tracing::debug!(%error, "Kafka"),
            }
        }
        Ok(ticks)
    }

    /// Where what is decided of their topic ends now. Waits for `most`.
    pub fn end(&self, most: Duration) -> Result<i64, SourceError> {
        let Some((client, partition)) = &self.heard else { return Err(self.away("it was not asked yet")) };
        let away = |error: KafkaError| self.away(&client.context().why(error));
        let mut asked = TopicPartitionList::new();
        // In place of a time: librdkafka asks for the end by the same request.
        asked.add_partition_offset(&self.topic, *partition, Offset::End).map_err(away)?;
        let answered = client.offsets_for_times(asked, most).map_err(away)?;
        client.context().went_well();
        match answered.elements().first().map(|one| (one.error(), one.offset())) {
            Some((Ok(()), Offset::Offset(end))) => Ok(end),
            Some((Err(error), _)) => Err(away(error)),
            odd => Err(self.away(&format!("no end of {}: {odd:?}", self.topic))),
        }
    }

    fn away(&self, why: &str) -> SourceError {
        SourceError::Away(self.settings.away(why.to_owned()))
    }

    fn connect(&mut self) -> Result<(), SourceError> {
        if self.heard.is_some() {
            return Ok(());
        }
        let mut config = self.settings.consumer(&self.group);
        // After a topic that was made anew, too.
        config.set("auto.offset.reset", "latest");
        let client: BaseConsumer<Context> = config
            .create_with_context(Context::default())
            .map_err(|error: KafkaError| SourceError::Unfit(format!("kafka.settings: {error}")))?;
        let reports = || drop(client.poll(Duration::ZERO));
        let asked = (client.client(), &**client.context());
        let Some(count) = topics::count_within(asked, &reports, (&self.topic, 1), &self.settings)? else {
            return Err(self.away(&format!("there is no topic {} yet", self.topic)));
        };
        let partition = murmur2::partition(TICK.as_bytes(), count);
        let mut all = TopicPartitionList::new();
        let assigned =
            all.add_partition_offset(&self.topic, partition, Offset::End).and_then(|()| client.assign(&all));
        assigned.map_err(|error| self.away(&error.to_string()))?;
        self.heard = Some((client, partition));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_tick_says_is_what_is_read_of_it() {
        let upto = Marks::from([(3, Mark { epoch: 2, lsn: 4711 }), (0, Mark { epoch: 1, lsn: 9 })]);
        let text = serde_json::to_string(&Said::of(&upto)).unwrap();
        assert_eq!(text, r#"{"upto":{"0":{"epoch":1,"lsn":9},"3":{"epoch":2,"lsn":4711}}}"#);
        assert_eq!(serde_json::from_str::<Said>(&text).unwrap().marks(), upto);
    }
}
