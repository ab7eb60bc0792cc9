//! Bookings out of their topic, as a member of a group.
//!
//! Where reading goes on is known where the bookings go, not in Kafka: a partition that comes to this reader is read only
//! after [`Reader::start`] was told from where on.

use crate::context::{Context, is_refusal};
use crate::native;
use crate::positions::{self, Known, Said};
use crate::settings::{Settings, Topics};
use crate::topics;
use frontrow_cdc::SinkError;
use frontrow_cdc::avro::UnknownSchema;
use frontrow_cdc::source::{Origin, Polled, Record, Source, SourceError};
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::topic_partition_list::TopicPartitionListElem;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// A record that is set aside is kept within this many steps, or it is tried again.
const STEP: Duration = Duration::from_millis(250);
const STEPS: usize = 60;

/// A record's `type` that takes back what was told before.
const FORGOTTEN: &str = "forgotten";

/// For the topic's id.
const ID: Duration = Duration::from_secs(5);

/// For seeing whether a node is there.
const LOOK: Duration = Duration::from_secs(1);

/// A member of a group of readers.
pub struct Reader {
    settings: Settings,
    topics: Topics,
    group: String,
    /// What the topic is, once everything has been told in it: it stays so until that is taken back.
    told: Option<Origin>,
    consumer: BaseConsumer<Group>,
    aside: Option<BaseProducer<Context>>,
    /// Partitions that are read, and what comes next of each.
    next: BTreeMap<i32, i64>,
    /// Of these everything was handed out.
    ended: BTreeMap<i32, i64>,
    /// Ends, assignments and revocations that are to be told after the records before them.
    news: VecDeque<Polled>,
    /// What is to be said when the records before it have been handed out.
    trouble: Option<SourceError>,
}

/// What the group is told. A partition that comes to this reader is taken only by [`Reader::start`]: taken at once, at some
/// place, and moved from there, it can be left at the first place by librdkafka, and everything between be passed over.
struct Group {
    topic: String,
    context: Context,
    news: Mutex<VecDeque<Polled>>,
}

impl ClientContext for Group {
    fn log(&self, level: RDKafkaLogLevel, fac: &str, log_message: &str) {
        self.context.log(level, fac, log_message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.context.error(error, reason);
    }
}

impl ConsumerContext for Group {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, what: RDKafkaRespErr, which: &mut TopicPartitionList) {
        let partitions: Vec<i32> =
            which.elements_for_topic(&self.topic).iter().map(TopicPartitionListElem::partition).collect();
        let (done, news) = if what == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            // librdkafka waits for an answer to every word, and until then reads nothing, lets no other member have anything,
            // and does not end. One that brings no partition has nothing to wait for.
            let nothing = || consumer.incremental_assign(&TopicPartitionList::new());
            (if partitions.is_empty() { nothing() } else { Ok(()) }, Polled::Assigned(partitions))
        } else {
            (consumer.incremental_unassign(which), Polled::Revoked(partitions))
        };
        if let Err(error) = done {
            tracing::warn!(%error, "Kafka's division of partitions could not be followed");
        }
        self.news.lock().unwrap_or_else(PoisonError::into_inner).push_back(news);
    }
}

fn connect(settings: &Settings, topics: &Topics, group: &str) -> Result<BaseConsumer<Group>, SourceError> {
    let mut config = settings.consumer(group);
    config
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("enable.partition.eof", "true")
        // What is not there any more must not be passed over silently.
        .set("auto.offset.reset", "error");
    if !settings.client.contains_key("session.timeout.ms") {
        config.set("session.timeout.ms", "10000");
    }
    let (context, news) = (Context::default(), Mutex::default());
    let group = Group { topic: topics.bookings.clone(), context, news };
    let unfit = |error: KafkaError| SourceError::Unfit(format!("kafka.settings: {error}"));
    let consumer: BaseConsumer<Group> = config.create_with_context(group).map_err(unfit)?;
    consumer.subscribe(&[topics.bookings.as_str()]).map_err(unfit)?;
    Ok(consumer)
}

