//! The primary's side as a whole: who follows which stream, what answers wait for, and what is recorded of it.

mod files;
mod standing;

use super::closed::Closed;
use super::fitness::Fitness;
use super::link::Link;
use crate::cluster::{Fence, Seen};
use files::Files;
use frontrow_engine::Clock;
use frontrow_wal::stream::{CONTROL, Hello};
use frontrow_wal::{Agreed, DataDir, Floor, History, NodeId, Position, WalError};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub use standing::{StandbyStatus, Unacknowledged};

/// What a primary knows of its standby.
pub struct Hub {
    pub(super) dir: DataDir,
    /// Where the catalogue's files are.
    pub(super) events: PathBuf,
    links: Vec<Arc<Link>>,
    streams: u16,
    /// Whether the configuration wants answers to wait for a standby.
    policy: bool,
    /// Whether they do: the policy, unless an operator has decided otherwise.
    waits: AtomicBool,
    /// By core, since when it has waited for the standby, in monotonic nanoseconds; 0 if it does not.
    stuck_ns: Vec<AtomicU64>,
    busy_after: Duration,
    check_every: Duration,
    state: Mutex<State>,
    /// The versions of the catalogue's files: what there is, and what the standby has.
    files: Mutex<Files>,
    files_moved: Condvar,
    /// The server's time, once its cores run: the standby goes on from it.
    clock: OnceLock<Box<dyn Fn() -> u64 + Send + Sync>>,
    /// Another node has a newer epoch.
    superseded: Box<dyn Fn(u32) + Send + Sync>,
    /// The standby has acknowledged records that are missing here.
    lacking: Box<dyn Fn(&str) + Send + Sync>,
    /// Until when answers may leave.
    fence: Arc<Fence>,
    /// With a cluster, who decides when answers wait: told that there is something to look at.
    look: Option<Box<dyn Fn() + Send + Sync>>,
}

struct State {
    /// By core, what must be at the standby before it is in sync: what left, or may have, before answers waited.
    marks: Vec<Position>,
    history: History,
    followers: BTreeMap<u16, Follower>,
    /// Set when the last of the streams has caught up, until one is lost.
    whole: bool,
    /// The only standby whose word counts: it may be on record as in sync, and take over by itself. What another one
    /// has would not be there then.
    trusted: Option<NodeId>,
    /// What a standby was seeded with: it does not count before its log has come that far.
    floor: Floor,
    /// What both nodes have had.
    closed: Closed,
}

/// Ends a connection, from any thread; of one that is over already it does nothing.
pub(super) type HangUp = Box<dyn Fn() + Send>;

/// The connection of one stream.
struct Follower {
    node: NodeId,
    /// None once it is over.
    hang_up: Option<HangUp>,
    /// Tells connections of the same stream apart.
    number: u64,
    acked: (u32, Position),
    /// What it says of itself, on its control connection.
    fitness: Option<Fitness>,
    /// Whether it has said anything of itself there; an earlier version says nothing in particular.
    spoke: bool,
    /// When it was heard last, in monotonic nanoseconds.
    heard_ns: u64,
}

/// Streams that a standby follows.
fn following(state: &State) -> usize {
    let is_followed =
        |(stream, follower): &(&u16, &Follower)| **stream != CONTROL && follower.hang_up.is_some();
    state.followers.iter().filter(is_followed).count()
}

/// What a hub is made of.
pub(crate) struct HubParts {
    pub(crate) dir: DataDir,
    pub(crate) history: History,
    pub(crate) events: PathBuf,
    pub(crate) cores: usize,
    pub(crate) policy: bool,
    pub(crate) busy_after: Duration,
    pub(crate) check_every: Duration,
    pub(crate) superseded: Box<dyn Fn(u32) + Send + Sync>,
    pub(crate) lacking: Box<dyn Fn(&str) + Send + Sync>,
    pub(crate) fence: Arc<Fence>,
    pub(crate) look: Option<Box<dyn Fn() + Send + Sync>>,
}

