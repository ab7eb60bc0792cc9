//! What was heard of the servers, and seen of the table.

use frontrow_bookings::BehindCode;
use frontrow_bookings::postgres::Applied;
use frontrow_kafka::Tick;
use std::collections::VecDeque;

/// What was told so long ago, in ms, is in the table, or it is behind.
const BEHIND_MS: u64 = 3000;
/// After so long, in ms, without a look that saw something it is not ready.
pub(super) const SILENT_MS: u64 = 5000;
/// So many ticks are kept: of those that the table does not have, and of those that it has.
const KEPT: usize = 1024;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Ticks that the table does not have all of, oldest first, and when each was heard.
    wanted: VecDeque<(u64, Tick)>,
    /// Where those stand in their topic that it has all of, the last of them.
    had: VecDeque<i64>,
    /// When the newest of these was heard.
    has: Option<u64>,
    /// When any was heard last.
    heard: Option<u64>,
    /// Where their topic ended, and when that was asked.
    end: Option<(u64, i64)>,
    /// Whether the table has had everything once.
    complete: bool,
    /// When a look saw something last.
    pub(super) saw: Option<u64>,
    /// The last look saw nothing, for this.
    pub(super) blind: Option<String>,
}

impl Seen {
    /// These came, as of `now`.
    pub(super) fn hear(&mut self, now: u64, ticks: Vec<Tick>) {
        if let Some(first) = ticks.first() {
            self.forget_from(first.offset);
            self.heard = Some(now);
        }
        self.wanted.extend(ticks.into_iter().map(|tick| (now, tick)));
        // A later one says the same and more.
        let most = self.wanted.len().saturating_sub(KEPT);
        self.wanted.drain(..most);
    }

    /// The ticks' topic was asked at `asked` where it ends.
    pub(super) fn ends(&mut self, asked: u64, end: i64) {
        self.forget_from(end);
        self.end = Some((asked, end));
    }

    /// Where it ended, if that was asked for after `asked`: one of the same millisecond may have been asked for before.
    pub(super) fn end_since(&self, asked: u64) -> Option<i64> {
        self.end.filter(|(at, _)| *at > asked).map(|(_, end)| end)
    }

    /// What is heard stands behind what was heard, and before the end. Otherwise the topic was made anew, and its offsets begin
    /// again: what was heard in the old one would be taken for what comes behind the new one's end.
    fn forget_from(&mut self, place: i64) {
        let is_known = |offset: Option<&i64>| offset.is_some_and(|offset| *offset >= place);
        if is_known(self.had.back()) || is_known(self.wanted.back().map(|(_, tick)| &tick.offset)) {
            (self.had, self.wanted, self.end) = (VecDeque::new(), VecDeque::new(), None);
        }
    }

    /// Whether there is anything for the table to have.
    pub(super) fn is_wanted(&self) -> bool {
        !self.wanted.is_empty() || !self.complete
    }

    /// The table was so far after all ticks that are known.
    pub(super) fn look(&mut self, applied: &Applied) {
        self.complete = applied.complete;
        while let Some((at, tick)) = self.wanted.front().filter(|_| applied.complete)
            && applied.has(&tick.upto)
        {
            self.has = Some(*at);
            self.had.push_back(tick.offset);
            self.wanted.pop_front();
        }
        let most = self.had.len().saturating_sub(KEPT);
        self.had.drain(..most);
    }

    /// Whether the table has all that was durable when the ticks' topic ended at `end`: the first tick from there on may have been
    /// made before that was asked, the second one was not.
    pub(super) fn has_all(&self, end: i64) -> bool {
        self.had.iter().rev().take_while(|offset| **offset >= end).nth(1).is_some()
    }

    /// A look saw something, or why not.
    pub(super) fn saw(&mut self, now: u64, what: Result<(), String>) {
        match what {
            Ok(()) => (self.saw, self.blind) = (Some(now), None),
            Err(why) => {
                tracing::debug!(why, "how far the table is cannot be seen");
                self.blind = Some(why);
            }
        }
    }

    /// Whether no server was heard for `most` ms.
    pub(super) fn is_deaf(&self, now: u64, most: u64) -> bool {
        now.saturating_sub(self.heard.unwrap_or_default()) > most
    }

    /// That Kafka or PostgreSQL says nothing, for operators.
    pub(super) fn silence(&self, now: u64) -> Option<String> {
        let silent = now.saturating_sub(self.saw.unwrap_or_default());
        let why = self.blind.as_deref().unwrap_or("no answer");
        (silent > SILENT_MS).then(|| {
            format!("for {} s Kafka or PostgreSQL has not said how far the table is: {why}", silent / 1000)
        })
    }

    /// Why whoever is to answer cannot, for operators.
    pub(super) fn trouble(&self, now: u64) -> Option<String> {
        let why = match self.saw {
            None => "it has not been seen yet how far the table is",
            Some(_) => "the table is being made from the topic: nothing is answered before it has all",
        };
        self.silence(now).or_else(|| (!self.complete).then(|| why.to_owned()))
    }

    pub(super) fn behind(&self, now: u64) -> Option<BehindCode> {
        match self.has {
            Some(at) if now.saturating_sub(at) <= BEHIND_MS && self.complete => None,
            _ => Some(self.why_behind(now)),
        }
    }

