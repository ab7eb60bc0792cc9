//! What people are told while an answer does not come.

use crate::session::Session;
use crate::show::Out;
use frontrow_client::{Client, ClientError, WireCode};
use serde_json::Value;
use std::time::Duration;

/// How long an answer may take before it is said what is waited for.
const SILENCE: Duration = Duration::from_millis(1500);
/// How long the server may take to say how it is.
const ASKING: Duration = Duration::from_secs(1);

impl Session {
    /// Waits for an answer. If it does not come soon, it is said once what is waited for: `client`, if there is one, knows why it
    /// repeats its request, and the server why it answers nobody.
    pub(crate) async fn patiently<T>(
        &self,
        client: Option<&Client>,
        out: Out,
        answer: impl Future<Output = T>,
    ) -> T {
        let mut answer = std::pin::pin!(answer);
        let late = async {
            tokio::time::sleep(SILENCE).await;
            // It may be the very server that does not answer.
            let node = tokio::time::timeout(ASKING, self.http.node()).await;
            let node = node.ok().and_then(Result::ok).unwrap_or_default();
            words(&node, client.and_then(Client::held_up).as_ref())
        };
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            text = late => out.aside(&text),
        }
        answer.await
    }
}

/// What is waited for, by what the node says of itself and why the request is repeated.
fn words(node: &Value, held_up: Option<&ClientError>) -> String {
    match (node["replication"]["unacknowledged"].as_str(), held_up) {
        (Some("standby_behind"), _) => {
            "waiting: the server answers only what its standby has, too, and that is behind; `frontrow status` says more".into()
        }
        (Some(_), _) => {
            "waiting: the server answers only what a standby has, too, and none follows it; `frontrow status` says more".into()
        }
        (None, Some(ClientError::Wire { code: WireCode::Busy, .. })) => {
            "waiting: the server has more to do than it can; asking again".into()
        }
        (None, Some(other)) => {
            format!("waiting, and asking again: {other}")
        }
        (None, None) => "waiting: there is no answer yet".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_known_is_said() {
        let node = |why: Value| json!({"replication": {"unacknowledged": why}});
        let wire = |code| ClientError::Wire { code, message: "The disk is full.".into(), retry_after_ms: 1 };
        let (busy, full) = (wire(WireCode::Busy), wire(WireCode::ReadOnly));
        for (node, held_up, want) in [
            (node(json!("no_standby")), Some(&busy), "none follows it; `frontrow status`"),
            (node(json!("standby_behind")), None, "that is behind; `frontrow status`"),
            (node(Value::Null), Some(&busy), "more to do than it can; asking again"),
            (Value::Null, Some(&full), "asking again: The disk is full."),
            (Value::Null, None, "no answer yet"),
        ] {
            let text = words(&node, held_up);
            assert!(text.starts_with("waiting") && text.contains(want), "{text}");
        }
    }
}
