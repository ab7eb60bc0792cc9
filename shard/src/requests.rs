//! What became of recent requests, so that a repeated one gets the same answer.
//!
//! A ring of the last *n* answers, and a table of eight-way buckets, one cache line each, from request id
//! to ring entry. Nothing is deleted from the table: a slot whose ring entry has been overwritten is dead
//! and used again. Whatever drops out raises the *horizon*; a request id whose time lies at or below it may
//! be a repetition that is no longer remembered, and is refused as too old instead of being done twice.

mod saved;

use crate::answer::{Answer, Code};
use crate::ids::{Lsn, Millis, Parts, RequestId, Seats, mix};
use crate::op::{Command, Request};
use frontrow_plant::{Bug, planted};
pub(crate) use saved::Remembered;
use std::hash::Hasher;

const WAYS: usize = 8;
/// Slots of the table for each request remembered. With four, a bucket of eight has two live slots on average and
/// hardly ever eight: a full bucket forgets its oldest request before its turn, and costs a cache miss.
const SLOTS_PER_REQUEST: usize = 4;
/// How many entries before its turn an entry's memory is asked for. Entries are written in order, so it need only
/// be far enough for a miss to end.
const ENTRIES_AHEAD: usize = 8;

/// In place of the number of an answer's rows: they were forgotten before the answer. No rows have this number.
const GONE: u32 = u32::MAX;

/// An answer packed with the request it belongs to.
#[derive(Clone, Copy)]
struct Entry {
    id: [u64; 2],
    digest: u64,
    mask: u64,
    lsn: Lsn,
    expires_ms: Millis,
    nonce: u64,
    slot: u32,
    epoch: u32,
    /// Number of the entry in `parts`, for a claim over several rows.
    parts: u32,
    /// When the request was decided: milliseconds, the lower 32 bits.
    arrived: u32,
    first: u8,
    code: Code,
    flags: u8,
    parts_len: u8,
}

/// What is known about a request before it is decided.
pub(crate) enum Known {
    /// Never seen, and young enough to be sure of that.
    New,
    /// Decided, or being decided ([`Code::Pending`]).
    Answered(Answer),
    /// The id was used for another request.
    Reused,
    /// It may have been decided, but that is forgotten.
    TooOld,
    /// Its time lies ahead of the server's.
    Ahead,
}

pub(crate) struct Requests {
    ring: Vec<Entry>,
    capacity: usize,
    /// How many were ever remembered; the ring entry of number `n` is `n % capacity`, a power of two.
    next: u32,
    table: Vec<u64>,
    /// Index in `table` of the first slot that starts a cache line.
    base: usize,
    horizon: Millis,
    parts: Vec<Parts>,
    parts_next: u32,
}

/// Milliseconds in a request id's upper 48 bits.
pub const fn request_time(id: RequestId) -> Millis {
    (id >> 80) as u64
}

impl Requests {
    /// Remembers the last `capacity` requests, a power of two of 8 or more.
    pub(crate) fn new(capacity: usize) -> Self {
        let capacity = capacity.next_power_of_two().max(WAYS);
        // A large block may come aligned to its pages; then a line more would be a page more.
        let mut table = vec![0_u64; capacity * SLOTS_PER_REQUEST];
        if table.as_ptr().align_offset(64) != 0 {
            table = vec![0_u64; capacity * SLOTS_PER_REQUEST + WAYS];
        }
        let base = table.as_ptr().align_offset(64).min(WAYS - 1);
        Self {
            ring: Vec::with_capacity(capacity),
            capacity,
            next: 0,
            table,
            base,
            horizon: 0,
            parts: Vec::with_capacity((capacity / 16).max(64)),
            parts_next: 0,
        }
    }

    /// What is known of `request` at `now`.
    pub(crate) fn look_up(&self, request: &Request, digest: u64, now: Millis) -> Known {
        if let Some(at) = self.find(request.id) {
            let entry = &self.ring[at];
            if planted(Bug::DoneAgain) && entry.code != Code::Pending {
                return Known::New;
            }
            let same = entry.digest == digest || planted(Bug::IdReused);
            return if same { Known::Answered(entry.answer()) } else { Known::Reused };
        }
        match request_time(request.id) {
            time if time > now => Known::Ahead,
            time if self.horizon > 0 && time <= self.horizon => Known::TooOld,
            _ => Known::New,
        }
    }

