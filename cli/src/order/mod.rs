//! `order`: what was ordered, what became of it, withdrawing it.

pub mod follow;
pub mod options;
pub mod print;
pub mod submit;
pub mod summary;

use campanile_common::api::{Node, Order, OrderState, OrderTarget, TargetState};
use campanile_common::authority::{Action, Tier};
use campanile_common::id::OrderId;
use campanile_common::unit::ByteCount;
use clap::{Args, Subcommand, ValueEnum};

use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::os::signal::StopRequest;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;
use crate::{authority, profile, targets};

/// Verbs of `order`.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// List orders, newest first
    #[command(after_help = "Examples:
  campanile order ls
  campanile order ls --state running --watch
  campanile order ls --limit 500 -o json")]
    Ls(Ls),
    /// Show one order and what became of each target
    #[command(after_help = "Examples:
  campanile order show 000102030405060708090a0b0c0d0e0f")]
    Show {
        /// Its id
        order: OrderId,
        /// How often it is drawn.
        #[command(flatten)]
        watch: Watch,
    },
    /// Withdraw what was not sent yet
    #[command(after_help = "Examples:
  campanile order cancel 000102030405060708090a0b0c0d0e0f
  campanile order cancel 000102030405060708090a0b0c0d0e0f --running

Withdrawing needs no signature, stopping what runs does: with --running an order of tier 2 is signed that has the
nodes stop it.")]
    Cancel(Cancel),
    /// Print the output that was kept of one node
    #[command(after_help = "Examples:
  campanile order output 000102030405060708090a0b0c0d0e0f web-01 > web-01.txt")]
    Output {
        /// Its id
        order: OrderId,
        /// Name or id
        node: String,
    },
    /// Follow an order to its end, from its beginning
    #[command(after_help = "Examples:
  campanile order watch 000102030405060708090a0b0c0d0e0f

Exit code as that of `campanile run`. Ctrl-C withdraws what was not sent yet.")]
    Watch {
        /// Its id
        order: OrderId,
    },
}

/// Which orders to list.
#[derive(Debug, Args)]
pub struct Ls {
    /// Only in this state
    #[arg(long, value_enum)]
    state: Option<State>,
    /// At most so many
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    #[command(flatten)]
    watch: Watch,
}

/// What to withdraw.
#[derive(Debug, Args)]
pub struct Cancel {
    /// Its id
    order: OrderId,
    /// Also have the nodes stop it where it runs
    #[arg(long)]
    running: bool,
    #[command(flatten)]
    options: options::Options,
}

/// State of an order.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum State {
    /// Waits for signatures
    Proposed,
    /// Targets are still at work
    Running,
    /// Every target is accounted for
    Done,
    /// Withdrawn
    Cancelled,
}

impl State {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Proposed => "proposed",
            Self::Running => "running",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
        }
    }
}

const COLUMNS: [Column<Order>; 9] = [
    column("ORDER", |order, _| Cell::new(order.order_id)),
    column("AGE", |order, now| Cell::age(Some(order.submitted_at), now)),
    column("BY", |order, _| Cell::new(&order.submitted_by)),
    column("TIER", |order, _| Cell::new(order.tier)),
    column("STATE", |order, _| state(order)),
    column("TARGETS", |order, _| Cell::new(short_counts(order))),
    wide("SIGNED", |order, _| Cell::new(order.signed_by.join(","))),
    wide("REASON", |order, _| Cell::new(&order.reason)),
    column("ACTION", |order, _| Cell::new(&order.action)),
];

const TARGETS: [Column<OrderTarget>; 6] = [
    column("NODE", |target, _| Cell::new(&target.name)),
    column("STATE", |target, _| summary::state_cell(target.state)),
    column("STARTED", |target, now| Cell::age(target.started_at, now)),
    column("TOOK", |target, _| took(target)),
    column("OUTPUT", |target, _| Cell::new(ByteCount(target.output_bytes))),
    column("WHY", |target, _| Cell::new(summary::why(target))),
];

fn state(order: &Order) -> Cell {
    let tone = match order.state {
        OrderState::Running => Tone::Plain,
        OrderState::Done if order.counts.ok == order.counts.targeted => Tone::Good,
        OrderState::Done => Tone::Bad,
        OrderState::Proposed | OrderState::Cancelled => Tone::Warning,
    };
    Cell::new(order.state.as_str()).toned(tone)
}

fn short_counts(order: &Order) -> String {
    format!("{}/{}", order.counts.ok, order.counts.targeted)
}

fn took(target: &OrderTarget) -> Cell {
    match (target.started_at, target.finished_at) {
        (Some(started), Some(finished)) => {
            Cell::new(format!("{:.1}s", finished.since(started).as_secs_f64()))
        }
        _ => Cell::new(""),
    }
}

