//! Tokens for the crowd's users: made with the secret, or asked of a development server.

use crate::LoadError;
use crate::options::LoadOptions;
use frontrow_client::{Http, HttpError, UserId};
use frontrow_engine::Clock;
use frontrow_server::identity::{Expected, Minter};
use futures_util::{StreamExt, TryStreamExt, stream};
use std::future::Future;
use std::time::Duration;

/// How long they are good for, in seconds.
const LASTS_S: u64 = 24 * 3600;
/// Requests for tokens under way at one time.
const AT_ONCE: usize = 32;

/// Where tokens come from.
#[derive(Clone, Debug)]
pub(crate) enum Tokens {
    /// The secret that the server shares with its issuer.
    Secret(Minter),
    /// The server, in development mode.
    Dev(Http),
}

impl Tokens {
    /// What the options say.
    pub(crate) fn of(options: &LoadOptions, http: &Http) -> Result<Self, LoadError> {
        let Some(path) = &options.token_secret_file else { return Ok(Self::Dev(http.clone())) };
        let secret = std::fs::read(path).map_err(|source| LoadError::File { path: path.clone(), source })?;
        let named = Expected {
            issuer: options.token_issuer.clone(),
            audience: options.token_audience.clone(),
            ..Expected::default()
        };
        Ok(Self::Secret(Minter::new(secret.trim_ascii(), &named)))
    }

    /// A token for one user.
    pub(crate) async fn one(&self, user: UserId) -> Result<String, LoadError> {
        match self {
            Self::Secret(minter) => Ok(minter.mint(user, Clock::wall_ms() / 1000, LASTS_S)),
            Self::Dev(http) => match patiently(|| http.dev_token(user)).await {
                Ok(token) => Ok(token.token),
                Err(HttpError::Refused { code, .. }) if code == "not_in_development" => {
                    Err(LoadError::NoTokens)
                }
                Err(error) => Err(LoadError::http(error)),
            },
        }
    }

    /// A token for each user, in order.
    pub(crate) async fn many(&self, users: impl Iterator<Item = UserId>) -> Result<Vec<String>, LoadError> {
        stream::iter(users.map(|user| self.one(user))).buffered(AT_ONCE).try_collect().await
    }
}

/// Asks again for a while where the server has no room for one more connection: those of the last requests may
/// still be about to close.
pub(crate) async fn patiently<T, F>(mut ask: impl FnMut() -> F) -> Result<T, HttpError>
where
    F: Future<Output = Result<T, HttpError>>,
{
    const TRIES: u32 = 20;
    const PAUSE: Duration = Duration::from_millis(100);
    for _ in 1..TRIES {
        match ask().await {
            Err(HttpError::Refused { code, .. }) if code == "too_many_connections" => {
                tokio::time::sleep(PAUSE).await;
            }
            told => return told,
        }
    }
    ask().await
}
