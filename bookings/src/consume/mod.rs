//! From a topic to a table: the consumer's loop.
//!
//! [`consume`] is what a program runs, on a thread of its own, as often as it wants consumers. What stands in the table, its
//! rows and how far the topic was read, changes in one transaction; so after whatever went wrong it asks the table where to
//! go on, and nothing is lost or taken twice.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `mod` | the loop: what follows on what, and what becomes of an error |
//! | `decode` | what a record says, and which are none |
//! | `plan` | what is known, what is stale, and what a batch comes to |
//! | [`table`] | where bookings go |
//! | [`progress`] | how far it is |
//! | [`memory`] | a topic in memory, for tests |

mod decode;
pub mod memory;
mod plan;
pub mod progress;
pub mod table;

use progress::LASTING;
pub use progress::{Progress, Standing};
pub use table::{Move, Place, Plan, Reached, RowChange, Step, Table, TableError};

use frontrow_cdc::avro::Schemas;
pub use frontrow_cdc::source::{Origin, Polled, Record, Source, SourceError};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// Records in a batch, at most, unless another number is asked for: bookings/examples/apply.rs measures it.
pub const BATCH: usize = 8192;
/// How long to wait for records before looking whether the end has come.
const PATIENCE: Duration = Duration::from_millis(200);
/// After so many it is looked whether the topic is still the same: 10 s, where nothing comes.
const POLLS: u32 = 50;
/// After an error; twice as long after each further one.
const PAUSE: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);
/// After another consumer was first: soon one of the two hears that a partition is not its own any more.
const OVERTAKEN: Duration = Duration::from_millis(50);

/// Why a consumer ended without being told to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsumeError {
    /// Records of a later version.
    #[error(
        "{topic}, partition {partition}, offset {offset}: a record of version {version}, and this program reads version {own}: \
         update the bookings service before the servers, and start it; everything before is in the table",
        own = frontrow_cdc::message::VERSION
    )]
    Later {
        /// The topic.
        topic: String,
        /// Kafka's partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// Theirs.
        version: u32,
    },
    /// A record whose schema cannot be known here.
    #[error("{topic}, partition {partition}, offset {offset}: {why}; everything before is in the table")]
    Schema {
        /// The topic.
        topic: String,
        /// Kafka's partition.
        partition: i32,
        /// Where.
        offset: i64,
        /// What it is, and what to do.
        why: String,
    },
    /// Topics of another cluster, as a whole.
    #[error(
        "the table is of cluster {table}, and the topic of bookings is of cluster {topic}: set kafka.brokers and kafka.prefix to \
         the topics of {table}, or give the bookings of {topic} a database of their own (service.postgres); if those of {table} \
         are wanted no more, drop the table (DROP SCHEMA frontrow CASCADE)"
    )]
    OtherCluster {
        /// Whose bookings the table has.
        table: String,
        /// Whose topics these are.
        topic: String,
    },
    /// The places in the table are of a topic that is no more.
    #[error(
        "the topic of bookings was deleted and made anew: the table has bookings and places of the one with Kafka's id {table}, and \
         this is {topic}, in which these places mean nothing. The server that is primary notices by itself and tells everything once \
         more: stop every bookings service, drop the table (DROP SCHEMA frontrow CASCADE), and start them; they wait until all of it \
         is told. What the server's log has no more comes without cancelled bookings and requests: copy the table before, if it has \
         such that are wanted"
    )]
    MadeAnew {
        /// The id that the places are of.
        table: String,
        /// The id that the topic has.
        topic: String,
    },
    /// The topic.
    #[error("the topic of bookings: {0}")]
    Source(String),
    /// The table.
    #[error("the table of bookings: {0}")]
    Table(String),
}

/// How a consumer runs.
#[derive(Clone, Copy)]
pub struct Running<'a> {
    /// Waits so long, or until the end has come; whether it has. All its waiting is done here.
    pub is_over: &'a dyn Fn(Duration) -> bool,
    /// Told of what it does.
    pub progress: &'a Progress,
    /// Records in a batch, at most: usually [`BATCH`].
    pub batch: usize,
}

/// Why a life of it ended.
enum Ended {
    Away(String),
    /// It is tried again, and somebody has to mend it.
    Refused(String),
    For(ConsumeError),
}

impl From<SourceError> for Ended {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::Away(why) => Self::Away(why),
            SourceError::Refused(why) => Self::Refused(why),
            SourceError::Unfit(why) => Self::For(ConsumeError::Source(why)),
        }
    }
}

impl From<TableError> for Ended {
    fn from(error: TableError) -> Self {
        match error {
            TableError::Away(why) => Self::Away(why),
            TableError::Refused(why) => Self::Refused(why),
            TableError::Overtaken => Self::Away(error.to_string()),
            TableError::Unfit(why) => Self::For(ConsumeError::Table(why)),
        }
    }
}

