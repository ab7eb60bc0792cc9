//! Everything that can happen to a partition. What is not here cannot change its state.
#![allow(missing_docs, reason = "rkyv's derive makes fields of its own, which cannot carry documentation")]

use crate::answer::Fence;
use crate::ids::{Epoch, EventId, Lsn, Millis, PartitionId, RequestId, RowRef, Seats, UserId};
use crate::rules::{Adjacency, EventSpec, EventState};
use rkyv::{Archive, Deserialize, Serialize};

/// Any category.
pub const ANY_CATEGORY: u8 = u8::MAX;
/// How many rows a section claim is given to try.
pub const CANDIDATES: usize = 8;
/// Marks an unused entry in a list of candidate rows.
pub const NO_ROW: u16 = u16::MAX;

/// A user's request, with its identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// The client's id for it.
    pub id: RequestId,
    /// Who asks: from the connection, never from the message.
    pub user: UserId,
    /// What is asked.
    pub command: Command,
}

/// What a user can ask of the owner of a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum Command {
    /// Hold these very seats of a row.
    ClaimSeats(ClaimSeats),
    /// Hold the best so many seats together in a row.
    ClaimBest(ClaimBest),
    /// Hold the best so many seats of a section; goes to the section's home.
    ClaimSection(ClaimSection),
    /// Hold for longer.
    Extend(Proof),
    /// Pin the hold while a payment is in flight.
    BeginPayment(Proof),
    /// Buy what is held.
    Book(Proof),
    /// Give a hold back.
    Release(Proof),
    /// Give a booking back.
    Cancel(Proof),
    /// Wait in the queue of a row or a section.
    Join(Join),
    /// Stop waiting.
    Leave(Leave),
}

/// See [`Command::ClaimSeats`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct ClaimSeats {
    /// The row.
    pub row: RowRef,
    /// The seats.
    pub seats: Seats,
}

/// See [`Command::ClaimBest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct ClaimBest {
    /// The row.
    pub row: RowRef,
    /// How many seats.
    pub count: u8,
    /// Only seats of this category, or [`ANY_CATEGORY`].
    pub category: u8,
    /// Whether at least one of the seats must be an accessible one; without it none will be.
    pub accessible: bool,
    /// Whether to wait in the row's queue if it can't be had now.
    pub or_join: bool,
}

/// See [`Command::ClaimSection`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct ClaimSection {
    /// The section.
    pub section: RowRef,
    /// How many seats.
    pub count: u8,
    /// Only seats of this category, or [`ANY_CATEGORY`].
    pub category: u8,
    /// How close together.
    pub adjacency: Adjacency,
    /// As in [`ClaimBest::accessible`].
    pub accessible: bool,
    /// Whether to wait in the section's queue if it can't be had now.
    pub or_join: bool,
    /// Whether the server's view of the section says that so many can never come free again.
    pub hopeless: bool,
    /// Rows worth trying, best first, by the server's view of the section; [`NO_ROW`] fills up.
    pub candidates: [u16; CANDIDATES],
}

/// A place and the fence of a hold in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Proof {
    /// The row, or the section for a claim made of one.
    pub place: RowRef,
    /// The fence.
    pub fence: Fence,
}

/// See [`Command::Join`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Join {
    /// The row or section.
    pub place: RowRef,
    /// How many seats.
    pub count: u8,
    /// How close together; a row's queue serves parties together only.
    pub adjacency: Adjacency,
    /// As in [`ClaimBest::accessible`].
    pub accessible: bool,
}

/// See [`Command::Leave`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Leave {
    /// The row or section.
    pub place: RowRef,
}

impl Command {
    /// The place whose owner decides.
    pub const fn place(&self) -> RowRef {
        match self {
            Self::ClaimSeats(c) => c.row,
            Self::ClaimBest(c) => c.row,
            Self::ClaimSection(c) => c.section,
            Self::Extend(p) | Self::BeginPayment(p) | Self::Book(p) | Self::Release(p) | Self::Cancel(p) => {
                p.place
            }
            Self::Join(j) => j.place,
            Self::Leave(l) => l.place,
        }
    }
}

/// One operation on a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Op {
    /// A new epoch begins on this partition, with the secret that its nonces come from.
    Begin {
        /// The epoch; higher than any before.
        epoch: Epoch,
        /// 128 random bits from outside.
        secret: u128,
    },
    /// A user's request.
    Request(Request),
    /// A hold's time is over. Never refused as "too early" in silence: see [`crate::Code::Done`].
    Expire {
        /// The event.
        event: EventId,
        /// The hold.
        slot: u32,
        /// The grant's LSN, so that a later hold in the same slot is left alone.
        lsn: Lsn,
    },
    /// A message from a partition (which may be this one).
    Deliver {
        /// The sender.
        from: PartitionId,
        /// Its number on the way from there to here, dense from 1.
        seq: u64,
        /// The message.
        mail: Mail,
    },
    /// A new event, as far as this partition is concerned.
    CreateEvent(Box<EventSpec>),
    /// An operator opens, pauses or closes an event.
    SetEventState {
        /// The event.
        event: EventId,
        /// The state to go to.
        state: EventState,
    },
    /// An operator takes free seats out of sale, or puts blocked ones back.
    Block {
        /// The row.
        row: RowRef,
        /// The seats.
        seats: Seats,
        /// `true` blocks, `false` unblocks.
        blocked: bool,
    },
    /// A closed event goes to its archive.
    Archive {
        /// The event.
        event: EventId,
        /// Which step of it.
        step: ArchiveStep,
    },
}

