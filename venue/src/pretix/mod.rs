//! Reads pretix's seating-plan JSON: zones of rows of seats, with positions in pixels.
//!
//! - **Positions** add up: a seat's is relative to its row's, a row's to its zone's.
//! - **Adjacency** is not in the format. An aisle shows as a gap: seats are put in the order of
//!   their place along the row, and a distance over 1.5 times the row's median distance is an
//!   aisle. Seat numbers are not looked at.
//! - **Accessible** seats: pretix has no key for them. A seat is accessible if it has a key
//!   `accessible` or `wheelchair` that is true, or if a word of its category's name starts with
//!   accessible, wheelchair, rollstuhl or barrierefrei (any case), unless the name also tells of a
//!   companion (companion, begleit).
//! - **Tolerant** of what it does not know: other keys are skipped and listed in the report, null
//!   is absence, numbers may be whole or not. Zones without rows (a stage, a text) are left out.
//! - **Strict** about what sales rest on: guids, labels, numbers, categories and positions.

mod level;
mod read;
mod tolerant;

use serde::de::DeserializeSeed;

use self::level::Level;
use self::read::{Here, Reader};
use self::tolerant::Tolerant;
use crate::arrange::arrange;
use crate::check::{Checker, Field, Places};
use crate::detect::{Format, without_bom};
use crate::errors::{ImportErrorKind as Kind, ImportErrors};
use crate::limits::Limits;
use crate::native::malformed;
use crate::plan::Plan;
use crate::report::Report;

/// Reads a pretix seating plan of at most [`crate::limits::MAX_JSON_BYTES`] bytes.
///
/// # Errors
/// Everything wrong with the file, each with its JSON path (`zones[2].rows[4].seats[11].seat_guid`);
/// for text that is not JSON, line and column.
pub fn import(bytes: &[u8]) -> Result<(Plan, Report), ImportErrors> {
    import_within(bytes, Limits::default())
}

pub(crate) fn import_within(bytes: &[u8], limits: Limits) -> Result<(Plan, Report), ImportErrors> {
    if bytes.len() > limits.json_bytes {
        let kind = Kind::TooLarge { bytes: bytes.len(), limit: limits.json_bytes };
        return Err(ImportErrors::one("", kind));
    }
    let mut reader = Reader::new(limits);
    let mut json = serde_json::Deserializer::from_slice(without_bom(bytes));
    let read = Tolerant(Here(&mut reader, Level::Root)).deserialize(&mut json).and_then(|()| json.end());
    if let Err(error) = read {
        // What was read up to here may be cut short: only the break itself is sure.
        return Err(ImportErrors { errors: vec![malformed(&error)], more: 0 });
    }
    resolve_categories(&mut reader);
    let ignored = reader.take_ignored();
    let Reader { mut plan, mut errors, faulty, mut warnings, .. } = reader;
    let mut checker = Checker::new(Places::Pretix);
    checker.limits = limits;
    checker.faulty = faulty;
    checker.guid_required = true;
    checker.skip_empty_sections = true;
    checker.categories_resolved = true;
    checker.run(&plan, &mut errors);
    errors.into_result(())?;

    let zones = plan.sections.len();
    plan.sections.retain(|section| !section.rows.is_empty());
    if plan.sections.len() < zones {
        warnings.push(format!("{} zones have no rows and were left out", zones - plan.sections.len()));
    }
    warnings.truncate(crate::limits::MAX_ERRORS);
    warnings.extend(arrange(&mut plan, |_| None));
    let report = Report::of(&plan, Format::Pretix, ignored, warnings);
    Ok((plan, report))
}

/// Turns the names seats gave into indices of the plan's list.
fn resolve_categories(reader: &mut Reader) {
    let list = &reader.plan.categories;
    let resolved: Vec<Option<(u8, bool)>> = reader
        .used_categories
        .iter()
        .map(|name| {
            let index = list.iter().position(|category| *category.name == **name)?;
            Some((u8::try_from(index).ok()?, tells_accessible(name)))
        })
        .collect();
    let (errors, used) = (&mut reader.errors, &reader.used_categories);
    for (s, section) in reader.plan.sections.iter_mut().enumerate() {
        for (r, row) in section.rows.iter_mut().enumerate() {
            for (i, seat) in row.seats.iter_mut().enumerate() {
                let at = crate::SeatPlace { section: s as u32, row: r as u32, seat: i as u32 };
                let name = usize::from(seat.category);
                if let Some((index, accessible)) = resolved.get(name).copied().flatten() {
                    seat.category = index;
                    seat.accessible |= accessible;
                    continue;
                }
                seat.category = 0;
                if reader.faulty.categories || reader.faulty.seats.contains(&at) {
                    continue;
                }
                errors.push(|| {
                    let name = used.get(name).map(ToString::to_string).unwrap_or_default();
                    (Places::Pretix.seat(at, Field::Category), Kind::UnknownCategory { name })
                });
            }
        }
    }
}

/// Whether a category's name says that its seats are for wheelchair users (see the module).
pub(crate) fn tells_accessible(category: &str) -> bool {
    let name = category.to_lowercase();
    let starts = ["accessible", "wheelchair", "rollstuhl", "barrierefrei"];
    let mut words = name.split(|c: char| !c.is_alphanumeric());
    words.any(|word| starts.iter().any(|start| word.starts_with(start)))
        && !name.contains("companion")
        && !name.contains("begleit")
}
