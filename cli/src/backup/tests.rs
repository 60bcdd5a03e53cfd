//! The whole verbs against an aggregator that follows a script, with a real key in a folder of its own.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use campanile_common::api::BackupState::{Critical, Fresh, Late, Unknown, Waiting};
use campanile_common::api::{
    BackupFigures, BackupFinding, BackupHold, BackupLine, BackupResult, BackupState, BackupVerb, ChangeLine,
    CheckStanding, DrillStanding, EntryLine, NodeBackup, NodeBackupDetail, Order, OrderRequest, OrderState,
    OutputPiece, Page, PolicyBackup, StoredSnapshot, TargetState,
};
use campanile_common::authority::{Action, BackupAction, RestorePlace, SignedOrder, Targets, Tier};
use campanile_common::id::Digest;
use data_encoding::BASE64;

use crate::exit::Exit;
use crate::order::tests::{node_id, order, target};
use crate::os::clock;
use crate::testing::{Script, answer, campanile, events, node, operator};

/// What the aggregator was asked to do.
#[derive(Default)]
struct Kept {
    orders: Vec<OrderRequest>,
    settled: Vec<String>,
}

/// How the program ends on each of the two nodes.
type Codes = [u8; 2];

fn policy(name: &str, state: BackupState) -> PolicyBackup {
    PolicyBackup {
        policy: name.to_owned(),
        schedule: "@daily".to_owned(),
        target: "aggregator".to_owned(),
        max_age_seconds: 36 * 3600,
        state,
        newest: Some(clock::now() - Duration::from_secs(7200)),
        snapshots: 2,
        drill: (name == "etc").then(|| DrillStanding {
            last: Some(clock::now()),
            result: Some(BackupResult::Failed),
            detail: "2 files are not as the snapshot says".to_owned(),
            succeeded: Some(clock::now() - Duration::from_secs(86_400)),
            restored_ms: Some(41_500),
        }),
    }
}

fn check() -> CheckStanding {
    CheckStanding {
        target: "aggregator".to_owned(),
        cycle_seconds: 30 * 86_400,
        shares: 30,
        read: 12,
        complete_since: None,
        findings: 0,
        last: Some(clock::now()),
        detail: String::new(),
    }
}

/// Of `node-1` with one policy, or of `node-2` with two.
fn backup(number: usize, state: BackupState) -> NodeBackup {
    let mut policies = vec![policy("etc", state)];
    if number == 2 {
        policies.push(policy("main-db", BackupState::Fresh));
    }
    NodeBackup {
        node_id: node_id(number),
        name: format!("node-{number}"),
        state,
        reasons: if state == BackupState::Fresh { Vec::new() } else { vec!["etc: 3 d old".to_owned()] },
        policies,
        snapshots: 3,
        newest: Some(clock::now() - Duration::from_secs(7200)),
        bytes: 1 << 30,
        trash_bytes: 1 << 20,
        quota_bytes: 10 << 30,
        verified: None,
        verified_bytes: 1 << 29,
        damaged: 0,
        held: 1,
        checks: vec![check()],
        second: None,
    }
}

fn snapshot(digit: u8, policy: &str, age_hours: u64, is_deleted: bool) -> StoredSnapshot {
    let now = clock::now();
    StoredSnapshot {
        snapshot: Digest::from_bytes([digit; 32]),
        policy: Some(policy.to_owned()),
        received: now - Duration::from_secs(age_hours * 3600),
        bytes: 4096,
        new_bytes: 1024,
        deleted_until: is_deleted.then(|| now + Duration::from_secs(10 * 86_400 + 3600)),
    }
}

fn snapshots() -> Vec<StoredSnapshot> {
    // The newest first, as the API gives them.
    vec![
        snapshot(0xAA, "etc", 2, false),
        snapshot(0xBB, "etc", 26, false),
        snapshot(0xCC, "main-db", 30, false),
        snapshot(0xDD, "etc", 76, true),
    ]
}

