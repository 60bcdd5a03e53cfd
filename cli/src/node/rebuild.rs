//! `node rebuild`: a fresh machine takes the place of a node that is lost, with its labels and what it saved.
//!
//! The fresh machine was enrolled as a node of its own: identities are never used again. It is ordered to go to the
//! configuration in force, with the labels that it has then. Each policy is an order in place (tier 3), one after the other, up to the first
//! that does not end well; run again, it goes on where it was, since what is right already stays.

mod plan;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use campanile_common::api::{BackupResult, Node, NodeConfig, TargetState};
use campanile_common::authority::{Action, Authority, BackupAction, ConfigMode, RestorePlace};
use campanile_common::backup::PolicyName;
use campanile_common::id::Digest;
use campanile_common::unit::ByteCount;
use clap::Args;
use serde::Serialize;
use ureq::http::Method;

use self::plan::{Known, Plan};
use super::{LabelChange, change, find, path};
use crate::backup::fetch;
use crate::backup::foreign::Ways;
use crate::backup::moment::Zone;
use crate::backup::report::NodeReport;
use crate::backup::work::{Job, Work};
use crate::cli::Global;
use crate::client::Client;
use crate::config::{node_configs, read_head};
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::order::follow::{self, Quiet};
use crate::order::options::Options;
use crate::order::submit::{self, Begun};
use crate::order::summary;
use crate::os::process;
use crate::render::{self, Cell, Column, Tone, column};
use crate::signer::Passphrase;
use crate::{authority, confirm, duration, profile};

/// How soon a node should be what it was: what is said beside the time it took.
const SOON_ENOUGH: Duration = Duration::from_secs(15 * 60);
/// How long a node is waited for that was started just now.
const SETTLE_WAIT: Duration = Duration::from_secs(60);
/// How long a change of its network or its agent may stay unconfirmed, as `config apply` has it.
const CONFIRM_WITHIN_S: u32 = 60;
/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(500);

/// Options of `node rebuild`.
#[derive(Debug, Args)]
#[command(mut_arg("timeout", |timeout| timeout.default_value("12h")))]
#[command(after_help = "Examples:
  campanile node rebuild db-01 --as db-07 --identity recovery/escrow.key --dry-run
  campanile node rebuild db-01 --as db-07 --identity recovery/escrow.key
  campanile node rebuild db-01 --as db-07 --identity recovery/escrow.key --policy etc --policy data --retire

First enroll the fresh machine under a name of its own (`campanile token create`, `campanile-agent enroll`), with a node
policy that allows classes `backup` and `config` and tier 3. It then gets the labels of the old node, and goes to the
configuration in force with them; what the configuration gives the old node by its name is said before anything is done. Each policy is
restored in place by an order of tier 3, one after the other, up to the first that does not end well, and the command by
which its drills are judged looks at it. What makes the machine itself (its agent's state and settings) is left as it is.
Run again, it goes on where it was. `campanile key unlock` before it saves typing the passphrase for each order.

Exit codes are those of `campanile run`: 3 when a policy was not restored as it was, 4 when the node fell silent, 6 when
an order waits for signatures.")]
pub struct Rebuild {
    /// Name or id of the node that is lost
    old: String,
    /// Name or id of the fresh one
    #[arg(long = "as", value_name = "NEW")]
    new: String,
    /// File with an escrow identity of the lost node, as age-keygen writes it
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
    /// These policies, in this order; all that saved something without
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<PolicyName>,
    /// As of then: `latest`, or a time such as '2026-05-03 10:14'
    #[arg(long, value_name = "WHEN", default_value = "latest")]
    at: String,
    /// Retire the old node once all went well
    #[arg(long)]
    retire: bool,
    /// Seal the key to a sealing key of the fresh node that is another than before
    #[arg(long)]
    accept_new_keys: bool,
    /// Print what would be done; change nothing
    #[arg(long)]
    dry_run: bool,
    /// How long each policy may take, before it is stopped; here this is not the wait for the aggregator
    // The same name as the common option, which it takes the place of.
    #[arg(long, value_name = "DURATION", default_value = "12h", value_parser = duration::parse)]
    timeout: Duration,
    /// How the operator's key is unlocked.
    #[command(flatten)]
    passphrase: Passphrase,
}

/// What became of a policy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(flatten)]
    report: NodeReport,
    /// From the order to its end, as it was waited for here.
    took_ms: u64,
}