impl Hub {
    pub(crate) fn new(parts: HubParts) -> Result<Self, WalError> {
        let HubParts {
            dir,
            history,
            events,
            cores,
            policy,
            busy_after,
            check_every,
            superseded,
            lacking,
            fence,
            look,
        } = parts;
        let old = dir.streams()?;
        // In a cluster every epoch begins alone, and is on record so.
        let waits = policy && !history.alone && look.is_none();
        if policy && history.alone {
            tracing::warn!(
                "an operator has decided that answers do not wait for a backup (frontrow replication alone); that still holds: \
                 if the standby was promoted meanwhile, both sell the same seats, so end this one at once"
            );
        }
        Ok(Self {
            dir,
            events,
            links: (0..cores).map(|_| Arc::default()).collect(),
            streams: old.max(cores as u16),
            policy,
            waits: AtomicBool::new(waits),
            stuck_ns: (0..cores).map(|_| AtomicU64::new(0)).collect(),
            busy_after,
            check_every,
            state: Mutex::new(State {
                marks: Vec::new(),
                history,
                followers: BTreeMap::new(),
                whole: false,
                trusted: None,
                floor: Floor::default(),
                closed: Closed::default(),
            }),
            files: Mutex::new(Files { here: 1, ..Files::default() }),
            files_moved: Condvar::new(),
            clock: OnceLock::new(),
            superseded,
            lacking,
            fence,
            look,
        })
    }

    /// Whether answers wait for the standby now.
    pub fn waits(&self) -> bool {
        // In one order with what a core says it has durable: see `set_waits`.
        self.waits.load(Ordering::SeqCst)
    }

    /// Until when answers may leave.
    pub(crate) fn fence(&self) -> &Fence {
        &self.fence
    }

    /// Answers wait for the standby from now on, or do not. For whoever keeps the record of it.
    pub(crate) fn set_waits(&self, waits: bool) {
        let mut state = self.lock();
        self.waits.store(waits, Ordering::SeqCst);
        // A core that did not see this yet has said before how far it was durable, and no answer leaves beyond that.
        state.marks = self.links.iter().map(|link| link.durable().max(link.backup())).collect();
        drop(state);
        self.free_cores();
    }

    /// Whose word alone counts from now on; `None`: any standby's. Before it may be on record as in sync.
    pub(crate) fn trust(&self, node: Option<NodeId>) {
        let mut state = self.lock();
        if state.trusted == node {
            return;
        }
        state.trusted = node;
        let counts = |follower: &Follower| node.is_none_or(|node| node == follower.node);
        if state.whole && state.followers.values().all(counts) {
            self.publish_all(&state);
        }
    }

    fn publish_all(&self, state: &State) {
        for (&stream, follower) in &state.followers {
            self.publish(stream, follower.acked);
        }
    }

    /// What is to be seen of the standby.
    pub(crate) fn seen(&self, now_ns: u64) -> Seen {
        let state = self.lock();
        let data = |stream: &u16| usize::from(*stream) < self.links.len();
        let follower =
            state.followers.iter().find(|(stream, _)| data(stream)).map(|(_, follower)| follower.node);
        let reached = |(core, mark): (usize, &Position)| {
            state.followers.get(&(core as u16)).is_some_and(|f| f.acked >= (self.dir.epoch(), *mark))
        };
        let waited = |stuck: &AtomicU64| match stuck.load(Ordering::Relaxed) {
            0 => 0,
            since => now_ns.saturating_sub(since),
        };
        let waits = self.waits();
        Seen {
            follower: follower.filter(|_| state.whole),
            wanted: self.policy && !state.history.alone,
            waits,
            reached: state.whole && state.marks.iter().enumerate().all(reached),
            // What a core said when answers waited is of no interest once they do not.
            stuck_ns: self.stuck_ns.iter().map(waited).max().filter(|_| waits).unwrap_or(0),
        }
    }

