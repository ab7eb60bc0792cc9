//! The second node: follow a primary, take over from it, and decide what answers wait for.

use crate::args::{Backup, Cluster, Common, Promote, Replication};
use crate::failure::{Failure, UnderWay};
use crate::patience::LATE;
use crate::serve;
use crate::service_status;
use crate::session::Session;
use crate::show::{Out, span};
use frontrow_client::Http;
use frontrow_server::Founding;
use frontrow_server::config::{self, Config};
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;
use tokio::time::Instant;

/// How long a promotion is waited for.
const PROMOTION: Duration = Duration::from_secs(120);
/// How long nothing may listen at a node that takes over: it has ended then, or reads a log that is long.
const AWAY: Duration = Duration::from_secs(20);
/// A node that is a standby so long after it was told to take over was begun anew.
const STANDBY: Duration = Duration::from_secs(3);

/// How to know what has become of an operation on a node.
fn look(session: &Session) -> String {
    format!("look with `{} status` before you ask again", session.common.command())
}

/// What an operator has to see to without a cluster.
const KEEP_DOWN: &str = "Keep the old primary from serving: if it was alone (`frontrow replication alone`), or acknowledges \
                         locally, it sells the same seats as soon as it is started with `frontrow serve`, and a reboot does \
                         that, until it is told of this epoch, which takes some seconds. There: systemctl disable --now frontrow; then \
                         `frontrow backup --primary` with this node.";
/// The same, before it comes to that.
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

/// Makes a standby the primary.
pub(crate) async fn promote(session: &Session, args: &Promote, out: Out) -> Result<(), Failure> {
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
pub(crate) fn promote_at_rest(common: &Common, args: &Promote, out: Out) -> Result<(), Failure> {
    let config = configured(common, args.config.as_deref())?;
    let epoch =
        frontrow_server::promote_at_rest(&config, args.force).map_err(|error| refused(error.to_string()))?;
    let serve = common.serving(args.config.as_deref());
    let text =
        format!("It is a primary's now, and opens its epoch when it is started. Now: {serve}\n{KEEP_DOWN}");
    out.say(&json!({"ok": true, "epoch": epoch, "text": text}), &text);
    Ok(())
}

/// What is done about a cluster at a node that does not run.
pub(crate) fn cluster(common: &Common, what: &Cluster, out: Out) -> Result<(), Failure> {
    let refused = |error: frontrow_server::cluster::FoundError| refused(error.to_string());
    match what {
        Cluster::Found { epoch, replace, above, config } => {
            let config = configured(common, config.as_deref())?;
            let founding = Founding { epoch: *epoch, replace: *replace, above: *above };
            let epoch = frontrow_server::found_cluster(&config, founding).map_err(refused)?;
            let text = format!(
                "etcd has it on record: cluster {} goes on from this data, above epoch {epoch}. Now: frontrow serve, here and \
                 at the other node, which follows; what only that one has is kept in its cut/.",
                config.cluster.name
            );
            out.say(&json!({"ok": true, "epoch": epoch, "text": text}), &text);
        }
        Cluster::Leave { config } => {
            let config = configured(common, config.as_deref())?;
            let name = frontrow_server::leave_cluster(&config).map_err(refused)?;
            let text = format!(
                "This data is not in cluster {name} any more. If another node of it serves, both sell the same seats from now on."
            );
            out.say(&json!({"ok": true, "cluster": name, "text": text}), &text);
        }
    }
    Ok(())
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
            return node(session, out).await;
        }
        answer => answer?,
    };
    let operating = session.common.operating();
    let mut text = followed(&answer, &operating);
    if matches!(what, Replication::Alone) {
        let _ = write!(text, "\n{ALONE} `{operating} replication backup` ends it.");
    }
    out.say(&json!({"ok": true, "replication": answer, "text": text}), &text);
    Ok(())
}

fn word<'a>(of: &'a Value, key: &str) -> &'a str {
    of[key].as_str().unwrap_or("?")
}

