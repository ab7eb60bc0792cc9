//! Who has booked what: a table kept by the log's changes, and the HTTP side that reads it.
//!
//! Buyers, finance, mail and check-in read here, and never at the shards: a claim is not slower for them.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`booking`] | a booking, its name, and where a page ends |
//! | [`store`] | what can be asked of a table |
//! | [`sqlite`] | the table in a file beside the log: no other program is needed |
//! | [`consume`] | from a topic of Kafka's to a table, and what is set aside on the way |
//! | `postgres` | the table in PostgreSQL, with replicas; a feature |
//! | [`api`] | the routes, and who may see what |
//! | [`behind`] | whether the table may lack what was booked lately, and what an answer says then |
//! | `export` | an event's sales as CSV and NDJSON |

pub mod api;
pub mod behind;
pub mod booking;
pub mod consume;
mod export;
#[cfg(feature = "postgres")]
pub mod postgres;
pub mod sqlite;
pub mod store;

pub use api::{Gate, Refusal, Service, Settled, routes};
pub use behind::{Behind, BehindCode};
pub use booking::{Booking, BookingId, Seats, State};
pub use sqlite::{Sqlite, SqliteSink};
pub use store::{Since, Store, StoreError};
