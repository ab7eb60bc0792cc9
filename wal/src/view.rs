//! A data directory as it is read: manifest, trim mark, segments and snapshots. Takes no lock.
//!
//! [`crate::DataDir`] looks through it, and so does whoever inspects the directory of a running server.
//! Beside a running server the picture moves: a listing is tried again when a name went away under it.

use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::error::WalError;
use crate::format::{
    FORMAT_VERSION, HeaderError, Position, RECORD_HEADER_BYTES, SEGMENT_HEADER_BYTES, SegmentHeader,
    file_name, parse_file_name,
};
use crate::manifest::{MANIFEST, Manifest};
use crate::mark::{Kept, TrimMark};
use crate::regular;
use crate::snapshot::{SnapshotFile, parse_snapshot_name};

pub(crate) const LOG: &str = "log";
pub(crate) const SNAP: &str = "snap";
const LOCK: &str = "LOCK";
/// Listings of a directory that changes meanwhile, before what is missing counts as lost.
const LISTINGS: usize = 8;

/// Reads a data directory, whether or not a server has it open.
#[derive(Debug, Clone)]
pub struct DirView {
    path: PathBuf,
    pub(crate) manifest: Manifest,
}

/// One segment file, its header read and checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentInfo {
    pub(crate) path: PathBuf,
    pub(crate) header: SegmentHeader,
    pub(crate) successor: Successor,
    pub(crate) old: bool,
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
    /// True if its epoch is over: nothing is written into it any more.
    pub fn is_old(&self) -> bool {
        self.old
    }
    /// True if it will not change any more: its epoch is over, or the next segment is in use.
    pub fn is_closed(&self) -> bool {
        self.old || self.successor == Successor::Written
    }
    /// First position behind all it could hold.
    pub fn end_position(&self) -> Position {
        self.header.first_position.saturating_add(self.header.segment_bytes - SEGMENT_HEADER_BYTES)
    }
    /// True for segments of the same stream and epoch.
    fn same_run(&self, other: &SegmentInfo) -> bool {
        (self.header.epoch, self.header.stream) == (other.header.epoch, other.header.stream)
    }
    fn is_followed_by(&self, next: &SegmentInfo) -> bool {
        self.same_run(next) && self.header.number + 1 == next.header.number
    }
    /// Where it stands in its stream.
    pub(crate) fn place(&self) -> (u32, u32) {
        (self.header.epoch, self.header.number)
    }
}

impl DirView {
    /// Reads the manifest. Writes nothing and takes no lock.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, WalError> {
        let path = path.as_ref();
        match Manifest::read(&path.join(MANIFEST))? {
            Some(manifest) => Ok(DirView::new(path, manifest)),
            None => Err(WalError::NotInitialised { path: path.into() }),
        }
    }

    pub(crate) fn new(path: &Path, manifest: Manifest) -> Self {
        DirView { path: path.into(), manifest }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// The epoch the manifest is at.
    pub fn epoch(&self) -> u32 {
        self.manifest.epoch
    }
    /// The cluster's random id.
    pub fn cluster(&self) -> u128 {
        self.manifest.cluster
    }
    /// The number of partitions it was made with.
    pub fn partitions(&self) -> u16 {
        self.manifest.partitions
    }
    /// When it was made, in milliseconds since 1970.
    pub fn created_ms(&self) -> u64 {
        self.manifest.created_ms
    }

    /// The process that has the directory open for writing, as the kernel says; `None` if nobody has, or
    /// if this kernel does not say. Does not touch the lock itself: a server could fail to start by it.
    pub fn open_by(&self) -> Option<u32> {
        use std::os::unix::fs::MetadataExt;
        let inode = std::fs::metadata(self.path.join(LOCK)).ok()?.ino();
        let locks = std::fs::read_to_string("/proc/locks").ok()?;
        // "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"
        locks.lines().find_map(|line| {
            let mut words = line.split_whitespace().skip_while(|word| *word != "FLOCK").skip(3);
            let (pid, file) = (words.next()?, words.next()?);
            (file.rsplit(':').next()?.parse() == Ok(inode)).then(|| pid.parse().ok())?
        })
    }

    pub(crate) fn log(&self) -> PathBuf {
        self.path.join(LOG)
    }

    pub(crate) fn snap(&self) -> PathBuf {
        self.path.join(SNAP)
    }

    pub(crate) fn mark(&self) -> Result<TrimMark, WalError> {
        TrimMark::read(&self.path, &self.manifest)
    }

    /// All segments in replay order: by epoch, then stream, then number; trimmed ones are not among them.
    ///
    /// Names, headers and completeness are checked here, records when they are read. Beside a writer the
    /// list includes segments being written: see [`SegmentInfo::is_closed`].
    pub fn segments(&self) -> Result<Vec<SegmentInfo>, WalError> {
        let mut tries = 1;
        loop {
            match self.list_segments() {
                // A name may have come or gone between two steps of the listing.
                Err(error) if error.may_have_moved() && tries < LISTINGS => tries += 1,
                listed => return listed,
            }
        }
    }

    fn list_segments(&self) -> Result<Vec<SegmentInfo>, WalError> {
        let (mark, log) = (self.mark()?, self.log());
        let mut found = Vec::new();
        for (path, (stream, epoch, number)) in list_names(&log, parse_file_name)? {
            if !mark.is_trimmed(stream, (epoch, number)) {
                found.push(self.read_info(path, (stream, epoch, number))?);
            }
        }
        found.sort_by_key(|info| (info.header.epoch, info.header.stream, info.header.number));
        let mut found = without_unused(&found)?;
        follow(&mut found)?;
        check_chain(&found, &mark, &log)?;
        Ok(found)
    }

    pub(crate) fn read_info(&self, path: PathBuf, name: (u16, u32, u32)) -> Result<SegmentInfo, WalError> {
        let Manifest { cluster, epoch, .. } = self.manifest;
        let mut head = Vec::new();
        let file = regular::open(&path).map_err(WalError::io("cannot open", &path))?;
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
        Ok(SegmentInfo { path, header, successor: Successor::Missing, old: header.epoch < epoch })
    }

    /// The snapshot files by partition, the newest of each first. Only names are read.
    pub fn snapshots(&self) -> Result<Vec<SnapshotFile>, WalError> {
        let snap = self.snap();
        if !snap.is_dir() {
            return Ok(Vec::new());
        }
        let mut found: Vec<_> = list_names(&snap, parse_snapshot_name)?
            .into_iter()
            .map(|(path, (partition, lsn, twin))| SnapshotFile { path, partition, lsn, twin })
            .collect();
        found.sort_by_key(|file| (file.partition, std::cmp::Reverse(file.lsn), file.twin));
        Ok(found)
    }

    /// Where a stream's positions of the next epoch begin: behind everything its segments cover or covered.
    pub(crate) fn first_position(&self, stream: u16) -> Result<Position, WalError> {
        let segments = self.segments()?;
        let ends = segments.iter().filter(|info| info.stream() == stream).map(SegmentInfo::end_position);
        Ok(ends.max().unwrap_or(0).max(self.mark()?.position(stream)))
    }
}

