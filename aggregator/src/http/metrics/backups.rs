//! What the store knows of the nodes' backups.

use campanile_common::api::{CheckStanding, NodeBackup, PolicyBackup};
use campanile_common::time::Timestamp;

use super::exposition::{Exposition, Kind, Number, label};

type Figure = dyn Fn(&NodeBackup) -> Option<f64>;
type CheckFigure = dyn Fn(&CheckStanding) -> Option<f64>;

fn node_labels(backup: &NodeBackup) -> String {
    let mut labels = String::new();
    label(&mut labels, "node", &backup.name);
    label(&mut labels, "node_id", &backup.node_id.to_string());
    labels
}

fn per_policy(
    out: &mut Exposition,
    backups: &[NodeBackup],
    (name, help): (&str, &str),
    sample: impl Fn(&PolicyBackup, &mut String) -> Option<f64>,
) {
    let Some(mut family) = out.family(name, Kind::Gauge, help) else { return };
    for backup in backups {
        for policy in &backup.policies {
            let mut labels = node_labels(backup);
            label(&mut labels, "policy", &policy.policy);
            if let Some(value) = sample(policy, &mut labels) {
                family.sample(&labels, Number(value));
            }
        }
    }
}

fn per_node(
    out: &mut Exposition,
    backups: &[NodeBackup],
    (name, help): (&str, &str),
    value: impl Fn(&NodeBackup) -> Option<f64>,
) {
    let Some(mut family) = out.family(name, Kind::Gauge, help) else { return };
    for backup in backups {
        if let Some(value) = value(backup) {
            family.sample(&node_labels(backup), Number(value));
        }
    }
}

/// Writes the figures of these nodes. One without a policy that stored nothing has none.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
pub(super) fn write(out: &mut Exposition, backups: &[NodeBackup]) {
    per_policy(
        out,
        backups,
        (
            "campanile_backup_newest_snapshot_timestamp_seconds",
            "When the newest snapshot of a policy was received, in seconds since the epoch.",
        ),
        |policy, _| policy.newest.map(|newest| newest.as_millis() as f64 / 1000.0),
    );
    per_policy(
        out,
        backups,
        ("campanile_backup_max_age_seconds", "How old the newest snapshot of a policy may be."),
        |policy, _| Some(policy.max_age_seconds as f64),
    );
    per_policy(
        out,
        backups,
        (
            "campanile_backup_state",
            "How a policy stands: fresh, waiting, unknown, late or critical; always 1.",
        ),
        |policy, labels| {
            label(labels, "state", policy.state.as_str());
            Some(1.0)
        },
    );
    let verified =
        |backup: &NodeBackup| (backup.bytes > 0).then(|| backup.verified_bytes as f64 / backup.bytes as f64);
    let families: [(&str, &str, &Figure); 8] = [
        ("campanile_backup_snapshots", "Snapshots that are stored.", &|b| Some(b.snapshots as f64)),
        ("campanile_backup_stored_bytes", "Bytes that are stored.", &|b| Some(b.bytes as f64)),
        ("campanile_backup_trash_bytes", "Bytes that were let go and can still be brought back.", &|b| {
            Some(b.trash_bytes as f64)
        }),
        (
            "campanile_backup_quota_bytes",
            "Most bytes that a node may store, with what can be brought back.",
            &|b| Some(b.quota_bytes as f64),
        ),
        ("campanile_backup_damaged_objects", "Stored objects that are damaged or gone.", &|b| {
            Some(b.damaged as f64)
        }),
        ("campanile_backup_holds", "Alarms and deletions that wait for a person.", &|b| Some(b.held as f64)),
        (
            "campanile_backup_verified_timestamp_seconds",
            "When everything that is stored had been read back once more, in seconds since the epoch.",
            &|b| b.verified.map(|at| at.as_millis() as f64 / 1000.0),
        ),
        (
            "campanile_backup_verified_ratio",
            "Share of the stored bytes that was read back within the last two cycles, 0 to 1.",
            &verified,
        ),
    ];
    for (name, help, value) in families {
        per_node(out, backups, (name, help), value);
    }
    write_second(out, backups);
    write_proofs(out, backups);
}

/// How nodes stand in the second place, where there is one.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
fn write_second(out: &mut Exposition, backups: &[NodeBackup]) {
    let families: [(&str, &str, &Figure); 4] = [
        (
            "campanile_backup_second_complete_timestamp_seconds",
            "When the second place had everything that the first had, in seconds since the epoch.",
            &|b| b.second?.complete.map(|at| at.as_millis() as f64 / 1000.0),
        ),
        (
            "campanile_backup_second_missing_objects",
            "Objects that the second place lacked and that could not be copied.",
            &|b| Some(b.second?.missing as f64),
        ),
        (
            "campanile_backup_second_damaged_objects",
            "Objects in the second place that are damaged or gone.",
            &|b| Some(b.second?.damaged as f64),
        ),
        (
            "campanile_backup_second_lost_snapshots",
            "Snapshots in the second place that the first does not know any more.",
            &|b| Some(b.second?.lost as f64),
        ),
    ];
    for (name, help, value) in families {
        per_node(out, backups, (name, help), value);
    }
}

#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
const fn seconds(at: Timestamp) -> f64 {
    at.as_millis() as f64 / 1000.0
}

/// What the nodes' drills and checks proved.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are f64")]
fn write_proofs(out: &mut Exposition, backups: &[NodeBackup]) {
    per_policy(
        out,
        backups,
        (
            "campanile_backup_drill_success_timestamp_seconds",
            "When a drill of a policy last went well, in seconds since the epoch.",
        ),
        |policy, _| policy.drill.as_ref()?.succeeded.map(seconds),
    );
    per_policy(
        out,
        backups,
        (
            "campanile_backup_drill_duration_seconds",
            "How long the last drill that went well took until everything was back and tried.",
        ),
        |policy, _| policy.drill.as_ref()?.restored_ms.map(|millis| millis as f64 / 1000.0),
    );
    per_policy(
        out,
        backups,
        ("campanile_backup_drill_result", "How the last drill ended: ok, failed or stopped; always 1."),
        |policy, labels| {
            let result = policy.drill.as_ref()?.result?;
            label(labels, "result", result.as_str());
            Some(1.0)
        },
    );
    let ratio = |check: &CheckStanding| Some(f64::from(check.read) / f64::from(check.shares.max(1)));
    let families: [(&str, &str, &CheckFigure); 3] = [
        (
            "campanile_backup_checked_ratio",
            "Share of a repository that its node decrypted within the cycle, 0 to 1, as the node told last.",
            &ratio,
        ),
        (
            "campanile_backup_checked_timestamp_seconds",
            "Everything in a repository was decrypted by its node since then, in seconds since the epoch.",
            &|check| check.complete_since.map(seconds),
        ),
        ("campanile_backup_check_findings", "Things wrong in a repository by its node's checks.", &|check| {
            Some(check.findings as f64)
        }),
    ];
    for (name, help, value) in families {
        let Some(mut family) = out.family(name, Kind::Gauge, help) else { continue };
        for backup in backups {
            for check in &backup.checks {
                let mut labels = node_labels(backup);
                label(&mut labels, "target", &check.target);
                if let Some(value) = value(check) {
                    family.sample(&labels, Number(value));
                }
            }
        }
    }
}

/// Whether there is anything to tell of a node.
pub(super) fn is_shown(backup: &NodeBackup) -> bool {
    !backup.policies.is_empty() || backup.bytes > 0 || backup.trash_bytes > 0 || backup.held > 0
}
