//! `config explain` from a bundle on this machine.

use std::path::Path;

use anyhow::anyhow;
use campanile_common::config::{Listed, NamedLayer, Origin, explain};
use campanile_common::label::Labels;
use serde_json::json;

use crate::cli::Output;
use crate::context::Context;
use crate::exit::Exit;
use crate::render::{self, Cell};

use super::{bundle, lint};

/// What the bundle in `dir` would say of `key` for a node of this name and these labels.
///
/// # Errors
/// When the bundle cannot be read, or says nothing of the key.
pub(crate) fn run(
    context: &mut Context<'_>,
    dir: &Path,
    (node, labels): (&str, &[Labels]),
    key: &str,
) -> anyhow::Result<Exit> {
    let labels = lint::joined(labels)?;
    let Some(bundle) = bundle::load(context, dir)? else { return Ok(Exit::Failed) };
    let layers = bundle.layers_of(&Listed { id: "", name: node, labels: &labels });
    let named: Vec<NamedLayer<'_>> = layers.into_iter().map(|layer| layer.named()).collect();
    let origins = explain(&named, key).map_err(|problem| anyhow!(problem))?;
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
