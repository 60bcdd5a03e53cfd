//! `config log` and `config show`: generations as the aggregator keeps them.

use campanile_common::api::{GenerationSummary, LayerSummary};
use clap::Args;

use super::remote;
use crate::context::Context;
use crate::exit::Exit;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column, wide};

/// Digits by which a digest is shown.
const SHORT_DIGITS: usize = 12;

/// Options of `config log`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config log
  campanile config log --limit 5 -o wide
  campanile config log -o json")]
pub struct Log {
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
}

/// Options of `config show`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile config show head
  campanile config show 42
  campanile config show 3f9c2a -o json")]
pub struct Show {
    /// Number, first digits of the digest, or `head`
    #[arg(value_name = "GENERATION")]
    generation: String,
}

const COLUMNS: [Column<GenerationSummary>; 9] = [
    column("GENERATION", |one, _| Cell::new(one.number)),
    column("DIGEST", |one, _| Cell::new(short(one))),
    column("AGE", |one, now| Cell::age(Some(one.created), now)),
    column("BY", |one, _| Cell::new(&one.author)),
    wide("SIGNED", |one, _| Cell::new(one.operators.join(","))),
    wide("LAYERS", |one, _| Cell::new(one.layers.len())),
    wide("SECRETS", |one, _| Cell::new(one.secrets.len())),
    column("NODES", |one, _| Cell::new(format!("{}/{}", one.nodes, one.members))),
    column("MESSAGE", |one, _| Cell::new(&one.message)),
];

const LAYERS: [Column<LayerSummary>; 5] = [
    column("LAYER", |layer, _| Cell::new(&layer.kind)),
    column("NAME", |layer, _| Cell::new(&layer.name)),
    column("PRIORITY", |layer, _| Cell::new(layer.priority)),
    column("SELECTOR", |layer, _| Cell::maybe(layer.selector.as_ref())),
    column("DIGEST", |layer, _| Cell::new(&layer.digest.to_string()[..SHORT_DIGITS])),
];

fn short(one: &GenerationSummary) -> String {
    one.digest.to_string()[..SHORT_DIGITS].to_owned()
}

/// Lists generations.
pub(super) fn log(context: &mut Context<'_>, arguments: &Log) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let generations = remote::list(&client, usize::from(arguments.limit))?;
    render::list(context, &generations, &COLUMNS, |one| one.number.to_string())?;
    Ok(Exit::Fine)
}

/// Shows one.
pub(super) fn show(context: &mut Context<'_>, arguments: &Show) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let one = remote::find(&client, &arguments.generation)?;
    render::object(context, &one, &one.number.to_string(), |context| {
        let operators = if one.operators.is_empty() {
            Cell::new("nobody").toned(Tone::Bad)
        } else {
            Cell::new(one.operators.join(", "))
        };
        render::fields(
            context,
            &[
                ("generation", Cell::new(one.number)),
                ("digest", Cell::new(one.digest)),
                ("after", Cell::maybe(one.parent)),
                ("purpose", Cell::new(&one.purpose)),
                ("created", Cell::new(one.created)),
                ("by", Cell::new(&one.author)),
                ("signed by", operators),
                ("message", Cell::new(&one.message)),
                ("secrets", Cell::new(one.secrets.join(", "))),
                ("nodes", Cell::new(format!("{} of {} are at it", one.nodes, one.members))),
            ],
        )?;
        writeln!(context.out)?;
        render::list(context, &one.layers, &LAYERS, |layer| layer.name.clone())
    })?;
    Ok(Exit::Fine)
}