    fn look(&self) {
        if let Some(look) = &self.look {
            look();
        }
    }

    fn free_cores(&self) {
        self.stuck_ns.iter().for_each(|stuck| stuck.store(0, Ordering::Relaxed));
        self.links.iter().for_each(|link| link.wake_core());
    }

    /// How often a core's partitions are compared, one at a time; zero: never.
    pub(crate) fn check_every(&self) -> Duration {
        self.check_every
    }

    /// The cores run: this is their time.
    pub(crate) fn set_clock(&self, clock: impl Fn() -> u64 + Send + Sync + 'static) {
        let _ = self.clock.set(Box::new(clock));
    }

    /// The server's time; 0 if it does not run yet.
    pub(super) fn now_ms(&self) -> u64 {
        self.clock.get().map_or(0, |clock| clock())
    }

    pub(crate) fn link(&self, core: u16) -> &Arc<Link> {
        &self.links[usize::from(core)]
    }

    /// An operator's decision: answers wait for the standby, or do not. Recorded before it holds.
    pub fn set_alone(&self, alone: bool) -> Result<(), WalError> {
        let mut state = self.lock();
        state.history.alone = alone;
        self.dir.write_history(&state.history)?;
        if self.look.is_none() {
            self.waits.store(self.policy && !alone, Ordering::SeqCst);
        }
        drop(state);
        if alone {
            tracing::warn!("an operator has decided: answers do not wait for a backup any more");
        } else {
            tracing::info!(
                waits = self.waits(),
                "an operator has decided: answers wait as the configuration says"
            );
        }
        if self.look.is_none() {
            self.free_cores();
        }
        self.look();
        Ok(())
    }

    /// A core waits for the standby (`now`), or does not any more (0).
    pub(crate) fn waiting(&self, core: u16, now_ns: u64) {
        let stuck = &self.stuck_ns[usize::from(core)];
        // One writer: the core itself.
        if now_ns == 0 || stuck.load(Ordering::Relaxed) == 0 {
            stuck.store(now_ns, Ordering::Relaxed);
        }
    }

    /// Whether new requests are refused, because what is decided has waited for the standby too long.
    pub(crate) fn is_stuck(&self, now_ns: u64) -> bool {
        let after = self.busy_after.as_nanos() as u64;
        let long = |stuck: &AtomicU64| {
            let since = stuck.load(Ordering::Relaxed);
            since > 0 && now_ns.saturating_sub(since) > after
        };
        self.waits() && self.stuck_ns.iter().any(long)
    }

    pub(super) fn hello(&self, stream: u16) -> Hello {
        let history = &self.lock().history;
        Hello {
            stream,
            partitions: self.dir.partitions(),
            streams: self.streams,
            epoch: self.dir.epoch(),
            cluster: self.dir.cluster(),
            node: history.node,
            created_ms: self.dir.created_ms(),
            epochs: history.epochs.clone(),
        }
    }

    pub(super) fn history(&self) -> History {
        self.lock().history.clone()
    }

    pub(super) fn streams(&self) -> u16 {
        self.streams
    }

    pub(crate) fn cores(&self) -> usize {
        self.links.len()
    }

    pub(super) fn superseded(&self, epoch: u32) {
        (self.superseded)(epoch);
    }

    /// Notes durably what the standby has, too. Answers leave on that: neither node may be without it later.
    pub(super) fn note_agreed(&self) {
        let places: Agreed = {
            let mut state = self.lock();
            let state = &mut *state;
            let now = self.dir.epoch();
            let acked = |stream: u16| state.followers.get(&stream).map_or((0, 0), |follower| follower.acked);
            let of_now = |stream| Some(acked(stream)).filter(|at| at.0 == now).map_or(0, |at| at.1);
            let there: Vec<Position> = (0..self.cores() as u16).map(of_now).collect();
            state.closed.look(|| self.links.iter().map(|link| link.durable()).collect(), &there);
            let closed = &state.closed;
            let of =
                |(&stream, f): (&u16, &Follower)| state.history.agreed(stream, f.acked, closed.of(stream));
            state.followers.iter().filter(|(stream, _)| **stream != CONTROL).flat_map(of).collect()
        };
        if let Err(error) = self.dir.agree(&places) {
            tracing::warn!(%error, "what the standby has, too, is not noted");
        }
    }

