//! Remembered requests in a snapshot: the answers, oldest first. The table that finds them follows from that.

use super::{Entry, GONE, Requests};
use crate::answer::Code;
use crate::event::{load_parts, save_parts};
use crate::ids::{Lsn, Millis, Parts, Seats};
use crate::requests::Fold;
use crate::snapshot::{HIGHEST, Reader, SnapshotError, Writer};
use std::hash::{Hash, Hasher};

const BYTES: usize = 7 * 8 + 4 * 4 + 4;

/// What a request memory remembers, whatever its size and wherever in it that stands.
pub(crate) struct Remembered {
    /// The size of the memory it was in.
    capacity: usize,
    horizon: Millis,
    /// Oldest first.
    entries: Vec<Entry>,
    /// Oldest first, and numbered from 0.
    parts: Vec<Parts>,
}

impl Requests {
    pub(crate) fn save(&self, out: &mut Writer<'_>) {
        out.u32(self.capacity as u32);
        out.u64(self.horizon);
        let kept = self.kept_parts();
        out.u32(self.parts.len() as u32);
        for number in kept.clone() {
            save_parts(self.parts_at(number), out);
        }
        out.u32(self.ring.len() as u32);
        for entry in self.oldest_first() {
            let place = self.parts_of(entry).map_or(GONE, |number| number.wrapping_sub(kept.start) as u32);
            entry.save(place, out);
        }
    }

    /// Remembers what another memory did. One of the same size is the same from then on. A smaller one keeps the
    /// newest answers, and what it had to drop counts as too old; a larger one has room for more.
    pub(crate) fn restore(remembered: Remembered, capacity: usize, now: Millis) -> Self {
        let Remembered { capacity: saved, horizon, entries, parts } = remembered;
        let mut requests = Self::new(capacity);
        requests.horizon = horizon;
        let dropped = entries.len().saturating_sub(requests.capacity);
        for old in &entries[..dropped] {
            requests.horizon = requests.horizon.max(old.time(now));
        }
        let room = requests.parts.capacity();
        let dropped_parts = parts.len().saturating_sub(room);
        requests.parts.extend_from_slice(&parts[dropped_parts..]);
        requests.parts_next = requests.parts.len() as u32;
        for mut entry in entries.into_iter().skip(dropped) {
            let kept = usize::try_from(entry.parts).ok().filter(|_| entry.parts != GONE);
            let kept = kept.and_then(|number| number.checked_sub(dropped_parts));
            entry.parts = kept.map_or(if entry.parts_len > 0 { GONE } else { 0 }, |number| number as u32);
            requests.next += 1;
            if let Some(victim) = requests.enter(entry.id(), requests.next - 1)
                && saved != requests.capacity
            {
                // In a table of the same size it was forgotten before, and the horizon knows.
                requests.horizon = requests.horizon.max(requests.ring[victim].time(now));
            }
            requests.ring.push(entry);
        }
        requests
    }

    /// Folds everything remembered into one number, which does not depend on the memory's size.
    pub(crate) fn state_hash(&self) -> u64 {
        let parts = |entry: &Entry| self.parts_of(entry).map(|number| self.parts_at(number));
        hash_of(self.horizon, self.oldest_first().map(|entry| (entry, parts(entry))))
    }

    fn oldest_first(&self) -> impl Iterator<Item = &Entry> {
        let at = if self.ring.len() < self.capacity { 0 } else { self.next as usize & (self.capacity - 1) };
        self.ring[at..].iter().chain(&self.ring[..at])
    }

    /// The numbers of the parts that are kept; not wrapped, so that they rise.
    fn kept_parts(&self) -> std::ops::Range<u64> {
        let next = u64::from(self.parts_next) + (1 << 32);
        next - self.parts.len() as u64..next
    }

    /// The number of an entry's parts, if it has any and they are kept.
    fn parts_of(&self, entry: &Entry) -> Option<u64> {
        let behind = self.parts_behind(entry)?;
        Some(self.kept_parts().end - u64::from(behind))
    }

