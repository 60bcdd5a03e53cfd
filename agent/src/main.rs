//! `campanile-agent`: parses, runs, turns an error into an exit code.

use std::process::ExitCode;

use campanile_agent::{app, cli::Cli};
use clap::Parser as _;

fn main() -> ExitCode {
    match app::run(Cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("campanile-agent: {error:#}");
            ExitCode::from(app::exit_code(&error))
        }
    }
}
