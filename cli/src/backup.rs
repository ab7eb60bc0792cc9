//! The second node: it follows a primary, and answers wait for it or do not.

use crate::args::{Backup, Common, Replication};
use crate::failure::Failure;
use crate::node_status;
use crate::serve;
use crate::session::Session;
use crate::show::Out;
use frontrow_server::config::{self, Config};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;

/// How to know what has become of an operation on a node.
pub(crate) fn look(session: &Session) -> String {
    format!("look with `{} status` before you ask again", session.common.command())
}

/// What an operator has to know of a primary that goes on alone.
const ALONE: &str = "It acknowledges by itself from now on, after a restart, too. Without a cluster nothing else keeps it from \
                     selling: before its standby is promoted, make sure that this node cannot start (systemctl disable --now \
                     frontrow).";

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

/// Shows or changes what answers wait for.
pub(crate) async fn replication(session: &Session, what: &Replication, out: Out) -> Result<(), Failure> {
    let http = session.operator()?;
    let answer = match what {
        Replication::Status => session.ask(http.replication()).await,
        Replication::Alone => {
            session.operate(look(session), http.operate("/v1/admin/replication/alone")).await
        }
        Replication::Backup => {
            session.operate(look(session), http.operate("/v1/admin/replication/backup")).await
        }
    };
    let answer: Value = match answer {
        // A standby has none of its own.
        Err(Failure::Http(error)) if error.is_refusal("standby") && matches!(what, Replication::Status) => {
            return node_status::show(session, out).await;
        }
        answer => answer?,
    };
    let operating = session.common.operating();
    let mut text = node_status::followed(&answer, &operating);
    if matches!(what, Replication::Alone) {
        let _ = write!(text, "\n{ALONE} `{operating} replication backup` ends it.");
    }
    out.say(&json!({"ok": true, "replication": answer, "text": text}), &text);
    Ok(())
}

/// The configuration, with `--data` in the place of its own directory if it was given.
pub(crate) fn configured(common: &Common, path: Option<&Path>) -> Result<Config, Failure> {
    let mut config = config::load(path).map_err(|mistakes| refused(mistakes.to_string()))?;
    if common.data != Path::new("data") {
        config.server.data.clone_from(&common.data);
    }
    Ok(config)
}

pub(crate) fn refused(message: String) -> Failure {
    Failure::Refused { code: "not_started", message }
}
