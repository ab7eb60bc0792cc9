//! A node that runs the server's real cores, over its log, on a simulated disk.

use crate::disk::SimDisk;
use crate::engine::Sim;
use crate::replica::{self, Standby};
use crate::scenario::{self, Scenario};
use crate::world::{NodeId, ProcessEnded, World};
use frontrow_engine::Clock;
use frontrow_server::Rounds;
use frontrow_server::config::{self, Acknowledge, Config, Machine};
use frontrow_server::core::{self, Audit, Handle, Host, Setup};
use frontrow_server::http::{Connections, LiveRow, Sales};
use frontrow_server::identity::{Expected, Minter, Verifier};
use frontrow_server::replication::ends::{self, StandbyEnd};
use frontrow_server::replication::{Hub, Promoted};
use frontrow_shard::{
    Code, EventId, EventRules, EventSpec, EventState, Limits, Lsn, Partition, RowRef, RowSpec,
};
use frontrow_wal::fs::Disk;
use frontrow_wal::{DataDir, DirOptions, History, Role, WalError};
use std::cell::{Cell, RefCell};
use std::error::Error;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

/// Where the server listens for everybody.
const PORT: u16 = 7411;
const SECRET: &[u8] = b"the simulation's own secret, 32 B";
/// Ten times a real server's: idle time then costs a tenth.
const TICK: Duration = Duration::from_millis(50);
const CLUSTER: u128 = 0x5EED;

/// What is on sale: one event of equal rows.
#[derive(Debug, Clone)]
pub struct Hall {
    /// Its number.
    pub event: EventId,
    /// Its rules.
    pub rules: EventRules,
    /// How many rows each section has.
    pub sections: Vec<u16>,
    /// How many seats each row has.
    pub seats: u8,
}

impl Hall {
    /// Every row.
    pub fn rows(&self) -> impl Iterator<Item = RowRef> + '_ {
        let sections = (0_u16..).zip(&self.sections);
        sections
            .flat_map(move |(section, &rows)| (0..rows).map(move |row| RowRef::new(self.event, section, row)))
    }

    /// What each partition has to know.
    fn specs(&self, partitions: u16) -> Vec<EventSpec> {
        let seats = u32::from(self.seats);
        let spec = |partition| EventSpec {
            event: self.event,
            rules: self.rules,
            section_rows: self.sections.clone(),
            section_seats: self.sections.iter().map(|&rows| u32::from(rows) * seats).collect(),
            rows: self
                .rows()
                .filter(|row| row.partition(partitions) == partition)
                .map(|row| RowSpec {
                    section: row.section,
                    row: row.row,
                    categories: vec![0; usize::from(self.seats)],
                    aisles_after: Vec::new(),
                    accessible: Vec::new(),
                })
                .collect(),
        };
        (0..partitions).map(spec).collect()
    }
}

/// A standby has become the primary.
#[derive(Debug, Clone)]
pub(crate) struct Promotion {
    /// The epoch it has opened.
    pub(crate) epoch: u32,
    /// By partition, the last record that it has.
    pub(crate) kept: Vec<Lsn>,
    /// All epochs, and where they ended.
    pub(crate) history: History,
}

/// Called when a standby becomes the primary, before it serves.
type OnPromotion = Rc<RefCell<Option<Box<dyn Fn(Promotion)>>>>;

/// A node with a server on it.
pub struct Server {
    node: NodeId,
    hall: Rc<Hall>,
    config: Rc<Config>,
    /// Cores of the next start.
    cores: Cell<usize>,
    /// Snapshots of the running cores.
    rounds: Rc<RefCell<Option<Rounds>>>,
    /// Snapshots written, segments removed, and what went wrong with them.
    kept: Rc<RefCell<(u64, u64, Vec<String>)>>,
    /// The number of starts that have come to serve.
    served: Rc<Cell<u32>>,
    refused: Rc<RefCell<Vec<String>>>,
    handle: Rc<RefCell<Option<Handle>>>,
    hub: Rc<RefCell<Option<Arc<Hub>>>>,
    /// The standby that runs here.
    standby: Rc<RefCell<Option<Rc<Standby>>>>,
    on_promotion: OnPromotion,
    /// What must never be at a standby.
    troubles: Rc<RefCell<Vec<String>>>,
}

