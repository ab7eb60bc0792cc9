//! What a stream has on disk, from any position on, in pieces of whole records.
//!
//! Files are read, not mapped: the last segment is written past the page cache meanwhile, and pages that somebody has
//! mapped would have to be taken from him at every commit. Up to the durable position everything is there; behind
//! it nothing is looked at. Nothing is read ahead of it either, and the page it lies in is not kept: a direct write that
//! finds a page in memory has to throw it out, for which io_uring hands it to a thread of the kernel.
//! Every record is checked once more before it is passed on.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::error::StreamError;
use super::frame::SegmentStart;
use super::receiver::record_at;
use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::{
    CrcSeed, KIND_SEAL, Position, RECORD_HEADER_BYTES, RecordHeader, SEGMENT_HEADER_BYTES, SegmentHeader,
    file_name, parse_file_name, record_bytes,
};
use crate::fs::{forget_last_page, read_meanwhile, read_only_as_asked};
use crate::history::{EpochEntry, History};
use crate::mark::TrimMark;
use crate::reader::Record;
use crate::regular;

/// Bytes read at a time; a longer record is read whole.
const PIECE_BYTES: usize = 1 << 20;

/// What comes next in a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// What follows lies in this segment.
    Segment(SegmentStart),
    /// Whole records.
    Data {
        /// Their segment.
        segment: SegmentStart,
        /// Where in its file they begin.
        offset: u32,
        /// The records.
        bytes: &'a [u8],
    },
    /// Nothing more is durable yet.
    End,
}

/// Why a stream cannot be read from a position on.
#[derive(Debug, thiserror::Error)]
pub enum SeekError {
    /// It is not in the log any more.
    #[error("the log begins at epoch {first} by now")]
    Gone {
        /// The first epoch there is.
        first: u32,
    },
    /// No record begins there.
    #[error("no record begins at position {0}")]
    NoRecord(Position),
    /// The log.
    #[error(transparent)]
    Log(#[from] WalError),
}

/// Reads a stream from disk.
pub struct Source {
    dir: DataDir,
    stream: u16,
    history: History,
    at: Option<At>,
    /// Before the first segment: it is of a later epoch than this.
    after: u32,
    buffer: Vec<u8>,
}

struct At {
    start: SegmentStart,
    file: File,
    path: PathBuf,
    next: u64,
    sealed: bool,
    told: bool,
}

impl At {
    fn position(&self) -> Position {
        self.start.first_position + (self.next - SEGMENT_HEADER_BYTES)
    }
}

impl Source {
    /// A stream from where this log begins by now.
    pub fn from_start(dir: DataDir, stream: u16, history: History) -> Self {
        Source { dir, stream, history, at: None, after: 0, buffer: Vec::new() }
    }

    /// Stream `stream` of a primary whose history is `history`, from `position` of `epoch` on; from its first record if
    /// the epoch is 0.
    pub fn seek(
        dir: DataDir,
        stream: u16,
        history: History,
        (epoch, position): (u32, Position),
    ) -> Result<Self, SeekError> {
        let mut source = Source::from_start(dir, stream, history);
        let mark = source.dir.view().mark()?;
        if epoch == 0 {
            return match mark.streams().get(&stream) {
                Some(kept) => Err(SeekError::Gone { first: kept.epoch }),
                None => Ok(source),
            };
        }
        let names = source.names()?;
        let mut found = None;
        for &(_, number) in names.iter().filter(|(of, _)| *of == epoch) {
            let Some(at) = source.open(epoch, number)? else { continue };
            if at.start.first_position <= position {
                found = Some(at);
            } else {
                break;
            }
        }
        let Some(mut at) = found else {
            // All of the epoch is there already, and what comes next is here.
            if source.history.end(epoch, stream) == Some(position) && !source.is_gone_behind(&mark, epoch) {
                source.after = epoch;
                return Ok(source);
            }
            let first = mark.streams().get(&stream).map(|kept| kept.epoch);
            return Err(match first.filter(|_| position < mark.up_to(stream, epoch)) {
                Some(first) => SeekError::Gone { first },
                None => SeekError::NoRecord(position),
            });
        };
        source.walk_to(&mut at, position)?;
        source.at = Some(at);
        Ok(source)
    }

    /// Where the next piece begins; `None` before the first segment.
    pub fn place(&self) -> Option<(u32, Position)> {
        self.at.as_ref().map(|at| (at.start.epoch, at.position()))
    }

    /// Whether a batch that begins at `offset` of `segment` is what comes next. To be asked at the end only: then
    /// everything before the epoch of `segment` has come.
    pub fn ends_before(&self, segment: SegmentStart, offset: u32) -> bool {
        let first = u64::from(offset) == SEGMENT_HEADER_BYTES;
        match &self.at {
            Some(at) if at.start.epoch == segment.epoch => {
                (at.start == segment && at.next == u64::from(offset))
                    || (at.sealed && first && at.start.number + 1 == segment.number)
            }
            _ => first && segment.number == 0,
        }
    }

