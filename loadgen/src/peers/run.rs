//! A comparison: everything in turn, round by round, at each depth.

use crate::LoadError;
use crate::machine::{self, CpuTime, Machine, Watched};
use crate::peers::postgres::Postgres;
use crate::peers::redis::Redis;
use crate::peers::{PeersOptions, PeersReport, postgres, ratio, redis};
use crate::table::claims::{Counts, Outcome};
use crate::table::echo::{EchoServer, Load};
use crate::table::followed::Followed;
use crate::table::hall::Hall;
use crate::table::run::{data_folder, run_of};
use crate::table::subject::{Server, Way};
use crate::table::told::Told;
use crate::table::{Depth, Row, Run, Subject};
use frontrow_engine::{Clock, Engine, WithEngine, dispatch};
use frontrow_venue::Plan;
use frontrow_venue::stadium::{StadiumSpec, generate};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Seats that everybody wants.
const HOT_SEATS: u32 = 30;

/// Measures. `command` is what the report says it was called with; `progress` hears of each round.
pub fn run(
    options: PeersOptions,
    command: String,
    progress: impl FnMut(&str),
) -> Result<PeersReport, LoadError> {
    let options = options.settled();
    options.check()?;
    dispatch(options.table.engine, Comparison { options, command, progress })
}

struct Comparison<P> {
    options: PeersOptions,
    command: String,
    progress: P,
}

impl<P: FnMut(&str)> WithEngine for Comparison<P> {
    type Out = Result<PeersReport, LoadError>;

    fn call<E: Engine>(self) -> Self::Out {
        let Self { options, command, mut progress } = self;
        let began_ns = Clock::monotonic_ns();
        let table = &options.table;
        let folder = data_folder(table)?;
        let machine = Machine::here(folder.path());
        progress("starting the servers");
        let mut peers = Peers::start::<E>(&options, folder.path())?;
        let mut measured = Measured::default();
        for round in 1..=table.rounds {
            measured.round::<E>(
                &options,
                &mut peers,
                &format!("round {round} of {}", table.rounds),
                &mut progress,
            )?;
        }
        let (engine, versions) = (peers.engine(), peers.versions());
        peers.stop();
        let [depths, batches] = [measured.depths, measured.batches].map(rows);
        let mut ratios = ratio::of_pairs(&depths, table.connections);
        ratios.extend(ratio::to_published(&batches));
        Ok(PeersReport {
            date: machine::today(),
            commit: machine::commit(),
            optimised: !cfg!(debug_assertions),
            command,
            machine,
            engine,
            durability: table.durability.clone(),
            versions,
            server_core: table.server_cpu(),
            load_core: table.load_cpu(),
            connections: table.connections,
            rounds: table.rounds,
            duration_ms: table.duration_ms,
            seats: table.seats,
            seed: table.seed,
            took_s: (Clock::monotonic_ns() - began_ns) as f64 / 1e9,
            ratios,
            depths,
            batches,
        })
    }
}

/// Runs by depth and subject, one for each round.
type Runs = BTreeMap<(usize, Subject), Vec<Run>>;

#[derive(Default)]
struct Measured {
    depths: Runs,
    batches: Runs,
}

impl Measured {
    fn round<E: Engine>(
        &mut self,
        options: &PeersOptions,
        peers: &mut Peers,
        name: &str,
        progress: &mut impl FnMut(&str),
    ) -> Result<(), LoadError> {
        for &depth in &options.table.depths {
            let mut echo_per_s = 0.0;
            let mut line = format!("{name}, depth {depth}:");
            for subject in options.subjects() {
                let mut run = peers.one::<E>(subject, options.table.load(depth))?;
                if subject == Subject::Echo {
                    echo_per_s = run.requests_per_s;
                }
                run.ratio = if echo_per_s > 0.0 { run.requests_per_s / echo_per_s } else { 0.0 };
                let _ = write!(line, " {} {:.0}/s", subject.name(), run.requests_per_s);
                self.depths.entry((depth, subject)).or_default().push(run);
            }
            progress(&line);
        }
        if !options.subjects().contains(&Subject::Durable) {
            return Ok(());
        }
        for &depth in &options.batches {
            let load = Load { connections: 1, ..options.table.load(depth) };
            let run = peers.one::<E>(Subject::Durable, load)?;
            progress(&format!("{name}, {depth} in flight on one connection: {:.0}/s", run.requests_per_s));
            self.batches.entry((depth, Subject::Durable)).or_default().push(run);
        }
        Ok(())
    }
}

fn rows(runs: Runs) -> Vec<Depth> {
    let mut depths: Vec<Depth> = Vec::new();
    for ((depth, subject), runs) in runs {
        let row = Row::of(subject, depth, runs);
        match depths.last_mut().filter(|last| last.depth == depth) {
            Some(last) => last.rows.push(row),
            None => depths.push(Depth { depth, rows: vec![row] }),
        }
    }
    depths
}

/// Everything that is loaded in turn; what is not wanted is not started.
struct Peers {
    echo: Option<EchoServer>,
    memory: Option<Server>,
    durable: Option<Server>,
    backup: Option<Followed>,
    fed: Option<Server>,
    told: Option<Told>,
    redis: Option<Redis>,
    redis_always: Option<Redis>,
    postgres: Option<Postgres>,
}

