//! Plans of nodes, grouped and printed.

use super::*;
use crate::context::Environment;
use crate::order::tests::target;
use crate::testing;
use campanile_common::api::PlanLine;
use campanile_common::config::part_digest;

fn change(resource: &str, diff: Option<&str>) -> PlanLine {
    PlanLine::Change(PlannedChange {
        resource: resource.to_owned(),
        verb: ChangeVerb::Update,
        what: vec!["content".to_owned(), "mode 0644 -> 0600".to_owned()],
        diff: diff.map(str::to_owned),
        confirmed: false,
    })
}

fn end(changes: u32) -> PlanLine {
    let result = "planned".to_owned();
    PlanLine::Summary { number: 3, changes, unchanged: 4, result, left: Vec::new() }
}

fn lines(lines: &[PlanLine]) -> Vec<u8> {
    lines.iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect::<String>().into_bytes()
}

fn result(number: usize, state: TargetState, code: Option<i32>, output: &[PlanLine]) -> NodeResult {
    let mut target = target(number, state);
    target.exit_code = code;
    let said = parse(&lines(output));
    NodeResult {
        node: target.node_id,
        name: target.name.clone(),
        fate: Fate::of(&target, &said),
        detail: String::new(),
        said,
    }
}

fn outcome(nodes: Vec<NodeResult>) -> Outcome {
    let generation = ConfigHead { number: 3, digest: part_digest(b"3") };
    Outcome { order_id: OrderId::from_bytes([3; OrderId::BYTES]), generation, nodes }
}

const DIFF: &str = "--- /etc/motd\n+++ /etc/motd\n@@ -1 +1 @@\n-ding\n+dong\n";

fn sample() -> Outcome {
    let motd = [change("file:/etc/motd", Some(DIFF)), end(1)];
    let mut nodes: Vec<_> =
        (1..=28).map(|number| result(number, TargetState::Failed, Some(10), &motd)).collect();
    nodes.push(result(29, TargetState::Ok, Some(0), &[end(0)]));
    let broken =
        PlanLine::Problem { resource: Some("package:nginxx".into()), message: "no such package".into() };
    nodes.push(result(30, TargetState::Failed, Some(1), &[broken, end(0)]));
    let mut denied = result(31, TargetState::Denied, None, &[]);
    denied.detail = "this node's policy does not allow class `config`".to_owned();
    nodes.push(denied);
    outcome(nodes)
}

#[test]
fn nodes_that_say_the_same_are_shown_once() {
    let (out, err) = testing::with_both(&[], &Environment::default(), |context| {
        sample().print(context).unwrap();
    });
    insta::assert_snapshot!("plan", out);
    assert_eq!(err, "31 nodes: 28 with changes, 1 as they should be, 1 failed, 1 denied\n");
}

#[test]
fn a_terminal_gets_colours_and_obeys_no_node() {
    let terminal = Environment { stdout_is_terminal: true, ..Environment::default() };
    let hostile = [change("file:/etc/motd", Some("+a\u{1b}[2Jb\n")), end(1)];
    let out = testing::with_context(&[], &terminal, |context| {
        outcome(vec![result(1, TargetState::Failed, Some(10), &hostile)]).print(context).unwrap();
    });
    assert!(out.contains("\u{1b}[32m+a\u{fffd}[2Jb\u{1b}[0m"), "{out:?}");
}

#[test]
fn programs_get_every_node_with_what_it_said() {
    let out = testing::with_context(&["-o", "json"], &Environment::default(), |context| {
        sample().print(context).unwrap();
    });
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(json["nodes"].as_array().unwrap().len(), 31);
    assert_eq!(json["nodes"][0]["fate"], "pending");
    assert_eq!(json["nodes"][0]["changes"][0]["resource"], "file:/etc/motd");
    assert_eq!(json["nodes"][29]["problems"][0]["message"], "no such package");
    let names = testing::with_context(&["-o", "name"], &Environment::default(), |context| {
        sample().print(context).unwrap();
    });
    assert_eq!(names.lines().count(), 28);
}

#[test]
fn the_worst_of_the_nodes_is_the_exit_code() {
    use TargetState::{Denied, Failed, Ok, Queued, Silent};
    let exit = |nodes: &[(TargetState, Option<i32>)]| {
        let results = nodes.iter().map(|(state, code)| result(1, *state, *code, &[end(0)])).collect();
        outcome(results).exit()
    };
    assert_eq!(exit(&[(Ok, Some(0))]), Exit::Fine);
    assert_eq!(exit(&[(Ok, Some(0)), (Failed, Some(10))]), Exit::Pending);
    assert_eq!(exit(&[(Failed, Some(10)), (Denied, None)]), Exit::Denied);
    assert_eq!(exit(&[(Failed, Some(10)), (Silent, None)]), Exit::SomeSilent);
    assert_eq!(exit(&[(Failed, Some(1)), (Silent, None)]), Exit::SomeFailed);
    assert_eq!(exit(&[(Failed, Some(1)), (Failed, Some(7))]), Exit::RolledBack);
    assert_eq!(exit(&[(Ok, Some(0)), (Queued, None)]), Exit::Waiting);
}

#[test]
fn output_that_is_no_plan_is_shown_and_what_broke_off_says_so() {
    let mut output = lines(&[change("file:/a", None)]);
    output.extend_from_slice(b"thread panicked\n{\"line\":\"cha");
    let said = parse(&output);
    assert_eq!(said.changes.len(), 1);
    assert_eq!(said.problems.len(), 2);
    assert_eq!(said.summary, None);
}

#[test]
fn pieces_that_come_twice_are_taken_once_and_standard_error_is_left_out() {
    let mut collector = Collector::default();
    let node = target(1, TargetState::Running);
    let piece = |offset: u64, stream: &str, text: &str| OutputPiece {
        node_id: node.node_id,
        name: node.name.clone(),
        stream: stream.to_owned(),
        offset,
        data: BASE64.encode(text.as_bytes()),
    };
    for one in [
        piece(0, "stdout", "ab"),
        piece(0, "stdout", "abcd"),
        piece(4, "stderr", "!"),
        piece(5, "stdout", "e"),
    ] {
        collector.take(&one);
    }
    assert_eq!(collector.of(node.node_id), b"abcde");
}

#[test]
fn names_are_shortened_from_the_fourth_on() {
    let named = |count: usize| named(&(1..=count).map(|n| format!("web-{n}")).collect::<Vec<_>>());
    assert_eq!(named(1), "web-1");
    assert_eq!(named(2), "web-1 and web-2");
    assert_eq!(named(3), "web-1, web-2 and web-3");
    assert_eq!(named(28), "web-1, web-2 and 26 others");
}
