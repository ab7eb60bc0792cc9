//! The thread that makes segments ahead of need, so that nobody who commits waits for zeros.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use crate::error::WalError;
use crate::segment::{Prepared, SegmentSpec, SegmentWriter};
use crate::shared::{PanicGuard, Shared};

/// The end of whoever writes: takes segments that are ready. Dropping it ends the thread and drops
/// what was not used.
pub(crate) struct Supply {
    ready: Receiver<Prepared>,
    wanted: SyncSender<()>,
}

/// The thread's ends.
pub(crate) struct Orders {
    ready: SyncSender<Prepared>,
    wanted: Receiver<()>,
}

/// Ends for a stream that keeps `ahead` segments ready.
pub(crate) fn supply(ahead: usize) -> (Supply, Orders) {
    // Room for all of them on both sides: neither end ever waits to hand something over.
    let ((ready_in, ready), (wanted_in, wanted)) = (sync_channel(ahead), sync_channel(ahead));
    for _ in 0..ahead {
        wanted_in.try_send(()).expect("there is room for as many");
    }
    (Supply { ready, wanted: wanted_in }, Orders { ready: ready_in, wanted })
}

impl Supply {
    /// The next segment if it is ready. Never waits; the stream's wake comes when one has become ready.
    pub(crate) fn try_take(&self) -> Option<SegmentWriter> {
        self.ready.try_recv().ok().map(|next| self.taken(next))
    }

    /// Waits for the next segment; `None` if there will be none.
    pub(crate) fn take(&self) -> Option<SegmentWriter> {
        self.ready.recv().ok().map(|next| self.taken(next))
    }

    fn taken(&self, next: Prepared) -> SegmentWriter {
        // Refused only if the thread is gone, and then the next take tells.
        let _ = self.wanted.try_send(());
        next.into_use()
    }
}

/// The same work without a thread: segments 1, 2, … as they are wanted, made where [`Here::prepare`] is
/// called.
pub(crate) struct Here {
    spec: SegmentSpec,
    orders: Orders,
    number: u32,
    /// Wanted, and not made because the disk was full.
    owed: bool,
}

impl Here {
    pub(crate) fn new(spec: SegmentSpec, orders: Orders) -> Self {
        Here { spec, orders, number: 1, owed: false }
    }

    /// Makes what is wanted. After a full disk nothing more is tried until `again`.
    pub(crate) fn prepare(&mut self, shared: &Arc<Shared>, again: bool) {
        if self.owed && !again {
            return;
        }
        while std::mem::take(&mut self.owed) || self.orders.wanted.try_recv().is_ok() {
            match self.spec.create(self.number, shared) {
                // Refused only if whoever writes is gone.
                Ok(segment) => drop(self.orders.ready.try_send(segment)),
                Err(full @ WalError::DiskFull { .. }) => {
                    self.owed = true;
                    return shared.set_full(&full.to_string());
                }
                Err(error) => return shared.poison(&error.to_string()),
            }
            shared.add_prepared();
            self.number += 1;
        }
    }
}

/// Makes segments 1, 2, … as they are wanted, until the supply's other end is gone. `retry` asks for
/// another try after a full disk.
pub(crate) fn run(spec: &SegmentSpec, shared: &Arc<Shared>, orders: &Orders, retry: &Receiver<()>) {
    let _guard = PanicGuard(shared);
    let mut number = 1;
    while orders.wanted.recv().is_ok() {
        let segment = loop {
            match spec.create(number, shared) {
                Ok(segment) => break segment,
                Err(full @ WalError::DiskFull { .. }) => {
                    shared.set_full(&full.to_string());
                    if retry.recv().is_err() {
                        return;
                    }
                }
                // A sync that failed while preparing is as final as any other.
                Err(error) => return shared.poison(&error.to_string()),
            }
        };
        if orders.ready.send(segment).is_err() {
            return;
        }
        // Only now: who is woken finds it.
        shared.add_prepared();
        number += 1;
    }
}