impl Server {
    /// A node for a server of so many cores, whose data directory is `data`. [`Server::start`] starts it.
    pub fn new(world: &World, hall: Rc<Hall>, data: &Path, scenario: &Scenario) -> Self {
        let node = world.node();
        Self {
            node,
            hall,
            config: Rc::new(small(node, data, scenario)),
            cores: Cell::new(scenario.cores),
            rounds: Rc::default(),
            kept: Rc::default(),
            served: Rc::default(),
            refused: Rc::default(),
            handle: Rc::default(),
            hub: Rc::default(),
            standby: Rc::default(),
            on_promotion: Rc::default(),
            troubles: Rc::default(),
        }
    }

    /// Has `act` called whenever this node's standby becomes the primary, before it serves.
    pub(crate) fn on_promotion(&self, act: impl Fn(Promotion) + 'static) {
        *self.on_promotion.borrow_mut() = Some(Box::new(act));
    }

    /// What must never be at a standby, and was.
    pub(crate) fn troubles(&self) -> Vec<String> {
        self.troubles.borrow().clone()
    }

    /// By stream, what its standby has said that it has, if this node is a primary.
    pub(crate) fn acked(&self) -> Vec<(u16, (u32, u64))> {
        self.hub.borrow().as_ref().map(|hub| ends::acked(hub)).unwrap_or_default()
    }

    /// Whether its standby has all earlier epochs, and all that it was seeded with, as far as this node, a primary, was told.
    pub(crate) fn has_whole_standby(&self) -> bool {
        self.hub.borrow().as_ref().is_some_and(|hub| ends::has_whole_standby(hub))
    }

    /// Whether a standby runs here.
    pub(crate) fn is_standby(&self, world: &World) -> bool {
        self.standby.borrow().is_some() && world.runs(self.node)
    }

    /// What the standby that runs here has applied.
    pub(crate) fn standby_audit(&self) -> Vec<Audit> {
        let standby = self.standby.borrow();
        let end = standby.as_ref().map(|standby| standby.end.borrow());
        end.and_then(|end| end.as_ref().map(|end| end.partitions().iter().map(Audit::of).collect()))
            .unwrap_or_default()
    }

    /// How far the standby that runs here is, in words.
    pub(crate) fn standing(&self) -> String {
        let standby = self.standby.borrow();
        let end = standby.as_ref().map(|standby| standby.end.borrow());
        end.and_then(|end| end.as_ref().map(StandbyEnd::progress)).unwrap_or_default()
    }

    /// How many states of partitions the standby that runs here has found to be the primary's.
    pub(crate) fn compared(&self) -> u64 {
        let standby = self.standby.borrow();
        let end = standby.as_ref().map(|standby| standby.end.borrow());
        end.and_then(|end| end.as_ref().map(StandbyEnd::compared)).unwrap_or(0)
    }

    /// An operator makes the standby that runs here the primary.
    pub(crate) fn promote(&self) {
        if let Some(standby) = &*self.standby.borrow() {
            standby.promote.set(true);
        }
    }

    /// An operator makes the standby that lies here the primary; nothing runs.
    pub(crate) fn promote_at_rest(&self) -> Result<(), String> {
        self.forget();
        let text = |error: WalError| error.to_string();
        let dir = attend(&self.config, SimDisk(self.node)).map_err(text)?;
        let (dir, history) = match dir.history().map_err(text)? {
            // That was done already.
            Some(history) if history.role == Role::Primary => (dir, history),
            _ => {
                dir.erase_torn().map_err(text)?;
                ends::cut_to_causes(&dir, limits(&self.config)).map_err(text)?;
                dir.promote().map_err(text)?
            }
        };
        let recovered = core::recover(&dir, limits(&self.config)).map_err(|error| error.to_string())?;
        let kept = recovered.partitions.iter().map(Partition::lsn).collect();
        if let Some(act) = &*self.on_promotion.borrow() {
            act(Promotion { epoch: dir.epoch(), kept, history });
        }
        Ok(())
    }

    /// Where its standby connects.
    pub(crate) fn leader_addr(&self) -> SocketAddr {
        self.node.addr(replica::PORT)
    }

    /// The next start has so many cores.
    pub fn set_cores(&self, cores: usize) {
        self.cores.set(cores);
    }

    /// Snapshots written and segments removed so far, and what went wrong with them.
    pub fn kept(&self) -> (u64, u64, Vec<String>) {
        self.kept.borrow().clone()
    }

