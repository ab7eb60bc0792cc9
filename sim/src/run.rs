//! One run: a server, people, faults; then quiet, and the question whether all of it can be true.

use crate::history::History;
use crate::people::{Person, Town};
use crate::rng::{Concern, Rng};
use crate::server::{Hall, Server};
use crate::world::{Crash, Ended, NodeId, Options, World};
use frontrow_shard::EventRules;
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

/// What is played.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Cores of the server.
    pub cores: usize,
    /// Clients.
    pub people: u64,
    /// How many faults strike, one after the other.
    pub faults: u32,
    /// Of a million writes: how many the disk acknowledges and loses. Not a fault to survive, but one to find.
    pub lost_writes: u32,
    /// Print every event.
    pub aloud: bool,
}

impl Default for Scenario {
    fn default() -> Self {
        Self { cores: 2, people: 12, faults: 12, lost_writes: 0, aloud: false }
    }
}

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
    /// How often the server came to serve.
    pub starts: u32,
    /// What cannot be true, or must not happen.
    pub violations: Vec<String>,
}

const PARTITIONS: u16 = 8;

/// Plays a scenario under a seed.
pub fn run(seed: u64, scenario: &Scenario) -> Outcome {
    let data = tempfile::Builder::new().prefix("frontrow-sim-").tempdir_in(memory_dir());
    let data =
        data.expect("a directory for the simulated disk: is there room in /dev/shm or the temporary one?");
    let world = World::new(Options { aloud: scenario.aloud, ..Options::new(seed) });
    let mut faults = Rng::new(seed, Concern::Faults);
    let hall = Rc::new(hall(&mut faults));
    let server = Server::new(&world, Rc::clone(&hall), &data.path().join("data"), scenario.cores);
    world.disk(server.node(), |disk| disk.lost = scenario.lost_writes);
    server.start(&world);
    let town = Town {
        server: server.addr(),
        hall: Rc::clone(&hall),
        history: Rc::new(RefCell::new(History::new(&hall, PARTITIONS))),
        closing: Rc::new(Cell::new(false)),
        home: Rc::new(Cell::new(0)),
    };
    let homes = [world.node(), world.node()];
    let mut workload = Rng::new(seed, Concern::Workload);
    for user in 1..=scenario.people {
        let person = Person::new(town.clone(), user, workload.fork());
        world.start(homes[(user % 2) as usize], move || person.live());
    }
    let mut play = Play { world: &world, server: &server, homes, faults, troubles: Vec::new() };
    for _ in 0..scenario.faults {
        play.strike();
    }
    play.calm(&town, scenario.people);
    let seats = play.seats(&hall);
    let mut violations = play.troubles;
    let mut history = town.history.borrow_mut();
    history.finish(&hall, &seats);
    violations.append(&mut history.violations);
    Outcome {
        trace: world.trace(),
        lasted: Duration::from_nanos(world.now_ns()),
        answered: history.answered(),
        booked: history.booked(),
        codes: history.codes().clone(),
        starts: server.served(),
        violations,
    }
}

/// Where files cost nothing, if there is such a place.
fn memory_dir() -> PathBuf {
    let shared = Path::new("/dev/shm");
    if shared.is_dir() { shared.into() } else { std::env::temp_dir() }
}

/// A small hall, so that people get in each other's way; some with a limit per user.
fn hall(rng: &mut Rng) -> Hall {
    let ten_seconds = 10_000;
    let rules = EventRules {
        hold_ms: ten_seconds,
        offer_ms: ten_seconds,
        pay_ms: ten_seconds,
        max_per_user: if rng.below(3) == 0 { 12 } else { 0 },
        ..EventRules::default()
    };
    Hall { event: 1, rules, sections: vec![3, 3, 4], seats: 8 }
}

struct Play<'w> {
    world: &'w World,
    server: &'w Server,
    homes: [NodeId; 2],
    faults: Rng,
    troubles: Vec<String>,
}

impl Play<'_> {
    fn wait(&mut self, most_ms: u64) {
        let ms = 1 + self.faults.below(most_ms);
        self.world.run_for(Duration::from_millis(ms));
    }

    /// One fault, and its end.
    fn strike(&mut self) {
        self.wait(4_000);
        let (world, node) = (self.world, self.server.node());
        let home = *self.faults.pick(&self.homes);
        match self.faults.below(12) {
            0..=2 => world.crash(node, Crash::Process),
            3..=4 => world.crash(node, Crash::Power),
            5 => world.cut(node, home),
            6 => world.cut(home, node),
            7 => world.pause(node),
            8 => world.slow(home, node, Duration::from_millis(self.faults.below(800))),
            9 => world.step_wall(node, self.faults.below(40_000).cast_signed() - 20_000),
            10 => world.drift(node, (self.faults.below(20_000) as i32) - 10_000),
            _ => world.disk(node, |disk| disk.full = true),
        }
        self.wait(6_000);
        world.heal(node, home);
        world.heal(home, node);
        world.slow(home, node, Duration::ZERO);
        world.resume(node);
        world.disk(node, |disk| disk.full = false);
        self.restart();
    }

    /// Starts the server if it does not run; one that will not start is a trouble.
    fn restart(&mut self) {
        let (world, server) = (self.world, self.server);
        if world.runs(server.node()) {
            return;
        }
        for word in world.last_words(server.node()).iter().skip(self.troubles.len()) {
            self.troubles.push(format!("the server stopped by itself: {word}"));
        }
        world.power_on(server.node());
        let before = (server.served(), server.refused().len());
        server.start(world);
        let ended = world.run_until(Duration::from_secs(20), || {
            (server.served(), server.refused().len()) != before || !world.runs(server.node())
        });
        if ended != Ended::Reached {
            self.troubles.push("the server did not come to serve in 20 s".into());
        }
    }

    /// Everybody finishes what was asked.
    fn calm(&mut self, town: &Town, people: u64) {
        self.restart();
        self.world.run_for(Duration::from_secs(5));
        town.closing.set(true);
        let all_home = || town.home.get() as u64 == people;
        if self.world.run_until(Duration::from_secs(120), all_home) != Ended::Reached {
            let home = town.home.get();
            self.troubles
                .push(format!("only {home} of {people} clients got all answers in 120 quiet seconds"));
        }
        // Messages between partitions arrive, holds run out.
        self.world.run_for(Duration::from_secs(60));
    }

    /// What the server says of its seats.
    fn seats(&mut self, hall: &Hall) -> Vec<Vec<frontrow_server::http::LiveRow>> {
        let sections = 0..hall.sections.len() as u16;
        let asked: Vec<_> = sections.map(|section| self.server.section(self.world, section)).collect();
        let all = || asked.iter().all(|answer| answer.borrow().is_some());
        self.world.run_until(Duration::from_secs(5), all);
        asked.iter().map(|answer| answer.borrow_mut().take().unwrap_or_default()).collect()
    }
}
