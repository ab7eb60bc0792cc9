//! What a node that sells, or follows one that does, says of itself, in words.

use crate::failure::Failure;
use crate::service_status;
use crate::session::Session;
use crate::show::{Out, span};
use serde_json::{Value, json};
use std::fmt::Write as _;

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
pub(crate) fn followed(of: &Value, operating: &str) -> String {
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
pub(crate) async fn show(session: &Session, out: Out) -> Result<(), Failure> {
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
