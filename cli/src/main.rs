//! `campanile`: the operator's command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    campanile_cli::run(std::env::args_os())
}
