//! `frontrow-loadgen`: see the library's description.

use clap::Parser;
use frontrow_loadgen::options::Cli;
use std::process::ExitCode;

fn main() -> ExitCode {
    ExitCode::from(frontrow_loadgen::runs::run(Cli::parse()) as u8)
}
