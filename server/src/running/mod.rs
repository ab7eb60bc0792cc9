//! The whole server: from a configuration to a process that sells, and back to rest.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `mod` | the ways in: start, follow, take part in a cluster, take over; and the way out |
//! | `ready` | all that may keep a server from serving, looked at before its epoch is opened |
//! | `serve` | from there to what serves: other nodes, cores, feeds, HTTP |
//! | `settle` | the catalogue and the log brought together; the sample hall |
//! | `last_words` | how a primary ends that must not answer any more |
//! | `banner` | what it says of itself to people |
//! | `machine`, `block_on`, `error` | CPUs and descriptors; waiting for a core; why it did not start |

mod banner;
mod block_on;
mod error;
mod last_words;
mod machine;
mod ready;
mod serve;
mod settle;

pub(crate) use block_on::block_on;
pub use error::{JoinError, StartError};

use crate::catalogue::Catalogue;
use crate::cluster::{Member, mark};
use crate::config::Config;
use crate::core::{Handle, Threads};
use crate::feed::Feed;
use crate::http::Stopper;
use crate::replication::{
    self, Behind, Doubt, FollowError, Hub, Leader, Listening, Promoted, StandbyStatus, any_lives, followed,
};
use crate::signals;
use crate::snapshots::Snapshotter;
use frontrow_engine::HugePages;
use frontrow_shard::Partition;
use frontrow_wal::{DataDir, DirOptions, Role, WalError};
use machine::raise_descriptor_limit;
use ready::{Opened, Ready, limits_of, open_directory};
use serve::serve;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::Notify;

/// Whether this host lets a process use io_uring.
pub fn io_uring_works() -> bool {
    frontrow_engine::probe().io_uring.is_ok()
}

/// A running server.
pub struct Running {
    /// Where HTTP and WebSocket clients connect.
    pub http: SocketAddr,
    /// Where raw TCP clients connect.
    pub tcp: SocketAddr,
    /// Where clients of one core connect, by core.
    pub core_tcp: Vec<SocketAddr>,
    /// What is on sale.
    pub catalogue: Arc<Catalogue>,
    /// Which engine runs, and why.
    pub engine: String,
    /// Records replayed at the start.
    pub replayed: u64,
    /// Whether nothing was found that is not as it was left.
    as_left: bool,
    /// The operator's key, if this server made it.
    pub admin_key_file: Option<PathBuf>,
    /// Whether tokens are given out to whoever asks.
    pub dev: bool,
    handle: Handle,
    threads: Threads,
    snapshotter: Option<Snapshotter>,
    feed: Feed,
    stopper: Stopper,
    http_thread: JoinHandle<()>,
    replication: Option<Listening>,
    hub: Option<Arc<Hub>>,
    member: Option<Arc<Member>>,
    /// Rung when a standby was told to end while it took over.
    told: Arc<Notify>,
}

/// Starts everything; returns when it serves. With `demo`, an empty catalogue gets the sample hall, on sale.
pub fn start(config: &Config, demo: bool) -> Result<Running, StartError> {
    raise_descriptor_limit();
    HugePages::want(config.partitions.huge_pages);
    mark::is_free(&config.server.data)?;
    let beginning = open_directory(config)?;
    let ready = Ready::check(config, beginning.dir(), beginning.history(), (None, None))?;
    let (dir, history) = beginning.begin()?;
    serve(demo, Opened { dir, history, now_ms: None, told: Arc::default() }, ready, None)
}

