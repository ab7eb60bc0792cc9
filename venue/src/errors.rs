//! What can be wrong with a plan, where, and what to do about it.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use crate::limits::{
    MAX_CATEGORIES, MAX_COORDINATE, MAX_ERRORS, MAX_ROWS_PER_SECTION, MAX_SEATS, MAX_SEATS_PER_ROW,
    MAX_SECTIONS, MAX_TEXT_BYTES,
};

/// Everything wrong with one input: the first [`MAX_ERRORS`] in full, the rest counted.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ImportErrors {
    /// The errors, in the order they were found.
    pub errors: Vec<ImportError>,
    /// How many more there are.
    pub more: usize,
}

/// One error and its place.
#[derive(Debug, Clone, PartialEq)]
pub struct ImportError {
    /// A JSON path (`zones[2].rows[4].seats[11].seat_guid`), a line (`line 7`) or a line and column.
    pub place: String,
    /// What is wrong there.
    pub kind: ImportErrorKind,
}

/// What is wrong. Each message ends with the remedy.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[expect(missing_docs, reason = "the fields are what the message beside them says")]
pub enum ImportErrorKind {
    /// The text is not JSON, or not the JSON of a stored plan.
    #[error("{message}; export the plan again or repair the file there")]
    Malformed { message: String },
    /// The file is over the importer's limit in bytes.
    #[error(
        "the file has {bytes} bytes, at most {limit} are read; import a hall this large as CSV or in parts"
    )]
    TooLarge { bytes: usize, limit: usize },
    /// Neither pretix's JSON, nor a stored plan, nor CSV.
    #[error(
        "this is no seating plan: give pretix's JSON (an object with `zones`), a stored plan (an object with \
         `sections`) or CSV with the header section,row,seat"
    )]
    UnknownFormat,
    /// A value of another type than the format asks for.
    #[error("expected {expected}, found {found}; correct the value")]
    WrongType { expected: &'static str, found: &'static str },
    /// A value that must be there is absent, null or empty.
    #[error("is missing or empty; give it a value")]
    Missing,
    /// A name, label, number or guid is too long.
    #[error("has {bytes} bytes, at most {MAX_TEXT_BYTES} are allowed; shorten it")]
    TextTooLong { bytes: usize },
    /// The same key twice in one object.
    #[error("is given twice in one object; keep one of the two")]
    RepeatedKey,
    /// Two seats with one identifier.
    #[error("the guid `{guid}` is already used at {first}; give each seat its own")]
    DuplicateGuid { guid: String, first: String },
    /// A guid that looks like one made from a place, in a plan where such are made.
    #[error(
        "the guid `{guid}` has the form of a generated one while some seats have none; give every seat a guid or \
         choose another form"
    )]
    ReservedGuid { guid: String },
    /// Two seats of a row with one number.
    #[error(
        "the seat number `{number}` is already used in this row at {first}; number the seats of a row apart"
    )]
    DuplicateNumber { number: String, first: String },
    /// Two rows of a section with one label.
    #[error("the row `{label}` is already used in this section at {first}; rename one or merge the two")]
    DuplicateRow { label: String, first: String },
    /// Two sections with one name.
    #[error("the section `{name}` is already used at {first}; rename one or merge the two")]
    DuplicateSection { name: String, first: String },
    /// Two categories with one name.
    #[error("the category `{name}` is already used at {first}; remove one of the two")]
    DuplicateCategory { name: String, first: String },
    /// Two seats of a section on one spot of the drawing.
    #[error("stands on the same spot ({x}, {y}) as {first}; move or remove one of the two")]
    SameSpot { x: f32, y: f32, first: String },
    /// A row without seats.
    #[error("the row has no seats; add seats or remove the row")]
    EmptyRow,
    /// A section without rows.
    #[error("the section has no rows; add rows or remove the section")]
    EmptySection,
    /// A plan without seats.
    #[error("the plan has no seats; export a plan that has some")]
    EmptyPlan,
    /// A seat names a category the plan does not list.
    #[error("the category `{name}` is not in the plan's list; add it there or correct the seat")]
    UnknownCategory { name: String },
    /// A row is too long.
    #[error("the row has more than {MAX_SEATS_PER_ROW} seats; split it into two rows")]
    TooManySeatsInRow,
    /// A section has too many rows.
    #[error("the section has more than {MAX_ROWS_PER_SECTION} rows; split it into two sections")]
    TooManyRows,
    /// A plan has too many sections.
    #[error("the plan has more than {MAX_SECTIONS} sections; merge some")]
    TooManySections,
    /// A plan has too many seats.
    #[error("the plan has more than {MAX_SEATS} seats; split it into two plans")]
    TooManySeats,
    /// A plan has too many categories.
    #[error("the plan has more than {MAX_CATEGORIES} categories; merge some")]
    TooManyCategories,
    /// A coordinate is not a finite number within bounds.
    #[error("the coordinate {value} is not a number between ±{MAX_COORDINATE}; correct the position")]
    Position { value: f64 },
    /// The last seat of a row claims to have an aisle after it.
    #[error("the last seat of a row has nothing after it; set `aisle_after` to false")]
    AisleAfterLast,
    /// The CSV header lacks a column.
    #[error(
        "the header has no column `{column}`; add it (a header is section,row,seat and optional columns)"
    )]
    MissingColumn { column: &'static str },
    /// The CSV header names a column twice.
    #[error("the header names `{column}` twice; keep one of the two")]
    RepeatedColumn { column: String },
    /// A CSV line has more or fewer cells than the header.
    #[error(
        "has {found} cells, the header has {expected}; add or remove cells, and quote cells with a separator"
    )]
    CellCount { expected: usize, found: usize },
    /// A CSV cell that must be filled is empty.
    #[error("`{column}` is empty; fill it on every line{}", if matches!(*.column, "x" | "y") { " or remove the columns x and y" } else { "" })]
    EmptyCell { column: &'static str },
    /// A CSV cell is not a number.
    #[error("`{column}` is `{value}`, which is no number; write it like 12.5")]
    BadNumber { column: &'static str, value: String },
    /// A CSV cell is not a truth value.
    #[error("`{column}` is `{value}`; write true or false")]
    BadFlag { column: &'static str, value: String },
    /// A CSV cell is not UTF-8.
    #[error("is not UTF-8; save the file as UTF-8")]
    NotUtf8,
}

impl ImportErrorKind {
    /// A stable word for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Malformed { .. } => "malformed",
            Self::TooLarge { .. } => "too_large",
            Self::UnknownFormat => "unknown_format",
            Self::WrongType { .. } => "wrong_type",
            Self::Missing => "missing",
            Self::TextTooLong { .. } => "text_too_long",
            Self::RepeatedKey => "repeated_key",
            Self::DuplicateGuid { .. } => "duplicate_guid",
            Self::ReservedGuid { .. } => "reserved_guid",
            Self::DuplicateNumber { .. } => "duplicate_seat_number",
            Self::DuplicateRow { .. } => "duplicate_row",
            Self::DuplicateSection { .. } => "duplicate_section",
            Self::DuplicateCategory { .. } => "duplicate_category",
            Self::SameSpot { .. } => "same_spot",
            Self::EmptyRow => "empty_row",
            Self::EmptySection => "empty_section",
            Self::EmptyPlan => "empty_plan",
            Self::UnknownCategory { .. } => "unknown_category",
            Self::TooManySeatsInRow => "too_many_seats_in_row",
            Self::TooManyRows => "too_many_rows",
            Self::TooManySections => "too_many_sections",
            Self::TooManySeats => "too_many_seats",
            Self::TooManyCategories => "too_many_categories",
            Self::Position { .. } => "bad_position",
            Self::AisleAfterLast => "aisle_after_last",
            Self::MissingColumn { .. } => "missing_column",
            Self::RepeatedColumn { .. } => "repeated_column",
            Self::CellCount { .. } => "cell_count",
            Self::EmptyCell { .. } => "empty_cell",
            Self::BadNumber { .. } => "bad_number",
            Self::BadFlag { .. } => "bad_flag",
            Self::NotUtf8 => "not_utf8",
        }
    }
}

