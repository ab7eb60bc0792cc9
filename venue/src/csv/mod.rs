//! Reads and writes plans as CSV: one line a seat.
//!
//! ```csv
//! section,row,seat,category,accessible,x,y,aisle_after,guid
//! Stalls,A,1,Front,false,0,0,false,
//! Stalls,A,2,Front,false,25,0,true,
//! ```
//!
//! - The first line is the header. `section`, `row` and `seat` must be there, the others may; their
//!   order is free, case does not matter. Other columns are skipped and listed in the report.
//! - Cells are separated by commas, semicolons or tabs, whichever makes the header readable; cells
//!   are trimmed. UTF-8, with or without a byte-order mark.
//! - Lines of one row need not stand together. Sections and rows keep the order of their first line.
//! - **Without x and y** seats stand in their row in the order of the file, and all are adjacent
//!   except where `aisle_after` is true; the drawing is made up. **With x and y** (then on every
//!   line; absolute pixels) order and aisles come from the positions as in [`crate::pretix`]; a
//!   filled `aisle_after` cell overrules the gap.
//! - `accessible`, `aisle_after`: true/false, yes/no or 1/0; empty is false (`aisle_after`: not said).
//!   A seat is also accessible if its category's name says so, see [`crate::pretix`].
//! - Without a category a seat is in [`DEFAULT_CATEGORY`]. Without a guid it has one made from its
//!   place, see [`crate::Plan::guid`].

mod export;
mod header;

use std::collections::HashMap;

pub use self::export::export;
use self::header::Header;
pub(crate) use self::header::has_header;
use crate::arrange::arrange;
use crate::check::{Checker, Places, in_bounds};
use crate::detect::{Format, without_bom};
use crate::errors::{ImportErrorKind as Kind, ImportErrors};
use crate::layout::lay_out;
use crate::limits::Limits;
use crate::plan::{Category, Plan, Point, Row, Seat, SeatPlace, Section};
use crate::pretix::tells_accessible;
use crate::report::{IgnoredKey, Report};

/// The category of seats that name none.
pub const DEFAULT_CATEGORY: &str = "Standard";

/// Reads a CSV of at most [`crate::limits::MAX_CSV_BYTES`] bytes; `name` names the plan.
///
/// # Errors
/// Everything wrong with the file, each with its line.
pub fn import(bytes: &[u8], name: &str) -> Result<(Plan, Report), ImportErrors> {
    import_within(bytes, name, Limits::default())
}

pub(crate) fn import_within(
    bytes: &[u8],
    name: &str,
    limits: Limits,
) -> Result<(Plan, Report), ImportErrors> {
    if bytes.len() > limits.csv_bytes {
        let kind = Kind::TooLarge { bytes: bytes.len(), limit: limits.csv_bytes };
        return Err(ImportErrors::one("", kind));
    }
    let bytes = without_bom(bytes);
    let mut reader = header::reader(bytes);
    let mut record = ::csv::ByteRecord::new();
    // Reading from memory cannot fail, and a record of any length and any bytes is a record.
    let found = reader.read_byte_record(&mut record).unwrap_or(false);
    let header = Header::read(&record, if found { line_of(&record, bytes) } else { 1 })?;

    let mut import = Importer::new(name, header, limits);
    while reader.read_byte_record(&mut record).unwrap_or(false) {
        let line = line_of(&record, bytes);
        import.line(&record, line);
    }
    import.finish()
}

/// The line a record starts on. The reader notes where it stood before the record, which may be in
/// front of blank lines or in the middle of a CR LF.
fn line_of(record: &::csv::ByteRecord, bytes: &[u8]) -> u32 {
    let Some(before) = record.position() else { return 1 };
    let rest = bytes.get(before.byte() as usize..).unwrap_or_default();
    let blank = rest.iter().take_while(|&&byte| matches!(byte, b'\r' | b'\n'));
    before.line() as u32 + blank.filter(|&&byte| byte == b'\n').count() as u32
}

/// Where a seat came from, and what its line said about the aisle.
#[derive(Clone, Copy)]
struct Origin {
    line: u32,
    aisle: Option<bool>,
}

/// The origins of all seats, by section, row and seat in the order of the file.
#[derive(Default)]
pub(crate) struct Origins(Vec<Vec<Vec<Origin>>>);

impl Origins {
    fn get(&self, at: SeatPlace) -> Option<Origin> {
        self.0.get(at.section as usize)?.get(at.row as usize)?.get(at.seat as usize).copied()
    }

    pub(crate) fn line(&self, at: SeatPlace) -> String {
        self.get(at).map(|origin| format!("line {}", origin.line)).unwrap_or_default()
    }
}

struct Importer {
    header: Header,
    limits: Limits,
    plan: Plan,
    origins: Origins,
    errors: ImportErrors,
    sections: HashMap<Box<str>, usize>,
    rows: Vec<HashMap<Box<str>, usize>>,
    categories: HashMap<Box<str>, u8>,
    /// The row of the line before: mostly the row of this line too.
    last: (usize, usize),
    lines: usize,
    seats: usize,
    too_many_categories: bool,
}

impl Importer {
    fn new(name: &str, header: Header, limits: Limits) -> Self {
        Self {
            header,
            limits,
            plan: Plan { name: name.to_owned(), size: None, categories: Vec::new(), sections: Vec::new() },
            origins: Origins::default(),
            errors: ImportErrors::default(),
            sections: HashMap::new(),
            rows: Vec::new(),
            categories: HashMap::new(),
            last: (0, 0),
            lines: 0,
            seats: 0,
            too_many_categories: false,
        }
    }

