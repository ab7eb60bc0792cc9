//! The rules of Frontrow as a deterministic state machine.
//!
//! A [`Partition`] owns some rows of some events and everything decided about them. Its state changes
//! only through [`Partition::apply`], a synchronous function of `(state, operation, time)` that has
//! no clock, no I/O, no randomness and no failure. Live service, replay, a backup and a simulation run the
//! very same function.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`ids`], [`op`], [`answer`], [`rules`] | the vocabulary: names, operations, answers, an event's rules |
//! | `partition` | the function itself, and what all others share |
//! | `claims` | claiming seats of a row, and handing what comes free to who waits |
//! | `holding` | what becomes of a hold: extended, paid, booked, released, run out |
//! | `waiting`, `queue` | fair queues |
//! | `section`, `section_queue`, `lending` | claims and queues over rows on several cores |
//! | `account`, `mail` | seats per user; messages between partitions |
//! | `row`, `row_index`, `bits`, `hold`, `event`, `wheel`, `requests` | the arenas and indexes |
//! | `standing` | who has what, for whoever compares |
//! | `archive`, [`cold`] | an event that is over: read out, let go; how it stands in its archive |
//! | `record` | how an operation stands in the log, with what it caused |
//! | [`replay`] | from the log to partitions, fast |
//! | [`snapshot`], the files `saved` | the whole state as bytes, and back |

mod account;
mod admin;
pub mod answer;
mod archive;
mod bits;
mod claims;
pub mod cold;
mod effects;
mod event;
mod hold;
mod holding;
pub mod ids;
mod lending;
mod mail;
mod nonce;
pub mod op;
mod partition;
mod queue;
pub mod record;
pub mod replay;
mod requests;
mod row;
mod row_index;
pub mod rules;
mod section;
mod section_queue;
pub mod snapshot;
mod standing;
mod waiting;
mod wheel;

pub use answer::{Answer, Code, Fence, flags};
pub use archive::ReadOut;
pub use cold::{ColdBooking, ColdError, ColdEvent, ColdTotals, ColdView};
pub use effects::{Decided, Effects, Push, PushKind};
pub use ids::*;
pub use mail::Letter;
pub use op::*;
pub use partition::{Applied, Limits, MAX_EVENT, Partition};
pub use replay::{Logged, Partitions, ReplayError, ReplayFault, Replayer};
pub use requests::request_time;
pub use row::RowState;
pub use rules::*;
pub use snapshot::{SNAPSHOT_VERSION, SnapshotError, SnapshotHeader};
pub use standing::Standing;
pub use wheel::TICK_MS;

/// Asks the processor to fetch the line at `address`; nothing happens where it has no such instruction.
fn prefetch<T>(address: *const T) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch reads nothing and cannot fault, whatever the address.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast()) };
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks for the first and the last line of what is at `address` and may lie across two.
fn prefetch_ends<T>(address: *const T) {
    prefetch(address);
    prefetch(address.cast::<u8>().wrapping_add(size_of::<T>() - 1));
}
