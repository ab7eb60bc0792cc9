//! When answers wait for the standby, and when etcd says so: the record is never better than the truth.
//!
//! To pair: answers wait first; then the standby must have everything that left before; then it is recorded as in sync.
//! To part: it is recorded that the primary is alone; then answers leave without the standby.

use frontrow_wal::NodeId;

/// What the primary sees of its standby.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// The standby, if it follows all streams and has all earlier epochs.
    pub(crate) follower: Option<NodeId>,
    /// Whether the configuration and the operator want answers to wait for it.
    pub(crate) wanted: bool,
    /// Whether answers wait now.
    pub(crate) waits: bool,
    /// Whether it has everything that left before answers waited.
    pub(crate) reached: bool,
    /// For how long answers have waited for it.
    pub(crate) stuck_ns: u64,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Deed {
    Nothing,
    /// Answers begin to wait.
    Wait,
    /// Answers do not wait any more: that they do was never recorded.
    Free,
    /// This is to be recorded. If the primary is to be alone, answers do not wait once it is.
    Record(Option<NodeId>),
}

/// The primary's side of being two.
#[derive(Debug, Default)]
pub(super) struct Pairing {
    /// Since when the standby that is recorded does not do its part; 0: it does.
    amiss_ns: u64,
    /// Since when a standby has been waited for that is not recorded yet.
    trying_ns: u64,
    /// Whether a record of a standby may still arrive at etcd: what was asked for was not answered.
    pub(super) doubt: bool,
}

impl Pairing {
    #[allow(clippy::single_match_else, reason = "two cases of one weight")]
    /// Decides, from what is recorded and what is seen. `patience_ns` is how long a standby may be away.
    pub(super) fn next(
        &mut self,
        recorded: Option<NodeId>,
        seen: &Seen,
        now_ns: u64,
        patience_ns: u64,
    ) -> Deed {
        let fine = seen.wanted && seen.follower.is_some() && seen.stuck_ns < patience_ns;
        match recorded {
            Some(node) => self.recorded(node, fine, seen, now_ns, patience_ns),
            None => self.alone(fine, seen, now_ns, patience_ns),
        }
    }

    fn recorded(&mut self, node: NodeId, fine: bool, seen: &Seen, now_ns: u64, patience_ns: u64) -> Deed {
        self.trying_ns = 0;
        // Recorded, it is waited for: also by a primary that did not hear etcd's answer.
        if !seen.waits {
            return Deed::Wait;
        }
        if fine && seen.follower == Some(node) {
            self.amiss_ns = 0;
            return Deed::Nothing;
        }
        if self.amiss_ns == 0 {
            self.amiss_ns = now_ns;
        }
        let long = now_ns - self.amiss_ns >= patience_ns || seen.stuck_ns >= patience_ns;
        let other = seen.follower.is_some_and(|other| other != node);
        if long || other || !seen.wanted { Deed::Record(None) } else { Deed::Nothing }
    }

    fn alone(&mut self, fine: bool, seen: &Seen, now_ns: u64, patience_ns: u64) -> Deed {
        self.amiss_ns = 0;
        if !seen.waits {
            self.trying_ns = now_ns;
            return if fine { Deed::Wait } else { Deed::Nothing };
        }
        if fine && seen.reached {
            return seen.follower.map_or(Deed::Nothing, |node| Deed::Record(Some(node)));
        }
        let hopeless = !fine || now_ns - self.trying_ns >= patience_ns;
        match (hopeless, self.doubt) {
            (false, _) => Deed::Nothing,
            (true, false) => Deed::Free,
            (true, true) => Deed::Record(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: u64 = 1000;

    fn follows(waits: bool, reached: bool) -> Seen {
        Seen { follower: Some(7), wanted: true, waits, reached, stuck_ns: 0 }
    }

    #[test]
    fn answers_wait_before_anything_is_recorded_and_until_it_is_taken_back() {
        let mut pairing = Pairing::default();
        let mut next = |recorded, seen, now| pairing.next(recorded, &seen, now, PATIENCE);
        assert_eq!(next(None, follows(false, false), 1), Deed::Wait);
        assert_eq!(next(None, follows(true, false), 2), Deed::Nothing, "it lacks what left before");
        assert_eq!(next(None, follows(true, true), 3), Deed::Record(Some(7)));
        assert_eq!(next(Some(7), follows(true, true), 4), Deed::Nothing);
        let gone = Seen { follower: None, ..follows(true, true) };
        assert_eq!(next(Some(7), gone, 5), Deed::Nothing, "it may come back");
        assert_eq!(next(Some(7), gone, 1005), Deed::Record(None));
        assert_eq!(next(None, gone, 1006), Deed::Free);
        assert_eq!(next(None, Seen { waits: false, ..gone }, 1007), Deed::Nothing);
    }

    #[test]
    fn a_standby_that_does_not_answer_is_gone_on_without_and_another_one_is_another_one() {
        let mut pairing = Pairing::default();
        let stuck = Seen { stuck_ns: PATIENCE, ..follows(true, true) };
        assert_eq!(pairing.next(Some(7), &stuck, 1, PATIENCE), Deed::Record(None));
        assert_eq!(pairing.next(Some(8), &follows(true, true), 1, PATIENCE), Deed::Record(None));
        let unwanted = Seen { wanted: false, ..follows(true, true) };
        assert_eq!(pairing.next(Some(7), &unwanted, 1, PATIENCE), Deed::Record(None));
    }

    #[test]
    fn what_may_still_be_recorded_is_overwritten_first() {
        let mut pairing = Pairing { doubt: true, trying_ns: 1, ..Pairing::default() };
        let gone = Seen { follower: None, ..follows(true, false) };
        assert_eq!(pairing.next(None, &gone, 2, PATIENCE), Deed::Record(None));
        assert_eq!(pairing.next(Some(7), &follows(false, false), 2, PATIENCE), Deed::Wait);
    }
}
