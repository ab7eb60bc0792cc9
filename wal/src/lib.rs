//! The write-ahead log: one stream of checksummed records per core, in one data directory.
//!
//! The log does not know what a record means: payloads are bytes. A core appends to RAM and hands
//! batches to its stream's syncer thread, which alone touches files:
//!
//! ```text
//! core thread                         syncer thread (one per stream)     preparer thread
//! Appender::append  -> fill buffer
//! Appender::commit  -> hand over ---> copy into segment, sync,
//!                                     publish `durable`, wake  <------- next zeroed segment
//! ```
//!
//! - [`DataDir`] owns the directory: lock, manifest, cluster id, epoch, list of segments.
//! - [`Appender`] is the core's end of one stream.
//! - [`Segment`] and [`Records`] read a segment back without copying.
//!
//! Invariants:
//! - An epoch is opened for writing once. Nothing is ever appended behind a torn tail: a new epoch
//!   has new files.
//! - A batch starts to be written only after the batch before it is durable. Recovery relies on it to
//!   tell a torn batch (cut) from damage (refused).
//! - A failed sync is final: the stream is poisoned and no later commit succeeds.
//!
//! The bytes are drawn in `docs/log-format.md`.

mod appender;
mod dir;
mod error;
mod format;
pub mod fs;
mod manifest;
mod options;
mod preparer;
mod reader;
mod segment;
mod shared;
mod syncer;

pub use appender::Appender;
pub use dir::{DataDir, DirOptions, SegmentInfo};
pub use error::{AppendError, WalError};
pub use format::{
    FORMAT_VERSION, KIND_SEAL, PAYLOAD_BYTES_MAX, Position, RECORD_ALIGN, RECORD_HEADER_BYTES,
    RECORD_VERSION, SEGMENT_HEADER_BYTES,
};
pub use options::{Durability, LogOptions};
pub use reader::{Record, Records, Segment, Tail, fuzz_decode};
pub use shared::Space;
