//! Where bookings go, and what is to be changed there as one.

use crate::booking::Booking;
use frontrow_cdc::source::Origin;
use frontrow_cdc::{Mark, Position};
use frontrow_shard::{Epoch, EventId, PartitionId};
use std::collections::BTreeMap;

/// What has come of one of the log's partitions through one of Kafka's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// Everything up to this record is there.
    pub mark: Mark,
    /// The latest epoch anything was told of: what an earlier one tells now is stale.
    pub newest: Epoch,
}

/// Where one of Kafka's partitions stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// Where reading goes on; the beginning if it was never read.
    pub next: Option<i64>,
    /// Whether everything that was there has been in the table at once, since it was last told anew.
    pub complete: bool,
    /// By the log's partitions, what has come.
    pub reached: BTreeMap<PartitionId, Reached>,
}

/// One of Kafka's partitions goes on from a place to the next one, if it is still there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Move {
    /// Which.
    pub partition: i32,
    /// Where it must be, or somebody else has written meanwhile.
    pub from: Option<i64>,
    /// Where it is then.
    pub to: Place,
}

/// A booking as a batch leaves it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowChange {
    /// Kafka's partition.
    pub through: i32,
    /// The last change.
    pub at: Position,
    /// Whether it was booked in this batch. Otherwise it was cancelled, and what is there already gets only that.
    pub booked: bool,
    /// The booking.
    pub booking: Booking,
}

/// A part of a batch; its parts are in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Bookings, each once.
    Rows(Vec<RowChange>),
    /// What came of these events of a partition through one of Kafka's is gone.
    Anew {
        /// Kafka's partition.
        through: i32,
        /// The log's.
        partition: PartitionId,
        /// The events.
        events: Vec<EventId>,
    },
    /// Everything is gone that came through one of Kafka's partitions.
    Forgotten {
        /// Kafka's partition.
        through: i32,
    },
}

/// To be written as one, or not at all.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// By Kafka's partitions, rising.
    pub moves: Vec<Move>,
    /// What changes, in order.
    pub steps: Vec<Step>,
}

/// Why nothing was written.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    /// It cannot be reached: to be tried again.
    #[error("{0}")]
    Away(String),
    /// It is there, and does not let this one in: to be tried again, but somebody has to mend it.
    #[error("{0}")]
    Refused(String),
    /// Somebody else has written what comes through one of these partitions: read on from there.
    #[error("another consumer has written meanwhile")]
    Overtaken,
    /// Trying again would not mend it.
    #[error("{0}")]
    Unfit(String),
}

/// A table of bookings that is kept by a topic.
pub trait Table {
    /// Makes it ready for a topic of so many partitions; also after an error.
    fn begin(&mut self, topic: &str, partitions: i32) -> Result<(), TableError>;

    /// What its bookings and places are of. What is not known yet is taken from `told`, and stays. Asked once it is ready.
    fn origin(&mut self, told: &Origin) -> Result<Origin, TableError>;

    /// Where these partitions stand.
    fn places(&mut self, partitions: &[i32]) -> Result<BTreeMap<i32, Place>, TableError>;

    /// Writes a plan in one transaction. A row is only replaced by a later change.
    fn write(&mut self, plan: &Plan) -> Result<(), TableError>;
}
