//! From the log to partitions: records are applied again in their order, and must come out as they did.
//!
//! Recovery, a snapshotter and a backup replay with this. A record is decoded when it is handed in and applied
//! some records later: in between the processor fetches what it will touch, so that the misses of many records
//! overlap. That is where replaying is faster than living through it; the function that decides is the same.
//!
//! Files, positions' checksums and segments are not known here.

use crate::answer::Code;
use crate::effects::Effects;
use crate::ids::{Epoch, Lsn, Millis, PartitionId, RowRef};
use crate::op::Op;
use crate::partition::Partition;
use crate::record::{self, Outcome, RecordError};

/// How many records wait between being decoded and being applied; a power of two.
const WINDOW: usize = 32;
/// Records from the end of the window at which the rows are asked for: by then the indexes that tell where they
/// are have come.
const ROWS_AT: usize = 12;
/// Letters written since they were last compared with what their receivers have: see [`Replayer::reconcile`].
const LETTERS: usize = 1 << 14;

/// One record of the log.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// The partition it is about.
    pub partition: PartitionId,
    /// Its position in the partition's history.
    pub lsn: Lsn,
    /// The time of the operation.
    pub time_ms: Millis,
    /// Which operation.
    pub kind: u8,
    /// The operation and its outcome. Fastest at an address that is a multiple of eight.
    pub payload: &'a [u8],
    /// Where it was found; errors say it again.
    pub position: u64,
}

/// Why a record could not be replayed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayError {
    /// Where the record was found.
    pub position: u64,
    /// The partition it is about.
    pub partition: PartitionId,
    /// Its position in the partition's history.
    pub lsn: Lsn,
    /// What is wrong with it.
    pub fault: ReplayFault,
}

/// What is wrong with a record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplayFault {
    /// There is no such partition.
    Partition,
    /// The record is not one.
    Record(RecordError),
    /// The record does not follow on the last one.
    Gap {
        /// The last LSN replayed.
        last: Lsn,
    },
    /// An epoch begins that is not higher than the one before.
    Epoch {
        /// The epoch that begins.
        epoch: Epoch,
        /// The one before.
        before: Epoch,
    },
    /// The operation came out differently.
    Diverged {
        /// What came out now.
        now: Code,
        /// What is in the log.
        then: Code,
    },
}

impl std::fmt::Display for ReplayError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { position, partition, lsn, fault } = self;
        write!(f, "position {position}: ")?;
        match fault {
            ReplayFault::Partition => write!(f, "partition {partition} does not exist"),
            ReplayFault::Record(source) => write!(f, "{source}"),
            ReplayFault::Gap { last } => write!(
                f,
                "partition {partition} has record {lsn} after {last}: part of the log is missing. Restore it from a \
                 copy; nothing was changed"
            ),
            ReplayFault::Epoch { epoch, before } => write!(
                f,
                "partition {partition}, record {lsn}: epoch {epoch} follows on {before}: logs of two servers are \
                 mixed. Restore them from a copy; nothing was changed"
            ),
            ReplayFault::Diverged { now, then } => write!(
                f,
                "replaying partition {partition}, record {lsn} gave {} where the log says {}. This version \
                 decides differently from the one that wrote the log: start that version, and report it",
                now.name(),
                then.name()
            ),
        }
    }
}

impl std::error::Error for ReplayError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.fault {
            ReplayFault::Record(source) => Some(source),
            _ => None,
        }
    }
}

/// The partitions that are replayed here: all of a deployment, or some of them.
pub trait Partitions {
    /// Partition `number`, if it is here.
    fn at(&self, number: PartitionId) -> Option<&Partition>;
    /// The same, to change it.
    fn at_mut(&mut self, number: PartitionId) -> Option<&mut Partition>;
    /// Numbers are below this.
    fn count(&self) -> usize;
}

impl Partitions for [Partition] {
    fn at(&self, number: PartitionId) -> Option<&Partition> {
        self.get(usize::from(number))
    }
    fn at_mut(&mut self, number: PartitionId) -> Option<&mut Partition> {
        self.get_mut(usize::from(number))
    }
    fn count(&self) -> usize {
        self.len()
    }
}

impl Partitions for [Option<Partition>] {
    fn at(&self, number: PartitionId) -> Option<&Partition> {
        self.get(usize::from(number))?.as_ref()
    }
    fn at_mut(&mut self, number: PartitionId) -> Option<&mut Partition> {
        self.get_mut(usize::from(number))?.as_mut()
    }
    fn count(&self) -> usize {
        self.len()
    }
}

/// A record that has been decoded and not applied.
struct Waiting {
    position: u64,
    partition: PartitionId,
    lsn: Lsn,
    time_ms: Millis,
    op: Op,
    outcome: Option<Outcome>,
}

/// Applies records to partitions.
pub struct Replayer {
    /// A ring: record number `n` is at `n % WINDOW`.
    window: Vec<Waiting>,
    /// How many records were taken into the window, and how many of them applied.
    taken: u64,
    applied: u64,
    /// By partition: what stood in it before anything was replayed.
    start: Vec<Lsn>,
    /// Letters written since [`Replayer::reconcile`].
    letters: usize,
    /// From how many on it is done again.
    letters_at_most: usize,
    effects: Effects,
    /// Rows that changed and were not asked for yet, if anybody wants to know.
    changed: Option<Vec<RowRef>>,
}

