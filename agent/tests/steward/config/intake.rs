//! Offers, and what may come instead of what was wanted.

use campanile_agent::steward::protocol::{StewardEvent, StewardRequest, Tag};
use campanile_common::api::AuditOutcome;
use campanile_common::config::{FilePart, Layer, Purpose, SecretPart, part_digest};
use campanile_common::id::{Digest, FleetId};
use campanile_common::wire::v1::config::{ConfigReport, PartPiece};

use super::bundle::{Bundle, pieces};
use super::{hand_over, node, parts};
use crate::support::{Client, NODE, Node, OPEN_POLICY, key, now};

const TAG: Tag = Tag(40);
const LONG: usize = 200_000;

/// Two files, one longer than a piece, one empty.
fn bundle(number: u64) -> Bundle {
    let long: Vec<u8> = (0..LONG).map(|place| u8::try_from(place % 251).unwrap()).collect();
    Bundle::release(number, &[("/etc/long", &long), ("/etc/empty", b""), ("/etc/motd", b"welcome\n")])
}

fn wanted(client: &mut Client) -> Vec<Digest> {
    match client.next().unwrap() {
        StewardEvent::Want(_, digests) => digests,
        other => panic!("{other:?}"),
    }
}

fn refusal(client: &mut Client) -> String {
    match client.next().unwrap() {
        StewardEvent::Refused(_, reason) => reason,
        other => panic!("{other:?}"),
    }
}

/// Reasons of the refusals in the audit chain.
fn audited(client: &mut Client) -> Vec<String> {
    let entries = client.audit();
    let refused = entries.into_iter().filter(|entry| entry.action == "config.refuse");
    refused
        .map(|entry| {
            assert_eq!(entry.outcome, AuditOutcome::Denied);
            entry.detail
        })
        .collect()
}

