//! Who a client is: a signed token (JWT, RFC 7519) names the user, nothing else does.
//!
//! The algorithm is pinned by the kind of key that is configured; a token's own header is only
//! compared with it (RFC 8725, section 3.1). Verifying reads no clock: the caller says what time it is.

mod keys;
mod mint;

#[cfg(test)]
mod tests;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use frontrow_shard::UserId;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, Validation};
use serde::Deserialize;
use serde_json::Value;

pub(crate) use keys::KEY_FILES;
pub use keys::{ADMIN_KEY_FILE, AdminKey, DEV_SECRET_FILE, Keys, KeysError};
pub use mint::Minter;

/// The longest token that is looked at, in bytes.
pub const TOKEN_BYTES_MAX: usize = 4096;

/// A verified user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The user: the token's `sub`.
    pub user: UserId,
    /// When the token ends, in seconds since 1970. The connection may be held to it.
    pub expires_s: u64,
}

/// Why a token is not believed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// Not three parts of base64url, or not JSON inside.
    #[error(
        "this is no signed token (JWT); send the token as your issuer gave it, without quotes or line breaks"
    )]
    Malformed,
    /// Longer than any token should be.
    #[error(
        "the token has {bytes} bytes, at most {TOKEN_BYTES_MAX} are read; ask your issuer for fewer claims"
    )]
    TooLong {
        /// Its length in bytes.
        bytes: usize,
    },
    /// The header names another algorithm than the server's key is for.
    #[error(
        "the token is signed with `{found}`, this server believes {expected} only; ask your issuer for that"
    )]
    WrongAlgorithm {
        /// What the header says.
        found: String,
        /// What the key is for.
        expected: &'static str,
    },
    /// Signed with another key, or changed since.
    #[error("the signature does not fit the token; it was made with another key or changed: sign in again")]
    BadSignature,
    /// No `exp`.
    #[error("the token has no `exp`; tokens that never end are refused: ask your issuer for one that does")]
    NoExpiry,
    /// `exp` has passed.
    #[error("the token ended {ago_s} s ago; sign in again for a new one")]
    Expired {
        /// Seconds since then.
        ago_s: u64,
    },
    /// `nbf` lies ahead.
    #[error("the token counts only in {in_s} s; wait, or check the clocks of issuer and server")]
    NotYet {
        /// Seconds until then.
        in_s: u64,
    },
    /// `iss` is another, or absent.
    #[error("the token's `iss` is not {expected}; sign in at that issuer")]
    WrongIssuer {
        /// The configured issuer.
        expected: String,
    },
    /// `aud` does not have the configured one.
    #[error("the token's `aud` has no {expected}; ask your issuer for a token for that audience")]
    WrongAudience {
        /// The configured audience.
        expected: String,
    },
    /// `sub` is absent or no number.
    #[error(
        "the token's `sub` must be the user as a decimal number below 2^64, in quotes, without sign or leading \
         zeros; ask your issuer to put the user's number there"
    )]
    SubjectNotNumber,
    /// A claim of the wrong type.
    #[error("the token's `{claim}` must be a number of seconds since 1970; ask your issuer to correct it")]
    NotTime {
        /// The claim's name.
        claim: &'static str,
    },
}

impl IdentityError {
    /// A stable word for programs.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Malformed => "token_malformed",
            Self::TooLong { .. } => "token_too_long",
            Self::WrongAlgorithm { .. } => "token_wrong_algorithm",
            Self::BadSignature => "token_bad_signature",
            Self::NoExpiry => "token_without_expiry",
            Self::Expired { .. } => "token_expired",
            Self::NotYet { .. } => "token_not_yet_valid",
            Self::WrongIssuer { .. } => "token_wrong_issuer",
            Self::WrongAudience { .. } => "token_wrong_audience",
            Self::SubjectNotNumber => "token_bad_subject",
            Self::NotTime { .. } => "token_bad_time",
        }
    }
}

/// Believes tokens of one issuer. Lives on every shard core; one verification takes microseconds and
/// blocks on nothing.
#[derive(Clone)]
pub struct Verifier {
    key: DecodingKey,
    name: &'static str,
    validation: Validation,
    issuer: Option<String>,
    audience: Option<String>,
    leeway_s: u64,
}

impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Verifier({})", self.name)
    }
}

/// What a token must say besides its user and its end.
#[derive(Clone, Debug, Default)]
pub struct Expected {
    /// `iss`, if it matters.
    pub issuer: Option<String>,
    /// One of `aud`, if it matters.
    pub audience: Option<String>,
    /// How far clocks may be apart, in seconds.
    pub leeway_s: u64,
}

/// Each is looked at by hand, so that an error can say what is wrong with it.
#[derive(Deserialize)]
struct Claims {
    sub: Option<Value>,
    exp: Option<Value>,
    nbf: Option<Value>,
    iss: Option<Value>,
    aud: Option<Value>,
}

impl Verifier {
    /// Believes tokens signed with this secret, by HS256.
    pub fn hs256(secret: &[u8], expected: Expected) -> Self {
        Self::new(DecodingKey::from_secret(secret), Algorithm::HS256, "HS256", expected)
    }