/// What became of all.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rebuilt<'a> {
    plan: &'a Plan,
    policies: &'a [Row],
    total_ms: u64,
    soon_enough_ms: u64,
    is_retired: bool,
}

const COLUMNS: [Column<Row>; 8] = [
    column("POLICY", |row, _| Cell::new(&row.report.policy)),
    column("RESULT", |row, _| match row.report.said.result {
        Some(BackupResult::Ok) => Cell::new("ok").toned(Tone::Good),
        Some(result) => Cell::new(result.as_str()).toned(Tone::Bad),
        None => summary::state_cell(row.report.state),
    }),
    column("SNAPSHOT", |row, _| {
        Cell::maybe(row.report.said.snapshot.as_deref().map(|id| id.get(..8).unwrap_or(id)))
    }),
    column("FILES", |row, _| Cell::new(row.report.said.figures.files)),
    column("SIZE", |row, _| Cell::new(ByteCount(row.report.said.figures.bytes))),
    column("CHECK", |row, _| Cell::new(row.report.said.tried.as_deref().unwrap_or("none"))),
    column("TOOK", |row, _| Cell::new(seconds(row.took_ms))),
    column("WHY", |row, _| {
        let said = row.report.said.problems.first().filter(|_| row.report.state != TargetState::Ok);
        Cell::new(summary::plain(said.unwrap_or(&row.report.detail)))
    }),
];

fn seconds(millis: u64) -> String {
    format!("{:.1}s", Duration::from_millis(millis).as_secs_f64())
}

