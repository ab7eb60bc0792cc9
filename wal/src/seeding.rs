//! Putting a seed in the place of a standby's log and snapshots, so that a crash at any step leaves either what was
//! there before or the seed.
//!
//! What arrives is written to `seed/`, beside everything, and checked. Then `SEED` says durably that it counts: from
//! there on, every open of the directory first moves what was there to `cut/seeded-0001/` and the seed into its place,
//! piece by piece, each only while it still lies in `seed/`. Last, `SEED` says that it is in place, and up to where
//! the log must come before the snapshots are not ahead of it any more; until then this node is not promoted.
//!
//! ```text
//! frontrow-seed 1
//! cluster 00112233445566778899aabbccddeeff
//! state placed
//! aside seeded-0001
//! epoch 5
//! stream 0 position 1234567
//! crc32c 89abcdef
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::path::{Path, PathBuf};

use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::{FORMAT_VERSION, Position};
use crate::fs::{Disk, create_dir_durably, replace_file};
use crate::history::{HISTORY, History};
use crate::mark::{TRIM, TrimMark};
use crate::regular;
use crate::sealed::sealed;
use crate::seed::Floor;
use crate::snapshot::{Snapshot, SnapshotFile, parse_snapshot_name};
use crate::standby::CUT;
use crate::stream::{FileMeta, StreamError};
use crate::view::{LOG, SNAP};

pub(crate) const SEED: &str = "SEED";
const STAGE: &str = "seed";
const MAGIC: &str = "frontrow-seed";
/// What is exchanged, in this order.
const PARTS: [&str; 4] = [LOG, SNAP, TRIM, HISTORY];
/// One line for each stream there can be, and then some.
const BYTES_MAX: usize = 8 << 20;