    /// A standby says that both had a stream of an epoch up to here, and this node's history says that it ended before.
    /// Noted, so that this node is not begun again without it; then nothing more is answered.
    pub(super) fn lacks(&self, (epoch, stream, position): (u32, u16, Position), why: &str) {
        let end = self.lock().history.end(epoch, stream);
        if end.is_none_or(|end| end >= position) {
            tracing::warn!(
                epoch,
                stream,
                position,
                ?end,
                "a standby says that this is missing here, and it is not"
            );
            return;
        }
        if let Err(error) = self.dir.agree(&Agreed::from([((epoch, stream), position)])) {
            tracing::error!(%error, "what is missing here is not noted");
        }
        (self.lacking)(why);
    }

    /// A standby takes a stream; `None` if another one has it. A connection of its own that still lingers gives way.
    pub(super) fn enter(&self, stream: u16, node: NodeId, hang_up: HangUp) -> Option<u64> {
        let mut state = self.lock();
        let other = |follower: &Follower| follower.node != node && follower.hang_up.is_some();
        if state.followers.values().any(other) {
            return None;
        }
        let number = {
            let mut files = self.lock_files();
            if stream == CONTROL {
                // What it has is not known yet.
                files.there = 0;
            }
            files.numbers += 1;
            files.numbers
        };
        let heard_ns = Clock::monotonic_ns();
        let follower = Follower {
            node,
            hang_up: Some(hang_up),
            number,
            acked: (0, 0),
            fitness: None,
            spoke: false,
            heard_ns,
        };
        if let Some(old) = state.followers.insert(stream, follower)
            && let Some(hang_up) = old.hang_up
        {
            hang_up();
        }
        state.whole = false;
        Some(number)
    }

    /// Whether this node has a connection here.
    pub(crate) fn is_followed_by(&self, node: NodeId) -> bool {
        self.lock().followers.values().any(|follower| follower.node == node && follower.hang_up.is_some())
    }

    /// Ends all connections.
    pub(crate) fn close(&self) {
        for hang_up in self.lock().followers.values().filter_map(|follower| follower.hang_up.as_ref()) {
            hang_up();
        }
    }

    /// A connection has ended.
    pub(super) fn leave(&self, stream: u16, number: u64) {
        let mut state = self.lock();
        if let Some(follower) = state.followers.get_mut(&stream).filter(|follower| follower.number == number)
        {
            follower.hang_up = None;
            state.whole = false;
            drop(state);
            self.look();
        }
    }

    /// The standby has a stream durable up to here. Believed for answers once it has all of all streams: a
    /// partition's past may lie in another stream than its present.
    pub(super) fn acked(&self, stream: u16, number: u64, acked: (u32, Position)) {
        let mut state = self.lock();
        let Some(follower) = state.followers.get_mut(&stream).filter(|follower| follower.number == number)
        else {
            return;
        };
        (follower.acked, follower.heard_ns) = (acked, Clock::monotonic_ns());
        let node = follower.node;
        let counts = state.trusted.is_none_or(|trusted| trusted == node);
        let whole = |stream: u16| {
            let follower = state.followers.get(&stream);
            let ready =
                |acked| self.is_whole(&state.history, stream, acked) && state.floor.is_reached(stream, acked);
            follower.is_some_and(|f| f.hang_up.is_some() && ready(f.acked))
        };
        if state.whole {
            if counts {
                self.publish(stream, acked);
            }
            return;
        }
        if !(0..self.streams).all(whole) {
            return;
        }
        state.whole = true;
        tracing::info!(epoch = self.dir.epoch(), "the backup has caught up");
        if counts {
            self.publish_all(&state);
        }
        drop(state);
        self.look();
    }

