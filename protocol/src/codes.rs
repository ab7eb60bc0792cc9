//! Every code that can stand on the wire, with what it means and what to do about it.
//!
//! Numbers below 128 are the state machine's ([`Code`]): a decision, remembered and repeatable. Numbers
//! from 128 are the edge's ([`WireCode`]): nobody decided anything, and nothing has changed.

use frontrow_shard::Code;

/// What a code means and what to do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Advice {
    /// What happened.
    pub meaning: &'static str,
    /// What the client should do.
    pub remedy: &'static str,
    /// Both in one sentence, for people.
    pub message: &'static str,
}

macro_rules! advice {
    ($meaning:literal, $remedy:literal) => {
        const { &Advice { meaning: $meaning, remedy: $remedy, message: concat!($meaning, ": ", $remedy, ".") } }
    };
}

/// What a decision means and what to do about it.
pub const fn advice(code: Code) -> &'static Advice {
    match code {
        Code::Pending => advice!("The request is still being decided", "wait for its answer"),
        Code::Granted => advice!("The seats are held for you", "book them before the token expires"),
        Code::Queued => advice!("You wait in the queue", "stay reachable, an offer is pushed to you"),
        Code::Extended => advice!("The hold lasts longer", "use the new token, the old one is dead"),
        Code::Paying => {
            advice!("The hold is pinned for your payment", "pay, then book with the new token in its time")
        }
        Code::Booked => advice!("The seats are yours", "keep the token, a cancellation needs it"),
        Code::Released => advice!("The hold is gone", "claim again if you want seats"),
        Code::Cancelled => advice!("The booking is gone", "claim again if you want seats"),
        Code::Left => advice!("You are no longer in the queue", "join again if you want to wait"),
        Code::Done => advice!("It is done", "nothing more is needed"),
        code => refusal_advice(code),
    }
}

const fn refusal_advice(code: Code) -> &'static Advice {
    match code {
        Code::SeatHeld => {
            advice!("Somebody holds a wanted seat", "take other seats, or join the row's queue")
        }
        Code::SeatBooked => advice!("A wanted seat is sold", "take other seats"),
        Code::SeatBlocked => {
            advice!("A wanted seat is not for sale at present", "take other seats, or try again later")
        }
        Code::NotEnoughTogether => advice!(
            "So many seats are not free together here now",
            "ask for fewer, elsewhere or not together, or join the queue"
        ),
        Code::SoldOut => {
            advice!("So many seats can never come free here any more", "ask for fewer, or elsewhere")
        }
        Code::QueuedFirst => advice!("Others wait for these seats", "join the queue, or set or_join"),
        Code::HoldCap => advice!(
            "You would have more seats of this event than one user may",
            "release or cancel some, or ask for fewer"
        ),
        Code::ClaimTooLarge => {
            advice!("That is more seats than one claim of this event may have", "ask for fewer")
        }
        Code::Expired => advice!("The hold's time is over and its seats are gone", "claim again"),
        Code::Fenced => advice!(
            "The token is not the one that holds these seats",
            "if it is stale use the newest token, else claim for yourself"
        ),
        Code::AlreadyBooked => advice!("This hold is booked already", "nothing more is needed"),
        Code::AlreadyReleased => advice!("This hold was released already", "claim again"),
        Code::AlreadyPaying => {
            advice!("Payment for this hold has begun already", "book or release with the newest token")
        }
        Code::ExtendLimit => {
            advice!("The hold was extended as often as it may be", "book before it expires")
        }
        Code::NotBooked => advice!("Only a booking can be cancelled", "release the hold instead"),
        Code::AlreadyCancelled => advice!("This booking was cancelled already", "nothing more is needed"),
        Code::InProgress => {
            advice!("The first request with this id is still being decided", "wait, then repeat it")
        }
        code => condition_advice(code),
    }
}

const fn condition_advice(code: Code) -> &'static Advice {
    match code {
        Code::UnknownEvent => advice!("There is no such event", "look it up in the catalogue"),
        Code::UnknownSection => advice!("The event has no such section", "look it up in the seat map"),
        Code::UnknownRow => advice!("The section has no such row", "look it up in the seat map"),
        Code::UnknownSeat => {
            advice!("The row has no such seat", "use places from 0 as in the seat map, not labels")
        }
        Code::NotOnSale => advice!("The event is not on sale yet", "wait for its opening"),
        Code::Paused => advice!("The sale is paused", "try again when it goes on, holds can be booked"),
        Code::Closed => advice!("The sale is over", "book what you hold, nothing new is to be had"),
        Code::LeavesOrphan => {
            advice!("That would leave a single seat alone", "move by one seat, or take it as well")
        }
        Code::NotQueued => advice!("You do not wait in this queue", "join it if you want to"),
        Code::QueueFull => advice!("The queue is as long as it may be", "try another section or row"),
        Code::NoQueue => advice!("This event is sold without queues", "claim again when seats come free"),
        Code::TooOld => advice!(
            "The request id is older than what is remembered",
            "ask with status what became of it, then use a new id"
        ),
        Code::IdReused => {
            advice!("This id was used for a request with other content", "use a new id for a new request")
        }
        Code::BadRequestId => advice!(
            "The request id's time is ahead of the server's",
            "put a time heard from the server into its upper 48 bits"
        ),
        Code::BadCount => advice!("Zero seats or more than a party may have", "ask for 1 to 32 seats"),
        Code::Full => advice!("The server has no room for it just now", "try again shortly"),
        Code::NotOwner => {
            advice!("The request went to a partition that does not have the place", "report this error")
        }
        Code::EventExists => advice!("The event exists with other content", "use another event"),
        Code::BadTransition => {
            advice!("The event cannot go to that state from its present one", "look at its state first")
        }
        Code::HoldsRunning => advice!(
            "Holds or payments of the event are still running",
            "archive it when they are booked or have run out"
        ),
        // The other codes were told before this function was asked.
        _ => advice!("Unknown", "look the code up in the protocol"),
    }
}

