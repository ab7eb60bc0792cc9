//! The page of one run.

use super::model::RunReport;
use super::summary;
use super::svg::escape;

/// One HTML page that needs nothing else.
pub fn page(report: &RunReport) -> String {
    let (name, text) = (escape(&report.name), escape(&summary(report)));
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"/><title>{name}</title></head><body><pre>{text}</pre></body></html>\n"
    )
}
