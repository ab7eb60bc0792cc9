//! Where the load goes, and whether this process may carry it.

use crate::LoadError;
use frontrow_engine::EngineKind;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::time::Duration;

/// Descriptors that the process needs besides its connections: rings, files, whoever watches the run.
const OTHER_FILES: u64 = 64;
/// Descriptors of one load thread.
const THREAD_FILES: u64 = 8;

/// How requests travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// Binary frames over TCP.
    Tcp,
    /// Binary frames in WebSocket messages, what is due together as one batch.
    WebSocket,
}

/// What carries a load, where to, and as whom. Connection `c` belongs to thread `c % threads`.
#[derive(Clone, Debug)]
pub struct DrivePlan {
    /// How requests travel.
    pub transport: Transport,
    /// What load threads run on ([`Transport::Tcp`] only).
    pub engine: EngineKind,
    /// The CPU of each load thread; `None`: wherever the system puts it. As many as there are crowds.
    pub cpus: Vec<Option<usize>>,
    /// The server's TCP addresses, one per serving core, or one for all.
    pub tcp: Vec<SocketAddr>,
    /// The same for WebSocket: URLs such as `ws://127.0.0.1:8080/v1/ws`.
    pub ws: Vec<String>,
    /// For each connection the index of its address; empty: the first for all.
    pub core_of: Vec<u16>,
    /// For each connection the token that says who it is.
    pub tokens: Vec<String>,
    /// Most requests in flight on one connection; the server's own limit holds as well.
    pub depth: u32,
    /// How long an answer, a welcome or a close may take. After that the connection is given up.
    pub patience: Duration,
    /// Connections opened per second and thread; 0: as fast as the server lets them in.
    pub connect_rate: u32,
}

impl DrivePlan {
    /// The address's index of a connection.
    pub(super) fn address_of(&self, connection: u32) -> usize {
        self.core_of.get(connection as usize).copied().map_or(0, usize::from)
    }

    /// Whether the plan can be carried out at all.
    pub(super) fn check(&self, crowds: usize) -> Result<(), LoadError> {
        let wrong = |what: String| Err(LoadError::Option(what));
        let addresses = match self.transport {
            Transport::Tcp => self.tcp.len(),
            Transport::WebSocket => self.ws.len(),
        };
        if crowds == 0 || self.cpus.len() != crowds {
            return wrong(format!("{crowds} crowds need as many CPUs named, not {}", self.cpus.len()));
        }
        if addresses == 0 {
            return wrong("no address of the server is given: name at least one".to_owned());
        }
        if self.tokens.is_empty() || self.depth == 0 || self.patience.is_zero() {
            return wrong("connections, depth and patience must be at least 1".to_owned());
        }
        if !self.core_of.is_empty() && self.core_of.len() != self.tokens.len() {
            return wrong("a route is needed for every connection, or for none".to_owned());
        }
        if let Some(core) = self.core_of.iter().find(|&&core| usize::from(core) >= addresses) {
            return wrong(format!("a connection goes to address {core}, but there are {addresses}"));
        }
        self.make_room(crowds as u64)
    }

    /// Sees to it that the process may open so many sockets: raises its soft limit if the hard one allows.
    fn make_room(&self, threads: u64) -> Result<(), LoadError> {
        let limits = getrlimit(Resource::Nofile);
        let needed = self.tokens.len() as u64 + threads * THREAD_FILES + OTHER_FILES;
        if limits.current.is_none_or(|limit| limit >= needed) {
            return Ok(());
        }
        let raised = Rlimit { current: Some(needed), maximum: limits.maximum };
        if limits.maximum.is_none_or(|limit| limit >= needed) && setrlimit(Resource::Nofile, raised).is_ok() {
            return Ok(());
        }
        let limit = limits.maximum.or(limits.current).unwrap_or(u64::MAX);
        Err(LoadError::Descriptors { connections: self.tokens.len(), needed, limit })
    }
}