    /// Whether the standby has all earlier epochs, and all that it was seeded with.
    pub(super) fn has_whole_standby(&self) -> bool {
        self.lock().whole
    }

    /// The standby says on its control connection whether it could take over. Logged when that has changed.
    pub(super) fn says(&self, number: u64, word: u64) {
        let fitness = Fitness::heard(word);
        let mut state = self.lock();
        let Some(follower) = state.followers.get_mut(&CONTROL).filter(|follower| follower.number == number)
        else {
            return;
        };
        (follower.heard_ns, follower.spoke) = (Clock::monotonic_ns(), true);
        let (before, node) = (std::mem::replace(&mut follower.fitness, fitness), follower.node);
        drop(state);
        if before == fitness {
            return;
        }
        let standby = format!("{node:016x}");
        match fitness.and_then(Fitness::why_not) {
            Some(why) => tracing::error!(%standby, why, "the standby could not take over"),
            None if before.and_then(Fitness::why_not).is_some() => {
                tracing::warn!(%standby, "the standby could take over again");
            }
            None => {}
        }
    }

    /// By stream, what this node and the standby both have of the epoch under way.
    pub(crate) fn has(&self) -> Vec<(u16, Position)> {
        let (state, now) = (self.lock(), self.dir.epoch());
        let durable = |stream: u16| self.links.get(usize::from(stream)).map_or(0, |link| link.durable());
        let of_now = |(&stream, f): (&u16, &Follower)| {
            (f.acked.0 == now).then(|| (stream, f.acked.1.min(durable(stream))))
        };
        state.followers.iter().filter(|(stream, _)| **stream != CONTROL).filter_map(of_now).collect()
    }

    /// By stream, what the standby has said that it has.
    pub(super) fn acked_places(&self) -> Vec<(u16, (u32, Position))> {
        self.lock().followers.iter().map(|(&stream, follower)| (stream, follower.acked)).collect()
    }

    /// Up to where a stream's log has been read by whoever follows; `Position::MAX` if nobody does. A standby that is
    /// about to ask for it has read nothing.
    pub(crate) fn read_up_to(&self, stream: u16) -> Position {
        let state = self.lock();
        let here = |stream| state.followers.get(&stream).filter(|follower| follower.hang_up.is_some());
        let former = usize::from(stream) >= self.links.len();
        match here(stream) {
            // Nothing more comes in it.
            Some(f) if former && self.is_whole(&state.history, stream, f.acked) => Position::MAX,
            Some(f) => f.acked.1,
            None if here(CONTROL).is_some() => 0,
            None => Position::MAX,
        }
    }

    /// A standby is given the snapshots there are now: up to where its log must come to have what is in them.
    pub(super) fn seeded(&self) -> Floor {
        let durable = self.links.iter().map(|link| link.durable());
        let floor = Floor { epoch: self.dir.epoch(), streams: (0..).zip(durable).collect() };
        let mut state = self.lock();
        (state.floor, state.whole) = (floor.clone(), false);
        floor
    }

    fn publish(&self, stream: u16, (epoch, position): (u32, Position)) {
        if epoch == self.dir.epoch()
            && let Some(link) = self.links.get(usize::from(stream))
        {
            link.publish(position);
        }
    }

    /// Whether a stream is complete but for the epoch under way.
    fn is_whole(&self, history: &History, stream: u16, (epoch, position): (u32, Position)) -> bool {
        let later = history.epochs.iter().filter(|entry| entry.epoch > epoch);
        let missing = |end: &Position| *end > 0;
        later.filter_map(|entry| entry.ends.get(&stream)).all(|end| !missing(end))
            && history.end(epoch, stream).is_none_or(|end| position >= end)
            && (usize::from(stream) >= self.links.len() || epoch == self.dir.epoch())
    }

