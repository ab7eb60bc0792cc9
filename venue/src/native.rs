//! Reads a stored plan: the JSON form of [`Plan`].

use crate::detect::Format;
use crate::errors::{ImportError, ImportErrorKind, ImportErrors};
use crate::limits::MAX_JSON_BYTES;
use crate::plan::Plan;
use crate::report::Report;

/// Reads and checks a stored plan. Order and aisles are taken as they stand.
///
/// Unlike the other importers it stops at the first value of a wrong type (with line and column):
/// these files are written by programs.
pub fn import(bytes: &[u8]) -> Result<(Plan, Report), ImportErrors> {
    if bytes.len() > MAX_JSON_BYTES {
        let kind = ImportErrorKind::TooLarge { bytes: bytes.len(), limit: MAX_JSON_BYTES };
        return Err(ImportErrors::one("", kind));
    }
    let plan: Plan = serde_json::from_slice(crate::detect::without_bom(bytes))
        .map_err(|error| ImportErrors { errors: vec![malformed(&error)], more: 0 })?;
    plan.check()?;
    let report = Report::of(&plan, Format::Plan, Vec::new(), Vec::new());
    Ok((plan, report))
}

/// A JSON error as line, column and message.
pub(crate) fn malformed(error: &serde_json::Error) -> ImportError {
    let (line, column) = (error.line(), error.column());
    let mut message = error.to_string();
    // serde_json ends its message with the place, which stands in front here.
    if let Some(cut) = message.rfind(" at line ") {
        message.truncate(cut);
    }
    ImportError {
        place: format!("line {line}, column {column}"),
        kind: ImportErrorKind::Malformed { message },
    }
}
