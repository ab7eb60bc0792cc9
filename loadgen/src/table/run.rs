//! The first table: echo, memory and durable in turn, round by round, at each depth.

use crate::LoadError;
use crate::machine::{self, CpuTime, Machine, Watched};
use crate::table::TableOptions;
use crate::table::claims::{ANSWER_BYTES, CLAIM_BYTES, Counts, Outcome};
use crate::table::echo::{EchoServer, Load};
use crate::table::followed::Followed;
use crate::table::report::{Depth, Report, Row, Run, Subject};
use crate::table::subject::{Server, Way};
use crate::table::told::Told;
use frontrow_engine::{Engine, WithEngine, dispatch};
use frontrow_venue::stadium::{StadiumSpec, generate};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

/// Measures. `command` is what the report says it was called with; `progress` hears of each round.
pub fn run(options: TableOptions, command: String, progress: impl FnMut(&str)) -> Result<Report, LoadError> {
    let options = options.settled();
    options.check()?;
    let engine = options.engine;
    dispatch(engine, Table { options, command, progress })
}

struct Table<P> {
    options: TableOptions,
    command: String,
    progress: P,
}

impl<P: FnMut(&str)> WithEngine for Table<P> {
    type Out = Result<Report, LoadError>;

    fn call<E: Engine>(self) -> Self::Out {
        let Self { options, command, mut progress } = self;
        let folder = data_folder(&options)?;
        let machine = Machine::here(folder.path());
        let plan = generate(&StadiumSpec::new(options.seats))
            .map_err(|error| LoadError::Event(error.to_string()))?;
        progress("starting the servers");
        let mut subjects = Subjects {
            echo: EchoServer::start::<E>(options.server_cpu())?,
            memory: Server::start(&options, "memory", &folder.path().join("memory"), &plan)?,
            durable: Server::start(&options, &options.durability, &folder.path().join("durable"), &plan)?,
            bookings: options
                .bookings
                .then(|| Server::start_fed(&options, &folder.path().join("fed"), &plan))
                .transpose()?,
            kafka: options
                .kafka
                .then(|| Told::start(&options, &folder.path().join("told"), &plan))
                .transpose()?,
            backup: options.backup.then(|| Followed::start(&options, folder.path(), &plan)).transpose()?,
        };
        let engine = subjects.durable.engine().to_owned();
        let depths = measure::<E>(&options, &mut subjects, &mut progress)?;
        subjects.memory.stop();
        subjects.durable.stop();
        if let Some(followed) = subjects.backup {
            followed.stop();
        }
        if let Some(fed) = subjects.bookings {
            fed.stop();
        }
        if let Some(told) = subjects.kafka {
            told.stop();
        }
        Ok(Report {
            date: machine::today(),
            commit: machine::commit(),
            optimised: !cfg!(debug_assertions),
            command,
            machine,
            engine,
            durability: options.durability.clone(),
            server_core: options.server_cpu(),
            load_core: options.load_cpu(),
            connections: options.connections,
            duration_ms: options.duration_ms,
            seats: options.seats,
            seed: options.seed,
            request_bytes: CLAIM_BYTES,
            reply_bytes: ANSWER_BYTES,
            depths,
        })
    }
}

/// Everything that is loaded in turn.
struct Subjects {
    echo: EchoServer,
    memory: Server,
    durable: Server,
    backup: Option<Followed>,
    bookings: Option<Server>,
    kafka: Option<Told>,
}

/// A new folder for the servers' data; removed when dropped.
pub(crate) fn data_folder(options: &TableOptions) -> Result<tempfile::TempDir, LoadError> {
    let beside_program = || std::env::current_exe().ok()?.parent().map(PathBuf::from);
    let above = options.data.clone().or_else(beside_program).unwrap_or_default();
    let make = || {
        std::fs::create_dir_all(&above)?;
        tempfile::Builder::new().prefix("frontrow-loadgen-").tempdir_in(&above)
    };
    make().map_err(|source| LoadError::File { path: above.clone(), source })
}

