//! Events that are over: their archives' files, and which of them are mapped.
//!
//! `7.archive` lies beside the event's other files: a header of 64 bytes, then the event as
//! [`frontrow_shard::cold`] writes it. It is mapped read-only when somebody asks, checked whole then, and unmapped
//! again when nobody has asked for a while.

mod file;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frontrow_shard::{EventId, Millis};

pub use file::{Cold, header};

/// How long an archive stays mapped when nobody asks for it, in milliseconds.
const IDLE_MS: Millis = 60_000;

/// Why an archive cannot be read. Everything else goes on.
#[derive(Debug, thiserror::Error)]
pub enum ColdFileError {
    /// The system refused.
    #[error("{}: {source}; check the disk and that the directory belongs to the server's user", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not there.
    #[error("{} is missing; put it back from a standby or a backup, everything else is served meanwhile", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Not the archive that belongs here.
    #[error("{} is not this event's archive ({why}); put the right file back from a standby or a backup", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What it is.
        why: &'static str,
    },
    /// Of another version.
    #[error("{} is an archive of version {found}, this server reads 1; start the server that wrote it", path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u16,
    },
    /// Other bytes than were written.
    #[error("{} is damaged ({why}); put it back from a standby or a backup, everything else is served meanwhile", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What does not fit.
        why: String,
    },
}

/// The archives that are mapped at present.
#[derive(Debug)]
pub struct Archives {
    cluster: u128,
    mapped: Mutex<HashMap<EventId, (Arc<Cold>, Millis)>>,
}

impl Archives {
    /// Archives of this cluster; none is mapped yet.
    pub fn new(cluster: u128) -> Self {
        Self { cluster, mapped: Mutex::default() }
    }

    /// The cluster they must be of.
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// The archive of `event` at `path`, mapped and checked. Reads all of it the first time: not for an async thread.
    pub fn open(&self, event: EventId, path: &Path, now_ms: Millis) -> Result<Arc<Cold>, ColdFileError> {
        if let Some((cold, used)) = self.lock().get_mut(&event) {
            *used = now_ms;
            return Ok(Arc::clone(cold));
        }
        let cold = Arc::new(Cold::open(path, self.cluster, event)?);
        self.lock().insert(event, (Arc::clone(&cold), now_ms));
        Ok(cold)
    }

    /// Lets go of what nobody has asked for lately.
    pub fn sweep(&self, now_ms: Millis) {
        self.lock().retain(|_, (_, used)| now_ms.saturating_sub(*used) < IDLE_MS);
    }

    /// Lets go of one that has been written anew.
    pub fn forget(&self, event: EventId) {
        self.lock().remove(&event);
    }

    /// How many are mapped.
    pub fn mapped(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, (Arc<Cold>, Millis)>> {
        self.mapped.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
