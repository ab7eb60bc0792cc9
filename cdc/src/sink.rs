//! Where changes go: a table, a broker, a file. Whoever follows the log writes to one, and is told by it from where to go
//! on after a start.

use crate::change::{Change, Kind};
use frontrow_shard::{Epoch, EventId, Lsn, PartitionId};
use frontrow_wal::Position;
use std::collections::BTreeMap;

/// A record of a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Its epoch.
    pub epoch: Epoch,
    /// Its number.
    pub lsn: Lsn,
}

/// By partition, up to which record everything is there.
pub type Marks = BTreeMap<PartitionId, Mark>;

/// By stream of the log, behind which record everything before is there: where reading may go on.
pub type Places = BTreeMap<u16, (Epoch, Position)>;

/// From where to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// What is there; none of it if nothing is.
    pub marks: Marks,
    /// Where that was read, as far as it is known.
    pub places: Places,
}

/// Changes to be taken over as one, in the order of every partition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Batch {
    /// Of these partitions and their events nothing counts any more that was said before: the changes name every booking
    /// there is.
    pub anew: Vec<(PartitionId, Vec<EventId>)>,
    /// What happened.
    pub changes: Vec<Change>,
    /// The last record of each partition that is in it, whether it changed anything or not.
    pub upto: Marks,
    /// Where they were read.
    pub places: Places,
    /// How many records are in it.
    pub records: u64,
}

impl Batch {
    /// Whether there is nothing in it.
    pub fn is_empty(&self) -> bool {
        self.upto.is_empty()
    }

    /// Empties it, and keeps its memory.
    pub fn clear(&mut self) {
        self.anew.clear();
        self.changes.clear();
        self.upto.clear();
        self.places.clear();
        self.records = 0;
    }
}

/// Why a batch was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SinkError {
    /// It cannot be reached or has no room: to be tried again.
    #[error("{0}")]
    Away(String),
    /// It is there, and does not let this one in: to be tried again, but somebody has to mend it.
    #[error("{0}")]
    Refused(String),
    /// Somebody writes there in a later epoch: this node is not the primary any more.
    #[error(
        "{place} has been written to in epoch {found}, and this node is in epoch {own}: another node is the primary; stop \
         this one, and start it as a standby"
    )]
    Fenced {
        /// Where.
        place: String,
        /// The later epoch.
        found: Epoch,
        /// This node's.
        own: Epoch,
    },
    /// What is there is not what this log says: trying again would not mend it.
    #[error("{0}")]
    Unfit(String),
}

/// Takes batches.
pub trait Sink: Send {
    /// Whether it takes changes of this kind; of others it is not told.
    fn takes(&self, kind: Kind) -> bool;

    /// How many changes a batch is best made of.
    fn most(&self) -> usize {
        4096
    }

    /// Begins to write in `epoch`: whoever writes in an earlier one can write no more. From where to go on.
    fn begin(&mut self, epoch: Epoch) -> Result<Begun, SinkError>;

    /// Forgets everything: it is of a history that is not this log's.
    fn forget(&mut self) -> Result<(), SinkError>;

    /// Takes a batch as a whole, with its marks, or nothing of it. What is there already is not taken twice.
    fn write(&mut self, batch: &Batch) -> Result<(), SinkError>;

    /// On return everything that was written outlives a loss of power: the log may forget it.
    fn settle(&mut self) -> Result<(), SinkError>;

    /// Everything that is durable has been written. Said again and again while nothing happens.
    fn whole(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Tells whoever reads there that everything has been written that was durable a moment ago. Said a few times a second, also while
    /// nothing happens; after [`Sink::whole`].
    fn tick(&mut self) -> Result<(), SinkError> {
        Ok(())
    }

    /// Sees whether what was written before is still there, if somebody else could take it away. Asked every two seconds; after
    /// an error it is begun anew, and says then from where to go on.
    fn look(&mut self) -> Result<(), SinkError> {
        Ok(())
    }
}
