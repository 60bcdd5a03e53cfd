//! The steward killed, stopped, full and set back: nothing starts twice, nothing acknowledged is lost.

use std::collections::BTreeMap;
use std::time::Duration;

use campanile_agent::steward::protocol::{StewardEvent, StewardRequest};
use campanile_common::authority::{DenialCode, RunId};
use campanile_common::id::JournalId;
use campanile_common::wire::v1::order::{DeliveryMode, JournalPosition, Outcome, RunResult};

use crate::support::{Client, Node, code, deliver, eventually, now, run_of, shell};

/// Orders that are sent while the steward is killed again and again.
const ORDERS: u64 = 60;
const AT_ONCE: usize = 4;

#[test]
fn killed_at_any_moment_no_order_starts_twice_and_none_is_lost() {
    let mut node = Node::new();
    let started = node.path("started");
    let orders: Vec<_> = (0..ORDERS)
        .map(|number| {
            shell(&format!("echo {number} >> {}; echo done; sleep 0.0{}", started.display(), number % 7))
        })
        .collect();
    let mut outcomes: BTreeMap<RunId, Outcome> = BTreeMap::new();
    let mut kills = 0;
    for chunk in orders.chunks(AT_ONCE) {
        // Each is delivered until its outcome is known, whatever happens in between, like an aggregator would.
        while let Some(open) = chunk.iter().find(|order| !outcomes.contains_key(&run_of(order))) {
            let mut client = node.client();
            for order in chunk {
                client.deliver(&deliver(order));
            }
            let events = usize::from(u8::from_le_bytes(campanile_agent::os::random::bytes())) % 12;
            let mut is_alive = true;
            for _ in 0..events {
                match next_or_none(&mut client) {
                    Some(StewardEvent::Outcome(outcome)) => note(&mut outcomes, outcome),
                    Some(_) => {}
                    None => is_alive = false,
                }
            }
            if events % 3 != 0 || !is_alive {
                node.kill();
                node.start();
                kills += 1;
            } else if !outcomes.contains_key(&run_of(open)) {
                note(&mut outcomes, client.outcome_of(run_of(open)));
            }
        }
    }
    assert!(kills > 10, "{kills}");
    let lines = std::fs::read_to_string(&started).unwrap_or_default();
    for (number, order) in orders.iter().enumerate() {
        let starts = lines.lines().filter(|line| **line == number.to_string()).count();
        let result = &outcomes[&run_of(order)].result;
        match result {
            RunResult::Exited { code: 0 } => assert_eq!(starts, 1, "order {number}"),
            RunResult::Indeterminate { .. } => assert!(starts <= 1, "order {number} started {starts} times"),
            other => panic!("order {number}: {other:?}"),
        }
    }
    let mut client = node.client();
    let entries = client.audit();
    assert!(campanile_common::audit::verify_entries(&entries, &[]).intact);
}

fn next_or_none(client: &mut Client) -> Option<StewardEvent> {
    use campanile_agent::os::packet::{Interest, wait};
    use std::os::fd::AsFd as _;
    let ready = wait(&[(client.socket.as_fd(), Interest::READ)], Some(Duration::from_millis(20))).unwrap();
    if ready[0].read { client.next() } else { None }
}

/// One run has one outcome, however often it is told.
fn note(outcomes: &mut BTreeMap<RunId, Outcome>, outcome: Outcome) {
    if let Some(before) = outcomes.insert(outcome.run, outcome.clone()) {
        assert_eq!(before, outcome);
    }
}

#[test]
fn what_ran_when_the_steward_was_killed_is_indeterminate_and_gone() {
    let mut node = Node::new();
    let marker = node.path("pid");
    let order = shell(&format!("echo $$ > {}; sleep 1000", marker.display()));
    let client = node.client();
    client.deliver(&deliver(&order));
    let pid = || std::fs::read_to_string(&marker).unwrap_or_default().trim().to_owned();
    eventually("it runs", || !pid().is_empty());
    node.kill();
    eventually("its guard ended it", || std::fs::metadata(format!("/proc/{}", pid())).is_err());
    node.start();
    let told = node.client().run(&order);
    assert!(matches!(told.outcome.result, RunResult::Indeterminate { .. }), "{:?}", told.outcome);
    let entries = node.client().audit();
    let of_order: Vec<_> =
        entries.iter().filter(|entry| entry.target == format!("order:{}", order.id)).collect();
    let actions: Vec<&str> = of_order.iter().map(|entry| entry.action.as_str()).collect();
    assert_eq!(actions, ["order.received", "order.started", "order.finished"]);
}