    /// Remembers the answer to a new request.
    pub(crate) fn remember(
        &mut self,
        id: RequestId,
        digest: u64,
        answer: &Answer,
        parts: Option<&Parts>,
        now: Millis,
    ) {
        let mut entry = Entry::new(id, digest, answer, now);
        entry.keep(parts.map(|parts| self.keep_parts(parts)));
        let at = self.next as usize & (self.capacity - 1);
        // Entries are written in their order, so it is known long before which one will be.
        crate::prefetch_ends(self.ring.as_ptr().wrapping_add((at + ENTRIES_AHEAD) & (self.capacity - 1)));
        if at < self.ring.len() {
            let old = self.ring[at].time(now);
            self.horizon = self.horizon.max(old);
            self.ring[at] = entry;
        } else {
            self.ring.push(entry);
        }
        let number = self.next;
        self.next = self.next.wrapping_add(1);
        if let Some(victim) = self.enter(id, number) {
            self.horizon = self.horizon.max(self.ring[victim].time(now));
        }
    }

    /// Notes in the table that ring entry `number`, the newest, is the answer to `id`. If that made it forget an
    /// answer before its turn, the place of that in the ring.
    fn enter(&mut self, id: RequestId, number: u32) -> Option<usize> {
        let (bucket, print) = self.bucket(id);
        // The oldest is a dead one, if there is any; else it is forgotten before its turn. Which of the eight it is
        // cannot be guessed, so all are looked at rather than up to the first dead one.
        let (mut way, mut oldest) = (0, 0);
        for (at, &slot) in self.table[bucket..bucket + WAYS].iter().enumerate() {
            let age = self.age(slot);
            (way, oldest) = if age > oldest { (at, age) } else { (way, oldest) };
        }
        let victim = self.table[bucket + way] as u32 as usize & (self.capacity - 1);
        self.table[bucket + way] = (u64::from(print) << 32) | u64::from(number);
        ((oldest as usize) < self.capacity).then_some(victim)
    }

    /// Replaces the answer of a request that was pending. Nothing happens if it has been forgotten.
    pub(crate) fn decide(&mut self, id: RequestId, answer: &Answer, parts: Option<&Parts>) {
        let Some(at) = self.find(id) else { return };
        let kept = parts.map(|parts| self.keep_parts(parts));
        let entry = &mut self.ring[at];
        entry.set(answer);
        entry.keep(kept);
    }

    /// The rows of a claim over several rows, if it is remembered.
    pub(crate) fn parts(&self, id: RequestId) -> Option<&Parts> {
        let entry = &self.ring[self.find(id)?];
        self.parts_behind(entry)?;
        Some(&self.parts[(entry.parts % self.parts.capacity() as u32) as usize])
    }

    /// How many parts ago an entry's were kept, if it has any and they still are.
    fn parts_behind(&self, entry: &Entry) -> Option<u32> {
        let behind = self.parts_next.wrapping_sub(entry.parts);
        let kept = behind <= self.parts.capacity() as u32 && entry.parts != GONE;
        (entry.parts_len > 0 && kept).then_some(behind)
    }

    /// Asks the processor for the line that `look_up` will read.
    pub(crate) fn prefetch(&self, id: RequestId) {
        let (bucket, _) = self.bucket(id);
        crate::prefetch(&raw const self.table[bucket]);
    }

    fn keep_parts(&mut self, parts: &Parts) -> u32 {
        let cap = self.parts.capacity();
        if self.parts_next == GONE {
            self.parts_next = 0;
        }
        let number = self.parts_next;
        self.parts_next += 1;
        let at = number as usize % cap;
        if at < self.parts.len() {
            self.parts[at] = *parts;
        } else {
            self.parts.push(*parts);
        }
        number
    }

    fn bucket(&self, id: RequestId) -> (usize, u32) {
        let hash = mix(id as u64 ^ mix((id >> 64) as u64));
        let buckets = (self.capacity * SLOTS_PER_REQUEST / WAYS) as u64;
        // The print is never zero, so an empty slot never looks like a match.
        (self.base + (hash & (buckets - 1)) as usize * WAYS, (hash >> 32) as u32 | 1)
    }

    /// How many requests ago a slot's entry was made; a dead or empty slot is older than the ring.
    fn age(&self, slot: u64) -> u32 {
        if slot == 0 { u32::MAX } else { self.next.wrapping_sub(slot as u32).wrapping_sub(1) }
    }

