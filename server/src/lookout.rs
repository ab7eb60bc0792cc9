//! Looks at files that may never be read to their end: a disk of the network that is gone has whoever reads from it wait for good.
//!
//! A thread of its own looks, now and then and when somebody asks. What it saw last, and since when it waits, is in [`Sight`]:
//! whoever only wants to know reads that. Nobody waits for the thread at the end, either.

use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often is looked if nobody asks.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Within this time one look serves all who ask; so long whoever only wants to know waits for a fresh one.
const GLANCE: Duration = Duration::from_millis(250);
/// So long whoever decides something waits for a read that does not return.
const PATIENCE: Duration = Duration::from_secs(5);
/// A read that has not returned for so long is what is wrong.
const OVERDUE: Duration = Duration::from_secs(10);

/// The time, in monotonic nanoseconds: injected, so that tests say how much has passed.
pub(crate) type Now = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What was seen last, and since when is waited for more. Its lock is held by nobody who reads a file.
#[derive(Debug, Default)]
pub(crate) struct Sight {
    folder: PathBuf,
    seen: Mutex<Seen>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    /// Looks that have begun, that have ended, and that are asked for, by number.
    begun: u64,
    ended: u64,
    wanted: u64,
    /// When the look under way began.
    since_ns: Option<u64>,
    /// When something was last read in it.
    came_on_ns: u64,
    /// When the last one that has ended began.
    looked_ns: Option<u64>,
    why: Option<String>,
    /// That a read does not return is in the log.
    is_told: bool,
    /// No more looks.
    is_over: bool,
}

impl Seen {
    /// For how long nothing has been read, if something is to be.
    fn waits_ns(&self, now_ns: u64) -> Option<u64> {
        self.since_ns.map(|since_ns| now_ns.saturating_sub(since_ns.max(self.came_on_ns)))
    }

    fn has_waited(&self, now_ns: u64, time: Duration) -> bool {
        self.waits_ns(now_ns).is_some_and(|ns| u128::from(ns) >= time.as_nanos())
    }
}