/// A node that says nothing to the other one for so long, in milliseconds, is called silent: four of its words.
const SILENT: u64 = 2000;
/// A look at the events' files that is so old, in milliseconds, is said to be: either node looks every five seconds.
const OLD: u64 = 10_000;

/// How far a primary's standby is: nothing that cannot be while answers wait for it.
fn how_far(of: &Value) -> String {
    let lag: u64 = of["lag_bytes"].as_array().into_iter().flatten().filter_map(Value::as_u64).sum();
    let silent = of["silent_ms"].as_u64().filter(|ms| *ms >= SILENT).map(span);
    match (of["caught_up"] == true, silent) {
        (true, Some(time)) if lag == 0 && of["acknowledge"] == "backup" => {
            format!("silent for {time}: it had everything before, and new claims wait for it")
        }
        (true, Some(time)) if lag == 0 => format!("silent for {time}, and had everything before"),
        (true, Some(time)) => format!("silent for {time}, and {lag} bytes behind"),
        (true, None) if of["unacknowledged"].is_string() => format!("it follows, {lag} bytes behind"),
        // What it lacks of that was answered, and would be lost with this node.
        (true, None) if lag > 0 && of["acknowledge"] != "backup" => format!("it follows, {lag} bytes behind"),
        (true, None) => "caught up".to_owned(),
        (false, Some(time)) => format!("not caught up, last heard {time} ago"),
        (false, None) => "not caught up".to_owned(),
    }
}

/// How a primary's standby is doing, in words; `operating` is what operators' commands begin with.
fn followed(of: &Value, operating: &str) -> String {
    let mut text = format!(
        "Answers wait for: {} (by the configuration: {}). Standby: {} of {} streams, {}.",
        word(of, "acknowledge"),
        word(of, "policy"),
        of["following"],
        of["streams"],
        how_far(of)
    );
    if let Some(why) = of["unfit"].as_str() {
        let _ = write!(text, "\nThe standby ({}) could not take over: {why}.", word(of, "standby"));
    }
    match of["unacknowledged"].as_str() {
        Some("standby_behind") => {
            let _ = write!(text, "\n{BEHIND} (`{operating} replication alone`).");
        }
        Some(_) => {
            let _ = write!(text, "\n{UNANSWERED} (`{operating} replication alone`).");
        }
        None => {}
    }
    text
}

/// Said of a primary whose answers wait for a standby that does not follow.
const UNANSWERED: &str = "NOTHING IS ACKNOWLEDGED NOW: no standby follows all of the log, and answers wait for one. Start it \
                          (`frontrow backup`, at the other node), or go on without";
/// The same of one whose standby follows, too far behind.
const BEHIND: &str = "NOTHING IS ACKNOWLEDGED NOW: answers wait for the standby, which is behind, and what is new is refused. \
                      If it does not catch up: end it, and start it again (`frontrow backup`, at the other node), or go on \
                      without";

/// What the node is, and how far.
pub(crate) async fn node(session: &Session, out: Out) -> Result<(), Failure> {
    let node = session.ask(session.http.node()).await?;
    let text = match node["role"].as_str() {
        Some("primary") => primary(&node, &session.common.operating()),
        Some("bookings") => service_status::text(&node),
        _ => standby(&node, &session.common.operating()),
    };
    out.say(&json!({"ok": true, "node": node}), &text);
    Ok(())
}

fn primary(node: &Value, operating: &str) -> String {
    let serves = if node["ready"] == true { "serves" } else { "does not serve yet" };
    let (epoch, events, connections) = (&node["epoch"], &node["events"], &node["connections"]);
    let replication = &node["replication"];
    let standby = if replication.is_null() {
        "It is to have no standby.".to_owned()
    } else {
        followed(replication, operating)
    };
    let mut text = format!(
        "Primary in epoch {epoch}, {serves}: {events} events, {connections} connections of clients.\n{standby}"
    );
    text.extend(node["predecessors"].as_array().into_iter().flatten().map(predecessor));
    if let Some(why) = node["catalogue"].as_str().filter(|word| *word != "ok") {
        let _ = write!(
            text,
            "\nThe events' files here are not good (it sells on, and a restart would be refused): {why}"
        );
    }
    text.push_str(&looked_long_ago(node));
    for (key, name) in [("bookings", "The table of bookings"), ("kafka", "Kafka")] {
        let feed = &node[key];
        let lag = feed["lag_bytes"].as_u64().map_or("an unknown number of".to_owned(), |lag| lag.to_string());
        let _ = match (feed.is_null(), feed["trouble"].as_str()) {
            (true, _) => continue,
            (false, Some(why)) => write!(text, "\n{name} is {lag} bytes of log behind, and waits: {why}"),
            (false, None) => write!(text, "\n{name} is {lag} bytes of log behind."),
        };
    }
    text
}

