//! Tests of what may be submitted.

use std::time::Duration;

use campanile_common::api::SignatureText;
use campanile_common::authority::{
    BackupAction, CatalogueCommand, CatalogueDocument, ServiceRule, ServiceVerb,
};

use super::super::fixture::{FLEET, NOW, authority, key, node, order, request, standing};
use super::*;

fn admit_with(request: &OrderRequest, catalogue: Option<&Catalogue>) -> Result<Draft, OrderError> {
    let authority = authority();
    admit(request, &Facts { authority: &authority, catalogue, now: NOW, occurrence: None })
}

fn admit_now(request: &OrderRequest) -> Result<Draft, OrderError> {
    admit_with(request, None)
}

fn catalogue() -> Catalogue {
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version: 3,
        authority_version: 1,
        issued: NOW,
        expires: NOW + Duration::from_secs(86_400),
        commands: [(
            "uptime".to_owned(),
            CatalogueCommand {
                description: String::new(),
                argv: vec!["uptime".to_owned()],
                user: None,
                parameters: std::collections::BTreeMap::new(),
            },
        )]
        .into(),
        services: vec![ServiceRule {
            unit: "nginx.service".to_owned(),
            verbs: [ServiceVerb::Restart].into(),
        }],
    };
    document.sign(&[&key(1), &key(2)]).unwrap().verify(&authority(), None).unwrap()
}

fn routine(name: &str, version: u64) -> Order {
    let action = Action::Routine {
        catalogue: version,
        name: name.to_owned(),
        arguments: std::collections::BTreeMap::new(),
    };
    Order { tier: Tier::Routine, action, ..order(1, &[1]) }
}

fn service(tier: Tier, unit: &str) -> Order {
    let action = Action::Service { verb: ServiceVerb::Restart, unit: unit.to_owned(), wait_healthy_ms: None };
    Order { tier, action, ..order(1, &[1]) }
}

#[test]
fn a_signed_order_is_admitted_with_who_signed() {
    let draft = admit_now(&request(&order(1, &[1, 2]), &[2])).unwrap();
    assert_eq!(draft.nodes(), [node(1), node(2)]);
    assert_eq!((draft.needed, draft.signers.len(), draft.signers[0].operator.as_str()), (1, 1, "op-2"));
}

#[test]
fn signatures_that_are_missing_unknown_or_of_other_bytes_are_refused() {
    let signatures = |request: &OrderRequest| matches!(admit_now(request), Err(OrderError::Signatures(_)));
    assert!(signatures(&request(&order(1, &[1]), &[])), "none");
    assert!(signatures(&request(&order(1, &[1]), &[7])), "no operator's");
    assert!(signatures(&request(&order(1, &[1]), &[1, 7])), "one of two is no operator's");
    let mut moved = request(&order(1, &[1]), &[]);
    moved.order.signatures = request(&order(2, &[1]), &[1]).order.signatures;
    assert!(signatures(&moved), "of other bytes");
    let mut twice = request(&Order { tier: Tier::Critical, ..order(1, &[1]) }, &[1]);
    let again: SignatureText = twice.order.signatures[0].clone();
    twice.order.signatures.push(again);
    assert_eq!(admit_now(&twice).map(|draft| draft.signers.len()).unwrap_or(0), 1, "one person counts once");
}

#[test]
fn orders_of_another_fleet_authority_or_time_are_refused() {
    let foreign = Order { fleet: campanile_common::id::FleetId::from_bytes([1; 16]), ..order(1, &[1]) };
    assert!(matches!(admit_now(&request(&foreign, &[1])), Err(OrderError::Invalid(_))));
    let stale = Order { authority_version: 2, ..order(1, &[1]) };
    assert!(matches!(admit_now(&request(&stale, &[1])), Err(OrderError::Stale(_))));
    let expired = Order { expires: NOW, ..order(1, &[1]) };
    assert!(matches!(admit_now(&request(&expired, &[1])), Err(OrderError::Invalid(_))));
    assert!(matches!(admit_now(&request(&standing(1, &[1]), &[1])), Err(OrderError::Invalid(_))));
}

