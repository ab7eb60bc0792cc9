//! Live seats. A core with watchers of a section keeps the section's rows as it last heard them, numbers
//! every change of a row, and sends it on to its watchers; the owners of the rows send to cores, not to
//! connections.

use super::message::ConnId;
use frontrow_protocol::RowSeats;
use frontrow_shard::{RequestId, RowRef, RowState};
use std::collections::{BTreeMap, HashMap};

/// One watched section, at a core with watchers.
#[derive(Default)]
pub(crate) struct Watched {
    /// Rows by number; complete when all owners have answered.
    pub(crate) rows: BTreeMap<u16, RowSeats>,
    /// How many rows there are.
    pub(crate) wanted: u16,
    pub(crate) watchers: Vec<ConnId>,
    /// Watchers that wait for the first snapshot.
    pub(crate) fresh: Vec<(ConnId, RequestId)>,
}

impl Watched {
    pub(crate) fn is_complete(&self) -> bool {
        self.rows.len() >= usize::from(self.wanted)
    }

    /// Takes in a row's state. The numbered change, unless nothing can be seen of it.
    pub(crate) fn update(&mut self, row: u16, state: &RowState) -> Option<RowSeats> {
        let Some(old) = self.rows.get_mut(&row) else {
            self.rows.insert(row, RowSeats::of(0, state));
            return None;
        };
        let new = RowSeats::of(old.version, state);
        if new == *old {
            return None;
        }
        *old = RowSeats { version: old.version.wrapping_add(1), ..new };
        Some(*old)
    }
}

/// What a core knows of watching.
#[derive(Default)]
pub(crate) struct Watches {
    /// Sections with watchers on this core.
    pub(crate) sections: HashMap<RowRef, Watched>,
    /// For rows owned here: which cores have watchers of their section.
    pub(crate) subscribers: HashMap<RowRef, Vec<u16>>,
}

impl Watches {
    /// Whether any core has watchers of the row's section.
    pub(crate) fn is_watched(&self, row: RowRef) -> bool {
        !self.subscribers.is_empty() && self.subscribers.contains_key(&row.section_of())
    }
}
