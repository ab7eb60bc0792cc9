//! The seat map as buyers' clients draw it: one JSON object, rows as columns of numbers.
//!
//! `section` and `row` are the numbers that claims name; a seat's number in claims is its place in
//! the row's lists, from 0. `category` is one number if the whole row has it, else a list.

use std::io::Write;

use frontrow_venue::{Plan, Row, Section};
use serde::Serialize;

use super::head::Head;

#[derive(Serialize)]
struct SectionMap<'p> {
    section: usize,
    name: &'p str,
    x: f32,
    y: f32,
    rows: Vec<RowMap<'p>>,
}

#[derive(Serialize)]
struct RowMap<'p> {
    row: usize,
    label: &'p str,
    numbers: Vec<&'p str>,
    x: Vec<f32>,
    y: Vec<f32>,
    category: Categories,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    aisles_after: Vec<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accessible: Vec<usize>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    guids: Vec<Option<&'p str>>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Categories {
    All(u8),
    Each(Vec<u8>),
}

/// Writes the map a section at a time. Returns where each section's object begins and ends.
pub(super) fn write(out: &mut impl Write, head: &Head, plan: &Plan) -> std::io::Result<Vec<(u64, u64)>> {
    let mut out = Counted { out, bytes: 0 };
    write!(out, "{{\"event\":{},\"name\":", head.id)?;
    serde_json::to_writer(&mut out, &head.name)?;
    write!(out, ",\"size\":")?;
    serde_json::to_writer(&mut out, &plan.size)?;
    write!(out, ",\"categories\":")?;
    serde_json::to_writer(&mut out, &head.categories)?;
    write!(out, ",\"sections\":[")?;
    let mut spans = Vec::with_capacity(plan.sections.len());
    for (index, section) in plan.sections.iter().enumerate() {
        if index > 0 {
            write!(out, ",")?;
        }
        let from = out.bytes;
        serde_json::to_writer(&mut out, &section_map(index, section))?;
        spans.push((from, out.bytes));
    }
    write!(out, "]}}")?;
    Ok(spans)
}

fn section_map(index: usize, section: &Section) -> SectionMap<'_> {
    SectionMap {
        section: index,
        name: &section.name,
        x: section.position.x,
        y: section.position.y,
        rows: section.rows.iter().enumerate().map(|(index, row)| row_map(index, row)).collect(),
    }
}

fn row_map(index: usize, row: &Row) -> RowMap<'_> {
    let seats = &row.seats;
    let places = |wanted: fn(&frontrow_venue::Seat) -> bool| -> Vec<usize> {
        seats.iter().enumerate().filter(|(_, seat)| wanted(seat)).map(|(place, _)| place).collect()
    };
    let first = seats.first().map_or(0, |seat| seat.category);
    RowMap {
        row: index,
        label: &row.label,
        numbers: seats.iter().map(|seat| &*seat.number).collect(),
        x: seats.iter().map(|seat| seat.x).collect(),
        y: seats.iter().map(|seat| seat.y).collect(),
        category: if seats.iter().all(|seat| seat.category == first) {
            Categories::All(first)
        } else {
            Categories::Each(seats.iter().map(|seat| seat.category).collect())
        },
        aisles_after: places(|seat| seat.aisle_after),
        accessible: places(|seat| seat.accessible),
        guids: if seats.iter().any(|seat| seat.guid.is_some()) {
            seats.iter().map(|seat| seat.guid.as_deref()).collect()
        } else {
            Vec::new()
        },
    }
}

struct Counted<W> {
    out: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.bytes += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
