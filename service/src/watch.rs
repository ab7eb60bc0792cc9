//! Whether the table follows the servers, whoever takes the bookings over: this process, or another one of the group.
//!
//! A few times a second the server that is primary says in Kafka up to which records all has been told (`frontrow_kafka::ticks`). Once
//! the table has these records it has all that was booked before, and it is known also while nothing happens, and where nobody has
//! the topic's partitions, or no server comes through to Kafka.
//!
//! What the table had some moments ago is enough for a list that has something in it. That something is not there is said only once
//! the table has all that was durable when it was asked ([`Watch::settled`]): who has just booked is the one who asks.

mod bell;
mod seen;

use bell::Bell;
use frontrow_bookings::BehindCode;
use frontrow_bookings::consume::Progress;
use frontrow_bookings::postgres::Postgres;
use frontrow_kafka::Ticks;
use seen::{SILENT_MS, Seen};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::watch;

/// How long an answer waits for a table that has all that was booked before the question.
const SETTLED: Duration = Duration::from_secs(3);
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

    /// Waits until the table has all that was booked before it was asked to: why it may lack some of it, if it may.
    pub(crate) async fn settled(&self) -> Option<BehindCode> {
        self.settled_within(SETTLED).await
    }

    async fn settled_within(&self, most: Duration) -> Option<BehindCode> {
        let asked = (self.clock)();
        let mut looked = self.looked.subscribe();
        let has_all = async {
            let mut end = None;
            loop {
                if let Some(why) = self.hindered() {
                    return Some(why);
                }
                {
                    let seen = self.seen();
                    end = end.or(seen.end_since(asked));
                    if end.is_some_and(|end| seen.has_all(end)) {
                        return None;
                    }
                }
                self.bell.ring(|rung| (rung.look, rung.end) = (true, rung.end || end.is_none()));
                let _ = looked.changed().await;
            }
        };
        let settled = tokio::time::timeout(most, has_all).await;
        settled.unwrap_or_else(|_| Some(self.seen().why_behind((self.clock)())))
    }

    /// What keeps this process from taking bookings over or answering, for operators.
    pub(crate) fn trouble(&self) -> Option<String> {
        let own = self.consumers.iter().find_map(|progress| progress.trouble());
        own.or_else(|| self.seen().trouble((self.clock)()))
    }

    /// How many consumers something keeps from going on; one, if it is only seen that Kafka or PostgreSQL says nothing.
    pub(crate) fn waits(&self) -> usize {
        let troubled = self.consumers.iter().filter(|one| one.trouble().is_some()).count();
        troubled.max(usize::from(self.seen().silence((self.clock)()).is_some()))
    }

    /// One that has seen a table with all that was told.
    #[cfg(test)]
    pub(crate) fn of_a_whole_table(consumers: Vec<Arc<Progress>>, clock: Clock) -> Self {
        let watch = Self::new(consumers, clock);
        let now = (watch.clock)();
        watch.seen().saw(now, Ok(()));
        watch.seen().hear(now, vec![seen::tick(1, 5), seen::tick(2, 5)]);
        watch.seen().look(&seen::applied([5, 5]));
        watch
    }

    fn hindered(&self) -> Option<BehindCode> {
        if self.consumers.iter().any(|one| one.is_over()) {
            // Of a topic that was made anew what it has may mean nothing.
            return Some(BehindCode::Ended);
        }
        self.consumers.iter().any(|one| one.trouble().is_some()).then_some(BehindCode::Waiting)
    }

    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks once; also where the ticks' topic ends, if that is wanted.
    fn look(&self, table: &Postgres, ticks: &mut Ticks, wants_end: bool) {
        let what = self.listen(ticks, wants_end).and_then(|()| {
            // What a tick says was told before it was heard.
            let is_wanted = self.seen().is_wanted();
            let applied =
                is_wanted.then(|| table.applied().map_err(|error| error.to_string())).transpose()?;
            applied.inspect(|applied| self.seen().look(applied));
            Ok(())
        });
        self.seen().saw((self.clock)(), what);
        self.looked.send_replace(());
    }

    fn listen(&self, ticks: &mut Ticks, wants_end: bool) -> Result<(), String> {
        let heard = ticks.poll(Duration::ZERO).map_err(|error| error.to_string())?;
        self.seen().hear((self.clock)(), heard);
        if wants_end {
            let asked = (self.clock)();
            let end = ticks.end(ANSWER).map_err(|error| error.to_string())?;
            self.seen().ends(asked, end);
        }
        Ok(())
    }
}

