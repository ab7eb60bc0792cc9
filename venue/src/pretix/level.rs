//! The shape of pretix's format as a table: where a value stands and what may stand below it.

/// Where in the document a value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Level {
    Root,
    PlanName,
    Size,
    Width,
    Height,
    Categories,
    Category,
    CategoryName,
    CategoryColor,
    Zones,
    Zone,
    ZoneName,
    ZonePosition,
    Rows,
    Row,
    RowLabel,
    RowPosition,
    Seats,
    Seat,
    Guid,
    Number,
    SeatCategory,
    Accessible,
    SeatPosition,
    X,
    Y,
}

use Level as L;

/// The keys that are read, with the level of their values.
type Keys = &'static [(&'static str, Level)];

const ROOT: Keys =
    &[("name", L::PlanName), ("categories", L::Categories), ("zones", L::Zones), ("size", L::Size)];
const SIZE: Keys = &[("width", L::Width), ("height", L::Height)];
const CATEGORY: Keys = &[("name", L::CategoryName), ("color", L::CategoryColor)];
const ZONE: Keys = &[("name", L::ZoneName), ("position", L::ZonePosition), ("rows", L::Rows)];
const ROW: Keys = &[("row_number", L::RowLabel), ("seats", L::Seats), ("position", L::RowPosition)];
const SEAT: Keys = &[
    ("seat_guid", L::Guid),
    ("seat_number", L::Number),
    ("position", L::SeatPosition),
    ("category", L::SeatCategory),
    ("accessible", L::Accessible),
    ("wheelchair", L::Accessible),
];
const POSITION: Keys = &[("x", L::X), ("y", L::Y)];

impl Level {
    /// For an object: its known keys.
    pub(super) fn keys(self) -> Option<Keys> {
        Some(match self {
            L::Root => ROOT,
            L::Size => SIZE,
            L::Category => CATEGORY,
            L::Zone => ZONE,
            L::Row => ROW,
            L::Seat => SEAT,
            L::ZonePosition | L::RowPosition | L::SeatPosition => POSITION,
            _ => return None,
        })
    }

    /// For an array: the level of its elements.
    pub(super) fn element(self) -> Option<Level> {
        Some(match self {
            L::Categories => L::Category,
            L::Zones => L::Zone,
            L::Rows => L::Row,
            L::Seats => L::Seat,
            _ => return None,
        })
    }

    /// What must stand here, for messages.
    pub(super) fn expected(self) -> &'static str {
        match self {
            L::Width | L::Height | L::X | L::Y => "a number",
            L::Accessible => "true or false",
            _ if self.keys().is_some() => "an object",
            _ if self.element().is_some() => "an array",
            _ => "a text in quotes",
        }
    }

    /// Whether null says the same as absence. An element of an array cannot be absent.
    pub(super) fn may_be_null(self) -> bool {
        !matches!(self, L::Root | L::Category | L::Zone | L::Row | L::Seat)
    }

    /// The place of ignored keys below this level.
    pub(super) fn pattern(self) -> &'static str {
        match self {
            L::Size => "size.",
            L::Category => "categories[].",
            L::Zone => "zones[].",
            L::ZonePosition => "zones[].position.",
            L::Row => "zones[].rows[].",
            L::RowPosition => "zones[].rows[].position.",
            L::Seat => "zones[].rows[].seats[].",
            L::SeatPosition => "zones[].rows[].seats[].position.",
            _ => "",
        }
    }
}
