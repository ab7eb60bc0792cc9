//! How another node's port for standbys is called, and what it means that nobody takes the call.

use std::io::{self, ErrorKind};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// Who was met where a primary is called.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Met {
    /// Somebody takes connections.
    Somebody,
    /// The machine there answers that nothing listens: the process is gone.
    Nobody,
    /// Nothing comes back. What is off, cut off from here, or too busy looks like this.
    Silence,
}

impl Met {
    /// What an attempt to connect has shown that failed so.
    pub(super) fn failed(error: &io::Error) -> Self {
        match error.kind() {
            ErrorKind::ConnectionRefused => Self::Nobody,
            // Whoever ends a connection has taken it.
            ErrorKind::ConnectionReset | ErrorKind::ConnectionAborted => Self::Somebody,
            _ => Self::Silence,
        }
    }

    /// What it is called in a status.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Somebody => "somebody",
            Self::Nobody => "nobody",
            Self::Silence => "silence",
        }
    }
}

/// Connects to the first of a name's addresses where somebody takes connections. Errors: of several addresses what leaves most in
/// doubt, so that "nobody" is said of all of them.
pub(super) fn connect(address: &str, patience: Duration) -> io::Result<TcpStream> {
    let mut failed = None::<io::Error>;
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(socket) => return Ok(socket),
            Err(error) if failed.as_ref().is_none_or(|before| Met::failed(before) == Met::Nobody) => {
                failed = Some(error);
            }
            Err(_) => {}
        }
    }
    Err(failed.unwrap_or_else(|| io::Error::new(ErrorKind::NotFound, "the name has no address")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    #[test]
    fn only_who_is_told_that_nothing_listens_has_met_nobody() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let called = |address: &str| connect(address, Duration::from_secs(3));
        assert!(called(&address).is_ok());
        drop(listener);
        assert_eq!(Met::failed(&called(&address).unwrap_err()), Met::Nobody);
        assert_eq!(Met::failed(&called("name.invalid:1").unwrap_err()), Met::Silence);
        let of = |kind: ErrorKind| Met::failed(&kind.into());
        for kind in [ErrorKind::TimedOut, ErrorKind::HostUnreachable, ErrorKind::PermissionDenied] {
            assert_eq!(of(kind), Met::Silence, "{kind}");
        }
        assert_eq!(of(ErrorKind::ConnectionReset), Met::Somebody);
    }
}
