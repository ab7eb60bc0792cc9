//! From the log to bookings: what each record of the log changed.
//!
//! [`changes`] is a function of one record and of nothing else, so whoever follows the log can begin at any record, on
//! the primary or on a standby's copy, and gets the same changes under the same names however often.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`change`] | the vocabulary, and how it stands in JSON |
//! | `derive` | which changes a record makes |
//! | `state` | the changes that stand for a state, where the log does not go back so far |
//! | [`follow`] | from the log being written to batches of changes |
//! | [`sink`] | what takes them |
//! | [`source`] | where others read them: a topic |
//! | [`message`] | how they are told to readers outside |
//! | `json` | a change as JSON, fast |
//! | [`avro`] | messages as Avro, fast, and the schema |

pub mod avro;
pub mod change;
mod derive;
pub mod follow;
mod json;
pub mod message;
pub mod sink;
pub mod source;
mod state;

pub use change::{Change, Hold, Kind, Position, RowSeats, Why};
pub use derive::{ChangeError, Record, changes, fuzz_changes};
pub use follow::{FollowError, Follower};
pub use json::Digits;
pub use message::Message;
pub use sink::{Batch, Begun, Mark, Marks, Places, Sink, SinkError};
pub use state::{booked, stand_in};