    /// What comes next. `have` is the place up to where the stream is durable: of earlier epochs all is, up to
    /// their ends.
    ///
    /// [`SeekError::Gone`] if the log was trimmed faster than it was read.
    pub fn next(&mut self, have: (u32, Position)) -> Result<Piece<'_>, SeekError> {
        loop {
            let Some(at) = &mut self.at else {
                let first = self.names()?.into_iter().find(|(epoch, _)| *epoch > self.after);
                let Some((epoch, number)) = first.filter(|(epoch, _)| *epoch <= have.0) else {
                    return Ok(Piece::End);
                };
                self.at = self.open(epoch, number)?;
                continue;
            };
            if !at.told {
                at.told = true;
                return Ok(Piece::Segment(at.start));
            }
            let (epoch, number, position, sealed) =
                (at.start.epoch, at.start.number, at.position(), at.sealed);
            let end = self.history.end(epoch, self.stream).unwrap_or(Position::MAX);
            let end = if epoch < have.0 { end } else { end.min(have.1) };
            if !sealed && position < end {
                return self.read(end);
            }
            let follows = if sealed { self.open(epoch, number + 1)? } else { None };
            if sealed && follows.is_none() {
                self.refuse_trimmed((epoch, number + 1))?;
            }
            let next = match follows.filter(|next| next.start.first_position < end) {
                None if epoch >= have.0 => None,
                None => self.next_epoch(epoch)?,
                next => next,
            };
            let Some(next) = next else { return Ok(Piece::End) };
            self.at = Some(next);
        }
    }

    /// The first segment of the next epoch that wrote anything in this stream.
    fn next_epoch(&self, epoch: u32) -> Result<Option<At>, SeekError> {
        let later = self.history.epochs.iter().filter(|entry| entry.epoch > epoch);
        for entry in later.filter(|entry| self.history.end(entry.epoch, self.stream) != Some(0)) {
            if let Some(at) = self.open(entry.epoch, 0)? {
                return Ok(Some(at));
            }
            self.refuse_trimmed((entry.epoch, 0))?;
        }
        Ok(None)
    }

    /// Whether the first that this stream wrote after an epoch was trimmed.
    fn is_gone_behind(&self, mark: &TrimMark, epoch: u32) -> bool {
        let wrote = |entry: &&EpochEntry| self.history.end(entry.epoch, self.stream) != Some(0);
        let next = self.history.epochs.iter().filter(|entry| entry.epoch > epoch).find(wrote);
        next.is_some_and(|next| mark.is_trimmed(self.stream, (next.epoch, 0)))
    }

    /// A segment that should be there is not: because it was trimmed?
    fn refuse_trimmed(&self, place: (u32, u32)) -> Result<(), SeekError> {
        let mark = self.dir.view().mark()?;
        match mark.streams().get(&self.stream) {
            Some(kept) if mark.is_trimmed(self.stream, place) => Err(SeekError::Gone { first: kept.epoch }),
            _ => Ok(()),
        }
    }

