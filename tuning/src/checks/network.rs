//! TCP as the kernel is set up for it.

use super::{Setting, or_unknown};
use crate::{Finding, Host, ReadError, Severity, Step};

/// What the server's listeners ask for.
const BACKLOG: u64 = 4096;
const IPV4: &str = "/proc/sys/net/ipv4";

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    let somaxconn = Setting {
        id: "somaxconn",
        path: "/proc/sys/net/core/somaxconn",
        severity: Severity::Warn,
        why: "a listener's queue is cut to this: in the first second of a sale connections beyond it time out and try \
              again",
    };
    found.push(somaxconn.at_least(&host.root, BACKLOG));
    found.push(or_unknown("syn-backlog", syn_backlog(host)));
    found.push(or_unknown("slow-start", slow_start(host)));
    found.push(or_unknown("port-range", ports(host)));
    found.push(or_unknown("keepalive", keepalive(host)));
}

fn syn_backlog(host: &Host) -> Result<Finding, ReadError> {
    let (path, cookies) = (format!("{IPV4}/tcp_max_syn_backlog"), format!("{IPV4}/tcp_syncookies"));
    let (most, cookies_on) = (host.root.number(&path)?, host.root.number(&cookies)? != 0);
    let text = format!("tcp_max_syn_backlog is {most}, syncookies {}", if cookies_on { "on" } else { "off" });
    let finding = Finding::ok("syn-backlog", text, format!("{path}, {cookies}"));
    if most >= BACKLOG || (cookies_on && most >= 1024) {
        return Ok(finding);
    }
    let why = "handshakes under way beyond this are dropped, or go on with fewer options of TCP";
    let severity = if cookies_on { Severity::Note } else { Severity::Warn };
    Ok(finding.because(severity, why).by_writing(vec![Step::new(path, BACKLOG)]))
}

fn slow_start(host: &Host) -> Result<Finding, ReadError> {
    let path = format!("{IPV4}/tcp_slow_start_after_idle");
    let value = host.root.number(&path)?;
    let finding = Finding::ok("slow-start", format!("tcp_slow_start_after_idle is {value}"), &*path);
    if value == 0 {
        return Ok(finding);
    }
    let why = "after a pause a connection starts again at ten packets; answers are 96 B and never notice, pictures of \
               whole sections (some 10 KiB) to far-away watchers may";
    Ok(finding.because(Severity::Note, why).by_writing(vec![Step::new(path, 0)]))
}

fn ports(host: &Host) -> Result<Finding, ReadError> {
    let path = format!("{IPV4}/ip_local_port_range");
    let text = host.root.text(&path)?;
    let numbers: Vec<u64> = text.split_whitespace().map_while(|it| it.parse().ok()).collect();
    let [low, high] = numbers[..] else { return Err(ReadError::text(&path, &text, "pair of ports")) };
    let count = (high + 1).saturating_sub(low);
    let finding =
        Finding::ok("port-range", format!("ports {low} to {high} for outgoing connections"), &*path);
    let server = &host.config.server;
    let first = server.core_ports;
    let own =
        [server.tcp.port(), server.http.port(), first, first.saturating_add(server.shard_cpus.len() as u16)];
    if let Some(port) = own.into_iter().find(|&port| port != 0 && (low..=high).contains(&u64::from(port))) {
        let why = format!(
            "the server's port {port} lies in it: an outgoing connection may have it when the server starts"
        );
        return Ok(finding
            .because(Severity::Warn, why)
            .by_hand(format!("net.ipv4.ip_local_reserved_ports={port}, or another port for the server")));
    }
    if count < 20_000 {
        let why = "a proxy or load generator on this machine runs out of ports; the server itself needs none";
        return Ok(finding.because(Severity::Note, why).by_writing(vec![Step::new(path, "16384 60999")]));
    }
    Ok(finding)
}

fn keepalive(host: &Host) -> Result<Finding, ReadError> {
    let path = format!("{IPV4}/tcp_keepalive_time");
    let seconds = host.root.number(&path)?;
    let idle = host.config.limits.idle.as_secs();
    let text = format!(
        "tcp_keepalive_time is {seconds} s; no matter, for the server closes after limits.idle ({idle} s)"
    );
    Ok(Finding::ok("keepalive", text, path))
}
