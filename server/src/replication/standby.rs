//! The standby's sockets and threads. A session is one control connection and one for each stream; when any of them
//! ends, all end, and the next session goes on from what is durable.

use super::applier::Applier;
use super::behind::Behind;
use super::early::Early;
use super::http::{self, Site};
use super::inspector::Inspector;
use super::status::{Shared, State};
use super::view::Views;
use crate::catalogue;
use crate::catalogue::sound::Shelf;
use crate::cluster::{Change, Door, Member, Own, mark};
use crate::config::Config;
use crate::identity::Keys;
use crate::signals;
use frontrow_engine::Clock;
use frontrow_shard::Limits;
use frontrow_wal::fs::{Disk, RealDisk};
use frontrow_wal::stream::{RefusalCode, StreamError};
use frontrow_wal::{DataDir, DirOptions, NodeId, Role};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

mod error;
mod follower;
mod promotion;
pub(super) mod seeding;
mod session;
mod wire;

pub use error::FollowError;
pub(super) use follower::Follower;
pub use promotion::Promoted;

/// How long a connection may take to come about.
const CONNECT: Duration = Duration::from_secs(3);
/// The same in a cluster: whoever tries to reach a primary that is gone cannot take over meanwhile.
const CONNECT_ELECTED: Duration = Duration::from_millis(100);
/// How often a reading thread looks up.
const LOOK: Duration = Duration::from_millis(250);
/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(300);

/// Whom a standby follows.
pub enum Leader {
    /// This address, whatever happens.
    At(String),
    /// Whoever etcd says is primary.
    Elected(Arc<Member>),
}

impl Leader {
    fn address(&self) -> Option<String> {
        match self {
            Self::At(address) => Some(address.clone()),
            Self::Elected(member) => member.to_follow().map(|at| at.replication),
        }
    }

    /// How long a connection may take to come about.
    fn patience(&self) -> Duration {
        match self {
            Self::At(_) => CONNECT,
            Self::Elected(_) => CONNECT_ELECTED,
        }
    }

    fn member(&self) -> Option<&Arc<Member>> {
        match self {
            Self::At(_) => None,
            Self::Elected(member) => Some(member),
        }
    }
}

/// Follows `leader` until the process is told to end (`None`) or to take over. `ready` is called with the address
/// of the HTTP side once there is one.
pub fn follow(
    config: &Config,
    leader: Leader,
    limits: Limits,
    ready: impl FnOnce(SocketAddr),
) -> Result<Option<Promoted>, FollowError> {
    let shared = Arc::<Shared>::default();
    stop_on_signal(&shared)?;
    shared.change(|state| state.apart_ns = Some(Clock::monotonic_ns()));
    let mut standby =
        Standby::new(config, leader, limits, Arc::clone(&shared), Some(Box::new(ready)), Arc::new(RealDisk))?;
    let door = standby.take_part()?;
    standby.answer_early()?;
    let applier = Applier::new(Arc::clone(&shared), limits, Arc::clone(&standby.views));
    let applier = spawn("repl-apply", move || applier.run())?;
    while !shared.lock().is_ending() {
        let primary = standby.leader.address();
        shared.change(|state| state.calls(primary.as_deref()));
        if let Some(primary) = primary {
            let ended = standby.session(&primary);
            standby.note(ended)?;
        }
        drop(shared.wait(PAUSE, State::is_ending));
    }
    tracing::debug!("follows no more");
    drop(standby.early.take().map(Early::end));
    if let Some(door) = door {
        door.close();
    }
    if let Some(thread) = standby.http_thread.take() {
        let _ = thread.join();
    }
    standby.inspector.end();
    tracing::debug!("the ports are free");
    let promote = shared.lock().promote;
    shared.change(|state| if promote { state.finish = true } else { state.stop = true });
    let applied = applier.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    if !promote {
        return Ok(None);
    }
    tracing::debug!("everything that came is applied");
    standby.take_over_catalogue(applied).map(Some)
}

/// SIGINT and SIGTERM end the standby.
fn stop_on_signal(shared: &Arc<Shared>) -> Result<(), FollowError> {
    let shared = Arc::clone(shared);
    spawn("repl-signal", move || match signals::until_told(std::future::pending()) {
        Ok(()) => {
            shared.told.notify_one();
            shared.end(|state| state.stop = true);
        }
        Err(error) => tracing::error!(%error, "no signals can be waited for"),
    })
    .map(drop)
}

