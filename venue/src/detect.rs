//! Finds out what an input is, by its content first and its name second.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Serialize};

use crate::errors::{ImportErrorKind, ImportErrors};
use crate::plan::Plan;
use crate::report::Report;
use crate::{csv, native, pretix};

/// A format that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// pretix's seating-plan JSON.
    Pretix,
    /// A stored [`Plan`].
    Plan,
    /// CSV with a header.
    Csv,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pretix => "pretix seating plan",
            Self::Plan => "stored plan",
            Self::Csv => "CSV",
        })
    }
}

/// What the input is; `None` if it is nothing known.
///
/// A JSON object with `zones` is pretix's, one with `sections` a stored plan; a first line with the
/// columns section, row and seat is CSV. Only where that does not decide, the `hint` does: a file
/// name or content type that ends in `json` or `csv`.
pub fn detect(bytes: &[u8], hint: Option<&str>) -> Option<Format> {
    let bytes = without_bom(bytes).trim_ascii_start();
    if bytes.first() == Some(&b'{')
        && let Some(format) = by_keys(bytes)
    {
        return Some(format);
    }
    if csv::has_header(bytes) {
        return Some(Format::Csv);
    }
    let hint = hint.unwrap_or_default().to_ascii_lowercase();
    let hint = hint.split(';').next().unwrap_or_default().trim_end();
    if hint.ends_with("csv") {
        Some(Format::Csv)
    } else if hint.ends_with("json") || bytes.first() == Some(&b'{') {
        // The importer says what is wrong with it, with line and column.
        Some(Format::Pretix)
    } else {
        None
    }
}

/// Imports whatever [`detect`] finds. `name` names a plan whose format has no place for a name (CSV).
pub fn import(bytes: &[u8], hint: Option<&str>, name: &str) -> Result<(Plan, Report), ImportErrors> {
    match detect(bytes, hint) {
        Some(Format::Pretix) => pretix::import(bytes),
        Some(Format::Plan) => native::import(bytes),
        Some(Format::Csv) => csv::import(bytes, name),
        None => Err(ImportErrors::one("", ImportErrorKind::UnknownFormat)),
    }
}

/// For a fuzz target: imports any bytes and checks what came out.
///
/// # Panics
/// If an import succeeds with a plan that breaks a promise, miscounts it, or does not survive being
/// stored and read again. That is a bug here, never bad input.
pub fn fuzz_decode(data: &[u8]) {
    let imports =
        [import(data, None, "fuzz"), pretix::import(data), csv::import(data, "fuzz"), native::import(data)];
    for (plan, report) in imports.into_iter().flatten() {
        assert_eq!(plan.check(), Ok(()), "an importer let a broken plan through");
        assert_eq!(report.seats, plan.seat_count());
        assert_eq!(report.categories.iter().map(|category| category.seats).sum::<usize>(), report.seats);
        let stored = serde_json::to_vec(&plan).expect("a checked plan has only finite numbers");
        let (again, _) = native::import(&stored).expect("a stored plan can be read");
        assert_eq!(again, plan, "storing changed the plan");
    }
}

pub(crate) fn without_bom(bytes: &[u8]) -> &[u8] {
    bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(bytes)
}

/// Reads top-level keys up to the first one that decides.
fn by_keys(bytes: &[u8]) -> Option<Format> {
    let mut found = None;
    let mut json = serde_json::Deserializer::from_slice(bytes);
    // An error is how the walk stops early; broken JSON is the importer's to report.
    let _ = Keys(&mut found).deserialize(&mut json);
    found
}

struct Keys<'f>(&'f mut Option<Format>);

impl<'de> DeserializeSeed<'de> for Keys<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Keys<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        while let Some(key) = map.next_key::<String>()? {
            *self.0 = match key.as_str() {
                "zones" => Some(Format::Pretix),
                "sections" => Some(Format::Plan),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            return Err(A::Error::custom("found"));
        }
        Ok(())
    }
}
