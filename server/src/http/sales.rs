//! What HTTP needs of the shard cores, and nothing more.

use std::future::Future;
use std::net::{SocketAddr, TcpStream};
use std::pin::Pin;

use frontrow_shard::{
    Answer, ArchiveStep, Code, Epoch, EventId, EventSpec, EventState, ReadOut, RowRef, RowState, Seats,
};

use super::connections::Place;
use crate::exposition::Families;
use crate::identity::Identity;

/// An answer that a shard core is working on.
pub type Soon<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The shard cores as HTTP sees them: a handle that sends to their inboxes and awaits their answers.
/// No method blocks; answers come once they are durable.
pub trait Sales: Send + Sync + 'static {
    /// Makes an event known to all partitions; `specs[i]` is for partition `i`. All of them, or an error:
    /// giving the same event again is no error.
    fn create_event(&self, specs: Vec<EventSpec>) -> Soon<'_, Result<(), Code>>;

    /// Opens, pauses or closes an event on all partitions.
    fn set_state(&self, event: EventId, state: EventState) -> Soon<'_, Result<(), Code>>;

    /// Takes free seats out of sale, or puts blocked ones back.
    fn set_blocked(&self, row: RowRef, seats: Seats, blocked: bool) -> Soon<'_, Answer>;

    /// Every row of a section as it is now, by rising row.
    fn section_state(&self, event: EventId, section: u16) -> Soon<'_, Result<Vec<LiveRow>, Code>>;

    /// Takes one step of archiving an event on all partitions.
    fn archive(&self, event: EventId, step: ArchiveStep) -> Soon<'_, Result<(), Code>>;

    /// What every partition has of an event, by partition; with rows and bookings if `whole`.
    fn read_out(&self, event: EventId, whole: bool) -> Soon<'_, Result<Vec<ReadOut>, Code>>;

    /// Lets go of what the cores keep beside the partitions for an event that is archived.
    fn forget(&self, event: EventId);

    /// How each core is doing. From what the cores published last; asks nobody.
    fn status(&self) -> Vec<CoreStatus>;

    /// Reads off what the cores count.
    fn metrics(&self, families: &mut Families);

    /// Gives away a WebSocket whose handshake is done: from now on it lives on a shard core.
    fn adopt_websocket(&self, socket: Adopted);
}

/// A row as it is now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveRow {
    /// Index of the row within the section.
    pub row: u16,
    /// Its seats.
    pub state: RowState,
}

/// How a shard core is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct CoreStatus {
    /// Which core, from 0.
    pub core: u16,
    /// Whether it has recovered and serves.
    pub ready: bool,
    /// The epoch it decides in.
    pub epoch: Epoch,
    /// Operations decided since the start, all partitions together.
    pub decided: u64,
    /// Of those, how many are durable.
    pub durable: u64,
}

/// A WebSocket after its handshake.
#[derive(Debug)]
pub struct Adopted {
    /// The socket, non-blocking, with nothing of ours left in any buffer.
    pub socket: TcpStream,
    /// Bytes the client sent behind its handshake: the beginning of its first frames.
    pub leftover: Vec<u8>,
    /// Who it is, if the handshake said; else the first message must.
    pub identity: Option<Identity>,
    /// Whence it comes.
    pub peer: SocketAddr,
    /// Its place among the connections; drop it when the connection ends.
    pub place: Place,
}
