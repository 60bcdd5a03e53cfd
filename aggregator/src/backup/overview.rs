//! How a node's backups stand, from what is stored and what its policies promise. Pure.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::api::{
    BackupFinding, BackupHold, BackupState, NodeBackup, PolicyBackup, SecondPlace, StoredSnapshot,
};
use campanile_common::backup::{PolicyName, StoredKind, Target};
use campanile_common::health::BackupTrouble;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::unit::{ByteCount, format_age, format_duration};
use campanile_common::wire::v1::proof::ProofReport;

use super::account::Account;
use super::freshness::{Freshness, Severity, judge};
use super::note::reasons_text;
use super::policies::{Booked, Policies};
use super::proof;
use super::standing::Standings;

/// What is known of a node.
#[derive(Debug)]
pub(super) struct Known<'a> {
    /// What it stored; none where it never did.
    pub(super) account: Option<&'a Account>,
    /// Its part of the store cannot be used.
    pub(super) is_unusable: bool,
    /// Its policies; none where no configuration tells.
    pub(super) policies: Option<&'a Policies>,
    /// Since when they are known.
    pub(super) standings: &'a Standings,
    /// What it told of its drills and checks.
    pub(super) proof: &'a ProofReport,
    /// The time.
    pub(super) now: Timestamp,
}

/// How a node stands.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Judged {
    /// The worst of what follows.
    pub(super) state: BackupState,
    /// Why it is not fresh.
    pub(super) reasons: Vec<String>,
    /// Its policies, by name.
    pub(super) policies: Vec<PolicyBackup>,
    /// What its health should hear.
    pub(super) troubles: Vec<BackupTrouble>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Stored {
    count: u64,
    newest: Option<Timestamp>,
}

/// Judges a node. A policy that saves elsewhere is unknown, and makes the node so only where there is no other.
pub(super) fn judge_node(known: &Known<'_>) -> Judged {
    let mut judged =
        Judged { state: BackupState::Fresh, reasons: Vec::new(), policies: Vec::new(), troubles: Vec::new() };
    let stored = stored_by_policy(known.account);
    match known.policies {
        None => judged.unknown("no configuration says what is to be backed up".to_owned()),
        Some(Err(error)) => judged.unknown(error.to_string()),
        Some(Ok(policies)) if policies.is_empty() => judged.unknown("it has no policy".to_owned()),
        Some(Ok(policies)) => {
            for (name, booked) in policies.iter() {
                let stored = stored.get(&Some(name)).copied().unwrap_or_default();
                judged.policy(known, name, booked, stored);
            }
            let are_elsewhere = judged.policies.iter().all(|policy| policy.state == BackupState::Unknown);
            if are_elsewhere {
                judged.unknown("its policies save to places that only the node knows".to_owned());
            }
        }
    }
    judged.proofs(known);
    judged.store(known);
    judged
}

fn stored_by_policy(account: Option<&Account>) -> BTreeMap<Option<&PolicyName>, Stored> {
    let mut stored: BTreeMap<Option<&PolicyName>, Stored> = BTreeMap::new();
    let snapshots = account.into_iter().flat_map(|account| account.of_kind(StoredKind::Snapshot, None));
    for (_, receipt) in snapshots {
        let policy = receipt.closure().and_then(|closure| closure.policy.as_ref());
        let of = stored.entry(policy).or_default();
        of.count += 1;
        of.newest = of.newest.max(Some(receipt.received));
    }
    stored
}

impl Judged {
    fn unknown(&mut self, reason: String) {
        self.state = self.state.max(BackupState::Unknown);
        self.reasons.push(reason);
    }

    fn policy(&mut self, known: &Known<'_>, name: &PolicyName, booked: &Booked, stored: Stored) {
        let policy = &booked.policy;
        let is_here = policy.target == Target::Aggregator;
        let state = if is_here {
            let since = known.standings.get(name).map_or(known.now, |standing| standing.since);
            let freshness = judge(policy.max_age, stored.newest, since, known.now);
            self.troubles.extend(trouble(name, policy.max_age, freshness));
            self.reasons.extend(reason(name, policy.max_age, freshness));
            let state = state(freshness);
            self.state = self.state.max(state);
            state
        } else {
            BackupState::Unknown
        };
        self.policies.push(PolicyBackup {
            policy: name.to_string(),
            schedule: booked.schedule.clone(),
            target: policy.target.to_string(),
            max_age_seconds: policy.max_age.as_secs(),
            state,
            newest: stored.newest,
            snapshots: stored.count,
            drill: proof::drill_standing(known.proof, name),
        });
    }

    /// What the node's drills and checks tell.
    fn proofs(&mut self, known: &Known<'_>) {
        let Some(Ok(policies)) = known.policies else { return };
        for flaw in proof::flaws(known.proof, policies, known.standings, known.now) {
            self.state = self.state.max(flaw.state);
            self.reasons.push(flaw.reason);
            self.troubles.push(flaw.trouble);
        }
    }

    /// What is wrong with what is stored, whatever its age.
    fn store(&mut self, known: &Known<'_>) {
        if known.is_unusable {
            self.critical(
                BackupTrouble::Unusable,
                "its part of the store cannot be used; the aggregator's log says why".to_owned(),
            );
        }
        let Some(account) = known.account else { return };
        let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
        if !account.findings.is_empty() {
            let objects = count(account.findings.len());
            let reason = format!("{objects} stored objects are damaged or gone");
            self.critical(BackupTrouble::Damaged { objects }, reason);
        }
        if !account.holds.is_empty() {
            let holds = count(account.holds.len());
            let reason = format!("deletions wait for a person: {}", reasons_text(&account.open_reasons()));
            self.critical(BackupTrouble::Held { holds }, reason);
        }
    }

