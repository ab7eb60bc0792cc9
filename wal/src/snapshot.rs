//! Snapshot files: what a caller saved of one partition's state at one of its records.
//!
//! A snapshot gets its name only when it is whole and durable, as segments do. Two that read back are
//! kept of every partition; trimming goes by the older one, so that damage of the newer loses nothing. Of a
//! partition in which nothing happens any more, the second one is a twin: the same state, in a file of its
//! own. Without it such a partition would keep the log of all others for ever.

use std::fs::File;
use std::path::{Path, PathBuf};

use memmap2::{Mmap, MmapOptions};

use crate::dir::DataDir;
use crate::error::WalError;
use crate::fs::{Disk, PIECE_BYTES};
use crate::regular;
use crate::snapshot_format::{
    SNAPSHOT_BODY_BYTES_MAX, SNAPSHOT_HEADER_BYTES, SNAPSHOT_VERSION, SnapshotError, SnapshotHeader,
    SnapshotMeta, check, tail_of,
};
use crate::view::DirView;

/// Snapshots kept of each partition.
pub const SNAPSHOTS_KEPT: usize = 2;

/// The name of a snapshot file, taken apart; nothing of it was read yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotFile {
    pub(crate) path: PathBuf,
    pub(crate) partition: u16,
    pub(crate) lsn: u64,
    pub(crate) twin: bool,
}

impl SnapshotFile {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }
    /// Its partition.
    pub fn partition(&self) -> u16 {
        self.partition
    }
    /// The last record in it.
    pub fn lsn(&self) -> u64 {
        self.lsn
    }
    /// True if it is the second of the same state.
    pub fn is_twin(&self) -> bool {
        self.twin
    }
}

pub(crate) fn snapshot_name(partition: u16, lsn: u64, twin: bool) -> String {
    format!("p{partition:04}-{lsn:016x}{}.snap", if twin { "-twin" } else { "" })
}

/// `(partition, LSN, twin)` of a snapshot's file name; `None` if it is no such name.
pub(crate) fn parse_snapshot_name(name: &str) -> Option<(u16, u64, bool)> {
    let (partition, rest) = name.strip_prefix('p')?.strip_suffix(".snap")?.split_once('-')?;
    let (lsn, twin) = rest.strip_suffix("-twin").map_or((rest, false), |lsn| (lsn, true));
    let (partition, lsn) = (partition.parse().ok()?, u64::from_str_radix(lsn, 16).ok()?);
    // Only the one spelling.
    (snapshot_name(partition, lsn, twin) == name).then_some((partition, lsn, twin))
}

/// A mapped snapshot, every byte of it checked.
#[derive(Debug)]
pub struct Snapshot {
    file: SnapshotFile,
    header: SnapshotHeader,
    map: Mmap,
    body: std::ops::Range<usize>,
}

impl Snapshot {
    /// Maps a snapshot and checks all of it, and that it belongs to this directory and to its name.
    pub fn open(view: &DirView, file: &SnapshotFile) -> Result<Self, WalError> {
        let path = file.path();
        let opened = regular::open(path).map_err(WalError::io("cannot open", path))?;
        let len = opened.metadata().map_err(WalError::io("cannot stat", path))?.len();
        if len < SNAPSHOT_HEADER_BYTES as u64 {
            let why = "the file is shorter than a snapshot header";
            return Err(WalError::BadSnapshot { path: path.into(), offset: len, why });
        }
        // SAFETY: a snapshot is never written again once it has its name, and removing it leaves the
        // mapping whole. A foreign program that truncates it would cause SIGBUS.
        let map = unsafe { MmapOptions::new().len(len as usize).map(&opened) };
        let map = map.map_err(WalError::io("cannot map", path))?;
        let (header, body) = check(&map).map_err(|error| match error {
            SnapshotError::Version(found) => {
                WalError::SnapshotVersion { path: path.into(), found, expected: SNAPSHOT_VERSION }
            }
            SnapshotError::Damaged(offset, why) => WalError::BadSnapshot { path: path.into(), offset, why },
        })?;
        let snapshot = Snapshot { file: file.clone(), header, map, body };
        snapshot.belongs(view)?;
        Ok(snapshot)
    }

    fn belongs(&self, view: &DirView) -> Result<(), WalError> {
        let (path, header) = (self.file.path.clone(), &self.header);
        if header.cluster != view.cluster() {
            return Err(WalError::ForeignCluster { path, found: header.cluster, expected: view.cluster() });
        }
        if (header.meta.partition, header.meta.lsn) != (self.file.partition, self.file.lsn) {
            let inside = snapshot_name(header.meta.partition, header.meta.lsn, self.file.twin);
            return Err(WalError::Misnamed { path, inside });
        }
        if header.partitions != view.partitions() || header.meta.partition >= header.partitions {
            let asked = view.partitions();
            return Err(WalError::PartitionCount { path, found: header.partitions, asked });
        }
        if header.meta.epoch > view.epoch() {
            let (found, manifest) = (header.meta.epoch, view.epoch());
            return Err(WalError::EpochAhead { path, found, manifest });
        }
        Ok(())
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Which state it holds.
    pub fn meta(&self) -> &SnapshotMeta {
        &self.header.meta
    }

    /// The whole file, in place.
    pub(crate) fn file_bytes(&self) -> &[u8] {
        &self.map
    }

    /// What the caller saved, in place; starts at a multiple of 4096 in memory.
    pub fn body(&self) -> &[u8] {
        &self.map[self.body.clone()]
    }
}

/// The newest snapshots of a partition that read back, and what became of those that do not.
pub(crate) struct Readable {
    /// At most as many as asked for, the newest first.
    pub(crate) good: Vec<Snapshot>,
    pub(crate) bad: Vec<WalError>,
}

/// Opens up to `want` snapshots out of `files`, which are one partition's, the newest first.
pub(crate) fn readable<'a>(
    view: &DirView,
    files: impl Iterator<Item = &'a SnapshotFile>,
    want: usize,
) -> Result<Readable, WalError> {
    let mut found = Readable { good: Vec::new(), bad: Vec::new() };
    for file in files {
        match Snapshot::open(view, file) {
            Ok(snapshot) => found.good.push(snapshot),
            Err(error) if error.is_about_this_file() => found.bad.push(error),
            Err(error) => return Err(error),
        }
        if found.good.len() == want {
            break;
        }
    }
    Ok(found)
}

