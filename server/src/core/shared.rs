//! The little that cores share, and what they ask of the process around them.

use super::error::CoreError;
use super::message::CoreMessage;
use super::metrics::Metrics;
use super::state::mono_ns;
use crate::config::Limits;
use crate::http::Connections;
use crate::identity::Verifier;
use crate::replication::Hub;
use crate::snapshots::Progress;
use frontrow_engine::{Clock, Sender};
use frontrow_plant::{Bug, planted};
use frontrow_protocol::{CoreAddress, Durability, WireCode};
use frontrow_shard::{Epoch, Millis, PartitionId, RowRef};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// How often expiries, hints and watchers get their turn.
const TICK: Duration = Duration::from_millis(5);

/// One core's counters.
#[derive(Debug, Default)]
pub(crate) struct CoreMetrics(pub(crate) Metrics);

/// What all cores, and the handle of the off-core side, have in common. Nothing of it changes after the
/// start, but for the addresses that are filled in once.
pub(crate) struct Shared {
    pub(crate) partitions: u16,
    /// By partition: the core that owns it.
    pub(crate) owners: Vec<u16>,
    pub(crate) cores: Vec<Sender<CoreMessage>>,
    pub(crate) limits: Limits,
    /// How long a core looks for work before it sleeps.
    pub(crate) busy_poll: Option<Duration>,
    pub(crate) remembered: u32,
    pub(crate) verifier: Verifier,
    pub(crate) connections: Connections,
    pub(crate) epoch: Epoch,
    pub(super) durability: Durability,
    /// The standby's side, if there may be a standby.
    pub(crate) hub: Option<Arc<Hub>>,
    pub(crate) metrics: Vec<Arc<CoreMetrics>>,
    pub(crate) progress: Arc<Progress>,
    /// By core: up to where its log is durable, as the log's own threads say.
    pub(super) durable: Vec<OnceLock<Arc<AtomicU64>>>,
    pub(super) addresses: OnceLock<Vec<CoreAddress>>,
    pub(super) host: Host,
    /// Whether the log is at its limit, because somebody who reads it is away.
    pub(crate) log_full: Arc<AtomicBool>,
    /// The wall clock when the process started, and the monotonic clock then: after that the wall clock may step
    /// as it likes.
    pub(super) wall_ms: Millis,
    pub(super) mono_ns: u64,
}

impl Shared {
    /// What answers wait for now.
    pub(crate) fn durability(&self) -> Durability {
        if self.hub.as_ref().is_some_and(|hub| hub.waits()) { Durability::Backup } else { self.durability }
    }

    /// Whether new requests are refused, because what was decided waits for the standby too long.
    pub(crate) fn is_stuck(&self) -> bool {
        self.hub.as_ref().is_some_and(|hub| hub.is_stuck(mono_ns()))
    }

    /// What is said to those who are refused then.
    pub(crate) fn why_stuck(&self) -> &'static str {
        self.hub.as_ref().map_or(WireCode::Busy.advice().message, |hub| hub.why_stuck())
    }

    pub(crate) fn now_ms(&self) -> Millis {
        if planted(Bug::WallClockFollowed) {
            return Clock::wall_ms();
        }
        self.wall_ms + (mono_ns() - self.mono_ns) / 1_000_000
    }

    pub(crate) fn partition_of(&self, place: RowRef) -> PartitionId {
        place.partition(self.partitions)
    }

    pub(crate) fn owner_of(&self, place: RowRef) -> u16 {
        self.owners[usize::from(self.partition_of(place))]
    }

    pub(crate) fn addresses(&self) -> &[CoreAddress] {
        self.addresses.get().map_or(&[], Vec::as_slice)
    }

    /// A core cannot go on: the whole process stops, for an answer it can't stand by must not be given.
    pub(crate) fn fail(&self, core: u16, why: &str) -> ! {
        self.metrics[usize::from(core)].0.ready.store(0, std::sync::atomic::Ordering::Relaxed);
        (self.host.stop)(core, why)
    }
}

/// What the cores ask of the process around them.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// 128 random bits, for a partition's nonces.
    pub random: fn() -> Result<u128, CoreError>,
    /// Ends the whole process with a last word: a core's log has failed, and no thread may answer after it.
    pub stop: fn(core: u16, why: &str) -> !,
    /// Whether the log may have threads of its own. Without, cores make segments themselves, and wait for it.
    pub log_threads: bool,
    /// How often expiries, hints and watchers get their turn.
    pub tick: Duration,
}

impl Default for Host {
    /// The system's randomness, and the end of this process.
    fn default() -> Self {
        Self { random, stop, log_threads: true, tick: TICK }
    }
}

fn random() -> Result<u128, CoreError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|error| CoreError::Random(error.to_string()))?;
    Ok(u128::from_le_bytes(bytes))
}

#[allow(clippy::exit, reason = "a failed sync is final, and no thread may answer after it")]
fn stop(core: u16, why: &str) -> ! {
    tracing::error!(
        core,
        why,
        "stopping: the log has failed, and nothing that is not in it was acknowledged"
    );
    eprintln!(
        "frontrow: core {core} cannot write its log: {why}. The process stops; nothing acknowledged is lost. \
         Check the disk, then start again."
    );
    std::process::exit(74)
}
