//! Whether the table follows its topic, whoever takes the bookings over: this process, or another one of the group.
//!
//! Twice a second it is looked where the topic ends, and where the table is. Once the table is where the topic ended at an
//! earlier look, it has everything that was there then. So a list can be said to be all there is also by a service that has
//! nothing to do, and not by one that has just started, or whose group has lost a member.
//!
//! What the table had some moments ago is enough for a list that has something in it. That something is not there is said only
//! after a look that began after the question ([`Watch::settled`]): who has just booked is the one who asks.

mod bell;
mod seen;

use bell::Bell;
use frontrow_bookings::BehindCode;
use frontrow_bookings::consume::Progress;
use frontrow_bookings::postgres::Postgres;
use frontrow_kafka::Ends;
use seen::{Asked, Places, SILENT_MS, Seen};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How long an answer waits for a table that has all that was booked before the question.
const SETTLED: Duration = Duration::from_secs(2);
/// Within so long, in ms, servers have usually told what was booked: a look has to begin so much after the question.
const TOLD_MS: u64 = 300;
/// For an answer of Kafka's.
const ANSWER: Duration = Duration::from_secs(2);

/// Time in ms, from whatever moment on.
pub(crate) type Clock = Box<dyn Fn() -> u64 + Send + Sync>;

/// What is known of the table, for whoever answers.
pub(crate) struct Watch {
    consumers: Vec<Arc<Progress>>,
    seen: Mutex<Seen>,
    clock: Clock,
    /// Says that there was a look.
    looked: watch::Sender<()>,
    bell: Bell,
}

impl Watch {
    pub(crate) fn new(consumers: Vec<Arc<Progress>>, clock: Clock) -> Self {
        let looked = watch::Sender::default();
        Self { consumers, seen: Mutex::default(), clock, looked, bell: Bell::default() }
    }

    pub(crate) fn consumers(&self) -> &[Arc<Progress>] {
        &self.consumers
    }

    /// Why the table may lack what was booked lately, if it may.
    pub(crate) fn behind(&self) -> Option<BehindCode> {
        self.hindered().or_else(|| self.seen().behind((self.clock)()))
    }

    /// Waits until the table has all that the topic had a moment after the question: why it may lack some of it, if it may.
    pub(crate) async fn settled(&self) -> Option<BehindCode> {
        self.settled_within(SETTLED).await
    }

    async fn settled_within(&self, most: Duration) -> Option<BehindCode> {
        let asked = (self.clock)() + TOLD_MS;
        let mut looked = self.looked.subscribe();
        let has_all = async {
            loop {
                let hindered = self.hindered();
                // A look of the same millisecond may have begun before.
                if hindered.is_some() || self.seen().has.is_some_and(|at| at > asked) {
                    return hindered;
                }
                self.bell.ring(|rung| rung.look = true);
                let _ = looked.changed().await;
            }
        };
        match tokio::time::timeout(most, has_all).await {
            Ok(None) => self.seen().behind((self.clock)()),
            Ok(hindered) => hindered,
            Err(_) => Some(self.seen().why_behind()),
        }
    }

    /// What keeps this process from taking bookings over, for operators.
    pub(crate) fn trouble(&self) -> Option<String> {
        let own = self.consumers.iter().find_map(|progress| progress.trouble());
        own.or_else(|| {
            let (now, seen) = ((self.clock)(), self.seen());
            seen.is_silent(now, SILENT_MS).then(|| {
                let seconds = now.saturating_sub(seen.saw.unwrap_or_default()) / 1000;
                let why = seen.blind.as_deref().unwrap_or("no answer");
                format!("for {seconds} s Kafka or PostgreSQL has not said how far the table is: {why}")
            })
        })
    }

    fn hindered(&self) -> Option<BehindCode> {
        if self.consumers.iter().any(|one| one.is_over()) {
            // Of a topic that was made anew its places mean nothing.
            return Some(BehindCode::Ended);
        }
        self.consumers.iter().any(|one| one.trouble().is_some()).then_some(BehindCode::Waiting)
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
                self.seen().unanswered();
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
            Ok(_) => self.seen().sees_nothing("there is no table yet".into()),
            Err(why) => {
                tracing::debug!(why, "how far the table is cannot be seen");
                self.seen().sees_nothing(why);
            }
        }
        self.looked.send_replace(());
    }
}

