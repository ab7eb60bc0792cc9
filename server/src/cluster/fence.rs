//! Until when this node may answer. One load where answers are released.

use std::sync::atomic::{AtomicU64, Ordering};

/// A deadline on the monotonic clock. It moves forward while the lease is renewed; once it is over, it stays over.
#[derive(Debug)]
pub struct Fence {
    deadline_ns: AtomicU64,
}

impl Fence {
    /// No deadline: nobody but an operator decides who is primary.
    pub const fn open() -> Self {
        Self { deadline_ns: AtomicU64::new(u64::MAX) }
    }

    /// Nothing may be answered yet.
    pub const fn closed() -> Self {
        Self { deadline_ns: AtomicU64::new(0) }
    }

    /// Whether nothing may be answered any more.
    #[inline]
    pub fn is_over(&self, now_ns: u64) -> bool {
        now_ns >= self.deadline_ns.load(Ordering::Acquire)
    }

    /// The first deadline, or a later one while the present one is not over. Whether it holds.
    pub(super) fn until(&self, deadline_ns: u64, now_ns: u64) -> bool {
        let present = self.deadline_ns.load(Ordering::Acquire);
        if present != 0 && now_ns >= present {
            return false;
        }
        self.deadline_ns.fetch_max(deadline_ns, Ordering::AcqRel);
        now_ns < deadline_ns.max(present)
    }

    /// How much time is left.
    pub(super) fn left_ns(&self, now_ns: u64) -> u64 {
        self.deadline_ns.load(Ordering::Acquire).saturating_sub(now_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_stays_over() {
        let fence = Fence::closed();
        assert!(fence.is_over(1));
        assert!(fence.until(100, 10) && !fence.is_over(99) && fence.is_over(100));
        assert!(fence.until(200, 99) && !fence.is_over(150));
        assert!(fence.until(180, 120) && !fence.is_over(190), "it never goes back");
        assert!(!fence.until(900, 200) && fence.is_over(300), "a lease renewed too late renews nothing");
        assert!(!Fence::open().is_over(u64::MAX - 1));
    }
}
