//! The thread that makes segments ahead of need, so that neither core nor syncer waits for zeros.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender};

use crate::error::WalError;
use crate::segment::{SegmentSpec, SegmentWriter};
use crate::shared::{PanicGuard, Shared};

/// Makes segments 1, 2, … until the syncer is gone. `retry` asks for another try after a full disk.
pub(crate) fn run(
    spec: &SegmentSpec,
    shared: &Arc<Shared>,
    ready: &SyncSender<SegmentWriter>,
    retry: &Receiver<()>,
) {
    let _guard = PanicGuard(shared);
    let mut number = 1;
    loop {
        match spec.create(number) {
            Ok(segment) => {
                shared.add_prepared();
                // Blocks while enough are ready.
                if let Err(unsent) = ready.send(segment) {
                    if !shared.is_poisoned() {
                        unsent.0.discard();
                    }
                    return;
                }
                number += 1;
            }
            Err(full @ WalError::DiskFull { .. }) => {
                shared.set_full(&full.to_string());
                if retry.recv().is_err() {
                    return;
                }
            }
            // A sync that failed while preparing is as final as any other.
            Err(error) => return shared.poison(&error.to_string()),
        }
    }
}
