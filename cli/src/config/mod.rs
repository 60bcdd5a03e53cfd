//! `config`: what nodes should be, from a directory of files to every node and back.

mod apply;
mod build;
mod content;
mod diff;
mod ending;
mod explain;
mod history;
pub(crate) mod local;
mod plan;
mod proposal;
mod read;
pub(crate) mod release;
mod remote;
mod review;
mod rollback;
mod said;
pub(crate) mod session;
mod status;
mod view;

use clap::Subcommand;

pub(crate) use self::build::{Body, Head};
pub(crate) use self::content::Parts;
pub(crate) use self::remote::{head as read_head, nodes as node_configs, signed as read_signed};
pub(crate) use self::review::Review;
pub(crate) use self::view::named;
use crate::context::Context;
use crate::exit::Exit;

/// Verbs of `config`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Write a commented example of a bundle
    Init(local::init::Init),
    /// Find mistakes in a bundle, each with its line
    Lint(local::lint::Lint),
    /// Print the JSON Schema of a bundle's files
    Schema(local::schema::Schema),
    /// Say what applying a bundle would change on each node, and change nothing
    Plan(plan::Plan),
    /// Make nodes what a bundle says
    Apply(apply::Apply),
    /// List generations, newest first
    Log(history::Log),
    /// Show one generation
    Show(history::Show),
    /// Compare two generations, file by file
    Diff(diff::Diff),
    /// Say where a value of a node came from
    Explain(explain::Explain),
    /// Make nodes what an older generation says, as a new generation
    Rollback(rollback::Rollback),
    /// Say what differs on nodes by another hand
    Drift(status::Drift),
    /// Say how nodes stand to their configuration
    Status(status::Status),
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Init(arguments) => local::init::run(context, arguments),
        Verb::Lint(arguments) => local::lint::run(context, arguments),
        Verb::Schema(arguments) => local::schema::run(context, arguments),
        Verb::Plan(arguments) => plan::run(context, arguments),
        Verb::Apply(arguments) => apply::run(context, arguments),
        Verb::Log(arguments) => history::log(context, arguments),
        Verb::Show(arguments) => history::show(context, arguments),
        Verb::Diff(arguments) => diff::run(context, arguments),
        Verb::Explain(arguments) => explain::run(context, arguments),
        Verb::Rollback(arguments) => rollback::run(context, arguments),
        Verb::Drift(arguments) => status::drift(context, arguments),
        Verb::Status(arguments) => status::run(context, arguments),
    }
}

#[cfg(test)]
mod tests;