/// What a new connection is told without asking.
fn report(node: &Node) -> ConfigReport {
    node.client();
    match Client::silent(&node.path("steward.sock")).next_event().unwrap() {
        StewardEvent::Config(report) => *report,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_generation_is_wanted_first_then_its_layers_then_what_they_name_and_nothing_twice() {
    let node = node();
    let (mut client, bundle) = (node.client(), bundle(1));
    client.send(&bundle.offer(TAG, false));
    assert_eq!(wanted(&mut client), [bundle.digest()]);
    bundle.pieces(TAG, bundle.digest()).iter().for_each(|piece| client.send(piece));
    let layers = wanted(&mut client);
    assert_eq!(layers.len(), 1);
    bundle.pieces(TAG, layers[0]).iter().for_each(|piece| client.send(piece));
    let files = wanted(&mut client);
    assert_eq!(files.len(), 3);
    for digest in files {
        bundle.pieces(TAG, digest).iter().for_each(|piece| client.send(piece));
    }
    assert_eq!(client.next(), Some(StewardEvent::Ready(TAG)));
    assert_eq!(parts(&node).len(), 5);
    for (digest, bytes) in &bundle.parts {
        let path = node.state().join("config/parts").join(digest.to_string());
        assert_eq!(&std::fs::read(path).unwrap(), bytes);
    }
    // What is here is not wanted again, and of another generation only what is new.
    client.send(&bundle.offer(TAG, false));
    assert_eq!(client.next(), Some(StewardEvent::Ready(TAG)));
    let taken = client.audit().into_iter().filter(|entry| entry.action == "config.take").count();
    assert_eq!(taken, 2);
}

#[test]
fn only_sealed_secrets_of_this_node_are_wanted() {
    let node = node();
    let (ours, theirs) = (b"sealed to us".to_vec(), b"sealed to them".to_vec());
    let mut bundle = Bundle::with(1, &[], |generation| {
        let sealed = [(NODE, part_digest(&ours)), (other_node(), part_digest(&theirs))];
        let part = SecretPart { selector: "*".to_owned(), set: now(), sealed: sealed.into() };
        generation.secrets.insert("password".to_owned(), part);
    });
    bundle.parts.insert(part_digest(&ours), ours.clone());
    hand_over(&mut node.client(), &bundle, false).unwrap();
    assert!(parts(&node).contains(&part_digest(&ours).to_string()));
    assert!(!parts(&node).contains(&part_digest(&theirs).to_string()));
}

fn other_node() -> campanile_common::id::NodeId {
    campanile_common::id::NodeId::from_bytes([9; 8])
}

/// What comes instead of the part that is wanted.
fn hostile(what: &str, digest: Digest, bytes: &[u8]) -> Vec<PartPiece> {
    let mut sent = pieces(digest, bytes);
    match what {
        "another part" => sent[0].digest = Digest::from_bytes([9; 32]),
        "a hole" => drop(sent.remove(0)),
        "a piece twice" => sent.insert(1, sent[0].clone()),
        "an altered byte" => sent[0].bytes[0] ^= 1,
        "an early end" => {
            sent.truncate(1);
            sent[0].is_last = true;
        }
        "no end" => {
            let last = sent.last_mut().unwrap();
            last.is_last = false;
            let offset = last.offset + u64::try_from(last.bytes.len()).unwrap();
            sent.push(PartPiece { digest, offset, bytes: vec![0; 10], is_last: false });
        }
        "nothing at all" => {
            sent.truncate(1);
            sent[0].bytes.clear();
        }
        "an offset out of this world" => sent[0].offset = u64::MAX,
        other => panic!("{other}"),
    }
    sent
}

#[test]
fn whatever_comes_instead_of_a_wanted_part_is_refused_and_written_down_and_not_kept() {
    let node = node();
    let mut client = node.client();
    let whats = [
        "another part",
        "a hole",
        "a piece twice",
        "an altered byte",
        "an early end",
        "no end",
        "nothing at all",
        "an offset out of this world",
    ];
    let bundle = bundle(1);
    let long = *bundle.parts.iter().find(|(_, bytes)| bytes.len() == LONG).unwrap().0;
    for what in whats {
        client.send(&bundle.offer(TAG, false));
        let reason = loop {
            match client.next().unwrap() {
                StewardEvent::Want(_, digests) => {
                    for digest in digests {
                        let sent = match digest == long {
                            true => hostile(what, digest, &bundle.bytes(digest)),
                            false => pieces(digest, &bundle.bytes(digest)),
                        };
                        sent.into_iter().for_each(|piece| client.send(&StewardRequest::Piece(TAG, piece)));
                    }
                }
                StewardEvent::Refused(_, reason) => break reason,
                other => panic!("{what}: {other:?}"),
            }
        };
        assert!(audited(&mut client).contains(&reason), "{what}: {reason}");
        assert!(!parts(&node).iter().any(|name| name.starts_with("new-")), "{what}");
        assert!(!parts(&node).contains(&long.to_string()), "{what}");
    }
    // The steward lives, and takes the real one.
    hand_over(&mut client, &bundle, false).unwrap();
}

#[test]
fn pieces_that_nobody_asked_for_are_nothing() {
    let node = node();
    let (mut client, bundle) = (node.client(), bundle(1));
    for (digest, bytes) in &bundle.parts {
        for piece in pieces(*digest, bytes) {
            client.send(&StewardRequest::Piece(TAG, piece));
        }
    }
    client.describe();
    assert!(parts(&node).is_empty());
}

#[test]
fn a_generation_that_operators_did_not_sign_is_refused_before_anything_of_it_is_wanted() {
    let node = node();
    let mut client = node.client();
    let mut unsigned = bundle(1);
    unsigned.signed.signatures.clear();
    let mut foreign = bundle(2);
    foreign.signed.signatures.clear();
    foreign.signed.add_signature(&key(77));
    let other_fleet = Bundle::with(1, &[], |generation| generation.fleet = FleetId::from_bytes([8; 16]));
    let mut altered = bundle(3);
    let place = altered.signed.bytes.len() / 2;
    altered.signed.bytes[place] ^= 1;
    for (what, bundle) in
        [("unsigned", unsigned), ("foreign", foreign), ("other fleet", other_fleet), ("altered", altered)]
    {
        let reason = hand_over(&mut client, &bundle, false).unwrap_err();
        assert!(audited(&mut client).contains(&reason), "{what}: {reason}");
        assert!(parts(&node).is_empty(), "{what}");
    }
    // And one that is something else than its name.
    let (real, other) = (bundle(1), bundle(2));
    client.send(&real.offer(TAG, false));
    assert_eq!(wanted(&mut client), [real.digest()]);
    for piece in pieces(real.digest(), &other.signed.encode()) {
        client.send(&StewardRequest::Piece(TAG, piece));
    }
    assert!(refusal(&mut client).contains("something else"));
    assert!(parts(&node).is_empty());
}

#[test]
fn drafts_are_taken_to_be_planned_and_never_followed() {
    let node = node();
    let mut client = node.client();
    let draft = Bundle::with(1, &[("/etc/motd", b"x")], |generation| generation.purpose = Purpose::Draft);
    let reason = hand_over(&mut client, &draft, true).unwrap_err();
    assert!(reason.contains("draft"), "{reason}");
    assert_eq!(audited(&mut client), [reason]);
    hand_over(&mut client, &draft, false).unwrap();
}

#[test]
fn a_layer_that_is_none_or_claims_too_much_is_refused() {
    let node = node();
    let mut client = node.client();
    let mut broken = Bundle::with(1, &[], |generation| {
        generation.layers[0].digest = part_digest(b"{\"vars\":");
    });
    broken.parts.insert(part_digest(b"{\"vars\":"), b"{\"vars\":".to_vec());
    assert!(hand_over(&mut client, &broken, false).unwrap_err().contains("layer"));
    let mut layer = Layer::default();
    let digest = Digest::from_bytes([3; 32]);
    layer.files.insert("huge".to_owned(), FilePart { digest, size: 17 << 20 });
    let huge = Bundle::of_layer(1, &layer, <_>::default(), |_| {});
    assert!(hand_over(&mut client, &huge, false).unwrap_err().contains("bytes"));
    layer.files.clear();
    for number in 0..70_u8 {
        let digest = Digest::from_bytes([number; 32]);
        layer.files.insert(format!("large-{number}"), FilePart { digest, size: 16 << 20 });
    }
    let all = Bundle::of_layer(1, &layer, <_>::default(), |_| {});
    assert!(hand_over(&mut client, &all, false).unwrap_err().contains("are the most"));
}

#[test]
fn a_node_whose_policy_lacks_the_class_takes_nothing_and_says_so() {
    let node = node();
    let mut client = node.client();
    hand_over(&mut client, &bundle(1), false).unwrap();
    node.write_policy(OPEN_POLICY);
    let reason = hand_over(&mut client, &bundle(2), false).unwrap_err();
    assert!(reason.contains("class `config`"), "{reason}");
    assert_eq!(audited(&mut client), [reason]);
    let denied = report(&node).denied;
    assert!(denied.contains("class `config`"), "{denied}");
}

#[test]
fn a_new_offer_takes_the_place_of_the_one_before() {
    let node = node();
    let (mut client, first, second) = (node.client(), bundle(1), bundle(2));
    client.send(&first.offer(Tag(1), false));
    assert_eq!(wanted(&mut client), [first.digest()]);
    hand_over(&mut client, &second, false).unwrap();
    // What still comes of the first is late, and nothing.
    first.pieces(Tag(1), first.digest()).iter().for_each(|piece| client.send(piece));
    client.describe();
    assert!(!parts(&node).contains(&first.digest().to_string()));
}

#[test]
fn offers_of_several_connections_do_not_disturb_each_other() {
    let node = node();
    let (mut one, mut other, bundle) = (node.client(), node.client(), bundle(1));
    one.send(&bundle.offer(TAG, false));
    assert_eq!(wanted(&mut one), [bundle.digest()]);
    hand_over(&mut other, &bundle, false).unwrap();
    bundle.pieces(TAG, bundle.digest()).iter().for_each(|piece| one.send(piece));
    assert_eq!(one.next(), Some(StewardEvent::Ready(TAG)));
}

#[test]
fn a_steward_that_is_killed_while_it_takes_parts_goes_on_where_it_was() {
    let mut node = node();
    let files: Vec<(String, Vec<u8>)> = (0..200_u32)
        .map(|number| (format!("/etc/d/{number}"), format!("{number}").repeat(500).into_bytes()))
        .collect();
    let files: Vec<(&str, &[u8])> = files.iter().map(|(path, bytes)| (&**path, &**bytes)).collect();
    let bundle = Bundle::release(1, &files);
    for kills in 0..8_usize {
        let mut client = node.client();
        client.send(&bundle.offer(TAG, false));
        let mut left = 20 + kills * 30;
        while left > 0 {
            let Some(StewardEvent::Want(_, digests)) = client.next() else { break };
            for digest in digests {
                bundle.pieces(TAG, digest).iter().take(left).for_each(|piece| client.send(piece));
                left = left.saturating_sub(1);
                if left == 0 {
                    break;
                }
            }
        }
        node.kill();
        node.start();
        drop(node.client());
        for name in parts(&node) {
            let path = node.state().join("config/parts").join(&name);
            let bytes = std::fs::read(path).unwrap();
            assert!(bytes == bundle.signed.encode() || part_digest(&bytes).to_string() == name, "{name}");
        }
    }
    hand_over(&mut node.client(), &bundle, false).unwrap();
    assert_eq!(parts(&node).len(), 202);
}

#[test]
fn old_parts_go_when_nothing_wants_them_any_more() {
    let node = node();
    let mut client = node.client();
    let drafts: Vec<Bundle> = (0..8_u8)
        .map(|number| {
            Bundle::with(1, &[("/etc/motd", &[number])], |generation| generation.purpose = Purpose::Draft)
        })
        .collect();
    drafts.iter().for_each(|draft| hand_over(&mut client, draft, false).unwrap());
    // The last four, with a layer and a file each.
    assert_eq!(parts(&node).len(), 12);
    assert!(parts(&node).contains(&drafts[7].digest().to_string()));
}

#[test]
fn every_connection_is_told_how_the_node_stands_and_to_which_key_secrets_are_sealed() {
    let mut node = node();
    let key = report(&node).sealing_key.unwrap();
    assert!(key.starts_with("age1"), "{key}");
    node.kill();
    node.start();
    assert_eq!(report(&node).sealing_key, Some(key));
}

#[test]
fn a_sealing_key_that_is_damaged_is_never_replaced() {
    let mut node = node();
    node.client();
    assert_eq!(node.stop(), Some(0));
    let path = node.state().join("config/secrets.key");
    std::fs::write(&path, "AGE-SECRET-KEY-1BROKEN\n").unwrap();
    node.start();
    assert_eq!(report(&node).sealing_key, None);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "AGE-SECRET-KEY-1BROKEN\n");
}
