//! The life of a carrier's connections: opened at a bounded rate, looked at for stalls, ended, and what was in
//! flight on them told to the crowd.

use super::carrier::{Carrier, LOOK, Next, OPENING, Opening};
use super::line::{Ender, Stage, Waiting};
use crate::crowd::{Carried, Nanos, Outcome};
use frontrow_engine::LocalNotify;
use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A connection on which nothing was sent for so long says that it is there.
const PING_AFTER: Nanos = 20_000_000_000;

impl<C: Carried> Carrier<C> {
    pub(super) fn disconnect(&mut self, at: usize, abrupt: bool, now: Nanos) {
        let line = &mut self.lines[at];
        match line.stage {
            Stage::Closed => {}
            Stage::Due => {
                self.to_open.retain(|&due| due != at);
                self.finish(at, now);
            }
            Stage::Open | Stage::Closing if !abrupt => {
                (line.stage, line.since) = (Stage::Closing, now);
                line.wake.wake();
            }
            Stage::Opening | Stage::Open | Stage::Closing => {
                (line.stage, line.since, line.dropped) = (Stage::Closing, now, true);
                line.end();
            }
        }
    }

    /// Opens as many of the waiting connections as the rate and the handshakes under way allow.
    pub(super) fn open_some(&mut self, now: Nanos, openings: &mut Vec<Opening>) {
        let rate = u64::from(self.plan.connect_rate);
        // Time that passed with nothing to open gives no right to a burst.
        self.open_at = self.open_at.max(now.saturating_sub(LOOK));
        while self.opening < OPENING && (rate == 0 || self.open_at <= now) {
            let Some(at) = self.to_open.pop_front() else { return };
            let connection = self.connection(at);
            let line = &mut self.lines[at];
            (line.stage, line.since, line.reason) = (Stage::Opening, now, None);
            self.opening += 1;
            self.open_at += 1_000_000_000_u64.checked_div(rate).unwrap_or(0);
            openings.push(Opening { at, generation: self.lines[at].generation, connection });
        }
    }

    /// A socket is connected and hello may be said. `None`: it took so long that it was given up.
    pub(super) fn reached(&mut self, opening: &Opening, ender: Ender) -> Option<LocalNotify> {
        let line = &mut self.lines[opening.at];
        if line.generation != opening.generation || line.stage != Stage::Opening {
            return None;
        }
        line.ender = Some(ender);
        Some(line.wake.clone())
    }

    /// A connection could not be opened, or has ended. Says so to the crowd, once.
    pub(super) fn ended(&mut self, opening: &Opening, reason: &str) {
        let now = self.now();
        let line = &mut self.lines[opening.at];
        if line.generation != opening.generation {
            return;
        }
        let stage = line.stage;
        let reason = line.reason.take().unwrap_or_else(|| reason.to_owned());
        // A connection closed before its welcome counts as under way to the limit of handshakes.
        let was_opening = stage == Stage::Opening || (stage == Stage::Closing && line.slots.is_empty());
        self.opening -= u32::from(was_opening);
        {
            let mut meter = self.meter();
            match stage {
                Stage::Opening => {
                    meter.tally.connect_failed += 1;
                    meter.trouble(&reason);
                }
                Stage::Open => {
                    meter.tally.connections_lost += 1;
                    meter.trouble(&reason);
                }
                Stage::Closed | Stage::Due | Stage::Closing => {}
            }
        }
        self.finish(opening.at, now);
    }

    /// Tells the crowd what became of a line's requests, and that it is closed.
    fn finish(&mut self, at: usize, now: Nanos) {
        let dropped = self.lines[at].dropped;
        // Slots are made with the welcome.
        let was_let_in = !self.lines[at].slots.is_empty();
        self.link.open.fetch_sub(u64::from(was_let_in), Ordering::Relaxed);
        let (slots, waiting) = self.lines[at].close();
        self.in_flight -= slots.len() as u64;
        {
            let mut meter = self.meter();
            let tally = &mut meter.tally;
            let unanswered = if dropped { &mut tally.abandoned } else { &mut tally.unanswered };
            *unanswered += slots.len() as u64;
        }
        for slot in slots {
            self.unknown.insert(slot.tag, slot.id);
            self.crowd.outcome(slot.tag, Outcome::Unknown, now);
        }
        self.never_sent(waiting, now);
        self.crowd.lost(self.connection(at), now);
        self.stirred.wake();
    }

