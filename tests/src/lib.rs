//! What the tests of whole servers share: a server as a process of its own, and a client at the level of
//! the wire that counts every answer.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `server` | starting, stopping and killing a server; its configuration and folder |
//! | `wire`, `json` | one connection: frames over TCP, frames or JSON over a WebSocket |
//! | `session` | one user: requests and exactly one answer each, news, coming back after a lost connection |
//! | `hall` | the sample hall's rows, and what is asked of them |
//! | `ledger` | who booked what, who waited since when and was served when, and what is wrong with that |
//! | `rng` | numbers that only look random |

pub mod hall;
pub mod json;
pub mod ledger;
pub mod rng;
pub mod server;
pub mod session;
pub mod wire;

use std::time::Duration;

/// Runs a whole test on this thread, and fails with `dump`'s words if it takes longer than `limit`.
pub fn run<F: Future>(limit: Duration, dump: impl Fn() -> String, test: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let outcome = runtime.block_on(async { tokio::time::timeout(limit, test).await });
    match outcome {
        Ok(output) => output,
        Err(_elapsed) => panic!("not finished within {limit:?}; this is how things stand:\n{}", dump()),
    }
}

/// Milliseconds since an arbitrary moment, for what the tests print.
pub fn clock_ms() -> u64 {
    frontrow_engine::Clock::monotonic_ns() / 1_000_000
}
