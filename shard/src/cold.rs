//! How an event that is over stands in its archive: one rkyv value, read in place.
//!
//! What is asked of it decides its order: rows by section, so that a section is a slice; bookings by user, so that a
//! user's are one. What belongs to files (checksum, name, which cluster) is not here.
#![allow(missing_docs, reason = "rkyv's derive makes fields of its own, which cannot carry documentation")]

use crate::archive::ReadOut;
use crate::ids::{EventId, MAX_PARTS, MAX_ROW_SEATS, Millis, PartitionId, RowRef, Seats, UserId};
use crate::row::RowState;
use crate::rules::EventState;
use rkyv::rancor::Error;
use rkyv::util::AlignedVec;
use rkyv::{Archive, Deserialize, Serialize};

/// A row: its seats' states as words of 64 places.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ColdRow {
    /// The section.
    pub section: u16,
    /// The row in it.
    pub row: u16,
    /// How many seats.
    pub seats: u16,
    /// Free, booked and blocked seats, for every 64 places.
    pub sets: Vec<[u64; 3]>,
}

/// Seats of a booking in one row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ColdPart {
    /// The row in the booking's section.
    pub row: u16,
    /// The seats.
    pub seats: Seats,
}

/// A booking, with everything its fence was.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ColdBooking {
    /// Whose.
    pub user: UserId,
    /// The fence's position: that of the grant.
    pub lsn: u64,
    /// The fence's unguessable part.
    pub nonce: u64,
    /// Until when the seats would have been held; the booking came before.
    pub held_until_ms: Millis,
    /// The hold's place in its arena.
    pub slot: u32,
    /// The epoch of the grant.
    pub epoch: u32,
    /// The section.
    pub section: u16,
    /// The row, or [`RowRef::SECTION`] for a claim of the section.
    pub row: u16,
    /// Remarks, see [`crate::flags`].
    pub flags: u8,
    /// The seats, row by row.
    pub parts: Vec<ColdPart>,
}

/// After which operation a partition's part was read out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ColdPosition {
    /// The partition.
    pub partition: PartitionId,
    /// The operation.
    pub lsn: u64,
}

/// How many seats stand how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ColdTotals {
    /// Seats in all.
    pub seats: u64,
    /// Left over.
    pub free: u64,
    /// Sold.
    pub booked: u64,
    /// Out of sale.
    pub blocked: u64,
    /// How many bookings.
    pub bookings: u64,
}

/// The whole event.
#[derive(Clone, Debug, PartialEq, Eq, Archive, Serialize, Deserialize)]
pub struct ColdEvent {
    /// Its number.
    pub event: EventId,
    /// How many partitions it was kept by.
    pub partitions: u16,
    /// When it was read out.
    pub archived_ms: Millis,
    /// Sums.
    pub totals: ColdTotals,
    /// By partition.
    pub positions: Vec<ColdPosition>,
    /// By section and row.
    pub rows: Vec<ColdRow>,
    /// By user, then position.
    pub bookings: Vec<ColdBooking>,
}

/// Why bytes are no archived event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ColdError {
    /// They have not the form.
    Malformed(String),
    /// They have it, and contradict themselves.
    Inconsistent(&'static str),
    /// More than one value can hold.
    TooLarge(String),
}

impl std::fmt::Display for ColdError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Malformed(reason) => write!(f, "it is no archived event: {reason}"),
            Self::Inconsistent(what) => write!(f, "it contradicts itself: {what}"),
            Self::TooLarge(reason) => write!(f, "the event is too large for an archive: {reason}"),
        }
    }
}

impl std::error::Error for ColdError {}

/// The places of word `word` that a row of so many seats has.
pub(crate) fn word_of(seats: u16, word: usize) -> u64 {
    match usize::from(seats).saturating_sub(word * 64) {
        0 => 0,
        n if n >= 64 => u64::MAX,
        n => (1 << n) - 1,
    }
}

impl ColdRow {
    pub(crate) fn new(section: u16, row: u16, state: &RowState) -> Self {
        let words = usize::from(state.seats).div_ceil(64);
        let sets = (0..words).map(|word| [state.free[word], state.booked[word], state.blocked[word]]);
        Self { section, row, seats: state.seats, sets: sets.collect() }
    }
}

impl ArchivedColdRow {
    fn state(&self) -> RowState {
        let mut state =
            RowState { seats: self.seats.to_native(), free: [0; 4], booked: [0; 4], blocked: [0; 4] };
        for (word, sets) in self.sets.iter().take(4).enumerate() {
            state.free[word] = sets[0].to_native();
            state.booked[word] = sets[1].to_native();
            state.blocked[word] = sets[2].to_native();
        }
        state
    }
}

