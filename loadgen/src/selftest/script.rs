//! The crowd of the self-test: one claim after the other, at even distances, or each after the last answer.

use crate::crowd::{Action, Carried, ConnectionId, Nanos, Outcome, Tag};
use frontrow_engine::Clock;
use frontrow_protocol::News;
use frontrow_shard::{ClaimSeats, Command, Millis, RowRef, Seats};
use std::time::Duration;

/// When the next request is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// When it is due.
    Open,
    /// When it is due and the one before has been answered.
    Closed,
}

pub(super) struct Script {
    requests: u64,
    interval: Nanos,
    pace: Pace,
    /// When the first request is due, in the run's time and on the process's clock.
    began: Option<(Nanos, u64)>,
    asked: u64,
    answered: u64,
    connecting: bool,
}

impl Script {
    pub(super) fn new(requests: u64, interval: Duration, pace: Pace) -> Self {
        let interval = interval.as_nanos() as u64;
        Self { requests, interval, pace, began: None, asked: 0, answered: 0, connecting: false }
    }

    /// When each request was due, on the process's monotonic clock.
    pub(super) fn intended(&self) -> Vec<u64> {
        let began = self.began.map_or(0, |(_, clock)| clock);
        (0..self.asked).map(|number| began + number * self.interval).collect()
    }
}

impl Carried for Script {
    fn due(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Nanos> {
        if !std::mem::replace(&mut self.connecting, true) {
            out.push(Action::Connect(0));
        }
        let (began, _) = self.began?;
        while self.asked < self.requests && (self.pace == Pace::Open || self.asked == self.answered) {
            let intended = began + self.asked * self.interval;
            if intended > now {
                return Some(intended);
            }
            // The row tells the double's record which request it was.
            let row = RowRef::new(1, 0, self.asked as u16);
            let command = Command::ClaimSeats(ClaimSeats { row, seats: Seats { mask: 1, first: 0 } });
            out.push(Action::Request { connection: 0, tag: self.asked, intended, command, repeats: false });
            self.asked += 1;
        }
        None
    }

    fn connected(&mut self, _: ConnectionId, now: Nanos, _: Millis) {
        // Both clocks run alike; they differ by when the run began.
        let offset = Clock::monotonic_ns().saturating_sub(now);
        self.began.get_or_insert((now, now + offset));
    }

    fn lost(&mut self, _: ConnectionId, _: Nanos) {
        self.requests = self.asked;
    }

    fn outcome(&mut self, _: Tag, _: Outcome<'_>, _: Nanos) {
        self.answered += 1;
    }

    fn news(&mut self, _: ConnectionId, _: &News, _: Nanos) {}

    fn wind_down(&mut self, _: Nanos) {
        self.requests = self.asked;
    }

    fn is_done(&self) -> bool {
        self.asked == self.requests && self.answered == self.asked
    }
}