#[test]
fn bytes_that_are_no_order_are_refused() {
    for bytes in ["", "AAAA", "not base64!"] {
        let mut bad = request(&order(1, &[1]), &[1]);
        bytes.clone_into(&mut bad.order.bytes);
        assert!(matches!(admit_now(&bad), Err(OrderError::Invalid(_))), "{bytes}");
    }
}

#[test]
fn routines_need_the_catalogue_in_force_and_a_command_of_it() {
    let catalogue = catalogue();
    let with = |order: &Order| admit_with(&request(order, &[]), Some(&catalogue));
    assert!(with(&routine("uptime", 3)).is_ok());
    assert!(matches!(with(&routine("uptime", 2)), Err(OrderError::Stale(_))));
    assert!(matches!(with(&routine("reboot", 3)), Err(OrderError::Invalid(_))));
    assert!(matches!(admit_now(&request(&routine("uptime", 3), &[])), Err(OrderError::Invalid(_))));
    assert!(with(&service(Tier::Routine, "nginx.service")).is_ok());
    assert!(matches!(with(&service(Tier::Routine, "ssh.service")), Err(OrderError::Invalid(_))));
    assert!(admit_now(&request(&service(Tier::Change, "ssh.service"), &[1])).is_ok());
}

#[test]
fn the_leaves_of_a_tree_must_be_those_that_were_signed() {
    let nodes: Vec<NodeId> = (1..=9).map(node).collect();
    let tree = TargetTree::new(FLEET, nodes.clone()).unwrap();
    let targets = Targets::Tree { root: tree.root(), nodes: 9 };
    let signed = request(&Order { targets, ..order(1, &[1]) }, &[1]);
    let with = |nodes: &[NodeId]| admit_now(&OrderRequest { nodes: nodes.to_vec(), ..signed.clone() });
    assert_eq!(with(&nodes).unwrap().nodes(), nodes);
    assert!(with(&nodes[1..]).is_err());
    assert!(with(&[]).is_err());
    let listed = OrderRequest { nodes, ..request(&order(1, &[1]), &[1]) };
    assert!(admit_now(&listed).is_err(), "leaves beside a list");
}

#[test]
fn a_run_of_a_standing_order_is_due_within_its_validity_and_over_when_it_is_late() {
    let authority = authority();
    let at = |due: Timestamp, now: Timestamp| {
        let facts = Facts { authority: &authority, catalogue: None, now, occurrence: Some(due) };
        admit(&request(&standing(1, &[1]), &[1]), &facts)
    };
    assert!(at(NOW, NOW).is_ok());
    assert!(at(NOW, NOW + Duration::from_secs(60)).is_ok());
    assert!(at(NOW, NOW + Duration::from_secs(61)).is_err(), "too late");
    assert!(at(NOW + Duration::from_secs(90_000), NOW).is_err(), "after the grant's end");
    let facts = Facts { authority: &authority, catalogue: None, now: NOW, occurrence: Some(NOW) };
    assert!(admit(&request(&order(1, &[1]), &[1]), &facts).is_err(), "one that runs once");
}

#[test]
fn batches_are_a_number_or_a_share_and_never_none() {
    assert_eq!(batch_size("10", 28).unwrap(), 10);
    assert_eq!(batch_size("25%", 28).unwrap(), 7);
    assert_eq!(batch_size("1%", 28).unwrap(), 1);
    assert_eq!(batch_size("30%", 28).unwrap(), 9);
    for bad in ["0", "0%", "101%", "-1", "x", "", "%", "2.5"] {
        assert!(batch_size(bad, 28).is_err(), "{bad}");
    }
    let mut none = request(&order(1, &[1]), &[1]);
    none.dispatch.parallel = Some(0);
    assert!(admit_now(&none).is_err());
}

#[test]
fn a_backup_needs_neither_key_nor_catalogue_and_naming_its_files_does() {
    let policy = || "etc".parse().unwrap();
    let backup = |tier, action| Order { tier, action: Action::Backup(action), ..order(1, &[1]) };
    let run = backup(Tier::Routine, BackupAction::Run { policy: policy() });
    assert!(admit_now(&request(&run, &[])).is_ok());
    let files = BackupAction::List { policy: policy(), snapshot: "latest".to_owned(), path: None };
    let files = backup(Tier::Change, files);
    assert!(admit_now(&request(&files, &[])).is_err());
    assert!(admit_now(&request(&files, &[1])).is_ok());
}
