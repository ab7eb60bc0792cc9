//! Generates a stadium of any size, for load tests and examples.
//!
//! Sections stand around a pitch in tiers. A section is about 20 rows of 20 to 40 seats, shorter in
//! front; rows of [`WIDE_ROW`] seats and more have an aisle in their middle; the two end seats of a
//! section's first row are accessible; every tier is a category of its own. The same specification
//! gives the same stadium, to the seat.

use std::f64::consts::PI;

use crate::limits::{MAX_CATEGORIES, MAX_SEATS};
use crate::plan::{Category, Plan, Point, Row, Seat, Section, Size};

/// From how many seats on a row has an aisle in its middle.
pub const WIDE_ROW: u32 = 24;

/// Shortest and longest row of a stadium of 20 seats and more.
const ROW_SEATS: (u32, u32) = (20, 40);
/// Seats of a row on average.
const ROW_AVERAGE: u32 = 30;
/// Seats of a section on average.
const SECTION_SEATS: u32 = 600;
const SEAT_PITCH: f64 = 25.0;
const ROW_PITCH: f64 = 40.0;
/// Pixels kept free around a section.
const SECTION_GAP: f64 = 100.0;
/// Pixels from the centre to the first row at least: the pitch.
const PITCH_RADIUS: f64 = 1500.0;

/// What to generate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StadiumSpec {
    /// The plan's name.
    pub name: String,
    /// Exactly this many seats: 1 to [`MAX_SEATS`].
    pub seats: u32,
    /// How many tiers at most, 1 to [`MAX_CATEGORIES`]. A small stadium has fewer: a tier has a section.
    pub tiers: u32,
}

impl StadiumSpec {
    /// A stadium of three tiers.
    pub fn new(seats: u32) -> Self {
        Self { name: format!("Stadium of {seats}"), seats, tiers: 3 }
    }
}

/// A stadium that cannot be generated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StadiumError {
    /// No seats, or too many.
    #[error("a stadium has 1 to {MAX_SEATS} seats, not {0}; ask for a number in between")]
    Seats(u32),
    /// No tiers, or too many.
    #[error("a stadium has 1 to {MAX_CATEGORIES} tiers, not {0}; ask for a number in between")]
    Tiers(u32),
}

/// Generates a stadium of exactly `spec.seats` seats.
pub fn generate(spec: &StadiumSpec) -> Result<Plan, StadiumError> {
    if spec.seats == 0 || spec.seats as usize > MAX_SEATS {
        return Err(StadiumError::Seats(spec.seats));
    }
    if spec.tiers == 0 || spec.tiers as usize > MAX_CATEGORIES {
        return Err(StadiumError::Tiers(spec.tiers));
    }
    let sections = spec.seats.div_ceil(SECTION_SEATS);
    let tiers = spec.tiers.min(sections);
    let mut plan = Plan {
        name: spec.name.clone(),
        size: None,
        categories: (1..=tiers).map(|tier| category(tier, tiers)).collect(),
        sections: Vec::with_capacity(sections as usize),
    };
    let mut inner = PITCH_RADIUS;
    for tier in 0..tiers {
        let around = share(sections, tiers, tier);
        inner = inner.max(ring_radius(around));
        let mut depth = 0.0_f64;
        for place in 0..around {
            let seats = share(spec.seats, sections, plan.sections.len() as u32);
            let stand = Stand { name: section_name(tier, place, around), tier: tier as u8, seats };
            let angle = 2.0 * PI * f64::from(place) / f64::from(around);
            let section = stand.build(inner, angle);
            depth = depth.max(section.rows.len() as f64 * ROW_PITCH);
            plan.sections.push(section);
        }
        inner += depth + SECTION_GAP;
    }
    let reach = inner + f64::from(ROW_SEATS.1) * SEAT_PITCH;
    move_to_corner(&mut plan, reach.ceil() as f32);
    Ok(plan)
}

/// Part `index` of `total` split into `parts` as evenly as whole numbers allow.
fn share(total: u32, parts: u32, index: u32) -> u32 {
    total / parts + u32::from(index < total % parts)
}

