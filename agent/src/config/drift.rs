//! Drift: what differs from the current generation by another hand. Files that we wrote do not differ.

use std::collections::BTreeMap;

use campanile_common::time::Timestamp;
use campanile_common::wire::v1::config::Drifted;

use super::host::Host;
use super::resource;
use super::step::{Desired, Plan, Problem};

/// What differs, in words that hold no content.
pub(crate) fn found(
    host: &Host,
    plan: &Plan,
    problems: &[Problem],
    desired: &[Desired],
    now: Timestamp,
) -> Vec<Drifted> {
    let by_id: BTreeMap<_, _> = desired.iter().map(|one| (&one.resource.id, one)).collect();
    let changed = plan.changes.iter().map(|change| {
        let what = change.shown.what.join(", ");
        let hand = by_id.get(&change.resource).and_then(|one| last_hand(host, one));
        let detail = hand.map_or_else(|| what.clone(), |hand| format!("{what}; {hand}"));
        Drifted { resource: change.resource.clone(), found: now, detail, is_enforced: false }
    });
    let unknown = problems.iter().filter_map(|problem| {
        let resource = problem.resource.clone()?;
        Some(Drifted { resource, found: now, detail: problem.message.clone(), is_enforced: false })
    });
    changed.chain(unknown).collect()
}

/// When the first of a resource's paths that is there was changed, and whose it is: the kernel tells no more.
fn last_hand(host: &Host, desired: &Desired) -> Option<String> {
    let paths = resource::watched_paths(desired);
    let stat = paths.iter().find_map(|path| host.root().stat(path).ok().flatten())?;
    let changed = u64::try_from(stat.modified_s).unwrap_or(0).saturating_mul(1000);
    let owner = host.user_name(stat.uid);
    Some(format!("changed {}, owned by {owner}", Timestamp::from_millis(changed)))
}