impl Source for Reader {
    fn topic(&self) -> &str {
        &self.topics.bookings
    }

    fn partitions(&mut self) -> Result<i32, SourceError> {
        let (client, context) = (self.consumer.client(), &self.consumer.context().context);
        // It reports when it is polled: here only as long as nothing can come of it but reports.
        let is_idle = self.next.is_empty();
        let reports = || drop(is_idle.then(|| self.consumer.poll(Duration::ZERO)));
        let count = topics::count((client, context), &reports, self.topic(), &self.settings)?;
        count.map(u32::cast_signed).ok_or_else(|| SourceError::Away(self.missing()))
    }

    fn origin(&mut self) -> Result<Origin, SourceError> {
        let id = native::topic_id(self.consumer.client(), self.topic(), ID).map_err(|code| match code {
            RDKafkaErrorCode::UnknownTopicOrPartition => SourceError::Away(self.missing()),
            code => self.away(code),
        })?;
        if let Some(told) = self.told.as_ref().filter(|told| told.id == id) {
            return Ok(told.clone());
        }
        let (cluster, untold) = match self.said()? {
            // The first record says whose it is.
            Said::Hidden => (None, None),
            Said::Nothing => {
                let why = "does not say yet whose the topics are; the server that is primary says so before it tells anything";
                (None, Some(format!("{} {why}", self.topics.positions)))
            }
            Said::Of(cluster, known) => {
                (Some(cluster), known.and_then(|known| self.untold(&known, id.as_ref())))
            }
        };
        let origin = Origin { cluster, id, untold };
        self.told = (origin.cluster.is_some() && origin.untold.is_none()).then(|| origin.clone());
        Ok(origin)
    }

