//! From which snapshot each partition starts: the newest that reads back, if the log behind it is whole.
//!
//! Here a caller's LSNs are taken for what they must be for this: dense from 1 in each partition.

use crate::error::WalError;
use crate::index::{LogIndex, PartitionSpan, spans};
use crate::snapshot::{Snapshot, SnapshotFile, readable};
use crate::view::DirView;

impl DirView {
    /// The newest readable snapshot of a partition; `span` is what the whole log holds of it.
    ///
    /// A snapshot that does not read back is told of and passed over, as long as the log reaches back to
    /// an older one, or to the first record. What does not fit together is refused.
    pub fn base(
        &self,
        files: &[SnapshotFile],
        partition: u16,
        span: Option<PartitionSpan>,
    ) -> Result<Option<Snapshot>, WalError> {
        let (base, bad) = self.newest(files, partition)?;
        let (first, last) = span.map_or((None, 0), |span| (Some(span.first), span.last));
        let lsn = base.as_ref().map_or(0, |snapshot| snapshot.meta().lsn);
        if let Some(first) = first.filter(|first| *first > lsn + 1) {
            let found = reasons(base.as_ref(), &bad);
            return Err(WalError::SnapshotMissing { partition, first, found });
        }
        // Trimming goes by the older snapshot, so the log holds the newest one's last record, unless both are
        // of the same state. Of one that does not read back the name is proof enough.
        let mut newest = files.iter().filter(|file| file.partition == partition);
        let (newest, second) = (newest.next(), newest.next().map(|file| file.lsn));
        if let Some(file) = newest.filter(|file| file.lsn > last && Some(file.lsn) != second) {
            let (path, lsn) = (file.path.clone(), file.lsn);
            return Err(WalError::LogBehindSnapshot { path, partition, lsn, last });
        }
        Ok(base)
    }

    /// Whether a log that was trimmed has what stands in for the part that is gone: of each partition a snapshot that
    /// reads back, or all of its records. Cheap where snapshots are good; for whoever is about to rely on this copy.
    /// Errors: [`WalError::SnapshotMissing`].
    pub fn check_base(&self) -> Result<(), WalError> {
        if self.mark()?.streams().is_empty() {
            return Ok(());
        }
        let (files, mut bare) = (self.snapshots()?, Vec::new());
        for partition in 0..self.partitions() {
            let (base, bad) = self.newest(&files, partition)?;
            if base.is_none() {
                bare.push((partition, reasons(None, &bad)));
            }
        }
        if bare.is_empty() {
            return Ok(());
        }
        let (segments, mut index) = (self.segments()?, LogIndex::default());
        let indexes = segments.iter().map(|info| index.of(info)).collect::<Result<Vec<_>, _>>()?;
        let spans = spans(self.partitions(), indexes.iter().map(|index| &**index));
        for (partition, found) in bare {
            let first = spans[usize::from(partition)].map_or(0, |span| span.first);
            if first != 1 {
                return Err(WalError::SnapshotMissing { partition, first, found });
            }
        }
        Ok(())
    }

    /// The newest readable snapshot of a partition, whatever the log holds. For who replays behind it, and so
    /// finds out.
    pub fn newest_snapshot(
        &self,
        files: &[SnapshotFile],
        partition: u16,
    ) -> Result<Option<Snapshot>, WalError> {
        Ok(self.newest(files, partition)?.0)
    }

    fn newest(
        &self,
        files: &[SnapshotFile],
        partition: u16,
    ) -> Result<(Option<Snapshot>, Vec<WalError>), WalError> {
        let own = files.iter().filter(|file| file.partition == partition);
        let mut found = readable(self, own, 1)?;
        for error in &found.bad {
            tracing::warn!(partition, %error, "a snapshot does not read back and is passed over");
        }
        Ok((found.good.pop(), found.bad))
    }
}

fn reasons(base: Option<&Snapshot>, bad: &[WalError]) -> String {
    let good = base.map(|snapshot| format!("{} ends at {}", snapshot.path().display(), snapshot.meta().lsn));
    let all: Vec<String> = bad.iter().map(ToString::to_string).chain(good).collect();
    if all.is_empty() { "there is none".into() } else { all.join("; ") }
}
