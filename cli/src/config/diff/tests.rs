//! Differences of generations, as they are printed.

use super::super::build::tests::{labelled, layer};
use super::super::build::{Body, Origin};
use super::*;
use campanile_common::config::{LayerKind, Purpose, SecretPart, part_digest};
use campanile_common::id::FleetId;
use campanile_common::time::Timestamp;

fn generation(body: Body) -> Generation {
    let origin = Origin {
        fleet: FleetId::from_bytes([1; FleetId::BYTES]),
        authority_version: 1,
        author: "ada".to_owned(),
        now: Timestamp::from_millis(1),
    };
    body.into_generation(None, &origin, Purpose::Release, "")
}

fn motd(content: &str) -> Layer {
    let table = serde_json::json!({ "content": content, "mode": "0644" });
    let table = table.as_object().unwrap().clone();
    let files = [("/etc/motd".to_owned(), table)].into();
    let vars = serde_json::json!({ "nginx": { "workers": 4 } }).as_object().unwrap().clone();
    Layer { vars, resources: [("file".to_owned(), files)].into(), ..Layer::default() }
}

#[test]
fn a_layer_is_compared_as_the_bundle_writes_it() {
    let part = layer(LayerKind::Group, "web", Some("role=web"), "");
    let (old, new) = (text(&part, &motd("ding")), text(&part, &motd("dong")));
    let found = compare(&[(path(&part), old)].into(), &[(path(&part), new)].into());
    assert_eq!(found.len(), 1);
    insta::assert_snapshot!("layer", found[0].diff.as_ref().unwrap());
}

#[test]
fn files_that_come_go_or_are_no_text_say_so() {
    let came = file_diff("files/a", None, Some(b"one\n"));
    assert!(came.diff.unwrap().starts_with("--- /dev/null\n+++ b/files/a\n@@ -0,0 +1 @@\n+one"));
    let gone = file_diff("files/a", Some(b"one\n"), None);
    assert!(gone.diff.unwrap().contains("+++ /dev/null"));
    let binary = file_diff("files/a", Some(&[0, 1]), Some(&[0xff, 0xfe, 1]));
    assert_eq!((binary.diff, binary.before_bytes, binary.after_bytes), (None, Some(2), Some(3)));
}

#[test]
fn nodes_and_secrets_are_told_beside_the_files() {
    let secret = |value: &[u8]| SecretPart {
        selector: "role=db".to_owned(),
        set: Timestamp::from_millis(1),
        sealed: [(labelled(3, "db").node_id, part_digest(value))].into(),
    };
    let mut old = Body::of_layers(Vec::new(), None, &[labelled(1, "web"), labelled(2, "web")]);
    old.secrets = [("a".to_owned(), secret(b"1")), ("b".to_owned(), secret(b"1"))].into();
    let mut new = Body::of_layers(Vec::new(), None, &[labelled(2, "db"), labelled(3, "db")]);
    new.secrets = [("b".to_owned(), secret(b"2")), ("c".to_owned(), secret(b"1"))].into();
    assert_eq!(
        notes(&generation(old.clone()), &generation(new)),
        [
            "nodes listed anew: node-3",
            "nodes listed no more: node-1",
            "nodes with another name or other labels: node-2",
            "secret `a` was removed",
            "secret `b` was set anew",
            "secret `c` was set"
        ]
    );
    assert!(notes(&generation(old.clone()), &generation(old)).is_empty());
}
