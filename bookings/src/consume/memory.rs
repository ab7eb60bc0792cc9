//! A topic in memory: for tests and measurements of what reads one.

#![allow(clippy::cast_possible_wrap, reason = "a test's topic is small")]

use frontrow_cdc::Message;
use frontrow_cdc::avro::{self, UnknownSchema};
use frontrow_cdc::message::VERSION;
use frontrow_cdc::source::{Origin, Polled, Record, Source, SourceError};
use frontrow_shard::UserId;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Whose records they are.
pub const CLUSTER: &str = "0000000000000000000000000000feed";
/// Records of one partition that come together.
const TOGETHER: usize = 500;

/// The topic, and its dead-letter topic.
#[derive(Clone, Debug)]
pub struct MemoryTopic {
    inner: Arc<Mutex<Inner>>,
}

#[derive(Debug)]
struct Inner {
    origin: Origin,
    partitions: Vec<Vec<Record>>,
    aside: Vec<(Record, String)>,
    trouble: Option<SourceError>,
    registry: BTreeMap<UnknownSchema, String>,
    without_registry: bool,
}

impl MemoryTopic {
    /// An empty one.
    pub fn new(partitions: usize) -> Self {
        let inner = Inner {
            origin: Origin { cluster: Some(CLUSTER.to_owned()), id: Some("first".to_owned()), untold: None },
            partitions: vec![Vec::new(); partitions],
            aside: Vec::new(),
            trouble: None,
            registry: BTreeMap::new(),
            without_registry: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a message: a user's to the user's partition, what is nobody's to each.
    pub fn send(&self, message: &Message) {
        let mut value = Vec::new();
        message.write(&mut value);
        self.send_value(message, &value, None);
    }

    /// The same as Avro.
    pub fn send_avro(&self, message: &Message) -> Result<(), avro::TooLarge> {
        let mut value = Vec::new();
        avro::begin(1, &mut value);
        avro::write(message, &mut value)?;
        self.send_value(message, &value, Some(avro::SCHEMA_VERSION));
        Ok(())
    }

    fn send_value(&self, message: &Message, value: &[u8], schema: Option<u32>) {
        let number = |name: &str, number: u32| (name.to_owned(), number.to_string().into_bytes());
        let text = |name: &str, text: &str| (name.to_owned(), text.into());
        let mut headers =
            vec![number("version", VERSION), text("cluster", CLUSTER), text("type", message.kind())];
        headers.extend(schema.map(|schema| number("schema", schema)));
        let user = if let Message::Change(change) = message { change.user } else { None };
        let key = user.map(|user| user.to_string().into_bytes()).unwrap_or_default();
        let count = self.inner().partitions.len();
        for partition in 0..count {
            if user.is_none_or(|user| Self::partition(user, count) == partition) {
                let (key, headers, value) = (key.clone(), headers.clone(), value.to_vec());
                self.add(Record { partition: partition as i32, offset: 0, key, headers, value });
            }
        }
    }

    /// Adds a record to its partition, and gives it its offset.
    pub fn add(&self, mut record: Record) {
        let mut inner = self.inner();
        let partition = &mut inner.partitions[record.partition as usize];
        record.offset = partition.len() as i64;
        partition.push(record);
    }

    /// A user's partition, of so many.
    pub fn partition(user: UserId, count: usize) -> usize {
        (user % count as u64) as usize
    }

    /// All records, partition by partition.
    pub fn records(&self) -> Vec<Vec<Record>> {
        self.inner().partitions.clone()
    }

    /// What was set aside, and why.
    pub fn aside(&self) -> Vec<(Record, String)> {
        self.inner().aside.clone()
    }

    /// Lets the next thing that is asked of any reader fail.
    pub fn fail(&self, error: SourceError) {
        self.inner().trouble = Some(error);
    }

    /// What is to stand beside the topic of whose it is.
    pub fn belongs_to(&self, cluster: Option<&str>) {
        self.inner().origin.cluster = cluster.map(str::to_owned);
    }

    /// Why it is not to be read yet, or that it may be.
    pub fn untold(&self, why: Option<&str>) {
        self.inner().origin.untold = why.map(str::to_owned);
    }

    /// Deletes it, and makes it anew.
    pub fn make_anew(&self, id: Option<&str>) {
        let mut inner = self.inner();
        inner.origin.id = id.map(str::to_owned);
        inner.partitions.iter_mut().for_each(Vec::clear);
    }

    /// What the registry is to say of a schema.
    pub fn register(&self, schema: UnknownSchema, text: &str) {
        self.inner().registry.insert(schema, text.to_owned());
    }

    /// Its readers know of no registry.
    pub fn without_registry(&self) {
        self.inner().without_registry = true;
    }

    /// A reader of these partitions.
    pub fn reader(&self, partitions: &[i32]) -> MemorySource {
        let news = VecDeque::from([Polled::Assigned(partitions.to_vec())]);
        MemorySource {
            topic: self.clone(),
            news,
            next: BTreeMap::new(),
            ended: BTreeMap::new(),
            again: 0,
            drained: Arc::default(),
        }
    }
}

/// A reader of the topic.
#[derive(Debug)]
pub struct MemorySource {
    topic: MemoryTopic,
    /// What it is told next: assignments and revocations.
    pub news: VecDeque<Polled>,
    next: BTreeMap<i32, i64>,
    ended: BTreeMap<i32, i64>,
    /// So many records before the start come again.
    pub again: i64,
    drained: Arc<AtomicBool>,
}

impl MemorySource {
    /// True while everything was handed out, and more was asked for.
    pub fn drained(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.drained)
    }

    fn trouble(&self) -> Result<(), SourceError> {
        self.topic.inner().trouble.take().map_or(Ok(()), Err)
    }
}

impl Source for MemorySource {
    fn topic(&self) -> &'static str {
        "frontrow.bookings"
    }

