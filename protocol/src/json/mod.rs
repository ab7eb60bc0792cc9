//! The same messages as JSON, for WebSocket text: one object, or an array of them for a batch.

mod client;
mod problem;
mod scan;
mod server;
mod write;

pub use client::{decode_client_json, encode_client_json};
pub use problem::{JsonError, JsonProblem};
pub use server::encode_server_json;
