//! The log's changes into the topics: a batch is one transaction, with the marks up to where it goes.
//!
//! Where everything is stands in Kafka itself (`positions`), so a batch that was cut off, or of which nobody knows whether it
//! is there, is found out about by beginning again: the transaction is ended, one way or the other, and read.

use crate::context::Context;
use crate::encoding::{Encoding, Ids};
use crate::murmur2;
use crate::native::{self, Outgoing};
use crate::positions::{self, BEGUN, CLUSTER, Known, Place, Positions, TICK, TOPICS, Told, Whose};
use crate::record::{self, About};
use crate::settings::{Settings, Topics};
use crate::ticks::Said;
use crate::topics::{self, Identities, Partitions};
use frontrow_cdc::message::{Anew, VERSION};
use frontrow_cdc::{Batch, Begun, Change, Digits, Kind, Mark, Marks, Message, Position, Sink, SinkError};
use frontrow_shard::Epoch;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, Producer};
use serde::Serialize;
use std::ffi::{CStr, CString};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

/// For a step towards an answer.
const STEP: Duration = Duration::from_millis(250);
/// Steps that may be waited for: 20 s.
const STEPS: usize = 80;
/// When no node can be reached, it is waited for no longer than this.
const STEPS_DOWN: usize = 6;
/// Changes in a batch, about: a transaction costs some milliseconds, whatever is in it.
const CHANGES: usize = 32_768;

/// Writes the topics. Of those with the same cluster only the one that began last can.
pub struct Writer {
    settings: Settings,
    topics: Topics,
    names: Names,
    version: Digits,
    cluster: String,
    /// The schema's, once the registry has said them: they stay so.
    ids: Option<Ids>,
    live: Option<Live>,
}

/// Of the topics, as librdkafka takes them.
struct Names {
    changes: CString,
    bookings: CString,
    positions: CString,
}

/// From a beginning to the first error.
struct Live {
    producer: BaseProducer<Context>,
    partitions: Partitions,
    epoch: Epoch,
    encoding: Encoding,
    /// What `positions` says.
    told: Begun,
    /// What it says of the topics.
    known: Known,
    /// What they were at the beginning.
    ids: Identities,
    key: Vec<u8>,
    value: Vec<u8>,
}

impl Writer {
    /// Writes nothing, and connects nowhere, until it is begun.
    pub fn new(settings: Settings) -> Self {
        let (topics, cluster) = (settings.topics(), format!("{:032x}", settings.cluster));
        // A name with a zero in it is none of a topic's: then there is no such topic.
        let name = |text: String| CString::new(text).unwrap_or_default();
        let own = topics.clone();
        let [changes, bookings, positions] = [own.changes, own.bookings, own.positions].map(name);
        let names = Names { changes, bookings, positions };
        Self { settings, topics, names, version: Digits::of(VERSION.into()), cluster, ids: None, live: None }
    }

    fn check_epoch(&self, found: Epoch, own: Epoch) -> Result<(), SinkError> {
        if found > own {
            let place = format!("Kafka at {} (topics {}.*)", self.settings.brokers, self.settings.prefix);
            return Err(SinkError::Fenced { place, found, own });
        }
        Ok(())
    }

