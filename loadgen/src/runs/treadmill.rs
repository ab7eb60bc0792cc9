//! A crowd that keeps so many requests in flight: for the scalability fit, which wants throughput by
//! concurrency and nothing else. Closed-loop on purpose: its latencies are not what a crowd would see.

use crate::crowd::{Action, Carried, ConnectionId, Hall, Nanos, Outcome, Tag};
use frontrow_protocol::News;
use frontrow_shard::{ANY_CATEGORY, ClaimBest, Code, Command, Fence, Millis, Proof, RowRef, UserId, mix};
use std::collections::VecDeque;
use std::sync::Arc;

/// How long a lane pauses that had no answer, so that a dead server is not asked in a tight loop.
const PAUSE_NS: Nanos = 50_000_000;

/// One load thread's connections, each with so many requests in flight: a claim of the best seat of a row,
/// then its release, and so on with another row.
pub(crate) struct Treadmill {
    hall: Arc<Hall>,
    first_user: UserId,
    connections: Vec<ConnectionId>,
    lanes: Vec<Lane>,
    depth: usize,
    /// Lanes that have something to ask.
    ready: Vec<usize>,
    /// Lanes that have again from some time on, earliest first: all wait equally long.
    paused: VecDeque<(Nanos, usize)>,
    in_flight: usize,
    opened: bool,
    winding_down: bool,
}

/// One of the requests that a connection has in flight.
struct Lane {
    turns: u64,
    row: RowRef,
    held: Option<Fence>,
}

impl Treadmill {
    /// For the connections of one thread, `depth` requests on each.
    pub(crate) fn new(
        hall: Arc<Hall>,
        first_user: UserId,
        connections: Vec<ConnectionId>,
        depth: usize,
    ) -> Self {
        let row = hall.rows()[0].at;
        let lane = |_| Lane { turns: 0, row, held: None };
        let lanes = (0..connections.len() * depth).map(lane).collect();
        Self {
            hall,
            first_user,
            connections,
            lanes,
            depth,
            ready: Vec::new(),
            paused: VecDeque::new(),
            in_flight: 0,
            opened: false,
            winding_down: false,
        }
    }

    fn connection(&self, lane: usize) -> ConnectionId {
        self.connections[lane / self.depth]
    }

    /// Releases what the lane holds, or claims in the next row.
    fn command(&mut self, lane: usize) -> Command {
        let connection = self.connection(lane);
        let rows = self.hall.rows();
        let it = &mut self.lanes[lane];
        if let Some(fence) = it.held.take() {
            return Command::Release(Proof { place: it.row, fence });
        }
        it.turns += 1;
        let draw = mix(it.turns ^ mix((u64::from(connection) << 32) | lane as u64));
        it.row = rows[((u128::from(draw) * rows.len() as u128) >> 64) as usize].at;
        Command::ClaimBest(ClaimBest {
            row: it.row,
            count: 1,
            category: ANY_CATEGORY,
            accessible: false,
            or_join: false,
        })
    }
}

impl Carried for Treadmill {
    fn due(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Nanos> {
        if !std::mem::replace(&mut self.opened, true) {
            out.extend(self.connections.iter().map(|&connection| Action::Connect(connection)));
        }
        while let Some(&(_, lane)) = self.paused.front().filter(|(until, _)| *until <= now) {
            self.paused.pop_front();
            self.ready.push(lane);
        }
        for lane in std::mem::take(&mut self.ready) {
            if self.winding_down && self.lanes[lane].held.is_none() {
                continue;
            }
            let command = self.command(lane);
            self.in_flight += 1;
            out.push(Action::Request {
                connection: self.connection(lane),
                tag: lane as Tag,
                intended: now,
                command,
                repeats: false,
            });
        }
        self.paused.front().map(|(until, _)| *until)
    }

    fn connected(&mut self, connection: ConnectionId, _now: Nanos, _server_ms: Millis) {
        if let Some(at) = self.connections.iter().position(|&it| it == connection) {
            self.ready.extend(at * self.depth..(at + 1) * self.depth);
        }
    }

    fn lost(&mut self, _connection: ConnectionId, _now: Nanos) {}

    fn outcome(&mut self, tag: Tag, outcome: Outcome<'_>, now: Nanos) {
        let lane = tag as usize;
        self.in_flight = self.in_flight.saturating_sub(1);
        match outcome {
            Outcome::Answer(reply) => {
                if reply.answer.code == Code::Granted {
                    let user = self.first_user + u64::from(self.connection(lane));
                    self.lanes[lane].held = Some(Fence::of(user, &reply.answer));
                }
                self.ready.push(lane);
            }
            Outcome::Error(..) => self.paused.push_back((now + PAUSE_NS, lane)),
            // The connection is gone; so is the lane.
            Outcome::Unknown => {}
        }
    }

    fn news(&mut self, _connection: ConnectionId, _news: &News, _now: Nanos) {}

    fn wind_down(&mut self, _now: Nanos) {
        self.winding_down = true;
    }

    fn is_done(&self) -> bool {
        self.winding_down && self.in_flight == 0 && self.ready.is_empty() && self.paused.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use frontrow_protocol::WireCode;

    fn requests(treadmill: &mut Treadmill, now: Nanos) -> Vec<(Tag, Command)> {
        let mut out = Vec::new();
        treadmill.due(now, &mut out);
        let request = |action| match action {
            Action::Request { tag, command, .. } => Some((tag, command)),
            _ => None,
        };
        out.into_iter().filter_map(request).collect()
    }

    #[test]
    fn as_many_requests_are_in_flight_as_wanted() {
        let hall = Arc::new(Hall::new(1, &[vec![10, 10]]));
        let mut treadmill = Treadmill::new(hall, 100, vec![0, 2], 3);
        assert_eq!(requests(&mut treadmill, 0), [], "nothing before a connection is open");
        treadmill.connected(2, 1, 0);
        let asked = requests(&mut treadmill, 1);
        assert_eq!(asked.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(), [3, 4, 5]);
        assert_eq!(requests(&mut treadmill, 1), []);
        treadmill.outcome(4, Outcome::Error(WireCode::Busy, 0), 2);
        assert_eq!(requests(&mut treadmill, 3), [], "after a refusal it pauses");
        assert_eq!(requests(&mut treadmill, 2 + PAUSE_NS).len(), 1);
        treadmill.wind_down(3);
        assert!(!treadmill.is_done());
        for tag in [3, 4, 5] {
            treadmill.outcome(tag, Outcome::Unknown, 4);
        }
        assert!(treadmill.is_done());
    }
}
