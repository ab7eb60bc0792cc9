//! Removing the part of the log that snapshots stand in for.
//!
//! In this order: the trim mark says durably what will go; then the files lose their names; then, when
//! that is durable, they may be written again. Dying in between leaves files before the mark: they are not
//! read any more, and the next trim takes them away. Nothing is removed while a directory is opened.

use frontrow_plant::{Bug, planted};
use std::collections::BTreeMap;

use crate::dir::DataDir;
use crate::error::WalError;
use crate::format::{Position, parse_file_name};
use crate::index::LogIndex;
use crate::mark::{Kept, TrimMark};
use crate::snapshot::{SNAPSHOTS_KEPT, SnapshotFile, readable};
use crate::view::{DirView, SegmentInfo, list_names};

/// What a trim did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Trimmed {
    /// Segments that are gone.
    pub segments: u64,
    /// Their bytes.
    pub bytes: u64,
    /// How many of them wait to be written again.
    pub recycled: u64,
    /// Segments still there.
    pub left: u64,
    /// Bytes of those.
    pub left_bytes: u64,
}

/// By partition: the LSN of the older of its two newest snapshots that read back. Up to there the log may
/// go; 0 where there are not two.
pub fn covered(view: &DirView, files: &[SnapshotFile]) -> Result<Vec<u64>, WalError> {
    let of = |partition| {
        let own = files.iter().filter(|file| file.partition == partition);
        let good = readable(view, own, SNAPSHOTS_KEPT)?.good;
        let older = if planted(Bug::TrimToNewest) { 0 } else { SNAPSHOTS_KEPT - 1 };
        Ok(good.get(older).map_or(0, |snapshot| snapshot.meta().lsn))
    };
    (0..view.partitions()).map(of).collect()
}

/// The segments of each stream, from its first, that snapshots stand in for and everybody has read: those
/// that could be removed. `followed` is by stream the position up to which others have read the log.
pub fn removable<'a>(
    segments: &'a [SegmentInfo],
    index: &mut LogIndex,
    covered: &[u64],
    followed: &dyn Fn(u16) -> Position,
) -> Result<Vec<&'a SegmentInfo>, WalError> {
    let mut streams: BTreeMap<u16, Vec<&SegmentInfo>> = BTreeMap::new();
    for info in segments {
        streams.entry(info.stream()).or_default().push(info);
    }
    let mut out = Vec::new();
    for (stream, segments) in streams {
        let read = followed(stream);
        for info in segments {
            if !info.is_closed() || info.end_position() > read || !index.of(info)?.is_covered(covered) {
                if planted(Bug::TrimTooFar) && info.is_closed() {
                    out.push(info);
                }
                break;
            }
            out.push(info);
        }
    }
    Ok(out)
}

impl DataDir {
    /// Removes the segments that are not needed any more: those in which every record is covered by the
    /// older of its partition's two good snapshots, and that lie before what `followed` says of their
    /// stream: the position up to which whoever follows the log has read it (`Position::MAX` if nobody does).
    ///
    /// Only from a stream's beginning, never its last segment in use. What is removed is recycled by the
    /// streams' preparers, some of it.
    pub fn trim(
        &self,
        index: &mut LogIndex,
        followed: &dyn Fn(u16) -> Position,
    ) -> Result<Trimmed, WalError> {
        self.trim_within(index, followed, u64::MAX, &|_| Position::MAX)
    }

    /// The same; but what is kept for those who follow alone is at most `keep` bytes. With more, nothing is kept for
    /// them: they are seeded from the snapshots. What lies behind `needed` is kept however much it is.
    pub fn trim_within(
        &self,
        index: &mut LogIndex,
        followed: &dyn Fn(u16) -> Position,
        keep: u64,
        needed: &dyn Fn(u16) -> Position,
    ) -> Result<Trimmed, WalError> {
        let covered = covered(self.view(), &self.snapshots()?)?;
        let _one_at_a_time = self.removing();
        let segments = self.segments()?;
        let mut removable =
            removable(&segments, index, &covered, &|stream| followed(stream).min(needed(stream)))?;
        if keep < u64::MAX {
            let all = self::removable(&segments, index, &covered, needed)?;
            let bytes = |of: &[&SegmentInfo]| of.iter().map(|info| info.segment_bytes()).sum::<u64>();
            let kept = bytes(&all) - bytes(&removable);
            if kept > keep {
                tracing::warn!(
                    kept,
                    keep,
                    "a standby is further behind than the log is kept for: it is seeded anew"
                );
                removable = all;
            }
        }
        let mut mark = self.view().mark()?;
        for info in &removable {
            mark.set(info.stream(), begin_behind(info, &segments));
        }
        if !removable.is_empty() {
            mark.write(&**self.disk(), self.view().path())?;
        }
        let mut done = self.retire(&mark)?;
        index.retain(|stream, place| !mark.is_trimmed(stream, place));
        let left = segments.iter().filter(|info| !mark.is_trimmed(info.stream(), info.place()));
        for info in left {
            done.left += 1;
            done.left_bytes += info.segment_bytes();
        }
        Ok(done)
    }

    /// Takes the names from all files before the mark; keeps some of the files to be written again.
    fn retire(&self, mark: &TrimMark) -> Result<Trimmed, WalError> {
        let (disk, log) = (&**self.disk(), self.view().log());
        let mut done = Trimmed::default();
        let (mut room, mut kept) = (self.retired().room(), Vec::new());
        for (path, (stream, epoch, number)) in list_names(&log, parse_file_name)? {
            if !mark.is_trimmed(stream, (epoch, number)) {
                continue;
            }
            let bytes = path.metadata().map_err(WalError::io("cannot stat", &path))?.len();
            done.segments += 1;
            done.bytes += bytes;
            if room == 0 {
                disk.remove(&path).map_err(WalError::io("cannot remove", &path))?;
                continue;
            }
            let mut name = path.clone().into_os_string();
            name.push(".tmp");
            disk.rename(&path, name.as_ref()).map_err(WalError::io("cannot rename", &path))?;
            kept.push((name.into(), bytes));
            room -= 1;
        }
        if done.segments > 0 {
            // Before one of them is written again: its old name must not come back over new contents.
            disk.sync_dir(&log).map_err(WalError::io("cannot sync", &log))?;
        }
        done.recycled = kept.len() as u64;
        for (path, bytes) in kept {
            self.retired().put(path, bytes, false);
        }
        Ok(done)
    }
}

/// Where the stream of `info` begins once it and all before it are gone.
fn begin_behind(info: &SegmentInfo, segments: &[SegmentInfo]) -> Kept {
    let next = segments.iter().find(|next| next.stream() == info.stream() && next.place() > info.place());
    match next {
        Some(next) => {
            let (epoch, number) = next.place();
            Kept { epoch, number, position: next.first_position(), exists: true }
        }
        None => Kept {
            epoch: info.epoch(),
            number: info.number() + 1,
            position: info.end_position(),
            exists: false,
        },
    }
}
