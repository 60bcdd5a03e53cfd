//! Changes that must be confirmed: by a new session to the aggregator, or they are undone.

use std::process::Child;

use campanile_agent::config::confirm;
use campanile_common::id::Digest;
use campanile_common::wire::v1::config::ConfigPhase;
use serde_json::json;

use crate::support::{Draft, Node, end, until};

fn confirmed(text: &str) -> Draft {
    Draft::new().file("/etc/plain", text).with(
        "file",
        "/etc/net",
        json!({ "content": text, "confirm": true }),
    )
}

/// A node at a generation, and a second generation whose change must be confirmed.
fn node_before() -> (Node, Digest, Digest) {
    let mut node = Node::new();
    let first = node.generation(Draft::new().file("/etc/plain", "1").file("/etc/net", "1"));
    assert_eq!(node.apply(first).code, 0);
    let second = node.generation(confirmed("2"));
    (node, first, second)
}

fn start(node: &Node, generation: Digest, within: &str) -> Child {
    node.start(&["apply", &generation.to_string(), "--confirm-within", within])
}

/// The steward's part: a guardian as soon as somebody wants one.
fn guard(node: &Node) -> Child {
    until("a deadline is set", || confirm::lacks_guardian(&node.undo()).is_some());
    node.start(&["guardian"])
}

fn await_nonce(node: &Node) -> u64 {
    until("the change waits to be confirmed", || confirm::awaiting(&node.undo()).is_some());
    confirm::awaiting(&node.undo()).unwrap()
}

#[test]
fn a_change_that_is_confirmed_stays() {
    let (node, _, second) = node_before();
    let program = start(&node, second, "60");
    let guardian = guard(&node);
    let nonce = await_nonce(&node);
    assert_eq!(node.state().phase, ConfigPhase::Confirming);
    assert!(!confirm::confirm(&node.undo(), nonce ^ 1).unwrap(), "another attempt is not this one");
    assert!(confirm::confirm(&node.undo(), nonce).unwrap());
    let ended = end(program);
    assert_eq!((ended.code, ended.summary().1.as_str()), (0, "applied"), "{}", ended.text);
    assert!(ended.steps().contains(&"confirmed".to_owned()));
    assert_eq!(end(guardian).code, 0, "it ends when there is nothing to guard any more");
    assert_eq!((node.read("/etc/net"), node.state().current), ("2".to_owned(), Some((2, second))));
}

#[test]
fn a_change_that_is_not_confirmed_is_undone_and_given_up_the_second_time() {
    let (node, first, second) = node_before();
    for is_given_up in [false, true] {
        let before = node.tree();
        let program = start(&node, second, "1");
        let guardian = guard(&node);
        let ended = end(program);
        assert_eq!((ended.code, ended.summary().1.as_str()), (7, "reverted"), "{}", ended.text);
        assert_eq!(end(guardian).code, 0);
        assert_eq!(node.tree(), before);
        let state = node.state();
        assert_eq!((state.phase, state.current), (ConfigPhase::Reverted, Some((1, first))));
        assert_eq!(state.has_given_up(second), is_given_up);
        assert!(!node.undo().exists());
    }
    // An order tries it all the same, and when it is confirmed all is forgiven.
    let program = start(&node, second, "60");
    let guardian = guard(&node);
    assert!(confirm::confirm(&node.undo(), await_nonce(&node)).unwrap());
    assert_eq!((end(program).code, end(guardian).code), (0, 0));
    assert!(!node.state().has_given_up(second));
}

#[test]
fn without_a_guardian_nothing_that_could_cut_the_node_off_is_changed() {
    let (node, _, second) = node_before();
    let before = node.tree();
    let ended = end(start(&node, second, "60"));
    assert_eq!((ended.code, ended.summary().1.as_str()), (1, "failed"), "{}", ended.text);
    assert!(ended.problems()[0].contains("guardian"), "{}", ended.text);
    assert_eq!(node.tree(), before);
}

#[test]
fn the_guardian_undoes_what_a_killed_program_left_unconfirmed() {
    let (node, _, second) = node_before();
    let before = node.tree();
    let mut program = start(&node, second, "1");
    let guardian = guard(&node);
    await_nonce(&node);
    assert_eq!(node.read("/etc/net"), "2");
    program.kill().unwrap();
    program.wait().unwrap();
    assert_eq!(end(guardian).code, 0);
    assert_eq!(node.tree(), before);
    let state = node.state();
    assert_eq!((state.phase, state.reverts_of(second)), (ConfigPhase::Reverted, 1));
    // Whoever looks afterwards finds nothing, and counts nothing twice.
    assert_eq!(node.run(&["recover"]).code, 0);
    assert_eq!(node.state().reverts_of(second), 1);
}

#[test]
fn what_was_confirmed_before_the_program_was_killed_stays() {
    let (node, _, second) = node_before();
    let mut program = start(&node, second, "60");
    let guardian = guard(&node);
    let nonce = await_nonce(&node);
    program.kill().unwrap();
    program.wait().unwrap();
    assert!(confirm::confirm(&node.undo(), nonce).unwrap());
    assert_eq!(node.run(&["recover"]).code, 0);
    assert_eq!(end(guardian).code, 0);
    assert_eq!((node.read("/etc/net"), node.state().current), ("2".to_owned(), Some((2, second))));
}

#[test]
fn a_restart_of_the_machine_within_the_window_undoes_the_change() {
    let (node, first, second) = node_before();
    let before = node.tree();
    let mut program = start(&node, second, "60");
    let mut guardian = guard(&node);
    await_nonce(&node);
    for process in [&mut program, &mut guardian] {
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(node.read("/etc/net"), "2");
    assert_eq!(node.run(&["recover"]).code, 0);
    assert_eq!(node.tree(), before);
    assert_eq!((node.state().phase, node.state().current), (ConfigPhase::Reverted, Some((1, first))));
}