/// The radius at which `around` sections stand side by side without touching.
fn ring_radius(around: u32) -> f64 {
    let width = f64::from(ROW_SEATS.1 + 1) * SEAT_PITCH + SECTION_GAP;
    if around < 3 { 0.0 } else { width / 2.0 / (PI / f64::from(around)).tan() }
}

fn category(tier: u32, tiers: u32) -> Category {
    // From warm below to cold above.
    let warm = 255 - 200 * (tier - 1) / tiers;
    Category { name: format!("Tier {tier}"), color: Some(format!("#{warm:02x}60{:02x}", 255 - warm / 2)) }
}

/// `101`, `102`, … in the first tier, with as many digits as the tier needs.
fn section_name(tier: u32, place: u32, around: u32) -> String {
    let digits = around.ilog10().max(1) as usize + 1;
    format!("{}{:0digits$}", tier + 1, place + 1)
}

/// One section to build.
struct Stand {
    name: String,
    tier: u8,
    seats: u32,
}

impl Stand {
    /// Builds the section with its first row at a distance from the centre, in the direction of
    /// `angle` (radians).
    fn build(self, radius: f64, angle: f64) -> Section {
        let widths = row_widths(self.seats);
        let (sin, cos) = angle.sin_cos();
        let mut rows = Vec::with_capacity(widths.len());
        for (index, &width) in widths.iter().enumerate() {
            let aisle = (width >= WIDE_ROW).then_some(width / 2);
            let out = radius + index as f64 * ROW_PITCH;
            let length = f64::from(width - 1 + u32::from(aisle.is_some())) * SEAT_PITCH;
            let seats = (0..width).map(|seat| {
                let steps = seat + u32::from(aisle.is_some_and(|aisle| seat >= aisle));
                let along = f64::from(steps) * SEAT_PITCH - length / 2.0;
                Seat {
                    guid: None,
                    number: (seat + 1).to_string().into(),
                    x: half_pixel(cos * out - sin * along),
                    y: half_pixel(sin * out + cos * along),
                    category: self.tier,
                    accessible: index == 0 && (seat == 0 || seat + 1 == width),
                    aisle_after: aisle == Some(seat + 1),
                }
            });
            rows.push(Row { label: (index + 1).to_string().into(), seats: seats.collect() });
        }
        Section { name: self.name, position: Point::default(), rows }
    }
}

/// Splits a section's seats into rows of 20 to 40, shorter in front. Fewer than 20 are one row.
fn row_widths(seats: u32) -> Vec<u32> {
    let (shortest, longest) = ROW_SEATS;
    if seats <= longest {
        return vec![seats];
    }
    let rows = ((seats + ROW_AVERAGE / 2) / ROW_AVERAGE).max(seats.div_ceil(longest));
    let base = seats / rows;
    let slope = i64::from(longest.saturating_sub(base + 1).min(base.saturating_sub(shortest)).min(8));
    let (last, extra) = (i64::from(rows) - 1, seats % rows);
    (0..rows)
        .map(|row| {
            // Antisymmetric around the middle row, so the sum stays what it is.
            let ramp = (2 * i64::from(row) - last) * slope / last.max(1);
            (i64::from(base) + ramp) as u32 + u32::from(row >= rows - extra)
        })
        .collect()
}

/// Rounding hides differences between mathematical libraries and keeps the JSON short.
fn half_pixel(value: f64) -> f32 {
    ((value * 2.0).round() / 2.0) as f32
}

/// Moves the centre so that all coordinates are positive, and sets origins and size.
fn move_to_corner(plan: &mut Plan, reach: f32) {
    for section in &mut plan.sections {
        let mut corner = Point { x: f32::INFINITY, y: f32::INFINITY };
        for seat in section.rows.iter_mut().flat_map(|row| &mut row.seats) {
            seat.x += reach;
            seat.y += reach;
            corner = Point { x: corner.x.min(seat.x), y: corner.y.min(seat.y) };
        }
        section.position = corner;
    }
    plan.size = Some(Size { width: 2.0 * reach, height: 2.0 * reach });
}
