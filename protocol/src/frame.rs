//! Cutting a stream of bytes into frames.

use crate::error::SplitError;
use crate::layout::{id_at, u16_at, u32_at};
use frontrow_shard::RequestId;

/// Bytes of a frame's header.
pub const HEADER: usize = 8;
/// The version of the protocol that this crate speaks.
pub const VERSION: u8 = 1;

/// Declares the kinds with their numbers, names, and fixed or least body sizes in one place.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $number:literal $text:literal $size:literal $fixed:literal,)*) => {
        /// What a frame is. Numbers are part of the wire contract: 0x80 and above come from the server.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        #[repr(u8)]
        pub enum Kind { $($(#[$doc])* $name = $number,)* }

        impl Kind {
            /// Every kind.
            pub const ALL: &'static [Self] = &[$(Self::$name,)*];

            /// The name used in messages and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The kind with this number.
            pub const fn from_number(number: u8) -> Option<Self> {
                match number { $($number => Some(Self::$name),)* _ => None }
            }

            /// Bytes of the fixed part of the body: all of it if [`Kind::is_fixed`].
            pub const fn body(self) -> usize {
                match self { $(Self::$name => $size,)* }
            }

            /// Whether every body of this kind has the same length.
            pub const fn is_fixed(self) -> bool {
                match self { $(Self::$name => $fixed,)* }
            }
        }
    };
}

kinds! {
    /// Who connects.
    Hello = 0x01 "hello" 8 false,
    /// Several independent frames in one.
    Batch = 0x02 "batch" 8 false,
    /// Is anybody there, and what time is it?
    Ping = 0x03 "ping" 16 true,
    /// Which core has which partition?
    Topology = 0x04 "topology" 16 true,
    /// Where is this user in a queue, and is there an offer?
    Status = 0x05 "status" 24 true,
    /// Send a section's seats, and every change of them.
    Watch = 0x06 "watch" 24 true,
    /// No more of that.
    Unwatch = 0x07 "unwatch" 24 true,
    /// Claim named seats of a row.
    ClaimSeats = 0x10 "claim" 40 true,
    /// Claim the best seats of a row.
    ClaimBest = 0x11 "claim_best" 32 true,
    /// Claim the best seats of a section.
    ClaimSection = 0x12 "claim_section" 32 true,
    /// Hold for longer.
    Extend = 0x13 "extend" 64 true,
    /// Pin the hold while a payment is in flight.
    BeginPayment = 0x14 "begin_payment" 64 true,
    /// Buy what is held.
    Book = 0x15 "book" 64 true,
    /// Give a hold back.
    Release = 0x16 "release" 64 true,
    /// Give a booking back.
    Cancel = 0x17 "cancel" 64 true,
    /// Wait in a queue.
    Join = 0x18 "join" 32 true,
    /// Stop waiting.
    Leave = 0x19 "leave" 24 true,
    /// The connection is open, and this is what holds on it.
    Welcome = 0x81 "welcome" 48 true,
    /// What the owner of a place decided about a request.
    Answer = 0x82 "answer" 88 false,
    /// A request, or the connection, failed before anybody decided.
    Error = 0x83 "error" 24 false,
    /// A section's seats.
    Snapshot = 0x84 "snapshot" 32 false,
    /// One row's seats have changed.
    Delta = 0x85 "delta" 16 false,
    /// News that nobody asked for.
    Push = 0x86 "push" 72 false,
    /// Which core has which partition.
    TopologyIs = 0x87 "topology" 24 false,
    /// Somebody is there.
    Pong = 0x88 "pong" 24 true,
    /// The server is about to close the connection.
    Goodbye = 0x89 "goodbye" 8 false,
}

impl Kind {
    /// Whether this goes from server to client.
    pub const fn from_server(self) -> bool {
        self as u8 >= 0x80
    }

    /// The header of a frame of this kind with a body of `len` bytes.
    pub(crate) const fn header(self, len: usize) -> [u8; HEADER] {
        let len = (len as u32).to_le_bytes();
        [len[0], len[1], len[2], len[3], VERSION, self as u8, 0, 0]
    }

    /// Appends a header and `N` zero bytes of a body to `out`, and gives the body to be filled in.
    pub(crate) fn append<const N: usize>(self, out: &mut Vec<u8>) -> &mut [u8; N] {
        out.extend_from_slice(&self.header(N));
        let start = out.len();
        out.resize(start + N, 0);
        out[start..].first_chunk_mut().expect("just appended")
    }
}

/// A frame cut from a stream: its kind is not known to exist, its body not known to make sense.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The header's kind.
    pub kind: u8,
    /// What follows the header.
    pub body: &'a [u8],
}

/// Cuts the first frame off `bytes`: the frame and what follows it, or `None` while it is incomplete.
///
/// `max` is the longest body allowed. A header is refused as soon as the offending bytes of it are there,
/// before anybody makes room for what it announces.
pub fn split(bytes: &[u8], max: u32) -> Result<Option<(Frame<'_>, &[u8])>, SplitError> {
    let Some((header, rest)) = bytes.split_first_chunk::<HEADER>() else {
        return partial_header(bytes, max).map(|()| None);
    };
    let len = check_header(*header, max)?;
    if rest.len() < len {
        return Ok(None);
    }
    let (body, rest) = rest.split_at(len);
    Ok(Some((Frame { kind: header[5], body }, rest)))
}

/// How many bytes of a body a header announces, if it is in order.
fn check_header(header: [u8; HEADER], max: u32) -> Result<usize, SplitError> {
    let len = u32_at(&header, 0);
    if len > max {
        return Err(SplitError::TooLarge { len, max });
    }
    if header[4] != VERSION {
        return Err(SplitError::Version { version: header[4] });
    }
    match u16_at(&header, 6) {
        0 => Ok(len as usize),
        flags => Err(SplitError::Reserved { flags }),
    }
}

fn partial_header(bytes: &[u8], max: u32) -> Result<(), SplitError> {
    if let Some(len) = bytes.first_chunk().map(|len| u32::from_le_bytes(*len))
        && len > max
    {
        return Err(SplitError::TooLarge { len, max });
    }
    match bytes.get(4) {
        Some(&version) if version != VERSION => Err(SplitError::Version { version }),
        _ => Ok(()),
    }
}

/// The frames of a buffer, in order; ends at an incomplete one or after an error.
#[derive(Clone, Debug)]
pub struct Frames<'a> {
    rest: &'a [u8],
    max: u32,
    broken: bool,
}

impl<'a> Frames<'a> {
    /// The frames of `bytes`, none with a body longer than `max`.
    pub const fn new(bytes: &'a [u8], max: u32) -> Self {
        Self { rest: bytes, max, broken: false }
    }

    /// The bytes behind the last frame taken: the beginning of an incomplete frame, once this has ended.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Frames<'a> {
    type Item = Result<Frame<'a>, SplitError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.broken {
            return None;
        }
        match split(self.rest, self.max) {
            Ok(None) => None,
            Ok(Some((frame, rest))) => {
                self.rest = rest;
                Some(Ok(frame))
            }
            Err(error) => {
                self.broken = true;
                Some(Err(error))
            }
        }
    }
}

/// The request id that a frame from a client claims to have, even if the frame is otherwise wrong, so that
/// an error can name it; 0 if it cannot have one.
pub fn claimed_id(frame: Frame<'_>) -> RequestId {
    match Kind::from_number(frame.kind) {
        None | Some(Kind::Hello | Kind::Batch) => 0,
        Some(kind) if kind.from_server() || frame.body.len() < 16 => 0,
        Some(_) => id_at(frame.body, 0),
    }
}
