//! Everything that touches the disk for writing: files, their parent directory, and the order of both.
//!
//! A file's name is durable only after its directory was synced too; every function here that makes
//! or renames a file does both.

use crate::regular;
use crate::retired::Nameless;
use frontrow_plant::{Bug, planted};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;

use rustix::fs::{Advice, OFlags};

/// What is written between two syncs of a large file.
pub(crate) const PIECE_BYTES: usize = 1 << 20;
/// Of the page cache. Where pages are larger, advice is taken for less than was meant.
const PAGE_BYTES: u64 = 4096;

/// The calls a log makes to make bytes durable. Tests replace single ones to inject faults.
pub trait Disk: Send + Sync {
    /// Makes an empty file, or empties the one that is there.
    fn create(&self, path: &Path) -> io::Result<File> {
        regular::create(path)
    }

    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    /// Writes `header`, then real zeros up to `bytes`. Never leaves a hole: a full disk must be met
    /// here, not as SIGBUS at a store into the mapping.
    ///
    /// Syncs as it goes: one sync of a whole segment would keep commits of other files waiting.
    fn preallocate(&self, file: &File, header: &[u8], bytes: u64) -> io::Result<()> {
        static ZEROS: [u8; PIECE_BYTES] = [0; PIECE_BYTES];
        let mut file = file;
        file.write_all(header)?;
        let mut left = bytes.saturating_sub(header.len() as u64);
        while left > 0 {
            let n = left.min(ZEROS.len() as u64);
            file.write_all(&ZEROS[..n as usize])?;
            file.sync_data()?;
            left -= n;
        }
        Ok(())
    }

    /// Makes a file's contents durable (`fdatasync`). Called once per commit, and between a snapshot's pieces.
    fn sync_data(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    /// Makes a file's contents and metadata durable (`fsync`).
    fn sync_all(&self, file: &File) -> io::Result<()> {
        file.sync_all()
    }

    /// Makes a directory's entries durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    /// Writes all of `bytes` at `offset` of a file that has no name yet.
    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    /// Writes all of `bytes` at `offset`, for a commit. With `O_DIRECT` all three are block-aligned.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }
}

/// The operating system's own calls.
#[derive(Debug, Default, Clone, Copy)]
pub struct RealDisk;

impl Disk for RealDisk {}

/// Creates `dir` and its missing parents, and makes their names durable.
pub(crate) fn create_dir_durably(disk: &dyn Disk, dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    create_dir_durably(disk, parent)?;
    match std::fs::create_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    disk.sync_dir(parent)
}

/// Replaces the file `dir/name` as a whole: old or new after a crash, never a mixture.
pub(crate) fn replace_file(disk: &dyn Disk, dir: &Path, name: &str, contents: &[u8]) -> io::Result<()> {
    let temporary = dir.join(format!("{name}.tmp"));
    let file = disk.create(&temporary)?;
    disk.write(&file, contents, 0)?;
    disk.sync_all(&file)?;
    disk.rename(&temporary, &dir.join(name))?;
    if planted(Bug::MarkNotSynced) { Ok(()) } else { disk.sync_dir(dir) }
}

/// Makes the segment file `dir/name`: header and real zeros, durable, under its name only when whole.
///
/// A leftover `.tmp` of an interrupted attempt is overwritten; the final name must be new. `retired` is a
/// nameless file of the right length to be written over: it has its space already, and perhaps its zeros.
pub(crate) fn create_segment_file(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
    header: &[u8],
    bytes: u64,
    retired: Option<&Nameless>,
) -> io::Result<File> {
    let (temporary, path) = (dir.join(format!("{name}.tmp")), dir.join(name));
    if path.exists() {
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, "a segment of this epoch is already there"));
    }
    let made = (|| {
        let again = retired.and_then(|retired| reopen(disk, &retired.path, &temporary).ok());
        let zeroed = again.is_some() && retired.is_some_and(|retired| retired.zeroed);
        let file = again.map_or_else(|| disk.create(&temporary), Ok)?;
        if zeroed || (retired.is_some() && planted(Bug::RecycledAsItWas)) {
            disk.write(&file, header, 0)?;
        } else {
            disk.preallocate(&file, header, bytes)?;
        }
        if !planted(Bug::NamedBeforeSync) {
            disk.sync_all(&file)?;
        }
        disk.rename(&temporary, &path)?;
        if !planted(Bug::NameNotSynced) {
            disk.sync_dir(dir)?;
        }
        Ok(file)
    })();
    if made.is_err() {
        // Give the space back; the error that matters is the first one.
        let _ = disk.remove(&temporary);
    }
    made
}

