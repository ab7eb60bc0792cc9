//! The timing wheel: which hold to look at next.
//!
//! A three-level hashed hierarchical wheel (Varghese and Lauck, 1987) with two twists that keep it off the
//! claim path's cache misses:
//! - a bucket is a list of small arrays, so arming a timer writes to one line that is warm, and
//! - nothing is ever unlinked. A hold has at most one entry; when the entry comes up, the hold's *present*
//!   deadline decides whether it is due, goes back in, or has nothing to do with timers any more.
//!
//! The wheel is an index, not state: what expires is decided by [`crate::Op::Expire`] in the log.

use crate::ids::Millis;

/// Width of the finest bucket, in milliseconds: how late a due hold may be looked at.
pub const TICK_MS: u64 = 8;
const SLOTS: u64 = 256;
const LEVELS: usize = 3;
const NONE: u32 = u32::MAX;
const PER_CHUNK: usize = 14;
/// How many entries before its turn a handle is announced, farthest first.
pub(crate) const AHEAD: [usize; 2] = [8, 3];
const _: () = assert!(AHEAD[0] < PER_CHUNK && AHEAD[1] < AHEAD[0]);

#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Chunk {
    next: u32,
    len: u32,
    handles: [u32; PER_CHUNK],
}

/// What the owner of a handle says when its entry comes up.
pub(crate) enum Timer {
    /// Nothing is timed under this handle any more.
    Gone,
    /// Look again at this time at the latest, in milliseconds.
    At(Millis),
}

pub(crate) struct Wheel {
    /// The tick whose bucket is being emptied.
    tick: u64,
    started: bool,
    len: usize,
    buckets: Box<[[u32; SLOTS as usize]; LEVELS]>,
    chunks: Vec<Chunk>,
    free: u32,
}

impl Wheel {
    pub(crate) fn new() -> Self {
        Self {
            tick: 0,
            started: false,
            len: 0,
            buckets: Box::new([[NONE; SLOTS as usize]; LEVELS]),
            chunks: Vec::new(),
            free: NONE,
        }
    }

    /// Makes room for `handles` more entries, so that arming them does not allocate. `false` if the machine has not
    /// so much memory.
    pub(crate) fn reserve(&mut self, handles: usize) -> bool {
        // Every bucket may end in a chunk that is not full.
        self.chunks.try_reserve_exact(handles.div_ceil(PER_CHUNK) + LEVELS * SLOTS as usize).is_ok()
    }

    /// Puts `handle` up for a look at `at_ms`, but not before the next tick.
    pub(crate) fn arm(&mut self, handle: u32, at_ms: Millis, now_ms: Millis) {
        if !self.started || self.len == 0 {
            self.tick = now_ms / TICK_MS;
            self.started = true;
        }
        self.place(handle, at_ms, self.tick, 1);
    }

    /// As [`Wheel::arm`], before the wheel has ever turned: what is due comes up at once.
    pub(crate) fn arm_at_start(&mut self, handle: u32, at_ms: Millis, now_ms: Millis) {
        self.tick = now_ms / TICK_MS;
        self.started = true;
        self.place(handle, at_ms, self.tick, 0);
    }

    /// Puts `handle` where it comes up at `at_ms`, as seen from tick `base`, and at least `least` ticks later.
    fn place(&mut self, handle: u32, at_ms: Millis, base: u64, least: u64) {
        let due = at_ms.div_ceil(TICK_MS).max(base + least);
        let ahead = (due - base).min(SLOTS.pow(LEVELS as u32) - 1);
        let due = base + ahead;
        let level = match ahead {
            a if a < SLOTS => 0,
            a if a < SLOTS * SLOTS => 1,
            _ => 2,
        };
        let slot = (due >> (8 * level)) % SLOTS;
        self.push(level as usize, slot as usize, handle);
    }

    /// The next handle that is due at `now_ms`. `ask` is told each handle that comes up. `budget` counts
    /// down by one for every entry and every tick passed, and bounds the call. `soon` is told of handles that
    /// will come up some entries later, and how many, so that their memory can be asked for.
    pub(crate) fn poll(
        &mut self,
        now_ms: Millis,
        budget: &mut u32,
        mut ask: impl FnMut(u32) -> Timer,
        mut soon: impl FnMut(u32, usize),
    ) -> Option<u32> {
        let target = now_ms / TICK_MS;
        if self.len == 0 {
            self.tick = self.tick.max(target);
            return None;
        }
        while *budget > 0 {
            let slot = (self.tick % SLOTS) as usize;
            self.announce(slot, &mut soon);
            if let Some(handle) = self.pop(0, slot) {
                *budget -= 1;
                match ask(handle) {
                    Timer::At(at) if at <= now_ms => return Some(handle),
                    Timer::At(at) => self.arm(handle, at, now_ms),
                    Timer::Gone => {}
                }
            } else if self.tick >= target || !self.advance(budget, &mut ask) {
                return None;
            }
        }
        None
    }