/// What is known of a primary before, of a node that was promoted without a cluster.
fn predecessor(of: &Value) -> String {
    let mut text = String::new();
    if let Some(ms) = of["told_ms"].as_u64() {
        let time = span(ms);
        let _ = write!(
            text,
            "\nThe primary before this one ({}) took itself for it {time} ago: it was told of this epoch, and stops.",
            word(of, "address")
        );
    }
    if let Some(why) = of["trouble"].as_str() {
        let _ = write!(
            text,
            "\nThe primary before this one ({}) cannot be told of this epoch ({why}): see to it that it does not serve. It is told \
             as soon as it can be reached.",
            word(of, "address")
        );
    }
    text
}

fn standby(node: &Value, operating: &str) -> String {
    let trouble = node["trouble"].as_str().map(|why| format!(": {why}")).unwrap_or_default();
    let apart = node["unconnected_ms"].as_u64().map(|ms| format!(" (for {})", span(ms))).unwrap_or_default();
    let silent = node["silent_ms"].as_u64().filter(|ms| *ms >= SILENT).map(span);
    let is_applied = node["age_ms"].is_u64();
    let connection = match (node["connected"] == true, node["caught_up"] == true) {
        (true, had_all) if silent.is_some() => {
            let time = silent.unwrap_or_default();
            let before = if had_all { "was caught up before" } else { "had not caught up" };
            format!("has not heard from its primary for {time}, and {before}")
        }
        // What is on its way for so long says nothing of what is there.
        (true, true) if node["age_ms"].as_u64().is_some_and(|age| age >= SILENT) => {
            format!(
                "follows its primary, and has what that had {} ago",
                span(node["age_ms"].as_u64().unwrap_or(0))
            )
        }
        (true, true) if is_applied => "follows its primary and is caught up".to_owned(),
        (true, true) if node["applier"] == "ok" => "has received everything, and is applying it".to_owned(),
        (true, true) => "has received everything".to_owned(),
        (true, false) => "follows its primary and is not caught up yet".to_owned(),
        (false, _) => format!("has no connection to its primary{apart}{trouble}"),
    };
    let epoch =
        node["epoch"].as_u64().map_or("without data yet".to_owned(), |epoch| format!("in epoch {epoch}"));
    let mut text = format!("Standby {epoch}, {connection}.");
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
    text.push_str(&promotable(node, operating));
    for setting in node["cluster"]["differs"].as_array().into_iter().flatten() {
        let _ = write!(text, "\nnot as at the primary: {}", setting.as_str().unwrap_or("?"));
    }
    for key in ["trouble", "why_not"] {
        if let Some(why) = node["cluster"][key].as_str() {
            let _ =
                write!(text, "\n{}: {why}", if key == "trouble" { "etcd" } else { "not primary because" });
        }
    }
    if node["applier"] != "ok" {
        let _ = write!(text, "\nwhat arrives is not applied: {}", word(node, "applier"));
    }
    if let Some(why) = node["catalogue"].as_str().filter(|word| *word != "ok") {
        let _ = write!(text, "\nit cannot be promoted, for the events' files here are not good: {why}");
    }
    text.push_str(&looked_long_ago(node));
    text
}

