//! Events that are over: their archives' files, and which of them are in memory.
//!
//! `7.archive` lies beside the event's other files: a header of 64 bytes, then the event as
//! [`frontrow_shard::cold`] writes it. When somebody asks, it is read into a mapping of its own, checked whole, made
//! read-only, searched in place, and unmapped again when nobody has asked for a while. The file itself is not mapped: it
//! would change under the reader with the disk, and truncating it would end the process (`SIGBUS`). Before each question
//! the file is held against the one that was read, and read anew if it is another.

mod file;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use frontrow_shard::{EventId, Millis};

pub(crate) use file::FileIdentity;
pub use file::{Cold, header};

/// How long an archive stays in memory when nobody asks for it, in milliseconds.
const IDLE_MS: Millis = 60_000;
/// Bytes of archives in memory: beyond that, those go that were not asked for the longest. The last one read stays.
const HELD_BYTES_MAX: usize = 1 << 30;

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

/// The archives that are in memory at present.
#[derive(Debug)]
pub struct Archives {
    cluster: u128,
    room: usize,
    held: Mutex<HashMap<EventId, Held>>,
    /// Held while one is read: those who ask for the same one wait for it, and no more than one comes on top of the room.
    reading: Mutex<()>,
}

#[derive(Debug)]
struct Held {
    cold: Arc<Cold>,
    used_ms: Millis,
}

impl Archives {
    /// Archives of this cluster; none is in memory yet.
    pub fn new(cluster: u128) -> Self {
        Self { cluster, room: HELD_BYTES_MAX, held: Mutex::default(), reading: Mutex::default() }
    }

    /// The cluster they must be of.
    pub fn cluster(&self) -> u128 {
        self.cluster
    }

    /// The archive of `event` at `path`, checked. Reads all of it the first time, and whenever the file is another one
    /// than it was: not for an async thread.
    pub fn open(&self, event: EventId, path: &Path, now_ms: Millis) -> Result<Arc<Cold>, ColdFileError> {
        if let Some(cold) = self.as_read(event, path, now_ms) {
            return Ok(cold);
        }
        let _one_at_a_time = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(cold) = self.as_read(event, path, now_ms) {
            return Ok(cold);
        }
        let cold = Arc::new(Cold::open(path, self.cluster, event)?);
        let mut held = self.lock();
        held.insert(event, Held { cold: Arc::clone(&cold), used_ms: now_ms });
        self.make_room(&mut held, event);
        Ok(cold)
    }

    /// What was read before, if the file is still the one it was.
    fn as_read(&self, event: EventId, path: &Path, now_ms: Millis) -> Option<Arc<Cold>> {
        let now = std::fs::metadata(path).ok().map(|about| FileIdentity::of(&about));
        let mut held = self.lock();
        let found = held.get_mut(&event)?;
        if now == Some(found.cold.identity()) {
            found.used_ms = now_ms;
            return Some(Arc::clone(&found.cold));
        }
        tracing::warn!(event, path = %path.display(), "an archive has changed since it was read; it is read anew");
        held.remove(&event);
        None
    }

    /// Lets go of the others that were not asked for the longest until there is room.
    fn make_room(&self, held: &mut HashMap<EventId, Held>, but: EventId) {
        while held.values().map(|it| it.cold.bytes().len()).sum::<usize>() > self.room {
            let others = held.iter().filter(|(event, _)| **event != but);
            let Some(oldest) = others.min_by_key(|(_, it)| it.used_ms).map(|(event, _)| *event) else {
                return;
            };
            held.remove(&oldest);
        }
    }

    /// Lets go of what nobody has asked for lately.
    pub fn sweep(&self, now_ms: Millis) {
        self.lock().retain(|_, it| now_ms.saturating_sub(it.used_ms) < IDLE_MS);
    }

    /// Lets go of one that has been written anew.
    pub fn forget(&self, event: EventId) {
        self.lock().remove(&event);
    }

    /// How many are in memory.
    pub fn held(&self) -> usize {
        self.lock().len()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<EventId, Held>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
