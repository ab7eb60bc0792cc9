//! Queues in a snapshot: who waits, in order. Links, classes and the look-up by user follow from that.

use super::{Kind, Party, Queues};
use crate::hold::NONE;
use crate::ids::{Lsn, MAX_PARTY, Millis, RowRef};
use crate::snapshot::{HIGHEST, Reader, SnapshotError, Writer};

const KINDS: [Kind; 3] = [Kind::Together, Kind::Accessible, Kind::Spread];
const BYTES: usize = 8 + 8 + 8 + 16 + 8 + 1 + 1;

impl Queues {
    /// Whether so many queues and parties have room here.
    pub(crate) fn check_room(&self, queues: usize, parties: usize) -> Result<(), SnapshotError> {
        let limit = |setting, used, limit| {
            if used <= limit { Ok(()) } else { Err(SnapshotError::Limit { setting, used, limit }) }
        };
        limit("partitions.queues", queues, self.open_at_most)?;
        limit("partitions.waiting", parties, self.room_for_parties)
    }

    pub(crate) fn save(&self, queue: u32, out: &mut Writer<'_>) {
        out.u64(self.lines[queue as usize].passes);
        out.u32(self.len(queue));
        for index in self.iter(queue) {
            let party = self.party(index);
            out.u64(party.user);
            out.u64(party.ticket);
            out.u64(party.joined_ms);
            out.u128(party.request);
            out.u64(party.passes_at_join);
            out.u8(party.count);
            out.u8(party.kind as u8);
        }
    }

    /// Opens the queue of `place`, which has none yet, with everybody who waited in it.
    pub(crate) fn load(
        &mut self,
        input: &mut Reader<'_>,
        place: RowRef,
        lsn: Lsn,
        now: Millis,
    ) -> Result<u32, SnapshotError> {
        let passes = input.u64()?;
        let count = input.count(BYTES)?;
        input.check(count > 0, "a queue of nobody")?;
        input.check(passes < HIGHEST, "a count out of all bounds")?;
        let (mut queue, mut last) = (NONE, (0, 0));
        for _ in 0..count {
            let (user, ticket, joined_ms) = (input.u64()?, input.u64()?, input.u64()?);
            let (request, passes_at_join) = (input.u128()?, input.u64()?);
            let (seats, kind) = (input.u8()?, input.choice(&KINDS, "a party of no known kind")?);
            input.check((1..=MAX_PARTY).contains(&seats), "a party of an impossible size")?;
            input.check(ticket > last.0 && ticket <= lsn, "parties out of order")?;
            input.check(passes_at_join >= last.1 && passes_at_join <= passes, "passes out of order")?;
            input.check(joined_ms <= now, "a party from the future")?;
            input.check(self.find(place, user).is_none(), "a user waits twice at one place")?;
            input.check(self.has_room(queue), "more parties than it says")?;
            last = (ticket, passes_at_join);
            let (opened, party) = self.join(queue, place, user, (kind, seats), ticket, joined_ms);
            queue = opened;
            self.parties[party as usize] = Party { request, passes_at_join, ..self.parties[party as usize] };
        }
        self.lines[queue as usize].passes = passes;
        Ok(queue)
    }
}