/// Takes a topic's bookings into a table until the end has come, or something happens that waiting would not mend.
pub fn consume(
    source: &mut dyn Source,
    table: &mut dyn Table,
    running: Running<'_>,
) -> Result<(), ConsumeError> {
    let (places, ends) = (BTreeMap::new(), BTreeMap::new());
    let (schemas, cluster) = (Schemas::default(), None);
    let mut own = Consumer {
        source,
        table,
        running,
        places,
        ends,
        placed: true,
        schemas,
        cluster,
        polls: 0,
        is_denied: false,
    };
    let mut pause = PAUSE;
    loop {
        let batches = running.progress.batches.load(Relaxed);
        let (why, is_refused) = match own.live() {
            Ok(()) => return Ok(()),
            Err(Ended::For(error)) => {
                running.progress.over(error.to_string());
                return Err(error);
            }
            Err(Ended::Away(why)) => (why, false),
            Err(Ended::Refused(why)) => (format!("{LASTING}{why}"), true),
        };
        running.progress.retries.fetch_add(1, Relaxed);
        if running.progress.batches.load(Relaxed) > batches {
            pause = PAUSE;
        }
        if running.progress.troubled(Some(why.clone())) {
            if is_refused {
                tracing::error!(%why, "bookings wait to be taken over; nothing is lost, it goes on once that is mended");
            } else {
                tracing::warn!(%why, "bookings wait to be taken over; nothing is lost, it goes on by itself");
            }
        }
        if (running.is_over)(pause) {
            return Ok(());
        }
        pause = PAUSE_MAX.min(pause * 2);
    }
}

struct Consumer<'a> {
    source: &'a mut dyn Source,
    table: &'a mut dyn Table,
    running: Running<'a>,
    /// The partitions that are read here, and where they stand in the table.
    places: BTreeMap<i32, Place>,
    /// Where they end, until that is written.
    ends: BTreeMap<i32, i64>,
    /// Whether the source goes on where the table stands; not so after something was read and not written.
    placed: bool,
    /// Of records that are Avro.
    schemas: Schemas,
    /// Whose bookings the table has, once that is known: nobody else's are taken.
    cluster: Option<String>,
    /// Since it was last looked whether the table is this topic's.
    polls: u32,
    /// Whether the source has refused something since anything came of it: it says so once, and then is silent.
    is_denied: bool,
}

