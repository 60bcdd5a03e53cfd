//! Generations planned and applied: by order, by following, cut short, and unconfirmed.

use std::time::Duration;

use campanile_agent::steward::protocol::{StewardEvent, StewardRequest};
use campanile_common::authority::{Action, ConfigMode, DenialCode, Order};
use campanile_common::config::Purpose;
use campanile_common::id::Digest;
use campanile_common::wire::v1::config::{ConfigPhase, ConfigReport};
use campanile_common::wire::v1::order::RunResult;

use super::bundle::Bundle;
use super::{hand_over, node};
use crate::support::{Client, Node, OPEN_POLICY, code, deliver, eventually, order, run_of};

fn plan(generation: Digest) -> Order {
    order(Action::Config { generation, mode: ConfigMode::Plan })
}

fn apply(generation: Digest) -> Order {
    order(Action::Config {
        generation,
        mode: ConfigMode::Apply { is_confirmed: false, confirm_within_s: 60 },
    })
}

fn confirmed(generation: Digest, confirm_within_s: u32) -> Order {
    order(Action::Config { generation, mode: ConfigMode::Apply { is_confirmed: true, confirm_within_s } })
}

fn motd(number: u64, text: &[u8]) -> Bundle {
    Bundle::release(number, &[("/etc/motd", text)])
}

fn content(node: &Node) -> Option<String> {
    std::fs::read_to_string(node.path("root/etc/motd")).ok()
}

fn silent(node: &Node) -> Client {
    node.client();
    Client::silent(&node.path("steward.sock"))
}

/// What a connection is told until the node stands so.
fn report_when(client: &mut Client, is_so: impl Fn(&ConfigReport) -> bool) -> ConfigReport {
    loop {
        if let StewardEvent::Config(report) = client.next_event().unwrap()
            && is_so(&report)
        {
            return *report;
        }
    }
}

fn reach(client: &mut Client) -> u64 {
    loop {
        if let StewardEvent::Reach(nonce) = client.next_event().unwrap() {
            return nonce;
        }
    }
}

fn actions(client: &mut Client) -> Vec<String> {
    client.audit().into_iter().map(|entry| entry.action).collect()
}

const OK: RunResult = RunResult::Exited { code: 0 };

#[test]
fn a_generation_is_planned_applied_and_then_there_is_nothing_left_to_do() {
    let node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"welcome\n"));
    hand_over(&mut client, &bundle, false).unwrap();
    let planned = client.run(&plan(bundle.digest()));
    assert_eq!(planned.outcome.result, RunResult::Exited { code: 10 }, "{planned:?}");
    assert!(String::from_utf8_lossy(&planned.stdout).contains("+welcome"), "{planned:?}");
    assert_eq!(content(&node), None);
    let applied = client.run(&apply(bundle.digest()));
    assert_eq!(applied.outcome.result, OK, "{applied:?}");
    assert_eq!(content(&node).as_deref(), Some("welcome\n"));
    assert_eq!(client.run(&plan(bundle.digest())).outcome.result, OK);
    let report = report_when(&mut silent(&node), |report| report.phase == ConfigPhase::Applied);
    assert_eq!(report.current, Some((1, bundle.digest())));
}

#[test]
fn what_is_not_here_or_older_or_a_draft_is_denied() {
    let node = node();
    let mut client = node.client();
    let (first, second) = (motd(1, b"one"), motd(2, b"two"));
    let denied = |client: &mut Client, order: &Order| code(&client.run(order).outcome.result);
    assert_eq!(denied(&mut client, &plan(first.digest())), Some(DenialCode::Generation));
    hand_over(&mut client, &first, false).unwrap();
    hand_over(&mut client, &second, false).unwrap();
    assert_eq!(client.run(&apply(second.digest())).outcome.result, OK);
    assert_eq!(denied(&mut client, &apply(first.digest())), Some(DenialCode::Generation));
    // To look at an older one harms nobody.
    assert_eq!(client.run(&plan(first.digest())).outcome.result, RunResult::Exited { code: 10 });
    assert!(hand_over(&mut client, &first, true).unwrap_err().contains("older"));
    let fork = motd(2, b"fork");
    assert!(hand_over(&mut client, &fork, true).unwrap_err().contains("another generation 2"));
    hand_over(&mut client, &fork, false).unwrap();
    assert_eq!(denied(&mut client, &apply(fork.digest())), Some(DenialCode::Generation));
    let draft = Bundle::with(3, &[("/etc/motd", b"draft")], |draft| draft.purpose = Purpose::Draft);
    hand_over(&mut client, &draft, false).unwrap();
    assert_eq!(denied(&mut client, &apply(draft.digest())), Some(DenialCode::Generation));
    assert_eq!(content(&node).as_deref(), Some("two"));
    node.write_policy(OPEN_POLICY);
    assert_eq!(denied(&mut client, &apply(second.digest())), Some(DenialCode::PolicyClass));
}