impl Op {
    /// The event it is about; every operation but a `Begin` has one.
    pub fn event(&self) -> Option<EventId> {
        match self {
            Self::Begin { .. } => None,
            Self::Request(request) => Some(request.command.place().event),
            Self::Deliver { mail, .. } => Some(mail.event()),
            Self::CreateEvent(spec) => Some(spec.event),
            Self::Block { row, .. } => Some(row.event),
            Self::Expire { event, .. } | Self::SetEventState { event, .. } | Self::Archive { event, .. } => {
                Some(*event)
            }
        }
    }
}

/// The steps of archiving an event. Between the first and the last the event's content stands still and is read out:
/// the last is taken once the archive's file is durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum ArchiveStep {
    /// Nothing about the event may be asked for any more.
    Begin,
    /// The event is as it was before the beginning.
    Undo,
    /// The event leaves memory.
    End,
}

impl Mail {
    /// The event it is about.
    pub const fn event(&self) -> EventId {
        match self {
            Self::Charge { event, .. } | Self::Charged { event, .. } | Self::Credit { event, .. } => *event,
            Self::Reserve { row, .. }
            | Self::Reserved { row, .. }
            | Self::Part { row, .. }
            | Self::Lend { row, .. }
            | Self::Return { row, .. } => row.event,
            Self::Watch { section, .. } => section.event,
        }
    }
}

/// A message between partitions, each delivered exactly once and in order, also across a crash.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum Mail {
    /// To an account home: may `user` have `count` seats more?
    Charge {
        /// The event.
        event: EventId,
        /// The user.
        user: UserId,
        /// How many.
        count: u8,
        /// The hold that waits for the answer, at the sender.
        slot: u32,
    },
    /// From an account home: the answer to [`Mail::Charge`].
    Charged {
        /// The event.
        event: EventId,
        /// The hold.
        slot: u32,
        /// Whether the user may.
        granted: bool,
    },
    /// To an account home: `user` has `count` seats less.
    Credit {
        /// The event.
        event: EventId,
        /// The user.
        user: UserId,
        /// How many.
        count: u8,
    },
    /// From a section home to a row: set seats aside.
    Reserve {
        /// The row.
        row: RowRef,
        /// The task at the home, echoed.
        task: u32,
        /// For whom.
        user: UserId,
        /// The most seats to take.
        count: u8,
        /// Take all `count` together, or nothing. Otherwise as many as can be had.
        together: bool,
        /// As in [`ClaimBest::accessible`].
        accessible: bool,
        /// As in [`ClaimBest::category`].
        category: u8,
        /// Whether it serves the section's queue, and so may take what the row has lent.
        for_queue: bool,
    },
    /// From a row to its section home: the answer to [`Mail::Reserve`].
    Reserved {
        /// The row.
        row: RowRef,
        /// The task.
        task: u32,
        /// The row's own hold.
        slot: u32,
        /// The seats; empty if there were none to have.
        seats: Seats,
        /// Whether they are next to each other without leaving a single seat where it matters.
        flags: u8,
    },
    /// From a section home to a row: what becomes of a part of a section claim.
    Part {
        /// The row.
        row: RowRef,
        /// The row's own hold.
        slot: u32,
        /// What to do.
        action: PartAction,
    },
    /// From a section home to the owners of its rows: its queue has begun or ceased to have anyone in it.
    Watch {
        /// The section.
        section: RowRef,
        /// Whether somebody waits.
        on: bool,
        /// Counts the times the queue began, so that a late report is told apart.
        round: u32,
    },
    /// From a row to its section home: what is free, while somebody waits for the section.
    Lend {
        /// The row.
        row: RowRef,
        /// The round of the [`Mail::Watch`] it follows.
        round: u32,
        /// Counts the row's loans, so that a late answer is told apart.
        loan: u32,
        /// What the row has.
        supply: Supply,
        /// When the first party that would fit joined the row's own queue; `u64::MAX` for none.
        rival_ms: Millis,
    },
    /// From a section home to a row: nobody in the section's queue can use what was lent.
    Return {
        /// The row.
        row: RowRef,
        /// The loan it answers.
        loan: u32,
    },
}

/// What becomes of a part of a section claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub enum PartAction {
    /// It is sold.
    Book,
    /// It goes back: given up, expired, undone or cancelled.
    Free,
}

/// What a row can still give.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
pub struct Supply {
    /// Ordinary seats free now, lent ones included, as far as one claim could have them: in a row of more
    /// than 64 seats they may be too far apart.
    pub free: u16,
    /// Longest run of those.
    pub run: u16,
    /// Longest run of free seats that has an accessible one in it.
    pub accessible_run: u16,
    /// Ordinary seats that are not booked, within the reach of one claim.
    pub ever: u16,
    /// Longest run of those.
    pub ever_run: u16,
    /// Longest run of unbooked seats that has an accessible one in it.
    pub ever_accessible_run: u16,
}
