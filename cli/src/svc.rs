//! `svc`: units of the nodes' service managers — looking at them, and acting on them.

use std::time::Duration;

use campanile_common::api::{Node, ServiceState};
use campanile_common::authority::{Action, Authority, ServiceVerb, Tier, is_unit_name};
use clap::{Args, Subcommand};

use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::node::{self, Selection};
use crate::order::options::Options;
use crate::order::submit;
use crate::os::clock;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;
use crate::{authority, catalogue, duration, each, profile, targets};

/// Verbs of `svc`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// State of a unit on many nodes
    #[command(after_help = "Examples:
  campanile svc status nginx -l role=web
  campanile svc status postgresql db-01 -o wide --watch

Needs no key; a node shows the units that its policy lists under units.observe. Exit code 3 when it is not active
somewhere, 4 when a node does not answer, 5 when one does not show it.")]
    Status(Status),
    /// Start a unit
    #[command(after_help = "Examples:
  campanile svc start nginx -l role=web --wait-healthy 30s")]
    Start(Change),
    /// Stop a unit
    #[command(after_help = "Examples:
  campanile svc stop nginx web-07")]
    Stop(Change),
    /// Stop and start a unit
    #[command(after_help = "Examples:
  campanile svc restart nginx -l role=web --batch 25% --max-fail 1 --wait-healthy 30s

Where the signed catalogue permits it, it needs no key (tier 1); else it is signed (tier 2). With --wait-healthy a node
counts as ok when the unit is active and stays so.")]
    Restart(Change),
    /// Have a unit read its settings anew
    #[command(after_help = "Examples:
  campanile svc reload nginx -l role=web")]
    Reload(Change),
}

/// Which unit to look at, and where.
#[derive(Debug, Args)]
pub struct Status {
    /// Name of the unit; `nginx` means `nginx.service`
    unit: String,
    /// Names or ids
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    selector: Selection,
    #[command(flatten)]
    watch: Watch,
}

/// Which unit to act on, and where.
#[derive(Debug, Args)]
pub struct Change {
    /// Name of the unit; `nginx` means `nginx.service`
    unit: String,
    /// Names or ids
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    selector: Selection,
    /// Wait this long for it to be active and to stay so
    #[arg(long, value_name = "DURATION", value_parser = duration::parse)]
    wait_healthy: Option<Duration>,
    #[command(flatten)]
    options: Options,
}

const COLUMNS: [Column<ServiceState>; 9] = [
    column("NODE", |state, _| Cell::new(&state.node)),
    column("ACTIVE", |state, _| active(state)),
    column("SUB", |state, _| Cell::new(&state.sub)),
    column("ENABLED", |state, _| Cell::new(&state.enabled)),
    column("SINCE", |state, now| Cell::age(state.since, now)),
    column("RESTARTS", |state, _| Cell::new(state.restarts)),
    wide("PID", |state, _| Cell::maybe(state.main_pid)),
    wide("RESULT", |state, _| Cell::new(&state.result)),
    wide("DESCRIPTION", |state, _| Cell::new(&state.description)),
];

fn active(state: &ServiceState) -> Cell {
    let text = if state.load == "loaded" { &state.active } else { &state.load };
    Cell::new(text).toned(if is_active(state) { Tone::Good } else { Tone::Bad })
}

fn is_active(state: &ServiceState) -> bool {
    state.active == "active"
}

/// The full name of a unit: without a suffix it is a service.
///
/// # Errors
/// When it is no name of a unit.
pub fn unit_name(text: &str) -> Result<String, UsageError> {
    let full = if is_unit_name(text) { text.to_owned() } else { format!("{text}.service") };
    if is_unit_name(&full) {
        Ok(full)
    } else {
        Err(UsageError(format!("`{text}` is no name of a unit; write one like nginx or backup.timer")))
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Status(arguments) => {
            let unit = unit_name(&arguments.unit)?;
            let client = profile::client(context)?;
            arguments.watch.run(context, |context| {
                let selector = arguments.selector.selector.as_ref();
                let nodes = targets::resolve(&client, selector, &arguments.nodes)?;
                status(context, &client, &nodes, &unit)
            })
        }
        Verb::Start(arguments) => change(context, ServiceVerb::Start, arguments),
        Verb::Stop(arguments) => change(context, ServiceVerb::Stop, arguments),
        Verb::Restart(arguments) => change(context, ServiceVerb::Restart, arguments),
        Verb::Reload(arguments) => change(context, ServiceVerb::Reload, arguments),
    }
}

fn status(context: &mut Context<'_>, client: &Client, nodes: &[Node], unit: &str) -> anyhow::Result<Exit> {
    let asked = each::node(client, nodes, |client, node| {
        let path = format!("{}/units/{}", node::path(&node.node_id.to_string()), segment(unit));
        client.get::<ServiceState>(&path, &[])
    });
    let (mut states, mut exits, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for (node, answer) in nodes.iter().zip(asked) {
        match answer {
            Ok(state) => {
                exits.push(if is_active(&state) { Exit::Fine } else { Exit::SomeFailed });
                states.push(state);
            }
            Err(error) => {
                exits.push(each::exit(&error));
                failures.push(format!("  {}  {error}", node.name));
            }
        }
    }
    render::list(context, &states, &COLUMNS, |state| state.node.clone())?;
    let active = states.iter().filter(|state| is_active(state)).count();
    context.hint(&format!("{unit}: active on {active} of {} nodes", nodes.len()))?;
    for failure in failures {
        context.hint(&failure)?;
    }
    Ok(Exit::of_all(exits))
}

fn change(context: &mut Context<'_>, verb: ServiceVerb, arguments: &Change) -> anyhow::Result<Exit> {
    let unit = unit_name(&arguments.unit)?;
    let wait_healthy_ms =
        arguments.wait_healthy.map(|wait| u32::try_from(wait.as_millis()).unwrap_or(u32::MAX));
    let authority = authority::load(context.environment)?;
    let client = profile::client_of_orders(context)?;
    let tier = match arguments.options.critical {
        true => Tier::Critical,
        false => tier(&client, &authority, verb, &unit)?,
    };
    let nodes = targets::resolve(&client, arguments.selector.selector.as_ref(), &arguments.nodes)?;
    let action = Action::Service { verb, unit, wait_healthy_ms };
    submit::carry_out(context, &client, &authority, (tier, action), &nodes, &arguments.options)
}

/// Tier 1 where the catalogue in force permits it, else the tier that takes a signature.
fn tier(client: &Client, authority: &Authority, verb: ServiceVerb, unit: &str) -> anyhow::Result<Tier> {
    let catalogue = catalogue::in_force(client, authority)?;
    let is_permitted = catalogue.as_ref().is_some_and(|catalogue| {
        let document = catalogue.document();
        clock::now() < document.expires && document.permits_service(verb, unit)
    });
    Ok(if is_permitted { Tier::Routine } else { Tier::Change })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_unit_without_a_suffix_is_a_service() {
        assert_eq!(unit_name("nginx").unwrap(), "nginx.service");
        assert_eq!(unit_name("backup.timer").unwrap(), "backup.timer");
        assert_eq!(unit_name("php8.3-fpm").unwrap(), "php8.3-fpm.service");
        for wrong in ["", "-x", "a b", "a;reboot"] {
            assert!(unit_name(wrong).is_err(), "{wrong}");
        }
    }
}
