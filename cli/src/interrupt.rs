//! A command that talks to a server is told to end: what it leaves undecided is said.

use crate::failure::Failure;
use crate::session::Session;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// Does `work`, unless Ctrl-C or SIGTERM (`timeout` sends it) comes first.
pub(crate) async fn unless_told(
    session: &Session,
    work: impl Future<Output = Result<(), Failure>>,
) -> Result<(), Failure> {
    let (mut interrupt, mut terminate) = (on(SignalKind::interrupt())?, on(SignalKind::terminate())?);
    let kind = tokio::select! {
        // What waits or watches ends in its own way by Ctrl-C.
        biased;
        done = work => return done,
        _ = interrupt.recv() => SignalKind::interrupt(),
        _ = terminate.recv() => SignalKind::terminate(),
    };
    Err(Failure::Interrupted { signal: kind.as_raw_value() as u8, left: session.under_way.get() })
}

fn on(kind: SignalKind) -> Result<Signal, Failure> {
    signal(kind).map_err(|error| {
        Failure::Usage(format!("no signals to be had: {error}; raise the limit of open files"))
    })
}
