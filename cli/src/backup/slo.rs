//! `backup slo`: for each policy what is promised to be lost at most, and what would have been.

use std::time::Duration;

use campanile_common::time::Timestamp;
use clap::Args;
use serde::Serialize;

use super::{fetch, gaps};
use crate::context::Context;
use crate::exit::Exit;
use crate::node::Selection;
use crate::os::clock;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::{duration, each, profile};

/// Options of `backup slo`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup slo
  campanile backup slo -l role=db -o json

MAX AGE is what the policy promises. WORST and MEDIAN are the times between two snapshots as the aggregator received
them in the last 30 days, those it has let go since included while they can be brought back; the time since the newest
one counts as it is now. RTO is how long the last drill that went well took until everything was back and tried, by
schedule, by order or by hand. Exit code 3 where a worst gap is longer than promised.")]
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
    drilled: Option<Timestamp>,
}

impl Row {
    fn is_broken(&self) -> bool {
        self.worst_gap_seconds.is_some_and(|worst| worst > self.max_age_seconds)
    }
}

const COLUMNS: [Column<Row>; 8] = [
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
    wide("DRILLED", |row, now| Cell::age(row.drilled, now)),
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
    let now = clock::now();
    let asked = each::node(&client, &nodes, |client, node| fetch::snapshots(client, &node.name, true));
    let mut rows = Vec::new();
    for (node, answer) in nodes.iter().zip(asked) {
        let snapshots = answer?;
        for policy in &node.policies {
            let of_policy = snapshots.iter().filter(|one| one.policy.as_deref() == Some(&policy.policy));
            let received: Vec<_> = of_policy.map(|one| one.received).collect();
            let found = gaps::of(&received, now);
            let drill = policy.drill.as_ref();
            rows.push(Row {
                node: node.name.clone(),
                policy: policy.policy.clone(),
                max_age_seconds: policy.max_age_seconds,
                snapshots: found.map_or(0, |found| found.snapshots),
                worst_gap_seconds: found.map(|found| found.worst.as_secs()),
                median_gap_seconds: found.and_then(|found| found.median).map(|median| median.as_secs()),
                drill_seconds: drill.and_then(|drill| drill.restored_ms).map(|millis| millis.div_ceil(1000)),
                drilled: drill.and_then(|drill| drill.succeeded),
            });
        }
    }
    render::list(context, &rows, &COLUMNS, |row| format!("{}/{}", row.node, row.policy))?;
    let broken = rows.iter().filter(|row| row.is_broken()).count();
    context.hint(&format!("{} policies: {broken} with a gap longer than promised", rows.len()))?;
    Ok(if broken > 0 { Exit::SomeFailed } else { Exit::Fine })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_show_two_units_where_the_second_matters() {
        for (seconds, text) in
            [(45, "45s"), (90, "1m"), (5400, "1h30m"), (3610, "1h"), (86_400, "1d"), (129_600, "1d12h")]
        {
            assert_eq!(precise(Duration::from_secs(seconds)), text);
        }
    }
}
