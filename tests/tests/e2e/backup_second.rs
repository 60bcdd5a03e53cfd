//! The second place of the backup store: an aggregator that is killed while it copies, damage that is mended from it, and
//! a first place that is gone.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::time::Duration;

use campanile_agent::app::store_backend;
use campanile_backup::backend::{Backend as _, Directory, Object, ObjectKind};
use campanile_backup::check::{self, Share};
use campanile_backup::id::ObjectId;
use campanile_tests::random::{Random, seed};
use campanile_tests::support::{FleetOptions, LocalFleet, patience, until};
use serde_json::json;

use super::backup_run::{Backups, RUN, files};

/// So often the aggregator is killed; `CAMPANILE_BACKUP_KILLS` for more.
const KILLS: u64 = 12;
/// Packs of each round.
const PACKS: u64 = 25;
const PATIENCE: Duration = Duration::from_secs(60);

fn kills() -> u64 {
    std::env::var("CAMPANILE_BACKUP_KILLS").map_or(KILLS, |text| text.parse().unwrap())
}

/// What the node's part of a place holds, by name; empty where it is not there.
fn held(place: &Path) -> BTreeSet<Object> {
    let Ok(directory) = Directory::open(place) else { return BTreeSet::new() };
    let kinds = [ObjectKind::Snapshot, ObjectKind::Index, ObjectKind::Pack, ObjectKind::Key];
    let listed = kinds.into_iter().flat_map(|kind| {
        let listed = directory.list(kind).unwrap_or_default();
        listed.into_iter().map(move |one| Object::new(kind, one.id))
    });
    listed.collect()
}

#[track_caller]
fn assert_whole(place: &Path) {
    let directory = Directory::open(place).unwrap();
    let report = check::bytes(&directory, Share::ALL, &mut |_| {}).unwrap();
    assert_eq!(report.findings, []);
}

#[test]
fn a_second_place_whose_aggregator_is_killed_at_any_moment_is_whole_in_the_end() {
    let second = tempfile::tempdir().unwrap();
    // So slow that a kill meets it at work.
    let settings = format!(
        "[backup]\nfree_floor_bytes = 0\n[backup.replica]\ndir = {:?}\ninterval_s = 1\nbytes_per_second = 1048576",
        second.path()
    );
    let mut fleet =
        LocalFleet::with(FleetOptions { aggregator_settings: settings, ..FleetOptions::default() });
    let token = fleet.enrollment_token(&json!({}), 1);
    fleet.write_agent_settings("a", "");
    fleet.enroll("a", &token).ok();
    let id = fleet.node("a")["nodeId"].as_str().unwrap().to_owned();
    let (first, second) = (fleet.aggregator_state().join("backup").join(&id), second.path().join(&id));
    let backend = store_backend(&fleet.node_path("a", "state"), PATIENCE).unwrap();
    let (seed, kills) = (seed(), kills());
    eprintln!("CAMPANILE_SEED={seed}");
    let (mut random, mut midway) = (Random::new(seed), 0);
    for round in 0..kills {
        let mut packs = BTreeSet::new();
        for number in 0..PACKS {
            let mut bytes = format!("pack {number} of round {round}").into_bytes();
            bytes.resize(20_000, 7);
            packs.insert(ObjectId::of(&bytes));
            backend.put(Object::new(ObjectKind::Pack, ObjectId::of(&bytes)), &bytes).unwrap();
        }
        let snapshot = format!("snapshot {round}").into_bytes();
        backend.append(ObjectId::of(&snapshot), &snapshot, &packs, Some("etc")).unwrap();
        std::thread::sleep(Duration::from_millis(random.below(1200)));
        fleet.aggregator().kill();
        midway += u64::from(held(&second) != held(&first));
        fleet.start_aggregator();
    }
    until("both places hold the same", patience(PATIENCE), || held(&second) == held(&first));
    assert_whole(&first);
    assert_whole(&second);
    assert_eq!(held(&first).len() as u64, kills * (PACKS + 1));
    let told = fleet.api.get("/api/v1/backups/a").json();
    assert_eq!((&told["held"], &told["damaged"]), (&json!(0), &json!(0)), "{told}");
    eprintln!("replication: {midway} of {kills} killed in the middle, 0 objects lost or damaged");
    assert!(midway > 0, "none of {kills} was killed while it copied");
}

#[test]
fn damage_that_a_check_finds_is_told_and_mended_from_the_second_place_and_that_takes_over_when_the_first_is_gone()
 {
    let second = tempfile::tempdir().unwrap();
    let settings = format!("[backup.replica]\ndir = {:?}\ninterval_s = 1", second.path());
    let mut backups = Backups::start_with("keep = { last = 3 }", &settings);
    backups.backup(&RUN).fine();
    let first = backups.store();
    let copy = second.path().join(first.file_name().unwrap());
    until("it is in both places", patience(PATIENCE), || {
        !held(&first).is_empty() && held(&copy) == held(&first)
    });
    let pack = Directory::open(&first).unwrap().list(ObjectKind::Pack).unwrap()[0].id.to_string();
    let path = first.join("data").join(&pack[..2]).join(&pack);
    let mut bytes = fs::read(&path).unwrap();
    bytes[100] ^= 1;
    fs::write(&path, bytes).unwrap();

    let found = backups.backup(&["check"]);
    assert_eq!(found.code, Some(1));
    let fleet = &backups.configured.fleet;
    let entries = |action: &str| {
        let audit = fleet.api.get(&format!("/api/v1/audit?action={action}")).json();
        audit["items"].as_array().unwrap().len()
    };
    until("it is on record", patience(PATIENCE), || entries("backup.damage") == 1);
    until("it is mended", patience(PATIENCE), || entries("backup.heal") == 1);
    backups.backup(&["check"]).fine();
    // Deletions go on waiting until somebody has looked.
    let status = fleet.campanile(&["backup", "status"]);
    status.expect_code(2);

    let fleet = &mut backups.configured.fleet;
    fleet.aggregator().stop();
    fs::remove_dir_all(first.parent().unwrap()).unwrap();
    let settings = fleet.path("aggregator.toml");
    let text = fs::read_to_string(&settings).unwrap();
    let (before, _) = text.split_once("[backup.replica]").unwrap();
    fs::write(&settings, format!("{before}dir = {:?}\n", second.path())).unwrap();
    fleet.start_aggregator();
    backups.assert_restores("restored");
    backups.backup(&RUN).fine();
    backups.backup(&["check"]).fine();
    assert_eq!(files(&copy.join("snapshots")), 2);
}
