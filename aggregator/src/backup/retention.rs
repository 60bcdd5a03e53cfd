//! What a node's proposal to let go of objects comes to. Pure: receipts, rules and the time in, a decision out.
//!
//! A node is never believed: every time is that of a receipt, every size one that the store measured. A snapshot goes
//! only when the rules let it go by receipt time and it is older than the floor; a pack only when no snapshot that stays
//! named it when it was appended. What is unusual waits for a person, and everything behind it waits too.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_common::backup::{Keep, PolicyName, Retention, StoredKind, StoredObject};
use campanile_common::id::Digest;
use campanile_common::time::Timestamp;
use campanile_common::wire::v1::store::StayReason;

use super::account::{Account, SnapshotFacts};
use super::record::Suspicion;
use super::standing::Standings;

const DAY: Duration = Duration::from_secs(86_400);
/// Snapshots that may always go within a day: a policy that was just shortened lets go of some at once.
const SNAPSHOTS_A_DAY_MIN: usize = 10;
/// More than this times the snapshots that a usual day brings is unusual.
const SNAPSHOTS_A_DAY_FACTOR: usize = 3;
/// Days over which a usual day is measured.
const USUAL_DAYS: u32 = 30;
/// Snapshots to compare with, at most; fewer than the least tell nothing.
const BASELINE_MAX: usize = 10;
const BASELINE_MIN: usize = 3;
/// Growth below this is never unusual.
const GROWTH_BYTES_MIN: u64 = 1 << 30;
const GROWTH_FACTOR: u64 = 10;
/// A snapshot so small tells nothing by the share of its new bytes.
const NEW_SHARE_BYTES_MIN: u64 = 1 << 20;

/// What decides how long snapshots of a node stay: each policy for its own, the settings for all others and, by their
/// floor, for every one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    usual: Retention,
    policies: BTreeMap<PolicyName, Keep>,
}

impl Rules {
    /// Those of the settings alone.
    pub const fn usual(usual: Retention) -> Self {
        Self { usual, policies: BTreeMap::new() }
    }

    /// With what is remembered of the node's policies.
    pub fn of(usual: Retention, standings: &Standings, now: Timestamp) -> Self {
        let keep = usual.keep();
        let policies = standings
            .iter()
            .map(|(name, standing)| (name.clone(), standing.keeps(&keep, usual.floor(), now)))
            .collect();
        Self { usual, policies }
    }

    /// Nothing younger goes, and what went can be brought back for as long: in milliseconds.
    pub fn floor_ms(&self) -> u64 {
        self.usual.floor_ms()
    }

    fn keep_of(&self, policy: Option<&PolicyName>) -> Keep {
        let known = policy.and_then(|policy| self.policies.get(policy));
        known.copied().unwrap_or_else(|| self.usual.keep())
    }
}

/// What a node proposes to let go of: names in rising order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Proposal {
    /// Snapshots.
    pub snapshots: Vec<Digest>,
    /// Indexes.
    pub indexes: Vec<Digest>,
    /// Packs.
    pub packs: Vec<Digest>,
}

impl Proposal {
    /// How many objects it names.
    pub fn count(&self) -> usize {
        self.snapshots.len() + self.indexes.len() + self.packs.len()
    }
}

/// What is done about a proposal.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[must_use]
pub struct Decision {
    /// Goes to the trash.
    pub delete: Vec<StoredObject>,
    /// Stays, and why.
    pub stay: Vec<(StoredObject, StayReason)>,
    /// Not empty: nothing goes before a person has looked, for these reasons.
    pub hold: Vec<Suspicion>,
}

/// Why proposed snapshots stay; those that are stored and not named here may go. Each policy's snapshots are judged by
/// themselves, and so are those of no policy: the newest of each never goes.
pub fn staying(
    proposal: &Proposal,
    account: &Account,
    rules: &Rules,
    now: Timestamp,
) -> BTreeMap<Digest, StayReason> {
    let history = account.history();
    let mut groups: BTreeMap<Option<&PolicyName>, Vec<&SnapshotFacts>> = BTreeMap::new();
    for snapshot in &history {
        groups.entry(snapshot.policy.as_ref()).or_default().push(snapshot);
    }
    let proposed: BTreeSet<&Digest> = proposal.snapshots.iter().collect();
    let mut staying = BTreeMap::new();
    for (policy, group) in groups {
        let times: Vec<Timestamp> = group.iter().map(|snapshot| snapshot.received).collect();
        let kept = rules.keep_of(policy).keeps(&times);
        let newest = group.last().map(|snapshot| snapshot.id);
        let judged = group.iter().zip(kept).filter(|(snapshot, _)| proposed.contains(&snapshot.id));
        staying.extend(judged.filter_map(|(snapshot, is_kept)| {
            let age = now.since(snapshot.received).as_millis();
            let reason = if Some(snapshot.id) == newest {
                StayReason::Newest
            } else if is_kept {
                StayReason::Kept
            } else if age < u128::from(rules.floor_ms()) {
                StayReason::Floor
            } else {
                return None;
            };
            Some((snapshot.id, reason))
        }));
    }
    staying
}

