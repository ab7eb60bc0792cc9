//! What the looks at topic and table came to.

use frontrow_bookings::BehindCode;
use std::collections::BTreeMap;

/// What the topic had so long ago, in ms, is in the table, or it is behind.
const BEHIND_MS: u64 = 2000;
/// After so long, in ms, it is looked whether there is any record between the table and the end: usually the next ones come
/// before, and the table goes past it.
const GAP_MS: u64 = 1000;
/// After so long, in ms, without a look that saw something it is not ready.
pub(super) const SILENT_MS: u64 = 5000;
/// Once something is seen again, in ms: the servers, too, need a moment to tell what was booked meanwhile.
const AGAIN_MS: u64 = 3000;

/// Offsets by Kafka's partitions.
pub(super) type Places = BTreeMap<i32, i64>;

/// What the looks came to.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Where the topic ended, and when; until the table is there.
    wanted: Option<(u64, Places)>,
    /// When it had what is in the table, at the least.
    pub(super) has: Option<u64>,
    /// By partitions of the topic, where the table was, and up to where there is no record from there on: behind the last record
    /// there are Kafka's own marks, which the table is never told of.
    gaps: BTreeMap<i32, (i64, i64)>,
    /// What Kafka was asked of that.
    asked: Option<Asked>,
    /// When a look saw something last.
    pub(super) saw: Option<u64>,
    /// The last look saw nothing, for this.
    pub(super) blind: Option<String>,
    /// Until when what is booked may not have been told: nothing was seen for a while.
    untold_until: u64,
}

/// Whether there are records from these places on, before these ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asked {
    pub(super) from: Places,
    pub(super) ends: Places,
}

impl Seen {
    /// The table was at `places`, and after that, at `now`, the topic ended at `ends`.
    pub(super) fn look(&mut self, now: u64, places: &Places, ends: &Places) {
        let is_before = |ends: &Places, places: &Places| {
            places.iter().any(|(of, place)| ends.get(of).is_none_or(|end| end < place))
        };
        // A topic that was made anew; or a node of Kafka's that has just come back, and does not know all it has.
        let is_odd = is_before(ends, places)
            || self.wanted.as_ref().is_some_and(|(_, wanted)| is_before(ends, wanted));
        if is_odd {
            self.sees_nothing("the topic ends before what the table has of it".into());
            (self.wanted, self.asked) = (None, None);
            self.gaps.clear();
            return;
        }
        if self.blind.take().is_some() && self.is_silent(now, BEHIND_MS) {
            self.untold_until = now + AGAIN_MS;
        }
        self.saw = Some(now);
        // Then the end that is seen now as well, where nothing comes.
        for _ in 0..2 {
            let (at, wanted) = self.wanted.take().unwrap_or_else(|| (now, ends.clone()));
            if self.lacks(places, &wanted).next().is_some() {
                self.wanted = Some((at, wanted));
                return;
            }
            self.has = Some(at);
        }
    }

    pub(super) fn sees_nothing(&mut self, why: String) {
        self.blind = Some(why);
    }

    /// Whether nothing has been seen for so long; since the start, where nothing ever was.
    pub(super) fn is_silent(&self, now: u64, most: u64) -> bool {
        now.saturating_sub(self.saw.unwrap_or_default()) > most
    }

    /// By partitions of which the table has not everything before `ends`, where it is.
    pub(super) fn lacks<'a>(
        &'a self,
        places: &'a Places,
        ends: &'a Places,
    ) -> impl Iterator<Item = (i32, i64)> + 'a {
        ends.iter().filter_map(|(of, end)| {
            let place = places.get(of).copied().unwrap_or_default();
            let known = self.gaps.get(of).filter(|(from, _)| *from == place);
            (known.map_or(place, |(_, to)| *to) < *end).then_some((*of, place))
        })
    }

    /// Where the table is before ends that it should have reached by now, and these ends: each is asked for once.
    pub(super) fn asking(&mut self, now: u64, places: &Places) -> Option<Asked> {
        let (at, wanted) = self.wanted.as_ref()?;
        if self.has.is_some() && now.saturating_sub(*at) < GAP_MS {
            return None;
        }
        let asked = Asked { from: self.lacks(places, wanted).collect(), ends: wanted.clone() };
        if self.asked.as_ref() == Some(&asked) {
            return None;
        }
        self.asked = Some(asked.clone());
        Some(asked)
    }

    /// From where the table was, so far there is no record.
    pub(super) fn told(&mut self, from: &Places, to: Places) {
        self.gaps.extend(to.into_iter().filter_map(|(of, to)| Some((of, (*from.get(&of)?, to)))));
    }

    /// There was no answer: it is asked again.
    pub(super) fn unanswered(&mut self) {
        self.asked = None;
    }

    pub(super) fn behind(&self, now: u64) -> Option<BehindCode> {
        match self.has {
            Some(at) if now.saturating_sub(at) <= BEHIND_MS && now >= self.untold_until => None,
            _ => Some(self.why_behind()),
        }
    }

    pub(super) fn why_behind(&self) -> BehindCode {
        let is_unknown = self.blind.is_some() || self.has.is_none() && self.wanted.is_none();
        if is_unknown { BehindCode::Unknown } else { BehindCode::CatchingUp }
    }
}

