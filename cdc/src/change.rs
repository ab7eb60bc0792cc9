//! What can change, and how it stands in JSON.

use frontrow_shard::record::{DropReason, HoldId};
use frontrow_shard::{
    Epoch, EventId, EventState, Lsn, Millis, PartitionId, Parts, RequestId, RowRef, Seats, UserId,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// The name of a change. With the cluster it is unique for ever, and the same whoever reads the log, and whenever:
/// what has been taken over once is told by it. Within a partition it grows in the order of (epoch, LSN, n).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Position {
    /// The partition.
    pub partition: PartitionId,
    /// The record's epoch.
    pub epoch: Epoch,
    /// The record.
    pub lsn: Lsn,
    /// Which of the record's changes, from 0.
    pub n: u32,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A user asked for seats and holds them.
    Claimed,
    /// A user who waited holds seats.
    Offered,
    /// A hold lasts longer.
    Extended,
    /// A payment pins a hold.
    Paying,
    /// A hold is a booking.
    Booked,
    /// A hold was given back.
    Released,
    /// A booking was given back.
    Cancelled,
    /// A hold ran out.
    Expired,
    /// A user waits in a queue. Told again to who waits already and asks again. Where there is a limit per user, a party
    /// leaves a row's queue while the limit is looked at: who joins anew meanwhile waits on behind the offer.
    Joined,
    /// A user has left a queue.
    Left,
    /// A user is out of a queue otherwise than by an offer; `why` says for what reason. With a request: that request was
    /// to lead there, and came to nothing.
    Dropped,
    /// So many joined or were dropped at once that the record had no room for their names. Nobody's seats are among it.
    Unnamed,
    /// An event was made, as far as this partition is concerned. Told again if it is made again.
    EventCreated,
    /// An event is in this state in this partition. `closed` also ends everybody's waiting.
    EventState,
    /// Seats were taken out of sale.
    Blocked,
    /// Seats were put back.
    Unblocked,
}

impl Kind {
    /// All of them, in order; a test sees that none is missing.
    pub const ALL: [Self; 16] = [
        Self::Claimed,
        Self::Offered,
        Self::Extended,
        Self::Paying,
        Self::Booked,
        Self::Released,
        Self::Cancelled,
        Self::Expired,
        Self::Joined,
        Self::Left,
        Self::Dropped,
        Self::Unnamed,
        Self::EventCreated,
        Self::EventState,
        Self::Blocked,
        Self::Unblocked,
    ];

    /// As JSON says it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claimed => "claimed",
            Self::Offered => "offered",
            Self::Extended => "extended",
            Self::Paying => "paying",
            Self::Booked => "booked",
            Self::Released => "released",
            Self::Cancelled => "cancelled",
            Self::Expired => "expired",
            Self::Joined => "joined",
            Self::Left => "left",
            Self::Dropped => "dropped",
            Self::Unnamed => "unnamed",
            Self::EventCreated => "event_created",
            Self::EventState => "event_state",
            Self::Blocked => "blocked",
            Self::Unblocked => "unblocked",
        }
    }
}

/// Why a user is out of a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// So many seats can never come free again.
    Unfillable,
    /// The sale is over.
    Closed,
    /// The user has as many seats as one may have.
    HoldCap,
}

impl Why {
    /// As JSON says it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Unfillable => "unfillable",
            Self::Closed => "closed",
            Self::HoldCap => "hold_cap",
        }
    }
}

/// A hold, for the whole of its life: the grant it goes back to. Unique within the partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Hold {
    /// The epoch of the grant.
    pub epoch: Epoch,
    /// The operation that set its seats aside.
    pub lsn: Lsn,
    /// Tells the holds of one operation apart.
    pub slot: u32,
}

/// Seats of one row, by their places.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RowSeats {
    /// Index of the row in the section.
    pub row: u16,
    /// Places, rising.
    pub seats: Vec<u8>,
}

/// One change. Which fields are there depends on its kind; in JSON, others are left out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its name.
    #[serde(flatten)]
    pub position: Position,
    /// What happened.
    #[serde(rename = "type")]
    pub kind: Kind,
    /// When.
    pub time_ms: Millis,
    /// The event.
    pub event: EventId,
    /// Index of the section; none with what is about the event as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub section: Option<u16>,
    /// Index of the row in the section; none if it is about the section.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row: Option<u16>,
    /// Seats of the row, by their places.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub seats: Vec<u8>,
    /// Seats of a hold of the section, row by row.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parts: Vec<RowSeats>,
    /// Whose.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user: Option<UserId>,
    /// The request that led to it, if one of this user did: 32 hexadecimal digits.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "hex")]
    pub request: Option<RequestId>,
    /// The hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Hold>,
    /// When the hold ends if nothing happens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_ms: Option<Millis>,
    /// Why the user is out of the queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<Why>,
    /// The event's state.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "state")]
    pub state: Option<EventState>,
    /// How many are not named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub others: Option<u32>,
}

