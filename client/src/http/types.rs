//! What the server's HTTP side says, as far as this client uses it. Keys that it does not know are ignored.

use super::escaped;
use frontrow_shard::EventId;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// An event in a list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Its number.
    pub event: EventId,
    /// Its name.
    pub name: String,
    /// Its seating plan's name.
    pub plan: String,
    /// `draft`, `open`, `paused`, `closed` or `archived`.
    pub state: String,
    /// When it was made, ms since 1970.
    pub created_ms: u64,
    /// How many seats.
    pub seats: u64,
    /// How many sections.
    pub sections: usize,
}

/// An event in full.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EventDetail {
    /// As in a list.
    #[serde(flatten)]
    pub event: Event,
    /// Its rules.
    pub rules: EventRulesLine,
    /// A section's number is its place here.
    pub section_list: Vec<SectionSum>,
    /// A category's number is its place here.
    pub category_list: Vec<Category>,
}

/// An event's rules; times in milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRulesLine {
    /// How long a claim is held.
    pub hold_ms: u32,
    /// How long an offer is held.
    pub offer_ms: u32,
    /// How long a payment may pin a hold.
    pub pay_ms: u32,
    /// How often a hold may be extended.
    pub max_extensions: u8,
    /// Most seats in one claim.
    pub max_per_claim: u8,
    /// Most seats of one user; 0 for no limit.
    pub max_per_user: u16,
    /// How often a waiting party may be passed.
    pub max_passes: u16,
    /// `fifo` or `free-for-all`.
    pub fairness: String,
    /// `off`, `prefer` or `strict`.
    pub orphans: String,
}

/// A section by name and size.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionSum {
    /// Its name.
    pub name: String,
    /// How many rows.
    pub rows: u32,
    /// How many seats.
    pub seats: u32,
}

/// A price category.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Its name.
    pub name: String,
    /// How to draw it (CSS colour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}

/// A seat map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Map {
    /// The event.
    pub event: EventId,
    /// Its name.
    pub name: String,
    /// Its categories.
    pub categories: Vec<Category>,
    /// Its sections.
    pub sections: Vec<SectionMap>,
}

/// A section of a seat map.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SectionMap {
    /// Its number.
    pub section: u16,
    /// What people call it.
    pub name: String,
    /// Its rows.
    pub rows: Vec<RowMap>,
}

/// A row of a seat map. A seat's place is its index in the lists.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RowMap {
    /// Its number in the section.
    pub row: u16,
    /// What people call it.
    pub label: String,
    /// What stands on each seat.
    pub numbers: Vec<String>,
    /// Each seat's spot on the drawing, in pixels to the right.
    #[serde(default)]
    pub x: Vec<f32>,
    /// Each seat's spot on the drawing, in pixels downwards.
    #[serde(default)]
    pub y: Vec<f32>,
    /// The seats' categories.
    pub category: Categories,
    /// Places after which an aisle breaks the row.
    #[serde(default)]
    pub aisles_after: Vec<usize>,
    /// Places of accessible seats.
    #[serde(default)]
    pub accessible: Vec<usize>,
}

/// The categories of a row's seats.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Categories {
    /// All seats have this one.
    All(u8),
    /// One for each seat.
    Each(Vec<u8>),
}

impl Categories {
    /// The category of the seat at a place.
    pub fn at(&self, place: usize) -> Option<u8> {
        match self {
            Self::All(category) => Some(*category),
            Self::Each(list) => list.get(place).copied(),
        }
    }
}

/// The live seats of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SectionState {
    /// The event.
    pub event: EventId,
    /// The section.
    pub section: u16,
    /// Its rows.
    pub rows: Vec<RowState>,
}

/// The live seats of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RowState {
    /// Its number in the section.
    pub row: u16,
    /// One letter per seat: `f`ree, `h`eld, `b`ooked or blocked (`x`).
    pub seats: String,
}

/// A development token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevToken {
    /// The token.
    pub token: String,
    /// When it ends, in seconds since 1970.
    pub expires_s: u64,
}

/// A created event.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Created {
    /// The event.
    #[serde(flatten)]
    pub event: Event,
    /// Its rules.
    pub rules: EventRulesLine,
    /// What the importer read of the plan, ignored, and found odd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub report: Option<Value>,
}

/// Where blocking or unblocking was decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Blocked {
    /// What became of it.
    pub code: String,
    /// The position in the partition's history.
    pub lsn: u64,
    /// The epoch.
    pub epoch: u32,
}

/// An event's bookings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bookings {
    /// The event.
    pub event: EventId,
    /// How many there are, of one user or in all.
    pub total: usize,
    /// Whether they come from the archive.
    pub archived: bool,
    /// Some of them, by user.
    pub bookings: Vec<Booking>,
}

/// A booking.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Booking {
    /// Whose.
    pub user: String,
    /// The section.
    pub section: u16,
    /// The seats, row by row.
    pub rows: Vec<BookedSeats>,
    /// Until when the seats would have been held, ms since 1970.
    pub held_until_ms: u64,
    /// The position of the grant.
    pub lsn: u64,
    /// Its epoch.
    pub epoch: u32,
}

/// Booked seats of one row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BookedSeats {
    /// The row.
    pub row: u16,
    /// Places.
    pub seats: Vec<u8>,
}

/// A page of one's own bookings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnBookings {
    /// Newest first.
    pub bookings: Vec<OwnBooking>,
    /// The cursor of the next page; none if this is the last one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
    /// There if the newest bookings may be missing: this is not all then, also where it is empty.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
}

/// Why the table that an answer comes from may lack what was booked lately.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Behind {
    /// `ended`, `waiting`, `catching_up` or `unknown`; a later server may know others.
    pub code: String,
    /// For people.
    pub reason: String,
}

/// One of one's own bookings.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OwnBooking {
    /// Its name: event, section, row (`s` for a claim of the section), epoch, LSN and slot of the grant, with dashes.
    pub id: String,
    /// `booked` or `cancelled`.
    pub state: String,
    /// The event.
    pub event: EventId,
    /// The section.
    pub section: u16,
    /// The seats, row by row.
    pub rows: Vec<BookedSeats>,
    /// When, ms since 1970.
    pub booked_ms: u64,
    /// When it was given back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cancelled_ms: Option<u64>,
    /// Asked for alone: there if it may have been given back meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behind: Option<Behind>,
}

/// A new event's name and rules; what is `None` is the server's default.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EventQuery {
    /// The name.
    pub name: Option<String>,
    /// Rules by their names, as in [`EventRulesLine`].
    pub rules: Vec<(&'static str, String)>,
}

impl EventQuery {
    pub(super) fn text(&self) -> String {
        let name = self.name.iter().map(|name| ("name", name));
        let pairs = name.chain(self.rules.iter().map(|(key, value)| (*key, value)));
        let text: Vec<String> = pairs.map(|(key, value)| format!("{key}={}", escaped(value))).collect();
        if text.is_empty() { String::new() } else { format!("?{}", text.join("&")) }
    }
}
