//! Where the log is told: the table in the data directory, before anything is read into it, and Kafka.

use super::Progress;
use crate::config::{BookingTable, Config, Durability};
use crate::running::StartError;
use crate::snapshots::Needed;
use frontrow_bookings::{Sqlite, SqliteSink, Store};
use frontrow_cdc::{Marks, Sink};
use frontrow_kafka::Writer;
use frontrow_shard::{Lsn, Partition, PartitionId};
use frontrow_wal::{DataDir, EpochEntry, History, Position};
use std::path::Path;
use std::sync::Arc;

const FILE: &str = "bookings.db";

/// All of them.
pub(crate) struct Opened {
    /// The table, if there is one.
    pub(crate) table: Option<(Arc<dyn Store>, Arc<Progress>)>,
    pub(crate) ways: Vec<Way>,
    /// Streams that are to be followed.
    pub(crate) streams: u16,
    /// By partition, the last record at the start.
    pub(crate) recovered: Vec<Lsn>,
    /// A table was a witness that the log lacks records.
    pub(crate) lacks: bool,
}

/// The table's two sides, who reads it and who writes; and whether it knew more than the log.
type Embedded = (Arc<dyn Store>, Box<dyn Sink>, bool);

/// One sink, and how far it is.
pub(crate) struct Way {
    pub(crate) sink: Box<dyn Sink>,
    pub(crate) progress: Arc<Progress>,
}

/// Opens those that are configured; `partitions` are as the log leaves them. A log that is lost with the process is told to
/// nobody: what was told would survive it.
pub(crate) fn open(
    config: &Config,
    dir: &DataDir,
    history: &History,
    partitions: &[Partition],
) -> Result<Opened, StartError> {
    let streams = dir.streams()?.max(config.server.shard_cpus.len().max(1) as u16);
    let recovered = partitions.iter().map(Partition::lsn).collect();
    let mut opened = Opened { table: None, ways: Vec::new(), streams, recovered, lacks: false };
    if config.log.durability == Durability::Memory {
        return Ok(opened);
    }
    if config.bookings.table == BookingTable::Embedded {
        let (store, sink, lacks) = embedded(config, dir, history, &opened.recovered)?;
        opened.lacks = lacks;
        let progress = opened.way("embedded", sink, config.log.keep);
        opened.table = Some((store, progress));
    }
    if let Some(settings) = config.kafka.client(dir.cluster()) {
        opened.way("kafka", Box::new(Writer::new(settings)), config.log.keep);
    }
    Ok(opened)
}

fn embedded(
    config: &Config,
    dir: &DataDir,
    history: &History,
    recovered: &[Lsn],
) -> Result<Embedded, StartError> {
    let (store, mut sink) = Sqlite::open(&config.server.data.join(FILE), dir.cluster())?;
    // What another node has led meanwhile may have cut what this table was told.
    let last = sink.last_epoch()?;
    let is_ours = |entry: &EpochEntry| entry.epoch < last || [0, history.node].contains(&entry.node);
    let is_known = last == 0 || history.entry(last).is_some();
    // A log that was put back, or whose loss was accepted, does not go as far as this table.
    let lsn = |of: PartitionId| recovered.get(usize::from(of)).copied().unwrap_or(0);
    let ahead = sink.marks()?.into_iter().filter(|(of, mark)| mark.lsn > lsn(*of)).collect::<Marks>();
    let is_ahead = keep_what_is_ahead(&sink, &ahead, &config.server.data, &lsn);
    // Of an epoch that this directory has not seen: it was put here, or the rest was put back.
    if is_ahead || last > history.epoch() || !is_known || !history.epochs.iter().all(is_ours) {
        sink.forget()?;
    }
    Ok((Arc::new(store), Box::new(sink), is_ahead))
}

/// A table that knows more than the log is a witness that the log has lost something: it is copied before it is made again.
/// Whether there is more.
fn keep_what_is_ahead(
    sink: &SqliteSink,
    ahead: &Marks,
    data: &Path,
    lsn: &dyn Fn(PartitionId) -> Lsn,
) -> bool {
    let Some((&partition, mark)) = ahead.first_key_value() else { return false };
    let name = |n: u32| data.join(format!("{FILE}.ahead-{n}"));
    let copy = (1..=u32::MAX).map(name).find(|path| !path.exists()).unwrap_or_else(|| name(0));
    let kept = match sink.keep_copy(&copy) {
        Ok(()) => copy.display().to_string(),
        Err(error) => format!("could not be kept: {error}"),
    };
    let (table, log, partitions) = (mark.lsn, lsn(partition), ahead.len());
    tracing::error!(
        partition,
        table,
        log,
        partitions,
        kept,
        "the table of bookings knows later records than the log has: files were put back, a loss was accepted, or the disk has \
         lost what it said was durable. Bookings in the copy that are not in the table are lost here: compare them before you \
         sell on (docs/operations.md), or promote the other node"
    );
    true
}

impl Opened {
    /// One more, for which `keep` bytes of log may wait.
    fn way(&mut self, name: &'static str, sink: Box<dyn Sink>, keep: u64) -> Arc<Progress> {
        let progress = Arc::new(Progress::new(name, self.streams, keep));
        self.ways.push(Way { sink, progress: Arc::clone(&progress) });
        progress
    }

    /// How far each is.
    pub(crate) fn progress(&self) -> Vec<Arc<Progress>> {
        self.ways.iter().map(|way| Arc::clone(&way.progress)).collect()
    }

    /// What one of them does not have for good stays in the log.
    pub(crate) fn needed(&self) -> Option<Needed> {
        let all = self.progress();
        let slowest = move |stream| all.iter().map(|one| one.settled_up_to(stream)).min();
        (!self.ways.is_empty())
            .then(|| Box::new(move |stream| slowest(stream).unwrap_or(Position::MAX)) as Needed)
    }
}
