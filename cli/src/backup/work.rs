//! Orders to nodes about their backups: saving, verifying, trying. Each names one policy; several policies are several
//! orders, one after the other, as a node works on one at a time.

use std::collections::BTreeMap;

use anyhow::bail;
use campanile_common::api::{NodeBackup, Order, OrderTarget};
use campanile_common::authority::{Action, Authority, BackupAction, Tier};
use campanile_common::backup::PolicyName;
use clap::Args;

use super::fetch;
use super::report::{self, Collector, Kind, NodeReport};
use crate::client::{Client, segment};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::order::options::Options;
use crate::order::submit::{self, Begun};
use crate::order::{follow, summary};
use crate::os::signal::StopRequest;
use crate::{authority, confirm, profile, targets};

/// Longest output of one node that is fetched when it did not come while the order was followed.
const OUTPUT_FETCHED_MAX: usize = 4 * 1024 * 1024;

/// Where, and what of.
#[derive(Debug, Args)]
#[command(mut_arg("timeout", |timeout| timeout.default_value("12h")))]
pub struct Scope {
    /// Names or ids
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    selector: Selection,
    /// Of this policy; of each that a node has without
    #[arg(long = "policy", value_name = "NAME")]
    policies: Vec<PolicyName>,
    #[command(flatten)]
    options: Options,
}

/// Options of `backup run`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup run web-01
  campanile backup run -l role=db --policy main-db
  campanile backup run -l env=prod --policy etc --parallel 5 --detach

Needs no key (tier 1): what is saved and where to is in signed policies. A node refuses unless its own policy allows
class `backup`. Without --policy each policy that a node has is an order of its own. A file that could not be read is
named; the others are saved, and the node counts as failed (exit code 3). Other codes are those of `campanile run`.")]
pub struct Run {
    #[command(flatten)]
    scope: Scope,
}

/// Options of `backup check`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup check web-01
  campanile backup check -l role=db --share 2/7      the second of seven parts: a week's cycle

The node reads back, decrypts and compares; what it finds it names, with the snapshots that are hurt. The aggregator
verifies every byte by itself as well, without a key: see VERIFIED in `campanile backup status`. Exit codes are those
of `campanile run`; 3 when anything is found.")]
pub struct Check {
    /// A share of the packs only
    #[arg(long, value_name = "N/M", value_parser = parse_share, default_value = "1/1", hide_default_value = true)]
    share: (u8, u8),
    #[command(flatten)]
    scope: Scope,
}

/// Options of `backup drill`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup drill db-01 --policy main-db
  campanile backup drill -l role=db

The node restores its newest snapshot into a private folder, has the policy's own command look at it, and removes it.
How long the last one took is the RTO of `campanile backup slo`. Exit codes are those of `campanile run`.")]
pub struct Drill {
    #[command(flatten)]
    scope: Scope,
}

fn parse_share(text: &str) -> Result<(u8, u8), String> {
    let wrong = || format!("`{text}` is no share: give for example 2/7, the second of seven");
    let (part, of) = text.split_once('/').ok_or_else(wrong)?;
    let (part, of): (u8, u8) = (part.parse().map_err(|_| wrong())?, of.parse().map_err(|_| wrong())?);
    if part >= 1 && part <= of { Ok((part, of)) } else { Err(wrong()) }
}

/// Has nodes save.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub(super) fn run(context: &mut Context<'_>, arguments: &Run) -> anyhow::Result<Exit> {
    order(context, &arguments.scope, Kind::Saved, &|policy| BackupAction::Run { policy })
}

/// Has nodes verify.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub(super) fn check(context: &mut Context<'_>, arguments: &Check) -> anyhow::Result<Exit> {
    let (part, of) = arguments.share;
    order(context, &arguments.scope, Kind::Checked, &|policy| BackupAction::Check { policy, part, of })
}

/// Has nodes restore on trial.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub(super) fn drill(context: &mut Context<'_>, arguments: &Drill) -> anyhow::Result<Exit> {
    order(context, &arguments.scope, Kind::Restored, &|policy| BackupAction::Drill { policy })
}

fn order(
    context: &mut Context<'_>,
    scope: &Scope,
    kind: Kind,
    action: &dyn Fn(PolicyName) -> BackupAction,
) -> anyhow::Result<Exit> {
    let client = profile::client_of_orders(context)?;
    let nodes = targets::resolve(&client, scope.selector.selector.as_ref(), &scope.nodes)?;
    confirm::expected(nodes.len(), scope.options.expect)?;
    let mut of_policy: BTreeMap<PolicyName, Vec<campanile_common::api::Node>> = BTreeMap::new();
    if scope.policies.is_empty() {
        let backups = fetch::nodes(&client, None, &[])?;
        for node in nodes {
            let known = backups.iter().find(|backup| backup.node_id == node.node_id);
            let policies = known.map(|backup| policies(backup, kind)).unwrap_or_default();
            if policies.is_empty() {
                context.hint(&format!("{}: no policy is known of it", node.name))?;
            }
            for policy in policies {
                of_policy.entry(policy).or_default().push(node.clone());
            }
        }
    } else {
        of_policy.extend(scope.policies.iter().map(|policy| (policy.clone(), nodes.clone())));
    }
    if of_policy.is_empty() {
        bail!(
            "nothing is to be done; policies are part of the configuration, `campanile backup policy ls` lists them"
        );
    }
    let work = Work { authority: authority::load(context.environment)?, client };
    let jobs = of_policy.into_iter().map(|(policy, nodes)| {
        let expect = scope.options.expect.map(|_| nodes.len());
        Job { action: action(policy), nodes, options: Options { expect, ..scope.options.clone() } }
    });
    work.carry_out(context, kind, jobs.collect())
}

