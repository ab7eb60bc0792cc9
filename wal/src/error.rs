//! What can go wrong, and what to do about it.

use crate::regular::{NoFile, no_file};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An error of opening, reading or recovering a log. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum WalError {
    /// The operating system refused.
    #[error("{doing} {path}: {source}; check that the path exists, its permissions and the disk")]
    Io {
        /// What was being done, as a verb phrase.
        doing: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// What has a file's name is none.
    #[error(
        "{path}: {source}; move it away, and put the file back from a copy of this node; a segment comes back with `frontrow wal \
         repair`, for a snapshot an older one and the log stand in"
    )]
    NoFile {
        /// Where it is.
        path: PathBuf,
        /// What it is.
        source: NoFile,
    },
    /// No room for a segment or a snapshot.
    #[error("the disk is full: no room for {bytes} bytes at {path}; free space or move the data directory")]
    DiskFull {
        /// The file that was to be made.
        path: PathBuf,
        /// Its size in bytes.
        bytes: u64,
    },
    /// Another process (or another open in this one) holds the directory.
    #[error("{path} is locked by process {pid}; stop that process, or give this one another data directory")]
    Locked {
        /// The data directory.
        path: PathBuf,
        /// What the lock file says, "unknown" if it says nothing.
        pid: String,
    },
    /// There is no log here and creating one was not asked for.
    #[error(
        "{path} holds no log (no MANIFEST): correct --data, or server.data in the configuration; a new log is made by \
         `frontrow serve`, and by `frontrow backup`"
    )]
    NotInitialised {
        /// The data directory.
        path: PathBuf,
    },
    /// The directory holds something else.
    #[error(
        "{path} is not empty and holds no MANIFEST (found {found}); choose an empty directory, or restore the MANIFEST"
    )]
    ForeignDirectory {
        /// The data directory.
        path: PathBuf,
        /// The first foreign entry found.
        found: String,
    },
    /// The manifest cannot be understood.
    #[error(
        "{path} is not a readable manifest: {why}; restore it from a backup of this node, or choose another directory"
    )]
    BadManifest {
        /// The manifest.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The manifest is of another format version.
    #[error(
        "{path} has log format version {found}, this program reads {expected}; run a release that reads {found}, or migrate"
    )]
    ManifestVersion {
        /// The manifest.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version this program reads.
        expected: u32,
    },
    /// The directory was made with another partition count.
    #[error("{path} was made with {found} partitions, not {asked}; set partitions.count to {found}")]
    PartitionCount {
        /// The data directory.
        path: PathBuf,
        /// The count it was made with.
        found: u16,
        /// The count asked for.
        asked: u16,
    },
    /// The directory belongs to another cluster than asked for.
    #[error(
        "{path} belongs to cluster {found:032x}, not {expected:032x}; it came from another installation, take it away"
    )]
    ForeignCluster {
        /// The data directory or segment.
        path: PathBuf,
        /// Cluster id found.
        found: u128,
        /// Cluster id expected.
        expected: u128,
    },
    /// A file in `log/` that is no segment, or one in `snap/` that is no snapshot.
    #[error(
        "{path} is no name of a segment (s0000-e00000000-00000000.seg) or snapshot (p0000-0000000000000000.snap); \
         move the file out of the data directory"
    )]
    ForeignFile {
        /// The file.
        path: PathBuf,
    },
    /// The header of a segment or snapshot, and its name disagree.
    #[error(
        "{path} says inside that it is {inside}; it was renamed or copied over another file, restore both by name"
    )]
    Misnamed {
        /// The file.
        path: PathBuf,
        /// The name its header gives.
        inside: String,
    },
    /// The history cannot be understood.
    #[error(
        "{path} is not a readable history of epochs: {why}; restore it from a copy of this node, or make this node anew \
         from the other one"
    )]
    BadHistory {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// There is a log, and no history of it.
    #[error(
        "{} has a log and no HISTORY: without it nobody knows whether this node may be served from, nor which epochs are its \
         own. Restore that file from a copy of this node, or make this node anew from the other one (`frontrow backup` with \
         an empty data directory). If there never was another node: `frontrow wal accept-loss --data {} --yes` begins a \
         new history with what is here",
        path.display(), path.display()
    )]
    HistoryMissing {
        /// The directory.
        path: PathBuf,
    },
    /// The note of a seed cannot be understood.
    #[error(
        "{path} is not a readable note of a seed: {why}; make this node anew: `frontrow backup` with an empty data directory"
    )]
    BadSeed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The directory follows a primary.
    #[error(
        "{path} is a standby's; run `frontrow backup --primary HOST:PORT --data {}` to go on following, or, if its primary is gone \
         for good, `frontrow promote --offline --data {}` to make it the primary",
        quoted(.path),
        quoted(.path)
    )]
    IsStandby {
        /// The data directory.
        path: PathBuf,
    },
    /// What was trimmed or saved here is no part of the cluster's history: the log behind it is of no use.
    #[error(
        "{path} was trimmed behind where its history leaves the cluster's, so its log cannot be gone on with; `frontrow backup` \
         seeds it from the primary's snapshots"
    )]
    TrimmedStandby {
        /// The data directory.
        path: PathBuf,
    },
    /// There is nothing to promote.
    #[error("{path} is a primary's already; run `frontrow serve`. Nothing was changed")]
    IsPrimary {
        /// The data directory.
        path: PathBuf,
    },
    /// A directory was to be mended with itself.
    #[error(
        "{path} is the directory that is to be mended; give the other node's, or a copy of it, to --from"
    )]
    SameDirectory {
        /// The data directory.
        path: PathBuf,
    },
    /// The history says that there was more.
    #[error(
        "{path} lacks part of its log: stream {stream} of epoch {epoch} went up to position {end}, and no segment in log/ does. \
         Is the right disk mounted? Restore log/ from a copy, or from the other node with `frontrow wal repair`. What is \
         in it was not changed"
    )]
    LogBehindHistory {
        /// The data directory.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// Up to where it went.
        end: u64,
    },
    /// A disk lost the end of an epoch that was over.
    #[error(
        "{path} has lost records: stream {stream} of epoch {epoch} ended at position {end}, and can be read up to {own} only. \
         Take them from the other node with `frontrow wal repair --data {path} --from ITS_DIR`, restore log/ from a copy, or \
         promote the other node and follow it. To go on without them, which only works if no later epoch has records: \
         `frontrow wal accept-loss --data {path} --yes`. What is in the log was not changed"
    )]
    EndLost {
        /// The data directory.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// Up to where its records can be read.
        own: u64,
        /// Where it ended.
        end: u64,
    },
    /// Records are lost that later ones rest on.
    #[error(
        "{path} cannot go on without what stream {stream} has lost of epoch {epoch}: epoch {later} has records, which rest on it. \
         Take it from the other node with `frontrow wal repair --data {path} --from ITS_DIR`, restore log/ from a copy, or promote \
         the other node and follow it. Nothing was changed"
    )]
    LossInside {
        /// The data directory.
        path: PathBuf,
        /// The epoch that ends early.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// The last epoch with records.
        later: u32,
    },
    /// A standby that does not have all of the epochs that have ended.
    #[error(
        "{path} has stream {stream} of epoch {epoch} up to position {own} only, it ended at {end}: it had not caught up and \
         cannot be promoted; let it follow on, or promote a copy of the primary's directory"
    )]
    NotCaughtUp {
        /// The data directory.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// How far it goes here.
        own: u64,
        /// How far it went.
        end: u64,
    },
    /// Less is here than this node and the other one both had durable: what was acknowledged is missing.
    #[error(
        "{path} lacks acknowledged records: stream {stream} of epoch {epoch} was durable on both nodes up to position {agreed}, \
         and is here up to {own} only. Is the right disk mounted? Take it from the other node with `frontrow wal repair --data \
         {path} --from ITS_DIR`, or make that node the primary (`frontrow promote`) and follow it. To go on without these \
         records: `frontrow wal accept-loss --data {path} --yes`"
    )]
    LacksAgreed {
        /// The data directory.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// How far it goes here.
        own: u64,
        /// How far both nodes had it.
        agreed: u64,
    },
    /// The primary's history ends an epoch before what both nodes had of it: following would cut what was acknowledged.
    #[error(
        "the primary lacks acknowledged records: stream {stream} of epoch {epoch} was durable on both nodes up to position \
         {agreed}, and by the primary's history it ended at {end}. Nothing was cut in {path}. Promote this node (`frontrow \
         promote`), and have the other one follow it; only if that has opened no epoch since, `frontrow wal repair --from {path}` \
         there mends it. To follow it all the same, with \
         what is behind kept in cut/: stop this node, `frontrow wal accept-loss --data {path} --yes`"
    )]
    PrimaryLacksAgreed {
        /// The data directory that has them.
        path: PathBuf,
        /// The epoch.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// Where the primary says it ended.
        end: u64,
        /// How far both nodes had it.
        agreed: u64,
    },
    /// The note of what both nodes have cannot be understood.
    #[error(
        "{path} is not a readable note of what both nodes have: {why}; restore it from a copy, or, if nothing of this node's log \
         is missing, `frontrow wal accept-loss` moves it away"
    )]
    BadAgreed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The note of a cut that was under way cannot be understood.
    #[error(
        "{path} is not a readable note of a cut that was under way: {why}; keep a copy of it and take it away: what the cut left \
         half done is then told as damage, and comes back with `frontrow wal repair --from` the other node"
    )]
    BadCutting {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A segment of another format version.
    #[error(
        "{path} has segment format version {found}, this program reads {expected}; run a release that reads {found}"
    )]
    SegmentVersion {
        /// The segment.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version this program reads.
        expected: u32,
    },
    /// A segment of an epoch the manifest has not reached.
    #[error(
        "{path} is of epoch {found}, but the manifest is at {manifest}; the MANIFEST is older than the log, restore the right one"
    )]
    EpochAhead {
        /// The segment.
        path: PathBuf,
        /// Its epoch.
        found: u32,
        /// The manifest's epoch.
        manifest: u32,
    },
    /// A segment that must exist does not.
    #[error(
        "segment {path} is missing; put it back from the other node with `frontrow wal repair`, or make this node anew: \
         `frontrow backup` with an empty data directory"
    )]
    SegmentMissing {
        /// The path where it should be.
        path: PathBuf,
    },
    /// Bytes that were once durable do not read back.
    #[error(
        "{file} is damaged at byte {offset}: {why}; do not delete it: repair the file from the backup node or from a copy"
    )]
    Corrupt {
        /// The segment.
        file: PathBuf,
        /// Offset in the file, in bytes, of the first unreadable record or header.
        offset: u64,
        /// What was found.
        why: &'static str,
    },
    /// A record of a layout this program does not know.
    #[error(
        "{file} holds a record of version {found} at byte {offset}, this program reads {expected}; run a newer release"
    )]
    RecordVersion {
        /// The segment.
        file: PathBuf,
        /// Offset in the file, in bytes.
        offset: u64,
        /// Version found.
        found: u8,
        /// Version this program reads.
        expected: u8,
    },
    /// The trim mark cannot be understood.
    #[error(
        "{path} is not a readable trim mark: {why}; restore it from a copy of this data directory, the log is not \
         readable without it"
    )]
    BadTrimMark {
        /// The mark.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A snapshot that does not read back.
    #[error(
        "snapshot {path} is damaged at byte {offset}: {why}; the older one and the log stand in for it, copy it from \
         the backup node or move it away"
    )]
    BadSnapshot {
        /// The snapshot.
        path: PathBuf,
        /// Offset in the file, in bytes, of what does not read back.
        offset: u64,
        /// What was found.
        why: &'static str,
    },
    /// A snapshot of another format version.
    #[error(
        "{path} has snapshot format version {found}, this program reads {expected}; run a release that reads {found}"
    )]
    SnapshotVersion {
        /// The snapshot.
        path: PathBuf,
        /// Version found.
        found: u32,
        /// Version this program reads.
        expected: u32,
    },
    /// The log was trimmed, and no snapshot that can be read leads up to what is left.
    #[error(
        "the log of partition {partition} begins with record {first}, and no readable snapshot leads up to it \
         ({found}); restore snap/ from a copy, or make this node anew: `frontrow backup` with an empty data directory. Log \
         and snapshots are as they were"
    )]
    SnapshotMissing {
        /// The partition.
        partition: u16,
        /// The first record of it in the log.
        first: u64,
        /// What there is instead.
        found: String,
    },
    /// A snapshot holds records that the log behind it has lost.
    #[error(
        "{path} holds records up to {lsn}, but the log of partition {partition} ends at {last}: part of the log is \
         missing; restore log/ from a copy, or make this node anew: `frontrow backup` with an empty data directory. Log and \
         snapshots are as they were"
    )]
    LogBehindSnapshot {
        /// The snapshot.
        path: PathBuf,
        /// The partition.
        partition: u16,
        /// The last record in the snapshot.
        lsn: u64,
        /// The last record in the log, 0 if there is none.
        last: u64,
    },
    /// An option that cannot work.
    #[error("{option} = {value} cannot work: {why}")]
    BadOption {
        /// The option's name.
        option: &'static str,
        /// Its value.
        value: u64,
        /// What it must be.
        why: String,
    },
}

