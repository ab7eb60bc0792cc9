//! Whether a standby is ready to take over, and why not: for whoever asks `/readyz`, and for an operator without a primary.

use super::dial::Met;
use super::status::{Shared, State, Unready};
use frontrow_engine::Clock;
use std::sync::Arc;

/// A primary that says nothing for so long, in milliseconds, is called silent: four of its words.
const SILENT_MS: u64 = 2000;

/// Why a standby is not ready: a word for machines, and the same in words, with what to do.
pub(super) type NotReady = (&'static str, String);

impl State {
    /// How long ago the primary was heard last, while it is followed.
    pub(super) fn silent_ms(&self, now_ns: u64) -> Option<u64> {
        let heard_ns = self.heard_ns.filter(|_| self.connected)?;
        Some(now_ns.saturating_sub(heard_ns) / 1_000_000)
    }

    /// Why it is not ready, if it is not: ready is what has all that the primary has, applied, and good files.
    pub(super) fn not_ready(&self, now_ns: u64) -> Option<NotReady> {
        if let Some(why) = self.not_applied() {
            return Some(("not_applying", format!("what arrives is not applied: {why}")));
        }
        if let Some(why) = self.files.overdue(now_ns) {
            return Some((
                "catalogue_unread",
                format!("whether the events' files here are good is not known: {why}"),
            ));
        }
        if let Some(why) = self.files.why(now_ns) {
            return Some(("catalogue_damaged", format!("the events' files here are not good: {why}")));
        }
        if !self.connected {
            let trouble = self.trouble.as_deref().unwrap_or("it has ended, and the primary is called again");
            return Some(("no_connection", format!("it has no connection to its primary: {trouble}")));
        }
        if let Some(ms) = self.silent_ms(now_ns).filter(|ms| *ms >= SILENT_MS) {
            let message = format!(
                "it has not heard from its primary for {} s: look there; after ten seconds it is called again",
                ms / 1000
            );
            return Some(("primary_silent", message));
        }
        let standing = self.standing(now_ns);
        if let Err(Unready::Seeding) = standing {
            return Some(("seeding", "it takes in its primary's snapshots: ask again in a while".into()));
        }
        if !self.is_caught_up() {
            return Some(("catching_up", "it has not received all that its primary has: ask again".into()));
        }
        let applying =
            || ("applying", "it has received everything, and is applying it: ask again".to_owned());
        standing.is_err().then(applying)
    }

    /// Whether this node, whose primary is not there, would be promoted if an operator asked for it.
    pub(super) fn could_be_promoted(&self, now_ns: u64) -> bool {
        let is_whole = (self.standing(now_ns).is_ok() && self.has_ended_epochs())
            || (self.plan.is_none() && self.whole_at_rest);
        let is_gone = !self.connected && self.met == Some(Met::Nobody) && self.behind.is_none();
        is_gone && self.not_applied().is_none() && self.files.why(now_ns).is_none() && is_whole
    }
}

/// What is asked of [`State::not_ready`] now.
pub(super) fn not_ready(shared: &Arc<Shared>) -> Option<NotReady> {
    shared.lock().not_ready(Clock::monotonic_ns())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::behind::Behind;
    use frontrow_wal::{DataDir, DirOptions};

    /// Each reason gives way to the next as what it names is mended.
    #[test]
    fn why_it_is_not_ready_is_named_until_everything_is_received_and_applied() {
        let log = tempfile::tempdir().unwrap();
        let dir = DataDir::open(log.path(), DirOptions::new(8)).unwrap();
        let (history, epoch) = (dir.begin_history(false).unwrap(), dir.epoch());
        let mut state = State::default();
        state.broken = Some("a gap".into());
        let now_ns = 60_000_000_000;
        let why = |state: &State| state.not_ready(now_ns).map(|(reason, _)| reason);
        let saw = |state: &State, why: Option<&str>| {
            state.files.begin(now_ns);
            state.files.end(why.map(Into::into));
        };
        saw(&state, Some("1.map.json"));
        assert_eq!(why(&state), Some("not_applying"));
        state.broken = None;
        assert_eq!(why(&state), Some("catalogue_damaged"));
        saw(&state, None);
        state.files.begin(now_ns - 9_900_000_000);
        assert_eq!(why(&state), Some("no_connection"), "the disk may still answer");
        state.files.end(None);
        state.files.begin(now_ns - 10_000_000_000);
        let (reason, message) = state.not_ready(now_ns).unwrap();
        assert!(reason == "catalogue_unread" && message.contains("not returned for 10 s"), "{message}");
        state.files.end(None);
        state.trouble = Some("connection refused".into());
        let (reason, message) = state.not_ready(now_ns).unwrap();
        assert!(reason == "no_connection" && message.contains("refused"), "{message}");
        (state.connected, state.heard_ns) = (true, Some(now_ns - 3_000_000_000));
        let (reason, message) = state.not_ready(now_ns).unwrap();
        assert!(reason == "primary_silent" && message.contains("for 3 s"), "{message}");
        state.heard_ns = Some(now_ns);
        state.seeding = true;
        assert_eq!(why(&state), Some("seeding"));
        state.seeding = false;
        assert_eq!(why(&state), Some("catching_up"));
        (state.plan, state.begun) = (Some((1, dir, history)), 1);
        let stream = state.streams.entry(0).or_default();
        stream.have = (epoch, 900);
        stream.heard((epoch, 900), now_ns);
        assert_eq!(why(&state), Some("applying"), "it has received everything");
        state.applied = vec![0; 8];
        state.streams.entry(0).or_default().reached((epoch, 900));
        assert_eq!(why(&state), None);
        assert!(!state.could_be_promoted(now_ns), "its primary lives");
        state.connected = false;
        for met in [None, Some(Met::Somebody), Some(Met::Silence)] {
            state.met = met;
            assert!(!state.could_be_promoted(now_ns), "{met:?}");
        }
        state.met = Some(Met::Nobody);
        assert!(state.could_be_promoted(now_ns));
        state.behind = Some(Behind::Beside);
        assert!(!state.could_be_promoted(now_ns), "what was sold since is not here");
        state.behind = None;
        saw(&state, Some("1.map.json"));
        assert!(!state.could_be_promoted(now_ns));
    }
}
