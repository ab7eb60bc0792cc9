//! A small scripted crowd, and a real server for it.

#![allow(dead_code, reason = "each test file uses some of it")]

use frontrow_engine::{Clock, EngineKind};
use frontrow_loadgen::crowd::{Action, Carried, ConnectionId, Nanos, Outcome, Tag};
use frontrow_loadgen::drive::{DrivePlan, Transport};
use frontrow_protocol::News;
use frontrow_server::config::{self, Machine};
use frontrow_server::http::Sales;
use frontrow_server::identity::{Expected, Minter};
use frontrow_server::{Running, catalogue};
use frontrow_shard::{ClaimSeats, Command, EventRules, EventState, Fence, Millis, Proof, RowRef, Seats};
use frontrow_venue::stadium::{StadiumSpec, generate};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::time::Duration;
use tempfile::TempDir;

pub(crate) const SECRET: &str = "a secret of the load generator's tests, thirty-two bytes and more";
const EVENT: u32 = 1;

/// Claims one seat after the other, of its own rows, at even distances, and releases what it got.
pub(crate) struct Script {
    pub(crate) connections: Vec<ConnectionId>,
    /// Seats claimed, each once.
    pub(crate) claims: u64,
    pub(crate) interval: Nanos,
    pub(crate) open: BTreeMap<ConnectionId, Nanos>,
    pub(crate) began: Option<Nanos>,
    pub(crate) asked: u64,
    pub(crate) outcomes: BTreeMap<Tag, Vec<String>>,
    pub(crate) lost: u64,
    pub(crate) news: u64,
    /// Once this many were asked, every connection is dropped abruptly; those without an answer are repeated.
    pub(crate) drop_at: Option<u64>,
    pub(crate) claimed: HashMap<Tag, (ConnectionId, Nanos, Command)>,
    /// All seats on sale.
    seats: Vec<(RowRef, u8)>,
    to_do: Vec<Action>,
    winding: bool,
    connecting: bool,
    releases: bool,
}

impl Script {
    pub(crate) fn new(
        connections: Vec<ConnectionId>,
        claims: u64,
        interval: Duration,
        seats: Vec<(RowRef, u8)>,
    ) -> Self {
        Self {
            connections,
            claims,
            interval: interval.as_nanos() as u64,
            open: BTreeMap::new(),
            began: None,
            asked: 0,
            outcomes: BTreeMap::new(),
            lost: 0,
            news: 0,
            drop_at: None,
            claimed: HashMap::new(),
            seats,
            to_do: Vec::new(),
            winding: false,
            connecting: false,
            releases: true,
        }
    }

    /// Claims only.
    pub(crate) fn keeping(mut self) -> Self {
        self.releases = false;
        self
    }

    fn command(&self, number: u64) -> Command {
        let (row, place) = self.seats[number as usize];
        let seats = Seats { mask: 1, first: place };
        Command::ClaimSeats(ClaimSeats { row, seats })
    }

    fn request(
        &mut self,
        tag: Tag,
        connection: ConnectionId,
        intended: Nanos,
        command: Command,
        out: &mut Vec<Action>,
    ) {
        self.claimed.insert(tag, (connection, intended, command));
        out.push(Action::Request { connection, tag, intended, command, repeats: false });
    }

    pub(crate) fn answers(&self) -> BTreeMap<&str, u64> {
        let mut counts = BTreeMap::new();
        for outcome in self.outcomes.values().flatten() {
            *counts.entry(outcome.as_str()).or_default() += 1;
        }
        counts
    }
}

impl Carried for Script {
    fn due(&mut self, now: Nanos, out: &mut Vec<Action>) -> Option<Nanos> {
        if !self.connecting {
            self.connecting = true;
            out.extend(self.connections.iter().map(|&connection| Action::Connect(connection)));
        }
        out.append(&mut self.to_do);
        let began = self.began?;
        while self.asked < self.claims && !self.winding {
            let intended = began + self.asked * self.interval;
            if intended > now {
                return Some(intended);
            }
            let connection = self.connections[(self.asked % self.connections.len() as u64) as usize];
            let command = self.command(self.asked);
            let tag = self.asked;
            self.asked += 1;
            self.request(tag, connection, intended, command, out);
            if self.drop_at == Some(self.asked) {
                self.drop_at = None;
                let all = self.connections.iter();
                out.extend(all.map(|&connection| Action::Disconnect { connection, abrupt: true }));
            }
        }
        None
    }

    fn connected(&mut self, connection: ConnectionId, now: Nanos, server_ms: Millis) {
        assert!(server_ms > 0);
        self.open.insert(connection, now);
        if self.open.len() == self.connections.len() && self.began.is_none() {
            self.began = Some(now);
        }
        let open: Vec<_> = self.claimed.iter().filter(|(_, (on, _, _))| *on == connection).collect();
        for (&tag, &(connection, intended, command)) in open {
            let unknown = self.outcomes.get(&tag).and_then(|outcomes| outcomes.last());
            if unknown.is_some_and(|outcome| outcome == "unknown") {
                self.to_do.push(Action::Request { connection, tag, intended, command, repeats: true });
            }
        }
    }

