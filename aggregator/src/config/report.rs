//! What nodes say of their configuration: cut to sane lengths, compared with what they said before, shown. Pure.

use campanile_common::api::{AuditOutcome, ConfigHead, DriftedResource, NodeConfig};
use campanile_common::id::NodeId;
use campanile_common::wire::v1::config::{ConfigPhase, ConfigReport, DRIFTED_MAX};

use super::record::ReportRecord;

/// Most characters of a text that a node sent.
const TEXT_CHARS_MAX: usize = 512;
/// Longest sealing key; an age recipient has 62 characters.
const KEY_BYTES_MAX: usize = 128;

/// Something of a report that is for the audit log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Note {
    pub(super) action: &'static str,
    pub(super) outcome: AuditOutcome,
    pub(super) detail: String,
}

fn cut(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(TEXT_CHARS_MAX).collect()
}

/// The report within its limits.
pub(super) fn clean(mut report: ConfigReport) -> ConfigReport {
    let is_key =
        |key: &String| key.len() <= KEY_BYTES_MAX && key.bytes().all(|byte| byte.is_ascii_alphanumeric());
    report.sealing_key = report.sealing_key.filter(is_key);
    report.detail = cut(&report.detail);
    report.denied = cut(&report.denied);
    report.drifted.truncate(DRIFTED_MAX);
    for drifted in &mut report.drifted {
        drifted.detail = cut(&drifted.detail);
    }
    report
}

/// What of a change is for the audit log.
pub(super) fn notes(before: Option<&ConfigReport>, now: &ConfigReport) -> Vec<Note> {
    let number = |point: Option<(u64, campanile_common::id::Digest)>| {
        point.map_or_else(|| "none".to_owned(), |(number, _)| number.to_string())
    };
    let mut notes = Vec::new();
    let mut note = |action, outcome, detail| notes.push(Note { action, outcome, detail });
    let was = |test: fn(&ConfigReport) -> bool| before.is_some_and(test);
    if before.is_none_or(|before| before.current != now.current) && now.current.is_some() {
        note("config.applied", AuditOutcome::Ok, format!("generation={}", number(now.current)));
    }
    let is_undone = matches!(now.phase, ConfigPhase::Reverted);
    let is_same_try = before.is_some_and(|before| (before.phase, before.tried) == (now.phase, now.tried));
    if is_undone && !is_same_try {
        let detail = format!("tried={} back at {}: {}", number(now.tried), number(now.current), now.detail);
        note("config.reverted", AuditOutcome::Failed, detail);
    }
    if now.is_given_up && !was(|before| before.is_given_up) {
        note(
            "config.given-up",
            AuditOutcome::Failed,
            format!("generation={}: {}", number(now.tried), now.detail),
        );
    }
    let drifted_before = before.map_or(0, |before| before.drifted_count);
    if now.drifted_count > drifted_before {
        let named: Vec<String> =
            now.drifted.iter().take(5).map(|drifted| drifted.resource.to_string()).collect();
        let detail = format!("{} resources differ: {}", now.drifted_count, named.join(", "));
        note("config.drift", AuditOutcome::Failed, detail);
    }
    notes
}

/// The word for a phase.
pub(super) const fn phase(phase: ConfigPhase) -> &'static str {
    match phase {
        ConfigPhase::Unconfigured => "unconfigured",
        ConfigPhase::Applied => "applied",
        ConfigPhase::Applying => "applying",
        ConfigPhase::Confirming => "confirming",
        ConfigPhase::Failed => "failed",
        ConfigPhase::Reverted => "reverted",
    }
}

/// A node's configuration as the API shows it.
pub(super) fn to_api(node: NodeId, name: &str, connected: bool, record: Option<&ReportRecord>) -> NodeConfig {
    let report = record.map(|record| record.report.clone()).unwrap_or_default();
    let head = |point: Option<(u64, _)>| point.map(|(number, digest)| ConfigHead { number, digest });
    let drifted = report.drifted.iter().map(|drifted| DriftedResource {
        resource: drifted.resource.to_string(),
        found: drifted.found,
        detail: drifted.detail.clone(),
        enforced: drifted.is_enforced,
    });
    NodeConfig {
        node,
        name: name.to_owned(),
        connected,
        phase: record.map_or("unknown", |record| phase(record.report.phase)).to_owned(),
        current: head(report.current),
        applied: report.applied,
        tried: head(report.tried),
        given_up: report.is_given_up,
        detail: report.detail.clone(),
        denied: report.denied.clone(),
        drifted: drifted.collect(),
        drifted_count: report.drifted_count,
        sealing_key: report.sealing_key.clone(),
        reported: record.map(|record| record.at),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use campanile_common::id::Digest;

    fn at(number: u64) -> Option<(u64, Digest)> {
        Some((number, Digest::from_bytes([1; 32])))
    }

    fn actions(before: Option<&ConfigReport>, now: &ConfigReport) -> Vec<&'static str> {
        notes(before, now).into_iter().map(|note| note.action).collect()
    }

    #[test]
    fn what_a_node_says_is_cut_and_a_strange_key_is_none() {
        let report = ConfigReport {
            sealing_key: Some("age1 not a key".to_owned()),
            detail: format!("\x1b[2J{}", "x".repeat(5000)),
            ..ConfigReport::default()
        };
        let report = clean(report);
        assert_eq!(report.sealing_key, None);
        assert_eq!(report.detail.chars().count(), TEXT_CHARS_MAX);
        assert!(!report.detail.contains(char::is_control));
        let key = Some("age1qqq".to_owned());
        assert_eq!(clean(ConfigReport { sealing_key: key.clone(), ..report }).sealing_key, key);
    }

    #[test]
    fn each_turn_of_a_node_is_noted_once() {
        let applied = ConfigReport { current: at(1), phase: ConfigPhase::Applied, ..ConfigReport::default() };
        assert_eq!(actions(None, &applied), ["config.applied"]);
        assert_eq!(actions(Some(&applied), &applied), [""; 0]);
        let reverted = ConfigReport { tried: at(2), phase: ConfigPhase::Reverted, ..applied.clone() };
        assert_eq!(actions(Some(&applied), &reverted), ["config.reverted"]);
        let given_up = ConfigReport { is_given_up: true, ..reverted.clone() };
        assert_eq!(actions(Some(&reverted), &given_up), ["config.given-up"]);
        let drifted = ConfigReport { drifted_count: 2, ..applied.clone() };
        assert_eq!(actions(Some(&applied), &drifted), ["config.drift"]);
        assert_eq!(actions(Some(&drifted), &applied), [""; 0]);
        assert!(notes(Some(&applied), &reverted)[0].detail.starts_with("tried=2 back at 1"));
    }
}
