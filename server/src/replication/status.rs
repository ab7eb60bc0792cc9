//! What the standby's threads tell each other and the outside.

use super::behind::Behind;
use super::dial::Met;
use super::link::Check;
use super::progress::{At, Progress};
use crate::exposition::{Families, Labels};
use crate::lookout::Sight;
use frontrow_engine::Clock;
use frontrow_shard::EventId;
use frontrow_wal::{DataDir, History, WalError};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{Shutdown, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Why a standby that has just been started follows nobody yet.
pub(super) const STARTING: &str = "it reads its own log first, to know which events it has, and follows then: some seconds for each \
                                   GB";

/// What a session follows: its number, the directory, and the history it goes on from.
pub(super) type Plan = (u64, DataDir, History);

/// Shared by all threads of a standby.
#[derive(Default)]
pub(super) struct Shared {
    state: Mutex<State>,
    moved: Condvar,
    /// Held while `BEHIND` is written or taken away: every stream's thread may find something to say.
    noting: Mutex<()>,
    /// Rung once it ends, for the HTTP side.
    pub(super) over: tokio::sync::Notify,
    /// Rung when files of the catalogue have come.
    pub(super) files: tokio::sync::Notify,
    /// Rung when the process is told to end, and still heard by whoever serves after a promotion.
    pub(super) told: Arc<tokio::sync::Notify>,
}

#[derive(Default)]
pub(super) struct State {
    /// How far the log went when this node began; let go of with it.
    pub(super) at_rest: BTreeMap<u16, At>,
    /// What the applier works from; the number tells a new one.
    pub(super) plan: Option<Plan>,
    pub(super) streams: BTreeMap<u16, Progress>,
    /// The plan that the applier works from.
    pub(super) begun: u64,
    /// The applier is to let go of the log and of its state; and it has.
    pub(super) hold: bool,
    pub(super) held: bool,
    /// The primary's snapshots are being taken in.
    pub(super) seeding: bool,
    /// States to compare, in the order they came.
    pub(super) checks: Vec<Check>,
    /// By partition, the last record applied.
    pub(super) applied: Vec<u64>,
    /// Events that the log has made, as far as it is applied.
    pub(super) events: Vec<EventId>,
    /// Events that the log had when this node began; let go of with it.
    pub(super) events_at_rest: BTreeSet<EventId>,
    /// States that were the same as the primary's.
    pub(super) checked: u64,
    /// Why the applier has stopped, if it has.
    pub(super) broken: Option<String>,
    /// Why nothing can be applied, nor this node promoted: no snapshot leads up to its log. Until it is seeded.
    pub(super) baseless: Option<String>,
    /// What is wrong with the catalogue's files here, so that they cannot be served from, and when they were looked at.
    pub(super) files: Arc<Sight>,
    /// Why there is no connection, if there is none.
    pub(super) trouble: Option<String>,
    pub(super) connected: bool,
    /// Who is followed, or called.
    pub(super) primary: Option<String>,
    /// Who was met when it was called last.
    pub(super) met: Option<Met>,
    /// Why what is here is not all that was sold, if that is known.
    pub(super) behind: Option<Behind>,
    /// What is here is being made fit to be followed with: nobody is promoted meanwhile.
    pub(super) fitting: bool,
    /// When the primary was heard last, in monotonic nanoseconds.
    pub(super) heard_ns: Option<u64>,
    /// Since when there is none, in monotonic nanoseconds.
    pub(super) apart_ns: Option<u64>,
    /// What is here is still being looked at: nobody is called yet.
    pub(super) starting: bool,
    /// As this node began its log was whole, as a standby's must be to be promoted. Let go of with it.
    pub(super) whole_at_rest: bool,
    /// The epoch that the log here ends in, before anything is followed.
    pub(super) epoch_at_rest: Option<u32>,
    /// The primary's time as last heard, and the monotonic clock then.
    pub(super) clock: Option<(u64, u64)>,
    /// An operator wants this node to be the primary.
    pub(super) promote: bool,
    /// The process is to end.
    pub(super) stop: bool,
    /// No more is coming: apply what there is, committed or not, and end.
    pub(super) finish: bool,
    /// A session is under way, and not to end: whoever connects for one that ends would never hear of it.
    pub(super) open: bool,
    /// Connections of the session under way.
    sockets: Vec<TcpStream>,
}

/// While what is here is being changed.
pub(super) struct Fitting<'a>(&'a Shared);

