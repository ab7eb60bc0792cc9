//! The Frontrow server: configuration, identity, the catalogue, HTTP, and the shard cores behind them.

pub mod catalogue;
pub mod config;
pub mod core;
pub mod http;
pub mod identity;

mod running;
mod snapshots;

pub use running::{Running, StartError, io_uring_works, start};
