//! The bytes of an event's seat map, in memory that is this process's own.
//!
//! Not the file is mapped: one that is changed in place would be served as it is then, one that is cut short would end whoever
//! reads it, and one that is put back would not be seen. So a map is read once and held against its head, and stays in memory
//! while its event may be sold: some 25 bytes for each seat. That of an archived event is read when somebody asks, once for all
//! who ask at the same time, and let go of with the last answer.

use super::CatalogueError;
use axum::body::Bytes;
use memmap2::Mmap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, Weak};

/// See the module.
#[derive(Debug, Default)]
pub(super) struct SeatMap {
    kept: Option<Bytes>,
    /// What is being sent of one that is not kept.
    lent: Mutex<Weak<Mmap>>,
    /// That it cannot be read is in the log.
    is_told: AtomicBool,
}

/// Keeps what others send, too.
struct Lent(Arc<Mmap>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl SeatMap {
    /// One that stays in memory.
    pub(super) fn kept(bytes: Bytes) -> Self {
        Self { kept: Some(bytes), ..Self::default() }
    }

    /// One that is read when somebody asks.
    pub(super) fn lent() -> Self {
        Self::default()
    }

    /// The bytes, if they are in memory to stay.
    pub(super) fn in_memory(&self) -> Option<Bytes> {
        self.kept.clone()
    }

    /// The bytes, from `read` if nobody has them.
    pub(super) fn get(
        &self,
        read: impl FnOnce() -> Result<Mmap, CatalogueError>,
    ) -> Result<Bytes, CatalogueError> {
        if let Some(kept) = &self.kept {
            return Ok(kept.clone());
        }
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes = match lent.upgrade() {
            Some(bytes) => bytes,
            None => Arc::new(read().inspect_err(|error| self.tell(error))?),
        };
        self.is_told.store(false, Relaxed);
        *lent = Arc::downgrade(&bytes);
        Ok(Bytes::from_owner(Lent(bytes)))
    }

    /// Once, however many ask.
    fn tell(&self, error: &CatalogueError) {
        if !self.is_told.swap(true, Relaxed) {
            tracing::error!(%error, "a seat map cannot be shown");
        }
    }
}
