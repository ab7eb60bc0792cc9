//! What a crowd tells the verifier: facts, in batches.

use super::super::Nanos;
use super::checks::Counts;
use frontrow_shard::{Epoch, Lsn, Millis, RowRef, Seats};

/// A position in a partition's history.
pub(crate) type Position = (Epoch, Lsn);

/// A hold as it was granted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Grant {
    /// The row, or the section for a claim of one; its parts follow.
    pub(crate) place: RowRef,
    pub(crate) seats: Seats,
    pub(crate) user: u64,
    pub(crate) at: Position,
    /// The server's time of the grant, or a later one.
    pub(crate) latest_ms: Millis,
    pub(crate) expires_ms: Millis,
    pub(crate) nonce: u64,
    /// When it was heard of.
    pub(crate) heard_ns: Nanos,
    /// Whether it came through a queue.
    pub(crate) offered: bool,
}

/// What a party waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Seats next to each other.
    Together,
    /// Seats of a section, which may lie apart.
    Apart,
    /// Seats next to each other, one of them accessible.
    Accessible,
}

/// A party as it joined.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Joining {
    pub(crate) place: RowRef,
    pub(crate) user: u64,
    pub(crate) count: u8,
    /// What it waits for; parties of one kind are served in turn.
    pub(crate) kind: Kind,
    pub(crate) at: Position,
    /// The position it was told.
    pub(crate) position: u32,
}

/// One fact about a visit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Fact {
    /// It has a hold.
    Granted(Grant),
    /// The hold has these seats of this row, too.
    Part(u16, Seats),
    /// The hold lasts until then.
    Extended(Millis, Nanos),
    /// A booking has been asked for.
    Booking,
    /// The booking has been refused, or never got to anybody.
    NotBooked,
    /// The hold was booked; when that was asked, and when it was known.
    Booked(Nanos, Nanos),
    /// A release or cancellation has been asked for.
    Ending,
    /// It has been refused, or never got to anybody.
    NotEnded,
    /// The hold, or booking, ended there; when that was asked.
    Ended(Position, Nanos),
    /// Nothing more will be heard about the hold.
    Closed,
    /// A party of the visit waits.
    Joined(Joining),
    /// The party was served there.
    Served(Position),
    /// The party left, or was sent away, there.
    Left(Position),
    /// What became of the party is not known.
    Strayed,
}

/// A fact and the visit it is about.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Entry {
    pub(crate) visit: u32,
    pub(crate) fact: Fact,
}

/// What one load thread has to say since it last spoke.
#[derive(Debug, Default)]
pub(crate) struct Batch {
    pub(crate) thread: u16,
    pub(crate) entries: Vec<Entry>,
    pub(crate) checks: Counts,
    pub(crate) violations: Vec<String>,
    pub(crate) violation_count: u64,
    pub(crate) visits: u64,
    pub(crate) visits_won: u64,
    pub(crate) people: u64,
    pub(crate) people_missed: u64,
    /// How long it took those who booked, from when they came first.
    pub(crate) to_booked: Vec<Nanos>,
    /// How long those stood in a queue who are out of it.
    pub(crate) queued: Vec<Nanos>,
    /// When the thread's arrivals began, if it was since it last spoke.
    pub(crate) began_ns: Option<Nanos>,
}

impl Batch {
    /// The same with nothing in it: what its lists have grown to is kept, so that a batch costs no allocation.
    pub(crate) fn emptied(mut self) -> Self {
        self.entries.clear();
        self.violations.clear();
        self.to_booked.clear();
        self.queued.clear();
        Self {
            entries: self.entries,
            violations: self.violations,
            to_booked: self.to_booked,
            queued: self.queued,
            ..Self::default()
        }
    }
}
