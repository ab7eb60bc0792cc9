//! A batch as block-aligned writes: which bytes to write next, and where. No I/O: the syncer thread or
//! the caller carries the writes out and says when one is durable.

use frontrow_plant::{Bug, planted};
use std::ops::Range;

use crate::batch::Batch;
use crate::format::SEGMENT_HEADER_BYTES;

/// Most bytes of one direct write. Each write waits for the disk: a batch that needs two takes twice
/// as long. Only what is used is ever touched.
const STAGING_BYTES: usize = 4 << 20;
/// Alignment of `O_DIRECT` in memory and file; covers sectors of 512 and of 4096.
pub(crate) const BLOCK: usize = 4096;

/// What a batch needs next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Write `range` of the staging buffer at `offset` of the file, then say [`Plan::written`].
    Write { range: Range<usize>, offset: u64 },
    /// Go on in the next segment, then say [`Plan::rolled`].
    Roll,
    /// Nothing: all of it is durable.
    Done,
}

/// Takes batches through the staging buffer, segment by segment. The part in one is durable before the
/// next is touched: recovery takes a written successor as proof that the segment before was whole.
pub(crate) struct Plan {
    /// Bytes at the front of the staging that repeat the last, partly filled block of the file.
    open: usize,
    /// Where that block begins in the file.
    block_at: u64,
    /// Bytes of the batch that are durable.
    done: usize,
    /// Segment changes of the batch that are behind us.
    rolls: usize,
    /// Bytes of the batch in the staging that are not known to be durable.
    staged: usize,
}

impl Plan {
    /// For a segment into which nothing was written yet.
    pub(crate) fn new() -> Self {
        Plan { open: 0, block_at: SEGMENT_HEADER_BYTES, done: 0, rolls: 0, staged: 0 }
    }

    /// Begins a batch. It lies right behind the last one.
    pub(crate) fn begin(&mut self, batch: &Batch) {
        debug_assert_eq!(
            self.block_at + self.open as u64,
            batch.file_offset,
            "a batch must continue the last"
        );
        (self.done, self.rolls, self.staged) = (0, 0, 0);
    }

    /// Stages what is next. Not to be called while a write is under way.
    pub(crate) fn step(&mut self, batch: &Batch, staging: &mut Staging) -> Step {
        let end = batch.part_end(self.rolls);
        if self.done < end {
            let n = (end - self.done).min(STAGING_BYTES - self.open);
            self.staged = n;
            let range = staging.fill(self.open, &batch.bytes[self.done..self.done + n]);
            return Step::Write { range, offset: self.block_at };
        }
        if self.rolls < batch.rolls.len() { Step::Roll } else { Step::Done }
    }

    /// The write that was staged last is durable.
    pub(crate) fn written(&mut self, staging: &mut Staging) {
        let end = self.open + self.staged;
        let whole = end - end % BLOCK;
        staging.keep(whole..end);
        self.open = end - whole;
        self.block_at += whole as u64;
        self.done += std::mem::take(&mut self.staged);
    }

    /// Whether all of the batch is durable.
    pub(crate) fn is_done(&self, batch: &Batch) -> bool {
        self.done == batch.bytes.len() && self.rolls == batch.rolls.len()
    }

    /// The next segment is in use.
    pub(crate) fn rolled(&mut self) {
        (self.open, self.block_at) = (0, SEGMENT_HEADER_BYTES);
        self.rolls += 1;
    }
}

/// Memory that direct writes go out from.
pub(crate) struct Staging {
    /// A plain vector, so that it can be lent to any runtime; its aligned part begins at `start`.
    bytes: Vec<u8>,
    start: usize,
}

impl Staging {
    pub(crate) fn new() -> Self {
        // Comes as untouched zero pages, not as memory that is cleared here.
        let bytes = vec![0; STAGING_BYTES + BLOCK];
        let start = bytes.as_ptr().align_offset(BLOCK);
        Staging { bytes, start }
    }

    /// One aligned block of whatever is there.
    pub(crate) fn block(&self) -> &[u8] {
        self.part(self.start..self.start + BLOCK)
    }

    pub(crate) fn part(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[range]
    }

    /// Puts `bytes` behind the first `open`, and zeros up to a whole block; returns what is to be written.
    fn fill(&mut self, open: usize, bytes: &[u8]) -> Range<usize> {
        let (from, end) = (self.start + open, self.start + open + bytes.len());
        self.bytes[from..end].copy_from_slice(bytes);
        let padded = self.start + (open + bytes.len()).next_multiple_of(BLOCK);
        self.bytes[end..padded].fill(0);
        self.start..padded
    }

    /// Moves the open block to the front.
    fn keep(&mut self, open: Range<usize>) {
        if planted(Bug::OpenBlockLost) {
            let (from, to) = (self.start, self.start + open.len());
            return self.bytes[from..to].fill(0);
        }
        self.bytes.copy_within(self.start + open.start..self.start + open.end, self.start);
    }

