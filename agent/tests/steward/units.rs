//! Commands in transient units of a real service manager. Each test says SKIPPED where there is none to be had.

use std::path::{Path, PathBuf};
use std::process::Command as Process;

use campanile_agent::steward::protocol::StewardEvent;
use campanile_common::authority::{Action, Order};
use campanile_common::wire::v1::order::RunResult;

use crate::support::{Client, Node, deliver, eventually, order, run_of, shell};

fn agent() -> PathBuf {
    env!("CARGO_BIN_EXE_campanile-agent").into()
}

/// Units of an order that the service manager knows.
fn units_of(order: &Order) -> String {
    let pattern = format!("campanile-order-{}-*", order.id);
    let arguments = ["list-units", "--all", "--no-legend", "--plain", &pattern];
    let output = Process::new("systemctl").args(arguments).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn assert_no_unit(order: &Order) {
    eventually("the unit is gone", || units_of(order).is_empty());
}

fn assert_gone(marker: &Path) {
    let pid = std::fs::read_to_string(marker).unwrap();
    assert!(!Path::new(&format!("/proc/{}", pid.trim())).exists(), "still there: {pid}");
}

/// Delivers, and hears its first output.
fn begin(client: &mut Client, order: &Order) {
    client.deliver(&deliver(order));
    while !matches!(client.next(), Some(StewardEvent::Output(..))) {}
}

#[test]
fn a_unit_limits_its_command_and_is_gone_with_it() {
    let Some(node) = Node::in_units(agent()) else { return };
    let order = shell(
        "echo err >&2; unit=$(sed -n 's,^0::.*/,,p' /proc/self/cgroup); systemctl show $unit -p \
         Id,MemoryMax,CPUQuotaPerSecUSec,TasksMax,RuntimeMaxUSec,KillMode,NoNewPrivileges; exit 3",
    );
    let told = node.client().run(&order);
    assert_eq!(told.outcome.result, RunResult::Exited { code: 3 });
    assert_eq!(told.stderr, b"err\n");
    let shown = String::from_utf8(told.stdout).unwrap();
    assert!(shown.contains(&format!("Id=campanile-order-{}-", order.id)), "{shown}");
    for line in ["CPUQuotaPerSecUSec=2s", "TasksMax=512", "KillMode=control-group", "NoNewPrivileges=no"] {
        assert!(shown.lines().any(|found| found == line), "{line}: {shown}");
    }
    for unlimited in ["MemoryMax=infinity", "RuntimeMaxUSec=infinity"] {
        assert!(!shown.contains(unlimited), "{unlimited}: {shown}");
    }
    assert_no_unit(&order);
}

#[test]
fn a_command_inherits_no_descriptors_and_becomes_another_user() {
    let Some(node) = Node::in_units(agent()) else { return };
    let mut order = shell("id -un; ls /proc/$$/fd; true");
    if let Action::Run(command) = &mut order.action {
        command.user = Some("nobody".to_owned());
    }
    let told = node.client().run(&order);
    assert_eq!(String::from_utf8(told.stdout).unwrap(), "nobody\n0\n1\n2\n");
}

#[test]
fn what_takes_too_long_or_stays_behind_ends_with_its_unit() {
    let Some(node) = Node::in_units(agent()) else { return };
    let marker = node.path("pid");
    let daemon = format!("setsid sh -c '(sleep 1000 & echo $! > {})' & wait", marker.display());
    let mut late = shell(&format!("{daemon}; trap '' TERM; sleep 1000"));
    late.limits.timeout_ms = 500;
    for (order, result) in [(shell(&daemon), RunResult::Exited { code: 0 }), (late, RunResult::TimedOut)] {
        assert_eq!(node.client().run(&order).outcome.result, result);
        assert_gone(&marker);
        assert_no_unit(&order);
    }
}

#[test]
fn an_order_in_a_unit_is_cancelled() {
    let Some(node) = Node::in_units(agent()) else { return };
    let (mut client, long) = (node.client(), shell("echo begun; sleep 1000"));
    begin(&mut client, &long);
    let cancel = order(Action::Cancel { order: long.id });
    assert_eq!(node.client().run(&cancel).outcome.result, RunResult::Exited { code: 0 });
    assert_eq!(client.outcome(run_of(&long)).outcome.result, RunResult::Cancelled);
    assert_no_unit(&long);
}

#[test]
fn a_unit_ends_with_a_steward_that_is_killed() {
    let Some(mut node) = Node::in_units(agent()) else { return };
    let long = shell("echo begun; sleep 1000");
    begin(&mut node.client(), &long);
    assert!(!units_of(&long).is_empty(), "it runs in a unit");
    node.kill();
    assert_no_unit(&long);
    node.start();
    let mut client = node.client();
    client.deliver(&deliver(&long));
    let result = client.outcome_of(run_of(&long)).result;
    assert!(matches!(result, RunResult::Indeterminate { .. }), "{result:?}");
}

#[test]
fn a_unit_ends_whole_when_its_guard_is_killed_or_stopped() {
    let Some(node) = Node::in_units(agent()) else { return };
    for signal in ["KILL", "STOP"] {
        let marker = node.path("pid");
        let mut order = shell(&format!("echo $$ > {}; kill -{signal} $PPID; sleep 1000", marker.display()));
        order.limits.timeout_ms = 500;
        let result = node.client().run(&order).outcome.result;
        assert!(matches!(result, RunResult::Indeterminate { .. }), "{signal}: {result:?}");
        assert_gone(&marker);
        assert_no_unit(&order);
    }
}

#[test]
fn commands_run_after_the_program_was_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("campanile-agent");
    std::fs::copy(agent(), &program).unwrap();
    let Some(node) = Node::in_units(program.clone()) else { return };
    let mut client = node.client();
    assert_eq!(client.run(&shell("true")).outcome.result, RunResult::Exited { code: 0 });
    std::fs::remove_file(&program).unwrap();
    assert_eq!(client.run(&shell("exit 4")).outcome.result, RunResult::Exited { code: 4 });
}
