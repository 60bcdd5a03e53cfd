//! Check, forget, prune, copy, locks and rebuilt indexes beside stock restic.
#![expect(clippy::disallowed_methods, clippy::unwrap_used, reason = "tests start restic and read files")]

mod common;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::Stdio;

use campanile_backup::backend::{Object, ObjectKind};
use campanile_backup::check::{self, Share};
use campanile_backup::copy::copy;
use campanile_backup::forget::{Decision, KeepRules, Reason, decide, groups};
use campanile_backup::id::ObjectId;
use campanile_backup::lock::{ExclusiveLock, Holder, LockError, SharedLock};
use campanile_backup::prune::{self, Facts, Policy};
use campanile_backup::rebuild::{Scope, rebuild};
use campanile_backup::repository::Repository;
use campanile_backup::snapshot::Snapshot;
use campanile_backup::tree::FileTime;
use common::{Restic, assert_same, noise};

const THOROUGH: Policy =
    Policy { unused_percent_max: 0, small_packs_max: 0, repack_bytes_max: u64::MAX, whole_packs_only: false };

fn assert_clean(repository: &Repository) {
    assert_eq!(check::structure(repository).unwrap().findings, []);
    assert_eq!(check::content(repository, Share::ALL, &|_| {}).unwrap().findings, []);
    assert_eq!(check::bytes(&**repository.backend(), Share::ALL, &mut |_| {}).unwrap().findings, []);
}

fn now() -> FileTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    FileTime { seconds: since.as_secs().try_into().unwrap(), nanoseconds: since.subsec_nanos() }
}

fn holder() -> Holder {
    let hostname = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    Holder { hostname, username: "root".to_owned(), pid: std::process::id(), uid: 0, gid: 0 }
}

fn prune(repository: &Repository, forgotten: &[ObjectId]) {
    let facts = Facts::load(repository, forgotten).unwrap();
    let plan = prune::plan(&facts, &THOROUGH).unwrap();
    let removals = prune::execute(repository, &facts, &plan, &mut |_| true).unwrap();
    assert!(!removals.packs.is_empty());
    prune::apply(&**repository.backend(), &removals, &mut |_| true).unwrap();
}

#[test]
fn after_our_prune_restic_finds_all_in_order_and_restores_the_same_and_the_other_way_round() {
    let restic = Restic::new();
    restic.eight_snapshots("repo");
    let repository = restic.open("repo");
    assert_clean(&repository);
    let snapshots = repository.snapshots().unwrap();
    let ids: Vec<ObjectId> = snapshots.iter().map(|(id, _)| *id).collect();
    let restore = |id: ObjectId, to: &str| {
        restic.succeed("repo", &["restore", &id.to_string(), "--target", restic.path(to).to_str().unwrap()])
    };
    let (kept, gone) = (&ids[4..], &ids[..4]);
    kept.iter().for_each(|id| drop(restore(*id, &format!("before-{id}"))));
    prune(&repository, gone);
    assert_clean(&repository);
    let said = restic.succeed("repo", &["check", "--read-data"]);
    assert!(said.contains("no errors were found"), "{said}");
    for id in kept {
        restore(*id, &format!("after-{id}"));
        assert_same(&restic.path(&format!("before-{id}")), &restic.path(&format!("after-{id}")));
    }
    assert_same(&restic.path("source"), &restic.path(&format!("after-{}/source", ids[7])));
    restic.succeed("repo", &["backup", "source"]);
    restic.succeed("repo", &["forget", "--keep-last", "2", "--prune", "--max-unused", "0"]);
    assert_clean(&repository);
    assert_eq!(repository.snapshots().unwrap().len(), 2);
}

