//! The units as systemd reads them, and how far they are confined.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The most that `systemd-analyze security` may say of each, in tenths.
const EXPOSURES: [(&str, u32); 4] = [
    ("campanile-agent.service", 15),
    ("campanile-aggregator.service", 15),
    ("campanile-steward.service", 20),
    // As it is for a repository on the node; the steward's transient units have its properties.
    ("campanile-backup@.service", 12),
];

fn units() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../systemd")
}

#[test]
fn every_service_is_confined_as_far_as_it_is_said() {
    for (unit, most) in EXPOSURES {
        let judged = Command::new("systemd-analyze")
            .args(["security", "--offline=true", "--no-pager", &format!("--threshold={most}")])
            .arg(units().join(unit))
            .output()
            .expect("systemd-analyze is installed");
        let said = String::from_utf8_lossy(&judged.stdout);
        let verdict = said.lines().find(|line| line.contains("Overall exposure")).unwrap_or_default();
        println!("{verdict}");
        assert!(judged.status.success() && !verdict.is_empty(), "{unit} may have {most} tenths:\n{said}");
    }
}

#[test]
fn systemd_has_nothing_to_say_of_any_unit() {
    let folder = tempfile::tempdir().unwrap();
    let mut paths = Vec::new();
    for entry in fs::read_dir(units()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if path.is_dir() || name.ends_with(".md") {
            continue;
        }
        // The programs are not installed here; any will do.
        let text = fs::read_to_string(&path).unwrap().replace("/usr/bin/campanile-", "/usr/bin/true #");
        let copy = folder.path().join(name);
        fs::write(&copy, text).unwrap();
        paths.push(copy);
    }
    assert!(paths.len() >= 5, "{paths:?}");
    let verified = Command::new("systemd-analyze")
        .args(["verify", "--man=no"])
        .args(&paths)
        .env("SYSTEMD_LOG_LEVEL", "warning")
        .output()
        .expect("systemd-analyze is installed");
    let said = String::from_utf8_lossy(&verified.stderr);
    assert!(verified.status.success() && said.is_empty() && verified.stdout.is_empty(), "{said}");
}