    /// Believes tokens signed with the private half of this PEM key, by EdDSA over Ed25519.
    /// `None` if it is no such key.
    pub fn eddsa(public_pem: &str, expected: Expected) -> Option<Self> {
        let key = ed25519_public(public_pem)?;
        Some(Self::new(key, Algorithm::EdDSA, "EdDSA", expected))
    }

    fn new(key: DecodingKey, algorithm: Algorithm, name: &'static str, expected: Expected) -> Self {
        let mut validation = Validation::new(algorithm);
        // The library would read the clock; times, issuer and audience are checked by `check` instead.
        validation.validate_exp = false;
        validation.validate_nbf = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let Expected { issuer, audience, leeway_s } = expected;
        Self { key, name, validation, issuer, audience, leeway_s }
    }

    /// The user that `token` stands for at `now_unix_s`, seconds since 1970.
    pub fn verify(&self, token: &str, now_unix_s: u64) -> Result<Identity, IdentityError> {
        if token.len() > TOKEN_BYTES_MAX {
            return Err(IdentityError::TooLong { bytes: token.len() });
        }
        let decoded = jsonwebtoken::decode::<Claims>(token, &self.key, &self.validation);
        match decoded {
            Ok(data) => self.check(&data.claims, now_unix_s),
            Err(error) => Err(self.diagnose(token, error.kind())),
        }
    }

    fn check(&self, claims: &Claims, now_s: u64) -> Result<Identity, IdentityError> {
        let expires_s = seconds(claims.exp.as_ref(), "exp")?.ok_or(IdentityError::NoExpiry)?;
        let over_s = expires_s.saturating_add(self.leeway_s);
        if now_s >= over_s {
            return Err(IdentityError::Expired { ago_s: now_s - expires_s });
        }
        let begins_s = seconds(claims.nbf.as_ref(), "nbf")?.unwrap_or(0);
        if begins_s > now_s.saturating_add(self.leeway_s) {
            return Err(IdentityError::NotYet { in_s: begins_s - now_s });
        }
        if let Some(expected) = &self.issuer
            && claims.iss.as_ref().and_then(Value::as_str) != Some(expected)
        {
            return Err(IdentityError::WrongIssuer { expected: expected.clone() });
        }
        if let Some(expected) = &self.audience
            && !has_audience(claims.aud.as_ref(), expected)
        {
            return Err(IdentityError::WrongAudience { expected: expected.clone() });
        }
        let user = claims.sub.as_ref().and_then(Value::as_str).and_then(decimal);
        user.map(|user| Identity { user, expires_s }).ok_or(IdentityError::SubjectNotNumber)
    }

    /// Says which mistake it was; only refused tokens come here.
    fn diagnose(&self, token: &str, kind: &ErrorKind) -> IdentityError {
        #[derive(Deserialize)]
        struct Header {
            alg: String,
        }
        let head = token.split('.').next().unwrap_or_default();
        let header =
            URL_SAFE_NO_PAD.decode(head).ok().and_then(|bytes| serde_json::from_slice::<Header>(&bytes).ok());
        match (header, kind) {
            (Some(header), _) if header.alg != self.name => {
                let found = header.alg.chars().filter(char::is_ascii_graphic).take(16).collect();
                IdentityError::WrongAlgorithm { found, expected: self.name }
            }
            (Some(_), ErrorKind::InvalidSignature) => IdentityError::BadSignature,
            _ => IdentityError::Malformed,
        }
    }
}

/// Whether this is a public Ed25519 key in PEM.
pub(crate) fn is_ed25519_public_pem(pem: &str) -> bool {
    ed25519_public(pem).is_some()
}

/// The key of a `BEGIN PUBLIC KEY` block: RFC 8410 gives it one shape of 44 bytes, 12 before the key.
fn ed25519_public(pem: &str) -> Option<DecodingKey> {
    const BEFORE_KEY: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    let inside = pem.split_once("-----BEGIN PUBLIC KEY-----")?.1.split_once("-----END PUBLIC KEY-----")?.0;
    let text: String = inside.split_ascii_whitespace().collect();
    let der = STANDARD.decode(text).ok()?;
    let key = der.strip_prefix(&BEFORE_KEY).filter(|key| key.len() == 32)?;
    DecodingKey::from_ed_components(&URL_SAFE_NO_PAD.encode(key)).ok()
}

/// NumericDate of RFC 7519: seconds, which may have a fraction.
fn seconds(claim: Option<&Value>, name: &'static str) -> Result<Option<u64>, IdentityError> {
    let wrong = IdentityError::NotTime { claim: name };
    match claim {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Number(number)) => {
            let whole = number
                .as_u64()
                .or_else(|| number.as_f64().filter(|s| (0.0..1e15).contains(s)).map(|s| s as u64));
            whole.map(Some).ok_or(wrong)
        }
        Some(_) => Err(wrong),
    }
}

fn has_audience(claim: Option<&Value>, expected: &str) -> bool {
    match claim {
        Some(Value::String(one)) => one == expected,
        Some(Value::Array(several)) => several.iter().any(|one| one.as_str() == Some(expected)),
        _ => false,
    }
}

/// One spelling per user: `+7`, `07` and ` 7` are not user 7.
fn decimal(text: &str) -> Option<UserId> {
    let number: UserId = text.parse().ok()?;
    (number.to_string() == text).then_some(number)
}
