//! What the system lets this process, and the server, have open.

use crate::LoadError;
use crate::observe::process::ServerProcess;
use crate::runs::site::Site;
use rustix::process::{Resource, getrlimit};

/// Files kept for everything but connections: HTTP, reports, the engine's own, the server's log.
const BESIDES: u64 = 64;

/// Says no to more connections than this process and, if it is here, the server may have. Opening them raises
/// this process's soft limit, so the hard one counts.
pub(crate) fn check(site: &Site, connections: u32) -> Result<(), LoadError> {
    fits(connections, getrlimit(Resource::Nofile).maximum)?;
    let allowed = site.process.as_ref().and_then(ServerProcess::files_allowed);
    let needed = u64::from(connections) + BESIDES;
    match allowed {
        Some(allowed) if needed > allowed => Err(LoadError::Option(format!(
            "the server may have {allowed} files open, too few for --connections {connections}: start it with a \
             higher limit (`ulimit -n {needed}`, or LimitNOFILE)"
        ))),
        _ => Ok(()),
    }
}

fn fits(connections: u32, limit: Option<u64>) -> Result<(), LoadError> {
    let needed = u64::from(connections) + BESIDES;
    match limit {
        Some(limit) if needed > limit => {
            Err(LoadError::Descriptors { connections: connections as usize, needed, limit })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn more_connections_than_files_are_refused() {
        fits(1000, Some(1064)).expect("just fits");
        fits(1000, None).expect("no limit");
        let error = fits(1001, Some(1064)).expect_err("one too many").to_string();
        assert!(error.contains("1001 connections") && error.contains("ulimit -n 1065"), "{error}");
    }
}