impl Drop for Fitting<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.fitting = false);
    }
}

/// How good the applied state is: what everything that is read here is said with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Standing {
    /// The epoch that is followed.
    pub(super) epoch: u32,
    /// All that the primary had durable so long ago is in it.
    pub(super) age_ms: u64,
}

/// Why nothing is to be read here at present.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Unready {
    /// The primary's snapshots come in.
    Seeding,
    /// It has not had all that the primary has since it began to follow.
    CatchingUp,
    /// It does not apply what comes any more.
    Broken(String),
}

impl Unready {
    /// The word for machines.
    pub(super) fn reason(&self) -> &'static str {
        match self {
            Self::Seeding => "seeding",
            Self::CatchingUp => "catching_up",
            Self::Broken(_) => "not_applying",
        }
    }
}

impl std::fmt::Display for Unready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Seeding => "this standby takes in the primary's snapshots: ask again in a while, or ask the primary",
            Self::CatchingUp => {
                "this standby has not had all that its primary has since it began to follow: ask again shortly, or ask \
                 the primary"
            }
            Self::Broken(_) => {
                "this standby does not apply the primary's log any more, /v1/status says why: ask the primary"
            }
        })
    }
}

impl Shared {
    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something and lets everybody look.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let result = change(&mut self.lock());
        self.moved.notify_all();
        result
    }

    /// Waits for a change, at most for `time`, unless `done` already.
    pub(super) fn wait(&self, time: Duration, done: impl Fn(&State) -> bool) -> MutexGuard<'_, State> {
        let state = self.lock();
        if done(&state) {
            return state;
        }
        self.moved.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0
    }

    /// What is in `dir` is not all that was sold: durable before it is known here.
    pub(super) fn note_behind(&self, dir: &DataDir, why: Behind) -> Result<(), WalError> {
        let _one_at_a_time = self.noting();
        why.note(dir)?;
        self.change(|state| match &state.behind {
            Some(_) if why == Behind::Begun => {}
            _ => state.behind = Some(why),
        });
        Ok(())
    }

    /// It is all that was sold when its primary was followed.
    pub(super) fn forget_behind(&self, dir: &DataDir) -> Result<(), WalError> {
        let _one_at_a_time = self.noting();
        if Behind::forget(dir)? {
            self.change(|state| state.behind = None);
        }
        Ok(())
    }

    fn noting(&self) -> MutexGuard<'_, ()> {
        self.noting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks for an end: of the session, and what it is for.
    pub(super) fn end(&self, change: impl FnOnce(&mut State)) {
        self.change(|state| {
            change(state);
            state.close();
        });
        self.over.notify_one();
    }

    /// What is here is about to be changed for a session: whether that may be. Until what is returned is dropped, nobody is promoted.
    pub(super) fn fit(&self) -> Option<Fitting<'_>> {
        let may = self.change(|state| {
            state.fitting = !state.is_ending();
            state.fitting
        });
        may.then_some(Fitting(self))
    }

    /// An operator's word, unless a session is just beginning: then it is to be said again in a moment. Whether it holds.
    pub(super) fn promote(&self) -> bool {
        let holds = self.change(|state| {
            if !state.fitting {
                state.promote = true;
                state.close();
            }
            state.promote
        });
        if holds {
            self.over.notify_one();
        }
        holds
    }

    /// A connection that ends with the session. `false` if that is over.
    pub(super) fn keep(&self, socket: &TcpStream) -> std::io::Result<bool> {
        let copy = socket.try_clone()?;
        let mut state = self.lock();
        if state.open && !state.is_ending() {
            state.sockets.push(copy);
            return Ok(true);
        }
        Ok(false)
    }
}

impl State {
    /// Whoever is to be followed is about to be called: until there is more to say, that is why there is no connection.
    pub(super) fn calls(&mut self, primary: Option<&str>) {
        self.primary = primary.map(str::to_owned);
        let why = || match primary {
            Some(primary) => format!("calling {primary}, which has not answered yet"),
            None => "etcd names no primary that could be followed".to_owned(),
        };
        self.trouble.get_or_insert_with(why);
    }

