//! Why bytes are not a message.

use crate::codes::WireCode;
use crate::frame::Kind;

/// The stream cannot be cut into frames any more: say why and close the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// The length field exceeds the limit; nothing was read or allocated for it.
    #[error("a frame of {len} bytes is longer than the {max} allowed: send fewer requests in a frame")]
    TooLarge {
        /// Bytes announced.
        len: u32,
        /// Bytes allowed.
        max: u32,
    },
    /// Another version of the protocol, or not this protocol at all.
    #[error("protocol version {version} is not spoken here: set byte 4 of every frame to 1")]
    Version {
        /// The version asked for.
        version: u8,
    },
    /// The reserved half of the header is in use.
    #[error("bytes 6 and 7 of the header are {flags:#06x}: they are reserved, set them to zero")]
    Reserved {
        /// What stands there.
        flags: u16,
    },
}

impl SplitError {
    /// The code to answer with. The connection is beyond use after it.
    pub const fn code(self) -> WireCode {
        match self {
            Self::TooLarge { .. } => WireCode::FrameTooLarge,
            Self::Version { .. } => WireCode::UnsupportedVersion,
            Self::Reserved { .. } => WireCode::Malformed,
        }
    }
}

/// A whole frame that is not a message. The frames after it are not affected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Nothing of this number goes in this direction.
    #[error("kind {kind:#04x} does not go in this direction: see the table of kinds in the protocol")]
    UnknownKind {
        /// The header's kind.
        kind: u8,
    },
    /// The body is too short or too long for its kind, or for the counts in it.
    #[error("a {} has a body of {got} bytes where its layout has {want}: check the counts and the length", .kind.name())]
    Length {
        /// What it claims to be.
        kind: Kind,
        /// Bytes found.
        got: usize,
        /// Bytes wanted, given what had been read until then.
        want: usize,
    },
    /// A field has a value that no message can have.
    #[error("{field} of a {} is out of range: allowed is {allowed}", .kind.name())]
    Field {
        /// What it claims to be.
        kind: Kind,
        /// The field, as the protocol calls it.
        field: &'static str,
        /// What may stand there.
        allowed: &'static str,
    },
    /// A frame inside a batch cannot be cut out.
    #[error(
        "a frame inside a batch is broken ({0}): nothing of the batch has been done, send it again corrected"
    )]
    Batch(SplitError),
}

impl DecodeError {
    /// The code to answer with.
    pub const fn code(self) -> WireCode {
        match self {
            Self::UnknownKind { .. } => WireCode::UnknownKind,
            Self::Batch(inner) => inner.code(),
            Self::Length { .. } | Self::Field { .. } => WireCode::Malformed,
        }
    }

    pub(crate) const fn field(kind: Kind, field: &'static str, allowed: &'static str) -> Self {
        Self::Field { kind, field, allowed }
    }
}
