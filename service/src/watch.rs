//! Whether the table follows its topic, whoever takes the bookings over: this process, or another one of the group.
//!
//! Twice a second it is looked where the topic ends, and where the table is. Once the table is where the topic ended at an
//! earlier look, it has everything that was there then. So a list can be said to be all there is also by a service that has
//! nothing to do, and not by one that has just started, or whose group has lost a member.

use frontrow_bookings::BehindCode;
use frontrow_bookings::consume::Progress;
use frontrow_bookings::postgres::Postgres;
use frontrow_kafka::Ends;
use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(500);
/// For an answer of Kafka's.
const ANSWER: Duration = Duration::from_secs(2);
/// What the topic had so long ago, in ms, is in the table, or it is behind.
const BEHIND_MS: u64 = 5000;
/// After so long, in ms, it is looked whether there is any record between the table and the end: usually the next ones come
/// before, and the table goes past it.
const GAP_MS: u64 = 2000;

/// Time in ms, from whatever moment on.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// Offsets by Kafka's partitions.
type Places = BTreeMap<i32, i64>;

/// What is known of the table, for whoever answers.
pub(crate) struct Watch {
    consumers: Vec<Arc<Progress>>,
    seen: Mutex<Seen>,
    clock: Clock,
}

/// What the looks came to.
#[derive(Debug, Default)]
struct Seen {
    /// Where the topic ended, and when; until the table is there.
    wanted: Option<(u64, Places)>,
    /// When it had what is in the table, at the least.
    has: Option<u64>,
    /// By partitions of the topic, where the table was, and up to where there is no record from there on: behind the last record
    /// there are Kafka's own marks, which the table is never told of.
    gaps: BTreeMap<i32, (i64, i64)>,
    /// What Kafka was asked of that.
    asked: Option<Asked>,
    /// Whether the last look saw nothing.
    is_blind: bool,
}

/// Whether there are records from these places on, before these ends.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    from: Places,
    ends: Places,
}

impl Seen {
    /// The table was at `places`, and after that, at `now`, the topic ended at `ends`.
    fn look(&mut self, now: u64, places: &Places, ends: &Places) {
        let is_before = |ends: &Places, places: &Places| {
            places.iter().any(|(of, place)| ends.get(of).is_none_or(|end| end < place))
        };
        // A topic that was made anew; or a node of Kafka's that has just come back, and does not know all it has.
        let is_odd = is_before(ends, places)
            || self.wanted.as_ref().is_some_and(|(_, wanted)| is_before(ends, wanted));
        self.is_blind = is_odd;
        if is_odd {
            (self.wanted, self.asked) = (None, None);
            self.gaps.clear();
            return;
        }
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

    /// By partitions of which the table has not everything before `ends`, where it is.
    fn lacks<'a>(&'a self, places: &'a Places, ends: &'a Places) -> impl Iterator<Item = (i32, i64)> + 'a {
        ends.iter().filter_map(|(of, end)| {
            let place = places.get(of).copied().unwrap_or_default();
            let known = self.gaps.get(of).filter(|(from, _)| *from == place);
            (known.map_or(place, |(_, to)| *to) < *end).then_some((*of, place))
        })
    }

    /// Where the table is before ends that it should have reached by now, and these ends: each is asked for once.
    fn asking(&mut self, now: u64, places: &Places) -> Option<Asked> {
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
    fn told(&mut self, from: &Places, to: Places) {
        self.gaps.extend(to.into_iter().filter_map(|(of, to)| Some((of, (*from.get(&of)?, to)))));
    }

    fn behind(&self, now: u64) -> Option<BehindCode> {
        match self.has {
            Some(at) if now.saturating_sub(at) <= BEHIND_MS => None,
            _ if self.is_blind || self.wanted.is_none() => Some(BehindCode::Unknown),
            _ => Some(BehindCode::CatchingUp),
        }
    }
}

impl Watch {
    pub(crate) fn new(consumers: Vec<Arc<Progress>>, clock: Clock) -> Self {
        Self { consumers, seen: Mutex::default(), clock }
    }

    pub(crate) fn consumers(&self) -> &[Arc<Progress>] {
        &self.consumers
    }

