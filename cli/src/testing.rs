//! What tests of several modules need: a context that prints into memory.

use clap::Parser as _;

use crate::cli::Cli;
use crate::context::{Context, Environment};

/// Runs `act` with the common options in `arguments`; gives what it printed as a result.
pub(crate) fn with_context(
    arguments: &[&str],
    environment: &Environment,
    act: impl FnOnce(&mut Context<'_>),
) -> String {
    let line = ["campanile"].iter().chain(arguments).chain(&["version"]);
    let cli = Cli::try_parse_from(line).unwrap();
    let (mut out, mut err) = (Vec::new(), Vec::new());
    act(&mut Context { global: &cli.global, environment, out: &mut out, err: &mut err });
    String::from_utf8(out).unwrap()
}
