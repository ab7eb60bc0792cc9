//! What can be asked of a table of bookings.

use crate::booking::{Booking, BookingId};
use frontrow_cdc::Mark;
use frontrow_shard::{EventId, Lsn, Millis, PartitionId, UserId};

/// Why a question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The table cannot be read now.
    #[error("the bookings cannot be read: {0}")]
    Away(String),
    /// A row that Frontrow did not write.
    #[error("a row of the bookings is not what it should be: {0}")]
    Unfit(String),
}

/// Where a user's page ended: the last booking that was on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct After {
    /// When it was booked.
    pub booked_ms: Millis,
    /// Its name.
    pub id: BookingId,
}

/// What must be in the table before it answers: a buyer sees what was just bought.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Since {
    /// A booking of the user's.
    pub seen: Option<BookingId>,
    /// A record of a partition.
    pub after: Option<(PartitionId, Lsn)>,
}

/// What has been sold of a section.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SectionSales {
    /// Index of the section.
    pub section: u16,
    /// Bookings that count.
    pub bookings: u64,
    /// Their seats.
    pub seats: u64,
    /// Bookings that were given back.
    pub cancelled: u64,
}

/// A table of bookings, to be read from any thread. Every method may block.
pub trait Store: Send + Sync {
    /// A user's bookings, newest first, of one event or of all, behind a page's end. None if what is wanted is not in the table
    /// yet; whether it is, and what is answered, is of the same moment.
    fn of_user(
        &self,
        user: UserId,
        event: Option<EventId>,
        after: Option<After>,
        most: usize,
        wanted: &Since,
    ) -> Result<Option<Vec<Booking>>, StoreError>;

    /// One booking of a user.
    fn one(&self, user: UserId, id: BookingId) -> Result<Option<Booking>, StoreError>;

    /// An event's bookings, by their names, behind one of them.
    fn of_event(
        &self,
        event: EventId,
        after: Option<BookingId>,
        most: usize,
    ) -> Result<Vec<Booking>, StoreError>;

    /// What has been sold of an event, section by section.
    fn sales(&self, event: EventId) -> Result<Vec<SectionSales>, StoreError>;

    /// Up to which record of a partition everything is in the table.
    fn mark(&self, partition: PartitionId) -> Result<Mark, StoreError>;

    /// Whether that record is in it.
    fn has(&self, partition: PartitionId, lsn: Lsn) -> Result<bool, StoreError> {
        Ok(self.mark(partition)?.lsn >= lsn)
    }

    /// Whether the table has had everything once: what is made again is not answered from by halves.
    fn is_complete(&self) -> Result<bool, StoreError> {
        Ok(true)
    }
}
