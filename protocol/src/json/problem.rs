//! Why a text is not a message. Every problem names the key, what was found and what belongs there.

use crate::client::BatchError;
use crate::codes::WireCode;
use crate::token::TokenError;
use frontrow_shard::{RequestId, SeatsError};

/// A text that is not a message, and as much as could be told about whose it was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JsonError {
    /// The request id in the text; 0 if there is none to be read.
    pub id: RequestId,
    /// With an array: which of its messages is wrong, from 0. Nothing of the array has been done.
    pub index: Option<usize>,
    /// What is wrong.
    pub problem: JsonProblem,
}

impl JsonError {
    /// The code to answer with. The connection can be used on after any of them.
    pub const fn code(&self) -> WireCode {
        match &self.problem {
            JsonProblem::UnknownType { .. } => WireCode::UnknownKind,
            JsonProblem::UnknownKey { .. } | JsonProblem::StrayKey { .. } => WireCode::UnknownKey,
            JsonProblem::Token(_) => WireCode::BadToken,
            JsonProblem::Seats(SeatsError::TooFarApart { .. }) => WireCode::TooFarApart,
            JsonProblem::Seats(SeatsError::Duplicate { .. }) => WireCode::DuplicateSeat,
            _ => WireCode::Malformed,
        }
    }
}

impl std::error::Error for JsonError {}

impl std::fmt::Display for JsonError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(index) = self.index {
            write!(f, "message {index} of the array (nothing of it has been done): ")?;
        }
        self.problem.fmt(f)
    }
}

/// What is wrong with a text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JsonProblem {
    /// Not JSON.
    #[error("the text is not JSON ({reason}): send one object, or an array of objects")]
    Syntax {
        /// What the parser says, with line and column.
        reason: String,
    },
    /// JSON, but neither an object nor an array of objects.
    #[error("a message is an object, not {found}: send one object, or an array of objects")]
    NotAnObject {
        /// What it is.
        found: &'static str,
    },
    /// No message has such a key.
    #[error("no message has a key `{key}`: remove it or correct its name")]
    UnknownKey {
        /// The key, cut if it is long.
        key: String,
    },
    /// Other messages have this key, this one does not.
    #[error("a `{of}` has no key `{key}`: remove it")]
    StrayKey {
        /// The message's type.
        of: &'static str,
        /// The key.
        key: &'static str,
    },
    /// The same key twice.
    #[error("the key `{key}` stands there twice: send it once")]
    RepeatedKey {
        /// The key.
        key: &'static str,
    },
    /// A key that must be there is not.
    #[error("a `{of}` needs the key `{key}`: add {expected}")]
    MissingKey {
        /// The message's type, or `message` if it is the type that is missing.
        of: &'static str,
        /// The key.
        key: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// A value of the wrong type, or out of its range.
    #[error("`{key}` is {found}: it must be {expected}")]
    WrongValue {
        /// The key.
        key: &'static str,
        /// What is there.
        found: &'static str,
        /// What belongs there.
        expected: &'static str,
    },
    /// No such message.
    #[error("there is no message of type `{name}`: look at the table of types in the protocol")]
    UnknownType {
        /// The type, cut if it is long.
        name: String,
    },
    /// The seats do not make one claim.
    #[error("`seats`: {}", seats_text(*.0))]
    Seats(SeatsError),
    /// The token of a hold is not one.
    #[error("`token`: {0}")]
    Token(#[from] TokenError),
    /// The messages of an array do not make a batch.
    #[error("{0}")]
    Batch(#[from] BatchError),
}

fn seats_text(error: SeatsError) -> String {
    match error {
        SeatsError::Empty => "no seat is named: name at least one".to_owned(),
        SeatsError::Duplicate { place } => format!("place {place} is named twice: name each seat once"),
        SeatsError::TooFarApart { low, high } => {
            format!("places {low} and {high} are 64 or more apart: make several claims of them")
        }
    }
}

/// As much of a text from outside as is worth repeating.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().take(64).collect()
}
