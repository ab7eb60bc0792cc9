//! What a node's disk holds that no sync has made durable: a power loss may take it back, from the last on.
//!
//! The files themselves are as the program left them; this is the list of how to undo it. A name (made, exchanged,
//! removed) is durable once its directories were synced, a content once its file was. Names come and go in the order
//! they were made, as in a file system with a journal; of contents any sectors may be lost.

use crate::rng::Rng;
use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// What a disk writes as one, whatever happens.
pub(crate) const SECTOR: usize = 512;

/// A change of names, and how to undo it.
enum Change {
    /// A file that was not there; or in place of one, which is kept.
    Made { path: PathBuf, before: Option<PathBuf> },
    /// Another name; what had it is kept.
    Renamed { from: PathBuf, to: PathBuf, before: Option<PathBuf> },
    /// The file is kept.
    Removed { path: PathBuf, kept: PathBuf },
}

struct Name {
    change: Change,
    /// Directories that have not been synced since.
    dirs: Vec<PathBuf>,
}

/// A write, and what was there before.
struct Content {
    inode: u64,
    file: File,
    offset: u64,
    len: usize,
    before: Vec<u8>,
    file_len: u64,
}

/// One node's.
pub(crate) struct Unsynced {
    /// Where files are kept that have lost their name.
    attic: PathBuf,
    next: u64,
    names: Vec<Name>,
    contents: Vec<Content>,
}

fn parent(path: &Path) -> PathBuf {
    path.parent().map(Path::to_path_buf).unwrap_or_default()
}

impl Unsynced {
    /// Nothing yet; `attic` is a directory of the same file system, and made here.
    pub(crate) fn new(attic: PathBuf) -> io::Result<Self> {
        std::fs::create_dir_all(&attic)?;
        Ok(Self { attic, next: 0, names: Vec::new(), contents: Vec::new() })
    }

    fn place(&mut self) -> PathBuf {
        self.next += 1;
        self.attic.join(self.next.to_string())
    }

    pub(crate) fn create(&mut self, path: &Path) -> io::Result<File> {
        let mut before = None;
        if path.exists() {
            let kept = self.place();
            std::fs::rename(path, &kept)?;
            before = Some(kept);
        }
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let change = Change::Made { path: path.into(), before };
        self.names.push(Name { change, dirs: vec![parent(path)] });
        Ok(file)
    }

    pub(crate) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        if from.is_dir() {
            // What happened in it before counts as durable: nobody here moves a directory that he still writes in.
            self.names.retain(|name| name.dirs.iter().all(|dir| !dir.starts_with(from)));
        }
        let mut before = None;
        if to.is_file() {
            let kept = self.place();
            std::fs::hard_link(to, &kept)?;
            before = Some(kept);
        }
        std::fs::rename(from, to)?;
        let mut dirs = vec![parent(from)];
        if parent(to) != dirs[0] {
            dirs.push(parent(to));
        }
        self.names.push(Name { change: Change::Renamed { from: from.into(), to: to.into(), before }, dirs });
        Ok(())
    }

    pub(crate) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let kept = self.place();
        std::fs::rename(path, &kept)?;
        let change = Change::Removed { path: path.into(), kept };
        self.names.push(Name { change, dirs: vec![parent(path)] });
        Ok(())
    }

    pub(crate) fn sync_dir(&mut self, dir: &Path) {
        for name in &mut self.names {
            name.dirs.retain(|one| one != dir);
        }
        self.names.retain(|name| {
            let durable = name.dirs.is_empty();
            if durable {
                forget(&name.change);
            }
            !durable
        });
    }

    /// Notes what is about to be written over.
    pub(crate) fn writing(&mut self, file: &File, offset: u64, len: usize) -> io::Result<()> {
        // The handle may be for aligned writes alone.
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        let file = File::options().read(true).write(true).open(path)?;
        let about = file.metadata()?;
        let had = about.len().saturating_sub(offset).min(len as u64) as usize;
        let mut before = vec![0; had];
        file.read_exact_at(&mut before, offset)?;
        let (inode, file_len) = (about.ino(), about.len());
        self.contents.push(Content { inode, file, offset, len, before, file_len });
        Ok(())
    }

    pub(crate) fn sync_file(&mut self, file: &File) -> io::Result<()> {
        if !self.contents.is_empty() {
            let inode = file.metadata()?.ino();
            self.contents.retain(|content| content.inode != inode);
        }
        Ok(())
    }

    /// Power is lost: some of it is taken back. How much of both.
    pub(crate) fn lose(&mut self, rng: &mut Rng) -> io::Result<(usize, usize)> {
        let (mut contents, mut names) = (0, 0);
        for content in std::mem::take(&mut self.contents).iter().rev() {
            contents += usize::from(content.take_back(rng)?);
        }
        let all = self.names.len();
        let kept = match rng.below(3) {
            0 => 0,
            1 => all,
            _ => rng.index(all + 1),
        };
        for name in self.names.split_off(kept).into_iter().rev() {
            undo(name.change);
            names += 1;
        }
        self.names.drain(..).for_each(|name| forget(&name.change));
        Ok((names, contents))
    }
}

impl Content {
    /// Whether anything was lost.
    fn take_back(&self, rng: &mut Rng) -> io::Result<bool> {
        let (way, cut) = (rng.below(4), rng.index(self.len.div_ceil(SECTOR) + 1));
        if way == 0 {
            return Ok(false);
        }
        let mut old = self.before.clone();
        old.resize(self.len, 0);
        for (number, sector) in old.chunks(SECTOR).enumerate() {
            let lost = match way {
                1 => true,
                2 => number >= cut,
                _ => rng.below(2) == 0,
            };
            if lost {
                self.file.write_all_at(sector, self.offset + (number * SECTOR) as u64)?;
            }
        }
        if way == 1 && self.file_len < self.offset + self.len as u64 {
            self.file.set_len(self.file_len.max(self.offset))?;
        }
        Ok(true)
    }
}

/// As if it had never been. What is not there any more was changed by somebody who keeps no list.
fn undo(change: Change) {
    let done = match change {
        Change::Made { path, before: None } => std::fs::remove_file(path),
        Change::Made { path, before: Some(before) } => std::fs::rename(before, path),
        Change::Renamed { from, to, before } => {
            let back = std::fs::rename(&to, from);
            before.map_or(back, |before| std::fs::rename(before, to))
        }
        Change::Removed { path, kept } => std::fs::rename(kept, path),
    };
    drop(done);
}

/// What was kept for it is not needed any more.
fn forget(change: &Change) {
    let (Change::Made { before: Some(kept), .. }
    | Change::Renamed { before: Some(kept), .. }
    | Change::Removed { kept, .. }) = change
    else {
        return;
    };
    // It costs room at most.
    let _ = std::fs::remove_file(kept);
}