/// The thread that looks.
pub(crate) struct Watching {
    watch: Arc<Watch>,
    thread: JoinHandle<()>,
}

impl Watching {
    pub(crate) fn start(watch: Arc<Watch>, table: Arc<Postgres>, topic: Ends) -> std::io::Result<Self> {
        let looks = Arc::clone(&watch);
        let looking = move || {
            looks.look(&table, &topic);
            while looks.bell.wait() {
                looks.look(&table, &topic);
            }
        };
        let thread = std::thread::Builder::new().name("bookings-watch".into()).spawn(looking)?;
        Ok(Self { watch, thread })
    }

    /// Tells it to end. PostgreSQL or Kafka may hang, so it is not waited for: it writes nothing.
    pub(crate) fn stop(self) {
        self.watch.bell.ring(|rung| rung.stop = true);
        if self.thread.is_finished() && self.thread.join().is_err() {
            tracing::error!("the thread that looks how far the table is ended with a panic");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::seen::at;
    use super::*;
    use BehindCode::CatchingUp;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

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

    /// A watch whose time is what `now` says, and which has seen a table that has all, at 1000.
    fn watching(now: &Arc<AtomicU64>) -> (Watch, Arc<Progress>) {
        let (progress, time) = (Arc::<Progress>::default(), Arc::clone(now));
        let watch = Watch::new(vec![Arc::clone(&progress)], Box::new(move || time.load(Relaxed)));
        watch.seen().look(1000, &at([5]), &at([5]));
        now.store(1000, Relaxed);
        assert_eq!(watch.behind(), None);
        (watch, progress)
    }

    #[tokio::test]
    async fn that_nothing_is_there_is_said_after_a_look_that_began_after_the_question() {
        let now = Arc::<AtomicU64>::default();
        let (watch, progress) = watching(&now);
        // Nobody looks, or what is looked at was there before the question.
        assert_eq!(watch.settled_within(Duration::ZERO).await, Some(CatchingUp));
        let looked = async {
            tokio::task::yield_now().await;
            assert!(watch.bell.rung.lock().unwrap().look, "it asks for a look");
            watch.seen().look(1000, &at([5]), &at([5]));
            watch.looked.send_replace(());
            tokio::task::yield_now().await;
            watch.seen().look(1000 + TOLD_MS, &at([5]), &at([5]));
            watch.looked.send_replace(());
            tokio::task::yield_now().await;
            now.store(1001 + TOLD_MS, Relaxed);
            watch.seen().look(1001 + TOLD_MS, &at([5]), &at([6]));
            watch.looked.send_replace(());
            tokio::task::yield_now().await;
            watch.seen().look(1002 + TOLD_MS, &at([6]), &at([6]));
            watch.looked.send_replace(());
        };
        let settled = async {
            let settled = watch.settled().await;
            (settled, watch.seen().has)
        };
        let ((settled, has), ()) = tokio::join!(settled, looked);
        assert_eq!((settled, has), (None, Some(1002 + TOLD_MS)));
        // What keeps it from being so is said at once.
        progress.troubled(Some("Kafka is away".into()));
        assert_eq!(watch.settled().await, Some(BehindCode::Waiting));
    }

    #[test]
    fn it_is_not_ready_while_nothing_is_seen() {
        let now = Arc::<AtomicU64>::default();
        let (watch, progress) = watching(&now);
        watch.seen().sees_nothing("PostgreSQL is away".into());
        now.store(6000, Relaxed);
        assert_eq!(watch.trouble(), None);
        now.store(6500, Relaxed);
        let trouble = watch.trouble().expect("for too long");
        assert!(trouble.starts_with("for 5 s ") && trouble.ends_with(": PostgreSQL is away"), "{trouble}");
        progress.troubled(Some("Kafka is away".into()));
        assert_eq!(watch.trouble().as_deref(), Some("Kafka is away"), "who meets it knows more");
    }
}
