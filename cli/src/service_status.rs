//! How a bookings service is doing, in words.

use serde_json::Value;
use std::fmt::Write as _;

/// What `/v1/status` of a bookings service says.
pub(crate) fn text(node: &Value) -> String {
    let behind = &node["behind"];
    let mut text = match behind["code"].as_str() {
        None => "Bookings service: its table has what it was told.".to_owned(),
        Some(code) => {
            let known = behind["reason"].as_str().unwrap_or("no reason is said");
            format!("Bookings service: ITS TABLE IS BEHIND: {}.", reason(code, known))
        }
    };
    let consumers = node["consumers"].as_array().map(Vec::as_slice).unwrap_or_default();
    for (n, consumer) in (1..).zip(consumers) {
        let _ = write!(text, "\nconsumer {n}: {}", self::consumer(consumer));
    }
    text
}

/// Answers say less to buyers than whoever runs it reads here.
fn reason<'a>(code: &str, known: &'a str) -> &'a str {
    match code {
        "ended" => {
            "bookings are taken over no more; mend what the consumer met, and start the service again (frontrow bookings serve)"
        }
        "waiting" => "a consumer waits for what is said below, and goes on by itself once that is mended",
        _ => known,
    }
}

/// One that takes bookings over.
fn consumer(of: &Value) -> String {
    let mut text = match (of["partitions"].as_u64(), of["lag_records"].as_u64()) {
        (None | Some(0), _) => "Kafka has given it no partition".to_owned(),
        (Some(count), None) => format!("{count} partitions, how far behind is not known"),
        (Some(count), Some(lag)) => format!("{count} partitions, {lag} records behind"),
    };
    let _ = write!(text, "; {} changes written", of["applied"].as_u64().unwrap_or_default());
    if let Some(aside) = of["set_aside"].as_u64().filter(|aside| *aside > 0) {
        let _ = write!(text, ", {aside} SET ASIDE (look at the dead-letter topic)");
    }
    if let Some(trouble) = of["trouble"].as_str() {
        let what = if of["ended"] == true { "IT HAS ENDED" } else { "it waits" };
        let _ = write!(text, "; {what}: {trouble}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn one_that_follows_says_how_far_it_is() {
        let consumer = json!({
            "partitions": 4, "lag_records": 3, "applied": 12, "set_aside": 0, "trouble": null, "ended": false, "text": "",
        });
        let node = json!({"role": "bookings", "behind": null, "consumers": [consumer]});
        assert_eq!(
            text(&node),
            "Bookings service: its table has what it was told.\nconsumer 1: 4 partitions, 3 records behind; 12 changes written"
        );
    }

    #[test]
    fn one_that_does_not_says_what_keeps_it() {
        let consumer = |partitions: u32, aside: u32, trouble: &str, ended: bool| {
            json!({
                "partitions": partitions, "lag_records": null, "applied": 0, "set_aside": aside, "trouble": trouble,
                "ended": ended, "text": "",
            })
        };
        let node = |code: &str, one: Value| {
            let behind = json!({"code": code, "reason": "as buyers read it"});
            text(&json!({"role": "bookings", "behind": behind, "consumers": [one]}))
        };
        let waits = node("waiting", consumer(0, 0, "Kafka at k: refused", false));
        assert!(waits.contains("BEHIND: a consumer waits") && waits.contains("no partition"), "{waits}");
        assert!(waits.ends_with("; it waits: Kafka at k: refused"), "{waits}");
        let ended = node("ended", consumer(2, 5, "an offset is gone", true));
        assert!(ended.contains("start the service again") && ended.contains("5 SET ASIDE"), "{ended}");
        assert!(ended.ends_with("; IT HAS ENDED: an offset is gone"), "{ended}");
        let unknown = node("unknown", consumer(2, 0, "x", false));
        assert!(unknown.contains("BEHIND: as buyers read it.\n"), "{unknown}");
        assert!(unknown.contains("2 partitions, how far behind is not known;"), "{unknown}");
    }
}
