//! Writes values, keeps those of before, and checks that the kernel took them.

use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::{Root, Step};

/// What became of one step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The value was there already.
    Already,
    /// It was another before.
    Changed {
        /// The value before.
        before: String,
    },
    /// It could not be written, or the kernel kept another value; what is to be done.
    Failed {
        /// In words.
        why: String,
    },
}

/// A step and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Done {
    /// What was to be written where.
    pub step: Step,
    /// What became of it.
    pub outcome: Outcome,
}

impl fmt::Display for Done {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Step { path, value } = &self.step;
        match &self.outcome {
            Outcome::Already => write!(out, "already  {path} = {value}"),
            Outcome::Changed { before } => write!(out, "changed  {path}: {before} -> {value}"),
            Outcome::Failed { why } => write!(out, "FAILED   {path} = {value}: {why}"),
        }
    }
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
#[error("{path} cannot be written, so nothing was changed: {source}; name another file with --undo")]
pub struct UndoError {
    /// The undo script.
    pub path: PathBuf,
    /// The system's word.
    pub source: io::Error,
}

/// Writes every step. The values of before are in the script `undo` first; values that an earlier run put
/// there stay, for they are the machine's own.
pub fn apply(root: &Root, steps: &[Step], undo: &Path) -> Result<Vec<Done>, UndoError> {
    let mut before: Vec<(Step, Result<String, String>)> = Vec::new();
    for step in steps {
        before.push((step.clone(), now(root, &step.path)));
    }
    let wrong = |source| UndoError { path: undo.to_path_buf(), source };
    let changes = before.iter().filter_map(|(step, now)| {
        let now = now.as_ref().ok()?;
        (!same(now, &step.value)).then_some((step.path.as_str(), now.as_str()))
    });
    keep(undo, changes).map_err(wrong)?;
    let done = before.into_iter().map(|(step, now)| {
        let outcome = match now {
            Err(why) => Outcome::Failed { why },
            Ok(now) if same(&now, &step.value) => Outcome::Already,
            Ok(now) => write(root, &step, now),
        };
        Done { step, outcome }
    });
    Ok(done.collect())
}

fn write(root: &Root, step: &Step, before: String) -> Outcome {
    if let Err(error) = root.write(&step.path, &step.value) {
        let hint = match error.kind() {
            io::ErrorKind::PermissionDenied => "; run it as root, outside a container",
            io::ErrorKind::ReadOnlyFilesystem => "; /proc or /sys is read-only here: run it on the host",
            _ => "; this kernel or device does not take it",
        };
        return Outcome::Failed { why: format!("{error}{hint}") };
    }
    match now(root, &step.path) {
        Ok(after) if !same(&after, &step.value) => {
            Outcome::Failed { why: format!("the kernel keeps {after}; it does not allow this value") }
        }
        _ => Outcome::Changed { before },
    }
}

/// The value in force; of a list of choices the one in brackets.
fn now(root: &Root, path: &str) -> Result<String, String> {
    let text = root.text(path).map_err(|error| error.to_string())?;
    Ok(root.chosen(path).unwrap_or(text))
}

/// Alike but for white space: the kernel writes tabs where it reads spaces.
fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

/// What an undo script begins with.
pub(crate) const UNDO_HEAD: &str = "#!/bin/sh\n# Puts back what Frontrow's tuning changed. Run it as root.\n\
                         ROOT=${FRONTROW_TUNE_ROOT:-}\n\
                         put() { echo \"$2\" > \"$ROOT$1\" && echo \"restored $1 = $2\"; }\n";

/// Adds `put` lines for paths that the script does not have yet.
fn keep<'a>(undo: &Path, changes: impl Iterator<Item = (&'a str, &'a str)>) -> io::Result<()> {
    let old = match std::fs::read_to_string(undo) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
        read => read?,
    };
    let lines: Vec<String> = changes
        .filter(|(path, _)| !old.contains(&format!("put '{path}' ")))
        .map(|(path, value)| {
            format!("put '{path}' '{}'\n", value.split_whitespace().collect::<Vec<_>>().join(" "))
        })
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(undo)?;
    let head = if old.is_empty() { UNDO_HEAD } else { "" };
    file.write_all(format!("{head}{}", lines.concat()).as_bytes())?;
    file.sync_all()
}
