//! Why a server does not start, or a node does not go on.

use crate::catalogue::{CatalogueError, LoadErrors, SpecError};
use crate::cluster::MarkError;
use crate::core::{CoreError, RecoveryError};
use crate::identity::KeysError;
use crate::replication::{FollowError, ListenError};
use frontrow_cdc::SinkError;
use frontrow_engine::EngineError;
use frontrow_shard::Code;
use frontrow_wal::WalError;
use std::net::SocketAddr;
use std::path::PathBuf;

/// Why the server could not start. Each message names the remedy.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The table of bookings.
    #[error(transparent)]
    Bookings(#[from] SinkError),
    /// The data directory or its log.
    #[error(transparent)]
    Log(#[from] WalError),
    /// The data directory is a cluster's.
    #[error(transparent)]
    Mark(#[from] MarkError),
    /// The log could not be replayed.
    #[error(transparent)]
    Recovery(#[from] RecoveryError),
    /// The catalogue.
    #[error(transparent)]
    Catalogue(#[from] LoadErrors),
    /// An event of the catalogue.
    #[error(transparent)]
    Event(#[from] CatalogueError),
    /// An event's plan does not fit the partitions.
    #[error(transparent)]
    Spec(#[from] SpecError),
    /// More shards than the data directory has partitions.
    #[error(
        "the data directory has {partitions} partitions, which cannot be divided among {shards} shards; set \
         server.cores to at most {partitions}"
    )]
    TooManyShards {
        /// Shards configured.
        shards: usize,
        /// Partitions there are.
        partitions: u16,
    },
    /// The primary that a directory at rest followed answers.
    #[error(
        "the primary may live: {why}. Two primaries would sell the same seats: stop it first (systemctl stop frontrow there). Only if it \
         cannot be stopped: --force; it is ended when it hears of the new epoch. For a rehearsal with a copy, remove {}: the \
         copy calls nobody then", .path.join("FOLLOWED").display()
    )]
    PrimaryLives {
        /// The directory.
        path: PathBuf,
        /// What was met.
        why: String,
    },
    /// The primary that a directory at rest followed is out of reach, and may be anything.
    #[error(
        "{why}. Whether the primary there is off, or only out of this node's reach, cannot be known from here, and out of reach it \
         sells on: two primaries would sell the same seats. Make sure that it is off (power, or systemctl stop frontrow there), then \
         --force. For a rehearsal with a copy, remove {}: the copy calls nobody then", .path.join("FOLLOWED").display()
    )]
    PrimarySilent {
        /// The directory.
        path: PathBuf,
        /// What was met.
        why: String,
    },
    /// A directory at rest is known to lack what was sold.
    #[error(
        "the data in {} is not to be promoted: {why}. Only if what is missing is lost for good: --force{}", .path.display(),
        .also.as_ref().map(|also| format!("\nAnd: {also}")).unwrap_or_default()
    )]
    Behind {
        /// The directory.
        path: PathBuf,
        /// What it lacks.
        why: String,
        /// What else speaks against it: who insists is asked once.
        also: Option<Box<StartError>>,
    },
    /// The keys.
    #[error(transparent)]
    Keys(#[from] KeysError),
    /// The engine.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The cores.
    #[error(transparent)]
    Cores(#[from] CoreError),
    /// The HTTP side.
    #[error("cannot serve HTTP on {address}: {source}; choose another address, or stop what listens there")]
    Http {
        /// The address.
        address: SocketAddr,
        /// The system's word.
        source: std::io::Error,
    },
    /// The cores refused an event of the catalogue.
    #[error("the cores refuse event {event} of the catalogue: {}; restore the data directory from one copy", .code.name())]
    Refused {
        /// The event.
        event: u32,
        /// Why.
        code: Code,
    },
    /// The port for standbys.
    #[error(transparent)]
    Replication(#[from] ListenError),
    /// The sample plan.
    #[error("the sample hall could not be imported: {0}")]
    Sample(String),
}

impl StartError {
    /// A thread could not be started.
    pub(super) fn thread(source: std::io::Error) -> Self {
        Self::Cores(CoreError::Thread(source))
    }
}

/// Why a node of a cluster could not go on.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// As a standby.
    #[error(transparent)]
    Follow(#[from] FollowError),
    /// As the primary.
    #[error(transparent)]
    Start(#[from] StartError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_refused_at_rest_is_said_in_one_piece() {
        let path = PathBuf::from("d");
        let why = || "w".to_owned();
        for error in [
            StartError::PrimaryLives { path: path.clone(), why: why() },
            StartError::PrimarySilent { path: path.clone(), why: why() },
            StartError::Behind { path: path.clone(), why: why(), also: None },
        ] {
            let said = error.to_string();
            assert!(said.contains("--force") && !said.contains("  "), "{said}");
            let both = StartError::Behind { path: path.clone(), why: why(), also: Some(Box::new(error)) };
            assert!(both.to_string().ends_with(&format!("\nAnd: {said}")));
        }
    }
}