    /// Everything that `fill` sends, or nothing of it. After an error it is to be begun anew.
    fn transaction(
        &mut self,
        fill: impl FnOnce(&mut Sending<'_>) -> Result<(), SinkError>,
    ) -> Result<(), SinkError> {
        let Some(mut live) = self.live.take() else {
            return Err(SinkError::Away(self.settings.away("it was not begun")));
        };
        let mut sending = Sending {
            live: &mut live,
            settings: &self.settings,
            names: &self.names,
            version: &self.version,
            cluster: &self.cluster,
        };
        sending.live.producer.begin_transaction().map_err(|error| sending.failed(error))?;
        fill(&mut sending)?;
        sending.commit()?;
        live.producer.context().went_well();
        self.live = Some(live);
        Ok(())
    }

    /// Waits until an earlier one of this name is out, and what it had not committed is gone.
    fn take_over(&self, producer: &BaseProducer<Context>) -> Result<(), SinkError> {
        let mut step = 0;
        loop {
            let Err(error) = producer.init_transactions(STEP) else { return Ok(()) };
            producer.poll(Duration::ZERO);
            step += 1;
            let context = producer.context();
            if !is_retriable(&error) || step > STEPS || (context.is_down() && step > STEPS_DOWN) {
                return Err(SinkError::Away(self.settings.away(context.why(error))));
            }
        }
    }
}

impl Writer {
    fn identities(&self, producer: &BaseProducer<Context>) -> Result<Identities, SinkError> {
        Identities::of(producer.client(), &self.topics).map_err(|(topic, code)| {
            SinkError::Away(self.settings.away(format!("{topic} is not described: {code}")))
        })
    }

    /// Goes on from what `positions` says. In topics that were made anew, also while nobody looked, it begins with nothing.
    fn take_up(&mut self, found: Positions) -> Result<Begun, SinkError> {
        let anew = self.made_anew(&found)?.join(", ");
        if !anew.is_empty() {
            let all = format!("{} and {}", self.topics.changes, self.topics.bookings);
            tracing::warn!(
                topics = anew,
                "a topic in Kafka was deleted and made anew: everything is told once more in {all}, after \"forgotten\"; what the log \
                 has no more as it stands now, without cancelled bookings. A bookings service takes it over by itself, but where \
                 {} was made anew: there it ends and says so; then stop every bookings service, drop its table (DROP SCHEMA \
                 frontrow CASCADE), and start them",
                self.topics.bookings
            );
        }
        self.transaction(|sending| {
            let (known, ids) = (found.known.clone().unwrap_or_default(), &sending.live.ids);
            sending.live.known = Known {
                changes: ids.changes.clone().or(known.changes),
                bookings: ids.bookings.clone().or(known.bookings),
                whole: known.whole,
            };
            sending.live.told = found.begun;
            if found.epoch < sending.live.epoch {
                // One of an earlier epoch finds it when it begins again.
                sending.whose(sending.live.epoch)?;
            }
            if !anew.is_empty() {
                sending.forgotten()
            } else if found.known.as_ref() == Some(&sending.live.known) {
                Ok(())
            } else {
                sending.know(sending.live.known.clone())
            }
        })?;
        Ok(self.live.as_ref().map(|live| live.told.clone()).unwrap_or_default())
    }

    /// The topics that are not those that were written, by what `positions` says.
    fn made_anew(&self, found: &Positions) -> Result<Vec<&str>, SinkError> {
        let Some(Live { producer, partitions, ids, .. }) = &self.live else { return Ok(Vec::new()) };
        if found.epoch > 0 {
            let Known { changes, bookings, .. } = found.known.clone().unwrap_or_default();
            return Ok(Identities { changes, bookings, positions: None }.replaced(ids, &self.topics));
        }
        // Whoever writes says first whose the topics are: here that was lost, and with it how far they are.
        let holds = |topic, count| topics::holds_something(producer.client(), (topic, count), &self.settings);
        let is_lost = found.begun != Begun::default()
            || holds(&self.topics.changes, partitions.changes)?
            || holds(&self.topics.bookings, partitions.bookings)?;
        Ok(if is_lost { vec![&*self.topics.positions] } else { Vec::new() })
    }
}

fn is_retriable(error: &KafkaError) -> bool {
    matches!(error, KafkaError::Transaction(error) if error.is_retriable() && !error.is_fatal())
}

impl Sink for Writer {
    fn takes(&self, _: Kind) -> bool {
        true
    }

    fn most(&self) -> usize {
        CHANGES
    }

