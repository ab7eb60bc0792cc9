//! The neutral plan: sections of rows of seats, and the places in it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::check::{Checker, Places};
use crate::errors::ImportErrors;

/// A hall. Its JSON form is the stored form and the seat map.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// What the hall is called.
    pub name: String,
    /// The drawing's extent, if the source gave one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<Size>,
    /// Price categories; a seat names one by its index.
    pub categories: Vec<Category>,
    /// The sections (pretix: zones), in the order of the source.
    pub sections: Vec<Section>,
}

/// A drawing's extent in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Size {
    /// Pixels from left to right.
    pub width: f32,
    /// Pixels from top to bottom.
    pub height: f32,
}

/// A spot on the drawing, in pixels: x to the right, y downwards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// Pixels to the right.
    pub x: f32,
    /// Pixels downwards.
    pub y: f32,
}

/// A price category.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Category {
    /// Unique in the plan.
    pub name: String,
    /// How to draw it, as the source wrote it (CSS colour).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub color: Option<String>,
}

/// A block of rows (pretix: a zone).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Section {
    /// Unique in the plan.
    pub name: String,
    /// The section's origin on the drawing. Seats are placed absolutely, not relative to it.
    pub position: Point,
    /// The rows, in the order of the source.
    pub rows: Vec<Row>,
}

/// A row of seats.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Unique in the section.
    pub label: Box<str>,
    /// The seats in the order of their place along the row, which need not be that of their numbers.
    pub seats: Vec<Seat>,
}

/// One seat: 48 bytes and the heap blocks of its texts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Seat {
    /// The source's identifier, unique in the plan. `None`: made from the place, see [`Plan::guid`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub guid: Option<Box<str>>,
    /// What stands on the seat, unique in the row. Says nothing about adjacency.
    pub number: Box<str>,
    /// Pixels to the right, absolute in the plan.
    pub x: f32,
    /// Pixels downwards, absolute in the plan.
    pub y: f32,
    /// Index into [`Plan::categories`].
    #[serde(default)]
    pub category: u8,
    /// Meant for a wheelchair user.
    #[serde(default, skip_serializing_if = "is_false")]
    pub accessible: bool,
    /// The next seat of the row is not adjacent: an aisle or a gap follows. False on the last seat.
    #[serde(default, skip_serializing_if = "is_false")]
    pub aisle_after: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature serde asks for")]
fn is_false(flag: &bool) -> bool {
    !*flag
}

/// Where a seat stands in a plan: indices from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeatPlace {
    /// Index into [`Plan::sections`].
    pub section: u32,
    /// Index into [`Section::rows`].
    pub row: u32,
    /// Index into [`Row::seats`]: the place along the row.
    pub seat: u32,
}

impl SeatPlace {
    /// The place as a seat identifier: `section-row-seat`, for example `0-12-3`.
    pub fn guid(self) -> String {
        format!("{}-{}-{}", self.section, self.row, self.seat)
    }

    /// The inverse of [`SeatPlace::guid`]; `None` for any other text.
    pub fn from_guid(guid: &str) -> Option<Self> {
        let mut parts = guid.split('-').map(|part| part.parse::<u32>().ok());
        let place = Self { section: parts.next()??, row: parts.next()??, seat: parts.next()?? };
        // Comparing with the canonical spelling refuses leading zeros, signs and further parts.
        (place.guid() == guid).then_some(place)
    }
}

impl Plan {
    /// All seats with their places, in the order of the plan.
    pub fn seats(&self) -> impl Iterator<Item = (SeatPlace, &Seat)> {
        self.sections.iter().enumerate().flat_map(|(section, block)| {
            block.rows.iter().enumerate().flat_map(move |(row, line)| {
                line.seats.iter().enumerate().map(move |(seat, it)| {
                    (SeatPlace { section: section as u32, row: row as u32, seat: seat as u32 }, it)
                })
            })
        })
    }

    /// How many seats the plan has.
    pub fn seat_count(&self) -> usize {
        self.sections.iter().flat_map(|section| &section.rows).map(|row| row.seats.len()).sum()
    }

    /// How many rows the plan has.
    pub fn row_count(&self) -> usize {
        self.sections.iter().map(|section| section.rows.len()).sum()
    }

    /// The seat at a place.
    pub fn seat(&self, at: SeatPlace) -> Option<&Seat> {
        self.sections.get(at.section as usize)?.rows.get(at.row as usize)?.seats.get(at.seat as usize)
    }

    /// The seat's identifier: its own, or else one made from its place. Unique in a checked plan.
    /// `None` if there is no such seat.
    pub fn guid(&self, at: SeatPlace) -> Option<Cow<'_, str>> {
        let seat = self.seat(at)?;
        Some(seat.guid.as_deref().map_or_else(|| Cow::Owned(at.guid()), Cow::Borrowed))
    }

    /// Checks everything a plan promises: bounds, unique names, finite positions, categories that
    /// exist. Places in errors are JSON paths into the plan, like `sections[2].rows[4].seats[11].guid`.
    pub fn check(&self) -> Result<(), ImportErrors> {
        let mut errors = ImportErrors::default();
        Checker::new(Places::Native).run(self, &mut errors);
        errors.into_result(())
    }
}
