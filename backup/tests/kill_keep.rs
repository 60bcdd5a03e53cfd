//! Prune and copy in a process of their own that is killed at random moments.
#![expect(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    reason = "tests start processes, wait and read files"
)]

mod common;

use std::env;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use campanile_backup::backend::Directory;
use campanile_backup::check::{self, Share};
use campanile_backup::copy::copy;
use campanile_backup::id::ObjectId;
use campanile_backup::key::MasterKey;
use campanile_backup::lock::{ExclusiveLock, Holder, SharedLock};
use campanile_backup::prune::{self, Facts, Policy};
use campanile_backup::repository::Repository;
use campanile_backup::tree::FileTime;
use common::{Restic, assert_same, noise};

/// So often each is killed; `CAMPANILE_BACKUP_KILLS` for more.
const ROUNDS: usize = 60;
/// restic looks at the outcome of one round in so many; we look at all.
const ORACLE_EVERY: usize = 6;
const THOROUGH: Policy =
    Policy { unused_percent_max: 0, small_packs_max: 0, repack_bytes_max: u64::MAX, whole_packs_only: false };

fn open(path: &Path, key: &str) -> Repository {
    let directory = Directory::open(path).unwrap();
    Repository::open(Arc::new(directory), MasterKey::from_json(key.as_bytes()).unwrap()).unwrap()
}

fn holder() -> Holder {
    let hostname = rustix::system::uname().nodename().to_str().unwrap().to_owned();
    Holder { hostname, username: "root".to_owned(), pid: std::process::id(), uid: 0, gid: 0 }
}

fn now() -> FileTime {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    FileTime { seconds: since.as_secs().try_into().unwrap(), nanoseconds: 0 }
}

fn assert_clean(repository: &Repository) {
    assert_eq!(check::structure(repository).unwrap().findings, []);
    assert_eq!(check::content(repository, Share::ALL, &|_| {}).unwrap().findings, []);
    assert_eq!(check::bytes(&**repository.backend(), Share::ALL, &mut |_| {}).unwrap().findings, []);
}

/// What is started and killed; does nothing when it is run as a test.
#[test]
fn the_process_that_is_killed() {
    let Ok(work) = env::var("CAMPANILE_KILLED") else { return };
    let part = |name: &str| env::var(name).unwrap();
    let (path, key) = (part("CAMPANILE_REPOSITORY"), part("CAMPANILE_KEY"));
    let repository = open(Path::new(&path), &key);
    match work.as_str() {
        "prune" => {
            let lock = ExclusiveLock::take(&repository, holder(), now()).unwrap();
            let snapshots = repository.snapshots().unwrap();
            let gone = snapshots.len().saturating_sub(3);
            let forgotten: Vec<ObjectId> = snapshots[..gone].iter().map(|(id, _)| *id).collect();
            let facts = Facts::load(&repository, &forgotten).unwrap();
            let plan = prune::plan(&facts, &THOROUGH).unwrap();
            let removals = prune::execute(&repository, &facts, &plan, &mut |_| true).unwrap();
            prune::apply(&**repository.backend(), &removals, &mut |_| true).unwrap();
            lock.release().unwrap();
        }
        "copy" => {
            let source = open(Path::new(&part("CAMPANILE_SOURCE")), &part("CAMPANILE_SOURCE_KEY"));
            let lock = SharedLock::take(&repository, holder(), now()).unwrap();
            copy(&source, None, &repository, &mut |_| true).unwrap();
            lock.release().unwrap();
        }
        other => panic!("no such work: {other}"),
    }
}

fn start(work: &str, path: &Path, key: &str, source: Option<(&Path, &str)>) -> Child {
    let mut command = Command::new(env::current_exe().unwrap());
    command.args(["--exact", "the_process_that_is_killed"]).stdout(Stdio::null()).stderr(Stdio::null());
    command.env("CAMPANILE_KILLED", work).env("CAMPANILE_REPOSITORY", path).env("CAMPANILE_KEY", key);
    if let Some((path, key)) = source {
        command.env("CAMPANILE_SOURCE", path).env("CAMPANILE_SOURCE_KEY", key);
    }
    command.spawn().unwrap()
}

