//! `config explain`: where a value of a node came from.

use std::path::PathBuf;

use clap::Args;

use crate::context::Context;
use crate::exit::Exit;

/// Options of `config explain`.
#[derive(Debug, Args)]
pub struct Explain {
    /// Name or id
    #[arg(value_name = "NODE")]
    node: String,
    /// What
    #[arg(value_name = "KEY")]
    key: String,
    /// Directory of the bundle; without it the head
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Explains.
pub(super) fn run(_: &mut Context<'_>, arguments: &Explain) -> anyhow::Result<Exit> {
    anyhow::bail!("{arguments:?}")
}