impl Sight {
    /// Of the files in this folder; nothing has been looked at.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder, ..Self::default() }
    }

    /// What is wrong: a read that does not return, else what was seen last.
    pub(crate) fn why(&self, now_ns: u64) -> Option<String> {
        self.overdue(now_ns).or_else(|| self.lock().why.clone())
    }

    /// That a read does not return, once it has not for long.
    pub(crate) fn overdue(&self, now_ns: u64) -> Option<String> {
        let mut seen = self.lock();
        if !seen.has_waited(now_ns, OVERDUE) {
            return None;
        }
        let why = self.unread(&seen, now_ns);
        if !std::mem::replace(&mut seen.is_told, true) {
            tracing::error!(%why, "whether the events' files are good is not known");
        }
        Some(why)
    }

    /// How old what was seen is; nothing before the first look has ended.
    pub(crate) fn age_ms(&self, now_ns: u64) -> Option<u64> {
        self.lock().looked_ns.map(|looked_ns| now_ns.saturating_sub(looked_ns) / 1_000_000)
    }

    /// A file was read: however long all of them take, the disk answers.
    pub(crate) fn comes_on(&self, now_ns: u64) {
        self.lock().came_on_ns = now_ns;
    }

    /// Whether what is found is not to be acted on any more: another one may have the files by now.
    pub(crate) fn is_over(&self) -> bool {
        self.lock().is_over
    }

    /// A look begins.
    pub(crate) fn begin(&self, now_ns: u64) {
        let mut seen = self.lock();
        seen.begun += 1;
        seen.since_ns = Some(now_ns);
    }

    /// It has ended; what was wrong.
    pub(crate) fn end(&self, why: Option<String>) {
        let mut seen = self.lock();
        if std::mem::take(&mut seen.is_told) {
            tracing::warn!("the events' files can be read again");
        }
        seen.looked_ns = seen.since_ns.take();
        seen.ended = seen.begun;
        seen.why = why;
        drop(seen);
        self.moved.notify_all();
    }

    fn unread(&self, seen: &Seen, now_ns: u64) -> String {
        let s = seen.waits_ns(now_ns).unwrap_or(0) / 1_000_000_000;
        format!("reading {} has not returned for {s} s: look at the disk", self.folder.display())
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

type Look = Box<dyn FnMut() -> Option<String> + Send>;

/// See the module. The thread begins when somebody asks for the first time.
pub(crate) struct Lookout {
    sight: Arc<Sight>,
    now: Now,
    /// The thread's, once there is one.
    look: Arc<Mutex<Look>>,
    has_thread: Mutex<bool>,
    every: Duration,
}

impl Lookout {
    /// `look` says what is wrong, and may take any time.
    pub(crate) fn new(
        sight: Arc<Sight>,
        now: Now,
        look: impl FnMut() -> Option<String> + Send + 'static,
    ) -> Self {
        let look: Arc<Mutex<Look>> = Arc::new(Mutex::new(Box::new(look)));
        Self { sight, now, look, has_thread: Mutex::new(false), every: LOOK_EVERY }
    }

    /// Is looked at once, and from now on by itself.
    pub(crate) fn begin(&self) {
        self.spawn();
        let mut seen = self.sight.lock();
        seen.wanted = seen.wanted.max(seen.begun + 1);
        drop(seen);
        self.sight.moved.notify_all();
    }

    fn spawn(&self) {
        let mut has_thread = self.has_thread.lock().unwrap_or_else(PoisonError::into_inner);
        if *has_thread {
            return;
        }
        let (sight, now, look) = (Arc::clone(&self.sight), Arc::clone(&self.now), Arc::clone(&self.look));
        let thread = std::thread::Builder::new().name("frontrow-lookout".into());
        let every = self.every;
        match thread.spawn(move || run(&sight, &now, &look, every)) {
            Ok(_) => *has_thread = true,
            Err(error) => {
                self.sight.begin((self.now)());
                self.sight
                    .end(Some(format!("no thread can be started to look at the events' files: {error}")));
            }
        }
    }

    /// What is wrong, for who may ask as often as they like: as it was a moment ago, or, if that is not known soon, as it was seen
    /// last.
    pub(crate) fn glance(&self) -> Option<String> {
        self.spawn();
        let now_ns = (self.now)();
        let of_late_ns = now_ns.saturating_sub(GLANCE.as_nanos() as u64);
        let mut seen = self.sight.lock();
        let is_late = |at_ns: Option<u64>| at_ns.is_some_and(|at_ns| at_ns > of_late_ns);
        if !is_late(seen.looked_ns) {
            let wanted = if is_late(seen.since_ns) { seen.begun } else { seen.begun + 1 };
            seen = self.wait(seen, wanted, (GLANCE, 1));
        }
        drop(seen);
        self.sight.why((self.now)())
    }

    /// What is wrong by a look from now on, for who decides something; that it cannot be read is wrong, too.
    pub(crate) fn look(&self) -> Option<String> {
        self.spawn();
        let mut seen = self.sight.lock();
        let wanted = seen.begun + 1;
        seen = self.wait(seen, wanted, (PATIENCE, 2));
        if seen.ended >= wanted || seen.is_over {
            return seen.why.clone();
        }
        let now_ns = (self.now)();
        if seen.has_waited(now_ns, PATIENCE) {
            return Some(self.sight.unread(&seen, now_ns));
        }
        Some(format!("{} is still being read: ask again", self.sight.folder.display()))
    }

    /// No more looks, and nobody waits for one any more. One under way may end, but is not waited for beyond a moment.
    pub(crate) fn end(&self) {
        let mut seen = self.sight.lock();
        seen.is_over = true;
        self.sight.moved.notify_all();
        let under_way = |seen: &mut Seen| seen.since_ns.is_some();
        let _ = self.sight.moved.wait_timeout_while(seen, GLANCE, under_way);
    }

    /// Asks for the look of this number, and waits until it has ended, or a read has not returned for `patience`; so many times
    /// that in all.
    fn wait<'a>(
        &'a self,
        mut seen: MutexGuard<'a, Seen>,
        wanted: u64,
        (patience, times): (Duration, u32),
    ) -> MutexGuard<'a, Seen> {
        seen.wanted = seen.wanted.max(wanted);
        self.sight.moved.notify_all();
        let waits = |seen: &mut Seen| {
            seen.ended < wanted && !seen.is_over && !seen.has_waited((self.now)(), patience)
        };
        // Nobody says that a look hangs.
        for _ in 0..times {
            seen = self
                .sight
                .moved
                .wait_timeout_while(seen, patience, waits)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
            if !waits(&mut seen) {
                break;
            }
        }
        seen
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.sight.lock().is_over = true;
        self.sight.moved.notify_all();
    }
}