fn millis(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// Carries it out.
///
/// # Errors
/// When it is refused, or the aggregator does not answer.
pub(super) fn run(context: &mut Context<'_>, arguments: &Rebuild) -> anyhow::Result<Exit> {
    let snapshot = Zone::system().snapshot(&arguments.at).map_err(|error| UsageError(error.to_string()))?;
    let began = Instant::now();
    let client = profile::client_of_orders(context)?;
    let work = Work { authority: authority::load(context.environment)?, client };
    let client = &work.client;
    let (old, new) = (find(client, &arguments.old)?, find(client, &arguments.new)?);
    let (plan, head) = planned(client, &work.authority, (&old, &new), &arguments.policies)?;
    show(context, &plan, arguments)?;
    if arguments.dry_run {
        context.hint("nothing was changed")?;
        return Ok(Exit::Fine);
    }
    // Before anything is changed: without it nothing can be restored.
    let ways = Ways::open(client, &old, &arguments.identity)?;
    let question =
        format!("restore {} policies of {} in place on {}?", plan.policies.len(), old.name, new.name);
    if !confirm::question(context, &question)? {
        context.hint("nothing was changed")?;
        return Ok(Exit::Failed);
    }
    if !plan.labels.is_empty() {
        let labels = LabelChange::parse(&plan.labels).map_err(|error| UsageError(error.to_string()))?;
        change::relabel(client, &new, &labels)?;
    }
    settle(context, client, &new)?;
    let sealed = ways.seal(context, client, &work.authority, &new, arguments.accept_new_keys)?;
    let options = options(arguments, &old, &new);
    let configured = configure(context, &work, head, &new, &options)?;
    if configured != Exit::Fine {
        return Ok(configured);
    }
    let job = |policy: &PolicyName| {
        let action = BackupAction::RestoreFrom {
            source: old.node_id,
            policy: policy.clone(),
            snapshot: snapshot.clone(),
            paths: Vec::new(),
            to: RestorePlace::InPlace,
            sealed: sealed.clone(),
            is_tried: true,
        };
        Job { action, nodes: vec![new.clone()], options: options.clone() }
    };
    let mut rows = Vec::new();
    let restored = restore(context, &work, plan.policies.iter().map(job), &mut rows);
    // Whatever became of the rest, what was done is told.
    let exit = *restored.as_ref().unwrap_or(&Exit::Failed);
    let is_retired = arguments.retire && exit == Exit::Fine;
    if is_retired {
        let _: Node = client.call(Method::POST, &format!("{}/retire", path(&old.node_id.to_string())))?;
    }
    let soon_enough_ms = u64::try_from(SOON_ENOUGH.as_millis()).unwrap_or(u64::MAX);
    let rebuilt =
        Rebuilt { plan: &plan, policies: &rows, total_ms: millis(began), soon_enough_ms, is_retired };
    render::object(context, &rebuilt, &plan.new, |context| {
        render::list(context, &rows, &COLUMNS, |row| row.report.policy.clone())
    })?;
    tell(context, &rebuilt, exit)?;
    restored
}

/// Orders one policy after the other, up to the first that does not end well.
fn restore(
    context: &mut Context<'_>,
    work: &Work,
    jobs: impl Iterator<Item = Job>,
    rows: &mut Vec<Row>,
) -> anyhow::Result<Exit> {
    // It was asked once for all.
    let sure = Global { yes: true, ..context.global.clone() };
    let mut context = Context {
        global: &sure,
        environment: context.environment,
        out: &mut *context.out,
        err: &mut *context.err,
    };
    for job in jobs {
        let started = Instant::now();
        let (exit, reports) = work.one(&mut context, &job)?;
        rows.extend(reports.into_iter().map(|report| Row { report, took_ms: millis(started) }));
        if exit != Exit::Fine {
            return Ok(exit);
        }
    }
    Ok(Exit::Fine)
}

fn planned(
    client: &Client,
    authority: &Authority,
    (old, new): (&Node, &Node),
    policies: &[PolicyName],
) -> anyhow::Result<(Plan, Option<Digest>)> {
    let id = old.node_id.to_string();
    let backup = fetch::detail(client, &id)?;
    let snapshots = fetch::snapshots(client, &id, false)?;
    let head = read_head(client, authority, true)?;
    let generation = head.as_ref().map(|head| &head.generation);
    let known = Known { old, new, backup: &backup, snapshots: &snapshots, generation, policies };
    Ok((plan::plan(&known)?, head.as_ref().map(|head| head.digest)))
}

/// Says what will be done; as the result itself, when nothing else is.
fn show(context: &mut Context<'_>, plan: &Plan, arguments: &Rebuild) -> anyhow::Result<()> {
    let policies: Vec<&str> = plan.policies.iter().map(PolicyName::as_str).collect();
    let mut lines = vec![format!("{} takes the place of {}", plan.new, plan.old)];
    match plan.labels.as_slice() {
        [] => lines.push("  labels: as they are".to_owned()),
        labels => lines.push(format!("  labels: {}", labels.join(" "))),
    }
    lines.push(format!("  restored in place, at tier 3, as of {}: {}", arguments.at, policies.join(", ")));
    lines.extend(plan.notes.iter().map(|note| format!("  note: {note}")));
    let lines: Vec<String> = lines.iter().map(|line| summary::plain(line)).collect();
    if arguments.dry_run {
        return render::object(context, plan, &plan.new, |context| {
            Ok(writeln!(context.out, "{}", lines.join("\n"))?)
        });
    }
    Ok(context.hint(&lines.join("\n"))?)
}

fn options(arguments: &Rebuild, old: &Node, new: &Node) -> Options {
    Options {
        timeout: arguments.timeout,
        parallel: None,
        batch: None,
        max_fail: None,
        expect: None,
        queue: None,
        reason: format!("rebuild {} as {}", old.name, new.name),
        critical: false,
        dry_run: false,
        detach: false,
        passphrase: arguments.passphrase.clone(),
    }
}

/// Waits until the fresh node has told its sealing key and is not busy with the configuration: what lacks then is said by
/// whoever needs it.
fn settle(context: &mut Context<'_>, client: &Client, new: &Node) -> anyhow::Result<()> {
    let (began, mut is_told) = (Instant::now(), false);
    loop {
        let known = node_configs(client, None)?.into_iter().find(|known| known.node == new.node_id);
        let is_busy = |known: &NodeConfig| matches!(known.phase.as_str(), "applying" | "confirming");
        let is_ready = known.is_some_and(|known| known.sealing_key.is_some() && !is_busy(&known));
        if is_ready || began.elapsed() > SETTLE_WAIT {
            return Ok(());
        }
        if !is_told {
            is_told = true;
            context.hint(&format!("waiting for the steward of {}", new.name))?;
        }
        process::pause(LOOK);
    }
}

/// Has the fresh node go to the configuration in force: a node follows by itself once, and its labels have changed since.
fn configure(
    context: &mut Context<'_>,
    work: &Work,
    head: Option<Digest>,
    new: &Node,
    options: &Options,
) -> anyhow::Result<Exit> {
    let Some(generation) = head else { return Ok(Exit::Fine) };
    let mode = ConfigMode::Apply { is_confirmed: false, confirm_within_s: CONFIRM_WITHIN_S };
    let action = Action::Config { generation, mode };
    let (client, nodes) = (&work.client, std::slice::from_ref(new));
    let ordered = (action.tier_min(), action);
    match submit::begin(context, client, &work.authority, ordered, nodes, options)? {
        Begun::Over(exit) => Ok(exit),
        Begun::Running(order, stop) => {
            let Some(ended) = follow::watch(context, client, &order, &stop, &mut Quiet)? else {
                return follow::interrupt(context, client, order.order_id);
            };
            let exit = summary::exit(&ended);
            if exit != Exit::Fine {
                for line in summary::problems(&ended.targets) {
                    context.hint(&line)?;
                }
                context.hint(&format!(
                    "{} did not go to the configuration in force, and nothing was restored; see `campanile config status {0}` \
                     and `campanile order output {1} {0}`",
                    new.name, order.order_id
                ))?;
            }
            Ok(exit)
        }
    }
}

fn tell(context: &mut Context<'_>, rebuilt: &Rebuilt<'_>, exit: Exit) -> anyhow::Result<()> {
    context.out.flush()?;
    for row in rebuilt.policies {
        for unread in &row.report.said.unread {
            context.hint(&summary::plain(&format!("  {}: {}", unread.path, unread.why)))?;
        }
        for problem in &row.report.said.problems {
            context.hint(&summary::plain(&format!("  {}: {problem}", row.report.policy)))?;
        }
    }
    let plan = rebuilt.plan;
    let (done, all) = (rebuilt.policies.len(), plan.policies.len());
    let took = format!("{} of {} min", seconds(rebuilt.total_ms), SOON_ENOUGH.as_secs() / 60);
    if exit != Exit::Fine {
        context.hint(&format!(
            "it stopped at policy {done} of {all} after {took}; run it again, it goes on there"
        ))?;
        return Ok(());
    }
    context.hint(&format!("{} has what {} saved: {all} policies in {took}", plan.new, plan.old))?;
    if rebuilt.is_retired {
        context.hint(&format!("{} is retired", plan.old))?;
    } else {
        context.hint(&format!(
            "once nothing is missing, take the old one out: campanile node retire {0}; its snapshots stay, and the name {0} is \
             free then: campanile node rename {1} {0}",
            plan.old, plan.new
        ))?;
    }
    Ok(())
}
