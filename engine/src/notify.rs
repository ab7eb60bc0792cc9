//! Wake-ups: [`Notifier`]/[`Notified`] across threads, [`LocalNotify`] on one core.
//!
//! A wake is a permit, not a message: any number of wakes before the next `wait` count as one.
//! Look at what you wait for after every return.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::rc::Rc;
use std::sync::atomic::{AtomicU8, Ordering, fence};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};

/// Nobody waits and nothing happened.
const EMPTY: u8 = 0;
/// Woken since the last wait returned.
const SET: u8 = 1;
/// The waiter has stored its waker and sleeps.
const WAITING: u8 = 2;

#[derive(Debug)]
struct Shared {
    state: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Shared {
    fn slot(&self) -> std::sync::MutexGuard<'_, Option<Waker>> {
        self.waker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Makes a cross-thread wake-up: the [`Notifier`] goes to whoever wakes, the [`Notified`] stays
/// on the core that waits.
pub fn notifier() -> (Notifier, Notified) {
    let shared = Arc::new(Shared { state: AtomicU8::new(EMPTY), waker: Mutex::new(None) });
    (Notifier(shared.clone()), Notified(shared))
}

/// The waking end: clonable, usable from any thread, never blocks on the waiter.
#[derive(Debug, Clone)]
pub struct Notifier(Arc<Shared>);

impl Notifier {
    /// Wakes the waiter, or makes its next wait return at once. Costs a fence while the waiter is
    /// awake; a system call only when it sleeps.
    pub fn wake(&self) {
        // The caller has just published something (a message, a log position). The waiter goes
        // `swap(EMPTY)`, then looks for it. Without a full fence our load of `state` could be
        // ordered before the publication: we would read an old SET, the waiter an old queue.
        fence(Ordering::SeqCst);
        if self.0.state.load(Ordering::Relaxed) == SET {
            return;
        }
        if self.0.state.swap(SET, Ordering::SeqCst) == WAITING {
            let waker = self.0.slot().take();
            if let Some(waker) = waker {
                waker.wake();
            }
        }
    }
}

/// The waiting end: one waiter at a time, on one core.
#[derive(Debug)]
pub struct Notified(Arc<Shared>);

impl Notified {
    /// Waits until woken since the last return. Safe to drop half-way: the permit stays.
    pub async fn wait(&mut self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// Takes a permit if there is one; otherwise stores the waker. See [`Notified::wait`].
    pub fn poll_wait(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let state = &self.0.state;
        if state.swap(EMPTY, Ordering::SeqCst) == SET {
            // Pairs with the fence in `wake`: whoever looks next sees what was published before it.
            fence(Ordering::SeqCst);
            return Poll::Ready(());
        }
        {
            let mut slot = self.0.slot();
            if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                *slot = Some(cx.waker().clone());
            }
        }
        // The waker is stored before WAITING is visible: a wake that sees WAITING finds a waker,
        // unless an earlier wake has just taken it, and then that one polls us again.
        if state.compare_exchange(EMPTY, WAITING, Ordering::SeqCst, Ordering::SeqCst).is_ok() {
            return Poll::Pending;
        }
        state.swap(EMPTY, Ordering::SeqCst);
        Poll::Ready(())
    }
}

impl Drop for Notified {
    /// Drops the stored waker on its own core: a task must not be freed by a foreign thread.
    fn drop(&mut self) {
        let waker = self.0.slot().take();
        drop(waker);
    }
}

/// A wake-up between tasks of one core: no atomics, no system call. Clones share it; one waiter
/// at a time.
#[derive(Debug, Clone, Default)]
pub struct LocalNotify(Rc<Local>);

#[derive(Debug, Default)]
struct Local {
    set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl LocalNotify {
    /// A notify that has not been woken.
    pub fn new() -> Self {
        Self::default()
    }

    /// Wakes the waiter, or makes its next wait return at once.
    pub fn wake(&self) {
        self.0.set.set(true);
        let waker = self.0.waker.borrow_mut().take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Takes a permit if there is one. Whether there was.
    pub fn take(&self) -> bool {
        self.0.set.replace(false)
    }

    /// Waits until woken since the last return.
    pub async fn wait(&self) {
        poll_fn(|cx| self.poll_wait(cx)).await;
    }

    /// Takes a permit if there is one; otherwise stores the waker.
    pub fn poll_wait(&self, cx: &mut Context<'_>) -> Poll<()> {
        if self.take() {
            return Poll::Ready(());
        }
        let mut slot = self.0.waker.borrow_mut();
        if !slot.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
            *slot = Some(cx.waker().clone());
        }
        Poll::Pending
    }
}
