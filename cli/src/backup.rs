//! The second node: follow a primary, take over from it, and decide what answers wait for.

use crate::args::{Backup, Common, Promote, Replication};
use crate::failure::Failure;
use crate::serve;
use crate::session::Session;
use crate::show::Out;
use frontrow_client::HttpError;
use frontrow_server::config::{self, Config};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// Follows a primary; once promoted, serves like `frontrow serve`.
pub(crate) fn run(common: &Common, args: &Backup, out: Out) -> Result<(), Failure> {
    serve::end_on_panic();
    let config = configured(common, args.config.as_deref())?;
    serve::log(&config);
    let ready = |http| {
        let text = format!("Following {}. Status at http://{http}/v1/status", args.primary);
        out.say(&json!({"ok": true, "http": http, "text": text}), &text);
    };
    let promoted = frontrow_server::follow(&config, &args.primary, ready);
    match promoted.map_err(|error| refused(error.to_string()))? {
        None => Ok(()),
        Some(promoted) => {
            let running = frontrow_server::take_over(&config, promoted);
            serve::until_signal(running.map_err(|error| refused(error.to_string()))?, out)
        }
    }
}

/// Makes a standby the primary.
pub(crate) async fn promote(session: &Session, args: &Promote, out: Out) -> Result<(), Failure> {
    let path = if args.force { "/v1/admin/promote?force=true" } else { "/v1/admin/promote" };
    let answer = session.operator()?.operate(path).await?;
    out.say(
        &json!({"ok": true, "answer": answer}),
        "It takes over: it stops following, applies what it has, and serves.",
    );
    Ok(())
}

/// The same for one that is not running.
pub(crate) fn promote_at_rest(common: &Common, args: &Promote, out: Out) -> Result<(), Failure> {
    let config = configured(common, args.config.as_deref())?;
    let epoch = frontrow_server::promote_at_rest(&config).map_err(|error| refused(error.to_string()))?;
    let text = format!("Epoch {epoch} is open, and the old primary's is over. Now: frontrow serve");
    out.say(&json!({"ok": true, "epoch": epoch, "text": text}), &text);
    Ok(())
}

/// Shows or changes what answers wait for.
pub(crate) async fn replication(session: &Session, what: &Replication, out: Out) -> Result<(), Failure> {
    let http = session.operator()?;
    let answer: Result<Value, HttpError> = match what {
        Replication::Status => http.replication().await,
        Replication::Alone => http.operate("/v1/admin/replication/alone").await,
        Replication::Backup => http.operate("/v1/admin/replication/backup").await,
    };
    let answer = match answer {
        // A standby has none of its own.
        Err(HttpError::Refused { code, .. }) if code == "standby" && matches!(what, Replication::Status) => {
            return node(session, out).await;
        }
        answer => answer?,
    };
    out.say(&json!({"ok": true, "replication": answer}), followed(&answer));
    Ok(())
}

fn word<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or("?")
}

/// How a primary's standby is doing, in words.
fn followed(of: &Value) -> String {
    format!(
        "Answers wait for: {} (by the configuration: {}). Standby: {} of {} streams, {}.",
        word(of, "acknowledge"),
        word(of, "policy"),
        of["following"],
        of["streams"],
        if of["caught_up"] == true { "caught up" } else { "not caught up" }
    )
}

/// What the node is, and how far.
pub(crate) async fn node(session: &Session, out: Out) -> Result<(), Failure> {
    let node = session.http.node().await?;
    let text = if node["role"] == "primary" { primary(&node) } else { standby(&node) };
    out.say(&json!({"ok": true, "node": node}), &text);
    Ok(())
}

fn primary(node: &Value) -> String {
    let serves = if node["ready"] == true { "serves" } else { "does not serve yet" };
    let (epoch, events, connections) = (&node["epoch"], &node["events"], &node["connections"]);
    let replication = &node["replication"];
    let standby =
        if replication.is_null() { "It is to have no standby.".to_owned() } else { followed(replication) };
    format!(
        "Primary in epoch {epoch}, {serves}: {events} events, {connections} connections of clients.\n{standby}"
    )
}

fn standby(node: &Value) -> String {
    let trouble = node["trouble"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    let connection = match (node["connected"] == true, node["caught_up"] == true) {
        (true, true) => "follows its primary and is caught up".to_owned(),
        (true, false) => "follows its primary and is not caught up yet".to_owned(),
        (false, _) => format!("has no connection to its primary{trouble}"),
    };
    let mut text = format!("Standby in epoch {}, {connection}.", node["epoch"]);
    for stream in node["streams"].as_array().into_iter().flatten() {
        let lag = stream["lag_bytes"]
            .as_u64()
            .map_or("an earlier epoch is coming".to_owned(), |lag| format!("{lag} bytes behind"));
        let position = |key: &str| stream[key]["position"].clone();
        let _ = write!(
            text,
            "\nstream {}: durable to {}, applied to {}, {lag}",
            stream["stream"],
            position("durable"),
            position("applied")
        );
    }
    let _ = match node["age_ms"].as_u64() {
        Some(age) => write!(text, "\nseats are shown here, at most {age} ms old"),
        None => write!(text, "\nseats are not shown here: {}", word(node, "unreadable").replace('_', " ")),
    };
    for key in ["trouble", "why_not"] {
        if let Some(why) = node["cluster"][key].as_str() {
            let _ =
                write!(text, "\n{}: {why}", if key == "trouble" { "etcd" } else { "not primary because" });
        }
    }
    if node["applier"] != "ok" {
        let _ = write!(text, "\nwhat arrives is not applied: {}", word(node, "applier"));
    }
    text
}

/// The configuration, with `--data` in the place of its own directory if it was given.
fn configured(common: &Common, path: Option<&Path>) -> Result<Config, Failure> {
    let mut config = config::load(path).map_err(|mistakes| refused(mistakes.to_string()))?;
    if common.data != Path::new("data") {
        config.server.data.clone_from(&common.data);
    }
    Ok(config)
}

fn refused(message: String) -> Failure {
    Failure::Refused { code: "not_started", message }
}
