//! Options of a stream.

use crate::error::WalError;
use crate::format::{PAYLOAD_BYTES_MAX, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, record_bytes};

/// How a commit becomes durable.
///
/// Measured by `examples/commit_cost.rs` on ext4, 2 busy cores, medians of 5 rounds, median commit:
/// 4 KiB 117 µs direct, 179 µs mapped; 64 KiB 195 and 330 µs; 1 MiB 3.0 ms both; the 99th
/// percentiles alike. Hence the default.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// Copy into the mapped segment, then `fdatasync`.
    Mapped,
    /// Write aligned blocks with `O_DIRECT | O_DSYNC`; the open block is written again each time.
    /// Falls back to [`Durability::Mapped`] where the filesystem refuses. Readers still map the file.
    #[default]
    Direct,
    /// Copy into the mapped segment, never sync. Survives a killed process, not a lost machine.
    /// For measurements only.
    Memory,
}

/// Who writes a commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Carrier {
    /// A thread of the stream, woken for each commit; it wakes in turn when the commit is durable.
    #[default]
    Thread,
    /// The caller, by [`crate::Appender::next_write`] and [`crate::Appender::written`]: no thread is
    /// woken. Only [`Durability::Direct`] can; where it was not asked for or is refused, it is the thread.
    Caller,
}

/// Who makes segments ahead of need.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Preparer {
    /// A thread of the stream.
    #[default]
    Thread,
    /// The caller, whenever it commits or asks for space again: it waits for the disk meanwhile. For a
    /// simulation, where nothing may happen on a thread of its own.
    Caller,
}

/// Options of one stream; see [`crate::DataDir::open_stream`].
#[derive(Debug, Clone)]
pub struct LogOptions {
    /// Size of a segment file. A multiple of 4096.
    pub segment_bytes: u64,
    /// Longest payload; a segment must be able to hold it. At most [`PAYLOAD_BYTES_MAX`].
    pub max_payload_bytes: usize,
    /// Bytes that may wait to be durable before an append is refused. The last append may pass it.
    pub backlog_bytes: usize,
    /// Segments kept ready ahead of the one in use; at least 1.
    pub ready_ahead: usize,
    /// How a commit becomes durable.
    pub durability: Durability,
    /// Who writes a commit.
    pub carrier: Carrier,
    /// Who makes segments ahead of need.
    pub preparer: Preparer,
}

impl Default for LogOptions {
    fn default() -> Self {
        LogOptions {
            segment_bytes: 64 << 20,
            max_payload_bytes: PAYLOAD_BYTES_MAX,
            backlog_bytes: 8 << 20,
            ready_ahead: 2,
            durability: Durability::default(),
            carrier: Carrier::default(),
            preparer: Preparer::default(),
        }
    }
}

impl LogOptions {
    /// Small segments, payloads and buffers: for tests.
    pub fn small() -> Self {
        LogOptions {
            segment_bytes: 64 << 10,
            max_payload_bytes: 16 << 10,
            backlog_bytes: 128 << 10,
            ..LogOptions::default()
        }
    }

    /// Bytes of a segment that records may use. One header stays free for the record that seals it.
    pub(crate) fn capacity(&self) -> u64 {
        self.segment_bytes - SEGMENT_HEADER_BYTES - RECORD_HEADER_BYTES as u64
    }

    pub(crate) fn check(&self) -> Result<(), WalError> {
        let bad = |option, value, why: String| Err(WalError::BadOption { option, value, why });
        if self.max_payload_bytes == 0 || self.max_payload_bytes > PAYLOAD_BYTES_MAX {
            let why = format!("choose 1 to {PAYLOAD_BYTES_MAX} bytes");
            return bad("max_payload_bytes", self.max_payload_bytes as u64, why);
        }
        let least =
            SEGMENT_HEADER_BYTES + (RECORD_HEADER_BYTES + record_bytes(self.max_payload_bytes)) as u64;
        let least = least.next_multiple_of(SEGMENT_HEADER_BYTES);
        if self.segment_bytes < least
            || self.segment_bytes > u64::from(u32::MAX)
            || !self.segment_bytes.is_multiple_of(SEGMENT_HEADER_BYTES)
        {
            let why = format!(
                "with max_payload_bytes = {} choose at least {least}, below 4 GiB, a multiple of 4096",
                self.max_payload_bytes
            );
            return bad("segment_bytes", self.segment_bytes, why);
        }
        if self.ready_ahead == 0 {
            return bad("ready_ahead", 0, "choose at least 1".into());
        }
        if self.backlog_bytes < RECORD_HEADER_BYTES || self.backlog_bytes > 1 << 30 {
            return bad("backlog_bytes", self.backlog_bytes as u64, "choose 40 bytes to 1 GiB".into());
        }
        Ok(())
    }
}