fn detail(state: BackupState) -> NodeBackupDetail {
    let now = clock::now();
    NodeBackupDetail {
        backup: backup(1, state),
        holds: vec![BackupHold {
            id: 3,
            since: now - Duration::from_secs(3600),
            reasons: vec!["many-snapshots".to_owned()],
            detail: "20 of 22 snapshots were to go\u{1b}[2J".to_owned(),
            proposed: 20,
        }],
        findings: vec![BackupFinding {
            object: "pack 4f0c".to_owned(),
            flaw: "damaged".to_owned(),
            found: now - Duration::from_secs(60),
        }],
    }
}

fn json<T: serde::Serialize>(value: &T) -> String {
    answer("200 OK", &serde_json::to_string(value).unwrap())
}

fn page<T: serde::Serialize>(items: Vec<T>) -> String {
    json(&Page { items, next_cursor: None })
}

fn aggregator(states: [BackupState; 2], codes: Codes) -> (Script, Arc<Mutex<Kept>>) {
    let kept = Arc::new(Mutex::new(Kept::default()));
    let keep = Arc::clone(&kept);
    let choose = move |line: &str, body: &str| reply(&mut keep.lock().unwrap(), states, codes, line, body);
    (Script::choosing(Box::new(choose)), kept)
}

fn reply(kept: &mut Kept, states: [BackupState; 2], codes: Codes, line: &str, body: &str) -> String {
    if line.starts_with("GET /api/v1/nodes?") {
        return page(vec![node(1), node(2)]);
    }
    if line.starts_with("GET /api/v1/backups?") {
        return page(vec![backup(2, states[1]), backup(1, states[0])]);
    }
    if line.starts_with("GET /api/v1/backups/node-1 ") {
        return json(&detail(states[0]));
    }
    if line.starts_with("GET /api/v1/backups/node-2 ") {
        let backup = backup(2, states[1]);
        return json(&NodeBackupDetail { backup, holds: Vec::new(), findings: Vec::new() });
    }
    if line.contains("/snapshots?") {
        let is_wanted = |one: &StoredSnapshot| line.contains("deleted=true") || one.deleted_until.is_none();
        return page(snapshots().into_iter().filter(is_wanted).collect());
    }
    if line.starts_with("POST /api/v1/backups/") {
        kept.settled.push(format!("{line}\n{body}"));
        return answer("200 OK", "");
    }
    if line.starts_with("POST /api/v1/orders ") {
        kept.orders.push(serde_json::from_str(body).unwrap());
        let mut accepted = ended(kept, codes);
        let is_critical = read(kept.orders.last().unwrap()).tier == Tier::Critical;
        accepted.state = if is_critical { OrderState::Proposed } else { OrderState::Running };
        accepted.targets.clear();
        return json(&accepted);
    }
    if line.starts_with("GET /api/v1/orders/") && line.contains("/events") {
        return stream(kept, codes);
    }
    if line.starts_with("GET /api/v1/orders/") {
        let mut tried = target(1, TargetState::Ok);
        tried.started_at = Some(crate::order::tests::NOW);
        tried.finished_at = Some(crate::order::tests::NOW + Duration::from_secs(42));
        return json(&order(vec![tried]));
    }
    answer("404 No", r#"{"title":"No","status":404,"code":"not_found","detail":"there is none"}"#)
}

/// The last order, ended on each node that it names.
fn ended(kept: &Kept, codes: Codes) -> Order {
    let asked = read(kept.orders.last().unwrap());
    let Targets::Nodes(nodes) = &asked.targets else { panic!("{:?}", asked.targets) };
    let ended = |number: usize| {
        let code = codes[number - 1];
        let mut ended = target(number, if code == 0 { TargetState::Ok } else { TargetState::Failed });
        ended.result = Some("exited".to_owned());
        ended.exit_code = Some(code.into());
        ended
    };
    let numbers = [1, 2].into_iter().filter(|number| nodes.contains(&node_id(*number)));
    let mut order = order(numbers.map(ended).collect());
    order.order_id = asked.id;
    order
}

fn stream(kept: &Kept, codes: Codes) -> String {
    let ended = ended(kept, codes);
    let action = read(kept.orders.last().unwrap()).action;
    let mut text = String::new();
    for target in &ended.targets {
        let code = u8::try_from(target.exit_code.unwrap()).unwrap();
        let lines: String =
            said(&action, code).iter().map(|line| serde_json::to_string(line).unwrap() + "\n").collect();
        let piece = OutputPiece {
            node_id: target.node_id,
            name: target.name.clone(),
            stream: "stdout".to_owned(),
            offset: 0,
            data: BASE64.encode(lines.as_bytes()),
        };
        text.push_str(&format!("event: output\ndata: {}\n\n", serde_json::to_string(&piece).unwrap()));
    }
    text.push_str(&format!("event: order\ndata: {}\n\n", serde_json::to_string(&ended).unwrap()));
    events(&text)
}

/// What the program prints that ends with this code.
fn said(action: &Action, code: u8) -> Vec<BackupLine> {
    let mut lines = Vec::new();
    let result = match code {
        0 => BackupResult::Ok,
        3 => BackupResult::Partial,
        _ => BackupResult::Failed,
    };
    if code == 3 {
        lines.push(BackupLine::Unread { path: "/etc/shadow".to_owned(), why: "denied".to_owned() });
    }
    if code == 1 {
        lines.push(BackupLine::Problem { message: "the disk is full".to_owned() });
    }
    if matches!(action, Action::Backup(BackupAction::List { .. })) {
        lines.push(BackupLine::Entry(EntryLine {
            path: "/etc/hosts".to_owned(),
            kind: "file".to_owned(),
            bytes: 2048,
            mode: 0o644,
            uid: 0,
            gid: 0,
            modified: "2026-05-03T10:14:00Z".to_owned(),
            target: None,
        }));
    }
    if matches!(action, Action::Backup(BackupAction::Diff { .. })) {
        lines.push(BackupLine::Change(ChangeLine {
            path: "/etc/motd".to_owned(),
            change: "content".to_owned(),
            kind: "file".to_owned(),
            bytes_before: 10,
            bytes_after: 20,
        }));
    }
    let figures =
        BackupFigures { files: 70, files_new: 7, unread: u64::from(code == 3), ..Default::default() };
    lines.push(BackupLine::Finished {
        verb: BackupVerb::Run,
        policy: None,
        result,
        repository: None,
        snapshot: (code != 1).then(|| "ee".repeat(32)),
        duration_ms: 1500,
        figures,
    });
    lines
}

fn read(request: &OrderRequest) -> campanile_common::authority::Order {
    let (bytes, signatures) = request.order.decode().unwrap();
    SignedOrder { bytes, signatures }.read().unwrap()
}

/// What was ordered: action, tier, how many signed, how many targets.
fn ordered(kept: &Mutex<Kept>) -> Vec<(BackupAction, Tier, usize, usize)> {
    let kept = kept.lock().unwrap();
    let ordered = |request: &OrderRequest| {
        let order = read(request);
        let Action::Backup(action) = order.action else { panic!("{:?}", order.action) };
        let Targets::Nodes(nodes) = order.targets else { panic!("{:?}", order.targets) };
        (action, order.tier, request.order.decode().unwrap().1.len(), nodes.len())
    };
    kept.orders.iter().map(ordered).collect()
}

#[test]
fn status_has_a_line_for_each_node_and_the_code_of_the_worst() {
    let folder = operator();
    for (states, code) in
        [([Fresh, Waiting], 0), ([Fresh, Late], 1), ([Critical, Late], 2), ([Unknown, Fresh], 3)]
    {
        let (script, _) = aggregator(states, [0, 0]);
        let (exit, out, err) = campanile(&script, &folder, &["backup", "status"]);
        assert_eq!(exit as u8, code, "{out}{err}");
        let lines: Vec<&str> = out.lines().collect();
        assert!(lines[0].starts_with("NODE") && lines[1].starts_with("node-1"), "{out}");
        assert!(lines[2].contains(states[1].as_str()) && lines.len() == 3, "{out}");
        assert!(err.starts_with("2 nodes: "), "{err}");
    }
    let (script, _) = aggregator([Late, Fresh], [0, 0]);
    let (exit, out, _) = campanile(&script, &folder, &["backup", "status", "node-1", "--policies"]);
    assert_eq!(exit, Exit::Failed);
    assert!(out.lines().nth(1).unwrap().starts_with("node-1  etc     late   2h      1d"), "{out}");
    assert_eq!(out.lines().count(), 2, "{out}");
    let (_, out, _) = campanile(&script, &folder, &["backup", "status", "-o", "json"]);
    let nodes: Vec<NodeBackup> = serde_json::from_str(&out).unwrap();
    assert_eq!(nodes.len(), 2);
}

#[test]
fn a_status_that_cannot_be_had_is_unknown_and_an_unknown_node_is_named() {
    let folder = operator();
    let (script, _) = aggregator([Fresh, Fresh], [0, 0]);
    let (exit, _, err) = campanile(&script, &folder, &["backup", "status", "node-3"]);
    assert_eq!(exit as u8, 3);
    assert!(err.contains("backups unknown: there is no active node `node-3`; did you mean"), "{err}");
    let script = Script::start(Vec::new());
    assert_eq!(campanile(&script, &folder, &["backup", "status"]).0 as u8, 3);
}

#[test]
fn snapshots_are_listed_oldest_first_and_those_let_go_apart() {
    let folder = operator();
    let (script, _) = aggregator([Fresh, Fresh], [0, 0]);
    let names = |line: &[&str]| campanile(&script, &folder, &[line, &["-o", "name"]].concat()).1;
    let name = |digits: &str| digits.repeat(32) + "\n";
    let listed = names(&["backup", "ls", "node-1"]);
    assert_eq!(listed, name("cc") + &name("bb") + &name("aa"));
    assert_eq!(names(&["backup", "ls", "node-1", "--policy", "etc"]), name("bb") + &name("aa"));
    assert_eq!(names(&["backup", "ls", "node-1", "--deleted"]), name("dd"));
    let (_, out, _) = campanile(&script, &folder, &["backup", "ls", "node-1", "--deleted"]);
    assert!(out.contains("dddddddd  ") && out.contains("10d"), "{out}");
}

#[test]
fn show_names_what_waits_and_what_is_damaged_and_obeys_no_node() {
    let folder = operator();
    let (script, _) = aggregator([Critical, Fresh], [0, 0]);
    let (exit, out, err) = campanile(&script, &folder, &["backup", "show", "node-1"]);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(out.contains("20 of 22 snapshots were to go\u{fffd}[2J") && out.contains("pack 4f0c"), "{out}");
    assert!(out.contains("verified   50%") && err.contains("hold release node-1 ID"), "{out}{err}");
}

#[test]
fn each_policy_of_a_node_is_an_order_without_a_key_and_one_table_tells_all() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    let (exit, out, err) = campanile(&script, &folder, &["backup", "run", "-l", "role=web"]);
    assert_eq!(exit, Exit::Fine, "{err}");
    let run = |name: &str| BackupAction::Run { policy: name.parse().unwrap() };
    let expected = [(run("etc"), Tier::Routine, 0, 2), (run("main-db"), Tier::Routine, 0, 1)];
    assert_eq!(ordered(&kept), expected);
    assert_eq!(out.lines().count(), 4, "{out}");
    assert!(out.contains("node-1  etc      ok      eeeeeeee  70     7"), "{out}");
    assert_eq!(err, "3 targeted: 3 ok\n");
    let request = kept.lock().unwrap().orders.remove(0);
    let limits = read(&request).limits;
    assert_eq!((limits.timeout_ms, limits.output_bytes), (12 * 3_600_000, 1 << 20));
}

