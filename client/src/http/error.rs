//! Why there is no good answer.

use super::url;
use serde_json::Value;
use std::time::Duration;

/// What a reason begins with if nothing was sent.
const NO_CONNECTION: &str = "no connection";

/// Why an HTTP request has no good answer.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub enum HttpError {
    /// Not an address of a server.
    #[error("`{0}` is no address of a server; write http://host:port")]
    Address(String),
    /// No connection, or it broke.
    #[error("cannot reach {url}: {reason}; check the address, and that the server runs")]
    Unreachable {
        /// The server.
        url: String,
        /// What went wrong.
        reason: String,
    },
    /// It was asked, and nothing came: what was asked may still be done.
    #[error(
        "{url} takes connections and does not answer (nothing within {after:?}); look there whether the process is stopped or \
         the machine has no memory, CPU or disk left for it"
    )]
    Silent {
        /// The server.
        url: String,
        /// How long it was waited for.
        after: Duration,
    },
    /// The server said no.
    #[error("{message}")]
    Refused {
        /// The HTTP status.
        status: u16,
        /// The server's code for it.
        code: String,
        /// What it says, with what to do.
        message: String,
        /// Whether the same may succeed later.
        retryable: bool,
        /// All that the server said, for machines: `{"code", "message", …}`.
        error: Box<Value>,
    },
    /// None of several addresses gave a good answer.
    #[error("no address gives an answer: {}; look there whether the processes run, and whether one is stopped", each(.0))]
    Nowhere(Vec<(String, HttpError)>),
    /// The answer is not what this client knows.
    #[error("the server's answer is not understood ({0}); check the address and the versions of both")]
    Answer(String),
}

impl HttpError {
    /// Whether what was asked may be done all the same.
    pub fn is_open(&self) -> bool {
        match self {
            Self::Silent { .. } => true,
            Self::Unreachable { reason, .. } => !reason.starts_with(NO_CONNECTION),
            // None is sent anything that changes something unless it answers, and that goes no further.
            Self::Nowhere(_) | Self::Address(_) | Self::Refused { .. } | Self::Answer(_) => false,
        }
    }

    /// Whether there was no connection: nothing listens there.
    pub fn is_away(&self) -> bool {
        matches!(self, Self::Unreachable { reason, .. } if reason.starts_with(NO_CONNECTION))
    }

    /// Whether a server, or one of several, refused with this code.
    pub fn is_refusal(&self, with: &str) -> bool {
        match self {
            Self::Refused { code, .. } => code == with,
            Self::Nowhere(all) => all.iter().any(|(_, error)| error.is_refusal(with)),
            _ => false,
        }
    }

    /// What became of a request at all of the addresses, `host:port` each. If all refused, the last one's word is as good as
    /// any; else who did not answer may be who could have.
    pub(super) fn of_all(mut all: Vec<(String, Self)>) -> Self {
        match all.pop() {
            None => Self::Address(String::new()),
            Some((_, last @ Self::Refused { .. }))
                if all.iter().all(|(_, error)| matches!(error, Self::Refused { .. })) =>
            {
                last
            }
            Some((_, last)) if all.is_empty() => last,
            Some(last) => {
                all.push(last);
                Self::Nowhere(all)
            }
        }
    }

    /// What an address did, behind its name.
    fn briefly(&self) -> String {
        match self {
            Self::Silent { after, .. } => {
                format!("takes connections and does not answer (nothing within {after:?})")
            }
            Self::Unreachable { reason, .. } if self.is_away() => format!("cannot be reached ({reason})"),
            Self::Unreachable { reason, .. } => format!("broke the connection ({reason})"),
            Self::Refused { message, .. } => format!("says: {}", message.trim_end_matches('.')),
            error => error.to_string(),
        }
    }
}

/// The reason where nothing was sent.
pub(super) fn no_connection(why: &str) -> String {
    format!("{NO_CONNECTION}: {why}")
}

/// What each address did.
fn each(all: &[(String, HttpError)]) -> String {
    let all: Vec<String> = all.iter().map(|(at, error)| format!("{} {}", url(at), error.briefly())).collect();
    all.join("; ")
}
