//! What a rebuild does with made-up nodes, and what it says first.

use super::*;
use campanile_common::api::{BackupState, NodeBackup, PolicyBackup};
use campanile_common::config::{LayerPart, Member, Purpose};
use campanile_common::id::{Digest, FleetId};
use campanile_common::time::Timestamp;

const NOW: Timestamp = Timestamp::from_millis(1_777_000_000_000);

fn node(number: usize, labels: &str, liveness: Liveness) -> Node {
    let labels = labels.parse().unwrap();
    Node { labels, liveness, ..crate::testing::node(number) }
}

fn backup(policies: &[(&str, &str)]) -> NodeBackupDetail {
    let policy = |(name, target): &(&str, &str)| PolicyBackup {
        policy: (*name).to_owned(),
        schedule: "@daily".to_owned(),
        target: (*target).to_owned(),
        max_age_seconds: 1,
        state: BackupState::Fresh,
        newest: None,
        snapshots: 0,
        drill: None,
    };
    let backup = NodeBackup {
        node_id: crate::testing::node(1).node_id,
        name: "node-1".to_owned(),
        state: BackupState::Fresh,
        reasons: Vec::new(),
        policies: policies.iter().map(policy).collect(),
        snapshots: 0,
        newest: None,
        bytes: 0,
        trash_bytes: 0,
        quota_bytes: 0,
        verified: None,
        verified_bytes: 0,
        damaged: 0,
        held: 0,
        checks: Vec::new(),
        second: None,
    };
    NodeBackupDetail { backup, holds: Vec::new(), findings: Vec::new() }
}

fn snapshot(policy: Option<&str>) -> StoredSnapshot {
    StoredSnapshot {
        snapshot: Digest::from_bytes([1; 32]),
        policy: policy.map(str::to_owned),
        received: NOW,
        bytes: 1,
        new_bytes: 1,
        deleted_until: None,
    }
}

fn generation(layers: &[(LayerKind, &str, Option<&str>)]) -> Generation {
    let layer = |(kind, name, selector): &(LayerKind, &str, Option<&str>)| LayerPart {
        kind: *kind,
        name: (*name).to_owned(),
        selector: selector.map(str::to_owned),
        priority: 0,
        digest: Digest::from_bytes([2; 32]),
        is_for_members_only: false,
    };
    Generation {
        format: Generation::FORMAT,
        fleet: FleetId::from_bytes([1; 16]),
        number: 1,
        parent: None,
        authority_version: 1,
        created: NOW,
        author: String::new(),
        message: String::new(),
        purpose: Purpose::Release,
        layers: layers.iter().map(layer).collect(),
        members: std::collections::BTreeMap::new(),
        secrets: std::collections::BTreeMap::new(),
    }
}

struct Case {
    old: Node,
    new: Node,
    backup: NodeBackupDetail,
    snapshots: Vec<StoredSnapshot>,
    generation: Option<Generation>,
}

impl Case {
    fn new() -> Self {
        Self {
            old: node(1, "role=db,rack=a", Liveness::Offline),
            new: node(2, "rack=b,disk=nvme", Liveness::Online),
            backup: backup(&[("etc", "aggregator"), ("data", "aggregator")]),
            snapshots: vec![snapshot(Some("etc")), snapshot(Some("data")), snapshot(Some("etc"))],
            generation: None,
        }
    }

    fn plan(&self, policies: &[&str]) -> Result<Plan, Refused> {
        let policies: Vec<PolicyName> = policies.iter().map(|name| name.parse().unwrap()).collect();
        plan(&Known {
            old: &self.old,
            new: &self.new,
            backup: &self.backup,
            snapshots: &self.snapshots,
            generation: self.generation.as_ref(),
            policies: &policies,
        })
    }
}

fn names(plan: &Plan) -> Vec<&str> {
    plan.policies.iter().map(PolicyName::as_str).collect()
}

#[test]
fn a_node_gets_the_labels_of_the_old_one_keeps_its_own_and_every_policy_that_saved_something() {
    let plan = Case::new().plan(&[]).unwrap();
    assert_eq!(plan.labels, ["rack=a", "role=db"]);
    assert_eq!(names(&plan), ["data", "etc"]);
    assert_eq!(plan.notes, Vec::<String>::new());
    assert_eq!(names(&Case::new().plan(&["etc"]).unwrap()), ["etc"]);
}

#[test]
fn what_cannot_be_rebuilt_is_refused_before_anything_is_done() {
    let mut case = Case::new();
    assert!(matches!(case.plan(&["db"]), Err(Refused::NoSnapshot { .. })));
    case.snapshots.clear();
    assert_eq!(case.plan(&[]), Err(Refused::Nothing("node-1".to_owned())));
    case.new.liveness = Liveness::Offline;
    assert_eq!(case.plan(&[]), Err(Refused::Away("node-2".to_owned())));
    case.new.state = NodeState::Retired;
    assert_eq!(case.plan(&[]), Err(Refused::Retired("node-2".to_owned())));
    case.new = case.old.clone();
    assert_eq!(case.plan(&[]), Err(Refused::Same("node-1".to_owned())));
}

#[test]
fn a_node_that_the_configuration_lists_already_gets_its_new_groups_by_an_apply_of_the_bundle_alone() {
    let mut case = Case::new();
    let mut made = generation(&[(LayerKind::Group, "db", Some("role=db"))]);
    let labels: Labels = case.new.labels.clone();
    let member = Member { name: "node-2".to_owned(), labels, layers: Vec::new() };
    made.members.insert(case.new.node_id, member);
    case.generation = Some(made.clone());
    assert!(case.plan(&[]).unwrap().notes.join("").contains("lists what it gets"));
    made.members.clear();
    case.generation = Some(made);
    assert_eq!(case.plan(&[]).unwrap().notes, Vec::<String>::new());
}

#[test]
fn what_is_left_to_a_person_is_said_first() {
    let mut case = Case::new();
    case.old.liveness = Liveness::Online;
    case.backup = backup(&[("etc", "aggregator"), ("media", "dir:/mnt"), ("new", "aggregator")]);
    case.snapshots.push(snapshot(None));
    case.generation = Some(generation(&[
        (LayerKind::Node, "node-1", None),
        (LayerKind::Group, "db", Some("role=db")),
        (LayerKind::Group, "first", Some("name=node-1")),
    ]));
    let notes = case.plan(&[]).unwrap().notes.join("\n");
    for part in [
        "node-1 is online",
        "policy media saves to dir:/mnt",
        "policy new has no snapshot",
        "snapshots of no policy",
        "nodes/node-1.toml",
        "groups/first.toml is for node-1",
    ] {
        assert!(notes.contains(part), "{part}: {notes}");
    }
    assert!(!notes.contains("groups/db.toml"), "it is for the new one too, by its labels: {notes}");
}