/// Whether a standby without a connection could take over.
fn promotable(node: &Value, operating: &str) -> String {
    if node["could_be_promoted"] == true {
        let lacks = node["lacked_ms"].as_u64().filter(|ms| *ms >= SILENT);
        let lacks =
            lacks.map(|ms| format!(" (it lacks the last {} before that)", span(ms))).unwrap_or_default();
        return format!(
            "\nif its primary is gone for good, and no other standby followed it after this one, this one could be promoted{lacks}: \
             `{operating} promote`"
        );
    }
    let is_unknown = node["behind"]["reason"] == "unreadable";
    if (node["connected"] == true && !is_unknown) || !node["cluster"].is_null() {
        return String::new();
    }
    let mut text = String::new();
    if let Some(why) = node["behind"]["message"].as_str() {
        let _ = write!(text, "\nit is not to be promoted: {why}");
    } else if node["primary_met"] == "silence" {
        let _ = write!(
            text,
            "\nwhether its primary is off, or only out of reach, cannot be known from here: if it is off for sure, \
             `{operating} promote --force`"
        );
    }
    text
}

/// A disk that answers late, or not at all.
fn looked_long_ago(node: &Value) -> String {
    let ms = node["catalogue_age_ms"].as_u64().filter(|ms| *ms >= OLD);
    ms.map(|ms| format!("\nThe last look at the events' files was {} ago.", span(ms))).unwrap_or_default()
}

/// The configuration, with `--data` in the place of its own directory if it was given.
pub(crate) fn configured(common: &Common, path: Option<&Path>) -> Result<Config, Failure> {
    let mut config = config::load(path).map_err(|mistakes| refused(mistakes.to_string()))?;
    if common.data != Path::new("data") {
        config.server.data.clone_from(&common.data);
    }
    Ok(config)
}