/// The files of a directory whose names `parse` knows; files being made are passed over, others refused.
pub(crate) fn list_names<N>(
    dir: &Path,
    parse: impl Fn(&str) -> Option<N>,
) -> Result<Vec<(PathBuf, N)>, WalError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(WalError::io("cannot list", dir))? {
        let path = entry.map_err(WalError::io("cannot list", dir))?.path();
        match path.file_name().and_then(|name| name.to_str()).and_then(&parse) {
            Some(name) => found.push((path, name)),
            None if path.extension().is_some_and(|extension| extension == "tmp") => {}
            None => return Err(WalError::ForeignFile { path }),
        }
    }
    Ok(found)
}

/// Leaves out what was prepared and never used, where a clean end was cut short while it removed that: then
/// segments without a record stand behind a gap. Had the missing one ever been used, the one before it
/// would be sealed, and reading it would tell.
pub(crate) fn without_unused(sorted: &[SegmentInfo]) -> Result<Vec<SegmentInfo>, WalError> {
    let mut out = Vec::with_capacity(sorted.len());
    for run in sorted.chunk_by(SegmentInfo::same_run) {
        let gap = run.windows(2).position(|pair| !pair[0].is_followed_by(&pair[1]));
        let (before, behind) = run.split_at(gap.map_or(run.len(), |at| at + 1));
        out.extend_from_slice(before);
        for info in behind {
            if is_written(&info.path)? {
                out.extend_from_slice(behind);
                break;
            }
        }
    }
    Ok(out)
}

/// Notes of each segment who follows it.
pub(crate) fn follow(segments: &mut [SegmentInfo]) -> Result<(), WalError> {
    for at in 1..segments.len() {
        let (before, from) = segments.split_at_mut(at);
        let (last, next) = (&mut before[at - 1], &from[0]);
        if last.is_followed_by(next) {
            let written = is_written(&next.path)?;
            last.successor = if written { Successor::Written } else { Successor::Unwritten };
        }
    }
    Ok(())
}

/// Refuses a gap: every epoch of a stream begins with segment 0, but for the one that was trimmed last,
/// which begins where the mark says.
pub(crate) fn check_chain(segments: &[SegmentInfo], mark: &TrimMark, log: &Path) -> Result<(), WalError> {
    for (&stream, kept) in mark.streams() {
        let first = segments.iter().find(|info| info.header.stream == stream);
        kept_is_there(first, stream, *kept, log)?;
    }
    let mut previous: Option<&SegmentInfo> = None;
    for info in segments {
        let header = info.header;
        let before = previous.filter(|last| last.same_run(info));
        let first = mark.first_number(header.stream, header.epoch);
        let expected = before.map_or(first, |last| last.header.number + 1);
        if header.number != expected {
            let path = log.join(file_name(header.stream, header.epoch, expected));
            return Err(WalError::SegmentMissing { path });
        }
        if before.is_some_and(|last| last.end_position() != header.first_position) {
            let why = "its positions do not continue those of the segment before";
            return Err(WalError::Corrupt { file: info.path.clone(), offset: 0, why });
        }
        previous = Some(info);
    }
    Ok(())
}

/// The first segment that trimming left must exist, at the position it had.
fn kept_is_there(first: Option<&SegmentInfo>, stream: u16, kept: Kept, log: &Path) -> Result<(), WalError> {
    if !kept.exists {
        return Ok(());
    }
    match first {
        Some(info) if info.place() == (kept.epoch, kept.number) => {
            if info.first_position() == kept.position {
                return Ok(());
            }
            let why = "its positions do not begin where trimming left off";
            Err(WalError::Corrupt { file: info.path.clone(), offset: 40, why })
        }
        _ => Err(WalError::SegmentMissing { path: log.join(file_name(stream, kept.epoch, kept.number)) }),
    }
}

/// True if something stands where the first record's header would be.
pub(crate) fn is_written(path: &Path) -> Result<bool, WalError> {
    let mut head = [0; RECORD_HEADER_BYTES];
    let file = regular::open(path).map_err(WalError::io("cannot open", path))?;
    file.read_exact_at(&mut head, SEGMENT_HEADER_BYTES).map_err(WalError::io("cannot read", path))?;
    Ok(head != [0; RECORD_HEADER_BYTES])
}