    /// A round of snapshots, beside the running cores.
    pub fn snapshot(&self, world: &World) {
        let (rounds, kept) = (Rc::clone(&self.rounds), Rc::clone(&self.kept));
        world.start(self.node, move || async move {
            let Some(mut running) = rounds.borrow_mut().take() else { return };
            let done = running.run(&|| false);
            let mut kept = kept.borrow_mut();
            match done {
                Ok((snapshots, segments)) => (kept.0, kept.1) = (kept.0 + snapshots, kept.1 + segments),
                Err(why) => kept.2.push(why),
            }
            *rounds.borrow_mut() = Some(running);
        });
    }

    /// What every partition of the running cores is.
    pub fn audit(&self, world: &World) -> Rc<RefCell<Option<Vec<Audit>>>> {
        let answer = Rc::new(RefCell::new(None));
        let (out, handle) = (Rc::clone(&answer), self.handle.borrow().clone());
        world.start(self.node, move || async move {
            if let Some(handle) = handle {
                let all = handle.audit().await;
                *out.borrow_mut() = Some(all);
            }
        });
        answer
    }

    /// What a start would find now. The process must not run.
    pub fn recover(&self) -> Result<Vec<Partition>, String> {
        self.forget();
        let dir = match open(&self.config, SimDisk(self.node)) {
            Err(WalError::IsStandby { .. }) => attend(&self.config, SimDisk(self.node)),
            opened => opened,
        };
        let dir = dir.map_err(|error| error.to_string())?;
        let recovered = core::recover(&dir, limits(&self.config)).map_err(|error| error.to_string())?;
        Ok(recovered.partitions)
    }

    /// The node.
    pub fn node(&self) -> NodeId {
        self.node
    }

    /// Starts its process.
    pub fn start(&self, world: &World) {
        let disk = SimDisk(self.node);
        let hall = Rc::clone(&self.hall);
        let mut config = Config::clone(&self.config);
        config.server.shard_cpus = (0..self.cores.get()).collect();
        self.forget();
        let life = self.life(hall, config);
        let name = self.name();
        world.start(self.node, move || async move {
            let begun = begin(&life.config, disk, name);
            match begun {
                Ok(begun) => {
                    let first = begun.dir.epoch() == 1;
                    life.serve(begun, first).await;
                }
                Err(error) => life.end(&error),
            }
        });
    }

    /// Starts its process as a standby of the primary at `leader`, which serves once it is promoted.
    pub(crate) fn follow(&self, world: &World, leader: SocketAddr) {
        let disk: Arc<dyn Disk> = Arc::new(SimDisk(self.node));
        let hall = Rc::clone(&self.hall);
        let mut config = Config::clone(&self.config);
        config.server.shard_cpus = (0..self.cores.get()).collect();
        self.forget();
        let life = self.life(hall, config);
        let (name, running, on_promotion) =
            (self.name(), Rc::clone(&self.standby), Rc::clone(&self.on_promotion));
        let troubles = Rc::clone(&self.troubles);
        world.start(self.node, move || async move {
            let followed = async {
                let end = StandbyEnd::open(&life.config, limits(&life.config), disk, name)?;
                let (end, promote) = (RefCell::new(Some(end)), Cell::new(false));
                let standby = Rc::new(Standby { end, leader, promote, troubles });
                *running.borrow_mut() = Some(Rc::clone(&standby));
                replica::follow(standby).await
            };
            let followed = followed.await;
            running.borrow_mut().take();
            match followed {
                Ok(promoted) => {
                    let partitions = promoted.recovered.iter().flat_map(|found| &found.partitions);
                    let kept: Vec<Lsn> = partitions.map(Partition::lsn).collect();
                    let (epoch, history) = (promoted.dir.epoch(), promoted.history.clone());
                    if let Some(act) = &*on_promotion.borrow() {
                        act(Promotion { epoch, kept, history });
                    }
                    life.serve(promoted, false).await;
                }
                Err(error) => life.end(&error),
            }
        });
    }

    /// A name that no other node has, and that it keeps.
    fn name(&self) -> u64 {
        1000 + self.node.0 as u64
    }

    /// Lets go of what the last process has left here: it would keep the directory locked.
    fn forget(&self) {
        self.rounds.borrow_mut().take();
        self.standby.borrow_mut().take();
        self.hub.borrow_mut().take();
        // The cores' side has a standby's side, and that the directory.
        self.handle.borrow_mut().take();
    }

