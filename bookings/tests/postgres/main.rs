//! The table in a real PostgreSQL, started once for all of these.

#![allow(missing_docs, clippy::cast_possible_wrap, reason = "tests, with small numbers")]

mod common;
mod kill;
mod model;
mod reads;
mod schema;
