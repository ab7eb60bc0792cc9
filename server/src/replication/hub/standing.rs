//! What is said of the standby, and of answers that wait for it: to whoever is refused, to operators, to monitoring.

use super::{Hub, following};
use crate::exposition::{Families, Labels};
use crate::replication::fitness::Fitness;
use frontrow_engine::Clock;
use frontrow_wal::stream::CONTROL;

/// Why nothing is acknowledged, for whoever asks for something.
const NO_STANDBY: &str = "Answers wait for a standby, and none follows: nothing is acknowledged now. Repeat the request after \
                          retry_after_ms; an operator starts the standby (frontrow backup), or goes on without (frontrow \
                          replication alone).";
const STANDBY_BEHIND: &str = "Answers wait for the standby, which is behind: nothing is acknowledged before it has what came \
                              earlier. Repeat the request after retry_after_ms.";

/// Why a primary acknowledges nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Unacknowledged {
    /// Answers wait for a standby, and none follows all of the log.
    NoStandby,
    /// They have waited for the standby that follows so long that what is new is refused.
    StandbyBehind,
}

/// How the standby is doing, as metrics and operators see it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct StandbyStatus {
    /// What answers wait for by the configuration.
    pub policy: &'static str,
    /// What they wait for now.
    pub acknowledge: &'static str,
    /// Why nothing is acknowledged now; nothing if answers leave.
    pub unacknowledged: Option<Unacknowledged>,
    /// Streams that a standby follows.
    pub following: usize,
    /// Streams there are.
    pub streams: u16,
    /// Whether it has had all that there was when it began to follow, by its own word. What it lacks by now is `lag_bytes`. One that
    /// is silent goes for it until its connection is given up.
    pub caught_up: bool,
    /// How long ago it was last heard, in milliseconds: it says something twice a second. Nothing, if none has come.
    pub silent_ms: Option<u64>,
    /// The standby that follows, by the name of its directory.
    pub standby: Option<String>,
    /// Whether it could take over, by its own word; nothing if it says nothing of it.
    pub fitness: Option<Fitness>,
    /// Why it could not, with what to do.
    pub unfit: Option<&'static str>,
    /// By core: bytes that are durable here and not known to be there.
    pub lag_bytes: Vec<u64>,
}

impl Hub {
    /// What is said to those who are refused then.
    pub(crate) fn why_stuck(&self) -> &'static str {
        // Nobody is waited for to know it better.
        let follows = self.state.try_lock().is_ok_and(|state| following(&state) == usize::from(self.streams));
        if follows { STANDBY_BEHIND } else { NO_STANDBY }
    }

    /// Why nothing is acknowledged now, if nothing is.
    pub fn unacknowledged(&self) -> Option<Unacknowledged> {
        let following = following(&self.lock());
        self.why_none(following)
    }

    fn why_none(&self, following: usize) -> Option<Unacknowledged> {
        match (self.waits(), following == usize::from(self.streams)) {
            (false, _) => None,
            (true, false) => Some(Unacknowledged::NoStandby),
            // One that is a little behind is what they are there to wait for.
            (true, true) => self.is_stuck(Clock::monotonic_ns()).then_some(Unacknowledged::StandbyBehind),
        }
    }

    /// How the standby is doing.
    pub fn status(&self) -> StandbyStatus {
        let state = self.lock();
        let following = following(&state);
        let control = state.followers.get(&CONTROL).filter(|follower| follower.hang_up.is_some());
        let fitness = control.and_then(|follower| follower.fitness);
        let heard_ns = state.followers.values().map(|follower| follower.heard_ns).max();
        let word = |waits| if waits { "backup" } else { "local" };
        StandbyStatus {
            policy: word(self.policy),
            acknowledge: word(self.waits()),
            unacknowledged: self.why_none(following),
            following,
            streams: self.streams,
            // By its own word: it notes durably what it has before it says so.
            caught_up: state.whole
                && control.is_some_and(|it| it.spoke)
                && fitness != Some(Fitness::CatchingUp),
            silent_ms: heard_ns.map(|heard_ns| Clock::monotonic_ns().saturating_sub(heard_ns) / 1_000_000),
            standby: control.map(|follower| format!("{:016x}", follower.node)),
            fitness,
            unfit: fitness.and_then(Fitness::why_not),
            lag_bytes: self.links.iter().map(|link| link.durable().saturating_sub(link.backup())).collect(),
        }
    }

    /// Reads off what is counted of the standby.
    pub(crate) fn read_off(&self, families: &mut Families) {
        let status = self.status();
        let flag = |flag: bool| f64::from(u8::from(flag));
        families.value(
            "frontrow_backup_awaited",
            "1 while answers wait for the standby.",
            flag(self.waits()),
        );
        families.value(
            "frontrow_backup_caught_up",
            "1 while the standby has all but what is on its way.",
            flag(status.caught_up),
        );
        families.gauge(
            "frontrow_backup_fit",
            "1 while the standby could take over, by its own word; absent while it says nothing of it.",
            status.fitness.iter().map(|it| (Labels::new(), flag(it.why_not().is_none()))),
        );
        let lag = status.lag_bytes.iter().enumerate();
        families.gauge(
            "frontrow_backup_lag_bytes",
            "Bytes durable here and not known to be there.",
            lag.map(|(core, &lag)| (vec![("core", core.to_string())], lag as f64)),
        );
    }
}
