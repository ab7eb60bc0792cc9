//! `make run-full`: Kafka, PostgreSQL with a replica, the server, its backup, and the bookings service, on this machine and
//! without containers. What they keep is in `./data-full` (or the folder that is given), and a second start goes on with it.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `main` | the order in which all begins and ends, and what is said |
//! | `program` | one `frontrow` as a process |
//! | `places` | folders and ports |

mod places;
mod program;

use clap::Parser;
use frontrow_services::kafka::{self, Kafka};
use frontrow_services::postgres::{self, Postgres};
use places::Places;
use program::Program;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The database of bookings.
const DATABASE: &str = "frontrow";
/// What the bookings service is called with.
const SERVICE: [&str; 2] = ["bookings", "serve"];
/// How often it is looked whether all of them are alive.
const LOOK: Duration = Duration::from_millis(250);

/// Kafka, PostgreSQL with a replica, the server, its backup and the bookings service, on this machine, until Ctrl-C.
///
/// The bookings service may be stopped meanwhile, as when its table is to be made anew: the rest goes on, and the command that
/// starts it again is said. Whatever else ends by itself ends all of it.
///
/// Ports: server 7410 (HTTP), 7411 (raw TCP), 7415 (replication) and from 7430 on (cores); backup 7510 and 7511; bookings 7420;
/// Kafka 9092; PostgreSQL 5432, its replica 5433. For one that somebody has, another that is free is taken, and the screen says
/// which. Nothing of it is set by FRONTROW_ variables of the environment: they are ignored, and named.
#[derive(Parser)]
struct Args {
    /// Where they keep what they have; a second start goes on with it.
    #[arg(default_value = "data-full")]
    folder: PathBuf,
}

fn main() -> ExitCode {
    match run(&Args::parse().folder) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("run-full: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(folder: &Path) -> Outcome<()> {
    what_is_missing()?;
    if let Some(warning) = ignored() {
        eprintln!("{warning}");
    }
    let stopped = signals()?;
    let places = Places::of(folder)?;
    let mut full = Full::default();
    let started = full.start(&places, &stopped);
    let ended = match started {
        Ok(true) => {
            println!("{}", screen(&places, full.service.as_ref().map_or(0, Program::pid)));
            full.wait(&places, &stopped)
        }
        Ok(false) => Ok(()),
        Err(error) => Err(error),
    };
    full.end();
    ended
}

/// Says each program that is not here, in a line that mends it.
fn what_is_missing() -> Outcome<()> {
    let kafka = kafka::ready().map_err(|error| error.to_string()).err();
    let postgres = postgres::ready().map_err(|error| error.to_string()).err();
    let missing: Vec<String> = kafka.into_iter().chain(postgres).collect();
    if missing.is_empty() { Ok(()) } else { Err(missing.join("\nrun-full: ").into()) }
}

/// What stands in the environment and is not taken, if anything does.
fn ignored() -> Option<String> {
    let names: Vec<String> = program::foreign().collect();
    (!names.is_empty()).then(|| {
        format!(
            "run-full: {} in the environment {} ignored: all parts have ports and settings of their own here (--help)",
            names.join(", "),
            if names.len() == 1 { "is" } else { "are" }
        )
    })
}

/// Ctrl-C and SIGTERM, from now on.
fn signals() -> Outcome<Receiver<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (tell, told) = channel();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut term, mut interrupt) = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("signals".into()).spawn(move || {
        runtime.block_on(async {
            loop {
                tokio::select! { _ = term.recv() => {}, _ = interrupt.recv() => {} }
                if tell.send(()).is_err() {
                    return;
                }
            }
        });
    })?;
    Ok(told)
}

/// All that runs, in the order in which it was started.
#[derive(Default)]
struct Full {
    kafka: Option<Kafka>,
    postgres: Option<Postgres>,
    replica: Option<Postgres>,
    server: Option<Program>,
    backup: Option<Program>,
    service: Option<Program>,
}

/// Starts one of them.
type Step = fn(&mut Full, &Places) -> Outcome<()>;

