//! One run: a server, people, faults; then quiet, and the question whether all of it can be true.

use crate::disk::DiskOptions;
use crate::history::History;
use crate::pair::{self, Promotions};
use crate::people::{Person, Town};
use crate::rng::{Concern, Rng};
use crate::scenario::{self, Acknowledge, Scenario};
use crate::server::{Hall, Server};
use crate::world::{Crash, Ended, NodeId, Options, World};
use frontrow_server::core::Audit;
use frontrow_server::http::LiveRow;
use frontrow_shard::{Partition, RowRef};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What came of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Equal for two runs that took the same steps.
    pub trace: (u64, u64),
    /// Virtual time.
    pub lasted: Duration,
    /// Requests answered, and answers repeated.
    pub answered: (u64, u64),
    /// Holds booked.
    pub booked: u64,
    /// How often each answer was heard.
    pub codes: BTreeMap<&'static str, u64>,
    /// How often each fault struck, and what else was done to the server.
    pub faults: BTreeMap<&'static str, u64>,
    /// How often the server came to serve.
    pub starts: u32,
    /// What cannot be true, or must not happen: the rule, and what was against it.
    pub violations: Vec<String>,
}

const PARTITIONS: u16 = 8;
/// How long the quiet phase may last at most: who waits is offered seats one after the other, 10 s each.
const QUIET_ROUNDS: u32 = 80;

/// Plays a scenario under a seed.
pub fn run(seed: u64, scenario: &Scenario) -> Outcome {
    let data = tempfile::Builder::new().prefix("frontrow-sim-").tempdir_in(memory_dir());
    let data =
        data.expect("a directory for the simulated disk: is there room in /dev/shm or the temporary one?");
    let mut options = Options { aloud: scenario.aloud, ..Options::new(seed) };
    options.net.give_up = Duration::from_secs(3);
    let world = World::new(options);
    world.keep_unsynced(data.path().join("attic"));
    let mut faults = Rng::new(seed, Concern::Faults);
    let hall = Rc::new(scenario::hall(&mut faults));
    let nodes = if scenario.pair.is_some() { 2 } else { 1 };
    let new_server = |number| {
        let server =
            Server::new(&world, Rc::clone(&hall), &data.path().join(format!("data{number}")), scenario);
        world.disk(server.node(), |disk| disk.lost = scenario.lost_writes);
        server
    };
    let servers: Vec<Server> = (0..nodes).map(new_server).collect();
    let history = Rc::new(RefCell::new(History::new(&hall, PARTITIONS)));
    if scenario.pair == Some(Acknowledge::Local) {
        history.borrow_mut().may_lose();
    }
    let promotions = pair::watch(&servers, &hall, &history);
    servers[0].start(&world);
    if let [first, second] = servers.as_slice() {
        second.follow(&world, first.leader_addr());
    }
    let town = Town {
        servers: Rc::new(RefCell::new(servers.iter().map(Server::addr).collect())),
        hall: Rc::clone(&hall),
        history,
        waits: scenario.pair == Some(Acknowledge::Backup),
        closing: Rc::new(Cell::new(false)),
        fences: Rc::default(),
        home: Rc::new(Cell::new(0)),
    };
    let homes = [world.node(), world.node()];
    let mut workload = Rng::new(seed, Concern::Workload);
    for user in 1..=scenario.people {
        let person = Person::new(town.clone(), user, workload.fork());
        world.start(homes[(user % 2) as usize], move || person.live());
    }
    let mut play = Play {
        world: &world,
        servers: &servers,
        lead: 0,
        promotions,
        scenario,
        data: data.path(),
        homes,
        rng: faults,
        struck: BTreeMap::new(),
        troubles: Vec::new(),
        words: vec![0; nodes],
        forgiven: false,
        damaged: false,
        town: &town,
    };
    for _ in 0..scenario.faults {
        if scenario.pair.is_some() && play.rng.below(3) > 0 {
            play.strike_pair();
        } else {
            play.strike();
        }
    }
    play.calm();
    let seats = play.quiet(&hall);
    let booked = town.history.borrow().booked();
    town.history.borrow_mut().finish(&hall, &seats);
    play.compare(&hall);
    let (names, contents) = world.taken_back();
    *play.struck.entry("names lost with the power").or_default() += names;
    *play.struck.entry("contents lost with the power").or_default() += contents;
    for server in &servers {
        let (snapshots, segments, wrong) = server.kept();
        play.troubles.extend(wrong.into_iter().map(|why| format!("snapshot: {why}")));
        play.troubles.extend(server.troubles());
        *play.struck.entry("snapshots written").or_default() += snapshots;
        *play.struck.entry("segments trimmed").or_default() += segments;
    }
    let mut history = town.history.borrow_mut();
    if history.lost() > 0 {
        *play.struck.entry("answers lost by a promotion (local)").or_default() += history.lost();
    }
    let (mut violations, faults) = (play.troubles, play.struck);
    violations.append(&mut history.violations);
    Outcome {
        trace: world.trace(),
        lasted: Duration::from_nanos(world.now_ns()),
        answered: history.answered(),
        booked,
        codes: history.codes().clone(),
        faults,
        starts: servers.iter().map(Server::served).sum(),
        violations,
    }
}