/// Why a seed cannot be taken in. What was there before is as it was.
#[derive(Debug, thiserror::Error)]
pub enum SeedError {
    /// The directory or the disk.
    #[error(transparent)]
    Log(#[from] WalError),
    /// What the other node sends is not what it says.
    #[error(transparent)]
    Stream(#[from] StreamError),
}

/// A seed as it arrives.
pub struct SeedIntake {
    dir: DataDir,
    stage: PathBuf,
    current: Option<Current>,
    mark: Vec<u8>,
    done: BTreeSet<String>,
}

struct Current {
    meta: FileMeta,
    /// None for the mark, which is kept in memory until the end.
    file: Option<(File, PathBuf)>,
    next: u64,
    crc: u32,
}

impl SeedIntake {
    /// Makes an empty place for it.
    pub fn begin(dir: &DataDir) -> Result<Self, WalError> {
        let stage = dir.path().join(STAGE);
        remove_stage(&stage)?;
        for folder in [stage.clone(), stage.join(LOG), stage.join(SNAP)] {
            create_dir_durably(&**dir.disk(), &folder).map_err(WalError::io("cannot create", &folder))?;
        }
        let (current, mark, done) = (None, Vec::new(), BTreeSet::new());
        Ok(Self { dir: dir.clone(), stage, current, mark, done })
    }

    /// Takes a piece; each file's come in their order, one file after the other.
    pub fn take(&mut self, meta: &FileMeta, offset: u64, bytes: &[u8]) -> Result<(), SeedError> {
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.open(meta)?,
        };
        let end = offset.checked_add(bytes.len() as u64).filter(|end| *end <= meta.len);
        let (true, Some(end)) = (current.meta == *meta && current.next == offset, end) else {
            return Err(
                StreamError::Unexpected("a piece of a seed that does not continue the last one").into()
            );
        };
        current.crc = crc32c::crc32c_append(current.crc, bytes);
        current.next = end;
        match &current.file {
            Some((file, path)) => {
                let disk = &**self.dir.disk();
                disk.write(file, bytes, offset).map_err(WalError::room("cannot write", path, meta.len))?;
                disk.sync_data(file).map_err(WalError::io("cannot sync", path))?;
            }
            None => self.mark.extend_from_slice(bytes),
        }
        if end < meta.len {
            self.current = Some(current);
            return Ok(());
        }
        self.close(current)
    }

    fn open(&self, meta: &FileMeta) -> Result<Current, SeedError> {
        if self.done.contains(&meta.name) {
            return Err(StreamError::Unexpected("a file of a seed comes twice").into());
        }
        let file = if meta.name == TRIM {
            if meta.len > BYTES_MAX as u64 {
                return Err(StreamError::Unexpected("a trim mark of an impossible length").into());
            }
            None
        } else {
            let path = self.stage.join(SNAP).join(&meta.name);
            let made = self.dir.disk().create(&path);
            Some((made.map_err(WalError::room("cannot create", &path, meta.len))?, path))
        };
        Ok(Current { meta: meta.clone(), file, next: 0, crc: 0 })
    }

    /// A whole file has come: it must be what it was said to be, and read back.
    fn close(&mut self, current: Current) -> Result<(), SeedError> {
        let Current { meta, file, crc, .. } = current;
        if crc != meta.crc {
            return Err(StreamError::Damaged("a file of a seed is not what it was said to be").into());
        }
        if let Some((file, path)) = file {
            self.dir.disk().sync_all(&file).map_err(WalError::io("cannot sync", &path))?;
            let Some((partition, lsn, twin)) = parse_snapshot_name(&meta.name) else {
                return Err(StreamError::Unexpected("a file that belongs to no seed").into());
            };
            Snapshot::open(self.dir.view(), &SnapshotFile { path, partition, lsn, twin })?;
        }
        self.done.insert(meta.name);
        Ok(())
    }

    /// All `files` have come: puts them in the place of what is there, under `history`. Nobody may read this
    /// directory's log or snapshots meanwhile. Dying in between, the next open goes on with it.
    pub fn place(self, files: u32, floor: Floor, history: &History) -> Result<(), SeedError> {
        let whole = self.current.is_none() && self.done.len() == files as usize && self.done.contains(TRIM);
        if !whole {
            return Err(StreamError::Unexpected("a seed ends before all of it has come").into());
        }
        let (disk, path) = (&**self.dir.disk(), self.dir.path());
        let manifest = &self.dir.view().manifest;
        let mark = TrimMark::decode(&self.mark, &self.stage.join(TRIM))?;
        let mark = mark.belonging(manifest, self.stage.join(TRIM))?.without_files();
        mark.write(disk, &self.stage)?;
        history.write(disk, &self.stage)?;
        let snap = self.stage.join(SNAP);
        disk.sync_dir(&snap).map_err(WalError::io("cannot sync", &snap))?;
        let aside = new_folder(disk, path)?;
        let marker = Marker { cluster: manifest.cluster, placed: false, aside, floor };
        marker.write(disk, path)?;
        settle(path, disk, manifest.cluster)?;
        self.dir.retired().forget();
        Ok(())
    }
}

/// A folder in `cut/` for what is moved aside.
fn new_folder(disk: &dyn Disk, path: &Path) -> Result<String, WalError> {
    let cut = path.join(CUT);
    create_dir_durably(disk, &cut).map_err(WalError::io("cannot create", &cut))?;
    let mut number = 1;
    loop {
        let name = format!("seeded-{number:04}");
        let folder = cut.join(&name);
        if !folder.exists() {
            create_dir_durably(disk, &folder).map_err(WalError::io("cannot create", &folder))?;
            return Ok(name);
        }
        number += 1;
    }
}

/// Whenever a directory is opened: goes on with a seed that was being put in place; one that had not wholly come is
/// forgotten.
pub(crate) fn settle(path: &Path, disk: &dyn Disk, cluster: u128) -> Result<(), WalError> {
    let (marker, stage) = (Marker::read(path, cluster)?, path.join(STAGE));
    let Some(marker) = marker.filter(|marker| !marker.placed) else { return remove_stage(&stage) };
    let aside = path.join(CUT).join(&marker.aside);
    for part in PARTS {
        let (old, new, gone) = (path.join(part), stage.join(part), aside.join(part));
        // It is in its place already.
        if !new.exists() {
            continue;
        }
        if old.exists() {
            disk.rename(&old, &gone).map_err(WalError::io("cannot move aside", &old))?;
        }
        disk.rename(&new, &old).map_err(WalError::io("cannot put in place", &old))?;
    }
    for folder in [&aside, &stage, path] {
        disk.sync_dir(folder).map_err(WalError::io("cannot sync", folder))?;
    }
    tracing::warn!(
        aside = %aside.display(),
        "this node begins from the primary's snapshots; what it had is kept aside, and may be removed"
    );
    Marker { placed: true, ..marker }.write(disk, path)?;
    remove_stage(&stage)
}

fn remove_stage(stage: &Path) -> Result<(), WalError> {
    match std::fs::remove_dir_all(stage) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(WalError::io("cannot remove", stage)(error))
        }
        _ => Ok(()),
    }
}

