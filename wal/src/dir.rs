//! The data directory as it is written: lock, manifest and epoch. What is in it: [`crate::DirView`].

use frontrow_plant::{Bug, planted};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, OFlags};

use crate::error::WalError;
use crate::format::parse_file_name;
use crate::fs::{Disk, RealDisk, create_dir_durably, replace_file};
use crate::history::{History, NodeId};
use crate::manifest::{MANIFEST, Manifest};
use crate::regular;
use crate::retired::Retired;
use crate::seeding;
use crate::snapshot::{SnapshotFile, parse_snapshot_name};
use crate::stream::redo;
use crate::view::{DirView, LOG, SNAP, SegmentInfo};

const LOCK: &str = "LOCK";

/// How to open a data directory.
#[derive(Clone)]
pub struct DirOptions {
    /// The fixed number of partitions the directory is made with.
    pub partitions: u16,
    /// Make the directory if it is missing or empty.
    pub create: bool,
    /// Time written into a new manifest, in milliseconds since 1970.
    pub created_ms: u64,
    /// The cluster to join; `None` takes the directory's, or a random one for a new directory.
    pub cluster: Option<u128>,
    /// The calls that write.
    pub disk: Arc<dyn Disk>,
    /// Names of files that others of the house may have put there first.
    pub beside: &'static [&'static str],
}

impl DirOptions {
    /// Creates the directory if need be, with the real disk.
    pub fn new(partitions: u16) -> Self {
        let (disk, beside) = (Arc::new(RealDisk), &[]);
        DirOptions { partitions, create: true, created_ms: 0, cluster: None, disk, beside }
    }
}

/// An open data directory, locked for as long as any clone of this or any appender lives.
#[derive(Clone)]
pub struct DataDir {
    inner: Arc<Inner>,
}

struct Inner {
    log: PathBuf,
    view: DirView,
    disk: Arc<dyn Disk>,
    /// Files that trimming took out of the log, to be written again.
    retired: Arc<Retired>,
    /// Held while snapshots or segments are removed: one at a time.
    removing: Arc<Mutex<()>>,
    /// Held while `AGREED` is read and written: one at a time.
    agreeing: Arc<Mutex<()>>,
    /// Dropping the last of it gives the lock back.
    lock: Arc<File>,
}

/// What a directory says of itself without being opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peek {
    /// The cluster it belongs to.
    pub cluster: u128,
    /// The number of partitions it was made with.
    pub partitions: u16,
    /// The highest epoch it has seen.
    pub epoch: u32,
}

impl DataDir {
    /// Locks the directory, checks its manifest and begins the next epoch, durably.
    ///
    /// Every open for writing begins an epoch, so that nothing is appended behind a torn tail.
    pub fn open(path: impl AsRef<Path>, options: DirOptions) -> Result<Self, WalError> {
        let path = path.as_ref();
        DataDir::open_at(path, options, |manifest| {
            History::refuse_standby(path, manifest.cluster)?;
            // Before it says another epoch: an older one that was put back would open one a second time.
            DirView::new(path, *manifest).check_epochs()?;
            next_epoch(manifest.epoch, path)
        })
    }

