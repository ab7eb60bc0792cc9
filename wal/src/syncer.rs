//! The thread that makes batches durable, one at a time.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use crate::format::{Position, SEGMENT_HEADER_BYTES};
use crate::segment::{SegmentWriter, Sink};
use crate::shared::{PanicGuard, Shared};

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

/// The syncer's ends of its channels.
pub(crate) struct Syncer {
    pub(crate) shared: Arc<Shared>,
    pub(crate) sink: Sink,
    pub(crate) work: Receiver<Batch>,
    pub(crate) done: SyncSender<Batch>,
    pub(crate) ready: Receiver<SegmentWriter>,
}

impl Syncer {
    /// Runs until the appender is gone or a write fails.
    pub(crate) fn run(mut self) {
        let shared = self.shared.clone();
        let _guard = PanicGuard(&shared);
        while let Ok(batch) = self.work.recv() {
            if let Err(error) = self.write(&batch) {
                return shared.poison(&format!("a commit failed: {error}"));
            }
            // In this order: who is woken finds the position moved and the buffer back.
            shared.publish_durable(batch.end);
            let _ = self.done.send(batch);
            shared.wake();
        }
        if !shared.is_poisoned() {
            self.ready.try_iter().for_each(SegmentWriter::discard);
        }
    }

    /// Writes segment by segment. The part in one is durable before the next is touched: recovery
    /// takes a written successor as proof that the segment before was whole.
    fn write(&mut self, batch: &Batch) -> io::Result<()> {
        let (mut from, mut offset) = (0, batch.file_offset);
        for &roll in &batch.rolls {
            self.write_part(offset, &batch.bytes[from..roll])?;
            let next = self.ready.recv().map_err(|_| io::Error::other("no segment was prepared"))?;
            self.sink.roll(next)?;
            (from, offset) = (roll, SEGMENT_HEADER_BYTES);
        }
        self.write_part(offset, &batch.bytes[from..])
    }

    fn write_part(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() { Ok(()) } else { self.sink.write(offset, bytes) }
    }
}