impl DataDir {
    /// Up to where this log must come before the snapshots it was seeded with are not ahead of it; `None` if it was
    /// not seeded, or is there.
    pub fn floor(&self) -> Result<Option<Floor>, WalError> {
        Ok(Marker::read(self.path(), self.cluster())?.map(|marker| marker.floor))
    }

    /// The log has come that far, durably.
    pub fn floor_reached(&self) -> Result<(), WalError> {
        let path = self.path().join(SEED);
        if path.exists() {
            self.disk().remove(&path).map_err(WalError::io("cannot remove", &path))?;
            self.disk().sync_dir(self.path()).map_err(WalError::io("cannot sync", self.path()))?;
        }
        Ok(())
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Marker {
    cluster: u128,
    placed: bool,
    aside: String,
    floor: Floor,
}

impl Marker {
    fn read(dir: &Path, cluster: u128) -> Result<Option<Self>, WalError> {
        let path = dir.join(SEED);
        let bytes = match regular::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(WalError::io("cannot read", &path)(error)),
        };
        let bad = |why: &str| WalError::BadSeed { path: path.clone(), why: why.into() };
        let text = std::str::from_utf8(&bytes).ok().filter(|text| text.len() <= BYTES_MAX);
        let marker = text.and_then(Marker::decode).ok_or_else(|| bad("it does not parse"))?;
        // One spelling only: encoding again must give the same bytes, checksum and all.
        if Some(marker.encode().as_str()) != text {
            return Err(bad("its checksum does not match"));
        }
        if marker.cluster != cluster {
            return Err(WalError::ForeignCluster { path, found: marker.cluster, expected: cluster });
        }
        Ok(Some(marker))
    }

    fn write(&self, disk: &dyn Disk, dir: &Path) -> Result<(), WalError> {
        replace_file(disk, dir, SEED, self.encode().as_bytes())
            .map_err(WalError::io("cannot write the note of a seed in", dir))
    }

    fn encode(&self) -> String {
        use std::fmt::Write;
        let Marker { cluster, placed, aside, floor } = self;
        let state = if *placed { "placed" } else { "arrived" };
        let mut body = format!(
            "{MAGIC} {FORMAT_VERSION}\ncluster {cluster:032x}\nstate {state}\naside {aside}\nepoch {}\n",
            floor.epoch
        );
        for (stream, position) in &floor.streams {
            // Writing into a string cannot fail.
            let _ = writeln!(body, "stream {stream} position {position}");
        }
        sealed(&body)
    }

    fn decode(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let mut field = |name: &str| lines.next()?.strip_prefix(name)?.strip_prefix(' ');
        if field(MAGIC)?.parse() != Ok(FORMAT_VERSION) {
            return None;
        }
        let cluster = u128::from_str_radix(field("cluster")?, 16).ok()?;
        let placed = field("state")? == "placed";
        let aside = field("aside")?.to_owned();
        let epoch = field("epoch")?.parse().ok()?;
        let mut streams: BTreeMap<u16, Position> = BTreeMap::new();
        for line in lines.take_while(|line| line.starts_with("stream ")) {
            let (stream, position) = line.strip_prefix("stream ")?.split_once(" position ")?;
            streams.insert(stream.parse().ok()?, position.parse().ok()?);
        }
        let plain = aside.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        plain.then_some(Marker { cluster, placed, aside, floor: Floor { epoch, streams } })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_flipped_bit_of_the_note_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let floor = Floor { epoch: 5, streams: BTreeMap::from([(0, 1_234_567), (3, 7)]) };
        let marker = Marker { cluster: 7, placed: false, aside: "seeded-0001".into(), floor };
        let (path, bytes) = (folder.path().join(SEED), marker.encode().into_bytes());
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Marker::read(folder.path(), 7).unwrap(), Some(marker));
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, &flipped).unwrap();
            assert!(Marker::read(folder.path(), 7).is_err(), "bit {bit}");
        }
    }
}
