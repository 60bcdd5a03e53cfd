//! `audit verify --with-nodes`: downloading what the nodes keep, and telling what does not fit.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, anyhow};
use campanile_common::api::{
    AuditCheckpoint, AuditEntry, AuditVerification, Liveness, Node, NodeAudit, Order, Page,
};
use data_encoding::BASE64;
use serde::{Deserialize, Serialize};

use super::compare::{self, Ended, Log, NodeReport, Reading};
use super::{check, sentence, witness};
use crate::client::{Client, ClientError};
use crate::context::Context;
use crate::exit::Exit;
use crate::order::{follow, list, summary};
use crate::render;
use crate::{authority, each, node};

/// Most checkpoints that one node is asked for.
const CHECKPOINTS: &str = "128";
/// Entries of a node's chain in one answer.
const ENTRIES: &str = "64";
/// Most answers of one node, so that a chain that never ends cannot keep us for ever.
const ANSWERS_MAX: usize = 100_000;
/// How often progress is told.
const PROGRESS: Duration = Duration::from_secs(2);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct AuditKeyText {
    public_key: String,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Report<'a> {
    log: &'a AuditVerification,
    nodes: &'a [NodeReport],
}

pub(super) fn verify(context: &mut Context<'_>, client: &Client, orders: u16) -> anyhow::Result<Exit> {
    let fleet = authority::load(context.environment)?.document().fleet;
    let key = audit_key(client)?;
    let nodes: Vec<Node> = client.pages("/api/v1/nodes", &[("state", "active")])?;
    // In this order: what ended before a chain is read is in it, and what was witnessed before the log is read too.
    let ended = ended(context, client, orders)?;
    context.hint(&format!("asking {} nodes", nodes.len()))?;
    let readings = each::node(client, &nodes, read_node);
    let sequences: BTreeSet<u64> = readings
        .iter()
        .flatten()
        .flat_map(|reading| reading.checkpoints.iter().map(|checkpoint| checkpoint.sequence))
        .collect();
    let log = read_log(client, &sequences)?;
    let reports: Vec<NodeReport> = nodes
        .iter()
        .zip(readings)
        .map(|(node, reading)| match reading {
            Ok(reading) => compare::node((fleet, &key), &log, (node.node_id, &node.name), &reading, &ended),
            Err(reason) => NodeReport::absent(&node.name, reason),
        })
        .collect();
    tell(context, &log, &reports)?;
    Ok(exit(&log, &reports))
}

fn exit(log: &Log, reports: &[NodeReport]) -> Exit {
    if !log.found.intact || reports.iter().any(|report| !report.problems.is_empty()) {
        Exit::Failed
    } else if reports.iter().any(|report| report.absent.is_some()) {
        Exit::SomeSilent
    } else {
        Exit::Fine
    }
}

fn audit_key(client: &Client) -> anyhow::Result<[u8; 32]> {
    let text: AuditKeyText = client.get("/api/v1/audit/key", &[])?;
    let bytes = BASE64.decode(text.public_key.as_bytes()).ok();
    bytes
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| anyhow!("the aggregator's audit key is no Ed25519 key in base64"))
}

/// What the newest orders say of their nodes.
fn ended(context: &mut Context<'_>, client: &Client, orders: u16) -> anyhow::Result<Vec<Ended>> {
    let orders = if orders == 0 { Vec::new() } else { list(client, None, orders)? };
    let mut ended = Vec::new();
    let mut told = Instant::now();
    for (index, order) in orders.iter().enumerate() {
        let order: Order = client.get(&follow::path(order.order_id), &[])?;
        ended.extend(compare::ended(&order));
        if told.elapsed() >= PROGRESS {
            context.hint(&format!("{} of {} orders read", index + 1, orders.len()))?;
            told = Instant::now();
        }
    }
    Ok(ended)
}

/// Everything that a node keeps; the reason when it cannot be asked.
fn read_node(client: &Client, node: &Node) -> Result<Reading, String> {
    if node.liveness == Liveness::Offline {
        return Err("it is offline".to_owned());
    }
    read_connected(client, node).map_err(|error| error.to_string())
}

fn read_connected(client: &Client, node: &Node) -> Result<Reading, ClientError> {
    let path = node::path(&node.node_id.to_string());
    let checkpoints: Vec<AuditCheckpoint> =
        client.get(&format!("{path}/checkpoints"), &[("limit", CHECKPOINTS)])?;
    let mut entries: Vec<AuditEntry> = Vec::new();
    let mut witnessed = None;
    for answer in 0..ANSWERS_MAX {
        let after = entries.last().map_or(0, |entry| entry.sequence).to_string();
        let page: NodeAudit =
            client.get(&format!("{path}/audit"), &[("after", &after), ("limit", ENTRIES)])?;
        if answer == 0 {
            witnessed = page.witnessed;
        }
        let before = entries.last().map_or(0, |entry| entry.sequence);
        let is_end = page.entries.last().is_none_or(|entry| entry.sequence <= before);
        entries.extend(page.entries);
        if is_end {
            break;
        }
    }
    Ok(Reading { checkpoints, entries, witnessed })
}

/// Verifies the aggregator's log here; keeps the hashes of the entries that somebody witnessed.
fn read_log(client: &Client, sequences: &BTreeSet<u64>) -> anyhow::Result<Log> {
    let newest: Page<AuditEntry> = client.get("/api/v1/audit", &[("newest", "true"), ("limit", "1")])?;
    let mut hashes = std::collections::BTreeMap::new();
    let (found, last) = check(&witness(&newest.items), |push| {
        client.each_page("/api/v1/audit", &[], |entries: Vec<AuditEntry>| {
            let witnessed = entries.iter().filter(|entry| sequences.contains(&entry.sequence));
            hashes.extend(witnessed.map(|entry| (entry.sequence, entry.hash)));
            push(&entries)
        })
    })
    .context("cannot read the aggregator's log")?;
    Ok(Log { found, last, hashes })
}

fn tell(context: &mut Context<'_>, log: &Log, reports: &[NodeReport]) -> anyhow::Result<()> {
    let report = Report { log: &log.found, nodes: reports };
    let is_good = exit(log, reports) != Exit::Failed;
    render::object(context, &report, if is_good { "intact" } else { "broken" }, |context| {
        writeln!(context.out, "the aggregator's log is {}", sentence(&log.found, log.last))?;
        let asked: Vec<_> = reports.iter().filter(|report| report.absent.is_none()).collect();
        let sum = |count: fn(&NodeReport) -> u64| asked.iter().map(|report| count(report)).sum::<u64>();
        writeln!(
            context.out,
            "{} of {} nodes asked: {} checkpoints are on the log, {} entries are in their own chains, {} ended orders \
             are in both",
            asked.len(),
            reports.len(),
            sum(|report| report.checkpoints),
            sum(|report| report.entries),
            sum(|report| report.orders),
        )?;
        for report in reports {
            for problem in &report.problems {
                writeln!(context.out, "{}", summary::plain(&format!("{}: {problem}", report.node)))?;
            }
        }
        Ok(())
    })?;
    for report in reports {
        if let Some(reason) = &report.absent {
            context.hint(&summary::plain(&format!("{} was not asked: {reason}", report.node)))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