#[test]
fn a_node_that_is_partial_or_fails_is_told_with_what_it_named() {
    let folder = operator();
    let (script, _) = aggregator([Fresh, Fresh], [3, 1]);
    let line = ["backup", "run", "node-1", "node-2", "--policy", "etc"];
    let (exit, out, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::SomeFailed);
    assert!(out.contains("partial") && out.contains("the disk is full"), "{out}");
    assert_eq!(err, "  node-1: /etc/shadow: denied\n2 targeted: 0 ok, 2 failed\n");
    let (_, out, _) = campanile(&script, &folder, &[&line[..], &["-o", "json"]].concat());
    let reports: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!(reports[0]["unread"][0]["path"], "/etc/shadow");
    assert_eq!((&reports[1]["result"], &reports[1]["state"]), (&"failed".into(), &"failed".into()));
}

#[test]
fn a_shared_repository_is_verified_once_and_every_policy_is_drilled() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    let (exit, out, _) = campanile(&script, &folder, &["backup", "check", "node-2", "--share", "2/7"]);
    assert_eq!(exit, Exit::Fine);
    assert!(out.contains("VERIFIED"), "{out}");
    let check = BackupAction::Check { policy: "etc".parse().unwrap(), part: 2, of: 7 };
    assert_eq!(ordered(&kept), [(check, Tier::Routine, 0, 1)]);
    campanile(&script, &folder, &["backup", "drill", "node-2"]);
    assert_eq!(ordered(&kept).len(), 3);
}

