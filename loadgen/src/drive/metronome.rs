//! Wakes a load thread when its next request is due, a few tens of microseconds late at most.
//!
//! The timers of the runtimes are a millisecond coarse, tokio's and monoio's alike, and a request that leaves a
//! millisecond late is a latency that is too high by that. So a small thread beside each load thread sleeps in the
//! kernel until the deadline and wakes the load thread through a notifier, which is the same for every engine. It
//! inherits the load thread's CPUs, so a pinned load stays where it was put.
//!
//! This is no timer queue: there is one deadline, set anew after each turn, because the crowd knows what comes
//! next. Nobody is awake while nothing is due.

use crate::LoadError;
use crate::crowd::Nanos;
use frontrow_engine::{LocalNotify, Notified, Notifier, notifier};
use std::future::poll_fn;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::Poll;
use std::thread::JoinHandle;
use std::time::Duration;

/// Deadlines nearer than this are not worth a sleep of their own: what is due within it leaves together.
const GRAIN: Nanos = 50_000;
/// How much later than asked the kernel may wake a sleeping thread to save wakes; by default 50 us.
const SLACK_NS: u64 = 1000;
/// No deadline.
const NEVER: Nanos = Nanos::MAX;
/// The sleeper is awake and will look at the deadline by itself.
const AWAKE: Nanos = 0;

/// The one deadline, shared by who sets it and who sleeps until it.
///
/// Each side writes its own word and then reads the other's, in one total order (`SeqCst`): so either the sleeper
/// sees a deadline that has come nearer, or the setter sees that the sleeper sleeps for too long.
#[derive(Debug)]
struct Dial {
    due: AtomicU64,
    asleep_until: AtomicU64,
    over: AtomicBool,
}

/// What the sleeper does next.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    /// It is due: wake the load thread.
    Ring,
    /// The deadline has changed meanwhile: look again.
    Again,
    /// Sleep for so long, unless woken.
    Sleep(Nanos),
    /// Sleep until woken.
    Rest,
    /// The load is over.
    End,
}

impl Dial {
    fn new() -> Self {
        Self { due: AtomicU64::new(NEVER), asleep_until: AtomicU64::new(AWAKE), over: AtomicBool::new(false) }
    }

    /// Sets the deadline, earlier or later than before. Whether the sleeper must be woken for it.
    fn set(&self, due: Nanos) -> bool {
        self.due.store(due, SeqCst);
        due.saturating_add(GRAIN) < self.asleep_until.load(SeqCst)
    }

    /// What the sleeper does at `now`. A deadline that has passed is taken away: it rings once.
    fn look(&self, now: Nanos) -> Look {
        self.asleep_until.store(AWAKE, SeqCst);
        if self.over.load(SeqCst) {
            return Look::End;
        }
        let due = self.due.load(SeqCst);
        if due <= now {
            // If another deadline was set just now, that one stays.
            let _ = self.due.compare_exchange(due, NEVER, SeqCst, SeqCst);
            return Look::Ring;
        }
        self.asleep_until.store(due, SeqCst);
        if self.due.load(SeqCst) < due || self.over.load(SeqCst) {
            return Look::Again;
        }
        if due == NEVER { Look::Rest } else { Look::Sleep(due - now) }
    }
}

/// A load thread's end of it. Dropping it ends the sleeper.
#[derive(Debug)]
pub(super) struct Metronome {
    dial: Arc<Dial>,
    due: Notified,
    sleeper: Option<JoinHandle<()>>,
}

