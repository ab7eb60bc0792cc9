//! The second node: follow a primary, take over from it, and decide what answers wait for.

use crate::args::{Backup, Common, Promote, Replication};
use crate::failure::Failure;
use crate::serve;
use crate::session::Session;
use crate::show::Out;
use frontrow_client::HttpError;
use frontrow_server::config::{self, Config};
use serde_json::json;
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
    let answer: Result<serde_json::Value, HttpError> = match what {
        Replication::Status => http.replication().await,
        Replication::Alone => http.operate("/v1/admin/replication/alone").await,
        Replication::Backup => http.operate("/v1/admin/replication/backup").await,
    };
    let answer = answer?;
    let word = |key: &str| answer[key].as_str().unwrap_or("?").to_owned();
    let text = format!(
        "Answers wait for: {} (by the configuration: {}). Standby: {} of {} streams, {}.",
        word("acknowledge"),
        word("policy"),
        answer["following"],
        answer["streams"],
        if answer["caught_up"] == true { "caught up" } else { "not caught up" }
    );
    out.say(&json!({"ok": true, "replication": answer}), &text);
    Ok(())
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