impl ColdEvent {
    /// Puts the partitions' parts together.
    pub fn new(event: EventId, partitions: u16, archived_ms: Millis, parts: Vec<ReadOut>) -> Self {
        let position = |part: &ReadOut| ColdPosition { partition: part.partition, lsn: part.lsn };
        let mut positions: Vec<ColdPosition> = parts.iter().map(position).collect();
        positions.sort_unstable_by_key(|position| position.partition);
        let (mut rows, mut bookings) = (Vec::new(), Vec::new());
        for part in parts {
            rows.extend(part.rows);
            bookings.extend(part.bookings);
        }
        rows.sort_unstable_by_key(|row| (row.section, row.row));
        bookings.sort_unstable_by_key(|it| (it.user, it.lsn, it.section, it.row, it.slot));
        let mut totals = ColdTotals { bookings: bookings.len() as u64, ..ColdTotals::default() };
        let count = |row: &ColdRow, of: usize| -> u64 {
            row.sets.iter().map(|sets| u64::from(sets[of].count_ones())).sum()
        };
        for row in &rows {
            totals.seats += u64::from(row.seats);
            totals.free += count(row, 0);
            totals.booked += count(row, 1);
            totals.blocked += count(row, 2);
        }
        Self { event, partitions, archived_ms, totals, positions, rows, bookings }
    }

    /// The event as bytes, to be read where they lie at a multiple of eight.
    pub fn to_bytes(&self) -> Result<AlignedVec, ColdError> {
        rkyv::to_bytes::<Error>(self).map_err(|error| ColdError::TooLarge(error.to_string()))
    }
}

/// An archived event, read where its bytes lie.
#[derive(Clone, Copy)]
pub struct ColdView<'a>(&'a ArchivedColdEvent);

impl std::fmt::Debug for ColdView<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ColdView").field("event", &self.event()).finish_non_exhaustive()
    }
}

impl<'a> ColdView<'a> {
    /// Checks every byte, and that the value does not contradict itself.
    pub fn check(bytes: &'a [u8]) -> Result<Self, ColdError> {
        let found = rkyv::access::<ArchivedColdEvent, Error>(bytes);
        let view = Self(found.map_err(|error| ColdError::Malformed(error.to_string()))?);
        view.consistent().map_err(ColdError::Inconsistent)?;
        Ok(view)
    }

    /// Bytes that have been checked before.
    ///
    /// # Safety
    ///
    /// [`ColdView::check`] must have accepted these very bytes, and they must not have changed since.
    pub unsafe fn checked_before(bytes: &'a [u8]) -> Self {
        // SAFETY: the caller's promise.
        Self(unsafe { rkyv::access_unchecked::<ArchivedColdEvent>(bytes) })
    }

