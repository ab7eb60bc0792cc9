//! A request that changes something: a buyer's has an id that its sender can be told.

use crate::buy::with_labels;
use crate::failure::{Failure, UnderWay};
use crate::places::Labels;
use crate::session::Session;
use frontrow_client::{Client, ClientError, HttpError, RequestId};

/// One request, sent or not.
pub(crate) struct Request {
    id: RequestId,
    /// Sends it with its id.
    pub(crate) client: Client,
}

impl Request {
    /// A new one, or that of this id once more.
    pub(crate) fn new(client: &Client, again: Option<RequestId>) -> Self {
        let id = again.unwrap_or_else(|| client.next_id());
        Self { id, client: client.for_request(id) }
    }
}

impl Session {
    /// Waits for the answer to a request, as [`Session::patiently`] does; who stops waiting before it is there hears its id.
    pub(crate) async fn carry_out<T>(
        &self,
        request: &Request,
        labels: &Labels,
        answer: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, Failure> {
        // It stays there when the future is dropped, for that is when it is told.
        self.under_way.set(UnderWay::Request(request.id));
        let outcome = self.patiently(Some(&request.client), answer).await;
        self.under_way.set(UnderWay::Answered);
        outcome.map_err(|error| unless_open(error, request.id, labels))
    }

    /// The same for an operator's; `look` is how to find out what has become of it.
    pub(crate) async fn operate<T>(
        &self,
        look: String,
        answer: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, Failure> {
        self.under_way.set(UnderWay::Operation { look: look.clone() });
        let outcome = self.patiently(None, Box::pin(answer)).await;
        self.under_way.set(UnderWay::Answered);
        outcome.map_err(
            |error| {
                if error.is_open() { Failure::OpenOperation(error, look) } else { error.into() }
            },
        )
    }
}

/// Nobody knows what has become of a request whose answer was lost.
fn unless_open(error: ClientError, id: RequestId, labels: &Labels) -> Failure {
    match error {
        ClientError::Timeout { .. }
        | ClientError::Closed { .. }
        | ClientError::Unreachable { .. }
        | ClientError::Protocol(_) => Failure::Open(error, id),
        error => with_labels(error, labels),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn who_got_no_answer_hears_the_id() {
        let labels = Labels::unknown(0);
        let late = ClientError::Timeout { after: Duration::from_secs(30) };
        let failure = unless_open(late, 0xabc, &labels);
        let id = "00000000000000000000000000000abc";
        assert!(failure.text().contains("no answer within 30s") && failure.text().contains(id));
        assert!(failure.text().contains("may still be carried out"), "{}", failure.text());
        let error = &failure.json()["error"];
        assert_eq!((&error["code"], &error["request_id"]), (&"timeout".into(), &id.into()));
        assert_eq!((failure.exit_code(), error["retryable"].as_bool()), (3, Some(true)));
        // Nobody has decided anything.
        let busy = ClientError::Wire {
            code: frontrow_client::WireCode::Busy,
            message: "later".into(),
            retry_after_ms: 1,
        };
        assert_eq!(unless_open(busy, 1, &labels).text(), "later");
    }

    #[test]
    fn an_operator_who_got_no_answer_hears_how_to_find_out() {
        let silent = HttpError::Silent { url: "http://h:1".into(), after: Duration::from_secs(15) };
        let failure = Failure::OpenOperation(silent, "look there".into());
        let text = failure.text();
        assert!(
            text.starts_with("http://h:1 takes connections and does not answer (nothing within 15s)"),
            "{text}"
        );
        assert!(text.contains("may still be carried out") && text.ends_with("look there."), "{text}");
        let error = &failure.json()["error"];
        assert_eq!((&error["code"], &error["remedy"]), (&"timeout".into(), &"look there".into()));
        assert_eq!((failure.exit_code(), error["retryable"].as_bool()), (3, Some(false)));
    }
}
