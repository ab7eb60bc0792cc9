//! One archive as a file: its header, and its bytes in memory.

use std::fs::Metadata;
use std::io::{ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use frontrow_shard::{ColdView, EventId};
use frontrow_wal::regular::{self, no_file};
use memmap2::{Mmap, MmapMut};

use super::ColdFileError;

const MAGIC: [u8; 8] = *b"FRARCHIV";
const VERSION: u16 = 1;
/// Bytes of the header. The body behind it lies at a multiple of eight, for a mapping begins at a page.
pub(super) const HEADER: usize = 64;

/// The header of an archive with this body.
///
/// | bytes | what |
/// | --- | --- |
/// | 0..8 | `FRARCHIV` |
/// | 8..10 | version |
/// | 12..16 | event |
/// | 16..32 | cluster |
/// | 32..40 | length of the body |
/// | 40..44 | CRC-32C of the body |
/// | 60..64 | CRC-32C of the header so far |
///
/// What is not named is zero.
pub fn header(cluster: u128, event: EventId, body: &[u8]) -> [u8; HEADER] {
    let mut out = [0; HEADER];
    out[..8].copy_from_slice(&MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[12..16].copy_from_slice(&event.to_le_bytes());
    out[16..32].copy_from_slice(&cluster.to_le_bytes());
    out[32..40].copy_from_slice(&(body.len() as u64).to_le_bytes());
    out[40..44].copy_from_slice(&crc32c::crc32c(body).to_le_bytes());
    let sum = crc32c::crc32c(&out[..60]);
    out[60..].copy_from_slice(&sum.to_le_bytes());
    out
}

/// What tells a file from every other one, and from itself once somebody has written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FileIdentity {
    place: (u64, u64),
    bytes: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileIdentity {
    pub(crate) fn of(about: &Metadata) -> Self {
        Self {
            place: (about.dev(), about.ino()),
            bytes: about.len(),
            modified: (about.mtime(), about.mtime_nsec()),
            changed: (about.ctime(), about.ctime_nsec()),
        }
    }
}

/// An archive, read and checked. Its bytes are this process's own: what becomes of the file does not touch them.
#[derive(Debug)]
pub struct Cold {
    bytes: Mmap,
    identity: FileIdentity,
}

impl Cold {
    /// Reads the archive of `event` of `cluster` and checks every byte of it.
    pub fn open(path: &Path, cluster: u128, event: EventId) -> Result<Self, ColdFileError> {
        let failed = |source| ColdFileError::File { path: path.to_path_buf(), source };
        let mut file = regular::open(path).map_err(|source| match (source.kind(), no_file(&source)) {
            (_, Some(what)) => damaged(path, &what.to_string()),
            (ErrorKind::NotFound, _) => ColdFileError::Missing { path: path.to_path_buf() },
            _ => failed(source),
        })?;
        // Before the first byte is read: what changes from here on makes it another file.
        let about = file.metadata().map_err(failed)?;
        let mut read = |to: &mut [u8]| {
            file.read_exact(to).map_err(|source| match source.kind() {
                ErrorKind::UnexpectedEof => damaged(path, "it is cut short"),
                _ => failed(source),
            })
        };
        let mut head = [0; HEADER];
        read(&mut head)?;
        check_header(path, &head, cluster, event)?;
        let body = about.len().saturating_sub(HEADER as u64);
        if head[32..40] != body.to_le_bytes() {
            return Err(damaged(path, "its length is not the one that was written"));
        }
        let mut bytes = MmapMut::map_anon(about.len() as usize).map_err(failed)?;
        bytes[..HEADER].copy_from_slice(&head);
        read(&mut bytes[HEADER..])?;
        let bytes = bytes.make_read_only().map_err(failed)?;
        check_body(path, &bytes, event)?;
        Ok(Self { bytes, identity: FileIdentity::of(&about) })
    }

    /// What is in it.
    pub fn view(&self) -> ColdView<'_> {
        // SAFETY: `open` has checked these very bytes, and they are a private mapping that nobody can write to.
        unsafe { ColdView::checked_before(&self.bytes[HEADER..]) }
    }

    /// The whole file as it was read.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The file it was read from, as that was.
    pub(super) fn identity(&self) -> FileIdentity {
        self.identity
    }
}

fn damaged(path: &Path, why: &str) -> ColdFileError {
    ColdFileError::Damaged { path: path.to_path_buf(), why: why.to_owned() }
}

fn check_body(path: &Path, bytes: &[u8], event: EventId) -> Result<(), ColdFileError> {
    let (head, body) = bytes.split_at(HEADER);
    if head[40..44] != crc32c::crc32c(body).to_le_bytes() {
        return Err(damaged(path, "its checksum does not fit"));
    }
    let view = ColdView::check(body).map_err(|error| damaged(path, &error.to_string()))?;
    if view.event() != event {
        return Err(ColdFileError::Foreign { path: path.to_path_buf(), why: "it is another event's" });
    }
    Ok(())
}

fn check_header(path: &Path, head: &[u8], cluster: u128, event: EventId) -> Result<(), ColdFileError> {
    let foreign = |why| Err(ColdFileError::Foreign { path: path.to_path_buf(), why });
    if head[..8] != MAGIC {
        return foreign("it is no archive");
    }
    if head[60..] != crc32c::crc32c(&head[..60]).to_le_bytes() {
        return Err(damaged(path, "its header's checksum does not fit"));
    }
    let found = u16::from_le_bytes([head[8], head[9]]);
    if found != VERSION {
        return Err(ColdFileError::Version { path: path.to_path_buf(), found });
    }
    if head[16..32] != cluster.to_le_bytes() {
        return foreign("it is another cluster's");
    }
    if head[12..16] != event.to_le_bytes() {
        return foreign("it is another event's");
    }
    Ok(())
}
