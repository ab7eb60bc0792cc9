//! The world: one thread, one seed, virtual time. It runs every task of every node, one at a time, in an
//! order that the seed decides; when nothing is ready, time jumps to whatever comes next.

use crate::clocks::Clocks;
use crate::disk::{DiskOptions, Disks, LogFile};
use crate::net::connection::Around;
use crate::net::{Net, NetEvent, NetOptions, ip_of};
use crate::rng::{Concern, Rng};
use crate::tasks::{self, CoreId, TaskId, Tasks, Work};
use crate::trace::{Event, Trace, digest};
use frontrow_engine::{Clock, Simulated};
use std::any::Any;
use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::future::Future;
use std::net::SocketAddr;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

/// How a world behaves where no fault was planted.
#[derive(Debug, Clone)]
pub struct Options {
    /// Everything that is left to chance follows from it.
    pub seed: u64,
    /// The network.
    pub net: NetOptions,
    /// How long one poll of a task takes, in nanoseconds.
    pub poll_ns: Range<u64>,
    /// How much longer than asked a sleep lasts, in nanoseconds.
    pub oversleep_ns: Range<u64>,
    /// Print every event.
    pub aloud: bool,
}

impl Options {
    /// The usual world under a seed.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            net: NetOptions::default(),
            poll_ns: 200..3_000,
            oversleep_ns: 0..1_000_000,
            aloud: false,
        }
    }
}

/// A machine of the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub(crate) usize);

impl NodeId {
    /// Its address with a port.
    pub fn addr(self, port: u16) -> SocketAddr {
        SocketAddr::new(ip_of(self.0), port)
    }
}

/// How a node goes down.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// Its process is killed; the machine goes on, and tells the other sides of its connections.
    Process,
    /// The machine loses power: the others hear nothing until it is back.
    Power,
}

/// What a task unwinds with to end its own process: the node crashes as by [`Crash::Process`].
#[derive(Debug, Clone)]
pub struct ProcessEnded(
    /// The last word.
    pub String,
);

/// What the disk unwinds a task with when its node loses power in the middle of a change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct PowerLost(pub(crate) NodeId);

/// Why a run of the world ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// What was waited for has come.
    Reached,
    /// The time is over.
    Deadline,
    /// Nothing is ready and nothing will ever come.
    Quiet,
}

struct Node {
    clocks: Clocks,
    paused: bool,
    parked: Vec<TaskId>,
    last_words: Vec<String>,
}

struct Core {
    node: usize,
    /// What this core's clock was last noted to show.
    noted_ns: u64,
    ended: bool,
}

enum Due {
    Wake(Waker),
    Net(NetEvent),
    Disk(u64),
    Act(Box<dyn FnOnce()>),
}

struct Timed {
    at_ns: u64,
    seq: u64,
    due: Due,
}

impl PartialEq for Timed {
    fn eq(&self, other: &Self) -> bool {
        self.seq == other.seq
    }
}
impl Eq for Timed {}
impl PartialOrd for Timed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl Ord for Timed {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at_ns, self.seq).cmp(&(other.at_ns, other.seq))
    }
}

pub(crate) struct State {
    options: Options,
    now_ns: u64,
    seq: u64,
    events: BinaryHeap<Reverse<Timed>>,
    tasks: Tasks,
    ready: Vec<TaskId>,
    nodes: Vec<Node>,
    up: Vec<bool>,
    cores: Vec<Core>,
    pub(crate) net: Net,
    pub(crate) disks: Disks,
    schedule: Rng,
    network: Rng,
    secrets: Rng,
    trace: Trace,
    current: Option<CoreId>,
}

thread_local! {
    static WORLD: RefCell<Option<State>> = const { RefCell::new(None) };
}

/// Does something with the world; `None` if this thread has none (any more).
pub(crate) fn with<R>(f: impl FnOnce(&mut State) -> R) -> Option<R> {
    WORLD.try_with(|world| world.borrow_mut().as_mut().map(f)).ok().flatten()
}

/// How long the running node's disk takes for something now.
pub(crate) fn disk_latency() -> Duration {
    with(|state| {
        let node = state.here().map_or(0, |(_, node)| node);
        Duration::from_nanos(state.disks.takes(node))
    })
    .unwrap_or_default()
}

