//! One segment being written: how its file is made and opened, in the two ways there are to commit.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use memmap2::{MmapMut, MmapOptions};

use crate::direct::Staging;
use crate::error::WalError;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::fs::{Disk, create_segment_file, forget_cached, open_direct};
use crate::retired::Retired;
use crate::shared::Shared;

/// Where and as what a stream's segments are made.
#[derive(Clone)]
pub(crate) struct SegmentSpec {
    pub(crate) log: PathBuf,
    pub(crate) disk: Arc<dyn Disk>,
    /// Files to write again, before new ones are made.
    pub(crate) retired: Arc<Retired>,
    /// Header of segment 0; the others differ in number and first position.
    pub(crate) first: SegmentHeader,
    pub(crate) access: Access,
}

/// How a segment's file is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Access {
    Mapped,
    /// For direct writes; `lend` with a second handle for the caller.
    Direct {
        lend: bool,
    },
}

/// A segment open for writing.
pub(crate) enum SegmentWriter {
    Mapped { file: File, map: MmapMut },
    Direct { file: File, lend: Option<File> },
}

/// A segment made ahead. Removed when it is dropped unused and no commit was left unfinished, for its
/// predecessor may have been sealed by that. One that stays is only space, and empty at the next start.
pub(crate) struct Prepared {
    path: PathBuf,
    segment: Option<SegmentWriter>,
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
}

impl Prepared {
    pub(crate) fn into_use(mut self) -> SegmentWriter {
        self.segment.take().expect("taken only here")
    }
}

impl Drop for Prepared {
    fn drop(&mut self) {
        if self.segment.take().is_some() && self.shared.is_settled() {
            let _ = self.disk.remove(&self.path);
        }
    }
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

    fn path(&self, number: u32) -> PathBuf {
        self.log.join(self.header(number).file_name())
    }

    /// Makes segment `number`, zeroed and durable.
    pub(crate) fn create(&self, number: u32, shared: &Arc<Shared>) -> Result<Prepared, WalError> {
        let (file, path) = (self.make(number)?, self.path(number));
        let segment = match self.access {
            Access::Mapped => self.map(file, number)?,
            Access::Direct { lend } => self
                .direct(number, &file, lend)
                .map_err(WalError::io("cannot open for direct writes", &path))?,
        };
        let (shared, disk) = (shared.clone(), self.disk.clone());
        Ok(Prepared { path, segment: Some(segment), shared, disk })
    }

    /// Makes segment 0 and finds out whether direct writes work, if they are asked for; if not, this and
    /// all others are mapped, and the reason is returned.
    pub(crate) fn create_first(&mut self) -> Result<(SegmentWriter, Option<io::Error>), WalError> {
        let file = self.make(0)?;
        let refused = match self.access {
            Access::Mapped => None,
            Access::Direct { lend } => match self.try_direct(&file, lend) {
                Ok(segment) => return Ok((segment, None)),
                Err(error) => Some(error),
            },
        };
        self.access = Access::Mapped;
        Ok((self.map(file, 0)?, refused))
    }

    fn make(&self, number: u32) -> Result<File, WalError> {
        let (header, path) = (self.header(number), self.path(number));
        let bytes = header.segment_bytes;
        let (name, page, again) = (header.file_name(), header.encode(), self.retired.take(bytes));
        create_segment_file(&*self.disk, &self.log, &name, &page, bytes, again.as_ref())
            .map_err(WalError::room("cannot prepare segment", &path, bytes))
    }

    fn map(&self, file: File, number: u32) -> Result<SegmentWriter, WalError> {
        let bytes = self.first.segment_bytes;
        // SAFETY: the file has its full length, and the directory's lock keeps every other log out. A
        // foreign program that truncates it would cause SIGBUS; that is outside what we can prevent.
        let map = unsafe { MmapOptions::new().len(bytes as usize).map_mut(&file) };
        let map = map.map_err(WalError::io("cannot map", &self.path(number)))?;
        Ok(SegmentWriter::Mapped { file, map })
    }

    fn direct(&self, number: u32, made: &File, lend: bool) -> io::Result<SegmentWriter> {
        let file = open_direct(&self.path(number))?;
        let lend = lend.then(|| file.try_clone()).transpose()?;
        forget_cached(made);
        Ok(SegmentWriter::Direct { file, lend })
    }

    /// Some filesystems accept the flag and refuse the write: tries with the zeros that are there.
    fn try_direct(&self, made: &File, lend: bool) -> io::Result<SegmentWriter> {
        let segment = self.direct(0, made, lend)?;
        if let SegmentWriter::Direct { file, .. } = &segment {
            self.disk.write_at(file, Staging::new().block(), SEGMENT_HEADER_BYTES)?;
        }
        Ok(segment)
    }
}
