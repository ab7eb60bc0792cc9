//! `frontrow-loadgen`: see the library's description.

use clap::{Parser, Subcommand};
use frontrow_loadgen::LoadError;
use frontrow_loadgen::peers::{PeersOptions, run as run_peers};
use frontrow_loadgen::table::{TableOptions, run as run_table};
use std::process::ExitCode;

#[derive(Parser)]
#[command(name = "frontrow-loadgen", version, about = "Loads a Frontrow server and says what it holds")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Claims per second and latency at several depths, beside a bare echo server in the same run.
    Table(TableOptions),
    /// The same claims on Frontrow, Redis and PostgreSQL in one run, and the ratios.
    Peers(PeersOptions),
}

/// The server under test of `table` runs in this process, with the memory it would have in its own.
#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

fn main() -> ExitCode {
    let done = match Cli::parse().command {
        Command::Table(options) => table(options),
        Command::Peers(options) => peers(options),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("frontrow-loadgen: {error}");
            ExitCode::FAILURE
        }
    }
}

fn table(options: TableOptions) -> Result<(), LoadError> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let wanted = options.clone();
    let report = run_table(options, command, |line| eprintln!("{line}"))?;
    println!("{}", report.table());
    if let Some(folder) = wanted.out_folder(&report.date) {
        report.write(&folder)?;
        println!("Written to {}", folder.display());
    }
    Ok(())
}

fn peers(options: PeersOptions) -> Result<(), LoadError> {
    let command = std::env::args().collect::<Vec<_>>().join(" ");
    let wanted = options.clone();
    let report = run_peers(options, command, |line| eprintln!("{line}"))?;
    println!("{}", report.table());
    if let Some(folder) = wanted.out_folder(&report.date) {
        report.write(&folder)?;
        println!("Written to {}", folder.display());
    }
    Ok(())
}
