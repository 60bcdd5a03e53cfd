//! `backup ls`: the snapshots of a node, by the receipts of the aggregator's store.

use campanile_common::api::StoredSnapshot;
use campanile_common::id::Digest;
use campanile_common::unit::ByteCount;
use clap::Args;

use super::fetch;
use crate::context::Context;
use crate::exit::Exit;
use crate::profile;
use crate::render::{self, Cell, Column, Tone, column, wide};
use crate::watch::Watch;

/// Digits of a snapshot's name that people need.
const SHORT: usize = 8;

/// Options of `backup ls`.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  campanile backup ls web-01
  campanile backup ls web-01 --policy etc -o wide
  campanile backup ls web-01 --deleted               what `backup undelete` can bring back

Times are those at which the aggregator received the snapshots. What a policy saves elsewhere is not in this list.")]
pub struct Ls {
    /// Name or id
    node: String,
    /// Only those that this policy made
    #[arg(long, value_name = "NAME")]
    policy: Option<String>,
    /// Those that were let go and can be brought back, instead
    #[arg(long)]
    deleted: bool,
    #[command(flatten)]
    watch: Watch,
}

const COLUMNS: [Column<StoredSnapshot>; 8] = [
    column("SNAPSHOT", |snapshot, _| Cell::new(short(snapshot.snapshot))),
    column("RECEIVED", |snapshot, _| Cell::new(snapshot.received)),
    column("AGE", |snapshot, now| Cell::age(Some(snapshot.received), now)),
    column("POLICY", |snapshot, _| Cell::maybe(snapshot.policy.as_ref())),
    column("SIZE", |snapshot, _| Cell::new(ByteCount(snapshot.bytes))),
    column("NEW", |snapshot, _| Cell::new(ByteCount(snapshot.new_bytes))),
    column("GONE IN", |snapshot, now| match snapshot.deleted_until {
        Some(until) => Cell::left(until, now).toned(Tone::Warning),
        None => Cell::new(""),
    }),
    wide("NAME", |snapshot, _| Cell::new(snapshot.snapshot)),
];

/// The begin of a name, as people write it.
pub(super) fn short(snapshot: Digest) -> String {
    snapshot.to_string().chars().take(SHORT).collect()
}

/// Carries it out.
///
/// # Errors
/// When it fails.
pub(super) fn run(context: &mut Context<'_>, arguments: &Ls) -> anyhow::Result<Exit> {
    let client = profile::client(context)?;
    arguments.watch.run(context, |context| {
        let mut found = fetch::snapshots(&client, &arguments.node, arguments.deleted)?;
        found.retain(|snapshot| {
            let is_wanted = arguments.policy.is_none() || snapshot.policy == arguments.policy;
            is_wanted && snapshot.deleted_until.is_some() == arguments.deleted
        });
        render::list(context, &found, &COLUMNS, |snapshot| snapshot.snapshot.to_string())?;
        Ok(Exit::Fine)
    })
}
