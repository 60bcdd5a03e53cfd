//! A plan is what its apply does, from any state of the node to any generation.

use std::collections::BTreeMap;

use proptest::collection::btree_map;
use proptest::prelude::*;
use serde_json::json;

use crate::support::{Draft, Node};

/// What a path is, or is to be.
#[derive(Debug, Clone, PartialEq)]
enum Thing {
    Nothing,
    File(String),
    Link(String),
    Directory,
}

const PATHS: [&str; 5] = ["/etc/a", "/etc/b", "/etc/c", "/srv/d", "/srv/e"];

fn thing() -> impl Strategy<Value = Thing> {
    prop_oneof![
        Just(Thing::Nothing),
        "[a-c]{0,3}\n?".prop_map(Thing::File),
        "[a-c]{1,3}".prop_map(Thing::Link),
        Just(Thing::Directory),
    ]
}

fn things() -> impl Strategy<Value = BTreeMap<usize, Thing>> {
    btree_map(0..PATHS.len(), thing(), 0..PATHS.len())
}

fn lay_out(node: &Node, things: &BTreeMap<usize, Thing>) {
    for (index, thing) in things {
        let path = node.root.join(PATHS[*index].trim_start_matches('/'));
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        match thing {
            Thing::Nothing => {}
            Thing::File(text) => std::fs::write(path, text).unwrap(),
            Thing::Link(target) => std::os::unix::fs::symlink(target, path).unwrap(),
            Thing::Directory => std::fs::create_dir(path).unwrap(),
        }
    }
}

fn draft(things: &BTreeMap<usize, Thing>) -> Draft {
    let draft = Draft::new().with("directory", "/srv", json!({}));
    things.iter().fold(draft, |draft, (index, thing)| {
        let path = PATHS[*index];
        match thing {
            Thing::Nothing => draft.with("file", path, json!({ "ensure": "absent" })),
            Thing::File(text) => draft.with("file", path, json!({ "content": text, "mode": "0640" })),
            Thing::Link(target) => draft.with("link", path, json!({ "target": target })),
            Thing::Directory => draft.with("directory", path, json!({ "mode": "0750" })),
        }
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn after_an_apply_the_plan_is_empty_and_a_failed_one_changes_nothing(was in things(), wanted in things()) {
        let mut node = Node::new();
        lay_out(&node, &was);
        let generation = node.generation(draft(&wanted));
        let before = node.tree();
        let planned = node.plan(generation);
        prop_assert_eq!(&node.tree(), &before);
        let applied = node.apply(generation);
        prop_assert_eq!(applied.changes(), planned.changes());
        if applied.code == 0 {
            prop_assert_eq!(planned.code == 10, !planned.changes().is_empty());
            let again = node.plan(generation);
            prop_assert_eq!(again.code, 0, "{}", again.text);
            for (index, thing) in &wanted {
                if let Thing::File(text) = thing {
                    prop_assert_eq!(&node.read(PATHS[*index]), text);
                }
            }
        } else {
            // One kind of thing does not silently take the place of another: that is said, and nothing is done.
            prop_assert!(!applied.problems().is_empty(), "{}", applied.text);
            prop_assert_eq!(node.tree(), before);
        }
        prop_assert!(!node.undo().exists());
    }
}