    fn begin(&mut self, epoch: Epoch) -> Result<Begun, SinkError> {
        self.live = None;
        let producer = self.settings.producer().create_with_context(Context::default());
        let producer: BaseProducer<Context> =
            producer.map_err(|error| SinkError::Unfit(format!("kafka.settings: {error}")))?;
        let partitions = topics::ready(&producer, &self.settings)?;
        // Before anything is taken over: one that is later is not to be disturbed.
        self.check_epoch(positions::read(&self.settings, partitions.positions, None)?.epoch, epoch)?;
        let encoding = Encoding::of(&self.settings, &mut self.ids)?;
        self.take_over(&producer)?;
        // And after it: from now on nobody else writes.
        let ids = self.identities(&producer)?;
        let (key, value, told, known) = (Vec::new(), Vec::new(), Begun::default(), Known::default());
        self.live = Some(Live { producer, partitions, epoch, encoding, told, known, ids, key, value });
        let begun = format!("{:016x}", RandomState::new().build_hasher().finish());
        self.transaction(|sending| sending.begun(&begun))?;
        let found = positions::read(&self.settings, partitions.positions, Some(&begun));
        let checked = found.and_then(|found| self.check_epoch(found.epoch, epoch).map(|()| found));
        checked.and_then(|found| self.take_up(found)).inspect_err(|_| self.live = None)
    }

    fn forget(&mut self) -> Result<(), SinkError> {
        let prefix = self.settings.prefix.clone();
        self.transaction(|sending| {
            tracing::warn!(prefix, "what was told in Kafka is taken back: it is of another history");
            sending.forgotten()
        })
    }

    fn write(&mut self, batch: &Batch) -> Result<(), SinkError> {
        self.transaction(|sending| {
            let epoch = sending.live.epoch;
            let upto = sending.upto(batch);
            for (partition, events) in &batch.anew {
                let partition = *partition;
                let Mark { epoch, lsn } = upto.get(&partition).copied().unwrap_or_default();
                let anew = Message::Anew(Anew { partition, epoch, lsn, events: events.clone() });
                sending.everywhere(&anew, (epoch, Some(lsn)), true)?;
            }
            sending.changes(batch)?;
            if !upto.is_empty() {
                sending.everywhere(&Message::Upto(upto), (epoch, None), false)?;
            }
            for (partition, &mark) in &batch.upto {
                let Mark { epoch, lsn } = mark;
                sending.position(&partition.to_string(), Some(&Told { epoch, lsn }))?;
                sending.live.told.marks.insert(*partition, mark);
            }
            for (stream, &place) in &batch.places {
                let (epoch, position) = place;
                sending.position(&positions::place_key(*stream), Some(&Place { epoch, position }))?;
                sending.live.told.places.insert(*stream, place);
            }
            Ok(())
        })
    }

    fn settle(&mut self) -> Result<(), SinkError> {
        // A transaction that is committed is on all replicas that are in sync.
        Ok(())
    }

    fn whole(&mut self) -> Result<(), SinkError> {
        if self.live.as_ref().is_none_or(|live| live.known.whole) {
            return Ok(());
        }
        self.transaction(|sending| {
            let known = Known { whole: true, ..sending.live.known.clone() };
            sending.know(known)
        })
    }

    fn tick(&mut self) -> Result<(), SinkError> {
        if self.live.as_ref().is_none_or(|live| !live.known.whole) {
            return Ok(());
        }
        self.transaction(|sending| sending.position(TICK, Some(&Said::of(&sending.live.told.marks))))
    }

    fn look(&mut self) -> Result<(), SinkError> {
        let Some(live) = &self.live else { return Ok(()) };
        let missing = match Identities::of(live.producer.client(), &self.topics) {
            Ok(now) => live.ids.replaced(&now, &self.topics).join(", "),
            Err((topic, RDKafkaErrorCode::UnknownTopicOrPartition)) => topic,
            // No answer in time: whoever writes hears what is wrong.
            Err(_) => String::new(),
        };
        if missing.is_empty() {
            return Ok(());
        }
        Err(SinkError::Away(format!(
            "the topic {missing} in Kafka was deleted, and what was told in it is gone: everything is told once more"
        )))
    }
}

/// A booking that stands in an archive is of no record. It is told as one of the record up to which its partition was told,
/// under a name that no other change has.
fn of_archive(change: &Change, Mark { epoch, lsn }: Mark) -> Change {
    let n = change.position.n | 1 << 31;
    Change { position: Position { epoch, lsn, n, ..change.position }, ..change.clone() }
}

/// A transaction under way.
struct Sending<'a> {
    live: &'a mut Live,
    settings: &'a Settings,
    names: &'a Names,
    version: &'a Digits,
    cluster: &'a str,
}