/// Opens a retired file under its new temporary name, to be written over from its beginning.
fn reopen(disk: &dyn Disk, retired: &Path, temporary: &Path) -> io::Result<File> {
    disk.rename(retired, temporary)?;
    regular::open_with(temporary, OFlags::empty(), OpenOptions::new().read(true).write(true))
}

/// Opens a segment a second time for block-aligned writes that are durable when they return.
pub(crate) fn open_direct(path: &Path) -> io::Result<File> {
    regular::open_with(path, OFlags::DIRECT | OFlags::DSYNC, OpenOptions::new().write(true))
}

/// Drops a file's cached pages, which must all be clean. A direct write has to evict the pages it
/// overtakes, and io_uring hands a write that finds some to a thread of the kernel.
pub(crate) fn forget_cached(file: &File) {
    // Advice: where it is not taken, writes are slower and nothing else.
    let _ = rustix::fs::fadvise(file, 0, None, Advice::DontNeed);
}

/// Only what is asked for is read of a file from now on. The kernel reads ahead otherwise, megabytes where it is set so: of a
/// segment that is written, zeros that the writer has to throw out again.
pub(crate) fn read_only_as_asked(file: &File) {
    let _ = rustix::fs::fadvise(file, 0, None, Advice::Random);
}

/// Has the kernel read `bytes` from `offset` on meanwhile.
pub(crate) fn read_meanwhile(file: &File, offset: u64, bytes: u64) {
    let _ = rustix::fs::fadvise(file, offset, std::num::NonZeroU64::new(bytes), Advice::WillNeed);
}

/// Drops the page that a reader came to the middle of: the next direct write begins there.
pub(crate) fn forget_last_page(file: &File, end: u64) {
    if !end.is_multiple_of(PAGE_BYTES) {
        let page = end - end % PAGE_BYTES;
        let _ = rustix::fs::fadvise(file, page, std::num::NonZeroU64::new(PAGE_BYTES), Advice::DontNeed);
    }
}

/// True if the disk, a quota or a file size limit has no room.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded | io::ErrorKind::FileTooLarge
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{IoSliceMut, Write};

    /// Whether a page is in memory; `None` where the file system does not say.
    fn is_cached(file: &File, page: u64) -> Option<bool> {
        let mut byte = [0];
        let into = &mut [IoSliceMut::new(&mut byte)];
        match rustix::io::preadv2(file, into, page * PAGE_BYTES, rustix::io::ReadWriteFlags::NOWAIT) {
            Ok(_) => Some(true),
            Err(rustix::io::Errno::AGAIN) => Some(false),
            Err(_) => None,
        }
    }

    /// Memory is all that such a file system has.
    fn is_memory(file: &File) -> bool {
        const TMPFS: u64 = 0x0102_1994;
        rustix::fs::fstatfs(file).is_ok_and(|of| of.f_type as u64 == TMPFS)
    }

    /// A writer past the page cache finds nothing of what he is to write next, whatever the disk reads ahead.
    #[test]
    fn a_reader_leaves_no_page_where_the_next_write_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("segment");
        let mut file = File::create_new(&path).expect("a file");
        file.write_all(&vec![1; 64 * PAGE_BYTES as usize]).expect("written");
        file.sync_all().expect("durable");
        let file = File::open(&path).expect("a reader");
        forget_cached(&file);
        read_only_as_asked(&file);
        let end = 2 * PAGE_BYTES + 100;
        file.read_exact_at(&mut vec![0; end as usize], 0).expect("read");
        forget_last_page(&file, end);
        // From behind: to ask has the page read.
        let cached: Option<Vec<bool>> = (0..4).rev().map(|page| is_cached(&file, page)).collect();
        let Some(cached) = cached.filter(|_| !is_memory(&file)) else { return };
        assert_eq!(cached, [false, false, true, true]);
        // What ends with a page leaves it: nothing is written there any more.
        file.read_exact_at(&mut vec![0; PAGE_BYTES as usize], 3 * PAGE_BYTES).expect("read");
        forget_last_page(&file, 4 * PAGE_BYTES);
        assert_eq!(is_cached(&file, 3), Some(true));
    }
}