#[cfg(test)]
pub(super) fn at<const N: usize>(places: [i64; N]) -> Places {
    (0..).zip(places).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use BehindCode::{CatchingUp, Unknown};

    #[test]
    fn a_table_has_what_the_topic_had_when_it_was_last_caught_up() {
        let mut seen = Seen::default();
        assert_eq!(seen.behind(0), Some(Unknown), "nobody has looked");
        seen.look(1000, &at([0, 0]), &at([5, 7]));
        assert_eq!(seen.behind(1000), Some(CatchingUp), "the end that is seen at the start is not there yet");
        seen.look(1500, &at([5, 6]), &at([5, 9]));
        assert_eq!(seen.behind(1500), Some(CatchingUp), "one partition is not all");
        seen.look(2000, &at([5, 7]), &at([6, 9]));
        assert_eq!(seen.behind(2000), None, "what came meanwhile is some moments old");
        assert_eq!(seen.behind(3000), None);
        assert_eq!(seen.behind(3001), Some(CatchingUp), "nobody has looked for too long");
        // Nobody takes partition 1 over.
        for now in [2500, 3000, 3500] {
            seen.look(now, &at([6, 8]), &at([6, 9]));
        }
        assert_eq!(seen.behind(3500), Some(CatchingUp));
        seen.look(4500, &at([6, 9]), &at([7, 9]));
        assert_eq!(seen.behind(4500), Some(CatchingUp), "that is the end of more than two seconds ago");
        seen.look(5000, &at([7, 9]), &at([7, 9]));
        assert_eq!(seen.behind(5000), None);
    }

    #[test]
    fn an_end_before_what_the_table_has_is_none() {
        let mut seen = Seen::default();
        seen.look(0, &at([5]), &at([5]));
        seen.look(500, &at([5]), &at([5]));
        assert_eq!(seen.behind(500), None);
        for now in [1000, 6000] {
            seen.look(now, &at([5]), &at([0]));
        }
        assert_eq!(seen.behind(6000), Some(Unknown), "made anew, it says nothing of this table");
        // And what was wanted of the one before is not waited for for ever.
        let mut seen = Seen::default();
        seen.look(0, &at([0]), &at([9]));
        seen.look(500, &at([0]), &at([2]));
        seen.look(1000, &at([2]), &at([2]));
        seen.look(1500, &at([2]), &at([2]));
        assert_eq!(seen.behind(1500), None);
    }

    #[test]
    fn a_look_that_sees_nothing_leaves_what_is_known_for_a_while() {
        let mut seen = Seen::default();
        seen.look(0, &at([5]), &at([5]));
        seen.look(500, &at([5]), &at([5]));
        seen.sees_nothing("away".into());
        assert_eq!(seen.behind(2500), None);
        assert_eq!(seen.behind(2501), Some(Unknown));
        // What was booked meanwhile is told only once Kafka is there.
        seen.look(4000, &at([5]), &at([5]));
        assert_eq!(seen.behind(4000), Some(CatchingUp));
        for now in [5000, 6000, 7000] {
            seen.look(now, &at([5]), &at([5]));
        }
        assert_eq!((seen.behind(6999), seen.behind(7000)), (Some(CatchingUp), None));
    }

    #[test]
    fn one_look_that_sees_nothing_makes_nothing_of_it() {
        let mut seen = Seen::default();
        seen.look(0, &at([5]), &at([5]));
        seen.sees_nothing("slow".into());
        seen.look(1000, &at([5]), &at([5]));
        assert_eq!(seen.behind(1000), None);
    }

    #[test]
    fn what_no_reader_is_given_is_not_waited_for() {
        let mut seen = Seen::default();
        seen.look(0, &at([4, 9]), &at([5, 9]));
        assert_eq!(seen.behind(0), Some(CatchingUp));
        let asked = seen.asking(0, &at([4, 9])).expect("at the start at once");
        assert_eq!((&asked.from, &asked.ends), (&at([4]), &at([5, 9])));
        assert_eq!(seen.asking(500, &at([4, 9])), None, "it was asked");
        seen.told(&asked.from, at([5]));
        seen.look(1000, &at([4, 9]), &at([5, 9]));
        assert_eq!(seen.behind(1000), None);
        // The table went on, and there are marks once more.
        seen.look(1500, &at([6, 9]), &at([7, 9]));
        assert_eq!(seen.asking(2499, &at([6, 9])), None, "more may come by itself");
        let asked = seen.asking(2500, &at([6, 9])).expect("nothing came");
        // A record stands there.
        seen.told(&asked.from, at([6]));
        seen.look(7000, &at([6, 9]), &at([7, 9]));
        assert_eq!(seen.behind(7000), Some(CatchingUp));
    }
}
