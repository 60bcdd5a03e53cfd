//! Generations as they are built from bundles and from each other.

use super::*;
use crate::testing::node;
use campanile_common::config::part_digest;

pub(crate) fn layer(kind: LayerKind, name: &str, selector: Option<&str>, content: &str) -> LayerPart {
    LayerPart {
        kind,
        name: name.to_owned(),
        selector: selector.map(str::to_owned),
        priority: 0,
        digest: part_digest(content.as_bytes()),
        is_for_members_only: false,
    }
}

pub(crate) fn labelled(number: usize, role: &str) -> Node {
    let mut node = node(number);
    node.labels.set("role", role).unwrap();
    node
}

fn layers(generation: &str) -> Vec<LayerPart> {
    vec![
        layer(LayerKind::Fleet, "fleet", None, "same"),
        layer(LayerKind::Group, "web", Some("role=web"), generation),
        layer(LayerKind::Node, "node-3", None, generation),
    ]
}

fn head_of(body: Body) -> Head {
    let generation = body.into_generation(None, &nobody(), Purpose::Release, "");
    Head { digest: part_digest(b"head"), generation }
}

fn nodes() -> Vec<Node> {
    vec![labelled(1, "web"), labelled(2, "web"), labelled(3, "db")]
}

fn digests(body: &Body, number: usize) -> Vec<Digest> {
    let member = &body.members[&node(number).node_id];
    member.layers.iter().map(|index| body.layers[usize::from(*index)].digest).collect()
}

#[test]
fn every_node_is_listed_with_the_layers_that_its_labels_select() {
    let body = Body::of_layers(layers("one"), None, &nodes());
    let listed = |number: usize| body.members[&node(number).node_id].layers.clone();
    assert_eq!((listed(1), listed(3)), (vec![0, 1], vec![0, 2]));
    assert_eq!(body.members[&node(3).node_id].labels.to_string(), "role=db");
}

#[test]
fn the_same_bundle_for_the_same_nodes_is_the_same_body_and_a_label_makes_another() {
    let head = head_of(Body::of_layers(layers("one"), None, &nodes()));
    let again = Body::of_layers(layers("one"), Some(&head), &nodes());
    assert_eq!(again, Body::of(&head.generation));
    let relabelled = [labelled(1, "db"), labelled(2, "web"), labelled(3, "db")];
    assert_ne!(Body::of_layers(layers("one"), Some(&head), &relabelled), Body::of(&head.generation));
    assert_ne!(Body::of_layers(layers("two"), Some(&head), &nodes()), Body::of(&head.generation));
}

#[test]
fn the_generation_after_the_head_names_it_and_rises_by_one() {
    let head = head_of(Body::of_layers(layers("one"), None, &nodes()));
    let next = Body::of(&head.generation).into_generation(Some(&head), &nobody(), Purpose::Draft, "why");
    assert_eq!((next.number, next.parent), (2, Some(head.digest)));
    next.check().unwrap();
    assert_eq!(head.generation.parent, None);
    head.generation.check().unwrap();
}

#[test]
fn a_rollback_of_the_fleet_gives_every_node_what_it_had() {
    let old = head_of(Body::of_layers(layers("old"), None, &nodes())).generation;
    let head = head_of(Body::of_layers(layers("new"), None, &nodes())).generation;
    let mut more = nodes();
    more.push(labelled(4, "web"));
    let body = Body::rolled_back(&old, &head, &more, None);
    assert_eq!(body.layers, old.layers);
    for number in 1..=3 {
        assert_eq!(body.members[&node(number).node_id], old.members[&node(number).node_id]);
    }
    assert_eq!(
        body.members[&node(4).node_id].layers,
        [0, 1],
        "one that came later is selected by its labels"
    );
}

#[test]
fn a_rollback_of_some_nodes_leaves_the_others_and_newcomers_at_the_head() {
    let old = head_of(Body::of_layers(layers("old"), None, &nodes())).generation;
    let head = head_of(Body::of_layers(layers("new"), None, &nodes())).generation;
    let body = Body::rolled_back(&old, &head, &nodes(), Some(&[node(1).node_id].into()));
    let (same, new) = (part_digest(b"same"), part_digest(b"new"));
    assert_eq!(digests(&body, 1), [same, part_digest(b"old")]);
    assert_eq!(digests(&body, 2), [same, new]);
    assert_eq!(digests(&body, 3), [same, new]);
    let generation = body.clone().into_generation(None, &nobody(), Purpose::Release, "");
    generation.check().unwrap();
    let newcomer = labelled(9, "web");
    let layers = generation.layers_of(newcomer.node_id, &newcomer.name, &newcomer.labels);
    let of_newcomer: Vec<Digest> =
        layers.into_iter().map(|index| generation.layers[usize::from(index)].digest).collect();
    assert_eq!(of_newcomer, [same, new]);
    assert_eq!(
        body.layers.iter().filter(|layer| layer.is_for_members_only).count(),
        1,
        "equal layers stay one"
    );
}

#[test]
fn a_rollback_keeps_the_newest_secrets_and_brings_back_those_that_went() {
    let secret = |value: &[u8]| SecretPart {
        selector: "role=web".to_owned(),
        set: Timestamp::from_millis(1),
        sealed: [(node(1).node_id, part_digest(value))].into(),
    };
    let mut old = Body::of_layers(layers("old"), None, &nodes());
    old.secrets = [("kept".to_owned(), secret(b"1")), ("gone".to_owned(), secret(b"2"))].into();
    let mut new = Body::of_layers(layers("new"), None, &nodes());
    new.secrets = [("kept".to_owned(), secret(b"3"))].into();
    let body = Body::rolled_back(&head_of(old).generation, &head_of(new).generation, &nodes(), None);
    assert_eq!(body.secrets, [("kept".to_owned(), secret(b"3")), ("gone".to_owned(), secret(b"2"))].into());
    let said = body.unsealed();
    assert_eq!(said.len(), 2);
    assert!(
        said[0].starts_with("secret `gone` is not sealed for node-2, which `role=web` names"),
        "{said:?}"
    );
}

#[test]
fn layers_for_nobody_are_told() {
    let body = Body::of_layers(layers("one"), None, &[labelled(1, "db")]);
    assert_eq!(
        idle_layers(&body),
        [
            "groups/web.toml is for no node today: `role=web` names none",
            "nodes/node-3.toml is for no node today: none is called `node-3`"
        ]
    );
    assert!(idle_layers(&Body::of_layers(layers("one"), None, &nodes())).is_empty());
}
