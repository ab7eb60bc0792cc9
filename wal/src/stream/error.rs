//! What can be wrong with a stream, and what to do about it.

/// Why one end refuses the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RefusalCode {
    /// It belongs to another cluster.
    OtherCluster,
    /// Its epoch is over: a newer one is known here.
    EpochOver,
    /// It speaks another version.
    Version,
    /// What it wants is not in the log any more.
    SnapshotNeeded,
    /// There is no such stream.
    NoSuchStream,
    /// No record begins or ends there.
    BadPosition,
    /// Somebody follows this stream already.
    Taken,
    /// It lacks what both nodes had.
    Lacking,
}

impl RefusalCode {
    const ALL: [RefusalCode; 8] = [
        RefusalCode::OtherCluster,
        RefusalCode::EpochOver,
        RefusalCode::Version,
        RefusalCode::SnapshotNeeded,
        RefusalCode::NoSuchStream,
        RefusalCode::BadPosition,
        RefusalCode::Taken,
        RefusalCode::Lacking,
    ];

    pub(crate) fn number(self) -> u32 {
        Self::ALL.iter().position(|code| *code == self).map_or(0, |at| at as u32 + 1)
    }

    pub(crate) fn of(number: u32) -> Option<Self> {
        Self::ALL.get((number as usize).checked_sub(1)?).copied()
    }
}

/// Why a connection between two nodes ended. Nothing of what was wrong has been kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    /// Not frames of this protocol at all.
    #[error("this is no replication stream ({0}); connect to replication.listen of a Frontrow primary")]
    Garbage(&'static str),
    /// A frame that is damaged, lost, repeated or in the wrong place.
    #[error("the stream is damaged ({0}); it is begun again from what is durable")]
    Damaged(&'static str),
    /// A good frame that may not come now, or does not continue what came before.
    #[error("the other node does not keep to the protocol ({0}); run the same version on both nodes")]
    Unexpected(&'static str),
    /// Another version of the protocol.
    #[error(
        "the other node speaks version {found} of replication, this one {ours}; run the same version on both"
    )]
    Version {
        /// Its version.
        found: u32,
        /// This program's.
        ours: u32,
    },
    /// A node of another cluster.
    #[error(
        "the other node belongs to cluster {found:032x}, not {expected:032x}; correct the address; only a \
         new node begins with an empty data directory"
    )]
    OtherCluster {
        /// Its cluster.
        found: u128,
        /// Ours.
        expected: u128,
    },
    /// A node whose epoch is over.
    #[error(
        "the other node is at epoch {found}, and this one has seen epoch {seen}: its time as primary is over; make it a \
         standby of the primary there is now"
    )]
    EpochOver {
        /// Its epoch.
        found: u32,
        /// The highest seen here.
        seen: u32,
    },
    /// The other node says that a newer epoch than ours is under way.
    #[error(
        "another node of this cluster has seen epoch {newer}, this one is at {ours}: it is not the primary any more; \
         restart it with `frontrow backup`"
    )]
    Superseded {
        /// The epoch the other has seen.
        newer: u32,
        /// Ours.
        ours: u32,
    },
    /// The other node has more of this node's own past than this one has.
    #[error(
        "the standby has stream {stream} of epoch {epoch} up to position {position}, which was durable here, too, and is not any \
         more: acknowledged records are missing here. This node is not to be served; make the standby the primary (`frontrow \
         promote`) and follow it, or give the records up at both nodes (`frontrow wal accept-loss`)"
    )]
    Lacking {
        /// The epoch.
        epoch: u32,
        /// The stream.
        stream: u16,
        /// Up to where both had it.
        position: u64,
    },
    /// The other node refused us.
    #[error("the other node refuses: {}", .0.meaning())]
    Refused(crate::stream::Refusal),
}