    /// The applier is to let go of the log, which is about to be another one.
    pub(super) fn hold_on(&mut self) {
        self.hold = true;
        (self.plan, self.streams) = (None, BTreeMap::new());
        self.at_rest.clear();
        self.whole_at_rest = false;
        self.events.clear();
        self.events_at_rest.clear();
        self.checks.clear();
    }

    /// By stream, how far the log goes.
    pub(super) fn reached(&self) -> BTreeMap<u16, At> {
        if self.streams.is_empty() {
            return self.at_rest.clone();
        }
        self.streams.iter().map(|(&stream, progress)| (stream, progress.have)).collect()
    }

    /// How old what is here was when the primary was lost, in milliseconds, while it is not followed.
    fn lacked_ms(&self) -> Option<u64> {
        let lost_ns = self.apart_ns.filter(|_| !self.connected && self.plan.is_some())?;
        let fresh_ns = self.streams.values().map(|progress| progress.fresh_ns).min().flatten()?;
        Some(lost_ns.saturating_sub(fresh_ns) / 1_000_000)
    }

    /// Events that the log has: those that are applied; until that is all of them, those that it had at first, too.
    pub(super) fn logged(&self) -> BTreeSet<EventId> {
        let applied = self.events.iter().copied();
        if self.standing(Clock::monotonic_ns()).is_ok() {
            return applied.collect();
        }
        applied.chain(self.events_at_rest.iter().copied()).collect()
    }

    pub(super) fn is_ending(&self) -> bool {
        self.stop || self.promote
    }

