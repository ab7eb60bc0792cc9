//! What a configuration will need of the machine: memory, descriptors, room on the disk.

use frontrow_server::config::Config;

/// Bytes for each request remembered: the entry, four words of its index, a sixteenth of the parts.
pub const REQUEST_BYTES: u64 = 124;
/// Bytes for each party that can wait: the entry and its place in the map by user.
pub const PARTY_BYTES: u64 = 138;
/// Bytes for each queue that can have anybody in it: its lines by kind and size.
pub const QUEUE_BYTES: u64 = 900;
/// Bytes for each seat that is claimed, at the most (`bench-results/`, the state machine alone).
pub const SEAT_BYTES: u64 = 64;
/// Bytes of a connection that does nothing: buffers here and in the kernel, tasks.
const CONNECTION_BYTES: u64 = 16 << 10;
/// The programme, its stacks, HTTP.
const BASE_BYTES: u64 = 64 << 20;
/// Batches of the log that exist at a time: one fills, one flies.
const BATCHES: u64 = 2;
/// Files beside connections: listeners, segments, HTTP (as the configuration's own check counts).
const FILES_BESIDES: u64 = 256;

/// What a server will need at the most, in bytes, without seats.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Memory {
    /// Arenas of all partitions, once they are in use.
    pub arenas: u64,
    /// Batches of the log, when it is behind.
    pub log: u64,
    /// All connections allowed, none of them behind in reading.
    pub connections: u64,
}

impl Memory {
    /// Of this configuration.
    pub fn of(config: &Config) -> Self {
        let parts = &config.partitions;
        let shards = config.server.shard_cpus.len().max(1) as u64;
        Self {
            arenas: u64::from(parts.count)
                * partition_bytes(parts.requests_remembered, parts.waiting, parts.queues),
            log: shards * BATCHES * config.log.backlog,
            connections: u64::from(config.limits.connections) * CONNECTION_BYTES,
        }
    }

    /// All of it, and what every server needs.
    pub fn total(&self) -> u64 {
        self.arenas + self.log + self.connections + BASE_BYTES
    }
}

/// What one partition's arenas take, without seats.
pub fn partition_bytes(requests: u32, parties: u32, queues: u32) -> u64 {
    u64::from(requests) * REQUEST_BYTES + u64::from(parties) * PARTY_BYTES + u64::from(queues) * QUEUE_BYTES
}

/// Open files that `connections` need.
pub fn files(config: &Config) -> u64 {
    u64::from(config.limits.connections) + FILES_BESIDES
}

/// Bytes of segments that are written out before the first claim.
pub fn segments_at_start(config: &Config) -> u64 {
    let shards = config.server.shard_cpus.len().max(1) as u64;
    shards * config.log.segment * (1 + u64::from(config.log.ready_segments))
}

/// A size for people: `3.4 GiB`, `64 MiB`.
pub(crate) fn size(bytes: u64) -> String {
    let bytes = bytes as f64;
    let units = [(1_u64 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(scale, _)| bytes >= *scale as f64) {
        Some((scale, unit)) => {
            let n = bytes / scale as f64;
            if n < 10.0 && n.fract() > 0.05 { format!("{n:.1} {unit}") } else { format!("{n:.0} {unit}") }
        }
        None => format!("{bytes} B"),
    }
}
