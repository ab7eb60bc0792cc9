//! The rules of Frontrow as a deterministic state machine.
//!
//! A [`Partition`] owns some rows of some events and everything decided about them. Its state changes
//! only through [`Partition::apply`], a synchronous function of `(state, operation, time)` that has
//! no clock, no I/O, no randomness and no failure. Live service, replay, a backup and a simulation run the
//! very same function.

pub mod answer;
pub mod ids;
pub mod op;
pub mod rules;

pub use answer::{Answer, Code, Fence, flags};
pub use ids::*;
pub use op::*;
pub use rules::*;
