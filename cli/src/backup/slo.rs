//! `backup slo`: for each policy what is promised to be lost at most, and what would have been.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::api::{NodeBackup, Order, TargetState};
use campanile_common::id::NodeId;
use clap::Args;
use serde::Serialize;

use super::{fetch, gaps};
use crate::client::Client;
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::order::{self, follow};
use crate::os::clock;
use crate::render::{self, Cell, Column, Tone, column};
use crate::{duration, each, profile};

/// Newest orders that are looked through for drills.
const ORDERS_MAX: u16 = 1000;
/// Drills whose targets are read.
const DRILLS_MAX: usize = 50;

/// Options of `backup slo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup slo
  campanile backup slo -l role=db -o json

MAX AGE is what the policy promises. WORST and MEDIAN are the times between two snapshots as the aggregator received
them in the last 30 days, those it has let go since included while they can be brought back; the time since the newest
one counts as it is now. RTO is how long the last drill took that was ordered and went well. Exit code 3 where a worst
gap is longer than promised.")]
pub struct Slo {
    /// Names or ids; all nodes without
    #[arg(value_name = "NODE")]
    nodes: Vec<String>,
    #[command(flatten)]
    selector: Selection,
}

/// A policy of a node: promised and kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    node: String,
    policy: String,
    max_age_seconds: u64,
    snapshots: usize,
    worst_gap_seconds: Option<u64>,
    median_gap_seconds: Option<u64>,
    drill_seconds: Option<u64>,
}

impl Row {
    fn is_broken(&self) -> bool {
        self.worst_gap_seconds.is_some_and(|worst| worst > self.max_age_seconds)
    }
}

const COLUMNS: [Column<Row>; 7] = [
    column("NODE", |row, _| Cell::new(&row.node)),
    column("POLICY", |row, _| Cell::new(&row.policy)),
    column("MAX AGE", |row, _| seconds(Some(row.max_age_seconds))),
    column("WORST", |row, _| {
        let tone = match row.worst_gap_seconds {
            None => Tone::Plain,
            Some(_) if row.is_broken() => Tone::Bad,
            Some(_) => Tone::Good,
        };
        seconds(row.worst_gap_seconds).toned(tone)
    }),
    column("MEDIAN", |row, _| seconds(row.median_gap_seconds)),
    column("SNAPSHOTS", |row, _| Cell::new(row.snapshots)),
    column("RTO", |row, _| seconds(row.drill_seconds)),
];

fn seconds(seconds: Option<u64>) -> Cell {
    Cell::maybe(seconds.map(|seconds| precise(Duration::from_secs(seconds))))
}

/// `1d12h`: two units, since `1d` may be nearly twice as long as promised.
pub(super) fn precise(time: Duration) -> String {
    let largest = duration::short(time);
    let unit = match largest.chars().last() {
        Some('d') => 86_400,
        Some('h') => 3600,
        Some('m') => 60,
        _ => return largest,
    };
    match time.as_secs() % unit {
        rest if unit == 60 || rest < unit / 60 => largest,
        rest => format!("{largest}{}", duration::short(Duration::from_secs(rest))),
    }
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, arguments: &Slo) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    let nodes = fetch::nodes(&client, arguments.selector.selector.as_ref(), &arguments.nodes)?;
    let drills = drills(&client, &nodes)?;
    let now = clock::now();
    let asked = each::node(&client, &nodes, |client, node| fetch::snapshots(client, &node.name, true));
    let mut rows = Vec::new();
    for (node, answer) in nodes.iter().zip(asked) {
        let snapshots = answer?;
        for policy in &node.policies {
            let of_policy = snapshots.iter().filter(|one| one.policy.as_deref() == Some(&policy.policy));
            let received: Vec<_> = of_policy.map(|one| one.received).collect();
            let found = gaps::of(&received, now);
            let key = (node.node_id, policy.policy.clone());
            rows.push(Row {
                node: node.name.clone(),
                policy: policy.policy.clone(),
                max_age_seconds: policy.max_age_seconds,
                snapshots: found.map_or(0, |found| found.snapshots),
                worst_gap_seconds: found.map(|found| found.worst.as_secs()),
                median_gap_seconds: found.and_then(|found| found.median).map(|median| median.as_secs()),
                drill_seconds: drills.get(&key).map(Duration::as_secs),
            });
        }
    }
    render::list(context, &rows, &COLUMNS, |row| format!("{}/{}", row.node, row.policy))?;
    let broken = rows.iter().filter(|row| row.is_broken()).count();
    context.hint(&format!("{} policies: {broken} with a gap longer than promised", rows.len()))?;
    Ok(if broken > 0 { Exit::SomeFailed } else { Exit::Fine })
}

/// How long the last drill of each policy took, where one was ordered and went well.
fn drills(client: &Client, nodes: &[NodeBackup]) -> anyhow::Result<BTreeMap<(NodeId, String), Duration>> {
    let mut found = BTreeMap::new();
    if nodes.iter().all(|node| node.policies.is_empty()) {
        return Ok(found);
    }
    let orders = order::list(client, Some("done"), ORDERS_MAX)?;
    let is_drill = |order: &&Order| order.kind == "backup" && drilled(&order.action).is_some();
    for order in orders.iter().filter(is_drill).take(DRILLS_MAX) {
        let Some(policy) = drilled(&order.action) else { continue };
        let order: Order = client.get(&follow::path(order.order_id), &[])?;
        for target in order.targets.iter().filter(|target| target.state == TargetState::Ok) {
            if let (Some(started), Some(finished)) = (target.started_at, target.finished_at) {
                // The newest comes first.
                found.entry((target.node_id, policy.to_owned())).or_insert(finished.since(started));
            }
        }
    }
    Ok(found)
}

/// The policy of a drill, as orders name what they do.
fn drilled(action: &str) -> Option<&str> {
    action.strip_prefix("drill backup ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::authority::{Action, BackupAction};

    #[test]
    fn a_drill_is_known_by_what_its_order_says() {
        let action = Action::Backup(BackupAction::Drill { policy: "main-db".parse().unwrap() });
        assert_eq!(drilled(&action.to_string()), Some("main-db"));
        let action = Action::Backup(BackupAction::Run { policy: "main-db".parse().unwrap() });
        assert_eq!(drilled(&action.to_string()), None);
    }

    #[test]
    fn gaps_show_two_units_where_the_second_matters() {
        for (seconds, text) in
            [(45, "45s"), (90, "1m"), (5400, "1h30m"), (3610, "1h"), (86_400, "1d"), (129_600, "1d12h")]
        {
            assert_eq!(precise(Duration::from_secs(seconds)), text);
        }
    }
}
