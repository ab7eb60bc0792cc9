//! Why the cores could not start.

use frontrow_engine::EngineError;
use frontrow_wal::WalError;
use std::net::SocketAddr;

/// Why the cores could not start.
#[derive(Debug, thiserror::Error)]
pub enum CoreError {
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A log stream.
    #[error(transparent)]
    Log(#[from] WalError),
    /// A port.
    #[error("cannot listen on {address}: {source}; choose another address, or stop what listens there")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// A core's own port.
    #[error(
        "server.core_ports: a core cannot listen on {address}: {source}; choose another first port, or stop what listens there"
    )]
    ListenCore {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// Threads.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(std::io::Error),
    /// No randomness.
    #[error("the system has no randomness: {0}")]
    Random(String),
}
