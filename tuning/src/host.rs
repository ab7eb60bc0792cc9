//! Everything that a check looks at.

use frontrow_server::config::Config;

use crate::{Live, Root};

/// A machine, what was measured on it, and the configuration it is held against.
#[derive(Clone, Debug)]
pub struct Host {
    /// Its files.
    pub root: Root,
    /// What is tried rather than read.
    pub live: Live,
    /// What a server would run with.
    pub config: Config,
}