    fn find(&self, id: RequestId) -> Option<usize> {
        let (bucket, print) = self.bucket(id);
        let wanted = [id as u64, (id >> 64) as u64];
        self.table[bucket..bucket + WAYS].iter().find_map(|&slot| {
            if (slot >> 32) as u32 != print || self.age(slot) as usize >= self.capacity {
                return None;
            }
            let at = slot as u32 as usize & (self.capacity - 1);
            (self.ring[at].id == wanted).then_some(at)
        })
    }
}

impl Entry {
    fn new(id: RequestId, digest: u64, answer: &Answer, now: Millis) -> Self {
        let mut entry = Self {
            id: [id as u64, (id >> 64) as u64],
            digest,
            mask: 0,
            lsn: 0,
            expires_ms: 0,
            nonce: 0,
            slot: 0,
            epoch: 0,
            parts: 0,
            arrived: now as u32,
            first: 0,
            code: Code::Pending,
            flags: 0,
            parts_len: 0,
        };
        entry.set(answer);
        entry
    }

    fn id(&self) -> RequestId {
        u128::from(self.id[0]) | u128::from(self.id[1]) << 64
    }

    fn set(&mut self, answer: &Answer) {
        self.mask = answer.seats.mask;
        self.first = answer.seats.first;
        self.lsn = answer.lsn;
        self.expires_ms = answer.expires_ms;
        self.nonce = answer.nonce;
        self.slot = answer.slot;
        self.epoch = answer.epoch;
        self.code = answer.code;
        self.flags = answer.flags;
        self.parts_len = answer.parts;
    }

    /// Notes where the answer's parts are kept. Without parts it must not seem to have any: the first that
    /// were ever kept are another claim's.
    fn keep(&mut self, parts: Option<u32>) {
        self.parts = parts.unwrap_or(0);
        if parts.is_none() {
            self.parts_len = 0;
        }
    }

    fn answer(&self) -> Answer {
        Answer {
            seats: Seats { mask: self.mask, first: self.first },
            lsn: self.lsn,
            expires_ms: self.expires_ms,
            nonce: self.nonce,
            slot: self.slot,
            epoch: self.epoch,
            code: self.code,
            flags: self.flags,
            parts: self.parts_len,
        }
    }

    /// The full time, from the last 49 days.
    fn time(&self, now: Millis) -> Millis {
        now - u64::from((now as u32).wrapping_sub(self.arrived))
    }
}

/// Digest of who asks for what, to tell a repetition from a reused id. What the server adds to a request
/// (the rows it proposes for a section claim) is not part of it: a repetition may come with other proposals.
pub(crate) fn digest(request: &Request) -> u64 {
    let (place, user) = (request.command.place().key(), request.user);
    let proof = |tag: u64, fence: &crate::answer::Fence| {
        let at = u64::from(fence.slot) | u64::from(fence.epoch) << 32;
        blend([tag, place, user, fence.user, fence.expires_ms, fence.lsn, fence.nonce, at])
    };
    let wish = |tag: u64, parts: [u8; 5]| {
        let packed = parts.iter().fold(0, |word, &part| word << 8 | u64::from(part));
        blend([tag, place, user, packed, 0, 0, 0, 0])
    };
    match &request.command {
        Command::ClaimSeats(c) => blend([1, place, user, c.seats.mask, u64::from(c.seats.first), 0, 0, 0]),
        Command::ClaimBest(c) => {
            wish(2, [c.count, c.category, u8::from(c.accessible), u8::from(c.or_join), 0])
        }
        Command::ClaimSection(c) => {
            wish(3, [c.count, c.category, u8::from(c.accessible), u8::from(c.or_join), c.adjacency as u8])
        }
        Command::Extend(p) => proof(4, &p.fence),
        Command::BeginPayment(p) => proof(5, &p.fence),
        Command::Book(p) => proof(6, &p.fence),
        Command::Release(p) => proof(7, &p.fence),
        Command::Cancel(p) => proof(8, &p.fence),
        Command::Join(j) => wish(9, [j.count, j.adjacency as u8, u8::from(j.accessible), 0, 0]),
        Command::Leave(_) => wish(10, [0; 5]),
    }
}