    fn consistent(self) -> Result<(), &'static str> {
        let it = self.0;
        let names = |row: &ArchivedColdRow| (row.section.to_native(), row.row.to_native());
        let users = |it: &ArchivedColdBooking| (it.user.to_native(), it.lsn.to_native());
        let known = |at: u16| at < it.partitions.to_native();
        if !it.rows.is_sorted_by(|a, b| names(a) < names(b)) {
            return Err("rows out of order");
        }
        if !it.bookings.is_sorted_by(|a, b| users(a) <= users(b)) {
            return Err("bookings out of order");
        }
        if it.positions.is_empty()
            || it.positions.len() != usize::from(it.partitions.to_native())
            || !it.positions.is_sorted_by(|a, b| a.partition.to_native() < b.partition.to_native())
            || !it.positions.iter().all(|position| known(position.partition.to_native()))
        {
            return Err("another number of partitions than it says");
        }
        let sound = |row: &ArchivedColdRow| {
            let seats = row.seats.to_native();
            let words = usize::from(seats).div_ceil(64);
            (1..=MAX_ROW_SEATS).contains(&usize::from(seats))
                && row.sets.len() == words
                && row.sets.iter().enumerate().all(|(word, sets)| {
                    let [free, booked, blocked] = [0, 1, 2].map(|set: usize| sets[set].to_native());
                    let apart = free & booked == 0 && (free | booked) & blocked == 0;
                    apart && free | booked | blocked == word_of(seats, word)
                })
        };
        if !it.rows.iter().all(sound) {
            return Err("a row's seats are not all in one state each");
        }
        let sound = |parts: &rkyv::vec::ArchivedVec<ArchivedColdPart>| {
            (1..=MAX_PARTS).contains(&parts.len())
                && parts.iter().all(|part| {
                    let seats = Seats { mask: part.seats.mask.to_native(), first: part.seats.first };
                    !seats.is_empty() && seats.is_in_reach()
                })
        };
        if !it.bookings.iter().all(|booking| sound(&booking.parts)) {
            return Err("a booking without seats");
        }
        Ok(())
    }

    /// The event's number.
    pub fn event(self) -> EventId {
        self.0.event.to_native()
    }

    /// How many partitions it was kept by.
    pub fn partitions(self) -> u16 {
        self.0.partitions.to_native()
    }

    /// When it was read out.
    pub fn archived_ms(self) -> Millis {
        self.0.archived_ms.to_native()
    }

    /// Sums.
    pub fn totals(self) -> ColdTotals {
        let totals = &self.0.totals;
        ColdTotals {
            seats: totals.seats.to_native(),
            free: totals.free.to_native(),
            booked: totals.booked.to_native(),
            blocked: totals.blocked.to_native(),
            bookings: totals.bookings.to_native(),
        }
    }

    /// The rows of a section with their numbers, by rising number.
    pub fn section(self, section: u16) -> impl Iterator<Item = (u16, RowState)> + 'a {
        let rows = &self.0.rows;
        let from = rows.partition_point(|row| row.section.to_native() < section);
        let to = rows.partition_point(|row| row.section.to_native() <= section);
        rows[from..to].iter().map(|row| (row.row.to_native(), row.state()))
    }

    /// The bookings of a user, or all of them, by user.
    pub fn bookings(self, user: Option<UserId>) -> impl ExactSizeIterator<Item = ColdBooking> + 'a {
        let all = &self.0.bookings;
        let (from, to) = user.map_or((0, all.len()), |user| {
            let from = all.partition_point(|it| it.user.to_native() < user);
            (from, all.partition_point(|it| it.user.to_native() <= user))
        });
        all[from..to].iter().map(read)
    }

    /// What was read out of one partition.
    pub fn part(self, partition: PartitionId) -> Option<ReadOut> {
        let position = self.0.positions.iter().find(|it| it.partition.to_native() == partition)?;
        let owner = |section, row| RowRef::new(self.event(), section, row).partition(self.partitions());
        let rows = self.0.rows.iter().filter(|row| owner(row.section.into(), row.row.into()) == partition);
        let bookings = self.0.bookings.iter();
        let bookings = bookings.filter(|it| owner(it.section.into(), it.row.into()) == partition);
        let row = |row: &ArchivedColdRow| ColdRow::new(row.section.into(), row.row.into(), &row.state());
        Some(ReadOut {
            partition,
            lsn: position.lsn.to_native(),
            state: EventState::Archived,
            running: false,
            rows: rows.map(row).collect(),
            bookings: bookings.map(read).collect(),
        })
    }
}

fn read(it: &ArchivedColdBooking) -> ColdBooking {
    let part = |part: &ArchivedColdPart| ColdPart {
        row: part.row.to_native(),
        seats: Seats { mask: part.seats.mask.to_native(), first: part.seats.first },
    };
    ColdBooking {
        user: it.user.to_native(),
        lsn: it.lsn.to_native(),
        nonce: it.nonce.to_native(),
        held_until_ms: it.held_until_ms.to_native(),
        slot: it.slot.to_native(),
        epoch: it.epoch.to_native(),
        section: it.section.to_native(),
        row: it.row.to_native(),
        flags: it.flags,
        parts: it.parts.iter().map(part).collect(),
    }
}

/// For a fuzzer: checking never panics, and what is accepted can be read, and is written again the same.
pub fn fuzz_read(data: &[u8]) {
    let mut bytes: AlignedVec = AlignedVec::with_capacity(data.len());
    bytes.extend_from_slice(data);
    let Ok(view) = ColdView::check(&bytes) else { return };
    let parts: Vec<ReadOut> = (0..view.partitions()).filter_map(|at| view.part(at)).collect();
    let again = ColdEvent::new(view.event(), view.partitions(), view.archived_ms(), parts);
    let written = again.to_bytes().expect("what was read is written");
    let second = ColdView::check(&written).expect("what was written is read");
    assert!(view.bookings(None).len() == second.bookings(None).len());
    for section in [0, 1, u16::MAX] {
        assert!(view.section(section).eq(second.section(section)));
    }
}
