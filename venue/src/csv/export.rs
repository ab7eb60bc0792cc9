//! Writes a plan as CSV.

use std::io::{self, Write};

use crate::plan::Plan;

/// Writes the plan so that [`super::import`] reads the same sections, rows and seats again, up to
/// blanks around names. Not in the file: the plan's name and size, colours, categories without
/// seats, and the sections' origins.
pub fn export(plan: &Plan, out: impl Write) -> io::Result<()> {
    let mut out = ::csv::Writer::from_writer(out);
    out.write_record(["section", "row", "seat", "category", "accessible", "x", "y", "aisle_after", "guid"])?;
    for section in &plan.sections {
        for row in &section.rows {
            for seat in &row.seats {
                let category = plan.categories.get(usize::from(seat.category));
                out.write_record([
                    section.name.as_str(),
                    &*row.label,
                    &*seat.number,
                    category.map_or("", |category| category.name.as_str()),
                    word(seat.accessible),
                    &seat.x.to_string(),
                    &seat.y.to_string(),
                    word(seat.aisle_after),
                    seat.guid.as_deref().unwrap_or_default(),
                ])?;
            }
        }
    }
    out.flush()
}

fn word(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}
