//! What is due when: a heap of moments, whose entries are never taken out but grow stale.

use super::Nanos;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Due {
    /// A visit's next step; valid while the visit's own count of timers is this.
    Visit { slot: u32, armed: u32 },
    /// A connection comes back.
    Reconnect { connection: u32 },
    /// A connection drops.
    Drop { connection: u32, armed: u32 },
    /// Index of a storm.
    Storm { index: u32 },
}

/// Timers, earliest first; those of the same moment in the order in which they were set.
#[derive(Debug, Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Reverse<(Nanos, u64, Due)>>,
    set: u64,
}

impl Timers {
    pub(crate) fn set(&mut self, at: Nanos, due: Due) {
        self.set += 1;
        self.heap.push(Reverse((at, self.set, due)));
    }

    /// The earliest that is due at `now`, with its moment.
    pub(crate) fn pop(&mut self, now: Nanos) -> Option<(Nanos, Due)> {
        let &Reverse((at, _, due)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        Some((at, due))
    }

    /// When the next is due.
    pub(crate) fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_come_up_in_order() {
        let mut timers = Timers::default();
        timers.set(5, Due::Storm { index: 1 });
        timers.set(3, Due::Storm { index: 2 });
        timers.set(5, Due::Storm { index: 0 });
        assert_eq!(timers.next(), Some(3));
        assert_eq!(timers.pop(2), None);
        let order: Vec<_> = std::iter::from_fn(|| timers.pop(10)).collect();
        let storm = |at, index| (at, Due::Storm { index });
        assert_eq!(order, [storm(3, 2), storm(5, 1), storm(5, 0)]);
    }
}
