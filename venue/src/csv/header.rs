//! The columns of a CSV and the cells of a line.

use std::str;

use ::csv::{ByteRecord, Reader, ReaderBuilder};

use crate::errors::{ImportErrorKind as Kind, ImportErrors};

const SEPARATORS: [u8; 3] = [b',', b';', b'\t'];
/// Longest first line that is looked at to find the separator.
const MAX_HEADER_BYTES: usize = 4096;
/// Longest part of a faulty cell that is quoted in a message, in characters.
const MAX_QUOTED: usize = 40;

const COLUMNS: [&str; 9] =
    ["section", "row", "seat", "category", "accessible", "x", "y", "aisle_after", "guid"];
const SECTION: usize = 0;
const ROW: usize = 1;
const SEAT: usize = 2;
const CATEGORY: usize = 3;
const ACCESSIBLE: usize = 4;
const X: usize = 5;
const Y: usize = 6;
const AISLE_AFTER: usize = 7;
const GUID: usize = 8;

/// Which cell holds which column.
#[derive(Debug)]
pub(super) struct Header {
    at: [Option<usize>; 9],
    width: usize,
    /// Columns that are not known.
    pub(super) ignored: Vec<String>,
}

/// A line's cells.
#[derive(Debug, Default)]
pub(super) struct Cells<'r> {
    pub(super) section: &'r str,
    pub(super) row: &'r str,
    pub(super) seat: &'r str,
    pub(super) category: Option<&'r str>,
    pub(super) accessible: bool,
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) aisle_after: Option<bool>,
    pub(super) guid: Option<&'r str>,
}

/// Whether the first line is a header with section, row and seat.
pub(crate) fn has_header(bytes: &[u8]) -> bool {
    separator(bytes).is_some()
}

/// A reader of records, the header among them.
pub(super) fn reader(bytes: &[u8]) -> Reader<&[u8]> {
    let separator = separator(bytes).unwrap_or(b',');
    ReaderBuilder::new().delimiter(separator).has_headers(false).flexible(true).from_reader(bytes)
}

fn separator(bytes: &[u8]) -> Option<u8> {
    let start = bytes.trim_ascii_start();
    let line = start.split(|&byte| matches!(byte, b'\n' | b'\r')).next().unwrap_or_default();
    let line = &line[..line.len().min(MAX_HEADER_BYTES)];
    SEPARATORS.into_iter().find(|&separator| {
        let names: Vec<String> = line
            .split(|&byte| byte == separator)
            .filter_map(|cell| str::from_utf8(cell).ok())
            .map(|cell| column_name(cell.trim().trim_matches('"')))
            .collect();
        COLUMNS[..=SEAT].iter().all(|column| names.iter().any(|name| name == column))
    })
}

fn column_name(cell: &str) -> String {
    cell.trim().to_ascii_lowercase()
}

impl Header {
    /// Finds the columns, or says which are missing or doubled.
    pub(super) fn read(record: &ByteRecord, line: u32) -> Result<Self, ImportErrors> {
        let mut header = Self { at: [None; 9], width: record.len(), ignored: Vec::new() };
        let mut errors = ImportErrors::default();
        let line = || format!("line {line}");
        for (index, cell) in record.iter().enumerate() {
            let cell = String::from_utf8_lossy(cell);
            let name = column_name(&cell);
            match COLUMNS.iter().position(|&column| column == name) {
                Some(column) if header.at[column].is_some() => {
                    errors.push(|| (line(), Kind::RepeatedColumn { column: name }));
                }
                Some(column) => header.at[column] = Some(index),
                None if header.ignored.len() < 200 => header.ignored.push(quoted(cell.trim())),
                None => {}
            }
        }
        for column in [SECTION, ROW, SEAT] {
            if header.at[column].is_none() {
                errors.push(|| (line(), Kind::MissingColumn { column: COLUMNS[column] }));
            }
        }
        for (one, other) in [(X, Y), (Y, X)] {
            if header.at[one].is_some() && header.at[other].is_none() {
                errors.push(|| (line(), Kind::MissingColumn { column: COLUMNS[other] }));
            }
        }
        errors.into_result(header)
    }

    /// Whether seats bring their positions.
    pub(super) fn positioned(&self) -> bool {
        self.at[X].is_some()
    }

    /// Reads a line's cells, or says everything that is wrong with them.
    pub(super) fn cells<'r>(&self, record: &'r ByteRecord) -> Result<Cells<'r>, Vec<Kind>> {
        if record.len() != self.width {
            return Err(vec![Kind::CellCount { expected: self.width, found: record.len() }]);
        }
        let mut faults = Vec::new();
        let mut texts = [""; 9];
        for (column, text) in texts.iter_mut().enumerate() {
            let Some(cell) = self.at[column].and_then(|index| record.get(index)) else { continue };
            match str::from_utf8(cell) {
                Ok(cell) => *text = cell.trim(),
                Err(_) => return Err(vec![Kind::NotUtf8]),
            }
        }
        for column in [SECTION, ROW, SEAT] {
            if texts[column].is_empty() {
                faults.push(Kind::EmptyCell { column: COLUMNS[column] });
            }
        }
        let filled = |column: usize| Some(texts[column]).filter(|text| !text.is_empty());
        let mut number = |column: usize| match texts[column].parse::<f64>() {
            _ if !self.positioned() => 0.0,
            Ok(value) => value,
            Err(_) if texts[column].is_empty() => {
                faults.push(Kind::EmptyCell { column: COLUMNS[column] });
                0.0
            }
            Err(_) => {
                faults.push(Kind::BadNumber { column: COLUMNS[column], value: quoted(texts[column]) });
                0.0
            }
        };
        let (x, y) = (number(X), number(Y));
        let mut flag = |column: usize| {
            let text = filled(column)?;
            let value = truth(text);
            if value.is_none() {
                faults.push(Kind::BadFlag { column: COLUMNS[column], value: quoted(text) });
            }
            value
        };
        let (accessible, aisle_after) = (flag(ACCESSIBLE).unwrap_or(false), flag(AISLE_AFTER));
        if !faults.is_empty() {
            return Err(faults);
        }
        let [section, row, seat, ..] = texts;
        let (category, guid) = (filled(CATEGORY), filled(GUID));
        Ok(Cells { section, row, seat, category, accessible, x, y, aisle_after, guid })
    }
}

fn truth(text: &str) -> Option<bool> {
    let is = |words: [&str; 3]| words.iter().any(|word| text.eq_ignore_ascii_case(word));
    if is(["true", "yes", "1"]) {
        Some(true)
    } else if is(["false", "no", "0"]) {
        Some(false)
    } else {
        None
    }
}

fn quoted(text: &str) -> String {
    text.chars().take(MAX_QUOTED).collect()
}
