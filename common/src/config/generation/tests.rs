//! Generations: signed, refused, followed.

use super::*;
use crate::authority::{Authority, Document, Operator, Role, SignedAuthority};

const FLEET: FleetId = FleetId::from_bytes([7; 16]);
const NOW: Timestamp = Timestamp::from_millis(1_700_000_000_000);
const NODE: NodeId = NodeId::from_bytes([1; 8]);

fn key(seed: u8) -> OperatorKey {
    OperatorKey::from_seed([seed; 32].into()).unwrap()
}

fn operator(seed: u8) -> Operator {
    Operator { name: format!("operator-{seed}"), key: key(seed).public(), roles: Role::ALL.into() }
}

fn document() -> Document {
    let expires = NOW + std::time::Duration::from_secs(86_400);
    Document::first(FLEET, "test".to_owned(), operator(1), NOW, expires)
}

fn authority() -> Authority {
    let signed: SignedAuthority = document().sign(&[&key(1)]).unwrap();
    let digest = signed.digest();
    signed.verify_pinned(digest).unwrap()
}

fn layer(kind: LayerKind, name: &str, selector: Option<&str>, priority: i32) -> LayerPart {
    let selector = selector.map(str::to_owned);
    let digest = Digest::from_bytes([9; 32]);
    LayerPart { kind, name: name.to_owned(), selector, priority, digest, is_for_members_only: false }
}

fn generation(number: u64) -> Generation {
    Generation {
        format: FORMAT,
        fleet: FLEET,
        number,
        parent: (number > 1).then(|| Digest::from_bytes([8; 32])),
        authority_version: 1,
        created: NOW,
        author: "ada".to_owned(),
        message: "why".to_owned(),
        purpose: Purpose::Release,
        layers: vec![
            layer(LayerKind::Node, "web-1", None, 0),
            layer(LayerKind::Group, "web", Some("role=web"), 10),
            layer(LayerKind::Group, "all", Some(""), 99),
            layer(LayerKind::Group, "eu", Some("region=eu"), 10),
            layer(LayerKind::Fleet, "fleet", None, 0),
        ],
        members: BTreeMap::new(),
        secrets: BTreeMap::new(),
    }
}

fn verified(generation: &Generation) -> VerifiedGeneration {
    generation.sign(&[&key(1)]).unwrap().verify(&authority()).unwrap()
}

#[test]
fn an_operators_generation_is_accepted_and_names_who_signed() {
    let signed = generation(2).sign(&[&key(1)]).unwrap();
    let read = SignedGeneration::decode(&signed.encode()).unwrap();
    let verified = read.verify(&authority()).unwrap();
    assert_eq!(verified.generation(), &generation(2));
    assert_eq!(verified.digest(), signed.digest());
    assert_eq!(verified.operators(), ["operator-1"]);
}

#[test]
fn strangers_and_foreign_fleets_are_refused() {
    let unsigned = generation(1).sign(&[]).unwrap().verify(&authority());
    assert_eq!(unsigned, Err(GenerationError::Signatures { found: 0, needed: 1 }));
    let stranger = generation(1).sign(&[&key(2)]).unwrap().verify(&authority());
    assert_eq!(stranger, Err(GenerationError::Signatures { found: 0, needed: 1 }));
    let foreign = Generation { fleet: FleetId::from_bytes([6; 16]), ..generation(1) };
    let foreign = foreign.sign(&[&key(1)]).unwrap().verify(&authority());
    assert!(matches!(foreign, Err(GenerationError::ForeignFleet { .. })), "{foreign:?}");
}

#[test]
fn a_threshold_takes_distinct_operators_and_a_tally_says_who_signed() {
    let mut two = document();
    two.operators.push(operator(2));
    two.thresholds.insert(Role::Change, 2);
    let signed = two.sign(&[&key(1), &key(2)]).unwrap();
    let digest = signed.digest();
    let authority = signed.verify_pinned(digest).unwrap();
    let mut signed = generation(2).sign(&[&key(1)]).unwrap();
    signed.add_signature(&key(1));
    signed.add_signature(&key(3));
    assert_eq!(signed.verify(&authority), Err(GenerationError::Signatures { found: 1, needed: 2 }));
    let tally = signed.tally(&authority).unwrap();
    assert_eq!((tally.operators.as_slice(), tally.needed), (&["operator-1".to_owned()][..], 2));
    assert_eq!((tally.missing(), tally.digest), (1, signed.digest()));
    signed.add_signature(&key(2));
    assert_eq!(signed.tally(&authority).unwrap().missing(), 0);
    assert_eq!(signed.verify(&authority).unwrap().operators(), ["operator-1", "operator-2"]);
}

