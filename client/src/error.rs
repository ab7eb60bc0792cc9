//! What can go wrong, by what the caller can do about it.

use frontrow_protocol::{Reply, TokenError, WireCode, advice};
use frontrow_shard::{Code, RequestId, Seats, flags};
use std::time::Duration;

/// Why a request has no good answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The owner of the place decided against it. Final for this request id.
    #[error("{0}")]
    Refused(Refused),
    /// Nobody decided anything: the request, or the connection, failed at the edge.
    #[error("{message}")]
    Wire {
        /// Why.
        code: WireCode,
        /// What the server said about it.
        message: String,
        /// How long to wait before trying again, in milliseconds; 0 if waiting does not help.
        retry_after_ms: u32,
    },
    /// No connection could be made.
    #[error("cannot reach {endpoint}: {reason}; check the address, and that the server runs")]
    Unreachable {
        /// Where to.
        endpoint: String,
        /// What the system, or the server's HTTP side, said.
        reason: String,
    },
    /// The connection ended before the answer came: the outcome is not known.
    #[error("the connection ended ({reason}); connect again and repeat the request with the same id")]
    Closed {
        /// What is known of why.
        reason: String,
    },
    /// No answer in time: the outcome is not known.
    #[error("no answer within {after:?}; repeat the request with the same id, or ask with status")]
    Timeout {
        /// How long it waited.
        after: Duration,
    },
    /// The server sent something that is not this protocol.
    #[error("the server does not speak this protocol ({0}); check the address and the versions of both")]
    Protocol(String),
    /// A request with this id waits for its answer on this client already.
    #[error("request {0:032x} still waits for its answer; wait for it, or use a new id")]
    InFlight(RequestId),
    /// Not an address.
    #[error("`{0}` is no address to connect to; write host:port for TCP, ws://host:port/v1/ws for WebSocket")]
    Address(String),
    /// Not a hold's token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

impl ClientError {
    /// The state machine's code, if it refused.
    pub fn refusal(&self) -> Option<Code> {
        match self {
            Self::Refused(refused) => Some(refused.code()),
            _ => None,
        }
    }

    /// Whether the same request may succeed later unchanged.
    pub fn retryable(&self) -> bool {
        match self {
            Self::Refused(refused) => refused.code().retryable(),
            Self::Wire { code, .. } => code.retryable(),
            Self::Unreachable { .. } | Self::Closed { .. } | Self::Timeout { .. } => true,
            Self::Protocol(_) | Self::InFlight(_) | Self::Address(_) | Self::Token(_) => false,
        }
    }

    /// What to do about it, in words.
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::Refused(refused) => refused.remedy(),
            Self::Wire { code, .. } => code.advice().remedy,
            Self::Unreachable { .. } => "check the address, and that the server runs",
            Self::Closed { .. } | Self::Timeout { .. } => "repeat the request with the same id",
            Self::Protocol(_) => "check the address and the versions of both",
            Self::InFlight(_) => "wait for the answer, or use a new id",
            Self::Address(_) => "write host:port for TCP, ws://host:port/v1/ws for WebSocket",
            Self::Token(_) => "send the token of the answer unchanged",
        }
    }

    /// Whether connecting again cannot help.
    pub(crate) fn is_lasting(&self) -> bool {
        match self {
            Self::Wire { code, .. } => !code.retryable(),
            Self::Protocol(_) | Self::Address(_) => true,
            _ => false,
        }
    }
}

/// A decision against a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The whole answer.
    pub reply: Box<Reply>,
}

impl Refused {
    /// Why.
    pub fn code(&self) -> Code {
        self.reply.answer.code
    }

    /// Every seat in conflict; empty where seats are not the reason.
    pub fn seats(&self) -> Seats {
        self.reply.answer.seats
    }

    /// What happened, in words.
    pub fn meaning(&self) -> &'static str {
        advice(self.code()).meaning
    }

    /// What to do about it, in words.
    pub fn remedy(&self) -> &'static str {
        advice(self.code()).remedy
    }

    /// With [`Code::Fenced`], which of its three reasons it is.
    pub fn fenced_reason(&self) -> Option<&'static str> {
        let remarks = self.reply.answer.flags;
        let named = [(flags::STALE, "stale"), (flags::FOREIGN, "foreign"), (flags::FORGED, "forged")];
        (self.code() == Code::Fenced)
            .then(|| named.iter().find(|(flag, _)| remarks & flag != 0).map_or("forged", |&(_, name)| name))
    }
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(advice(self.code()).message)
    }
}
