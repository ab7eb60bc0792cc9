//! What crosses a wire: frames, messages, their JSON form, errors and limits. No I/O, no clock.
//!
//! A [`ClientMessage`] goes to the server, a [`ServerMessage`] comes back. Both exist as binary frames
//! (raw TCP, WebSocket binary; decoded in place, without allocation for whatever is hot) and as JSON
//! objects (WebSocket text). `docs/protocol.md` describes every byte, and tests hold it to this code.

mod client;
mod codes;
mod error;
mod frame;
pub mod fuzz;
mod ids;
mod json;
mod layout;
mod limits;
mod rows;
mod server;
mod server_decode;
mod server_encode;
mod token;

pub use client::{
    Batch, BatchError, ClientMessage, FEATURE_STANDBY, Hello, decode_client, encode_batch, encode_client,
};
pub use codes::{Advice, WireCode, advice};
pub use error::{DecodeError, SplitError};
pub use frame::{Frame, Frames, HEADER, Kind, VERSION, claimed_id, split};
pub use ids::{IdError, RequestIds, format_id, parse_id, request_id_time};
pub use json::{JsonError, JsonProblem, decode_client_json, encode_client_json, encode_server_json};
pub use limits::{
    ConnectionLimits, DEFAULT_MAX_FRAME, MAX_BATCH, MAX_CORES, MAX_MESSAGE, MAX_TOKEN, MIN_MAX_FRAME,
};
pub use rows::{Delta, RowSeats, RowSnapshot, Rows, SeatSet};
pub use server::{
    CoreAddress, Durability, ErrorReply, Goodbye, News, NewsKind, Reply, ServerMessage, Snapshot, Topology,
    Welcome,
};
pub use server_decode::decode_server;
pub use server_encode::{
    encode_delta, encode_error, encode_goodbye, encode_news, encode_pong, encode_reply, encode_server,
    encode_snapshot, encode_topology, encode_welcome,
};
pub use token::{TokenError, format_token, parse_token};
