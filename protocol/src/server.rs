//! What the server says.

use crate::codes::WireCode;
use crate::limits::ConnectionLimits;
use crate::rows::{Delta, Rows};
use frontrow_shard::{Answer, Epoch, Lsn, Millis, PartitionId, Parts, RequestId, RowRef, UserId};
use std::borrow::Cow;

/// Anything a server can send.
#[allow(
    clippy::large_enum_variant,
    reason = "a box would allocate for every answer; messages are passed on by reference"
)]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerMessage<'a> {
    /// The connection is open.
    Welcome(Welcome),
    /// What the owner of a place decided about a request.
    Answer(Reply),
    /// A request, or the connection, failed before anybody decided.
    Error(ErrorReply<'a>),
    /// Some or all rows of a section.
    Snapshot(Snapshot<'a>),
    /// One row has changed.
    Delta(Delta),
    /// News that nobody asked for.
    Push(News),
    /// Which core has which partition.
    Topology(Topology),
    /// Somebody is there.
    Pong {
        /// Echoed.
        id: RequestId,
        /// The server's time.
        time_ms: Millis,
    },
    /// The server is about to close the connection.
    Goodbye(Goodbye<'a>),
}

/// What an answer waited for before it was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Durability {
    /// Nothing: a crash loses it.
    Memory = 0,
    /// It is on this node's disk.
    Local = 1,
    /// It is on this node's disk and the backup's.
    Backup = 2,
}

impl Durability {
    /// The name that stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Memory => "memory",
            Self::Local => "local",
            Self::Backup => "backup",
        }
    }

    /// The policy with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            0 => Some(Self::Memory),
            1 => Some(Self::Local),
            2 => Some(Self::Backup),
            _ => None,
        }
    }
}

/// The first thing a server says: who the client is, and what holds on this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// The user that the token names.
    pub user: UserId,
    /// The server's time, for request ids.
    pub server_time_ms: Millis,
    /// The server's term.
    pub epoch: Epoch,
    /// Features of the hello that are in effect.
    pub features: u32,
    /// How many partitions there are.
    pub partitions: u16,
    /// How many cores serve.
    pub cores: u16,
    /// The core that this connection is on.
    pub core: u16,
    /// What answers wait for.
    pub durability: Durability,
    /// What the connection is held to.
    pub limits: ConnectionLimits,
}

/// The answer to one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The request.
    pub id: RequestId,
    /// The server's time, for request ids.
    pub time_ms: Millis,
    /// The place that was asked.
    pub place: RowRef,
    /// What was decided.
    pub answer: Answer,
    /// The rows of a claim over several rows; as many as `answer.parts` says.
    pub parts: Parts,
    /// How far the partition's history was durable when this was sent; at least `answer.lsn`, unless the
    /// welcome says `memory`.
    pub durable: Lsn,
}

/// A failure that no state machine decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorReply<'a> {
    /// The request; 0 for the connection as a whole.
    pub id: RequestId,
    /// Why.
    pub code: WireCode,
    /// Whether the server closes the connection after this.
    pub fatal: bool,
    /// How long to wait before trying again; 0 if waiting does not help.
    pub retry_after_ms: u32,
    /// For people, up to [`crate::MAX_MESSAGE`] bytes; with [`WireCode::NotPrimary`] the address of who is.
    pub message: Cow<'a, str>,
}

impl ErrorReply<'static> {
    /// An error with the code's own message, which stays open for more.
    pub const fn of(id: RequestId, code: WireCode) -> Self {
        let message = Cow::Borrowed(code.advice().message);
        Self { id, code, fatal: false, retry_after_ms: 0, message }
    }
}

/// Some or all rows of a section. The first frame answers a watch; the one with `last` ends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Snapshot<'a> {
    /// The watch that asked; 0 if the server sends it of its own accord.
    pub id: RequestId,
    /// The section.
    pub section: RowRef,
    /// Whether this is the last frame of the snapshot.
    pub last: bool,
    /// The rows in this frame.
    pub rows: Rows<'a>,
}

