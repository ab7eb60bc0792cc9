//! The Frontrow server: configuration, identity, the catalogue, HTTP, and the shard cores behind them.

pub mod catalogue;
pub mod config;
pub mod http;
pub mod identity;
