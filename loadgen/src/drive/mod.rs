//! Carries a crowd's requests to a server and its answers back, open-loop.
//!
//! **Open loop** means: a request is sent when it is due, whether or not earlier ones have been answered, as
//! real people do who know nothing of each other. Where it cannot be sent (the connection has `depth`
//! requests in flight, the socket takes no more, the load thread itself is late) it waits, and its latency
//! counts from when it was **due**. A tool that waits for answers before it asks again measures a stall once
//! per connection, though everybody who would have come meanwhile had to wait as well: Gil Tene calls it
//! *coordinated omission* ("How NOT to Measure Latency", 2013; the correction by intended time is that of his
//! wrk2). Both latencies are kept here, so that the difference shows: [`Tally::latency`] from the intended
//! time, [`Tally::uncorrected`] from the actual send.
//!
//! One load thread carries one [`Carried`] crowd and its share of the connections. In each turn it asks the
//! crowd what is due, and whatever is due for a connection leaves in one send; whatever one receive brings
//! is taken together. Nothing is allocated per request once buffers have grown.
//!
//! - `carrier`, `line`: what happens, without I/O: which request goes where, which answer belongs to it.
//! - `tcp`: connections on a Frontrow engine. `websocket`: the same on tokio.
//! - `metronome`: wakes a load thread when something is due.
//! - `tally`: what is counted. `plan`: where to, how, and whether this process may.

mod carrier;
mod driving;
mod life;
mod line;
mod metronome;
mod plan;
mod probe;
mod tally;
mod tcp;
mod unknown;
mod websocket;

pub use driving::{Doors, Driving, start};
pub use plan::{DrivePlan, Transport};
pub(crate) use tally::empty_histogram;
pub use tally::{Class, Tally};