pub(super) struct Standby<'a> {
    path: std::path::PathBuf,
    disk: Arc<dyn Disk>,
    config: Config,
    leader: Leader,
    limits: Limits,
    shared: Arc<Shared>,
    /// What the applier shows.
    views: Arc<Views>,
    pub(super) dir: Option<DataDir>,
    pub(super) node: NodeId,
    role: Option<Role>,
    /// Whether the directory has ever been in a cluster.
    marked: bool,
    sessions: u64,
    /// Whether the first segments of an epoch of its own are made already.
    spares: bool,
    /// The primary's log begins behind what is here.
    pub(super) seed_needed: bool,
    /// What is here is not all that it should be: it follows, and does not become primary, before that is mended.
    unfit: bool,
    /// Looks whether the events on sale could be served from what is here. In a cluster nobody stands for primary before.
    inspector: Arc<Inspector>,
    /// What keeps it from following, or from becoming primary, whether or not anybody can be reached.
    grave: Option<String>,
    /// Called once there is an HTTP side.
    ready: Option<Box<dyn FnOnce(SocketAddr) + 'a>>,
    http_thread: Option<JoinHandle<()>>,
    /// What answers over HTTP before there is one.
    early: Option<Early>,
    /// What is known of the catalogue's files, until the primary has heard of them.
    shelf: Option<Shelf>,
}

impl<'a> Standby<'a> {
    /// `ready` is called once there is an HTTP side; without it there is none.
    pub(super) fn new(
        config: &Config,
        leader: Leader,
        limits: Limits,
        shared: Arc<Shared>,
        ready: Option<Box<dyn FnOnce(SocketAddr) + 'a>>,
        disk: Arc<dyn Disk>,
    ) -> Result<Self, FollowError> {
        let path = config.server.data.clone();
        let inspector = Arc::new(Inspector::new(path.clone(), &shared));
        let mut standby = Self {
            path,
            disk,
            config: config.clone(),
            leader,
            limits,
            shared,
            views: Arc::default(),
            dir: None,
            node: 0,
            role: None,
            marked: false,
            sessions: 0,
            spares: false,
            seed_needed: false,
            unfit: false,
            inspector,
            grave: None,
            ready,
            http_thread: None,
            early: None,
            shelf: None,
        };
        match standby.leader.member() {
            Some(_) => standby.marked = mark::admits(&standby.path, &config.cluster.name)?,
            None => mark::is_free(&standby.path)?,
        }
        if let Some(found) = DataDir::peek(&standby.path)? {
            let (count, disk) = (wanted(config, found.partitions), Arc::clone(&standby.disk));
            let options = DirOptions { create: false, disk, ..DirOptions::new(count) };
            let dir = DataDir::attend(&standby.path, options, 0)?;
            standby.shared.change(|state| (state.epoch_at_rest, state.starting) = (Some(dir.epoch()), true));
            standby.answer_early()?;
            dir.erase_torn()?;
            let history = dir.history()?;
            standby.node = history.as_ref().map_or(0, |history| history.node);
            // A directory without a history was served from before there were any.
            standby.role = Some(history.map_or(Role::Primary, |history| history.role));
            standby.look_over(&dir);
            standby.remember_behind();
            standby.dir = Some(dir);
            standby.shared.change(|state| state.starting = false);
            standby.serve_http()?;
        }
        if standby.node == 0 {
            standby.node = frontrow_wal::new_node()?;
        }
        Ok(standby)
    }

    /// Before this node says that it may take over: whether it could. It follows all the same, and so is mended.
    fn look_over(&mut self, dir: &DataDir) {
        self.look_at_catalogue(dir);
        let whole = || dir.check_promotable(&dir.reached()?);
        let is_whole = self.role == Some(Role::Standby) && whole().is_ok();
        self.shared.change(|state| state.whole_at_rest = is_whole);
        let base = dir.view().check_base();
        let agreed = dir.view().check_agreed();
        let Some(error) = base.as_ref().err().or(agreed.as_ref().err()) else { return };
        tracing::error!(%error, "this node does not take over before the primary has mended it");
        self.unfit = true;
        self.seed_needed = base.is_err();
        let told = error.to_string();
        self.grave = Some(told.clone());
        self.shared.change(|state| {
            state.baseless = base.as_ref().err().map(|_| format!("{told}; a seed is asked of the primary"));
            state.trouble = Some(told);
        });
    }

    /// What an earlier process knew to be lacking. In a cluster etcd knows better.
    fn remember_behind(&self) {
        if self.leader.member().is_some() {
            return;
        }
        let own = (self.role == Some(Role::Primary)).then_some(Behind::Own);
        let behind = Behind::read(&self.path).or(own);
        if let Some(why) = &behind {
            tracing::warn!(%why, "this node is not to be promoted before it has followed a primary");
        }
        self.shared.change(|state| state.behind = behind);
    }

    /// Whether the events on sale could be served from what is here. Before anything is applied, the log as it lies says which
    /// there are: a head that is missing is missed by nobody else.
    fn look_at_catalogue(&self, dir: &DataDir) {
        // Without an HTTP side there are no such files.
        if self.ready.is_none() {
            return;
        }
        match catalogue::logged(dir.view()) {
            Ok(events) => self.shared.change(|state| state.events_at_rest = events),
            Err(error) => {
                tracing::warn!(%error, "which events the log has is not known before it is applied");
            }
        }
        self.inspector.look();
    }

    /// All of the primary's files are here.
    fn has_files(&self) {
        self.inspector.look();
        if let Err(error) = catalogue::note_if_sealed(&self.path) {
            tracing::warn!(%error, "it cannot be noted that all heads have a checksum");
        }
        self.shared.files.notify_one();
    }

