//! Running things: output, ends, limits, services, journals.

use std::time::{Duration, Instant};

use campanile_agent::steward::protocol::{JournalQuery, StewardEvent, StewardRequest, Tag};
use campanile_common::authority::{Action, DenialCode, ServiceVerb};
use campanile_common::wire::v1::order::{DeliveryMode, RunResult};

use crate::support::{Node, code, command, deliver, eventually, order, run_of, shell};

#[test]
fn a_command_runs_and_everything_about_it_is_told() {
    let node = Node::new();
    let mut client = node.client();
    let order = shell("echo out; echo err >&2; exit 3");
    let told = client.run(&order);
    assert!(told.was_received);
    assert_eq!((told.stdout.as_slice(), told.stderr.as_slice()), (&b"out\n"[..], &b"err\n"[..]));
    assert_eq!(told.outcome.result, RunResult::Exited { code: 3 });
    assert_eq!((told.outcome.output_bytes, told.outcome.output_kept), (8, 8));
    let position = told.outcome.journal.unwrap();
    assert_eq!(Some(position), client.describe().journal, "the outcome's own place in the journal");
    let entry = client.audit().into_iter().find(|entry| entry.action == "order.finished").unwrap();
    assert_eq!(told.outcome.audit.map(|audit| audit.hash), Some(entry.hash));
    assert_eq!((entry.actor.as_str(), entry.target), ("alice", format!("order:{}", order.id)));
}

#[test]
fn a_command_gets_its_input_and_a_clean_environment() {
    let node = Node::new();
    let mut order = shell("env | sort; pwd; cat");
    if let Action::Run(command) = &mut order.action {
        command.stdin = b"x".repeat(30_000);
    }
    let told = node.client().run(&order);
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.ends_with(&"x".repeat(30_000)));
    assert!(
        text.contains(&format!("CAMPANILE_ORDER={}\n", order.id)) && text.contains("\n/\n"),
        "{text:.500}"
    );
    assert!(!text.contains("CARGO"), "nothing of whoever started the steward");
}

#[test]
fn a_program_that_does_not_exist_and_one_that_a_signal_ends_say_so() {
    let node = Node::new();
    let mut client = node.client();
    let missing = client.run(&command(&["/nowhere/program"])).outcome.result;
    assert!(
        matches!(&missing, RunResult::Failed { reason } if reason.contains("/nowhere/program")),
        "{missing:?}"
    );
    assert_eq!(client.run(&shell("kill -9 $$")).outcome.result, RunResult::Signalled { signal: 9 });
}

#[test]
fn what_takes_too_long_is_ended_with_all_that_it_started() {
    let node = Node::new();
    let marker = node.path("pid");
    let mut order =
        shell(&format!("trap '' TERM; sleep 1000 & echo $! > {}; wait; sleep 1000", marker.display()));
    order.limits.timeout_ms = 300;
    let told = node.client().run(&order);
    assert_eq!(told.outcome.result, RunResult::TimedOut);
    assert_gone(&marker);
}

fn assert_gone(marker: &std::path::Path) {
    let pid = std::fs::read_to_string(marker).unwrap();
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", pid.trim()));
    assert!(stat.is_err(), "still there: {stat:?}");
}

#[test]
fn a_daemon_ends_with_its_order() {
    let node = Node::new();
    let marker = node.path("pid");
    // Forked twice, in a session of its own, with its output elsewhere and with the order's output open.
    for redirect in ["</dev/null >/dev/null 2>&1", ""] {
        let script = format!(
            "setsid sh -c '(sleep 1000 {redirect} & echo $! > {})' &\nwait; exit 0",
            marker.display()
        );
        let begun = Instant::now();
        let told = node.client().run(&shell(&script));
        assert_eq!(told.outcome.result, RunResult::Exited { code: 0 });
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_gone(&marker);
    }
}

#[test]
fn a_gigabyte_of_output_is_counted_and_not_kept() {
    let node = Node::new();
    let mut client = node.client();
    let mut order = shell("head -c 1073741824 /dev/zero");
    order.limits.output_bytes = 100_000;
    let told = client.run(&order);
    assert_eq!(told.outcome.result, RunResult::Exited { code: 0 });
    assert_eq!((told.outcome.output_bytes, told.outcome.output_kept), (1 << 30, 100_000));
    assert_eq!(told.stdout.len(), 100_000);
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.pid())).unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let kilobytes: u64 = peak.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(kilobytes < 64 * 1024, "{kilobytes} kB at its peak");
}