fn rounds() -> usize {
    env::var("CAMPANILE_BACKUP_KILLS").map_or(ROUNDS, |text| text.parse().unwrap())
}

/// Random moments within the time that a whole run takes.
fn moments(whole: Duration) -> Vec<Duration> {
    let seed = u64::from(std::process::id());
    println!("seed {seed}, a whole run takes {whole:?}");
    let random = noise(rounds() * 8, seed);
    let numbers = random.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap()));
    let micros = u64::try_from(whole.as_micros()).unwrap();
    numbers.map(|number| Duration::from_micros(number % micros)).collect()
}

fn copy_folder(from: &Path, to: &Path) {
    drop(fs::remove_dir_all(to));
    assert!(Command::new("cp").arg("-a").arg(from).arg(to).status().unwrap().success());
}

fn assert_restic_finds_nothing(restic: &Restic, name: &str) {
    // A lock that the kill left is in the way of restic, not of us.
    let said = restic.succeed(name, &["check", "--no-lock", "--read-data"]);
    assert!(said.contains("no errors were found"), "{said}");
}

/// Kills the work at random moments, each time on fresh ground, and lets it run to its end after.
fn kill_at_random(
    restic: &Restic,
    work: &str,
    fresh: &str,
    source: Option<(&Path, &str)>,
    finished: &dyn Fn(&Repository),
) {
    let key = restic.open(fresh).key().to_json();
    let (fresh, path) = (restic.path(fresh), restic.path("round"));
    copy_folder(&fresh, &path);
    let begun = Instant::now();
    assert!(start(work, &path, &key, source).wait().unwrap().success());
    let moments = moments(begun.elapsed());
    finished(&open(&path, &key));
    let mut killed = 0;
    for (round, moment) in moments.into_iter().enumerate() {
        copy_folder(&fresh, &path);
        let mut child = start(work, &path, &key, source);
        thread::sleep(moment);
        child.kill().unwrap();
        killed += usize::from(!child.wait().unwrap().success());
        let repository = open(&path, &key);
        assert_clean(&repository);
        if round % ORACLE_EVERY == 0 {
            assert_restic_finds_nothing(restic, "round");
        }
        assert!(start(work, &path, &key, source).wait().unwrap().success(), "it goes on after {moment:?}");
        assert_clean(&repository);
        finished(&repository);
        if round % ORACLE_EVERY == 1 {
            assert_restic_finds_nothing(restic, "round");
        }
    }
    let rounds = rounds();
    println!("{work}: {killed} of {rounds} killed in the middle, 0 repositories with errors");
    assert!(killed > rounds / 2, "{killed} of {rounds} were killed in time");
}

#[test]
fn a_prune_that_is_killed_leaves_all_in_order_and_finishes_when_it_is_run_again() {
    let restic = Restic::new();
    restic.eight_snapshots("fresh");
    kill_at_random(&restic, "prune", "fresh", None, &|repository| {
        assert_eq!(repository.snapshots().unwrap().len(), 3);
        assert!(check::structure(repository).unwrap().leftovers.is_empty());
    });
    restic.succeed("round", &["restore", "latest", "--target", restic.path("out").to_str().unwrap()]);
    assert_same(&restic.path("source"), &restic.path("out/source"));
}

#[test]
fn a_copy_that_is_killed_leaves_all_in_order_and_finishes_when_it_is_run_again() {
    let restic = Restic::new();
    restic.eight_snapshots("source-repo");
    restic.succeed("fresh", &["init"]);
    let source_key = restic.open("source-repo").key().to_json();
    let source_path = restic.path("source-repo");
    kill_at_random(&restic, "copy", "fresh", Some((&source_path, &source_key)), &|repository| {
        assert_eq!(repository.snapshots().unwrap().len(), 8);
        assert!(check::structure(repository).unwrap().leftovers.is_empty());
    });
    restic.succeed("round", &["restore", "latest", "--target", restic.path("out").to_str().unwrap()]);
    assert_same(&restic.path("source"), &restic.path("out/source"));
}
