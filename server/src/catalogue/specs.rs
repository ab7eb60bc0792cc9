//! From a plan to what each partition has to know of it.

use frontrow_shard::record::{Encoder, most_bytes_of};
use frontrow_shard::{
    ANY_CATEGORY, Answer, Code, Effects, EventId, EventRules, EventSpec, MAX_ROW_SEATS, Op, RowRef, RowSpec,
};
use frontrow_venue::{Plan, Row, Section};

/// A plan that shards cannot sell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SpecError {
    /// A category number that stands for "any" in claims.
    #[error(
        "section {section}, row {row} has a seat of category {ANY_CATEGORY}; a plan that is sold may have {ANY_CATEGORY} categories at most: merge some"
    )]
    Category {
        /// Index of the section.
        section: usize,
        /// Index of the row.
        row: usize,
    },
    /// An empty row, or one that is too long.
    #[error(
        "section {section}, row {row} has {seats} seats; a row has 1 to {MAX_ROW_SEATS}: drop or split it"
    )]
    RowSeats {
        /// Index of the section.
        section: usize,
        /// Index of the row.
        row: usize,
        /// How many seats it has.
        seats: usize,
    },
    /// More sections, or rows in one, than a number has room for.
    #[error("the plan has too many sections or rows in one section; {} are the most: split it", RowRef::SECTION - 1)]
    TooMany,
    /// A partition's part is larger than a record of its log may be.
    #[error(
        "one partition's part of the plan, or the seats of it that one operation may give away, take {bytes} bytes in the \
         log, which takes {most} at a time: raise log.segment to at least {}, or have more partitions", 2 * bytes
    )]
    TooLarge {
        /// What the largest part takes.
        bytes: usize,
        /// What the log takes.
        most: usize,
    },
}

/// Whether shards can sell the plan.
pub fn sellable(plan: &Plan) -> Result<(), SpecError> {
    let most = usize::from(RowRef::SECTION) - 1;
    if plan.sections.len() > most || plan.sections.iter().any(|section| section.rows.len() > most) {
        return Err(SpecError::TooMany);
    }
    for (section, block) in plan.sections.iter().enumerate() {
        for (row, line) in block.rows.iter().enumerate() {
            let seats = line.seats.len();
            if seats == 0 || seats > MAX_ROW_SEATS {
                return Err(SpecError::RowSeats { section, row, seats });
            }
            if line.seats.iter().any(|seat| seat.category == ANY_CATEGORY) {
                return Err(SpecError::Category { section, row });
            }
        }
    }
    Ok(())
}

/// One [`EventSpec`] per partition, in their order: each knows all sections' sizes and its own rows.
pub fn specs(
    event: EventId,
    plan: &Plan,
    rules: &EventRules,
    partitions: u16,
) -> Result<Vec<EventSpec>, SpecError> {
    sellable(plan)?;
    let section_rows: Vec<u16> = plan.sections.iter().map(|section| section.rows.len() as u16).collect();
    let seats = |section: &Section| section.rows.iter().map(|row| row.seats.len() as u32).sum();
    let section_seats: Vec<u32> = plan.sections.iter().map(seats).collect();
    let empty = EventSpec { event, rules: *rules, section_rows, section_seats, rows: Vec::new() };
    let mut specs = vec![empty; usize::from(partitions)];
    for (section, block) in plan.sections.iter().enumerate() {
        for (row, line) in block.rows.iter().enumerate() {
            let place = RowRef::new(event, section as u16, row as u16);
            let rows = &mut specs[usize::from(place.partition(partitions))].rows;
            rows.push(row_spec(section as u16, row as u16, line));
        }
    }
    Ok(specs)
}

/// Whether every partition can write its part into its log, which takes records of up to `most` bytes; and, for the sale
/// that is paused and goes on with everything free, to whom it then gives all of the part's seats in one operation.
pub fn recordable(specs: &[EventSpec], most: usize) -> Result<(), SpecError> {
    let mut encoder = Encoder::default();
    let mut bytes = |spec: &EventSpec| {
        let op = Op::CreateEvent(Box::new(spec.clone()));
        let created = encoder.encode(&op, &Answer::plain(Code::Done), &Effects::default()).1.len();
        let seats = spec.rows.iter().map(|row| row.categories.len()).sum();
        created.max(most_bytes_of(seats))
    };
    match specs.iter().map(&mut bytes).max() {
        Some(bytes) if bytes > most => Err(SpecError::TooLarge { bytes, most }),
        _ => Ok(()),
    }
}

fn row_spec(section: u16, row: u16, line: &Row) -> RowSpec {
    let seats = &line.seats;
    let places = |wanted: fn(&frontrow_venue::Seat) -> bool| -> Vec<u8> {
        seats.iter().enumerate().filter(|(_, seat)| wanted(seat)).map(|(place, _)| place as u8).collect()
    };
    RowSpec {
        section,
        row,
        categories: seats.iter().map(|seat| seat.category).collect(),
        aisles_after: places(|seat| seat.aisle_after),
        accessible: places(|seat| seat.accessible),
    }
}