    fn poll(&mut self, most: usize, patience: Duration) -> Result<Polled, SourceError> {
        if let Some(trouble) = self.trouble.take() {
            return Err(trouble);
        }
        let mut records = Vec::new();
        let mut wait = patience;
        while records.len() < most {
            if let Some(news) = self.told() {
                if records.is_empty() {
                    return Ok(news);
                }
                self.news.push_front(news);
                break;
            }
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    self.consumer.context().context.went_well();
                    let (partition, offset) = (message.partition(), message.offset());
                    // Of one that was not started, or what was handed out before.
                    if let Some(next) = self.next.get_mut(&partition).filter(|next| offset >= **next) {
                        *next = offset + 1;
                        self.ended.remove(&partition);
                        let record = record(&message);
                        if record.key.is_empty() && record.header("type") == Some(FORGOTTEN.as_bytes()) {
                            self.told = None;
                        }
                        records.push(record);
                    }
                    wait = Duration::ZERO;
                }
                Some(Err(KafkaError::PartitionEOF(partition))) => {
                    self.consumer.context().context.went_well();
                    if let Some(&offset) = self.next.get(&partition) {
                        self.ended.insert(partition, offset);
                        self.news.push_back(Polled::End { partition, offset });
                    }
                }
                Some(Err(error)) => {
                    if let Err(error) = self.failed(error) {
                        if records.is_empty() {
                            return Err(error);
                        }
                        // After what came before it.
                        self.trouble = Some(error);
                        break;
                    }
                }
                None => {
                    if self.consumer.context().news.lock().is_ok_and(|news| news.is_empty()) {
                        break;
                    }
                }
            }
        }
        Ok(Polled::Records(records))
    }

    fn start(&mut self, from: &[(i32, Option<i64>)]) -> Result<(), SourceError> {
        let (mut list, mut taken) = (TopicPartitionList::new(), TopicPartitionList::new());
        for &(partition, offset) in from {
            let at = offset.map_or(Offset::Beginning, Offset::Offset);
            list.add_partition_offset(self.topic(), partition, at).map_err(|error| self.away(error))?;
            if self.next.contains_key(&partition) {
                taken.add_partition(self.topic(), partition);
            }
        }
        if taken.count() > 0 {
            // Taken anew, so that nothing comes that was fetched for another place.
            self.consumer.incremental_unassign(&taken).map_err(|error| self.away(error))?;
            self.next.retain(|partition, _| !from.iter().any(|(of, _)| of == partition));
        }
        self.consumer.incremental_assign(&list).map_err(|error| self.away(error))?;
        for &(partition, offset) in from {
            self.next.insert(partition, offset.unwrap_or(0));
            self.ended.remove(&partition);
            self.news.retain(|news| !matches!(news, Polled::End { partition: of, .. } if *of == partition));
        }
        Ok(())
    }

    fn schema(&mut self, UnknownSchema(id): UnknownSchema) -> Result<Option<String>, SourceError> {
        let registry = self.settings.registry().map_err(|error| SourceError::Unfit(error.to_string()))?;
        let unset = || {
            SourceError::Unfit(format!(
                "a record of schema {id} (by the registry's number), which this program does not know: a newer server wrote it. Update \
                 the bookings service before the servers, or set kafka.registry to the schema registry that they use, and start it"
            ))
        };
        registry.ok_or_else(unset)?.schema(id).map_err(|error| SourceError::Away(error.to_string()))
    }

    fn high(&self, partition: i32) -> Option<i64> {
        let known = || native::high(self.consumer.client(), self.topic(), partition);
        self.ended.get(&partition).copied().or_else(known)
    }

    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), SourceError> {
        let unkept = |context: &Context, why: &dyn std::fmt::Display| {
            let what = "a record could not be set aside";
            match SourceError::from(context.unwritten(&self.settings, why)) {
                SourceError::Away(why) => SourceError::Away(format!("{what}: {why}")),
                SourceError::Refused(why) => SourceError::Refused(format!("{what}: {why}")),
                unfit @ SourceError::Unfit(_) => unfit,
            }
        };
        let producer = match self.aside.take() {
            Some(producer) => producer,
            None => self
                .settings
                .plain_producer()
                .create_with_context(Context::default())
                .map_err(|error: KafkaError| unkept(&Context::default(), &error))?,
        };
        let context = producer.context();
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len() + 3);
        for (key, value) in &record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let from = format!("{}/{}", record.partition, record.offset);
        for (key, value) in [("reason", reason), ("from", &from)] {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        let mut out = BaseRecord::<[u8], [u8]>::to(&self.topics.dead).payload(&record.value).headers(headers);
        if !record.key.is_empty() {
            out = out.key(&record.key);
        }
        if let Err((error, _)) = producer.send(out) {
            context.not_delivered(error.clone());
            return Err(unkept(context, &error));
        }
        let is_kept = (0..STEPS).any(|_| native::flush(&producer, STEP));
        if let Some(error) = context.undelivered() {
            return Err(unkept(context, &error));
        }
        if !is_kept {
            return Err(unkept(context, &"no answer"));
        }
        context.went_well();
        self.aside = Some(producer);
        Ok(())
    }
}

impl Reader {
    /// Joins a group.
    pub fn new(settings: Settings, group: &str) -> Result<Self, SourceError> {
        settings.check().map_err(|error| SourceError::Unfit(error.to_string()))?;
        let topics = settings.topics();
        let consumer = connect(&settings, &topics, group)?;
        let (next, ended, news) = (BTreeMap::new(), BTreeMap::new(), VecDeque::new());
        Ok(Self {
            settings,
            topics,
            group: group.to_owned(),
            told: None,
            consumer,
            aside: None,
            next,
            ended,
            news,
            trouble: None,
        })
    }

    fn said(&self) -> Result<Said, SourceError> {
        let (client, context) = (self.consumer.client(), &self.consumer.context().context);
        match topics::count((client, context), &|| {}, &self.topics.positions, &self.settings) {
            Err(SinkError::Refused(_)) => Ok(Said::Hidden),
            Ok(None) => Ok(Said::Nothing),
            Ok(Some(count)) => Ok(positions::said(&self.settings, &self.group, count)?),
            Err(error) => Err(error.into()),
        }
    }