/// How long whoever sends on a connection that is over is still held up by it.
pub(crate) fn lingering() -> Duration {
    with(|state| match state.network.below(3) {
        0 => Duration::from_millis(state.network.below(3_000)),
        _ => Duration::ZERO,
    })
    .unwrap_or_default()
}

impl State {
    fn new(options: Options) -> Self {
        let seed = options.seed;
        Self {
            now_ns: 0,
            seq: 0,
            events: BinaryHeap::new(),
            tasks: Tasks::default(),
            ready: Vec::new(),
            nodes: Vec::new(),
            up: Vec::new(),
            cores: Vec::new(),
            net: Net::new(options.net.clone()),
            disks: Disks::new(seed),
            schedule: Rng::new(seed, Concern::Schedule),
            secrets: Rng::new(seed, Concern::Secrets),
            network: Rng::new(seed, Concern::Network),
            trace: Trace::new(options.aloud),
            current: None,
            options,
        }
    }

    pub(crate) fn note(&mut self, event: Event, a: u64, b: u64) {
        self.trace.note(self.now_ns, event, a, b);
    }

    fn at(&mut self, at_ns: u64, due: Due) {
        self.seq += 1;
        self.events.push(Reverse(Timed { at_ns: at_ns.max(self.now_ns), seq: self.seq, due }));
    }

    /// Does something with the network, and schedules what follows from it.
    pub(crate) fn on_net<R>(&mut self, f: impl FnOnce(&mut Net, &mut Around<'_>) -> R) -> R {
        let mut later = Vec::new();
        let mut around =
            Around { now_ns: self.now_ns, rng: &mut self.network, up: &self.up, later: &mut later };
        let result = f(&mut self.net, &mut around);
        for (at, event) in later {
            self.at(at, Due::Net(event));
        }
        result
    }

    /// The core and the node of the task that runs.
    pub(crate) fn here(&self) -> Option<(CoreId, usize)> {
        self.current.map(|core| (core, self.cores[core].node))
    }

    pub(crate) fn spawn(&mut self, core: CoreId, main: bool, work: Work) -> TaskId {
        self.tasks.insert(core, main, work)
    }

    pub(crate) fn add_core(&mut self, node: usize) -> CoreId {
        self.cores.push(Core { node, noted_ns: 0, ended: false });
        self.cores.len() - 1
    }

    pub(crate) fn secret(&mut self) -> u128 {
        u128::from(self.secrets.next_u64()) << 64 | u128::from(self.secrets.next_u64())
    }

    /// Sends bytes to a node's disk; the number to ask by how it ended.
    pub(crate) fn begin_write(&mut self, node: usize, file: &LogFile, bytes: &[u8], offset: u64) -> u64 {
        self.note(Event::Write, offset, digest(bytes));
        let (id, takes) = self.disks.begin(node, file, bytes, offset);
        self.at(self.now_ns + takes, Due::Disk(id));
        id
    }

    /// What the running node's monotonic clock shows.
    pub(crate) fn local_ns(&self) -> u64 {
        let (_, node) = self.here().unwrap_or((0, 0));
        self.nodes.get(node).map_or(self.now_ns, |node| node.clocks.monotonic_ns(self.now_ns))
    }

    /// Wakes a task of the running node when its clock shows `local_ns`, or a little later.
    pub(crate) fn wake_at_local(&mut self, local_ns: u64, waker: Waker) {
        let Some((_, node)) = self.here() else { return };
        let extra = self.schedule.within(self.options.oversleep_ns.clone());
        let at = self.nodes[node].clocks.world_ns(local_ns) + extra;
        self.at(at, Due::Wake(waker));
    }

    fn net_event(&mut self, event: NetEvent) {
        self.on_net(|net, around| match event {
            NetEvent::Arrive { connection, from } => net.arrive(around, connection, from),
            NetEvent::GiveUp { connection, from, since_ns } => net.give_up(connection, from, since_ns),
            NetEvent::Reset { connection, to } => net.reset(around, connection, to),
            NetEvent::Knock { attempt } => net.knock(around, attempt),
            NetEvent::Settle { attempt } => net.settle(around, attempt),
            NetEvent::Abandon { attempt } => net.abandon(around, attempt),
        });
    }

    /// The next task to run, at random among all that are ready on nodes that run.
    fn pick(&mut self) -> Option<TaskId> {
        tasks::take_woken(&mut self.ready);
        while !self.ready.is_empty() {
            let at = self.schedule.index(self.ready.len());
            let task = self.ready.swap_remove(at);
            let Some(core) = self.tasks.core_of(task) else { continue };
            let node = &mut self.nodes[self.cores[core].node];
            if node.paused {
                node.parked.push(task);
            } else {
                return Some(task);
            }
        }
        None
    }

    /// Makes the thread's clocks those of a core.
    fn enter(&mut self, core: CoreId) {
        self.current = Some(core);
        let clocks = &self.nodes[self.cores[core].node].clocks;
        let now = Simulated {
            monotonic_ns: clocks.monotonic_ns(self.now_ns),
            wall_ms: clocks.wall_ms(self.now_ns),
        };
        Clock::simulate(Some(now), self.cores[core].noted_ns);
    }

    fn leave(&mut self) {
        let noted = Clock::simulate(None, 0);
        if let Some(core) = self.current.take() {
            self.cores[core].noted_ns = noted;
        }
    }
}

/// A world, for as long as the value lives. One to a thread.
#[derive(Debug)]
pub struct World {
    seed: u64,
    _not_send: std::marker::PhantomData<*const ()>,
}

impl World {
    /// Makes this thread's world.
    ///
    /// # Panics
    /// If the thread has one already.
    pub fn new(options: Options) -> Self {
        let seed = options.seed;
        tasks::take_woken(&mut Vec::new());
        WORLD.with_borrow_mut(|world| {
            assert!(world.is_none(), "this thread simulates a world already: drop it first");
            *world = Some(State::new(options));
        });
        Self { seed, _not_send: std::marker::PhantomData }
    }

