//! `config explain` from a bundle on this machine.

use std::path::PathBuf;

use anyhow::anyhow;
use campanile_common::config::{Listed, NamedLayer, Origin, explain};
use campanile_common::label::Labels;
use clap::Args;
use serde_json::json;

use crate::cli::Output;
use crate::context::Context;
use crate::exit::Exit;
use crate::render::{self, Cell};

use super::{bundle, lint};

/// What to explain.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config explain web-1 nginx.workers --labels role=web
  campanile config explain web-1 file:/etc/motd fleet/config
  campanile config explain web-1 file:/etc/motd.mode")]
pub struct Explain {
    /// Name of the node
    node: String,
    /// A variable, or KIND:NAME of a resource, with .KEY for one of its keys
    key: String,
    /// The bundle's directory
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// A label of the node; give it as often as there are labels
    #[arg(long, value_name = "KEY=VALUE")]
    labels: Vec<Labels>,
}

/// Carries it out.
///
/// # Errors
/// When the bundle cannot be read, or says nothing of the key.
pub(crate) fn run(context: &mut Context<'_>, arguments: &Explain) -> anyhow::Result<Exit> {
    let labels = lint::joined(&arguments.labels)?;
    let Some(bundle) = bundle::load(context, &arguments.dir)? else { return Ok(Exit::Failed) };
    let layers = bundle.layers_of(&Listed { id: "", name: &arguments.node, labels: &labels });
    let named: Vec<NamedLayer<'_>> = layers.into_iter().map(|layer| layer.named()).collect();
    let origins = explain(&named, &arguments.key).map_err(|problem| anyhow!(problem))?;
    print(context, &origins)?;
    Ok(Exit::Fine)
}

/// Prints where a value comes from.
///
/// # Errors
/// When it cannot be printed.
pub(crate) fn print(context: &mut Context<'_>, origins: &[Origin]) -> anyhow::Result<()> {
    let lines = || {
        let line = |origin: &Origin| {
            json!({
                "key": origin.key,
                "layer": origin.layer,
                "value": origin.value,
                "isEffective": origin.is_effective,
            })
        };
        origins.iter().map(line).collect::<Vec<_>>()
    };
    match context.global.output {
        Output::Json => writeln!(context.out, "{}", serde_json::to_string_pretty(&lines())?)?,
        Output::Yaml => write!(context.out, "{}", serde_norway::to_string(&lines())?)?,
        Output::Table | Output::Wide | Output::Name => {
            let row = |origin: &Origin| {
                let counts = if origin.is_effective { "yes" } else { "no" };
                [origin.key.clone(), origin.value.to_string(), origin.layer.clone(), counts.to_owned()]
                    .map(Cell::new)
                    .to_vec()
            };
            render::table(context, &["KEY", "VALUE", "FROM", "COUNTS"], origins.iter().map(row).collect())?;
        }
    }
    Ok(())
}
