//! Reads segments back, in place, and tells an end from a tear and a tear from damage.
//!
//! What stops the iteration at an offset is one of four things:
//! - a seal: the segment is full, the next one goes on;
//! - nothing but zeros: never written;
//! - a torn batch: it was being written when the machine or process died, nobody was told of it;
//! - damage: it was durable once. Refused, never skipped.
//!
//! A batch is written only after the one before it is durable, and each record says where its batch
//! began. So a good record behind the bad place, of a batch that began behind it too, proves that the
//! bad place was durable: damage. A good record of the same batch proves nothing, a disk writes
//! sectors in any order; then the bad place is a tear only if a whole sector of it is missing (still
//! zero), otherwise something changed it.

use frontrow_plant::{Bug, planted};
use std::path::Path;

use memmap2::{Advice, Mmap, MmapOptions};

use crate::error::WalError;
use crate::format::{
    CrcSeed, KIND_SEAL, PAYLOAD_BYTES_MAX, Position, RECORD_ALIGN, RECORD_HEADER_BYTES, RECORD_LEN_AT,
    RECORD_VERSION, RecordHeader, SECTOR_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader, bytes_at, checksum,
    record_bytes, write_header,
};
use crate::regular;
use crate::view::{SegmentInfo, Successor};

/// Offset of a segment's first record.
const FIRST: usize = SEGMENT_HEADER_BYTES as usize;

/// One record, its payload in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// The caller's partition.
    pub partition: u16,
    /// The epoch it was written in.
    pub epoch: u32,
    /// The caller's log sequence number.
    pub lsn: u64,
    /// The caller's time, in milliseconds.
    pub time_ms: u64,
    /// The caller's kind.
    pub kind: u8,
    /// Version of the record header.
    pub version: u8,
    /// The caller's bytes; starts at a multiple of [`RECORD_ALIGN`] in memory.
    pub payload: &'a [u8],
    /// The position behind it, as its append returned it.
    pub position: Position,
}

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    /// Full; the next segment goes on.
    Sealed,
    /// Behind the last record everything was never written.
    Clean,
    /// A batch that never became durable was cut.
    Torn {
        /// Where in the file the first unreadable record begins, in bytes.
        offset: u64,
        /// Length in bytes up to the last one written.
        bytes: u64,
    },
}

/// A mapped segment.
#[derive(Debug)]
pub struct Segment {
    info: SegmentInfo,
    map: Mmap,
}

impl Segment {
    /// Maps a segment for reading, to which somebody may be writing.
    pub fn open(info: &SegmentInfo) -> Result<Self, WalError> {
        let segment = Self::map(info)?;
        // Hints only: read ahead, from front to back. Not where somebody still writes: every page that is in
        // memory ahead of a direct write costs that write the time to throw it out.
        if info.is_closed() {
            let _ = segment.map.advise(Advice::Sequential);
            let _ = segment.map.advise(Advice::WillNeed);
        } else {
            let _ = segment.map.advise(Advice::Random);
        }
        Ok(segment)
    }

    /// The same while nobody writes, as at a start. The last segment of a log whose process was killed is not closed: page by
    /// page it would take a disk that is not local many times as long. Nothing is asked for far behind the records: whoever
    /// goes on with this very segment would have to throw it out.
    pub fn open_at_rest(info: &SegmentInfo) -> Result<Self, WalError> {
        if info.is_closed() {
            return Self::open(info);
        }
        let segment = Self::map(info)?;
        let _ = segment.map.advise(Advice::Sequential);
        Ok(segment)
    }

    fn map(info: &SegmentInfo) -> Result<Self, WalError> {
        let path = info.path();
        let file = regular::open(path).map_err(WalError::io("cannot open", path))?;
        let len = file.metadata().map_err(WalError::io("cannot stat", path))?.len();
        if len != info.segment_bytes() {
            let why = "the file's length is not the one in its header";
            return Err(WalError::Corrupt { file: path.into(), offset: len.min(info.segment_bytes()), why });
        }
        // SAFETY: a segment keeps its length from its making on, and the directory's lock keeps other
        // logs out. A foreign program that truncates it would cause SIGBUS.
        let map = unsafe { MmapOptions::new().len(len as usize).map(&file) };
        let map = map.map_err(WalError::io("cannot map", path))?;
        Ok(Segment { info: info.clone(), map })
    }

    /// What is known of it without reading records.
    pub fn info(&self) -> &SegmentInfo {
        &self.info
    }