/// Those that an order of this kind is for: a repository that several share is verified once.
fn policies(backup: &NodeBackup, kind: Kind) -> Vec<PolicyName> {
    let mut is_store_seen = false;
    let mut chosen = Vec::new();
    for policy in &backup.policies {
        let is_store = policy.target == "aggregator";
        if kind == Kind::Checked && is_store && is_store_seen {
            continue;
        }
        is_store_seen |= is_store;
        // A name that is none is of a later version; the node would not know it either.
        chosen.extend(policy.policy.parse::<PolicyName>().ok());
    }
    chosen
}

/// An order of one policy.
pub(crate) struct Job {
    /// What is done.
    pub(crate) action: BackupAction,
    /// Where.
    pub(crate) nodes: Vec<campanile_common::api::Node>,
    /// How.
    pub(crate) options: Options,
}

/// Orders and follows.
pub(crate) struct Work {
    /// Who may order.
    pub(crate) authority: Authority,
    /// The aggregator.
    pub(crate) client: Client,
}

impl Work {
    /// Orders one after the other, follows each to its end, and prints what became of all.
    ///
    /// # Errors
    /// When one is refused or lost; what became of those before it is printed first.
    pub(crate) fn carry_out(
        &self,
        context: &mut Context<'_>,
        kind: Kind,
        jobs: Vec<Job>,
    ) -> anyhow::Result<Exit> {
        let (mut reports, mut exits, mut failed) = (Vec::new(), Vec::new(), None);
        for job in jobs {
            match self.one(context, &job) {
                Ok((exit, said)) => {
                    exits.push(exit);
                    reports.extend(said);
                    if exit == Exit::Interrupted {
                        break;
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    break;
                }
            }
        }
        if !reports.is_empty() {
            reports.sort_by(|a, b| (&a.node, &a.policy).cmp(&(&b.node, &b.policy)));
            report::print(context, kind, &reports)?;
            context.hint(&account(&reports))?;
        }
        match failed {
            Some(error) => Err(error),
            None => Ok(Exit::of_all(exits)),
        }
    }

    /// Orders one thing, and gives what each node said once it is over.
    pub(crate) fn one(
        &self,
        context: &mut Context<'_>,
        job: &Job,
    ) -> anyhow::Result<(Exit, Vec<NodeReport>)> {
        let tier = if job.options.critical { Tier::Critical } else { job.action.tier_min() };
        let work = (tier, Action::Backup(job.action.clone()));
        let (client, options) = (&self.client, &job.options);
        match submit::begin(context, client, &self.authority, work, &job.nodes, options)? {
            Begun::Over(exit) => Ok((exit, Vec::new())),
            Begun::Running(order, stop) => self.follow(context, &order, &stop, job.action.policy()),
        }
    }

    fn follow(
        &self,
        context: &mut Context<'_>,
        order: &Order,
        stop: &StopRequest,
        policy: &PolicyName,
    ) -> anyhow::Result<(Exit, Vec<NodeReport>)> {
        let mut collector = Collector::new(context.environment.stderr_is_terminal);
        let Some(ended) = follow::watch(context, &self.client, order, stop, &mut collector)? else {
            return Ok((follow::interrupt(context, &self.client, order.order_id)?, Vec::new()));
        };
        let report = |target: &OrderTarget| self.report(&ended, target, policy, &collector);
        Ok((summary::exit(&ended), ended.targets.iter().map(report).collect()))
    }

    fn report(
        &self,
        order: &Order,
        target: &OrderTarget,
        policy: &PolicyName,
        collector: &Collector,
    ) -> NodeReport {
        let mut said = report::parse(collector.of(target.node_id));
        if said.result.is_none() && target.output_bytes > 0 {
            // The stream broke, or ended first: what was kept is fetched once more.
            let path = format!("{}/output/{}", follow::path(order.order_id), segment(&target.name));
            if let Ok(kept) = self.client.bytes(&path, OUTPUT_FETCHED_MAX) {
                said = report::parse(&kept);
            }
        }
        NodeReport {
            order_id: order.order_id,
            node_id: target.node_id,
            node: target.name.clone(),
            policy: policy.to_string(),
            state: target.state,
            detail: summary::why(target),
            said,
        }
    }
}

/// `28 targeted: 27 ok, 1 failed`, over all orders.
fn account(reports: &[NodeReport]) -> String {
    let target = |report: &NodeReport| OrderTarget {
        node_id: report.node_id,
        name: String::new(),
        state: report.state,
        result: None,
        detail: String::new(),
        exit_code: None,
        started_at: None,
        finished_at: None,
        output_bytes: 0,
        output_kept: 0,
    };
    summary::counts(&summary::count(&reports.iter().map(target).collect::<Vec<_>>()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_one_of_so_many() {
        assert_eq!(parse_share("2/7"), Ok((2, 7)));
        for wrong in ["0/7", "8/7", "2", "a/b", "1/300", ""] {
            assert!(parse_share(wrong).is_err(), "{wrong}");
        }
    }
}
