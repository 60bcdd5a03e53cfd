//! `backup show`: the backups of one node in full.

use campanile_common::api::{BackupFinding, BackupHold, NodeBackupDetail};
use campanile_common::unit::ByteCount;

use super::state::PolicyRow;
use super::{fetch, policy, state, status};
use crate::context::Context;
use crate::exit::Exit;
use crate::os::clock;
use crate::profile;
use crate::render::{self, Cell, Column, column};
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

/// Carries it out.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, node: &str, watch: Watch) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    watch.run(context, |context| {
        let detail = fetch::detail(&client, node)?;
        render::object(context, &detail, &detail.backup.name, |context| print(context, &detail))?;
        Ok(Exit::Fine)
    })
}

fn print(context: &mut Context<'_>, detail: &NodeBackupDetail) -> anyhow::Result<()> {
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
