//! Which records of which partition a segment holds: found by reading it once, kept while it exists.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::WalError;
use crate::reader::{Segment, Tail};
use crate::view::SegmentInfo;

/// One partition's records in a segment, or in a whole log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PartitionSpan {
    /// The caller's partition.
    pub partition: u16,
    /// The first record's LSN.
    pub first: u64,
    /// The last record's LSN.
    pub last: u64,
    /// Records in between, both included.
    pub records: u64,
}

/// What is in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentIndex {
    /// Its records, the seal not among them.
    pub records: u64,
    /// Bytes of them, with headers and padding.
    pub bytes: u64,
    /// By partition, in their order.
    pub partitions: Vec<PartitionSpan>,
    /// How it ends.
    pub tail: Tail,
}

impl SegmentIndex {
    /// Reads and checks a whole segment.
    pub fn scan(segment: &Segment) -> Result<Self, WalError> {
        let mut spans = Spans::default();
        let (mut records, mut end) = (0, segment.info().first_position());
        let first = end;
        let tail = segment.for_each(|record| {
            spans.add(record.partition, record.lsn);
            records += 1;
            end = record.position;
        })?;
        Ok(SegmentIndex { records, bytes: end - first, partitions: spans.into_sorted(), tail })
    }

    /// True if every record here is covered: of each partition, none is behind the LSN that `covered` has
    /// at its index.
    pub(crate) fn is_covered(&self, covered: &[u64]) -> bool {
        self.partitions
            .iter()
            .all(|span| covered.get(usize::from(span.partition)).is_some_and(|lsn| span.last <= *lsn))
    }
}

/// Collects spans. Records of one partition mostly come in a row.
#[derive(Default)]
struct Spans {
    found: HashMap<u16, PartitionSpan>,
}

impl Spans {
    fn add(&mut self, partition: u16, lsn: u64) {
        let one = PartitionSpan { partition, first: lsn, last: lsn, records: 0 };
        let span = self.found.entry(partition).or_insert(one);
        span.first = span.first.min(lsn);
        span.last = span.last.max(lsn);
        span.records += 1;
    }

    fn into_sorted(self) -> Vec<PartitionSpan> {
        let mut spans: Vec<_> = self.found.into_values().collect();
        spans.sort_by_key(|span| span.partition);
        spans
    }
}

/// The indexes of segments that do not change any more.
#[derive(Debug, Default)]
pub struct LogIndex {
    known: HashMap<(u16, u32, u32), Arc<SegmentIndex>>,
}

impl LogIndex {
    /// A segment's index: from memory, or by reading it. It must be closed
    /// ([`SegmentInfo::is_closed`]), else what was found may not be all.
    pub fn of(&mut self, info: &SegmentInfo) -> Result<Arc<SegmentIndex>, WalError> {
        let key = (info.stream(), info.epoch(), info.number());
        if let Some(index) = self.known.get(&key) {
            return Ok(index.clone());
        }
        let index = Arc::new(SegmentIndex::scan(&Segment::open(info)?)?);
        if info.is_closed() {
            self.known.insert(key, index.clone());
        }
        Ok(index)
    }

    /// Takes an index over that was made elsewhere, as by recovery on several threads.
    pub fn insert(&mut self, info: &SegmentInfo, index: Arc<SegmentIndex>) {
        if info.is_closed() {
            self.known.insert((info.stream(), info.epoch(), info.number()), index);
        }
    }

    /// Forgets segments that are gone.
    pub(crate) fn retain(&mut self, exists: impl Fn(u16, (u32, u32)) -> bool) {
        self.known.retain(|&(stream, epoch, number), _| exists(stream, (epoch, number)));
    }
}

/// By partition, what a list of segments holds of it. Indexed by partition number.
pub fn spans<'a>(
    partitions: u16,
    indexes: impl Iterator<Item = &'a SegmentIndex>,
) -> Vec<Option<PartitionSpan>> {
    let mut all: Vec<Option<PartitionSpan>> = vec![None; usize::from(partitions)];
    for span in indexes.flat_map(|index| &index.partitions) {
        let Some(slot) = all.get_mut(usize::from(span.partition)) else { continue };
        *slot = Some(slot.map_or(*span, |so_far| PartitionSpan {
            partition: span.partition,
            first: so_far.first.min(span.first),
            last: so_far.last.max(span.last),
            records: so_far.records + span.records,
        }));
    }
    all
}