fn measure<E: Engine>(
    options: &TableOptions,
    subjects: &mut Subjects,
    progress: &mut impl FnMut(&str),
) -> Result<Vec<Depth>, LoadError> {
    let mut runs: Vec<[Vec<Run>; 6]> = options.depths.iter().map(|_| Default::default()).collect();
    let asked = |subject: &Subject| match subject {
        Subject::Backup => options.backup,
        Subject::Bookings => options.bookings,
        Subject::Kafka => options.kafka,
        _ => true,
    };
    let all = || Subject::ALL.into_iter().filter(asked);
    for round in 1..=options.rounds {
        for (&depth, runs) in options.depths.iter().zip(&mut runs) {
            let mut echo_per_s = 0.0;
            let mut line = format!("round {round} of {}, depth {depth}:", options.rounds);
            for (subject, runs) in all().zip(runs) {
                let mut run = one::<E>(options, subjects, subject, depth)?;
                if subject == Subject::Echo {
                    echo_per_s = run.requests_per_s;
                }
                run.ratio = run.requests_per_s / echo_per_s.max(1.0);
                let _ = write!(line, " {} {:.0}/s", subject.name(), run.requests_per_s);
                runs.push(run);
            }
            progress(&line);
        }
    }
    let table = options.depths.iter().zip(runs).map(|(&depth, runs)| {
        let rows = all().zip(runs).map(|(subject, runs)| Row::of(subject, depth, runs));
        Depth { depth, rows: rows.collect() }
    });
    Ok(table.collect())
}

fn one<E: Engine>(
    options: &TableOptions,
    subjects: &mut Subjects,
    subject: Subject,
    depth: usize,
) -> Result<Run, LoadError> {
    let load = options.load(depth);
    let used = CpuTime::now(Watched::Own);
    let Subjects { echo, memory, durable, backup, bookings, kafka } = subjects;
    let server = match subject {
        Subject::Echo => {
            let outcome = Outcome { meter: echo.load::<E>(load)?, counts: Counts::default() };
            return Ok(run_of(outcome, used.others_since(), options.duration()));
        }
        Subject::Memory => memory,
        Subject::Backup => backup.as_mut().map_or(durable, |followed| &mut followed.server),
        Subject::Bookings => bookings.as_mut().unwrap_or(durable),
        Subject::Kafka => kafka.as_mut().map_or(durable, |told| &mut told.server),
        _ => durable,
    };
    let outcome = server.load::<E>(Way::Tcp, load)?;
    let mut run = run_of(outcome, used.others_since(), options.duration());
    if let (Subject::Kafka, Some(told)) = (subject, kafka) {
        run.told_after_s = Some(told.wait(load.patience)?);
    }
    Ok(run)
}

pub(crate) fn run_of(outcome: Outcome, others_cpu: f64, duration: Duration) -> Run {
    let Outcome { meter, counts } = outcome;
    let seconds = duration.as_secs_f64();
    let refused: BTreeMap<String, u64> =
        counts.refused.into_iter().map(|(name, count)| (name.to_owned(), count)).collect();
    Run {
        requests_per_s: meter.per_second(),
        claims_per_s: counts.granted as f64 / seconds,
        releases_per_s: counts.released as f64 / seconds,
        p50_us: meter.latency_us(0.5),
        p99_us: meter.latency_us(0.99),
        p999_us: meter.latency_us(0.999),
        ratio: 0.0,
        serving_ns: meter.serving_ns(),
        logging_ns: meter.logging_ns(),
        refused,
        others_cpu,
        told_after_s: None,
    }
}

/// Where the report goes, if anywhere.
impl TableOptions {
    /// The folder asked for, or one with the day in its name; none for a quick run without a wish.
    pub fn out_folder(&self, date: &str) -> Option<PathBuf> {
        self.folder_of(date, "first-table")
    }

    pub(crate) fn load(&self, depth: usize) -> Load {
        Load {
            connections: self.connections,
            depth,
            warmup: self.duration() / 5,
            duration: self.duration(),
            patience: Duration::from_secs(self.patience) + self.duration(),
            core: self.load_cpu(),
        }
    }

    pub(crate) fn folder_of(&self, date: &str, what: &str) -> Option<PathBuf> {
        let default = || (!self.quick).then(|| PathBuf::from(format!("bench-results/{date}-{what}")));
        self.out.clone().or_else(default)
    }
}
