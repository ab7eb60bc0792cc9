//! A command that talks to a server is told to end: what it leaves undecided is said.

use crate::failure::{Failure, UnderWay};
use crate::session::Session;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Does `work`, unless Ctrl-C, SIGTERM (`timeout` sends it) or SIGHUP (the terminal is gone) comes first.
pub(crate) async fn unless_told(
    session: &Session,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    // Whoever waits for it under `nohup` is not to be ended by it.
    let mut hangup = if is_ignored(SignalKind::hangup()) { None } else { Some(on(SignalKind::hangup())?) };
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let gone = async {
        match &mut hangup {
            Some(hangup) => hangup.recv().await,
            None => std::future::pending().await,
        }
    };
    let kind = tokio::select! {
        // What waits or watches ends in its own way by Ctrl-C.
        biased;
        done = work => return done,
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
        _ = gone => SignalKind::hangup(),
    };
    let left = session.under_way.replace(UnderWay::Answered);
    Err(Failure::Interrupted { signal: kind.as_raw_value() as u8, left })
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::Usage(format!("no signals to be had: {error}; raise the limit of open files"))
    })
}

/// Whether this process was started to ignore a signal.
fn is_ignored(kind: SignalKind) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    ignored(&status) >> (kind.as_raw_value() - 1) & 1 == 1
}

/// The signals that a process ignores, the first in the lowest bit: proc(5).
fn ignored(status: &str) -> u64 {
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_read_from_the_mask() {
        assert_eq!(ignored("Name:\tsh\nSigBlk:\t0000000000000002\nSigIgn:\t0000000000001001\n"), 0x1001);
        assert_eq!(ignored(""), 0);
    }
}