#[test]
fn a_restore_into_a_folder_is_signed_and_of_the_only_policy() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    let at = "2026-05-03T10:14:00Z";
    let line = ["restore", "node-1", "/etc/nginx", "--at", at, "--to", "/srv/back"];
    let (exit, out, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Fine, "{err}");
    assert!(out.contains("eeeeeeee  70"), "{out}");
    let action = BackupAction::Restore {
        policy: "etc".parse().unwrap(),
        snapshot: "2026-05-03T10:14:00.000Z".to_owned(),
        paths: vec!["/etc/nginx".to_owned()],
        to: RestorePlace::Folder("/srv/back".to_owned()),
    };
    assert_eq!(ordered(&kept), [(action, Tier::Change, 1, 1)]);
}

#[test]
fn a_restore_in_place_is_critical_asks_and_waits_for_others() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    let line = ["restore", "node-1", "--in-place"];
    let (exit, _, err) = campanile(&script, &folder, &line);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("node-1") && err.contains("give --yes"), "{err}");
    assert!(ordered(&kept).is_empty());
    let (exit, _, err) = campanile(&script, &folder, &[&line[..], &["--yes"]].concat());
    assert_eq!(exit, Exit::Waiting, "{err}");
    assert!(err.contains("campanile approve sign"), "{err}");
    let found = ordered(&kept);
    assert!(matches!(&found[0].0, BackupAction::Restore { to: RestorePlace::InPlace, .. }));
    assert_eq!(found[0].1, Tier::Critical);
}