#[test]
fn keep_rules_decide_as_restic_does() {
    let restic = Restic::new();
    restic.succeed("repo", &["init"]);
    restic.write("file", 100, 1);
    restic.succeed("repo", &["backup", "source"]);
    let repository = restic.open("repo");
    let (first, template) = repository.snapshots().unwrap().remove(0);
    repository.backend().remove(Object::new(ObjectKind::Snapshot, first)).unwrap();
    let seed = u64::from(std::process::id());
    println!("seed {seed}");
    let random = noise(150 * 8, seed);
    for (number, random) in random.chunks_exact(8).enumerate() {
        let random = u64::from_le_bytes(random.try_into().unwrap());
        // Some close together, some years apart; no two at the same moment.
        let spread = [4 * 3600, 9 * 86_400, 70 * 86_400, 1200 * 86_400][number % 4];
        let seconds =
            1_700_000_000 - i64::try_from(random % spread).unwrap() - i64::try_from(number).unwrap();
        let time = FileTime { seconds, nanoseconds: u32::try_from(number).unwrap() };
        let tags = if random >> 40 & 7 == 0 { vec!["release".to_owned(), "web".to_owned()] } else { vec![] };
        let paths =
            if random >> 50 & 1 == 0 { template.paths.clone() } else { vec!["/b".into(), "/a".into()] };
        let snapshot = Snapshot { time, tags, paths, parent: None, ..template.clone() };
        repository.write_document(ObjectKind::Snapshot, &snapshot).unwrap();
    }
    let span = |text: &str| text.parse().unwrap();
    let none = KeepRules::default;
    let cases: [(&[&str], KeepRules); 9] = [
        (&["--keep-last=5"], KeepRules { last: 5, ..none() }),
        (&["--keep-hourly=6"], KeepRules { hourly: 6, ..none() }),
        (&["--keep-daily=7", "--keep-weekly=5"], KeepRules { daily: 7, weekly: 5, ..none() }),
        (&["--keep-monthly=30", "--keep-yearly=9"], KeepRules { monthly: 30, yearly: 9, ..none() }),
        (&["--keep-within=1m3d"], KeepRules { within: span("1m3d"), ..none() }),
        (
            &["--keep-within-daily=20d", "--keep-within-weekly=2m"],
            KeepRules { within_daily: span("20d"), within_weekly: span("2m"), ..none() },
        ),
        (
            &["--keep-within-hourly=2h", "--keep-within-monthly=1y", "--keep-within-yearly=2y1m"],
            KeepRules {
                within_hourly: span("2h"),
                within_monthly: span("1y"),
                within_yearly: span("2y1m"),
                ..none()
            },
        ),
        (
            &["--keep-tag=release,web", "--keep-last=1"],
            KeepRules { tags: vec![vec!["release".into(), "web".into()]], last: 1, ..none() },
        ),
        (
            &["--keep-last=2", "--keep-daily=3", "--keep-weekly=2", "--keep-monthly=4", "--keep-within=5d"],
            KeepRules { last: 2, daily: 3, weekly: 2, monthly: 4, within: span("5d"), ..none() },
        ),
    ];
    let groups = groups(repository.snapshots().unwrap());
    assert_eq!(groups.len(), 2);
    let version = restic.succeed("repo", &["version"]);
    let minor =
        version.trim_start_matches("restic 0.").split('.').next().and_then(|minor| minor.parse::<u32>().ok());
    // Since 0.16.
    let keeps_the_oldest = minor.is_none_or(|minor| minor >= 16);
    for (flags, rules) in cases {
        let arguments: Vec<&str> = ["forget", "--dry-run", "--json"].iter().chain(flags).copied().collect();
        let said = restic.succeed("repo", &arguments);
        let said: serde_json::Value = serde_json::from_str(said.lines().next().unwrap()).unwrap();
        let theirs = |what: &str| -> BTreeSet<ObjectId> {
            let groups = said.as_array().unwrap().iter();
            let lists = groups.filter_map(|group| group[what].as_array()).flatten();
            lists.map(|snapshot| snapshot["id"].as_str().unwrap().parse().unwrap()).collect()
        };
        let mut ours: Vec<Decision<ObjectId>> =
            groups.values().map(|group| decide(&rules, group.clone(), now())).collect();
        if !keeps_the_oldest {
            ours.iter_mut().for_each(without_the_oldest);
        }
        let keep = ours.iter().flat_map(|ours| ours.keep.iter().map(|(one, _)| one.key)).collect();
        let forget = ours.iter().flat_map(|ours| ours.forget.iter().map(|one| one.key)).collect();
        assert_eq!(theirs("keep"), keep, "{flags:?}");
        assert_eq!(theirs("remove"), forget, "{flags:?}");
        let theirs: usize = said
            .as_array()
            .unwrap()
            .iter()
            .flat_map(|group| group["reasons"].as_array().unwrap())
            .map(|reason| reason["matches"].as_array().unwrap().len())
            .sum();
        let reasons =
            ours.iter().flat_map(|ours| &ours.keep).map(|(_, reasons)| reasons.len()).sum::<usize>();
        assert_eq!(theirs, reasons, "{flags:?}");
    }
}

/// The decision of a restic that does not keep the oldest for its own sake.
fn without_the_oldest(decision: &mut Decision<ObjectId>) {
    decision.keep.iter_mut().for_each(|(_, reasons)| {
        reasons.retain(|reason| !matches!(reason, Reason::Oldest(_)));
    });
    let gone = decision.keep.extract_if(.., |(_, reasons)| reasons.is_empty());
    let gone: Vec<_> = gone.map(|(one, _)| one).collect();
    decision.forget.extend(gone);
}