/// Decides a proposal. `staying` is what [`staying`] said, `needed` those of its packs that a snapshot which stays
/// names. `is_released`: a person has looked, and what is unusual about it is as it should be.
pub fn decide(
    proposal: &Proposal,
    account: &Account,
    staying: &BTreeMap<Digest, StayReason>,
    needed: &BTreeSet<Digest>,
    now: Timestamp,
    is_released: bool,
) -> Decision {
    let mut decision = Decision::default();
    let newest_index =
        account.of_kind(StoredKind::Index, None).max_by_key(|(id, receipt)| (receipt.received, *id));
    let newest_index = newest_index.map(|(id, _)| id);
    let mut sort = |kind, ids: &[Digest], reason: &dyn Fn(&Digest) -> Option<StayReason>| {
        for id in ids {
            let object = StoredObject::new(kind, *id);
            // What is not there is gone as it should be.
            if account.objects.contains_key(&object) {
                match reason(id) {
                    Some(reason) => decision.stay.push((object, reason)),
                    None => decision.delete.push(object),
                }
            }
        }
    };
    sort(StoredKind::Snapshot, &proposal.snapshots, &|id| staying.get(id).copied());
    sort(StoredKind::Index, &proposal.indexes, &|id| {
        (Some(*id) == newest_index).then_some(StayReason::Newest)
    });
    sort(StoredKind::Pack, &proposal.packs, &|id| needed.contains(id).then_some(StayReason::Needed));
    if !is_released {
        decision.hold = account.open_reasons();
        if decision.hold.is_empty() {
            decision.hold = unusual(proposal, account, &decision, now);
        }
    }
    decision
}

/// What is unusual about a proposal.
fn unusual(proposal: &Proposal, account: &Account, decision: &Decision, now: Timestamp) -> Vec<Suspicion> {
    let mut found = Vec::new();
    let history = account.history();
    let stays = decision.stay.iter();
    let names_newest = stays
        .clone()
        .any(|(object, reason)| object.kind == StoredKind::Snapshot && *reason == StayReason::Newest);
    if names_newest || (!history.is_empty() && proposal.snapshots.len() >= history.len().max(2)) {
        found.push(Suspicion::Newest);
    }
    let is_snapshot = |object: &&StoredObject| object.kind == StoredKind::Snapshot;
    let going = decision.delete.iter().filter(is_snapshot).count();
    let lately = |(object, trashed): &(&StoredObject, &super::account::Trashed)| {
        object.kind == StoredKind::Snapshot && now.since(trashed.at) < DAY
    };
    let gone = account.trash.iter().filter(lately).count();
    if going > 0 && going + gone > snapshots_a_day_max(&history, now) {
        found.push(Suspicion::ManySnapshots);
    }
    let indexes: u64 = account.of_kind(StoredKind::Index, None).map(|(_, receipt)| receipt.size).sum();
    let index_size = |object: &StoredObject| account.objects.get(object).map_or(0, |receipt| receipt.size);
    let going: u64 =
        decision.delete.iter().filter(|object| object.kind == StoredKind::Index).map(index_size).sum();
    // A prune writes a whole new index before it lets the old ones go, so that half stays.
    if going > 0 && (indexes - going) * 4 < indexes {
        found.push(Suspicion::Indexes);
    }
    found
}

/// How many snapshots may go within a day.
fn snapshots_a_day_max(history: &[SnapshotFacts], now: Timestamp) -> usize {
    let days = usize::try_from(USUAL_DAYS).unwrap_or(usize::MAX);
    let recent = history.iter().filter(|snapshot| now.since(snapshot.received) < DAY * USUAL_DAYS).count();
    (SNAPSHOTS_A_DAY_FACTOR * recent.div_ceil(days)).max(SNAPSHOTS_A_DAY_MIN)
}

/// What is unusual about the newest snapshot beside those before it. `released` is when a person last looked: what
/// came before is as it should be, and only the newest of it is compared with.
pub fn unusual_snapshot(history: &[SnapshotFacts], released: Option<Timestamp>) -> Vec<Suspicion> {
    let Some((newest, before)) = history.split_last() else { return Vec::new() };
    let is_seen = |snapshot: &SnapshotFacts| released.is_some_and(|released| snapshot.received <= released);
    if is_seen(newest) {
        return Vec::new();
    }
    let seen = before.iter().filter(|snapshot| is_seen(snapshot)).count();
    let baseline = &before[seen.saturating_sub(1)..];
    let baseline = &baseline[baseline.len().saturating_sub(BASELINE_MAX)..];
    if baseline.len() < BASELINE_MIN {
        return Vec::new();
    }
    let mut found = Vec::new();
    let bytes = median(baseline.iter().map(|snapshot| snapshot.bytes));
    let new_bytes = median(baseline.iter().map(|snapshot| snapshot.new_bytes));
    if newest.bytes < bytes / 2 {
        found.push(Suspicion::SizeFall);
    }
    if newest.new_bytes > new_bytes.saturating_mul(GROWTH_FACTOR).max(GROWTH_BYTES_MIN) {
        found.push(Suspicion::Growth);
    }
    let share = |snapshot: &SnapshotFacts| {
        u64::try_from(u128::from(snapshot.new_bytes) * 100 / u128::from(snapshot.bytes.max(1))).unwrap_or(100)
    };
    if newest.bytes >= NEW_SHARE_BYTES_MIN && share(newest) >= 80 && median(baseline.iter().map(share)) <= 20
    {
        found.push(Suspicion::NewShare);
    }
    found
}

fn median(values: impl Iterator<Item = u64>) -> u64 {
    let mut values: Vec<u64> = values.collect();
    values.sort_unstable();
    values.get(values.len() / 2).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests;
