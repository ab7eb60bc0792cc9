//! Simulated TCP between nodes: what a program can see of it, and what goes wrong with it.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `link` | the way from one node to another: latency, bandwidth, loss, cuts |
//! | `pipe` | one direction of a connection: window, bytes in flight, end |
//! | `connection` | two ends: sending, receiving, closing, resetting |
//! | `listen` | listeners, and connections that are being made |
//!
//! A connection keeps its bytes in order, as TCP does: loss shows as delay, a cut as silence and, after
//! [`NetOptions::give_up`], as an error at the sender. A node that died without a word answers nothing;
//! once it is back it resets what it does not know.

pub(crate) mod connection;
pub(crate) mod link;
pub(crate) mod listen;
pub(crate) mod pipe;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::ops::Range;
use std::time::Duration;

pub(crate) use connection::{Connection, Side};
pub(crate) use link::Links;
pub(crate) use listen::{Attempt, Listening};

/// How the network behaves where no fault was planted.
#[derive(Debug, Clone)]
pub struct NetOptions {
    /// One way between two nodes, in nanoseconds.
    pub latency_ns: Range<u64>,
    /// Within a node.
    pub loopback_ns: Range<u64>,
    /// Bytes a second on each way.
    pub bytes_per_second: u64,
    /// Bytes of a connection that may be under way or unread in one direction.
    pub window: usize,
    /// Most bytes that travel as one.
    pub segment: usize,
    /// Of a million sends: how many are cut into small pieces.
    pub fragmented: u32,
    /// Of a million receives: how many get less than is there.
    pub short_reads: u32,
    /// Of a million segments: how many are lost and have to be sent again.
    pub lost: u32,
    /// How long a lost segment takes to be sent again.
    pub again_ns: Range<u64>,
    /// How long a sender or a connecting client waits for any sign of the other side.
    pub give_up: Duration,
}

impl Default for NetOptions {
    fn default() -> Self {
        Self {
            latency_ns: 50_000..500_000,
            loopback_ns: 5_000..30_000,
            bytes_per_second: 125_000_000,
            window: 256 << 10,
            segment: 16 << 10,
            fragmented: 20_000,
            short_reads: 50_000,
            lost: 500,
            again_ns: 200_000_000..600_000_000,
            give_up: Duration::from_secs(10),
        }
    }
}

/// All of the network.
pub(crate) struct Net {
    pub(crate) options: NetOptions,
    pub(crate) links: Links,
    pub(crate) connections: BTreeMap<u64, Connection>,
    pub(crate) listening: BTreeMap<u64, Listening>,
    pub(crate) attempts: BTreeMap<u64, Attempt>,
    pub(crate) next: u64,
    pub(crate) next_port: u16,
}

impl Net {
    pub(crate) fn new(options: NetOptions) -> Self {
        Self {
            options,
            links: Links::default(),
            connections: BTreeMap::new(),
            listening: BTreeMap::new(),
            attempts: BTreeMap::new(),
            next: 0,
            next_port: 40_000,
        }
    }

    pub(crate) fn new_id(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// A port that nobody listens on.
    pub(crate) fn free_port(&mut self, node: usize) -> u16 {
        loop {
            self.next_port = self.next_port.checked_add(1).unwrap_or(40_001);
            let port = self.next_port;
            if !self.listening.values().any(|one| one.node == node && one.addr.port() == port) {
                return port;
            }
        }
    }
}

/// Something of the network that happens at its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum NetEvent {
    /// What is under way from this side is there.
    Arrive { connection: u64, from: Side },
    /// A sender has had no sign of the other side since `since_ns`.
    GiveUp { connection: u64, from: Side, since_ns: u64 },
    /// A reset reaches this side.
    Reset { connection: u64, to: Side },
    /// A client's first packet reaches the node it connects to.
    Knock { attempt: u64 },
    /// The answer to it is back.
    Settle { attempt: u64 },
    /// A connecting client has waited long enough.
    Abandon { attempt: u64 },
}

/// The node that has an address; loopback is the asking node's own.
pub(crate) fn node_of(addr: SocketAddr, asking: usize) -> Option<usize> {
    match addr.ip().to_canonical() {
        ip if ip.is_loopback() || ip.is_unspecified() => Some(asking),
        std::net::IpAddr::V4(ip) => {
            let [net, high, mid, low] = ip.octets();
            let number = usize::from(mid) << 8 | usize::from(low);
            (net == 10 && high == 0 && number > 0).then(|| number - 1)
        }
        std::net::IpAddr::V6(_) => None,
    }
}

/// A node's address.
pub(crate) fn ip_of(node: usize) -> std::net::IpAddr {
    let number = node + 1;
    std::net::Ipv4Addr::new(10, 0, (number >> 8) as u8, number as u8).into()
}
