//! What the state machine says: one fixed-size answer for every request.

use crate::ids::{Epoch, Lsn, Millis, Seats, UserId};
use rkyv::{Archive, Deserialize, Serialize};

/// Declares the codes with their wire numbers and names in one place.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal,)*) => {
        /// What became of a request. Numbers and names are part of the wire contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Archive, Serialize, Deserialize)]
        #[repr(u8)]
        pub enum Code { $($(#[$doc])* $name = $number,)* }

        impl Code {
            /// Every code.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name that stands on the wire and in metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The code with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }
        }
    };
}

codes! {
    /// Not decided yet: the answer follows as a deferred answer.
    Pending = 0 "pending",
    /// The seats are held for the user until the fence's expiry.
    Granted = 1 "granted",
    /// The user waits in the queue; `slot` is the position, from 1.
    Queued = 2 "queued",
    /// The hold lasts longer now; the fence is a new one.
    Extended = 3 "extended",
    /// The hold is pinned for payment; the fence is a new one.
    Paying = 4 "paying",
    /// The seats are the user's.
    Booked = 5 "booked",
    /// The hold is gone.
    Released = 6 "released",
    /// The booking is gone.
    Cancelled = 7 "cancelled",
    /// The user is no longer in the queue.
    Left = 8 "left",
    /// An operator's or a partition's own operation is done.
    Done = 9 "done",

    /// A wanted seat is held by somebody.
    SeatHeld = 32 "seat_held",
    /// A wanted seat is booked.
    SeatBooked = 33 "seat_booked",
    /// A wanted seat is blocked by the operator.
    SeatBlocked = 34 "seat_blocked",
    /// So many seats are not free together here; ask for fewer, elsewhere, or wait.
    NotEnoughTogether = 35 "not_enough_together",
    /// So many seats can never come free here any more.
    SoldOut = 36 "sold_out",
    /// Others are waiting for these seats: join the queue.
    QueuedFirst = 37 "queued_first",
    /// The user would hold more seats of this event than one user may.
    HoldCap = 38 "hold_cap",
    /// More seats than one claim of this event may ask for.
    ClaimTooLarge = 39 "claim_too_large",
    /// The hold's time is over.
    Expired = 40 "expired",
    /// The fence is not the one that holds the seats; the flags say whether stale, foreign or forged.
    Fenced = 41 "fenced",
    /// This hold has been booked already.
    AlreadyBooked = 42 "already_booked",
    /// This hold has been released already.
    AlreadyReleased = 43 "already_released",
    /// Payment has begun already; it can be begun once.
    AlreadyPaying = 44 "already_paying",
    /// The hold has been extended as often as the event allows.
    ExtendLimit = 45 "extend_limit",
    /// Only a booking can be cancelled; release a hold.
    NotBooked = 46 "not_booked",
    /// The booking has been cancelled already.
    AlreadyCancelled = 47 "already_cancelled",
    /// No such event.
    UnknownEvent = 48 "unknown_event",
    /// No such section in the event.
    UnknownSection = 49 "unknown_section",
    /// No such row in the section.
    UnknownRow = 50 "unknown_row",
    /// A named seat is not in the row.
    UnknownSeat = 51 "unknown_seat",
    /// The event is not on sale yet.
    NotOnSale = 52 "not_on_sale",
    /// The sale is paused.
    Paused = 53 "paused",
    /// The sale is over.
    Closed = 54 "closed",
    /// The claim would leave a single seat alone.
    LeavesOrphan = 55 "leaves_orphan",
    /// The user does not wait in this queue.
    NotQueued = 56 "not_queued",
    /// The queue is as long as it may be.
    QueueFull = 57 "queue_full",
    /// This event is sold free-for-all: it has no queues.
    NoQueue = 58 "no_queue",
    /// The request id is older than what is remembered: ask what became of it, then use a new id.
    TooOld = 59 "too_old",
    /// The request id was used for another request.
    IdReused = 60 "id_reused",
    /// The request id's time lies ahead of the server's.
    BadRequestId = 61 "bad_request_id",
    /// Zero seats, or more than a party may have.
    BadCount = 62 "bad_count",
    /// An arena sized at start-up is full; try again shortly.
    Full = 63 "full",
    /// The first request with this id is still being decided.
    InProgress = 64 "in_progress",
    /// This partition does not own the place: the request was routed wrongly.
    NotOwner = 65 "not_owner",
    /// The event exists with other content.
    EventExists = 66 "event_exists",
    /// This state cannot follow the event's present one.
    BadTransition = 67 "bad_transition",
    /// Holds or payments of the event are still running, so it cannot be archived.
    HoldsRunning = 68 "holds_running",
}

impl Code {
    /// Whether the request was refused.
    pub const fn is_refusal(self) -> bool {
        self as u8 >= 32
    }

    /// Whether the same request, with a new id, may succeed later without the client changing it.
    pub const fn retryable(self) -> bool {
        use Code::{
            Full, HoldsRunning, InProgress, NotEnoughTogether, NotOnSale, Paused, QueuedFirst, SeatBlocked,
            SeatHeld,
        };
        matches!(
            self,
            SeatHeld
                | SeatBlocked
                | NotEnoughTogether
                | QueuedFirst
                | NotOnSale
                | Paused
                | Full
                | InProgress
                | HoldsRunning
        )
    }
}

/// Single-bit remarks on an answer.
pub mod flags {
    /// All granted seats are next to each other.
    pub const TOGETHER: u8 = 1;
    /// No choice without a single seat left alone existed, so the rule was waived.
    pub const ORPHAN_WAIVED: u8 = 2;
    /// With `fenced`: the fence was replaced by a newer one (an extension, a payment).
    pub const STALE: u8 = 4;
    /// With `fenced`: the fence belongs to another user.
    pub const FOREIGN: u8 = 8;
    /// With `fenced`: the fence was never given out.
    pub const FORGED: u8 = 16;
    /// The seats came through the queue.
    pub const FROM_QUEUE: u8 = 32;
    /// The answer repeats that of an earlier request with the same id.
    pub const REPEATED: u8 = 64;
}

/// The answer to a request, whatever it was; which fields count depends on `code`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Answer {
    /// Seats granted, or, in a refusal, every seat in conflict (`seats.first` is beside it).
    pub seats: Seats,
    /// Where in its partition's history the answer was decided. In a grant: the fence's LSN.
    pub lsn: Lsn,
    /// When the hold ends, ms since 1970; 0 without a hold.
    pub expires_ms: Millis,
    /// The fence's unguessable part; 0 without a hold.
    pub nonce: u64,
    /// The hold's place in the arena, or the queue position with [`Code::Queued`].
    pub slot: u32,
    /// The epoch of the decision; in a grant, of the fence.
    pub epoch: Epoch,
    /// What became of the request.
    pub code: Code,
    /// Remarks, see [`flags`].
    pub flags: u8,
    /// How many rows a section claim is spread over; 0 for a claim of one row.
    pub parts: u8,
}

