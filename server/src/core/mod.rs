//! The shard cores: one thread each, one owner per row, nothing shared but what is listed here.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `start` | from a configuration to one thread per core |
//! | `life` | one core on its thread: its log and ports, its tasks, and what reaches it from other threads |
//! | `shared` | what the cores share: routes, limits, senders; what they ask of the process |
//! | `connection`, `transport` | a socket's life; frames over raw TCP and WebSocket |
//! | `dispatch` | from a client's message to the owner of its place |
//! | `pump`, `idle` | the loop: batch, apply, append, commit, release; and what it does without work |
//! | `log_writer` | the commit's writes, on the core's own ring |
//! | `space` | a disk that fills up: what is refused, what goes on |
//! | `staging` | what waits for the log before it may leave |
//! | `message` | what crosses between cores |
//! | `watch`, `users`, `hints`, `changed` | live seats; who is connected where; what is free, roughly; rows to tell of |
//! | `recovery` | from snapshots and the log to partitions |
//! | `sales` | the off-core side's handle: admin operations, queries |
//! | `metrics` | counters of one core, read by anyone |
//!
//! Invariants: no borrow lives across an await; a core never waits for another; nothing leaves before the
//! log position it was decided at is durable; every queue is bounded and refuses when full.

mod buffers;
mod changed;
mod connection;
mod dispatch;
mod error;
mod hints;
mod idle;
mod life;
mod log_writer;
mod message;
mod metrics;
mod pump;
mod recovery;
mod room;
mod sales;
mod shared;
mod space;
mod staging;
mod start;
mod state;
mod transport;
mod users;
mod watch;

pub use message::Audit;
pub(crate) use message::ConnId;
pub use recovery::{Recovered, RecoveryError, recover};
pub(crate) use recovery::{load, logged};
pub use sales::Handle;
pub(crate) use start::cpu_set;
pub(crate) use transport::{Incoming, Ws};
pub(crate) use watch::Watched;

pub use error::CoreError;
pub use life::serve_core;
pub use shared::Host;
pub(crate) use start::reserve;
pub use start::{Plan, Seat, Setup, Starting, Threads, launch, plan};