impl Replayer {
    /// For these partitions as they are now: new, or loaded from snapshots. What their snapshots have already is
    /// passed over.
    pub fn new(partitions: &(impl Partitions + ?Sized)) -> Self {
        let numbers = 0..partitions.count() as PartitionId;
        Self {
            window: Vec::with_capacity(WINDOW),
            taken: 0,
            applied: 0,
            start: numbers.map(|number| partitions.at(number).map_or(0, Partition::lsn)).collect(),
            letters: 0,
            letters_at_most: LETTERS,
            effects: Effects::with_capacity(64),
            changed: None,
        }
    }

    /// From now on the rows that change are noted, or not any more. Whoever has them noted takes them now and then.
    pub fn note_rows(&mut self, noted: bool) {
        match (noted, &self.changed) {
            (true, None) => self.changed = Some(Vec::new()),
            (true, Some(_)) => {}
            (false, _) => self.changed = None,
        }
    }

    /// Takes the rows that have been noted as changed; a row may be among them more than once.
    pub fn take_rows(&mut self) -> impl Iterator<Item = RowRef> + '_ {
        self.changed.iter_mut().flat_map(|rows| rows.drain(..))
    }

    /// Takes the next record. It is applied by and by: all are once [`Replayer::finish`] has returned. After an
    /// error nothing more may be handed in.
    ///
    /// `partitions` must be the same in every call.
    pub fn push(
        &mut self,
        partitions: &mut (impl Partitions + ?Sized),
        record: &Logged<'_>,
    ) -> Result<(), ReplayError> {
        if self.start.get(usize::from(record.partition)).is_some_and(|&start| record.lsn <= start) {
            return Ok(());
        }
        if self.taken - self.applied == WINDOW as u64 {
            self.apply_next(partitions)?;
        }
        let fail = |fault| ReplayError {
            position: record.position,
            partition: record.partition,
            lsn: record.lsn,
            fault,
        };
        let Some(partition) = partitions.at(record.partition) else {
            self.finish(partitions)?;
            return Err(fail(ReplayFault::Partition));
        };
        let (op, outcome) = match record::decode(record.kind, record.payload) {
            Ok(decoded) => decoded,
            Err(error) => {
                // What came before it is at fault first, if it is.
                self.finish(partitions)?;
                return Err(fail(ReplayFault::Record(error)));
            }
        };
        partition.prefetch_op(&op);
        let waiting = Waiting {
            position: record.position,
            partition: record.partition,
            lsn: record.lsn,
            time_ms: record.time_ms,
            op,
            outcome,
        };
        let at = self.taken as usize % WINDOW;
        if at == self.window.len() {
            self.window.push(waiting);
        } else {
            self.window[at] = waiting;
        }
        self.taken += 1;
        if let Some(number) = self.taken.checked_sub((WINDOW - ROWS_AT) as u64)
            && number >= self.applied
        {
            let waiting = &self.window[number as usize % WINDOW];
            if let Some(partition) = partitions.at(waiting.partition) {
                partition.prefetch_op_rows(&waiting.op);
            }
        }
        Ok(())
    }

    /// Applies what has been taken and not applied yet.
    pub fn finish(&mut self, partitions: &mut (impl Partitions + ?Sized)) -> Result<(), ReplayError> {
        while self.applied < self.taken {
            self.apply_next(partitions)?;
        }
        Ok(())
    }

    /// How many records were applied; those passed over are not among them.
    pub fn records(&self) -> u64 {
        self.applied
    }

    /// Strikes off every message that its receiver has. Done now and then while replaying, so that messages that
    /// arrived long ago take no memory, and to be done by the caller at the end. Letters to a partition that is not
    /// here are kept.
    pub fn reconcile(&mut self, partitions: &mut (impl Partitions + ?Sized)) {
        let mut left = 0;
        let numbers = 0..partitions.count() as PartitionId;
        for from in numbers.clone() {
            let has = |to| partitions.at(to).map_or(0, |to| to.received_from(from));
            let received: Vec<u64> = numbers.clone().map(has).collect();
            left += partitions.at_mut(from).map_or(0, |from| from.confirm_all(&received));
        }
        self.letters = 0;
        // With many on their way, looking at them all must stay rare.
        self.letters_at_most = LETTERS.max(left);
    }

    fn apply_next(&mut self, partitions: &mut (impl Partitions + ?Sized)) -> Result<(), ReplayError> {
        let Waiting { position, partition: number, lsn, time_ms, op, outcome } =
            &self.window[self.applied as usize % WINDOW];
        let fail = |fault| Err(ReplayError { position: *position, partition: *number, lsn: *lsn, fault });
        let Some(partition) = partitions.at_mut(*number) else { return fail(ReplayFault::Partition) };
        let last = partition.lsn();
        if *lsn != last + 1 {
            return fail(ReplayFault::Gap { last });
        }
        if let &Op::Begin { epoch, .. } = op
            && epoch <= partition.epoch()
        {
            return fail(ReplayFault::Epoch { epoch, before: partition.epoch() });
        }
        self.effects.clear();
        let applied = partition.replay(*time_ms, op, &mut self.effects);
        let now = Outcome::from(&applied.answer);
        if !applied.recorded || outcome.is_some_and(|then| then != now) {
            let then = outcome.map_or(Code::Done, |then| then.code);
            return fail(ReplayFault::Diverged { now: now.code, then });
        }
        self.applied += 1;
        if let Some(changed) = &mut self.changed {
            changed.extend_from_slice(&self.effects.rows);
        }
        self.letters += self.effects.letters.len();
        if self.letters > self.letters_at_most {
            self.reconcile(partitions);
        }
        Ok(())
    }
}