#[test]
fn a_steward_that_is_asked_to_stop_ends_what_runs_and_says_so() {
    let mut node = Node::new();
    let marker = node.path("begun");
    let order = shell(&format!("touch {}; sleep 1000", marker.display()));
    let mut client = node.client();
    client.deliver(&deliver(&order));
    eventually("it runs", || marker.exists());
    assert_eq!(node.stop(), Some(0));
    let told = client.outcome(run_of(&order));
    assert!(matches!(told.outcome.result, RunResult::Failed { .. }), "{:?}", told.outcome);
    node.start();
    assert_eq!(node.client().run(&order).outcome, told.outcome);
}

#[test]
fn a_guard_that_is_killed_takes_everything_with_it() {
    let node = Node::new();
    let marker = node.path("pid");
    // The command kills its own guard.
    let script = format!("setsid sleep 1000 & echo $! > {}; kill -9 $PPID; sleep 1000", marker.display());
    let told = node.client().run(&shell(&script));
    assert!(matches!(told.outcome.result, RunResult::Indeterminate { .. }), "{:?}", told.outcome);
    let pid = std::fs::read_to_string(&marker).unwrap();
    assert!(std::fs::metadata(format!("/proc/{}", pid.trim())).is_err());
    assert_eq!(node.client().run(&shell("true")).outcome.result, RunResult::Exited { code: 0 });
}

#[test]
fn a_second_steward_on_the_same_folder_is_refused() {
    let node = Node::new();
    let mut client = node.client();
    let second = std::process::Command::new(env!("CARGO_BIN_EXE_campanile-agent"))
        .args(["steward", "--config"])
        .arg(node.path("agent.toml"))
        .output()
        .unwrap();
    assert!(!second.status.success());
    assert!(String::from_utf8_lossy(&second.stderr).contains("uses"), "{second:?}");
    assert_eq!(client.run(&shell("true")).outcome.result, RunResult::Exited { code: 0 });
}

#[test]
fn a_journal_that_was_set_back_starts_nothing_from_before() {
    let mut node = Node::new();
    let order = shell("true");
    let journal = node.state().join("journal");
    node.client().describe();
    node.kill();
    let before = std::fs::read(&journal).unwrap();
    node.start();
    let mut client = node.client();
    let heard = client.run(&order).outcome.journal;
    node.kill();
    std::fs::write(&journal, before).unwrap();
    node.start();
    let mut client = node.client();
    let mut again = deliver(&order);
    again.journal = heard;
    client.deliver(&again);
    let told = client.outcome(run_of(&order));
    assert!(matches!(told.outcome.result, RunResult::Indeterminate { .. }), "{:?}", told.outcome);
    assert_ne!(told.outcome.journal.map(|position| position.journal), heard.map(|position| position.journal));
    assert!(client.audit().iter().any(|entry| entry.action == "journal.set_back"));
    // An order that was made afterwards runs.
    let mut fresh = shell("true");
    fresh.not_before = now();
    assert_eq!(client.run(&fresh).outcome.result, RunResult::Exited { code: 0 });
}

#[test]
fn a_lost_journal_starts_nothing_from_before_and_reports_nothing_as_never_started() {
    let mut node = Node::new();
    let order = shell("true");
    node.client().run(&order);
    node.kill();
    std::fs::remove_file(node.state().join("journal")).unwrap();
    node.start();
    let mut client = node.client();
    for mode in [DeliveryMode::Report, DeliveryMode::Start] {
        let mut again = deliver(&order);
        again.mode = mode;
        client.deliver(&again);
        let result = client.outcome(run_of(&order)).outcome.result;
        assert!(matches!(result, RunResult::Indeterminate { .. }), "{result:?}");
    }
}

#[test]
fn an_aggregator_that_knows_another_journal_is_believed_once() {
    let node = Node::new();
    let mut client = node.client();
    let other = JournalPosition { journal: JournalId::from_bytes([5; 8]), sequence: 3 };
    let mut first = deliver(&shell("true"));
    first.journal = Some(other);
    client.deliver(&first);
    let told = client.outcome(run_of(&first.delivery.order.read().unwrap()));
    assert!(matches!(told.outcome.result, RunResult::Indeterminate { .. }));
    let mut order = shell("true");
    order.not_before = now();
    let mut second = deliver(&order);
    second.journal = Some(other);
    client.deliver(&second);
    assert_eq!(client.outcome(run_of(&order)).outcome.result, RunResult::Exited { code: 0 });
}

