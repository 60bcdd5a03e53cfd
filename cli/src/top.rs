//! `top`: the heaviest processes of a node, listed when asked for.

use campanile_common::api::{ProcessInfo, TopProcesses};
use campanile_common::unit::ByteCount;
use clap::Args;

use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::os::clock;
use crate::render::{self, Cell, Column, column};
use crate::watch::Watch;
use crate::{node, profile};

/// Options of `top`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile top web-01
  campanile top web-01 --count 25 --watch")]
pub struct Top {
    /// Name or id
    node: String,
    /// How many processes
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=100))]
    count: u16,
    #[command(flatten)]
    watch: Watch,
}

impl Top {
    /// So many processes of this node.
    pub fn new(node: &str, count: u16, watch: Watch) -> Self {
        Self { node: node.to_owned(), count, watch }
    }
}

const COLUMNS: [Column<ProcessInfo>; 7] = [
    column("PID", |process, _| Cell::new(process.pid)),
    column("UID", |process, _| Cell::new(process.uid)),
    column("STATE", |process, _| Cell::new(&process.state)),
    column("CPU%", |process, _| Cell::new(format!("{:.1}", process.cpu_percent))),
    column("MEMORY", |process, _| Cell::new(ByteCount(process.resident_bytes))),
    column("AGE", |process, now| Cell::age(Some(process.started_at), now)),
    column("NAME", |process, _| Cell::new(&process.name)),
];

/// Carries it out.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, arguments: &Top) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    arguments.watch.run(context, |context| print(context, &client, arguments))
}

fn print(context: &mut Context<'_>, client: &Client, arguments: &Top) -> anyhow::Result<Exit> {
    let path = format!("{}/top", node::path(&arguments.node));
    let top: TopProcesses = client
        .get(&path, &[("count", &arguments.count.to_string())])
        .map_err(|error| node::unknown(client, &arguments.node, error))?;
    render::object(context, &top, &arguments.node, |context| {
        let now = clock::now();
        let heads: Vec<_> = COLUMNS.iter().map(Column::head).collect();
        let row = |process| COLUMNS.iter().map(|column| column.cell(process, now)).collect();
        Ok(render::table(context, &heads, top.processes.iter().map(row).collect())?)
    })?;
    Ok(Exit::Fine)
}