/// What news is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum NewsKind {
    /// Seats from the queue are held for the user.
    Offered = 1,
    /// A hold ran out.
    Expired = 2,
    /// The party can never fit any more and is out of the queue.
    Unfillable = 3,
    /// The sale ended and the party is out of the queue.
    Closed = 4,
    /// An offer would have exceeded the user's cap; the party is out of the queue.
    HoldCap = 5,
    /// The position in the queue has changed.
    Position = 6,
}

impl NewsKind {
    /// Every kind.
    pub const ALL: &'static [Self] =
        &[Self::Offered, Self::Expired, Self::Unfillable, Self::Closed, Self::HoldCap, Self::Position];

    /// The name that stands on the wire.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Offered => "offered",
            Self::Expired => "expired",
            Self::Unfillable => "unfillable",
            Self::Closed => "closed",
            Self::HoldCap => "hold_cap",
            Self::Position => "position",
        }
    }

    /// The kind with this number.
    pub const fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Offered),
            2 => Some(Self::Expired),
            3 => Some(Self::Unfillable),
            4 => Some(Self::Closed),
            5 => Some(Self::HoldCap),
            6 => Some(Self::Position),
            _ => None,
        }
    }
}

impl From<frontrow_shard::PushKind> for NewsKind {
    fn from(kind: frontrow_shard::PushKind) -> Self {
        use frontrow_shard::PushKind;
        match kind {
            PushKind::Offered => Self::Offered,
            PushKind::Expired => Self::Expired,
            PushKind::Unfillable => Self::Unfillable,
            PushKind::Closed => Self::Closed,
            PushKind::HoldCap => Self::HoldCap,
        }
    }
}

/// News for one user, on every connection of that user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// The row or section.
    pub place: RowRef,
    /// The server's time, for request ids.
    pub time_ms: Millis,
    /// What happened.
    pub kind: NewsKind,
    /// Seats and fence of an offer or a lost hold; the position, in `slot`.
    pub answer: Answer,
    /// The rows of an offer over several rows; as many as `answer.parts` says.
    pub parts: Parts,
}

impl News {
    /// What the state machine pushes, as it is sent at `time_ms`.
    pub fn of(push: &frontrow_shard::Push, time_ms: Millis) -> Self {
        let frontrow_shard::Push { user: _, place, kind, answer, parts } = *push;
        Self { place, time_ms, kind: kind.into(), answer, parts }
    }
}

/// Where to connect to reach a core without a hop, on the host of this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoreAddress {
    /// The core.
    pub core: u16,
    /// Port for binary frames over TCP; 0 if there is none of this core's own.
    pub tcp_port: u16,
    /// Port for WebSocket; 0 if there is none of this core's own.
    pub ws_port: u16,
}

/// Which core has which partition. Not a hot message: it owns its lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topology {
    /// The request; 0 if the server sends it of its own accord.
    pub id: RequestId,
    /// The cores.
    pub cores: Vec<CoreAddress>,
    /// The core of each partition; as many as there are partitions.
    pub owners: Vec<u16>,
}

impl Topology {
    /// The core that decides about `place`; `None` if there are no partitions.
    pub fn core_of(&self, place: RowRef) -> Option<u16> {
        let partitions = u16::try_from(self.owners.len()).ok().filter(|&n| n > 0)?;
        let partition: PartitionId = place.partition(partitions);
        self.owners.get(partition as usize).copied()
    }
}

/// The last thing a server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Goodbye<'a> {
    /// Why.
    pub code: WireCode,
    /// How long to wait before connecting again.
    pub retry_after_ms: u32,
    /// For people, up to [`crate::MAX_MESSAGE`] bytes; with [`WireCode::NotPrimary`] the address of who is.
    pub message: Cow<'a, str>,
}
