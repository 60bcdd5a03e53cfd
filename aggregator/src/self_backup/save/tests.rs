//! What is saved, where, and what a failure leaves.

#![expect(clippy::disallowed_methods, reason = "tests look at the files")]

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};

use super::super::fixture::{NODE, PART, Site, names};
use super::super::restore::check;
use super::*;

#[test]
fn everything_that_makes_the_aggregator_is_in_it_and_nothing_else() {
    let site = Site::new();
    let manifest = check(&site.saved(), &site.identities()).unwrap();
    let names: Vec<&str> = manifest.files.iter().map(|file| file.name.as_str()).collect();
    let receipts = format!("backup/{NODE}/receipts");
    assert_eq!(
        names,
        [
            "fleet.json",
            "ca.pem",
            "ca.key.pem",
            "audit.key",
            "state.db",
            "authority/0000000001",
            PART,
            &receipts,
            "settings/aggregator.toml",
            "settings/aggregator.d/10-site.toml",
        ]
    );
}

#[test]
fn no_plain_text_is_stored_and_only_the_owner_may_read_the_file() {
    let site = Site::new();
    let path = site.saved();
    let bytes = fs::read(&path).unwrap();
    assert!(bytes.starts_with(b"age-encryption.org/v1\n"));
    assert!(!bytes.windows(10).any(|window| window == b"CANARY-KEY"));
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert!(!site.state().join("self-backup.new").exists(), "what was collected is gone");
}

#[test]
fn the_newest_are_kept_and_what_was_cut_goes() {
    let site = Site::new();
    let folder = site.path("copies");
    let target = Target::Folder(folder.clone(), Some(2));
    let saved: Vec<Saved> = (1..=4).map(|second| site.save(&target, second).unwrap()).collect();
    let name = |saved: &Saved| saved.path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(names(&folder), [name(&saved[2]), name(&saved[3])]);
    site.write(&format!("copies/.{}.new", name(&saved[0])), "half");
    site.write("copies/notes", "of somebody");
    let last = site.save(&target, 5).unwrap();
    assert_eq!(names(&folder), [name(&saved[3]), name(&last), "notes".to_owned()]);
    let newest = latest(&folder, site.fleet.fleet_id).unwrap();
    assert_eq!(newest, Some((last.at, last.bytes)));
}

#[test]
fn a_file_that_exists_is_not_replaced() {
    let site = Site::new();
    let path = site.saved();
    let before = fs::read(&path).unwrap();
    let error = site.save(&Target::File(path.clone()), 2_000).unwrap_err();
    assert!(matches!(error, SaveError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), before);
}

#[test]
fn a_full_disk_leaves_the_old_ones_and_nothing_half_written() {
    let site = Site::new();
    let folder = site.path("copies");
    let target = Target::Folder(folder.clone(), Some(1));
    let first = site.save(&target, 1).unwrap();
    let second = super::super::name::of(site.fleet.fleet_id, Timestamp::from_millis(2_000));
    // Every write into this device fails for lack of space.
    symlink("/dev/full", folder.join(format!(".{second}.new"))).unwrap();
    let error = site.save(&target, 2).unwrap_err();
    assert!(matches!(error, SaveError::Full { .. }), "{error:?}");
    assert_eq!(names(&folder), [first.path.file_name().unwrap().to_str().unwrap()]);
    check(&first.path, &site.identities()).unwrap();
}

#[test]
fn a_folder_that_is_no_aggregators_is_refused_by_the_file_that_lacks() {
    let site = Site::new();
    fs::remove_file(site.state().join("ca.key.pem")).unwrap();
    let target = Target::Folder(site.path("copies"), None);
    let error = site.save(&target, 1).unwrap_err();
    assert!(error.to_string().contains("ca.key.pem"), "{error}");
    assert!(names(&site.path("copies")).is_empty());
}
