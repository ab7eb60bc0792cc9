//! `frontrow`: runs the server, and talks to one.
//!
//! Exit codes: 0 done, 1 refused, 2 wrong usage, 3 no server to be reached, 129, 130 and 143 told to end: by
//! SIGHUP, Ctrl-C and SIGTERM.

mod admin;
mod args;
mod backup;
mod browse;
mod buy;
mod cluster;
mod failure;
mod interrupt;
mod live;
mod node_status;
mod patience;
mod places;
mod plan;
mod promote;
mod request;
mod seatmap;
mod serve;
mod service;
mod service_status;
mod session;
mod show;
mod tune;
mod wait;
mod wal;

use args::{Cli, Command, OwnAct, OwnArgs};
use clap::Parser;
use failure::Failure;
use session::Session;
use show::Out;
use std::process::ExitCode;

#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let out = Out { json: cli.common.json };
    match run(cli, out) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            out.failure(&failure);
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(cli: Cli, out: Out) -> Result<(), Failure> {
    let talking = match cli.command {
        Command::Serve(serve) => return serve::run(&cli.common, &serve, out),
        Command::Bookings(OwnArgs { act: Some(OwnAct::Serve(it)), .. }) => return service::run(&it, out),
        Command::Backup(it) => return backup::run(&cli.common, &it, out),
        Command::Promote(it) if it.offline => return promote::at_rest(&cli.common, &it, out),
        Command::Cluster(it) => return cluster::run(&cli.common, &it, out),
        Command::Plan(plan) => return plan::run(&plan, out),
        Command::Tune(it) => return tune::run(&cli.common, &it, out),
        Command::Wal(it) => return wal::run(&cli.common.data, &it, out),
        Command::Schema => {
            print!("{}", frontrow_cdc::avro::SCHEMA);
            return Ok(());
        }
        talking => talking,
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime
        .map_err(|error| Failure::Usage(format!("no event loop: {error}; raise the limit of open files")))?;
    let session = Session::new(cli.common)?;
    runtime.block_on(interrupt::unless_told(&session, talk(&session, talking, out)))
}

async fn talk(session: &Session, command: Command, out: Out) -> Result<(), Failure> {
    match command {
        Command::Events(it) => browse::events(session, &it, out).await,
        Command::Seats(it) => browse::seats(session, &it, out).await,
        Command::Claim(it) => buy::claim(session, &it, out).await,
        Command::Book(it) => buy::with_token(session, buy::Deed::Book, &it, out).await,
        Command::Release(it) => buy::with_token(session, buy::Deed::Release, &it, out).await,
        Command::Extend(it) => buy::with_token(session, buy::Deed::Extend, &it, out).await,
        Command::Pay(it) => buy::with_token(session, buy::Deed::Pay, &it, out).await,
        Command::Cancel(it) => buy::with_token(session, buy::Deed::Cancel, &it, out).await,
        Command::Bookings(it) => browse::bookings(session, &it, out).await,
        Command::Wait(it) => wait::wait(session, &it, out).await,
        Command::Status(it) => match it.place() {
            Some(place) => wait::status(session, &place).await,
            None => node_status::show(session, out).await,
        },
        Command::Watch(it) => live::watch(session, &it, out).await,
        Command::Token => browse::token(session, out).await,
        Command::Event(it) => admin::run(session, it, out).await,
        Command::Promote(it) => promote::run(session, &it, out).await,
        Command::Replication(it) => backup::replication(session, &it, out).await,
        Command::Serve(_)
        | Command::Backup(_)
        | Command::Cluster(_)
        | Command::Plan(_)
        | Command::Schema
        | Command::Tune(_)
        | Command::Wal(_) => {
            unreachable!("done before anything was connected")
        }
    }
}
