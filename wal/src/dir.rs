//! The data directory: lock, manifest, epoch, and the list of segments.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::FlockOperation;

use crate::error::WalError;
use crate::format::{
    FORMAT_VERSION, HeaderError, Position, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader,
    file_name, parse_file_name,
};
use crate::fs::{Disk, RealDisk, create_dir_durably, replace_file};
use crate::manifest::Manifest;

const LOCK: &str = "LOCK";
const MANIFEST: &str = "MANIFEST";
const LOG: &str = "log";

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
}

impl DirOptions {
    /// Creates the directory if need be, with the real disk.
    pub fn new(partitions: u16) -> Self {
        DirOptions { partitions, create: true, created_ms: 0, cluster: None, disk: Arc::new(RealDisk) }
    }
}

/// An open data directory, locked for as long as any clone of this or any appender lives.
#[derive(Clone)]
pub struct DataDir {
    inner: Arc<Inner>,
}

struct Inner {
    log: PathBuf,
    manifest: Manifest,
    disk: Arc<dyn Disk>,
    /// Dropping it gives the lock back.
    _lock: File,
}

/// One segment file, its header read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) successor: Successor,
}

/// What is known of the next segment of the same stream and epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Successor {
    Missing,
    Unwritten,
    /// Something was written into it, so that this one must be whole and sealed.
    Written,
}

impl SegmentInfo {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Index of its stream.
    pub fn stream(&self) -> u16 {
        self.header.stream
    }
    /// Its epoch.
    pub fn epoch(&self) -> u32 {
        self.header.epoch
    }
    /// Its number within stream and epoch, from 0.
    pub fn number(&self) -> u32 {
        self.header.number
    }
    /// Position of its first record's first byte.
    pub fn first_position(&self) -> Position {
        self.header.first_position
    }
    /// Its size in bytes.
    pub fn segment_bytes(&self) -> u64 {
        self.header.segment_bytes
    }
    /// First position behind all it could hold.
    fn end_position(&self) -> Position {
        self.header.first_position.saturating_add(self.header.segment_bytes - SEGMENT_HEADER_BYTES)
    }
}

impl DataDir {
    /// Locks the directory, checks its manifest and begins the next epoch, durably.
    ///
    /// Every open for writing begins an epoch, so that nothing is appended behind a torn tail.
    pub fn open(path: impl AsRef<Path>, options: DirOptions) -> Result<Self, WalError> {
        let DirOptions { partitions, create, created_ms, cluster, disk } = options;
        let path = path.as_ref();
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
            refuse_foreign(path)?;
        }
        let lock = lock(path)?;
        let manifest = match read_manifest(&path.join(MANIFEST))? {
            Some(found) => checked(found, path, partitions, cluster)?,
            None if create => {
                refuse_foreign(path)?;
                let cluster = cluster.map_or_else(random_cluster, Ok)?;
                Manifest { cluster, partitions, created_ms, epoch: 0 }
            }
            None => return Err(WalError::NotInitialised { path: path.into() }),
        };
        let manifest = Manifest { epoch: next_epoch(manifest.epoch, path)?, ..manifest };
        let log = path.join(LOG);
        create_dir_durably(&*disk, &log).map_err(WalError::io("cannot create", &log))?;
        replace_file(&*disk, path, MANIFEST, manifest.encode().as_bytes())
            .map_err(WalError::io("cannot write the manifest in", path))?;
        remove_leftovers(&log)?;
        Ok(DataDir { inner: Arc::new(Inner { log, manifest, disk, _lock: lock }) })
    }

    /// The epoch this open began, from 1.
    pub fn epoch(&self) -> u32 {
        self.inner.manifest.epoch
    }

    /// The cluster's random id.
    pub fn cluster(&self) -> u128 {
        self.inner.manifest.cluster
    }

    /// The number of partitions it was made with.
    pub fn partitions(&self) -> u16 {
        self.inner.manifest.partitions
    }

    /// When it was made, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.inner.manifest.created_ms
    }

    pub(crate) fn log_path(&self) -> &Path {
        &self.inner.log
    }

    pub(crate) fn disk(&self) -> &Arc<dyn Disk> {
        &self.inner.disk
    }

    /// All segments in replay order: by epoch, then stream, then number.
    ///
    /// Call it before opening streams; later the list includes segments being written. Names, headers
    /// and completeness are checked here, records when they are read.
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, WalError> {
        let mut found = Vec::new();
        let log = &self.inner.log;
        for entry in std::fs::read_dir(log).map_err(WalError::io("cannot list", log))? {
            let path = entry.map_err(WalError::io("cannot list", log))?.path();
            let Some(name) = path.file_name().and_then(|name| name.to_str()).and_then(parse_file_name) else {
                // The preparer of a stream that is open in this epoch may be at work.
                if path.extension().is_some_and(|extension| extension == "tmp") {
                    continue;
                }
                return Err(WalError::ForeignFile { path });
            };
            found.push(self.read_info(path, name)?);
        }
        found.sort_by_key(|info| (info.header.epoch, info.header.stream, info.header.number));
        link(&mut found, log)?;
        Ok(found)
    }

    fn read_info(&self, path: PathBuf, name: (u16, u32, u32)) -> Result<SegmentInfo, WalError> {
        let Manifest { cluster, epoch, .. } = self.inner.manifest;
        let mut head = Vec::new();
        let file = File::open(&path).map_err(WalError::io("cannot open", &path))?;
        (&file)
            .take(SEGMENT_HEADER_BYTES)
            .read_to_end(&mut head)
            .map_err(WalError::io("cannot read", &path))?;
        let header = match SegmentHeader::decode(&head) {
            Ok(header) => header,
            Err(HeaderError::Version(found)) => {
                return Err(WalError::SegmentVersion { path, found, expected: FORMAT_VERSION });
            }
            Err(HeaderError::Damaged(why)) => return Err(WalError::Corrupt { file: path, offset: 0, why }),
        };
        if header.cluster != cluster {
            return Err(WalError::ForeignCluster { path, found: header.cluster, expected: cluster });
        }
        if (header.stream, header.epoch, header.number) != name {
            return Err(WalError::Misnamed { path, inside: header.file_name() });
        }
        if header.epoch > epoch {
            return Err(WalError::EpochAhead { path, found: header.epoch, manifest: epoch });
        }
        let len = file.metadata().map_err(WalError::io("cannot stat", &path))?.len();
        if len != header.segment_bytes {
            let why = "the file's length is not the one in its header";
            return Err(WalError::Corrupt { file: path, offset: len.min(header.segment_bytes), why });
        }
        Ok(SegmentInfo { path, header, successor: Successor::Missing })
    }

    /// Where a stream's positions of this epoch begin: behind everything its older segments cover.
    pub(crate) fn first_position(&self, stream: u16) -> Result<Position, WalError> {
        let segments = self.segments()?;
        let ends = segments.iter().filter(|info| info.stream() == stream).map(SegmentInfo::end_position);
        Ok(ends.max().unwrap_or(0))
    }
}