    /// Its records from the first.
    pub fn records(&self) -> Records<'_> {
        self.records_until(Position::MAX)
    }

    /// Its records from the first, none that begins at or behind `end`. For a segment being written: up to
    /// the durable position everything is there, and nothing behind it is looked at or judged.
    pub fn records_until(&self, end: Position) -> Records<'_> {
        let records = Records::new(&self.map, self.info.header, self.info.successor, self.info.path());
        Records { end, ..records }
    }

    /// As [`Segment::records_until`], only those of partitions that `wanted` has at their index. Others are
    /// stepped over without reading them: their checksums are not looked at.
    pub fn records_of<'a>(&'a self, wanted: &'a [bool], end: Position) -> Records<'a> {
        Records { only: Some(wanted), ..self.records_until(end) }
    }

    /// Reads all records in turn; then tells how the segment ended.
    pub fn for_each(&self, mut each: impl FnMut(Record<'_>)) -> Result<Tail, WalError> {
        let mut records = self.records();
        for record in &mut records {
            each(record?);
        }
        Ok(records.tail().unwrap_or(Tail::Clean))
    }
}

/// The records of one segment, in order. Ends after the first error.
#[derive(Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    header: SegmentHeader,
    seed: CrcSeed,
    successor: Successor,
    path: &'a Path,
    at: usize,
    /// No record from here on is read.
    end: Position,
    /// By partition, whether its records are read; `None` reads all.
    only: Option<&'a [bool]>,
    tail: Option<Tail>,
    failed: bool,
}

/// A record whose checksum is good.
struct Found<'a> {
    header: RecordHeader,
    payload: &'a [u8],
    end: usize,
}

impl<'a> Records<'a> {
    /// `bytes` is the whole segment, its own header included.
    pub(crate) fn new(bytes: &'a [u8], header: SegmentHeader, successor: Successor, path: &'a Path) -> Self {
        let seed = header.seed();
        let end = Position::MAX;
        Records {
            bytes,
            header,
            seed,
            successor,
            path,
            at: FIRST,
            end,
            only: None,
            tail: None,
            failed: false,
        }
    }

    /// How the segment ended, once the iterator has.
    pub fn tail(&self) -> Option<Tail> {
        self.tail
    }

    fn position_at(&self, offset: usize) -> Position {
        self.header.first_position.wrapping_add((offset - FIRST) as u64)
    }

    /// What has the form of a record at `offset`. Lengths are checked before they are used.
    #[inline]
    fn frame(&self, offset: usize) -> Option<(RecordHeader, &'a [u8])> {
        let rest = self.bytes.get(offset..)?;
        let header = RecordHeader::decode(rest.first_chunk()?);
        let len = header.len as usize;
        let mark = self.seed.mark(self.position_at(offset));
        if header.mark != mark || header.epoch != self.header.epoch || len > PAYLOAD_BYTES_MAX {
            return None;
        }
        Some((header, rest.get(..record_bytes(len))?))
    }

    /// The record at `offset`, if a good one is there.
    #[inline]
    fn read(&self, offset: usize) -> Option<Found<'a>> {
        let (header, whole) = self.frame(offset)?;
        let good = u32::from_le_bytes(bytes_at(whole, 0)) == checksum(header.mark, whole);
        if !good && !planted(Bug::ChecksumSkipped) {
            return None;
        }
        let payload = &whole[RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + header.len as usize];
        Some(Found { header, payload, end: offset + whole.len() })
    }

    /// Goes on to the next record that is wanted, or to what is no record.
    fn skip_unwanted(&mut self, wanted: &[bool]) {
        while self.position_at(self.at) < self.end
            && let Some((header, whole)) = self.frame(self.at)
            && header.kind != KIND_SEAL
            && !wanted.get(usize::from(header.partition)).copied().unwrap_or(true)
        {
            self.at += whole.len();
        }
    }

    /// The first good record at or behind `from`, and its offset.
    fn scan(&self, from: usize) -> Option<(usize, Found<'a>)> {
        (from..self.bytes.len()).step_by(RECORD_ALIGN).find_map(|offset| Some((offset, self.read(offset)?)))
    }

    fn corrupt(&self, why: &'static str) -> WalError {
        WalError::Corrupt { file: self.path.into(), offset: self.at as u64, why }
    }

    /// A seal is written only when the next segment is there, so its absence is a loss.
    #[cold]
    fn missing_successor(&self) -> WalError {
        let next = SegmentHeader { number: self.header.number.saturating_add(1), ..self.header };
        WalError::SegmentMissing { path: self.path.with_file_name(next.file_name()) }
    }

    /// Decides what stands at `self.at`, where no good record is.
    #[cold]
    fn judge(&self) -> Result<Tail, WalError> {
        if self.successor == Successor::Written {
            return Err(self.corrupt("the next segment was written, so this one was whole once"));
        }
        let mut next = self.scan(self.at + RECORD_ALIGN);
        let first = next.as_ref().map(|(offset, found)| (*offset, found.header.batch_offset));
        while let Some((offset, found)) = next {
            if batch_start(offset, found.header.batch_offset) > self.at {
                return Err(self.corrupt("records of later commits follow, so it was durable once"));
            }
            next = self.scan(found.end);
        }
        if let Some((offset, batch_offset)) = first
            && !self.lacks_sector(self.at..offset, batch_start(offset, batch_offset))
        {
            return Err(self.corrupt("it was written whole and has changed since"));
        }
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let written = last_written(rest);
        Ok(written.map_or(Tail::Clean, |last| Tail::Torn { offset: self.at as u64, bytes: last as u64 + 1 }))
    }

    /// True if some sector that `gap` touches is still zero from the batch's start on.
    fn lacks_sector(&self, gap: std::ops::Range<usize>, batch_start: usize) -> bool {
        let first = gap.start - gap.start % SECTOR_BYTES;
        (first..gap.end).step_by(SECTOR_BYTES).any(|sector| {
            let end = (sector + SECTOR_BYTES).min(self.bytes.len());
            self.bytes[sector.max(batch_start)..end].iter().all(|&byte| byte == 0)
        })
    }
}

