//! One visit: a person's attempt to get seats, from arrival to the end.

use super::ConnectionId;
use super::Nanos;
use super::interest::Wish;
use super::slab::NONE;
use frontrow_shard::{Command, Fence, Millis, Parts, RowRef, Seats};

/// Where a visit stands. With an asterisk: a request is on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    /// Is about to ask for seats.
    Wanting,
    /// * Asks for seats, or to wait.
    Asking,
    /// Waits in a queue.
    Waiting,
    /// * Leaves the queue.
    Leaving,
    /// * Asks where it stands.
    Looking,
    /// Has a hold, and thinks.
    Holding,
    /// * Extends the hold.
    Extending,
    /// * Begins to pay.
    Paying,
    /// Pays, and books then.
    Purchasing,
    /// * Books.
    Booking,
    /// * Gives the hold back.
    Releasing,
    /// Has booked, and will cancel.
    Owning,
    /// * Cancels.
    Cancelling,
    /// Has walked away; the hold has yet to run out.
    Gone,
}

/// A hold, as a visit knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hold {
    pub(crate) place: RowRef,
    pub(crate) fence: Fence,
    pub(crate) seats: Seats,
    /// Digest of the parts of a section claim; 0 without.
    pub(crate) parts: u64,
}

/// One visit.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Visit {
    pub(crate) group: u16,
    pub(crate) stage: Stage,
    pub(crate) tries: u8,
    /// How often this very step was put off by an overloaded server.
    pub(crate) put_off: u8,
    pub(crate) extended: bool,
    /// Whether a party of this visit may be in the queue at `place`.
    pub(crate) waits: bool,
    /// Whether the next step waits for the connection.
    pub(crate) parked: bool,
    pub(crate) wish: Wish,
    /// When its person came first: who comes again has come before.
    pub(crate) came: Nanos,
    /// When it joined the queue that it stands in.
    pub(crate) joined: Option<Nanos>,
    /// [`NONE`] before one has been chosen.
    pub(crate) connection: ConnectionId,
    /// The request on its way; [`NONE`] if none is.
    pub(crate) asked: u32,
    /// Counts timers, so that stale ones are known.
    pub(crate) armed: u32,
    /// The queue it waits in.
    pub(crate) place: RowRef,
    pub(crate) hold: Option<Hold>,
    /// When it leaves the queue, if nothing comes.
    pub(crate) patience_ends: Nanos,
    pub(crate) next: u32,
    pub(crate) prev: u32,
}

impl Visit {
    pub(crate) fn new(group: u16, wish: Wish, came: Nanos) -> Self {
        Self {
            group,
            stage: Stage::Wanting,
            tries: 0,
            put_off: 0,
            extended: false,
            waits: false,
            parked: false,
            wish,
            came,
            joined: None,
            connection: NONE,
            asked: NONE,
            armed: 0,
            place: RowRef::new(0, 0, 0),
            hold: None,
            patience_ends: 0,
            next: NONE,
            prev: NONE,
        }
    }
}

/// What was asked.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Question {
    Command(Command),
    Status(RowRef),
}

impl Question {
    pub(crate) fn place(&self) -> RowRef {
        match self {
            Self::Command(command) => command.place(),
            Self::Status(place) => *place,
        }
    }
}

/// A request on its way.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// [`NONE`] if the visit has no use for the answer any more.
    pub(crate) visit: u32,
    pub(crate) connection: ConnectionId,
    pub(crate) question: Question,
    pub(crate) issued: Nanos,
    /// The newest server time heard when it was asked.
    pub(crate) heard_ms: Millis,
    /// Its answer was lost with the connection.
    pub(crate) lost: bool,
    /// It was asked more than once.
    pub(crate) repeated: bool,
}

/// A digest of the rows and seats of a section claim; 0 if there are none.
pub(crate) fn digest(parts: &Parts) -> u64 {
    parts.as_slice().iter().fold(0, |sum, part| {
        let row = u64::from(part.row) << 8 | u64::from(part.seats.first);
        frontrow_shard::mix(sum ^ frontrow_shard::mix(row + 1) ^ frontrow_shard::mix(part.seats.mask))
    })
}