#[test]
fn a_restore_that_is_not_clear_sends_nothing() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    for (line, why) in [
        (&["restore", "node-2", "--to", "/x"][..], "several policies"),
        (&["restore", "node-1", "etc", "--to", "/x"], "no absolute path"),
        (&["restore", "node-1", "--to", "x"], "no absolute path"),
        (&["restore", "node-1", "--to", "/x", "--at", "2026-05-03"], "a whole day"),
        (&["restore", "node-1", "--to", "/x", "--at", "yesterday"], "is no snapshot"),
        (&["restore", "node-1"], "--to"),
        (&["restore", "node-1", "--to", "/x", "--in-place"], "cannot be used with"),
    ] {
        let (exit, _, err) = campanile(&script, &folder, line);
        assert_eq!(exit, Exit::Usage, "{line:?}: {err}");
        assert!(err.contains(why), "{line:?}: {err}");
    }
    assert!(ordered(&kept).is_empty());
}

#[test]
fn files_of_a_snapshot_and_what_differs_take_a_key() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    let line = ["backup", "files", "node-2", "/etc", "--policy", "main-db", "-o", "name"];
    let (exit, out, err) = campanile(&script, &folder, &line);
    assert_eq!((exit, out.as_str()), (Exit::Fine, "/etc/hosts\n"), "{err}");
    assert_eq!(err, "snapshot eeeeeeee: 70 entries\n");
    let (exit, out, _) = campanile(&script, &folder, &["backup", "diff", "node-1", "4F0C", "latest"]);
    assert_eq!(exit, Exit::Fine);
    assert!(out.contains("content  10 B    20 B   /etc/motd"), "{out}");
    let found = ordered(&kept);
    let policy = || "main-db".parse().unwrap();
    let (snapshot, path) = ("latest".to_owned(), Some("/etc".to_owned()));
    assert_eq!(found[0], (BackupAction::List { policy: policy(), snapshot, path }, Tier::Change, 1, 1));
    let (before, after) = ("4f0c".to_owned(), "latest".to_owned());
    let policy = "etc".parse().unwrap();
    assert_eq!(found[1], (BackupAction::Diff { policy, before, after }, Tier::Change, 1, 1));
}