impl Change {
    /// Of an event as a whole.
    pub(crate) fn of_event(position: Position, time_ms: Millis, kind: Kind, event: EventId) -> Self {
        Self {
            position,
            kind,
            time_ms,
            event,
            section: None,
            row: None,
            seats: Vec::new(),
            parts: Vec::new(),
            user: None,
            request: None,
            hold: None,
            expires_ms: None,
            why: None,
            state: None,
            others: None,
        }
    }

    /// At a row or section.
    #[must_use]
    pub(crate) fn at(self, place: RowRef) -> Self {
        Self { section: Some(place.section), row: (!place.is_section()).then_some(place.row), ..self }
    }

    /// About these seats.
    #[must_use]
    pub(crate) fn seats(self, seats: Seats, rows: &Parts) -> Self {
        let of_part =
            |part: &frontrow_shard::Part| RowSeats { row: part.row, seats: part.seats.places().collect() };
        Self { seats: seats.places().collect(), parts: rows.as_slice().iter().map(of_part).collect(), ..self }
    }

    /// The row or section it is about, if it is about one.
    pub fn place(&self) -> Option<RowRef> {
        let row = self.row.unwrap_or(RowRef::SECTION);
        self.section.map(|section| RowRef::new(self.event, section, row))
    }
}

impl From<HoldId> for Hold {
    fn from(HoldId { epoch, lsn, slot }: HoldId) -> Self {
        Self { epoch, lsn, slot }
    }
}

impl From<DropReason> for Why {
    fn from(why: DropReason) -> Self {
        match why {
            DropReason::Unfillable => Self::Unfillable,
            DropReason::Closed => Self::Closed,
            DropReason::HoldCap => Self::HoldCap,
        }
    }
}

/// Request ids as 32 lowercase hexadecimal digits: JSON's numbers are too short for them.
pub(crate) mod hex {
    use super::{Deserialize, Deserializer, RequestId, Serializer, de};

    #[allow(clippy::ref_option, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(id: &Option<RequestId>, to: S) -> Result<S::Ok, S::Error> {
        match id {
            Some(id) => to.collect_str(&format_args!("{id:032x}")),
            None => to.serialize_none(),
        }
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<RequestId>, D::Error> {
        let Some(text) = Option::<std::borrow::Cow<'_, str>>::deserialize(from)? else { return Ok(None) };
        let id = parse(&text).ok_or_else(|| de::Error::custom("a request is 32 hexadecimal digits"))?;
        Ok(Some(id))
    }

    /// As JSON says it.
    pub(crate) fn parse(text: &str) -> Option<RequestId> {
        let digits = text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit());
        digits.then(|| RequestId::from_str_radix(text, 16).ok()).flatten()
    }
}

/// States by the names that the rest of Frontrow gives them.
pub(crate) mod state {
    use super::{Deserialize, Deserializer, EventState, Serializer, de};

    const NAMES: [(EventState, &str); 6] = [
        (EventState::Draft, "draft"),
        (EventState::Open, "open"),
        (EventState::Paused, "paused"),
        (EventState::Closed, "closed"),
        (EventState::Archiving, "archiving"),
        (EventState::Archived, "archived"),
    ];

    #[allow(clippy::ref_option, clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
    pub(super) fn serialize<S: Serializer>(state: &Option<EventState>, to: S) -> Result<S::Ok, S::Error> {
        match *state {
            Some(state) => to.serialize_str(name(state)),
            None => to.serialize_none(),
        }
    }

    /// As JSON says it.
    pub(crate) fn name(state: EventState) -> &'static str {
        NAMES.iter().find(|(known, _)| *known == state).map_or("", |(_, name)| name)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<EventState>, D::Error> {
        let Some(text) = Option::<std::borrow::Cow<'_, str>>::deserialize(from)? else { return Ok(None) };
        of(&text).map(Some).ok_or_else(|| de::Error::custom("no state of an event"))
    }

    /// The state of this name.
    pub(crate) fn of(name: &str) -> Option<EventState> {
        NAMES.iter().find(|(_, known)| *known == name).map(|(state, _)| *state)
    }
}

#[cfg(test)]
mod tests {
    use super::Kind;

    /// serde knows all of them: its words for a kind that is none have each.
    #[test]
    fn no_kind_is_missing_among_all_and_each_has_its_name() {
        let error = serde_json::from_str::<Kind>("\"none\"").unwrap_err().to_string();
        let (_, names) = error.split_once("expected one of ").expect("it says which there are");
        let known: Vec<&str> = names.split('`').skip(1).step_by(2).collect();
        assert_eq!(Kind::ALL.map(Kind::name).as_slice(), known);
    }
}
