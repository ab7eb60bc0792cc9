//! Who comes, when, and what they do next; and whether what they are told can be true.
//!
//! No I/O and no clock in here: time is nanoseconds since the start of the run, handed in. The same
//! scenario, seed and answers give the same requests.

use frontrow_protocol::Reply;
use frontrow_protocol::{News, WireCode};
use frontrow_shard::{Command, Millis};

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
        /// Ask again with the id of the request that had this tag (its answer was lost with a connection).
        repeats: bool,
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

/// A crowd, as who carries its requests sees it.
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
    /// Whether nobody is under way any more.
    fn is_done(&self) -> bool;
}
