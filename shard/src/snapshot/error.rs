//! Why bytes are not a snapshot that can be used here, and what to do about it.

use crate::record::RECORD_VERSION;
use crate::snapshot::SNAPSHOT_VERSION;

/// Why a snapshot was not loaded. Nothing was changed by the attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// It does not begin as a snapshot does.
    NotASnapshot,
    /// It has another version's layout.
    Version {
        /// The layout's version.
        snapshot: u16,
        /// The version of the records in it.
        records: u8,
    },
    /// It is of another partition, or of a deployment with another number of them.
    Foreign {
        /// The partition that was asked for, and of how many.
        expected: (u16, u16),
        /// The partition found, and of how many.
        found: (u16, u16),
    },
    /// It ends too early, or something that must be in it is not.
    Truncated {
        /// The part that is not all there.
        part: &'static str,
    },
    /// It says things that cannot be true together.
    Inconsistent {
        /// The part where it shows.
        part: &'static str,
        /// What is wrong.
        what: &'static str,
    },
    /// The state it makes is not the one that was saved.
    Hash {
        /// The digest of what was saved.
        saved: u64,
        /// The digest of what was loaded.
        loaded: u64,
    },
    /// More is in use than this configuration has room for.
    Limit {
        /// The setting to raise.
        setting: &'static str,
        /// How much is in use.
        used: usize,
        /// How much there may be.
        limit: usize,
    },
    /// The machine has not enough memory for it.
    Memory {
        /// The part that did not fit.
        part: &'static str,
    },
}

impl std::fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        const OTHERWISE: &str = "use an older snapshot or the whole log; keep this one and report it";
        match self {
            Self::NotASnapshot => {
                write!(f, "this is no snapshot of a partition: use another one, or the whole log")
            }
            Self::Version { snapshot, records } => write!(
                f,
                "snapshot of version {snapshot} with records of version {records}, where this program knows \
                 {SNAPSHOT_VERSION} and {RECORD_VERSION}: start the version of Frontrow that wrote it, or use the \
                 whole log"
            ),
            Self::Foreign { expected, found } => write!(
                f,
                "snapshot of partition {} of {} where partition {} of {} was asked for: it belongs elsewhere; \
                 use the one made here, or the whole log",
                found.0, found.1, expected.0, expected.1
            ),
            Self::Truncated { part } => write!(f, "the snapshot's {part} is not complete: {OTHERWISE}"),
            Self::Inconsistent { part, what } => {
                write!(f, "the snapshot contradicts itself in its {part} ({what}): {OTHERWISE}")
            }
            Self::Hash { saved, loaded } => write!(
                f,
                "the snapshot was made of a state with digest {saved:016x} and gives one with {loaded:016x}: \
                 {OTHERWISE}"
            ),
            Self::Limit { setting, used, limit } => {
                write!(f, "the snapshot has {used} in use where {setting} is {limit}: raise {setting}")
            }
            Self::Memory { part } => {
                write!(f, "not enough memory for the snapshot's {part}: give the machine more, or free some")
            }
        }
    }
}

impl std::error::Error for SnapshotError {}