    fn partitions(&mut self) -> Result<i32, SourceError> {
        self.trouble()?;
        Ok(self.topic.inner().partitions.len() as i32)
    }

    fn origin(&mut self) -> Result<Origin, SourceError> {
        self.trouble()?;
        Ok(self.topic.inner().origin.clone())
    }

    fn poll(&mut self, most: usize, _patience: Duration) -> Result<Polled, SourceError> {
        self.trouble()?;
        if let Some(news) = self.news.pop_front() {
            if let Polled::Revoked(gone) = &news {
                self.next.retain(|partition, _| !gone.contains(partition));
            }
            return Ok(news);
        }
        let inner = self.topic.inner();
        let mut records = Vec::new();
        let mut any = true;
        while any && records.len() < most {
            any = false;
            for (&partition, next) in &mut self.next {
                // Made anew, it may end before.
                let left = inner.partitions[partition as usize].get(*next as usize..).unwrap_or_default();
                let some = &left[..left.len().min(TOGETHER).min(most - records.len())];
                records.extend_from_slice(some);
                *next += some.len() as i64;
                any |= !some.is_empty();
            }
        }
        if records.is_empty() {
            let end = self.next.iter().find(|(partition, next)| self.ended.get(partition) != Some(next));
            if let Some((&partition, &offset)) = end {
                self.ended.insert(partition, offset);
                return Ok(Polled::End { partition, offset });
            }
        }
        self.drained.store(records.is_empty(), Release);
        Ok(Polled::Records(records))
    }

    fn start(&mut self, from: &[(i32, Option<i64>)]) -> Result<(), SourceError> {
        self.trouble()?;
        self.drained.store(false, Release);
        for (partition, offset) in from {
            self.next.insert(*partition, (offset.unwrap_or(0) - self.again).max(0));
            self.ended.remove(partition);
        }
        Ok(())
    }

    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), SourceError> {
        self.trouble()?;
        self.topic.inner().aside.push((record.clone(), reason.to_owned()));
        Ok(())
    }

    fn schema(&mut self, schema: UnknownSchema) -> Result<Option<String>, SourceError> {
        self.trouble()?;
        if self.topic.inner().without_registry {
            return Err(SourceError::Unfit(format!("schema {} cannot be asked for", schema.0)));
        }
        Ok(self.topic.inner().registry.get(&schema).cloned())
    }

    fn high(&self, partition: i32) -> Option<i64> {
        self.topic.inner().partitions.get(partition as usize).map(|all| all.len() as i64)
    }
}

/// Whether a reader has handed out everything: a test's end.
pub fn is_drained(drained: &AtomicBool) -> bool {
    drained.load(Acquire)
}