impl ImportErrors {
    /// A single error.
    pub(crate) fn one(place: impl Into<String>, kind: ImportErrorKind) -> Self {
        Self { errors: vec![ImportError { place: place.into(), kind }], more: 0 }
    }

    /// Adds an error. Past the bound neither place nor kind is built: an input of millions of
    /// faults must not cost millions of strings.
    pub(crate) fn push(&mut self, error: impl FnOnce() -> (String, ImportErrorKind)) {
        if self.errors.len() < MAX_ERRORS {
            let (place, kind) = error();
            self.errors.push(ImportError { place, kind });
        } else {
            self.more += 1;
        }
    }

    /// How many errors there are, with those only counted.
    pub fn count(&self) -> usize {
        self.errors.len() + self.more
    }

    pub(crate) fn into_result<T>(self, value: T) -> Result<T, Self> {
        if self.errors.is_empty() { Ok(value) } else { Err(self) }
    }
}

impl fmt::Display for ImportErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.errors.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        if self.more > 0 {
            write!(f, "\nand {} more", self.more)?;
        }
        Ok(())
    }
}

impl std::error::Error for ImportErrors {}

impl fmt::Display for ImportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.place.is_empty() {
            write!(f, "{}", self.kind)
        } else {
            write!(f, "{}: {}", self.place, self.kind)
        }
    }
}

impl std::error::Error for ImportError {}

/// As `{place, code, message}`.
impl Serialize for ImportError {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ImportError", 3)?;
        out.serialize_field("place", &self.place)?;
        out.serialize_field("code", self.kind.code())?;
        out.serialize_field("message", &self.kind.to_string())?;
        out.end()
    }
}