impl DataDir {
    /// Writes a snapshot, durably, reads it back, and then removes what is older than the two newest good
    /// ones. `body` is what the caller will get from [`Snapshot::body`].
    ///
    /// Where there is one of this LSN already, a twin is written. Written in pieces that are synced one by one,
    /// so that commits of the log need not wait long.
    pub fn write_snapshot(&self, meta: &SnapshotMeta, body: &[u8]) -> Result<Snapshot, WalError> {
        let file = self.make_snapshot(meta, body)?;
        // What a bad memory or controller made of it is found now, while the older one is still there.
        let snapshot = Snapshot::open(self.view(), &file)?;
        self.prune_snapshots(meta.partition)?;
        Ok(snapshot)
    }

    fn make_snapshot(&self, meta: &SnapshotMeta, body: &[u8]) -> Result<SnapshotFile, WalError> {
        let snap = self.view().snap();
        let SnapshotMeta { partition, lsn, .. } = *meta;
        let twin = snap.join(snapshot_name(partition, lsn, false)).exists();
        let name = snapshot_name(partition, lsn, twin);
        let file = SnapshotFile { path: snap.join(&name), partition, lsn, twin };
        let body_bytes = body.len() as u64;
        if partition >= self.partitions() || body_bytes > SNAPSHOT_BODY_BYTES_MAX {
            let (option, value, why) = if partition >= self.partitions() {
                ("partition", u64::from(partition), format!("there are {}", self.partitions()))
            } else {
                ("snapshot bytes", body_bytes, format!("at most {SNAPSHOT_BODY_BYTES_MAX} are allowed"))
            };
            return Err(WalError::BadOption { option, value, why });
        }
        let header = SnapshotHeader {
            meta: *meta,
            cluster: self.cluster(),
            partitions: self.partitions(),
            body_bytes,
        };
        let page = header.encode();
        let temporary = snap.join(format!("{name}.tmp"));
        let disk = &**self.disk();
        let made = (|| {
            let made = disk.create(&temporary)?;
            write_pieces(disk, &made, &[&page, body, &tail_of(&page, body)])?;
            disk.sync_all(&made)?;
            disk.rename(&temporary, &file.path)?;
            disk.sync_dir(&snap)
        })();
        if let Err(error) = made {
            // Give the space back; the error that matters is the first one.
            let _ = disk.remove(&temporary);
            return Err(WalError::room("cannot write snapshot", &file.path, header.file_bytes())(error));
        }
        Ok(file)
    }

    /// Removes a partition's snapshots that come after its two newest good ones. A damaged one is not
    /// counted, and stays until it is older than both: it may be all that is left for a repair.
    fn prune_snapshots(&self, partition: u16) -> Result<(), WalError> {
        let _one_at_a_time = self.removing();
        let all = self.snapshots()?;
        let own: Vec<_> = all.iter().filter(|file| file.partition == partition).collect();
        if own.len() <= SNAPSHOTS_KEPT {
            return Ok(());
        }
        let kept = readable(self.view(), own.iter().copied(), SNAPSHOTS_KEPT)?.good;
        let Some(oldest) = kept.get(SNAPSHOTS_KEPT - 1) else { return Ok(()) };
        let disk = &**self.disk();
        for file in own.iter().skip_while(|file| file.path != oldest.path()).skip(1) {
            disk.remove(&file.path).map_err(WalError::io("cannot remove", &file.path))?;
        }
        let snap = self.view().snap();
        disk.sync_dir(&snap).map_err(WalError::io("cannot sync", &snap))
    }
}

fn write_pieces(disk: &dyn Disk, file: &File, parts: &[&[u8]]) -> std::io::Result<()> {
    let mut at = 0;
    for part in parts {
        for piece in part.chunks(PIECE_BYTES) {
            disk.write(file, piece, at)?;
            at += piece.len() as u64;
            if piece.len() == PIECE_BYTES {
                disk.sync_data(file)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_one_spelling() {
        assert_eq!(parse_snapshot_name("p0003-00000000000000ff.snap"), Some((3, 255, false)));
        assert_eq!(parse_snapshot_name("p0003-00000000000000ff-twin.snap"), Some((3, 255, true)));
        for name in ["p3-ff.snap", "p0003-00000000000000FF.snap", "p0003-00000000000000ff.snap.tmp", "x"] {
            assert_eq!(parse_snapshot_name(name), None, "{name}");
        }
    }
}