    #[allow(clippy::unused_self, reason = "the value proves that there is a world")]
    fn with<R>(&self, f: impl FnOnce(&mut State) -> R) -> R {
        with(f).expect("the world lives as long as its handle")
    }

    /// The seed.
    pub fn seed(&self) -> u64 {
        self.seed
    }

    /// Nanoseconds since the world began.
    pub fn now_ns(&self) -> u64 {
        self.with(|state| state.now_ns)
    }

    /// A number that two runs agree in if they took the same steps, and how many steps that were.
    pub fn trace(&self) -> (u64, u64) {
        self.with(|state| (state.trace.hash(), state.trace.count()))
    }

    /// Adds something of the driver's own to the trace.
    pub fn note(&self, a: u64, b: u64) {
        self.with(|state| state.note(Event::Note, a, b));
    }

    /// Adds a machine.
    pub fn node(&self) -> NodeId {
        self.with(|state| {
            let clocks = Clocks::new(state.now_ns);
            state.nodes.push(Node { clocks, paused: false, parked: Vec::new(), last_words: Vec::new() });
            state.up.push(true);
            NodeId(state.nodes.len() - 1)
        })
    }

    /// Starts a core on a node: `main` is called in its first turn. When the future ends, all tasks of the
    /// core are dropped where they stand.
    pub fn start<F: Future<Output = ()> + 'static>(&self, node: NodeId, main: impl FnOnce() -> F + 'static) {
        let core = self.add_core(node);
        self.start_on(core, async move { main().await });
    }

    /// Adds a core that has nothing to do yet.
    pub(crate) fn add_core(&self, node: NodeId) -> CoreId {
        self.with(|state| state.add_core(node.0))
    }

    /// Gives a core its main task.
    pub(crate) fn start_on(&self, core: CoreId, main: impl Future<Output = ()> + 'static) {
        self.with(|state| state.spawn(core, true, Box::pin(main)));
    }

    /// Calls `f` as a task of a core would.
    pub(crate) fn as_core<R>(&self, core: CoreId, f: impl FnOnce() -> R) -> R {
        self.with(|state| state.enter(core));
        let result = f();
        self.with(State::leave);
        result
    }

    /// Calls `act` after `delay`, between two turns.
    pub fn after(&self, delay: Duration, act: impl FnOnce() + 'static) {
        self.with(|state| state.at(state.now_ns + delay.as_nanos() as u64, Due::Act(Box::new(act))));
    }

    /// Runs for `duration` of virtual time.
    pub fn run_for(&self, duration: Duration) -> Ended {
        self.run_until(duration, || false)
    }

