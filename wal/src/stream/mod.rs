//! The log on its way to a standby: frames, and a state machine for each end. No sockets, no clocks.
//!
//! - [`frame`]: the bytes, drawn in `docs/replication.md`.
//! - [`Sender`]: the primary's end of one connection.
//! - [`Receiver`]: the standby's end.
//! - [`Source`]: what a stream has on disk, from any position on.
//! - [`Mirror`]: writes a stream's segments down as they came, and says what is durable.
//!
//! Bytes go in as they arrive, in pieces of any size; what is to be sent comes out as bytes, what is to be
//! done as events. Whatever does not fit is a [`StreamError`], after which the connection is to be closed.

mod error;
pub mod frame;
mod mirror;
mod receiver;
pub(crate) mod redo;
mod sender;
mod source;

pub use error::{RefusalCode, StreamError};
pub use frame::{
    CLAIM, CONTROL, FILE_PIECE_BYTES, FileMeta, Frame, Hello, PROTOCOL_VERSION, Refusal, SegmentStart,
};
pub use mirror::Mirror;
pub use receiver::{Received, Receiver};
pub use sender::{Heard, Sender};
pub use source::{Piece, SeekError, Source, records, whole_records};

use frame::{Decoder, FRAME_BYTES_MAX, HANDSHAKE_BYTES_MAX};

/// For a fuzzer: arbitrary bytes as a connection's, to both ends and in every state they get them to. Never
/// panics; `data` also comes with headers made good, so that a fuzzer gets past them.
pub fn fuzz_stream(data: &[u8]) {
    let framed = frame::make_good(data);
    for bytes in [data, &framed] {
        for limit in [HANDSHAKE_BYTES_MAX, FRAME_BYTES_MAX] {
            let mut decoder = Decoder::new(limit);
            decoder.push(bytes);
            while let Ok(Some(_)) = decoder.next_frame() {}
        }
        sender::fuzz(bytes);
        receiver::fuzz(bytes);
    }
}
