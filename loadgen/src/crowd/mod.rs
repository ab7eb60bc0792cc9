//! Who comes, when, and what they do next; and whether what they are told can be true.
//!
//! No I/O and no clock in here: time is nanoseconds since the start of the run, handed in. The same
//! scenario, seed and answers give the same requests.

mod annotated;
mod arrivals;
mod check;
mod dice;
mod hall;
mod inspect;
mod interest;
mod lines;
mod notes;
mod people;
mod person;
mod play;
mod presets;
mod replies;
mod scenario;
mod slab;
mod steps;
mod timers;
mod trouble;
mod verify;

pub use annotated::annotated;
pub use check::ScenarioError;
pub use hall::{Hall, HallRow};
pub use lines::spread_cores;
pub use people::Crowd;
pub use scenario::{
    Arrivals, Behaviour, Closeness, EventWish, Group, HallWish, Interest, PartySizes, Scenario, Shape, Storm,
    Think,
};
pub use verify::{Books, FinalSeat, Kind, Lived, SeatState, Verifier, Waited};

use frontrow_protocol::{News, Reply, Topology, WireCode};
use frontrow_shard::{Command, Millis, RowRef};
use std::sync::Arc;

/// Nanoseconds since the start of the run.
pub type Nanos = u64;
/// Index of a connection, which is also one user.
pub type ConnectionId = u32;
/// Tells the answer to one request from others; chosen by the crowd, opaque to who carries it.
pub type Tag = u64;

/// What a crowd wants done now.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Open this connection (it was closed, or never open).
    Connect(ConnectionId),
    /// Close it, politely or (`abrupt`) as a phone in a tunnel would.
    Disconnect {
        /// Which.
        connection: ConnectionId,
        /// Without a word.
        abrupt: bool,
    },
    /// Send a request.
    Request {
        /// On this connection.
        connection: ConnectionId,
        /// Its answer comes back with this tag.
        tag: Tag,
        /// When it was due: latency counts from here.
        intended: Nanos,
        /// What is asked.
        command: Command,
        /// Ask again with the id of the request that had this tag (its answer was lost with a connection). Only tags
        /// whose last word was [`Outcome::Unknown`] are asked again.
        repeats: bool,
    },
    /// Ask where the user stands at a place. Answered like a request.
    Status {
        /// On this connection.
        connection: ConnectionId,
        /// Its answer comes back with this tag.
        tag: Tag,
        /// When it was due.
        intended: Nanos,
        /// The row or section.
        place: RowRef,
    },
}

/// What came back for a request.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome<'a> {
    /// A decision.
    Answer(&'a Reply),
    /// A wire error: code and `retry_after_ms`.
    Error(WireCode, u32),
    /// The connection ended before an answer came: it may have been done or not.
    Unknown,
}

/// A crowd, as who carries its requests sees it. What an answer, news or a connection brings about comes out of the
/// next `due`, which is to be called soon after.
pub trait Carried {
    /// Appends all that is due at `now` to `out`, and says when something is due next (`None`: only answers
    /// can bring more).
    fn due(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Nanos>;
    /// A connection is open; `server_ms` is the server's time.
    fn connected(&mut self, connection: ConnectionId, now: Nanos, server_ms: Millis);
    /// A connection could not be opened, or ended. Requests in flight on it get [`Outcome::Unknown`] first.
    fn lost(&mut self, connection: ConnectionId, now: Nanos);
    /// What became of a request.
    fn outcome(&mut self, tag: Tag, outcome: Outcome<'_>, now: Nanos);
    /// News for the user of a connection.
    fn news(&mut self, connection: ConnectionId, news: &News, now: Nanos);
    /// No new visits from now on; those under way may end.
    fn wind_down(&mut self, now: Nanos);
    /// The load ends: nothing is asked any more, whatever is due.
    fn stopped(&mut self, _now: Nanos) {}
    /// Whether nobody is under way any more.
    fn is_done(&self) -> bool;
}

/// Which connections lead to which core, and which core has which row.
#[derive(Clone, Debug)]
pub struct Routing {
    /// The server's topology.
    pub topology: Topology,
    /// The core that each connection leads to; see [`spread_cores`].
    pub connection_core: Vec<u16>,
}

/// How a scenario is played.
#[derive(Clone, Debug)]
pub struct CrowdPlan {
    /// The same seed brings the same people.
    pub seed: u64,
    /// Connections, of all threads together; each is one user.
    pub connections: u32,
    /// Load threads; connection `c` belongs to thread `c % threads`.
    pub threads: u16,
    /// The user of connection 0; connection `c` is user `first_user + c`.
    pub first_user: u64,
    /// With it, a visit for a row goes to a connection that leads to the row's core.
    pub routing: Option<Routing>,
}

/// The crowds of a scenario, one per load thread, and the verifier of all answers they get.
pub fn crowds(
    scenario: &Scenario,
    hall: &Arc<Hall>,
    plan: &CrowdPlan,
) -> Result<(Vec<Crowd>, Verifier), ScenarioError> {
    scenario.check(hall)?;
    let threads = plan.threads.max(1);
    let topology = plan.routing.as_ref().map(|routing| &routing.topology);
    let play = Arc::new(play::Play::new(scenario, hall, plan.first_user, topology));
    let shared = verify::Shared::new(hall, threads);
    let crowd = |thread| {
        let cores = plan.routing.as_ref().map_or(&[][..], |routing| &routing.connection_core);
        let lines = lines::Lines::new(plan.connections, thread, threads, &scenario.groups, cores);
        let notes = notes::Notes::new(Arc::clone(&shared), thread);
        Crowd::new(Arc::clone(&play), lines, notes, plan.seed, thread, threads)
    };
    Ok(((0..threads).map(crowd).collect(), Verifier::new(shared)))
}
