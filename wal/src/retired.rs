//! Files that trimming took out of the log, waiting to be written again as new segments; and files of zeros that were made
//! ahead of need.
//!
//! Such a file has its space already, so a disk that is full does not stop the log while there is one. It
//! has lost its name, durably, before it comes here: nothing in it counts any more.

use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Files kept for reuse; more give their space back.
const KEPT_MAX: usize = 8;

/// A file without a name of its own.
#[derive(Debug)]
pub(crate) struct Nameless {
    pub(crate) path: PathBuf,
    bytes: u64,
    /// Whether there is nothing in it but zeros, durably.
    pub(crate) zeroed: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Retired {
    files: Mutex<Vec<Nameless>>,
}

impl Retired {
    /// How many more would be kept.
    pub(crate) fn room(&self) -> usize {
        KEPT_MAX - self.files.lock().unwrap_or_else(PoisonError::into_inner).len().min(KEPT_MAX)
    }

    pub(crate) fn put(&self, path: PathBuf, bytes: u64, zeroed: bool) {
        let file = Nameless { path, bytes, zeroed };
        self.files.lock().unwrap_or_else(PoisonError::into_inner).push(file);
    }

    /// As [`Retired::take`], but none of zeros.
    pub(crate) fn take_used(&self, bytes: u64) -> Option<Nameless> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let at = files.iter().position(|file| file.bytes == bytes && !file.zeroed)?;
        Some(files.swap_remove(at))
    }

    /// All of them lie elsewhere by now.
    pub(crate) fn forget(&self) {
        self.files.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// A file of exactly this length: another would have to be cut, under the feet of whoever maps it.
    /// One of zeros is preferred: the least is to be done about it.
    pub(crate) fn take(&self, bytes: u64) -> Option<Nameless> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let fits = |file: &Nameless| file.bytes == bytes;
        let zeroed = files.iter().position(|file| fits(file) && file.zeroed);
        let at = zeroed.or_else(|| files.iter().position(fits))?;
        Some(files.swap_remove(at))
    }
}
