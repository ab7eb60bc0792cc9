//! An operator makes a standby the primary, and is told what has come of it.

use crate::args::{Common, Promote};
use crate::backup::{configured, look, refused};
use crate::failure::{Failure, UnderWay};
use crate::patience::LATE;
use crate::session::Session;
use crate::show::Out;
use frontrow_client::Http;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// How long a promotion is waited for.
const PROMOTION: Duration = Duration::from_secs(120);
/// How long nothing may listen at a node that takes over: it has ended then, or reads a log that is long.
const AWAY: Duration = Duration::from_secs(20);
/// A node that is a standby so long after it was told to take over was begun anew.
const STANDBY: Duration = Duration::from_secs(3);

/// What an operator has to see to without a cluster.
const KEEP_DOWN: &str = "Keep the old primary from serving: if it was alone (`frontrow replication alone`), or acknowledges \
                         locally, it sells the same seats as soon as it is started with `frontrow serve`, and a reboot does \
                         that, until it is told of this epoch, which takes some seconds. There: systemctl disable --now frontrow; then \
                         `frontrow backup --primary` with this node.";

/// Makes a standby the primary.
pub(crate) async fn run(session: &Session, args: &Promote, out: Out) -> Result<(), Failure> {
    let path = if args.force { "/v1/admin/promote?force=true" } else { "/v1/admin/promote" };
    let http = session.operator()?;
    // An epoch that it opens is above the one that it has now.
    let before = session.http.node().await.ok().and_then(|node| node["epoch"].as_u64());
    let answer = session.operate(look(session), http.operate(path)).await?;
    session.under_way.set(UnderWay::Operation { look: look(session) });
    // Of several addresses the one that does it.
    let (url, node) = http.answered_by().unwrap_or_else(|| (session.common.server.clone(), http));
    let late = async {
        tokio::time::sleep(LATE).await;
        let lacks = if node.takes_connections().await { "serve" } else { "listen" };
        format!("waiting: {url} has begun to take over, and does not {lacks} yet")
    };
    let served = session.saying(late, tokio::time::timeout(PROMOTION, serving(&node, (AWAY, STANDBY)))).await;
    let remedy = format!(
        "look at what it says there (journalctl -u frontrow), and with `{} status`",
        session.common.command()
    );
    let node = match served {
        Ok(Some(Came::Serves(node))) => node,
        Ok(Some(Came::Follows(node))) => return Err(not_promoted(&url, before, &node, &remedy)),
        Ok(None) => return Err(gone(&url, &remedy)),
        Err(_) => {
            let message = format!(
                "{url} has begun to take over, and does not serve after {} s: it may still read its log, or it has ended: {remedy}",
                PROMOTION.as_secs()
            );
            return Err(Failure::Refused { code: "not_yet", message });
        }
    };
    let text = format!("It serves, in epoch {}.\n{KEEP_DOWN}", node["epoch"]);
    out.say(&json!({"ok": true, "answer": answer, "node": node, "text": text}), &text);
    Ok(())
}

/// What became of a promotion.
#[derive(Debug, PartialEq)]
enum Came {
    /// It serves, and this is what it says of itself.
    Serves(Value),
    /// It is a standby again, and this is what it says of itself.
    Follows(Value),
}

/// What is known of a node at `url` that was in epoch `before`, was told to take over, and is a standby.
fn not_promoted(url: &str, before: Option<u64>, node: &Value, remedy: &str) -> Failure {
    let begun = format!(
        "{url} had begun to take over, and runs as a standby: it was ended, or ended by itself, and was started again"
    );
    let opened = node["epoch"].as_u64().filter(|epoch| before.is_none_or(|before| *epoch > before));
    let message = match opened.filter(|_| node["behind"]["reason"] == "was_primary") {
        Some(epoch) => format!(
            "{begun}. IT HAS OPENED EPOCH {epoch} before that, and is the primary by its log: do not start the old one, which ends when it \
             hears of that. There: end it (systemctl stop frontrow), and start it with `frontrow serve --data DIR`. If it does not \
             serve: {remedy}"
        ),
        None => format!(
            "{begun}. It was not promoted, and has opened no epoch: {remedy}; then promote it once more"
        ),
    };
    Failure::Refused { code: "not_promoted", message }
}