    /// Tells the crowd that requests which were due will not be sent.
    fn never_sent(&mut self, waiting: VecDeque<Waiting>, now: Nanos) {
        self.waiting -= waiting.len() as u64;
        self.meter().tally.unsent += waiting.len() as u64;
        for waiting in waiting {
            if let Some(id) = waiting.id {
                self.unknown.insert(waiting.tag, id);
            }
            self.crowd.outcome(waiting.tag, Outcome::Unknown, now);
        }
    }

    /// The load is over: nothing more is asked. What is in flight may still be answered, as long as patience lasts:
    /// that the load has ended is not the server's doing.
    pub(super) fn close_down(&mut self, now: Nanos) -> Next {
        if self.stopped_at.is_none() {
            self.crowd.stopped(now);
        }
        let since = *self.stopped_at.get_or_insert(now);
        for at in 0..self.lines.len() {
            let waiting = std::mem::take(&mut self.lines[at].waiting);
            if !waiting.is_empty() {
                self.meter().tally.left_over += waiting.len() as u64;
                self.never_sent(waiting, now);
            }
        }
        // Lines are looked at often enough that whatever is unanswered has been given up by then.
        if self.in_flight == 0 || now > since + self.patience + self.patience / 4 {
            self.give_up(now);
            return Next::Done;
        }
        if now >= self.looked_at + LOOK {
            self.look_around(now);
        }
        Next::At(self.looked_at + LOOK)
    }

    /// Looks at some lines for stalls and silence: at all of them within an eighth of the patience.
    pub(super) fn look_around(&mut self, now: Nanos) {
        let passed = now - self.looked_at;
        self.looked_at = now;
        let cycle = (self.patience / 8).max(1);
        let share = (self.lines.len() as u128 * u128::from(passed)).div_ceil(u128::from(cycle)) as usize;
        for _ in 0..share.min(self.lines.len()) {
            let at = self.look;
            self.look = (at + 1) % self.lines.len();
            self.look_at(at, now);
        }
    }

    fn look_at(&mut self, at: usize, now: Nanos) {
        let (patience, connection) = (self.patience, self.connection(at));
        let line = &mut self.lines[at];
        let over = |since: Nanos| now.saturating_sub(since) > patience;
        let wait = Duration::from_nanos(patience);
        match line.stage {
            Stage::Opening if over(line.since) => {
                let reason = format!("no welcome within {wait:?}");
                let opening = Opening { at, generation: line.generation, connection };
                self.lines[at].end();
                self.ended(&opening, &reason);
            }
            Stage::Closing if over(line.since) => {
                let opening = Opening { at, generation: line.generation, connection };
                self.lines[at].end();
                self.ended(&opening, "");
            }
            Stage::Open if line.oldest_sent().is_some_and(over) => {
                let reason = format!("no answer within {wait:?}");
                let opening = Opening { at, generation: line.generation, connection };
                self.lines[at].end();
                self.ended(&opening, &reason);
            }
            Stage::Open if now.saturating_sub(line.sent_at) > PING_AFTER => {
                line.ping_due = true;
                line.wake.wake();
            }
            Stage::Closed | Stage::Due | Stage::Opening | Stage::Open | Stage::Closing => {}
        }
    }

    /// Closes everything, whatever is in flight.
    fn give_up(&mut self, now: Nanos) {
        for at in 0..self.lines.len() {
            if self.lines[at].stage != Stage::Closed {
                self.lines[at].end();
                self.finish(at, now);
            }
        }
        self.link.in_flight.store(0, Ordering::Relaxed);
        self.link.waiting.store(0, Ordering::Relaxed);
    }
}
