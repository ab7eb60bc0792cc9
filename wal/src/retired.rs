//! Files that trimming took out of the log, waiting to be written again as new segments.
//!
//! Such a file has its space already, so a disk that is full does not stop the log while there is one. It
//! has lost its name, durably, before it comes here: nothing in it counts any more.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Files kept for reuse; more give their space back.
const KEPT_MAX: usize = 8;

#[derive(Debug, Default)]
pub(crate) struct Retired {
    files: Mutex<Vec<(PathBuf, u64)>>,
}

impl Retired {
    /// How many more would be kept.
    pub(crate) fn room(&self) -> usize {
        KEPT_MAX - self.files.lock().unwrap_or_else(PoisonError::into_inner).len().min(KEPT_MAX)
    }

    pub(crate) fn put(&self, path: PathBuf, bytes: u64) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push((path, bytes));
    }

    /// A file of exactly this length: another would have to be cut, under the feet of whoever maps it.
    pub(crate) fn take(&self, bytes: u64) -> Option<PathBuf> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let at = files.iter().position(|(_, len)| *len == bytes)?;
        Some(files.swap_remove(at).0)
    }
}
