//! How a command fails, and what to say.

use frontrow_client::{ClientError, HttpError, RequestId, format_id};
use serde_json::{Value, json};

/// How far a command has come with what it is to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum UnderWay {
    /// Nothing was sent that changes anything.
    Nothing,
    /// A buyer's request of this id was sent, and has no answer yet.
    Request(RequestId),
    /// The same of an operator's, which has no id; this is how to find out what has become of it.
    Operation {
        /// What to do.
        look: String,
    },
    /// The answer is there.
    Answered,
}

/// Said of an operation that was not waited for.
const MAY_BE: &str = "what was asked may still be carried out";
/// Said of a command that has not come to that.
const NOTHING: &str = "nothing was sent that could change anything";
/// What to do then.
const AGAIN: &str = "simply run it again";
/// How to know what has become of an operation on events.
pub(crate) fn look_at_events(command: &str) -> String {
    format!(
        "look with `{command} events` and `{command} seats EVENT` before you ask again: an event may be made twice"
    )
}

/// Why a command did not do what it should.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The server decided against a request.
    Server(ClientError),
    /// The same, with the row's seats as people know them.
    Seats(ClientError, Vec<String>),
    /// No answer came to a request, which may be carried out all the same.
    Open(ClientError, RequestId),
    /// The same of an operator's; this is how to find out.
    OpenOperation(HttpError, String),
    /// The command was told to end, by the signal of this number, when it had come so far.
    Interrupted { signal: u8, left: UnderWay },
    /// The HTTP side failed or refused.
    Http(HttpError),
    /// What was typed cannot be done; the text says what can.
    Usage(String),
    /// A node that had begun to take over is not there any more; the text says what to do.
    Gone(String),
    /// Something else ended it; the text says what to do.
    Refused { code: &'static str, message: String },
    /// The answer is printed already, and is bad.
    Told,
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::Server(error)
    }
}

impl From<HttpError> for Failure {
    fn from(error: HttpError) -> Self {
        Self::Http(error)
    }
}

impl Failure {
    /// 1 refused, 2 wrong usage, 3 no server to be reached, 128 and more: told to end by a signal.
    pub(crate) fn exit_code(&self) -> u8 {
        match self {
            Self::Server(error) | Self::Seats(error, _) => match error {
                ClientError::Refused(_) | ClientError::Wire { .. } | ClientError::InFlight(_) => 1,
                ClientError::Address(_) | ClientError::Token(_) => 2,
                _ => 3,
            },
            Self::Http(HttpError::Refused { .. }) | Self::Refused { .. } | Self::Told => 1,
            Self::Http(HttpError::Address(_)) | Self::Usage(_) => 2,
            Self::Http(_) | Self::Open(..) | Self::OpenOperation(..) | Self::Gone(_) => 3,
            Self::Interrupted { signal, .. } => 128 + signal,
        }
    }

    /// Whether there is nothing more to say about it.
    pub(crate) fn is_told(&self) -> bool {
        matches!(self, Self::Told | Self::Interrupted { left: UnderWay::Answered, .. })
    }

    /// One or two lines for people, with what to do.
    pub(crate) fn text(&self) -> String {
        match self {
            Self::Server(ClientError::Refused(refused)) => refusal(refused, &[]),
            Self::Seats(ClientError::Refused(refused), seats) => refusal(refused, seats),
            Self::Server(error) | Self::Seats(error, _) => error.to_string(),
            Self::Http(HttpError::Refused { message, error, .. }) => {
                let list = error.get("errors").and_then(Value::as_array).cloned().unwrap_or_default();
                let lines = list.iter().map(plan_mistake);
                lines.fold(message.clone(), |text, line| text + "\n  " + &line)
            }
            Self::Http(error) => error.to_string(),
            Self::Usage(message) | Self::Gone(message) | Self::Refused { message, .. } => message.clone(),
            Self::Open(error, id) => format!("{error}.\n{}", may_be(*id)),
            Self::OpenOperation(error, look) => format!("{error}; {MAY_BE}.\nWhat to do: {look}."),
            Self::Interrupted { left: UnderWay::Nothing, .. } => format!("interrupted: {NOTHING}; {AGAIN}."),
            Self::Interrupted { left: UnderWay::Request(id), .. } => {
                format!("interrupted. {}", may_be(*id))
            }
            Self::Interrupted { left: UnderWay::Operation { look }, .. } => {
                format!("interrupted: {MAY_BE}.\nWhat to do: {look}.")
            }
            Self::Told | Self::Interrupted { left: UnderWay::Answered, .. } => String::new(),
        }
    }