    pub(super) fn why_behind(&self, now: u64) -> BehindCode {
        let is_unknown = self.blind.is_some() || self.saw.is_none();
        if is_unknown {
            BehindCode::Unknown
        } else if !self.complete {
            BehindCode::CatchingUp
        } else if self.is_deaf(now, BEHIND_MS) {
            BehindCode::Untold
        } else if self.heard.is_none() {
            BehindCode::Unknown
        } else {
            BehindCode::CatchingUp
        }
    }
}

/// A tick up to this record of partition 0, and a table that has so much.
#[cfg(test)]
pub(super) fn tick(offset: i64, lsn: u64) -> Tick {
    Tick { offset, upto: marks(lsn) }
}

#[cfg(test)]
pub(super) fn marks(lsn: u64) -> frontrow_cdc::Marks {
    [(0, frontrow_cdc::Mark { epoch: 1, lsn })].into()
}

#[cfg(test)]
pub(super) fn applied(lsns: [u64; 2]) -> Applied {
    Applied { complete: true, marks: lsns.map(marks).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BehindCode::{CatchingUp, Unknown, Untold};

    #[test]
    fn a_table_has_what_was_told_when_it_has_the_marks_of_a_tick() {
        let mut seen = Seen::default();
        assert_eq!(seen.behind(0), Some(Unknown), "nobody has looked");
        seen.saw(500, Ok(()));
        seen.hear(500, vec![tick(10, 5)]);
        seen.look(&applied([5, 4]));
        assert_eq!(seen.behind(500), Some(CatchingUp), "one partition is not all");
        seen.look(&Applied { complete: false, ..applied([5, 5]) });
        assert_eq!(seen.behind(500), Some(CatchingUp), "it is being made");
        seen.look(&applied([5, 6]));
        assert_eq!(
            (seen.behind(500), seen.behind(3500)),
            (None, None),
            "what came meanwhile is some moments old"
        );
        seen.hear(1000, vec![tick(11, 7), tick(12, 9)]);
        seen.look(&applied([7, 8]));
        assert_eq!((seen.has, seen.behind(4000)), (Some(1000), None));
        assert_eq!(seen.behind(4001), Some(Untold), "no server was heard");
        seen.hear(4001, vec![tick(13, 9)]);
        seen.look(&applied([8, 8]));
        assert_eq!(seen.behind(4001), Some(CatchingUp));
        seen.look(&applied([9, 9]));
        assert_eq!(seen.behind(4001), None);
    }

    #[test]
    fn all_that_was_durable_is_there_with_the_second_tick_behind_an_end() {
        let mut seen = Seen::default();
        seen.hear(0, (8..11).map(|offset| tick(offset, 5)).collect());
        seen.look(&applied([5, 5]));
        assert!(seen.has_all(9) && !seen.has_all(10), "made before it was asked, perhaps");
        seen.hear(1, vec![tick(11, 6)]);
        assert!(!seen.has_all(10), "the table does not have it");
        seen.look(&applied([6, 6]));
        assert!(seen.has_all(10) && !seen.has_all(11));
    }

    #[test]
    fn what_is_not_told_any_more_is_not_waited_for_for_ever() {
        let mut seen = Seen::default();
        seen.hear(0, (0..3000).map(|offset| tick(offset, 5)).collect());
        assert_eq!(seen.wanted.len(), KEPT);
        seen.look(&applied([5, 5]));
        assert!(seen.has_all(2998) && !seen.is_wanted());
        assert_eq!(seen.had.len(), KEPT);
    }

    #[test]
    fn what_was_heard_in_a_topic_that_was_made_anew_is_not_behind_its_end() {
        let of_old = || {
            let mut seen = Seen::default();
            seen.hear(0, vec![tick(900, 5), tick(901, 5)]);
            seen.look(&applied([5, 5]));
            seen.ends(1, 902);
            assert!(seen.has_all(900) && seen.end_since(0) == Some(902) && seen.end_since(1).is_none());
            seen
        };
        let mut seen = of_old();
        seen.ends(2, 3);
        assert!(!seen.has_all(3), "nothing has come behind it");
        seen.hear(3, vec![tick(3, 5), tick(4, 5)]);
        seen.look(&applied([5, 5]));
        assert!(seen.has_all(3));
        let mut seen = of_old();
        seen.hear(2, vec![tick(3, 6)]);
        assert!(!seen.has_all(3) && seen.end_since(0).is_none());
    }

    #[test]
    fn it_is_not_ready_while_nothing_is_seen_or_the_table_is_being_made() {
        let mut seen = Seen::default();
        assert!(seen.trouble(5000).is_some_and(|why| why.contains("not been seen yet")));
        assert!(seen.trouble(5001).is_some_and(|why| why.ends_with(": no answer")));
        seen.saw(5001, Ok(()));
        assert!(seen.trouble(5001).is_some_and(|why| why.contains("being made")));
        seen.look(&applied([0, 0]));
        assert_eq!(seen.trouble(5001), None);
        seen.saw(6000, Err("PostgreSQL is away".into()));
        assert_eq!(seen.trouble(10_001), None);
        let why = seen.trouble(10_002).expect("for too long");
        assert!(why.starts_with("for 5 s ") && why.ends_with(": PostgreSQL is away"), "{why}");
    }
}