    fn parts_at(&self, number: u64) -> &Parts {
        &self.parts[(number as u32 % self.parts.capacity() as u32) as usize]
    }
}

impl Remembered {
    pub(crate) fn load(input: &mut Reader<'_>, now: Millis, lsn: Lsn) -> Result<Self, SnapshotError> {
        let (capacity, horizon) = (input.u32()? as usize, input.u64()?);
        input.check(capacity.is_power_of_two() && horizon < HIGHEST, "a memory of an impossible size")?;
        let kept = input.count(4)?;
        input.check(kept <= capacity.max(64), "more claims' rows than its memory has room for")?;
        let mut parts = Vec::with_capacity(kept);
        for _ in 0..kept {
            parts.push(load_parts(input, u16::MAX)?);
        }
        let count = input.count(BYTES)?;
        input.check(count <= capacity, "more answers than its memory has room for")?;
        let mut entries = Vec::with_capacity(count);
        for _ in 0..count {
            let entry = Entry::load(input)?;
            let behind = u64::from((now as u32).wrapping_sub(entry.arrived));
            input.check(behind <= now && entry.lsn <= lsn, "an answer from the future")?;
            let known = entry.parts == GONE || (entry.parts as usize) < parts.len();
            input.check(known, "an answer with rows that are not there")?;
            entries.push(entry);
        }
        Ok(Self { capacity, horizon, entries, parts })
    }

    /// As [`Requests::state_hash`].
    pub(crate) fn state_hash(&self) -> u64 {
        let parts = |entry: &Entry| self.parts.get(entry.parts as usize).filter(|_| entry.parts_len > 0);
        hash_of(self.horizon, self.entries.iter().map(|entry| (entry, parts(entry))))
    }
}

impl Entry {
    fn save(&self, parts: u32, out: &mut Writer<'_>) {
        let [low, high] = self.id;
        for word in [low, high, self.digest, self.mask, self.lsn, self.expires_ms, self.nonce] {
            out.u64(word);
        }
        for half in [self.slot, self.epoch, parts, self.arrived] {
            out.u32(half);
        }
        out.bytes(&[self.first, self.code as u8, self.flags, self.parts_len]);
    }

    fn load(input: &mut Reader<'_>) -> Result<Self, SnapshotError> {
        let entry = Self {
            id: [input.u64()?, input.u64()?],
            digest: input.u64()?,
            mask: input.u64()?,
            lsn: input.u64()?,
            expires_ms: input.u64()?,
            nonce: input.u64()?,
            slot: input.u32()?,
            epoch: input.u32()?,
            parts: input.u32()?,
            arrived: input.u32()?,
            first: input.u8()?,
            code: Code::from_number(input.u8()?)
                .ok_or_else(|| input.inconsistent("an answer that nobody gives"))?,
            flags: input.u8()?,
            parts_len: input.u8()?,
        };
        let seats = Seats { mask: entry.mask, first: entry.first };
        input.check(seats.is_in_reach(), "seats past a row's end")?;
        input.check(entry.parts_len > 0 || entry.parts == GONE, "rows of a claim that has none")?;
        Ok(entry)
    }

    fn hash_into(&self, hash: &mut impl Hasher) {
        let [low, high] = self.id;
        for word in [low, high, self.digest, self.mask, self.lsn, self.expires_ms, self.nonce] {
            word.hash(hash);
        }
        (u64::from(self.slot) << 32 | u64::from(self.epoch)).hash(hash);
        let marks = [self.first, self.code as u8, self.flags, self.parts_len];
        (u64::from(self.arrived) << 32 | u64::from(u32::from_le_bytes(marks))).hash(hash);
    }
}

fn hash_of<'a>(horizon: Millis, entries: impl Iterator<Item = (&'a Entry, Option<&'a Parts>)>) -> u64 {
    let mut hash = Fold::default();
    horizon.hash(&mut hash);
    let mut count = 0_u64;
    for (entry, parts) in entries {
        count += 1;
        entry.hash_into(&mut hash);
        if let Some(parts) = parts {
            parts.hash_into(&mut hash);
        }
    }
    count.hash(&mut hash);
    hash.finish()
}