#[test]
fn no_changed_byte_is_accepted() {
    let signed = generation(2).sign(&[&key(1)]).unwrap();
    for index in 0..signed.bytes.len() {
        let mut changed = signed.clone();
        changed.bytes[index] ^= 1;
        assert!(changed.verify(&authority()).is_err(), "byte {index}");
        assert_ne!(changed.digest(), signed.digest());
    }
    let encoded = signed.encode();
    for length in 0..encoded.len() {
        assert_eq!(SignedGeneration::decode(&encoded[..length]), Err(GenerationError::Unreadable));
    }
    assert_eq!(SignedGeneration::decode(&[encoded, vec![0]].concat()), Err(GenerationError::Unreadable));
}

#[test]
fn an_inconsistent_generation_is_neither_signed_nor_read() {
    let broken: [fn(&mut Generation); 6] = [
        |g| g.format = 2,
        |g| g.number = 0,
        |g| g.parent = None,
        |g| g.layers[0].selector = Some(String::new()),
        |g| g.layers[1].selector = Some("a==".to_owned()),
        |g| {
            let labels = Labels::default();
            g.members.insert(NODE, Member { name: "n".to_owned(), labels, layers: vec![5] });
        },
    ];
    for (case, change) in broken.into_iter().enumerate() {
        let mut generation = generation(2);
        change(&mut generation);
        let refused = generation.sign(&[&key(1)]);
        assert!(matches!(refused, Err(GenerationError::Inconsistent { .. })), "case {case}: {refused:?}");
    }
}

#[test]
fn numbers_only_rise_and_a_draft_is_never_followed() {
    let second = verified(&generation(2));
    let other = verified(&Generation { message: "other".to_owned(), ..generation(2) });
    let third = verified(&generation(3));
    assert_eq!(second.may_follow(None), Ok(()));
    assert_eq!(second.may_follow(Some((2, second.digest()))), Ok(()));
    assert_eq!(third.may_follow(Some((2, second.digest()))), Ok(()));
    assert_eq!(
        second.may_follow(Some((3, third.digest()))),
        Err(FollowError::Older { found: 2, highest: 3 })
    );
    assert_eq!(other.may_follow(Some((2, second.digest()))), Err(FollowError::Forked(2)));
    let draft = verified(&Generation { purpose: Purpose::Draft, ..generation(3) });
    assert_eq!(draft.may_follow(None), Err(FollowError::Draft(3)));
}

#[test]
fn layers_are_those_listed_for_members_and_those_of_the_labels_for_others() {
    let mut generation = generation(1);
    let labels: Labels = "role=web".parse().unwrap();
    let names = |generation: &Generation, indices: Vec<u16>| -> Vec<String> {
        indices.into_iter().map(|index| generation.layers[usize::from(index)].name.clone()).collect()
    };
    let found = generation.layers_of(NODE, "web-1", &labels);
    assert_eq!(names(&generation, found), ["fleet", "web", "all", "web-1"]);
    let both: Labels = serde_json::from_str(r#"{"role":"web","region":"eu"}"#).unwrap();
    let found = generation.layers_of(NODE, "x", &both);
    assert_eq!(names(&generation, found), ["fleet", "eu", "web", "all"], "by priority, then by name");
    generation.layers[1].is_for_members_only = true;
    let found = generation.layers_of(NODE, "x", &labels);
    assert_eq!(names(&generation, found), ["fleet", "all"]);
    let member = Member { name: "web-1".to_owned(), labels: Labels::default(), layers: vec![4, 1] };
    generation.members.insert(NODE, member);
    let found = generation.layers_of(NODE, "other-name", &both);
    assert_eq!(names(&generation, found), ["fleet", "web"], "told labels do not regroup a member");
}
