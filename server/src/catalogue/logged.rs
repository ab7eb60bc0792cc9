//! Which events a log knows, without its state being built.

use frontrow_shard::record::{Decoded, decode, kind};
use frontrow_shard::{EventId, Op, Partition};
use frontrow_wal::{DirView, Segment, Snapshot, WalError};
use std::collections::BTreeSet;

/// Events that the snapshots know, and those that were made in what is left of the log, to which nobody writes. Reads all of it once.
pub fn logged(view: &DirView) -> Result<BTreeSet<EventId>, WalError> {
    let mut events = BTreeSet::new();
    for file in view.snapshots()? {
        // One that does not read back is told of by who needs it.
        if let Ok(snapshot) = Snapshot::open(view, &file) {
            events.extend(Partition::events_in(snapshot.body()).unwrap_or_default());
        }
    }
    for info in view.segments()? {
        let segment = Segment::open_at_rest(&info)?;
        for found in segment.records() {
            let found = found?;
            if found.kind & !kind::FACTS == kind::CREATE_EVENT
                && let Ok(Decoded { op: Op::CreateEvent(spec), .. }) = decode(found.kind, found.payload)
            {
                events.insert(spec.event);
            }
        }
    }
    Ok(events)
}
