//! The table in PostgreSQL: partitioned by user, written by consumers of the topic, read by the HTTP side, from replicas
//! where there are any.
//!
//! A program that keeps it runs [`crate::consume::consume`] over a [`PostgresTable`] on a thread for each consumer; one that
//! reads it opens a [`Postgres`], which is a [`crate::Store`]. docs/bookings.md says what the tables mean.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `mod` | the entry points, and what can be set |
//! | `connection` | one connection, blocking, never longer than it may |
//! | `schema` | the tables, and how they are made and changed |
//! | [`table`] | a plan written as one transaction |
//! | `rows` | bookings as COPY wants them |
//! | [`reads`] | what can be asked |
//! | `servers` | which server is asked: replicas in turn, the primary if none of them will do |
//! | `pool` | connections to one server that are kept, and who waits for one |

mod connection;
mod pool;
pub mod reads;
mod rows;
mod schema;
mod servers;
pub mod table;

pub use connection::PostgresError;
pub use reads::{Applied, Postgres};
pub use table::PostgresTable;

use std::time::Duration;

/// Where it is, and how long anything may take.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The primary: a URL, or `key=value` pairs as libpq has them. With several hosts the one that can be written to is used.
    pub primary: String,
    /// Replicas, for reading.
    pub replicas: Vec<String>,
    /// How long a question may take.
    pub patience: Duration,
    /// How long a transaction of a consumer may take.
    pub write_patience: Duration,
    /// How much older than the primary a replica may be and still be read.
    pub behind: Duration,
    /// Connections for reading, to each server, at most.
    pub connections: usize,
}

impl Settings {
    /// For a primary alone, with the usual limits.
    pub fn of(primary: impl Into<String>) -> Self {
        Self {
            primary: primary.into(),
            replicas: Vec::new(),
            patience: Duration::from_secs(3),
            write_patience: Duration::from_secs(30),
            behind: Duration::from_secs(5),
            connections: 16,
        }
    }
}

/// What a number above 2^63 is in a `bigint`: the negative one with the same bits. Below it is itself.
fn bigint(number: u64) -> i64 {
    number.cast_signed()
}
