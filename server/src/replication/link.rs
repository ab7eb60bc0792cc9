//! What a core and the thread that sends its stream have in common. The core's side never blocks for long: it copies
//! a batch into memory that is there already, and wakes a thread that sleeps.

use frontrow_engine::Notifier;
use frontrow_plant::{Bug, planted};
use frontrow_wal::Appender;
use frontrow_wal::stream::SegmentStart;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// Bytes that may wait for a standby in memory; beyond them it is served from disk again.
pub(super) const LIVE_BYTES_MAX: usize = 64 << 20;
/// Buffers kept for the next batches.
const SPARES: usize = 4;

/// A partition's state for the standby to compare.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Check {
    pub(crate) partition: u16,
    pub(crate) lsn: u64,
    pub(crate) hash: u64,
}

/// A part of a batch on its way to the disk.
pub(crate) struct Live {
    pub(crate) segment: SegmentStart,
    pub(crate) offset: u32,
    pub(crate) bytes: Vec<u8>,
}

/// What the sending thread takes at a time.
#[derive(Default)]
pub(crate) struct Taken {
    pub(crate) live: VecDeque<Live>,
    pub(crate) checks: Vec<Check>,
    /// Some batch had no room: what comes is to be read from disk again.
    pub(crate) lost: bool,
}

/// One stream's link.
#[derive(Default)]
pub(crate) struct Link {
    /// The log's durable position here, as the core last saw it.
    durable: AtomicU64,
    /// Up to where the standby has it durable, once it has everything.
    backup: AtomicU64,
    /// Whether batches are to be copied.
    tapped: AtomicBool,
    waiting: Mutex<Waiting>,
    moved: Condvar,
    wake: OnceLock<Notifier>,
    /// Woken as the sending thread is, where a task sends instead.
    sending: Mutex<Option<Notifier>>,
}

#[derive(Default)]
struct Waiting {
    taken: Taken,
    bytes: usize,
    spares: Vec<Vec<u8>>,
    /// Copied, and not known yet to be handed to the disk.
    staged: Vec<Live>,
    /// Something has happened since the sender last looked.
    news: bool,
    /// The connection that the copies are for.
    tapper: u64,
}

impl Waiting {
    fn begin_anew(&mut self) {
        (self.taken, self.bytes) = (Taken::default(), 0);
        self.staged.clear();
    }
}

impl Link {
    /// The core is there: it is woken when the standby's position moves.
    pub(crate) fn attach(&self, wake: Notifier, durable: u64) {
        let _ = self.wake.set(wake);
        self.durable.store(durable, Ordering::Release);
        self.notify();
    }

    // ---- the core's side ----------------------------------------------------------------------

    /// Copies what is about to be committed, if anybody wants it.
    pub(crate) fn stage(&self, appender: &Appender) {
        if !self.tapped.load(Ordering::Acquire) {
            return;
        }
        let mut waiting = self.lock();
        for (segment, offset, bytes) in appender.pending_parts() {
            let mut copy = waiting.spares.pop().unwrap_or_default();
            copy.clear();
            copy.extend_from_slice(bytes);
            waiting.staged.push(Live { segment, offset, bytes: copy });
        }
    }

    /// What was staged is on its way to the disk (`true`), or was not taken after all.
    pub(crate) fn staged(&self, committed: bool) {
        if !self.tapped.load(Ordering::Acquire) {
            return;
        }
        let mut waiting = self.lock();
        let staged = std::mem::take(&mut waiting.staged);
        if !committed || waiting.taken.lost {
            return;
        }
        waiting.bytes += staged.iter().map(|live| live.bytes.len()).sum::<usize>();
        if waiting.bytes > LIVE_BYTES_MAX {
            waiting.taken =
                Taken { lost: true, checks: std::mem::take(&mut waiting.taken.checks), ..Taken::default() };
            waiting.bytes = 0;
        } else {
            waiting.taken.live.extend(staged);
        }
        waiting.news = true;
        drop(waiting);
        self.wake_sender();
    }

    /// The log has become durable up to here.
    pub(crate) fn durable_at(&self, position: u64) {
        if self.durable.load(Ordering::Relaxed) != position {
            // In one order with whether answers wait: see `Hub::set_waits`.
            self.durable.store(position, Ordering::SeqCst);
            if self.wake.get().is_some() && !self.tapped.load(Ordering::Acquire) {
                self.notify();
            }
        }
    }

