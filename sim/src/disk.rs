//! A simulated disk under the log: its files are real ones in a directory of the simulation's own, and hold
//! what is on the disk; writes take virtual time on their way there.
//!
//! A write that is under way when its node crashes leaves any of its sectors behind, or none. Faults:
//! writes that are acknowledged and never made, made elsewhere, or changed on the way; writes that fail; a
//! disk without room for another segment. What was not synced, names among it, is kept or lost when power is
//! (`unsynced`); and power can be lost in the middle of anything the log does to its files. Names of directories
//! are durable at once.

use crate::rng::{Concern, Rng};
use crate::unsynced::{SECTOR, Unsynced};
use crate::world::{NodeId, PowerLost, State, with};
use frontrow_wal::fs::Disk;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::task::{Poll, Waker};

/// How a node's disk behaves.
#[derive(Debug, Clone)]
pub struct DiskOptions {
    /// How long a write takes, in nanoseconds.
    pub latency_ns: Range<u64>,
    /// Of a million writes: acknowledged, and never made.
    pub lost: u32,
    /// Of a million writes: made at another place of the same file.
    pub misdirected: u32,
    /// Of a million writes: one bit changed.
    pub corrupted: u32,
    /// Of a million writes: fail, and nothing is known of what they left.
    pub failing: u32,
    /// No room for another file.
    pub full: bool,
    /// Power is lost after so many more changes of files and names; 0: it is not.
    pub dies_in: u32,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self {
            latency_ns: 30_000..2_000_000,
            lost: 0,
            misdirected: 0,
            corrupted: 0,
            failing: 0,
            full: false,
            dies_in: 0,
        }
    }
}

/// A file that a simulated core writes.
#[derive(Debug)]
pub struct LogFile(Rc<File>);

impl LogFile {
    /// Takes over a handle; a second one without `O_DIRECT` writes single sectors.
    pub(crate) fn new(file: &File) -> io::Result<Self> {
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        Ok(Self(Rc::new(File::options().write(true).open(path)?)))
    }
}

/// A write under way.
struct Flying {
    node: usize,
    file: Rc<File>,
    bytes: Vec<u8>,
    offset: u64,
    done: Option<io::Result<()>>,
    waker: Option<Waker>,
}

/// All disks, and what is on its way to them.
pub(crate) struct Disks {
    options: Vec<DiskOptions>,
    flying: BTreeMap<u64, Flying>,
    next: u64,
    rng: Rng,
    /// Where what is not synced is kept, by node; with none everything is durable at once.
    attic: Option<PathBuf>,
    unsynced: BTreeMap<usize, Unsynced>,
    /// Nodes that are going down: nothing of theirs reaches the disk any more.
    down: BTreeSet<usize>,
    /// Names and contents that power losses have taken back.
    taken_back: (u64, u64),
}

impl Disks {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Rng::new(seed, Concern::Disk);
        Self {
            options: Vec::new(),
            flying: BTreeMap::new(),
            next: 0,
            rng,
            attic: None,
            unsynced: BTreeMap::new(),
            down: BTreeSet::new(),
            taken_back: (0, 0),
        }
    }

    /// What is not synced may be lost with the power from now on; files without names are kept in `attic`.
    pub(crate) fn keep_unsynced(&mut self, attic: PathBuf) {
        self.attic = Some(attic);
    }

    /// Names and contents that power losses have taken back.
    pub(crate) fn taken_back(&self) -> (u64, u64) {
        self.taken_back
    }

    fn unsynced(&mut self, node: usize) -> io::Result<Option<&mut Unsynced>> {
        let Some(attic) = &self.attic else { return Ok(None) };
        match self.unsynced.entry(node) {
            Entry::Occupied(known) => Ok(Some(known.into_mut())),
            Entry::Vacant(free) => Ok(Some(free.insert(Unsynced::new(attic.join(node.to_string()))?))),
        }
    }

    /// A node is going down: what its process still does on its way out never happened.
    pub(crate) fn going_down(&mut self, node: usize) {
        self.of(node).dies_in = 0;
        self.down.insert(node);
    }

    pub(crate) fn of(&mut self, node: usize) -> &mut DiskOptions {
        if self.options.len() <= node {
            self.options.resize_with(node + 1, DiskOptions::default);
        }
        &mut self.options[node]
    }

    /// How long a disk takes for something.
    pub(crate) fn takes(&mut self, node: usize) -> u64 {
        let takes = self.of(node).latency_ns.clone();
        self.rng.within(takes)
    }

    /// A write sets off: its number, and how long it takes.
    pub(crate) fn begin(&mut self, node: usize, file: &LogFile, bytes: &[u8], offset: u64) -> (u64, u64) {
        self.next += 1;
        let takes = self.takes(node);
        let (file, bytes) = (Rc::clone(&file.0), bytes.to_vec());
        self.flying.insert(self.next, Flying { node, file, bytes, offset, done: None, waker: None });
        (self.next, takes)
    }

    /// A write has come to its end.
    pub(crate) fn arrive(&mut self, id: u64) {
        let Some(flying) = self.flying.get(&id) else { return };
        let options = self.of(flying.node).clone();
        let Some(flying) = self.flying.get_mut(&id) else { return };
        let rng = &mut self.rng;
        let result = if rng.per_million(options.failing) {
            leave_some(flying, rng).and(Err(io::Error::other("simulated: the disk failed a write")))
        } else if rng.per_million(options.lost) {
            Ok(())
        } else if rng.per_million(options.misdirected) {
            let at = flying.offset.saturating_sub(4096 * rng.within(1..4));
            flying.file.write_all_at(&flying.bytes, at.max(4096))
        } else {
            if rng.per_million(options.corrupted) {
                let at = rng.index(flying.bytes.len());
                flying.bytes[at] ^= 1 << rng.below(8);
            }
            flying.file.write_all_at(&flying.bytes, flying.offset)
        };
        flying.done = Some(result);
        if let Some(waker) = flying.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn poll(&mut self, id: u64, waker: &Waker) -> Poll<io::Result<()>> {
        let Some(flying) = self.flying.get_mut(&id) else { return Poll::Ready(Ok(())) };
        if flying.done.is_none() {
            flying.waker = Some(waker.clone());
            return Poll::Pending;
        }
        let done = self.flying.remove(&id).and_then(|flying| flying.done);
        Poll::Ready(done.unwrap_or(Ok(())))
    }

    /// A node has crashed: of what was under way any sectors have arrived; with the power, of what was not synced
    /// some is lost.
    pub(crate) fn crashed(&mut self, node: usize, power: bool) {
        self.down.remove(&node);
        let ids: Vec<u64> =
            self.flying.iter().filter(|(_, one)| one.node == node).map(|(&id, _)| id).collect();
        for id in ids {
            let Some(flying) = self.flying.remove(&id) else { continue };
            if flying.done.is_none() {
                let left = leave_some(&flying, &mut self.rng);
                left.expect("the simulation's own directory can be written");
            }
        }
        if let Some(unsynced) = self.unsynced.get_mut(&node).filter(|_| power) {
            let lost = unsynced.lose(&mut self.rng);
            let (names, contents) = lost.expect("the simulation's own directory can be written");
            self.taken_back.0 += names as u64;
            self.taken_back.1 += contents as u64;
        }
    }
}

