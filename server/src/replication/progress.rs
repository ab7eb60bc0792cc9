//! How far a standby is in one stream: what is durable and applied here, and what its primary was heard to have.

use frontrow_wal::Position;

/// A place in a stream.
pub(super) type At = (u32, Position);

/// How far one stream is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// Durable here.
    pub(super) have: At,
    /// May be applied.
    pub(super) committed: At,
    /// Durable at the primary.
    pub(super) there: At,
    /// Durable at the primary when it was heard first in this session.
    first: Option<At>,
    /// Applied.
    pub(super) applied: At,
    /// What the primary was heard to have durable, and when (monotonic ns), that is not all applied yet.
    goal: Option<(At, u64)>,
    /// When the primary was last heard to have no more than what is applied here: so old is the state at most.
    pub(super) fresh_ns: Option<u64>,
}

impl Progress {
    /// Of a log at rest: so far it is durable, and nothing else is known.
    pub(super) fn at_rest(have: At) -> Self {
        Self { have, ..Self::default() }
    }

    /// The primary has this durable.
    pub(super) fn heard(&mut self, there: At, now_ns: u64) {
        self.there = there;
        self.first.get_or_insert(there);
        self.goal.get_or_insert((there, now_ns));
        self.reach();
    }

    /// This is applied now.
    pub(super) fn reached(&mut self, applied: At) {
        self.applied = applied;
        self.reach();
    }

    /// As a session begins: what was applied, and how fresh it was, stays so; what the primary has is to be heard anew.
    pub(super) fn resumed(self, have: At, committed: At) -> Self {
        Self { have, committed, there: (0, 0), first: None, goal: None, ..self }
    }

    /// Whether all is here that the primary had when it was heard first in this session.
    pub(super) fn has_first(&self) -> bool {
        self.first.is_some() && !self.lacks_first()
    }

    /// Whether it is known that some of that is not here.
    pub(super) fn lacks_first(&self) -> bool {
        // A stream of former cores has nothing of the epoch under way.
        self.first.is_some_and(|first| first.1 > 0 && self.have < first)
    }

    /// What was applied is let go of.
    pub(super) fn begin_anew(&mut self) {
        (self.applied, self.goal, self.fresh_ns) = ((0, 0), None, None);
    }

    fn reach(&mut self) {
        let Some((there, heard_ns)) = self.goal else { return };
        // A stream of former cores has nothing of the epoch under way.
        let goal = if there.1 == 0 { self.have } else { there };
        if self.applied >= goal {
            (self.goal, self.fresh_ns) = (None, Some(heard_ns));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_as_fresh_as_the_last_word_whose_all_is_applied() {
        let mut stream = Progress { have: (2, 900), ..Progress::default() };
        stream.heard((2, 500), 10);
        assert_eq!(stream.fresh_ns, None, "nothing is applied yet");
        stream.heard((2, 900), 20);
        stream.reached((2, 400));
        assert_eq!(stream.fresh_ns, None);
        // The first word is reached; the second was not waited for.
        stream.reached((2, 500));
        assert_eq!(stream.fresh_ns, Some(10));
        stream.heard((2, 900), 30);
        assert_eq!(stream.fresh_ns, Some(10), "it has more than is applied");
        stream.reached((2, 900));
        assert_eq!(stream.fresh_ns, Some(30));
        stream.heard((2, 900), 40);
        assert_eq!(stream.fresh_ns, Some(40), "there was nothing new");
        // Another session goes on from there; another history does not.
        let mut stream = stream.resumed((2, 900), (2, 900));
        assert_eq!(stream.fresh_ns, Some(40));
        stream.begin_anew();
        stream.heard((2, 900), 50);
        assert_eq!(stream.fresh_ns, None);
    }

    #[test]
    fn an_earlier_epoch_is_not_what_the_primary_has_now() {
        let mut stream = Progress { have: (1, 900), ..Progress::default() };
        stream.reached((1, 900));
        stream.heard((2, 10), 5);
        assert_eq!(stream.fresh_ns, None);
        stream.reached((2, 10));
        assert_eq!(stream.fresh_ns, Some(5));
        // A stream of former cores gets nothing more: all of it is all that there is.
        let mut former = Progress { have: (1, 700), ..Progress::default() };
        former.heard((2, 0), 6);
        assert_eq!(former.fresh_ns, None);
        former.reached((1, 700));
        assert_eq!(former.fresh_ns, Some(6));
    }
}
