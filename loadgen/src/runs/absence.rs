//! When the server was away: nothing connected, connections lost or refused, and no word from `/metrics`.
//!
//! Time and what was seen come in, so that it can be tested without a server. That nothing is connected is not enough:
//! a crowd may drop all its connections at once, and a server under load may be late with its metrics.

use crate::drive::Doors;
use crate::report::model::Away;

/// Watches for the server's absence. Times are seconds of the watch.
#[derive(Debug)]
pub(crate) struct Absence {
    /// How long it may last before the run ends.
    patience_s: f64,
    /// When a connection was last seen open, and what had been counted by then.
    last_s: f64,
    last: Doors,
    /// How the doors stood when they were last looked at.
    seen: Doors,
    away: Vec<Away>,
    /// How the doors stood before the last of them.
    before: Doors,
}

impl Absence {
    /// From a moment at which the server let somebody in.
    pub(crate) fn new(now_s: f64, patience_s: f64) -> Self {
        let none = Doors::default();
        Self { patience_s, last_s: now_s, last: none, seen: none, away: Vec::new(), before: none }
    }

    /// Takes in how the doors stand. True: it looks like an absence, so ask the server's `/metrics`.
    pub(crate) fn see(&mut self, now_s: f64, doors: Doors) -> bool {
        self.seen = doors;
        if doors.open > 0 {
            self.back(now_s);
            (self.last_s, self.last) = (now_s, doors);
            return false;
        }
        !self.is_away() && doors.failed > self.last.failed
    }

    /// The metrics could not be read either: away since a connection was last open.
    pub(crate) fn confirm(&mut self) {
        if !self.is_away() {
            self.count_reopened(self.last.let_in);
            // Some may have come and been lost between two looks.
            let missed = self.seen.let_in.saturating_sub(self.last.let_in);
            self.before = Doors { open: self.last.open + missed, ..self.seen };
            self.away.push(Away { from_s: self.last_s, ..Away::default() });
        }
    }

    /// The server was found gone at `now_s`, when nobody was connected any more by the crowd's own wish.
    pub(crate) fn gone_at(&mut self, now_s: f64) {
        self.last_s = now_s;
        self.confirm();
    }

    /// The server is there again.
    pub(crate) fn back(&mut self, now_s: f64) {
        if let Some(away) = self.away.last_mut() {
            away.to_s.get_or_insert(now_s);
        }
    }

    /// Since when the server has been away, if it is.
    pub(crate) fn since_s(&self) -> Option<f64> {
        self.away.last().filter(|away| away.to_s.is_none()).map(|away| away.from_s)
    }

    fn is_away(&self) -> bool {
        self.since_s().is_some()
    }

    /// Whether it has been away for longer than anybody waits.
    pub(crate) fn is_over(&self, now_s: f64) -> bool {
        self.since_s().is_some_and(|since_s| now_s - since_s > self.patience_s)
    }

    /// The run ends because it has been away for too long.
    pub(crate) fn give_up(&mut self) {
        if let Some(away) = self.away.last_mut().filter(|away| away.to_s.is_none()) {
            away.gave_up_after_s = Some(self.patience_s);
        }
    }

    /// All absences; `let_in` connections were opened in the whole run.
    pub(crate) fn end(mut self, let_in: u64) -> Vec<Away> {
        self.count_reopened(let_in);
        self.away
    }

    /// Whatever was let in since the last absence came back after it; what came and went later on is not counted.
    fn count_reopened(&mut self, let_in: u64) {
        if let Some(away) = self.away.last_mut().filter(|away| away.to_s.is_some()) {
            away.reopened = let_in.saturating_sub(self.before.let_in).min(self.before.open);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn doors(open: u64, let_in: u64, failed: u64) -> Doors {
        Doors { open, let_in, failed }
    }

    #[test]
    fn a_server_that_comes_back_was_away_from_its_last_connection_to_its_next() {
        let mut absence = Absence::new(1.0, 10.0);
        assert!(!absence.see(1.1, doors(0, 0, 0)), "nobody has been refused yet");
        assert!(!absence.see(2.0, doors(50, 50, 0)));
        assert!(absence.see(2.1, doors(0, 50, 50)), "all lost: ask");
        absence.confirm();
        assert!(!absence.see(2.2, doors(0, 50, 60)), "known by now");
        assert!(!absence.is_over(11.9) && absence.is_over(12.1));
        assert!(!absence.see(7.0, doors(1, 51, 90)));
        assert_eq!(absence.since_s(), None);
        absence.see(8.0, doors(50, 107, 90));
        assert!(absence.see(8.1, doors(0, 107, 140)));
        absence.confirm();
        let both = [
            Away { from_s: 2.0, to_s: Some(7.0), reopened: 50, gave_up_after_s: None },
            Away { from_s: 8.0, ..Away::default() },
        ];
        assert_eq!(absence.end(107), both);
    }

    #[test]
    fn a_server_that_comes_back_too_late_was_given_up() {
        let mut absence = Absence::new(0.0, 10.0);
        absence.see(1.0, doors(50, 50, 0));
        assert!(absence.see(1.1, doors(0, 50, 50)));
        absence.confirm();
        assert!(absence.is_over(11.5));
        absence.give_up();
        absence.back(12.0);
        let late = Away { from_s: 1.0, to_s: Some(12.0), reopened: 0, gave_up_after_s: Some(10.0) };
        assert_eq!(absence.end(50), [late]);
    }

    #[test]
    fn connections_that_came_and_were_lost_between_two_looks_were_there() {
        let mut absence = Absence::new(0.0, 10.0);
        assert!(absence.see(0.1, doors(0, 50, 50)), "fifty were let in, and are lost: ask");
        absence.confirm();
        absence.see(0.2, doors(30, 80, 50));
        assert_eq!(absence.end(81), [Away { to_s: Some(0.2), reopened: 31, ..Away::default() }]);
    }

    #[test]
    fn connections_that_the_crowd_drops_are_no_absence() {
        let mut absence = Absence::new(0.0, 10.0);
        absence.see(1.0, doors(50, 50, 3));
        assert!(!absence.see(1.1, doors(0, 50, 3)), "none lost, none refused");
        absence.gone_at(5.0);
        assert_eq!(absence.end(50), [Away { from_s: 5.0, ..Away::default() }]);
    }
}