/// Writes any of a write's sectors: all, none, the first few, or any subset.
fn leave_some(flying: &Flying, rng: &mut Rng) -> io::Result<()> {
    let sectors = flying.bytes.len().div_ceil(SECTOR);
    let (way, cut) = (rng.below(4), rng.index(sectors + 1));
    for (number, sector) in flying.bytes.chunks(SECTOR).enumerate() {
        let kept = match way {
            0 => true,
            1 => false,
            2 => number < cut,
            _ => rng.below(2) == 0,
        };
        if kept {
            flying.file.write_all_at(sector, flying.offset + (number * SECTOR) as u64)?;
        }
    }
    Ok(())
}

/// The calls of the log that make files, on a node's simulated disk: nothing is really synced, for the
/// machine under the simulation does not crash.
#[derive(Debug)]
pub struct SimDisk(pub NodeId);

impl SimDisk {
    /// Does something to the node's files, and notes how to undo it; then power may be lost.
    fn change<R>(&self, change: impl FnOnce(Option<&mut Unsynced>) -> io::Result<R>) -> io::Result<R> {
        let node = self.0.0;
        let mut dies = false;
        let mut change = Some(change);
        let done = with(|state: &mut State| {
            if state.disks.down.contains(&node) {
                return Err(io::Error::other("simulated: the node is down"));
            }
            let options = state.disks.of(node);
            if options.dies_in > 0 {
                options.dies_in -= 1;
                dies = options.dies_in == 0;
            }
            let unsynced = state.disks.unsynced(node)?;
            change.take().map_or_else(|| Err(ErrorKind::Other.into()), |change| change(unsynced))
        });
        if dies {
            with(|state: &mut State| state.disks.going_down(node));
            std::panic::resume_unwind(Box::new(PowerLost(self.0)));
        }
        match (done, change) {
            (Some(done), _) => done,
            (None, Some(change)) => change(None),
            (None, None) => Err(ErrorKind::Other.into()),
        }
    }

    fn options(&self) -> DiskOptions {
        with(|state: &mut State| state.disks.of(self.0.0).clone()).unwrap_or_default()
    }
}

impl Disk for SimDisk {
    fn create(&self, path: &Path) -> io::Result<File> {
        self.change(|unsynced| match unsynced {
            Some(unsynced) => unsynced.create(path),
            None => File::options().read(true).write(true).create(true).truncate(true).open(path),
        })
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.change(|unsynced| match unsynced {
            Some(unsynced) => unsynced.rename(from, to),
            None => std::fs::rename(from, to),
        })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.change(|unsynced| match unsynced {
            Some(unsynced) => unsynced.remove(path),
            None => std::fs::remove_file(path),
        })
    }

    fn preallocate(&self, file: &File, header: &[u8], bytes: u64) -> io::Result<()> {
        if self.options().full {
            return Err(ErrorKind::StorageFull.into());
        }
        self.change(|unsynced| {
            if let Some(unsynced) = unsynced {
                // A file that was used before has bytes of then: they come back if this is lost.
                unsynced.writing(file, 0, bytes as usize)?;
            }
            // In memory a hole is as good as zeros, and nothing else fills this file system.
            file.set_len(0)?;
            file.write_all_at(header, 0)?;
            file.set_len(bytes)
        })
    }

    fn sync_data(&self, file: &File) -> io::Result<()> {
        self.change(|unsynced| unsynced.map_or(Ok(()), |unsynced| unsynced.sync_file(file)))
    }

    fn sync_all(&self, file: &File) -> io::Result<()> {
        self.sync_data(file)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.change(|unsynced| {
            if let Some(unsynced) = unsynced {
                unsynced.sync_dir(dir);
            }
            Ok(())
        })
    }

    fn write(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.change(|unsynced| {
            if let Some(unsynced) = unsynced {
                unsynced.writing(file, offset, bytes.len())?;
            }
            file.write_all_at(bytes, offset)
        })
    }

    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if rustix::fs::fcntl_getfl(file)?.contains(rustix::fs::OFlags::DSYNC) {
            // Durable when it returns.
            return self.change(|_| file.write_all_at(bytes, offset));
        }
        self.write(file, bytes, offset)
    }
}