#[test]
fn an_order_is_cancelled_by_another() {
    let node = Node::new();
    let mut client = node.client();
    let long = shell("echo begun; sleep 1000");
    client.deliver(&deliver(&long));
    loop {
        if matches!(client.next(), Some(StewardEvent::Output(..))) {
            break;
        }
    }
    let cancel = order(Action::Cancel { order: long.id });
    let mut other = node.client();
    assert_eq!(other.run(&cancel).outcome.result, RunResult::Exited { code: 0 });
    assert_eq!(client.outcome(run_of(&long)).outcome.result, RunResult::Cancelled);
    let late = other.run(&order(Action::Cancel { order: long.id })).outcome.result;
    assert!(matches!(late, RunResult::Failed { .. }), "{late:?}");
}

#[test]
fn more_than_sixteen_at_once_are_denied() {
    let node = Node::new();
    let mut client = node.client();
    for _ in 0..16 {
        client.deliver(&deliver(&shell("sleep 1000")));
    }
    assert_eq!(code(&client.run(&shell("true")).outcome.result), Some(DenialCode::Busy));
    assert_eq!(client.describe().running, 16);
}

#[test]
fn output_is_told_from_its_beginning_after_the_connection_broke() {
    let node = Node::new();
    let gate = node.path("gate");
    let order = shell(&format!("seq 5000; until [ -e {} ]; do sleep 0.01; done; echo end", gate.display()));
    let mut first = node.client();
    first.deliver(&deliver(&order));
    loop {
        if matches!(first.next(), Some(StewardEvent::Output(..))) {
            break;
        }
    }
    drop(first);
    let mut second = node.client();
    second.deliver(&deliver(&order));
    std::fs::write(&gate, "").unwrap();
    let told = second.outcome(run_of(&order));
    let expected: String = (1..=5000).map(|number| format!("{number}\n")).collect::<String>() + "end\n";
    assert_eq!(told.stdout, expected.as_bytes());
    // And once more, long after its end; and not any more when it was reported.
    let mut report = deliver(&order);
    report.mode = DeliveryMode::Report;
    second.deliver(&report);
    let again = second.outcome(run_of(&order));
    assert_eq!((again.stdout, &again.outcome), (told.stdout, &told.outcome));
    second.send(&StewardRequest::Reported(run_of(&order)));
    second.deliver(&report);
    let forgotten = second.outcome(run_of(&order));
    assert_eq!((forgotten.stdout.len(), forgotten.outcome), (0, told.outcome));
}

#[test]
fn a_slow_reader_holds_nobody_up() {
    let node = Node::new();
    let idle = node.client();
    let order = shell("head -c 1000000 /dev/zero");
    let mut order = order;
    order.limits.output_bytes = 1 << 20;
    idle.deliver(&deliver(&order));
    let told = node.client().run(&shell("echo quick"));
    assert_eq!(told.stdout, b"quick\n");
    let mut idle = idle;
    assert_eq!(idle.outcome(run_of(&order)).stdout.len(), 1_000_000);
}

