//! Whether the table may lack what was booked lately, and what an answer says then.
//!
//! What is there is shown all the same, for old bookings are better than none. But nobody is told that a list is all they have,
//! or that a booking is not there, by whoever knows that he may lack it.

use crate::api::Refusal;
use axum::http::{HeaderName, HeaderValue, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// The header of an answer that may lack the newest bookings: [`BehindCode`]'s word.
pub(crate) const HEADER: HeaderName = HeaderName::from_static("frontrow-behind");

/// Why the table may lack what was booked lately.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum BehindCode {
    /// Bookings are taken over no more: somebody has to mend what was met, and start it again.
    Ended,
    /// Something keeps bookings from being taken over, and it is tried again.
    Waiting,
    /// Not everything that was told some seconds ago has been seen in the table.
    CatchingUp,
    /// No server has said for some seconds that it has told everything: it is down, or does not come through to Kafka.
    Untold,
    /// How far the table is could not be found out for some seconds.
    Unknown,
}

impl BehindCode {
    /// As JSON and the header have it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Ended => "ended",
            Self::Waiting => "waiting",
            Self::CatchingUp => "catching_up",
            Self::Untold => "untold",
            Self::Unknown => "unknown",
        }
    }

    /// For people. Buyers read it, too: what exactly is wrong stands in the status, for whoever runs it.
    fn reason(self) -> &'static str {
        match self {
            Self::Ended => {
                "bookings are taken over no more until somebody mends what keeps them (/v1/status says what that is)"
            }
            Self::Waiting => "something keeps bookings from being taken over (/v1/status says what that is)",
            Self::CatchingUp => {
                "not all that was booked up to a few seconds ago has been seen in the table: it catches up after a start, or nobody \
                 has been given its topic to read yet"
            }
            Self::Untold => {
                "no server has said for some seconds that all that was booked has been told: it is down, or cannot write to Kafka \
                 (its `frontrow status` says why)"
            }
            Self::Unknown => "Kafka or PostgreSQL does not say how far the table is",
        }
    }

    /// What an answer says.
    pub fn view(self) -> Behind {
        Behind { code: self, reason: self.reason().to_owned() }
    }

    /// The header's value.
    pub(crate) fn header(self) -> (HeaderName, HeaderValue) {
        (HEADER, HeaderValue::from_static(self.word()))
    }

    /// What cannot be answered with what is there, and why.
    pub(crate) fn because(self, what: impl std::fmt::Display) -> String {
        format!("{what}, and the table is behind: {}; ask again later", self.reason())
    }

    /// The same as a refusal.
    pub(crate) fn refusal(self, what: impl std::fmt::Display) -> Refusal {
        Refusal { status: StatusCode::SERVICE_UNAVAILABLE, code: CODE, message: self.because(what) }
    }
}

/// The code of such a refusal.
pub(crate) const CODE: &str = "behind";

/// The newest bookings, and cancellations, may be missing in this answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct Behind {
    /// For machines.
    pub code: BehindCode,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_header_says_what_the_body_says() {
        use BehindCode::{CatchingUp, Ended, Unknown, Untold, Waiting};
        for code in [Ended, Waiting, CatchingUp, Untold, Unknown] {
            let view = serde_json::to_value(code.view()).unwrap();
            assert_eq!(code.header().1, view["code"].as_str().unwrap());
        }
    }
}
