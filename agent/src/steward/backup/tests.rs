//! What is planned from files of policies and of runs, by an owner that starts nothing.

#![expect(clippy::disallowed_methods, reason = "tests lay out files")]

use serde_json::json;

use super::*;
use crate::backup::runs::StartedBy;
use crate::os::file;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

struct Node {
    folder: tempfile::TempDir,
    backups: Backups,
}

impl Node {
    fn new(now: Timestamp) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("policies")).unwrap();
        Self { backups: opened(&folder, now), folder }
    }

    fn policy(&self, schedule: &str) {
        let policy = json!({ "format": 1, "name": "etc", "policy": {
            "paths": ["/etc"], "schedule": schedule, "splay": "0s", "keep": { "last": 3 }, "target": "dir:/srv/b",
        }});
        file::replace(&self.folder.path().join("policies/etc.json"), policy.to_string().as_bytes()).unwrap();
    }

    fn look(&mut self, now: Timestamp) -> Option<Timestamp> {
        let launcher = Launcher {
            program: "/nowhere".into(),
            systemd_run: None,
            state_dir: "/nowhere".into(),
            confines: false,
        };
        let limits = ExecutionLimits::default();
        let around =
            Surroundings { launcher: &launcher, limits: &limits, node: None, denied: String::new(), now };
        self.backups.mind_clock(now);
        self.backups.look(&around);
        self.backups.next(now).map(|(time, ..)| time)
    }

    fn run(&mut self, started: Timestamp) {
        let end = RunEnd {
            time: started,
            result: BackupResult::Ok,
            snapshot: Some("s".to_owned()),
            duration_ms: 1,
            detail: String::new(),
        };
        self.backups.record(|runs| {
            runs.begin(&etc(), StartedBy::Schedule, started);
            runs.finish(&etc(), started, end.clone());
        });
    }
}

fn opened(folder: &tempfile::TempDir, now: Timestamp) -> Backups {
    let path = |name: &str| folder.path().join(name);
    let (policies, proc_root) = (path("policies"), path("proc"));
    Backups::new(Where { folder: path(""), policies, proc_root, settings: Vec::new() }, now)
}

fn etc() -> PolicyName {
    "etc".parse().unwrap()
}

#[test]
fn a_restart_neither_forgets_a_run_nor_repeats_it() {
    let noon = at("2026-03-10T12:00:00Z");
    let mut node = Node::new(noon);
    node.policy("@hourly");
    assert_eq!(node.look(noon), Some(noon));
    node.run(noon);
    let next = at("2026-03-10T13:00:00Z");
    assert_eq!(node.look(noon + Duration::from_secs(1)), Some(next));
    node.backups = opened(&node.folder, noon + Duration::from_secs(60));
    assert_eq!(node.look(noon + Duration::from_secs(60)), Some(next));
    assert_eq!(node.backups.ledger.read().unwrap().policies[&etc()].next, Some(next));
}

#[test]
fn a_run_of_a_clock_that_was_ahead_does_not_put_the_next_off_however_often_it_is_looked() {
    let (noon, ahead) = (at("2026-03-10T12:00:30Z"), at("2036-03-10T12:00:00Z"));
    let mut node = Node::new(ahead);
    node.policy("@hourly");
    node.look(ahead);
    node.run(ahead);
    assert_eq!(node.look(ahead + Duration::from_secs(1)), Some(at("2036-03-10T13:00:00Z")));
    // It is set back by ten years.
    let due = at("2026-03-10T13:00:00Z");
    assert_eq!(node.look(noon), Some(due));
    for second in 0..7200 {
        let now = noon + Duration::from_secs(second);
        node.backups.mind_clock(now);
        node.backups.plan(now);
    }
    assert_eq!(node.backups.next(noon + Duration::from_secs(7200)).map(|(time, ..)| time), Some(due));
}

#[test]
fn a_run_that_somebody_is_at_is_waited_for_and_one_that_was_cut_is_noticed() {
    let noon = at("2026-03-10T12:00:00Z");
    let mut node = Node::new(noon);
    node.policy("@yearly");
    node.look(noon);
    let ledger = node.backups.ledger.clone();
    ledger.update(|runs| runs.begin(&etc(), StartedBy::Schedule, noon)).unwrap();
    let held = folder::try_lock(&node.folder.path().join(RUN_LOCK_FILE)).unwrap().unwrap();
    node.look(noon + Duration::from_secs(10));
    assert!(node.backups.runs.policies[&etc()].is_open() && !node.backups.is_free(noon));
    drop(held);
    let cut = noon + Duration::from_secs(20);
    assert_eq!(node.look(cut), Some(cut + Duration::from_secs(60)));
    let history = &ledger.read().unwrap().policies[&etc()];
    assert_eq!(history.failure().map(|end| (end.result, end.time)), Some((BackupResult::Stopped, cut)));
}

#[test]
fn a_policy_that_is_gone_is_forgotten_and_one_that_cannot_be_used_says_why() {
    let noon = at("2026-03-10T12:00:00Z");
    let mut node = Node::new(noon);
    node.policy("at tea-time");
    assert_eq!(node.look(noon), None);
    assert!(node.backups.ledger.read().unwrap().policies[&etc()].problem.contains("schedule"));
    std::fs::remove_file(node.folder.path().join("policies/etc.json")).unwrap();
    node.look(noon);
    assert!(node.backups.ledger.read().unwrap().policies.is_empty());
}

#[test]
fn drills_and_checks_wait_for_a_first_snapshot_and_for_saves_that_are_due() {
    let noon = at("2026-03-10T12:00:00Z");
    let mut node = Node::new(noon);
    let policy = json!({ "format": 1, "name": "etc", "policy": {
        "paths": ["/etc"], "schedule": "@daily", "splay": "0s", "keep": { "last": 3 }, "target": "dir:/srv/b",
        "drill": { "schedule": "@hourly" }, "check_cycle": "1d",
    }});
    file::replace(&node.folder.path().join("policies/etc.json"), policy.to_string().as_bytes()).unwrap();
    node.look(noon);
    assert_eq!(node.backups.next_proof(noon), None, "there is nothing to restore");
    node.run(noon);
    node.look(noon + Duration::from_secs(1));
    let (first, name, _) = node.backups.next_proof(noon).unwrap();
    assert_eq!(name, etc());
    let recorded = node.backups.ledger.read().unwrap();
    let drill = recorded.drills[&etc()].next.unwrap();
    assert!(drill > noon && drill <= noon + Duration::from_secs(3600 + 360), "{drill}");
    let check = recorded.checks["dir:/srv/b"].next.unwrap();
    assert!(check >= noon && check <= noon + Duration::from_secs(12 * 3600), "{check}");
    assert_eq!(first, drill.min(check));
    // A policy without a drill has none planned.
    node.policy("@daily");
    node.look(noon + Duration::from_secs(60));
    assert_eq!(node.backups.ledger.read().unwrap().drills.get(&etc()).and_then(|drills| drills.next), None);
}
