//! What nodes prove of their backups: that they restore (drills), and that all of it decrypts (checks). Pure, but for the
//! handle that takes a report.
//!
//! A node tells it, and a stolen one may tell anything: it can make its own backups look proven, and nothing more. What it
//! last told is remembered, and what it promised and did not tell in time is missed, also while it is away.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_common::api::{AuditOutcome, BackupResult, BackupState, CheckStanding, DrillStanding};
use campanile_common::backup::PolicyName;
use campanile_common::health::BackupTrouble;
use campanile_common::id::NodeId;
use campanile_common::time::Timestamp;
use campanile_common::unit::{format_age, format_duration};
use campanile_common::wire::v1::proof::{
    CHECKS_MAX, CheckReport, DRILLS_MAX, DrillReport, ProofEnd, ProofReport, ProofResult, TEXT_BYTES_MAX,
};
use serde_json::json;

use super::handle::BackupStore;
use super::policies::{Booked, Policies};
use super::standing::Standings;
use crate::audit::Record;

/// A drill may come so much later than its schedule says: the splay, a window, a try that failed.
const SLACK: Duration = Duration::from_secs(86_400);

/// Something that a node did not prove.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Flaw {
    pub(super) state: BackupState,
    pub(super) reason: String,
    pub(super) trouble: BackupTrouble,
}

fn cut(text: &str) -> String {
    let plain = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut bytes = 0;
    plain
        .take_while(|c| {
            bytes += c.len_utf8();
            bytes <= TEXT_BYTES_MAX
        })
        .collect()
}

fn clean_end(end: &mut Option<ProofEnd>, now: Timestamp) {
    if let Some(end) = end {
        end.detail = cut(&end.detail);
        end.time = end.time.min(now);
    }
}

/// A report within its limits: no time lies ahead, no text is strange.
pub(super) fn clean(mut report: ProofReport, now: Timestamp) -> ProofReport {
    report.drills.truncate(DRILLS_MAX);
    report.drills.retain(|drill| drill.policy.parse::<PolicyName>().is_ok());
    for drill in &mut report.drills {
        clean_end(&mut drill.last, now);
        drill.succeeded = drill.succeeded.map(|time| time.min(now));
    }
    report.checks.truncate(CHECKS_MAX);
    for check in &mut report.checks {
        check.target = cut(&check.target);
        check.since = check.since.min(now);
        check.complete_since = check.complete_since.map(|time| time.min(now));
        check.read = check.read.min(check.shares);
        clean_end(&mut check.last, now);
    }
    report
}

const fn result(result: ProofResult) -> BackupResult {
    match result {
        ProofResult::Fine => BackupResult::Ok,
        ProofResult::Failed => BackupResult::Failed,
        ProofResult::Stopped => BackupResult::Stopped,
    }
}

fn drill_of<'a>(report: &'a ProofReport, policy: &PolicyName) -> Option<&'a DrillReport> {
    report.drills.iter().find(|drill| drill.policy == policy.as_str())
}

/// How restoring a policy was tried.
pub(super) fn drill_standing(report: &ProofReport, policy: &PolicyName) -> Option<DrillStanding> {
    let drill = drill_of(report, policy)?;
    let last = drill.last.as_ref();
    Some(DrillStanding {
        last: last.map(|last| last.time),
        result: last.map(|last| result(last.result)),
        detail: last.map(|last| last.detail.clone()).unwrap_or_default(),
        succeeded: drill.succeeded,
        restored_ms: drill.succeeded.map(|_| drill.took_ms),
    })
}

/// The checks of places that policies of the node save to.
fn current<'a>(
    report: &'a ProofReport,
    policies: &'a BTreeMap<PolicyName, Booked>,
) -> impl Iterator<Item = &'a CheckReport> {
    let is_used = move |check: &&CheckReport| {
        policies.values().any(|booked| cut(&booked.policy.target.to_string()) == check.target)
    };
    report.checks.iter().filter(is_used)
}

/// How the repositories of a node were decrypted.
pub(super) fn check_standings(report: &ProofReport, policies: Option<&Policies>) -> Vec<CheckStanding> {
    let Some(Ok(policies)) = policies else { return Vec::new() };
    let standing = |check: &CheckReport| CheckStanding {
        target: check.target.clone(),
        cycle_seconds: check.cycle_s,
        shares: check.shares,
        read: check.read,
        complete_since: check.complete_since,
        findings: check.findings,
        last: check.last.as_ref().map(|last| last.time),
        detail: check.last.as_ref().map(|last| last.detail.clone()).unwrap_or_default(),
    };
    current(report, policies).map(standing).collect()
}