impl Metronome {
    /// Starts a sleeper for the calling thread, which reads the time by `now`.
    pub(super) fn start(name: &str, now: impl Fn() -> Nanos + Send + 'static) -> Result<Self, LoadError> {
        let (ring, due) = notifier();
        let dial = Arc::new(Dial::new());
        let beat = Arc::clone(&dial);
        let sleeper = std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || sleep(&beat, &ring, now))
            .map_err(LoadError::connection("starting a load thread's metronome"))?;
        Ok(Self { dial, due, sleeper: Some(sleeper) })
    }

    /// Waits until `due`, or until `stirred`: answers may have made something due earlier.
    pub(super) async fn wait(&mut self, due: Nanos, now: Nanos, stirred: &LocalNotify) {
        self.set(due.max(now + GRAIN));
        poll_fn(|cx| {
            // Both are asked, so that both know whom to wake.
            let (stirred, due) = (stirred.poll_wait(cx), self.due.poll_wait(cx));
            if stirred.is_ready() || due.is_ready() { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    fn set(&self, due: Nanos) {
        if self.dial.set(due) {
            self.wake_sleeper();
        }
    }

    fn wake_sleeper(&self) {
        if let Some(sleeper) = &self.sleeper {
            sleeper.thread().unpark();
        }
    }
}

impl Drop for Metronome {
    fn drop(&mut self) {
        self.dial.over.store(true, SeqCst);
        self.wake_sleeper();
        if let Some(sleeper) = self.sleeper.take() {
            // It waits for nothing but this, and cannot have panicked.
            let _ = sleeper.join();
        }
    }
}

/// The sleeper's whole life.
fn sleep(dial: &Dial, ring: &Notifier, now: impl Fn() -> Nanos) {
    // Where the kernel refuses, wakes come up to 50 us later than they could.
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(SLACK_NS));
    loop {
        match dial.look(now()) {
            Look::Ring => ring.wake(),
            Look::Again => {}
            Look::Sleep(ns) => std::thread::park_timeout(Duration::from_nanos(ns)),
            Look::Rest => std::thread::park(),
            Look::End => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_engine::{CoreSpec, Engine, MonoioEpoll};

    const MS: Nanos = 1_000_000;
    const HOUR: Nanos = 3_600_000 * MS;

    #[test]
    fn it_rings_when_it_is_due_and_once() {
        let dial = Dial::new();
        assert_eq!(dial.look(7), Look::Rest, "nothing is due");
        assert!(dial.set(5 * MS), "it rests, and must be told");
        assert_eq!(dial.look(2 * MS), Look::Sleep(3 * MS));
        assert_eq!(dial.look(5 * MS - 1), Look::Sleep(1), "never early");
        assert_eq!(dial.look(5 * MS), Look::Ring);
        assert_eq!(dial.look(6 * MS), Look::Rest, "it rings once");
    }

    #[test]
    fn only_an_earlier_deadline_wakes_the_sleeper() {
        let dial = Dial::new();
        assert!(!dial.set(9 * MS), "it is awake, and looks by itself");
        assert_eq!(dial.look(MS), Look::Sleep(8 * MS));
        assert!(!dial.set(20 * MS), "a later one is seen when it wakes");
        assert!(!dial.set(9 * MS - GRAIN), "a little earlier is not worth a wake");
        assert!(dial.set(9 * MS - GRAIN - 1));
        assert_eq!(dial.look(2 * MS), Look::Sleep(7 * MS - GRAIN - 1));
        dial.set(20 * MS);
        assert_eq!(dial.look(9 * MS), Look::Sleep(11 * MS), "what was put off does not ring");
    }

    #[test]
    fn the_end_is_seen_whatever_is_due() {
        let dial = Dial::new();
        dial.set(1);
        dial.over.store(true, SeqCst);
        assert_eq!(dial.look(2), Look::End);
    }

    /// A clock that stands still at 0 until it is moved, and a load thread that waits upon it.
    #[test]
    fn a_load_thread_is_woken_by_the_deadline_by_a_stir_and_for_an_earlier_deadline() {
        let clock = Arc::new(AtomicU64::new(0));
        let theirs = Arc::clone(&clock);
        let main = move || async move {
            let read = Arc::clone(&theirs);
            let mut metronome = Metronome::start("beat", move || read.load(SeqCst)).expect("it starts");
            let stirred = LocalNotify::new();
            stirred.wake();
            metronome.wait(NEVER, 0, &stirred).await;
            // The sleeper rests by now, or is about to; then it is late, and a deadline tells it to look.
            theirs.store(HOUR, SeqCst);
            metronome.wait(MS, MS, &stirred).await;
            theirs.load(SeqCst)
        };
        let spec = CoreSpec::new("load", None);
        assert_eq!(MonoioEpoll::run(&spec, main).expect("it runs"), HOUR);
        assert_eq!(clock.load(SeqCst), HOUR);
    }
}
