//! The process is told to end.

use std::future::Future;
use std::io;
use tokio::signal::unix::{SignalKind, signal};

/// Blocks this thread until SIGINT or SIGTERM comes, or `other` ends.
///
/// # Errors
///
/// The system's, if no signals can be waited for: the limit of open files is what is reached first.
pub fn until_told(other: impl Future<Output = ()>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut term = signal(SignalKind::terminate())?;
        tokio::select! {
            result = tokio::signal::ctrl_c() => result,
            _ = term.recv() => Ok(()),
            () = other => Ok(()),
        }
    })
}
