//! Live seats of a section: a snapshot, then numbered deltas; a gap in the numbers is answered by asking
//! for a snapshot again.

use crate::client::{Client, mismatch};
use crate::error::ClientError;
use crate::shared::Response;
use frontrow_protocol::{ClientMessage, Delta, RowSeats, RowSnapshot};
use frontrow_shard::RowRef;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tokio::sync::mpsc;

/// What the connection passes to a watcher.
#[derive(Clone, Debug)]
pub(crate) enum FeedEvent {
    Rows { rows: Vec<RowSnapshot>, last: bool },
    Delta(Delta),
    Lost,
    Ended(ClientError),
}

/// What is known of a section's seats.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SectionView {
    /// The section.
    pub section: RowRef,
    /// Every row by its number, as far as it is known.
    pub rows: BTreeMap<u16, RowSeats>,
    /// Whether a whole snapshot has come since the connection was made.
    pub synced: bool,
}

/// What a delta did to a view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// It was the next one.
    New,
    /// It, or a later one, was known already.
    Old,
    /// It was taken, but the numbers before it are missing: other rows may lack something too.
    Gap,
}

impl SectionView {
    /// A view that knows nothing yet.
    pub const fn new(section: RowRef) -> Self {
        Self { section: section.section_of(), rows: BTreeMap::new(), synced: false }
    }

    /// Takes over rows of a snapshot, unless a later version of a row is known.
    pub fn apply_rows(&mut self, rows: &[RowSnapshot], last: bool) {
        for RowSnapshot { row, state } in rows {
            let known = self.rows.entry(*row).or_insert(*state);
            if state.version >= known.version {
                *known = *state;
            }
        }
        self.synced |= last;
    }

    /// Takes over a changed row.
    pub fn apply_delta(&mut self, delta: &Delta) -> Applied {
        let Some(known) = self.rows.get_mut(&delta.row.row) else {
            self.rows.insert(delta.row.row, delta.state);
            // Before the first snapshot is whole, rows may be heard of in any order.
            return if self.synced { Applied::Gap } else { Applied::New };
        };
        if delta.state.version <= known.version {
            return Applied::Old;
        }
        let next = known.version.checked_add(1) == Some(delta.state.version);
        *known = delta.state;
        if next { Applied::New } else { Applied::Gap }
    }

    /// Forgets everything: numbers of another connection may have begun anew.
    pub fn forget(&mut self) {
        self.rows.clear();
        self.synced = false;
    }

    /// How many seats are free.
    pub fn free(&self) -> u32 {
        self.rows.values().flat_map(|row| row.free).map(u64::count_ones).sum()
    }
}

/// What has changed in a [`Watch`]'s view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Update {
    /// A whole snapshot is there: look at all rows.
    Snapshot,
    /// One row has changed.
    Row(Delta),
    /// The connection was lost; the view is empty until the next snapshot.
    Lost,
}

/// A section that is being watched. Dropping it ends that.
#[derive(Debug)]
pub struct Watch {
    client: Client,
    number: u64,
    events: mpsc::Receiver<FeedEvent>,
    overflowed: Arc<AtomicBool>,
    view: SectionView,
    /// Updates cannot be trusted until a snapshot has been asked for.
    stale: bool,
    resyncs: u64,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.client.shared.drop_feed(self.number);
    }
}

impl Client {
    /// Watches a section. The first update is the snapshot.
    pub async fn watch(&self, section: RowRef) -> Result<Watch, ClientError> {
        let section = section.section_of();
        let (number, events, overflowed) = self.shared.add_feed(section)?;
        let view = SectionView::new(section);
        // Made before asking: dropping it takes the feed away again if that fails.
        let watch =
            Watch { client: self.clone(), number, events, overflowed, view, stale: false, resyncs: 0 };
        watch.ask().await?;
        Ok(watch)
    }
}

impl Watch {
    /// The seats as of the last update.
    pub const fn view(&self) -> &SectionView {
        &self.view
    }

    /// How often a snapshot was asked for again, after a gap, a lost connection or slow reading.
    pub const fn resyncs(&self) -> u64 {
        self.resyncs
    }

    /// Waits for the next change of the view. Nothing is lost if the wait is given up. After an error that
    /// is not retryable nothing more will come.
    pub async fn next(&mut self) -> Result<Update, ClientError> {
        loop {
            if self.overflowed.swap(false, Ordering::AcqRel) {
                self.stale = true;
            }
            // What was sent before the gap is read first: a queue full of it must not hide the snapshot.
            let event = match self.events.try_recv() {
                Ok(event) => Some(event),
                Err(_) if self.stale => {
                    self.ask().await?;
                    self.stale = false;
                    self.resyncs += 1;
                    None
                }
                Err(_) => self.events.recv().await,
            };
            let Some(event) = event else { continue };
            if let Some(update) = self.apply(event)? {
                return Ok(update);
            }
        }
    }

    fn apply(&mut self, event: FeedEvent) -> Result<Option<Update>, ClientError> {
        match event {
            FeedEvent::Rows { rows, last } => {
                self.view.apply_rows(&rows, last);
                Ok(last.then_some(Update::Snapshot))
            }
            FeedEvent::Delta(delta) => {
                let applied = self.view.apply_delta(&delta);
                self.stale |= applied == Applied::Gap;
                Ok((applied != Applied::Old).then_some(Update::Row(delta)))
            }
            FeedEvent::Lost => {
                self.view.forget();
                self.stale = true;
                Ok(Some(Update::Lost))
            }
            FeedEvent::Ended(error) => {
                self.events.close();
                Err(error)
            }
        }
    }

    async fn ask(&self) -> Result<(), ClientError> {
        let (id, section) = (self.client.next_id(), self.view.section);
        match self.client.call(id, ClientMessage::Watch { id, section }).await? {
            Response::Watching => Ok(()),
            other => Err(mismatch(&other)),
        }
    }
}
