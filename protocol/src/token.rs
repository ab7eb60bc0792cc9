//! A hold's token as text: one opaque string for JSON clients and the command line.

use crate::client::{fence_at, put_fence};
use crate::layout::{place_at, put_place};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use frontrow_shard::Proof;

/// The layout's version byte.
const VERSION: u8 = 1;
/// Version, place, fence.
const BYTES: usize = 1 + 8 + 40;
/// The same in base64url without padding.
const TEXT: usize = (BYTES * 4).div_ceil(3);

/// The text is not a hold's token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Cut off, or with something added.
    #[error("a hold's token has {TEXT} characters, not {got}: send the token of the answer unchanged")]
    Length {
        /// Bytes found.
        got: usize,
    },
    /// Not base64url.
    #[error("a hold's token is base64url text: send the token of the answer unchanged")]
    Encoding,
    /// From another release.
    #[error("a hold's token of version {version} is not known here: claim again")]
    Version {
        /// The version found.
        version: u8,
    },
}

/// The place and fence of a hold as one string of 66 characters.
pub fn format_token(proof: &Proof) -> String {
    let mut text = [0; TEXT];
    token_text(proof, &mut text).to_owned()
}

/// The same, without allocating.
pub(crate) fn token_text<'a>(proof: &Proof, text: &'a mut [u8; TEXT]) -> &'a str {
    let mut bytes = [0; BYTES];
    bytes[0] = VERSION;
    put_place(&mut bytes, 1, proof.place);
    put_fence(&mut bytes[9..], &proof.fence);
    let len = URL_SAFE_NO_PAD.encode_slice(bytes, text).unwrap_or(0);
    std::str::from_utf8(&text[..len]).unwrap_or_default()
}

/// Room for [`token_text`].
pub(crate) const fn token_room() -> [u8; TEXT] {
    [0; TEXT]
}

/// Reads what [`format_token`] wrote. That the fence holds anything is for the owner of the place to say.
pub fn parse_token(text: &str) -> Result<Proof, TokenError> {
    if text.len() != TEXT {
        return Err(TokenError::Length { got: text.len() });
    }
    let mut bytes = [0; BYTES];
    let len = URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).map_err(|_| TokenError::Encoding)?;
    if len != BYTES {
        return Err(TokenError::Encoding);
    }
    if bytes[0] != VERSION {
        return Err(TokenError::Version { version: bytes[0] });
    }
    Ok(Proof { place: place_at(&bytes, 1), fence: fence_at(&bytes, 9) })
}