impl Full {
    /// Whether all of it runs; otherwise it was stopped on the way.
    fn start(&mut self, places: &Places, stopped: &Receiver<()>) -> Outcome<bool> {
        let steps: [(&str, Step); 6] = [
            ("Kafka", Self::start_kafka),
            ("PostgreSQL", Self::start_postgres),
            ("its replica", Self::start_replica),
            ("the server", Self::start_server),
            ("its backup", Self::start_backup),
            ("the bookings service", Self::start_service),
        ];
        for (what, start) in steps {
            eprintln!("starting {what}");
            start(self, places).map_err(|error| format!("{what}: {error}"))?;
            if stopped.try_recv().is_ok() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn start_kafka(&mut self, places: &Places) -> Outcome<()> {
        let (folder, port) = (Some(places.folder("kafka")), Some(places.kafka));
        let settings = kafka::Settings { folder, port, ..kafka::Settings::default() };
        self.kafka = Some(Kafka::start_with(settings)?);
        Ok(())
    }

    fn start_postgres(&mut self, places: &Places) -> Outcome<()> {
        let settings = postgres_settings(places, "postgres", places.postgres);
        let postgres = self.postgres.insert(Postgres::start_with(settings)?);
        let is_there = format!("SELECT count(*) FROM pg_database WHERE datname = '{DATABASE}'");
        if postgres.sql("postgres", &is_there)? == "0" {
            postgres.database(DATABASE)?;
        }
        Ok(())
    }

    fn start_replica(&mut self, places: &Places) -> Outcome<()> {
        let primary = self.postgres.as_ref().ok_or("no PostgreSQL")?;
        let settings = postgres_settings(places, "postgres-replica", places.replica);
        self.replica = Some(primary.replica_with(settings)?);
        Ok(())
    }

    fn start_server(&mut self, places: &Places) -> Outcome<()> {
        self.server = Some(Program::start(places, "server", &["serve"], &places.of_server())?);
        Ok(())
    }

    fn start_backup(&mut self, places: &Places) -> Outcome<()> {
        let words = ["backup", "--primary", &format!("127.0.0.1:{}", places.replication)];
        self.backup = Some(Program::start(places, "backup", &words, &places.of_backup())?);
        Ok(())
    }

    fn start_service(&mut self, places: &Places) -> Outcome<()> {
        let settings = places.of_service(DATABASE);
        self.service = Some(Program::start(places, "bookings", &SERVICE, &settings)?);
        Ok(())
    }

    /// Until it is to end, or one of them has ended by itself.
    fn wait(&mut self, places: &Places, stopped: &Receiver<()>) -> Outcome<()> {
        while stopped.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            for program in [&self.server, &self.backup].into_iter().flatten() {
                if let Some(why) = program.has_ended() {
                    return Err(why.into());
                }
            }
            // Nobody else needs it, and whoever makes its table anew has to stop it.
            if let Some(service) = self.service.take_if(|it| it.has_ended().is_some()) {
                eprintln!("{}", without_service(places, service));
            }
        }
        Ok(())
    }

    /// In the reverse order: nobody misses whom they write to.
    fn end(&mut self) {
        let programs = [
            (&mut self.service, "the bookings service"),
            (&mut self.backup, "the backup"),
            (&mut self.server, "the server"),
        ];
        for (program, what) in programs {
            if let Some(program) = program.take() {
                eprintln!("ending {what}");
                program.end();
            }
        }
        for (postgres, what) in
            [(&mut self.replica, "PostgreSQL's replica"), (&mut self.postgres, "PostgreSQL")]
        {
            if let Some(postgres) = postgres.take() {
                eprintln!("ending {what}");
                drop(postgres);
            }
        }
        if let Some(mut kafka) = self.kafka.take() {
            eprintln!("ending Kafka");
            kafka.stop();
        }
    }
}

fn postgres_settings(places: &Places, name: &str, port: u16) -> postgres::Settings {
    let (folder, port) = (Some(places.folder(name)), Some(port));
    postgres::Settings { folder, port, fsync: true, ..postgres::Settings::default() }
}

/// That the bookings service is gone, and how it comes back.
fn without_service(places: &Places, service: Program) -> String {
    let (ended, last) = service.ended();
    let command = program::command(places, &SERVICE, &places.of_service(DATABASE));
    format!(
        "
THE BOOKINGS SERVICE HAS ENDED ({ended}). Everything else goes on: seats are sold, and Kafka keeps the bookings for it.
{last}
Start it again, in another terminal in this folder (end it there, too: it is not this one's any more):

  {command}
"
    )
}

/// What runs where, and what to try.
fn screen(places: &Places, service_pid: u32) -> String {
    let Places { http, tcp, backup, kafka, postgres, replica, service, .. } = places;
    let program = places.program.display();
    let folder = places.shown();
    let server = if *http == 7410 { String::new() } else { format!(" --server http://127.0.0.1:{http}") };
    format!(
        "
Everything runs. What it keeps is in {folder}, and what it says in {folder}/*.log.

  server      http://127.0.0.1:{http}, raw TCP 127.0.0.1:{tcp}
  backup      http://127.0.0.1:{backup}, follows the server
  Kafka       127.0.0.1:{kafka}, topics frontrow.changes, frontrow.bookings, frontrow.positions
  PostgreSQL  127.0.0.1:{postgres}, database {DATABASE}; its replica, for reading: 127.0.0.1:{replica}
  bookings    http://127.0.0.1:{service}, out of Kafka into PostgreSQL, answered from the replica;
              the first seconds after a start it says that the table is being made. It may be stopped
              (kill {service_pid}), as when its table is to be made anew: the rest goes on

Try, in another terminal:

  {program}{server} claim 1 \"Block D\" --best 2          # prints a token
  {program}{server} book TOKEN
  {program} bookings --server http://127.0.0.1:{service}
  {program}{server} status
  curl -s http://127.0.0.1:{service}/v1/status
  curl -s http://127.0.0.1:{http}/metrics | grep frontrow_bookings
  psql postgres://frontrow@127.0.0.1:{postgres}/{DATABASE} -c \\
    'SELECT user_id, event, section, row, seats, booked_at FROM frontrow.bookings ORDER BY booked_at DESC LIMIT 5'

Ctrl-C ends all of it, in order; the next start goes on with what is there."
    )
}
