//! What is put back, and what is refused.

#![expect(clippy::disallowed_methods, reason = "tests look at the files")]

use std::fs;
use std::path::Path;

use super::super::fixture::{NODE, PART, Site, names};
use super::*;

fn unpack_to(site: &Site, file: &Path, state_dir: &Path) -> Result<Staged, RestoreError> {
    unpack(file, &site.identities(), state_dir, &state_dir.join("backup"))
}

#[test]
fn every_file_comes_back_as_it_was() {
    let site = Site::new();
    let file = site.saved();
    let to = site.path("restored");
    unpack_to(&site, &file, &to).unwrap().place().unwrap();
    let receipts = format!("backup/{NODE}/receipts");
    for name in ["fleet.json", "ca.pem", "ca.key.pem", "audit.key", "authority/0000000001", PART, &receipts] {
        assert_eq!(fs::read(to.join(name)).unwrap(), fs::read(site.state().join(name)).unwrap(), "{name}");
    }
    assert_eq!(fs::read_to_string(to.join("settings/aggregator.toml")).unwrap(), "log_level = \"info\"\n");
    assert!(!to.join("outputs").exists() && !to.join("backup").join(NODE.to_string()).join("data").exists());
    assert!(!site.path("restored.restoring").exists());
}

#[test]
fn a_folder_that_is_not_empty_is_refused_and_an_empty_one_taken() {
    let site = Site::new();
    let file = site.saved();
    site.write("restored/somebody's", "file");
    let to = site.path("restored");
    let error = unpack_to(&site, &file, &to).unwrap_err();
    assert!(matches!(error, RestoreError::NotEmpty { .. }), "{error}");
    assert_eq!(names(&to), ["somebody's"]);
    fs::remove_file(to.join("somebody's")).unwrap();
    unpack_to(&site, &file, &to).unwrap().place().unwrap();
    assert!(to.join("fleet.json").exists());
}

#[test]
fn a_damaged_backup_leaves_nothing_in_the_way_of_a_good_one() {
    let site = Site::new();
    let file = site.saved();
    let (good, to) = (fs::read(&file).unwrap(), site.path("restored"));
    for at in (0..good.len()).step_by(good.len() / 40) {
        let mut bytes = good.clone();
        bytes[at] ^= 0x10;
        fs::write(site.path("damaged.age"), bytes).unwrap();
        let error = unpack_to(&site, &site.path("damaged.age"), &to).unwrap_err();
        assert!(matches!(error, RestoreError::Archive { .. }), "byte {at}: {error}");
        assert!(!to.exists() && !site.path("restored.restoring").exists(), "byte {at}");
    }
    unpack_to(&site, &file, &to).unwrap().place().unwrap();
}

#[test]
fn another_identity_is_refused_before_anything_is_written() {
    let site = Site::new();
    let (file, to) = (site.saved(), site.path("restored"));
    let error = unpack(&file, &Site::new().identities(), &to, &to.join("backup")).unwrap_err();
    let RestoreError::Archive { source: ArchiveError::WrongIdentity, .. } = error else { panic!("{error}") };
    assert!(!to.exists() && !site.path("restored.restoring").exists());
}

#[test]
fn a_kill_before_the_rename_leaves_no_state_folder_and_the_next_attempt_goes_through() {
    let site = Site::new();
    let (file, to) = (site.saved(), site.path("restored"));
    // As a kill leaves it: nothing that would be dropped is.
    std::mem::forget(unpack_to(&site, &file, &to).unwrap());
    assert!(!to.exists());
    assert!(site.path("restored.restoring/fleet.json").exists());
    fs::write(site.path("restored.restoring/of-another-backup"), "x").unwrap();
    unpack_to(&site, &file, &to).unwrap().place().unwrap();
    assert!(to.join("fleet.json").exists() && !to.join("of-another-backup").exists());
}

#[test]
fn what_is_not_put_in_its_place_is_removed() {
    let site = Site::new();
    let (file, to) = (site.saved(), site.path("restored"));
    drop(unpack_to(&site, &file, &to).unwrap());
    assert!(!to.exists() && !site.path("restored.restoring").exists());
}

#[test]
fn receipts_go_into_a_store_that_has_none_and_never_over_newer_ones() {
    let site = Site::new();
    let (file, store) = (site.saved(), site.path("store"));
    let restore = |name: &str| unpack(&file, &site.identities(), &site.path(name), &store);
    let error = restore("restored").unwrap_err();
    assert!(matches!(error, RestoreError::NoStore { .. }), "{error}");
    fs::create_dir(&store).unwrap();
    let receipts = restore("restored").unwrap().place().unwrap();
    assert_eq!(receipts, Receipts { placed: vec![NODE], kept: vec![] });
    assert!(!site.path("restored/backup").exists());
    let path = store.join(NODE.to_string()).join("receipts");
    assert_eq!(fs::read_to_string(&path).unwrap(), "receipts of then");
    fs::write(&path, "newer receipts").unwrap();
    let receipts = restore("again").unwrap().place().unwrap();
    assert_eq!(receipts, Receipts { placed: vec![], kept: vec![NODE] });
    assert_eq!(fs::read_to_string(&path).unwrap(), "newer receipts");
}

#[test]
fn receipts_follow_a_store_elsewhere_in_the_state_folder() {
    let site = Site::new();
    let (file, to) = (site.saved(), site.path("restored"));
    unpack(&file, &site.identities(), &to, &to.join("stored/nodes")).unwrap().place().unwrap();
    assert!(to.join("stored/nodes").join(NODE.to_string()).join("receipts").exists());
    assert!(!to.join("backup").exists());
}
