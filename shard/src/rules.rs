//! What an event's organiser may set, and the geometry the state machine needs of a venue.

use crate::ids::{EventId, Millis};
use rkyv::{Archive, Deserialize, Serialize};

/// Who gets a seat that comes free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum Fairness {
    /// The first in the queue who fits.
    #[default]
    Fifo = 0,
    /// Whoever asks first once it is free; there are no queues.
    FreeForAll = 1,
}

/// What to do about a choice of seats that leaves a single seat alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum OrphanRule {
    /// Nothing.
    Off = 0,
    /// Best-seat choices avoid it where they can; named seats are the buyer's own choice.
    #[default]
    Prefer = 1,
    /// Refuse it, named or not, unless no choice of as many seats in the row avoids it.
    Strict = 2,
}

/// How close together a party's seats must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum Adjacency {
    /// Next to each other in one row, or none at all.
    #[default]
    Required = 0,
    /// Next to each other if that can be had, else spread over rows.
    Preferred = 1,
    /// Anywhere in the section.
    Any = 2,
}

/// Where an event stands in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, Archive, Serialize, Deserialize)]
#[repr(u8)]
pub enum EventState {
    /// Made, not on sale yet.
    #[default]
    Draft = 0,
    /// On sale.
    Open = 1,
    /// Nothing new is claimed or handed on; holds keep their deadlines and can be booked.
    Paused = 2,
    /// The sale is over and queues are empty; holds can still be booked inside their time.
    Closed = 3,
    /// It is being archived: nothing about it changes any more but what ends by itself.
    Archiving = 4,
    /// It stands in its archive, and nothing of it is in memory.
    Archived = 5,
}

/// An event's rules, fixed when it is created. All times in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct EventRules {
    /// How long a claim is held: 10 s to 1 h.
    pub hold_ms: u32,
    /// How long an offer from the queue is held; the same range.
    pub offer_ms: u32,
    /// How long a payment may pin a hold, counted from its beginning; the same range.
    pub pay_ms: u32,
    /// How often a hold may be extended, each time to `hold_ms` from then; at most 15.
    pub max_extensions: u8,
    /// Most seats in one claim or party, 1 to 32.
    pub max_per_claim: u8,
    /// Most seats one user may hold and have booked in this event; 0 for no limit.
    pub max_per_user: u16,
    /// How often a waiting party may be passed by others before everybody waits for it.
    pub max_passes: u16,
    /// Who gets what comes free.
    pub fairness: Fairness,
    /// Single seats.
    pub orphans: OrphanRule,
}

impl Default for EventRules {
    fn default() -> Self {
        Self {
            hold_ms: 300_000,
            offer_ms: 300_000,
            pay_ms: 300_000,
            max_extensions: 2,
            max_per_claim: 8,
            max_per_user: 0,
            max_passes: 100,
            fairness: Fairness::Fifo,
            orphans: OrphanRule::Prefer,
        }
    }
}

/// The shortest and the longest time an event's rules may give, in milliseconds.
pub const HOLD_RANGE_MS: std::ops::RangeInclusive<Millis> = 10_000..=3_600_000;

impl EventRules {
    /// The first rule that is out of its range: its name, and what is allowed.
    pub fn mistake(&self) -> Option<(&'static str, &'static str)> {
        let time_ok = |ms: u32| HOLD_RANGE_MS.contains(&Millis::from(ms));
        if !time_ok(self.hold_ms) {
            Some(("hold", "10 s to 1 h"))
        } else if !time_ok(self.offer_ms) {
            Some(("offer", "10 s to 1 h"))
        } else if !time_ok(self.pay_ms) {
            Some(("pay", "10 s to 1 h"))
        } else if self.max_extensions > 15 {
            Some(("max_extensions", "0 to 15"))
        } else if !(1..=crate::ids::MAX_PARTY).contains(&self.max_per_claim) {
            Some(("max_per_claim", "1 to 32"))
        } else if self.max_per_user != 0 && self.max_per_user < u16::from(self.max_per_claim) {
            Some(("max_per_user", "0 for no limit, or at least max_per_claim"))
        } else {
            None
        }
    }
}

/// What one partition has to know of an event: all sections' sizes, and the rows it owns itself.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct EventSpec {
    /// The event's number.
    pub event: EventId,
    /// Its rules.
    pub rules: EventRules,
    /// How many rows each section has, on whatever partition.
    pub section_rows: Vec<u16>,
    /// How many seats each section has, on whatever partition.
    pub section_seats: Vec<u32>,
    /// The rows of this partition.
    pub rows: Vec<RowSpec>,
}

/// One row's geometry. Seats are in the order of their places.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Archive, Serialize, Deserialize)]
pub struct RowSpec {
    /// Index of the section.
    pub section: u16,
    /// Index of the row within it.
    pub row: u16,
    /// Category of each seat: one entry per seat, 1 to 256 of them.
    pub categories: Vec<u8>,
    /// Places after which an aisle breaks adjacency.
    pub aisles_after: Vec<u8>,
    /// Places of accessible seats.
    pub accessible: Vec<u8>,
}
