//! `backup show`: the backups of one node in full.

use std::time::Duration;

use campanile_common::api::{
    BackupFinding, BackupHold, BackupResult, CheckStanding, DrillStanding, FloorStanding, NodeBackupDetail,
};
use campanile_common::unit::ByteCount;
use serde::Serialize;

use super::state::PolicyRow;
use super::{fetch, policy, state, status};
use crate::context::Context;
use crate::exit::Exit;
use crate::os::clock;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column};
use crate::watch::Watch;

const HOLDS: [Column<BackupHold>; 5] = [
    column("HOLD", |hold, _| Cell::new(hold.id)),
    column("SINCE", |hold, now| Cell::age(Some(hold.since), now)),
    column("OBJECTS", |hold, _| Cell::new(hold.proposed)),
    column("REASONS", |hold, _| Cell::new(hold.reasons.join(","))),
    column("WHAT", |hold, _| Cell::new(&hold.detail)),
];

const FINDINGS: [Column<BackupFinding>; 3] = [
    column("OBJECT", |finding, _| Cell::new(&finding.object)),
    column("FLAW", |finding, _| Cell::new(&finding.flaw)),
    column("FOUND", |finding, now| Cell::age(Some(finding.found), now)),
];

/// A policy's drills beside its name.
#[derive(Debug, Serialize)]
struct DrillRow {
    policy: String,
    #[serde(flatten)]
    drill: DrillStanding,
}

const DRILLS: [Column<DrillRow>; 6] = [
    column("DRILL", |row, _| Cell::new(&row.policy)),
    column("LAST", |row, now| Cell::age(row.drill.last, now)),
    column("RESULT", |row, _| {
        let tone = if row.drill.result == Some(BackupResult::Ok) { Tone::Good } else { Tone::Bad };
        Cell::maybe(row.drill.result.map(BackupResult::as_str)).toned(tone)
    }),
    column("WENT WELL", |row, now| Cell::age(row.drill.succeeded, now)),
    column("TOOK", |row, _| {
        let took = row.drill.restored_ms.map(|millis| Duration::from_secs(millis.div_ceil(1000)));
        Cell::maybe(took.map(super::slo::precise))
    }),
    column("WHAT", |row, _| Cell::new(&row.drill.detail)),
];

const CHECKS: [Column<CheckStanding>; 6] = [
    column("CHECK", |check, _| Cell::new(&check.target)),
    column("LAST", |check, now| Cell::age(check.last, now)),
    column("READ", |check, _| Cell::new(format!("{}/{}", check.read, check.shares))),
    column("ALL SINCE", |check, now| Cell::age(check.complete_since, now)),
    column("FINDINGS", |check, _| Cell::new(check.findings)),
    column("WHAT", |check, _| Cell::new(&check.detail)),
];

/// Carries it out.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, node: &str, watch: Watch) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    watch.run(context, |context| {
        let detail = fetch::detail(&client, node)?;
        // Who may see this node alone sees no floor.
        let floor = super::floor::read(&client).ok();
        render::object(context, &detail, &detail.backup.name, |context| {
            print(context, &detail, floor.as_ref())
        })?;
        Ok(Exit::Fine)
    })
}

fn print(
    context: &mut Context<'_>,
    detail: &NodeBackupDetail,
    floor: Option<&FloorStanding>,
) -> anyhow::Result<()> {
    let node = &detail.backup;
    let now = clock::now();
    let quota = if node.quota_bytes == 0 { Cell::new("") } else { Cell::new(ByteCount(node.quota_bytes)) };
    let fields = [
        ("node", Cell::new(&node.name)),
        ("state", state::cell(node.state)),
        ("why", Cell::new(node.reasons.join("; "))),
        ("snapshots", Cell::new(node.snapshots)),
        ("newest", Cell::maybe(node.newest)),
        ("size", Cell::new(ByteCount(node.bytes))),
        ("let go", Cell::new(ByteCount(node.trash_bytes))),
        ("quota", quota),
        ("verified", status::verified(node, now)),
        ("damaged", Cell::new(node.damaged)),
        ("held", Cell::new(node.held)),
    ];
    render::fields(context, &fields)?;
    if let Some(second) = node.second {
        let complete = ("second place", Cell::maybe(second.complete));
        let lacking =
            [("missing", second.missing), ("damaged", second.damaged), ("lost in the first", second.lost)];
        let lacking = lacking.into_iter().filter(|(_, count)| *count > 0);
        let fields: Vec<_> = lacking.map(|(name, count)| (name, Cell::new(count))).collect();
        render::fields(context, &[vec![complete], fields].concat())?;
    }
    let rows: Vec<PolicyRow> = policy::rows(node);
    if !rows.is_empty() {
        writeln!(context.out)?;
        policy::print(context, &rows)?;
    }
    print_proofs(context, detail)?;
    if let Some(floor) = floor {
        super::floor::hint(context, floor)?;
    }
    if !detail.holds.is_empty() {
        writeln!(context.out)?;
        render::list(context, &detail.holds, &HOLDS, |hold| hold.id.to_string())?;
        context.hint(&format!(
            "`campanile backup hold release {0} ID` lets the rules decide, `hold refuse {0} ID` drops what was proposed",
            node.name
        ))?;
    }
    if !detail.findings.is_empty() {
        writeln!(context.out)?;
        render::list(context, &detail.findings, &FINDINGS, |finding| finding.object.clone())?;
        context.hint(&format!(
            "`campanile backup run {0}` saves anew what is still there; `backup check {0}` names what is hurt",
            node.name
        ))?;
    }
    Ok(())
}

/// How restoring was tried, and how much was decrypted.
fn print_proofs(context: &mut Context<'_>, detail: &NodeBackupDetail) -> anyhow::Result<()> {
    let drilled = detail.backup.policies.iter().filter_map(|policy| {
        let drill = policy.drill.clone()?;
        Some(DrillRow { policy: policy.policy.clone(), drill })
    });
    let drills: Vec<DrillRow> = drilled.collect();
    if !drills.is_empty() {
        writeln!(context.out)?;
        render::list(context, &drills, &DRILLS, |row| row.policy.clone())?;
    }
    if !detail.backup.checks.is_empty() {
        writeln!(context.out)?;
        render::list(context, &detail.backup.checks, &CHECKS, |check| check.target.clone())?;
    }
    Ok(())
}