/// Where files cost nothing, if there is such a place.
fn memory_dir() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.into() } else { std::env::temp_dir() }
}

pub(crate) struct Play<'w> {
    pub(crate) world: &'w World,
    pub(crate) servers: &'w [Server],
    /// The primary among them, by what operators have decided.
    pub(crate) lead: usize,
    pub(crate) promotions: Promotions,
    pub(crate) scenario: &'w Scenario,
    data: &'w Path,
    pub(crate) homes: [NodeId; 2],
    pub(crate) rng: Rng,
    struck: BTreeMap<&'static str, u64>,
    pub(crate) troubles: Vec<String>,
    /// By server, last words that have been looked at.
    words: Vec<usize>,
    /// A failing disk ends the server: that is as it should be.
    pub(crate) forgiven: bool,
    /// A snapshot has been damaged: another one may not be.
    damaged: bool,
    pub(crate) town: &'w Town,
}

impl<'w> Play<'w> {
    /// The primary.
    pub(crate) fn server(&self) -> &'w Server {
        &self.servers[self.lead]
    }

    pub(crate) fn wait(&mut self, most_ms: u64) {
        let ms = 1 + self.rng.below(most_ms);
        self.world.run_for(Duration::from_millis(ms));
    }

    pub(crate) fn count(&mut self, what: &'static str) {
        *self.struck.entry(what).or_default() += 1;
    }

    /// One fault, and its end.
    fn strike(&mut self) {
        self.wait(3_000);
        if self.scenario.snapshots {
            self.server().snapshot(self.world);
            self.wait(1_000);
        }
        let (world, node) = (self.world, self.server().node());
        let home = *self.rng.pick(&self.homes);
        if self.rng.below(2) == 0 {
            // Much is on its way to the disk when the fault strikes.
            world.disk(node, |disk| disk.latency_ns = 5_000_000..200_000_000);
            self.count("disk slow");
            self.wait(400);
            if self.scenario.snapshots && self.rng.below(2) == 0 {
                // What has not arrived then is in the snapshot, or nowhere.
                self.server().snapshot(world);
                self.wait(20);
            }
        }
        let what = match self.rng.below(14) {
            0..=2 => {
                world.crash(node, Crash::Process);
                "process killed"
            }
            3..=4 => {
                world.crash(node, Crash::Power);
                "power lost"
            }
            5 => {
                // In the middle of whatever is done to files next: a segment made, a snapshot, a trim.
                let changes = 1 + self.rng.below(if self.scenario.snapshots { 120 } else { 10 }) as u32;
                world.disk(node, |disk| disk.dies_in = changes);
                if self.scenario.snapshots {
                    self.server().snapshot(world);
                }
                "power lost amid files"
            }
            6 => {
                world.cut(node, home);
                "answers cut"
            }
            7 => {
                world.cut(home, node);
                "requests cut"
            }
            8 => {
                world.pause(node);
                "server paused"
            }
            9 => {
                world.slow(home, node, Duration::from_millis(self.rng.below(800)));
                "network slow"
            }
            10 => {
                world.step_wall(node, self.rng.below(40_000).cast_signed() - 20_000);
                "wall clock stepped"
            }
            11 => {
                world.drift(node, (self.rng.below(20_000) as i32) - 10_000);
                "clocks drift"
            }
            12 => {
                self.town.history.borrow_mut().stalled = true;
                world.disk(node, |disk| disk.full = true);
                "disk full"
            }
            _ => {
                self.forgiven = true;
                world.disk(node, |disk| disk.failing = 300_000);
                "disk fails writes"
            }
        };
        self.count(what);
        self.wait(2_500);
        world.heal(node, home);
        world.heal(home, node);
        world.slow(home, node, Duration::ZERO);
        world.resume(node);
        let usual = DiskOptions::default().latency_ns;
        world.disk(node, |disk| {
            (disk.full, disk.failing, disk.latency_ns, disk.dies_in) = (false, 0, usual, 0);
        });
        self.restart();
        self.forgiven = false;
    }

    /// Starts whatever does not run; a server that will not start is a trouble.
    pub(crate) fn restart(&mut self) {
        self.restart_standby();
        let (world, server) = (self.world, self.server());
        if world.runs(server.node()) {
            return;
        }
        self.last_words();
        world.power_on(server.node());
        if self.scenario.moves {
            let cores = *self.rng.pick(&[1, 2, 4]);
            server.set_cores(cores);
            self.count("started with any number of cores");
        }
        if self.rng.below(4) == 0 {
            self.damage_snapshot();
        }
        if self.rng.below(5) == 0 {
            // It crashes again on its way up.
            if self.rng.below(2) == 0 {
                let changes = 1 + self.rng.below(40) as u32;
                world.disk(server.node(), |disk| disk.dies_in = changes);
            }
            server.start(world);
            self.wait(20);
            world.crash(server.node(), if self.rng.below(2) == 0 { Crash::Process } else { Crash::Power });
            world.power_on(server.node());
            self.count("crashed while starting");
        }
        let before = (server.served(), server.refused().len());
        server.start(world);
        let ended = world.run_until(Duration::from_secs(20), || {
            (server.served(), server.refused().len()) != before || !world.runs(server.node())
        });
        if ended != Ended::Reached || server.served() == before.0 {
            let why = server.refused().last().cloned().unwrap_or_default();
            self.troubles.push(format!("serves again: the server did not come to serve in 20 s: {why}"));
        }
    }

    pub(crate) fn last_words(&mut self) {
        for (number, server) in self.servers.iter().enumerate() {
            let words = self.world.last_words(server.node());
            for word in words.iter().skip(self.words[number]).filter(|_| !self.forgiven) {
                self.troubles.push(format!("goes on: the server stopped by itself: {word}"));
            }
            self.words[number] = words.len();
        }
    }

    /// Changes a byte of a partition's newest snapshot, if there is an older one.
    fn damage_snapshot(&mut self) {
        if self.damaged {
            return;
        }
        let partition = format!("p{:04}-", self.rng.below(u64::from(PARTITIONS)));
        let folder = self.data.join(format!("data{}", self.lead)).join("snap");
        let Ok(files) = std::fs::read_dir(&folder) else { return };
        let names = files.flatten().filter_map(|file| file.file_name().into_string().ok());
        let mut own: Vec<String> = names
            .filter(|name| {
                name.starts_with(&partition)
                    && Path::new(name.as_str()).extension().is_some_and(|end| end == "snap")
            })
            .collect();
        own.sort();
        let [.., _, newest] = own.as_slice() else { return };
        let path = folder.join(newest);
        let Ok(mut bytes) = std::fs::read(&path) else { return };
        let at = self.rng.index(bytes.len());
        bytes[at] ^= 1;
        std::fs::write(&path, bytes).expect("the simulation's own directory can be written");
        self.damaged = true;
        self.count("newest snapshot damaged");
    }

    /// Everybody finishes what was asked.
    fn calm(&mut self) {
        self.restart();
        self.world.run_for(Duration::from_secs(1));
        let (town, people) = (self.town, self.scenario.people);
        town.closing.set(true);
        let all_home = || town.home.get() as u64 == people;
        if self.world.run_until(Duration::from_secs(60), all_home) != Ended::Reached {
            let home = town.home.get();
            self.troubles
                .push(format!("answers: only {home} of {people} got all answers in 60 quiet seconds"));
        }
    }

    /// Lets holds run out and offers be made, until every seat is free or booked. What the server says of its seats.
    fn quiet(&mut self, hall: &Hall) -> Vec<Vec<LiveRow>> {
        let mut seats = Vec::new();
        for _ in 0..QUIET_ROUNDS {
            self.world.run_for(Duration::from_secs(3));
            seats = self.seats(hall);
            if seats.iter().flatten().all(is_settled) {
                break;
            }
        }
        if let Some(row) = seats.iter().flatten().find(|row| !is_settled(row)) {
            self.troubles.push(format!("comes free: seats of {row:?} are held for ever"));
        }
        if !self.world.runs(self.server().node()) {
            self.last_words();
        }
        seats
    }

    /// What the server says of its seats.
    fn seats(&mut self, hall: &Hall) -> Vec<Vec<LiveRow>> {
        let sections = 0..hall.sections.len() as u16;
        let asked: Vec<_> = sections.map(|section| self.server().section(self.world, section)).collect();
        let all = || asked.iter().all(|answer| answer.borrow().is_some());
        self.world.run_until(Duration::from_secs(5), all);
        asked.iter().map(|answer| answer.borrow_mut().take().unwrap_or_default()).collect()
    }

    /// What the partitions are once nothing has changed for a second, so that all of it is durable.
    fn at_rest(&mut self) -> Vec<Audit> {
        let mut before = Vec::new();
        for _ in 0..20 {
            let asked = self.server().audit(self.world);
            self.world.run_until(Duration::from_secs(5), || asked.borrow().is_some());
            let now = asked.borrow_mut().take().unwrap_or_default();
            if now == before && !now.is_empty() {
                break;
            }
            before = now;
            self.world.run_for(Duration::from_secs(1));
        }
        before
    }

    /// The log, replayed, gives what the cores have; no message is left; nobody waits for what is free.
    fn compare(&mut self, hall: &Hall) {
        if self.scenario.snapshots && self.rng.below(2) == 0 {
            self.server().snapshot(self.world);
        }
        let live = self.at_rest();
        self.compare_standby(&live);
        self.world.crash(self.server().node(), Crash::Process);
        let partitions = match self.server().recover() {
            Ok(partitions) => partitions,
            Err(why) => return self.troubles.push(format!("replay: the log is not replayed: {why}")),
        };
        let again: Vec<Audit> = partitions.iter().map(Audit::of).collect();
        if live.len() != again.len() {
            self.troubles.push("replay: the cores do not say what their partitions are".into());
        }
        for (live, again) in live.iter().zip(&again) {
            if live != again {
                self.troubles.push(format!("replay: {live:?} live, {again:?} from the log"));
            }
            if again.unconfirmed > 0 {
                self.troubles.push(format!("arrives: messages are left: {again:?}"));
            }
        }
        for place in hall.rows().filter(|row| row.section != crate::people::WHOLE_SECTION) {
            self.served(&partitions, place, &[place]);
        }
        let section = RowRef::new(hall.event, crate::people::WHOLE_SECTION, RowRef::SECTION);
        let rows: Vec<RowRef> = hall.rows().filter(|row| row.section == section.section).collect();
        self.served(&partitions, section, &rows);
    }

    /// Whoever waits longest at a place does not fit what its rows have free, and could fit one day.
    fn served(&mut self, partitions: &[Partition], place: RowRef, rows: &[RowRef]) {
        let of = |row: RowRef| &partitions[usize::from(row.partition(PARTITIONS))];
        let Some(user) = of(place).waiting_at(place).next() else { return };
        let supplies: Vec<_> = rows.iter().filter_map(|&row| of(row).supply(row)).collect();
        let run = supplies.iter().map(|supply| supply.run).max().unwrap_or(0);
        let ever = supplies.iter().map(|supply| supply.ever_run).max().unwrap_or(0);
        let Some((least, most)) = self.town.history.borrow().wish(user, place) else {
            return self.troubles.push(format!("waits: user {user} waits at {place:?} and never asked to"));
        };
        if run >= u16::from(most) {
            self.troubles.push(format!("waits: user {user} waits at {place:?} for {most}, {run} are free"));
        }
        if ever < u16::from(least) && !place.is_section() {
            self.troubles.push(format!("waits: user {user} waits at {place:?} for {least} for ever"));
        }
    }
}

/// Whether every seat of a row is free or booked.
fn is_settled(row: &LiveRow) -> bool {
    let has = |words: &[u64; 4], seat: u16| words[usize::from(seat / 64)] >> (seat % 64) & 1 == 1;
    (0..row.state.seats).all(|seat| has(&row.state.free, seat) || has(&row.state.booked, seat))
}