    /// Runs until `done`, but for at most `limit` of virtual time. `done` is asked after every turn.
    pub fn run_until(&self, limit: Duration, mut done: impl FnMut() -> bool) -> Ended {
        let deadline = self.now_ns().saturating_add(limit.as_nanos() as u64);
        loop {
            if done() {
                return Ended::Reached;
            }
            if self.now_ns() >= deadline {
                return Ended::Deadline;
            }
            if !self.turn(deadline) {
                return Ended::Quiet;
            }
        }
    }

    /// Lets one thing happen; `false` if there is nothing.
    fn turn(&self, deadline: u64) -> bool {
        while let Some(due) = self.with(|state| {
            let next = state.events.peek()?;
            if next.0.at_ns > state.now_ns { None } else { state.events.pop().map(|timed| timed.0.due) }
        }) {
            match due {
                Due::Wake(waker) => waker.wake(),
                Due::Net(event) => self.with(|state| state.net_event(event)),
                Due::Disk(write) => self.with(|state| state.disks.arrive(write)),
                Due::Act(act) => act(),
            }
        }
        if let Some(task) = self.with(State::pick) {
            self.poll(task);
            return true;
        }
        self.with(|state| {
            let Some(next) = state.events.peek() else { return false };
            state.now_ns = next.0.at_ns.min(deadline);
            true
        })
    }

    /// Polls one task.
    fn poll(&self, id: TaskId) {
        let Some(turn) = self.with(|state| {
            let turn = state.tasks.begin(id)?;
            state.enter(turn.core);
            state.note(Event::Poll, Tasks::number(id), turn.core as u64);
            Some(turn)
        }) else {
            return;
        };
        let (core, main, mut work) = (turn.core, turn.main, turn.work);
        let mut context = Context::from_waker(&turn.waker);
        let polled = catch_unwind(AssertUnwindSafe(|| work.as_mut().poll(&mut context)));
        let node = NodeId(self.with(|state| {
            let takes = state.schedule.within(state.options.poll_ns.clone());
            let node = state.cores[core].node;
            state.leave();
            state.now_ns += takes;
            node
        }));
        match polled {
            Ok(Poll::Pending) => {
                let ended = self.with(|state| state.tasks.pending(id, work));
                self.drop_on(core, ended);
            }
            Ok(Poll::Ready(())) => {
                self.with(|state| state.tasks.remove(id));
                self.drop_on(core, Some(work));
                if main {
                    self.end_core(core);
                }
            }
            Err(payload) => {
                self.with(|state| state.tasks.remove(id));
                self.drop_on(core, Some(work));
                self.ended_itself(node, payload);
            }
        }
    }

    /// A task has unwound: as the process's own end, or because something is wrong with the program.
    fn ended_itself(&self, node: NodeId, payload: Box<dyn Any + Send>) {
        match payload.downcast::<ProcessEnded>() {
            Ok(ended) => {
                self.with(|state| state.nodes[node.0].last_words.push(ended.0));
                self.crash(node, Crash::Process);
            }
            Err(payload) => match payload.downcast::<PowerLost>() {
                Ok(lost) => self.crash(lost.0, Crash::Power),
                Err(payload) => resume_unwind(payload),
            },
        }
    }

    /// Drops a task's work on its core, outside any borrow of the world: what is dropped closes sockets.
    fn drop_on(&self, core: CoreId, work: Option<Work>) {
        if let Some(work) = work {
            self.as_core(core, || drop(work));
        }
    }

    fn end_core(&self, core: CoreId) {
        let tasks = self.with(|state| {
            state.cores[core].ended = true;
            state.tasks.of_core(core)
        });
        for task in tasks {
            let work = self.with(|state| state.tasks.remove(task));
            self.drop_on(core, work);
        }
    }

    /// Whether any core of a node still runs.
    pub fn runs(&self, node: NodeId) -> bool {
        self.with(|state| state.cores.iter().any(|core| core.node == node.0 && !core.ended))
    }

    /// Takes a node down where it stands.
    pub fn crash(&self, node: NodeId, how: Crash) {
        let cores: Vec<CoreId> = self.with(|state| {
            state.note(Event::Fault, node.0 as u64, how as u64);
            let all = 0..state.cores.len();
            all.filter(|&core| state.cores[core].node == node.0 && !state.cores[core].ended).collect()
        });
        self.with(|state| state.disks.going_down(node.0));
        if how == Crash::Power {
            self.with(|state| {
                state.up[node.0] = false;
                state.net.power_lost(node.0);
            });
        }
        for core in cores {
            self.end_core(core);
        }
        self.with(|state| {
            state.nodes[node.0].parked.clear();
            state.disks.crashed(node.0, how == Crash::Power);
        });
    }

