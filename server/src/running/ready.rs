//! Everything that may keep a server from serving, looked at before its epoch is opened.

use super::StartError;
use crate::catalogue::Catalogue;
use crate::config::{self, Config};
use crate::core::{self, Recovered};
use crate::feed;
use crate::identity::{KEY_FILES, Keys};
use crate::replication;
use frontrow_engine::{Choice, Clock, EngineKind, HugePages, ReservedPort};
use frontrow_shard::{Limits, Partition};
use frontrow_wal::{Beginning, DataDir, DirOptions, History, WalError};
use std::net::TcpListener;
use std::sync::Arc;
use tokio::sync::Notify;

/// Everything that may keep a server from serving, looked at: of a start before its epoch is opened, for one that leaves
/// nothing looks like one whose files are gone.
pub(super) struct Ready {
    /// As given, with the partitions that there are.
    pub(super) config: Config,
    pub(super) engine: Choice,
    pub(super) recovered: Recovered,
    pub(super) catalogue: Arc<Catalogue>,
    pub(super) keys: Keys,
    pub(super) http: TcpListener,
    pub(super) tcp: ReservedPort,
    /// For standbys, if there may be any.
    pub(super) standbys: Option<replication::Port>,
    pub(super) sinks: feed::Opened,
}

impl Ready {
    /// `history` is with the epoch that is opened, or about to be. What a promotion has looked at already is given.
    pub(super) fn check(
        config: &Config,
        dir: &DataDir,
        history: &History,
        (recovered, catalogue): (Option<Recovered>, Option<Catalogue>),
    ) -> Result<Self, StartError> {
        let executors = config.server.shard_cpus.len().max(1);
        let engine = frontrow_engine::choose(engine_of(config), executors, &frontrow_engine::probe())?;
        let mut config = config.clone();
        config.partitions.count = dir.partitions();
        if usize::from(dir.partitions()) < executors {
            return Err(StartError::TooManyShards { shards: executors, partitions: dir.partitions() });
        }
        let recovered = match recovered {
            Some(recovered) => recovered,
            None => HugePages::populated(|| core::recover(dir, limits_of(&config)))?,
        };
        let catalogue = if let Some(catalogue) = catalogue {
            catalogue
        } else {
            let logged = recovered.partitions.iter().flat_map(Partition::events);
            Catalogue::of_log(&config.server.data, logged)?
        };
        let keys = Keys::open(&config)?;
        let address = config.server.http;
        let http = TcpListener::bind(address).map_err(|source| StartError::Http { address, source })?;
        let tcp = core::reserve(&config)?;
        let standbys = config.replication.listen.map(replication::bind).transpose()?;
        let sinks = feed::open(&config, dir, history, &recovered.partitions)?;
        let catalogue = Arc::new(catalogue);
        Ok(Self { config, engine, recovered, catalogue, keys, http, tcp, standbys, sinks })
    }
}

/// A directory whose epoch is open.
pub(super) struct Opened {
    pub(super) dir: DataDir,
    pub(super) history: History,
    pub(super) now_ms: Option<u64>,
    pub(super) told: Arc<Notify>,
}

/// Locks or makes the data directory. One that exists keeps its partitions, unless another number was asked for.
pub(super) fn open_directory(config: &Config) -> Result<Beginning, WalError> {
    let options = |partitions| DirOptions {
        created_ms: Clock::wall_ms(),
        beside: KEY_FILES,
        ..DirOptions::new(partitions)
    };
    match DataDir::prepare(&config.server.data, options(config.partitions.count)) {
        Err(WalError::PartitionCount { found, .. }) if !config.partitions.asked => {
            DataDir::prepare(&config.server.data, options(found))
        }
        opened => opened,
    }
}

fn engine_of(config: &Config) -> EngineKind {
    match config.server.engine {
        config::Engine::Auto => EngineKind::Auto,
        config::Engine::IoUring => EngineKind::MonoioUring,
        config::Engine::Epoll => EngineKind::MonoioEpoll,
        config::Engine::Glommio => EngineKind::Glommio,
    }
}

pub(super) fn limits_of(config: &Config) -> Limits {
    Limits {
        requests: config.partitions.requests_remembered as usize,
        parties: config.partitions.waiting as usize,
        queues: config.partitions.queues as usize,
        tasks: config.partitions.section_claims as usize,
    }
}