    fn critical(&mut self, trouble: BackupTrouble, reason: String) {
        self.state = BackupState::Critical;
        self.reasons.push(reason);
        self.troubles.push(trouble);
    }
}

const fn state(freshness: Freshness) -> BackupState {
    match (freshness, freshness.severity()) {
        (_, Some(Severity::Critical)) => BackupState::Critical,
        (_, Some(Severity::Warning)) => BackupState::Late,
        (Freshness::Unknown { .. }, None) => BackupState::Waiting,
        (_, None) => BackupState::Fresh,
    }
}

fn trouble(name: &PolicyName, max_age: Duration, freshness: Freshness) -> Option<BackupTrouble> {
    let (policy, max_age_seconds) = (name.to_string(), max_age.as_secs_f64());
    match freshness {
        Freshness::Fresh { .. } | Freshness::Unknown { .. } => None,
        Freshness::Late { age, .. } => {
            Some(BackupTrouble::Late { policy, age_seconds: age.as_secs_f64(), max_age_seconds })
        }
        Freshness::Missing { waited, .. } => {
            Some(BackupTrouble::Missing { policy, waited_seconds: waited.as_secs_f64(), max_age_seconds })
        }
    }
}

fn reason(name: &PolicyName, max_age: Duration, freshness: Freshness) -> Option<String> {
    let promised = format_duration(max_age);
    match freshness {
        Freshness::Fresh { .. } => None,
        Freshness::Unknown { .. } => Some(format!("{name}: no snapshot yet, one is due within {promised}")),
        Freshness::Late { age, .. } => Some(format!(
            "{name}: the newest snapshot is {} old, at most {promised} is promised",
            format_age(age)
        )),
        Freshness::Missing { waited, .. } => {
            Some(format!("{name}: no snapshot for {}, one was due within {promised}", format_age(waited)))
        }
    }
}

/// What is shown of a node beside how it stands.
#[derive(Debug)]
pub(super) struct Shown<'a> {
    /// Its id.
    pub(super) node: NodeId,
    /// Its name.
    pub(super) name: &'a str,
    /// Most bytes that it may store.
    pub(super) quota: ByteCount,
    /// Bytes that were read back lately.
    pub(super) verified_bytes: u64,
    /// How it stands in the second place.
    pub(super) second: Option<SecondPlace>,
}

/// A node as the API shows it.
pub(super) fn node_backup(shown: &Shown<'_>, known: &Known<'_>) -> NodeBackup {
    let Judged { mut state, mut reasons, policies, troubles: _ } = judge_node(known);
    if let Some(SecondPlace { lost: lost @ 1.., .. }) = shown.second {
        state = BackupState::Critical;
        reasons.push(format!("the second place has {lost} snapshots that the first does not know any more"));
    }
    let of = |figure: fn(&Account) -> u64| known.account.map_or(0, figure);
    let count = |length: usize| u64::try_from(length).unwrap_or(u64::MAX);
    let stored = stored_by_policy(known.account);
    let bytes = of(Account::bytes);
    NodeBackup {
        node_id: shown.node,
        name: shown.name.to_owned(),
        state,
        reasons,
        policies,
        snapshots: stored.values().map(|stored| stored.count).sum(),
        newest: stored.values().filter_map(|stored| stored.newest).max(),
        bytes,
        trash_bytes: of(Account::trash_bytes),
        quota_bytes: shown.quota.0,
        checks: proof::check_standings(known.proof, known.policies),
        verified: known.account.and_then(|account| account.progress.ended),
        second: shown.second,
        verified_bytes: shown.verified_bytes.min(bytes),
        damaged: known.account.map_or(0, |account| count(account.findings.len())),
        held: known.account.map_or(0, |account| count(account.holds.len())),
    }
}

/// What waits for a person, oldest first.
pub(super) fn holds(account: &Account) -> Vec<BackupHold> {
    let hold = |(id, hold): (&u64, &super::Hold)| BackupHold {
        id: *id,
        since: hold.at,
        reasons: hold.reasons.iter().map(|reason| reason.as_str().to_owned()).collect(),
        detail: hold.detail.clone(),
        proposed: hold.proposed,
    };
    account.holds.iter().map(hold).collect()
}

/// What is damaged, at most `most`.
pub(super) fn findings(account: &Account, most: usize) -> Vec<BackupFinding> {
    let found = account.findings.iter().take(most);
    let finding = found.map(|(object, finding)| BackupFinding {
        object: object.to_string(),
        flaw: finding.flaw.as_str().to_owned(),
        found: finding.at,
    });
    finding.collect()
}

/// The snapshots of a node, newest first; those too that were let go and can be brought back, where wanted.
pub(super) fn snapshots(account: &Account, has_deleted: bool) -> Vec<StoredSnapshot> {
    let shown = |id, receipt: &super::Receipt, deleted_until| StoredSnapshot {
        snapshot: id,
        policy: receipt.closure().and_then(|closure| closure.policy.as_ref()).map(ToString::to_string),
        received: receipt.received,
        bytes: receipt.closure().map_or(0, |closure| closure.bytes),
        new_bytes: receipt.closure().map_or(0, |closure| closure.new_bytes),
        deleted_until,
    };
    let stored = account.of_kind(StoredKind::Snapshot, None).map(|(id, receipt)| shown(id, receipt, None));
    let mut found: Vec<StoredSnapshot> = stored.collect();
    if has_deleted {
        let trashed = account.trash.iter().filter(|(object, _)| object.kind == StoredKind::Snapshot);
        found
            .extend(trashed.map(|(object, trashed)| shown(object.id, &trashed.receipt, Some(trashed.until))));
    }
    found.sort_by_key(|snapshot| Reverse((snapshot.received, snapshot.snapshot)));
    found
}

#[cfg(test)]
mod tests;
