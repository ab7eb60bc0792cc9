//! What can go wrong with a report on disk.

use super::model::MODEL;
use std::io;
use std::path::{Path, PathBuf};

/// Why a report was not written or not read. A run is never lost by it: [`super::summary`] needs no disk.
#[derive(Debug, thiserror::Error)]
pub enum ReportError {
    /// No room.
    #[error(
        "{}: the disk is full; free some space, or name another folder with --out, and what stood there before is untouched",
        path.display()
    )]
    NoRoom {
        /// The file that did not fit.
        path: PathBuf,
    },
    /// Cannot be written.
    #[error("{}: cannot be written: {source}; name a folder you may write to with --out", path.display())]
    Unwritable {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// Cannot be read.
    #[error("{}: cannot be read: {source}; name the folder of a run, the one with report.json in it", path.display())]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// The system's word.
        source: io::Error,
    },
    /// One of a run's other files.
    #[error("{}: this is a file; give the folder it is in: {}", path.display(), in_folder(path).display())]
    NotTheFolder {
        /// What was named.
        path: PathBuf,
    },
    /// Not a report, or one that was cut or changed.
    #[error("{}: not a whole report: {why}; take it from a backup or from version control, or run again", path.display())]
    Damaged {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Not a folder of runs.
    #[error("{}: there is no such folder; name the folder that holds the runs' folders, like load-reports", path.display())]
    NoResults {
        /// What was named.
        path: PathBuf,
    },
    /// One run's folder, whose page a history would overwrite.
    #[error(
        "{}: this is the folder of one run, and a history would overwrite its page; name the folder that holds the runs' folders, like load-reports",
        path.display()
    )]
    OneRun {
        /// What was named.
        path: PathBuf,
    },
    /// The place of an earlier run.
    #[error("{}: the report of an earlier run is there; name another folder with --out, or remove this one", path.display())]
    Taken {
        /// What was named.
        path: PathBuf,
    },
    /// Of another version.
    #[error(
        "{}: a report of model {found}, and this program reads model {MODEL}; read it with the program of its commit, or run again",
        path.display()
    )]
    OtherModel {
        /// Which.
        path: PathBuf,
        /// Its model.
        found: u64,
    },
}

/// The folder of a file.
fn in_folder(file: &Path) -> &Path {
    match file.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

impl ReportError {
    /// The error of a write to `path`.
    pub(crate) fn writing(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| match source.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                Self::NoRoom { path: path.to_owned() }
            }
            _ => Self::Unwritable { path: path.to_owned(), source },
        }
    }

    /// The error of a read of `path`.
    pub(crate) fn reading(path: &Path) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Unreadable { path: path.to_owned(), source }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_told_from_a_folder_that_is_not_ours() {
        let path = Path::new("out/report.json");
        let full = ReportError::writing(path)(io::Error::from(io::ErrorKind::StorageFull));
        assert!(matches!(full, ReportError::NoRoom { .. }) && full.to_string().contains("--out"), "{full}");
        let denied = ReportError::writing(path)(io::Error::from(io::ErrorKind::PermissionDenied));
        assert!(matches!(denied, ReportError::Unwritable { .. }), "{denied}");
    }
}
