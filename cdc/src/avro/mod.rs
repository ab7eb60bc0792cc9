//! The topics' records as Avro: a schema, and values as Confluent's serializers frame them.
//!
//! A value is a zero, the schema's id at the registry in four bytes, and what Avro makes of [`SCHEMA`]. Any reader of Avro
//! finds the schema by the id. Frontrow's own readers need no registry for the schemas they have: the header `schema`
//! says which of Frontrow's schemas it is.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `mod` | the schema, and how a value begins |
//! | `flat` | a message in the shape of the schema |
//! | `write` | its bytes, written by hand |
//! | `schemas` | reading what is of this schema, and of others |

mod flat;
mod schemas;
mod write;

pub use schemas::{Schemas, UnknownSchema};

use crate::change::Change;
use crate::message::Message;
use flat::Flat;

/// The schema of both topics' values. What is published is never changed: a later one is another file, with another number.
pub const SCHEMA: &str = include_str!("../../schema/message.v1.avsc");
/// Its number, in every Avro record's header `schema`.
pub const SCHEMA_VERSION: u32 = 1;
/// Its name, and that of every later one.
pub const SCHEMA_NAME: &str = "frontrow.Message";

/// Bytes before what Avro says.
pub const FRAME: usize = 5;

/// A number that Avro's `long` does not hold. None such can come: records are counted from 1, and times are a clock's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{field} is {value}, and Avro's long ends at 2^63-1: that is no number of a sound log; set kafka.format = \"json\""
)]
pub struct TooLarge {
    /// Which.
    pub field: &'static str,
    /// What it is.
    pub value: u64,
}

/// Adds how a value begins: `id` is the schema's at the registry.
pub fn begin(id: u32, out: &mut Vec<u8>) {
    out.push(0);
    out.extend_from_slice(&id.to_be_bytes());
}

/// Makes a value one of another topic, where the schema has another id.
pub fn set_id(id: u32, value: &mut [u8]) {
    if let Some(bytes) = value.get_mut(1..FRAME) {
        bytes.copy_from_slice(&id.to_be_bytes());
    }
}

/// Whether a value begins so, and with which id. A JSON value begins with a brace.
pub fn id(value: &[u8]) -> Option<u32> {
    let (&first, rest) = value.split_first()?;
    let id = rest.first_chunk().filter(|_| first == 0)?;
    Some(u32::from_be_bytes(*id))
}

/// Adds a change, without how a value begins.
pub fn write_change(change: &Change, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    let mut texts = flat::Texts::default();
    write::write(&Flat::of_change(change, &mut texts), out)
}

/// Adds a message, without how a value begins.
pub fn write(message: &Message, out: &mut Vec<u8>) -> Result<(), TooLarge> {
    match message {
        Message::Change(change) => write_change(change, out),
        other => write::write(&Flat::of_other(other), out),
    }
}

#[cfg(test)]
mod tests;
