//! Request ids: made by the client, unique, and dated by a time heard from the server.

use frontrow_shard::{Millis, RequestId};

/// Makes request ids: 48 bits of server time, a 16-bit count, 64 bits that tell clients apart.
///
/// Has neither a clock nor a source of randomness: the caller gives 64 random bits, anew for each value of
/// this type, and passes on every time it hears from the server.
#[derive(Clone, Debug)]
pub struct RequestIds {
    heard_ms: Millis,
    made: u64,
    random: u64,
}

impl RequestIds {
    /// Begins with the time of the welcome and 64 random bits.
    pub const fn new(server_time_ms: Millis, random: u64) -> Self {
        Self { heard_ms: server_time_ms, made: 0, random }
    }

    /// Takes note of a time in an answer, a push or a pong (milliseconds). Time never goes back here.
    pub fn heard(&mut self, server_time_ms: Millis) {
        self.heard_ms = self.heard_ms.max(server_time_ms);
    }

    /// The next id. Never the same twice, however many are made within one millisecond.
    #[allow(clippy::should_implement_trait, reason = "an endless source is not walked through with adapters")]
    pub fn next(&mut self) -> RequestId {
        let count = self.made;
        self.made = self.made.wrapping_add(1);
        // Counts beyond 16 bits go on in the lower half, where every client has its own place to start.
        let low = self.random.wrapping_add(count >> 16);
        let time = u128::from(self.heard_ms & 0xffff_ffff_ffff);
        (time << 80) | (u128::from(count as u16) << 64) | u128::from(low)
    }
}

/// The server time inside a request id, ms since 1970.
pub const fn request_id_time(id: RequestId) -> Millis {
    (id >> 80) as Millis
}

/// The text is not a request id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is 32 hexadecimal digits, or the same as a UUID (8-4-4-4-12): write it so")]
pub struct IdError;

/// The id as 32 lowercase hexadecimal digits, most significant first.
pub fn format_id(id: RequestId) -> String {
    format!("{id:032x}")
}

/// Reads 32 hexadecimal digits, or a UUID with its hyphens; either case of letters.
pub fn parse_id(text: &str) -> Result<RequestId, IdError> {
    let bytes = text.as_bytes();
    let hyphens = match bytes.len() {
        32 => false,
        36 => true,
        _ => return Err(IdError),
    };
    let mut id = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if hyphens && matches!(at, 8 | 13 | 18 | 23) {
            if byte != b'-' {
                return Err(IdError);
            }
            continue;
        }
        let digit = (byte as char).to_digit(16).ok_or(IdError)?;
        id = (id << 4) | u128::from(digit);
    }
    Ok(id)
}
