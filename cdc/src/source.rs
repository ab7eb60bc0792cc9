//! Where records come from: a topic of Kafka's, or a test's memory.

use crate::avro::UnknownSchema;
use crate::sink::SinkError;
use std::time::Duration;

/// A record of the topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// Kafka's partition.
    pub partition: i32,
    /// Its place there.
    pub offset: i64,
    /// Its key: a user, in decimal digits. Empty with what is told to every partition of Kafka's.
    pub key: Vec<u8>,
    /// Its headers.
    pub headers: Vec<(String, Vec<u8>)>,
    /// A [`crate::Message`], as JSON or Avro: [`crate::avro::Schemas`] reads either.
    pub value: Vec<u8>,
}

impl Record {
    /// The header of this name.
    pub fn header(&self, name: &str) -> Option<&[u8]> {
        self.headers.iter().find(|(of, _)| of == name).map(|(_, value)| value.as_slice())
    }
}

/// What came.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Polled {
    /// Records, in the order of each partition; none if none came in time.
    Records(Vec<Record>),
    /// From now on these partitions are read here, too. None of their records come before [`Source::start`] was told from
    /// where on.
    Assigned(Vec<i32>),
    /// These are read somewhere else from now on: none of their records come any more.
    Revoked(Vec<i32>),
    /// All that there is of a partition was handed out; the next record will be at this offset or behind it.
    End {
        /// Which.
        partition: i32,
        /// The offset.
        offset: i64,
    },
}

/// What a topic is beside its name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Whose it is by what stands beside it, as the header `cluster` has it; `None` if nothing there says so.
    pub cluster: Option<String>,
    /// Kafka's id of it, which one that is deleted and made anew has not; `None` if this Kafka gives none.
    pub id: Option<String>,
    /// Why it is not to be read yet: not everything has been told in it, and whoever reads to its end has a part. `None` if it
    /// may be read.
    pub untold: Option<String>,
}

/// Why nothing comes.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SourceError {
    /// It cannot be reached: to be tried again.
    #[error("{0}")]
    Away(String),
    /// It is there, and does not let this one in: to be tried again, but somebody has to mend it.
    #[error("{0}")]
    Refused(String),
    /// Trying again would not mend it: records that are wanted are gone, or the topic is not what it should be.
    #[error("{0}")]
    Unfit(String),
}

impl From<SinkError> for SourceError {
    fn from(error: SinkError) -> Self {
        match error {
            SinkError::Away(why) => Self::Away(why),
            SinkError::Refused(why) => Self::Refused(why),
            other => Self::Unfit(other.to_string()),
        }
    }
}

/// A reader of the topic. Every method may block.
pub trait Source {
    /// The topic's name.
    fn topic(&self) -> &str;

    /// How many partitions it has.
    fn partitions(&mut self) -> Result<i32, SourceError>;

    /// What it is now. Asked again after [`Message::Forgotten`](crate::Message::Forgotten) came out of it.
    fn origin(&mut self) -> Result<Origin, SourceError>;

    /// What comes next: at once if there is something, otherwise after at most `patience`. It does not wait until there are
    /// `most` records. An error loses nothing: what would have come before it has come, what comes after it comes later.
    fn poll(&mut self, most: usize, patience: Duration) -> Result<Polled, SourceError>;

    /// From where partitions are read: these offsets, or the beginning. Whatever was read of them and not yet handed out is
    /// of no use any more. An offset that is not there any more, or not yet, is [`SourceError::Unfit`], here or at the next
    /// [`Source::poll`].
    fn start(&mut self, from: &[(i32, Option<i64>)]) -> Result<(), SourceError>;

    /// Puts a record aside, with the reason, into the dead-letter topic, and returns once it is kept there.
    fn set_aside(&mut self, record: &Record, reason: &str) -> Result<(), SourceError>;

    /// What the schema registry says of a schema that a record is written by; `None` if it knows of none.
    fn schema(&mut self, schema: UnknownSchema) -> Result<Option<String>, SourceError>;

    /// Up to where a partition has been written, if that is known.
    fn high(&self, partition: i32) -> Option<i64>;
}
