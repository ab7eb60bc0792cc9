//! Running the server.

use crate::args::{Common, Serve};
use crate::backup::configured;
use crate::failure::Failure;
use crate::show::Out;
use frontrow_server::Running;
use frontrow_server::config::{self, Config, LogFormat};
use serde_json::json;
use std::ffi::OsStr;
use std::io::IsTerminal;
use tracing_subscriber::EnvFilter;

pub(crate) fn run(common: &Common, args: &Serve, out: Out) -> Result<(), Failure> {
    let path = args.config.as_deref();
    if args.check {
        let (text, good) = config::check(path);
        out.say(&json!({ "ok": good, "text": text }), text.trim_end());
        return if good {
            Ok(())
        } else {
            Err(refused("the configuration has mistakes; correct what is named above".into()))
        };
    }
    end_on_panic();
    let config = configured(common, path)?;
    log(&config);
    let demo = config.identity.dev && !args.no_demo;
    if !config.cluster.etcd.is_empty() {
        return join(&config, demo, out);
    }
    let running = frontrow_server::start(&config, demo).map_err(|error| refused(error.to_string()))?;
    until_signal(running, out)
}

/// One of two nodes: follows until it is chosen to be the primary, then serves.
fn join(config: &Config, demo: bool, out: Out) -> Result<(), Failure> {
    let ready = |http| {
        let text =
            format!("Following the primary of {}. Status at http://{http}/v1/status", config.cluster.name);
        out.say(&json!({"ok": true, "http": http, "text": text}), &text);
    };
    match frontrow_server::join(config, demo, ready).map_err(|error| refused(error.to_string()))? {
        Some(running) => until_signal(running, out),
        None => Ok(()),
    }
}

/// Says where the server is, and waits for its end.
pub(crate) fn until_signal(running: Running, out: Out) -> Result<(), Failure> {
    let text = running.banner();
    let (http, tcp, replication) = (running.http, running.tcp, running.replication());
    out.say(
        &json!({"ok": true, "http": http, "tcp": tcp, "replication": replication, "text": text}),
        text.trim_end(),
    );
    running
        .wait_for_signal_and_stop()
        .map_err(|error| refused(format!("no signals can be waited for: {error}")))
}

/// A core that has panicked must not leave the others serving as if nothing had happened: its rows would be
/// dead. The log has everything that was acknowledged.
#[allow(clippy::exit, reason = "an invariant is broken, and no thread may answer after it")]
pub(crate) fn end_on_panic() {
    let report = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        report(panic);
        eprintln!(
            "frontrow: an invariant is broken; the process stops. Start it again, and report the lines above."
        );
        std::process::exit(70);
    }));
}

/// Sends what the server says about itself to standard error.
pub(crate) fn log(config: &Config) {
    let filter = EnvFilter::new(config.log_output.level);
    let colours = has_colours(std::io::stderr().is_terminal(), std::env::var_os("NO_COLOR").as_deref());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let builder = builder.with_ansi(colours);
    // Somebody who has set a logger already keeps it.
    let _ = match config.log_output.format {
        LogFormat::Json => builder.json().try_init(),
        LogFormat::Text => builder.try_init(),
    };
}

/// A file of them is read by programs, and by people with `less`. https://no-color.org: any value but an empty one forbids them.
fn has_colours(is_terminal: bool, no_color: Option<&OsStr>) -> bool {
    is_terminal && no_color.is_none_or(OsStr::is_empty)
}

pub(crate) fn refused(message: String) -> Failure {
    Failure::Refused { code: "not_started", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_terminal_has_colours_and_not_where_somebody_wants_none() {
        let wants_none = Some(OsStr::new("1"));
        assert!(has_colours(true, None) && has_colours(true, Some(OsStr::new(""))));
        assert!(
            !has_colours(true, wants_none) && !has_colours(false, None) && !has_colours(false, wants_none)
        );
    }
}
