//! `frontrow-loadgen`: see the library's description.

use clap::Parser;
use frontrow_loadgen::options::Cli;
use std::process::ExitCode;

/// As in `frontrow`: the servers that are measured in this process have their memory from it.
#[global_allocator]
static MEMORY: frontrow_engine::HugePages = frontrow_engine::HugePages;

fn main() -> ExitCode {
    ExitCode::from(frontrow_loadgen::runs::run(Cli::parse()) as u8)
}
