//! `backup files` and `backup diff`: what is in a snapshot. Only the node can read it, so these are orders; they tell
//! names of files, and so take an operator's key (tier 2).

use anyhow::bail;
use campanile_common::api::{ChangeLine, EntryLine, Node};
use campanile_common::authority::BackupAction;
use campanile_common::backup::PolicyName;
use campanile_common::unit::ByteCount;
use clap::Args;

use super::fetch;
use super::moment::Zone;
use super::report::NodeReport;
use super::work::{Job, Work};
use crate::client::Client;
use crate::context::Context;
use crate::exit::{Exit, UsageError};
use crate::order::options::Options;
use crate::order::summary;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::{authority, profile, targets};

/// Options of `backup files`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup files web-01
  campanile backup files web-01 --at '2026-05-03 10:14' /etc/nginx
  campanile backup files db-01 --policy etc -o name

The node reads its repository: the order is signed (tier 2), since it tells names of files. A long list is cut, which
is said; name a folder to see it in full. Exit codes are those of `campanile run`.")]
pub struct Files {
    /// Name or id
    node: String,
    /// A file or folder, with all that is below it
    #[arg(value_name = "PATH")]
    path: Option<String>,
    #[command(flatten)]
    which: WhichPolicy,
    /// `latest`, a time such as '2026-05-03 10:14' (the newest snapshot at that time), or the begin of a name
    #[arg(long, value_name = "WHEN", default_value = "latest")]
    at: String,
    #[command(flatten)]
    options: Options,
}

/// Options of `backup diff`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup diff web-01 '2026-05-03 10:14' latest
  campanile backup diff web-01 4f0c2a91 77ab01c2 --policy etc

The node reads its repository: the order is signed (tier 2), since it tells names of files. Exit codes are those of
`campanile run`.")]
pub struct Diff {
    /// Name or id
    node: String,
    /// The first: `latest`, a time, or the begin of a name
    #[arg(value_name = "A")]
    before: String,
    /// The second, likewise
    #[arg(value_name = "B")]
    after: String,
    #[command(flatten)]
    which: WhichPolicy,
    #[command(flatten)]
    options: Options,
}

/// Whose snapshots are meant.
#[derive(Debug, Args)]
pub struct WhichPolicy {
    /// Snapshots of this policy; the node's only one without
    #[arg(long, value_name = "NAME")]
    policy: Option<PolicyName>,
}

impl WhichPolicy {
    /// The policy that is meant.
    ///
    /// # Errors
    /// When none is named and the node has not just one.
    pub(crate) fn find(&self, client: &Client, node: &Node) -> anyhow::Result<PolicyName> {
        if let Some(policy) = &self.policy {
            return Ok(policy.clone());
        }
        let detail = fetch::detail(client, &node.name)?;
        let names: Vec<&str> = detail.backup.policies.iter().map(|policy| policy.policy.as_str()).collect();
        match names.as_slice() {
            [one] => Ok(one.parse()?),
            [] => bail!(
                "no policy is known of {}; give the one that made the snapshot with --policy",
                node.name
            ),
            several => {
                let text = format!(
                    "{} has several policies; give one of them: --policy {}",
                    node.name,
                    several.join("|")
                );
                Err(UsageError(text).into())
            }
        }
    }
}

const ENTRIES: [Column<EntryLine>; 5] = [
    wide("MODE", |entry, _| Cell::new(format!("{:04o}", entry.mode))),
    wide("OWNER", |entry, _| Cell::new(format!("{}:{}", entry.uid, entry.gid))),
    column("SIZE", |entry, _| {
        if entry.kind == "file" { Cell::new(ByteCount(entry.bytes)) } else { Cell::new(&entry.kind) }
    }),
    column("MODIFIED", |entry, _| Cell::new(&entry.modified)),
    column("PATH", |entry, _| Cell::new(&entry.path)),
];

const CHANGES: [Column<ChangeLine>; 4] = [
    column("CHANGE", |change, _| {
        let tone = match change.change.as_str() {
            "added" => Tone::Good,
            "removed" => Tone::Bad,
            "content" | "kind" => Tone::Warning,
            _ => Tone::Plain,
        };
        Cell::new(&change.change).toned(tone)
    }),
    column("BEFORE", |change, _| Cell::new(ByteCount(change.bytes_before))),
    column("AFTER", |change, _| Cell::new(ByteCount(change.bytes_after))),
    column("PATH", |change, _| Cell::new(&change.path)),
];

/// Lists the files of a snapshot.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub(super) fn files(context: &mut Context<'_>, arguments: &Files) -> anyhow::Result<Exit> {
    let snapshot = Zone::system().snapshot(&arguments.at).map_err(|error| UsageError(error.to_string()))?;
    let path = arguments.path.clone();
    let asked = Asked { node: &arguments.node, which: &arguments.which, options: &arguments.options };
    let (exit, report) = asked.order(context, |policy| BackupAction::List { policy, snapshot, path })?;
    let Some(report) = report else { return Ok(exit) };
    render::list(context, &report.said.entries, &ENTRIES, |entry| entry.path.clone())?;
    tell(context, &report)?;
    Ok(exit)
}

/// Lists what differs between two snapshots.
///
/// # Errors
/// When it is refused, or nothing could be sent.
pub(super) fn diff(context: &mut Context<'_>, arguments: &Diff) -> anyhow::Result<Exit> {
    let zone = Zone::system();
    let read = |text: &str| zone.snapshot(text).map_err(|error| UsageError(error.to_string()));
    let (before, after) = (read(&arguments.before)?, read(&arguments.after)?);
    let asked = Asked { node: &arguments.node, which: &arguments.which, options: &arguments.options };
    let (exit, report) = asked.order(context, |policy| BackupAction::Diff { policy, before, after })?;
    let Some(report) = report else { return Ok(exit) };
    render::list(context, &report.said.changes, &CHANGES, |change| change.path.clone())?;
    tell(context, &report)?;
    Ok(exit)
}

/// One node that is asked.
struct Asked<'a> {
    node: &'a str,
    which: &'a WhichPolicy,
    options: &'a Options,
}

impl Asked<'_> {
    fn order(
        &self,
        context: &mut Context<'_>,
        action: impl FnOnce(PolicyName) -> BackupAction,
    ) -> anyhow::Result<(Exit, Option<NodeReport>)> {
        let client = profile::client_of_orders(context)?;
        let nodes = targets::resolve(&client, None, &[self.node.to_owned()])?;
        let Some(node) = nodes.first() else { bail!("there is no node `{}`", self.node) };
        let action = action(self.which.find(&client, node)?);
        let work = Work { authority: authority::load(context.environment)?, client };
        let (exit, reports) = work.one(context, &Job { action, nodes, options: self.options.clone() })?;
        Ok((exit, reports.into_iter().next()))
    }
}

/// Says what is not in the list, and how many entries there are.
fn tell(context: &mut Context<'_>, report: &NodeReport) -> anyhow::Result<()> {
    context.out.flush()?;
    for problem in &report.said.problems {
        context.hint(&summary::plain(&format!("  {}: {problem}", report.node)))?;
    }
    let count = report.said.figures.files;
    match &report.said.snapshot {
        Some(id) => {
            context.hint(&format!("snapshot {}: {count} entries", id.get(..8).unwrap_or(id)))?;
        }
        None if report.detail.is_empty() => {}
        None => context.hint(&summary::plain(&format!("  {}: {}", report.node, report.detail)))?,
    }
    Ok(())
}