    /// Lends the memory to whoever carries a write out. The bytes stay where they are in memory.
    pub(crate) fn lend(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.bytes)
    }

    /// Takes it back. `false` if it is not the memory that was lent.
    pub(crate) fn take_back(&mut self, bytes: Vec<u8>) -> bool {
        let same = bytes.len() == STAGING_BYTES + BLOCK && bytes.as_ptr().align_offset(BLOCK) == self.start;
        self.bytes = bytes;
        same
    }

    /// Whether it is lent.
    pub(crate) fn is_lent(&self) -> bool {
        self.bytes.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Carries a batch out on a file in memory; each write as (offset, length).
    fn carry(
        plan: &mut Plan,
        staging: &mut Staging,
        batch: &Batch,
        files: &mut Vec<Vec<u8>>,
    ) -> Vec<(u64, usize)> {
        let mut writes = Vec::new();
        plan.begin(batch);
        loop {
            match plan.step(batch, staging) {
                Step::Write { range, offset } => {
                    let bytes = staging.part(range);
                    assert_eq!((bytes.as_ptr().align_offset(BLOCK), bytes.len() % BLOCK), (0, 0));
                    assert!(offset.is_multiple_of(BLOCK as u64));
                    let file = files.last_mut().unwrap();
                    let end = offset as usize + bytes.len();
                    file.resize(file.len().max(end), 0);
                    file[offset as usize..end].copy_from_slice(bytes);
                    writes.push((offset, bytes.len()));
                    plan.written(staging);
                }
                Step::Roll => {
                    files.push(Vec::new());
                    plan.rolled();
                }
                Step::Done => return writes,
            }
        }
    }

    fn batch(at: u64, len: usize, rolls: &[usize]) -> Batch {
        let bytes = (0..len).map(|i| (at as usize + i) as u8 | 1).collect();
        Batch { bytes, file_offset: at, rolls: rolls.to_vec(), end: 0 }
    }

    #[test]
    fn batches_follow_each_other_and_the_open_block_is_written_again() {
        let (mut plan, mut staging, mut files) = (Plan::new(), Staging::new(), vec![Vec::new()]);
        let (first, second, third) = (batch(4096, 100, &[]), batch(4196, 8000, &[]), batch(12_196, 92, &[]));
        assert_eq!(carry(&mut plan, &mut staging, &first, &mut files), [(4096, 4096)]);
        assert_eq!(carry(&mut plan, &mut staging, &second, &mut files), [(4096, 8192)]);
        assert_eq!(carry(&mut plan, &mut staging, &third, &mut files), [(8192, 4096)]);
        let whole = [first.bytes, second.bytes, third.bytes].concat();
        assert_eq!(files[0][4096..4096 + whole.len()], whole);
        assert_eq!(whole.len(), 8192, "and the block that has just become full is not written again");
        let fourth = batch(12_288, 1, &[]);
        assert_eq!(carry(&mut plan, &mut staging, &fourth, &mut files), [(12_288, 4096)]);
    }

    #[test]
    fn a_batch_longer_than_the_staging_takes_several_writes() {
        let (mut plan, mut staging, mut files) = (Plan::new(), Staging::new(), vec![Vec::new()]);
        carry(&mut plan, &mut staging, &batch(4096, 10, &[]), &mut files);
        let long = batch(4106, STAGING_BYTES + 1, &[]);
        let writes = carry(&mut plan, &mut staging, &long, &mut files);
        assert_eq!(writes, [(4096, STAGING_BYTES), (4096 + STAGING_BYTES as u64, 4096)]);
        assert_eq!(files[0][4106..4106 + long.bytes.len()], long.bytes);
    }

    #[test]
    fn each_segment_begins_at_its_first_block_even_without_bytes_before_the_change() {
        let (mut plan, mut staging, mut files) = (Plan::new(), Staging::new(), vec![Vec::new()]);
        let crossing = batch(4096, 300, &[0, 100, 100]);
        assert_eq!(carry(&mut plan, &mut staging, &crossing, &mut files), [(4096, 4096), (4096, 4096)]);
        assert_eq!(files.len(), 4);
        assert!(files[0].is_empty() && files[2].is_empty());
        assert_eq!(
            (&files[1][4096..4196], &files[3][4096..4296]),
            (&crossing.bytes[..100], &crossing.bytes[100..])
        );
    }

    #[test]
    fn other_memory_than_was_lent_is_noticed() {
        let mut staging = Staging::new();
        let lent = staging.lend();
        assert!(staging.is_lent());
        assert!(!staging.take_back(vec![0; 10]));
        assert!(staging.take_back(lent));
    }
}