    /// Why the topic is not to be read yet, by what its writer knows.
    fn untold(&self, known: &Known, id: Option<&String>) -> Option<String> {
        let topic = self.topic();
        if known.bookings.as_ref().zip(id).is_some_and(|(known, id)| known != id) {
            return Some(format!(
                "{topic} was made anew, and nothing is told in it yet: the server that is primary notices within some seconds, and \
                 tells everything once more"
            ));
        }
        (!known.whole).then(|| {
            format!(
                "the server that is primary is telling everything in {topic}: it is taken over once all of it is there, so that no \
                 table is a part"
            )
        })
    }

    /// What the group was told, then ends: a partition that is gone has none.
    fn told(&mut self) -> Option<Polled> {
        let told = self.take_news();
        if let Some(Polled::Revoked(gone)) = &told {
            self.next.retain(|partition, _| !gone.contains(partition));
            self.ended.retain(|partition, _| !gone.contains(partition));
            self.news
                .retain(|news| !matches!(news, Polled::End { partition, .. } if gone.contains(partition)));
        }
        told.or_else(|| self.news.pop_front())
    }

    fn take_news(&self) -> Option<Polled> {
        self.consumer.context().news.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }

    fn missing(&self) -> String {
        format!(
            "Kafka at {}: there is no topic {} yet; the server that is primary makes it, with kafka.brokers and kafka.prefix like \
             these; nothing is lost meanwhile",
            self.settings.brokers,
            self.topic()
        )
    }

    fn away(&self, error: impl std::fmt::Display) -> SourceError {
        let context = &self.consumer.context().context;
        let why = context.why(error);
        if context.is_refused() {
            SourceError::Refused(self.settings.refused(why))
        } else {
            SourceError::Away(self.settings.away(why))
        }
    }

    /// What librdkafka mends by itself is none.
    fn failed(&mut self, error: KafkaError) -> Result<(), SourceError> {
        match error {
            KafkaError::MessageConsumption(RDKafkaErrorCode::AutoOffsetReset) => {
                Err(SourceError::Unfit(format!(
                    "{0} does not have the records any more, or not yet, at which reading was to go on: it kept them for too short a \
                     time (retention.ms), or was made anew. Stop every bookings service, delete the topic {0} if it was not made anew, \
                     drop the table (DROP SCHEMA frontrow CASCADE), and start them: the server that is primary tells everything once \
                     more, and they wait until it has",
                    self.topic()
                )))
            }
            KafkaError::MessageConsumption(code) if is_refusal(code) => {
                let topic = self.topic();
                Err(SourceError::Refused(self.settings.refused(format!(
                    "{code}, for topic {topic} as a member of group {} (service.group)",
                    self.group
                ))))
            }
            KafkaError::MessageConsumptionFatal(_) => {
                let away = self.away(&error);
                // This client is of no use any more.
                self.consumer = connect(&self.settings, &self.topics, &self.group)?;
                self.news.clear();
                let gone: Vec<i32> = std::mem::take(&mut self.next).into_keys().collect();
                self.ended.clear();
                self.news.push_back(Polled::Revoked(gone));
                Err(away)
            }
            error if self.consumer.context().context.is_down() => {
                self.consumer.context().context.told_down();
                // Reports of a node that was away are still in the queue when it has long been back.
                let found = self.consumer.client().fetch_metadata(Some(self.topic()), LOOK);
                found.map(|_| ()).map_err(|_| self.away(error))
            }
            error => {
                tracing::debug!(%error, "Kafka");
                Ok(())
            }
        }
    }
}

fn record(message: &BorrowedMessage<'_>) -> Record {
    let header = |it: Header<'_, &[u8]>| (it.key.to_owned(), it.value.unwrap_or_default().to_vec());
    Record {
        partition: message.partition(),
        offset: message.offset(),
        key: message.key().unwrap_or_default().to_vec(),
        headers: message.headers().map(|all| all.iter().map(header).collect()).unwrap_or_default(),
        value: message.payload().unwrap_or_default().to_vec(),
    }
}
