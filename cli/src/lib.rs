//! The `campanile` command: a client of the aggregator's HTTPS API, and the keeper of the operator's key.
//!
//! One file per noun. [`run()`] is the whole program, so that tests can drive it.

pub mod api_token;
pub mod approve;
pub mod audit;
pub mod authority;
pub mod backup;
pub mod catalogue;
pub mod cli;
pub mod client;
pub mod config;
pub mod confirm;
pub mod conn;
pub mod context;
pub mod dev;
pub mod duration;
pub mod each;
pub mod exit;
pub mod fleet;
pub mod freeze;
pub mod health;
pub mod key;
pub mod keyring;
pub mod log_level;
pub mod login;
pub mod logs;
pub mod node;
pub mod operator;
pub mod order;
pub mod os;
pub mod people;
pub mod ping;
pub mod profile;
pub mod ps;
pub mod reference;
pub mod render;
pub mod restore;
pub mod routine;
pub mod run;
pub mod schedule;
pub mod secret;
pub mod signer;
pub mod status;
pub mod svc;
pub mod targets;
pub mod token;
pub mod top;
pub mod watch;

#[cfg(test)]
mod testing;

pub use campanile_common::suggest;

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
        Command::Status(arguments) => status::run(context, arguments),
        Command::Health(arguments) => health::run(context, arguments),
        Command::Run(arguments) => run::run(context, arguments),
        Command::Routine(arguments) => routine::run(context, arguments),
        Command::Backup(verb) => backup::run(context, verb),
        Command::Restore(arguments) => restore::run(context, arguments),
        Command::Svc(verb) => svc::run(context, verb),
        Command::Order(verb) => order::run(context, verb),
        Command::Approve(verb) => approve::run(context, verb),
        Command::Schedule(verb) => schedule::run(context, verb),
        Command::Catalogue(verb) => catalogue::run(context, verb),
        Command::Config(verb) => config::run(context, verb),
        Command::Secret(verb) => secret::run(context, verb),
        Command::Freeze(options) => freeze::freeze(context, options),
        Command::Unfreeze(options) => freeze::unfreeze(context, options),
        Command::Ps(arguments) => ps::run(context, arguments),
        Command::Logs(arguments) => logs::run(context, arguments),
        Command::Ping(arguments) => ping::run(context, arguments),
        Command::Key(verb) => key::run(context, verb),
        Command::Operator(verb) => operator::run(context, verb),
        Command::Node(verb) => node::run(context, verb),
        Command::Top(arguments) => top::run(context, arguments),
        Command::Conn(verb) => conn::run(context, verb),
        Command::Token(verb) => token::run(context, verb),
        Command::Audit(verb) => audit::run(context, verb),
        Command::People(verb) => people::run(context, verb),
        Command::ApiToken(verb) => api_token::run(context, verb),
        Command::LogLevel(arguments) => log_level::run(context, arguments),
        Command::Login(arguments) => login::login(context, arguments),
        Command::Logout => login::logout(context),
        Command::Fleet(verb) => fleet::run(context, verb),
        Command::Dev(verb) => dev::run(context, verb),
        Command::Completion(arguments) => reference::completion(context, arguments),
        Command::Man(arguments) => reference::man(context, arguments),
        Command::Version => reference::version(context),
    }
}
