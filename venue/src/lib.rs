//! Seating plans: what a hall looks like, before anything is sold in it.
//!
//! A [`Plan`] is sections of rows of seats. Seats stand in a row in the order of their *place*, and
//! [`Seat::aisle_after`] says where the row is broken by an aisle; seat numbers say nothing about
//! who sits next to whom. The JSON form of a plan is what the server stores and what a seat map
//! reads.
//!
//! | from | with |
//! | --- | --- |
//! | pretix's seating-plan JSON | [`pretix::import`] |
//! | a spreadsheet | [`csv::import`] |
//! | a stored plan | [`native::import`] |
//! | whatever it is | [`import`] (asks [`detect`]) |
//! | nothing: a load test | [`stadium::generate`] |
//!
//! Every importer returns the plan with a [`Report`] of what it read, or **all** of its
//! [`ImportErrors`], each with its place and its remedy. No input makes an importer panic.

mod arrange;
mod check;
pub mod csv;
mod detect;
mod errors;
mod layout;
pub mod limits;
pub mod native;
mod plan;
pub mod pretix;
mod report;
pub mod stadium;
#[cfg(test)]
mod tests;

pub use detect::{Format, detect, fuzz_decode, import};
pub use errors::{ImportError, ImportErrorKind, ImportErrors};
pub use plan::{Category, Plan, Point, Row, Seat, SeatPlace, Section, Size};
pub use report::{CategoryCount, IgnoredKey, Report};

/// A real hall in pretix's format: 6 blocks, 63 rows, 1222 seats. For examples and tests.
pub const SAMPLE_HALL: &str = include_str!("../../examples/venues/riethsporthalle-erfurt.json");
