//! io_uring, and what can forbid it.

use frontrow_server::config::Engine;

use crate::{Finding, Host, Severity, Step};

const DISABLED: &str = "/proc/sys/kernel/io_uring_disabled";
const STATUS: &str = "/proc/self/status";
const WHY: &str = "without io_uring shards run on epoll, which took as much processor time for a claim where it was \
                   measured (docs/tuning.md), and a fifth more for a bare echo: no reason to worry";

pub(super) fn check(host: &Host, found: &mut Vec<Finding>) {
    found.push(io_uring(host));
    found.push(seccomp(host));
}

fn io_uring(host: &Host) -> Finding {
    let disabled = host.root.number(DISABLED).ok();
    let wanted = host.config.server.engine;
    let why_not = match &host.live.io_uring {
        Ok(()) => {
            let level =
                disabled.map_or_else(String::new, |level| format!(" (kernel.io_uring_disabled is {level})"));
            return Finding::ok(
                "io_uring",
                format!("a ring with all operations needed works{level}"),
                "set up a ring",
            );
        }
        Err(why) => why,
    };
    let finding = Finding::ok("io_uring", why_not, format!("set up a ring; {DISABLED}"));
    let finding = match wanted {
        Engine::Epoll => return finding.because(Severity::Note, "server.engine is epoll: it is not needed"),
        Engine::Auto => finding.because(Severity::Note, WHY),
        Engine::IoUring | Engine::Glommio => {
            finding.because(Severity::Bad, "server.engine asks for it: the server will not start")
        }
    };
    match disabled {
        Some(1..) => finding.by_writing(vec![Step::new(DISABLED, 0)]),
        _ if seccomp_mode(host) == Some(2) => finding.by_hand(
            "run the container with --security-opt seccomp=tuning/container/seccomp.json (the usual profile and the \
             three io_uring calls)",
        ),
        _ => finding.by_hand("use Linux 5.6 or newer (6.1 is best); on gVisor and the like there is none to be had"),
    }
}

fn seccomp_mode(host: &Host) -> Option<u64> {
    let status = host.root.text(STATUS).ok()?;
    status.lines().find_map(|line| line.strip_prefix("Seccomp:")?.trim().parse().ok())
}

fn seccomp(host: &Host) -> Finding {
    let (text, note) = match seccomp_mode(host) {
        Some(0) => ("no filter on this process", false),
        Some(1) => ("strict mode", true),
        Some(2) if host.live.io_uring.is_ok() => ("a filter that lets io_uring through", false),
        Some(2) => ("a filter on this process", true),
        _ => {
            let error = host.root.text(STATUS).err();
            let error = error.unwrap_or_else(|| crate::ReadError::text(STATUS, "no Seccomp", "seccomp mode"));
            return Finding::unknown("seccomp", &error);
        }
    };
    let finding = Finding::ok("seccomp", text, STATUS);
    if note {
        finding.because(
            Severity::Note,
            "container runtimes filter io_uring by default; a ring decides, see io_uring",
        )
    } else {
        finding
    }
}
