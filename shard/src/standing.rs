//! Who has what: every hold and booking of a partition, as whoever has followed the log to the same record knows it.

use crate::hold::HoldState;
use crate::ids::{Millis, Parts, RowRef, Seats, UserId};
use crate::partition::Partition;
use crate::record::HoldId;

/// What a user has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The hold.
    pub hold: HoldId,
    /// Whose.
    pub user: UserId,
    /// The row, or the section for a claim of one.
    pub place: RowRef,
    /// The seats of a row.
    pub seats: Seats,
    /// The rows of a hold over several.
    pub rows: Parts,
    /// Until when; of a booking, until when it would have been held.
    pub expires_ms: Millis,
    /// Whether a payment pins it.
    pub paying: bool,
    /// Whether it is sold.
    pub booked: bool,
}

impl Partition {
    /// All that users were told is theirs: neither what is still being decided about, nor the rows' parts of a claim
    /// over several, of which the claim itself tells.
    pub fn standings(&self) -> impl Iterator<Item = Standing> + '_ {
        self.events.iter().enumerate().flat_map(move |(ev, part)| {
            let told = |state| matches!(state, HoldState::Held | HoldState::Paying | HoldState::Booked);
            (0_u32..).zip(part.holds.iter()).filter(move |(_, hold)| told(hold.state)).map(
                move |(slot, hold)| Standing {
                    hold: HoldId { epoch: self.epoch_of(hold.lsn), lsn: hold.lsn, slot },
                    user: hold.user,
                    place: part.place_of(hold),
                    seats: hold.seats(),
                    rows: self.group_parts(ev, slot),
                    expires_ms: hold.expires_ms,
                    paying: hold.state == HoldState::Paying,
                    booked: hold.state == HoldState::Booked,
                },
            )
        })
    }
}
