//! A simulated disk under the log: its files are real ones in a directory of the simulation's own, and hold
//! what is on the disk; writes take virtual time on their way there.
//!
//! A write that is under way when its node crashes leaves any of its sectors behind, or none. Faults:
//! writes that are acknowledged and never made, made elsewhere, or changed on the way; writes that fail; a
//! disk without room for another segment. Names of files (created, renamed) are durable at once: that the
//! log syncs directories is not put to the test here.

use crate::rng::{Concern, Rng};
use crate::world::{NodeId, State, with};
use frontrow_wal::fs::Disk;
use std::fs::File;
use std::io::{self, ErrorKind, Write as _};
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::rc::Rc;
use std::task::{Poll, Waker};

/// What a disk writes as one, whatever happens.
const SECTOR: usize = 512;

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
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { latency_ns: 30_000..2_000_000, lost: 0, misdirected: 0, corrupted: 0, failing: 0, full: false }
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
    flying: std::collections::BTreeMap<u64, Flying>,
    next: u64,
    rng: Rng,
}

impl Disks {
    pub(crate) fn new(seed: u64) -> Self {
        let rng = Rng::new(seed, Concern::Disk);
        Self { options: Vec::new(), flying: std::collections::BTreeMap::new(), next: 0, rng }
    }

    pub(crate) fn of(&mut self, node: usize) -> &mut DiskOptions {
        if self.options.len() <= node {
            self.options.resize_with(node + 1, DiskOptions::default);
        }
        &mut self.options[node]
    }

    /// A write sets off: its number, and how long it takes.
    pub(crate) fn begin(&mut self, node: usize, file: &LogFile, bytes: &[u8], offset: u64) -> (u64, u64) {
        self.next += 1;
        let takes = self.of(node).latency_ns.clone();
        let takes = self.rng.within(takes);
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

    /// A node has crashed: of what was under way any sectors have arrived.
    pub(crate) fn crashed(&mut self, node: usize) {
        let ids: Vec<u64> =
            self.flying.iter().filter(|(_, one)| one.node == node).map(|(&id, _)| id).collect();
        for id in ids {
            let Some(flying) = self.flying.remove(&id) else { continue };
            if flying.done.is_none() {
                let left = leave_some(&flying, &mut self.rng);
                left.expect("the simulation's own directory can be written");
            }
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
    fn options(&self) -> DiskOptions {
        with(|state: &mut State| state.disks.of(self.0.0).clone()).unwrap_or_default()
    }
}

impl Disk for SimDisk {
    fn preallocate(&self, file: &File, header: &[u8], bytes: u64) -> io::Result<()> {
        if self.options().full {
            return Err(ErrorKind::StorageFull.into());
        }
        let mut file = file;
        // A file that was used before has bytes of then, which would have to be overwritten.
        file.set_len(0)?;
        file.write_all(header)?;
        // In memory a hole is as good as zeros, and nothing else fills this file system.
        file.set_len(bytes)
    }

    fn sync_data(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_all(&self, _: &File) -> io::Result<()> {
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }
}