/// Folds eight words by four independent multiplications, as wyhash does: no chain for the processor to wait
/// on. Not secure, and need not be: an attacker could only confuse requests of the same id.
fn blend(words: [u64; 8]) -> u64 {
    const KEYS: [u64; 8] = [
        0xa076_1d64_78bd_642f,
        0xe703_7ed1_a0b4_28db,
        0x8ebc_6af0_9c88_c6e3,
        0x5899_65cc_7537_4cc3,
        0x1d8e_4e27_c47d_124f,
        0xeb44_acca_b455_d165,
        0x2d35_8dcc_aa6c_78a5,
        0x8bb8_4b93_962e_acc9,
    ];
    let mut sum = 0_u64;
    for i in 0..4 {
        let product = u128::from(words[2 * i] ^ KEYS[2 * i]) * u128::from(words[2 * i + 1] ^ KEYS[2 * i + 1]);
        sum = sum.wrapping_add((product as u64) ^ (product >> 64) as u64).rotate_left(17);
    }
    mix(sum)
}

/// A multiply-and-fold hasher: fast, not secure. It guards against mistakes, not against attackers, who
/// could only confuse their own requests.
#[derive(Default, Clone, Copy)]
pub(crate) struct Fold(u64);

impl Hasher for Fold {
    fn finish(&self) -> u64 {
        mix(self.0)
    }
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }
    fn write_u8(&mut self, n: u8) {
        self.write_u64(u64::from(n));
    }
    fn write_u16(&mut self, n: u16) {
        self.write_u64(u64::from(n));
    }
    fn write_u32(&mut self, n: u32) {
        self.write_u64(u64::from(n));
    }
    fn write_u64(&mut self, n: u64) {
        let product = u128::from(self.0 ^ n ^ 0x9e37_79b9_7f4a_7c15) * 0xa076_1d64_78bd_642f;
        self.0 = (product as u64) ^ (product >> 64) as u64;
    }
    fn write_usize(&mut self, n: usize) {
        self.write_u64(n as u64);
    }
    fn write_isize(&mut self, n: isize) {
        self.write_u64(n as u64);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::RowRef;
    use crate::op::{Command, Leave};

    fn request(time: u64, n: u64) -> Request {
        Request {
            id: (u128::from(time) << 80) | u128::from(n),
            user: 7,
            command: Command::Leave(Leave { place: RowRef::new(1, 2, 3) }),
        }
    }

    #[test]
    fn recent_requests_are_known_and_older_ones_refused() {
        let mut requests = Requests::new(1024);
        for n in 0..5000_u64 {
            let request = request(n, n);
            let digest = digest(&request);
            assert!(matches!(requests.look_up(&request, digest, n), Known::New), "{n}");
            let answer = Answer { slot: n as u32, lsn: n + 1, ..Answer::plain(Code::Queued) };
            requests.remember(request.id, digest, &answer, None, n);
        }
        let (mut kept, mut refused) = (0, 0);
        for n in 0..5000_u64 {
            let request = request(n, n);
            match requests.look_up(&request, digest(&request), 5000) {
                Known::Answered(answer) => {
                    assert_eq!(u64::from(answer.slot), n);
                    kept += 1;
                }
                Known::TooOld => refused += 1,
                _ => panic!("{n} would be done twice"),
            }
        }
        assert_eq!(kept + refused, 5000);
        assert!(kept > 900, "{kept}");
    }

    #[test]
    fn what_the_server_proposes_is_no_part_of_a_request() {
        let claim = |candidates| crate::op::ClaimSection {
            section: RowRef::new(1, 2, RowRef::SECTION),
            count: 2,
            category: 0,
            adjacency: crate::rules::Adjacency::Any,
            accessible: false,
            or_join: false,
            hopeless: false,
            candidates,
        };
        let asked = |c| digest(&Request { id: 1, user: 7, command: Command::ClaimSection(c) });
        assert_eq!(asked(claim([1; 8])), asked(claim([2; 8])));
        assert_ne!(asked(claim([1; 8])), asked(crate::op::ClaimSection { count: 3, ..claim([1; 8]) }));
    }

    #[test]
    fn another_content_or_a_time_ahead_is_told_apart() {
        let mut requests = Requests::new(64);
        let first = request(10, 1);
        requests.remember(first.id, digest(&first), &Answer::plain(Code::Left), None, 10);
        let other = Request { user: 8, ..first };
        assert!(matches!(requests.look_up(&other, digest(&other), 10), Known::Reused));
        let ahead = request(11, 2);
        assert!(matches!(requests.look_up(&ahead, digest(&ahead), 10), Known::Ahead));
    }
}