#[test]
fn a_damaged_journal_denies_and_everything_else_works() {
    let mut node = Node::new();
    node.client().run(&shell("true"));
    node.kill();
    let journal = node.state().join("journal");
    let mut bytes = std::fs::read(&journal).unwrap();
    bytes[100] ^= 1;
    std::fs::write(&journal, &bytes).unwrap();
    node.start();
    let mut client = node.client();
    let mut order = shell("true");
    order.not_before = now();
    assert_eq!(code(&client.run(&order).outcome.result), Some(DenialCode::Storage));
    let description = client.describe();
    assert_eq!(description.journal, None);
    assert!(description.policy_source.contains("damaged"), "{}", description.policy_source);
    assert_eq!(std::fs::read(&journal).unwrap(), bytes, "evidence is left alone");
}

#[test]
fn a_damaged_audit_chain_denies() {
    let mut node = Node::new();
    node.client().run(&shell("true"));
    node.kill();
    let chain = node.state().join("audit/0000000000000001.jsonl");
    let text = std::fs::read_to_string(&chain).unwrap();
    std::fs::write(&chain, text.replace("alice", "mallo")).unwrap();
    node.start();
    let mut client = node.client();
    assert_eq!(code(&client.run(&shell("true")).outcome.result), Some(DenialCode::Storage));
    assert!(client.describe().policy_source.contains("altered"));
}

#[test]
fn unreported_outcomes_survive_reports_and_restarts() {
    let mut node = Node::new();
    let order = shell("seq 100");
    let mut client = node.client();
    let told = client.run(&order);
    node.kill();
    node.start();
    let mut client = node.client();
    let again = client.run(&order);
    assert_eq!((again.stdout, &again.outcome), (told.stdout, &told.outcome));
    client.send(&StewardRequest::Reported(run_of(&order)));
    client.describe();
    node.kill();
    node.start();
    let after = node.client().run(&order);
    assert_eq!((after.stdout.len(), after.outcome), (0, told.outcome));
}

/// A file system of a megabyte in the place of the state folder, where the tests may mount one.
struct Full {
    at: std::path::PathBuf,
}

impl Drop for Full {
    fn drop(&mut self) {
        let unmounted = std::process::Command::new("umount").arg("-l").arg(&self.at).status();
        assert!(unmounted.is_ok_and(|status| status.success()));
    }
}

#[test]
fn a_full_disk_starts_nothing_and_what_ran_is_still_recorded() {
    let mut node = Node::new();
    let gate = node.path("gate");
    node.kill();
    let small = node.path("small");
    std::fs::create_dir(&small).unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m,mode=700", "campanile-test"])
        .arg(&small)
        .output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED: this user may not mount a file system to fill");
        return;
    }
    let full = Full { at: small.clone() };
    let settings = std::fs::read_to_string(node.path("agent.toml")).unwrap();
    let state = node.state().display().to_string();
    std::fs::write(node.path("agent.toml"), settings.replace(&state, &small.display().to_string())).unwrap();
    campanile_agent::steward::pin::write_pin(
        &small,
        crate::support::FLEET,
        crate::support::NODE,
        &[crate::support::first_authority()],
    )
    .unwrap();
    node.start();
    let mut client = node.client();
    let mut long =
        shell(&format!("seq 20000; until [ -e {} ]; do sleep 0.01; done; echo end", gate.display()));
    long.limits.output_bytes = 200_000;
    client.deliver(&deliver(&long));
    while !matches!(client.next(), Some(StewardEvent::Output(..))) {}
    let mut filler = std::fs::File::create(small.join("filler")).unwrap();
    while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
    assert_eq!(code(&client.run(&shell("true")).outcome.result), Some(DenialCode::Storage));
    std::fs::write(&gate, "").unwrap();
    let mut again = node.client();
    again.deliver(&deliver(&long));
    let told = again.outcome(run_of(&long));
    assert_eq!(told.outcome.result, RunResult::Exited { code: 0 });
    assert!(told.stdout.ends_with(b"end\n"));
    drop(filler);
    std::fs::remove_file(small.join("filler")).unwrap();
    assert_eq!(again.run(&shell("true")).outcome.result, RunResult::Exited { code: 0 });
    node.kill();
    drop(full);
}