    /// Reads one line into a seat, or notes what is wrong with it.
    fn line(&mut self, record: &::csv::ByteRecord, line: u32) {
        self.lines += 1;
        let cells = match self.header.cells(record) {
            Ok(cells) => cells,
            Err(faults) => {
                for fault in faults {
                    self.errors.push(|| (format!("line {line}"), fault));
                }
                return;
            }
        };
        let outside = [cells.x, cells.y].into_iter().find(|&v| !in_bounds(v as f32));
        if let Some(value) = outside {
            self.errors.push(|| (format!("line {line}"), Kind::Position { value }));
            return;
        }
        let category = self.category(cells.category.unwrap_or(DEFAULT_CATEGORY), line);
        let accessible = cells.accessible
            || cells.category.is_some_and(|_| {
                self.plan.categories.get(usize::from(category)).is_some_and(|it| tells_accessible(&it.name))
            });
        // One seat too many is kept for the check to see; memory stays bounded whatever the file holds.
        if self.seats > self.limits.seats {
            return;
        }
        let Some((section, row)) = self.row(cells.section, cells.row) else { return };
        let seats = &mut self.plan.sections[section].rows[row].seats;
        if seats.len() > self.limits.seats_per_row {
            return;
        }
        self.seats += 1;
        seats.push(Seat {
            guid: cells.guid.map(Into::into),
            number: cells.seat.into(),
            x: cells.x as f32,
            y: cells.y as f32,
            category,
            accessible,
            aisle_after: false,
        });
        self.origins.0[section][row].push(Origin { line, aisle: cells.aisle_after });
    }

    fn category(&mut self, name: &str, line: u32) -> u8 {
        if let Some(&id) = self.categories.get(name) {
            return id;
        }
        let id = self.plan.categories.len();
        if id >= self.limits.categories {
            if !std::mem::replace(&mut self.too_many_categories, true) {
                self.errors.push(|| (format!("line {line}"), Kind::TooManyCategories));
            }
            return 0;
        }
        self.plan.categories.push(Category { name: name.to_owned(), color: None });
        self.categories.insert(name.into(), id as u8);
        id as u8
    }

    /// The row of a label, made if it is new; `None` beyond the bounds, which the check reports.
    fn row(&mut self, section: &str, row: &str) -> Option<(usize, usize)> {
        if let Some(last) = self.plan.sections.get(self.last.0)
            && last.name == section
            && last.rows.get(self.last.1).is_some_and(|last| *last.label == *row)
        {
            return Some(self.last);
        }
        let s = if let Some(&known) = self.sections.get(section) {
            known
        } else {
            let new = self.plan.sections.len();
            if new > self.limits.sections {
                return None;
            }
            let (name, rows) = (section.to_owned(), Vec::new());
            self.plan.sections.push(Section { name, position: Point::default(), rows });
            self.sections.insert(section.into(), new);
            self.rows.push(HashMap::new());
            self.origins.0.push(Vec::new());
            new
        };
        let r = if let Some(&known) = self.rows[s].get(row) {
            known
        } else {
            let new = self.plan.sections[s].rows.len();
            if new > self.limits.rows_per_section {
                return None;
            }
            self.plan.sections[s].rows.push(Row { label: row.into(), seats: Vec::new() });
            self.rows[s].insert(row.into(), new);
            self.origins.0[s].push(Vec::new());
            new
        };
        self.last = (s, r);
        Some(self.last)
    }

    fn finish(self) -> Result<(Plan, Report), ImportErrors> {
        let Self { header, limits, mut plan, origins, mut errors, lines, .. } = self;
        // Room for what comes next: these are only needed while lines are read.
        drop((self.sections, self.rows, self.categories));
        let mut checker = Checker::new(Places::Csv(&origins));
        checker.limits = limits;
        checker.positioned = header.positioned();
        checker.run(&plan, &mut errors);
        errors.into_result(())?;

        let mut warnings = Vec::new();
        let said = |at| origins.get(at).and_then(|origin| origin.aisle);
        if header.positioned() {
            warnings = arrange(&mut plan, said);
            set_origins(&mut plan);
        } else {
            mark_said_aisles(&mut plan, said);
            lay_out(&mut plan);
        }
        let ignored = header.ignored.into_iter().map(|path| IgnoredKey { path, count: lines }).collect();
        let report = Report::of(&plan, Format::Csv, ignored, warnings);
        Ok((plan, report))
    }
}

fn mark_said_aisles(plan: &mut Plan, said: impl Fn(SeatPlace) -> Option<bool>) {
    for (s, section) in plan.sections.iter_mut().enumerate() {
        for (r, row) in section.rows.iter_mut().enumerate() {
            let last = row.seats.len().saturating_sub(1);
            for (i, seat) in row.seats.iter_mut().enumerate() {
                let at = SeatPlace { section: s as u32, row: r as u32, seat: i as u32 };
                seat.aisle_after = i < last && said(at) == Some(true);
            }
        }
    }
}

/// CSV has no place for a section's origin: it is the upper left corner of its seats.
fn set_origins(plan: &mut Plan) {
    for section in &mut plan.sections {
        let seats = || section.rows.iter().flat_map(|row| &row.seats);
        let x = seats().map(|seat| seat.x).fold(f32::INFINITY, f32::min);
        let y = seats().map(|seat| seat.y).fold(f32::INFINITY, f32::min);
        section.position = Point { x, y };
    }
}
