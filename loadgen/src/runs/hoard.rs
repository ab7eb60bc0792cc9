//! Who claims every seat of a hall as fast as the server gives them, and walks away: so that as many holds as
//! there are seats end within the same second or two.

use crate::crowd::{Action, Carried, ConnectionId, Hall, Nanos, Outcome, Tag};
use frontrow_protocol::News;
use frontrow_shard::{ClaimSeats, Code, Command, Millis, Seats};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// One load thread's share of the hoarders.
pub(crate) struct Hoard {
    hall: Arc<Hall>,
    connections: Vec<ConnectionId>,
    /// Requests in flight per connection.
    depth: usize,
    /// The next seat to claim: row, place. Seats are dealt row by row, every `step`-th row to this thread.
    next: (usize, u16),
    step: usize,
    /// Connections that may ask for so many more.
    room: Vec<(ConnectionId, usize)>,
    in_flight: usize,
    asked: Tag,
    granted: Arc<AtomicU64>,
    opened: bool,
}

impl Hoard {
    /// For thread `thread` of `threads`; what is granted is added to `granted`.
    pub(crate) fn new(
        hall: Arc<Hall>,
        connections: Vec<ConnectionId>,
        depth: usize,
        (thread, threads): (usize, usize),
        granted: Arc<AtomicU64>,
    ) -> Self {
        Self {
            hall,
            connections,
            depth,
            next: (thread, 0),
            step: threads,
            room: Vec::new(),
            in_flight: 0,
            asked: 0,
            granted,
            opened: false,
        }
    }

    fn claim(&mut self) -> Option<Command> {
        let (at, place) = self.next;
        let row = self.hall.rows().get(at)?;
        self.next = if place + 1 < row.places { (at, place + 1) } else { (at + self.step, 0) };
        let seats = Seats { mask: 1, first: place as u8 };
        Some(Command::ClaimSeats(ClaimSeats { row: row.at, seats }))
    }
}

impl Carried for Hoard {
    fn due(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Nanos> {
        if !std::mem::replace(&mut self.opened, true) {
            out.extend(self.connections.iter().map(|&connection| Action::Connect(connection)));
        }
        for (connection, room) in std::mem::take(&mut self.room) {
            for _ in 0..room {
                let command = self.claim()?;
                // The tag carries the connection, which gets room for one more with the answer.
                let tag = (self.asked << 32) | Tag::from(connection);
                self.asked += 1;
                self.in_flight += 1;
                out.push(Action::Request { connection, tag, intended: now, command, repeats: false });
            }
        }
        None
    }

    fn connected(&mut self, connection: ConnectionId, _now: Nanos, _server_ms: Millis) {
        self.room.push((connection, self.depth));
    }

    fn lost(&mut self, _connection: ConnectionId, _now: Nanos) {}

    fn outcome(&mut self, tag: Tag, outcome: Outcome<'_>, _now: Nanos) {
        self.in_flight = self.in_flight.saturating_sub(1);
        if let Outcome::Answer(reply) = &outcome {
            self.granted.fetch_add(u64::from(reply.answer.code == Code::Granted), Relaxed);
        }
        if !matches!(outcome, Outcome::Unknown) {
            self.room.push((tag as ConnectionId, 1));
        }
    }

    fn news(&mut self, _connection: ConnectionId, _news: &News, _now: Nanos) {}

    fn wind_down(&mut self, _now: Nanos) {
        self.next.0 = self.hall.rows().len();
    }

    fn is_done(&self) -> bool {
        self.opened && self.next.0 >= self.hall.rows().len() && self.in_flight == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_protocol::WireCode;
    use std::collections::HashSet;

    #[test]
    fn every_seat_is_asked_for_once_over_all_threads() {
        let hall = Arc::new(Hall::new(1, &[vec![3, 2], vec![4]]));
        let granted = Arc::new(AtomicU64::new(0));
        let mut asked = HashSet::new();
        for thread in 0..2 {
            let mut hoard = Hoard::new(Arc::clone(&hall), vec![7], 2, (thread, 2), Arc::clone(&granted));
            hoard.connected(7, 0, 0);
            let mut out = Vec::new();
            while !hoard.is_done() {
                hoard.due(0, &mut out);
                for action in out.drain(..) {
                    if let Action::Request { connection, tag, command: Command::ClaimSeats(claim), .. } =
                        action
                    {
                        assert_eq!(connection, 7);
                        assert!(asked.insert((claim.row, claim.seats.first)), "{claim:?} twice");
                        hoard.outcome(tag, Outcome::Error(WireCode::Busy, 1), 0);
                    }
                }
            }
        }
        assert_eq!(asked.len(), 9);
    }
}
