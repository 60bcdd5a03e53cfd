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

/// Appends a snapshot with a pack of its own.
fn append(backend: &StoreBackend, number: usize) -> (Object, Object) {
    let pack = pack(number, 4_000);
    let stored = object(ObjectKind::Pack, &pack);
    backend.put(stored, &pack).unwrap();
    let text = format!("snapshot {number}");
    let snapshot = object(ObjectKind::Snapshot, text.as_bytes());
    backend.append(snapshot.id, text.as_bytes(), &BTreeSet::from([stored.id]), Some("etc")).unwrap();
    (snapshot, stored)
}

#[test]
fn a_thief_with_all_that_a_node_has_destroys_no_backup_and_is_told_of() {
    let options = FleetOptions {
        aggregator_settings: format!("{SETTINGS}\nobjects_per_hour = 200"),
        ..FleetOptions::default()
    };
    let fleet = LocalFleet::with(options);
    let token = fleet.enrollment_token(&json!({}), 2);
    for node in ["a", "b"] {
        fleet.write_agent_settings(node, "");
        fleet.enroll(node, &token).ok();
    }
    let honest = backend(&fleet, "a", PATIENCE);
    honest.put(Object::CONFIG, b"config").unwrap();
    let kept: Vec<(Object, Object)> = (0..6).map(|number| append(&honest, number)).collect();
    let other = append(&backend(&fleet, "b", PATIENCE), 77);

    // The same identity in other hands.
    let thief = backend(&fleet, "a", Duration::from_secs(5));
    let (snapshots, packs): (Vec<Object>, Vec<Object>) = kept.iter().copied().unzip();
    for wanted in [&snapshots[..], &packs[..], &snapshots[..1], &[Object::CONFIG][..]] {
        match thief.remove_all(wanted) {
            Ok(stays) => assert_eq!(stays.len(), wanted.len(), "{stays:?}"),
            Err(error) => assert!(matches!(error, BackendError::Refused { .. }), "{error}"),
        }
    }
    let overwritten = thief.put(packs[0], b"nothing of value").map(|()| honest.get(packs[0], None).unwrap());
    assert!(overwritten.is_ok_and(|bytes| bytes == pack(0, 4_000)), "put once, never replaced");
    let foreign = thief.put(object(ObjectKind::Pack, b"one"), b"two").unwrap_err();
    assert!(matches!(foreign, BackendError::Refused { .. }), "{foreign}");
    assert!(matches!(thief.get(other.1, None), Err(BackendError::Missing(_))), "another node's");
    let flood = (0..1000).find(|number| {
        let junk = pack(1000 + number, 100);
        thief.put(object(ObjectKind::Pack, &junk), &junk).is_err()
    });
    let flood = flood.expect("an hour takes so many objects and no more");
    assert!(thief.remove_all(&snapshots).is_err(), "while a person has not looked, nothing is decided");

    for (number, (snapshot, stored)) in kept.iter().enumerate() {
        assert_eq!(honest.get(*snapshot, None).unwrap(), format!("snapshot {number}").as_bytes());
        assert_eq!(honest.get(*stored, None).unwrap(), pack(number, 4_000));
    }
    let told = fleet.api.get("/api/v1/backups/a").json();
    assert_eq!(told["state"], "critical", "{told}");
    let reasons: BTreeSet<String> = told["holds"]
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|hold| hold["reasons"].as_array().unwrap())
        .map(|reason| reason.as_str().unwrap().to_owned())
        .collect();
    for reason in ["newest", "wrong-hash", "flood"] {
        assert!(reasons.contains(reason), "{reason} in {reasons:?}");
    }
    eprintln!(
        "stolen node: proposals of all snapshots, all packs, the oldest and the configuration, an overwrite, a false name, \
         another node's objects, a flood (refused after {flood}): 0 of {} snapshots lost; alarms: {}",
        kept.len(),
        reasons.iter().map(String::as_str).collect::<Vec<_>>().join(", ")
    );
    let own = fleet.api.get("/api/v1/backups/b").json();
    assert_eq!(own["held"], 0, "{own}");
    fleet.campanile(&["backup", "status", "a"]).expect_code(2);
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
