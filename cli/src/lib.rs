//! The `campanile` command: a client of the aggregator's HTTPS API, and the keeper of the operator's key.
//!
//! One file per noun. [`run`] is the whole program, so that tests can drive it.

pub mod cli;
pub mod client;
pub mod context;
pub mod dev;
pub mod duration;
pub mod exit;
pub mod fleet;
pub mod keyring;
pub mod os;

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use clap::Parser as _;

use cli::{Cli, Command};
use context::{Context, Environment};
use exit::Exit;

/// Runs the command line of this process.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let environment = Environment::of_process();
    run_with(arguments, &environment, &mut io::stdout(), &mut io::stderr()).into()
}

/// Runs a command line in the given environment.
pub fn run_with(
    arguments: impl IntoIterator<Item = OsString>,
    environment: &Environment,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Exit {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return explain(&error, environment, out, err),
    };
    let mut context = Context { global: &cli.global, environment, out, err };
    let done = dispatch(&mut context, &cli.command).and_then(|exit| {
        context.out.flush()?;
        Ok(exit)
    });
    match done {
        Ok(exit) => exit,
        Err(error) if Exit::is_closed_pipe(&error) => Exit::Fine,
        Err(error) => {
            // Nothing is left to be done when this cannot be printed either.
            writeln!(context.err, "campanile: {error:#}").ok();
            Exit::of_failure(&error)
        }
    }
}

/// Prints help, version or what is wrong with the command line.
fn explain(
    error: &clap::Error,
    environment: &Environment,
    out: &mut dyn io::Write,
    err: &mut dyn io::Write,
) -> Exit {
    let text = error.render();
    let text = if environment.colours() { text.ansi().to_string() } else { text.to_string() };
    // As above.
    if error.use_stderr() {
        err.write_all(text.as_bytes()).ok();
        Exit::Usage
    } else {
        out.write_all(text.as_bytes()).ok();
        Exit::Fine
    }
}

fn dispatch(context: &mut Context<'_>, command: &Command) -> anyhow::Result<Exit> {
    match command {
        Command::Fleet(verb) => fleet::run(context, verb),
        Command::Dev(verb) => dev::run(context, verb),
    }
}
