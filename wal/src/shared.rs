//! What a stream's threads tell each other: the durable position, a final failure, the space ahead.

use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use crate::error::AppendError;
use crate::format::Position;

/// Whether the next segment can be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Space {
    /// Segments are prepared ahead as they should be.
    Ready,
    /// The disk had no room for the next segment; what is left of the current ones can be used.
    Full(Arc<str>),
}

pub(crate) struct Shared {
    durable: Arc<AtomicU64>,
    /// A commit has begun that may never be ended: the caller carries it out.
    unfinished: AtomicBool,
    poisoned: AtomicBool,
    reason: OnceLock<Arc<str>>,
    /// Segments made so far: numbers below this may be written.
    prepared: AtomicU32,
    full: AtomicBool,
    full_reason: Mutex<Option<Arc<str>>>,
    wake: Box<dyn Fn() + Send + Sync>,
}

impl Shared {
    pub(crate) fn new(durable: Position, wake: Box<dyn Fn() + Send + Sync>) -> Self {
        Shared {
            durable: Arc::new(AtomicU64::new(durable)),
            unfinished: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
            reason: OnceLock::new(),
            prepared: AtomicU32::new(1),
            full: AtomicBool::new(false),
            full_reason: Mutex::new(None),
            wake,
        }
    }

    pub(crate) fn wake(&self) {
        (self.wake)();
    }

    pub(crate) fn durable(&self) -> &Arc<AtomicU64> {
        &self.durable
    }

    pub(crate) fn publish_durable(&self, position: Position) {
        self.unfinished.store(false, Ordering::Release);
        self.durable.store(position, Ordering::Release);
    }

    /// The caller has a commit in hand, until the next [`Shared::publish_durable`].
    pub(crate) fn begin_commit(&self) {
        self.unfinished.store(true, Ordering::Release);
    }

    /// Whether every commit that was begun has become durable.
    pub(crate) fn is_settled(&self) -> bool {
        !self.is_poisoned() && !self.unfinished.load(Ordering::Acquire)
    }

    /// The first failure stays; later ones only follow from it.
    pub(crate) fn poison(&self, reason: &str) {
        self.reason.get_or_init(|| reason.into());
        self.poisoned.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Acquire)
    }

    pub(crate) fn fault(&self) -> Option<AppendError> {
        let reason = self.is_poisoned().then(|| self.reason.get())??;
        Some(AppendError::Poisoned { reason: reason.clone() })
    }

    pub(crate) fn prepared(&self) -> u32 {
        self.prepared.load(Ordering::Acquire)
    }

    /// One more segment is ready. Wakes: an append may have been refused for want of it.
    pub(crate) fn add_prepared(&self) {
        self.full.store(false, Ordering::Release);
        self.prepared.fetch_add(1, Ordering::AcqRel);
        self.wake();
    }

    pub(crate) fn set_full(&self, reason: &str) {
        *self.full_reason.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason.into());
        self.full.store(true, Ordering::Release);
        self.wake();
    }

    pub(crate) fn space(&self) -> Space {
        if !self.full.load(Ordering::Acquire) {
            return Space::Ready;
        }
        let reason = self.full_reason.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Space::Full(reason.unwrap_or_else(|| "disk full".into()))
    }
}

/// Poisons the stream if the thread that holds it panics: a silent thread would hang every commit.
pub(crate) struct PanicGuard<'a>(pub(crate) &'a Shared);

impl Drop for PanicGuard<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.poison("a thread of the log panicked");
        }
    }
}