    /// Why the table may lack what was booked lately, if it may.
    pub(crate) fn behind(&self) -> Option<BehindCode> {
        if self.consumers.iter().any(|one| one.is_over()) {
            // Of a topic that was made anew its places mean nothing.
            return Some(BehindCode::Ended);
        }
        if self.consumers.iter().any(|one| one.trouble().is_some()) {
            return Some(BehindCode::Waiting);
        }
        self.seen().behind((self.clock)())
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks Kafka whether there is anything between.
    fn ask(&self, topic: &Ends, from: &Places, ends: &Places) {
        match topic.gaps(from, ends) {
            Ok(to) => self.seen().told(from, to),
            Err(why) => {
                tracing::debug!(%why, "what the table lacks cannot be seen");
                self.seen().asked = None;
            }
        }
    }

    /// Looks once.
    fn look(&self, table: &Postgres, topic: &Ends) {
        // The table first: a topic never ends before what was taken of it.
        let places = table.places().map_err(|error| error.to_string());
        let now = (self.clock)();
        let looked = places.and_then(|places| {
            let ends = topic.look(places.keys().copied(), ANSWER).map_err(|error| error.to_string())?;
            Ok((places, ends))
        });
        match looked {
            Ok((places, ends)) if !places.is_empty() => {
                let mut seen = self.seen();
                seen.look(now, &places, &ends);
                let asked = seen.asking(now, &places);
                drop(seen);
                if let Some(Asked { from, ends }) = asked {
                    self.ask(topic, &from, &ends);
                }
            }
            Ok(_) => self.seen().is_blind = true,
            Err(why) => {
                tracing::debug!(why, "how far the table is cannot be seen");
                self.seen().is_blind = true;
            }
        }
    }
}

/// The thread that looks.
pub(crate) struct Watching {
    stop: Sender<()>,
    thread: JoinHandle<()>,
}

impl Watching {
    pub(crate) fn start(watch: Arc<Watch>, table: Arc<Postgres>, topic: Ends) -> std::io::Result<Self> {
        let (stop, stopped): (_, Receiver<()>) = channel();
        let looking = move || {
            loop {
                watch.look(&table, &topic);
                if stopped.recv_timeout(LOOK) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("bookings-watch".into()).spawn(looking)?;
        Ok(Self { stop, thread })
    }

    /// Tells it to end. PostgreSQL or Kafka may hang, so it is not waited for: it writes nothing.
    pub(crate) fn stop(self) {
        drop(self.stop);
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the thread that looks how far the table is ended with a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use BehindCode::{CatchingUp, Unknown};

    fn at<const N: usize>(places: [i64; N]) -> Places {
        (0..).zip(places).collect()
    }

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
        assert_eq!(seen.behind(6000), None);
        assert_eq!(seen.behind(6001), Some(CatchingUp), "nobody has looked for too long");
        // Nobody takes partition 1 over.
        for now in [2500, 4000, 6500] {
            seen.look(now, &at([6, 8]), &at([6, 9]));
        }
        assert_eq!(seen.behind(6500), Some(CatchingUp));
        seen.look(7500, &at([6, 9]), &at([7, 9]));
        assert_eq!(seen.behind(7500), Some(CatchingUp), "that is the end of more than five seconds ago");
        seen.look(8000, &at([7, 9]), &at([7, 9]));
        assert_eq!(seen.behind(8000), None);
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
        seen.is_blind = true;
        assert_eq!(seen.behind(5500), None);
        assert_eq!(seen.behind(5501), Some(Unknown));
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
        assert_eq!(seen.asking(3499, &at([6, 9])), None, "more may come by itself");
        let asked = seen.asking(3500, &at([6, 9])).expect("nothing came");
        // A record stands there.
        seen.told(&asked.from, at([6]));
        seen.look(7000, &at([6, 9]), &at([7, 9]));
        assert_eq!(seen.behind(7000), Some(CatchingUp));
    }

    #[test]
    fn what_keeps_a_consumer_comes_first() {
        let progress = Arc::<Progress>::default();
        let watch = Watch::new(vec![Arc::clone(&progress)], Box::new(|| 500));
        for now in [0, 500] {
            watch.seen().look(now, &at([5]), &at([5]));
        }
        assert_eq!(watch.behind(), None);
        progress.troubled(Some("Kafka is away".into()));
        assert_eq!(watch.behind(), Some(BehindCode::Waiting));
        progress.over("a later version".into());
        assert_eq!(watch.behind(), Some(BehindCode::Ended));
    }
}
