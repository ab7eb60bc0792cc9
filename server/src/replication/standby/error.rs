//! Why a standby does not go on.

use crate::catalogue::LoadErrors;
use crate::cluster::MarkError;
use crate::core::RecoveryError;
use crate::identity::KeysError;
use frontrow_wal::WalError;
use frontrow_wal::stream::StreamError;
use std::io;
use std::net::SocketAddr;

/// Why a standby cannot go on, or cannot become the primary.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The data directory or its log.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The primary lacks what was acknowledged.
    #[error(transparent)]
    Lacking(WalError),
    /// What would be served could not be.
    #[error("{0}. No epoch was opened")]
    Replay(#[from] RecoveryError),
    /// So are the events on sale.
    #[error("{0}\nNo epoch was opened")]
    Catalogue(#[from] LoadErrors),
    /// What the data directory says of its cluster.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The primary that etcd names has nothing to do with this data.
    #[error(
        "etcd has {primary} as the primary of cluster `{name}`, and its data is of another installation than what is here: \
         two installations share that name, or cluster.etcd is the wrong one. Keep this data; correct cluster.name and \
         cluster.etcd on whichever node is wrong, and restart it"
    )]
    OtherInstallation {
        /// Where it is.
        primary: String,
        /// The cluster's name.
        name: String,
    },
    /// The conversation with the primary.
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// The connection to the primary.
    #[error(
        "the primary at {primary}: {source}; check that it runs and that its replication.listen is this address"
    )]
    Socket {
        /// The address.
        primary: String,
        /// The system's word.
        source: io::Error,
    },
    /// A file of the catalogue.
    #[error("a file of the catalogue cannot be kept: {0}; check the disk")]
    File(io::Error),
    /// Threads.
    #[error("cannot start a thread: {0}; raise the limit on processes (ulimit -u)")]
    Thread(io::Error),
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The thread that talks to etcd, or its event loop.
    #[error("cannot take part in the cluster: {0}; raise the limit of open files (ulimit -n)")]
    Cluster(io::Error),
    /// The raw TCP side.
    #[error("cannot listen on {address}: {source}; choose another server.tcp, or stop what listens there")]
    Door {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
    /// The HTTP side.
    #[error("cannot serve HTTP on {address}: {source}; choose another address, or stop what listens there")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: io::Error,
    },
}