    /// With a cluster: says who this node is, hears what becomes of it, and answers at the raw TCP port.
    fn take_part(&self) -> Result<Option<Door>, FollowError> {
        let Some(member) = self.leader.member() else { return Ok(None) };
        let address = self.config.server.tcp;
        let door = Door::open(address, member).map_err(|source| FollowError::Door { address, source })?;
        let shared = Arc::clone(&self.shared);
        member.on_change(move |change| match change {
            Change::Primary => shared.change(State::close),
            Change::Won => shared.end(|state| state.promote = true),
        });
        if let Some(dir) = &self.dir {
            let at_rest = dir.reached()?;
            self.shared.change(|state| state.at_rest = at_rest);
        }
        let shared = Arc::clone(&self.shared);
        member.reaches(move || shared.lock().reached());
        let inspector = Arc::clone(&self.inspector);
        member.unable_if(move || inspector.look());
        self.introduce();
        Ok(Some(door))
    }

    fn introduce(&self) {
        if let Some(member) = self.leader.member().filter(|_| !self.unfit) {
            let epoch = self.dir.as_ref().map_or(0, DataDir::epoch);
            member.introduce(Own {
                node: self.node,
                role: self.role,
                epoch,
                allow_loss: false,
                marked: self.marked,
            });
        }
    }

    /// Without a data directory, and while the one there is is looked at, there may be somebody who wants to know why.
    fn answer_early(&mut self) -> Result<(), FollowError> {
        if self.ready.is_some() {
            let address = self.config.server.http;
            let failed = |source| FollowError::Http { address, source };
            let listener = TcpListener::bind(address).map_err(failed)?;
            let member = self.leader.member().cloned();
            let early = Early::begin(listener, Arc::clone(&self.shared), member).map_err(failed)?;
            self.early = Some(early);
        }
        Ok(())
    }

    /// Starts the HTTP side, once there is a data directory: an operator's key may have to be kept there.
    fn serve_http(&mut self) -> Result<(), FollowError> {
        let Some(ready) = self.ready.take() else { return Ok(()) };
        let keys = Keys::open(&self.config)?;
        let address = self.config.server.http;
        let failed = |source| FollowError::Http { address, source };
        let listener = match self.early.take() {
            Some(early) => early.end(),
            None => TcpListener::bind(address).map_err(failed)?,
        };
        ready(listener.local_addr().map_err(failed)?);
        let cluster = self.dir.as_ref().map_or(0, DataDir::cluster);
        let member = self.leader.member().cloned();
        let inspected = (Arc::clone(&self.shared), Arc::clone(&self.inspector));
        let site = Site::new(&self.config, keys, cluster, member, inspected, Arc::clone(&self.views));
        let thread = spawn("frontrow-http", move || {
            if let Err(error) = http::serve(listener, site) {
                tracing::error!(%error, "HTTP ended");
            }
        })?;
        self.http_thread = Some(thread);
        Ok(())
    }

    /// A session has ended: says why, once, and whether there can be another.
    pub(super) fn note(&mut self, ended: Result<(), FollowError>) -> Result<(), FollowError> {
        if let Err(error @ FollowError::Lacking(_)) = &ended {
            self.grave = Some(error.to_string());
        }
        if let Err(FollowError::Stream(StreamError::Refused(refusal))) = &ended
            && refusal.code == RefusalCode::Taken
        {
            self.note_behind(Behind::Beside)?;
        }
        let trouble = match ended {
            // That nobody is there any more is not what must be mended.
            Err(FollowError::Socket { .. }) if self.grave.is_some() => self.grave.clone().unwrap_or_default(),
            // The disk or the log: going on would not mend it.
            Err(
                error @ (FollowError::Log(_)
                | FollowError::Mark(_)
                | FollowError::File(_)
                | FollowError::Thread(_)),
            ) => {
                return Err(error);
            }
            Err(error) => error.to_string(),
            Ok(()) => "the session has ended".to_owned(),
        };
        self.shared.change(|state| {
            state.connected = false;
            state.apart_ns.get_or_insert_with(Clock::monotonic_ns);
            if !state.is_ending() && state.trouble.as_ref() != Some(&trouble) {
                tracing::warn!(%trouble, "no primary is followed; trying again");
            }
            state.trouble = Some(trouble);
        });
        Ok(())
    }

    /// Before it serves or follows in a cluster for the first time, a directory is marked as a member.
    fn enroll(&mut self, dir: &DataDir) -> Result<(), FollowError> {
        if self.leader.member().is_some() {
            mark::join(&self.path, dir, &self.config.cluster.name)?;
            self.marked = true;
        }
        Ok(())
    }
}

/// The number of partitions that is asked for; if none is, the one there is.
fn wanted(config: &Config, found: u16) -> u16 {
    if config.partitions.asked { config.partitions.count } else { found }
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, FollowError> {
    std::thread::Builder::new().name(name.into()).spawn(run).map_err(FollowError::Thread)
}
