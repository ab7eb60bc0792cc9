//! Records that become durable together.

use crate::format::Position;

/// Room in a buffer beyond the backlog bound: the last accepted record may pass the bound by this
/// much before the buffer has to grow.
const BUFFER_SLACK_BYTES: usize = 64 << 10;
/// Segment changes a batch can hold before its list has to grow.
const ROLLS_RESERVED: usize = 64;

/// Records that become durable together, as they will lie in the file.
pub(crate) struct Batch {
    pub(crate) bytes: Vec<u8>,
    /// Offset in the segment's file of the first byte.
    pub(crate) file_offset: u64,
    /// Offsets in `bytes` at which the next segment begins.
    pub(crate) rolls: Vec<usize>,
    /// Position behind the last record.
    pub(crate) end: Position,
}

impl Batch {
    /// An empty batch whose memory is already touched: a first touch in `append` would be a page fault.
    pub(crate) fn new(backlog_bytes: usize) -> Self {
        let mut bytes = Vec::with_capacity(backlog_bytes + BUFFER_SLACK_BYTES);
        bytes.resize(bytes.capacity(), u8::MAX);
        bytes.clear();
        Batch { bytes, file_offset: 0, rolls: Vec::with_capacity(ROLLS_RESERVED), end: 0 }
    }

    /// Empties it; its memory stays.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.rolls.clear();
    }

    /// Where the part ends that goes into one segment, after `rolls` changes of segment.
    pub(crate) fn part_end(&self, rolls: usize) -> usize {
        self.rolls.get(rolls).copied().unwrap_or(self.bytes.len())
    }
}