fn refused(message: String) -> Failure {
    Failure::Refused { code: "not_started", message }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn how_far_a_standby_is_never_contradicts_that_answers_wait_for_it() {
        let of = |caught_up: bool, silent: Value, lag: u64, why: Value| {
            how_far(
                &json!({"caught_up": caught_up, "silent_ms": silent, "lag_bytes": [lag, 1], "unacknowledged": why}),
            )
        };
        assert_eq!(of(true, json!(500), 8, Value::Null), "it follows, 9 bytes behind");
        assert_eq!(of(true, json!(500), 8, json!("standby_behind")), "it follows, 9 bytes behind");
        assert_eq!(of(true, json!(7000), 8, json!("standby_behind")), "silent for 7 s, and 9 bytes behind");
        assert_eq!(
            of(false, json!(61_000), 8, json!("no_standby")),
            "not caught up, last heard 1 min 1 s ago"
        );
        assert_eq!(of(false, Value::Null, 0, json!("no_standby")), "not caught up");
        let busy = json!({"caught_up": true, "lag_bytes": [8, 0], "acknowledge": "backup"});
        assert_eq!(how_far(&busy), "caught up", "all that is answered is there");
        let idle = json!({"caught_up": true, "silent_ms": 3000, "lag_bytes": [0, 0]});
        assert_eq!(how_far(&idle), "silent for 3 s, and had everything before");
        let mut waited_for = idle;
        waited_for["acknowledge"] = "backup".into();
        assert!(how_far(&waited_for).ends_with("and new claims wait for it"), "{}", how_far(&waited_for));
    }

    #[test]
    fn the_way_out_is_told_as_it_can_be_typed() {
        let said = |why: &str| followed(&json!({"unacknowledged": why}), "frontrow --server http://h:1");
        for why in ["no_standby", "standby_behind"] {
            let said = said(why);
            assert!(
                said.contains("go on without (`frontrow --server http://h:1 replication alone`)."),
                "{said}"
            );
        }
    }

    #[test]
    fn whether_the_primary_before_could_be_told_is_said() {
        let said = predecessor(&json!({"address": "a:1", "told_ms": 4000, "trouble": "refused"}));
        assert!(
            said.contains("(a:1) took itself for it 4 s ago") && said.contains("(refused): see to it"),
            "{said}"
        );
        assert_eq!(predecessor(&json!({"address": "a:1", "told_ms": null, "trouble": null})), "");
    }

    #[test]
    fn a_standby_without_a_connection_says_why_and_since_when() {
        let mut node = json!({
            "connected": false, "caught_up": false, "epoch": null, "trouble": "refused", "unconnected_ms": 5000,
            "applier": "ok", "catalogue": null, "unreadable": "catching_up",
        });
        let said = standby(&node, "frontrow --server http://h:1");
        let first = "Standby without data yet, has no connection to its primary (for 5 s): refused.";
        assert!(said.starts_with(first) && !said.contains("null"), "{said}");
        node["epoch"] = 3.into();
        assert!(
            standby(&node, "frontrow --server http://h:1")
                .starts_with("Standby in epoch 3, has no connection")
        );
        assert!(!standby(&node, "frontrow --server http://h:1").contains(" promote`"));
        node["could_be_promoted"] = true.into();
        assert!(
            standby(&node, "frontrow --server http://h:1")
                .contains("could be promoted: `frontrow --server http://h:1 promote`")
        );
    }

    #[test]
    fn either_node_says_that_the_look_at_its_files_is_old() {
        let mut node =
            json!({"applier": "ok", "catalogue": "ok", "catalogue_age_ms": 9999, "replication": null});
        let said = |node: &Value| [standby(node, "frontrow"), primary(node, "frontrow")];
        assert!(said(&node).iter().all(|said| !said.contains("last look")), "{:?}", said(&node));
        node["catalogue_age_ms"] = 61_000.into();
        for said in said(&node) {
            assert!(said.ends_with("\nThe last look at the events' files was 1 min 1 s ago."), "{said}");
        }
    }

    #[test]
    fn a_standby_is_caught_up_once_it_has_applied_what_it_received_and_while_it_hears() {
        let mut node = json!({
            "connected": true, "caught_up": true, "epoch": 3, "silent_ms": 400, "applier": "ok", "catalogue": "ok",
            "unreadable": "catching_up", "age_ms": null,
        });
        let said = |node: &Value| standby(node, "frontrow").lines().next().unwrap_or_default().to_owned();
        assert_eq!(said(&node), "Standby in epoch 3, has received everything, and is applying it.");
        node["age_ms"] = 3.into();
        assert_eq!(said(&node), "Standby in epoch 3, follows its primary and is caught up.");
        node["age_ms"] = 7000.into();
        assert_eq!(said(&node), "Standby in epoch 3, follows its primary, and has what that had 7 s ago.");
        node["age_ms"] = 3.into();
        node["silent_ms"] = 2000.into();
        let first = "Standby in epoch 3, has not heard from its primary for 2 s, and was caught up before.";
        assert_eq!(said(&node), first);
        node["caught_up"] = false.into();
        assert!(said(&node).ends_with("for 2 s, and had not caught up."));
    }

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

    #[test]
    fn what_keeps_a_standby_from_being_promoted_is_said_while_it_follows_nobody() {
        let mut node = json!({"connected": false, "behind": null, "primary_met": "nobody"});
        assert_eq!(promotable(&node, "frontrow"), "");
        node["primary_met"] = "silence".into();
        assert!(promotable(&node, "frontrow").contains("`frontrow promote --force`"));
        node["behind"] = json!({"reason": "another_standby", "message": "what was sold since is not here"});
        let said = promotable(&node, "frontrow");
        assert_eq!(said, "\nit is not to be promoted: what was sold since is not here");
        node["connected"] = true.into();
        assert_eq!(promotable(&node, "frontrow"), "", "it catches up");
        node["behind"]["reason"] = "unreadable".into();
        assert_ne!(promotable(&node, "frontrow"), "", "that does not mend it");
        node["behind"] = Value::Null;
        node["could_be_promoted"] = true.into();
        assert!(promotable(&node, "frontrow").contains("this one could be promoted: `frontrow promote`"));
        node["lacked_ms"] = 7000.into();
        assert!(
            promotable(&node, "frontrow").contains("(it lacks the last 7 s before that): `frontrow promote`")
        );
    }
}