    /// Locks the directory, checks its manifest and makes its epoch what `epoch` says, durably.
    pub(crate) fn open_at(
        path: &Path,
        options: DirOptions,
        epoch: impl FnOnce(&Manifest) -> Result<u32, WalError>,
    ) -> Result<Self, WalError> {
        let DirOptions { partitions, create, created_ms, cluster, disk, beside } = options;
        if partitions == 0 {
            let why = "choose at least 1".into();
            return Err(WalError::BadOption { option: "partitions", value: 0, why });
        }
        if create {
            create_dir_durably(&*disk, path).map_err(WalError::io("cannot create", path))?;
        } else if !path.join(MANIFEST).exists() {
            return Err(WalError::NotInitialised { path: path.into() });
        }
        // Before the lock file is made: a foreign directory is left as it was found.
        if !path.join(MANIFEST).exists() {
            refuse_foreign(path, beside)?;
        }
        let lock = lock(path)?;
        let manifest = match Manifest::read(&path.join(MANIFEST))? {
            Some(found) => checked(found, path, partitions, cluster)?,
            None if create => {
                refuse_foreign(path, beside)?;
                let cluster = cluster.map_or_else(random_cluster, Ok)?;
                Manifest { cluster, partitions, created_ms, epoch: 0 }
            }
            None => return Err(WalError::NotInitialised { path: path.into() }),
        };
        seeding::settle(path, &*disk, manifest.cluster)?;
        let (log, snap) = (path.join(LOG), path.join(SNAP));
        for dir in [&log, &snap] {
            create_dir_durably(&*disk, dir).map_err(WalError::io("cannot create", dir))?;
        }
        redo::settle(&log, &*disk)?;
        let epoch = epoch(&manifest)?;
        let inner = Inner {
            log,
            view: DirView::new(path, manifest),
            disk,
            retired: Arc::default(),
            removing: Arc::default(),
            agreeing: Arc::default(),
            lock: Arc::new(lock),
        };
        let dir = DataDir { inner: Arc::new(inner) }.with_epoch(epoch)?;
        let disk = &*dir.inner.disk;
        remove_leftovers(disk, &dir.inner.log, |name| parse_file_name(name).is_some())?;
        remove_leftovers(disk, &snap, |name| parse_snapshot_name(name).is_some())?;
        Ok(dir)
    }

    /// The same directory, under the same lock, at another epoch; durable on return.
    pub(crate) fn with_epoch(&self, epoch: u32) -> Result<Self, WalError> {
        let Inner { log, view, disk, retired, removing, agreeing, lock } = &*self.inner;
        let manifest = Manifest { epoch, ..view.manifest };
        replace_file(&**disk, view.path(), MANIFEST, manifest.encode().as_bytes())
            .map_err(WalError::io("cannot write the manifest in", view.path()))?;
        let inner = Inner {
            log: log.clone(),
            view: DirView::new(view.path(), manifest),
            disk: disk.clone(),
            retired: retired.clone(),
            removing: removing.clone(),
            agreeing: agreeing.clone(),
            lock: lock.clone(),
        };
        Ok(DataDir { inner: Arc::new(inner) })
    }

    /// Cluster, partitions and epoch of a directory, without opening it; `None` if it is not one yet.
    pub fn peek(path: impl AsRef<Path>) -> Result<Option<Peek>, WalError> {
        let found = Manifest::read(&path.as_ref().join(MANIFEST))?;
        Ok(found.map(|Manifest { cluster, partitions, epoch, .. }| Peek { cluster, partitions, epoch }))
    }

    pub(crate) fn path(&self) -> &Path {
        self.inner.view.path()
    }

    /// The epoch this open began, from 1.
    pub fn epoch(&self) -> u32 {
        self.inner.view.epoch()
    }

    /// The cluster's random id.
    pub fn cluster(&self) -> u128 {
        self.inner.view.cluster()
    }

    /// The number of partitions it was made with.
    pub fn partitions(&self) -> u16 {
        self.inner.view.partitions()
    }

    /// When it was made, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.inner.view.created_ms()
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.inner.log
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }

    pub(crate) fn retired(&self) -> &Arc<Retired> {
        &self.inner.retired
    }

    /// Taken by whoever removes files. What it guards is on disk, so a panic leaves nothing half done here.
    pub(crate) fn removing(&self) -> MutexGuard<'_, ()> {
        self.inner.removing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Taken by whoever notes what both nodes have.
    pub(crate) fn agreeing(&self) -> MutexGuard<'_, ()> {
        self.inner.agreeing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces a small file of the caller's beside the manifest; durable on return. The log does not read it.
    pub fn note(&self, name: &str, bytes: &[u8]) -> Result<(), WalError> {
        replace_file(&**self.disk(), self.path(), name, bytes)
            .map_err(WalError::io("cannot write a note in", self.path()))
    }

    /// Takes such a note away, durably; that there is none is no error.
    pub fn take_note_away(&self, name: &str) -> Result<(), WalError> {
        let path = self.path().join(name);
        match self.disk().remove(&path) {
            Ok(()) => self.disk().sync_dir(self.path()).map_err(WalError::io("cannot sync", self.path())),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(WalError::io("cannot take away", &path)(error)),
        }
    }

    /// Where records and snapshots are read.
    pub fn view(&self) -> &DirView {
        &self.inner.view
    }

    /// See [`DirView::segments`].
    ///
    /// Call it before opening streams; later the list includes segments being written.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, WalError> {
        self.inner.view.segments()
    }

    /// See [`DirView::snapshots`].
    pub fn snapshots(&self) -> Result<Vec<SnapshotFile>, WalError> {
        self.inner.view.snapshots()
    }
}

