//! The write-ahead log: one stream of checksummed records per core, in one data directory.
//!
//! The log does not know what a record means: payloads are bytes. A core appends to RAM and commits in
//! batches. Who writes a batch depends on the stream's [`Carrier`]: a thread of the stream, or the
//! caller itself, with whatever its runtime has for writing files:
//!
//! ```text
//! core thread                         syncer thread (Carrier::Thread)    preparer thread
//! Appender::append  -> fill buffer
//! Appender::commit  -> hand over ---> copy into segment, sync,
//!                                     publish `durable`, wake  <------- next zeroed segment
//!
//! core thread (Carrier::Caller)                                          preparer thread
//! Appender::append     -> fill buffer
//! Appender::commit     -> begin
//! Appender::next_write -> aligned buffer, file, offset  <--------------- next zeroed segment
//!     ... the caller writes ...
//! Appender::written    -> publish `durable`, or poison
//! ```
//!
//! Both go by the same plan (`direct.rs`), so the order of writes and what a crash can leave are the
//! same. The core never waits for the preparer: if no segment is ready, `next_write` has nothing, and
//! the wake comes when one is.
//!
//! - [`DataDir`] owns the directory: lock, manifest, cluster id, epoch, list of segments.
//! - [`Appender`] is the core's end of one stream.
//! - [`Segment`] and [`Records`] read a segment back without copying.
//! - [`Snapshot`] is what a caller saved of a partition; [`DataDir::trim`] removes the log it stands in for.
//! - [`DirView`] reads a directory without its lock.
//! - [`History`] says who opened which epoch and where it ended; [`stream`] brings a log to a standby.
//!
//! Invariants:
//! - An epoch is opened for writing once. Nothing is ever appended behind a torn tail: a new epoch
//!   has new files.
//! - A batch starts to be written only after the batch before it is durable. Recovery relies on it to
//!   tell a torn batch (cut) from damage (refused).
//! - A failed sync is final: the stream is poisoned and no later commit succeeds.
//!
//! The bytes are drawn in `docs/log-format.md`.

mod agreed;
mod appender;
mod base;
mod batch;
mod beginning;
mod caller;
mod cutting;
mod dir;
mod direct;
mod error;
mod format;
pub mod fs;
mod history;
mod index;
mod lost;
mod manifest;
mod mark;
mod options;
mod preparer;
mod reader;
pub mod regular;
mod repair;
mod retired;
mod sealed;
mod seed;
mod seeding;
mod segment;
mod shared;
mod snapshot;
mod snapshot_format;
mod standby;
pub mod stream;
mod syncer;
mod trim;
mod verify;
mod view;
mod whole;

pub use agreed::Agreed;
pub use appender::Appender;
pub use beginning::Beginning;
pub use caller::Write;
pub use dir::{DataDir, DirOptions, Peek, new_node};
pub use error::{AppendError, WalError};
pub use format::{
    FORMAT_VERSION, KIND_SEAL, PAYLOAD_BYTES_MAX, Position, RECORD_ALIGN, RECORD_HEADER_BYTES,
    RECORD_VERSION, SEGMENT_HEADER_BYTES,
};
pub use history::{EpochEntry, History, NodeId, Role};
pub use index::{LogIndex, PartitionSpan, SegmentIndex, spans};
pub use options::{Carrier, Durability, LogOptions, Preparer};
pub use reader::{Record, Records, Segment, Tail, fuzz_decode};
pub use repair::{Mended, repair};
pub use sealed::sealed;
pub use seed::{Floor, SeedFile, is_seed_name};
pub use seeding::{SeedError, SeedIntake};
pub use shared::Space;
pub use snapshot::{SNAPSHOTS_KEPT, Snapshot, SnapshotFile};
pub use snapshot_format::{
    SNAPSHOT_BODY_BYTES_MAX, SNAPSHOT_HEADER_BYTES, SNAPSHOT_VERSION, SnapshotMeta, fuzz_snapshot,
};
pub use standby::{Ends, PROMOTION_STRIDE, Resume, StreamEnd};
pub use trim::{Trimmed, covered, removable};
pub use verify::{Finding, Verdict, Verified, verify};
pub use view::{DirView, SegmentInfo};