/// Index of the last byte that is not zero. By blocks: a tail may be tens of megabytes.
fn last_written(bytes: &[u8]) -> Option<usize> {
    let blocks = bytes.chunks(SECTOR_BYTES).enumerate().rev();
    let mut written = blocks.filter(|(_, block)| block.iter().fold(0, |all, byte| all | byte) != 0);
    let (index, block) = written.next()?;
    Some(index * SECTOR_BYTES + block.iter().rposition(|&byte| byte != 0)?)
}

/// Where in the segment the batch of the record at `offset` begins; a batch may have begun in the
/// segment before.
fn batch_start(offset: usize, batch_offset: u32) -> usize {
    offset.saturating_sub(batch_offset as usize).max(FIRST)
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, WalError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.tail.is_some() {
            return None;
        }
        if let Some(wanted) = self.only {
            self.skip_unwanted(wanted);
        }
        if self.position_at(self.at) >= self.end {
            return None;
        }
        let Some(Found { header, payload, end }) = self.read(self.at) else {
            match self.judge() {
                Ok(tail) => self.tail = Some(tail),
                Err(error) => {
                    self.failed = true;
                    return Some(Err(error));
                }
            }
            return None;
        };
        if header.version != RECORD_VERSION {
            self.failed = true;
            return Some(Err(WalError::RecordVersion {
                file: self.path.into(),
                offset: self.at as u64,
                found: header.version,
                expected: RECORD_VERSION,
            }));
        }
        if header.kind == KIND_SEAL {
            if self.successor == Successor::Missing {
                self.failed = true;
                return Some(Err(self.missing_successor()));
            }
            self.tail = Some(Tail::Sealed);
            return None;
        }
        if planted(Bug::LastRecordDropped) && self.frame(end).is_none() {
            self.tail = Some(Tail::Clean);
            return None;
        }
        self.at = end;
        Some(Ok(Record {
            partition: header.partition,
            epoch: header.epoch,
            lsn: header.lsn,
            time_ms: header.time_ms,
            kind: header.kind,
            version: header.version,
            payload,
            position: self.position_at(end),
        }))
    }
}

/// Feeds arbitrary bytes to the reader as a segment: as they are, and with checksums made good so
/// that a fuzzer gets past them. Never panics.
pub fn fuzz_decode(data: &[u8]) {
    let header = SegmentHeader::decode(data).unwrap_or(SegmentHeader {
        stream: 0,
        epoch: 1,
        number: 0,
        cluster: 0,
        first_position: 0,
        segment_bytes: data.len() as u64,
    });
    let drain = |bytes: &[u8], successor| {
        let mut records = Records::new(bytes, header, successor, Path::new("fuzz"));
        let read = (&mut records).take_while(Result::is_ok).count();
        assert!(read <= bytes.len() / RECORD_HEADER_BYTES, "more records than fit");
    };
    drain(data, Successor::Missing);
    drain(data, Successor::Written);
    let mut framed = vec![0; FIRST];
    framed.extend_from_slice(data);
    drain(&framed, Successor::Unwritten);
    make_checksums_good(&mut framed, header);
    drain(&framed, Successor::Unwritten);
}

/// Follows the lengths as a reader would and writes a good epoch and checksum at each record.
fn make_checksums_good(bytes: &mut [u8], header: SegmentHeader) {
    let mut at = FIRST;
    while let Some(rest) = bytes.get_mut(at..).filter(|rest| rest.len() >= RECORD_HEADER_BYTES) {
        let len = record_bytes(u32::from_le_bytes(bytes_at(rest, RECORD_LEN_AT)) as usize);
        let Some(record) = rest.get_mut(..len) else { return };
        // Every fourth stays bad, so that the judging of gaps is reached too.
        if record[32] % 4 != 3 {
            let mut fields = RecordHeader::decode(&bytes_at(record, 0));
            fields.epoch = header.epoch;
            fields.mark = header.seed().mark(header.first_position.wrapping_add((at - FIRST) as u64));
            write_header(record, &fields);
        }
        at += len;
    }
}
