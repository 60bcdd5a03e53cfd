//! What is pinned moves forward only.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use campanile_common::authority::{CatalogueDocument, Document, Operator, OperatorKey, Role};
use campanile_common::time::Timestamp;
use zeroize::Zeroizing;

use super::*;

const FLEET: FleetId = FleetId::from_bytes([1; 16]);
const NODE: NodeId = NodeId::from_bytes([2; 8]);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const YEAR: Duration = Duration::from_secs(366 * 86_400);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn operator(seed: u8, roles: &[Role]) -> Operator {
    let roles: BTreeSet<Role> = roles.iter().copied().collect();
    Operator { name: format!("operator {seed}"), key: key(seed).public(), roles }
}

fn first() -> Document {
    Document::first(FLEET, "fleet".to_owned(), operator(1, &Role::ALL), NOW, NOW + YEAR)
}

fn signed(document: &Document, seed: u8) -> SignedAuthority {
    document.sign(&[&key(seed)]).unwrap()
}

fn catalogue(version: u64, seed: u8) -> SignedCatalogue {
    let document = CatalogueDocument {
        format: CatalogueDocument::FORMAT,
        fleet: FLEET,
        version,
        authority_version: 1,
        issued: NOW,
        expires: NOW + YEAR,
        commands: BTreeMap::new(),
        services: Vec::new(),
    };
    document.sign(&[&key(seed)]).unwrap()
}

/// A pinned node, and the version that follows: operator 2 takes over from operator 1.
fn pinned() -> (tempfile::TempDir, Pin, SignedAuthority) {
    let folder = tempfile::tempdir().unwrap();
    let chain = [signed(&first(), 1)];
    write_pin(folder.path(), FLEET, NODE, &chain).unwrap();
    let mut next = first().successor(chain[0].digest(), NOW);
    next.operators = vec![operator(2, &Role::ALL)];
    let pin = Pin::load(folder.path()).unwrap();
    (folder, pin, signed(&next, 1))
}

#[test]
fn a_folder_without_a_pin_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let error = Pin::load(folder.path()).unwrap_err();
    assert!(error.to_string().contains("campanile-agent enroll"), "{error}");
}

#[test]
fn the_authority_follows_its_chain_and_never_goes_back() {
    let (folder, mut pin, next) = pinned();
    let old = pin.authority.signed().clone();
    assert!(!pin.follow(next.clone()).unwrap());
    assert_eq!(Pin::load(folder.path()).unwrap().authority.document().version, 2);
    assert!(!pin.follow(next).unwrap(), "the same once more changes nothing");
    assert!(matches!(pin.follow(old), Err(PinError::RefusedAuthority(AuthorityError::NotNext { .. }))));
    let mut forged = pin.authority.document().successor(pin.authority.digest(), NOW);
    forged.operators = vec![operator(3, &Role::ALL)];
    // Operator 1 was in version 1 and is not in version 2.
    for seed in [1, 3] {
        let refused = pin.follow(signed(&forged, seed));
        assert!(
            matches!(refused, Err(PinError::RefusedAuthority(AuthorityError::Signatures { .. }))),
            "{refused:?}"
        );
    }
    assert_eq!(Pin::load(folder.path()).unwrap().authority.document().version, 2);
}

#[test]
fn a_catalogue_is_replaced_by_newer_ones_only() {
    let (folder, mut pin, _) = pinned();
    pin.take_catalogue(catalogue(5, 1)).unwrap();
    pin.take_catalogue(catalogue(5, 1)).unwrap();
    for (version, seed) in [(4, 1), (6, 2)] {
        assert!(matches!(pin.take_catalogue(catalogue(version, seed)), Err(PinError::RefusedCatalogue(_))));
    }
    let version = |pin: &Pin| pin.catalogue.as_ref().map(|catalogue| catalogue.document().version);
    assert_eq!(version(&Pin::load(folder.path()).unwrap()), Some(5));
}

#[test]
fn a_catalogue_falls_with_its_signers_and_older_ones_do_not_come_back() {
    let (folder, mut pin, next) = pinned();
    pin.take_catalogue(catalogue(5, 1)).unwrap();
    assert!(pin.follow(next).unwrap(), "it fell out of force");
    let mut pin = Pin::load(folder.path()).unwrap();
    assert!(pin.catalogue.is_none());
    assert!(pin.take_catalogue(catalogue(4, 2)).is_err(), "older than the one that fell");
    assert!(pin.take_catalogue(catalogue(5, 1)).is_err(), "its signer has left");
    pin.take_catalogue(catalogue(5, 2)).unwrap();
    assert!(Pin::load(folder.path()).unwrap().catalogue.is_some());
}

#[test]
fn enrolling_anew_replaces_everything() {
    let (folder, mut pin, next) = pinned();
    pin.take_catalogue(catalogue(5, 1)).unwrap();
    pin.follow(next).unwrap();
    assert!(!pin.is_outdated());
    let other = NodeId::from_bytes([3; 8]);
    write_pin(folder.path(), FLEET, other, &[signed(&first(), 1)]).unwrap();
    assert!(pin.is_outdated());
    let pin = Pin::load(folder.path()).unwrap();
    assert_eq!((pin.node, pin.authority.document().version), (other, 1));
    assert!(pin.catalogue.is_none());
}

#[test]
fn a_chain_of_another_fleet_or_with_a_hole_is_not_pinned() {
    let (folder, mut pin, next) = pinned();
    let elsewhere = FleetId::from_bytes([9; 16]);
    assert!(write_pin(folder.path(), elsewhere, NODE, &[signed(&first(), 1)]).is_err());
    assert!(write_pin(folder.path(), FLEET, NODE, &[]).is_err());
    assert!(!pin.is_outdated(), "what was there is untouched");
    pin.follow(next).unwrap();
    std::fs::remove_file(folder.path().join("authority/0000000001")).unwrap();
    assert!(matches!(Pin::load(folder.path()), Err(PinError::Authority { .. })));
}

#[test]
fn damage_is_never_read_as_missing() {
    for file in ["pin", "authority/0000000001", "catalogue"] {
        let (folder, mut pin, _) = pinned();
        pin.take_catalogue(catalogue(5, 1)).unwrap();
        let path = folder.path().join(file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes.truncate(bytes.len() / 2);
        std::fs::write(&path, bytes).unwrap();
        assert!(matches!(Pin::load(folder.path()), Err(PinError::Damaged { .. })), "{file}");
    }
}
