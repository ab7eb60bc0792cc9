//! The Frontrow server: configuration, identity, the catalogue, HTTP, and the shard cores behind them.

pub mod catalogue;
pub mod cluster;
pub mod cold;
pub mod config;
pub mod core;
pub mod exposition;
pub mod http;
pub mod identity;
pub mod replication;
pub mod shell;
pub mod signals;

mod feed;
mod lookout;
mod reconcile;
mod running;
mod snapshots;

pub use cluster::{Founding, found_cluster, leave_cluster};
pub use running::{
    JoinError, Running, StartError, follow, io_uring_works, join, promote_at_rest, start, take_over,
};
pub use snapshots::Rounds;