    /// A partition's state, before anything that follows it is committed.
    pub(crate) fn check(&self, check: impl FnOnce() -> Check) {
        if self.tapped.load(Ordering::Acquire) {
            let check = check();
            self.lock().taken.checks.push(check);
        }
    }

    /// Up to where the standby has this stream.
    pub(crate) fn backup(&self) -> u64 {
        self.backup.load(Ordering::Acquire)
    }

    // ---- the sending thread's side ------------------------------------------------------------

    pub(crate) fn durable(&self) -> u64 {
        self.durable.load(Ordering::SeqCst)
    }

    /// From now on every batch is copied, for this connection and no other.
    pub(crate) fn tap(&self, connection: u64) {
        let mut waiting = self.lock();
        waiting.begin_anew();
        waiting.tapper = connection;
        self.tapped.store(true, Ordering::Release);
    }

    /// Nothing is copied any more. One that has given way to another does not take the copies from that.
    pub(crate) fn untap(&self, connection: u64) {
        let mut waiting = self.lock();
        if waiting.tapper == connection || planted(Bug::CopiesTakenAway) {
            waiting.begin_anew();
            self.tapped.store(false, Ordering::Release);
        }
    }

    /// Takes what has come for this connection; waits for something to happen, at most for `time`, if nothing has.
    pub(crate) fn take(&self, connection: u64, time: Duration) -> Taken {
        let mut waiting = self.lock();
        if !waiting.news && waiting.taken.live.is_empty() && waiting.taken.checks.is_empty() {
            waiting = self.moved.wait_timeout(waiting, time).unwrap_or_else(PoisonError::into_inner).0;
        }
        let others = self.tapped.load(Ordering::Acquire) && waiting.tapper != connection;
        if others && !planted(Bug::CopiesTakenAway) {
            return Taken::default();
        }
        waiting.news = false;
        waiting.bytes = 0;
        std::mem::take(&mut waiting.taken)
    }

    /// Gives a buffer back for later batches.
    pub(crate) fn give_back(&self, bytes: Vec<u8>) {
        let mut waiting = self.lock();
        if waiting.spares.len() < SPARES {
            waiting.spares.push(bytes);
        }
    }

    /// Makes the sending thread look.
    pub(crate) fn notify(&self) {
        self.lock().news = true;
        self.wake_sender();
    }

    /// Who is woken beside the sending thread: a task that does its work.
    pub(super) fn sent_by(&self, task: Notifier) {
        *self.sending.lock().unwrap_or_else(PoisonError::into_inner) = Some(task);
    }

    fn wake_sender(&self) {
        self.moved.notify_one();
        if let Some(task) = &*self.sending.lock().unwrap_or_else(PoisonError::into_inner) {
            task.wake();
        }
    }

    /// The standby has it up to here, and all streams have caught up.
    pub(crate) fn publish(&self, position: u64) {
        self.backup.fetch_max(position, Ordering::AcqRel);
        self.wake_core();
    }

    /// Makes the core look.
    pub(crate) fn wake_core(&self) {
        if let Some(wake) = self.wake.get() {
            wake.wake();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn nothing_is_copied_before_anybody_asks() {
        let link = Link::default();
        link.check(|| unreachable!("nobody wants it"));
        assert!(link.take(1, NOW).checks.is_empty());
        link.tap(1);
        link.check(|| Check { partition: 1, lsn: 2, hash: 3 });
        assert_eq!(link.take(1, NOW).checks.len(), 1);
        assert!(link.take(1, NOW).checks.is_empty(), "taken once");
    }

    #[test]
    fn a_connection_that_gave_way_does_not_end_the_copies_of_the_next() {
        let link = Link::default();
        link.tap(1);
        link.tap(2);
        link.untap(1);
        link.check(|| Check { partition: 1, lsn: 2, hash: 3 });
        assert!(link.take(1, NOW).checks.is_empty());
        assert_eq!(link.take(2, NOW).checks.len(), 1);
        link.untap(2);
        link.check(|| unreachable!("nobody wants it"));
    }

    #[test]
    fn a_standby_s_position_never_goes_back() {
        let link = Link::default();
        link.publish(100);
        link.publish(40);
        assert_eq!(link.backup(), 100);
    }
}
