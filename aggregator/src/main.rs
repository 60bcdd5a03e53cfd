//! `campanile-aggregator`: parses, runs, turns an error into an exit code.

use std::process::ExitCode;

use campanile_aggregator::{app, cli::Cli};
use clap::Parser as _;

fn main() -> ExitCode {
    match app::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("campanile-aggregator: {error:#}");
            ExitCode::FAILURE
        }
    }
}
