//! In what a run may be unlike the sale that is asked about, and the one run that is not.

use super::buyers::Notes;
use super::capacity::Question;
use super::model::RunReport;
use super::words::{durable, follow_up, number, plural, ratio, same_server};

/// All of it, as caveats.
pub(super) fn caveats(report: &RunReport, question: Question, notes: &mut Notes) {
    notes.caveats.extend(other_pressure(report, question));
    notes.caveats.push(other_means(report));
    notes.caveats.push(as_one_run(report, question));
}

/// With many more, or many fewer, for each seat than were played, other answers are given: refusals, queues.
fn other_pressure(report: &RunReport, question: Question) -> Option<String> {
    let played = ratio(report.totals.people as f64, report.target.seats as f64);
    let asked = ratio(question.buyers as f64, question.seats as f64);
    if played <= 0.0 || asked <= 0.0 || (0.5..=2.0).contains(&(asked / played)) {
        return None;
    }
    let people = format!(" --people {}", (asked * report.target.seats as f64).round());
    Some(format!(
        "You ask about {} buyers for each seat; in this run {} came for each. Refusals and queues are others then. To play \
         such a crowd: `{}`.",
        number(asked),
        number(played),
        follow_up(report, question, "", &people)
    ))
}

/// Connections, transport, machine and durability.
fn other_means(report: &RunReport) -> String {
    let (load, target) = (&report.load, &report.target);
    let over = if load.transport == "tcp" {
        "raw TCP (browsers come over WebSocket: `--transport websocket`)"
    } else {
        "WebSocket"
    };
    let same = if target.same_machine { "the server's own machine" } else { "another machine" };
    format!(
        "Measured with {} over {over} from {same}, without TLS; {}; cores are the server's. If your sale differs in any of these, \
         measure it so.",
        plural(load.connections.into(), "connection"),
        durable(&target.durability)
    )
}

/// The command that plays what is asked about: its crowd, its hall, its holds, over what browsers speak.
fn as_one_run(report: &RunReport, question: Question) -> String {
    let server = same_server(report).replace(" --transport tcp", "").replace(" --transport=tcp", "");
    let transport = if server.contains("--transport") { "" } else { " --transport websocket" };
    let hall = if question.seats == report.target.seats && !report.command.contains("--seats") {
        String::new()
    } else {
        format!(" --seats {}", question.seats)
    };
    let people = format!(" --people {}", question.buyers);
    let as_told = |connections: &str| {
        format!(
            "`frontrow-loadgen run mine.toml{server}{people}{hall}{transport}{connections}{}`",
            question.said()
        )
    };
    let elsewhere = if server.contains("--server") {
        ""
    } else {
        ", to the server on this machine (`--server URL` for another)"
    };
    let turns = plural(report.load.connections.into(), "connection");
    let command = if question.buyers <= u64::from(report.load.connections) {
        format!("{}.", as_told(""))
    } else {
        format!(
            "{}, once the server's limits let so many connections in, and the load's machine has as many open files, and ports to come \
             from (`net.ipv4.ip_local_port_range`; else use several). Without `--connections` people take turns on {turns}, and nothing has \
             to be raised.",
            as_told(&format!(" --connections {}", question.buyers))
        )
    };
    format!(
        "All of that in one run, with your sale's times in mine.toml (as above): {command} People come for as long as mine.toml \
         says (`--for 5m` for longer){elsewhere}. TLS is in no command: whatever ends it has to be measured beside. The server needs the \
         shard cores that it is to have then (`server.cores`), and the machine of the load has to bear it: the run says so where it \
         does not."
    )
}