/// Notes who follows whom, and refuses a gap.
fn link(segments: &mut [SegmentInfo], log: &Path) -> Result<(), WalError> {
    for at in 0..segments.len() {
        let (before, from) = segments.split_at_mut(at);
        let header = from[0].header;
        let previous = before
            .last_mut()
            .filter(|last| (last.header.epoch, last.header.stream) == (header.epoch, header.stream));
        let expected = previous.as_ref().map_or(0, |last| last.header.number + 1);
        if header.number != expected {
            let path = log.join(file_name(header.stream, header.epoch, expected));
            return Err(WalError::SegmentMissing { path });
        }
        if let Some(previous) = previous {
            if previous.end_position() != header.first_position {
                let why = "its positions do not continue those of the segment before";
                return Err(WalError::Corrupt { file: from[0].path.clone(), offset: 0, why });
            }
            previous.successor =
                if is_written(&from[0].path)? { Successor::Written } else { Successor::Unwritten };
        }
    }
    Ok(())
}

/// True if something stands where the first record's header would be.
fn is_written(path: &Path) -> Result<bool, WalError> {
    use std::os::unix::fs::FileExt;
    let mut head = [0; RECORD_HEADER_BYTES];
    let file = File::open(path).map_err(WalError::io("cannot open", path))?;
    file.read_exact_at(&mut head, SEGMENT_HEADER_BYTES).map_err(WalError::io("cannot read", path))?;
    Ok(head != [0; RECORD_HEADER_BYTES])
}

/// Takes the lock, or tells who has it.
fn lock(path: &Path) -> Result<File, WalError> {
    let name = path.join(LOCK);
    let mut file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&name)
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

/// A directory without a manifest must be empty, apart from what an interrupted first open leaves.
fn refuse_foreign(path: &Path) -> Result<(), WalError> {
    let refused = |found: String| Err(WalError::ForeignDirectory { path: path.into(), found });
    for entry in std::fs::read_dir(path).map_err(WalError::io("cannot list", path))? {
        let name = entry.map_err(WalError::io("cannot list", path))?.file_name();
        let name = name.to_string_lossy();
        match &*name {
            LOCK | "MANIFEST.tmp" | "lost+found" => {}
            LOG => {
                let log = path.join(LOG);
                let mut inside = std::fs::read_dir(&log).map_err(WalError::io("cannot list", &log))?;
                if inside.next().is_some() {
                    return refused("log segments".into());
                }
            }
            other => return refused(other.into()),
        }
    }
    Ok(())
}

/// Three states: never written (`None`), good, and unreadable (an error).
fn read_manifest(path: &Path) -> Result<Option<Manifest>, WalError> {
    match std::fs::read(path) {
        Ok(bytes) => Manifest::decode(&bytes, path).map(Some),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(WalError::io("cannot read", path)(error)),
    }
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

fn next_epoch(epoch: u32, path: &Path) -> Result<u32, WalError> {
    let why = || "its epoch is the last one there can be".into();
    epoch.checked_add(1).ok_or_else(|| WalError::BadManifest { path: path.join(MANIFEST), why: why() })
}

fn random_cluster() -> Result<u128, WalError> {
    let path = Path::new("/dev/urandom");
    let mut id = [0; 16];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut id));
    read.map_err(WalError::io("cannot read", path))?;
    Ok(u128::from_le_bytes(id))
}

/// Removes half-made segments: they never got their name, so nothing was written into them.
fn remove_leftovers(log: &Path) -> Result<(), WalError> {
    for entry in std::fs::read_dir(log).map_err(WalError::io("cannot list", log))? {
        let path = entry.map_err(WalError::io("cannot list", log))?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".tmp"));
        if name.and_then(parse_file_name).is_some() {
            std::fs::remove_file(&path).map_err(WalError::io("cannot remove", &path))?;
        }
    }
    Ok(())
}