#[test]
fn a_release_that_is_followed_is_applied_without_an_order() {
    let node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"followed"));
    let mut listener = silent(&node);
    hand_over(&mut client, &bundle, true).unwrap();
    report_when(&mut listener, |report| report.current == Some((1, bundle.digest())));
    assert_eq!(content(&node).as_deref(), Some("followed"));
    eventually("it is in the audit chain", || actions(&mut client).contains(&"config.applied".to_owned()));
    assert!(actions(&mut client).contains(&"config.follow".to_owned()));
}

#[test]
fn drift_is_noticed_soon_and_told() {
    let node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"ours"));
    hand_over(&mut client, &bundle, false).unwrap();
    assert_eq!(client.run(&apply(bundle.digest())).outcome.result, OK);
    let mut listener = silent(&node);
    report_when(&mut listener, |report| report.phase == ConfigPhase::Applied);
    // The first look after the start is over.
    std::thread::sleep(Duration::from_millis(1500));
    std::fs::write(node.path("root/etc/motd"), "by hand").unwrap();
    let report = report_when(&mut listener, |report| report.drifted_count == 1);
    assert_eq!(report.drifted[0].resource.to_string(), "file:/etc/motd");
    assert_eq!(content(&node).as_deref(), Some("by hand"));
}

#[test]
fn a_change_that_is_to_be_confirmed_stands_once_a_new_session_was_reached() {
    let node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"confirmed"));
    hand_over(&mut client, &bundle, false).unwrap();
    let order = confirmed(bundle.digest(), 60);
    let mut listener = silent(&node);
    client.deliver(&deliver(&order));
    let nonce = reach(&mut listener);
    // Another number confirms nothing; a new connection is asked as well.
    listener.send(&StewardRequest::Reached(nonce.wrapping_add(1)));
    let mut later = silent(&node);
    assert_eq!(reach(&mut later), nonce);
    later.send(&StewardRequest::Reached(nonce));
    assert_eq!(client.outcome(run_of(&order)).outcome.result, OK);
    assert_eq!(content(&node).as_deref(), Some("confirmed"));
    let actions = actions(&mut client);
    assert!(actions.contains(&"config.guard".to_owned()) && actions.contains(&"config.confirm".to_owned()));
}

#[test]
fn a_change_that_is_not_confirmed_is_undone() {
    let node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"cut off"));
    std::fs::write(node.path("root/etc/motd"), "before").unwrap();
    hand_over(&mut client, &bundle, false).unwrap();
    let told = client.run(&confirmed(bundle.digest(), 5));
    assert_eq!(told.outcome.result, RunResult::Exited { code: 7 }, "{told:?}");
    assert_eq!(content(&node).as_deref(), Some("before"));
}

#[test]
fn a_steward_that_is_killed_while_a_change_waits_undoes_it_at_its_start() {
    let mut node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"cut"));
    std::fs::write(node.path("root/etc/motd"), "before").unwrap();
    hand_over(&mut client, &bundle, false).unwrap();
    let mut listener = silent(&node);
    client.deliver(&deliver(&confirmed(bundle.digest(), 600)));
    reach(&mut listener);
    assert_eq!(content(&node).as_deref(), Some("cut"));
    node.kill();
    node.start();
    eventually("it is undone", || content(&node).as_deref() == Some("before"));
    // Orders of the configuration wait for that, and go on.
    assert_eq!(node.client().run(&plan(bundle.digest())).outcome.result, RunResult::Exited { code: 10 });
}

#[test]
fn the_guardian_undoes_it_when_the_steward_stays_away() {
    let mut node = node();
    let (mut client, bundle) = (node.client(), motd(1, b"cut"));
    std::fs::write(node.path("root/etc/motd"), "before").unwrap();
    hand_over(&mut client, &bundle, false).unwrap();
    let mut listener = silent(&node);
    client.deliver(&deliver(&confirmed(bundle.digest(), 5)));
    reach(&mut listener);
    node.kill();
    eventually("it is undone", || content(&node).as_deref() == Some("before"));
}
