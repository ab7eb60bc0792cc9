//! From the log to bookings: what each record of the log changed.
//!
//! [`changes`] is a function of one record and of nothing else, so whoever follows the log can begin at any record, on
//! the primary or on a standby's copy, and gets the same changes under the same names however often.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`change`] | the vocabulary, and how it stands in JSON |
//! | `derive` | which changes a record makes |

pub mod change;
mod derive;

pub use change::{Change, Hold, Kind, Position, RowSeats, Why};
pub use derive::{ChangeError, Record, changes, fuzz_changes};
