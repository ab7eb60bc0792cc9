//! Changes in Kafka: what stands in the topics, who writes them, and who reads them for the table of bookings.
//!
//! [`docs/cdc.md`](../../docs/cdc.md) says what a reader finds there.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `settings` | which Kafka, how the topics are called, and what librdkafka is told |
//! | `context` | what librdkafka reports while it works |
//! | `topics` | making them, and how many partitions they have |
//! | `positions` | the compacted topic that says how far everything is, and in which epoch |
//! | `encoding` | how values are written: JSON or Avro |
//! | [`registry`] | where Avro's schemas are registered, and found |
//! | `record` | where a change goes: key, partition, headers |
//! | `native` | the few calls that rdkafka has no safe and fast way for |
//! | [`writer`] | the log's changes into the topics, a batch to a transaction |
//! | [`reader`] | bookings out of their topic, as a member of a group |
//! | [`ticks`] | that everything has been told, a few times a second |

mod context;
mod encoding;
mod murmur2;
mod native;
mod positions;
pub mod reader;
mod record;
pub mod registry;
mod settings;
pub mod ticks;
mod topics;
pub mod writer;

pub use murmur2::murmur2;
pub use reader::Reader;
pub use registry::{Registry, RegistryError};
pub use settings::{BadSetting, Format, Settings, Topics};
pub use ticks::{Tick, Ticks};
pub use writer::Writer;
