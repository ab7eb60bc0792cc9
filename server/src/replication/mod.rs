//! Two nodes with the same log: the primary sends, the standby keeps, applies and, when told to, takes over. See
//! `docs/replication.md`.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `link` | what a core and the thread that sends its stream have in common |
//! | `hub` | the primary's side as a whole: who follows, what answers wait for |
//! | `primary` | the primary's sockets and threads |
//! | `standby` | the standby's sockets and threads: one session after the other |
//! | `standby/seeding` | a standby that begins anew, from the primary's snapshots |
//! | `trimmer` | the standby's own snapshots, and its log trimmed |
//! | `applier` | from the standby's log to its partitions |
//! | `files` | the catalogue's files on their way |
//! | `inspector` | whether a standby could serve from the catalogue's files that it has |
//! | `fitness` | whether a standby could take over, as it says to its primary |
//! | `readiness` | why a standby is not ready, and whether it could be promoted |
//! | `behind` | why a standby is known to lack what was sold |
//! | `promote` | an operator's word that a standby is the primary, and what speaks against it |
//! | `followed` | whom a data directory followed |
//! | `predecessor` | who was primary before a promotion, told that it is none any more |
//! | `dial` | calling another node, and who takes the call |
//! | `causes` | what of a log may be promoted |
//! | `closed` | what both nodes have had, with all its causes |
//! | `ends` | both ends without sockets and threads, for the simulator |
//! | `view` | what the applier shows of its partitions, and how |
//! | `early` | HTTP at a standby that has never reached its primary |
//! | `progress` | how far a standby is in one stream |
//! | `status`, `http` | what a standby says of itself, and what can be read there |
//! | `watchers`, `watchers/session` | clients that watch seats at a standby |
//!
//! The bytes and the rules of the conversation are `frontrow_wal::stream`'s.
//!
//! Invariants: a core never waits for a socket or a standby's disk; a standby's position is believed only once all
//! streams have caught up with the epoch under way; a standby never decides anything, and its applier never waits for
//! whoever looks at what is applied.

mod applier;
mod behind;
mod causes;
mod closed;
mod dial;
mod early;
pub mod ends;
mod files;
mod fitness;
pub(crate) mod followed;
mod http;
mod hub;
mod inspector;
mod link;
mod predecessor;
mod primary;
mod progress;
mod promote;
mod readiness;
mod standby;
mod status;
mod trimmer;
mod view;
mod watchers;

pub(crate) use behind::Behind;
pub(crate) use causes::recover_caused;
pub use fitness::Fitness;
pub(crate) use hub::HubParts;
pub use hub::{Hub, StandbyStatus, Unacknowledged};
pub(crate) use link::Check;
pub use predecessor::PredecessorStatus;
pub(crate) use predecessor::{Calling, Claim, Doubt, any_lives};
pub use primary::{ListenError, Listening, Port, bind, listen};
pub use standby::{FollowError, Leader, Promoted, follow};
