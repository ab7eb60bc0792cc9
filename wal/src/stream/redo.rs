//! Many batches of a segment written with two syncs: first aside, as a whole, then in their place.
//!
//! A batch may be written only when the one before it is durable, or a crash leaves a hole that looks like damage. With
//! one sync for each, a standby catches up as slowly as its primary once wrote. So what arrives in one piece is first
//! made durable in a file beside the log; whoever opens the directory after a crash writes it down once more, which gives
//! the same bytes at the same places, whatever of them was there.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::WalError;
use crate::format::{SEGMENT_HEADER_BYTES, SegmentHeader, parse_file_name};
use crate::fs::Disk;
use crate::regular;

/// A name that no listing of the log takes for a segment's, nor an open for a file being made.
const SUFFIX: &str = ".redo.tmp";
const MAGIC: [u8; 8] = *b"FRREDO01";
/// Magic, offset in the segment, CRC of the bytes, their length, CRC of the segment's header and of all before.
const HEAD_BYTES: usize = 28;

/// One stream's piece under way.
pub(crate) struct Redo {
    path: PathBuf,
    file: File,
}

impl Redo {
    /// A file for the pieces of a segment.
    pub(crate) fn create(disk: &dyn Disk, log: &Path, header: &SegmentHeader) -> std::io::Result<Self> {
        let path = log.join(format!("{}{SUFFIX}", header.file_name()));
        let file = disk.create(&path)?;
        disk.sync_dir(log)?;
        Ok(Self { path, file })
    }

    /// Makes a piece durable here. What was here before must be durable in its place.
    pub(crate) fn note(
        &self,
        disk: &dyn Disk,
        header: &SegmentHeader,
        offset: u32,
        bytes: &[u8],
    ) -> std::io::Result<()> {
        disk.write(&self.file, bytes, HEAD_BYTES as u64)?;
        disk.write(&self.file, &head(header, offset, bytes), 0)?;
        disk.sync_data(&self.file)
    }

    /// Everything is in its place. Durable: what is cut later must not come back.
    pub(crate) fn remove(self, disk: &dyn Disk, log: &Path) -> Result<(), WalError> {
        disk.remove(&self.path).map_err(WalError::io("cannot remove", &self.path))?;
        disk.sync_dir(log).map_err(WalError::io("cannot sync", log))
    }
}

fn head(header: &SegmentHeader, offset: u32, bytes: &[u8]) -> [u8; HEAD_BYTES] {
    let mut head = [0; HEAD_BYTES];
    head[..8].copy_from_slice(&MAGIC);
    head[8..12].copy_from_slice(&offset.to_le_bytes());
    head[12..16].copy_from_slice(&crc32c::crc32c(bytes).to_le_bytes());
    head[16..24].copy_from_slice(&(bytes.len() as u64).to_le_bytes());
    let crc = crc32c::crc32c_append(crc32c::crc32c(&header.encode()), &head[..24]);
    head[24..].copy_from_slice(&crc.to_le_bytes());
    head
}

/// Writes down once more what a crash may have cut off, durably; before anything of the log is read.
pub(crate) fn settle(log: &Path, disk: &dyn Disk) -> Result<(), WalError> {
    let mut any = false;
    for entry in std::fs::read_dir(log).map_err(WalError::io("cannot list", log))? {
        let path = entry.map_err(WalError::io("cannot list", log))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(SUFFIX));
        let Some(name) = name.filter(|name| parse_file_name(name).is_some()) else { continue };
        redo(&log.join(name), &path, disk)?;
        disk.remove(&path).map_err(WalError::io("cannot remove", &path))?;
        any = true;
    }
    if any {
        disk.sync_dir(log).map_err(WalError::io("cannot sync", log))?;
    }
    Ok(())
}

/// Nothing is done with a piece that is not whole: it was cut off itself, and its place was not written yet.
fn redo(segment: &Path, path: &Path, disk: &dyn Disk) -> Result<(), WalError> {
    let file = match OpenOptions::new().read(true).write(true).open(segment) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(WalError::io("cannot open", segment)(error)),
    };
    let noted = regular::read(path).map_err(WalError::io("cannot read", path))?;
    let mut page = vec![0; SEGMENT_HEADER_BYTES as usize];
    file.read_exact_at(&mut page, 0).map_err(WalError::io("cannot read", segment))?;
    let Ok(header) = SegmentHeader::decode(&page) else { return Ok(()) };
    let Some((head_is, rest)) = noted.split_first_chunk::<HEAD_BYTES>() else { return Ok(()) };
    let number =
        |at: usize| u32::from_le_bytes([head_is[at], head_is[at + 1], head_is[at + 2], head_is[at + 3]]);
    let offset = number(8);
    let Some(bytes) = rest.get(..number(16) as usize) else { return Ok(()) };
    let end = u64::from(offset) + bytes.len() as u64;
    if head(&header, offset, bytes) != *head_is || end > header.segment_bytes {
        return Ok(());
    }
    disk.write_at(&file, bytes, offset.into()).map_err(WalError::io("cannot write", segment))?;
    disk.sync_data(&file).map_err(WalError::io("cannot sync", segment))
}
