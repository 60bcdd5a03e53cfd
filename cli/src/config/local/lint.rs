//! `config lint`: every mistake of a bundle with its line.

use std::path::PathBuf;

use campanile_common::config::{LintError, Listed};
use campanile_common::label::Labels;
use clap::Args;

use crate::cli::Output;
use crate::context::Context;
use crate::exit::Exit;

use super::bundle;

/// What to look at.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config lint
  campanile config lint fleet/config -o json
  campanile config lint --node web-1 --labels role=web --labels region=eu

Exit code 1 when there is a mistake. Without --node each file is judged by itself and together with fleet.toml; with it
everything that the node would get is put together, and its templates are rendered with made-up facts and secrets.")]
pub struct Lint {
    /// The bundle's directory
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// Check what a node of this name would get
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// A label of that node; give it as often as there are labels
    #[arg(long, value_name = "KEY=VALUE", requires = "node")]
    labels: Vec<Labels>,
}

/// Labels that were given one by one.
///
/// # Errors
/// When they are too many.
pub(crate) fn joined(given: &[Labels]) -> anyhow::Result<Labels> {
    let mut labels = Labels::default();
    for (key, value) in given.iter().flat_map(Labels::iter) {
        labels.set(key, value)?;
    }
    Ok(labels)
}

/// Carries it out.
///
/// # Errors
/// When the bundle cannot be read.
pub(crate) fn run(context: &mut Context<'_>, arguments: &Lint) -> anyhow::Result<Exit> {
    let labels = joined(&arguments.labels)?;
    let (errors, layers) = match bundle::source(&arguments.dir)?.read() {
        Err(errors) => (errors, 0),
        Ok(bundle) => {
            let errors = match &arguments.node {
                Some(name) => bundle.check_node(&Listed { id: "", name, labels: &labels }),
                None => bundle.check(),
            };
            (errors, bundle.layers.len())
        }
    };
    print(context, &errors)?;
    if !errors.is_empty() {
        return Ok(Exit::Failed);
    }
    context.hint(&format!("no mistakes in {layers} files"))?;
    Ok(Exit::Fine)
}

fn print(context: &mut Context<'_>, errors: &[LintError]) -> anyhow::Result<()> {
    match context.global.output {
        Output::Json => writeln!(context.out, "{}", serde_json::to_string_pretty(errors)?)?,
        Output::Yaml => write!(context.out, "{}", serde_norway::to_string(errors)?)?,
        Output::Table | Output::Wide | Output::Name => {
            for error in errors {
                writeln!(context.out, "{error}")?;
            }
        }
    }
    Ok(())
}