#[test]
fn a_hold_is_shown_asked_about_and_settled() {
    let folder = operator();
    let (script, kept) = aggregator([Critical, Fresh], [0, 0]);
    let (exit, _, err) = campanile(&script, &folder, &["backup", "hold", "release", "node-1", "3"]);
    assert_eq!(exit, Exit::Failed, "nobody can be asked");
    assert!(err.contains("20 of 22") && !err.contains('\u{1b}'), "{err}");
    assert!(kept.lock().unwrap().settled.is_empty());
    let (exit, _, err) = campanile(&script, &folder, &["backup", "hold", "refuse", "node-1", "3", "--yes"]);
    assert_eq!(exit, Exit::Fine, "{err}");
    let settled = kept.lock().unwrap().settled.clone();
    assert!(settled[0].starts_with("POST /api/v1/backups/node-1/holds/3 "), "{settled:?}");
    assert!(settled[0].ends_with(r#"{"settlement":"refuse"}"#), "{settled:?}");
    let (exit, _, err) = campanile(&script, &folder, &["backup", "hold", "refuse", "node-1", "4", "--yes"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("no hold 4; there are: 3"), "{err}");
}

#[test]
fn what_was_let_go_comes_back_by_the_begin_of_its_name_or_all_of_it() {
    let folder = operator();
    let (script, kept) = aggregator([Fresh, Fresh], [0, 0]);
    let undelete =
        |more: &[&str]| campanile(&script, &folder, &[&["backup", "undelete", "node-1"], more].concat());
    assert_eq!(undelete(&["--yes", "ddd"]).0, Exit::Fine);
    assert_eq!(undelete(&["--yes"]).0, Exit::Fine);
    let settled = kept.lock().unwrap().settled.clone();
    assert!(settled[0].starts_with("POST /api/v1/backups/node-1/undelete "), "{settled:?}");
    assert!(settled[0].ends_with(&format!(r#"{{"snapshot":"{}"}}"#, "dd".repeat(32))), "{settled:?}");
    assert!(settled[1].ends_with(r#"{"snapshot":null}"#), "{settled:?}");
    let (exit, _, err) = undelete(&["--yes", "aaaa"]);
    assert_eq!(exit, Exit::Failed);
    assert!(err.contains("backup ls --deleted"), "{err}");
    assert_eq!(undelete(&[]).0, Exit::Failed, "nobody can be asked");
    assert_eq!(kept.lock().unwrap().settled.len(), 2);
}

#[test]
fn the_slo_sets_what_was_kept_beside_what_was_promised() {
    let folder = operator();
    let (script, _) = aggregator([Fresh, Fresh], [0, 0]);
    let (exit, out, err) = campanile(&script, &folder, &["backup", "slo", "node-1", "-o", "json"]);
    assert_eq!(exit, Exit::SomeFailed, "{err}");
    let rows: serde_json::Value = serde_json::from_str(&out).unwrap();
    let row = &rows[0];
    assert_eq!((&row["policy"], &row["maxAgeSeconds"]), (&"etc".into(), &(36 * 3600).into()));
    // 76, 26 and 2 hours old: what was let go counts.
    assert_eq!(row["worstGapSeconds"].as_u64().unwrap().div_ceil(3600), 50);
    assert_eq!((&row["snapshots"], &row["drillSeconds"]), (&3.into(), &42.into()));
    let (_, out, _) = campanile(&script, &folder, &["backup", "slo", "node-2"]);
    let line = out.lines().find(|line| line.contains("main-db")).unwrap();
    assert!(line.ends_with('-'), "no drill of it is known: {out}");
}

#[test]
fn policies_are_listed_beside_their_nodes() {
    let folder = operator();
    let (script, _) = aggregator([Fresh, Fresh], [0, 0]);
    let (exit, out, _) = campanile(&script, &folder, &["backup", "policy", "ls", "-o", "name"]);
    assert_eq!((exit, out.as_str()), (Exit::Fine, "node-1/etc\nnode-2/etc\nnode-2/main-db\n"));
}
