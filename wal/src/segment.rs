//! One segment being written: the file, its mapping, and the three ways to commit into it.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

use crate::error::WalError;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::fs::{Disk, create_segment_file, is_full, open_direct};
use crate::options::Durability;

/// Where and as what a stream's segments are made.
#[derive(Clone)]
pub(crate) struct SegmentSpec {
    pub(crate) log: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    /// Header of segment 0; the others differ in number and first position.
    pub(crate) first: SegmentHeader,
}

/// A segment open for writing.
pub(crate) struct SegmentWriter {
    path: PathBuf,
    file: File,
    map: MmapMut,
}

impl SegmentSpec {
    pub(crate) fn header(&self, number: u32) -> SegmentHeader {
        let step = self.first.segment_bytes - SEGMENT_HEADER_BYTES;
        SegmentHeader {
            number,
            first_position: self.first.first_position + u64::from(number) * step,
            ..self.first
        }
    }

    /// Makes segment `number`, zeroed and durable.
    pub(crate) fn create(&self, number: u32) -> Result<SegmentWriter, WalError> {
        let header = self.header(number);
        let path = self.log.join(header.file_name());
        let bytes = header.segment_bytes;
        let file = create_segment_file(&*self.disk, &self.log, &header.file_name(), &header.encode(), bytes)
            .map_err(|error| {
                if is_full(&error) {
                    return WalError::DiskFull { path: path.clone(), bytes };
                }
                WalError::io("cannot prepare segment", &path)(error)
            })?;
        // SAFETY: the file has its full length, and the directory's lock keeps every other log out. A
        // foreign program that truncates it would cause SIGBUS; that is outside what we can prevent.
        let map = unsafe { MmapOptions::new().len(bytes as usize).map_mut(&file) };
        let map = map.map_err(WalError::io("cannot map", &path))?;
        Ok(SegmentWriter { path, file, map })
    }
}

impl SegmentWriter {
    /// Removes a segment nothing was written into.
    pub(crate) fn discard(self) {
        // It is only space: one that stays is an empty segment at the next start.
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Most bytes of one direct write. Each write waits for the disk: a batch that needs two takes twice
/// as long. Only what is used is ever touched.
const STAGING_BYTES: usize = 4 << 20;
/// Alignment of `O_DIRECT` in memory and file; covers sectors of 512 and of 4096.
const BLOCK: usize = 4096;

/// Writes batches into the segment in use, durably.
pub(crate) struct Sink {
    disk: Arc<dyn Disk>,
    segment: SegmentWriter,
    way: Way,
}

enum Way {
    Mapped { sync: bool },
    Direct(Direct),
}

struct Direct {
    file: File,
    /// Page-aligned. Between writes its first `open` bytes repeat the last, partly filled block.
    staging: MmapMut,
    open: usize,
}

impl Sink {
    /// A sink into `segment`, and why it is not the way asked for, if it is not.
    pub(crate) fn new(
        disk: Arc<dyn Disk>,
        segment: SegmentWriter,
        durability: Durability,
    ) -> (Self, Option<io::Error>) {
        let mapped = Way::Mapped { sync: durability != Durability::Memory };
        let (way, refused) = match durability {
            Durability::Mapped | Durability::Memory => (mapped, None),
            Durability::Direct => match Direct::open(&*disk, &segment) {
                Ok(direct) => (Way::Direct(direct), None),
                Err(error) => (mapped, Some(error)),
            },
        };
        (Sink { disk, segment, way }, refused)
    }

    /// Goes on in the next segment.
    pub(crate) fn roll(&mut self, segment: SegmentWriter) -> io::Result<()> {
        if let Way::Direct(direct) = &mut self.way {
            direct.file = open_direct(&segment.path)?;
            direct.open = 0;
        }
        self.segment = segment;
        Ok(())
    }

    /// Writes `bytes` at `offset` of the file, right behind the last write; durable on return.
    pub(crate) fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        match &mut self.way {
            Way::Mapped { sync } => {
                let at = offset as usize;
                self.segment.map[at..at + bytes.len()].copy_from_slice(bytes);
                if *sync { self.disk.sync_data(&self.segment.file) } else { Ok(()) }
            }
            Way::Direct(direct) => direct.write(&*self.disk, offset, bytes),
        }
    }
}

impl Direct {
    fn open(disk: &dyn Disk, segment: &SegmentWriter) -> io::Result<Self> {
        let direct =
            Direct { file: open_direct(&segment.path)?, staging: MmapMut::map_anon(STAGING_BYTES)?, open: 0 };
        // Some filesystems accept the flag and refuse the write: try with the zeros that are there.
        disk.write_at(&direct.file, &direct.staging[..BLOCK], SEGMENT_HEADER_BYTES)?;
        Ok(direct)
    }

    fn write(&mut self, disk: &dyn Disk, offset: u64, mut bytes: &[u8]) -> io::Result<()> {
        let mut block_at = offset - self.open as u64;
        debug_assert!(block_at.is_multiple_of(BLOCK as u64), "a write must continue the last one");
        while !bytes.is_empty() {
            let n = bytes.len().min(STAGING_BYTES - self.open);
            let end = self.open + n;
            self.staging[self.open..end].copy_from_slice(&bytes[..n]);
            let padded = end.next_multiple_of(BLOCK);
            self.staging[end..padded].fill(0);
            disk.write_at(&self.file, &self.staging[..padded], block_at)?;
            let whole = end - end % BLOCK;
            self.staging.copy_within(whole..end, 0);
            self.open = end - whole;
            block_at += whole as u64;
            bytes = &bytes[n..];
        }
        Ok(())
    }
}