    /// Reads whole records up to `end`.
    fn read(&mut self, end: Position) -> Result<Piece<'_>, SeekError> {
        let place = self.at.as_ref().map_or((0, 0), |at| (at.start.epoch, at.start.number));
        match self.read_records(end) {
            Ok((segment, offset, used)) => Ok(Piece::Data { segment, offset, bytes: &self.buffer[..used] }),
            Err(damage) => {
                // A trimmed segment's file is written over as another.
                self.refuse_trimmed(place)?;
                Err(damage.into())
            }
        }
    }

    /// Fills the buffer with whole records: their segment, where they begin and how many bytes they are.
    fn read_records(&mut self, end: Position) -> Result<(SegmentStart, u32, usize), WalError> {
        let Some(at) = &mut self.at else { unreachable!("the caller has one") };
        let position = at.position();
        let left = (end - position).min(at.start.segment_bytes - at.next) as usize;
        let seed = CrcSeed::new(self.dir.cluster(), self.stream, at.start.epoch);
        let mut want = left.min(PIECE_BYTES);
        loop {
            self.buffer.resize(want, 0);
            at.file
                .read_exact_at(&mut self.buffer, at.next)
                .map_err(WalError::io("cannot read", &at.path))?;
            forget_last_page(&at.file, at.next + want as u64);
            let (mut used, mut fault) = (0, None);
            while used < want && !at.sealed {
                match record_at(seed, at.start.epoch, position + used as u64, &self.buffer[used..]) {
                    Ok((header, len)) => {
                        at.sealed = header.kind == KIND_SEAL;
                        used += len;
                    }
                    Err(error) => {
                        fault = Some(error);
                        break;
                    }
                }
            }
            if used > 0 {
                let (segment, offset) = (at.start, at.next as u32);
                at.next += used as u64;
                // These are checked and told first.
                let follows = (left - used).min(PIECE_BYTES);
                if !at.sealed && follows > PIECE_BYTES / 2 {
                    read_meanwhile(&at.file, at.next, follows as u64);
                }
                return Ok((segment, offset, used));
            }
            // Only a record longer than the piece: read it whole.
            if want < left {
                want = left.min(want * 4);
                continue;
            }
            let why = match fault {
                Some(StreamError::Damaged(why) | StreamError::Unexpected(why)) => why,
                _ => "a record is missing",
            };
            return Err(WalError::Corrupt { file: at.path.clone(), offset: at.next, why });
        }
    }

    /// Moves to a position in a segment, which must be between two records.
    fn walk_to(&self, at: &mut At, position: Position) -> Result<(), SeekError> {
        let seed = CrcSeed::new(self.dir.cluster(), self.stream, at.start.epoch);
        let end = SEGMENT_HEADER_BYTES + (position - at.start.first_position);
        if end > at.start.segment_bytes {
            return Err(SeekError::NoRecord(position));
        }
        let mut bytes = vec![0; end as usize];
        at.file.read_exact_at(&mut bytes, 0).map_err(WalError::io("cannot read", &at.path))?;
        while at.next < end {
            let rest = &bytes[at.next as usize..];
            let read = record_at(seed, at.start.epoch, at.position(), rest);
            let Ok((header, len)) = read else { return Err(SeekError::NoRecord(position)) };
            at.sealed = header.kind == KIND_SEAL;
            at.next += len as u64;
        }
        Ok(())
    }

    /// Epoch and number of the stream's segments that count, in order.
    fn names(&self) -> Result<Vec<(u32, u32)>, WalError> {
        let (log, mark) = (self.dir.log_path(), self.dir.view().mark()?);
        let mut names = Vec::new();
        for entry in std::fs::read_dir(log).map_err(WalError::io("cannot list", log))? {
            let name = entry.map_err(WalError::io("cannot list", log))?.file_name();
            if let Some((stream, epoch, number)) = name.to_str().and_then(parse_file_name)
                && stream == self.stream
                && self.history.end(epoch, stream) != Some(0)
                && !mark.is_trimmed(stream, (epoch, number))
            {
                names.push((epoch, number));
            }
        }
        names.sort_unstable();
        Ok(names)
    }

    /// Opens a segment at its first record; `None` if it is not there.
    fn open(&self, epoch: u32, number: u32) -> Result<Option<At>, WalError> {
        let path = self.dir.log_path().join(file_name(self.stream, epoch, number));
        let file = match regular::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WalError::io("cannot open", &path)(error)),
        };
        read_only_as_asked(&file);
        let mut page = vec![0; SEGMENT_HEADER_BYTES as usize];
        file.read_exact_at(&mut page, 0).map_err(WalError::io("cannot read", &path))?;
        let Ok(header) = SegmentHeader::decode(&page) else {
            let why = "its header does not decode";
            return Err(WalError::Corrupt { file: path, offset: 0, why });
        };
        let SegmentHeader { first_position, segment_bytes, .. } = header;
        let start = SegmentStart { epoch, number, first_position, segment_bytes };
        if start.header(self.dir.cluster(), self.stream) != header {
            return Err(WalError::Misnamed { path, inside: header.file_name() });
        }
        Ok(Some(At { start, file, path, next: SEGMENT_HEADER_BYTES, sealed: false, told: false }))
    }
}

/// The records of a piece, the seal not among them. Only for bytes that were checked, as a piece's are.
pub fn records(segment: SegmentStart, offset: u32, bytes: &[u8]) -> impl Iterator<Item = Record<'_>> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let head = bytes.get(at..)?.first_chunk::<RECORD_HEADER_BYTES>()?;
        let header = RecordHeader::decode(head);
        let payload = at + RECORD_HEADER_BYTES..at + RECORD_HEADER_BYTES + header.len as usize;
        at += record_bytes(header.len as usize);
        Some(Record {
            partition: header.partition,
            epoch: header.epoch,
            lsn: header.lsn,
            time_ms: header.time_ms,
            kind: header.kind,
            version: header.version,
            payload: bytes.get(payload)?,
            position: segment.first_position + u64::from(offset) - SEGMENT_HEADER_BYTES + at as u64,
        })
    })
    .filter(|record| record.kind != KIND_SEAL)
}

/// How many bytes of checked records make up about `most` bytes, none of them cut; at least one record.
pub fn whole_records(bytes: &[u8], most: usize) -> usize {
    let mut end = 0;
    while let Some(head) = bytes.get(end..).and_then(<[u8]>::first_chunk::<RECORD_HEADER_BYTES>) {
        let next = end + record_bytes(RecordHeader::decode(head).len as usize);
        if next > bytes.len() || (next > most && end > 0) {
            break;
        }
        end = next;
    }
    end
}

const _: () = assert!(PIECE_BYTES > RECORD_HEADER_BYTES);