/// What a node did not prove of what its policies promise.
pub(super) fn flaws(
    report: &ProofReport,
    policies: &BTreeMap<PolicyName, Booked>,
    standings: &Standings,
    now: Timestamp,
) -> Vec<Flaw> {
    let mut flaws = Vec::new();
    for (name, booked) in policies {
        let drill = drill_of(report, name);
        flaws.extend(drill.and_then(|drill| failed_drill(name, drill)));
        let Some(promised) = &booked.policy.drill else { continue };
        let known = standings.get(name).map_or(now, |standing| standing.since);
        // One of before the policy was known counts.
        let since = drill.and_then(|drill| drill.succeeded).unwrap_or(known);
        flaws.extend(late_drill(name, promised.schedule.interval(), since, now));
    }
    flaws.extend(
        current(report, policies).flat_map(|check| [damaged(check), unchecked(check, now)]).flatten(),
    );
    flaws
}

fn failed_drill(name: &PolicyName, drill: &DrillReport) -> Option<Flaw> {
    let last = drill.last.as_ref().filter(|last| last.result == ProofResult::Failed)?;
    let reason = format!("{name}: the last drill failed: {}", last.detail);
    let trouble = BackupTrouble::DrillFailed { policy: name.to_string() };
    Some(Flaw { state: BackupState::Critical, reason, trouble })
}

/// Twice the interval may pass, and a day.
fn late_drill(name: &PolicyName, interval: Duration, since: Timestamp, now: Timestamp) -> Option<Flaw> {
    let (age, most) = (now.since(since), interval.saturating_mul(2).saturating_add(SLACK));
    (age > most).then(|| Flaw {
        state: state(age, most),
        reason: format!(
            "{name}: no drill went well for {}, one is promised every {}",
            format_age(age),
            format_duration(interval)
        ),
        trouble: BackupTrouble::DrillLate {
            policy: name.to_string(),
            age_seconds: age.as_secs_f64(),
            max_age_seconds: most.as_secs_f64(),
        },
    })
}

fn state(age: Duration, most: Duration) -> BackupState {
    if age > most.saturating_mul(2) { BackupState::Critical } else { BackupState::Late }
}

fn damaged(check: &CheckReport) -> Option<Flaw> {
    let findings = check.findings;
    let detail = check.last.as_ref().map(|last| last.detail.clone()).unwrap_or_default();
    (findings > 0).then(|| Flaw {
        state: BackupState::Critical,
        reason: format!("{}: decrypting found {findings} things wrong: {detail}", check.target),
        trouble: BackupTrouble::CheckFailed { findings },
    })
}

/// A node has a step of its cycle in hand; half a cycle more is for one that is off at times.
fn unchecked(check: &CheckReport, now: Timestamp) -> Option<Flaw> {
    let cycle = Duration::from_secs(check.cycle_s);
    let age = now.since(check.complete_since.unwrap_or(check.since));
    let most = cycle.saturating_add(cycle / 2);
    (age > most).then(|| Flaw {
        state: state(age, most),
        reason: format!(
            "{}: not all of it was decrypted for {}, within {} is promised",
            check.target,
            format_age(age),
            format_duration(cycle)
        ),
        trouble: BackupTrouble::Unchecked {
            age_seconds: age.as_secs_f64(),
            max_age_seconds: most.as_secs_f64(),
        },
    })
}

/// What of a report is for the audit log: action and detail.
fn notes(before: &ProofReport, now: &ProofReport) -> Vec<(&'static str, String)> {
    let mut notes = Vec::new();
    for drill in &now.drills {
        let known = before.drills.iter().find(|known| known.policy == drill.policy);
        let Some(last) = drill.last.as_ref().filter(|last| last.result == ProofResult::Failed) else {
            continue;
        };
        if known.and_then(|known| known.last.as_ref()) != Some(last) {
            notes.push(("backup.drill-failed", format!("policy={} {}", drill.policy, last.detail)));
        }
    }
    for check in now.checks.iter().filter(|check| check.findings > 0) {
        let known = before.checks.iter().find(|known| known.target == check.target);
        if known.is_none_or(|known| known.findings < check.findings) {
            let detail = check.last.as_ref().map(|last| last.detail.clone()).unwrap_or_default();
            notes.push((
                "backup.check-failed",
                format!("{}: {} findings: {detail}", check.target, check.findings),
            ));
        }
    }
    notes
}

impl BackupStore {
    /// Takes what a node tells of its drills and checks: remembered, judged, and told where something failed.
    pub async fn take_proof(&self, node: NodeId, report: ProofReport) {
        let report = clean(report, self.shared.clock.now());
        let before = self.shared.ledger.proof(node);
        if before == report {
            return;
        }
        let notes = notes(&before, &report);
        if let Err(error) = self.shared.ledger.put_proof(node, report).await {
            tracing::warn!(%node, %error, "what a node proved of its backups cannot be stored; it tells it again");
            return;
        }
        for (action, detail) in notes {
            tracing::warn!(%node, action, detail, "backups of a node");
            self.shared.events.publish(action, Some(node), &json!({ "nodeId": node, "detail": detail }));
            self.note(Record {
                actor: format!("node:{node}"),
                action,
                target: format!("node/{node}"),
                outcome: AuditOutcome::Failed,
                detail,
            })
            .await;
        }
        self.judge(node, false);
    }
}

#[cfg(test)]
mod tests;
