//! Making tokens: for development and load tests, where there is no issuer.

use frontrow_shard::UserId;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;

use super::Expected;

/// Signs tokens by HS256 that a [`super::Verifier`] of the same secret believes.
#[derive(Clone)]
pub struct Minter {
    key: EncodingKey,
    issuer: Option<String>,
    audience: Option<String>,
}

impl std::fmt::Debug for Minter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Minter(HS256)")
    }
}

#[derive(Serialize)]
struct Claims<'m> {
    sub: String,
    iat: u64,
    exp: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'m str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'m str>,
}

impl Minter {
    /// Signs with `secret`, and writes what is expected.
    pub fn new(secret: &[u8], expected: &Expected) -> Self {
        Self {
            key: EncodingKey::from_secret(secret),
            issuer: expected.issuer.clone(),
            audience: expected.audience.clone(),
        }
    }

    /// A token for `user` from `now_unix_s` on, for `lasts_s` seconds.
    pub fn mint(&self, user: UserId, now_unix_s: u64, lasts_s: u64) -> String {
        let claims = Claims {
            sub: user.to_string(),
            iat: now_unix_s,
            exp: now_unix_s.saturating_add(lasts_s),
            iss: self.issuer.as_deref(),
            aud: self.audience.as_deref(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.key).unwrap_or_else(|error| {
            unreachable!("HMAC signs with any key, and the claims are plain JSON: {error}")
        })
    }
}
