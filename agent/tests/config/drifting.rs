//! What differs by another hand.

use serde_json::json;

use crate::support::{Draft, Node};

#[test]
fn what_we_wrote_is_no_drift_and_what_others_change_is_told() {
    let mut node = Node::new();
    assert_eq!(node.run(&["check", "--enforce"]).code, 0, "nothing was ever applied");
    let generation = node.generation(Draft::new().file("/etc/a", "a").file("/etc/b", "b"));
    assert_eq!(node.apply(generation).code, 0);
    assert_eq!(node.run(&["check", "--enforce"]).code, 0);
    assert_eq!(node.state().drifted, []);
    node.write("/etc/a", "by hand");
    let ended = node.run(&["check", "--enforce"]);
    assert_eq!((ended.code, ended.changes()), (10, vec!["Update file:/etc/a".to_owned()]));
    let state = node.state();
    assert_eq!(state.drifted_count, 1);
    let drifted = &state.drifted[0];
    assert_eq!((drifted.resource.to_string(), drifted.is_enforced), ("file:/etc/a".to_owned(), false));
    assert!(drifted.detail.contains("owned by"), "{}", drifted.detail);
    assert_eq!(node.read("/etc/a"), "by hand", "it is told, not changed");
    node.write("/etc/a", "a");
    assert_eq!(node.run(&["check", "--enforce"]).code, 0);
    assert_eq!(node.state().drifted_count, 0);
}

#[test]
fn what_is_enforced_is_put_right_and_nothing_else_is() {
    let mut node = Node::new();
    let draft = Draft::new().file("/etc/told", "1").with(
        "file",
        "/etc/enforced",
        json!({ "content": "1", "on_drift": "enforce" }),
    );
    let generation = node.generation(draft);
    assert_eq!(node.apply(generation).code, 0);
    for path in ["/etc/told", "/etc/enforced"] {
        node.write(path, "by hand");
    }
    assert_eq!(node.run(&["check"]).code, 10);
    assert_eq!(node.read("/etc/enforced"), "by hand", "only a look was asked for");
    assert_eq!(node.run(&["check", "--enforce"]).code, 10);
    assert_eq!(node.read("/etc/enforced"), "1");
    assert_eq!(node.read("/etc/told"), "by hand");
    let state = node.state();
    let enforced: Vec<(String, bool)> =
        state.drifted.iter().map(|it| (it.resource.to_string(), it.is_enforced)).collect();
    assert_eq!(enforced, [("file:/etc/enforced".to_owned(), true), ("file:/etc/told".to_owned(), false)]);
    assert_eq!(state.drifted_count, 1);
    assert_eq!(state.current, Some((1, generation)));
}