/// Follows the primary at `primary` until told to end (`None`) or to take over. `ready` is called once there is an
/// HTTP side.
pub fn follow(
    config: &Config,
    primary: &str,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Promoted>, FollowError> {
    raise_descriptor_limit();
    HugePages::want(config.partitions.huge_pages);
    replication::follow(config, Leader::At(primary.to_owned()), limits_of(config), ready)
}

/// Takes part in the cluster that the configuration names: follows whoever is primary, and returns once this node is,
/// or when it was told to end (`None`). `ready` is called with the HTTP address of a standby that has begun to follow.
pub fn join(
    config: &Config,
    demo: bool,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Running>, JoinError> {
    raise_descriptor_limit();
    HugePages::want(config.partitions.huge_pages);
    let member = Member::start(config).map_err(FollowError::Cluster)?;
    let leader = Leader::Elected(Arc::clone(&member));
    let Some(promoted) = replication::follow(config, leader, limits_of(config), ready)? else {
        member.resign();
        return Ok(None);
    };
    go_on(config, demo, promoted, Some(member)).map(Some).map_err(JoinError::from)
}

/// Makes a standby that is not running a primary's directory: opens the next epoch. Which one. With `force`, also while the primary
/// that it followed lives.
pub fn promote_at_rest(config: &Config, force: bool) -> Result<u32, StartError> {
    let path = &config.server.data;
    let Some(found) = DataDir::peek(path)? else {
        return Err(WalError::NotInitialised { path: path.clone() }.into());
    };
    mark::is_free(path)?;
    let options = DirOptions { create: false, ..DirOptions::new(found.partitions) };
    let dir = DataDir::attend(path, options, 0)?;
    if dir.history()?.is_none_or(|history| history.role == Role::Primary) {
        return Err(WalError::IsPrimary { path: path.clone() }.into());
    }
    if let Some(refusal) = (!force).then(|| unwise(path, found.cluster)).flatten() {
        return Err(refusal);
    }
    dir.erase_torn()?;
    // What cannot be served opens no epoch: that would keep the other node away.
    dir.check_promotable(&std::collections::BTreeMap::new())?;
    let recovered = replication::recover_caused(&dir, limits_of(config))?;
    Catalogue::of_log(path, recovered.partitions.iter().flat_map(Partition::events))?;
    let (dir, _) = dir.promote()?;
    Behind::forget(&dir)?;
    Ok(dir.epoch())
}

/// What speaks against promoting the directory at `path` unless an operator insists.
fn unwise(path: &Path, cluster: u128) -> Option<StartError> {
    let path = path.to_path_buf();
    let behind = Behind::read(&path).map(|why| why.to_string());
    let of = path.clone();
    let lives = match followed::read(&path).map(|all| any_lives(&all, cluster)) {
        Ok(None) => None,
        Ok(Some(Doubt::Silent(why))) => Some(StartError::PrimarySilent { path, why }),
        Ok(Some(Doubt::Lives(why))) | Err(why) => Some(StartError::PrimaryLives { path, why }),
    };
    match behind {
        Some(why) => Some(StartError::Behind { path: of, why, also: lives.map(Box::new) }),
        None => lives,
    }
}

/// A promoted standby serves.
pub fn take_over(config: &Config, promoted: Promoted) -> Result<Running, StartError> {
    go_on(config, false, promoted, None)
}

fn go_on(
    config: &Config,
    demo: bool,
    promoted: Promoted,
    member: Option<Arc<Member>>,
) -> Result<Running, StartError> {
    let Promoted { dir, history, recovered, catalogue, now_ms, told } = promoted;
    let ready = Ready::check(config, &dir, &history, (recovered, catalogue))?;
    serve(demo, Opened { dir, history, now_ms, told }, ready, member)
}

impl Running {
    /// Where standbys connect, if any can.
    pub fn replication(&self) -> Option<SocketAddr> {
        self.replication.as_ref().map(|listening| listening.address)
    }

    /// How the standby is doing, if there may be one.
    pub fn standby(&self) -> Option<StandbyStatus> {
        self.hub.as_ref().map(|hub| hub.status())
    }

    /// The cores, for operators' operations from inside the process.
    pub fn handle(&self) -> &Handle {
        &self.handle
    }

    /// Serves until SIGINT or SIGTERM, then stops cleanly.
    pub fn wait_for_signal_and_stop(self) -> std::io::Result<()> {
        signals::until_told(self.told.notified())?;
        self.stop();
        Ok(())
    }

    /// Finishes what is under way, makes it durable, and ends every thread.
    pub fn stop(self) {
        self.stopper.stop();
        self.threads.stop();
        if let Some(snapshotter) = self.snapshotter {
            snapshotter.stop();
        }
        self.feed.stop();
        if let Some(listening) = self.replication {
            listening.stop();
        }
        if self.http_thread.join().is_err() {
            tracing::error!("the HTTP thread ended with a panic");
        }
        if let Some(member) = self.member {
            member.resign();
        }
    }
}
