//! The backup store over real QUIC: a node's backend against a real aggregator that is killed, restarted and filled.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use campanile_agent::app::store_backend;
use campanile_agent::link::StoreBackend;
use campanile_backup::backend::{Backend, BackendError, Object, ObjectKind};
use campanile_backup::id::ObjectId;
use campanile_tests::support::{FleetOptions, LocalFleet, until};
use serde_json::json;

const SETTINGS: &str = "[backup]\nfree_floor_bytes = 0\nquota_bytes = 67108864";
const PATIENCE: Duration = Duration::from_secs(60);

fn fleet(nodes: &[&str]) -> LocalFleet {
    let options = FleetOptions { aggregator_settings: SETTINGS.to_owned(), ..FleetOptions::default() };
    let fleet = LocalFleet::with(options);
    let token = fleet.enrollment_token(&json!({}), u32::try_from(nodes.len()).unwrap());
    for node in nodes {
        fleet.write_agent_settings(node, "");
        fleet.enroll(node, &token).ok();
    }
    fleet
}

fn backend(fleet: &LocalFleet, node: &str, patience: Duration) -> StoreBackend {
    store_backend(&fleet.node_path(node, "state"), patience).unwrap()
}

fn object(kind: ObjectKind, bytes: &[u8]) -> Object {
    Object::new(kind, ObjectId::of(bytes))
}

fn pack(number: usize, length: usize) -> Vec<u8> {
    let mut bytes = number.to_le_bytes().to_vec();
    bytes.resize(length, 7);
    bytes
}

#[test]
fn what_a_node_stores_reads_back_and_is_its_own() {
    let fleet = fleet(&["a", "b"]);
    let (a, b) = (backend(&fleet, "a", PATIENCE), backend(&fleet, "b", PATIENCE));
    let large = pack(1, 20 << 20);
    let stored = object(ObjectKind::Pack, &large);
    a.put(stored, &large).unwrap();
    a.put(stored, &large).unwrap();
    a.put(Object::CONFIG, b"config").unwrap();
    a.put(Object::CONFIG, b"another").unwrap();
    assert_eq!(a.get(Object::CONFIG, None).unwrap(), b"config", "put once, never replaced");
    assert!(a.get(stored, None).unwrap() == large);
    assert_eq!(a.get(stored, Some(0..8)).unwrap(), 1_usize.to_le_bytes());
    let snapshot = b"a snapshot";
    a.append(ObjectId::of(snapshot), snapshot, &BTreeSet::from([stored.id]), Some("etc")).unwrap();
    let absent = BTreeSet::from([ObjectId([1; 32])]);
    let refused = a.append(ObjectId::of(b"x"), b"x", &absent, None).unwrap_err();
    assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
    assert_eq!(a.list(ObjectKind::Snapshot).unwrap().len(), 1);
    // The newest snapshot is held, what it needs stays, and nobody else sees any of it.
    let held = a.remove(object(ObjectKind::Snapshot, snapshot)).unwrap_err();
    assert!(matches!(held, BackendError::Refused { .. }), "{held}");
    assert!(a.remove(stored).is_err());
    assert!(a.get(stored, None).is_ok());
    assert!(b.list(ObjectKind::Pack).unwrap().is_empty());
    assert!(matches!(b.get(stored, None), Err(BackendError::Missing(_))));
    let audit = fleet.api.get("/api/v1/audit?action=backup.hold").json();
    assert_eq!(audit["items"].as_array().unwrap().len(), 1, "{audit}");
    // Over the quota nothing more, and others go on.
    let more = pack(2, 50 << 20);
    let full = a.put(object(ObjectKind::Pack, &more), &more).unwrap_err();
    assert!(matches!(full, BackendError::Full { .. }), "{full}");
    b.put(Object::CONFIG, b"its own").unwrap();
    // Bytes under a foreign name.
    let wrong = a.put(object(ObjectKind::Pack, b"one"), b"two").unwrap_err();
    assert!(matches!(wrong, BackendError::Refused { .. }), "{wrong}");
}

#[test]
fn an_aggregator_that_is_killed_again_and_again_loses_nothing_that_it_acknowledged() {
    let mut fleet = fleet(&["a"]);
    let backend = Arc::new(backend(&fleet, "a", PATIENCE));
    let is_over = Arc::new(AtomicBool::new(false));
    let writers: Vec<_> = (0..4_usize)
        .map(|writer| {
            let (backend, is_over) = (Arc::clone(&backend), Arc::clone(&is_over));
            std::thread::spawn(move || {
                let mut stored = Vec::new();
                while !is_over.load(Ordering::Relaxed) && stored.len() < 1000 {
                    let bytes = pack(writer * 1000 + stored.len(), 5_000);
                    backend.put(object(ObjectKind::Pack, &bytes), &bytes).unwrap();
                    stored.push(ObjectId::of(&bytes));
                }
                stored
            })
        })
        .collect();
    for _ in 0..5 {
        let before = backend.list(ObjectKind::Pack).unwrap().len();
        until("more is stored", PATIENCE, || backend.list(ObjectKind::Pack).unwrap().len() > before);
        fleet.aggregator().kill();
        fleet.start_aggregator();
    }
    is_over.store(true, Ordering::Relaxed);
    let acknowledged: Vec<ObjectId> = writers.into_iter().flat_map(|writer| writer.join().unwrap()).collect();
    let listed: BTreeSet<ObjectId> =
        backend.list(ObjectKind::Pack).unwrap().into_iter().map(|listed| listed.id).collect();
    for id in acknowledged {
        assert!(listed.contains(&id));
        let bytes = backend.get(Object::new(ObjectKind::Pack, id), None).unwrap();
        assert_eq!(ObjectId::of(&bytes), id);
    }
}

#[test]
fn a_retired_node_stores_nothing_more() {
    let fleet = fleet(&["a"]);
    let backend = backend(&fleet, "a", Duration::from_secs(2));
    backend.put(Object::CONFIG, b"config").unwrap();
    fleet.api.call("POST", "/api/v1/nodes/a/retire", &json!({}));
    let refused = backend.put(object(ObjectKind::Key, b"key"), b"key").unwrap_err();
    assert!(matches!(refused, BackendError::Refused { .. }), "{refused}");
}
