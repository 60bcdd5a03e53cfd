//! Generations, layers and everything around them, with fixed content.

use std::collections::BTreeMap;

use campanile_common::authority::OperatorKey;
use campanile_common::config::{
    FilePart, Generation, Layer, LayerKind, LayerPart, Member, Purpose, SecretPart, part_digest,
};
use campanile_common::id::Digest;
use campanile_common::label::Labels;
use campanile_common::wire::v1::config::{
    ConfigDown, ConfigOffer, ConfigPhase, ConfigReport, ConfigUp, Drifted, PartPiece,
};

use crate::messages::{FLEET, NODE, SEED, TIME};

const DIGEST: Digest = Digest::from_bytes([0xD1; 32]);

pub(crate) fn key() -> OperatorKey {
    OperatorKey::from_seed(SEED.into()).expect("any 32 bytes are a seed")
}

fn labels() -> Labels {
    "role=web".parse().expect("a label")
}

pub(crate) fn layer() -> Layer {
    let part = FilePart { digest: DIGEST, size: 12 };
    let text = r#"{"vars":{"a":[1,-2.5,true]},"resources":{"file":{"/etc/motd":{"source":"motd"}}}}"#;
    let layer: Layer = serde_json::from_str(text).expect("a layer");
    Layer { files: [("motd".to_owned(), part)].into(), templates: [("t".to_owned(), part)].into(), ..layer }
}

/// The first one, and one that has everything.
pub(crate) fn generations() -> Vec<Generation> {
    let digest = part_digest(&layer().to_bytes());
    let part = |kind, name: &str, selector: Option<&str>| LayerPart {
        kind,
        name: name.to_owned(),
        selector: selector.map(str::to_owned),
        priority: if kind == LayerKind::Group { -10 } else { 0 },
        digest,
        is_for_members_only: kind == LayerKind::Node,
    };
    let first = Generation {
        format: Generation::FORMAT,
        fleet: FLEET,
        number: 1,
        parent: None,
        authority_version: 1,
        created: TIME,
        author: "ada".to_owned(),
        message: "first".to_owned(),
        purpose: Purpose::Draft,
        layers: vec![part(LayerKind::Fleet, "fleet", None)],
        members: BTreeMap::new(),
        secrets: BTreeMap::new(),
    };
    let mut second =
        Generation { number: 2, parent: Some(DIGEST), purpose: Purpose::Release, ..first.clone() };
    second.layers.push(part(LayerKind::Group, "web", Some("role=web")));
    second.layers.push(part(LayerKind::Node, "web-1", None));
    second.members.insert(NODE, Member { name: "web-1".to_owned(), labels: labels(), layers: vec![0, 1, 2] });
    let secret =
        SecretPart { selector: "role=web".to_owned(), set: TIME, sealed: BTreeMap::from([(NODE, DIGEST)]) };
    second.secrets.insert("db".to_owned(), secret);
    vec![first, second]
}

pub(crate) fn down() -> Vec<ConfigDown> {
    let offer =
        ConfigOffer { generation: DIGEST, name: "web-1".to_owned(), labels: labels(), is_followed: true };
    let piece = PartPiece { digest: DIGEST, offset: 1 << 20, bytes: b"part".to_vec(), is_last: true };
    vec![ConfigDown::Offer(offer), ConfigDown::Piece(piece), ConfigDown::Missing(DIGEST)]
}

pub(crate) fn up() -> Vec<ConfigUp> {
    vec![
        ConfigUp::Want(vec![DIGEST, Digest::from_bytes([2; 32])]),
        ConfigUp::Ready,
        ConfigUp::Refused("older".to_owned()),
    ]
}

pub(crate) fn reports() -> Vec<ConfigReport> {
    let drifted = Drifted {
        resource: "file:/etc/motd".parse().expect("an id"),
        found: TIME,
        detail: "content, by uid 0".to_owned(),
        is_enforced: true,
    };
    let phases = [
        ConfigPhase::Unconfigured,
        ConfigPhase::Applied,
        ConfigPhase::Applying,
        ConfigPhase::Confirming,
        ConfigPhase::Failed,
        ConfigPhase::Reverted,
    ];
    let report = |phase| ConfigReport {
        sealing_key: Some("age1q".to_owned()),
        current: Some((2, DIGEST)),
        applied: Some(TIME),
        phase,
        tried: Some((3, DIGEST)),
        is_given_up: true,
        detail: "no confirmation".to_owned(),
        drifted: vec![drifted.clone()],
        drifted_count: 1,
        denied: "class config is denied".to_owned(),
    };
    phases.map(report).into_iter().chain([ConfigReport::default()]).collect()
}
