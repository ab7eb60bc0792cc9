//! Whether a standby could take over, as it tells its primary: a number in its heartbeat, where an earlier version says 0.

use super::behind::Behind;
use super::status::State;
use frontrow_engine::Clock;

/// What a standby says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Fitness {
    /// Nothing is known that would keep it from taking over, once it has caught up.
    Fit,
    /// The events' files there are damaged, missing, or not to be read.
    Catalogue,
    /// No readable snapshot there leads up to its log.
    NoSnapshot,
    /// It has not had all that its primary had when it began to follow, or not yet noted that it has.
    CatchingUp,
    /// What it lacks is not known: the file that says so cannot be read.
    Unsure,
    /// A reason that this version does not know.
    Other,
}

impl Fitness {
    /// What a standby knows of itself.
    pub(super) fn of(state: &State) -> Self {
        match (&state.baseless, state.files.why(Clock::monotonic_ns()), &state.behind) {
            (Some(_), _, _) => Self::NoSnapshot,
            (None, Some(_), _) => Self::Catalogue,
            (None, None, Some(Behind::Unreadable(_))) if state.has_caught_up_once() => Self::Unsure,
            (None, None, None) if state.has_caught_up_once() => Self::Fit,
            (None, None, _) => Self::CatchingUp,
        }
    }

    /// The number that says it.
    pub(super) fn word(self) -> u64 {
        match self {
            Self::Fit => 1,
            Self::Catalogue => 2,
            Self::NoSnapshot => 3,
            Self::CatchingUp => 4,
            Self::Unsure => 5,
            Self::Other => u64::MAX,
        }
    }

    /// What a number says; nothing, if the standby does not speak of it.
    pub(super) fn heard(word: u64) -> Option<Self> {
        match word {
            0 => None,
            1 => Some(Self::Fit),
            2 => Some(Self::Catalogue),
            3 => Some(Self::NoSnapshot),
            4 => Some(Self::CatchingUp),
            5 => Some(Self::Unsure),
            _ => Some(Self::Other),
        }
    }

    /// Why it could not take over, with what to do; nothing, if it could, or will by itself.
    pub(super) fn why_not(self) -> Option<&'static str> {
        match self {
            Self::Fit | Self::CatchingUp => None,
            Self::Unsure => Some(
                "what it lacks is not known, for BEHIND in its data directory cannot be read; it has caught up, so remove that, and \
                 restart it",
            ),
            Self::Catalogue => Some(
                "the events' files there are damaged or missing, or cannot be read; `frontrow status` there says which. If its disk \
                 answers, restart it: what is good here is sent to it when it connects",
            ),
            Self::NoSnapshot => Some(
                "no readable snapshot there leads up to its log; it asks this primary for a seed by itself",
            ),
            Self::Other => Some("for a reason that this version does not know; ask `frontrow status` there"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_is_what_is_heard_and_an_earlier_standby_says_nothing() {
        let known =
            [Fitness::Fit, Fitness::Catalogue, Fitness::NoSnapshot, Fitness::CatchingUp, Fitness::Unsure];
        for one in known.into_iter().chain([Fitness::Other]) {
            assert_eq!(Fitness::heard(one.word()), Some(one));
        }
        assert_eq!(Fitness::heard(0), None);
        assert_eq!(Fitness::heard(77), Some(Fitness::Other), "a later standby has more reasons");
    }

    #[test]
    fn a_standby_without_a_base_or_with_damaged_files_could_not_take_over() {
        let mut state = State::default();
        assert_eq!(Fitness::of(&state), Fitness::CatchingUp, "its primary has said nothing yet");
        state.streams.entry(0).or_default().heard((1, 0), 1);
        assert_eq!(Fitness::of(&state), Fitness::Fit);
        state.behind = Some(Behind::Begun);
        assert_eq!(Fitness::of(&state), Fitness::CatchingUp, "it is about to note that it has all");
        state.behind = Some(Behind::Unreadable("it is damaged".into()));
        assert_eq!(Fitness::of(&state), Fitness::Unsure);
        state.files.begin(Clock::monotonic_ns());
        state.files.end(Some("1.json is damaged".into()));
        assert_eq!(Fitness::of(&state), Fitness::Catalogue);
        state.baseless = Some("a seed is asked for".into());
        assert_eq!(Fitness::of(&state), Fitness::NoSnapshot);
    }
}