    /// Changes how a node's disk behaves.
    pub fn disk(&self, node: NodeId, change: impl FnOnce(&mut DiskOptions)) {
        self.with(|state| {
            state.note(Event::Fault, 40 + node.0 as u64, 0);
            change(state.disks.of(node.0));
        });
    }

    /// Names and contents of files that no sync has made durable may be lost with a node's power from now on. `attic`
    /// is a directory of the file system that the nodes' data are on.
    pub fn keep_unsynced(&self, attic: std::path::PathBuf) {
        self.with(|state| state.disks.keep_unsynced(attic));
    }

    /// How many names and contents power losses have taken back.
    pub fn taken_back(&self) -> (u64, u64) {
        self.with(|state| state.disks.taken_back())
    }

    /// Gives a node power again. Its cores are the caller's to start.
    pub fn power_on(&self, node: NodeId) {
        self.with(|state| {
            state.up[node.0] = true;
            state.on_net(Net::reopened);
        });
    }

    /// What the node's processes said when they ended themselves.
    pub fn last_words(&self, node: NodeId) -> Vec<String> {
        self.with(|state| state.nodes[node.0].last_words.clone())
    }

    /// Stops a node's tasks; its kernel goes on.
    pub fn pause(&self, node: NodeId) {
        self.with(|state| {
            state.note(Event::Fault, node.0 as u64, 10);
            state.nodes[node.0].paused = true;
        });
    }

    /// Lets a paused node go on.
    pub fn resume(&self, node: NodeId) {
        self.with(|state| {
            state.note(Event::Fault, node.0 as u64, 11);
            let node = &mut state.nodes[node.0];
            node.paused = false;
            let parked = std::mem::take(&mut node.parked);
            state.ready.extend(parked);
        });
    }

    /// Lets nothing through from one node to another; the other direction is as it was.
    pub fn cut(&self, from: NodeId, to: NodeId) {
        self.with(|state| {
            state.note(Event::Fault, 20 + from.0 as u64, to.0 as u64);
            state.net.links.get_mut(from.0, to.0).cut = true;
        });
    }

    /// Opens a way again.
    pub fn heal(&self, from: NodeId, to: NodeId) {
        self.with(|state| {
            state.note(Event::Fault, 30 + from.0 as u64, to.0 as u64);
            state.net.links.get_mut(from.0, to.0).cut = false;
            state.on_net(Net::reopened);
        });
    }

    /// Makes a way slower by `by`.
    pub fn slow(&self, from: NodeId, to: NodeId, by: Duration) {
        self.with(|state| state.net.links.get_mut(from.0, to.0).slower_ns = by.as_nanos() as u64);
    }

    /// Lets a node's clocks run `millionths` too fast (negative: too slow).
    pub fn drift(&self, node: NodeId, millionths: i32) {
        self.with(|state| {
            let now = state.now_ns;
            state.nodes[node.0].clocks.set_drift(now, millionths);
        });
    }

    /// Steps a node's wall clock.
    pub fn step_wall(&self, node: NodeId, by_ms: i64) {
        self.with(|state| state.nodes[node.0].clocks.step(by_ms));
    }

    /// What a node's wall clock shows.
    pub fn wall_ms(&self, node: NodeId) -> u64 {
        self.with(|state| state.nodes[node.0].clocks.wall_ms(state.now_ns))
    }
}

impl Drop for World {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let (hash, steps) = self.trace();
            let ms = self.now_ns() / 1_000_000;
            eprintln!("simulation: seed {}, after {ms} ms and {steps} steps, trace {hash:016x}", self.seed);
        }
        let cores = self.with(|state| state.cores.len());
        for core in 0..cores {
            self.end_core(core);
        }
        // Scheduled actions may hold what touches the world when it is dropped.
        let events = self.with(|state| std::mem::take(&mut state.events));
        drop(events);
        let state = WORLD.with_borrow_mut(Option::take);
        Clock::simulate(None, 0);
        drop(state);
    }
}