    /// Ends all connections: whoever reads from one finds out.
    pub(super) fn close(&mut self) {
        self.open = false;
        for socket in self.sockets.drain(..) {
            // One that is over already is over.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }

    /// The primary's time now, as far as it was heard: never ahead of it.
    pub(super) fn primary_ms(&self) -> Option<u64> {
        let (time_ms, at_ns) = self.clock?;
        Some(time_ms + Clock::monotonic_ns().saturating_sub(at_ns) / 1_000_000)
    }

    /// The time for whoever looks on here: the primary's, or this node's own as long as none was heard.
    pub(super) fn onlookers_ms(&self) -> u64 {
        self.primary_ms().unwrap_or_else(Clock::wall_ms)
    }

    /// Bytes of a stream that the primary has durable and this node does not; `None` while an earlier epoch comes.
    pub(super) fn lag(progress: &Progress) -> Option<u64> {
        let Progress { have, there, .. } = progress;
        // A stream of former cores has nothing of the epoch under way.
        (have.0 == there.0 || there.1 == 0).then(|| there.1.saturating_sub(have.1))
    }

    /// Why what arrives is not applied, if it is not.
    pub(super) fn not_applied(&self) -> Option<&str> {
        self.broken.as_deref().or(self.baseless.as_deref())
    }

    /// Whether everything that the primary had when this session began is here.
    pub(super) fn has_caught_up_once(&self) -> bool {
        !self.streams.is_empty() && self.streams.values().all(Progress::has_first)
    }

    /// Whether everything that the primary had a moment ago is here.
    pub(super) fn is_caught_up(&self) -> bool {
        let near = |progress: &Progress| {
            progress.there.0 > 0 && Self::lag(progress).is_some_and(|lag| lag < 1 << 20)
        };
        let is_near = self.connected && !self.streams.is_empty() && self.streams.values().all(near);
        is_near && matches!(self.behind, None | Some(Behind::Unreadable(_)))
    }

    /// Whether all of the epochs that had ended when this session began is here: what the primary's history says of it.
    pub(super) fn has_ended_epochs(&self) -> bool {
        let Some((_, _, history)) = &self.plan else { return true };
        let has = |(&stream, progress): (&u16, &Progress)| {
            let (epoch, position) = progress.have;
            let later = history.epochs.iter().filter(|entry| entry.epoch >= epoch);
            later
                .filter_map(|entry| Some((entry.epoch, *entry.ends.get(&stream)?)))
                .all(|(of, end)| end == 0 || (of == epoch && end <= position))
        };
        self.streams.iter().all(has)
    }

    /// How old what is applied is, or why it is not to be read.
    pub(super) fn standing(&self, now_ns: u64) -> Result<Standing, Unready> {
        if let Some(why) = &self.broken {
            return Err(Unready::Broken(why.clone()));
        }
        // The applier may still be at what an earlier session followed.
        let is_begun = |number| !self.hold && number == self.begun && !self.applied.is_empty();
        let Some((_, dir, _)) = self.plan.as_ref().filter(|(number, ..)| is_begun(*number)) else {
            return Err(if self.seeding { Unready::Seeding } else { Unready::CatchingUp });
        };
        let oldest = self.streams.values().map(|progress| progress.fresh_ns).min().flatten();
        let fresh_ns = oldest.ok_or(Unready::CatchingUp)?;
        Ok(Standing { epoch: dir.epoch(), age_ms: now_ns.saturating_sub(fresh_ns) / 1_000_000 })
    }

    pub(super) fn json(&self) -> serde_json::Value {
        let now_ns = Clock::monotonic_ns();
        let ago_ms = |then_ns: u64| now_ns.saturating_sub(then_ns) / 1_000_000;
        let place = |at: At| serde_json::json!({"epoch": at.0, "position": at.1});
        let streams: Vec<_> = self
            .streams
            .iter()
            .map(|(stream, progress)| {
                serde_json::json!({
                    "stream": stream,
                    "durable": place(progress.have),
                    "committed": place(progress.committed),
                    "applied": place(progress.applied),
                    "primary_durable": place(progress.there),
                    "lag_bytes": Self::lag(progress),
                })
            })
            .collect();
        let partitions: Vec<_> = self
            .applied
            .iter()
            .enumerate()
            .map(|(partition, lsn)| serde_json::json!({"partition": partition, "lsn": lsn}))
            .collect();
        let (standing, looked_ms) = (self.standing(now_ns), self.files.age_ms(now_ns));
        serde_json::json!({
            "role": "standby",
            "connected": self.connected,
            "caught_up": self.is_caught_up(),
            "epoch": self.plan.as_ref().map(|(_, dir, _)| dir.epoch()).or(self.epoch_at_rest),
            "trouble": self.trouble.as_deref().or(self.starting.then_some(STARTING)),
            "behind": self.behind.as_ref().map(Behind::json),
            "primary_met": self.met.map(Met::word),
            "unconnected_ms": self.apart_ns.filter(|_| !self.connected).map(ago_ms),
            "silent_ms": self.silent_ms(now_ns),
            "lacked_ms": self.lacked_ms(),
            "age_ms": standing.as_ref().ok().map(|standing| standing.age_ms),
            "unreadable": standing.as_ref().err().map(Unready::reason),
            "applier": self.not_applied().unwrap_or("ok"),
            "catalogue": self.files.why(now_ns).or_else(|| looked_ms.map(|_| "ok".to_owned())),
            "catalogue_age_ms": looked_ms,
            "states_compared": self.checked,
            "streams": streams,
            "partitions": partitions,
        })
    }

    /// Reads off what is counted of it.
    pub(super) fn read_off(&self) -> Families {
        let mut families = Families::default();
        let flag = |flag: bool| f64::from(u8::from(flag));
        families.value(
            "frontrow_standby_connected",
            "1 while the primary is followed.",
            flag(self.connected),
        );
        families.value(
            "frontrow_standby_caught_up",
            "1 while everything but what is on its way is here.",
            flag(self.is_caught_up()),
        );
        families.value(
            "frontrow_standby_applier_ok",
            "1 while what arrives is applied.",
            flag(self.not_applied().is_none()),
        );
        families.value(
            "frontrow_standby_catalogue_ok",
            "1 while the events' files here are good, as far as they were looked at; 0, too, while they cannot be read.",
            flag(self.files.why(Clock::monotonic_ns()).is_none()),
        );
        families.value(
            "frontrow_standby_states_compared",
            "States found to be the primary's.",
            self.checked as f64,
        );
        let standing = self.standing(Clock::monotonic_ns());
        families.gauge(
            "frontrow_standby_age_ms",
            "How old what is read here may be; absent while nothing is to be read.",
            standing.iter().map(|it| (Labels::new(), it.age_ms as f64)),
        );
        type Pick = fn(&Progress) -> u64;
        let rows: [(&str, &str, Pick); 4] = [
            ("frontrow_standby_durable_bytes", "Log position that is durable here.", |p| p.have.1),
            ("frontrow_standby_applied_bytes", "Log position that is applied.", |p| p.applied.1),
            ("frontrow_standby_primary_durable_bytes", "Log position that is durable at the primary.", |p| {
                p.there.1
            }),
            ("frontrow_standby_lag_bytes", "Log bytes that the primary has and this node does not.", |p| {
                State::lag(p).unwrap_or(p.there.1)
            }),
        ];
        for (name, help, pick) in rows {
            let of =
                |(stream, it): (&u16, &Progress)| (vec![("stream", stream.to_string())], pick(it) as f64);
            families.gauge(name, help, self.streams.iter().map(of));
        }
        families
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_promoted_while_a_session_begins_and_none_begins_for_who_is() {
        let shared = Shared::default();
        let fitting = shared.fit().unwrap();
        assert!(!shared.promote() && !shared.lock().promote);
        drop(fitting);
        assert!(shared.promote() && shared.promote());
        assert!(shared.fit().is_none());
        assert!(!shared.lock().fitting);
    }

    #[test]
    fn every_streams_thread_may_say_at_once_that_it_lacks_something_or_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path(), frontrow_wal::DirOptions::new(2)).unwrap();
        let shared = Shared::default();
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    for _ in 0..20 {
                        shared.note_behind(&dir, Behind::Begun).unwrap();
                        shared.forget_behind(&dir).unwrap();
                    }
                });
            }
        });
        assert_eq!((Behind::read(folder.path()), shared.lock().behind.clone()), (None, None));
    }

    #[test]
    fn a_session_has_caught_up_once_all_is_here_that_was_there_at_first() {
        let mut state = State::default();
        assert!(!state.has_caught_up_once(), "nothing is followed");
        state.streams.insert(0, Progress::at_rest((2, 500)));
        state.streams.insert(1, Progress::at_rest((1, 700)));
        let heard =
            |state: &mut State, stream, there| state.streams.entry(stream).or_default().heard(there, 1);
        heard(&mut state, 0, (2, 900));
        // Of former cores: whether that was all is looked at before a promotion.
        heard(&mut state, 1, (2, 0));
        assert!(!state.has_caught_up_once());
        heard(&mut state, 0, (2, 9_000));
        state.streams.entry(0).or_default().have = (2, 900);
        assert!(state.has_caught_up_once());
        let again = state.streams[&0].resumed((2, 900), (2, 900));
        state.streams.insert(0, again);
        assert!(!state.has_caught_up_once(), "another session has heard nothing yet");
    }

    #[test]
    fn an_epoch_that_has_ended_is_here_as_a_whole_or_is_lacking() {
        let folder = tempfile::tempdir().unwrap();
        let dir = DataDir::open(folder.path(), frontrow_wal::DirOptions::new(2)).unwrap();
        let mut history = dir.begin_history(false).unwrap();
        let entry = |epoch, end| {
            let ends = BTreeMap::from([(0, end), (1, 0)]);
            frontrow_wal::EpochEntry { epoch, node: 7, ends }
        };
        history.epochs = vec![
            entry(1, 700),
            entry(2, 900),
            frontrow_wal::EpochEntry { ends: BTreeMap::new(), ..entry(3, 0) },
        ];
        let mut state = State { plan: Some((1, dir, history)), ..State::default() };
        state.streams.insert(1, Progress::at_rest((0, 0)));
        for (have, whole) in
            [((1, 699), false), ((1, 700), false), ((2, 899), false), ((2, 900), true), ((3, 1), true)]
        {
            state.streams.insert(0, Progress::at_rest(have));
            assert_eq!(state.has_ended_epochs(), whole, "{have:?}");
        }
    }

    #[test]
    fn whoever_connects_for_a_session_that_has_ended_is_turned_away() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let shared = Shared::default();
        shared.change(|state| state.open = true);
        assert!(shared.keep(&socket).unwrap());
        shared.change(State::close);
        assert!(!shared.keep(&socket).unwrap(), "nobody would close it");
    }

    #[test]
    fn without_anything_applied_there_is_nothing_to_be_read() {
        let mut state = State::default();
        assert_eq!(state.standing(1), Err(Unready::CatchingUp));
        state.seeding = true;
        assert_eq!(state.standing(1), Err(Unready::Seeding));
        state.broken = Some("why".into());
        assert_eq!(state.standing(1), Err(Unready::Broken("why".into())));
    }
}