    // ---- the catalogue's files ------------------------------------------------------------------

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_wal::{DirOptions, LogOptions};
    use std::path::Path;

    fn socket() -> HangUp {
        Box::new(|| {})
    }

    /// A start as primary in which both streams write something.
    fn start(path: &Path) -> Hub {
        let dir = DataDir::open(path, DirOptions::new(4)).unwrap();
        let history = dir.begin_history(false).unwrap();
        for stream in 0..2 {
            let mut log = dir.open_stream(stream, &LogOptions::small(), || {}).unwrap();
            log.append(0, 1, 1, 1, b"something").unwrap();
            log.flush().unwrap();
        }
        Hub::new(HubParts {
            dir,
            history,
            events: path.join("events"),
            cores: 2,
            policy: true,
            busy_after: Duration::from_millis(5),
            check_every: Duration::ZERO,
            superseded: Box::new(|_| {}),
            lacking: Box::new(|_| {}),
            fence: Arc::new(Fence::open()),
            look: None,
        })
        .unwrap()
    }

    #[test]
    fn a_standby_counts_once_it_has_all_streams() {
        let folder = tempfile::tempdir().unwrap();
        drop(start(folder.path()));
        let hub = start(folder.path());
        let now = hub.dir.epoch();
        let end = hub.history().end(now - 1, 1).unwrap();
        let (a, b) = (hub.enter(0, 7, socket()).unwrap(), hub.enter(1, 7, socket()).unwrap());
        hub.acked(0, a, (now, 5000));
        assert_eq!(hub.link(0).backup(), 0, "a partition's past may lie in the other stream");
        hub.acked(1, b, (now - 1, end));
        assert_eq!((hub.link(0).backup(), hub.link(1).backup()), (0, 0), "it has nothing of this epoch yet");
        hub.acked(1, b, (now, 6000));
        assert_eq!((hub.link(0).backup(), hub.link(1).backup()), (5000, 6000));
        // It is as far as it says that it is.
        let control = hub.enter(CONTROL, 7, socket()).unwrap();
        hub.acked(0, a, (now, 5000));
        assert!(!hub.status().caught_up);
        hub.says(control, Fitness::CatchingUp.word());
        assert!(!hub.status().caught_up && hub.status().unfit.is_none());
        for word in [Fitness::Fit.word(), 0] {
            hub.says(control, word);
            assert!(hub.status().caught_up, "{word}");
        }
        // The connection of before says nothing any more.
        let again = hub.enter(1, 7, socket()).unwrap();
        hub.acked(1, b, (now, 7000));
        hub.acked(0, a, (now, 5500));
        assert_eq!((hub.link(0).backup(), hub.link(1).backup()), (5000, 6000));
        hub.acked(1, again, (now, 7000));
        assert_eq!((hub.link(0).backup(), hub.link(1).backup()), (5500, 7000));
    }