/// A program that acts as the script says.
fn program(node: &Node, name: &str, script: &str) {
    use std::os::unix::fs::PermissionsExt as _;
    let path = node.path(name);
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

fn node_with_programs() -> Node {
    Node::with_settings("systemctl = \"@/systemctl\"\njournalctl = \"@/journalctl\"\n")
}

#[test]
fn a_service_is_restarted_and_waited_for() {
    let node = node_with_programs();
    program(&node, "systemctl", "[ $1 = show ] && echo ActiveState=active || echo \"did $*\"; exit 0");
    let restart = order(Action::Service {
        verb: ServiceVerb::Restart,
        unit: "nginx.service".to_owned(),
        wait_healthy_ms: Some(20_000),
    });
    let told = node.client().run(&restart);
    assert_eq!(told.outcome.result, RunResult::Exited { code: 0 });
    let text = String::from_utf8(told.stdout).unwrap();
    assert!(text.starts_with("did restart -- nginx.service\n") && text.contains("healthy after"), "{text}");
    program(&node, "systemctl", "[ $1 = show ] && echo ActiveState=failed; exit 0");
    let again = order(restart.action);
    assert_eq!(node.client().run(&again).outcome.result, RunResult::Exited { code: 1 });
}

#[test]
fn units_and_journals_are_shown_as_the_policy_lists_them() {
    let node = node_with_programs();
    program(&node, "systemctl", "echo ActiveState=active; echo MainPID=5");
    program(&node, "journalctl", "echo \"$*\"; for a in $*; do [ $a = -f ] && exec sleep 1000; done; exit 0");
    node.write_policy("[units]\nobserve = [\"nginx.*\"]\n");
    let mut client = node.client();
    client.send(&StewardRequest::Unit(Tag(1), "nginx.service".to_owned()));
    let Some(StewardEvent::Unit(Tag(1), state)) = client.next() else { panic!() };
    assert_eq!((state.active.as_str(), state.main_pid), ("active", Some(5)));
    client.send(&StewardRequest::Unit(Tag(2), "ssh.service".to_owned()));
    assert!(
        matches!(client.next(), Some(StewardEvent::Denied(Tag(2), d)) if d.code == DenialCode::PolicyUnit)
    );
    client.send(&StewardRequest::Unit(Tag(3), "--help".to_owned()));
    assert!(matches!(client.next(), Some(StewardEvent::Refused(Tag(3), _))));
    let query = |is_followed| JournalQuery {
        unit: "nginx.service".to_owned(),
        since_s: Some(60),
        lines: 5,
        is_followed,
    };
    client.send(&StewardRequest::Journal(Tag(4), query(false)));
    let Some(StewardEvent::Journal(Tag(4), text)) = client.next() else { panic!() };
    assert_eq!(text, b"--no-pager --quiet -o short-iso -u nginx.service -n 5 --since=-60s\n");
    assert_eq!(client.next(), Some(StewardEvent::Ended(Tag(4))));
    client.send(&StewardRequest::Journal(Tag(5), query(true)));
    assert!(matches!(client.next(), Some(StewardEvent::Journal(Tag(5), _))));
    // Whoever followed it is gone: so is what it followed with.
    drop(client);
    eventually("nothing is left of the journal", || {
        let tasks = format!("/proc/{0}/task/{0}/children", node.pid());
        std::fs::read_to_string(tasks).unwrap().trim().is_empty()
    });
    std::fs::remove_file(node.path("systemctl")).unwrap();
    let mut client = node.client();
    client.send(&StewardRequest::Unit(Tag(6), "nginx.service".to_owned()));
    let refused = client.next();
    assert!(
        matches!(&refused, Some(StewardEvent::Refused(Tag(6), text)) if text.contains("systemctl")),
        "{refused:?}"
    );
}

/// How many descriptors a program finds that this process starts: whoever started the tests may have left some open.
fn descriptors_of_a_child() -> String {
    let output = std::process::Command::new("sh").args(["-c", "ls /proc/self/fd | wc -l"]).output().unwrap();
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

#[test]
fn a_command_runs_as_the_user_that_it_names_and_within_limits() {
    let node = Node::new();
    let mut client = node.client();
    let mut order = shell("id -un; id -G; ulimit -c; ulimit -n; ls /proc/self/fd | wc -l");
    let own = campanile_agent::os::user::own();
    let user = if own.uid == 0 { "nobody".to_owned() } else { own.name };
    if let Action::Run(command) = &mut order.action {
        command.user = Some(user.clone());
    }
    let told = client.run(&order);
    let text = String::from_utf8(told.stdout).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    let [name, groups, core, files, descriptors] = lines.as_slice() else {
        panic!("{text}: {:?}", told.outcome)
    };
    assert_eq!((*name, *core, *files), (user.as_str(), "0", "1024"));
    if own.uid == 0 {
        assert_eq!(groups.split(' ').count(), 1, "no group of root's is left: {groups}");
    }
    assert_eq!(*descriptors, descriptors_of_a_child(), "nothing of the steward's is inherited");
    let mut nobody = shell("true");
    if let Action::Run(command) = &mut nobody.action {
        command.user = Some("no-such-user-here".to_owned());
    }
    let result = client.run(&nobody).outcome.result;
    assert!(
        matches!(&result, RunResult::Failed { reason } if reason.contains("no-such-user-here")),
        "{result:?}"
    );
}

#[test]
fn the_socket_of_a_service_manager_is_taken_over() {
    let mut node = Node::new();
    node.client().describe();
    node.kill();
    std::fs::remove_file(node.path("steward.sock")).unwrap();
    let script = "import os,socket,sys\ns=socket.socket(socket.AF_UNIX,socket.SOCK_SEQPACKET)\ns.bind(sys.argv[1])\n\
                  s.listen(8)\nif s.fileno()!=3: os.dup2(s.fileno(),3)\nos.set_inheritable(3,True)\n\
                  os.environ.update(LISTEN_FDS='1',LISTEN_PID=str(os.getpid()))\nos.execv(sys.argv[2],sys.argv[2:])";
    let manager = node.path("manager.sock");
    let mut python = std::process::Command::new("python3");
    python.args(["-c", script]).arg(&manager).arg(env!("CARGO_BIN_EXE_campanile-agent"));
    let Ok(mut steward) = python.args(["steward", "--config"]).arg(node.path("agent.toml")).spawn() else {
        eprintln!("SKIPPED: no python3 to hand over a socket with");
        return;
    };
    let mut client = crate::support::Client::connect(&manager);
    let script = "env | grep LISTEN; ls -l /proc/self/fd | grep -c 'socket:'";
    let told = client.run(&shell(script));
    assert!(!node.path("steward.sock").exists());
    steward.kill().unwrap();
    steward.wait().unwrap();
    assert_eq!(told.stdout, b"0\n", "neither the socket nor its name goes on to commands");
}