impl Sending<'_> {
    /// Up to where everything was told with this batch: partitions that are told anew without a record of their own stay
    /// where they were.
    fn upto(&self, batch: &Batch) -> Marks {
        let mut upto = batch.upto.clone();
        for (partition, _) in &batch.anew {
            if let Some(mark) = self.live.told.marks.get(partition) {
                upto.entry(*partition).or_insert(*mark);
            }
        }
        upto
    }

    /// The changes that are not there already: to their row's partition, and bookings to their user's as well.
    fn changes(&mut self, batch: &Batch) -> Result<(), SinkError> {
        let is_anew = |of| batch.anew.iter().any(|(partition, _)| *partition == of);
        let Partitions { changes, bookings, .. } = self.live.partitions;
        for change in &batch.changes {
            let position = change.position;
            let told = self.live.told.marks.get(&position.partition);
            if told.is_some_and(|mark| position.lsn <= mark.lsn) && !is_anew(position.partition) {
                continue;
            }
            let placed = (position.lsn == 0).then(|| told.map(|&mark| of_archive(change, mark))).flatten();
            let change = placed.as_ref().unwrap_or(change);
            let about = About::change(change);
            self.live.encoding.change(change, &mut self.live.value)?;
            record::key_of_place(change, &mut self.live.key);
            self.send(&self.names.changes, i32::from(position.partition) % changes.cast_signed(), about)?;
            if let (Kind::Booked | Kind::Cancelled, Some(user)) = (change.kind, change.user) {
                record::key_of_user(user, &mut self.live.key);
                self.live.encoding.for_bookings(&mut self.live.value);
                let partition = murmur2::partition(&self.live.key, bookings);
                self.send(&self.names.bookings, partition, about)?;
            }
        }
        Ok(())
    }

    /// A message to every partition of the bookings, and of the changes if `both`.
    fn everywhere(
        &mut self,
        message: &Message,
        (epoch, lsn): (Epoch, Option<u64>),
        both: bool,
    ) -> Result<(), SinkError> {
        let about = About { kind: message.kind(), epoch, lsn, event: None };
        self.live.encoding.message(message, &mut self.live.value)?;
        self.live.key.clear();
        let Partitions { changes, bookings, .. } = self.live.partitions;
        for partition in 0..if both { changes.cast_signed() } else { 0 } {
            self.send(&self.names.changes, partition, about)?;
        }
        self.live.encoding.for_bookings(&mut self.live.value);
        for partition in 0..bookings.cast_signed() {
            self.send(&self.names.bookings, partition, about)?;
        }
        Ok(())
    }

    /// Sends what is in `key` and `value`.
    fn send(&self, topic: &CStr, partition: i32, about: About<'_>) -> Result<(), SinkError> {
        let epoch = Digits::of(about.epoch.into());
        let (lsn, event) = (about.lsn.map(Digits::of), about.event.map(|event| Digits::of(event.into())));
        let mut headers = [("version", self.version.as_bytes()); 7];
        headers[1] = ("cluster", self.cluster.as_bytes());
        headers[2] = ("type", about.kind.as_bytes());
        headers[3] = ("epoch", epoch.as_bytes());
        let mut count = 4;
        let lsn = lsn.as_ref().map(|digits| ("lsn", digits.as_bytes()));
        let event = event.as_ref().map(|digits| ("event", digits.as_bytes()));
        for header in [lsn, event, self.live.encoding.header()].into_iter().flatten() {
            headers[count] = header;
            count += 1;
        }
        let Live { key, value, .. } = &*self.live;
        self.enqueue(Outgoing { topic, partition, key, value: Some(value), headers: &headers[..count] })
    }

    /// Says in `positions` what its key says, or that it says nothing any more.
    fn position<T: Serialize>(&self, key: &str, value: Option<&T>) -> Result<(), SinkError> {
        let value = value.map(|value| serde_json::to_vec(value).expect("numbers and texts, into memory"));
        let key = key.as_bytes();
        let partition = murmur2::partition(key, self.live.partitions.positions);
        let topic = &self.names.positions;
        self.enqueue(Outgoing { topic, partition, key, value: value.as_deref(), headers: &[] })
    }

    /// Says in every partition of `positions` that this is where it began.
    fn begun(&self, begun: &str) -> Result<(), SinkError> {
        (0..self.live.partitions.positions.cast_signed()).try_for_each(|partition| {
            let (topic, key, value) = (&self.names.positions, BEGUN.as_bytes(), Some(begun.as_bytes()));
            self.enqueue(Outgoing { topic, partition, key, value, headers: &[] })
        })
    }

    /// Takes back everything that was told, and how far that was.
    fn forgotten(&mut self) -> Result<(), SinkError> {
        let told = std::mem::take(&mut self.live.told);
        self.everywhere(&Message::Forgotten, (self.live.epoch, None), true)?;
        told.marks.keys().try_for_each(|partition| self.position::<()>(&partition.to_string(), None))?;
        told.places.keys().try_for_each(|of| self.position::<()>(&positions::place_key(*of), None))?;
        self.know(Known { whole: false, ..self.live.known.clone() })
    }

    fn know(&mut self, known: Known) -> Result<(), SinkError> {
        self.position(TOPICS, Some(&known))?;
        self.live.known = known;
        Ok(())
    }

    fn whose(&mut self, epoch: Epoch) -> Result<(), SinkError> {
        self.position(CLUSTER, Some(&Whose { cluster: self.cluster.to_owned(), epoch }))
    }

    /// Puts a record behind those that wait, once there is room.
    fn enqueue(&self, record: Outgoing<'_>) -> Result<(), SinkError> {
        let producer = &self.live.producer;
        for _ in 0..STEPS {
            match native::send(producer, record) {
                Ok(()) => return Ok(()),
                Err(RDKafkaErrorCode::QueueFull) => {}
                Err(error) => return Err(self.failed(error)),
            }
            native::flush(producer, STEP);
            if let Some(error) = producer.context().undelivered() {
                return Err(self.failed(error));
            }
        }
        Err(self.failed("it takes nothing"))
    }

    /// Everything that was sent is delivered, and counts. Whether it does is not known after an error.
    fn commit(&self) -> Result<(), SinkError> {
        let producer = &self.live.producer;
        let mut is_delivered = false;
        for step in 0..STEPS {
            if !is_delivered {
                is_delivered = native::flush(producer, STEP);
            }
            if let Some(error) = producer.context().undelivered() {
                return Err(self.failed(error));
            }
            if is_delivered {
                match producer.commit_transaction(STEP) {
                    Ok(()) => return Ok(()),
                    Err(error) if is_retriable(&error) => {}
                    Err(error) => return Err(self.failed(error)),
                }
                producer.poll(Duration::ZERO);
            }
            if producer.context().is_down() && step >= STEPS_DOWN {
                break;
            }
        }
        Err(self.failed("no answer"))
    }

    fn failed(&self, why: impl std::fmt::Display) -> SinkError {
        let context = self.live.producer.context();
        match self.live.producer.client().fatal_error() {
            Some((_, why)) => SinkError::Away(format!(
                "another writer of {}.* has begun ({why}): it is looked who",
                self.settings.prefix
            )),
            None => context.unwritten(self.settings, why),
        }
    }
}
