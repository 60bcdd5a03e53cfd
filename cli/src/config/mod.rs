//! `config`: what nodes should be.

pub(crate) mod local;

use clap::Subcommand;

use crate::context::Context;
use crate::exit::Exit;

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a commented example of a bundle
    Init(local::init::Init),
    /// Find mistakes in a bundle, each with its line
    Lint(local::lint::Lint),
    /// Show where each value of a node comes from
    Explain(local::explain::Explain),
    /// Print the JSON Schema of a bundle's files
    Schema(local::schema::Schema),
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Init(arguments) => local::init::run(context, arguments),
        Verb::Lint(arguments) => local::lint::run(context, arguments),
        Verb::Explain(arguments) => local::explain::run(context, arguments),
        Verb::Schema(arguments) => local::schema::run(context, arguments),
    }
}