impl Answer {
    /// An answer without seats or fence.
    pub const fn plain(code: Code) -> Self {
        Self {
            seats: Seats::NONE,
            lsn: 0,
            expires_ms: 0,
            nonce: 0,
            slot: 0,
            epoch: 0,
            code,
            flags: 0,
            parts: 0,
        }
    }

    /// A refusal that names `seats`.
    pub const fn refuse(code: Code, seats: Seats) -> Self {
        Self { seats, ..Self::plain(code) }
    }
}

/// The fencing token: proof of one hold at one moment.
///
/// Everything that changes or ends a hold must show the whole of it. Where it is sent, the place
/// (event, section, row) travels beside it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct Fence {
    /// Whose hold.
    pub user: UserId,
    /// When it ends, ms since 1970.
    pub expires_ms: Millis,
    /// The LSN of the grant.
    pub lsn: Lsn,
    /// Unguessable.
    pub nonce: u64,
    /// The hold's place in the arena.
    pub slot: u32,
    /// The epoch of the grant.
    pub epoch: Epoch,
}

impl Fence {
    /// The fence inside a grant made to `user`.
    pub const fn of(user: UserId, answer: &Answer) -> Self {
        Self {
            user,
            expires_ms: answer.expires_ms,
            lsn: answer.lsn,
            nonce: answer.nonce,
            slot: answer.slot,
            epoch: answer.epoch,
        }
    }
}