/// Declares the edge's codes with everything there is to say about them in one place.
macro_rules! wire_codes {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal $retry:literal $meaning:literal, $remedy:literal;)*) => {
        /// Why a request or a connection failed before the state machine saw it. Numbers and names are part of
        /// the wire contract.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum WireCode { $($(#[$doc])* $name = $number,)* }

        impl WireCode {
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

            /// Whether the same request may succeed later without the client changing it, with the same id.
            pub const fn retryable(self) -> bool {
                match self { $(Self::$name => $retry,)* }
            }

            /// What it means and what to do about it.
            pub const fn advice(self) -> &'static Advice {
                match self { $(Self::$name => advice!($meaning, $remedy),)* }
            }
        }
    };
}

wire_codes! {
    /// The message does not have its form.
    Malformed = 128 "malformed" false
        "The message does not have the form that the protocol gives it", "correct the field that is named";
    /// Another protocol version.
    UnsupportedVersion = 129 "unsupported_version" false
        "The server does not speak this version of the protocol", "use version 1";
    /// Longer than allowed.
    FrameTooLarge = 130 "frame_too_large" false
        "The frame is longer than the server takes", "send fewer requests in one frame";
    /// No such message.
    UnknownKind = 131 "unknown_kind" false
        "There is no such message", "look at the table of kinds or types";
    /// Nobody, or not whom they say.
    Unauthenticated = 132 "unauthenticated" false
        "The connection has no valid identity", "connect with a valid token";
    /// The identity has run out.
    TokenExpired = 133 "token_expired" false
        "The connection's token has run out", "get a new token and connect again";
    /// No more connections.
    TooManyConnections = 134 "too_many_connections" true
        "There are too many connections", "connect again after retry_after_ms";
    /// The client does not wait for answers.
    TooManyInFlight = 135 "too_many_in_flight" true
        "The connection has more unanswered requests than it may", "wait for answers, then repeat it";
    /// Overload.
    Busy = 136 "busy" true
        "The server has more to do than it can", "repeat the request after retry_after_ms";
    /// The client does not read.
    SlowConsumer = 137 "slow_consumer" true
        "The client reads more slowly than the server has to say", "connect again and watch less";
    /// No hello in time.
    HandshakeTimeout = 138 "handshake_timeout" true
        "No hello came in time", "connect again and send the hello first";
    /// Nothing came for long.
    IdleTimeout = 139 "idle_timeout" true
        "Nothing came from the client for too long", "connect again and send a ping now and then";
    /// Another node decides.
    NotPrimary = 140 "not_primary" true
        "This node does not decide at present", "connect to the address that the message names";
    /// Nothing can be made durable.
    ReadOnly = 141 "read_only" true
        "The server takes no changes at present", "repeat the request after retry_after_ms";
    /// The process is going away.
    ShuttingDown = 142 "shutting_down" true
        "The server is going away", "connect again after retry_after_ms, your holds and places are kept";
    /// A defect of the server.
    Internal = 143 "internal" true
        "The server failed and the outcome is not known", "repeat the request with the same id";
    /// Too many sections watched.
    WatchLimit = 144 "watch_limit" false
        "The connection watches as many sections as it may", "unwatch one first";
    /// Seats 64 or more places apart.
    TooFarApart = 145 "too_far_apart" false
        "The seats are 64 or more places apart", "make several claims of them";
    /// A seat named twice.
    DuplicateSeat = 146 "duplicate_seat" false
        "A seat is named twice", "name each seat once";
    /// Something else came before the hello.
    HelloExpected = 147 "hello_expected" false
        "The first frame of a connection is a hello", "send a hello before anything else";
    /// A key that the JSON message does not have.
    UnknownKey = 148 "unknown_key" false
        "The message has no such key", "remove it or correct its name";
    /// A hold's token that is not one.
    BadToken = 149 "bad_token" false
        "The hold's token is not one", "send the token of the answer unchanged";
}