    #[test]
    fn what_the_standby_has_is_noted_and_a_start_without_it_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        let now = hub.dir.epoch();
        hub.link(0).durable_at(9000);
        hub.enter(CONTROL, 7, socket()).unwrap();
        let a = hub.enter(0, 7, socket()).unwrap();
        hub.acked(0, a, (now, 5000));
        hub.note_agreed();
        assert_eq!(
            hub.dir.view().agreed().unwrap(),
            Agreed::new(),
            "9000 is durable, with causes in 5000..9000"
        );
        hub.acked(0, a, (now, 9500));
        hub.note_agreed();
        assert_eq!(hub.dir.view().agreed().unwrap(), Agreed::from([((now, 0), 9000)]), "durable at both");
        drop(hub);
        // What `start` writes does not go that far.
        let dir = DataDir::open(folder.path(), DirOptions::new(4)).unwrap();
        assert!(matches!(
            dir.begin_history(false),
            Err(WalError::LacksAgreed { stream: 0, agreed: 9000, .. })
        ));
    }

    #[test]
    fn a_standby_that_has_more_of_the_past_ends_a_primary() {
        let folder = tempfile::tempdir().unwrap();
        drop(start(folder.path()));
        let ended = Arc::new(AtomicBool::new(false));
        let told = Arc::clone(&ended);
        let lacking = Box::new(move |_: &str| told.store(true, Ordering::Relaxed));
        let hub = Hub { lacking, ..start(folder.path()) };
        let (now, end) = (hub.dir.epoch(), hub.history().end(hub.dir.epoch() - 1, 1).unwrap());
        hub.lacks((now - 1, 1, end), "no more than is here");
        hub.lacks((now, 1, 1 << 20), "it lasts");
        assert!(!ended.load(Ordering::Relaxed) && hub.dir.view().agreed().unwrap().is_empty());
        hub.lacks((now - 1, 1, end + 8), "more");
        assert!(ended.load(Ordering::Relaxed));
        assert_eq!(hub.dir.view().agreed().unwrap(), Agreed::from([((now - 1, 1), end + 8)]));
    }

    #[test]
    fn what_a_standby_says_of_itself_holds_while_its_connection_does() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        let said = || (hub.status().standby, hub.status().fitness);
        let name = Some("0000000000000007".to_owned());
        let first = hub.enter(CONTROL, 7, socket()).unwrap();
        hub.says(first, 0);
        assert_eq!(said(), (name.clone(), None), "an earlier version says nothing");
        hub.says(first, Fitness::Catalogue.word());
        assert_eq!(said(), (name.clone(), Some(Fitness::Catalogue)));
        assert!(hub.status().unfit.is_some_and(|why| why.contains("damaged or missing")));
        let second = hub.enter(CONTROL, 7, socket()).unwrap();
        hub.says(first, Fitness::Catalogue.word());
        assert_eq!(said(), (name.clone(), None), "the connection of before says nothing any more");
        hub.says(second, Fitness::Fit.word());
        assert_eq!(said(), (name, Some(Fitness::Fit)));
        hub.leave(CONTROL, second);
        assert_eq!(said(), (None, None));
    }

    #[test]
    fn one_standby_at_a_time() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        let first = hub.enter(0, 7, socket()).unwrap();
        assert!(hub.enter(0, 8, socket()).is_none());
        assert!(hub.enter(1, 8, socket()).is_none());
        assert!(hub.enter(1, 7, socket()).is_some());
        hub.leave(0, first);
        assert!(hub.enter(0, 8, socket()).is_none(), "its other stream is still followed");
    }

    #[test]
    fn another_standby_is_in_sync_only_with_all_that_left_before() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub { look: Some(Box::new(|| {})), ..start(folder.path()) };
        let now = hub.dir.epoch();
        hub.set_waits(false);
        for (core, at) in [(0, 5000), (1, 6000)] {
            hub.link(core).durable_at(at);
        }
        let (a, b) = (hub.enter(0, 7, socket()).unwrap(), hub.enter(1, 7, socket()).unwrap());
        hub.acked(0, a, (now, 5500));
        hub.acked(1, b, (now, 5900));
        hub.set_waits(true);
        assert!(!hub.seen(1).reached, "what was answered up to 6000 is not there");
        hub.acked(1, b, (now, 6000));
        assert!(hub.seen(1).reached && hub.seen(1).follower == Some(7));
        hub.leave(0, a);
        hub.leave(1, b);
        assert_eq!(hub.seen(1).follower, None);
        // The next one must have what the first one's word let go, too: up to 5500.
        let (a, b) = (hub.enter(0, 8, socket()).unwrap(), hub.enter(1, 8, socket()).unwrap());
        hub.acked(0, a, (now, 5000));
        hub.acked(1, b, (now, 6000));
        hub.set_waits(true);
        assert!(!hub.seen(1).reached && hub.seen(1).follower == Some(8));
        hub.acked(0, a, (now, 5500));
        assert!(hub.seen(1).reached);
    }

    #[test]
    fn only_who_may_be_on_record_lets_answers_go() {
        let folder = tempfile::tempdir().unwrap();
        let hub = Hub { look: Some(Box::new(|| {})), ..start(folder.path()) };
        let now = hub.dir.epoch();
        hub.set_waits(true);
        hub.trust(Some(7));
        let (a, b) = (hub.enter(0, 8, socket()).unwrap(), hub.enter(1, 8, socket()).unwrap());
        hub.acked(0, a, (now, 5000));
        hub.acked(1, b, (now, 6000));
        hub.acked(0, a, (now, 5500));
        assert!(hub.has_whole_standby() && hub.seen(1).follower == Some(8));
        assert_eq!((hub.link(0).backup(), hub.link(1).backup()), (0, 0), "7 would take over without it");
        hub.trust(None);
        assert_eq!((hub.link(0).backup(), hub.link(1).backup()), (5500, 6000));
    }

    #[test]
    fn the_log_is_kept_for_who_follows_and_a_seeded_standby_counts_once_it_is_as_far_as_its_snapshots() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        assert_eq!(hub.read_up_to(0), Position::MAX, "nobody follows");
        hub.enter(CONTROL, 7, socket()).unwrap();
        assert_eq!(hub.read_up_to(0), 0, "it is about to ask");
        hub.link(0).durable_at(9000);
        let (now, floor) = (hub.dir.epoch(), hub.seeded());
        assert_eq!((floor.epoch, floor.streams), (now, BTreeMap::from([(0, 9000), (1, 0)])));
        let (a, b) = (hub.enter(0, 7, socket()).unwrap(), hub.enter(1, 7, socket()).unwrap());
        hub.acked(1, b, (now, 10));
        hub.acked(0, a, (now, 8999));
        assert!(!hub.has_whole_standby() && hub.link(0).backup() == 0);
        assert_eq!((hub.read_up_to(0), hub.read_up_to(1)), (8999, 10));
        hub.acked(0, a, (now, 9000));
        assert!(hub.has_whole_standby() && hub.link(0).backup() == 9000);
    }

    #[test]
    fn going_on_alone_is_recorded() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        assert!(hub.waits());
        hub.waiting(0, 1);
        assert!(!hub.is_stuck(1_000_000) && hub.is_stuck(9_000_000));
        assert_eq!(hub.unacknowledged(), Some(Unacknowledged::NoStandby));
        hub.set_alone(true).unwrap();
        assert!(!hub.waits() && !hub.is_stuck(9_000_000));
        assert_eq!(hub.status().unacknowledged, None);
        drop(hub);
        let hub = start(folder.path());
        assert!(!hub.waits(), "it holds across a restart");
        hub.set_alone(false).unwrap();
        assert!(hub.waits());
    }

    #[test]
    fn nothing_is_acknowledged_before_all_streams_are_followed_nor_once_the_standby_is_far_behind() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        hub.enter(0, 7, socket()).unwrap();
        assert_eq!(hub.unacknowledged(), Some(Unacknowledged::NoStandby), "the other stream is not followed");
        let other = hub.enter(1, 7, socket()).unwrap();
        assert_eq!(hub.unacknowledged(), None);
        hub.waiting(0, 1);
        assert_eq!(hub.unacknowledged(), Some(Unacknowledged::StandbyBehind), "for longer than busy_after");
        hub.waiting(0, 0);
        assert_eq!(hub.unacknowledged(), None);
        hub.leave(1, other);
        assert_eq!(hub.status().unacknowledged, Some(Unacknowledged::NoStandby));
    }

    #[test]
    fn a_new_standby_has_no_files_until_it_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let hub = start(folder.path());
        assert!(!hub.files_are_there());
        hub.enter(CONTROL, 7, socket()).unwrap();
        hub.files_there(1);
        assert!(hub.files_are_there());
        hub.files_changed();
        assert!(!hub.files_are_there());
        assert_eq!(hub.files_version(1, Duration::ZERO), 2);
    }
}
