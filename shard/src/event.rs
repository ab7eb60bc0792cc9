//! One partition's part of one event.

mod saved;

use crate::hold::{Hold, Holds, NONE};
use crate::ids::{EventId, Millis, PartitionId, Parts, RowRef, UserId};
use crate::op::Supply;
use crate::queue::Map;
use crate::row::Rows;
use crate::row_index::RowIndex;
use crate::rules::{EventRules, EventSpec, EventState};
pub(crate) use saved::{Standing, load_parts, save_parts};

/// A section, as every partition knows it.
#[derive(Debug)]
pub(crate) struct Section {
    /// How many rows it has, on whatever partition.
    pub(crate) rows: u16,
    /// The partition that coordinates it.
    pub(crate) home: PartitionId,
    /// Whether somebody waits for it, by the home's word: then free seats are lent to the home first.
    pub(crate) watched: bool,
    /// The round of the home's queue that this is about.
    pub(crate) round: u32,
    /// Its coordination, if this partition is its home: an index into [`EventPart::homes`].
    pub(crate) home_index: u32,
}

/// What a section's home knows of one of its rows while somebody waits.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct RowNews {
    pub(crate) supply: Supply,
    pub(crate) rival_ms: Millis,
    pub(crate) loan: u32,
    /// The row waits for its loan to be returned.
    pub(crate) lent: bool,
    pub(crate) known: bool,
}

/// The coordination of a section at its home.
#[derive(Debug)]
pub(crate) struct Home {
    pub(crate) queue: u32,
    /// Counts the times the queue began.
    pub(crate) round: u32,
    /// By row; empty until somebody waits for the first time.
    pub(crate) news: Vec<RowNews>,
    /// How many rows have reported since the queue began.
    pub(crate) known: u16,
    /// The task that serves the queue, if one is under way.
    pub(crate) serving: Option<u32>,
}

/// A partition's part of an event.
#[derive(Debug)]
pub(crate) struct EventPart {
    pub(crate) id: EventId,
    pub(crate) state: EventState,
    pub(crate) rules: EventRules,
    pub(crate) sections: Vec<Section>,
    index: RowIndex,
    pub(crate) rows: Rows,
    pub(crate) holds: Holds,
    /// First handle of this event's holds in the timing wheel.
    pub(crate) handle_base: u32,
    pub(crate) homes: Vec<Home>,
    pub(crate) groups: Groups,
    /// Seats held and booked by user, for the users whose accounts are kept here.
    pub(crate) accounts: Map<UserId, u16>,
    /// Digest of what it was made from, to tell a repeated creation from another one.
    pub(crate) digest: u64,
}

impl EventPart {
    pub(crate) fn new(spec: &EventSpec, own: PartitionId, partitions: u16, digest: u64) -> Self {
        let mut homes = Vec::new();
        let mut homed_seats = 0_usize;
        let mut sections = Vec::with_capacity(spec.section_rows.len());
        for (index, &rows) in spec.section_rows.iter().enumerate() {
            let home = RowRef::new(spec.event, index as u16, RowRef::SECTION).partition(partitions);
            let home_index = if home == own {
                homes.push(Home { queue: NONE, round: 0, news: Vec::new(), known: 0, serving: None });
                homed_seats += spec.section_seats.get(index).copied().unwrap_or(0) as usize;
                homes.len() as u32 - 1
            } else {
                NONE
            };
            sections.push(Section { rows, home, watched: false, round: 0, home_index });
        }
        let mut index = RowIndex::with_room_for(spec.rows.len());
        let mut rows = Rows::with_room_for(&spec.rows);
        let mut seats = 0;
        for row in &spec.rows {
            let slot = rows.add(row);
            index.insert(row.section, row.row, slot);
            seats += row.categories.len();
        }
        Self {
            id: spec.event,
            state: EventState::Draft,
            rules: spec.rules,
            sections,
            index,
            rows,
            // Every seat could be held alone, and every seat of a section homed here be a section claim.
            holds: Holds::new(seats + homed_seats),
            handle_base: 0,
            homes,
            groups: Groups::new(homed_seats),
            accounts: Map::default(),
            digest,
        }
    }

    /// The slot of a row; `None` if it is another partition's.
    pub(crate) fn slot_of(&self, section: u16, row: u16) -> Option<u32> {
        self.index.find(section, row)
    }

    /// Asks the processor for what [`EventPart::slot_of`] will read, and for the row's section.
    pub(crate) fn prefetch_index(&self, section: u16, row: u16) {
        self.index.prefetch(section, row);
        crate::prefetch(self.sections.as_ptr().wrapping_add(usize::from(section)));
    }

    /// The name of the row at `slot`.
    pub(crate) fn row_ref(&self, slot: u32) -> RowRef {
        let line = self.rows.line(slot);
        RowRef::new(self.id, line.section, line.number)
    }

    /// The place a hold is in: its row, or its section.
    pub(crate) fn place_of(&self, hold: &Hold) -> RowRef {
        if hold.is_group() {
            RowRef::new(self.id, hold.row as u16, RowRef::SECTION)
        } else {
            self.row_ref(hold.row)
        }
    }

    /// Leaves the name and the state, and gives the memory of all else back.
    pub(crate) fn retire(&mut self) {
        self.state = EventState::Archived;
        self.sections = Vec::new();
        self.index = RowIndex::with_room_for(0);
        self.rows = Rows::default();
        self.holds = Holds::new(0);
        self.homes = Vec::new();
        self.groups = Groups::default();
        self.accounts = Map::default();
    }

    /// The most often a hold's timer is looked at: no new hold is ever due sooner than this.
    pub(crate) fn quantum_ms(&self) -> Millis {
        Millis::from(self.rules.hold_ms.min(self.rules.offer_ms))
    }
}

/// The parts of section claims: an arena.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    parts: Vec<Parts>,
    free: Vec<u32>,
    capacity: usize,
}

impl Groups {
    /// Room for one group for every seat that could be a group of its own: what is being put together
    /// never takes the room of a row's holds, so that a row can always hand on what comes free.
    fn new(capacity: usize) -> Self {
        Self { capacity, ..Self::default() }
    }

    pub(crate) fn is_full(&self) -> bool {
        self.parts.len() - self.free.len() >= self.capacity
    }

    pub(crate) fn insert(&mut self, parts: Parts) -> u32 {
        if let Some(index) = self.free.pop() {
            self.parts[index as usize] = parts;
            return index;
        }
        self.parts.push(parts);
        self.parts.len() as u32 - 1
    }

    pub(crate) fn get(&self, index: u64) -> Parts {
        self.parts[index as usize]
    }

    pub(crate) fn set(&mut self, index: u64, parts: Parts) {
        self.parts[index as usize] = parts;
    }

    pub(crate) fn remove(&mut self, index: u64) -> Parts {
        self.free.push(index as u32);
        self.parts[index as usize]
    }
}