impl Peers {
    fn start<E: Engine>(options: &PeersOptions, folder: &Path) -> Result<Self, LoadError> {
        let table = &options.table;
        let subjects = options.subjects();
        let wanted = |any: &[Subject]| any.iter().any(|subject| subjects.contains(subject));
        let of_postgres = [Subject::PostgresId, Subject::PostgresSkipLocked, Subject::PostgresHot];
        // What is missing is said before anything is started.
        if wanted(&[Subject::Redis, Subject::RedisAlways]) {
            redis::installed()?;
        }
        if wanted(&of_postgres) {
            postgres::installed()?;
        }
        let plan = stadium(table.seats)?;
        let echo = wanted(&[Subject::Echo]).then(|| EchoServer::start::<E>(table.server_cpu()));
        let memory = wanted(&[Subject::Memory, Subject::Websocket])
            .then(|| Server::start(table, "memory", &folder.join("memory"), &plan));
        let durable = wanted(&[Subject::Durable, Subject::DurableHot]).then(|| {
            let mut server = Server::start(table, &table.durability, &folder.join("durable"), &plan)?;
            server.open_hot(table, &stadium(HOT_SEATS)?)?;
            Ok::<_, LoadError>(server)
        });
        let backup = wanted(&[Subject::Backup]).then(|| Followed::start(table, folder, &plan));
        let fed = wanted(&[Subject::Bookings]).then(|| Server::start_fed(table, &folder.join("fed"), &plan));
        let told = wanted(&[Subject::Kafka]).then(|| Told::start(table, &folder.join("told"), &plan));
        let hall = Arc::new(Hall::new(1, &plan));
        let redis = |subject: Subject| {
            let durable = subject == Subject::RedisAlways;
            let start = || Redis::start(&folder.join(subject.name()), table, durable, &hall);
            wanted(&[subject]).then(start).transpose()
        };
        let postgres = wanted(&of_postgres)
            .then(|| Postgres::start(&folder.join("postgres"), table, &hall, &stadium(HOT_SEATS)?));
        Ok(Self {
            echo: echo.transpose()?,
            memory: memory.transpose()?,
            durable: durable.transpose()?,
            backup: backup.transpose()?,
            fed: fed.transpose()?,
            told: told.transpose()?,
            redis: redis(Subject::Redis)?,
            redis_always: redis(Subject::RedisAlways)?,
            postgres: postgres.transpose()?,
        })
    }

    fn engine(&self) -> String {
        let server = self.durable.as_ref().or(self.memory.as_ref());
        server.map_or_else(String::new, |server| server.engine().to_owned())
    }

    fn versions(&self) -> BTreeMap<String, String> {
        let redis = self.redis.as_ref().or(self.redis_always.as_ref());
        let redis = redis.map(|redis| ("Redis".to_owned(), redis.version.clone()));
        let postgres = self.postgres.as_ref();
        let postgres = postgres.map(|postgres| ("PostgreSQL".to_owned(), postgres.version.clone()));
        redis.into_iter().chain(postgres).collect()
    }

    fn stop(self) {
        self.memory.into_iter().chain(self.durable).chain(self.fed).for_each(Server::stop);
        self.backup.into_iter().for_each(Followed::stop);
        self.told.into_iter().for_each(Told::stop);
    }

    /// One load on one subject, everything given back afterwards.
    fn one<E: Engine>(&mut self, subject: Subject, load: Load) -> Result<Run, LoadError> {
        let used = CpuTime::now(self.watched(subject));
        let outcome = match subject {
            Subject::Echo => {
                let meter = there(&mut self.echo, subject)?.load::<E>(load)?;
                Outcome { meter, counts: Counts::default() }
            }
            Subject::Memory => there(&mut self.memory, subject)?.load::<E>(Way::Tcp, load)?,
            Subject::Websocket => there(&mut self.memory, subject)?.load::<E>(Way::WebSocket, load)?,
            Subject::Durable => there(&mut self.durable, subject)?.load::<E>(Way::Tcp, load)?,
            Subject::Backup => there(&mut self.backup, subject)?.server.load::<E>(Way::Tcp, load)?,
            Subject::Bookings => there(&mut self.fed, subject)?.load::<E>(Way::Tcp, load)?,
            Subject::Kafka => {
                let told = there(&mut self.told, subject)?;
                let mut run =
                    run_of(told.server.load::<E>(Way::Tcp, load)?, used.others_since(), load.duration);
                run.told_after_s = Some(told.wait(load.patience)?);
                return Ok(run);
            }
            Subject::DurableHot => there(&mut self.durable, subject)?.load::<E>(Way::Hot, load)?,
            Subject::Redis => there(&mut self.redis, subject)?.load::<E>(load)?,
            Subject::RedisAlways => there(&mut self.redis_always, subject)?.load::<E>(load)?,
            Subject::PostgresId | Subject::PostgresSkipLocked | Subject::PostgresHot => {
                there(&mut self.postgres, subject)?.load::<E>(subject, load)?
            }
        };
        Ok(run_of(outcome, used.others_since(), load.duration))
    }

    /// The process that serves a subject.
    fn watched(&self, subject: Subject) -> Watched {
        let process = match subject {
            Subject::Redis => self.redis.as_ref().map(Redis::watched),
            Subject::RedisAlways => self.redis_always.as_ref().map(Redis::watched),
            Subject::PostgresId | Subject::PostgresSkipLocked | Subject::PostgresHot => {
                self.postgres.as_ref().map(Postgres::watched)
            }
            _ => None,
        };
        process.unwrap_or(Watched::Own)
    }
}

fn there<T>(peer: &mut Option<T>, subject: Subject) -> Result<&mut T, LoadError> {
    peer.as_mut().ok_or_else(|| LoadError::Option(format!("{} was not started", subject.name())))
}

fn stadium(seats: u32) -> Result<Plan, LoadError> {
    generate(&StadiumSpec::new(seats)).map_err(|error| LoadError::Event(error.to_string()))
}
