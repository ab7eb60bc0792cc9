//! What stands in for the part of a log that is gone: the trim mark and, of every partition, its newest snapshot. A
//! standby that has less than the log's beginning is given these, and then the log from the mark on. The other
//! end: [`crate::SeedIntake`].

use std::collections::BTreeMap;

use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::Position;
use crate::mark::TRIM;
use crate::snapshot::{SNAPSHOTS_KEPT, Snapshot, parse_snapshot_name, readable};
use crate::stream::FileMeta;

/// Up to where a log must go before it holds what a seed's snapshots do: before that, they are ahead of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Floor {
    /// The epoch under way when the snapshots were chosen; all of the earlier ones is in the floor, too.
    pub epoch: u32,
    /// By stream, the position in this epoch.
    pub streams: BTreeMap<u16, Position>,
}

impl Floor {
    /// Whether a stream's log that goes up to `have` reaches it.
    pub fn is_reached(&self, stream: u16, have: (u32, Position)) -> bool {
        let floor = self.streams.get(&stream).copied().unwrap_or(0);
        floor == 0 || have >= (self.epoch, floor)
    }
}

/// One file of a seed.
#[derive(Debug)]
pub struct SeedFile {
    meta: FileMeta,
    contents: Contents,
}

#[derive(Debug)]
enum Contents {
    Mark(Vec<u8>),
    /// Mapped: its bytes stay, even when a newer one takes its place.
    Snapshot(Snapshot),
}

impl SeedFile {
    /// Its name, length and checksum.
    pub fn meta(&self) -> &FileMeta {
        &self.meta
    }

    /// What is in it.
    pub fn bytes(&self) -> &[u8] {
        match &self.contents {
            Contents::Mark(bytes) => bytes,
            Contents::Snapshot(snapshot) => snapshot.file_bytes(),
        }
    }
}

/// Whether a file of this name belongs to a seed: the trim mark, or a snapshot.
pub fn is_seed_name(name: &str) -> bool {
    name == TRIM || parse_snapshot_name(name).is_some()
}

impl DataDir {
    /// The snapshots to begin with, and the mark that says where the log goes on; the mark comes last.
    ///
    /// The newest of each partition, whatever the trim went by: a partition drops a letter that the newest snapshot of
    /// its receiver has, so older ones do not go together. With its twin, if there is one: then the log may not have
    /// its last record any more. The log behind the mark is enough for all of them.
    pub fn seed(&self) -> Result<Vec<SeedFile>, WalError> {
        let _nothing_goes = self.removing();
        let mark = self.view().mark()?;
        let files = self.snapshots()?;
        let mut seed = Vec::new();
        for partition in 0..self.partitions() {
            let own = files.iter().filter(|file| file.partition() == partition);
            let good = readable(self.view(), own, SNAPSHOTS_KEPT)?.good;
            let newest = good.first().map(|snapshot| snapshot.meta().lsn);
            for snapshot in good.into_iter().filter(|snapshot| Some(snapshot.meta().lsn) == newest) {
                let name = snapshot.path().file_name().unwrap_or_default().to_string_lossy().into_owned();
                seed.push(SeedFile::new(name, Contents::Snapshot(snapshot)));
            }
        }
        seed.push(SeedFile::new(TRIM.to_owned(), Contents::Mark(mark.encode().into_bytes())));
        Ok(seed)
    }

    /// How many streams there are or were, trimmed ones among them.
    pub fn streams(&self) -> Result<u16, WalError> {
        let segments = self.segments()?;
        let there = segments.iter().map(|info| info.stream() + 1).max().unwrap_or(0);
        let gone = self.view().mark()?.streams().keys().next_back().map_or(0, |stream| stream + 1);
        Ok(there.max(gone))
    }
}

impl SeedFile {
    fn new(name: String, contents: Contents) -> Self {
        let mut file = SeedFile { meta: FileMeta { name, len: 0, crc: 0 }, contents };
        let (len, crc) = (file.bytes().len() as u64, crc32c::crc32c(file.bytes()));
        (file.meta.len, file.meta.crc) = (len, crc);
        file
    }
}
