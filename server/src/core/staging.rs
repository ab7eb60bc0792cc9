//! What waits for the log: answers, pushes and messages, in groups that share a commit.
//!
//! There are never more than two: the group whose commit is in flight, and the one that collects. A
//! connection keeps the bytes of each in a buffer of its own; when the commit is durable they may leave,
//! all in one go.

use super::message::{AdminReply, ConnId, Frames};
use frontrow_shard::{Answer, Letter, PartitionId, RowRef, RowState};

/// What one commit holds back.
#[derive(Default)]
pub(crate) struct Group {
    /// Connections of this core with bytes in this group's buffer.
    pub(crate) conns: Vec<ConnId>,
    /// Frames for connections of other cores, by core.
    pub(crate) frames: Vec<Frames>,
    /// Messages between partitions, with their senders.
    pub(crate) letters: Vec<(PartitionId, Letter)>,
    /// `(sender, receiver, seq)` of messages that this group's records received.
    pub(crate) received: Vec<(PartitionId, PartitionId, u64)>,
    /// Rows for the watchers of other cores and this one.
    pub(crate) rows: Vec<(RowRef, RowState)>,
    /// Answers to operators.
    pub(crate) admin: Vec<(AdminReply, PartitionId, Answer)>,
    /// When each answered request was read, for the latency histogram.
    pub(crate) since_ns: Vec<u64>,
    /// When the commit began, monotonic nanoseconds.
    pub(crate) begun_ns: u64,
}

impl Group {
    pub(crate) fn new(cores: usize) -> Self {
        Self { frames: (0..cores).map(|_| Frames::default()).collect(), ..Self::default() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.conns.is_empty()
            && self.letters.is_empty()
            && self.received.is_empty()
            && self.rows.is_empty()
            && self.admin.is_empty()
            && self.frames.iter().all(|frames| frames.heads.is_empty())
    }
}
