//! The files that the kernel speaks through, below a prefix that tests choose.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Longest file that is read: `/proc/interrupts` of a large machine has less.
const BYTES_MAX: usize = 4 << 20;

/// Where `/proc`, `/sys` and `/dev` are: `/`, or a folder that looks like it.
#[derive(Clone, Debug)]
pub struct Root(PathBuf);

/// Why a value is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such file, or it may not be read.
    #[error("{path} cannot be read: {why}")]
    File {
        /// As on the machine, without the prefix.
        path: String,
        /// The system's word.
        why: String,
    },
    /// The file says something else than expected.
    #[error("{path} says `{found}`, which is no {wanted}")]
    Text {
        /// As on the machine, without the prefix.
        path: String,
        /// The beginning of what it says.
        found: String,
        /// What was expected.
        wanted: &'static str,
    },
}

impl ReadError {
    /// The file does not say `wanted`, but `found`.
    pub fn text(path: &str, found: &str, wanted: &'static str) -> Self {
        let found = found.trim().chars().take(60).collect();
        Self::Text { path: path.to_owned(), found, wanted }
    }
}

impl Root {
    /// The machine itself.
    pub fn machine() -> Self {
        Self(PathBuf::from("/"))
    }

    /// A folder laid out like one.
    pub fn at(folder: &Path) -> Self {
        Self(folder.to_path_buf())
    }

    /// Whether this is the machine itself rather than a folder.
    pub fn is_machine(&self) -> bool {
        self.0 == Path::new("/")
    }

    /// Where an absolute path of the machine lies.
    pub fn path(&self, path: &str) -> PathBuf {
        self.0.join(path.trim_start_matches('/'))
    }

    /// A file's text without the white space around it. What is not UTF-8 is replaced.
    pub fn text(&self, path: &str) -> Result<String, ReadError> {
        let mut bytes = std::fs::read(self.path(path))
            .map_err(|error| ReadError::File { path: path.to_owned(), why: plain(&error) })?;
        bytes.truncate(BYTES_MAX);
        Ok(String::from_utf8_lossy(&bytes).trim().to_owned())
    }

    /// A file that holds one value.
    pub fn value<T: FromStr>(&self, path: &str, wanted: &'static str) -> Result<T, ReadError> {
        let text = self.text(path)?;
        text.parse().map_err(|_| ReadError::text(path, &text, wanted))
    }

    /// A file that holds one whole number.
    pub fn number(&self, path: &str) -> Result<u64, ReadError> {
        self.value(path, "whole number")
    }

    /// A file that holds one word.
    pub fn word(&self, path: &str) -> Result<String, ReadError> {
        let text = self.text(path)?;
        let plain =
            text.starts_with(|c: char| c.is_ascii_alphabetic()) && text.bytes().all(|b| b.is_ascii_graphic());
        if plain { Ok(text) } else { Err(ReadError::text(path, &text, "single word")) }
    }

    /// The choice in brackets of a file like `always [madvise] never`.
    pub fn chosen(&self, path: &str) -> Result<String, ReadError> {
        let text = self.text(path)?;
        let inside = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        inside
            .map(|(word, _)| word.to_owned())
            .ok_or_else(|| ReadError::text(path, &text, "list with a choice"))
    }

    /// Names in a directory, sorted; none if it cannot be read.
    pub fn names(&self, path: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.path(path)).into_iter().flatten().flatten();
        let mut names: Vec<String> =
            entries.filter_map(|entry| entry.file_name().into_string().ok()).collect();
        names.sort();
        names
    }

    /// Whether there is such a file or directory.
    pub fn has(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Where a symbolic link leads, as written in it.
    pub fn link(&self, path: &str) -> Option<String> {
        std::fs::read_link(self.path(path)).ok()?.into_os_string().into_string().ok()
    }

    /// Writes a value. Never makes a file: the kernel's exist, or the setting does not.
    pub fn write(&self, path: &str, value: impl Display) -> std::io::Result<()> {
        use std::io::Write;
        let mut file = std::fs::OpenOptions::new().write(true).truncate(true).open(self.path(path))?;
        // One write, for the kernel takes each as a whole value.
        file.write_all(format!("{value}\n").as_bytes())
    }
}

fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "it needs more rights; try as root".to_owned(),
        _ => error.to_string(),
    }
}
