//! Tasks in a snapshot.

use super::Task;
use crate::hold::HoldState;
use crate::ids::{Lsn, MAX_PARTS, MAX_PARTY, RowRef};
use crate::op::CANDIDATES;
use crate::partition::Partition;
use crate::rules::Adjacency;
use crate::snapshot::{Reader, SnapshotError, Writer};

const ADJACENCIES: [Adjacency; 3] = [Adjacency::Required, Adjacency::Preferred, Adjacency::Any];
/// What one task takes.
pub(crate) const TASK_BYTES: usize = 6 + 4 + 8 + 16 + 8 + 9 + 2 * CANDIDATES;

impl Task {
    pub(crate) fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.section.event);
        out.u16(self.section.section);
        out.u32(self.slot);
        out.u64(self.user);
        out.u128(self.request);
        out.u64(self.ticket);
        out.bytes(&[self.count, self.have, self.category, self.adjacency as u8, self.next, self.flags]);
        out.bool(self.accessible);
        out.bool(self.or_join);
        out.bool(self.together);
        for row in self.candidates {
            out.u16(row);
        }
    }

    pub(crate) fn load(input: &mut Reader<'_>, lsn: Lsn) -> Result<Self, SnapshotError> {
        let section = RowRef::new(input.u32()?, input.u16()?, RowRef::SECTION);
        let (slot, user, request, ticket) = (input.u32()?, input.u64()?, input.u128()?, input.u64()?);
        let (count, have, category) = (input.u8()?, input.u8()?, input.u8()?);
        let adjacency = input.choice(&ADJACENCIES, "no known adjacency")?;
        let (next, flags) = (input.u8()?, input.u8()?);
        let (accessible, or_join, together) = (input.bool()?, input.bool()?, input.bool()?);
        let mut candidates = [0; CANDIDATES];
        for row in &mut candidates {
            *row = input.u16()?;
        }
        input.check((1..=MAX_PARTY).contains(&count) && have <= count, "a task of an impossible size")?;
        input.check(usize::from(next) <= CANDIDATES && ticket <= lsn, "a task further than it can be")?;
        Ok(Self {
            section,
            slot,
            user,
            request,
            ticket,
            count,
            have,
            category,
            adjacency,
            accessible,
            or_join,
            together,
            next,
            flags,
            candidates,
        })
    }

    /// Whether it serves a queue, rather than a direct claim.
    pub(crate) fn is_for_queue(&self) -> bool {
        self.ticket != 0
    }

    /// Whether its seats are complete, so that it waits for nothing but the user's account.
    pub(crate) fn is_complete(&self) -> bool {
        self.have == self.count
    }

    /// The event and slot of its hold.
    pub(crate) fn hold(&self) -> (u32, u32) {
        (self.section.event, self.slot)
    }
}

impl Partition {
    /// Whether a task and what it is about agree.
    pub(crate) fn task_is_sound(&self, id: u32, task: &Task) -> bool {
        let Ok((ev, home)) = self.locate_home(task.section) else { return false };
        let part = &self.events[ev];
        let Some(hold) = part.holds.get(task.slot) else { return false };
        let gathering = hold.state == HoldState::Gathering && hold.user == task.user;
        if !gathering || hold.row != u32::from(task.section.section) {
            return false;
        }
        let parts = part.groups.get(hold.mask);
        let seats: u32 = parts.as_slice().iter().map(|part| u32::from(part.seats.count())).sum();
        let asked = parts.as_slice().len() < MAX_PARTS || task.is_complete();
        let served = part.homes[home].serving == Some(id);
        seats == u32::from(task.have) && asked && served == task.is_for_queue()
    }
}
