//! A run's folder: `report.json`, `*.hgrm`, `command.txt`, `scenario.toml`, `summary.txt`, `index.html`.
//!
//! A file appears whole or not at all: it is written beside its place and then renamed. `report.json` comes first,
//! for everything else can be made from it again.

use super::error::ReportError;
use super::latency::hgrm;
use super::model::{MODEL, RunReport};
use super::{Question, capacity, finite, page, summary};
use crate::LoadError;
use hdrhistogram::Histogram;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;

/// The file that a run is read from.
pub(crate) const REPORT: &str = "report.json";

/// Writes the run's files into `folder`, which is made if need be. `histograms` are in nanoseconds, by class;
/// class `all` becomes `all.hgrm`. Numbers that are not finite are written as 0: JSON has no word for them.
///
/// On an error nothing that stood in the folder is harmed, and the report is still the caller's to print.
pub fn write(
    report: &RunReport,
    histograms: &BTreeMap<String, Histogram<u64>>,
    folder: &Path,
) -> Result<(), LoadError> {
    let report = finite::finite(report);
    let question = report.questions.first().copied().unwrap_or_else(|| Question::of(&report));
    fs::create_dir_all(folder).map_err(ReportError::writing(folder))?;
    let json = serde_json::to_string_pretty(&report)
        .map_err(|error| ReportError::Unwritable { path: folder.join(REPORT), source: error.into() })?;
    place(&folder.join(REPORT), &format!("{json}\n"))?;
    for (class, histogram) in histograms {
        place(&folder.join(format!("{}.hgrm", file_name(class))), &hgrm(histogram))?;
    }
    place(&folder.join("command.txt"), &format!("{}\n", report.command))?;
    place(&folder.join("scenario.toml"), &report.scenario)?;
    place(&folder.join("summary.txt"), &format!("{}\n{}", summary(&report), capacity(&report, &question)))?;
    place(&folder.join("index.html"), &page(&report))?;
    Ok(())
}

/// Reads a run from its folder, or from the path of its `report.json`.
pub fn read(folder: &Path) -> Result<RunReport, LoadError> {
    if folder.is_file() && folder.extension().is_none_or(|kind| kind != "json") {
        return Err(ReportError::NotTheFolder { path: folder.to_owned() }.into());
    }
    let path = if folder.is_file() { folder.to_owned() } else { folder.join(REPORT) };
    let text = fs::read(&path).map_err(ReportError::reading(&path))?;
    let damaged = |why: String| ReportError::Damaged { path: path.clone(), why };
    let json: serde_json::Value =
        serde_json::from_slice(&text).map_err(|error| damaged(error.to_string()))?;
    let model = json.get("model").and_then(serde_json::Value::as_u64);
    match model {
        Some(found) if found == u64::from(MODEL) => {}
        Some(found) => return Err(ReportError::OtherModel { path, found }.into()),
        None => return Err(damaged("it does not say its `model`".to_owned()).into()),
    }
    Ok(serde_json::from_value(json).map_err(|error| damaged(error.to_string()))?)
}

/// Puts `text` at `path`, whole or not at all.
pub(crate) fn place(path: &Path, text: &str) -> Result<(), ReportError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let written = File::create(&part)
        .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()))
        .and_then(|()| fs::rename(&part, path));
    written.map_err(|error| {
        // What is left of the attempt would only take more of a full disk; if it stays, it harms nobody.
        let _ = fs::remove_file(&part);
        ReportError::writing(path)(error)
    })
}

/// Whether a report can be written into `folder`, found out before there is one. What had to be made for that is removed
/// again: a run that comes to nothing leaves nothing.
pub(crate) fn try_folder(folder: &Path) -> Result<(), LoadError> {
    let missing = folder.ancestors().take_while(|part| !part.as_os_str().is_empty() && !part.exists());
    let missing: Vec<&Path> = missing.collect();
    let tried = fs::create_dir_all(folder)
        .map_err(ReportError::writing(folder))
        .and_then(|()| place(&folder.join(".frontrow-loadgen"), ""));
    let _ = fs::remove_file(folder.join(".frontrow-loadgen"));
    for made in missing {
        let _ = fs::remove_dir(made);
    }
    Ok(tried?)
}

/// A class's name, made safe for a file.
fn file_name(class: &str) -> String {
    class.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.txt");
        place(&path, "old").expect("written");
        place(&path, "new").expect("replaced");
        assert_eq!(fs::read_to_string(&path).expect("there"), "new");
        // A folder cannot be replaced by a file: the rename fails, and its attempt is cleared away.
        let taken = folder.path().join("taken");
        fs::create_dir(&taken).expect("made");
        assert!(matches!(place(&taken, "x"), Err(ReportError::Unwritable { .. })));
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 2);
    }

    #[test]
    fn a_folder_is_tried_and_left_as_it_was() {
        let folder = tempfile::tempdir().expect("a folder");
        let new = folder.path().join("a/b");
        try_folder(&new).expect("can be made");
        assert_eq!(fs::read_dir(folder.path()).expect("listed").count(), 0, "nothing is left of the try");
        fs::write(folder.path().join("file"), "in the way").expect("written");
        let blocked = try_folder(&folder.path().join("file/report")).expect_err("a file is in the way");
        assert!(blocked.to_string().contains("--out"), "{blocked}");
    }

    #[test]
    fn no_class_leads_out_of_the_folder() {
        assert_eq!(file_name("../../etc/x"), "______etc_x");
        assert_eq!(file_name("claim"), "claim");
    }
}