impl Consumer<'_> {
    /// Until an error, or the end.
    fn live(&mut self) -> Result<(), Ended> {
        let partitions = self.source.partitions()?;
        self.table.begin(self.source.topic(), partitions)?;
        self.belong()?;
        // A topic that was away goes on where it was: to move what is read disturbs the group, which has just met again.
        if !self.placed {
            self.place_all()?;
        }
        if !self.is_denied {
            self.running.progress.troubled(None);
        }
        while !(self.running.is_over)(Duration::ZERO) {
            self.polls += 1;
            if self.polls > POLLS {
                self.belong()?;
            }
            let polled = self.source.poll(self.running.batch, PATIENCE);
            if let Err(error) = &polled {
                self.is_denied = matches!(error, SourceError::Refused(_));
                if matches!(error, SourceError::Unfit(_)) {
                    // Of a topic that was made anew that is the cause, and what has to be done.
                    self.placed = false;
                    self.belong()?;
                }
            }
            let polled = polled?;
            let is_news = !matches!(&polled, Polled::Records(records) if records.is_empty());
            if is_news && std::mem::take(&mut self.is_denied) {
                self.running.progress.troubled(None);
            }
            match polled {
                Polled::Records(records) if records.is_empty() => self.rest()?,
                Polled::Records(records) => self.take(&records)?,
                Polled::Assigned(partitions) => self.place(&partitions)?,
                Polled::Revoked(partitions) => {
                    for partition in partitions {
                        self.places.remove(&partition);
                        self.ends.remove(&partition);
                    }
                }
                Polled::End { partition, offset } => {
                    self.ends.insert(partition, offset);
                }
            }
            self.running.progress.stand(&self.places, |partition| self.source.high(partition));
        }
        Ok(())
    }

    /// Sees to it that the table is this topic's. Topics of another cluster are refused as such, not record by record; of one that
    /// was made anew nothing is read from a place of the old one; and none is read while not everything has been told in it, for
    /// its end would be taken for all there is.
    fn belong(&mut self) -> Result<(), Ended> {
        self.polls = 0;
        let told = self.source.origin()?;
        // Of one that nothing is told in yet nothing is in the table, so it is not the table's.
        let id = told.id.clone().filter(|_| told.untold.is_none());
        let known = self.table.origin(&Origin { id, ..told.clone() })?;
        self.cluster.clone_from(&known.cluster);
        let differ = |table: Option<String>, topic: Option<String>| table.zip(topic).filter(|(a, b)| a != b);
        if let Some((table, topic)) = differ(known.cluster, told.cluster) {
            return Err(Ended::For(ConsumeError::OtherCluster { table, topic }));
        }
        match differ(known.id, told.id) {
            Some((table, topic)) => Err(Ended::For(ConsumeError::MadeAnew { table, topic })),
            None => told.untold.map_or(Ok(()), |why| {
                // Ends that were met before all was told are none.
                self.placed = false;
                Err(Ended::Away(why))
            }),
        }
    }

    fn place_all(&mut self) -> Result<(), Ended> {
        let all: Vec<i32> = self.places.keys().copied().collect();
        self.place(&all)
    }

    /// Reads partitions from where the table says.
    fn place(&mut self, partitions: &[i32]) -> Result<(), Ended> {
        self.placed = partitions.is_empty();
        if self.placed {
            return Ok(());
        }
        // Named before anything can fail: the next life asks for them again.
        for partition in partitions {
            self.places.insert(*partition, Place::default());
            self.ends.remove(partition);
        }
        // A topic that is made anew is given out anew, too.
        self.belong()?;
        self.places.extend(self.table.places(partitions)?);
        let from: Vec<_> =
            partitions.iter().map(|partition| (*partition, self.places[partition].next)).collect();
        self.source.start(&from)?;
        self.placed = true;
        Ok(())
    }

    /// Sees to it that every schema that records are written by is known, or is known not to be. The first record, by its
    /// place in the batch, of whose schema nobody can be asked, and why.
    fn learn(&mut self, records: &[Record]) -> Result<Option<(usize, String)>, Ended> {
        let own = self.cluster.as_deref();
        for (n, record) in records.iter().enumerate().filter(|(_, it)| decode::check(it, own).is_ok()) {
            if let Some(missing) = self.schemas.missing(record) {
                match self.source.schema(missing) {
                    Ok(said) => self.schemas.learn(missing, said.as_deref()),
                    Err(SourceError::Unfit(why)) => return Ok(Some((n, why))),
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(None)
    }

    fn take(&mut self, records: &[Record]) -> Result<(), Ended> {
        self.placed = false;
        if self.cluster.is_none() {
            // Nothing beside the topic said it: the first record does.
            let first = records.iter().find_map(decode::cluster);
            if let Some(cluster) = first.map(str::to_owned) {
                self.cluster =
                    self.table.origin(&Origin { cluster: Some(cluster), ..Origin::default() })?.cluster;
            }
        }
        let unreadable = self.learn(records)?;
        let readable = unreadable.as_ref().map_or(records, |(n, _)| &records[..*n]);
        let mut places = self.places.clone();
        self.end(&mut places);
        let drafted = plan::draft(&mut places, readable, (&self.schemas, self.cluster.as_deref()));
        for (n, reason) in &drafted.aside {
            let record = &records[*n];
            tracing::warn!(
                partition = record.partition,
                offset = record.offset,
                reason,
                "a record is set aside"
            );
            self.source.set_aside(record, reason)?;
        }
        let is_forgotten = drafted.steps.iter().any(|step| matches!(step, Step::Forgotten { .. }));
        if !self.write(drafted.steps, places)? {
            return Ok(());
        }
        let count = |of: &std::sync::atomic::AtomicU64, more: u64| of.fetch_add(more, Relaxed);
        count(&self.running.progress.applied, drafted.changes);
        count(&self.running.progress.known, drafted.known);
        count(&self.running.progress.aside, drafted.aside.len() as u64);
        if let Some((n, version)) = drafted.later {
            let Record { partition, offset, .. } = records[n];
            let topic = self.source.topic().to_owned();
            return Err(Ended::For(ConsumeError::Later { topic, partition, offset, version }));
        }
        if let Some((n, why)) = unreadable {
            let Record { partition, offset, .. } = records[n];
            let topic = self.source.topic().to_owned();
            return Err(Ended::For(ConsumeError::Schema { topic, partition, offset, why }));
        }
        if is_forgotten {
            // All of it is told once more: what was read ahead may end in the middle.
            self.place_all()?;
        }
        Ok(())
    }

    /// Nothing comes: what is known of ends is written.
    fn rest(&mut self) -> Result<(), Ended> {
        let mut places = self.places.clone();
        self.end(&mut places);
        if places != self.places {
            self.write(Vec::new(), places)?;
        }
        Ok(())
    }

    /// What the ends say of places: behind the last record there may be marks of Kafka's own.
    fn end(&self, places: &mut BTreeMap<i32, Place>) {
        for (partition, offset) in &self.ends {
            if let Some(place) = places.get_mut(partition) {
                place.next = place.next.max(Some(*offset));
                place.complete = true;
            }
        }
    }

    /// Whether it is written. If another consumer was first, it goes on behind that one.
    fn write(&mut self, steps: Vec<Step>, places: BTreeMap<i32, Place>) -> Result<bool, Ended> {
        let moved = |(&partition, to): (&i32, &Place)| {
            let from = &self.places[&partition];
            (from != to).then(|| Move { partition, from: from.next, to: to.clone() })
        };
        let moves = places.iter().filter_map(moved).collect();
        match self.table.write(&Plan { moves, steps }) {
            Ok(()) => {}
            Err(TableError::Overtaken) => {
                self.running.progress.overtaken.fetch_add(1, Relaxed);
                if !(self.running.is_over)(OVERTAKEN) {
                    self.place_all()?;
                }
                return Ok(false);
            }
            Err(error) => return Err(error.into()),
        }
        self.places = places;
        self.placed = true;
        self.ends.clear();
        self.running.progress.batches.fetch_add(1, Relaxed);
        Ok(true)
    }
}

#[cfg(test)]
mod tests;
