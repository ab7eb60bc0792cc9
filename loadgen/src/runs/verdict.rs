//! What a run's outcome means for whoever called: exit codes.

use crate::LoadError;
use crate::report::{self, RunReport, Saturation, Tone};

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All is well.
    Good = 0,
    /// The server broke a promise: what it answered cannot be true.
    Violations = 1,
    /// An option, a file, a key or a token is wrong.
    Usage = 2,
    /// There is no server to begin with.
    NoServer = 3,
    /// The figures are worth nothing: the load itself was late, answers got lost, no rate met the objective.
    NotAMeasurement = 4,
    /// The server went away during the run, and did not come back.
    WentAway = 5,
}

impl Verdict {
    /// What a report says: the same as its page and its summary.
    pub fn of(report: &RunReport) -> Self {
        match report::Verdict::of(report, &Saturation::of(report)).tone {
            Tone::Good | Tone::Quick => Self::Good,
            Tone::Doubtful => Self::NotAMeasurement,
            Tone::CutShort => Self::WentAway,
            Tone::Bad => Self::Violations,
        }
    }

    /// The worse of two: of several runs, this is what the whole is worth.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        let rank = |it: Self| match it {
            Self::Good => 0,
            Self::NotAMeasurement => 1,
            Self::WentAway => 2,
            Self::NoServer => 3,
            Self::Usage => 4,
            Self::Violations => 5,
        };
        if rank(other) > rank(self) { other } else { self }
    }
}

impl From<&LoadError> for Verdict {
    fn from(error: &LoadError) -> Self {
        match error {
            LoadError::NoServer { .. }
            | LoadError::NoHost { .. }
            | LoadError::NotHttp { .. }
            | LoadError::Silent { .. }
            | LoadError::Connection { .. } => Self::NoServer,
            LoadError::WentAway { .. } => Self::WentAway,
            LoadError::Wrong(_) => Self::Violations,
            LoadError::Panicked | LoadError::Patience(_) => Self::NotAMeasurement,
            _ => Self::Usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_broken_promise_outweighs_everything() {
        let all = [Verdict::Good, Verdict::NotAMeasurement, Verdict::NoServer, Verdict::Violations];
        for verdict in all {
            assert_eq!(verdict.and(Verdict::Violations), Verdict::Violations);
            assert_eq!(Verdict::Good.and(verdict), verdict);
        }
        let gone = LoadError::NoServer { url: String::new(), reason: String::new() };
        assert_eq!(Verdict::from(&gone), Verdict::NoServer);
        assert_eq!(Verdict::from(&LoadError::Option(String::new())) as u8, 2);
    }
}