/// Carries out a verb.
///
/// # Errors
/// When it fails.
pub fn run(context: &mut Context<'_>, verb: &Verb) -> anyhow::Result<Exit> {
    match verb {
        Verb::Ls(arguments) => {
            let client = profile::client(context)?;
            arguments.watch.run(context, |context| {
                let orders = list(&client, arguments.state.map(State::as_str), arguments.limit)?;
                render::list(context, &orders, &COLUMNS, |order| order.order_id.to_string())?;
                Ok(Exit::Fine)
            })
        }
        Verb::Show { order, watch } => {
            let client = profile::client(context)?;
            watch.run(context, |context| show(context, &client.get(&follow::path(*order), &[])?))
        }
        Verb::Cancel(arguments) => cancel(context, arguments),
        Verb::Output { order, node } => {
            let client = profile::client(context)?;
            output(context, &client, *order, node)
        }
        Verb::Watch { order } => {
            let client = profile::client(context)?;
            let order: Order = client.get(&follow::path(*order), &[])?;
            follow::follow(context, &client, &order, &StopRequest::listen()?)
        }
    }
}

/// The newest orders, without their targets.
///
/// # Errors
/// When the aggregator refuses.
pub fn list(client: &Client, state: Option<&str>, limit: u16) -> anyhow::Result<Vec<Order>> {
    let query: Vec<(&str, &str)> = state.map(|state| ("state", state)).into_iter().collect();
    let mut orders = Vec::new();
    client.each_page("/api/v1/orders", &query, |page: Vec<Order>| {
        orders.extend(page);
        orders.len() < usize::from(limit)
    })?;
    orders.truncate(usize::from(limit));
    Ok(orders)
}

fn show(context: &mut Context<'_>, order: &Order) -> anyhow::Result<Exit> {
    render::object(context, order, &order.order_id.to_string(), |context| {
        render::fields(
            context,
            &[
                ("order", Cell::new(order.order_id)),
                ("action", Cell::new(&order.action)),
                ("tier", Cell::new(order.tier)),
                ("state", state(order)),
                ("reason", Cell::new(&order.reason)),
                ("submitted by", Cell::new(&order.submitted_by)),
                ("submitted", Cell::new(order.submitted_at)),
                ("expires", Cell::new(order.expires_at)),
                (
                    "signed by",
                    Cell::new(format!(
                        "{} ({} needed)",
                        if order.signed_by.is_empty() {
                            "nobody".to_owned()
                        } else {
                            order.signed_by.join(", ")
                        },
                        order.signatures_needed
                    )),
                ),
                ("targets", Cell::new(summary::counts(&order.counts))),
            ],
        )?;
        writeln!(context.out)?;
        render::list(context, &order.targets, &TARGETS, |target| target.name.clone())
    })?;
    Ok(Exit::Fine)
}

fn output(context: &mut Context<'_>, client: &Client, order: OrderId, node: &str) -> anyhow::Result<Exit> {
    let path = format!("{}/output/{}", follow::path(order), segment(node));
    let mut body = client.stream(&path, &[], "application/octet-stream")?;
    copy(context, &mut body)?;
    Ok(Exit::Fine)
}

/// Prints a stream as it comes; at a terminal without what the terminal would obey.
///
/// # Errors
/// When it breaks.
pub fn copy(context: &mut Context<'_>, body: &mut dyn std::io::Read) -> std::io::Result<()> {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = body.read(&mut buffer)?;
        if read == 0 {
            return context.out.flush();
        }
        if context.environment.stdout_is_terminal {
            context.out.write_all(&print::harmless(&buffer[..read]))?;
        } else {
            context.out.write_all(&buffer[..read])?;
        }
        context.out.flush()?;
    }
}

fn cancel(context: &mut Context<'_>, arguments: &Cancel) -> anyhow::Result<Exit> {
    let client = profile::client_of_orders(context)?;
    let cancelled = follow::withdraw(&client, arguments.order)?;
    follow::account(context, &cancelled)?;
    let running: Vec<String> = cancelled
        .targets
        .iter()
        .filter(|target| matches!(target.state, TargetState::Sent | TargetState::Running))
        .map(|target| target.node_id.to_string())
        .collect();
    if !arguments.running || running.is_empty() {
        follow::still_runs(context, &cancelled)?;
        return Ok(Exit::Fine);
    }
    let authority = authority::load(context.environment)?;
    let nodes: Vec<Node> = targets::resolve(&client, None, &running)?;
    let work = (tier(&arguments.options), Action::Cancel { order: arguments.order });
    submit::carry_out(context, &client, &authority, work, &nodes, &arguments.options)
}

/// The tier of a free command: 2, or 3 where that is asked for.
pub const fn tier(options: &options::Options) -> Tier {
    if options.critical { Tier::Critical } else { Tier::Change }
}

#[cfg(test)]
pub(crate) mod tests;
