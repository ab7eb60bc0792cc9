//! What crosses between cores. Many items to a message: a wake costs tens of microseconds, an item nanoseconds.

use super::hints::EventHints;
use crate::http::Place;
use crate::identity::Identity;
use frontrow_engine::Carried;
use frontrow_shard::{
    Answer, Command, EventId, Letter, Lsn, Op, Partition, PartitionId, ReadOut, RequestId, RowRef, RowState,
    UserId,
};
use std::net::SocketAddr;
use std::sync::Arc;

/// A connection of one core. The generation tells a new connection in an old slot apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ConnId {
    pub(crate) slot: u32,
    pub(crate) generation: u32,
}

/// Where an answer goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Origin {
    pub(crate) core: u16,
    pub(crate) conn: ConnId,
}

/// What a client asks of the owner of a place.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Ask {
    Command(Command),
    Status(RowRef),
}

impl Ask {
    pub(crate) fn place(&self) -> RowRef {
        match self {
            Self::Command(command) => command.place(),
            Self::Status(place) => *place,
        }
    }
}

/// One request on its way to its owner.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Job {
    pub(crate) origin: Origin,
    pub(crate) id: RequestId,
    pub(crate) user: UserId,
    pub(crate) ask: Ask,
    /// The owner of the place.
    pub(crate) partition: PartitionId,
    /// When it was read from the socket, for the latency histogram: monotonic nanoseconds.
    pub(crate) since_ns: u64,
}

/// Encoded frames for several connections of one core.
#[derive(Debug, Default)]
pub(crate) struct Frames {
    /// Whose, how many bytes, and whether they end a request.
    pub(crate) heads: Vec<(ConnId, u32, bool)>,
    pub(crate) bytes: Vec<u8>,
}

/// A connection that changes cores, or comes from the HTTP side.
pub(crate) struct Arrival {
    pub(crate) connection: Carried,
    pub(crate) websocket: bool,
    /// Bytes received and not yet understood.
    pub(crate) leftover: Vec<u8>,
    pub(crate) identity: Option<Identity>,
    /// Whether the client has been welcomed.
    pub(crate) welcomed: bool,
    pub(crate) peer: SocketAddr,
    /// Its place among the connections of the whole server.
    pub(crate) place: Option<Place>,
}

/// Where operators' answers go.
pub(crate) type AdminReply = flume::Sender<(PartitionId, Answer)>;

/// An operator's operations for partitions of one core, answered when they are durable.
pub(crate) struct AdminOps {
    pub(crate) ops: Vec<(PartitionId, Op)>,
    pub(crate) reply: AdminReply,
}

/// A partition at one position of its history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Audit {
    /// The partition.
    pub partition: PartitionId,
    /// Its last record.
    pub lsn: Lsn,
    /// All of its state there.
    pub hash: u64,
    /// Messages to other partitions that have not arrived.
    pub unconfirmed: usize,
}

impl Audit {
    /// What a partition is now.
    pub fn of(partition: &Partition) -> Self {
        Self {
            partition: partition.id(),
            lsn: partition.lsn(),
            hash: partition.state_hash(),
            unconfirmed: partition.unconfirmed().count(),
        }
    }
}

/// A message to a core.
pub(crate) enum CoreMessage {
    /// Requests for partitions of this core.
    Jobs(Vec<Job>),
    /// Answers and pushes for connections of this core.
    Frames(Frames),
    /// Messages for partitions of this core, with their senders.
    Letters(Vec<(PartitionId, Letter)>),
    /// `(sender, receiver, seq)`: the receiver has everything up to `seq` in its durable log.
    Confirmed(Vec<(PartitionId, PartitionId, u64)>),
    /// A connection to take over.
    Arrival(Box<Arrival>),
    /// A user has connected (`true`) or gone on some core.
    User { user: UserId, at: Origin, here: bool },
    /// A core has (`true`) or no longer has watchers of a section.
    Watch { section: RowRef, core: u16, on: bool },
    /// Rows of watched sections, as they are durable.
    Rows(Vec<(RowRef, RowState)>),
    /// An operator's operations.
    Admin(AdminOps),
    /// A new event's shared hints.
    Event(EventId, Arc<EventHints>),
    /// Every row of a section that this core owns, for the HTTP side.
    Section { section: RowRef, reply: flume::Sender<Vec<(RowRef, RowState)>> },
    /// What a partition of this core has of an event.
    ReadOut {
        partition: PartitionId,
        event: EventId,
        whole: bool,
        reply: flume::Sender<Option<Box<ReadOut>>>,
    },
    /// An event is archived: its hints and marks are of no use any more.
    Forget(EventId),
    /// What the partitions of this core are, for who compares them with the log.
    Audit { reply: flume::Sender<Vec<Audit>> },
    /// Finish what is under way and end.
    Stop,
}