fn run(sight: &Sight, now: &Now, look: &Mutex<Look>, every: Duration) {
    // Nobody else takes it.
    let mut look = look.lock().unwrap_or_else(PoisonError::into_inner);
    loop {
        let rests = |seen: &mut Seen| !seen.is_over && seen.wanted <= seen.begun;
        let seen = sight.moved.wait_timeout_while(sight.lock(), every, rests);
        let (seen, _) = seen.unwrap_or_else(PoisonError::into_inner);
        if seen.is_over {
            return;
        }
        drop(seen);
        sight.begin(now());
        let why = look();
        sight.end(why);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    use std::sync::mpsc::{Receiver, Sender, channel};

    const S: u64 = 1_000_000_000;

    /// A disk that answers when the test says so, and a clock that stands still between.
    struct House {
        lookout: Lookout,
        now_ns: Arc<AtomicU64>,
        answer: Sender<Option<&'static str>>,
        /// Something is said whenever a read begins, and the sender is gone with the thread.
        asked: Receiver<()>,
    }

    fn house() -> House {
        let now_ns = Arc::new(AtomicU64::new(100 * S));
        let (answer, answers) = channel::<Option<&str>>();
        let (ask, asked) = channel();
        let of = Arc::clone(&now_ns);
        let sight = Arc::new(Sight::new("data/events".into()));
        let now: Now = Arc::new(move || of.load(SeqCst));
        let mut lookout = Lookout::new(sight, now, move || {
            let _ = ask.send(());
            answers.recv().unwrap_or_default().map(str::to_owned)
        });
        lookout.every = Duration::from_secs(3600);
        House { lookout, now_ns, answer, asked }
    }

    impl House {
        fn pass(&self, ns: u64) -> u64 {
            self.now_ns.fetch_add(ns, SeqCst) + ns
        }

        /// A look to its end.
        fn sees(&self, what: Option<&'static str>) {
            self.answer.send(what).unwrap();
            assert_eq!(self.lookout.look().as_deref(), what);
            self.asked.recv().unwrap();
        }

        /// A look that does not end.
        fn hangs(&self) {
            self.lookout.begin();
            self.asked.recv().unwrap();
        }
    }

    #[test]
    fn while_a_read_does_not_return_whoever_asks_is_told_what_was_seen_last_and_then_that() {
        let house = house();
        let sight = Arc::clone(&house.lookout.sight);
        assert_eq!((sight.why(100 * S), sight.age_ms(100 * S)), (None, None), "nobody has looked");
        house.sees(Some("1.json is damaged"));
        let mut now_ns = house.pass(S);
        assert_eq!(house.lookout.glance().as_deref(), Some("1.json is damaged"), "it is not known soon");
        house.asked.recv().unwrap();
        assert_eq!(sight.age_ms(now_ns), Some(1000));
        now_ns = house.pass(10 * S - 1);
        assert_eq!(
            (house.lookout.glance().as_deref(), sight.overdue(now_ns)),
            (Some("1.json is damaged"), None)
        );
        now_ns = house.pass(1);
        let why = "reading data/events has not returned for 10 s: look at the disk";
        assert_eq!((house.lookout.glance(), sight.overdue(now_ns)), (Some(why.into()), Some(why.into())));
        assert_eq!((sight.why(now_ns).as_deref(), sight.age_ms(now_ns)), (Some(why), Some(11_000)));
        now_ns = house.pass(1);
        drop(house.answer);
        // The one that was asked for meanwhile.
        house.asked.recv().unwrap();
        assert_eq!(house.lookout.look(), None, "it returns");
        assert_eq!((sight.why(now_ns), sight.overdue(now_ns), sight.age_ms(now_ns)), (None, None, Some(0)));
    }

    #[test]
    fn whoever_decides_is_told_that_it_cannot_be_read() {
        let house = house();
        house.sees(None);
        house.hangs();
        house.pass(5 * S);
        let why = "reading data/events has not returned for 5 s: look at the disk";
        assert_eq!(house.lookout.look().as_deref(), Some(why));
        assert_eq!(
            house.lookout.sight.why(house.pass(0)),
            None,
            "whoever only wants to know is not told so soon"
        );
        drop(house.answer);
        // The one that was asked for meanwhile.
        house.asked.recv().unwrap();
        assert_eq!(house.lookout.look(), None);
    }

    #[test]
    fn a_look_at_many_files_is_not_called_one_that_hangs() {
        let house = house();
        house.hangs();
        let sight = &house.lookout.sight;
        for _ in 0..3 {
            assert_eq!(sight.overdue(house.pass(9 * S)), None);
            sight.comes_on(house.pass(0));
        }
        assert!(sight.overdue(house.pass(10 * S)).is_some());
    }

    #[test]
    fn one_look_serves_all_who_ask_within_a_moment() {
        let house = house();
        house.answer.send(Some("bad")).unwrap();
        for _ in 0..3 {
            assert_eq!(house.lookout.glance().as_deref(), Some("bad"));
            house.pass(S / 10);
        }
        assert_eq!(house.asked.try_iter().count(), 1);
        house.answer.send(None).unwrap();
        assert_eq!(house.lookout.glance(), None);
    }

    #[test]
    fn nobody_waits_for_a_read_at_the_end_and_nothing_more_is_looked_at() {
        let house = house();
        house.hangs();
        house.lookout.end();
        assert!(house.lookout.sight.is_over());
        assert_eq!(house.lookout.look(), None, "nobody waits any more");
        drop((house.answer, house.lookout));
        assert!(house.asked.recv().is_err(), "the thread has ended");
    }

    #[test]
    fn a_lookout_that_is_let_go_of_ends_its_thread_once_the_read_returns() {
        let House { lookout, answer, asked, .. } = house();
        lookout.begin();
        asked.recv().unwrap();
        drop(lookout);
        answer.send(None).unwrap();
        assert!(asked.recv().is_err());
    }
}