impl WalError {
    pub(crate) fn io(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> WalError {
        move |source| match no_file(&source) {
            Some(found) => WalError::NoFile { path: found.path().into(), source: found.clone() },
            None => WalError::Io { doing, path: path.into(), source },
        }
    }

    /// As [`WalError::io`], and a full disk by its own name.
    pub(crate) fn room(doing: &'static str, path: &Path, bytes: u64) -> impl FnOnce(io::Error) -> WalError {
        move |source| {
            if crate::fs::is_full(&source) {
                return WalError::DiskFull { path: path.into(), bytes };
            }
            WalError::io(doing, path)(source)
        }
    }

    /// True if it is one file that is bad, and another can stand in for it.
    pub(crate) fn is_about_this_file(&self) -> bool {
        // Another cluster, version or partition count says that directories were mixed up: that no older
        // file makes good.
        matches!(
            self,
            WalError::BadSnapshot { .. }
                | WalError::Misnamed { .. }
                | WalError::Io { .. }
                | WalError::NoFile { .. }
        )
    }

    /// True if the files may only have been renamed or removed while they were listed.
    pub(crate) fn may_have_moved(&self) -> bool {
        match self {
            WalError::SegmentMissing { .. } => true,
            WalError::Io { source, .. } => source.kind() == io::ErrorKind::NotFound,
            _ => false,
        }
    }
}

/// Why an append or commit was refused. Nothing of a refused record is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Too much is not yet durable. Answer `busy`, commit, and try again after the next wake.
    #[error(
        "{unsynced_bytes} bytes wait to be durable, the limit is {limit_bytes}; retry after the commit in flight"
    )]
    Backlog {
        /// Bytes appended and not yet durable.
        unsynced_bytes: usize,
        /// The configured bound.
        limit_bytes: usize,
    },
    /// The next segment is not prepared yet. Answer `busy`, commit what is pending (a segment is
    /// taken only with a batch) and try again after the next wake.
    #[error("the next segment is still being prepared; retry, or raise ready_ahead or segment_bytes")]
    NoSegment,
    /// The disk has no room for the next segment.
    #[error("no room for the next log segment ({reason}); free disk space, then the log goes on")]
    DiskFull {
        /// What the disk said.
        reason: Arc<str>,
    },
    /// The payload is too long for one record.
    #[error(
        "a payload of {len_bytes} bytes exceeds {limit_bytes}; split it, or raise max_payload_bytes and segment_bytes"
    )]
    TooLarge {
        /// Its length.
        len_bytes: usize,
        /// The longest allowed.
        limit_bytes: usize,
    },
    /// A write or sync failed earlier. Final: the process must stop and recover.
    #[error(
        "the log failed and stays failed: {reason}; stop this process, check the disk, restart to recover"
    )]
    Poisoned {
        /// The first failure.
        reason: Arc<str>,
    },
}

/// As a shell takes it for one word, whatever is in it.
fn quoted(path: &Path) -> String {
    format!("'{}'", path.display().to_string().replace('\'', "'\\''"))
}
