//! Planted bugs: defects that the simulator must find, one at a time. What it does not find is a hole in its check.
//!
//! Without the feature `on` [`planted`] is a constant `false`, and nothing of a bug is compiled. With it, a bug is
//! chosen for the whole process by [`plant`]. A release build (`panic = "abort"`) refuses the feature.

#[cfg(all(feature = "on", panic = "abort"))]
compile_error!("planted bugs must never be in a release build: leave the feature `plant` out");

macro_rules! bugs {
    ($($(#[doc = $what:literal])+ $name:ident $room:literal,)+) => {
        /// A defect that can be planted.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u32)]
        pub enum Bug {
            /// None.
            None,
            $($(#[doc = $what])+ $name,)+
        }

        /// Every bug: the room it is in, and what it does.
        pub const ALL: &[(Bug, &str, &str)] = &[$((Bug::$name, $room, concat!($($what),+)),)+];
    };
}

bugs! {
    /// a hold runs out three seconds early
    ExpiresEarly "shard",
    /// what comes free in a row is not handed to who waits for it
    LostWaiter "shard",
    /// the last of a row's queue is served first
    WaiterOrder "shard",
    /// a hold whose time is over can be booked until its timer has come up
    ExpiredBookable "shard",
    /// a fence that a later one replaced is still good
    StaleFence "shard",
    /// the nonce of a fence is not compared
    NonceIgnored "shard",
    /// anybody may use a fence that he knows
    ForeignFence "shard",
    /// the last of the seats asked for is not compared with those taken
    OverlapGranted "shard",
    /// the limit of seats per user is not kept
    CapIgnored "shard",
    /// an offer from the queue has no timer
    OfferNotTimed "shard",
    /// the answer to a release is not remembered
    AnswerForgotten "shard",
    /// a request that comes again is done again
    DoneAgain "shard",
    /// a request id may be used for something else
    IdReused "shard",
    /// a message between partitions is applied twice
    LetterTwice "shard",
    /// some messages between partitions are not sent
    LetterDropped "shard",
    /// what a row lent to the section's queue is not given back
    LoanKept "shard",
    /// a cancelled booking leaves its seats booked
    CancelKeepsSeat "shard",
    /// a payment that has begun can begin again
    PayTwice "shard",
    /// a payment pins its hold for an hour
    PayForever "shard",
    /// a hold can be extended without end
    ExtendForever "shard",
    /// the position in a queue is told one too low
    StatusWrong "shard",
    /// who leaves a row's queue stays in it
    LeaveIgnored "shard",
    /// who can never be served in a row any more is not told
    NeverTold "shard",
    /// records are durable as soon as their write has set off
    AckBeforeSync "wal",
    /// recovery does not compare checksums
    ChecksumSkipped "wal",
    /// a start goes on in the epoch of the last one
    EpochNotBumped "wal",
    /// recovery drops the last record of a segment
    LastRecordDropped "wal",
    /// the trim removes a segment too many
    TrimTooFar "wal",
    /// the log is trimmed up to the newest snapshot, not to the older of two
    TrimToNewest "wal",
    /// positions are off by a record header after a change of segment
    PositionOff "wal",
    /// a failed write counts as done
    FailedWriteIgnored "wal",
    /// the open block is written again without what it had
    OpenBlockLost "wal",
    /// answers leave when their commit sets off
    AnswerBeforeCommit "server",
    /// the group that still collects is released in place of the durable one
    GroupsSwapped "server",
    /// messages between partitions leave when their commit sets off
    LettersBeforeCommit "server",
    /// messages between partitions are not repeated after a crash
    LettersNotRepeated "server",
    /// the server's time follows the wall clock
    WallClockFollowed "server",
    /// requests are routed as if the number of cores had never changed
    WrongOwner "server",
    /// news go to the next user
    NewsToAnother "server",
    /// recovery leaves out the newest epoch
    EpochSkipped "server",
    /// a snapshot leaves out messages that have not arrived
    LettersNotSaved "server",
    /// answers do not wait for the standby, though they say so
    StandbyNotAwaited "server",
    /// a connection of a standby that gave way ends the copies that are made for the next
    CopiesTakenAway "server",
    /// a standby applies a message whose sender, in another stream, has not written it yet
    MessageBeforeSender "server",
    /// a standby compares its state with what a primary said of records that were lost with it
    OldChecksKept "server",
    /// a standby acknowledges before its disk has it
    StandbyAckBeforeSync "wal",
    /// a standby writes a seal before the next segment is there
    SealBeforeSuccessor "wal",
    /// an old primary that follows keeps what it has past the fork
    OwnTailKept "wal",
    /// an old primary that follows keeps epochs that the new one does not know
    ForeignEpochKept "wal",
    /// a promotion goes on in the old primary's epoch
    PromotedInOldEpoch "wal",
    /// a segment is written into before its name is durable
    NameNotSynced "wal",
    /// a segment has its name before it is whole
    NamedBeforeSync "wal",
    /// marks (manifest, history, trim) count before their names are durable
    MarkNotSynced "wal",
    /// a file that is used again keeps what it had
    RecycledAsItWas "wal",
}

#[cfg(feature = "on")]
static PLANTED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

/// Plants a bug in this process, in place of the one before.
#[cfg(feature = "on")]
pub fn plant(bug: Bug) {
    PLANTED.store(bug as u32, std::sync::atomic::Ordering::SeqCst);
}

/// Whether this bug is planted. A constant without the feature.
#[cfg(feature = "on")]
#[inline]
pub fn planted(bug: Bug) -> bool {
    PLANTED.load(std::sync::atomic::Ordering::Relaxed) == bug as u32
}

/// Whether this bug is planted: never, in this build.
#[cfg(not(feature = "on"))]
#[inline]
pub const fn planted(_: Bug) -> bool {
    false
}
