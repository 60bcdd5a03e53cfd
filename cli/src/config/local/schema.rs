//! `config schema`: what editors check a bundle's files against.

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;

/// No options of its own.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config schema > bundle.schema.json")]
pub struct Schema {}

/// Carries it out.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn run(context: &mut Context<'_>, _: &Schema) -> anyhow::Result<Exit> {
    writeln!(context.out, "{}", serde_json::to_string_pretty(&campanile_common::config::schema())?)?;
    Ok(Exit::Fine)
}