    fn life(&self, hall: Rc<Hall>, config: Config) -> Life {
        Life {
            hall,
            config,
            rounds: Rc::clone(&self.rounds),
            served: Rc::clone(&self.served),
            refused: Rc::clone(&self.refused),
            handle: Rc::clone(&self.handle),
            hub: Rc::clone(&self.hub),
        }
    }

    /// How many starts have come to serve.
    pub fn served(&self) -> u32 {
        self.served.get()
    }

    /// Why starts were refused.
    pub fn refused(&self) -> Vec<String> {
        self.refused.borrow().clone()
    }

    /// Where clients connect.
    pub fn addr(&self) -> SocketAddr {
        self.node.addr(PORT)
    }

    /// The seats of a section, asked of the running cores from beside them.
    pub fn section(&self, world: &World, section: u16) -> Rc<RefCell<Option<Vec<LiveRow>>>> {
        let answer = Rc::new(RefCell::new(None));
        let (out, event) = (Rc::clone(&answer), self.hall.event);
        let handle = self.handle.borrow().clone();
        world.start(self.node, move || async move {
            if let Some(handle) = handle
                && let Ok(rows) = handle.section_state(event, section).await
            {
                *out.borrow_mut() = Some(rows);
            }
        });
        answer
    }
}

/// Tokens that the simulated servers believe.
pub(crate) fn minter() -> Minter {
    Minter::new(SECRET, &Expected::default())
}

/// What a process of a node leaves where the driver sees it.
struct Life {
    hall: Rc<Hall>,
    config: Config,
    rounds: Rc<RefCell<Option<Rounds>>>,
    served: Rc<Cell<u32>>,
    refused: Rc<RefCell<Vec<String>>>,
    handle: Rc<RefCell<Option<Handle>>>,
    hub: Rc<RefCell<Option<Arc<Hub>>>>,
}

impl Life {
    /// Serves for as long as the process lives. Whether it counts as serving only `once_open`: a node that takes over before
    /// the event was made answers at once, and may make it only when a standby has joined it.
    async fn serve(self, begun: Promoted, once_open: bool) {
        let (serving, snapshots, all_open) =
            match boot(&self.config, begun, (&self.hub, self.hall.event)).await {
                Ok(booted) => booted,
                Err(error) => self.end(&*error),
            };
        *self.rounds.borrow_mut() = Some(snapshots);
        if !once_open {
            self.serves(&serving);
        }
        if !all_open && let Err(error) = open_event(&self.hall, &self.config, &serving).await {
            self.end(&*error);
        }
        if once_open {
            self.serves(&serving);
        }
        std::future::pending::<()>().await;
    }

    fn serves(&self, serving: &Handle) {
        self.served.set(self.served.get() + 1);
        *self.handle.borrow_mut() = Some(serving.clone());
    }

    /// The process cannot begin, or go on.
    fn end(&self, error: &dyn Error) -> ! {
        self.refused.borrow_mut().push(error.to_string());
        std::panic::resume_unwind(Box::new(ProcessEnded(error.to_string())))
    }
}

/// A configuration with little room, so that limits are met.
fn small(node: NodeId, data: &Path, scenario: &Scenario) -> Config {
    let cores = scenario.cores;
    let machine = Machine { cpus: (0..cores).collect(), open_files: None, memory: None };
    let mut config = config::read(None, [], &machine).config;
    config.server.tcp = node.addr(PORT);
    config.server.core_ports = PORT + 9;
    config.server.data = PathBuf::from(data);
    config.server.pin = false;
    config.server.shard_cpus = (0..cores).collect();
    config.server.log_cpus = Vec::new();
    config.partitions.count = 8;
    config.partitions.requests_remembered = 512;
    config.partitions.waiting = if scenario.narrow { 3 } else { 64 };
    config.partitions.queues = if scenario.narrow { 2 } else { 16 };
    config.partitions.section_claims = if scenario.narrow { 2 } else { 16 };
    config.log.segment = scenario.segment;
    config.log.ready_segments = 1;
    config.log.backlog = 64 << 10;
    if let Some(acknowledge) = scenario.pair {
        config.replication.listen = Some(node.addr(replica::PORT));
        config.replication.acknowledge = match acknowledge {
            scenario::Acknowledge::Local => Acknowledge::Local,
            scenario::Acknowledge::Backup => Acknowledge::Backup,
        };
        config.replication.keep_log = scenario.keep_log;
        config.replication.check = Duration::from_secs(1);
    }
    config
}