#[test]
fn our_locks_are_honoured_by_restic() {
    let restic = Restic::new();
    restic.succeed("repo", &["init"]);
    restic.write("file", 100, 1);
    let repository = restic.open("repo");
    let refused = |arguments: &[&str]| {
        let output = restic.run("repo", arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains("already locked"), "{arguments:?}: {said}");
        said
    };
    // Of another machine: restic asks processes of its own whether they live by SIGHUP, which ends a test.
    let elsewhere = || Holder { hostname: "elsewhere".to_owned(), ..holder() };
    let lock = ExclusiveLock::take(&repository, elsewhere(), now()).unwrap();
    let said = refused(&["backup", "source"]);
    assert!(said.contains(&format!("PID {}", std::process::id())), "{said}");
    lock.refresh(now()).unwrap();
    refused(&["prune"]);
    // It is fresh, so that restic does not take it for stale.
    restic.succeed("repo", &["unlock"]);
    refused(&["prune"]);
    lock.release().unwrap();
    let lock = SharedLock::take(&repository, holder(), now()).unwrap();
    restic.succeed("repo", &["backup", "source"]);
    refused(&["prune"]);
    drop(lock);
    restic.succeed("repo", &["prune"]);
    assert!(repository.backend().list(ObjectKind::Lock).unwrap().is_empty());
}

#[test]
fn the_locks_of_restic_are_honoured_by_us_until_it_is_dead() {
    let restic = Restic::new();
    restic.succeed("repo", &["init"]);
    let repository = restic.open("repo");
    // Reads its input until that ends, and holds a shared lock meanwhile.
    let mut child = restic
        .command("repo", &["backup", "--stdin"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut input = child.stdin.take().unwrap();
    input.write_all(b"some").unwrap();
    for _ in 0..600 {
        if !repository.backend().list(ObjectKind::Lock).unwrap().is_empty() {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
    let refused = ExclusiveLock::take(&repository, holder(), now()).unwrap_err();
    assert!(matches!(&refused, LockError::Held { by, .. } if by.pid == child.id()), "{refused}");
    SharedLock::take(&repository, holder(), now()).unwrap().release().unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    ExclusiveLock::take(&repository, holder(), now()).unwrap().release().unwrap();
    assert!(repository.backend().list(ObjectKind::Lock).unwrap().is_empty());
}

#[test]
fn what_we_copy_restic_checks_restores_and_does_not_copy_again() {
    let restic = Restic::new();
    restic.eight_snapshots("repo");
    restic.succeed("other", &["init"]);
    let (source, target) = (restic.open("repo"), restic.open("other"));
    assert_ne!(source.config().chunker_polynomial, target.config().chunker_polynomial);
    let copied = copy(&source, None, &target, &mut |_| true).unwrap();
    assert_eq!(copied.snapshots.len(), 8);
    assert_clean(&target);
    let said = restic.succeed("other", &["check", "--read-data"]);
    assert!(said.contains("no errors were found"), "{said}");
    restic.succeed("other", &["restore", "latest", "--target", restic.path("out").to_str().unwrap()]);
    assert_same(&restic.path("source"), &restic.path("out/source"));
    let from = restic.path("repo");
    restic.succeed("other", &["copy", "--from-repo", from.to_str().unwrap()]);
    assert_eq!(target.snapshots().unwrap().len(), 8);
    // And what restic copied is known to us.
    restic.succeed("third", &["init"]);
    restic.succeed("third", &["copy", "--from-repo", from.to_str().unwrap()]);
    let again = copy(&source, None, &restic.open("third"), &mut |_| true).unwrap();
    assert_eq!((again.known.len(), again.blobs), (8, 0));
}

#[test]
fn indexes_that_we_make_anew_are_in_order_for_restic() {
    let restic = Restic::new();
    restic.eight_snapshots("repo");
    let repository = restic.open("repo");
    for entry in fs::read_dir(restic.path("repo/index")).unwrap() {
        fs::remove_file(entry.unwrap().path()).unwrap();
    }
    assert!(!check::structure(&repository).unwrap().is_clean());
    let rebuilt = rebuild(&repository, Scope::Missing).unwrap();
    assert!(rebuilt.damaged.is_empty() && rebuilt.removals.is_empty());
    assert_clean(&repository);
    let said = restic.succeed("repo", &["check", "--read-data"]);
    assert!(said.contains("no errors were found"), "{said}");
}