/// The thread that looks.
pub(crate) struct Watching {
    watch: Arc<Watch>,
    thread: JoinHandle<()>,
}

impl Watching {
    pub(crate) fn start(watch: Arc<Watch>, table: Arc<Postgres>, mut ticks: Ticks) -> std::io::Result<Self> {
        let looks = Arc::clone(&watch);
        let looking = move || {
            let (mut wants_end, mut renewed) = (false, 0);
            loop {
                looks.look(&table, &mut ticks, wants_end);
                let now = (looks.clock)();
                if now.saturating_sub(renewed) > SILENT_MS && looks.seen().is_deaf(now, SILENT_MS) {
                    // No server says anything; or the topic was made anew, and this client has not noticed.
                    ticks.renew();
                    renewed = now;
                }
                let Some(end) = looks.bell.wait() else { return };
                wants_end = end;
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
    use super::seen::{applied, tick};
    use super::*;
    use BehindCode::CatchingUp;
    use std::sync::atomic::AtomicU64;
    use std::sync::atomic::Ordering::Relaxed;

    /// A watch whose time is what `now` says, and which has seen a table that has all, at 1000.
    fn watching(now: &Arc<AtomicU64>) -> (Watch, Arc<Progress>) {
        now.store(1000, Relaxed);
        let (progress, time) = (Arc::<Progress>::default(), Arc::clone(now));
        let clock = Box::new(move || time.load(Relaxed));
        let watch = Watch::of_a_whole_table(vec![Arc::clone(&progress)], clock);
        assert_eq!(watch.behind(), None);
        (watch, progress)
    }

    #[test]
    fn what_keeps_a_consumer_comes_first() {
        let (watch, progress) = watching(&Arc::default());
        progress.troubled(Some("Kafka is away".into()));
        assert_eq!(watch.behind(), Some(BehindCode::Waiting));
        assert_eq!(watch.trouble().as_deref(), Some("Kafka is away"));
        progress.over("a later version".into());
        assert_eq!(watch.behind(), Some(BehindCode::Ended));
    }

    #[tokio::test]
    async fn that_nothing_is_there_is_said_once_all_is_that_was_booked_before_the_question() {
        let now = Arc::<AtomicU64>::default();
        let (watch, progress) = watching(&now);
        // Nobody looks, or the end was asked for before.
        watch.seen().ends(1000, 3);
        assert_eq!(watch.settled_within(Duration::ZERO).await, Some(CatchingUp));
        let looked = async {
            let step = async |act: &dyn Fn(&mut Seen)| {
                tokio::task::yield_now().await;
                act(&mut watch.seen());
                watch.looked.send_replace(());
            };
            tokio::task::yield_now().await;
            assert!(watch.bell.rung.lock().unwrap().end, "it asks for the end");
            step(&|seen| seen.ends(1001, 3)).await;
            step(&|seen| seen.hear(1002, vec![tick(3, 6)])).await;
            step(&|seen| seen.look(&applied([6, 6]))).await;
            step(&|seen| seen.hear(1003, vec![tick(4, 7)])).await;
            step(&|seen| seen.look(&applied([7, 6]))).await;
            step(&|seen| seen.ends(1004, 9)).await;
            step(&|seen| seen.look(&applied([7, 7]))).await;
        };
        let settled = async {
            let settled = watch.settled().await;
            (settled, watch.seen().has_all(3))
        };
        let (settled, ()) = tokio::join!(settled, looked);
        assert_eq!(settled, (None, true));
        // What keeps it from being so is said at once.
        progress.troubled(Some("Kafka is away".into()));
        assert_eq!(watch.settled().await, Some(BehindCode::Waiting));
    }
}
