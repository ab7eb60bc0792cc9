//! Wakes glommio's cores from outside, some hundred times a second.
//!
//! glommio 0.9 takes "preempted before anything ran" for "nothing to run", and then sleeps on work that nobody will wake it
//! for: a core is deaf until another thread or a timer happens to wake it. That was mended in its repository in September
//! 2026 (`glommio/glommio`, pull request 53) and not released since. A core that is woken every [`PERIOD`] loses no more
//! than that; remove this file once a release has the mend.

use std::future::{Future, poll_fn};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Once, PoisonError, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

/// What a core that went deaf loses at most.
const PERIOD: Duration = Duration::from_millis(5);
/// Nudges without an answer after which a core gets no more until it answers: each holds a reference to its task, and
/// glommio counts those in 16 bits.
const UNANSWERED_MAX: u32 = 4096;

#[derive(Debug, Default)]
struct Core {
    waker: Mutex<Option<Waker>>,
    unanswered: AtomicU32,
}

/// Cores that are nudged, and what tells the thread that there is a new one.
static CORES: (Mutex<Vec<Weak<Core>>>, Condvar) = (Mutex::new(Vec::new()), Condvar::new());
static THREAD: Once = Once::new();

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Core {
    fn nudge(&self) {
        if self.unanswered.fetch_add(1, Ordering::Relaxed) >= UNANSWERED_MAX {
            self.unanswered.store(UNANSWERED_MAX, Ordering::Relaxed);
            return;
        }
        // Under the lock: the core takes its waker back before its runtime ends.
        if let Some(waker) = &*lock(&self.waker) {
            waker.wake_by_ref();
        }
    }
}

/// Drops the waker on the core that it belongs to.
struct Registered(Arc<Core>);

impl Drop for Registered {
    fn drop(&mut self) {
        let waker = lock(&self.0.waker).take();
        drop(waker);
    }
}

/// A task that is woken every [`PERIOD`], for as long as it lives. It never ends.
pub(crate) fn nudged() -> impl Future<Output = ()> {
    let registered = Registered(Arc::default());
    lock(&CORES.0).push(Arc::downgrade(&registered.0));
    THREAD.call_once(|| {
        // Without it cores run as glommio runs them.
        let _ = std::thread::Builder::new().name("glommio-nudge".into()).spawn(nudge_for_ever);
    });
    CORES.1.notify_one();
    poll_fn(move |cx| {
        registered.0.unanswered.store(0, Ordering::Relaxed);
        let mut waker = lock(&registered.0.waker);
        if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
        Poll::Pending
    })
}

fn nudge_for_ever() {
    let (cores, came) = &CORES;
    let mut list = lock(cores);
    loop {
        list.retain(|core| {
            core.upgrade().is_some_and(|core| {
                core.nudge();
                true
            })
        });
        list = if list.is_empty() {
            came.wait(list).unwrap_or_else(PoisonError::into_inner)
        } else {
            came.wait_timeout(list, PERIOD).unwrap_or_else(PoisonError::into_inner).0
        };
    }
}