    /// `{"ok": false, "error": {…}}`, with the same keys as the server's own errors.
    pub(crate) fn json(&self) -> Value {
        let error = match self {
            Self::Server(error) | Self::Seats(error, _) => {
                let mut json = json!({
                    "code": error_code(error), "message": error.to_string(), "remedy": error.remedy(), "retryable": error.retryable(),
                });
                if let ClientError::Refused(refused) = error {
                    json["places"] = refused.seats().places().collect::<Vec<_>>().into();
                    if let Some(reason) = refused.fenced_reason() {
                        json["reason"] = reason.into();
                    }
                }
                if let ClientError::Wire { retry_after_ms, .. } = error {
                    json["retry_after_ms"] = (*retry_after_ms).into();
                }
                if let Self::Seats(_, seats) = self {
                    json["seats"] = json!(seats);
                }
                json
            }
            Self::Http(HttpError::Refused { error, code, message, retryable, .. }) => {
                let mut json = if error.is_object() { (**error).clone() } else { json!({}) };
                json["code"] = json!(code);
                json["message"] = json!(message);
                json["retryable"] = json!(retryable);
                json
            }
            Self::Http(error) => {
                json!({"code": http_code(error), "message": error.to_string(), "retryable": true})
            }
            Self::Gone(message) => json!({"code": "unreachable", "message": message, "retryable": false}),
            Self::Usage(message) => json!({"code": "usage", "message": message, "retryable": false}),
            Self::Refused { code, message } => json!({"code": code, "message": message, "retryable": false}),
            Self::Open(error, id) => unanswered(error_code(error), &error.to_string(), *id),
            Self::OpenOperation(error, look) => json!({
                "code": http_code(error), "message": format!("{error}; {MAY_BE}"), "remedy": look, "retryable": false,
            }),
            Self::Interrupted { left: UnderWay::Nothing, .. } => {
                json!({"code": "interrupted", "message": NOTHING, "remedy": AGAIN, "retryable": true})
            }
            Self::Interrupted { left: UnderWay::Request(id), .. } => {
                unanswered("interrupted", "the answer was not waited for", *id)
            }
            Self::Interrupted { left: UnderWay::Operation { look }, .. } => {
                json!({"code": "interrupted", "message": MAY_BE, "remedy": look, "retryable": false})
            }
            Self::Told | Self::Interrupted { left: UnderWay::Answered, .. } => {
                json!({"code": "bad", "message": "", "retryable": false})
            }
        };
        json!({ "ok": false, "error": error })
    }
}

fn http_code(error: &HttpError) -> &'static str {
    if matches!(error, HttpError::Silent { .. }) { "timeout" } else { "unreachable" }
}

fn error_code(error: &ClientError) -> &'static str {
    match error {
        ClientError::Refused(refused) => refused.code().name(),
        ClientError::Wire { code, .. } => code.name(),
        ClientError::Unreachable { .. } => "unreachable",
        ClientError::Closed { .. } => "closed",
        ClientError::Timeout { .. } => "timeout",
        ClientError::Protocol(_) => "protocol",
        ClientError::InFlight(_) => "in_flight",
        ClientError::Address(_) => "address",
        ClientError::Token(_) => "bad_token",
    }
}

/// What has become of a request without an answer is to be found out with its id.
fn may_be(id: RequestId) -> String {
    let id = format_id(id);
    format!(
        "The request has no answer yet, and may still be carried out: seats may become yours, or be given up, without your \
         hearing of it. Its id is {id}.\nWhat to do: run the same command again with --request-id {id}: it is not carried out \
         twice, and you get its one answer."
    )
}

fn unanswered(code: &str, what: &str, id: RequestId) -> Value {
    json!({
        "code": code, "message": format!("{what}: the request may still be carried out"),
        "remedy": "run the same command again with --request-id and this request_id: it is not carried out twice, and you get its \
                   one answer",
        "retryable": true, "request_id": format_id(id),
    })
}

fn refusal(refused: &frontrow_client::Refused, seats: &[String]) -> String {
    let which = match seats {
        [] => String::new(),
        [one] => format!(" (seat {one})"),
        several => format!(" (seats {})", several.join(", ")),
    };
    let reason = refused.fenced_reason().map_or(String::new(), |reason| format!(" (it is {reason})"));
    format!("{}{which}{reason}.\nWhat to do: {}.", refused.meaning(), refused.remedy())
}

/// A mistake in a plan as the server lists it: an object with a place and a message, or a text.
fn plan_mistake(it: &Value) -> String {
    match (it.get("place").and_then(Value::as_str), it.get("message").and_then(Value::as_str)) {
        (Some(place), Some(message)) => format!("{place}: {message}"),
        (None, Some(message)) => message.to_owned(),
        _ => it.as_str().map_or_else(|| it.to_string(), str::to_owned),
    }
}
