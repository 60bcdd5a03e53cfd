//! Writes the manual pages of the two daemons: they carry no generator of their own.

use std::path::PathBuf;
use std::process::ExitCode;

use campanile_agent::cli::Cli as Agent;
use campanile_aggregator::cli::Cli as Aggregator;
use campanile_cli::reference;
use clap::CommandFactory as _;

/// Administrators' commands.
const SECTION: &str = "8";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    for command in [Agent::command(), Aggregator::command()] {
        if let Err(error) = reference::write_manual(&folder, command, SECTION) {
            eprintln!("manual: {error:#}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