    /// Steps to the next tick once the coarser buckets that open there are dealt out. `false` if the budget
    /// ran out first; the work done so far is kept.
    fn advance(&mut self, budget: &mut u32, ask: &mut impl FnMut(u32) -> Timer) -> bool {
        let next = self.tick + 1;
        for level in (1..LEVELS).rev() {
            if !next.is_multiple_of(1 << (8 * level)) {
                continue;
            }
            let slot = ((next >> (8 * level)) % SLOTS) as usize;
            while let Some(handle) = self.pop(level, slot) {
                // The handle's own deadline says where it goes, so an entry whose hold is gone ends here.
                if let Timer::At(at) = ask(handle) {
                    // As seen from the tick about to begin: from the one before, an entry could fall back
                    // into the bucket that is being emptied.
                    self.place(handle, at, next, 0);
                }
                *budget = budget.saturating_sub(1);
                if *budget == 0 {
                    return false;
                }
            }
        }
        self.tick = next;
        *budget = budget.saturating_sub(1);
        true
    }

    /// Tells of the entries that are [`AHEAD`] further down in the finest bucket `slot`.
    fn announce(&self, slot: usize, soon: &mut impl FnMut(u32, usize)) {
        let Some(chunk) = self.chunks.get(self.buckets[0][slot] as usize) else { return };
        let len = chunk.len as usize;
        for ahead in AHEAD {
            if let Some(at) = len.checked_sub(ahead + 1) {
                soon(chunk.handles[at], ahead);
            }
        }
        if let Some(next) = self.chunks.get(chunk.next as usize).filter(|_| len <= AHEAD[0]) {
            // The next chunk is full; its top comes up when this one is used up.
            soon(next.handles[PER_CHUNK - 1 - (AHEAD[0] - len)], AHEAD[0]);
        }
    }

    fn push(&mut self, level: usize, slot: usize, handle: u32) {
        let head = self.buckets[level][slot];
        let at = if head != NONE && (self.chunks[head as usize].len as usize) < PER_CHUNK {
            head
        } else {
            let fresh = Chunk { next: head, len: 0, handles: [0; PER_CHUNK] };
            let index = if self.free == NONE {
                self.chunks.push(fresh);
                self.chunks.len() as u32 - 1
            } else {
                let index = self.free;
                self.free = self.chunks[index as usize].next;
                self.chunks[index as usize] = fresh;
                index
            };
            self.buckets[level][slot] = index;
            index
        };
        let chunk = &mut self.chunks[at as usize];
        chunk.handles[chunk.len as usize] = handle;
        chunk.len += 1;
        self.len += 1;
    }

    fn pop(&mut self, level: usize, slot: usize) -> Option<u32> {
        let head = self.buckets[level][slot];
        let chunk = self.chunks.get_mut(head as usize)?;
        chunk.len -= 1;
        let handle = chunk.handles[chunk.len as usize];
        if chunk.len == 0 {
            self.buckets[level][slot] = chunk.next;
            chunk.next = self.free;
            self.free = head;
        }
        self.len -= 1;
        Some(handle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Whatever the deadlines and steps of time: never early, and at most a tick late.
        #[test]
        fn due_is_never_early_and_hardly_late(
            deadlines in prop::collection::vec(1_u64..4_000_000, 1..200),
            step in 500_u64..50_000,
        ) {
            let mut wheel = Wheel::new();
            let start = 1_700_000_000_000_u64;
            for (i, ms) in deadlines.iter().enumerate() {
                wheel.arm(i as u32, start + ms, start);
            }
            let (mut now, mut left) = (start, deadlines.len());
            while left > 0 {
                let last = now;
                now += step;
                let mut budget = u32::MAX;
                while let Some(handle) =
                    wheel.poll(now, &mut budget, |h| Timer::At(start + deadlines[h as usize]), |_, _| ())
                {
                    let due = start + deadlines[handle as usize];
                    prop_assert!(due <= now, "early");
                    prop_assert!(due + TICK_MS > last, "late: {due} at {now}, looked at {last}");
                    left -= 1;
                }
                prop_assert!(now < start + 8_000_000, "{left} never came up");
            }
        }
    }

    #[test]
    fn a_small_budget_bounds_a_step_and_loses_nothing() {
        let mut wheel = Wheel::new();
        for handle in 0..10_000 {
            wheel.arm(handle, 1_000_000, 0);
        }
        let mut seen = 0;
        for _ in 0..1_000_000 {
            let mut budget = 64;
            let mut asked = 0;
            while wheel
                .poll(
                    1_000_100,
                    &mut budget,
                    |_| {
                        asked += 1;
                        Timer::At(1_000_000)
                    },
                    |_, _| (),
                )
                .is_some()
            {
                seen += 1;
            }
            assert!(asked <= 64);
            if seen == 10_000 {
                return;
            }
        }
        panic!("{seen} of 10000 came up");
    }

    #[test]
    fn what_is_gone_is_dropped_and_its_chunks_are_used_again() {
        let mut wheel = Wheel::new();
        for round in 0..100_u64 {
            let now = round * 10_000;
            for handle in 0..1000 {
                wheel.arm(handle, now + 5_000, now);
            }
            let mut budget = u32::MAX;
            assert_eq!(wheel.poll(now + 9_000, &mut budget, |_| Timer::Gone, |_, _| ()), None);
            assert_eq!(wheel.len, 0);
        }
        assert!(wheel.chunks.len() < 200, "{}", wheel.chunks.len());
    }
}
