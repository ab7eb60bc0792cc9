//! The load generator and capacity planner: what a Frontrow server holds, and what saturates first.
//!
//! - [`crowd`]: who comes, when, and what they do next. Scenarios, seeded people, and the check of every
//!   answer they get. No I/O, no clock: time and answers come in, requests come out.
//! - [`drive`]: carries the crowd's requests to a server and its answers back, open-loop: at the intended
//!   time, whether or not earlier ones are answered. Raw TCP on a Frontrow engine, WebSocket on tokio.
//! - [`report`]: what came of a run. One model, written as JSON, histograms, a page, a summary; compared
//!   with another run; fitted and turned into an answer for the planner.
//! - [`peers`]: the same claims put on Redis and PostgreSQL in the same run, and the ratios.
//! - [`selftest`]: is what [`drive`] measures true? Against a server double whose truth is known.
//! - [`options`], [`runs`]: the command line, and what it starts: one run, a search, a ramp, a soak.
//! - [`observe`]: what is looked at once a second meanwhile.
//! - [`table`]: closed-loop tables of claims beside a bare echo server, one process, pinned, interleaved.

/// A line on standard error. Whoever has stopped reading (`2>&1 | head`) ends nothing by it.
macro_rules! tell {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod child;
pub mod crowd;
pub mod drive;
mod error;
mod machine;
pub mod observe;
pub mod options;
pub mod peers;
pub mod report;
pub mod runs;
pub mod selftest;
pub mod table;

pub use error::LoadError;
pub use machine::Machine;
