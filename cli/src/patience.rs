//! What people are told while an answer does not come.

use crate::failure::Failure;
use crate::session::Session;
use frontrow_client::{Client, ClientError, Http, HttpError, WireCode};
use serde_json::Value;
use std::time::Duration;

/// How long an answer may take before the server is asked how it is.
const CALM: Duration = Duration::from_millis(500);
/// How long it has to say that; after both it is said what is waited for.
const ASKING: Duration = Duration::from_secs(1);

/// After how long without an answer it is said what is waited for.
pub(crate) const LATE: Duration = CALM.saturating_add(ASKING);

/// How a server is that an answer is waited for from.
enum Server {
    /// It says this of itself.
    Says(Value),
    /// It takes connections, and no more.
    Silent,
    /// Not even that.
    Away,
}

impl Session {
    /// Waits for an answer over HTTP, as [`Session::patiently`] does.
    pub(crate) async fn ask<T>(
        &self,
        answer: impl Future<Output = Result<T, HttpError>>,
    ) -> Result<T, Failure> {
        Ok(self.patiently(None, answer).await?)
    }

    /// Waits for an answer. If it does not come soon, it is said once what is waited for: `client`, if there is one, knows why it
    /// repeats its request, and the server why it answers nobody.
    pub(crate) async fn patiently<T>(&self, client: Option<&Client>, answer: impl Future<Output = T>) -> T {
        let late = async {
            tokio::time::sleep(CALM).await;
            let servers = self.how_they_are().await;
            let held_up = client.and_then(Client::held_up);
            words(&servers, held_up.as_ref(), &self.common.command())
        };
        self.saying(late, answer).await
    }

    /// Waits for an answer. If `late` comes first, it is said.
    pub(crate) async fn saying<T>(
        &self,
        late: impl Future<Output = String>,
        answer: impl Future<Output = T>,
    ) -> T {
        // In boxes: commands wait in several places, and each would have room for all of it.
        let (mut answer, late) = (Box::pin(answer), Box::pin(late));
        tokio::select! {
            biased;
            answer = &mut answer => return answer,
            text = late => self.say_aside(&text),
        }
        answer.await
    }

    /// How each of the addresses is. Takes [`ASKING`], so that what is said is true after that.
    async fn how_they_are(&self) -> Vec<(String, Server)> {
        let each = self.http.each().map(|(url, http)| (url, tokio::spawn(how_it_is(http))));
        let mut servers = Vec::new();
        for (url, asking) in each.collect::<Vec<_>>() {
            // It is neither stopped, nor does it panic.
            servers.push((url, asking.await.unwrap_or(Server::Away)));
        }
        servers
    }

    /// A command waits for several answers, and may wait for each for the same reason.
    fn say_aside(&self, text: &str) {
        if self.said.replace(text.to_owned()) != text {
            self.out().aside(text);
        }
    }
}

async fn how_it_is(http: Http) -> Server {
    // It may be the very server that does not answer.
    let (node, connects, ()) = tokio::join!(
        tokio::time::timeout(ASKING, http.node()),
        tokio::time::timeout(ASKING, http.takes_connections()),
        tokio::time::sleep(ASKING),
    );
    match (node, connects) {
        (Ok(Ok(node)), _) => Server::Says(node),
        (_, Ok(true)) => Server::Silent,
        _ => Server::Away,
    }
}

/// What is waited for, by how the servers are and why the request is repeated.
fn words(servers: &[(String, Server)], held_up: Option<&ClientError>, command: &str) -> String {
    let unacknowledged = servers.iter().find_map(|(_, server)| match server {
        Server::Says(node) => node["replication"]["unacknowledged"].as_str(),
        Server::Silent | Server::Away => None,
    });
    match (unacknowledged, held_up, servers) {
        (Some("standby_behind"), _, _) => {
            format!(
                "waiting: the server answers only what its standby has, too, and that is behind; `{command} status` says more"
            )
        }
        (Some(_), _, _) => {
            format!(
                "waiting: the server answers only what a standby has, too, and none follows it; `{command} status` says more"
            )
        }
        (None, Some(ClientError::Wire { code: WireCode::Busy, .. }), _) => {
            "waiting: the server has more to do than it can; asking again".into()
        }
        (None, Some(other), _) => format!("waiting: asking again: {other}"),
        (None, None, [(_, Server::Says(_))]) => "waiting: there is no answer yet".into(),
        (None, None, several) => {
            let each: Vec<String> = several.iter().map(|(url, server)| one_of(url, server)).collect();
            format!("waiting: {}", each.join("; "))
        }
    }
}

/// How the server is at an address.
fn one_of(url: &str, server: &Server) -> String {
    match server {
        Server::Says(node) => match node["role"].as_str() {
            Some("primary") => format!("{url} is the primary"),
            Some("standby") => format!("{url} is a standby"),
            _ => format!("{url} answers"),
        },
        Server::Silent => format!("{url} takes connections and has not answered yet"),
        Server::Away => format!("{url} takes no connections, and has not answered"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_known_is_said() {
        let node = |why: Value| Server::Says(json!({"replication": {"unacknowledged": why}}));
        let wire = |code| ClientError::Wire { code, message: "The disk is full.".into(), retry_after_ms: 1 };
        let (busy, full) = (wire(WireCode::Busy), wire(WireCode::ReadOnly));
        for (server, held_up, want) in [
            (node(json!("no_standby")), Some(&busy), "none follows it; `frontrow --server x status`"),
            (node(json!("standby_behind")), None, "that is behind; `frontrow --server x status`"),
            (node(Value::Null), Some(&busy), "more to do than it can; asking again"),
            (Server::Silent, Some(&full), "asking again: The disk is full."),
            (node(Value::Null), None, "no answer yet"),
            (Server::Silent, None, "http://h:1 takes connections and has not answered yet"),
            (Server::Away, None, "http://h:1 takes no connections"),
        ] {
            let text = words(&[("http://h:1".into(), server)], held_up, "frontrow --server x");
            assert!(text.starts_with("waiting: ") && text.contains(want), "{text}");
        }
    }

    #[test]
    fn of_several_each_is_named() {
        let node = |role: &str| Server::Says(json!({ "role": role }));
        let of =
            |a: Server, b: Server| words(&[("http://a:1".into(), a), ("http://b:1".into(), b)], None, "x");
        let silent = "waiting: http://a:1 takes connections and has not answered yet; ";
        assert_eq!(of(Server::Silent, node("primary")), format!("{silent}http://b:1 is the primary"));
        assert_eq!(of(Server::Silent, node("standby")), format!("{silent}http://b:1 is a standby"));
        assert!(of(Server::Away, Server::Silent).starts_with("waiting: http://a:1 takes no connections"));
    }
}
