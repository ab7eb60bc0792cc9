//! Runs that end otherwise than planned: Ctrl-C once and twice, and a disk that takes no report.

use crate::proxy::{Mischief, gated, proxy};
use crate::runs_common::Server;
use frontrow_loadgen::report::read;
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStderr, Command, Stdio};

/// A run of a minute under way at `url`.
fn under_way(server: &Server, url: &str, more: &[&str], out: &Path) -> (Child, BufReader<ChildStderr>) {
    let data = server.folder.path().join("data");
    let mut child = Command::new(env!("CARGO_BIN_EXE_frontrow-loadgen"))
        .args(["steady", "--quick", "--for", "60s", "--server", url])
        .args(more)
        .args([Path::new("--data"), &data, Path::new("--out"), out])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let err = BufReader::new(child.stderr.take().expect("piped"));
    (child, err)
}

/// Reads up to a line with `word` in it, and without `no`.
fn until(err: &mut impl BufRead, word: &str, no: &str) {
    let mut all = String::new();
    loop {
        let before = all.len();
        assert!(err.read_line(&mut all).expect("text") > 0, "{word:?} never came:\n{all}");
        let line = &all[before..];
        if line.contains(word) && (no.is_empty() || !line.contains(no)) {
            return;
        }
    }
}

fn interrupt(child: &Child) {
    let pid = Pid::from_child(child);
    kill_process(pid, Signal::INT).expect("it lives");
}

#[test]
fn ctrl_c_leaves_a_partial_report_that_says_so() {
    let server = Server::start();
    let out = server.folder.path().join("partial");
    let (mut child, mut err) = under_way(&server, &server.url, &[], &out);
    until(&mut err, "answers/s", " 0 answers/s");
    interrupt(&child);
    until(&mut err, "winding down for a partial report", "");
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("text");
    let code = child.wait().expect("it ends").code();
    assert_eq!(code, Some(4), "partial is doubtful\n{rest}");
    let report = read(&out).expect("a report");
    assert!(report.interrupted && report.totals.answered > 0, "{:?}", report.totals);
    assert!(!rest.contains("stays open"), "it was closed: {rest}");
    assert_eq!((report.totals.unanswered, report.verified.violation_count), (0, 0));
    let summary = std::fs::read_to_string(out.join("summary.txt")).expect("a summary");
    assert!(summary.contains("by hand"), "{summary}");
}

#[test]
fn a_second_ctrl_c_ends_at_once() {
    let server = Server::start();
    let out = server.folder.path().join("none");
    // Nothing is answered any more, so that the first one has to wait.
    let stalled = proxy(&server.url, Mischief::Stall);
    let (mut child, mut err) = under_way(&server, &stalled, &["--transport", "websocket"], &out);
    until(&mut err, "answers/s", " 0 in flight");
    interrupt(&child);
    until(&mut err, "winding down", "");
    interrupt(&child);
    until(&mut err, "ended at once", "");
    let close =
        format!(" --server {stalled} --data {}` ends its sale", server.folder.path().join("data").display());
    until(&mut err, &close, "");
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    assert!(!out.exists(), "there is no report");
}

#[test]
fn a_server_that_is_killed_cuts_the_run_short() {
    let server = Server::start();
    let out = server.folder.path().join("gone");
    let (url, gate) = gated(&server.url, Mischief::None);
    let more = ["--transport", "websocket", "--patience", "500ms"];
    let (child, mut err) = under_way(&server, &url, &more, &out);
    until(&mut err, "answers/s", " 0 answers/s");
    gate.shut();
    until(&mut err, "does not answer", "");
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("text");
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(5), "{said}\n{rest}");
    assert!(said.starts_with("CUT SHORT  the server did not answer from "), "{said}");
    assert!(
        said.contains("; the run waited 0.50 s for it and gave up (`--patience 2s` waits longer); "),
        "{said}"
    );
    assert!(said.contains("There is no planner's answer") && !said.contains("limits.connections"), "{said}");
    assert!(!rest.contains("comparing with the server's own seats"), "{rest}");
    let report = read(&out).expect("a report");
    assert!(report.away.len() == 1 && report.away[0].to_s.is_none(), "{:?}", report.away);
    let (event, data) = (report.target.event, server.folder.path().join("data"));
    let close = format!(
        "event {event}, made for this run, stays open on the server: `frontrow event close {event} --server {url} --data {}`",
        data.display()
    );
    assert!(rest.contains(&close), "{close}: {rest}");
    assert!(report.duration_s - report.away[0].from_s < 20.0, "nobody waits for the end of the minute");
}

#[test]
fn a_server_that_comes_back_interrupts_the_run() {
    let server = Server::start();
    let out = server.folder.path().join("back");
    let (url, gate) = gated(&server.url, Mischief::None);
    let (child, mut err) = under_way(&server, &url, &["--transport", "websocket"], &out);
    until(&mut err, "answers/s", " 0 answers/s");
    gate.shut();
    until(&mut err, "does not answer", "");
    gate.open();
    until(&mut err, "the server is back", "");
    // Connections are opened again one by one: not before there are some.
    until(&mut err, "answers/s", " 0 answers/s");
    interrupt(&child);
    let mut rest = String::new();
    err.read_to_string(&mut rest).expect("text");
    let ended = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&ended.stdout);
    assert_eq!(ended.status.code(), Some(4), "{said}\n{rest}");
    assert!(rest.contains("comparing with the server's own seats"), "{rest}");
    for words in ["The server was away from ", "opened again", "a run with an interruption"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains("limits.connections") && !said.contains("connections were lost"), "{said}");
    let report = read(&out).expect("a report");
    assert!(report.away.len() == 1 && report.away[0].reopened > 0, "{:?}", report.away);
}

/// The system refuses every file's ninth block, as a full disk would: the report is printed, and nothing half
/// written is left to be taken for one.
#[test]
fn a_disk_that_is_full_costs_the_files_and_not_the_figures() {
    let server = Server::start();
    let out = server.folder.path().join("full");
    let data = server.folder.path().join("data");
    let script = "trap '' XFSZ; ulimit -f 8; exec \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", script, env!("CARGO_BIN_EXE_frontrow-loadgen")])
        .args(["steady", "--quick", "--quiet", "--server", &server.url])
        .args([Path::new("--data"), &data, Path::new("--out"), &out])
        .output()
        .expect("it runs");
    let said = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(2), "{said:?}");
    assert!(said.0.contains("latency") && said.0.contains("answered"), "{said:?}");
    assert!(said.1.contains("the report is not in") && said.1.contains("--out"), "{said:?}");
    let left: Vec<_> = std::fs::read_dir(&out).expect("the folder was made").flatten().collect();
    assert!(left.is_empty(), "{left:?}");
}
