//! From which snapshot each partition starts: the newest that reads back, if the log behind it is whole.
//!
//! Here a caller's LSNs are taken for what they must be for this: dense from 1 in each partition.

use crate::error::WalError;
use crate::index::PartitionSpan;
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
        let own = files.iter().filter(|file| file.partition == partition);
        let mut found = readable(self, own, 1)?;
        for error in &found.bad {
            tracing::warn!(partition, %error, "a snapshot does not read back and is passed over");
        }
        let base = found.good.pop();
        let (first, last) = span.map_or((None, 0), |span| (Some(span.first), span.last));
        let lsn = base.as_ref().map_or(0, |snapshot| snapshot.meta().lsn);
        if let Some(first) = first.filter(|first| *first > lsn + 1) {
            let found = reasons(base.as_ref(), &found.bad);
            return Err(WalError::SnapshotMissing { partition, first, found });
        }
        // Trimming goes by the older snapshot, so the log always holds the newest one's last record. Of
        // one that does not read back the name is proof enough.
        let newest = files.iter().find(|file| file.partition == partition);
        if let Some(file) = newest.filter(|file| file.lsn > last) {
            let (path, lsn) = (file.path.clone(), file.lsn);
            return Err(WalError::LogBehindSnapshot { path, partition, lsn, last });
        }
        Ok(base)
    }
}

fn reasons(base: Option<&Snapshot>, bad: &[WalError]) -> String {
    let good = base.map(|snapshot| format!("{} ends at {}", snapshot.path().display(), snapshot.meta().lsn));
    let all: Vec<String> = bad.iter().map(ToString::to_string).chain(good).collect();
    if all.is_empty() { "there is none".into() } else { all.join("; ") }
}
