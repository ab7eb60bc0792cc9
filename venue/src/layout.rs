//! Places for seats whose source gives none: a drawing that can be looked at, nothing more.

use crate::limits::MAX_COORDINATE;
use crate::plan::{Plan, Point, Section};

/// Pixels from seat to seat; an aisle takes one more.
pub(crate) const SEAT_PITCH: f32 = 25.0;
/// Pixels from row to row.
pub(crate) const ROW_PITCH: f32 = 40.0;
/// Pixels between sections.
const SECTION_GAP: f32 = 100.0;

/// Lays sections out in a square grid, rows downwards, seats to the right. `aisle_after` is kept.
pub(crate) fn lay_out(plan: &mut Plan) {
    let columns = plan.sections.len().isqrt().max(1);
    let width = plan.sections.iter().map(width).fold(0.0, f32::max) + SECTION_GAP;
    let (mut top, mut lowest) = (0.0, 0.0_f32);
    for (index, section) in plan.sections.iter_mut().enumerate() {
        if index % columns == 0 {
            top = lowest;
        }
        let origin = Point { x: (index % columns) as f32 * width, y: top };
        place(section, origin);
        lowest = lowest.max(top + section.rows.len() as f32 * ROW_PITCH + SECTION_GAP);
    }
    // Halving keeps whole pixels apart as long as an f32 can.
    let (mut scale, extent) = (1.0, lowest.max(width * columns as f32));
    while extent * scale > MAX_COORDINATE {
        scale /= 2.0;
    }
    if scale < 1.0 {
        shrink(plan, scale);
    }
}

fn width(section: &Section) -> f32 {
    let longest = section.rows.iter().map(|row| {
        let aisles = row.seats.iter().filter(|seat| seat.aisle_after).count();
        row.seats.len() + aisles
    });
    longest.max().unwrap_or(0) as f32 * SEAT_PITCH
}

fn place(section: &mut Section, origin: Point) {
    section.position = origin;
    for (index, row) in section.rows.iter_mut().enumerate() {
        let mut x = origin.x;
        for seat in &mut row.seats {
            seat.x = x;
            seat.y = origin.y + index as f32 * ROW_PITCH;
            x += if seat.aisle_after { 2.0 * SEAT_PITCH } else { SEAT_PITCH };
        }
    }
}

fn shrink(plan: &mut Plan, scale: f32) {
    for section in &mut plan.sections {
        section.position.x *= scale;
        section.position.y *= scale;
        for seat in section.rows.iter_mut().flat_map(|row| &mut row.seats) {
            seat.x *= scale;
            seat.y *= scale;
        }
    }
}