    fn lost(&mut self, connection: ConnectionId, _: Nanos) {
        self.open.remove(&connection);
        self.lost += 1;
        self.to_do.push(Action::Connect(connection));
    }

    fn outcome(&mut self, tag: Tag, outcome: Outcome<'_>, now: Nanos) {
        let word = match outcome {
            Outcome::Answer(reply) => reply.answer.code.name().to_owned(),
            Outcome::Error(code, _) => format!("error:{}", code.name()),
            Outcome::Unknown => "unknown".to_owned(),
        };
        if let (Outcome::Answer(reply), true) = (&outcome, word == "granted" && self.releases) {
            let (connection, ..) = self.claimed[&tag];
            let user = u64::from(connection) + 1;
            let proof = Proof { place: reply.place, fence: Fence::of(user, &reply.answer) };
            let (tag, command) = (tag + self.claims, Command::Release(proof));
            self.claimed.insert(tag, (connection, now, command));
            self.to_do.push(Action::Request { connection, tag, intended: now, command, repeats: false });
        }
        self.outcomes.entry(tag).or_default().push(word);
    }

    fn news(&mut self, _: ConnectionId, _: &News, _: Nanos) {
        self.news += 1;
    }

    fn wind_down(&mut self, _: Nanos) {
        self.winding = true;
    }

    fn is_done(&self) -> bool {
        let asked_all = self.winding || self.asked == self.claims;
        let answered = |tag: &Tag| {
            self.outcomes.get(tag).and_then(|outcomes| outcomes.last()).is_some_and(|last| last != "unknown")
        };
        asked_all && self.to_do.is_empty() && self.claimed.keys().all(answered)
    }
}

/// A real server, with its data in a folder of its own, and one event on sale.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) seats: Vec<(RowRef, u8)>,
    _data: TempDir,
}

impl Server {
    pub(crate) fn start(engine: EngineKind, seats: u32) -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(Self::start_in(engine, seats))
    }

    async fn start_in(engine: EngineKind, seats: u32) -> Self {
        let data = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
        let engine = engine.to_string();
        let settings = [
            ("SERVER__TCP", "127.0.0.1:0"),
            ("SERVER__HTTP", "127.0.0.1:0"),
            ("SERVER__CORE_PORTS", "0"),
            ("SERVER__DATA", data.path().to_str().expect("UTF-8")),
            ("SERVER__ENGINE", &engine),
            ("SERVER__CORES", "1"),
            ("SERVER__PIN", "false"),
            ("LOG__DURABILITY", "memory"),
            ("LOG__SEGMENT", "1MiB"),
            ("PARTITIONS__COUNT", "4"),
            ("PARTITIONS__REQUESTS_REMEMBERED", "16384"),
            ("PARTITIONS__WAITING", "64"),
            ("IDENTITY__HS256_SECRET", SECRET),
        ];
        let env = settings.map(|(key, value)| (format!("{}{key}", config::ENV_PREFIX), value.to_owned()));
        let config = config::read(None, env, &Machine::probe()).into_result().expect("a configuration");
        let running = frontrow_server::start(&config, false).expect("a server");
        let plan = generate(&StadiumSpec::new(seats)).expect("a plan");
        let rules = EventRules { hold_ms: 600_000, ..EventRules::default() };
        let specs = catalogue::specs(EVENT, &plan, &rules, config.partitions.count).expect("an event");
        running.handle().create_event(specs).await.expect("created");
        running.handle().set_state(EVENT, EventState::Open).await.expect("opened");
        let row = |section: u32, row: u32| RowRef::new(EVENT, section as u16, row as u16);
        let seats = plan.seats().map(|(at, _)| (row(at.section, at.row), at.seat as u8)).collect();
        Self { running, seats, _data: data }
    }

    pub(crate) fn stop(self) {
        self.running.stop();
    }
}

pub(crate) fn tokens(connections: u32) -> Vec<String> {
    let minter = Minter::new(SECRET.as_bytes(), &Expected::default());
    let now_s = Clock::wall_ms() / 1000;
    (0..connections).map(|connection| minter.mint(u64::from(connection) + 1, now_s, 3600)).collect()
}

pub(crate) fn plan(transport: Transport, tcp: SocketAddr, http: SocketAddr, connections: u32) -> DrivePlan {
    DrivePlan {
        transport,
        engine: EngineKind::Auto,
        cpus: vec![None],
        tcp: vec![tcp],
        ws: vec![format!("ws://{http}/v1/ws")],
        core_of: Vec::new(),
        tokens: tokens(connections),
        depth: 16,
        patience: Duration::from_secs(30),
        connect_rate: 0,
    }
}
