//! The chain of authorities.

use super::*;
use zeroize::Zeroizing;

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed(Zeroizing::new([seed; 32])).unwrap()
}

fn operator(name: &str, seed: u8) -> Operator {
    Operator { name: name.to_owned(), key: key(seed).public(), roles: Role::ALL.into() }
}

fn first() -> Document {
    Document::first(
        FleetId::from_bytes([1; 16]),
        "acme".to_owned(),
        operator("ada", 1),
        Timestamp::from_millis(1),
        Timestamp::from_millis(1000),
    )
}

fn authority() -> Authority {
    let signed = first().sign(&[&key(1)]).unwrap();
    let pin = signed.digest();
    signed.verify_pinned(pin).unwrap()
}

fn second(current: &Authority) -> Document {
    let mut document = current.document().clone();
    document.version = 2;
    document.previous = Some(current.digest());
    document.operators.push(operator("bob", 2));
    document.thresholds.insert(Role::Critical, 2);
    document
}

#[test]
fn the_chain_is_followed_with_the_old_versions_signatures() {
    let current = authority();
    let next = current.verify_next(second(&current).sign(&[&key(1)]).unwrap()).unwrap();
    assert_eq!(next.document().version, 2);
}

#[test]
fn the_new_operators_own_signature_counts_for_nothing() {
    let current = authority();
    let error = current.verify_next(second(&current).sign(&[&key(2)]).unwrap()).unwrap_err();
    assert_eq!(error, AuthorityError::Signatures { found: 0, needed: 1 });
}

#[test]
fn one_operator_signing_twice_is_one_operator() {
    let mut document = first();
    document.operators.push(operator("bob", 2));
    document.thresholds.insert(Role::Authority, 2);
    let signed = document.sign(&[&key(1), &key(1)]).unwrap();
    let pin = signed.digest();
    assert_eq!(signed.verify_pinned(pin), Err(AuthorityError::Signatures { found: 1, needed: 2 }));
}

#[test]
fn a_skipped_version_a_foreign_fleet_and_a_fork_are_refused() {
    let current = authority();
    let mut skipped = second(&current);
    skipped.version = 3;
    assert!(matches!(
        current.verify_next(skipped.sign(&[&key(1)]).unwrap()),
        Err(AuthorityError::NotNext { found: 3, current: 1 })
    ));
    let mut foreign = second(&current);
    foreign.fleet = FleetId::from_bytes([2; 16]);
    assert!(matches!(
        current.verify_next(foreign.sign(&[&key(1)]).unwrap()),
        Err(AuthorityError::ForeignFleet { .. })
    ));
    let mut fork = second(&current);
    fork.previous = Some(Digest::from_bytes([0; 32]));
    assert!(matches!(
        current.verify_next(fork.sign(&[&key(1)]).unwrap()),
        Err(AuthorityError::NotNext { .. })
    ));
}

#[test]
fn an_altered_byte_breaks_the_pin_and_the_signature() {
    let signed = first().sign(&[&key(1)]).unwrap();
    let pin = signed.digest();
    for index in 0..signed.bytes.len() {
        let mut altered = signed.clone();
        altered.bytes[index] ^= 1;
        let own_pin = altered.digest();
        assert!(matches!(altered.clone().verify_pinned(pin), Err(AuthorityError::NotPinned { .. })));
        assert!(altered.verify_pinned(own_pin).is_err(), "byte {index}");
    }
}

#[test]
fn a_threshold_nobody_can_reach_is_refused_before_it_is_signed() {
    let mut document = first();
    document.thresholds.insert(Role::Change, 2);
    assert!(matches!(document.sign(&[&key(1)]), Err(AuthorityError::Inconsistent { .. })));
}

#[test]
fn a_recovery_key_replaces_lost_operators_once() {
    let recovery = key(9);
    let mut document = first();
    document.recovery = vec![recovery.public()];
    let signed = document.sign(&[&key(1)]).unwrap();
    let pin = signed.digest();
    let current = signed.verify_pinned(pin).unwrap();
    let mut next = current.document().successor(current.digest(), Timestamp::from_millis(2));
    next.operators = vec![operator("bob", 2)];
    // The recovery key stays listed: it would not be spent.
    assert!(current.verify_next(next.sign(&[&recovery, &key(2)]).unwrap()).is_err());
    next.recovery.clear();
    // Without the new operators' consent.
    assert!(current.verify_next(next.sign(&[&recovery]).unwrap()).is_err());
    // Without the recovery key.
    assert!(current.verify_next(next.sign(&[&key(2)]).unwrap()).is_err());
    let recovered = current.verify_next(next.sign(&[&recovery, &key(2)]).unwrap()).unwrap();
    let mut again = recovered.document().successor(recovered.digest(), Timestamp::from_millis(3));
    again.operators = vec![operator("eve", 3)];
    assert!(recovered.verify_next(again.sign(&[&recovery, &key(3)]).unwrap()).is_err());
}