/// Opens the data directory for a primary, as `frontrow_server::start` does it. `name`: the node's, if it has none.
fn begin(config: &Config, disk: SimDisk, name: u64) -> Result<Promoted, WalError> {
    let dir = open(config, disk)?;
    if dir.history()?.is_none() {
        // Else it would be drawn from the system's randomness.
        dir.write_history(&History::new(dir.cluster(), name, Role::Primary))?;
    }
    let history = dir.begin_history(false)?;
    Ok(Promoted { dir, history, recovered: None, catalogue: None, now_ms: None, told: Arc::default() })
}

/// From an open data directory to cores that serve, as `frontrow_server::start` does it.
async fn boot(
    config: &Config,
    begun: Promoted,
    (place, event): (&RefCell<Option<Arc<Hub>>>, EventId),
) -> Result<(Handle, Rounds, bool), Box<dyn Error>> {
    let Promoted { dir, history, recovered, now_ms, .. } = begun;
    let limits = limits(config);
    let recovered = recovered.map_or_else(|| core::recover(&dir, limits), Ok)?;
    let (partitions, index) = (recovered.partitions, recovered.index);
    let mut hub = None;
    if let Some(address) = config.replication.listen {
        let made = ends::hub(config, &dir, history, Box::new(|_| {}))?;
        *place.borrow_mut() = Some(Arc::clone(&made));
        let listening = Arc::clone(&made);
        Sim::start_core(move || replica::listen(listening, address));
        hub = Some(made);
    }
    let on_sale =
        |partition: &Partition| partition.event(event).is_some_and(|(state, _)| state == EventState::Open);
    let all_open = partitions.iter().all(on_sale);
    let setup = Setup {
        config,
        engine: frontrow_engine::EngineKind::Auto,
        dir: dir.clone(),
        partitions,
        verifier: Verifier::hs256(SECRET, Expected::default()),
        connections: Connections::new(config.limits.connections, 0),
        host: Host { random: || Ok(Sim::secret()), stop: end_process, log_threads: false, tick: TICK },
        hub: hub.clone(),
        now_ms,
    };
    let plan = core::plan::<Sim>(setup, config.server.tcp)?;
    for seat in plan.seats {
        Sim::start_core(move || core::serve_core::<Sim>(seat));
    }
    let threads = plan.starting.ready().await?;
    let mut rounds = Rounds::new(dir, limits, index, &threads);
    let handle = Handle::new(&threads);
    if let Some(hub) = &hub {
        ends::start_clock(hub, &handle);
        rounds = rounds.read_by(hub, config.replication.keep_log);
    }
    Ok((handle, rounds, all_open))
}

async fn open_event(hall: &Hall, config: &Config, handle: &Handle) -> Result<(), Box<dyn Error>> {
    let refused = |code: Code| format!("the event was refused: {}", code.name());
    handle.create_event(hall.specs(config.partitions.count)).await.map_err(refused)?;
    handle.set_state(hall.event, EventState::Open).await.map_err(refused)?;
    Ok(())
}

fn open(config: &Config, disk: SimDisk) -> Result<DataDir, WalError> {
    let options = DirOptions {
        created_ms: Clock::wall_ms(),
        cluster: Some(CLUSTER),
        disk: Arc::new(disk),
        ..DirOptions::new(config.partitions.count)
    };
    DataDir::open(&config.server.data, options)
}

/// The directory of a standby, for whoever looks into it.
fn attend(config: &Config, disk: SimDisk) -> Result<DataDir, WalError> {
    let disk = Arc::new(disk);
    let options = DirOptions { create: false, disk, ..DirOptions::new(config.partitions.count) };
    DataDir::attend(&config.server.data, options, 0)
}

fn limits(config: &Config) -> Limits {
    Limits {
        requests: config.partitions.requests_remembered as usize,
        parties: config.partitions.waiting as usize,
        queues: config.partitions.queues as usize,
        tasks: config.partitions.section_claims as usize,
    }
}

/// A core's last word ends the simulated process as it would end a real one.
fn end_process(core: u16, why: &str) -> ! {
    std::panic::resume_unwind(Box::new(ProcessEnded(format!("core {core}: {why}"))))
}
