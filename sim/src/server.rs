//! A node that runs the server's real cores, over its log, on a simulated disk.

use crate::disk::SimDisk;
use crate::engine::Sim;
use crate::scenario::Scenario;
use crate::world::{NodeId, ProcessEnded, World};
use frontrow_engine::Clock;
use frontrow_server::Rounds;
use frontrow_server::config::{self, Config, Machine};
use frontrow_server::core::{self, Audit, Handle, Host, Setup};
use frontrow_server::http::{Connections, LiveRow, Sales};
use frontrow_server::identity::{Expected, Minter, Verifier};
use frontrow_shard::{Code, EventId, EventRules, EventSpec, EventState, Limits, Partition, RowRef, RowSpec};
use frontrow_wal::{DataDir, DirOptions, WalError};
use std::cell::{Cell, RefCell};
use std::error::Error;
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
        }
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
        self.rounds.borrow_mut().take();
        let dir = open(&self.config, SimDisk(self.node)).map_err(|error| error.to_string())?;
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
        // The last process's would keep the directory locked.
        self.rounds.borrow_mut().take();
        let rounds = Rc::clone(&self.rounds);
        let (served, refused, handle) =
            (Rc::clone(&self.served), Rc::clone(&self.refused), Rc::clone(&self.handle));
        world.start(self.node, move || async move {
            match boot(&hall, &config, disk).await {
                Ok((serving, snapshots)) => {
                    *rounds.borrow_mut() = Some(snapshots);
                    served.set(served.get() + 1);
                    *handle.borrow_mut() = Some(serving);
                    std::future::pending::<()>().await;
                }
                Err(error) => {
                    refused.borrow_mut().push(error.to_string());
                    std::panic::resume_unwind(Box::new(ProcessEnded(error.to_string())));
                }
            }
        });
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
    pub fn addr(&self) -> std::net::SocketAddr {
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
    config
}

/// From the data directory to cores that serve, as `frontrow_server::start` does it.
async fn boot(hall: &Hall, config: &Config, disk: SimDisk) -> Result<(Handle, Rounds), Box<dyn Error>> {
    let dir = open(config, disk)?;
    let limits = limits(config);
    let recovered = core::recover(&dir, limits)?;
    let on_sale = |partition: &Partition| {
        partition.event(hall.event).is_some_and(|(state, _)| state == EventState::Open)
    };
    let all_open = recovered.partitions.iter().all(on_sale);
    let setup = Setup {
        config,
        engine: frontrow_engine::EngineKind::Auto,
        dir: dir.clone(),
        partitions: recovered.partitions,
        verifier: Verifier::hs256(SECRET, Expected::default()),
        connections: Connections::new(config.limits.connections, 0),
        host: Host { random: || Ok(Sim::secret()), stop: end_process, log_threads: false, tick: TICK },
        hub: None,
        now_ms: None,
    };
    let plan = core::plan::<Sim>(setup, config.server.tcp)?;
    for seat in plan.seats {
        Sim::start_core(move || core::serve_core::<Sim>(seat));
    }
    let threads = plan.starting.ready().await?;
    let rounds = Rounds::new(dir, limits, recovered.index, &threads);
    let handle = Handle::new(&threads);
    if !all_open {
        let refused = |code: Code| format!("the event was refused: {}", code.name());
        handle.create_event(hall.specs(config.partitions.count)).await.map_err(refused)?;
        handle.set_state(hall.event, EventState::Open).await.map_err(refused)?;
    }
    Ok((handle, rounds))
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
