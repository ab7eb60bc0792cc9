//! One archive as a file: its header, and the mapping.

use std::fs::File;
use std::io::ErrorKind;
use std::path::Path;

use frontrow_shard::{ColdView, EventId};

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

/// An archive, mapped and checked.
#[derive(Debug)]
pub struct Cold {
    mapping: memmap2::Mmap,
}

impl Cold {
    /// Maps the archive of `event` of `cluster` and checks every byte of it.
    pub fn open(path: &Path, cluster: u128, event: EventId) -> Result<Self, ColdFileError> {
        let failed = |source| ColdFileError::File { path: path.to_path_buf(), source };
        let file = File::open(path).map_err(|source| match source.kind() {
            ErrorKind::NotFound => ColdFileError::Missing { path: path.to_path_buf() },
            _ => failed(source),
        })?;
        if file.metadata().map_err(failed)?.len() < HEADER as u64 {
            return Err(damaged(path, "it is cut short"));
        }
        // SAFETY: no code writes to or truncates a finished archive: it is only ever replaced by a rename, which
        // leaves the mapped file as it was. That others keep their hands off the data directory is the operator's
        // promise, as for the log.
        let mapping = unsafe { memmap2::Mmap::map(&file) }.map_err(failed)?;
        let (head, body) = mapping.split_at(HEADER);
        check_header(path, head, cluster, event)?;
        if head[32..40] != (body.len() as u64).to_le_bytes() {
            return Err(damaged(path, "its length is not the one that was written"));
        }
        if head[40..44] != crc32c::crc32c(body).to_le_bytes() {
            return Err(damaged(path, "its checksum does not fit"));
        }
        let view = ColdView::check(body).map_err(|error| damaged(path, &error.to_string()))?;
        if view.event() != event {
            return Err(ColdFileError::Foreign { path: path.to_path_buf(), why: "it is another event's" });
        }
        Ok(Self { mapping })
    }

    /// What is in it.
    pub fn view(&self) -> ColdView<'_> {
        // SAFETY: `open` has checked these bytes, and a mapped archive does not change (see there).
        unsafe { ColdView::checked_before(&self.mapping[HEADER..]) }
    }
}

fn damaged(path: &Path, why: &str) -> ColdFileError {
    ColdFileError::Damaged { path: path.to_path_buf(), why: why.to_owned() }
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