/// Takes the lock, or tells who has it.
fn lock(path: &Path) -> Result<File, WalError> {
    let name = path.join(LOCK);
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    let mut file = regular::open_with(&name, OFlags::empty(), &mut options)
        .map_err(WalError::io("cannot open", &name))?;
    if let Err(error) = rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(WalError::io("cannot lock", &name)(error.into()));
        }
        let mut pid = String::new();
        // Whoever holds it may not have written its pid yet.
        let _ = (&file).take(20).read_to_string(&mut pid);
        let pid = if pid.trim().is_empty() { "unknown".into() } else { pid.trim().into() };
        return Err(WalError::Locked { path: path.into(), pid });
    }
    file.set_len(0).map_err(WalError::io("cannot write", &name))?;
    writeln!(file, "{}", std::process::id()).map_err(WalError::io("cannot write", &name))?;
    Ok(file)
}

/// A directory without a manifest must be empty, apart from what an interrupted first open leaves, and from `beside`.
fn refuse_foreign(path: &Path, beside: &[&str]) -> Result<(), WalError> {
    let refused = |found: String| Err(WalError::ForeignDirectory { path: path.into(), found });
    for entry in std::fs::read_dir(path).map_err(WalError::io("cannot list", path))? {
        let name = entry.map_err(WalError::io("cannot list", path))?.file_name();
        let name = &*name.to_string_lossy();
        match name {
            LOCK | "MANIFEST.tmp" | "lost+found" => {}
            LOG | SNAP => {
                let dir = path.join(name);
                let mut inside = std::fs::read_dir(&dir).map_err(WalError::io("cannot list", &dir))?;
                if inside.next().is_some() {
                    return refused(if name == LOG { "log segments" } else { "snapshots" }.into());
                }
            }
            other if beside.contains(&other) => {}
            other => return refused(other.into()),
        }
    }
    Ok(())
}

fn checked(
    found: Manifest,
    path: &Path,
    partitions: u16,
    cluster: Option<u128>,
) -> Result<Manifest, WalError> {
    if found.partitions != partitions {
        let path = path.into();
        return Err(WalError::PartitionCount { path, found: found.partitions, asked: partitions });
    }
    match cluster {
        Some(expected) if expected != found.cluster => {
            Err(WalError::ForeignCluster { path: path.into(), found: found.cluster, expected })
        }
        _ => Ok(found),
    }
}

pub(crate) fn next_epoch(epoch: u32, path: &Path) -> Result<u32, WalError> {
    let why = || "its epoch is the last one there can be".into();
    if planted(Bug::EpochNotBumped) && epoch > 0 {
        return Ok(epoch);
    }
    epoch.checked_add(1).ok_or_else(|| WalError::BadManifest { path: path.join(MANIFEST), why: why() })
}

fn random_cluster() -> Result<u128, WalError> {
    random().map(u128::from_le_bytes)
}

/// A name for a node that has none yet; never 0.
pub fn new_node() -> Result<NodeId, WalError> {
    random().map(|bytes| u64::from_le_bytes(bytes).max(1))
}

fn random<const N: usize>() -> Result<[u8; N], WalError> {
    let path = Path::new("/dev/urandom");
    let mut bytes = [0; N];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut bytes));
    read.map_err(WalError::io("cannot read", path))?;
    Ok(bytes)
}

/// Removes half-made and retired files: they have no name of their own, so nothing in them counts.
fn remove_leftovers(disk: &dyn Disk, dir: &Path, is_ours: impl Fn(&str) -> bool) -> Result<(), WalError> {
    for entry in std::fs::read_dir(dir).map_err(WalError::io("cannot list", dir))? {
        let path = entry.map_err(WalError::io("cannot list", dir))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".tmp"));
        if name.is_some_and(&is_ours) {
            disk.remove(&path).map_err(WalError::io("cannot remove", &path))?;
        }
    }
    Ok(())
}