/// Waits until the node is the primary, and serves; `None` once nothing has listened there for as long as `away`.
async fn serving(node: &Http, (away, standby): (Duration, Duration)) -> Option<Came> {
    let (begun, mut since) = (Instant::now(), None::<Instant>);
    loop {
        match node.node().await {
            Ok(node) if node["role"] == "primary" && node["ready"] == true => {
                return Some(Came::Serves(node));
            }
            // The one that was told ends at once: this is another process.
            Ok(node) if node["role"] == "standby" && begun.elapsed() >= standby => {
                return Some(Came::Follows(node));
            }
            // Between following and serving it does not listen.
            Err(error) if error.is_away() => {
                if since.get_or_insert_with(Instant::now).elapsed() >= away {
                    return None;
                }
            }
            _ => since = None,
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// What is known of a node at `url` that nothing listens at.
fn gone(url: &str, remedy: &str) -> Failure {
    Failure::Gone(format!(
        "{url} had begun to take over and is not there any more: nothing has listened there for {} s. It has ended, or it reads a \
         log that is long.\nWhat to do: {remedy}.",
        AWAY.as_secs()
    ))
}

/// The same for one that is not running.
pub(crate) fn at_rest(common: &Common, args: &Promote, out: Out) -> Result<(), Failure> {
    let config = configured(common, args.config.as_deref())?;
    let epoch =
        frontrow_server::promote_at_rest(&config, args.force).map_err(|error| refused(error.to_string()))?;
    let serve = common.serving(args.config.as_deref());
    let text =
        format!("It is a primary's now, and opens its epoch when it is started. Now: {serve}\n{KEEP_DOWN}");
    out.say(&json!({"ok": true, "epoch": epoch, "text": text}), &text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A node at `address`, asked by somebody who waits a moment for each answer.
    fn node_at(address: &str) -> Http {
        let http = Http::new(&format!("http://{address}")).expect("an address");
        http.with_patience(Duration::from_millis(20))
    }

    #[tokio::test]
    async fn a_node_that_nothing_listens_at_is_not_waited_for() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        // Slow is not gone.
        let away = Duration::from_millis(60);
        let waited = tokio::time::timeout(away * 6, serving(&node_at(&address), (away, STANDBY))).await;
        assert!(waited.is_err(), "it listens: {waited:?}");
        drop(listener);
        assert_eq!(serving(&node_at(&address), (away, STANDBY)).await, None);
        let failure = gone("http://h:1", "look there");
        assert_eq!(failure.exit_code(), 3);
        assert!(failure.text().starts_with("http://h:1 had begun to take over and is not there any more"));
        assert!(failure.text().ends_with("look there."), "{}", failure.text());
    }

    #[tokio::test]
    async fn a_node_that_is_a_standby_again_was_not_promoted() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound").to_string();
        let answers = tokio::spawn(async move {
            let body = r#"{"role":"standby"}"#;
            let answer = format!(
                "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
                body.len()
            );
            loop {
                let (mut socket, _) = listener.accept().await.expect("somebody");
                let mut asked = [0; 1024];
                let _ = tokio::io::AsyncReadExt::read(&mut socket, &mut asked).await;
                let _ = tokio::io::AsyncWriteExt::write_all(&mut socket, answer.as_bytes()).await;
            }
        });
        let node = Http::new(&format!("http://{address}")).expect("an address");
        let came = serving(&node, (AWAY, Duration::ZERO)).await;
        assert_eq!(came, Some(Came::Follows(json!({"role": "standby"}))));
        answers.abort();
    }

    #[test]
    fn whether_an_epoch_was_opened_is_said_of_one_that_was_ended_in_between() {
        let said = |before, node: &Value| not_promoted("http://h:1", before, node, "look there").text();
        let mut node = json!({"role": "standby", "epoch": 7, "behind": null});
        assert!(said(Some(7), &node).contains("has opened no epoch: look there; then promote it once more"));
        node["epoch"] = 100_000.into();
        assert!(said(Some(7), &node).contains("has opened no epoch"), "its primary has");
        node["behind"] = json!({"reason": "was_primary", "message": ""});
        let text = said(Some(7), &node);
        assert!(text.contains("HAS OPENED EPOCH 100000") && text.contains("`frontrow serve"), "{text}");
        assert!(said(Some(100_000), &node).contains("has opened no epoch"), "it was one before");
    }
}
